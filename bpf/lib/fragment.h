/* Packets that do not show their ports in the usual place: fragments, and IPv6 behind extension headers. Off the fast
 * path; what shows its ports here goes on as any other packet does.
 *
 * A first fragment has the ports and is found, or opens, a flow. It also leaves its ports in `fragments` under what all
 * fragments of the datagram share (RFC 791, RFC 8200 4.5); the others take them from there, and so the flow's addresses
 * and its way out. The checksum over the whole datagram lies in the first, where an incremental update is right as
 * ever. Overlaps are left to the receiver, who alone puts the pieces together. */
#pragma once

#include "bpf/lib/exit.h"
#include "bpf/lib/transport.h"

#define HIDDEN_CONTINUE (-6) /* no tc action: packet->kind says what is known now */

/* As long as Linux waits for the rest of a datagram (ipfrag_time): nobody needs a later fragment after that. */
#define FRAGMENT_LIFETIME_NS (30ULL * 1000 * 1000 * 1000)
/* How soon an identification cannot honestly be used again for another flow. */
#define FRAGMENT_REUSE_NS (1000ULL * 1000 * 1000)

/* A first fragment says to which flow the others belong. Two that say different things within a second are a forgery,
 * or a sender so fast that its receiver cannot tell its datagrams apart either (RFC 4963). None of the two flows gets
 * the rest then: nobody can draw the end of another's datagram into a flow of his own. True if the rest is this flow's.
 */
FNET_INLINE int fragment_record(const struct fnet_fragment_key *id, const struct fnet_flow_key *key, __u64 now)
{
    struct fnet_fragment *known = bpf_map_lookup_elem(&fragments, id);
    struct fnet_fragment fresh = {
        .first_ns = now, .src_port = key->src_port, .dst_port = key->dst_port, .protocol = key->protocol};

    if (known && now - known->first_ns < FRAGMENT_REUSE_NS &&
        (known->contested || known->src_port != key->src_port || known->dst_port != key->dst_port ||
         known->protocol != key->protocol)) {
        known->contested = 1;
        return 0;
    }
    bpf_map_update_elem(&fragments, id, &fresh, BPF_ANY);
    return 1;
}

/* A fragment without ports, by the flow of its first. The first was answered if it was too big or its time ran out. */
FNET_INLINE int fragment_forward(struct __sk_buff *skb, const struct packet *packet, struct fnet_flow *flow, __u64 now)
{
    void *data, *data_end;

    if (packet->ttl <= 1)
        return drop(skb, TTL_EXCEEDED);
    if (!flow->exit_ifindex)
        return drop(skb, NO_ROUTE);
    if (flow->exit == FNET_EXIT_LINK && !packet_fits(skb, packet, flow->exit_mtu))
        return drop(skb, TOO_BIG);
    flow->last_seen_ns = now;
    flow->packets++;
    flow->bytes += skb->len;
    if (packet->is_ipv6)
        bpf_csum_update(skb, flow->address_diff); /* CHECKSUM_COMPLETE only: nothing here makes up for the addresses */
    data = (void *)(long)skb->data;
    data_end = (void *)(long)skb->data_end;
    if (nat_rewrite_ip(skb, data, data_end, packet->is_ipv6, flow))
        return drop(skb, INTERNAL_ERROR);
    leave(skb, FNET_FLOW_FORWARDED, 0);
    if (flow->exit != FNET_EXIT_LINK || now - flow->exit_checked_ns <= cfg.exit_ns)
        return flow_send(skb, flow);
    skb->queue_mapping = 0; /* as flow_send() */
    return (int)bpf_redirect_neigh(flow->exit_ifindex, NULL, 0, 0);
}

