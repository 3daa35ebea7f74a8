/* Overlay networks: the peers (VTEPs, RFC 7348) of this node, and who may send what into which network. */
#pragma once

#include "bpf/abi/base.h"

#define FNET_VXLAN_PORT 4789 /* RFC 7348 */
#define FNET_MAX_TUNNELS 4096
#define FNET_MAX_LEARNED 16384          /* addresses that are learned, of all peers */
#define FNET_MAX_LEARNED_OF_A_PEER 1024 /* on one network */

/* What the outside of an inner IP packet costs, as `mtu` of struct fnet_tunnel counts it: inner Ethernet, VXLAN, UDP
 * and IP. */
#define FNET_TUNNEL_OVERHEAD_IPV4 50
#define FNET_TUNNEL_OVERHEAD_IPV6 70
#define FNET_TUNNEL_HEADER 72 /* room for Ethernet, IPv6, UDP and VXLAN, and two bytes */

/* Set on what the kernel's vxlan device may take: it was judged at the uplink. Only the privileged can mark packets. */
#define FNET_TUNNEL_MARK 0x666e7678

/* Value of `tunnels`, an array; index 0 is never used. User space writes the peer, and zeroes the rest with it; the
 * packet path looks up the way and counts. */
struct fnet_tunnel {
    struct fnet_addr peer;           /* the VTEP's address on the underlay; all zero bytes = no peer */
    __u32 exit_ifindex;              /* 0 = no way known */
    __u32 mtu;                       /* bytes of inner IP packet that fit; 0 = not known */
    __u64 checked_ns;                /* CLOCK_MONOTONIC (coarse) of the last lookup of the way; 0 = look it up */
    __u8 header[FNET_TUNNEL_HEADER]; /* Ethernet, IP, UDP, VXLAN; without lengths, source port and VNI */
    __u64 sent_packets;              /* by the packet path; what the kernel's device sends is not counted */
    __u64 sent_bytes;                /* of inner frames */
    __u64 received_packets;
    __u64 received_bytes;
    __u64 dropped_packets; /* received and dropped as TUNNEL_BAD_INNER or TUNNEL_UNKNOWN_NETWORK */
    __u64 kernel_packets;  /* received and left to the vxlan device */
    __u64 seen_ns; /* CLOCK_MONOTONIC (coarse), to the second, of the last packet that was believed; 0 = none yet */
};
FNET_ASSERT(sizeof(struct fnet_tunnel) == 160, "no hidden padding");

/* Key of `vteps`: who may send into which network. VNI 0 is no network's: its row says that the address is a peer's. */
struct fnet_vtep_key {
    struct fnet_addr peer;
    __u32 vni;      /* host order */
    __u32 reserved; /* zero, part of the hash */
};
FNET_ASSERT(sizeof(struct fnet_vtep_key) == 24, "no hidden padding");

#define FNET_VTEP_LEARN (1U << 0)  /* an unknown inner source becomes the peer's */
#define FNET_VTEP_NO_ICC (1U << 1) /* containers of the network do not reach each other */

struct fnet_vtep {
    __u32 network;        /* VNI 0: 0 */
    __u32 tunnel;         /* index in `tunnels` */
    __u32 bridge_ifindex; /* of the network; VNI 0: 0 */
    __u32 flags;          /* FNET_VTEP_* */
    __u32 learned;        /* addresses; written by BPF */
    __u32 reserved;
};
FNET_ASSERT(sizeof(struct fnet_vtep) == 24, "no hidden padding");
