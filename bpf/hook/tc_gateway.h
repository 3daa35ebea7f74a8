/* tcx/tc of a network's bridge device: the border between the kernel's own paths and the containers. What the fast path
 * redirects never comes here, so these gates cost it nothing, and the host's other traffic neither.
 * No rule of iptables, routing rule or FORWARD policy is relied on; and since they belong to the bridge, an endpoint
 * brings one program of its own, not three. */
#pragma once

#include "bpf/lib/exit.h"

/* Counts what the kernel delivers for the endpoint that has the destination address; broadcasts belong to nobody. */
FNET_INLINE void gateway_count(struct __sk_buff *skb, __u32 network)
{
    struct fnet_address_key key = {.network = network};
    struct fnet_address *owner;
    struct fnet_endpoint *endpoint;
    __u32 ifindex;
    __be32 v4;

    if (skb->protocol == bpf_htons(ETH_P_IP)) {
        if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, daddr), &v4, sizeof(v4)))
            return;
        address_from_v4(&key.addr, v4);
    } else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
        if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, daddr), &key.addr, sizeof(key.addr)))
            return;
    } else {
        return;
    }
    owner = bpf_map_lookup_elem(&addresses, &key);
    if (!owner)
        return;
    ifindex = owner->ifindex;
    endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
    if (!endpoint)
        return;
    __sync_fetch_and_add(&endpoint->kernel_packets, 1);
    __sync_fetch_and_add(&endpoint->kernel_bytes, skb->len);
}

/* Egress: what the kernel sends into the network. The host itself may; what it routes from any other device, present or
 * later, may not. */
SEC("tc")
int tc_gateway_out(struct __sk_buff *skb)
{
    __u32 ifindex = skb->ifindex;
    __u32 from_ifindex = skb->ingress_ifindex; /* 0: made by this host; else the last device it came in by */
    struct fnet_device *bridge = bpf_map_lookup_elem(&devices, &ifindex), *from;

    if (!bridge)
        return drop(skb, UNKNOWN_ENDPOINT);
    if (from_ifindex) {
        from = bpf_map_lookup_elem(&devices, &from_ifindex);
        if (from && from->kind == FNET_DEVICE_BRIDGE)
            return drop(skb, NETWORK_ISOLATED);
        return drop(skb, NOT_PUBLISHED);
    }
    gateway_count(skb, bridge->network);
    return to_kernel(skb, FROM_HOST);
}

/* Ingress: what a container sends to the host. Only what is for the host itself goes on: a container's private source
 * never leaves by an uplink, whatever the host's routes, its ip_forward or the state of the container's own program.
 * The routes are asked as the kernel will ask them, but for a firewall mark or a DNAT of somebody's rules. */
SEC("tc")
int tc_gateway_in(struct __sk_buff *skb)
{
    struct fnet_scratch *work = map_single(scratch);
    struct fnet_addr src, dst;
    __u32 is_ipv6 = skb->protocol == bpf_htons(ETH_P_IPV6);
    __be32 v4[2];
    int way;

    if (!work)
        return drop(skb, INTERNAL_ERROR);
    if (skb->mark == FNET_TUNNEL_MARK)
        return drop(skb, TUNNEL_TO_HOST);
    /* The kernel forwards no frame but a unicast one to its own MAC, and nothing but IP. */
    if (skb->pkt_type != PACKET_HOST || (!is_ipv6 && skb->protocol != bpf_htons(ETH_P_IP)))
        return FNET_TO_KERNEL;
    if (is_ipv6) {
        if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, saddr), &src, sizeof(src)) ||
            bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, daddr), &dst, sizeof(dst)))
            return drop(skb, MALFORMED);
        if (dst.bytes[0] == 0xff || address_link_local(&dst))
            return FNET_TO_KERNEL;
    } else {
        if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, saddr), v4, sizeof(v4)))
            return drop(skb, MALFORMED);
        address_from_v4(&src, v4[0]);
        address_from_v4(&dst, v4[1]);
    }
    way = exit_lookup(skb, skb->ifindex, &src, &dst, (int)is_ipv6, 0, &work->route);
    return way == EXIT_LOCAL ? FNET_TO_KERNEL : drop(skb, UNTRANSLATED);
}
