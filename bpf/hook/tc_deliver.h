/* tcx/tc egress of an endpoint's host-side veth: what the kernel is about to deliver to a container. The fast path
 * never comes here (redirect_peer goes around it), so this is the gate of the slow one: the host itself and the
 * network's own members may pass, every other device, present or later, may not. No rule of iptables or FORWARD policy
 * is relied on. */
#pragma once

#include "bpf/lib/leave.h"

SEC("tc")
int tc_deliver(struct __sk_buff *skb)
{
    __u32 to_ifindex = skb->ifindex;
    __u32 from_ifindex = skb->ingress_ifindex; /* 0: made by this host; else the last device it came in by */
    struct fnet_endpoint *to = bpf_map_lookup_elem(&endpoints, &to_ifindex), *from;
    struct fnet_device *device;

    if (!to)
        return drop(skb, UNKNOWN_ENDPOINT);
    if (from_ifindex != 0) {
        from = bpf_map_lookup_elem(&endpoints, &from_ifindex);
        device = from ? NULL : bpf_map_lookup_elem(&devices, &from_ifindex);
        if (from ? from->network != to->network || (to->flags & FNET_ENDPOINT_NO_ICC)
                 : device && device->kind == FNET_DEVICE_BRIDGE)
            return drop(skb, NETWORK_ISOLATED);
        if (!from)
            return drop(skb, NOT_PUBLISHED);
    }
    __sync_fetch_and_add(&to->kernel_packets, 1);
    __sync_fetch_and_add(&to->kernel_bytes, skb->len);
    return leave(skb, from_ifindex ? FNET_FROM_BRIDGE : FNET_FROM_HOST, FNET_TO_KERNEL);
}
