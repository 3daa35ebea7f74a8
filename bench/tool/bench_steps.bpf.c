/* Single steps of a packet path, STEPS of each in a run, so that one is told from the cost of running a program at all.
 * `nothing` is that cost. User space fills the tables (steps.cpp) and divides. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bench_steps.h"

#define REPEAT _Pragma("clang loop unroll(full)") for (int i = 0; i < STEPS; ++i)
#define AF_INET 2

const volatile __u32 route_ifindex = 0;
const volatile __be32 route_to = 0;

struct value {
    __u64 words[16]; /* as large as a flow's entry */
};
struct key16 {
    __u64 words[2];
};
struct key24 {
    __u64 words[3];
};
struct key48 {
    __u64 words[6];
};

#define HASH(name, key_type, table_flags, entries) \
    struct {                                       \
        __uint(type, BPF_MAP_TYPE_HASH);           \
        __uint(map_flags, table_flags);            \
        __uint(max_entries, entries);              \
        __type(key, struct key_type);              \
        __type(value, struct value);               \
    } name SEC(".maps")

HASH(warm16, key16, 0, WARM);
HASH(warm24, key24, 0, WARM);
HASH(warm48, key48, 0, WARM);
HASH(cold48, key48, 0, COLD);
/* A quarter full all the time. */
HASH(lazy48, key48, BPF_F_NO_PREALLOC, COLD);
HASH(reserved48, key48, 0, COLD);

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, WARM);
    __type(key, struct bench_prefix);
    __type(value, __u64);
} trie SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, WARM);
    __type(key, __u32);
    __type(value, struct value);
} array SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, WARM);
    __type(key, __u32);
    __type(value, struct value);
} percpu SEC(".maps");

__u64 serial; /* of the entries that update_* makes */

SEC("tc")
int nothing(struct __sk_buff* skb) {
    return 0;
}

#define LOOKUP(name, map, key_type, first)                         \
    SEC("tc")                                                      \
    int name(struct __sk_buff* skb) {                              \
        struct key_type key = {};                                  \
        __u64 sum = 0;                                             \
        REPEAT {                                                   \
            key.words[0] = (first);                                \
            struct value* found = bpf_map_lookup_elem(&map, &key); \
            if (found) sum += found->words[i];                     \
        }                                                          \
        return (int)sum;                                           \
    }
LOOKUP(hash_key16, warm16, key16, (__u64)i)
LOOKUP(hash_key24, warm24, key24, (__u64)i)
LOOKUP(hash_key48, warm48, key48, (__u64)i)
LOOKUP(hash_cold, cold48, key48, bpf_get_prandom_u32() % (COLD / 2))

SEC("tc")
int random_number(struct __sk_buff* skb) {
    __u32 sum = 0;
    REPEAT sum += bpf_get_prandom_u32() % (COLD / 2);
    return (int)sum;
}

SEC("tc")
int lpm_trie(struct __sk_buff* skb) {
    struct bench_prefix key = {.length = 32};
    __u64 sum = 0;
    REPEAT {
        key.address = bpf_htonl((__u32)i << 8 | 1);
        __u64* found = bpf_map_lookup_elem(&trie, &key);
        if (found) sum += *found;
    }
    return (int)sum;
}

#define INDEXED(name, map)                                           \
    SEC("tc")                                                        \
    int name(struct __sk_buff* skb) {                                \
        __u32 index = skb->len;                                      \
        __u64 sum = 0;                                               \
        REPEAT {                                                     \
            index = (index + 7) % WARM;                              \
            struct value* found = bpf_map_lookup_elem(&map, &index); \
            if (found) sum += found->words[i];                       \
        }                                                            \
        return (int)sum;                                             \
    }
INDEXED(array_entry, array)
INDEXED(percpu_entry, percpu)

/* A new entry, and the end of one that is COLD / 4 entries old: what a flow's two ends cost a table in use. */
#define RENEW(name, map)                                          \
    SEC("tc")                                                     \
    int name(struct __sk_buff* skb) {                             \
        static const struct value value = {};                     \
        struct key48 key = {};                                    \
        REPEAT {                                                  \
            key.words[0] = ++serial;                              \
            bpf_map_update_elem(&map, &key, &value, BPF_NOEXIST); \
            key.words[0] = serial - COLD / 4;                     \
            bpf_map_delete_elem(&map, &key);                      \
        }                                                         \
        return 0;                                                 \
    }
