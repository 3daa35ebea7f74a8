/* The host's own traffic, told apart before anything is parsed. */
#pragma once

#include "bpf/lib/create.h"

/* The first 16 bits of a container subnet are those of @word, the start of an address. */
FNET_INLINE int first_bits_are_ours(__be32 word, int is_ipv6)
{
    return filter_has(is_ipv6 ? FNET_FILTER_SUBNET6 : FNET_FILTER_SUBNET4, (__u16)(bpf_ntohl(word) >> 16));
}

enum host_traffic_at {
    HOST_TRAFFIC_UPLINK,   /* where replies of masqueraded flows come in, and packets straight to containers */
    HOST_TRAFFIC_LOOPBACK, /* where neither does */
};

/* Neither a reply to a masquerade port nor a published port. */
FNET_INLINE int port_is_hosts(int is_ipv6, __u8 protocol, __be16 port, enum host_traffic_at at)
{
    __u16 span = cfg.masquerade_last - cfg.masquerade_first;

    if (at == HOST_TRAFFIC_UPLINK && (__u16)(bpf_ntohs(port) - cfg.masquerade_first) <= span)
        return 0;
    return !port_is_published(is_ipv6, protocol, port);
}

enum host_traffic {
    HOST_TRAFFIC_NOT_PLAIN, /* to be looked at closer */
    HOST_TRAFFIC_PLAIN,
    HOST_TRAFFIC_VXLAN_IPV4,
    HOST_TRAFFIC_VXLAN_IPV6,
};

/* A bit in the filter, too: a node without overlay networks leaves VXLAN to whoever uses it. Neither options nor
 * fragments: a VTEP makes none (RFC 7348 4.3), and what the kernel puts together of them ends at its vxlan device,
 * which takes only what was judged here. */
FNET_INLINE int port_is_vxlan(int is_ipv6, __u8 protocol, __be16 port, enum host_traffic_at at)
{
    return at == HOST_TRAFFIC_UPLINK && protocol == IPPROTO_UDP && port == bpf_htons(FNET_VXLAN_PORT) &&
           port_is_published(is_ipv6, protocol, port);
}

/* Nearly all of the host's own traffic is told apart here, by a few bytes and two array accesses: it pays for every
 * instruction. Not parsed further and not judged, the kernel does that. */
FNET_INLINE enum host_traffic host_traffic(struct __sk_buff *skb, enum host_traffic_at at)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct ethhdr *eth = data;
    __u8 protocol;
    __be32 dst;
    __be16 *ports;

    if (data + ETH_HLEN + sizeof(struct ipv6hdr) + 4 <= data_end && eth->h_proto == bpf_htons(ETH_P_IPV6)) {
        struct ipv6hdr *ip = data + ETH_HLEN;
        protocol = ip->nexthdr;
        dst = ip->daddr.s6_addr32[0];
        ports = (void *)(ip + 1);
        if (port_is_vxlan(1, protocol, ports[1], at))
            return HOST_TRAFFIC_VXLAN_IPV6;
        return (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) &&
               (at == HOST_TRAFFIC_LOOPBACK || !first_bits_are_ours(dst, 1)) &&
               port_is_hosts(1, protocol, ports[1], at);
    }
    if (data + ETH_HLEN + sizeof(struct iphdr) + 4 <= data_end && eth->h_proto == bpf_htons(ETH_P_IP)) {
        struct iphdr *ip = data + ETH_HLEN;
        protocol = ip->protocol;
        dst = ip->daddr;
        ports = (void *)(ip + 1);
        if (ip->ihl != 5 || (ip->frag_off & bpf_htons(0x3fff)))
            return HOST_TRAFFIC_NOT_PLAIN;
        if (port_is_vxlan(0, protocol, ports[1], at))
            return HOST_TRAFFIC_VXLAN_IPV4;
        return (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) &&
               (at == HOST_TRAFFIC_LOOPBACK || !first_bits_are_ours(dst, 0)) &&
               port_is_hosts(0, protocol, ports[1], at);
    }
    return HOST_TRAFFIC_NOT_PLAIN;
}
