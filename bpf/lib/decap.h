/* VXLAN from a peer: who may send what into which network, and the way into the container. Nothing that came by a wire
 * is believed: the outer source must be a peer of the network, the inner source an address of that peer, the inner
 * destination one of this node. */
#pragma once

#include "bpf/lib/transport.h"
#include "bpf/lib/tunnel.h"

#define TUNNEL_OF_OTHERS (-9) /* no tc action: in transit, or this node has no overlay network */
#define TUNNEL_JUDGED (-10)   /* no tc action: the pair is filled in */

/* Is the outer destination, in work->remote_key, this host's? Else it is in transit. Any bridge of ours may ask the
 * routes: the row of no peer and no network names one. */
__noinline int tunnel_is_for_us(struct __sk_buff *skb)
{
    struct fnet_scratch *work = map_single(scratch);
    struct fnet_vtep *anyone = overlay_row();

    return work && anyone &&
           exit_lookup(skb, anyone->bridge_ifindex, NULL, &work->remote_key.addr,
                       !address_is_v4(&work->remote_key.addr), IPPROTO_UDP, &work->route) == EXIT_LOCAL;
}

/* work->vtep_key is no peer of that network; work->remote_key has the outer destination. As tunnel_take(). */
__noinline int tunnel_refuse(struct __sk_buff *skb)
{
    struct fnet_scratch *work = map_single(scratch);
    struct fnet_tunnel *tunnel;
    struct fnet_vtep *peer;
    __u32 index;

    if (!work)
        return drop(skb, INTERNAL_ERROR);
    if (!tunnel_is_for_us(skb))
        return TUNNEL_OF_OTHERS;
    work->vtep_key.vni = 0;
    peer = address_none(&work->vtep_key.peer) ? NULL : bpf_map_lookup_elem(&vteps, &work->vtep_key);
    if (!peer)
        return drop(skb, TUNNEL_UNKNOWN_PEER);
    index = peer->tunnel;
    tunnel = bpf_map_lookup_elem(&tunnels, &index);
    if (tunnel)
        tunnel->dropped_packets++;
    return drop(skb, TUNNEL_UNKNOWN_NETWORK);
}

FNET_INLINE int tunnel_drop(struct __sk_buff *skb, struct fnet_tunnel *tunnel, __u32 verdict)
{
    tunnel->dropped_packets++;
    return leave(skb, verdict, TC_ACT_SHOT);
}

/* Judged, and for the kernel's vxlan device to carry on. */
FNET_INLINE int tunnel_to_kernel(struct __sk_buff *skb, struct fnet_tunnel *tunnel)
{
    tunnel->kernel_packets++;
    tunnel->seen_ns = bpf_ktime_get_coarse_ns();
    skb->mark = FNET_TUNNEL_MARK;
    return to_kernel(skb, TUNNEL_TO_KERNEL);
}

/* The address in work->remote_key may be used by the peer in work->vtep_key: it has it already, or it has it now. */
FNET_INLINE int remote_may_use(struct __sk_buff *skb, struct fnet_scratch *work, __u32 tunnel)
{
    struct fnet_address *known = bpf_map_lookup_elem(&addresses, &work->remote_key);

    if (!known || known->tunnel != tunnel)
        return remote_source(skb);
    if (known->flags & FNET_ADDRESS_LEARNED) {
        known->seen_ns = bpf_ktime_get_coarse_ns();
        __builtin_memcpy(known->mac, work->remote.mac,
                         ETH_ALEN); /* a new container may have the address of an old one */
    }
    return 0;
}

#define ND_HOP_LIMIT 255 /* of any honest neighbour discovery (RFC 4861), and of little else */
#define ND_FIRST 133     /* router solicitation; advertisement; neighbour solicitation; advertisement; redirect */
#define ND_LAST 137

/* Also to one container alone; each such packet is looked at. */
FNET_INLINE int may_be_nd(__u8 next_header, __u8 hop_limit)
{
    return hop_limit == ND_HOP_LIMIT && next_header != IPPROTO_TCP && next_header != IPPROTO_UDP;
}

/* No verdict: it speaks for the address in work->remote_key, which must be the peer's. */
#define REMOTE_ND_TARGET (-11)

/* What neighbour discovery in the IPv6 packet at @offset says: 0, a verdict or REMOTE_ND_TARGET. Only routers say what
 * 134 and 137 do. */