RENEW(renew_lazy, lazy48)
RENEW(renew_reserved, reserved48)

SEC("tc")
int count_plain(struct __sk_buff* skb) {
    struct key48 key = {};
    struct value* found = bpf_map_lookup_elem(&warm48, &key);
    if (!found) return 0;
    volatile __u64* counter = &found->words[0];
    REPEAT++* counter;
    return 0;
}

SEC("tc")
int count_atomic(struct __sk_buff* skb) {
    struct key48 key = {};
    struct value* found = bpf_map_lookup_elem(&warm48, &key);
    if (!found) return 0;
    REPEAT __sync_fetch_and_add(&found->words[0], 1);
    return 0;
}

SEC("tc")
int count_percpu(struct __sk_buff* skb) {
    __u32 index = skb->len;
    REPEAT {
        index = (index + 7) % WARM;
        struct value* found = bpf_map_lookup_elem(&percpu, &index);
        if (found) ++found->words[0];
    }
    return 0;
}

SEC("tc")
int clock_precise(struct __sk_buff* skb) {
    __u64 sum = 0;
    REPEAT sum += bpf_ktime_get_ns();
    return (int)sum;
}

SEC("tc")
int clock_coarse(struct __sk_buff* skb) {
    __u64 sum = 0;
    REPEAT sum += bpf_ktime_get_coarse_ns();
    return (int)sum;
}

SEC("tc")
int checksum_helper(struct __sk_buff* skb) {
    __u32 offset = ETH_HLEN + sizeof(struct iphdr) + __builtin_offsetof(struct udphdr, check);
    REPEAT bpf_l4_csum_replace(skb, offset, 0, (__u64)i + 1, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
    return 0;
}

/* As direct writes do it: with the state of the checksum unknown, not to be had for the transport's. */
SEC("tc")
int checksum_direct(struct __sk_buff* skb) {
    REPEAT {
        void *data = (void*)(long)skb->data, *end = (void*)(long)skb->data_end;
        struct iphdr* ip = data + ETH_HLEN;
        if ((void*)(ip + 1) > end) return 0;
        __u32 sum = (__u16)~ip->check + (__u32)i + 1;
        sum = (sum & 0xffff) + (sum >> 16);
        *(volatile __u16*)&ip->check = (__u16) ~((sum & 0xffff) + (sum >> 16));
    }
    return 0;
}

SEC("tc")
int store_helper(struct __sk_buff* skb) {
    __u32 macs[3] = {1, 2, 3};
    REPEAT bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0);
    return 0;
}

SEC("tc")
int store_direct(struct __sk_buff* skb) {
    REPEAT {
        void *data = (void*)(long)skb->data, *end = (void*)(long)skb->data_end;
        volatile __u32* words = data;
        if (data + 12 > end) return 0;
        words[0] = 1;
        words[1] = 2;
        words[2] = 3;
    }
    return 0;
}

SEC("tc")
int pull_linear(struct __sk_buff* skb) {
    REPEAT bpf_skb_pull_data(skb, ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr));
    return 0;
}

SEC("tc")
int route_lookup(struct __sk_buff* skb) {
    REPEAT {
        struct bpf_fib_lookup route = {.family = AF_INET, .tot_len = 1, .ifindex = route_ifindex, .ipv4_dst = route_to};
        bpf_fib_lookup(skb, &route, sizeof(route), BPF_FIB_LOOKUP_OUTPUT);
    }
    return 0;
}

/* An outer header's room, made and given back. */
#define ROOM(name, grow_flags)                                                                                 \
    SEC("tc")                                                                                                  \
    int name(struct __sk_buff* skb) {                                                                          \
        REPEAT {                                                                                               \
            if (bpf_skb_adjust_room(skb, OUTER_BYTES, BPF_ADJ_ROOM_MAC, grow_flags)) return -1;                \
            if (bpf_skb_adjust_room(skb, -OUTER_BYTES, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO)) return -1; \
        }                                                                                                      \
        return 0;                                                                                              \
    }
ROOM(room_plain, BPF_F_ADJ_ROOM_FIXED_GSO)
ROOM(room_no_csum_reset, BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
