/* cgroup/connect4, connect6, sendmsg4, sendmsg6, attached while an overlay network with vxlan_guard exists: no process
 * in the node's network namespace sends UDP to the port of VXLAN. It would come from the node's address, which is all
 * that its peers know a tunnel by. The kernel's own vxlan device does not pass here; a raw socket does not either, and
 * takes CAP_NET_RAW. Not for everybody: for the hook the kernel locks the socket of each unconnected datagram, of any
 * process of the machine, which is 0.15 us. */
#pragma once

#include "bpf/lib/maps.h"

/* 0: EPERM for the caller. */
FNET_INLINE int vxlan_allowed(struct bpf_sock_addr *ctx)
{
    if ((__be16)ctx->user_port != bpf_htons(FNET_VXLAN_PORT) || ctx->protocol != IPPROTO_UDP)
        return 1;
    return bpf_get_netns_cookie(ctx) != cfg.netns_cookie || !overlay_exists();
}

SEC("cgroup/connect4")
int cgroup_connect4(struct bpf_sock_addr *ctx)
{
    return vxlan_allowed(ctx);
}

SEC("cgroup/connect6")
int cgroup_connect6(struct bpf_sock_addr *ctx)
{
    return vxlan_allowed(ctx);
}

SEC("cgroup/sendmsg4")
int cgroup_sendmsg4(struct bpf_sock_addr *ctx)
{
    return vxlan_allowed(ctx);
}

SEC("cgroup/sendmsg6")
int cgroup_sendmsg6(struct bpf_sock_addr *ctx)
{
    return vxlan_allowed(ctx);
}
