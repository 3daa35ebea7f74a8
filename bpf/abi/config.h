/* Load-time knobs: .rodata of the datapath object, so the verifier sees constants. A change means loading anew and
 * replacing the programs of every link, which is atomic per link. */
#pragma once

#include "bpf/abi/base.h"

struct fnet_config {
    __u64 netns_cookie;       /* of the node's network namespace (SO_NETNS_COOKIE) */
    __u64 tcp_established_ns; /* RFC 5382 REQ-5: at least 2 h 4 min */
    __u64 tcp_opening_ns;     /* RFC 5382 REQ-5: at least 4 min */
    __u64 tcp_closing_ns;     /* of FIN or RST; RFC 5382 REQ-5: at least 4 min */
    __u64 udp_ns;             /* RFC 4787 REQ-5: default at least 5 min */
    __u64 udp_unreplied_ns;   /* at least 2 min */
    __u64 dns_ns;             /* of UDP to port 53; RFC 4787 REQ-5a: may be shorter */
    __u64 icmp_ns;            /* RFC 5508 REQ-2: at least 60 s */
    __u64 other_ns;           /* of protocols of which only the addresses are translated */
    __u64 exit_ns;            /* how long a cached next hop is believed */
    __u64 remote_ns;          /* how long a silent peer keeps an address that was learned from it */
    __u32 max_flows;
    __u16 masquerade_first; /* host order, inclusive */
    __u16 masquerade_last;
    __u8 gateway_mac[FNET_MAC_LEN]; /* of every fastnet bridge on this node; 4-byte aligned */
    __u8 csum_ipv6;                 /* kernel knows BPF_F_IPV6 of bpf_l4_csum_replace */
    __u8 endpoint_mapping;          /* UDP and ICMP echo: endpoint-independent mapping (RFC 4787 REQ-1) */
    __u8 decap_l3;                  /* kernel knows BPF_F_ADJ_ROOM_DECAP_L3_IPV4 and _IPV6 (6.3) */
    __u8 reserved[3];
    __be32 vtep4;           /* source address of the outer header; 0 = as the route prefers */
    struct fnet_addr vtep6; /* the same; all zero bytes */
};
FNET_ASSERT(sizeof(struct fnet_config) == 128, "no hidden padding");
FNET_ASSERT(__builtin_offsetof(struct fnet_config, gateway_mac) % 4 == 0, "read as a word and a half");
