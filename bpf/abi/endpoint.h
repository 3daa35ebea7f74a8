/* Endpoints: containers behind a host-side veth, and who owns an address on a network. */
#pragma once

#include "bpf/abi/base.h"

#define FNET_ENDPOINT_INTERNAL (1U << 0) /* the network has no way out */
#define FNET_ENDPOINT_NO_ICC (1U << 1)   /* containers of the network do not reach each other */
#define FNET_ENDPOINT_HAIRPIN (1U << 2)  /* written by BPF: a hairpin flow ended here once, see tc_container */
#define FNET_ENDPOINT_ROUTED4 (1U << 3)  /* its IPv4 address is one that the outside knows: no translation */
#define FNET_ENDPOINT_ROUTED6 (1U << 4)  /* the same for IPv6 */

/* Value of `endpoints`, key: __u32 ifindex of the host-side veth. Counters are written by BPF, the rest by
 * user space. */
struct fnet_endpoint {
    __u32 id;
    __u32 network;
    __u32 ifindex;
    __u32 bridge_ifindex;
    struct fnet_addr ipv4; /* all zero bytes = none */
    struct fnet_addr ipv6;
    struct fnet_addr gateway4;
    struct fnet_addr gateway6;
    __u8 mac[FNET_MAC_LEN];
    __u8 reserved[2];
    __u32 vni; /* of its overlay network, host order; 0 = none */
    __u32 reserved2;
    __u64 flags;        /* FNET_ENDPOINT_* */
    __u64 fast_packets; /* sent or received by redirect; those of live flows are in the flows */
    __u64 fast_bytes;
    __u64 kernel_packets; /* handed to or taken from the kernel's path */
    __u64 kernel_bytes;
    __u64 connections; /* flows created */
};
FNET_ASSERT(sizeof(struct fnet_endpoint) == 144, "no hidden padding");

/* Key of `addresses`: who owns an address on a network. */
struct fnet_address_key {
    struct fnet_addr addr;
    __u32 network;
    __u32 reserved; /* zero, part of the hash */
};
FNET_ASSERT(sizeof(struct fnet_address_key) == 24, "no hidden padding");

#define FNET_ADDRESS_LEARNED (1U << 0) /* from the peer's packets; else user space wrote it */

/* Value of `addresses`. On this node: ifindex. On another one: tunnel. */
struct fnet_address {
    __u32 ifindex; /* host-side veth, 0 = on another node */
    __u32 tunnel;  /* index in `tunnels`, 0 = on this node */
    __u8 mac[FNET_MAC_LEN];
    __u16 flags; /* FNET_ADDRESS_* */
    __u32 slot;  /* learned: index in `learned`; else 0 */
    __u32 reserved;
    __u64 seen_ns; /* learned: CLOCK_MONOTONIC (coarse), to the second, of its peer's last packet; else 0 */
};
FNET_ASSERT(sizeof(struct fnet_address) == 32, "no hidden padding");

/* Value of `validity`, one instance: what `pairs` and `ways` hold was judged under a generation. */
#define FNET_USER_GENERATION (1U << 16)
struct fnet_validity {
    /* Another one whenever user space changed `addresses`, `vteps`, `tunnels` or `endpoints`, by FNET_USER_GENERATION,
     * and when an endpoint meets its first hairpin, by one: so that neither takes the other's change back. */
    __u32 generation;
    __u32 reserved;
};

#define FNET_WAYS_BITS 10
#define FNET_WAYS (1 << FNET_WAYS_BITS)

/* Value of `ways`, an array per CPU: what was judged of packets of an endpoint to an address of its network, and the
 * way there. BPF's; user space reads what is still to be counted. See bpf/lib/way.h. */
struct fnet_way {
    struct fnet_addr src;
    struct fnet_addr dst;
    __u64 judged_ns;  /* CLOCK_MONOTONIC (coarse); 0 = for one packet only */
    __u32 generation; /* of struct fnet_validity */
    __u32 endpoint;   /* id of the sender; 0 = nothing here yet */
    __u32 from;       /* host-side veth of the sender */
    __u32 ifindex;    /* host-side veth of the receiver, 0 = on another node */
    __u32 tunnel;     /* index in `tunnels`, 0 = on this node */
    __u32 vni;
    __u32 bridge_ifindex;
    __u8 src_mac[FNET_MAC_LEN];
    __u8 dst_mac[FNET_MAC_LEN];
    __u64 packets; /* by redirect, not yet in the sender's counters */
    __u64 bytes;
};
FNET_ASSERT(sizeof(struct fnet_way) == 96, "no hidden padding");

enum fnet_device_kind {
    FNET_DEVICE_UPLINK = 1,
    FNET_DEVICE_BRIDGE = 2, /* of the network `network` */
    FNET_DEVICE_LOOPBACK = 3,
    FNET_DEVICE_VXLAN = 4, /* the kernel's own path of the overlay network `network` */
};

/* Value of `devices`, key: __u32 ifindex. */
struct fnet_device {
    __u32 kind; /* enum fnet_device_kind */
    __u32 network;
};

/* Key of `subnets` (LPM): container subnets of this node. */
struct fnet_subnet_key {
    __u32 prefix_len; /* in bits of addr: 96 more for IPv4 */
    __be32 addr[4];   /* as fnet_addr.words; that type itself would bring padding here */
};
FNET_ASSERT(sizeof(struct fnet_subnet_key) == 20, "no hidden padding");
