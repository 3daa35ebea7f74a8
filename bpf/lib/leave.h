/* The one place that counts a verdict and returns the action. */
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
