/* A packet for an address of the host, from outside or from the host itself: which published port it calls. */
#pragma once

#include "bpf/lib/create.h"

/* NULL: none, and @action is what becomes of the packet. Else its endpoint is there, in @endpoint. */
FNET_INLINE struct fnet_service *service_called(struct __sk_buff *skb, const struct packet *packet,
                                                struct fnet_scratch *work, struct fnet_endpoint **endpoint, int *action)
{
    const struct fnet_flow_key *key = &packet->key;
    struct fnet_service *service;
    __u32 ifindex;

    *action = TC_ACT_SHOT;
    if (!port_is_published(packet->is_ipv6, key->protocol, key->dst_port)) {
        *action = to_kernel(skb, HOST_TRAFFIC);
        return NULL;
    }
    /* Its answer would be taken for a tunnel's by a peer. */
    if (is_overlay_port(key->protocol, key->src_port)) {
        *action = drop(skb, TUNNEL_FROM_CONTAINER);
        return NULL;
    }
    /* Only a SYN or an INIT opens such a flow. Anything else belongs to a connection of the host's own that was there
     * before the port was published, or to nothing: the kernel knows, and answers with RST. */
    if (!packet_may_open(packet)) {
        *action = to_kernel(skb, NO_FLOW);
        return NULL;
    }
    service = service_find_any(&key->dst, key->protocol, key->dst_port);
    if (!service || address_group(&key->dst, packet->is_ipv6)) {
        *action = to_kernel(skb, HOST_TRAFFIC);
        return NULL;
    }
    ifindex = service->endpoint_ifindex;
    *endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
    if (!*endpoint) {
        *action = drop(skb, UNKNOWN_ENDPOINT);
        return NULL;
    }
    /* Else it is in transit to another host (CVE-2025-67499), which may have got an address that was this one's; on lo
     * by routes such as a transparent proxy's. */
    if (exit_lookup(skb, (*endpoint)->bridge_ifindex, &key->src, &key->dst, packet->is_ipv6, key->protocol,
                    &work->route) != EXIT_LOCAL) {
        *action = to_kernel(skb, HOST_TRAFFIC);
        return NULL;
    }
    /* A datagram may answer one that a socket of the host sent from this port before it was published. */
    if (key->protocol == IPPROTO_UDP &&
        host_socket_exists(skb, packet->is_ipv6, IPPROTO_UDP, &key->src, key->src_port, &key->dst, key->dst_port)) {
        *action = to_kernel(skb, HOST_SOCKET);
        return NULL;
    }
    return service;
}
