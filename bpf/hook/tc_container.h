/* tcx/tc ingress of an endpoint's host-side veth: everything that a container sends. The source guard, translation of
 * replies and masquerade, and delivery to other containers of the network by redirect. */
#pragma once

#include "bpf/lib/access.h"
#include "bpf/lib/create.h"
#include "bpf/lib/fragment.h"
#include "bpf/lib/icmp.h"
#include "bpf/lib/neighbour.h"
#include "bpf/lib/tunnel.h"

FNET_INLINE int container_to_kernel(struct __sk_buff *skb, struct fnet_endpoint *endpoint, __u32 verdict)
{
    __sync_fetch_and_add(&endpoint->kernel_packets, 1);
    __sync_fetch_and_add(&endpoint->kernel_bytes, skb->len);
    return leave(skb, verdict, FNET_TO_KERNEL);
}

/* Sources that nobody owns, and that are needed before an address is: 0.0.0.0 (DHCP, RFC 2131), `::` (DAD and MLD,
 * RFC 4862, RFC 3590), and link-local ones, which stay on the bridge. */
FNET_INLINE int source_is_own(const struct packet *packet, const struct fnet_endpoint *endpoint)
{
    const struct fnet_addr *src = &packet->key.src;

    if (!packet->is_ipv6) {
        if (src->words[3] == 0)
            return packet->multicast;
        return address_equal(src, &endpoint->ipv4);
    }
    if (address_none(src))
        return packet->multicast;
    if (address_link_local(src))
        return !address_equal(src, &endpoint->gateway6);
    return address_equal(src, &endpoint->ipv6);
}

/* Sender MAC and IP of ARP must be the endpoint's; sender 0.0.0.0 is a probe (RFC 5227). */
FNET_INLINE int arp_is_own(struct __sk_buff *skb, const struct fnet_endpoint *endpoint)
{
    struct arp_ipv4 arp __attribute__((aligned(4)));
    __be32 sender;

    if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
        return 0;
    if (arp.header.hardware != bpf_htons(ARPHRD_ETHER) || arp.header.protocol != bpf_htons(ETH_P_IP) ||
        arp.header.hardware_length != ETH_ALEN || arp.header.protocol_length != 4)
        return 0;
    __builtin_memcpy(&sender, arp.sender_ip, 4);
    return mac_equal(arp.sender_mac, endpoint->mac) && (sender == 0 || sender == endpoint->ipv4.words[3]);
}

/* A neighbour advertisement may only speak for an address that the endpoint owns (or a link-local one). */
FNET_INLINE int nd_target_is_own(struct __sk_buff *skb, const struct packet *packet,
                                 const struct fnet_endpoint *endpoint)
{
    struct fnet_addr target;

    if (bpf_skb_load_bytes(skb, packet->l4_offset + 8, &target, sizeof(target)))
        return 0;
    if (address_link_local(&target))
        return !address_equal(&target, &endpoint->gateway6);
    return address_equal(&target, &endpoint->ipv6);
}

/* The option of type @type (1: source of an NS, 2: target of an NA) at the usual place must carry the endpoint's MAC.
 */
FNET_INLINE int nd_option_is_own(struct __sk_buff *skb, const struct packet *packet,
                                 const struct fnet_endpoint *endpoint)
{
    __u8 option[2];
    __u8 mac[ETH_ALEN] __attribute__((aligned(4)));

    if (packet->l3_length <= sizeof(struct ipv6hdr) + 24)
        return 1; /* no option */
    if (packet->l3_length != sizeof(struct ipv6hdr) + 32)
        return 0; /* more than one: nobody needs that, and each would have to be looked at */
    if (bpf_skb_load_bytes(skb, packet->l4_offset + 24, option, sizeof(option)) ||
        bpf_skb_load_bytes(skb, packet->l4_offset + 26, mac, sizeof(mac)))
        return 0;
    if (option[0] == 14) /* nonce, RFC 3971: DAD of Linux sends it alone */
        return 1;
    return option[1] == 1 && mac_equal(mac, endpoint->mac);
}

/* What only a router says. */
FNET_INLINE int is_router_message(const struct packet *packet)
{
    if (packet->key.protocol == IPPROTO_ICMPV6)
        return packet->icmp_type == ND_ROUTER_ADVERTISEMENT || packet->icmp_type == ND_REDIRECT;
    return packet->key.protocol == IPPROTO_ICMP && packet->icmp_type == ICMP_REDIRECT;
}

