/* ICMP errors of flows (RFC 5508 section 4): an error quotes the packet that it is about, as its sender saw it. The
 * quote's tuple, reversed, finds the flow that the error travels with; the error and the quote are translated, so that
 * path MTU discovery, traceroute and "port unreachable" work through every flow. Errors open no flow, end none and do
 * not keep one alive. Off the fast path: helpers, not pointers. */
#pragma once

#include "bpf/lib/exit.h"

#define ICMP_ERROR_NOT_OURS (-4) /* no tc action: the quote belongs to no flow */
#define ICMP_HEADER_LENGTH 8

FNET_INLINE int icmp_is_error(const struct packet *packet)
{
    if (packet->is_ipv6)
        return packet->icmp_type >= 1 && packet->icmp_type <= 4; /* RFC 4443 */
    return packet->icmp_type == 3 || packet->icmp_type == 11 || packet->icmp_type == 12;
}

/* What a 16-bit field's change adds to a sum: ~m + m'. */
FNET_INLINE __u32 change_of(__u16 before, __u16 after)
{
    return (__u32)(__u16)~before + after;
}

FNET_INLINE __u16 checksum_updated(__u16 check, __u64 difference)
{
    return (__u16)~csum_fold16(csum_fold32((__u64)(__u16)~check + difference));
}