__noinline int remote_nd(struct __sk_buff *skb, __u32 offset)
{
    struct fnet_scratch *work = map_single(scratch);
    struct transport where = {.offset = offset + sizeof(struct ipv6hdr)};
    __u8 type;
    int verdict;

    if (!work ||
        bpf_skb_load_bytes(skb, offset + offsetof(struct ipv6hdr, nexthdr), &where.protocol, sizeof(where.protocol)))
        return FNET_MALFORMED;
    verdict = transport_find(skb, &where);
    if (verdict)
        return verdict;
    if (where.protocol != IPPROTO_ICMPV6 || is_later_fragment(&where))
        return 0;
    if (bpf_skb_load_bytes(skb, where.offset, &type, sizeof(type)))
        return FNET_MALFORMED;
    if (type < ND_FIRST || type > ND_LAST)
        return 0;
    if (where.fragment || type == 134 || type == 137)
        return FNET_TUNNEL_BAD_INNER;
    if (type != 136)
        return 0;
    if (bpf_skb_load_bytes(skb, where.offset + 8, &work->remote_key.addr, sizeof(work->remote_key.addr)))
        return FNET_MALFORMED;
    return address_link_local(&work->remote_key.addr) ? 0 : REMOTE_ND_TARGET;
}

/* ARP, broadcast, multicast, link-local: for the kernel, if its source may say so. work->vtep_key is the peer,
 * work->remote.mac the frame's source, work->remote_key.network the network. @offset: of the inner Ethernet header. */
__noinline int tunnel_unusual(struct __sk_buff *skb, __u32 offset)
{
    struct fnet_scratch *work = map_single(scratch);
    struct fnet_tunnel *tunnel;
    struct fnet_vtep *vtep;
    __u32 index, verdict = 0;
    __be16 protocol;

    if (!work)
        return drop(skb, INTERNAL_ERROR);
    vtep = bpf_map_lookup_elem(&vteps, &work->vtep_key);
    if (!vtep)
        return drop(skb, TUNNEL_UNKNOWN_NETWORK);
    index = vtep->tunnel;
    tunnel = bpf_map_lookup_elem(&tunnels, &index);
    if (!tunnel || bpf_skb_load_bytes(skb, offset + offsetof(struct ethhdr, h_proto), &protocol, sizeof(protocol)))
        return drop(skb, MALFORMED);
    offset += ETH_HLEN;
    if (protocol == bpf_htons(ETH_P_ARP)) {
        struct { /* RFC 826, from the sender's hardware address on */
            __u8 mac[ETH_ALEN];
            __be16 ip[2];
        } sender;
        struct arp_header arp;
        if (bpf_skb_load_bytes(skb, offset, &arp, sizeof(arp)) ||
            bpf_skb_load_bytes(skb, offset + sizeof(arp), &sender, sizeof(sender)))
            return tunnel_drop(skb, tunnel, FNET_MALFORMED);
        if (arp.hardware != bpf_htons(ARPHRD_ETHER) || arp.protocol != bpf_htons(ETH_P_IP) ||
            arp.hardware_length != ETH_ALEN || arp.protocol_length != 4 || !mac_equal(sender.mac, work->remote.mac))
            return tunnel_drop(skb, tunnel, FNET_TUNNEL_BAD_INNER);
        address_from_v4(&work->remote_key.addr, (__be32)sender.ip[0] | (__be32)sender.ip[1] << 16);
        if (work->remote_key.addr.words[3]) /* else a probe (RFC 5227) */
            verdict = (__u32)remote_may_use(skb, work, index);
    } else if (protocol == bpf_htons(ETH_P_IP)) {
        __be32 src;
        if (bpf_skb_load_bytes(skb, offset + offsetof(struct iphdr, saddr), &src, sizeof(src)))
            return tunnel_drop(skb, tunnel, FNET_MALFORMED);
        address_from_v4(&work->remote_key.addr, src);
        if (src) /* else DHCP */
            verdict = (__u32)remote_may_use(skb, work, index);
    } else if (protocol == bpf_htons(ETH_P_IPV6)) {
        if (bpf_skb_load_bytes(skb, offset + offsetof(struct ipv6hdr, saddr), &work->remote_key.addr,
                               sizeof(work->remote_key.addr)))
            return tunnel_drop(skb, tunnel, FNET_MALFORMED);
        if (work->remote_key.addr.quads[0] == 0 && !address_none(&work->remote_key.addr))
            return tunnel_drop(skb, tunnel,
                               FNET_TUNNEL_BAD_INNER); /* as packet_parse_ipv6(): the key of an IPv4 address */
        if (!address_none(&work->remote_key.addr) && !address_link_local(&work->remote_key.addr))
            verdict = (__u32)remote_may_use(skb, work, index);
        if (!verdict)
            verdict = (__u32)remote_nd(skb, offset);
        if (verdict == (__u32)REMOTE_ND_TARGET)
            verdict = (__u32)remote_may_use(skb, work, index);
    } else {
        return tunnel_drop(skb, tunnel, FNET_TUNNEL_BAD_INNER);
    }
    if (verdict)
        return tunnel_drop(skb, tunnel, verdict);
    return vtep->flags & FNET_VTEP_NO_ICC ? drop(skb, NETWORK_ISOLATED) : tunnel_to_kernel(skb, tunnel);
}

