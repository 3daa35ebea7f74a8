/* VXLAN (RFC 7348) by our own hands: encapsulation with a header that is kept ready for each peer, and decapsulation
 * straight into the container. What this path does not carry goes through the kernel's vxlan device: broadcast,
 * multicast, questions about unknown addresses, and what a helper refuses. */
#pragma once

#include "bpf/lib/answer.h"
#include "bpf/lib/exit.h"
#include "bpf/lib/way.h"

#define TUNNEL_TTL 64
#define TUNNEL_FIRST_PORT 0xc000 /* 49152-65535, as RFC 7348 section 4 recommends */
#define TUNNEL_UDP_AND_VXLAN (sizeof(struct udphdr) + sizeof(struct vxlan_header))
/* Of the whole frame, up to the inner Ethernet header. */
#define TUNNEL_HEADER_IPV4 (ETH_HLEN + sizeof(struct iphdr) + TUNNEL_UDP_AND_VXLAN)
#define TUNNEL_HEADER_IPV6 (ETH_HLEN + sizeof(struct ipv6hdr) + TUNNEL_UDP_AND_VXLAN)
FNET_ASSERT(TUNNEL_HEADER_IPV4 == FNET_TUNNEL_OVERHEAD_IPV4, "the inner Ethernet header is as long as the outer one");
FNET_ASSERT(TUNNEL_HEADER_IPV6 == FNET_TUNNEL_OVERHEAD_IPV6, "the same");

#define ECN_MASK 3
#define ECN_CE 3

FNET_INLINE int address_is_v4(const struct fnet_addr *addr)
{
    return addr->quads[0] == 0 && addr->words[2] == bpf_htonl(0xffff);
}

/* The header that is the same for every packet to @peer. IPv4: its checksum field holds the sum of what is there. */
FNET_INLINE void tunnel_fill_header(__u8 *header, const struct fnet_addr *peer, const struct bpf_fib_lookup *route,
                                    int is_ipv6)
{
    struct ethhdr *eth = (void *)header;
    struct udphdr *udp;

    __builtin_memcpy(eth->h_dest, route->dmac, ETH_ALEN);
    __builtin_memcpy(eth->h_source, route->smac, ETH_ALEN);
    eth->h_proto = is_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
    if (is_ipv6) {
        struct ipv6hdr *ip = (void *)(eth + 1);
        __builtin_memset(ip, 0, 4);
        ip->version = 6;
        ip->payload_len = 0;
        ip->nexthdr = IPPROTO_UDP;
        ip->hop_limit = TUNNEL_TTL;
        __builtin_memcpy(&ip->saddr, route->ipv6_src, 16);
        __builtin_memcpy(&ip->daddr, peer->bytes, 16);
        udp = (void *)(ip + 1);
    } else {
        struct iphdr *ip = (void *)(eth + 1);
        ip->version = 4;
        ip->ihl = 5;
        ip->tos = 0;
        ip->tot_len = 0;
        ip->id = 0;
        ip->frag_off = bpf_htons(0x4000); /* a VTEP does not fragment; what is too big its sender is told */
        ip->ttl = TUNNEL_TTL;
        ip->protocol = IPPROTO_UDP;
        ip->saddr = route->ipv4_src;
        ip->daddr = peer->words[3];
        ip->check = 0;
        ip->check = csum_fold16((__u32)bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0));
        udp = (void *)(ip + 1);
    }
    udp->source = 0;
    udp->dest = bpf_htons(FNET_VXLAN_PORT);
    udp->len = 0;
    udp->check = 0; /* RFC 7348 section 5; over IPv6 RFC 6935 */
    *(__be32 *)(udp + 1) = bpf_htonl(VXLAN_FLAG_VNI << 24);
    *((__be32 *)(udp + 1) + 1) = 0;
}

/* The address that peers know this node by. False: it was not set, and the route chooses. Read through the volatile
 * configuration, word by word. */
