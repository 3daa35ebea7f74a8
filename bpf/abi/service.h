/* Published ports: (host address, protocol, port) -> container. */
#pragma once

#include "bpf/abi/base.h"

/* Key of `services` (LPM). A range of ports is a handful of aligned blocks, so the port comes last.
 * addr is the host address, or 0.0.0.0 / :: for every address of the host. */
struct fnet_service_key {
    __u32 prefix_len; /* in bits behind this field: 144 (address, protocol, reserved) + 0..16 of the port */
    __be32 addr[4];   /* as fnet_addr.words */
    __u8 protocol;
    __u8 reserved; /* zero */
    __be16 port;
};
FNET_ASSERT(sizeof(struct fnet_service_key) == 24, "no hidden padding");
#define FNET_SERVICE_PREFIX_BASE 144

#define FNET_SERVICE_RESTRICTED (1U << 0) /* `sources` has a say in who may call */
#define FNET_SERVICE_ALLOW_ONLY (1U << 1) /* a source that no prefix covers may not; else it may */

struct fnet_service {
    struct fnet_addr container_addr;
    __u32 id;
    __u32 network;
    __u32 endpoint_ifindex; /* host-side veth */
    __u16 host_first;       /* first host port of the whole published range, host order */
    __u16 container_first;  /* container port that host_first maps to, host order */
    __u32 flags;            /* FNET_SERVICE_* */
    __u8 container_mac[FNET_MAC_LEN];
    __u8 reserved[2];
    __u32 reserved2;
};
FNET_ASSERT(sizeof(struct fnet_service) == 48, "no hidden padding");

/* Key of `sources` (LPM): who may call a published port. The longest prefix decides. */
struct fnet_source_key {
    __u32 prefix_len; /* in bits behind this field: 32 (service) + those of addr, 96 more for IPv4 */
    __u32 service;    /* id of the published port */
    __be32 addr[4];   /* as fnet_addr.words */
};
FNET_ASSERT(sizeof(struct fnet_source_key) == 24, "no hidden padding");
#define FNET_SOURCE_PREFIX_BASE 32

/* Value of `sources`. */
enum fnet_source_rule {
    FNET_SOURCE_DENY = 1,
    FNET_SOURCE_ALLOW = 2,
};

/* Value of `service_stats`, key: __u32 service id. Finished flows only; live ones are added by the reader. */
struct fnet_service_stats {
    __u64 packets; /* both directions */
    __u64 bytes;
    __u64 connections; /* flows created */
};

/* `filters`: bitmaps that let an uplink packet that cannot be ours pass with one array access.
 * Each region is 65536 bits in 1024 words; bit n of a region is bit (n % 64) of word n / 64. */
enum fnet_filter {
    FNET_FILTER_TCP4 = 0, /* ports published on any IPv4 address */
    FNET_FILTER_UDP4 = 1,
    FNET_FILTER_SCTP4 = 2,
    FNET_FILTER_TCP6 = 3, /* the same for IPv6 */
    FNET_FILTER_UDP6 = 4,
    FNET_FILTER_SCTP6 = 5,
    FNET_FILTER_SUBNET4 = 6, /* first 16 bits of a container subnet */
    FNET_FILTER_SUBNET6 = 7,
    FNET_FILTER_COUNT = 8,
};
#define FNET_FILTER_WORDS 1024
