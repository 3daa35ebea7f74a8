/* tcx/tc ingress of lo: what processes of the host send to the host's own addresses. A published port is there for them
 * too, by 127.0.0.1, ::1 and every other address of the host, translated both ways like any other flow; the rest is the
 * host's own and leaves as it came. Complete on its own: sockets of the kernel, of containers that share the host's
 * namespace, and bound to 127.0.0.1 beforehand, all pass here.
 *
 * The reply is handed to lo with the addresses that the caller used. Two settings of lo alone let the kernel take it:
 * route_localnet, since 127.0.0.0/8 comes without a route, and accept_local, since the source is the host's. Where a
 * neighbour forges either, the packet comes in by another device, which has neither. */
#pragma once

#include "bpf/lib/access.h"
#include "bpf/lib/called.h"
#include "bpf/lib/host_traffic.h"
#include "bpf/lib/icmp.h"

/* The first packet of the host to a published port opens a flow. Returns a tc action, or FLOW_CREATED. */
__noinline int loopback_open(struct __sk_buff *skb, struct packet *packet)
{
    struct fnet_scratch *work = map_single(scratch);
    struct fnet_endpoint *endpoint;
    struct fnet_service *service;
    struct fnet_flow_key *key;
    int result;

    if (!work || !packet)
        return drop(skb, INTERNAL_ERROR);
    key = &packet->key;
    service = service_called(skb, packet, work, &endpoint, &result);
    if (!service)
        return result;
    if (!source_allowed(service, &key->src))
        return drop(skb, SOURCE_DENIED);
    if (packet->ttl <= 1)
        return answer(skb, packet, FNET_TTL_EXCEEDED, 0);

    flow_prepare(work, packet);
    flow_to_service(work, service);
    /* Neither means anything to the container. */
    if (address_loopback(&key->src, packet->is_ipv6) || (packet->is_ipv6 && address_link_local(&key->src)))
        work->original.new_src = work->reply_key.dst = packet->is_ipv6 ? endpoint->gateway6 : endpoint->gateway4;
    work->original.flags |= FNET_FLOW_HOST_SOURCE;
    work->reply.exit = FNET_EXIT_LOOPBACK; /* lo's frames have MACs of zeros */
    work->reply.exit_ifindex = FNET_LOOPBACK_IFINDEX;
    result = flow_open(skb, packet->is_ipv6);
    if (result == FNET_PORTS_EXHAUSTED)
        return answer(skb, packet, FNET_PORTS_EXHAUSTED, 0);
    return result == FLOW_CREATED ? FLOW_CREATED : leave(skb, (__u32)result, TC_ACT_SHOT);
}

SEC("tc")
int tc_loopback(struct __sk_buff *skb)
{
    struct packet packet;
    struct fnet_flow *flow;
    int action;

    if (host_traffic(skb, HOST_TRAFFIC_LOOPBACK) == HOST_TRAFFIC_PLAIN)
        return to_kernel(skb, HOST_TRAFFIC);
    packet_parse(skb, &packet);
    packet.key.ifindex = FNET_LOOPBACK_IFINDEX;
    if (packet.kind == PACKET_ICMP_OTHER && icmp_is_error(&packet)) {
        action = icmp_error_forward(skb, &packet, FNET_LOOPBACK_IFINDEX);
        return action == ICMP_ERROR_NOT_OURS ? to_kernel(skb, ICMP_TO_KERNEL) : action;
    }
    if (packet.kind != PACKET_TUPLE)
        return to_kernel(skb, HOST_TRAFFIC); /* not judged: who sends here is the host */
    flow = bpf_map_lookup_elem(&flows, &packet.key);
    if (flow) {
        action = flow_forward(skb, &packet, flow);
        /* Flows into a container do not follow an uplink's address. */
        return action == EXIT_FLOW_GONE ? drop(skb, INTERNAL_ERROR) : action;
    }
    action = loopback_open(skb, &packet);
    return action == FLOW_CREATED ? flow_follow(skb, &packet) : action;
}
