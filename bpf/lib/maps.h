/* Every map of the datapath and the load-time configuration. User space opens them by these names
 * (loader/datapath.cpp). max_entries marked "set at load" depend on --max-flows. */
#pragma once

#include "bpf/abi/config.h"
#include "bpf/abi/deny.h"
#include "bpf/abi/endpoint.h"
#include "bpf/abi/flow.h"
#include "bpf/abi/service.h"
#include "bpf/abi/tunnel.h"
#include "bpf/abi/verdict.h"
#include "bpf/lib/compat.h"

const volatile struct fnet_config cfg;

/* Two entries per flow. The loader takes BPF_F_NO_PREALLOC away where the machine has memory to spare (datapath.h). */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 2); /* set at load */
    __type(key, struct fnet_flow_key);
    __type(value, struct fnet_flow);
} flows SEC(".maps");

/* Two entries per mapping, and no more mappings than ports: 16384, of two protocols, in two families. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 131072);
    __type(key, struct fnet_mapping_key);
    __type(value, struct fnet_mapping);
} mappings SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1); /* set at load */
    __type(key, __u32);
    __type(value, struct fnet_flow_slot);
} flow_slots SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_STACK);
    __uint(max_entries, 1); /* set at load */
    __type(value, __u32);
} free_slots SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct fnet_flow_table);
} flow_table SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 16384);
    __type(key, __u32);
    __type(value, struct fnet_endpoint);
} endpoints SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 262144);
    __type(key, struct fnet_address_key);
    __type(value, struct fnet_address);
} addresses SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 4096);
    __type(key, __u32);
    __type(value, struct fnet_device);
} devices SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 8192);
    __type(key, struct fnet_subnet_key);
    __type(value, __u32);
} subnets SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 262144);
    __type(key, struct fnet_service_key);
    __type(value, struct fnet_service);
} services SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1048576);
    __type(key, struct fnet_source_key);
    __type(value, __u32); /* enum fnet_source_rule */
} sources SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 131072);
    __type(key, __u32);
    __type(value, struct fnet_service_stats);
} service_stats SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, FNET_FILTER_COUNT *FNET_FILTER_WORDS);
    __type(key, __u32);
    __type(value, __u64);
} filters SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, FNET_VERDICT_SLOTS);
    __type(key, __u32);
    __type(value, struct fnet_verdict_count);
} verdicts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, FNET_MAX_TUNNELS);
    __type(key, __u32);
    __type(value, struct fnet_tunnel);
} tunnels SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 65536);
    __type(key, struct fnet_vtep_key);
    __type(value, struct fnet_vtep);
} vteps SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct fnet_validity);
} validity SEC(".maps");

/* For so long a judgement in `pairs` or `ways` holds if user space changes nothing: the addresses of peers are seen to
 * be in use, and exits are asked for, at least once in it. */
#define JUDGED_FOR_NS (1000ULL * 1000 * 1000)

/* What was judged of packets between two containers, and the way into the one here: see bpf/lib/decap.h. */
#define FNET_PAIRS_BITS 10
#define FNET_PAIRS (1 << FNET_PAIRS_BITS)
struct fnet_pair {
    struct fnet_addr peer; /* outer source */
    struct fnet_addr src;
    struct fnet_addr dst;
    __u32 vni;
    __u32 generation; /* of struct fnet_validity */
    __u64 judged_ns;  /* CLOCK_MONOTONIC (coarse); 0 = nothing here */
    __u32 tunnel;
    __u32 ifindex; /* host-side veth */
    __u8 src_mac[ETH_ALEN];
    __u8 dst_mac[ETH_ALEN];
    __be16 protocol; /* ETH_P_IP or ETH_P_IPV6, inner */
    __u8 outer_ipv6;
    __u8 reserved;
};
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, FNET_PAIRS);
    __type(key, __u32);
    __type(value, struct fnet_pair);
} pairs SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, FNET_WAYS);
    __type(key, __u32);
    __type(value, struct fnet_way);
} ways SEC(".maps");

/* One per address that was learned, so that their number is bounded and old ones can be found: see bpf/lib/remote.h. */
struct fnet_learned {
    struct fnet_address_key key;
    struct fnet_vtep_key vtep; /* that it was learned from */
    __u32 state;               /* exchanged atomically */
    __u32 reserved;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, FNET_MAX_LEARNED);
    __type(key, __u32);
    __type(value, struct fnet_learned);
} learned SEC(".maps");

/* When (CLOCK_MONOTONIC, coarse) the host last heard it. LRU: forged sources push out one another. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 8192);
    __type(key, struct fnet_portless_key);
    __type(value, __u64);
} host_portless SEC(".maps");

/* What the purge program is asked and answers; used by one process at a time, under the node's lock. */
struct fnet_purge {
    __u32 endpoint_ifindex; /* remove flows of this endpoint, or */
    __u32 service;          /* of this published port */
    __u32 cursor;           /* first slot to look at; moved on by the program */
    __u32 removed;          /* sum */
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct fnet_purge);
} purge SEC(".maps");

