/* The least that a redirecting datapath can do: no parsing, no lookup, no rewrite. What host mode or loopback differ
 * from by this is the price of the veth pair; what fastnet differs from it by is fastnet. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define LOOPBACK_IFINDEX 1 /* of every namespace */

const volatile __u32 to_ifindex = 0;
const volatile __u32 to_peer = 0;
const volatile __be32 destination = 0; /* 0: any */

SEC("tc")
int redirect(struct __sk_buff* skb) {
    if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)) return TC_ACT_UNSPEC;
    if (destination) {
        struct iphdr* ip = (void*)(long)skb->data + ETH_HLEN;
        if ((void*)(ip + 1) > (void*)(long)skb->data_end || ip->daddr != destination) return TC_ACT_UNSPEC;
    }
    if ((to_peer || to_ifindex == LOOPBACK_IFINDEX) && skb->pkt_type != PACKET_HOST) bpf_skb_change_type(skb, PACKET_HOST);
    if (!to_peer) {
        skb->queue_mapping = 0;
        return (int)bpf_redirect(to_ifindex, 0);
    }
    return (int)bpf_redirect_peer(to_ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
