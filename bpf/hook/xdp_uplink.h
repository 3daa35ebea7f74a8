/* XDP at an uplink: what nobody here can want is dropped before the kernel makes an sk_buff of it. Everything else
 * passes, above all what is merely unusual: fragments, options, extension headers, VLAN tags, protocols that nobody
 * knows. It sees frames as they came off the wire, so before GRO, and does not know whose MAC is ours. */
#pragma once

#include "bpf/lib/deny.h"

/* As leave() of tc. */
FNET_INLINE int xdp_drop(struct xdp_md *ctx, __u32 verdict)
{
    struct fnet_verdict_count *count = bpf_map_lookup_elem(&verdicts, &verdict);

    if (likely(count)) {
        count->packets++;
        count->bytes += bpf_xdp_get_buff_len(ctx);
    }
    return XDP_DROP;
}

/* At least @needed bytes from the start of the frame are there. What lies in one piece tells in nearly all cases. */
FNET_INLINE int frame_has(struct xdp_md *ctx, const void *data, const void *data_end, __u64 needed)
{
    return (__u64)(data_end - data) >= needed || bpf_xdp_get_buff_len(ctx) >= needed;
}

/* The transport header at @l4, of @length bytes by the IP header, which has been believed. */
FNET_INLINE int transport_lies(__u8 protocol, const void *l4, const void *data_end, __u32 length)
{
    if (protocol == IPPROTO_TCP) {
        const struct tcphdr *tcp = l4;
        if (length < sizeof(*tcp))
            return 1;
        /* Not in the first piece: for the kernel to look at. */
        return (const void *)(tcp + 1) <= data_end && (tcp->doff < 5 || tcp->doff * 4U > length);
    }
    if (protocol == IPPROTO_UDP) {
        const struct udphdr *udp = l4;
        if (length < sizeof(*udp))
            return 1;
        return (const void *)(udp + 1) <= data_end &&
               (bpf_ntohs(udp->len) < sizeof(*udp) || bpf_ntohs(udp->len) > length);
    }
    return 0;
}

/* Is it VXLAN to this host from an address that is no peer's? The condition of tunnel_refuse(): well formed, the host's
 * own address, and no row for the sender. tc knows whose MAC is ours, and the helper has the same answer for an address
 * that is ours, for a group and for one without a route: frames and packets to a group are not judged. */
__noinline int tunnel_of_stranger(struct xdp_md *ctx, __u32 is_ipv6)
{
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    struct fnet_vtep_key key = {};
    struct bpf_fib_lookup route = {};
    struct fnet_vtep *anyone = overlay_row();
    struct vxlan_header *vxlan;
    struct ethhdr *eth = data;
    struct udphdr *udp;

    if (!anyone || (void *)(eth + 1) > data_end || (eth->h_dest[0] & 1))
        return 0;
    route.ifindex = anyone->bridge_ifindex;
    route.l4_protocol = IPPROTO_UDP;
    route.tot_len = 1;
    if (is_ipv6) {
        struct ipv6hdr *ip = data + ETH_HLEN;
        udp = (void *)(ip + 1);
        vxlan = (void *)(udp + 1);
        if ((void *)(vxlan + 1) + ETH_HLEN > data_end || ip->daddr.s6_addr[0] == 0xff)
            return 0;
        route.family = AF_INET6;
        __builtin_memcpy(route.ipv6_dst, &ip->daddr, sizeof(ip->daddr));
        address_from_v6(&key.peer, &ip->saddr);
        if (key.peer.quads[0] == 0) /* would be the key of an IPv4 peer, or of nobody */
            return 0;
    } else {
        struct iphdr *ip = data + ETH_HLEN;
        udp = (void *)(ip + 1);
        vxlan = (void *)(udp + 1);
        if ((void *)(vxlan + 1) + ETH_HLEN > data_end || bpf_ntohl(ip->daddr) >= 0xe0000000)
            return 0;
        route.family = AF_INET;
        route.ipv4_dst = ip->daddr;
        address_from_v4(&key.peer, ip->saddr);
    }
    if (bpf_ntohs(udp->len) < sizeof(*udp) + sizeof(*vxlan) + ETH_HLEN || !(vxlan->flags & VXLAN_FLAG_VNI) ||
        bpf_map_lookup_elem(&vteps, &key))
        return 0;
    return bpf_fib_lookup(ctx, &route, sizeof(route), FNET_FIB_LOOKUP_SRC) == BPF_FIB_LKUP_RET_NOT_FWDED;
}

