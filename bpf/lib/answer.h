/* ICMP errors of our own: what the datapath drops because its time to live ran out, because it is larger than the way
 * out takes, or for want of a port, its sender is told (RFC 792, RFC 4443, RFC 5508 REQ-8). The dropped packet itself
 * becomes the error: cut to the quote, with two headers put before it. */
#pragma once

#include "bpf/lib/leave.h"
#include "bpf/lib/nat.h"

/* As the kernel's icmp_msgs_per_sec and icmp_msgs_burst, but for each device: no container uses up another's, unless
 * their indexes are a multiple of FNET_ANSWER_BUCKETS apart. */
#define ANSWER_INTERVAL_NS (1000 * 1000ULL)
#define ANSWER_BURST 50

/* No longer than every host takes in one piece (RFC 1812 4.3.2.3, RFC 4443 3.2). */
#define ANSWER_MAX_IPV4 576
#define ANSWER_MAX_IPV6 1280
#define ANSWER_TTL 64
#define ANSWER_TOS 0xc0 /* internetwork control (RFC 1812 4.3.2.5) */

/* The time up to which the device's answers are paid for may lie a burst ahead of the clock. Two CPUs that race send
 * one more. */
FNET_INLINE int answer_is_due(__u32 ifindex)
{
    __u32 bucket = ifindex % FNET_ANSWER_BUCKETS;
    __u64 *paid = bpf_map_lookup_elem(&answers, &bucket);
    __u64 now = bpf_ktime_get_coarse_ns(), from;

    if (!paid)
        return 0;
    from = *paid > now ? *paid : now;
    if (from - now >= ANSWER_BURST * ANSWER_INTERVAL_NS)
        return 0;
    *paid = from + ANSWER_INTERVAL_NS;
    return 1;
}

/* Sum of @length bytes of the packet from @offset on, ANSWER_MAX_IPV6 at most. bpf_csum_diff() takes 512 at once. */
FNET_INLINE __s64 answer_sum(struct __sk_buff *skb, __u32 offset, __u32 length, __u8 *chunk)
{
    __s64 sum = 0;

    for (int i = 0; i < (ANSWER_MAX_IPV6 + FNET_CHUNK - 1) / FNET_CHUNK; i++) {
        __u32 size = length < FNET_CHUNK ? length : FNET_CHUNK;
        if (!length)
            break;
        /* 1 to FNET_CHUNK by arithmetic, which the compiler must not see through: 6.1 takes no lower bound from the
         * comparison above. */
        asm volatile("" : "+r"(size));
        size = ((size - 1) & (FNET_CHUNK - 1)) + 1;
        __builtin_memset(chunk + (size & ~3U), 0, 4); /* the sum is of whole words */
        if (bpf_skb_load_bytes(skb, offset, chunk, size))
            return -1;
        sum = bpf_csum_diff(NULL, 0, (__be32 *)chunk, (size + 3) & ~3U, (__wsum)sum);
        if (sum < 0)
            return -1;
        offset += size;
        length -= size;
    }
    return sum;
}

/* A checksum that is still to be filled in (CHECKSUM_PARTIAL) will make the sum of the whole segment or datagram,
 * whatever its bytes, the complement of what the field holds now: that is the sum of the pseudo-header. Returns that
 * complement, or -1 if the checksum is there. The helper tells on every kernel: where only the pseudo-header counts it
 * leaves the field alone. */
FNET_INLINE int sum_when_filled_in(struct __sk_buff *skb, __u32 field)
{
    __u16 before, after;

    if (bpf_skb_load_bytes(skb, field, &before, sizeof(before)) ||
        bpf_l4_csum_replace(skb, field, 0, bpf_htons(1), sizeof(after)) ||
        bpf_skb_load_bytes(skb, field, &after, sizeof(after)))
        return -1;
    if (before == after)
        return (__u16)~before;
    bpf_skb_store_bytes(skb, field, &before, sizeof(before), 0);
    return -1;
}

/* Type and code in the family's ICMP, and the MTU where it is the point. */
FNET_INLINE void answer_fill(struct icmp_header *icmp, __u32 verdict, __u32 mtu, int is_ipv6)
{
    icmp->checksum = 0;
    icmp->id = icmp->sequence = 0;
    switch (verdict) {
    case FNET_TTL_EXCEEDED:
        icmp->type = is_ipv6 ? ICMPV6_TIME_EXCEED : ICMP_TIME_EXCEEDED;
        icmp->code = 0; /* in transit */
        break;
    case FNET_TOO_BIG:
        icmp->type = is_ipv6 ? ICMPV6_PKT_TOOBIG : ICMP_DEST_UNREACH;
        icmp->code = is_ipv6 ? 0 : ICMP_FRAG_NEEDED;
        icmp->sequence = bpf_htons((__u16)mtu); /* of a device: 65,535 at most */
        break;
    default: /* administratively prohibited */
        icmp->type = is_ipv6 ? ICMPV6_DEST_UNREACH : ICMP_DEST_UNREACH;
        icmp->code = is_ipv6 ? ICMPV6_ADM_PROHIBITED : ICMP_PKT_FILTERED;
    }
}