/* The ports of what is whole or a first fragment. 0, or a verdict. */
FNET_INLINE int hidden_parse(struct __sk_buff *skb, struct packet *packet, int first)
{
    void *data, *data_end;
    __u32 l4_length = packet->l3_length - (packet->l4_offset - ETH_HLEN);
    int kind;

    bpf_skb_pull_data(skb, packet->l4_offset + sizeof(struct tcphdr) < skb->len
                               ? packet->l4_offset + sizeof(struct tcphdr)
                               : skb->len);
    data = (void *)(long)skb->data;
    data_end = (void *)(long)skb->data_end;
    kind = packet_parse_l4(packet, data + (packet->l4_offset & PACKET_L4_MASK), data_end, l4_length, !first);
    if (kind == PACKET_MALFORMED)
        return first ? FNET_FRAGMENT_SHORT : FNET_MALFORMED;
    packet->kind = kind == PACKET_ICMP_OTHER && first ? PACKET_OTHER_L4 : (__u8)kind;
    return 0;
}

FNET_INLINE int packet_is_hidden(const struct packet *packet)
{
    return packet->kind == PACKET_FRAGMENT ||
           (packet->kind == PACKET_OTHER_L4 && packet->is_ipv6 && is_extension_header(packet->key.protocol));
}

/* Finds out what is known of a packet_is_hidden(). Returns a tc action, or HIDDEN_CONTINUE: its kind says that
 * the key is complete, PACKET_FRAGMENT if its first was not seen or has no flow, or what cannot be a flow's. */
__noinline int hidden_resolve(struct __sk_buff *skb, struct packet *packet)
{
    struct fnet_scratch *work = map_single(scratch);
    struct transport where = {};
    struct fnet_fragment *known;
    struct fnet_flow *flow;
    __u64 now = bpf_ktime_get_coarse_ns();
    __be16 v4[2];
    int verdict;

    if (!work || !packet)
        return drop(skb, INTERNAL_ERROR);
    where.offset = packet->l4_offset;
    where.protocol = packet->key.protocol;
    if (packet->is_ipv6) {
        verdict = transport_find(skb, &where);
        if (verdict)
            return leave(skb, (__u32)verdict, TC_ACT_SHOT);
    } else {
        if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, id), v4, sizeof(v4)))
            return drop(skb, MALFORMED);
        where.id = v4[0];
        where.fragment = bpf_htons((__u16)(bpf_ntohs(v4[1]) << 3 | !!(v4[1] & bpf_htons(0x2000))));
    }
    if (where.offset - ETH_HLEN > packet->l3_length)
        return drop(skb, MALFORMED);
    packet->kind = PACKET_OTHER_L4;
    if (where.segments || where.offset > PACKET_L4_MAX)
        return HIDDEN_CONTINUE;
    packet->l4_offset = (__u16)where.offset;
    packet->key.protocol = where.protocol;
    if (!where.fragment) {
        verdict = hidden_parse(skb, packet, 0);
        return verdict ? leave(skb, (__u32)verdict, TC_ACT_SHOT) : HIDDEN_CONTINUE;
    }

    __builtin_memset(&work->fragment, 0, sizeof(work->fragment));
    work->fragment.src = packet->key.src;
    work->fragment.dst = packet->key.dst;
    work->fragment.id = where.id;
    work->fragment.ifindex = packet->key.ifindex;
    if (!packet->is_ipv6) /* there only the first says which protocol it is */
        work->fragment.protocol = where.protocol;
    if (!is_later_fragment(&where)) {
        verdict = hidden_parse(skb, packet, 1);
        if (verdict)
            return leave(skb, (__u32)verdict, TC_ACT_SHOT);
        if (packet->kind <= PACKET_PORTLESS && fragment_record(&work->fragment, &packet->key, now))
            packet->l4_header = PACKET_FIRST_FRAGMENT;
        return HIDDEN_CONTINUE;
    }
    packet->kind = PACKET_FRAGMENT;
    known = bpf_map_lookup_elem(&fragments, &work->fragment);
    if (!known || now - known->first_ns > FRAGMENT_LIFETIME_NS) {
        early_keep(skb, &work->fragment, now);
        return HIDDEN_CONTINUE;
    }
    if (known->contested)
        return drop(skb, FRAGMENT);
    work->original_key = packet->key;
    work->original_key.protocol = known->protocol;
    work->original_key.src_port = known->src_port;
    work->original_key.dst_port = known->dst_port;
    flow = bpf_map_lookup_elem(&flows, &work->original_key);
    return flow ? fragment_forward(skb, packet, flow, now) : HIDDEN_CONTINUE;
}
