/* The flow table: two self-contained entries per flow, one per direction, created and removed together.
 * An entry's value holds the whole rewrite and the exit, so an established packet costs one lookup. */
#pragma once

#include "bpf/abi/base.h"

#define FNET_LOOPBACK_IFINDEX 1 /* of lo, in every network namespace (the kernel's LOOPBACK_IFINDEX) */

/* A packet's tuple as it is on the wire at the hook that sees it, before translation. */
struct fnet_flow_key {
    struct fnet_addr src;
    struct fnet_addr dst;
    __be16 src_port;  /* zero where there are none; ICMP echo request: the identifier; echo reply: 0 */
    __be16 dst_port;  /* ICMP echo reply: the identifier; echo request: 0 */
    __u32 ifindex;    /* the endpoint's host-side veth, FNET_LOOPBACK_IFINDEX, or 0 on the outside (any uplink).
                         An endpoint can so never match a flow that is not its own. */
    __u8 protocol;    /* IPPROTO_* */
    __u8 reserved[7]; /* zero, part of the hash; the size is a multiple of 8 so that copies are */
};
FNET_ASSERT(sizeof(struct fnet_flow_key) == 48, "no hidden padding");

enum fnet_exit {
    FNET_EXIT_PEER = 1,     /* bpf_redirect_peer(exit_ifindex): into the container */
    FNET_EXIT_LINK = 2,     /* bpf_redirect(exit_ifindex) with the cached MACs, looked up again every second */
    FNET_EXIT_LOOPBACK = 4, /* bpf_redirect(lo): to a process of the host that called by an address of the host */
};

enum fnet_flow_state {
    FNET_FLOW_NEW = 0,         /* original: no reply seen. reply: nothing sent yet, or TCP that is not proven */
    FNET_FLOW_REPLIED = 1,     /* original only: a reply was seen, the originator has not shown that it got it */
    FNET_FLOW_ESTABLISHED = 2, /* steady: nothing to do per packet but to count */
    FNET_FLOW_CLOSED = 3,      /* FIN in both directions, or RST */
};

#define FNET_FLOW_ORIGINAL (1U << 0)   /* this entry is the direction of the first packet */
#define FNET_FLOW_FIN (1U << 1)        /* this direction sent FIN */
#define FNET_FLOW_RESET (1U << 2)      /* closed by RST: may come back to life */
#define FNET_FLOW_ALIVE (1U << 3)      /* this direction sent a segment after the RST */
#define FNET_FLOW_MASQUERADE (1U << 4) /* the source was chosen by us: follows the uplink's address */
#define FNET_FLOW_MAPPED (1U << 5)     /* original only: counted in an entry of `mappings` */
/* The container sees an address of the host as source: the host's own sockets may have the port. */
#define FNET_FLOW_HOST_SOURCE (1U << 6)
#define FNET_FLOW_PROVEN (1U << 7) /* TCP: the originator has shown that it sees the replies */

struct fnet_flow {
    /* Rewrite: what the packet's tuple becomes. Wire order. */
    struct fnet_addr new_src;
    struct fnet_addr new_dst;
    __be16 new_src_port;
    __be16 new_dst_port;
    __u32 address_diff; /* ones' complement difference of the addresses, for the IPv4 header and the pseudo-header (RFC
                           1624) */
    __u32 port_diff;    /* the same for the ports or the ICMP identifier */
    /* Exit. */
    __u32 exit_ifindex;
    __u8 exit_dst_mac[FNET_MAC_LEN];
    __u8 exit_src_mac[FNET_MAC_LEN];
    __u8 exit;             /* enum fnet_exit */
    __u8 state;            /* enum fnet_flow_state, of this direction */
    __u16 flags;           /* FNET_FLOW_* */
    __u64 reserved2;       /* zero */
    __u64 exit_checked_ns; /* CLOCK_MONOTONIC (coarse) of the last next-hop lookup */
    /* Accounting, written by this direction's packets only. */
    __u64 last_seen_ns; /* CLOCK_MONOTONIC (coarse) */
    __u64 packets;
    __u64 bytes; /* of skb->len, Ethernet header included */
    /* TCP handshake. */
    __u32 expected_ack; /* original only: what the originator acknowledges if it has seen the last reply; host order */
    __u32 reserved;     /* zero */
    /* Ownership, constant. */
    __u32 slot;             /* index in flow_slots, shared by both directions */
    __u32 endpoint_ifindex; /* host-side veth of the endpoint that the flow belongs to */
    __u32 service;          /* id of the published port, 0 for a masqueraded flow */
    __u32 exit_mtu;         /* bytes of IP packet that the exit takes, 0 = any; refreshed with the exit */
};
FNET_ASSERT(sizeof(struct fnet_flow) == 128, "no hidden padding");