/* The outer header says that a queue on the way was full: the inner one has to say so (RFC 6040 4.2), or the packet is
 * dropped if its sender would not understand. @offset: of the inner IP header, whose version need not be what its frame
 * says. 0, or a verdict. */
__noinline int tunnel_congestion(struct __sk_buff *skb, __u32 offset, __u32 inner_ipv6)
{
    __be16 start, marked;

    if (bpf_skb_load_bytes(skb, offset, &start, sizeof(start)))
        return FNET_MALFORMED;
    if ((start & bpf_htons(0xf000)) != (inner_ipv6 ? bpf_htons(0x6000) : bpf_htons(0x4000)))
        return FNET_TUNNEL_BAD_INNER;
    if (inner_ipv6) {
        if (!(start & bpf_htons(ECN_MASK << 4)))
            return FNET_TUNNEL_CONGESTED;
        marked = start | bpf_htons(ECN_CE << 4);
        return bpf_skb_store_bytes(skb, offset, &marked, sizeof(marked), BPF_F_RECOMPUTE_CSUM) ? FNET_INTERNAL_ERROR
                                                                                               : 0;
    }
    if (!(start & bpf_htons(ECN_MASK)))
        return FNET_TUNNEL_CONGESTED;
    marked = start | bpf_htons(ECN_CE);
    if (marked == start)
        return 0;
    if (bpf_l3_csum_replace(skb, offset + offsetof(struct iphdr, check), start, marked, sizeof(marked)) ||
        bpf_skb_store_bytes(skb, offset, &marked, sizeof(marked), 0))
        return FNET_INTERNAL_ERROR;
    return 0;
}

/* Bytes before the inner Ethernet header. */
FNET_INLINE __u32 tunnel_header_length(int is_ipv6)
{
    return is_ipv6 ? TUNNEL_HEADER_IPV6 : TUNNEL_HEADER_IPV4;
}

/* The addresses of the IP header at @offset. 0, or -1: it is not that long. */
FNET_INLINE int load_addresses(struct __sk_buff *skb, __u32 offset, int is_ipv6, struct fnet_addr *src,
                               struct fnet_addr *dst)
{
    __be32 v4[2];

    if (is_ipv6)
        return bpf_skb_load_bytes(skb, offset + offsetof(struct ipv6hdr, saddr), src, sizeof(*src)) ||
                       bpf_skb_load_bytes(skb, offset + offsetof(struct ipv6hdr, daddr), dst, sizeof(*dst))
                   ? -1
                   : 0;
    if (bpf_skb_load_bytes(skb, offset + offsetof(struct iphdr, saddr), v4, sizeof(v4)))
        return -1;
    address_from_v4(src, v4[0]);
    address_from_v4(dst, v4[1]);
    return 0;
}

FNET_INLINE int ipv6_equal(const struct fnet_addr *a, const struct in6_addr *on_wire)
{
    const __u32 *b = on_wire->s6_addr32;

    return a->words[0] == load32(b) && a->words[1] == load32(b + 1) && a->words[2] == load32(b + 2) &&
           a->words[3] == load32(b + 3);
}

/* Is the outer destination the address that we send to this peer from? */
FNET_INLINE int tunnel_is_from(const struct fnet_tunnel *tunnel, const struct fnet_addr *dst, int is_ipv6)
{
    const void *ip = tunnel->header + ETH_HLEN;

    if (!is_ipv6)
        return dst->words[3] == load32(ip + offsetof(struct iphdr, saddr));
    return ipv6_equal(dst, ip + offsetof(struct ipv6hdr, saddr));
}

/* Judges a packet whose lengths fit, by all three tables. Off the path of established traffic: helpers, not pointers.
 * Returns a tc action, TUNNEL_OF_OTHERS, or TUNNEL_JUDGED: the pair at @index says where it goes. */