/* 0, or the verdict that this packet is dropped with. */
FNET_INLINE __u32 judge_ipv4(struct xdp_md *ctx, void *data, void *data_end, __u64 tables)
{
    struct iphdr *ip = data + ETH_HLEN;
    __u32 header, total;

    if ((void *)(ip + 1) > data_end)
        return frame_has(ctx, data, data_end, ETH_HLEN + sizeof(*ip)) ? 0 : FNET_MALFORMED;
    if (tables && deny_ipv4(tables, ip->saddr))
        return FNET_SOURCE_DENY_LISTED;
    header = ip->ihl * 4U;
    total = bpf_ntohs(ip->tot_len);
    if (ip->version != 4 || header < sizeof(*ip))
        return FNET_MALFORMED;
    if (unlikely(total == 0)) /* IPv4 BIG TCP: between devices of one machine only, and longer than the field can say */
        return frame_has(ctx, data, data_end, ETH_HLEN + 65536) ? 0 : FNET_MALFORMED;
    if (total < header || !frame_has(ctx, data, data_end, ETH_HLEN + total))
        return FNET_MALFORMED;
    if (ip->frag_off & bpf_htons(0x3fff))
        return 0;
    if (transport_lies(ip->protocol, (void *)ip + header, data_end, total - header))
        return FNET_MALFORMED;
    if (header == sizeof(*ip) && ip->protocol == IPPROTO_UDP) {
        struct udphdr *udp = (void *)(ip + 1);
        if ((void *)(udp + 1) <= data_end && udp->dest == bpf_htons(FNET_VXLAN_PORT) &&
            filter_has(FNET_FILTER_UDP4, FNET_VXLAN_PORT) && tunnel_of_stranger(ctx, 0))
            return FNET_TUNNEL_UNKNOWN_PEER;
    }
    return 0;
}

FNET_INLINE __u32 judge_ipv6(struct xdp_md *ctx, void *data, void *data_end, __u64 tables)
{
    struct ipv6hdr *ip = data + ETH_HLEN;
    __u32 payload;

    if ((void *)(ip + 1) > data_end)
        return frame_has(ctx, data, data_end, ETH_HLEN + sizeof(*ip)) ? 0 : FNET_MALFORMED;
    if (tables && deny_ipv6(tables, ip->saddr.s6_addr32))
        return FNET_SOURCE_DENY_LISTED;
    payload = bpf_ntohs(ip->payload_len);
    if (ip->version != 6)
        return FNET_MALFORMED;
    if (unlikely(payload == 0) &&
        frame_has(ctx, data, data_end, ETH_HLEN + sizeof(*ip) + 65536)) /* BIG TCP, a jumbogram */
        return 0;
    if (!frame_has(ctx, data, data_end, ETH_HLEN + sizeof(*ip) + payload) ||
        transport_lies(ip->nexthdr, ip + 1, data_end, payload))
        return FNET_MALFORMED;
    if (ip->nexthdr == IPPROTO_UDP) {
        struct udphdr *udp = (void *)(ip + 1);
        if ((void *)(udp + 1) <= data_end && udp->dest == bpf_htons(FNET_VXLAN_PORT) &&
            filter_has(FNET_FILTER_UDP6, FNET_VXLAN_PORT) && tunnel_of_stranger(ctx, 1))
            return FNET_TUNNEL_UNKNOWN_PEER;
    }
    return 0;
}

SEC("xdp.frags")
int xdp_uplink(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    __u32 verdict = 0;

    if ((void *)(eth + 1) > data_end)
        return XDP_PASS;
    if (eth->h_proto == bpf_htons(ETH_P_IP))
        verdict = judge_ipv4(ctx, data, data_end, deny_tables());
    else if (eth->h_proto == bpf_htons(ETH_P_IPV6))
        verdict = judge_ipv6(ctx, data, data_end, deny_tables());
    return verdict ? xdp_drop(ctx, verdict) : XDP_PASS;
}
