/* tcx/tc ingress of an uplink: packets from outside. Replies of masqueraded flows and published ports are translated
 * and put straight into the container; everything else is the host's own and leaves as it came. */
#pragma once

#include "bpf/lib/access.h"
#include "bpf/lib/called.h"
#include "bpf/lib/decap.h"
#include "bpf/lib/deny.h"
#include "bpf/lib/fragment.h"
#include "bpf/lib/host_traffic.h"
#include "bpf/lib/icmp.h"

/* 0, or why this source opens no flow: nobody can be answered there (RFC 1122 3.2.1.3, RFC 4291 2.5.2, 2.5.6, 2.7), or
 * it says that it is a container of this node, which never comes in by an uplink. */
FNET_INLINE int source_refused(const struct fnet_addr *src, int is_ipv6)
{
    if (address_group(src, is_ipv6) || (is_ipv6 ? address_none(src) || address_link_local(src) : src->bytes[12] == 0))
        return FNET_MALFORMED;
    return container_subnet(src) ? FNET_SPOOFED_SOURCE : 0;
}

/* Opens the flow of a packet from outside to @service, whose endpoint is there. Returns a tc action, or FLOW_CREATED.
 */
FNET_INLINE int uplink_open_to(struct __sk_buff *skb, struct packet *packet, struct fnet_scratch *work,
                               const struct fnet_service *service, __u32 bridge_ifindex)
{
    struct fnet_flow_key *key = &packet->key;
    int result = source_refused(&key->src, packet->is_ipv6);

    if (result)
        return leave(skb, (__u32)result, TC_ACT_SHOT);
    if (!source_allowed(service, &key->src))
        return drop(skb, SOURCE_DENIED);
    if (packet->ttl <= 1)
        return answer(skb, packet, FNET_TTL_EXCEEDED, 0);
    flow_prepare(work, packet);
    flow_to_service(work, service);
    result = exit_lookup(skb, bridge_ifindex, &key->dst, &key->src, packet->is_ipv6, key->protocol, &work->route);
    /* The host's own address, which the kernel calls martian; or nobody can be answered there. */
    if (result == EXIT_LOCAL)
        return drop(skb, SPOOFED_SOURCE);
    if (result == EXIT_OK || result == EXIT_UNRESOLVED)
        exit_remember(skb, &work->reply, &work->route, result, bpf_ktime_get_coarse_ns());
    work->reply.exit = FNET_EXIT_LINK; /* no way back yet: the reply looks again */
    result = flow_open(skb, packet->is_ipv6);
    return result == FLOW_CREATED ? FLOW_CREATED : leave(skb, (__u32)result, TC_ACT_SHOT);
}

/* The first packet to a published port opens a flow. Returns a tc action, or FLOW_CREATED. */
__noinline int uplink_open(struct __sk_buff *skb, struct packet *packet)
{
    struct fnet_scratch *work = map_single(scratch);
    struct fnet_endpoint *endpoint;
    struct fnet_service *service;
    int action;

    if (!work || !packet)
        return drop(skb, INTERNAL_ERROR);
    service = service_called(skb, packet, work, &endpoint, &action);
    return service ? uplink_open_to(skb, packet, work, service, endpoint->bridge_ifindex) : action;
}

/* A packet from outside to an address in the container subnet of @network. Nothing has business there (NOT_PUBLISHED),
 * whatever the host's routes and FORWARD policy say, unless the network is routed: then the endpoint's published ports
 * answer at their own numbers, and so does its echo (RFC 4890 4.3.1). Packets of open flows were taken before.
 * Returns a tc action, or FLOW_CREATED. */
__noinline int uplink_open_routed(struct __sk_buff *skb, struct packet *packet, __u32 network)
{
    struct fnet_address_key owner = {.network = network};
    struct fnet_scratch *work = map_single(scratch);
    struct fnet_service echo = {}, *service = &echo;
    struct fnet_address *address;
    struct fnet_endpoint *endpoint;
    struct fnet_flow_key *key;
    __u32 ifindex;
    int action;

    if (!work || !packet)
        return drop(skb, INTERNAL_ERROR);
    key = &packet->key;
    owner.addr = key->dst;
    address = bpf_map_lookup_elem(&addresses, &owner);
    if (!address)
        return drop(skb, NOT_PUBLISHED);
    ifindex = address->ifindex;
    endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
    if (!endpoint || !(endpoint->flags & (packet->is_ipv6 ? FNET_ENDPOINT_ROUTED6 : FNET_ENDPOINT_ROUTED4)))
        return drop(skb, NOT_PUBLISHED);
    if (packet->kind == PACKET_ICMP_OTHER && icmp_is_error(packet)) {
        action = icmp_error_forward(skb, packet, 0);
        return action == ICMP_ERROR_NOT_OURS ? drop(skb, NOT_PUBLISHED) : action;
    }
    if (packet->kind != PACKET_TUPLE)
        return drop(skb, NOT_PUBLISHED);
    if (is_echo(packet, ICMP_ECHO, ICMPV6_ECHO_REQUEST) && !(endpoint->flags & FNET_ENDPOINT_INTERNAL)) {
        echo.container_addr = key->dst;
        echo.endpoint_ifindex = ifindex;
        __builtin_memcpy(echo.container_mac, address->mac, ETH_ALEN);
    } else {
        service = service_find(&key->dst, key->protocol, key->dst_port, 0);
        if (!service || !packet_may_open(packet))
            return drop(skb, NOT_PUBLISHED);
    }
    return uplink_open_to(skb, packet, work, service, endpoint->bridge_ifindex);
}