__noinline int tunnel_judge(struct __sk_buff *skb, __u32 index, __u32 is_ipv6)
{
    struct fnet_pair *pair = bpf_map_lookup_elem(&pairs, &index);
    const struct fnet_validity *valid = map_single(validity);
    struct fnet_scratch *work = map_single(scratch);
    __u32 header = tunnel_header_length(is_ipv6), at, inner_ipv6;
    struct fnet_address *known;
    struct fnet_tunnel *tunnel;
    struct fnet_vtep *vtep;
    struct ethhdr *eth;
    __be32 vni;
    __u8 next[2]; /* header, and hop limit */
    int verdict;

    if (!work || !pair || !valid)
        return drop(skb, INTERNAL_ERROR);
    eth = &work->inner;
    pair->judged_ns = 0;
    pair->generation = valid->generation; /* before the tables: a change from here on is seen */
    if (load_addresses(skb, ETH_HLEN, (int)is_ipv6, &work->vtep_key.peer, &work->remote_key.addr) ||
        bpf_skb_load_bytes(skb, header - sizeof(vni), &vni, sizeof(vni)) ||
        bpf_skb_load_bytes(skb, header, eth, sizeof(*eth)))
        return drop(skb, MALFORMED);
    if (is_ipv6 && work->vtep_key.peer.quads[0] == 0) /* the key of an IPv4 peer, or of nobody */
        return drop(skb, MALFORMED);
    work->vtep_key.vni = pair->vni = bpf_ntohl(vni) >> 8;
    work->vtep_key.reserved = 0;
    vtep = bpf_map_lookup_elem(&vteps, &work->vtep_key);
    if (!vtep || !work->vtep_key.vni)
        return tunnel_refuse(skb);
    at = vtep->tunnel;
    tunnel = bpf_map_lookup_elem(&tunnels, &at);
    if (!tunnel)
        return drop(skb, INTERNAL_ERROR);
    if (!tunnel_is_from(tunnel, &work->remote_key.addr, (int)is_ipv6) && !tunnel_is_for_us(skb))
        return TUNNEL_OF_OTHERS;

    __builtin_memcpy(work->remote.mac, eth->h_source, ETH_ALEN);
    work->remote_key.network = work->local_key.network = vtep->network;
    work->remote_key.reserved = work->local_key.reserved = 0;
    /* The bridge believes what it sees come by its ports. */
    if ((eth->h_source[0] & 1) || mac_is_gateway(eth->h_source))
        return tunnel_drop(skb, tunnel, FNET_TUNNEL_BAD_INNER);
    inner_ipv6 = eth->h_proto == bpf_htons(ETH_P_IPV6);
    if ((eth->h_dest[0] & 1) || (!inner_ipv6 && eth->h_proto != bpf_htons(ETH_P_IP)))
        return tunnel_unusual(skb, header);
    if (load_addresses(skb, header + ETH_HLEN, (int)inner_ipv6, &work->remote_key.addr, &work->local_key.addr))
        return tunnel_drop(skb, tunnel, FNET_TUNNEL_BAD_INNER);
    if (inner_ipv6) {
        /* Mapped and other addresses of that kind would be the keys of IPv4's, as in packet_parse_ipv6(). */
        if (work->remote_key.addr.quads[0] == 0 || work->local_key.addr.quads[0] == 0)
            return tunnel_drop(skb, tunnel, FNET_TUNNEL_BAD_INNER);
        if (bpf_skb_load_bytes(skb, header + ETH_HLEN + offsetof(struct ipv6hdr, nexthdr), next, sizeof(next)))
            return tunnel_drop(skb, tunnel, FNET_TUNNEL_BAD_INNER);
        if (address_link_local(&work->remote_key.addr) || address_link_local(&work->local_key.addr) ||
            may_be_nd(next[0], next[1]))
            return tunnel_unusual(skb, header);
    }
    verdict = remote_may_use(skb, work, at);
    if (verdict)
        return tunnel_drop(skb, tunnel, (__u32)verdict);
    known = bpf_map_lookup_elem(&addresses, &work->local_key);
    if (!known || !known->ifindex)
        return tunnel_drop(skb, tunnel, FNET_TUNNEL_BAD_INNER);
    if (vtep->flags & FNET_VTEP_NO_ICC)
        return drop(skb, NETWORK_ISOLATED);
    if (inner_ipv6 != is_ipv6 && !cfg.decap_l3)
        return tunnel_to_kernel(skb, tunnel);
    pair->peer = work->vtep_key.peer;
    pair->src = work->remote_key.addr;
    pair->dst = work->local_key.addr;
    pair->tunnel = at;
    pair->ifindex = known->ifindex;
    __builtin_memcpy(pair->src_mac, eth->h_source, ETH_ALEN);
    __builtin_memcpy(pair->dst_mac, known->mac, ETH_ALEN);
    pair->protocol = eth->h_proto;
    pair->outer_ipv6 = (__u8)is_ipv6;
    pair->judged_ns = tunnel->seen_ns = bpf_ktime_get_coarse_ns();
    return TUNNEL_JUDGED;
}