/* Key of `mappings`, which has two entries per mapping: the inside's, found when a container opens a flow, and the
 * claim on the outside port, which has no inside. */
struct fnet_mapping_key {
    struct fnet_addr inside; /* zero in a claim, as its port and ifindex */
    struct fnet_addr outside;
    __u32 ifindex; /* the endpoint's host-side veth */
    __be16 inside_port;
    __be16 outside_port; /* zero in the inside's entry */
    __u8 protocol;
    __u8 reserved[7]; /* zero, part of the hash */
};
FNET_ASSERT(sizeof(struct fnet_mapping_key) == 48, "no hidden padding");

struct fnet_mapping {
    __u32 flows; /* that use it: the last one takes it along. Nobody joins it at 0. Not used in a claim */
    __be16 outside_port;
    __u16 reserved;
};
FNET_ASSERT(sizeof(struct fnet_mapping) == 8, "no hidden padding");

/* Key of `host_portless`: who sends the host itself a protocol without ports. */
struct fnet_portless_key {
    struct fnet_addr peer;
    __u8 protocol;
    __u8 reserved[7]; /* zero, part of the hash */
};
FNET_ASSERT(sizeof(struct fnet_portless_key) == 24, "no hidden padding");

/* What a flow is to the collector, in the order in which it is given up under pressure (answered datagrams and closing
 * TCP when idle); established TCP never is. */
enum fnet_flow_class {
    FNET_CLASS_NONE = 0, /* the slot is free */
    FNET_CLASS_CLOSED = 1,
    FNET_CLASS_HALF_OPEN = 2,
    FNET_CLASS_DATAGRAM = 3, /* answered UDP or ICMP */
    FNET_CLASS_CLOSING = 4,  /* TCP, FIN in one direction: transitory (RFC 5382 REQ-5) */
    FNET_CLASS_ESTABLISHED = 5,
    FNET_CLASS_COUNT = 6,
};

/* One per flow, found by index: what the collector walks, because a hash map cannot be walked in chunks from BPF. */
struct fnet_flow_slot {
    struct fnet_flow_key key; /* of the original direction */
    __u32 flow_class;         /* enum fnet_flow_class; exchanged atomically */
    __u32 reserved;
};
FNET_ASSERT(sizeof(struct fnet_flow_slot) == 56, "no hidden padding");

/* State of the slot allocator and the collector; one instance. */
struct fnet_flow_table {
    __u32 unused; /* slots from here on were never used */
    __u32 hand;   /* clock hand of reclaim under pressure */
    __u32 cursor; /* of the collector's walk */
    __u32 reserved;
    __s64 count[FNET_CLASS_COUNT]; /* flows by class; [NONE] is not kept */
    __u64 expired;                 /* flows removed by time-out */
    __u64 reclaimed;               /* flows removed under pressure */
    __u64 ticks;                   /* of the collector: shows that it runs */
    __u64 portless[4];             /* bit n: protocol n, which has no ports, had a masqueraded flow once */
};
