/* Questions of a container for the MAC of an address (ARP, RFC 826; neighbour solicitation, RFC 4861) on an overlay
 * network, answered here for every address that is known: nothing that is known is flooded to other nodes. */
#pragma once

#include "bpf/lib/answer.h"
#include "bpf/lib/remote.h"

#define NEIGHBOUR_UNKNOWN (-8) /* no tc action: leave it to the bridge */

struct arp_ipv4 {
    struct arp_header header;
    __u8 sender_mac[ETH_ALEN];
    __u8 sender_ip[4];
    __u8 target_mac[ETH_ALEN];
    __u8 target_ip[4];
} __attribute__((packed));
#define ARP_REQUEST 1
#define ARP_REPLY 2

#define ND_ROUTER_ADVERTISEMENT 134
#define ND_NEIGHBOUR_SOLICITATION 135
#define ND_NEIGHBOUR_ADVERTISEMENT 136
#define ND_REDIRECT 137
#define ND_ADVERTISE_ROUTER 0x80
#define ND_ADVERTISE_SOLICITED 0x40
#define ND_ADVERTISE_OVERRIDE 0x20

struct nd_message { /* solicitation and advertisement with one option, RFC 4861 4.3, 4.4 */
    __u8 type;
    __u8 code;
    __sum16 checksum;
    __u8 flags; /* of the advertisement */
    __u8 reserved[3];
    struct fnet_addr target;
    __u8 option_type;   /* 1: link-layer address of the source, 2: of the target */
    __u8 option_length; /* in units of 8 bytes */
    __u8 option_mac[ETH_ALEN];
};
FNET_ASSERT(sizeof(struct nd_message) == 32, "as on the wire");

/* The MAC of an address on the endpoint's network: the gateway's or another endpoint's, here or on another node. The
 * endpoint's own is left out: who asks for that looks for a double. */
FNET_INLINE int neighbour_mac(const struct fnet_endpoint *endpoint, const struct fnet_addr *target, int is_ipv6,
                              __u8 *mac)
{
    struct fnet_address_key owner = {.network = endpoint->network};
    struct fnet_address *known;

    if (address_equal(target, is_ipv6 ? &endpoint->gateway6 : &endpoint->gateway4)) {
        mac_set_gateway(mac);
        return 1;
    }
    if (endpoint->flags & FNET_ENDPOINT_NO_ICC)
        return 0;
    owner.addr = *target;
    known = bpf_map_lookup_elem(&addresses, &owner);
    if (!known || known->ifindex == endpoint->ifindex || remote_is_silent(known, bpf_ktime_get_coarse_ns()))
        return 0;
    __builtin_memcpy(mac, known->mac, ETH_ALEN);
    return 1;
}

FNET_INLINE int neighbour_reply(struct __sk_buff *skb, struct fnet_scratch *work, const struct fnet_endpoint *endpoint,
                                const __u8 *mac)
{
    __builtin_memcpy(work->macs, endpoint->mac, ETH_ALEN);
    __builtin_memcpy(work->macs + ETH_ALEN, mac, ETH_ALEN);
    if (bpf_skb_store_bytes(skb, 0, work->macs, 2 * ETH_ALEN, 0))
        return drop(skb, INTERNAL_ERROR);
    leave(skb, FNET_NEIGHBOUR_ANSWERED, 0);
    return deliver_to_peer(skb, endpoint->ifindex);
}