/* Was @pair judged for this packet, a moment ago? @ip: the outer header. */
FNET_INLINE int pair_is_for(const struct fnet_pair *pair, const void *ip, const struct ethhdr *eth,
                            const void *data_end, __u32 vni, const int is_ipv6)
{
    const struct fnet_validity *valid = map_single(validity);

    if (bpf_ktime_get_coarse_ns() - pair->judged_ns > JUDGED_FOR_NS || !valid ||
        pair->generation != valid->generation || pair->vni != vni || pair->outer_ipv6 != is_ipv6 ||
        pair->protocol != eth->h_proto || !mac_equal(pair->src_mac, eth->h_source) || (eth->h_dest[0] & 1))
        return 0;
    if (is_ipv6 ? !ipv6_equal(&pair->peer, &((const struct ipv6hdr *)ip)->saddr)
                : pair->peer.words[3] != ((const struct iphdr *)ip)->saddr)
        return 0;
    if (eth->h_proto == bpf_htons(ETH_P_IP)) {
        const struct iphdr *inner = (const void *)(eth + 1);
        return (const void *)(inner + 1) <= data_end && pair->src.words[3] == inner->saddr &&
               pair->dst.words[3] == inner->daddr;
    } else {
        const struct ipv6hdr *inner = (const void *)(eth + 1);
        return (const void *)(inner + 1) <= data_end && !may_be_nd(inner->nexthdr, inner->hop_limit) &&
               ipv6_equal(&pair->src, &inner->saddr) && ipv6_equal(&pair->dst, &inner->daddr);
    }
}

/* Where a pair's place is: by the last words of its addresses. Two pairs in one place only judge more often. What is no
 * IP packet, or too short for one, has no pair; any place will do. */
FNET_INLINE __u32 pair_index(const struct ethhdr *eth, const void *data_end, __u32 vni, __u32 peer)
{
    const void *ip = eth + 1;
    __u64 mixed = (__u64)peer << 16 ^ vni;

    if (eth->h_proto == bpf_htons(ETH_P_IP) && ip + sizeof(struct iphdr) <= data_end) {
        const struct iphdr *v4 = ip;
        mixed ^= (__u64)v4->saddr << 32 | v4->daddr;
    } else if (eth->h_proto == bpf_htons(ETH_P_IPV6) && ip + sizeof(struct ipv6hdr) <= data_end) {
        const struct ipv6hdr *v6 = ip;
        mixed ^= (__u64)load32(v6->saddr.s6_addr32 + 3) << 32 | load32(v6->daddr.s6_addr32 + 3);
    }
    return (__u32)(mixed * GOLDEN_RATIO >> (64 - FNET_PAIRS_BITS));
}

/* The helper takes the outer headers away, but not the mark of a tunnel from what is to be segmented. TCP is taken by a
 * socket as it is, and segmented by its own rules if it is forwarded; a UDP socket that did not ask for such packets
 * has them segmented as if they still were a tunnel's (udp4_ufo_fragment() of the kernel), and so loses them. */
FNET_INLINE int keeps_its_segments(struct __sk_buff *skb, __u32 inner_ip, __be16 protocol)
{
    __u32 offset =
        protocol == bpf_htons(ETH_P_IPV6) ? offsetof(struct ipv6hdr, nexthdr) : offsetof(struct iphdr, protocol);
    __u8 transport;

    return !bpf_skb_load_bytes(skb, inner_ip + offset, &transport, sizeof(transport)) && transport == IPPROTO_TCP;
}

#define TUNNEL_SHRINK (BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET)