/* What the fragments of one datagram share (RFC 791 3.2, RFC 8200 4.5), and where they come from: see fnet_flow_key. */
struct fnet_fragment_key {
    struct fnet_addr src;
    struct fnet_addr dst;
    __be32 id;
    __u32 ifindex;
    __u8 protocol; /* IPv4's, IPv6: 0 */
    __u8 reserved[7];
};
struct fnet_fragment { /* what its first fragment said */
    __u64 first_ns;    /* CLOCK_MONOTONIC (coarse) */
    __be16 src_port;
    __be16 dst_port;
    __u8 protocol;
    __u8 contested; /* another first fragment said something else */
    __u8 reserved[2];
};
/* Least recently used ones give way: who floods it harms fragments only. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 8192);
    __type(key, struct fnet_fragment_key);
    __type(value, struct fnet_fragment);
} fragments SEC(".maps");

/* Later fragments that came before their first, see bpf/lib/early.h. */
#define FNET_EARLY_PLACES 64
#define FNET_EARLY_BYTES 2048
struct fnet_early {
    struct fnet_fragment_key id;
    __u64 seen_ns; /* CLOCK_MONOTONIC (coarse) */
    __u32 length;  /* of frame */
    __u32 state;   /* exchanged atomically */
    __u8 frame[FNET_EARLY_BYTES];
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, FNET_EARLY_PLACES);
    __type(key, __u32);
    __type(value, struct fnet_early);
} early SEC(".maps");

/* CLOCK_MONOTONIC (coarse) up to which the ICMP errors of our own are paid for, by the device's ifindex modulo. */
#define FNET_ANSWER_BUCKETS 1024
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, FNET_ANSWER_BUCKETS);
    __type(key, __u32);
    __type(value, __u64);
} answers SEC(".maps");

/* The deny list. Its tables are made when it gets its first prefix, and exchanged as a whole when they are made anew;
 * two entries each, of which `deny_list.tables` names one. They are written through memory that is shared with user
 * space. */
struct deny_blocks_table { /* by sizes: BTF has no more than the names of types that only an inner map has */
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, FNET_DENY_BLOCK_ROWS);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(struct fnet_deny_blocks));
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 2);
    __type(key, __u32);
    __array(values, struct deny_blocks_table);
} deny_blocks SEC(".maps");
struct deny_nodes_table {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP); /* of any size */
    __uint(max_entries, 1);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(struct fnet_deny_node));
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 2);
    __type(key, __u32);
    __array(values, struct deny_nodes_table);
} deny_nodes SEC(".maps");
struct fnet_deny_list deny_list SEC(".data.deny");

struct fnet_collector {
    struct bpf_timer timer;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct fnet_collector);
} collector SEC(".maps");

/* Work space that would not fit the 512 bytes of stack. Packets and timers run in softirq, one at a time on a CPU; what
 * user space runs (bpf_prog_test_run) can be interrupted by them and has a part of its own. */
#define FNET_SCRATCH_PACKET 0
#define FNET_SCRATCH_TASK 1
#define FNET_SCRATCH_PARTS 2
#define FNET_CHUNK 512   /* what bpf_csum_diff() takes at once */
struct fnet_icmp_quote { /* the start of the packet that an ICMP error is about */
    union {
        struct iphdr v4;
        struct ipv6hdr v6;
    };
    __be16 l4[4];
};
struct fnet_scratch {
    struct fnet_flow_key original_key;
    struct fnet_flow_key reply_key;
    struct fnet_flow original;
    struct fnet_flow reply;
    struct bpf_fib_lookup route; /* of exit_lookup(), also used without a new flow */
    struct fnet_flow_key victim; /* of flow_remove() */
    struct fnet_flow_key victim_partner;
    struct fnet_mapping_key mapping; /* of mapping.h: the inside's entry */
    struct fnet_mapping_key claim;
    struct fnet_icmp_quote quote; /* of icmp_error_forward() */
    struct fnet_addr quote_src;   /* of the translated error; beside each other as in an IPv6 header */
    struct fnet_addr quote_dst;
    struct fnet_fragment_key fragment;                           /* of hidden_resolve() */
    struct fnet_vtep_key vtep_key;                               /* of tunnel_judge() and remote_source(): who sends, */
    struct fnet_address_key remote_key;                          /* as whom, */
    struct fnet_address remote;                                  /* what becomes of that, */
    struct fnet_address_key local_key;                           /* to whom, */
    struct ethhdr inner;                                         /* in what */
    __u8 header[FNET_TUNNEL_HEADER] __attribute__((aligned(8))); /* of tunnel_refresh() */
    __u8 macs[2 * ETH_ALEN];                                     /* of a frame that is turned round */
    __u8 chunk[FNET_CHUNK + 8];                                  /* of a packet, with room to fill its last word up */
    __u8 frame[FNET_EARLY_BYTES]; /* of the packet whose place another takes in early_resend() */
};
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, FNET_SCRATCH_PARTS);
    __type(key, __u32);
    __type(value, struct fnet_scratch);
} scratch SEC(".maps");

/* The one instance of a single-entry array; never NULL, but the verifier wants it said. */
#define map_single(map) \
    ({ \
        __u32 map_zero = 0; \
        bpf_map_lookup_elem(&(map), &map_zero); \
    })

FNET_INLINE int filter_has(__u32 region, __u16 bit)
{
    __u32 index = region * FNET_FILTER_WORDS + bit / 64;
    __u64 *word = bpf_map_lookup_elem(&filters, &index);
    return word && (*word >> (bit % 64)) & 1;
}

/* This node has an overlay network, and so UDP port 4789 is VXLAN's. That row of `vteps` is no peer's: it names a
 * bridge of ours. */
FNET_INLINE struct fnet_vtep *overlay_row(void)
{
    struct fnet_vtep_key none = {};

    return bpf_map_lookup_elem(&vteps, &none);
}

/* Out of line: its key is not in the frame of who asks. */
__noinline int overlay_exists(void)
{
    return overlay_row() != NULL;
}

FNET_INLINE int is_overlay_port(__u8 protocol, __be16 port)
{
    return protocol == IPPROTO_UDP && port == bpf_htons(FNET_VXLAN_PORT) && overlay_exists();
}