/* What does not show its transport header in the usual place. A guard that looks no further is walked around with an
 * extension header (RFC 7113). Neighbour discovery needs none and must not come in fragments (RFC 6980), so behind
 * either it is never honest. A later fragment shows nothing and is nothing without its first. 0, or a verdict. */
__noinline int guard_hidden(struct __sk_buff *skb, const struct packet *packet)
{
    struct transport where = {};
    __be16 port, fragment;
    __u8 type;
    int verdict;

    if (!packet)
        return FNET_INTERNAL_ERROR;
    where.offset = packet->l4_offset;
    where.protocol = packet->key.protocol;
    if (packet->is_ipv6) {
        verdict = transport_find(skb, &where);
        if (verdict || is_later_fragment(&where))
            return verdict;
    } else {
        if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, frag_off), &fragment, sizeof(fragment)))
            return FNET_MALFORMED;
        if (fragment & bpf_htons(0x1fff))
            return 0;
    }
    if (where.protocol == IPPROTO_ICMPV6 && packet->is_ipv6) {
        if (bpf_skb_load_bytes(skb, where.offset, &type, sizeof(type)))
            return FNET_MALFORMED;
        if (type == ND_ROUTER_ADVERTISEMENT || type == ND_REDIRECT)
            return FNET_ROUTER_MESSAGE;
        if (type == ND_NEIGHBOUR_SOLICITATION || type == ND_NEIGHBOUR_ADVERTISEMENT)
            return FNET_SPOOFED_SOURCE;
    }
    if (where.protocol == IPPROTO_UDP) {
        if (bpf_skb_load_bytes(skb, where.offset, &port, sizeof(port)))
            return FNET_MALFORMED;
        if (port == bpf_htons(packet->is_ipv6 ? DHCP6_SERVER_PORT : DHCP_SERVER_PORT))
            return FNET_ROUTER_MESSAGE;
    }
    return 0;
}

/* Of a frame whose MAC was checked and that is no PACKET_TUPLE: 0 if it may be believed, else a verdict. */
__noinline int guard_unusual(struct __sk_buff *skb, const struct packet *packet, const struct fnet_endpoint *endpoint)
{
    if (!packet || !endpoint)
        return FNET_INTERNAL_ERROR;
    switch (packet->kind) {
    case PACKET_ARP:
        return arp_is_own(skb, endpoint) ? 0 : FNET_SPOOFED_SOURCE;
    case PACKET_NOT_IP:
        return FNET_UNSUPPORTED_PROTOCOL;
    default:
        break;
    }
    if (!source_is_own(packet, endpoint))
        return FNET_SPOOFED_SOURCE;
    if (packet->kind == PACKET_FRAGMENT || (packet->kind == PACKET_OTHER_L4 && packet->is_ipv6))
        return guard_hidden(skb, packet);
    if (packet->kind != PACKET_ICMP_OTHER)
        return 0;
    if (is_router_message(packet))
        return FNET_ROUTER_MESSAGE;
    if (packet->key.protocol == IPPROTO_ICMPV6) {
        if (packet->icmp_type == ND_NEIGHBOUR_ADVERTISEMENT && !nd_target_is_own(skb, packet, endpoint))
            return FNET_SPOOFED_SOURCE;
        if ((packet->icmp_type == ND_NEIGHBOUR_ADVERTISEMENT || packet->icmp_type == ND_NEIGHBOUR_SOLICITATION) &&
            !nd_option_is_own(skb, packet, endpoint))
            return FNET_SPOOFED_SOURCE;
    }
    return 0;
}

/* 0 if the frame may be believed, else a verdict. Inline for what nearly every packet is. */
FNET_INLINE int container_guard(struct __sk_buff *skb, const struct packet *packet,
                                const struct fnet_endpoint *endpoint)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct ethhdr *eth = data;

    if ((void *)(eth + 1) > data_end || !mac_equal(eth->h_source, endpoint->mac))
        return FNET_SPOOFED_SOURCE;
    if (unlikely(packet->kind != PACKET_TUPLE))
        return guard_unusual(skb, packet, endpoint);
    if (unlikely(!source_is_own(packet, endpoint)))
        return FNET_SPOOFED_SOURCE;
    return is_dhcp_answer(packet) ? FNET_ROUTER_MESSAGE : 0;
}

/* To a container of the same network, without translation: any IP packet, fragments too. @target owns the destination.
 */