SEC("tc")
int tc_uplink(struct __sk_buff *skb)
{
    struct packet packet;
    struct fnet_flow_key *key = &packet.key;
    struct fnet_flow *flow;
    enum host_traffic what;
    __u32 *network;
    int action;

    /* Before anything else, and whoever is called: what shares this NIC with the host is behind the list, too. */
    if (unlikely(deny_tables()) && deny_skb(skb))
        return drop(skb, SOURCE_DENY_LISTED);
    if (skb->pkt_type != PACKET_HOST)
        return to_kernel(skb, NOT_FOR_HOST);
    if (skb->vlan_present) /* for a VLAN device on top, which may be an uplink of its own */
        return to_kernel(skb, HOST_TRAFFIC);
    what = host_traffic(skb, HOST_TRAFFIC_UPLINK);
    if (what == HOST_TRAFFIC_PLAIN)
        return to_kernel(skb, HOST_TRAFFIC);
    if (what != HOST_TRAFFIC_NOT_PLAIN) {
        action = what == HOST_TRAFFIC_VXLAN_IPV4 ? tunnel_receive_ipv4(skb) : tunnel_receive_ipv6(skb);
        if (likely(action != TUNNEL_OF_OTHERS))
            return action;
    }
    packet_parse(skb, &packet);
    if (packet.kind == PACKET_MALFORMED || packet.martian)
        return drop(skb, MALFORMED);
    if (packet.kind >= PACKET_ARP)
        return to_kernel(skb, HOST_TRAFFIC);
    if (packet.kind == PACKET_TUPLE || (packet.kind == PACKET_PORTLESS && portless_flow_possible(key->protocol))) {
        flow = bpf_map_lookup_elem(&flows, key);
        if (likely(flow)) {
            action = flow_forward(skb, &packet, flow);
            /* Flows into a container do not follow an uplink's address. */
            return action == EXIT_FLOW_GONE ? drop(skb, INTERNAL_ERROR) : action;
        }
    }
    if (unlikely(packet_is_hidden(&packet))) {
        action = hidden_resolve(skb, &packet);
        if (action != HIDDEN_CONTINUE)
            return action;
        if (packet.kind <= PACKET_PORTLESS && bpf_map_lookup_elem(&flows, key))
            return flow_follow(skb, &packet);
    }
    /* Its headers were not in one piece before, or it is in transit. */
    what = packet.kind == PACKET_TUPLE ? host_traffic(skb, HOST_TRAFFIC_UPLINK) : HOST_TRAFFIC_NOT_PLAIN;
    if (unlikely(what == HOST_TRAFFIC_VXLAN_IPV4 || what == HOST_TRAFFIC_VXLAN_IPV6)) {
        action = what == HOST_TRAFFIC_VXLAN_IPV4 ? tunnel_receive_ipv4(skb) : tunnel_receive_ipv6(skb);
        if (action != TUNNEL_OF_OTHERS)
            return action;
    }
    /* The array says perhaps, the trie knows. */
    if (unlikely(first_bits_are_ours(packet.is_ipv6 ? key->dst.words[0] : key->dst.words[3], packet.is_ipv6))) {
        network = container_subnet(&key->dst);
        if (network) {
            action = uplink_open_routed(skb, &packet, *network);
            return action == FLOW_CREATED ? flow_follow(skb, &packet) : action;
        }
    }
    if (packet.kind == PACKET_FRAGMENT)
        return to_kernel(skb, FRAGMENT_TO_KERNEL);
    if (packet.kind == PACKET_ICMP_OTHER) {
        action = icmp_is_error(&packet) ? icmp_error_forward(skb, &packet, 0) : ICMP_ERROR_NOT_OURS;
        return action == ICMP_ERROR_NOT_OURS ? to_kernel(skb, ICMP_TO_KERNEL) : action;
    }
    if (packet.kind == PACKET_PORTLESS)
        portless_host_note(&packet);
    if (packet.kind != PACKET_TUPLE)
        return to_kernel(skb, HOST_TRAFFIC);
    action = uplink_open(skb, &packet);
    return action == FLOW_CREATED ? flow_follow(skb, &packet) : action;
}
