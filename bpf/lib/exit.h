/* The way out: next hops by fib lookup, believed for cfg.exit_ns, then looked up again in the program, so that a
 * changed route, next-hop MAC or uplink address is followed with no process running. */
#pragma once

#include "bpf/lib/answer.h"
#include "bpf/lib/early.h"
#include "bpf/lib/flow.h"

enum exit_result {
    EXIT_OK,         /* route.ifindex is an uplink, MACs are known */
    EXIT_UNRESOLVED, /* route.ifindex is an uplink, the neighbour is not known yet: use redirect_neigh */
    EXIT_LOCAL,      /* an address of this host, or broadcast; or no route at all */
    EXIT_ISOLATED,   /* into another container network */
    EXIT_NO_UPLINK,
    EXIT_NO_ROUTE,
};

/* Looks up the way from the endpoint's bridge (the device whose forwarding is on, which the helper asks for) to @dst.
 * @src NULL: the kernel chooses the source address, returned in route->ipv4_src / ipv6_src.
 * @route is the work space's: too large for the stack of this depth of calls. */
FNET_INLINE int exit_lookup(struct __sk_buff *skb, __u32 bridge_ifindex, const struct fnet_addr *src,
                            const struct fnet_addr *dst, int is_ipv6, __u8 protocol, struct bpf_fib_lookup *route)
{
    struct fnet_device *device;
    __u32 ifindex;
    long result;

    __builtin_memset(route, 0, sizeof(*route));
    route->family = is_ipv6 ? AF_INET6 : AF_INET;
    route->l4_protocol = protocol;
    route->tot_len = 1; /* ask for the MTU of the route, whatever this packet's size */
    route->ifindex = bridge_ifindex;
    if (is_ipv6) {
        if (src)
            __builtin_memcpy(route->ipv6_src, src, 16);
        __builtin_memcpy(route->ipv6_dst, dst, 16);
    } else {
        if (src)
            route->ipv4_src = src->words[3];
        route->ipv4_dst = dst->words[3];
    }
    result = bpf_fib_lookup(skb, route, sizeof(*route), src ? 0 : FNET_FIB_LOOKUP_SRC);
    if (result == BPF_FIB_LKUP_RET_NOT_FWDED)
        return EXIT_LOCAL;
    if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
        return EXIT_NO_ROUTE;
    ifindex = route->ifindex;
    device = bpf_map_lookup_elem(&devices, &ifindex);
    if (!device)
        return EXIT_NO_UPLINK;
    if (device->kind != FNET_DEVICE_UPLINK)
        return EXIT_ISOLATED;
    return result == BPF_FIB_LKUP_RET_SUCCESS ? EXIT_OK : EXIT_UNRESOLVED;
}

/* EXIT_LOCAL also says that there is no route at all: the helper answers both alike. The addresses beside it tell them
 * apart. Where they can be reached, by the subnet of the host's own address or by a default route, @dst cannot lack a
 * route. Two are asked, because the first may be the host's too. (On a host without a default route an address of its
 * own in no subnet is so taken for unroutable: publish on it by name.) */
FNET_INLINE int is_among_routes(struct __sk_buff *skb, __u32 bridge_ifindex, const struct fnet_addr *own,
                                const struct fnet_addr *dst, int is_ipv6, struct bpf_fib_lookup *route)
{
    struct fnet_addr beside = *dst;
    int way;

    beside.words[3] ^= bpf_htonl(3); /* the other host of a /30 */
    way = exit_lookup(skb, bridge_ifindex, own, &beside, is_ipv6, IPPROTO_TCP, route);
    if (way == EXIT_LOCAL) {
        beside.words[3] ^= bpf_htonl(0x40);
        way = exit_lookup(skb, bridge_ifindex, own, &beside, is_ipv6, IPPROTO_TCP, route);
    }
    return way != EXIT_LOCAL && way != EXIT_NO_ROUTE;
}

/* Another CPU may send by the flow meanwhile. Worst case: one frame with the old MACs, or half of them, by the new
 * device, which the next hop drops. */
