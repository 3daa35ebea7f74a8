/* The one place that counts a verdict and returns the action, and the way into a container. */
#pragma once

#include "bpf/lib/maps.h"

FNET_INLINE int leave(struct __sk_buff *skb, __u32 verdict, int action)
{
    struct fnet_verdict_count *count = bpf_map_lookup_elem(&verdicts, &verdict);
    if (likely(count)) {
        count->packets++;
        count->bytes += skb->len;
    }
    return action;
}
#define to_kernel(skb, verdict) leave(skb, FNET_##verdict, FNET_TO_KERNEL)
#define drop(skb, verdict) leave(skb, FNET_##verdict, TC_ACT_SHOT)

/* Into the container. Before 6.15 redirect_peer keeps the type that this side of the veth saw: a frame to the gateway's
 * MAC is another host's there, and the container's IP would drop it. */
FNET_INLINE int deliver_to_peer(struct __sk_buff *skb, __u32 ifindex)
{
    if (unlikely(skb->pkt_type != PACKET_HOST))
        bpf_skb_change_type(skb, PACKET_HOST);
    return (int)bpf_redirect_peer(ifindex, 0);
}

/* To a process of this host, which called by an address of the host: lo takes the frame as its own. It came in with the
 * gateway's MAC, so it still counts as another host's, and lo would not correct that. */
FNET_INLINE int deliver_to_loopback(struct __sk_buff *skb)
{
    bpf_skb_change_type(skb, PACKET_HOST);
    return (int)bpf_redirect(FNET_LOOPBACK_IFINDEX, 0);
}
