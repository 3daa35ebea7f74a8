/* The rewrite of a packet by a flow entry, and the differences that make it cheap. Pure: no lookups, no decisions. */
#pragma once

#include "bpf/lib/packet.h"

FNET_INLINE __u32 csum_fold32(__u64 sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    return (__u32)sum;
}

FNET_INLINE __u16 csum_fold16(__u32 sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (__u16)sum;
}

/* Ones' complement differences between the tuple of @key and what @flow makes of it (RFC 1624 eqn. 3: ~m + m'). Where
 * nothing changed the terms cancel to zero in ones' complement, kept as a true 0 so that the packet path can tell that
 * there is nothing to do. */
FNET_INLINE void nat_set_port_difference(const struct fnet_flow_key *key, struct fnet_flow *flow)
{
    int same = key->src_port == flow->new_src_port && key->dst_port == flow->new_dst_port;

    flow->port_diff =
        same ? 0 : (__u32)(__u16)~key->src_port + (__u16)~key->dst_port + flow->new_src_port + flow->new_dst_port;
}

/* Out of line for the stack of its caller, which is on the deepest chain of calls. */
__noinline int nat_set_address_difference(const struct fnet_flow_key *key, struct fnet_flow *flow)
{
    __u64 sum = 0;

    if (!key || !flow)
        return -1;

#pragma unroll
    for (int i = 0; i < 4; i++) {
        sum += (__u32)~key->src.words[i];
        sum += (__u32)~key->dst.words[i];
        sum += flow->new_src.words[i];
        sum += flow->new_dst.words[i];
    }
    flow->address_diff =
        address_equal(&key->src, &flow->new_src) && address_equal(&key->dst, &flow->new_dst) ? 0 : csum_fold32(sum);
    return 0;
}

/* Brings the L4 checksum up to date. It needs the helper, which knows CHECKSUM_PARTIAL (the field holds the sum of the
 * pseudo-header only: ports do not count) and CHECKSUM_COMPLETE (the sum of the data follows the addresses, but not the
 * ports). A call is 10 to 15 ns, so where the state is known both differences take one. 0, or -1. */
FNET_INLINE int nat_checksum(struct __sk_buff *skb, const struct packet *packet, const struct fnet_flow *flow)
{
    __u32 offset = packet->l4_offset + packet->csum_offset;
    __u64 flags = packet->key.protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
    __u64 addresses = packet->key.protocol == IPPROTO_ICMP ? 0 : flow->address_diff; /* has no pseudo-header */
    __u64 ports = flow->port_diff;
    int state = ports ? skb_checksum_state(skb) : CHECKSUM_UNKNOWN;

    if (state == CHECKSUM_PARTIAL) {
        ports = 0;
    } else if (addresses && (state == CHECKSUM_NONE || state == CHECKSUM_UNNECESSARY)) {
        addresses = csum_fold32(addresses + ports);
        ports = 0;
    }
    if (addresses) {
        __u64 ipv6 = packet->is_ipv6 && cfg.csum_ipv6 ? FNET_CSUM_IPV6 : 0;
        if (bpf_l4_csum_replace(skb, offset, 0, addresses, flags | ipv6 | BPF_F_PSEUDO_HDR))
            return -1;
    }
    return ports ? (int)bpf_l4_csum_replace(skb, offset, 0, ports, flags) : 0;
}

/* Rewrites addresses, TTL and MACs, and the checksum of an IPv4 header. 0, or -1: the frame is too short. */
FNET_INLINE int nat_rewrite_ip(struct __sk_buff *skb, void *data, void *data_end, int is_ipv6,
                               const struct fnet_flow *flow)
{
    const __u32 *macs;
    __u32 *words;

    if (data + ETH_HLEN + sizeof(struct ipv6hdr) > data_end &&
        (is_ipv6 || data + ETH_HLEN + sizeof(struct iphdr) > data_end))
        return -1;
    /* Both MACs lie in the flow as they do in the frame: three words. */
    FNET_ASSERT(__builtin_offsetof(struct fnet_flow, exit_src_mac) ==
                    __builtin_offsetof(struct fnet_flow, exit_dst_mac) + ETH_ALEN,
                "adjacent MACs");
    FNET_ASSERT(__builtin_offsetof(struct fnet_flow, exit_dst_mac) % 4 == 0, "aligned MACs");
    words = data;
    macs = (const __u32 *)flow->exit_dst_mac;
    words[0] = macs[0];
    words[1] = macs[1];
    words[2] = macs[2];
    if (is_ipv6) {
        struct ipv6hdr *ip = data + ETH_HLEN;
        if ((void *)(ip + 1) > data_end)
            return -1;
        __builtin_memcpy(&ip->saddr, &flow->new_src, 16);
        __builtin_memcpy(&ip->daddr, &flow->new_dst, 16);
        ip->hop_limit--;
        bpf_csum_update(skb, bpf_htons(0xfffe)); /* CHECKSUM_COMPLETE only: no header checksum makes up for it */
    } else {
        struct iphdr *ip = data + ETH_HLEN;
        if ((void *)(ip + 1) > data_end)
            return -1;
        /* TTL is the first byte of its 16-bit word: one less there is ~0x0100 in wire order. */
        __u64 sum = (__u64)(__u16)~ip->check + flow->address_diff + bpf_htons(0xfeff);
        ip->check = ~csum_fold16(csum_fold32(sum));
        ip->saddr = flow->new_src.words[3];
        ip->daddr = flow->new_dst.words[3];
        ip->ttl--;
    }
    return 0;
}

/* Rewrites a packet with its ports and checksums. 0, or -1: a helper refused (the packet is then not whole). */
FNET_INLINE int nat_rewrite(struct __sk_buff *skb, const struct packet *packet, const struct fnet_flow *flow)
{
    __u32 l4 = packet->l4_offset;
    void *data, *data_end;
    __be16 *ports;

    /* First, because the helper invalidates the packet pointers. */
    if (likely(packet->csum_offset)) {
        if (nat_checksum(skb, packet, flow))
            return -1;
    } else if (packet->is_ipv6) {
        bpf_csum_update(skb, flow->address_diff); /* as for the hop limit */
    }
    data = (void *)(long)skb->data;
    data_end = (void *)(long)skb->data_end;
    if (nat_rewrite_ip(skb, data, data_end, packet->is_ipv6, flow))
        return -1;
    if (!flow->port_diff)
        return 0;
    /* It is PACKET_L4_MAX at most. A mask rather than a comparison: that may be made on another copy of the register
     * than the one that is added, and 6.1 does not know that the two are the same. */
    ports = data + (l4 & PACKET_L4_MASK);
    if ((void *)(ports + 4) > data_end)
        return -1;
    if (packet->key.protocol == IPPROTO_ICMP || packet->key.protocol == IPPROTO_ICMPV6) {
        ports[2] = flow->new_src_port | flow->new_dst_port; /* one of them is zero */
    } else {
        ports[0] = flow->new_src_port;
        ports[1] = flow->new_dst_port;
    }
    return 0;
}
