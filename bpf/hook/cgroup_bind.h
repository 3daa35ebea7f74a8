/* cgroup/bind4, bind6: while a port is published no process of the node's network namespace can bind it, with no
 * process of ours holding it. A connect's automatic bind never comes here; ip_local_reserved_ports covers that (user
 * space). */
#pragma once

#include "bpf/lib/create.h"

FNET_INLINE int bind_allowed(struct bpf_sock_addr *ctx, const struct fnet_addr *addr)
{
    __be16 port = (__be16)ctx->user_port;
    __u8 protocol = (__u8)ctx->protocol;

    if (bpf_get_netns_cookie(ctx) != cfg.netns_cookie || port == 0 || !port_is_published(protocol, port))
        return 1;
    /* A wildcard bind clashes with any published address; another only with its own or with a published wildcard. */
    if (!address_none(addr) && !(addr->quads[0] == 0 && addr->words[2] == bpf_htonl(0xffff) && addr->words[3] == 0) &&
        !service_find(addr, protocol, port, 0) && !service_find(addr, protocol, port, 1))
        return 1;
    bpf_set_retval(-FNET_EADDRINUSE);
    return 0;
}

SEC("cgroup/bind4")
int cgroup_bind4(struct bpf_sock_addr *ctx)
{
    struct fnet_addr addr;

    address_from_v4(&addr, ctx->user_ip4);
    return bind_allowed(ctx, &addr);
}

SEC("cgroup/bind6")
int cgroup_bind6(struct bpf_sock_addr *ctx)
{
    struct fnet_addr addr;

    addr.words[0] = ctx->user_ip6[0];
    addr.words[1] = ctx->user_ip6[1];
    addr.words[2] = ctx->user_ip6[2];
    addr.words[3] = ctx->user_ip6[3];
    return bind_allowed(ctx, &addr);
}