/* The tuple by which the flow is found: the quote's, reversed. 0 if the quote cannot be a flow's. */
FNET_INLINE int icmp_quote_key(const struct fnet_icmp_quote *quote, struct fnet_flow_key *key, int is_ipv6,
                               __u8 protocol)
{
    __u8 request = is_ipv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO;
    __u8 reply = is_ipv6 ? ICMPV6_ECHO_REPLY : ICMP_ECHOREPLY;

    if (is_ipv6) {
        address_from_v6(&key->src, &quote->v6.daddr);
        address_from_v6(&key->dst, &quote->v6.saddr);
    } else {
        if (quote->v4.version != 4 || quote->v4.ihl < 5 || (quote->v4.frag_off & bpf_htons(0x1fff)))
            return 0;
        address_from_v4(&key->src, quote->v4.daddr);
        address_from_v4(&key->dst, quote->v4.saddr);
    }
    key->protocol = protocol;
    if (protocol_is_portless(key->protocol))
        return 1;
    if (key->protocol == IPPROTO_TCP || key->protocol == IPPROTO_UDP || key->protocol == IPPROTO_SCTP) {
        key->src_port = quote->l4[1];
        key->dst_port = quote->l4[0];
        return 1;
    }
    if (key->protocol != (is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
        return 0;
    if (*(const __u8 *)quote->l4 == request) /* its answer would carry the identifier as destination */
        key->dst_port = quote->l4[2];
    else if (*(const __u8 *)quote->l4 == reply)
        key->src_port = quote->l4[2];
    else
        return 0;
    return 1;
}

/* Makes the quote what the sender of the packet sent. Returns the change of the ICMP message's sum. */
FNET_INLINE __u64 icmp_quote_translate(struct fnet_icmp_quote *quote, const struct fnet_flow *flow, int is_ipv6,
                                       __u8 protocol)
{
    __u64 change = flow->address_diff; /* reversed, but a sum does not mind */
    __u64 inner = (__u64)flow->address_diff + flow->port_diff;
    __u16 before;

    if (is_ipv6) {
        __builtin_memcpy(&quote->v6.saddr, &flow->new_dst, 16);
        __builtin_memcpy(&quote->v6.daddr, &flow->new_src, 16);
    } else {
        before = quote->v4.check;
        quote->v4.check = checksum_updated(before, flow->address_diff);
        change += change_of(before, quote->v4.check);
        quote->v4.saddr = flow->new_dst.words[3];
        quote->v4.daddr = flow->new_src.words[3];
    }
    if (!port_may_change(protocol))
        return change;
    change += flow->port_diff;
    if (protocol == IPPROTO_TCP) {
        quote->l4[0] = flow->new_dst_port;
        quote->l4[1] = flow->new_src_port;
        return change; /* its checksum lies beyond these eight bytes */
    }
    if (protocol == IPPROTO_UDP) {
        quote->l4[0] = flow->new_dst_port;
        quote->l4[1] = flow->new_src_port;
        if (quote->l4[3] == 0)
            return change;
        before = quote->l4[3];
        quote->l4[3] = checksum_updated(before, inner);
        if (quote->l4[3] == 0)
            quote->l4[3] = 0xffff;
        return change + change_of(before, quote->l4[3]);
    }
    quote->l4[2] = flow->new_src_port | flow->new_dst_port;
    before = quote->l4[1];
    quote->l4[1] = checksum_updated(before, is_ipv6 ? inner : flow->port_diff);
    return change + change_of(before, quote->l4[1]);
}

/* An ICMP error about one of our outer packets, whose tuple reversed is @key: the way to that peer is looked up anew by
 * the next packet, which follows what the kernel learned from the error (a smaller MTU). */
FNET_INLINE void tunnel_icmp_error(struct fnet_scratch *work, const struct fnet_flow_key *key)
{
    struct fnet_tunnel *tunnel;
    struct fnet_vtep *peer;
    __u32 index;

    if (key->protocol != IPPROTO_UDP || key->src_port != bpf_htons(FNET_VXLAN_PORT))
        return;
    __builtin_memset(&work->vtep_key, 0, sizeof(work->vtep_key));
    work->vtep_key.peer = key->src; /* the quote reversed: whom the packet was for */
    if (address_none(&work->vtep_key.peer))
        return;
    peer = bpf_map_lookup_elem(&vteps, &work->vtep_key);
    if (!peer)
        return;
    index = peer->tunnel;
    tunnel = bpf_map_lookup_elem(&tunnels, &index);
    if (tunnel)
        tunnel->checked_ns = 0;
}

/* An error that came in at @ifindex (as in a flow's key). Returns a tc action or ICMP_ERROR_NOT_OURS. */
__noinline int icmp_error_forward(struct __sk_buff *skb, struct packet *packet, __u32 ifindex)
{
    struct fnet_scratch *work = map_single(scratch);
    struct fnet_icmp_quote *quote;
    struct fnet_flow_key *key;
    struct fnet_flow *flow;
    __u32 quoted, l4, tcp_check = 0;
    __u64 change, outer = 0;
    __u64 flags = 0;
    __u16 check[2];
    __u8 ttl, protocol;
    int is_ipv6;

    if (!work || !packet)
        return drop(skb, INTERNAL_ERROR);
    quote = &work->quote;
    key = &work->reply_key;
    is_ipv6 = packet->is_ipv6;
    quoted = packet->l4_offset + ICMP_HEADER_LENGTH;
    if (is_ipv6 ? bpf_skb_load_bytes(skb, quoted, &quote->v6, sizeof(quote->v6))
                : bpf_skb_load_bytes(skb, quoted, &quote->v4, sizeof(quote->v4)))
        return ICMP_ERROR_NOT_OURS;
    l4 = quoted + (is_ipv6 ? sizeof(struct ipv6hdr) : quote->v4.ihl * 4U);
    protocol = is_ipv6 ? quote->v6.nexthdr : quote->v4.protocol;
    if (is_ipv6 && protocol == IPPROTO_FRAGMENT) { /* of a first fragment */
        if (bpf_skb_load_bytes(skb, l4, quote->l4, sizeof(quote->l4)) || (quote->l4[1] & bpf_htons(0xfff8)))
            return ICMP_ERROR_NOT_OURS;
        protocol = *(const __u8 *)quote->l4;
        l4 += sizeof(quote->l4);
    }
    if (bpf_skb_load_bytes(skb, l4, quote->l4, sizeof(quote->l4)))
        return ICMP_ERROR_NOT_OURS;
    __builtin_memset(key, 0, sizeof(*key));
    if (!icmp_quote_key(quote, key, is_ipv6, protocol))
        return ICMP_ERROR_NOT_OURS;
    key->ifindex = ifindex;
    flow = bpf_map_lookup_elem(&flows, key);
    if (!flow) {
        if (!ifindex)
            tunnel_icmp_error(work, key);
        return ICMP_ERROR_NOT_OURS;
    }
    if (packet->ttl <= 1)
        return drop(skb, TTL_EXCEEDED);
    if (!flow->exit_ifindex) /* no route when the flow was opened, and no packet since has found one */
        return drop(skb, NO_ROUTE);

    change = icmp_quote_translate(quote, flow, is_ipv6, key->protocol);
    if (key->protocol == IPPROTO_TCP &&
        !bpf_skb_load_bytes(skb, l4 + offsetof(struct tcphdr, check), check, sizeof(check[0]))) {
        tcp_check = l4 + offsetof(struct tcphdr, check);
        check[1] = checksum_updated(check[0], (__u64)flow->address_diff + flow->port_diff);
        change += change_of(check[0], check[1]);
    }
    /* The error's own addresses: it goes to the flow's other end; from this end itself, or from a router on the way.
     * What a container sends is always its own, also by a link-local address, which must not leave. */
    work->quote_dst = flow->new_dst;
    work->quote_src = ifindex || address_equal(&packet->key.src, &key->src) ? flow->new_src : packet->key.src;
#pragma unroll
    for (int i = 0; i < 4; i++)
        outer += (__u64)(__u32)~packet->key.src.words[i] + (__u32)~packet->key.dst.words[i] + work->quote_src.words[i] +
                 work->quote_dst.words[i];
    outer = csum_fold32(outer);
    ttl = packet->ttl - 1;

    if (is_ipv6 ? bpf_skb_store_bytes(skb, quoted, &quote->v6, sizeof(quote->v6), 0)
                : bpf_skb_store_bytes(skb, quoted, &quote->v4, sizeof(quote->v4), 0))
        return drop(skb, INTERNAL_ERROR);
    if (bpf_skb_store_bytes(skb, l4, quote->l4, sizeof(quote->l4), 0) ||
        (tcp_check && bpf_skb_store_bytes(skb, tcp_check, &check[1], sizeof(check[1]), 0)) ||
        bpf_l4_csum_replace(skb, packet->l4_offset + offsetof(struct icmp_header, checksum), 0, csum_fold32(change), 0))
        return drop(skb, INTERNAL_ERROR);
    if (is_ipv6) {
        flags = BPF_F_PSEUDO_HDR | (cfg.csum_ipv6 ? FNET_CSUM_IPV6 : 0);
        if (bpf_l4_csum_replace(skb, packet->l4_offset + offsetof(struct icmp_header, checksum), 0, outer, flags) ||
            bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, saddr), &work->quote_src, 32, 0) ||
            bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &ttl, sizeof(ttl), 0))
            return drop(skb, INTERNAL_ERROR);
    } else {
        /* TTL as in nat_rewrite(). */
        if (bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), 0,
                                csum_fold32(outer + bpf_htons(0xfeff)), 0) ||
            bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, saddr), &work->quote_src.words[3], 4, 0) ||
            bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, daddr), &work->quote_dst.words[3], 4, 0) ||
            bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, ttl), &ttl, sizeof(ttl), 0))
            return drop(skb, INTERNAL_ERROR);
    }
    leave(skb, FNET_ICMP_FORWARDED, 0);
    if (flow->exit == FNET_EXIT_LINK) /* the kernel looks up the next hop: errors are few */
        return (int)bpf_redirect_neigh(flow->exit_ifindex, NULL, 0, 0);
    if (bpf_skb_store_bytes(skb, 0, flow->exit_dst_mac, 2 * ETH_ALEN, 0))
        return drop(skb, INTERNAL_ERROR);
    return flow_send(skb, flow);
}