__noinline int container_to_neighbour(struct __sk_buff *skb, struct packet *packet, struct fnet_endpoint *endpoint,
                                      const struct fnet_address *target, __u32 generation)
{
    void *data, *data_end;
    struct fnet_way *way;
    struct ethhdr *eth;
    int action;

    if (!packet || !endpoint || !target)
        return drop(skb, INTERNAL_ERROR);
    if (endpoint->flags & FNET_ENDPOINT_NO_ICC)
        return drop(skb, NETWORK_ISOLATED);
    way = way_judged(packet, endpoint, target, generation);
    if (!way)
        return drop(skb, INTERNAL_ERROR);
    /* A switch floods what it has forgotten. */
    if (way->tunnel && likely(!remote_is_silent(target, bpf_ktime_get_coarse_ns()))) {
        action = tunnel_send(skb, packet, way);
        if (likely(action != TUNNEL_REFUSED))
            return action;
    }
    data = (void *)(long)skb->data;
    data_end = (void *)(long)skb->data_end;
    eth = data;
    if ((void *)(eth + 1) > data_end)
        return drop(skb, MALFORMED);
    if (way->tunnel) {
        way->judged_ns = 0;
        /* Not the gateway's: that would be for the host to route. */
        __builtin_memcpy(eth->h_dest, way->dst_mac, ETH_ALEN);
        return container_to_kernel(skb, endpoint, FNET_TO_BRIDGE);
    }
    if (packet->gateway_bound) { /* sent through the gateway though on-link: deliver as it would */
        __builtin_memcpy(eth->h_dest, way->dst_mac, ETH_ALEN);
        mac_set_gateway(eth->h_source);
    } else if (!mac_equal(eth->h_dest, way->dst_mac)) {
        return container_to_kernel(skb, endpoint, FNET_TO_BRIDGE); /* the bridge knows who that MAC is */
    }
    return way_deliver(skb, way);
}

/* As the packets before, without a look at the tables. */
#define WAY_UNKNOWN (-12) /* no tc action */
FNET_INLINE int container_by_way(struct __sk_buff *skb, struct packet *packet)
{
    struct fnet_way *way = way_find(packet);

    if (!way || !way_is_for(skb, way, packet))
        return WAY_UNKNOWN;
    if (!way->tunnel)
        return way_deliver(skb, way);
    return tunnel_send(skb, packet, way); /* TUNNEL_REFUSED: as if it were unknown */
}

/* A packet to the gateway that belongs to no flow: to the host, to a published port of it (hairpin) or of a routed
 * container on another network, or outside. Returns a tc action, or FLOW_CREATED. */
