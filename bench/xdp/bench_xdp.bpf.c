/* Frames from ever new sources for a program under test, run by BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES: as a
 * driver would, the kernel takes a page for each frame and gets it back when it is dropped. `bench_source` writes the next
 * source and calls what is under test; the two programs to compare with are here, too. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SOURCES 131072

struct source {
    __be32 words[4]; /* IPv4: the first */
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, SOURCES);
    __type(key, __u32);
    __type(value, struct source);
} sources SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} under_test SEC(".maps");

struct trie_key {
    __u32 length;
    __be32 words[4];
};
struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, SOURCES);
    __type(key, struct trie_key);
    __type(value, __u8);
} trie SEC(".maps");

__u32 sources_in_use = SOURCES; /* of the table, from its start */
__u32 next_source;
__u64 passed; /* frames that the trie does not know */

SEC("xdp.frags")
int bench_source(struct xdp_md* ctx) {
    void *data = (void*)(long)ctx->data, *data_end = (void*)(long)ctx->data_end;
    __u32 index = next_source++ % sources_in_use;
    struct source* source = bpf_map_lookup_elem(&sources, &index);
    struct ethhdr* eth = data;

    if (!source || (void*)(eth + 1) > data_end) return XDP_DROP;
    if (eth->h_proto == bpf_htons(ETH_P_IP)) {
        struct iphdr* ip = (void*)(eth + 1);
        if ((void*)(ip + 1) > data_end) return XDP_DROP;
        ip->saddr = source->words[0];
    } else {
        struct ipv6hdr* ip = (void*)(eth + 1);
        if ((void*)(ip + 1) > data_end) return XDP_DROP;
        __builtin_memcpy(&ip->saddr, source, sizeof(*source));
    }
    bpf_tail_call(ctx, &under_test, 0);
    return XDP_ABORTED; /* nothing is under test */
}

SEC("xdp.frags")
int bench_drop(struct xdp_md* ctx) {
    return XDP_DROP;
}

/* The way that needs no table of one's own: one trie, which is a walk of up to as many steps as there are bits. */
SEC("xdp.frags")
int bench_trie(struct xdp_md* ctx) {
    void *data = (void*)(long)ctx->data, *data_end = (void*)(long)ctx->data_end;
    struct trie_key key = {};
    struct ethhdr* eth = data;

    if ((void*)(eth + 1) > data_end) return XDP_DROP;
    if (eth->h_proto == bpf_htons(ETH_P_IP)) {
        struct iphdr* ip = (void*)(eth + 1);
        if ((void*)(ip + 1) > data_end) return XDP_DROP;
        key.length = 32;
        key.words[0] = ip->saddr;
    } else {
        struct ipv6hdr* ip = (void*)(eth + 1);
        if ((void*)(ip + 1) > data_end) return XDP_DROP;
        key.length = 128;
        __builtin_memcpy(key.words, &ip->saddr, sizeof(key.words));
    }
    if (!bpf_map_lookup_elem(&trie, &key)) passed++;
    return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
