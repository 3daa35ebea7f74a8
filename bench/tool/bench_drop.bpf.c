/* Counts and drops every frame: the least that an XDP program can do. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} dropped SEC(".maps");

SEC("xdp")
int drop(struct xdp_md* ctx) {
    __u32 key = 0;
    __u64* packets = bpf_map_lookup_elem(&dropped, &key);

    (void)ctx;
    if (packets) (*packets)++;
    return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