/* One VXLAN packet; @is_ipv6 is the outer family, a constant. Returns a tc action, or TUNNEL_OF_OTHERS. */
FNET_INLINE int tunnel_take(struct __sk_buff *skb, const int is_ipv6)
{
    const __u32 header = tunnel_header_length(is_ipv6);
    const __u32 ip_length = is_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
    const __u32 reach =
        header + ETH_HLEN + sizeof(struct ipv6hdr); /* 40 bytes of an inner frame: of any that matters */
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct vxlan_header *vxlan;
    struct fnet_tunnel *tunnel;
    struct fnet_pair *pair;
    struct udphdr *udp;
    struct ethhdr *eth;
    __u32 total, length, index, at, vni, peer;
    __u64 flags = TUNNEL_SHRINK;
    int verdict;
    __u8 ecn;

    if (unlikely(data + reach > data_end && data + skb->len > data_end)) {
        bpf_skb_pull_data(skb, skb->len < reach ? skb->len : reach);
        data = (void *)(long)skb->data;
        data_end = (void *)(long)skb->data_end;
    }
    udp = data + ETH_HLEN + ip_length;
    vxlan = (void *)(udp + 1);
    eth = (void *)(vxlan + 1);
    if ((void *)(eth + 1) > data_end)
        return drop(skb, MALFORMED);
    if (is_ipv6) {
        struct ipv6hdr *ip = data + ETH_HLEN;
        total = bpf_ntohs(ip->payload_len);
        ecn = (((__u8 *)ip)[1] >> 4) & ECN_MASK;
        peer = ip->saddr.s6_addr32[3];
    } else {
        struct iphdr *ip = data + ETH_HLEN;
        total = bpf_ntohs(ip->tot_len) - (ip->tot_len ? sizeof(*ip) : 0);
        ecn = ip->tos & ECN_MASK;
        peer = ip->saddr;
    }
    length = bpf_ntohs(udp->len);
    if (skb->gso_size) { /* see length_field() */
        total = total ? total : skb->len - ETH_HLEN - ip_length;
        length = length ? length : total;
    }
    if (length < TUNNEL_UDP_AND_VXLAN + ETH_HLEN || length > total || total > skb->len - ETH_HLEN - ip_length ||
        !(vxlan->flags & VXLAN_FLAG_VNI))
        return drop(skb, MALFORMED);
    vni = bpf_ntohl(vxlan->vni) >> 8;
    index = pair_index(eth, data_end, vni, peer);
    pair = bpf_map_lookup_elem(&pairs, &index);
    if (!pair)
        return drop(skb, INTERNAL_ERROR);
    if (unlikely(!pair_is_for(pair, data + ETH_HLEN, eth, data_end, vni, is_ipv6))) {
        verdict = tunnel_judge(skb, index, is_ipv6);
        if (verdict != TUNNEL_JUDGED)
            return verdict;
    }
    at = pair->tunnel;
    tunnel = bpf_map_lookup_elem(&tunnels, &at);
    if (!tunnel)
        return drop(skb, INTERNAL_ERROR);
    if (unlikely(ecn == ECN_CE)) {
        verdict = tunnel_congestion(skb, header + ETH_HLEN, pair->protocol == bpf_htons(ETH_P_IPV6));
        if (verdict)
            return tunnel_drop(skb, tunnel, (__u32)verdict);
    }
    if (skb->gso_size && !keeps_its_segments(skb, header + ETH_HLEN, pair->protocol))
        return tunnel_to_kernel(skb, tunnel);
    length = skb->len - header;
    if (pair->protocol != (is_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP)))
        flags |= is_ipv6 ? FNET_DECAP_L3_IPV4 : FNET_DECAP_L3_IPV6;
    if (bpf_skb_adjust_room(skb, -(__s32)header, BPF_ADJ_ROOM_MAC, flags))
        return tunnel_to_kernel(skb, tunnel); /* segmented in a way that the helper does not know */
    bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);  /* of what the NIC verified, one layer is gone */
    data = (void *)(long)skb->data;
    data_end = (void *)(long)skb->data_end;
    eth = data;
    if ((void *)(eth + 1) > data_end)
        return drop(skb, INTERNAL_ERROR);
    __builtin_memcpy(eth->h_dest, pair->dst_mac, ETH_ALEN);
    __builtin_memcpy(eth->h_source, pair->src_mac, ETH_ALEN);
    eth->h_proto = pair->protocol;
    tunnel->received_packets++;
    tunnel->received_bytes += length;
    leave(skb, FNET_TUNNEL_RECEIVED, 0);
    return deliver_to_peer(skb, pair->ifindex);
}

__noinline int tunnel_receive_ipv4(struct __sk_buff *skb)
{
    return tunnel_take(skb, 0);
}

__noinline int tunnel_receive_ipv6(struct __sk_buff *skb)
{
    return tunnel_take(skb, 1);
}