FNET_INLINE int tunnel_own_address(struct fnet_addr *own, int is_ipv6)
{
    if (!is_ipv6) {
        address_from_v4(own, cfg.vtep4);
        return own->words[3] != 0;
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        own->words[i] = cfg.vtep6.words[i];
    return !address_none(own);
}

/* Looks up the way to the peer, for the next cfg.exit_ns. Returns enum exit_result; with EXIT_OK and EXIT_UNRESOLVED
 * the header is right but perhaps for the MACs, and work->route is the way. */
__noinline int tunnel_refresh(struct __sk_buff *skb, __u32 index, __u32 bridge_ifindex)
{
    struct fnet_scratch *work = map_single(scratch);
    struct fnet_tunnel *tunnel = bpf_map_lookup_elem(&tunnels, &index);
    struct bpf_fib_lookup *route;
    struct fnet_addr peer, own;
    __u32 mtu = 0, overhead;
    int is_ipv6, is_set, result;

    if (!work || !tunnel || address_none(&tunnel->peer))
        return EXIT_NO_ROUTE;
    route = &work->route;
    peer = tunnel->peer;
    is_ipv6 = !address_is_v4(&peer);
    overhead = is_ipv6 ? FNET_TUNNEL_OVERHEAD_IPV6 : FNET_TUNNEL_OVERHEAD_IPV4;
    is_set = tunnel_own_address(&own, is_ipv6);
    result = exit_lookup(skb, bridge_ifindex, is_set ? &own : NULL, &peer, is_ipv6, IPPROTO_UDP, route);
    if (result != EXIT_OK && result != EXIT_UNRESOLVED) {
        tunnel->exit_ifindex = 0;
        return result;
    }
    /* Made aside: other CPUs send by the old one meanwhile. */
    tunnel_fill_header(work->header, &peer, route, is_ipv6);
    if (!address_equal(&peer, &tunnel->peer)) /* user space gave the place to another one */
        return EXIT_NO_ROUTE;
#pragma unroll
    for (int i = 0; i < FNET_TUNNEL_HEADER / 8; i++)
        ((__u64 *)tunnel->header)[i] = ((__u64 *)work->header)[i];
    if (result == EXIT_OK)
        mtu = route->mtu_result;
    else
        bpf_check_mtu(skb, route->ifindex, &mtu, 0, 0);
    tunnel->mtu = mtu > overhead ? mtu - overhead : 0;
    tunnel->exit_ifindex = route->ifindex;
    tunnel->checked_ns = result == EXIT_OK ? bpf_ktime_get_coarse_ns() : 0;
    return result;
}

/* The outer source port tells flows apart for multipath routes and receive queues (RFC 7348 section 4). From addresses,
 * ports and protocol; the fragments of a datagram, which show no ports, stay together. */
FNET_INLINE __be16 tunnel_source_port(const struct fnet_flow_key *key)
{
    __u64 mixed = key->src.quads[1] ^ (key->dst.quads[1] << 7 | key->dst.quads[1] >> 57);

    mixed ^= (__u64)key->src_port << 48 | (__u64)key->dst_port << 16 | key->protocol;
    mixed *= GOLDEN_RATIO;
    return bpf_htons((__u16)(TUNNEL_FIRST_PORT | mixed >> 50));
}

/* What the outer header has no room for is a segmented packet's, whose segments get their own. */
FNET_INLINE __be16 length_field(__u32 length)
{
    return length > 0xffff ? 0 : bpf_htons((__u16)length);
}

/* ECN of an IP packet as its sender set it, for the outer header (RFC 6040 4.1, normal mode). */
FNET_INLINE __u8 packet_ecn(struct __sk_buff *skb, int is_ipv6)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct iphdr *ip = data + ETH_HLEN;

    if (data + ETH_HLEN + 2 > data_end)
        return 0;
    return is_ipv6 ? (((__u8 *)ip)[1] >> 4) & ECN_MASK : ip->tos & ECN_MASK;
}

/* The first fragment of a datagram may be told that it is too big, like a whole one; the others may not (RFC 1122
 * 3.2.2). */
FNET_INLINE int is_first_fragment(struct __sk_buff *skb, const struct packet *packet)
{
    const __u32 offset = packet->is_ipv6 ? packet->l4_offset + 2 /* of the fragment header, RFC 8200 4.5 */
                                         : ETH_HLEN + offsetof(struct iphdr, frag_off);
    __be16 field;

    return packet->kind == PACKET_FRAGMENT && !bpf_skb_load_bytes(skb, offset, &field, sizeof(field)) &&
           !(field & (packet->is_ipv6 ? bpf_htons(0xfff8) : bpf_htons(0x1fff)));
}

struct tunnel_frame { /* what differs from packet to packet */
    const __u8 *dst_mac;
    const __u8 *src_mac;
    __u32 length; /* of the inner frame */
    __u32 vni;
    __be16 source_port;
    __u8 ecn;
    __u8 inner_ipv6;
};

/* Room is made already: the outer frame and the inner Ethernet header are written. 0, or -1: the frame is too short. */
FNET_INLINE int tunnel_write_ipv4(struct __sk_buff *skb, const struct fnet_tunnel *tunnel,
                                  const struct tunnel_frame *frame)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    const __u64 *from = (const __u64 *)tunnel->header;
    struct iphdr *ip = data + ETH_HLEN;
    struct udphdr *udp = (void *)(ip + 1);
    struct vxlan_header *vxlan = (void *)(udp + 1);
    struct ethhdr *inner = (void *)(vxlan + 1);
    __u32 sum;

    if ((void *)(inner + 1) > data_end)
        return -1;
