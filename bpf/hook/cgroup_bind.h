/* cgroup/bind4, bind6: while a port is published no process of the node's network namespace can bind it, with no
 * process of ours holding it. A connect's automatic bind never comes here; ip_local_reserved_ports covers that (user
 * space). */
#pragma once

#include "bpf/lib/create.h"

/* The families that a bind takes, as bits. `::` is both, unless the socket is for IPv6 only. */
#define BIND_IPV4 1
#define BIND_IPV6 2

FNET_INLINE int bind_allowed(struct bpf_sock_addr *ctx, const struct fnet_addr *addr, int families)
{
    __be16 port = (__be16)ctx->user_port;
    __u8 protocol = (__u8)ctx->protocol;

    if (bpf_get_netns_cookie(ctx) != cfg.netns_cookie || port == 0)
        return 1;
    if (is_overlay_port(protocol, port)) /* the kernel's vxlan device comes here too, and holds it by itself */
        return 1;
    if (!((families & BIND_IPV4) && port_is_published(0, protocol, port)) &&
        !((families & BIND_IPV6) && port_is_published(1, protocol, port)))
        return 1;
    /* A wildcard bind clashes with any published address; another only with its own or with a published wildcard. */
    if (!address_none(addr) && !(addr->quads[0] == 0 && addr->words[2] == bpf_htonl(0xffff) && addr->words[3] == 0) &&
        !service_find_any(addr, protocol, port))
        return 1;
    bpf_set_retval(-FNET_EADDRINUSE);
    return 0;
}

SEC("cgroup/bind4")
int cgroup_bind4(struct bpf_sock_addr *ctx)
{
    struct fnet_addr addr;

    address_from_v4(&addr, ctx->user_ip4);
    return bind_allowed(ctx, &addr, BIND_IPV4);
}

/* struct sock_common of include/net/sock.h, with which every socket begins. */
struct sock_common {
    unsigned char skc_ipv6only : 1;
} __attribute__((preserve_access_index));

FNET_INLINE int socket_is_ipv6_only(struct bpf_sock *sk, __u8 protocol)
{
    void *socket = NULL;

    if (!sk)
        return 0;
    if (protocol == IPPROTO_TCP)
        socket = bpf_skc_to_tcp6_sock(sk);
    else if (protocol == IPPROTO_UDP)
        socket = bpf_skc_to_udp6_sock(sk);
    return socket && BPF_CORE_READ_BITFIELD_PROBED((struct sock_common *)socket, skc_ipv6only);
}

SEC("cgroup/bind6")
int cgroup_bind6(struct bpf_sock_addr *ctx)
{
    struct fnet_addr addr;
    int families = BIND_IPV6;

    addr.words[0] = ctx->user_ip6[0];
    addr.words[1] = ctx->user_ip6[1];
    addr.words[2] = ctx->user_ip6[2];
    addr.words[3] = ctx->user_ip6[3];
    if (addr.quads[0] == 0 && addr.words[2] == bpf_htonl(0xffff)) /* IPv4 by an IPv6 socket */
        families = BIND_IPV4;
    else if (address_none(&addr) && !socket_is_ipv6_only(ctx->sk, (__u8)ctx->protocol))
        families |= BIND_IPV4;
    return bind_allowed(ctx, &addr, families);
}
