/* Every way a packet leaves a fastnet program: name, where it goes, and what it means. One row, everywhere used:
 * the enum, `fastnet stats`, the documents. Append only, the number is the index in a pinned map. */
#pragma once

#include "bpf/abi/base.h"

#define FNET_VERDICTS(ROW) \
    ROW(FLOW_FORWARDED, FAST, "translated by a flow entry and redirected") \
    ROW(LOCAL_FORWARDED, FAST, "container to container on one network, redirected") \
    ROW(HOST_TRAFFIC, KERNEL, "the host's own packet on an uplink") \
    ROW(NOT_FOR_HOST, KERNEL, "frame on an uplink that is not addressed to this host's MAC") \
    ROW(NO_FLOW, KERNEL, "packet to a published port that belongs to no flow and opens none") \
    ROW(HOST_SOCKET, KERNEL, "a socket of the host owns this tuple") \
    ROW(TO_HOST, KERNEL, "container to an address of the host that publishes nothing there") \
    ROW(TO_BRIDGE, KERNEL, "ARP, ND, broadcast, multicast or unknown neighbour: left to the bridge") \
    ROW(FROM_HOST, KERNEL, "the host to a container, delivered by the kernel") \
    ROW(UNTRANSLATED, DROP, "from a container to the outside by the kernel's routes: stopped at the bridge") \
    ROW(ICMP_TO_KERNEL, KERNEL, "ICMP error or informational message on an uplink") \
    ROW(FRAGMENT_TO_KERNEL, KERNEL, "fragment on an uplink that no flow claims") \
    ROW(MALFORMED, DROP, "header that lies about itself") \
    ROW(SPOOFED_SOURCE, DROP, "source MAC, IP, ARP or ND address that is not the endpoint's own") \
    ROW(VLAN_TAGGED, DROP, "802.1Q or 802.1ad frame from an endpoint") \
    ROW(NOT_PUBLISHED, DROP, "from outside to a container's port that is not published") \
    ROW(NETWORK_ISOLATED, DROP, "from one network to another, or within a network without inter-container traffic") \
    ROW(NETWORK_INTERNAL, DROP, "to the outside from a network that is internal") \
    ROW(FLOW_TABLE_FULL, DROP, "no slot left and none to reclaim") \
    ROW(PORTS_EXHAUSTED, DROP, "no free source port towards this destination") \
    ROW(SOURCE_DENIED, DROP, "source address not allowed to call this published port") \
    ROW(NO_UPLINK, DROP, "the route leaves by a device that is not an uplink") \
    ROW(NO_ROUTE, DROP, "the host has no route to the destination") \
    ROW(TTL_EXCEEDED, DROP, "time to live ran out") \
    ROW(TOO_BIG, DROP, "larger than the MTU of the way out") \
    ROW(FRAGMENT, DROP, "fragment that two first ones claim for different flows") \
    ROW(UNSUPPORTED_PROTOCOL, DROP, "protocol that cannot be translated") \
    ROW(ROUTER_MESSAGE, DROP, "router advertisement, redirect or DHCP answer from an endpoint") \
    ROW(UNKNOWN_ENDPOINT, DROP, "a veth that no endpoint owns") \
    ROW(INTERNAL_ERROR, DROP, "a helper refused what it should not") \
    ROW(RESET_WITHOUT_FLOW, DROP, "RST from a container for a connection that no longer exists") \
    ROW(TUNNEL_UNKNOWN_PEER, DROP, "VXLAN from an address that is no peer") \
    ROW(TUNNEL_UNKNOWN_NETWORK, DROP, "VXLAN for a VNI that does not live here") \
    ROW(TUNNEL_BAD_INNER, DROP, "VXLAN with an inner packet that its sender may not send") \
    ROW(ICMP_FORWARDED, FAST, "ICMP error about a flow, translated with the packet that it quotes") \
    ROW(PROTOCOL_IN_USE, DROP, \
        "another container, or the host, talks this protocol without ports to this destination") \
    ROW(FRAGMENT_EARLY, DROP, "fragment ahead of its first: a copy waits for it") \
    ROW(FRAGMENT_SHORT, DROP, "first fragment that is too small for its ports") \
    ROW(ANSWER_WITHOUT_FLOW, DROP, "SYN-ACK from a container for a connection that no longer exists") \
    ROW(TUNNEL_SENT, FAST, "to a container on another node, encapsulated") \
    ROW(TUNNEL_RECEIVED, FAST, "from a container on another node, decapsulated and redirected") \
    ROW(NEIGHBOUR_ANSWERED, FAST, "ARP or ND question about a known address, answered in its stead") \
    ROW(TUNNEL_TO_KERNEL, KERNEL, "from another node, left to the vxlan device") \
    ROW(TUNNEL_FROM_CONTAINER, DROP, "UDP from a container that other nodes would take for a tunnel's") \
    ROW(TUNNEL_FROM_HOST, DROP, "the host's own frame to an overlay network's other nodes") \
    ROW(TUNNEL_CONGESTED, DROP, "VXLAN marked as congested, with an inner packet that cannot say so (RFC 6040)") \
    ROW(TUNNEL_TO_HOST, DROP, "flooded from another node, and none of this host's business: it is not on the network") \
    ROW(SOURCE_DENY_LISTED, DROP, "from a source on this node's deny list")

enum fnet_verdict {
#define FNET_VERDICT_ENUM(name, kind, text) FNET_##name,
    FNET_VERDICTS(FNET_VERDICT_ENUM)
#undef FNET_VERDICT_ENUM
        FNET_VERDICT_COUNT
};

/* Value of `verdicts` (per-CPU array), key: enum fnet_verdict. */
struct fnet_verdict_count {
    __u64 packets;
    __u64 bytes;
};
#define FNET_VERDICT_SLOTS 64 /* room for later verdicts without a new map */
FNET_ASSERT(FNET_VERDICT_COUNT <= FNET_VERDICT_SLOTS, "the verdict map has a row for each verdict");