#pragma unroll
    for (int i = 0; i < 6; i++)
        ((__u64 *)data)[i] = from[i];
    vxlan->vni = bpf_htonl(frame->vni << 8);
    ip->tos = frame->ecn;
    ip->tot_len = length_field(frame->length + sizeof(*ip) + TUNNEL_UDP_AND_VXLAN);
    sum = ip->check + ip->tot_len + bpf_htons(frame->ecn);
    ip->check = ~csum_fold16(sum);
    udp->source = frame->source_port;
    udp->len = length_field(frame->length + TUNNEL_UDP_AND_VXLAN);
    __builtin_memcpy(inner->h_dest, frame->dst_mac, ETH_ALEN);
    __builtin_memcpy(inner->h_source, frame->src_mac, ETH_ALEN);
    inner->h_proto = frame->inner_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
    return 0;
}

FNET_INLINE int tunnel_write_ipv6(struct __sk_buff *skb, const struct fnet_tunnel *tunnel,
                                  const struct tunnel_frame *frame)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    const __u64 *from = (const __u64 *)tunnel->header;
    struct ipv6hdr *ip = data + ETH_HLEN;
    struct udphdr *udp = (void *)(ip + 1);
    struct vxlan_header *vxlan = (void *)(udp + 1);
    struct ethhdr *inner = (void *)(vxlan + 1);

    if ((void *)(inner + 1) > data_end)
        return -1;
#pragma unroll
    for (int i = 0; i < 8; i++)
        ((__u64 *)data)[i] = from[i];
    vxlan->reserved[1] = vxlan->reserved[2] = 0;
    vxlan->vni = bpf_htonl(frame->vni << 8);
    ((__u8 *)ip)[1] = (__u8)(frame->ecn << 4);
    ip->payload_len = udp->len = length_field(frame->length + TUNNEL_UDP_AND_VXLAN);
    udp->source = frame->source_port;
    __builtin_memcpy(inner->h_dest, frame->dst_mac, ETH_ALEN);
    __builtin_memcpy(inner->h_source, frame->src_mac, ETH_ALEN);
    inner->h_proto = frame->inner_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
    return 0;
}

#define TUNNEL_GROW \
    (BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | \
     BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH)
#define TUNNEL_REFUSED (-7) /* no tc action: the helper does not take this packet, which is as it was */

/* From a container by @way, which leads to another node. Returns a tc action or TUNNEL_REFUSED. */
__noinline int tunnel_send(struct __sk_buff *skb, struct packet *packet, struct fnet_way *way)
{
    struct tunnel_frame frame = {.length = skb->len};
    struct fnet_tunnel *tunnel;
    int refreshed = 0, is_ipv6;
    __u32 index;

    if (!packet || !way)
        return drop(skb, INTERNAL_ERROR);
    index = way->tunnel;
    tunnel = bpf_map_lookup_elem(&tunnels, &index);
    if (!tunnel)
        return drop(skb, INTERNAL_ERROR);
    if (unlikely(bpf_ktime_get_coarse_ns() - tunnel->checked_ns > cfg.exit_ns)) {
        int exit = tunnel_refresh(skb, index, way->bridge_ifindex);
        refreshed = 1;
        if (exit == EXIT_NO_UPLINK)
            return drop(skb, NO_UPLINK);
        if (exit != EXIT_OK && exit != EXIT_UNRESOLVED)
            return drop(skb, NO_ROUTE);
    }
    if (unlikely(!packet_fits(skb, packet, tunnel->mtu))) {
        if (is_first_fragment(skb, packet))
            packet->kind = PACKET_PORTLESS; /* nothing of it is looked at but its addresses */
        return answer(skb, packet, FNET_TOO_BIG, tunnel->mtu);
    }
    frame.dst_mac = way->dst_mac;
    frame.src_mac = way->src_mac;
    frame.vni = way->vni;
    frame.inner_ipv6 = packet->is_ipv6;
    frame.source_port = tunnel_source_port(&packet->key);
    frame.ecn = packet_ecn(skb, packet->is_ipv6);
    is_ipv6 = !address_is_v4(&tunnel->peer);
    if (bpf_skb_adjust_room(skb, is_ipv6 ? FNET_TUNNEL_OVERHEAD_IPV6 : FNET_TUNNEL_OVERHEAD_IPV4, BPF_ADJ_ROOM_MAC,
                            TUNNEL_GROW | (is_ipv6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4)))
        return TUNNEL_REFUSED;
    if (is_ipv6 ? tunnel_write_ipv6(skb, tunnel, &frame) : tunnel_write_ipv4(skb, tunnel, &frame))
        return drop(skb, INTERNAL_ERROR);
    tunnel->sent_packets++;
    tunnel->sent_bytes += frame.length;
    way_count(way, frame.length);
    leave(skb, FNET_TUNNEL_SENT, 0);
    skb->queue_mapping = 0;    /* as flow_send() */
    if (unlikely(refreshed)) { /* as exit_refresh(): the neighbour's entry lives on use */
        struct fnet_scratch *work = map_single(scratch);
        return work ? exit_by_neighbour(&work->route) : TC_ACT_SHOT;
    }
    return (int)bpf_redirect(tunnel->exit_ifindex, 0);
}
