/* pktgen writes no tunnel: its UDP payload starts with a magic number and is zeros after that. This writes over the start of it, so
 * that the frame is VXLAN of the flow that its source port names. Nothing grows, and the outer headers stay pktgen's. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bench_vxlan.h"

const volatile __u32 first_port = 0;
const volatile __u8 is_ipv6 = 0;

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct bench_vxlan_start);
} starts SEC(".maps");

SEC("tc")
int vxlan(struct __sk_buff* skb) {
    void* data = (void*)(long)skb->data;
    void* end = (void*)(long)skb->data_end;
    struct iphdr* ip = data + ETH_HLEN;
    struct udphdr* udp = (void*)(ip + 1);
    struct bench_vxlan_start* start;
    __u32 flow;

    if ((void*)(udp + 1) > end || skb->protocol != bpf_htons(ETH_P_IP) || ip->ihl != 5 || ip->protocol != IPPROTO_UDP ||
        udp->dest != bpf_htons(BENCH_VXLAN_PORT))
        return TC_ACT_OK;
    flow = bpf_ntohs(udp->source) - first_port;
    start = bpf_map_lookup_elem(&starts, &flow);
    if (!start) return TC_ACT_OK;
    bpf_skb_store_bytes(skb, BENCH_VXLAN_PAYLOAD, start, is_ipv6 ? BENCH_VXLAN_IPV6 : BENCH_VXLAN_IPV4, 0);
    return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