FNET_INLINE void exit_remember(struct __sk_buff *skb, struct fnet_flow *flow, const struct bpf_fib_lookup *route,
                               int result, __u64 now)
{
    __u32 mtu = 0;

    flow->exit = FNET_EXIT_LINK;
    flow->exit_ifindex = route->ifindex;
    /* mtu_result shares its place with tot_len and is written on success only. Else the device's will do for once. */
    if (result == EXIT_OK)
        mtu = route->mtu_result;
    else
        bpf_check_mtu(skb, route->ifindex, &mtu, 0, 0);
    flow->exit_mtu = mtu;
    __builtin_memcpy(flow->exit_dst_mac, route->dmac, ETH_ALEN);
    __builtin_memcpy(flow->exit_src_mac, route->smac, ETH_ALEN);
    /* An unresolved neighbour is asked for again by the next packet. */
    flow->exit_checked_ns = result == EXIT_OK ? now : 0;
}

FNET_INLINE int route_source_is(const struct bpf_fib_lookup *route, const struct fnet_addr *addr, int is_ipv6)
{
    if (!is_ipv6)
        return route->ipv4_src == addr->words[3];
    return route->ipv6_src[0] == addr->words[0] && route->ipv6_src[1] == addr->words[1] &&
           route->ipv6_src[2] == addr->words[2] && route->ipv6_src[3] == addr->words[3];
}

/* Through the kernel's neighbour code: resolves what is unknown, and keeps a known entry's state machine going, which
 * plain bpf_redirect would starve (an entry that nobody uses is never verified again). */
FNET_INLINE int exit_by_neighbour(const struct bpf_fib_lookup *route)
{
    struct bpf_redir_neigh next_hop = {};

    next_hop.nh_family = route->family; /* AF_INET6 for an IPv4 route via an IPv6 next hop */
    __builtin_memcpy(next_hop.ipv6_nh, route->ipv6_dst, 16);
    return (int)bpf_redirect_neigh(route->ifindex, &next_hop, sizeof(next_hop), 0);
}

/* True if the packet's segments fit @mtu bytes of IP. */
FNET_INLINE int packet_fits(struct __sk_buff *skb, const struct packet *packet, __u32 mtu)
{
    if (likely(packet->l3_length <= mtu) || !mtu)
        return 1;
    /* gso_size counts payload. */
    return skb->gso_size && skb->gso_size + (packet->l4_offset - ETH_HLEN) + packet->l4_header <= mtu;
}

/* An IPv6 host has several addresses, and prefers another one whenever a router advertises a prefix or a temporary
 * address is due (RFC 8981), daily. A masqueraded flow keeps the one that it was opened with while that is the host's
 * and the way out is the same. Returns enum exit_result: EXIT_OK or EXIT_UNRESOLVED and that way in work->route, or it
 * does not. */
__noinline int exit_with_own_source(struct __sk_buff *skb, struct fnet_flow *flow, __u32 bridge_ifindex)
{
    struct fnet_scratch *work = map_single(scratch);

    if (!flow || !work || work->route.ifindex != flow->exit_ifindex ||
        exit_lookup(skb, bridge_ifindex, NULL, &flow->new_src, 1, 0, &work->route) != EXIT_LOCAL)
        return EXIT_NO_ROUTE;
    return exit_lookup(skb, bridge_ifindex, &flow->new_src, &flow->new_dst, 1, 0, &work->route);
}

/* Asks for the way out again. Returns a tc action for this packet, or one of these. The packet is not rewritten then.
 */
