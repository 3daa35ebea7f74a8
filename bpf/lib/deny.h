/* Is this source on the node's deny list? Exact, and of constant time: at most two cache lines for IPv4 and one for
 * each of five levels for IPv6, whatever the list holds (but for collisions of the hash). See bpf/abi/deny.h. */
#pragma once

#include "bpf/lib/packet.h"

/* 0: the list is empty. */
FNET_INLINE __u64 deny_tables(void)
{
    return *(volatile __u64 *)&deny_list.tables;
}

enum { DENY_NO_NODE = -1, DENY_NO = 0, DENY_YES = 1 };

/* What the node of this key says of @value, the byte behind the key. @high and @low as in struct fnet_deny_node. */
FNET_INLINE int deny_node_ask(__u64 tables, __u64 high, __u64 low, __u32 value)
{
    __u32 slot = tables & FNET_DENY_SLOT, size = (tables >> FNET_DENY_SIZE_SHIFT) & FNET_DENY_SIZE_MASK;
    __u64 hash = high * deny_list.factors[0] + low * deny_list.factors[1];
    const struct fnet_deny_node *node;
    __u32 place = (__u32)(hash >> (64 - size));
    void *nodes = bpf_map_lookup_elem(&deny_nodes, &slot);

    if (!nodes)
        return DENY_NO_NODE;
    for (int i = 0; i < FNET_DENY_PROBES; i++, place++) {
        node = bpf_map_lookup_elem(nodes, &place);
        if (!node || node->low == 0)
            return DENY_NO_NODE;
        if (node->low == low && node->high == high)
            return (node->bits[(value >> 6) & 3] >> (value & 63)) & 1;
    }
    return DENY_NO_NODE;
}

/* Out of line, and so verified once. */
__noinline int deny_level_ask(__u64 tables, __u64 high, __u64 low, __u32 value)
{
    return deny_node_ask(tables, high, low, value);
}

FNET_INLINE int deny_ipv4(__u64 tables, __be32 address)
{
    __u32 slot = tables & FNET_DENY_SLOT, v4 = bpf_ntohl(address), row = v4 >> 16, block = (v4 >> 8) & 0xff;
    const struct fnet_deny_blocks *blocks;
    void *rows;
    __u32 state;

    if (!(tables & FNET_DENY_V4))
        return 0;
    rows = bpf_map_lookup_elem(&deny_blocks, &slot);
    if (!rows)
        return 0;
    blocks = bpf_map_lookup_elem(rows, &row);
    if (!blocks)
        return 0;
    state = (blocks->states[block >> 5] >> ((block & 31) * 2)) & 3;
    if (likely(state != FNET_DENY_SOME))
        return state;
    return deny_node_ask(tables, 0, 0xffff00000000ULL | (v4 & ~0xffU) | (FNET_DENY_V4_LEVEL + 1), v4 & 0xff) ==
           DENY_YES;
}

/* @address: 16 bytes, in the packet or not. */
FNET_INLINE int deny_ipv6(__u64 tables, const __be32 *address)
{
    __u64 high = (__u64)bpf_ntohl(load32(address)) << 32 | bpf_ntohl(load32(address + 1));
    __u64 low = (__u64)bpf_ntohl(load32(address + 2)) << 32 | bpf_ntohl(load32(address + 3));
    __u32 used = (tables >> FNET_DENY_LEVELS_SHIFT) & 0xffff, level = FNET_DENY_ROOT, shorter, longer, shift;
    __u64 own_high, own_low;
    int answer;

    for (int i = 0; i < FNET_DENY_DEPTH; i++) {
        level &= 31;
        if (!(used & fnet_deny_tree[level].reach))
            return 0;
        shorter = fnet_deny_tree[level].shorter & 31;
        longer = fnet_deny_tree[level].longer & 31;
        if (!(used & (1U << level))) { /* only to tell the way, if there are two */
            if (!(used & fnet_deny_tree[longer].reach)) {
                level = shorter;
                continue;
            }
            if (!(used & fnet_deny_tree[shorter].reach)) {
                level = longer;
                continue;
            }
        }
        /* The key: the bytes in front of number `level`, which itself selects the bit. */
        shift = (level & 7) * 8;
        own_high = level < 8 ? high & ~(~0ULL >> shift) : high;
        own_low = (level < 8 ? 0 : low & ~(~0ULL >> shift)) | (level + 1);
        answer = deny_level_ask(tables, own_high, own_low, ((level < 8 ? high : low) >> (56 - shift)) & 0xff);
        if (answer == DENY_YES)
            return 1;
        level = answer == DENY_NO ? longer : shorter;
    }
    return 0;
}

#define VLAN_NUMBER 0xfff
#define DENY_TAGS 4 /* that are looked behind; nobody who means well sends two */

/* Is this frame for the device itself? Else it is for a VLAN device on top. A tag of number 0 has a priority and
 * nothing else: the kernel takes off as many of them as there are, behind this hook. @offset and @protocol: of what is
 * in them. */
FNET_INLINE int deny_untag(struct __sk_buff *skb, __u32 *offset, __u32 *protocol)
{
    struct {
        __be16 control, protocol;
    } tag;

    if (skb->vlan_present && (skb->vlan_tci & VLAN_NUMBER))
        return 0;
    for (int i = 0; i < DENY_TAGS; i++) {
        if (*protocol != bpf_htons(ETH_P_8021Q) && *protocol != bpf_htons(ETH_P_8021AD))
            return 1;
        if (bpf_skb_load_bytes(skb, *offset, &tag, sizeof(tag)) || (tag.control & bpf_htons(VLAN_NUMBER)))
            return 0;
        *protocol = tag.protocol;
        *offset += sizeof(tag);
    }
    return *protocol == bpf_htons(ETH_P_IP) || *protocol == bpf_htons(ETH_P_IPV6);
}

/* For a packet that no XDP program has judged; that one leaves alone what has a VLAN tag. */
__noinline int deny_skb(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    __u32 offset = ETH_HLEN, protocol = skb->protocol;
    __u64 tables = deny_tables();
    struct in6_addr source;

    if (unlikely(skb->vlan_present || protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD))) {
        if (!deny_untag(skb, &offset, &protocol))
            return 0;
    } else if (deny_list.by_xdp[skb->ifindex % FNET_DENY_XDP_PLACES] == skb->ifindex) {
        return 0;
    }
    if (protocol == bpf_htons(ETH_P_IP)) {
        struct iphdr *ip = data + offset;
        if ((void *)(ip + 1) <= data_end)
            return deny_ipv4(tables, ip->saddr);
        if (skb->len < offset + sizeof(*ip) ||
            bpf_skb_load_bytes(skb, offset + offsetof(struct iphdr, saddr), &source, sizeof(ip->saddr)))
            return 0;
        return deny_ipv4(tables, source.s6_addr32[0]);
    }
    if (protocol == bpf_htons(ETH_P_IPV6)) {
        struct ipv6hdr *ip = data + offset;
        if ((void *)(ip + 1) <= data_end)
            return deny_ipv6(tables, ip->saddr.s6_addr32);
        if (skb->len < offset + sizeof(*ip) ||
            bpf_skb_load_bytes(skb, offset + offsetof(struct ipv6hdr, saddr), &source, sizeof(source)))
            return 0;
        return deny_ipv6(tables, source.s6_addr32);
    }
    return 0;
}
