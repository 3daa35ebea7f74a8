/* tcx/tc of an overlay network's vxlan device, the kernel's own path to other nodes: gates, as those of the bridge are.
 * The uplink's program judges what comes from peers; this device's socket would take packets from anybody, by any
 * interface, so what was not judged ends here. */
#pragma once

#include "bpf/lib/leave.h"
#include "bpf/lib/packet.h"

/* Ingress: decapsulated by the kernel. The mark stays until the frame is in a container: tc_gateway_in knows by it what
 * the bridge floods to the host. */
SEC("tc")
int tc_tunnel_in(struct __sk_buff *skb)
{
    return skb->mark == FNET_TUNNEL_MARK ? FNET_TO_KERNEL : drop(skb, TUNNEL_UNKNOWN_PEER);
}

/* Egress: what the bridge floods or sends there. The host has no part in the network's other nodes: each of them has
 * the gateway's addresses too. */
SEC("tc")
int tc_tunnel_out(struct __sk_buff *skb)
{
    __u8 source[ETH_ALEN] __attribute__((aligned(4)));

    if (bpf_skb_load_bytes(skb, ETH_ALEN, source, sizeof(source)))
        return drop(skb, MALFORMED);
    return mac_is_gateway(source) ? drop(skb, TUNNEL_FROM_HOST) : FNET_TO_KERNEL;
}