#define EXIT_FLOW_GONE (-2) /* the flow's own address is gone and the flow with it: treat it as a new flow's */
#define EXIT_TOO_BIG (-5)
__noinline int exit_refresh(struct __sk_buff *skb, struct packet *packet, struct fnet_flow *flow)
{
    struct fnet_scratch *work = map_single(scratch);
    struct bpf_fib_lookup *route;
    struct fnet_endpoint *endpoint;
    __u32 ifindex;
    int result, masquerade, is_ipv6;

    if (!packet || !flow || !work)
        return drop(skb, INTERNAL_ERROR);
    route = &work->route;
    ifindex = flow->endpoint_ifindex;
    is_ipv6 = packet->is_ipv6;
    masquerade =
        (flow->flags & (FNET_FLOW_ORIGINAL | FNET_FLOW_MASQUERADE)) == (FNET_FLOW_ORIGINAL | FNET_FLOW_MASQUERADE);
    endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
    if (!endpoint)
        return drop(skb, UNKNOWN_ENDPOINT);
    result = exit_lookup(skb, endpoint->bridge_ifindex, masquerade ? NULL : &flow->new_src, &flow->new_dst, is_ipv6,
                         packet->key.protocol, route);
    if (result == EXIT_NO_UPLINK)
        return drop(skb, NO_UPLINK);
    if (result != EXIT_OK && result != EXIT_UNRESOLVED)
        return drop(skb, NO_ROUTE);
    if (masquerade && !route_source_is(route, &flow->new_src, is_ipv6))
        result = is_ipv6 ? exit_with_own_source(skb, flow, endpoint->bridge_ifindex) : EXIT_NO_ROUTE;
    if (result != EXIT_OK && result != EXIT_UNRESOLVED) {
        __u32 index = flow->slot;
        struct fnet_flow_slot *slot = bpf_map_lookup_elem(&flow_slots, &index);
        if (slot && flow_remove(index, slot->flow_class, FNET_SCRATCH_PACKET))
            slot_free(index);
        return EXIT_FLOW_GONE;
    }
    exit_remember(skb, flow, route, result, bpf_ktime_get_coarse_ns());
    if (!packet_fits(skb, packet, flow->exit_mtu))
        return EXIT_TOO_BIG;
    if (nat_rewrite(skb, packet, flow))
        return drop(skb, INTERNAL_ERROR);
    leave(skb, FNET_FLOW_FORWARDED, 0);
    skb->queue_mapping = 0; /* as flow_send() */
    return exit_by_neighbour(route);
}

/* Sends what the flow has rewritten; by FNET_EXIT_LINK with its cached MACs. */
FNET_INLINE int flow_send(struct __sk_buff *skb, const struct fnet_flow *flow)
{
    if (flow->exit == FNET_EXIT_PEER)
        return deliver_to_peer(skb, flow->exit_ifindex);
    if (flow->exit == FNET_EXIT_LOOPBACK)
        return deliver_to_loopback(skb);
    skb->queue_mapping = 0; /* the veth's recorded rx queue would pin one tx queue of the uplink */
    return (int)bpf_redirect(flow->exit_ifindex, 0);
}

/* An established packet: count, follow, rewrite, send. The one path that must stay short.
 * Returns a tc action or EXIT_FLOW_GONE. */
FNET_INLINE int flow_forward(struct __sk_buff *skb, struct packet *packet, struct fnet_flow *flow)
{
    __u64 now = bpf_ktime_get_coarse_ns();

    if (unlikely(packet->ttl <= 1))
        return answer(skb, packet, FNET_TTL_EXCEEDED, 0);
    /* Plain adds and stores: one direction's packets run on one CPU as a rule. Should two race, a count is lost. */
    flow->last_seen_ns = now;
    flow->packets++;
    flow->bytes += skb->len;
    if (unlikely(flow_needs_track(flow, packet->tcp_flags)))
        flow_track(skb, packet, flow);
    if (flow->exit == FNET_EXIT_LINK) {
        if (unlikely(now - flow->exit_checked_ns > cfg.exit_ns)) {
            int action = exit_refresh(skb, packet, flow);
            if (action != EXIT_TOO_BIG)
                return action;
        }
        if (unlikely(!packet_fits(skb, packet, flow->exit_mtu)))
            return answer(skb, packet, FNET_TOO_BIG, flow->exit_mtu);
    }
    if (unlikely(nat_rewrite(skb, packet, flow)))
        return drop(skb, INTERNAL_ERROR);
    leave(skb, FNET_FLOW_FORWARDED, 0);
    return flow_send(skb, flow);
}

/* The same for the packet that opened the flow, and for any other that is not on the short path: out of line, so that
 * each program has the short path once. */
__noinline int flow_follow(struct __sk_buff *skb, struct packet *packet)
{
    struct fnet_flow_key key;
    struct fnet_flow *flow;
    int action;

    if (!packet)
        return drop(skb, INTERNAL_ERROR);
    key = packet->key; /* 6.1 takes no argument of a function for a map key */
    flow = bpf_map_lookup_elem(&flows, &key);
    if (!flow)
        return drop(skb, INTERNAL_ERROR);
    if (unlikely(packet->l4_header == PACKET_FIRST_FRAGMENT) && early_resend(skb, flow))
        return drop(skb, INTERNAL_ERROR);
    action = flow_forward(skb, packet, flow);
    return action == EXIT_FLOW_GONE ? drop(skb, NO_ROUTE) : action;
}