__noinline int container_open(struct __sk_buff *skb, struct packet *packet)
{
    struct fnet_endpoint *endpoint;
    struct fnet_flow_key *key;
    struct fnet_scratch *work = map_single(scratch);
    struct bpf_fib_lookup *route;
    struct fnet_service *service;
    const struct fnet_addr *own, *gateway;
    __u32 ifindex = skb->ifindex;
    int where, result, routed;

    endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
    if (!work || !packet || !endpoint)
        return drop(skb, INTERNAL_ERROR);
    key = &packet->key;
    own = packet->is_ipv6 ? &endpoint->ipv6 : &endpoint->ipv4;
    gateway = packet->is_ipv6 ? &endpoint->gateway6 : &endpoint->gateway4;
    routed = !!(endpoint->flags & (packet->is_ipv6 ? FNET_ENDPOINT_ROUTED6 : FNET_ENDPOINT_ROUTED4));
    route = &work->route;
    /* Neither ever leaves its link (RFC 4291 2.5.6), and nobody takes a group's packet by a unicast frame. */
    if (address_group(&key->dst, packet->is_ipv6) ||
        (packet->is_ipv6 && address_link_local(&key->src) && !address_link_local(&key->dst)))
        return drop(skb, MALFORMED);
    if (address_none(own) || (packet->is_ipv6 && address_link_local(&key->dst)))
        return container_to_kernel(skb, endpoint, FNET_TO_HOST); /* to the gateway's own link-local address */
    where = address_equal(&key->dst, gateway) ? EXIT_LOCAL
                                              : exit_lookup(skb, endpoint->bridge_ifindex, routed ? &key->src : NULL,
                                                            &key->dst, packet->is_ipv6, key->protocol, route);

    if (where == EXIT_LOCAL) {
        if (packet->kind != PACKET_TUPLE || !port_is_published(packet->is_ipv6, key->protocol, key->dst_port))
            return container_to_kernel(skb, endpoint, FNET_TO_HOST);
        service = service_find(&key->dst, key->protocol, key->dst_port, 0);
        if (!service) {
            service = service_find(&key->dst, key->protocol, key->dst_port, 1);
            if (!service || !is_among_routes(skb, endpoint->bridge_ifindex, own, &key->dst, packet->is_ipv6, route))
                return container_to_kernel(skb, endpoint, FNET_TO_HOST);
        }
        if (!packet_may_open(packet))
            return container_to_kernel(skb, endpoint, FNET_NO_FLOW);
    } else if (where == EXIT_ISOLATED) { /* between networks: only what a routed container publishes */
        service = packet->kind == PACKET_TUPLE ? service_find(&key->dst, key->protocol, key->dst_port, 0) : NULL;
        if (!service || !packet_may_open(packet))
            return drop(skb, NETWORK_ISOLATED);
    } else {
        service = NULL;
        if (endpoint->flags & FNET_ENDPOINT_INTERNAL)
            return drop(skb, NETWORK_INTERNAL);
        if (where == EXIT_NO_UPLINK)
            return drop(skb, NO_UPLINK);
        if (where == EXIT_NO_ROUTE)
            return drop(skb, NO_ROUTE);
        if (packet->kind == PACKET_FRAGMENT)
            return drop(skb, FRAGMENT_EARLY);
        /* An echo reply without a flow answers nobody; as the first packet of one it would take the peer's later pings
         * away from the host. */
        if (packet->kind > PACKET_PORTLESS || is_echo(packet, ICMP_ECHOREPLY, ICMPV6_ECHO_REPLY))
            return drop(skb, UNSUPPORTED_PROTOCOL);
        if (packet->tcp_flags & FNET_TCP_RST)
            return drop(skb, RESET_WITHOUT_FLOW);
        /* Of a half-open flow that gave way under pressure: under a port of the masquerade it would answer nobody. */
        if ((packet->tcp_flags & (FNET_TCP_SYN | FNET_TCP_ACK)) == (FNET_TCP_SYN | FNET_TCP_ACK))
            return drop(skb, ANSWER_WITHOUT_FLOW);
        if (packet->kind == PACKET_PORTLESS && !routed && portless_is_hosts(packet))
            return answer(skb, packet, FNET_PROTOCOL_IN_USE, 0);
    }
    if (service && !source_allowed(service, &key->src))
        return drop(skb, SOURCE_DENIED);
    if (packet->ttl <= 1)
        return answer(skb, packet, FNET_TTL_EXCEEDED, 0);

    flow_prepare(work, packet);
    if (service) { /* hairpin */
        __u32 target = service->endpoint_ifindex;
        struct fnet_endpoint *server = bpf_map_lookup_elem(&endpoints, &target);
        if (!server)
            return drop(skb, UNKNOWN_ENDPOINT);
        if ((endpoint->flags & FNET_ENDPOINT_INTERNAL) && server->network != endpoint->network)
            return drop(skb, NETWORK_INTERNAL);
        flow_to_service(work, service);
        if (target == endpoint->ifindex) { /* a host drops packets from its own address */
            work->original.new_src = work->reply_key.dst = *gateway;
            work->original.flags |= FNET_FLOW_HOST_SOURCE;
        }
        /* On one network the reply goes to the caller's MAC, not to the gateway's: it must look for flows from now on.
         */
        if (!(server->flags & FNET_ENDPOINT_HAIRPIN)) {
            struct fnet_validity *valid = map_single(validity);
            __sync_fetch_and_or(&server->flags, FNET_ENDPOINT_HAIRPIN);
            if (valid)
                __sync_fetch_and_add(&valid->generation, 1);
        }
    } else {
        struct fnet_flow *original = &work->original;
        if (routed)
            original->new_src = key->src;
        else if (packet->is_ipv6)
            address_from_v6(&original->new_src, (const struct in6_addr *)route->ipv6_src);
        else
            address_from_v4(&original->new_src, route->ipv4_src);
        original->new_dst = key->dst;
        original->new_dst_port = key->dst_port;
        if (!routed)
            original->flags |= work->reply.flags = FNET_FLOW_MASQUERADE;
        exit_remember(skb, original, route, where, bpf_ktime_get_coarse_ns());
        original->endpoint_ifindex = work->reply.endpoint_ifindex = endpoint->ifindex;
        work->reply_key.src = key->dst;
        work->reply_key.src_port = key->dst_port;
        work->reply_key.dst = original->new_src;
    }
    work->reply.exit = FNET_EXIT_PEER;
    work->reply.exit_ifindex = endpoint->ifindex;
    __builtin_memcpy(work->reply.exit_dst_mac, endpoint->mac, ETH_ALEN);
    mac_set_gateway(work->reply.exit_src_mac);
    result = flow_open(skb, packet->is_ipv6);
    if (result == FNET_PORTS_EXHAUSTED || result == FNET_PROTOCOL_IN_USE)
        return answer(skb, packet, (__u32)result, 0);
    return result == FLOW_CREATED ? FLOW_CREATED : leave(skb, (__u32)result, TC_ACT_SHOT);
}