/* An ARP frame whose sender was checked. */
__noinline int arp_answer(struct __sk_buff *skb)
{
    struct fnet_scratch *work = map_single(scratch);
    struct arp_ipv4 arp __attribute__((aligned(8)));
    struct fnet_endpoint *endpoint;
    struct fnet_addr target;
    __u32 ifindex = skb->ifindex;
    __be32 v4;
    __u8 mac[ETH_ALEN] __attribute__((aligned(4)));

    endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
    if (!work || !endpoint || bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)) ||
        arp.header.operation != bpf_htons(ARP_REQUEST))
        return NEIGHBOUR_UNKNOWN;
    __builtin_memcpy(&v4, arp.target_ip, sizeof(v4));
    address_from_v4(&target, v4);
    if (!neighbour_mac(endpoint, &target, 0, mac))
        return NEIGHBOUR_UNKNOWN;
    arp.header.operation = bpf_htons(ARP_REPLY);
    __builtin_memcpy(arp.target_mac, arp.sender_mac, ETH_ALEN);
    __builtin_memcpy(arp.target_ip, arp.sender_ip, sizeof(v4));
    __builtin_memcpy(arp.sender_mac, mac, ETH_ALEN);
    __builtin_memcpy(arp.sender_ip, &v4, sizeof(v4));
    if (bpf_skb_store_bytes(skb, ETH_HLEN, &arp, sizeof(arp), BPF_F_RECOMPUTE_CSUM))
        return drop(skb, INTERNAL_ERROR);
    return neighbour_reply(skb, work, endpoint, mac);
}

/* A neighbour solicitation whose sender was checked. One with the usual option and nothing else is answered; who looks
 * for a double of its own address (source ::) asks them all. */
__noinline int nd_answer(struct __sk_buff *skb, struct packet *packet)
{
    struct fnet_scratch *work = map_single(scratch);
    struct fnet_endpoint *endpoint;
    struct nd_message message __attribute__((aligned(8)));
    __u8 mac[ETH_ALEN] __attribute__((aligned(4)));
    __u32 ifindex = skb->ifindex;
    struct ipv6hdr *ip;
    __s64 sum;

    endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
    if (!work || !endpoint || !packet || packet->l3_length != sizeof(*ip) + sizeof(message) ||
        packet->l4_offset != ETH_HLEN + sizeof(*ip) || address_none(&packet->key.src) ||
        bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(*ip), &message, sizeof(message)) || message.option_type != 1 ||
        !neighbour_mac(endpoint, &message.target, 1, mac))
        return NEIGHBOUR_UNKNOWN;
    message.type = ND_NEIGHBOUR_ADVERTISEMENT;
    message.checksum = 0;
    message.flags = ND_ADVERTISE_SOLICITED | ND_ADVERTISE_OVERRIDE;
    if (mac_is_gateway(mac))
        message.flags |= ND_ADVERTISE_ROUTER;
    message.option_type = 2;
    __builtin_memcpy(message.option_mac, mac, ETH_ALEN);
    ip = &work->quote.v6;
    __builtin_memset(ip, 0, sizeof(*ip));
    ip->version = 6;
    ip->payload_len = bpf_htons(sizeof(message));
    ip->nexthdr = IPPROTO_ICMPV6;
    ip->hop_limit = 255; /* RFC 4861 7.1.2 */
    __builtin_memcpy(&ip->saddr, &message.target, 16);
    __builtin_memcpy(&ip->daddr, &packet->key.src, 16);
    sum = bpf_csum_diff(NULL, 0, (__be32 *)&message, sizeof(message),
                        bpf_htons(sizeof(message)) + bpf_htons(IPPROTO_ICMPV6));
    sum = bpf_csum_diff(NULL, 0, (__be32 *)&ip->saddr, 32, (__wsum)sum);
    message.checksum = (__sum16)~csum_fold16((__u32)sum);
    if (bpf_skb_store_bytes(skb, ETH_HLEN, ip, sizeof(*ip), BPF_F_RECOMPUTE_CSUM) ||
        bpf_skb_store_bytes(skb, ETH_HLEN + sizeof(*ip), &message, sizeof(message), BPF_F_RECOMPUTE_CSUM))
        return drop(skb, INTERNAL_ERROR);
    return neighbour_reply(skb, work, endpoint, mac);
}

/* ARP, or a multicast packet, of a container. Returns a tc action or NEIGHBOUR_UNKNOWN. */
FNET_INLINE int neighbour_answer(struct __sk_buff *skb, struct packet *packet)
{
    if (packet->kind == PACKET_ARP)
        return arp_answer(skb);
    if (packet->kind == PACKET_ICMP_OTHER && packet->is_ipv6 && packet->icmp_type == ND_NEIGHBOUR_SOLICITATION)
        return nd_answer(skb, packet);
    return NEIGHBOUR_UNKNOWN;
}
