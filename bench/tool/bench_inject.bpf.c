/* Sends test frames into the wire, for BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES.
 * The kernel recycles the frame's page after the receiver freed it, with whatever the datapath under test wrote into
 * the headers (addresses, ports, checksums, TTL). So each run writes all headers anew, from one template per flow.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bench_inject.h"

const volatile __u32 flow_count = 1;
const volatile __u32 ipv6 = 0;
const volatile __u32 vxlan = 0;
const volatile __u32 action = XDP_TX;

__u64 frames_made = 0;
__u32 next_flow = 0;

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct bench_header);
} headers SEC(".maps");

SEC("xdp")
int inject(struct xdp_md* ctx) {
    void* data = (void*)(long)ctx->data;
    void* data_end = (void*)(long)ctx->data_end;
    __u32 flow = next_flow;
    const struct bench_header* header;

    if (flow >= flow_count) flow = 0;
    next_flow = flow + 1;

    header = bpf_map_lookup_elem(&headers, &flow);
    if (!header) return XDP_ABORTED;

    /* Ethernet + IPv4 + UDP is 42 bytes, Ethernet + IPv6 + UDP is 62: eight bytes at a time, then the rest. */
    if (vxlan) {
        if (data + BENCH_HEADER_VXLAN > data_end) return XDP_ABORTED;
        for (int i = 0; i < BENCH_HEADER_VXLAN / 8; i++) ((__u64*)data)[i] = header->words[i];
        ((__u32*)data)[22] = ((const __u32*)header->words)[22];
    } else if (ipv6) {
        if (data + BENCH_HEADER_IPV6 > data_end) return XDP_ABORTED;
        for (int i = 0; i < BENCH_HEADER_IPV6 / 8; i++) ((__u64*)data)[i] = header->words[i];
        ((__u32*)data)[14] = ((const __u32*)header->words)[14];
        ((__u16*)data)[30] = ((const __u16*)header->words)[30];
    } else {
        if (data + BENCH_HEADER_IPV4 > data_end) return XDP_ABORTED;
        for (int i = 0; i < BENCH_HEADER_IPV4 / 8; i++) ((__u64*)data)[i] = header->words[i];
        ((__u16*)data)[20] = ((const __u16*)header->words)[20];
    }
    frames_made++;
    return action;
}

char _license[] SEC("license") = "GPL";