SEC("tc")
int tc_container(struct __sk_buff *skb)
{
    struct packet packet;
    struct fnet_endpoint *endpoint;
    struct fnet_address_key owner = {};
    struct fnet_address *target;
    struct fnet_flow *flow;
    const struct fnet_validity *valid;
    __u32 ifindex = skb->ifindex, generation;
    int verdict, action;

    if (unlikely(skb->vlan_present))
        return drop(skb, VLAN_TAGGED);
    packet_parse(skb, &packet);
    packet.key.ifindex = ifindex;
    if (packet.gateway_bound && packet.kind <= PACKET_PORTLESS) {
        flow = bpf_map_lookup_elem(&flows, &packet.key);
        if (likely(flow)) {
            action = flow_forward(skb, &packet, flow);
            if (likely(action != EXIT_FLOW_GONE))
                return action;
        }
    } else if (packet.kind == PACKET_TUPLE) {
        action = container_by_way(skb, &packet);
        if (likely(action != WAY_UNKNOWN && action != TUNNEL_REFUSED))
            return action;
    }
    if (unlikely(packet.kind == PACKET_MALFORMED))
        return drop(skb, MALFORMED);
    /* Before the tables: a change from here on is seen. */
    valid = map_single(validity);
    generation = valid ? *(const volatile __u32 *)&valid->generation : 0;
    endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
    if (unlikely(!endpoint))
        return drop(skb, UNKNOWN_ENDPOINT);
    verdict = container_guard(skb, &packet, endpoint);
    if (unlikely(verdict))
        return leave(skb, (__u32)verdict, TC_ACT_SHOT);
    if (unlikely(packet.martian))
        return drop(skb, MALFORMED);
    if (packet.kind == PACKET_ARP || packet.multicast) {
        action = endpoint->vni ? neighbour_answer(skb, &packet) : NEIGHBOUR_UNKNOWN;
        return action == NEIGHBOUR_UNKNOWN ? container_to_kernel(skb, endpoint, FNET_TO_BRIDGE) : action;
    }

    if (unlikely(packet_is_hidden(&packet)) && (packet.gateway_bound || (endpoint->flags & FNET_ENDPOINT_HAIRPIN))) {
        action = hidden_resolve(skb, &packet);
        if (action != HIDDEN_CONTINUE)
            return action;
        if (packet.kind <= PACKET_PORTLESS && bpf_map_lookup_elem(&flows, &packet.key))
            return flow_follow(skb, &packet);
    }
    if (unlikely(endpoint->flags & FNET_ENDPOINT_HAIRPIN)) {
        if (packet.kind == PACKET_TUPLE && bpf_map_lookup_elem(&flows, &packet.key))
            return flow_follow(skb, &packet);
        if (packet.kind == PACKET_ICMP_OTHER && icmp_is_error(&packet)) {
            action = icmp_error_forward(skb, &packet, ifindex);
            if (action != ICMP_ERROR_NOT_OURS)
                return action;
        }
    }
    owner.addr = packet.key.dst;
    owner.network = endpoint->network;
    target = bpf_map_lookup_elem(&addresses, &owner);
    if (target)
        return container_to_neighbour(skb, &packet, endpoint, target, generation);
    if (!packet.gateway_bound)
        return container_to_kernel(skb, endpoint, FNET_TO_BRIDGE);
    if (packet.kind == PACKET_ICMP_OTHER && icmp_is_error(&packet)) {
        action = icmp_error_forward(skb, &packet, ifindex);
        if (action != ICMP_ERROR_NOT_OURS)
            return action;
    }
    /* As the node's own it would be a tunnel's, to every node that knows this one. */
    if (is_overlay_port(packet.key.protocol, packet.key.dst_port) &&
        !(endpoint->flags & (packet.is_ipv6 ? FNET_ENDPOINT_ROUTED6 : FNET_ENDPOINT_ROUTED4)))
        return drop(skb, TUNNEL_FROM_CONTAINER);
    action = container_open(skb, &packet);
    return action == FLOW_CREATED ? flow_follow(skb, &packet) : action;
}