/* Counts @verdict, and turns the packet into the ICMP error that tells its sender so; to a container from its gateway,
 * by the uplink from the address that the packet was sent to. Only what may belong to a flow comes here, so no error,
 * no later fragment and nothing from or to a group (RFC 1122 3.2.2). @mtu: of FNET_TOO_BIG. Returns a tc action. */
__noinline int answer(struct __sk_buff *skb, struct packet *packet, __u32 verdict, __u32 mtu)
{
    struct fnet_scratch *work = map_single(scratch);
    struct fnet_endpoint *endpoint;
    const struct fnet_addr *from;
    struct icmp_header icmp;
    __u32 ifindex = skb->ifindex, header, quoted, summed;
    __s64 sum;
    int is_ipv6, filled_in = -1;

    leave(skb, verdict, TC_ACT_SHOT);
    if (!work || !packet || packet->kind > PACKET_PORTLESS || !answer_is_due(ifindex))
        return TC_ACT_SHOT;
    is_ipv6 = packet->is_ipv6;
    endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
    if (!endpoint)
        from = &packet->key.dst;
    else
        from = is_ipv6 ? &endpoint->gateway6 : &endpoint->gateway4;
    header = is_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
    quoted = (is_ipv6 ? ANSWER_MAX_IPV6 : ANSWER_MAX_IPV4) - header - sizeof(icmp);
    if (packet->l3_length < quoted)
        quoted = packet->l3_length;
    answer_fill(&icmp, verdict, mtu, is_ipv6);

    if (packet->csum_offset)
        filled_in = sum_when_filled_in(skb, packet->l4_offset + packet->csum_offset);
    /* The helper is made for this: it also takes the segmentation away from what was to be sent in several packets. */
    if (bpf_skb_change_tail(skb, ETH_HLEN + quoted, 0))
        return TC_ACT_SHOT;
    summed = filled_in < 0 ? quoted : packet->l4_offset - ETH_HLEN;
    sum = answer_sum(skb, ETH_HLEN, summed, work->chunk);
    if (sum < 0 || bpf_skb_adjust_room(skb, (__s32)(header + sizeof(icmp)), BPF_ADJ_ROOM_MAC, 0))
        return TC_ACT_SHOT;
    if (filled_in >= 0)
        sum += filled_in;
    sum += (__u64)((__u16 *)&icmp)[0] + icmp.sequence;
    if (is_ipv6) {
        struct ipv6hdr *ip = &work->quote.v6;
        __builtin_memset(ip, 0, sizeof(*ip));
        ip->version = 6;
        ip->payload_len = bpf_htons((__u16)(quoted + sizeof(icmp)));
        ip->nexthdr = IPPROTO_ICMPV6;
        ip->hop_limit = ANSWER_TTL;
        __builtin_memcpy(&ip->saddr, from, 16);
        __builtin_memcpy(&ip->daddr, &packet->key.src, 16);
        sum += (__u64)ip->payload_len + bpf_htons(IPPROTO_ICMPV6);
#pragma unroll
        for (int i = 0; i < 4; i++)
            sum += (__u64)from->words[i] + packet->key.src.words[i];
        if (bpf_skb_store_bytes(skb, ETH_HLEN, ip, sizeof(*ip), BPF_F_RECOMPUTE_CSUM))
            return TC_ACT_SHOT;
    } else {
        struct iphdr *ip = &work->quote.v4;
        __builtin_memset(ip, 0, sizeof(*ip));
        ip->version = 4;
        ip->ihl = 5;
        ip->tos = ANSWER_TOS;
        ip->tot_len = bpf_htons((__u16)(header + sizeof(icmp) + quoted));
        ip->frag_off = bpf_htons(0x4000); /* an atomic datagram: the identification says nothing (RFC 6864) */
        ip->ttl = ANSWER_TTL;
        ip->protocol = IPPROTO_ICMP;
        ip->saddr = from->words[3];
        ip->daddr = packet->key.src.words[3];
        ip->check = ~csum_fold16((__u32)bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0));
        if (bpf_skb_store_bytes(skb, ETH_HLEN, ip, sizeof(*ip), BPF_F_RECOMPUTE_CSUM))
            return TC_ACT_SHOT;
    }
    icmp.checksum = ~csum_fold16(csum_fold32((__u64)sum));
    if (bpf_skb_store_bytes(skb, ETH_HLEN + header, &icmp, sizeof(icmp), BPF_F_RECOMPUTE_CSUM))
        return TC_ACT_SHOT;
    if (ifindex == FNET_LOOPBACK_IFINDEX)
        return deliver_to_loopback(skb);
    if (!endpoint)
        return (int)bpf_redirect_neigh(ifindex, NULL, 0, 0);
    __builtin_memcpy(work->macs, endpoint->mac, ETH_ALEN);
    mac_set_gateway(work->macs + ETH_ALEN);
    if (bpf_skb_store_bytes(skb, 0, work->macs, 2 * ETH_ALEN, 0))
        return TC_ACT_SHOT;
    return deliver_to_peer(skb, ifindex);
}
