/* From bytes to a tuple. Everything is checked against the frame's real length before it is believed; a header that
 * lies about itself is MALFORMED and never rewritten. Reads only. */
#pragma once

#include "bpf/lib/maps.h"

#define FNET_TCP_FIN 0x01
#define FNET_TCP_SYN 0x02
#define FNET_TCP_RST 0x04
#define FNET_TCP_ACK 0x10

enum packet_kind {
    PACKET_TUPLE,      /* TCP, UDP, SCTP or ICMP echo: the key is complete */
    PACKET_PORTLESS,   /* a protocol of which only the addresses are translated: the key is complete, without ports */
    PACKET_ICMP_OTHER, /* ICMP(v6) that is not echo; addresses and protocol are valid */
    PACKET_FRAGMENT,   /* addresses and protocol are valid */
    PACKET_OTHER_L4,   /* IP with another protocol or an extension header; addresses are valid */
    PACKET_ARP,
    PACKET_NOT_IP,
    PACKET_MALFORMED,
};

struct packet {
    struct fnet_flow_key key; /* ifindex is 0: the hook sets its own */
    __u32 l3_length;          /* bytes of the IP packet by its own header */
    __u16 l4_offset;          /* bytes from the start of the frame */
    __u8 kind;                /* enum packet_kind */
    __u8 is_ipv6;
    __u8 ttl;
    __u8 tcp_flags; /* of SCTP what the first chunk amounts to */
    __u8 icmp_type;
    __u8 csum_offset;   /* of the L4 checksum from l4_offset; 0 = no checksum of ours */
    __u8 l4_header;     /* bytes; TCP with its options. Or PACKET_FIRST_FRAGMENT */
    __u8 gateway_bound; /* destination MAC is the gateway's */
    __u8 multicast;     /* destination MAC is multicast or broadcast */
    __u8 martian;       /* an address that never travels: no flow may be opened */
};

/* It lives on the stack of the deepest call chain, which has 512 bytes. */
FNET_ASSERT(sizeof(struct packet) == 64, "no larger than it was");

/* Where a transport header may be that is looked at, behind extension headers. */
#define PACKET_L4_MASK 0x7ff
#define PACKET_L4_MAX (PACKET_L4_MASK - 1)
#define PACKET_FIRST_FRAGMENT 0xff       /* no transport header is as long: others may have come before it */
#define PACKET_PULL (ETH_HLEN + 60 + 20) /* the longest headers that are looked at */

#define GOLDEN_RATIO 0x9e3779b97f4a7c15ULL /* 2^64 divided by it: in a product every bit reaches the upper ones */

FNET_INLINE void address_from_v4(struct fnet_addr *addr, __be32 v4)
{
    addr->quads[0] = 0;
    addr->words[2] = bpf_htonl(0xffff);
    addr->words[3] = v4;
}

FNET_INLINE void address_from_v6(struct fnet_addr *addr, const struct in6_addr *v6)
{
    addr->words[0] = v6->s6_addr32[0];
    addr->words[1] = v6->s6_addr32[1];
    addr->words[2] = v6->s6_addr32[2];
    addr->words[3] = v6->s6_addr32[3];
}

FNET_INLINE int address_equal(const struct fnet_addr *a, const struct fnet_addr *b)
{
    return a->quads[0] == b->quads[0] && a->quads[1] == b->quads[1];
}

/* All zero bytes: "none" in a map, `::` on the wire. */
FNET_INLINE int address_none(const struct fnet_addr *a)
{
    return (a->quads[0] | a->quads[1]) == 0;
}

/* ::1 */
FNET_INLINE int address_v6_loopback(const struct fnet_addr *a)
{
    return a->quads[0] == 0 && a->words[2] == 0 && a->words[3] == bpf_htonl(1);
}

/* fe80::/10 */
FNET_INLINE int address_link_local(const struct fnet_addr *a)
{
    return (a->words[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* Frames start at an even address at best; the architectures that BPF's JIT serves here load words from there. */
FNET_INLINE __u32 load32(const void *p)
{
    return *(const __u32 *)p;
}
FNET_INLINE __u16 load16(const void *p)
{
    return *(const __u16 *)p;
}

FNET_INLINE int mac_equal(const __u8 *a, const __u8 *b)
{
    return load32(a) == load32(b) && load16(a + 4) == load16(b + 4);
}

/* The gateway's MAC must be read through the volatile configuration: the compiler would take the const for zeros. */
FNET_INLINE int mac_is_gateway(const __u8 *mac)
{
    return load32(mac) == *(const volatile __u32 *)cfg.gateway_mac &&
           load16(mac + 4) == *(const volatile __u16 *)(cfg.gateway_mac + 4);
}

FNET_INLINE void mac_set_gateway(__u8 *mac)
{
#pragma unroll
    for (int i = 0; i < ETH_ALEN; i++)
        mac[i] = cfg.gateway_mac[i];
}

/* Loopback never travels (RFC 1122 3.2.1.3); from a wire or a container it is forged. */
FNET_INLINE int v4_never_on_wire(__be32 v4)
{
    __u8 first = (__u8)(bpf_ntohl(v4) >> 24);
    return first == 127;
}

/* 127.0.0.0/8 or ::1. A container cannot answer there: its own loopback would take it. */
FNET_INLINE int address_loopback(const struct fnet_addr *a, int is_ipv6)
{
    return is_ipv6 ? address_v6_loopback(a) : v4_never_on_wire(a->words[3]);
}

#define PROTOCOL_OSPF 89
#define PROTOCOL_VRRP 112
#define PROTOCOL_MOBILITY 135
#define PROTOCOL_HIP 139
#define PROTOCOL_SHIM6 140

/* Does a packet of this protocol stay good when its addresses change? ESP, GRE, IP in IP and whatever is not known
 * does. Not so what covers them by a check of its own: AH by its ICV (RFC 4302 3.3.3), DCCP, UDP-Lite, HIP, mobility,
 * and over IPv6 OSPF, PIM and VRRP by a pseudo-header; IGMP and these routing protocols have no business beyond their
 * link either. The rest is no transport: headers of IPv6 that have not been skipped, ICMP of the other family. */
FNET_INLINE int protocol_is_portless(__u8 protocol)
{
    switch (protocol) {
    case IPPROTO_HOPOPTS:
    case IPPROTO_ICMP:
    case IPPROTO_IGMP:
    case IPPROTO_TCP:
    case IPPROTO_UDP:
    case IPPROTO_DCCP:
    case IPPROTO_ROUTING:
    case IPPROTO_FRAGMENT:
    case IPPROTO_AH:
    case IPPROTO_ICMPV6:
    case IPPROTO_NONE:
    case IPPROTO_DSTOPTS:
    case PROTOCOL_OSPF:
    case IPPROTO_PIM:
    case PROTOCOL_VRRP:
    case IPPROTO_SCTP:
    case PROTOCOL_MOBILITY:
    case IPPROTO_UDPLITE:
    case PROTOCOL_HIP:
    case PROTOCOL_SHIM6:
    case IPPROTO_RAW:
        return 0;
    default:
        return 1;
    }
}

/* Multicast, 255.255.255.255 or the broadcast address of 127.0.0.0/8. */
FNET_INLINE int address_group(const struct fnet_addr *a, int is_ipv6)
{
    if (is_ipv6)
        return a->bytes[0] == 0xff;
    return (a->bytes[12] & 0xf0) == 0xe0 || a->words[3] == ~(__be32)0 || a->words[3] == bpf_htonl(0x7fffffff);
}

/* @whole: not the first of several fragments, whose datagram is longer than it is. */
FNET_INLINE int packet_parse_l4(struct packet *packet, void *l4, void *data_end, __u32 l4_length, int whole)
{
    struct fnet_flow_key *key = &packet->key;

    switch (key->protocol) {
    case IPPROTO_TCP: {
        struct tcphdr *tcp = l4;
        if ((void *)(tcp + 1) > data_end || tcp->doff < 5 || tcp->doff * 4U > l4_length)
            return PACKET_MALFORMED;
        key->src_port = tcp->source;
        key->dst_port = tcp->dest;
        packet->tcp_flags = ((__u8 *)tcp)[13];
        packet->csum_offset = offsetof(struct tcphdr, check);
        packet->l4_header = (__u8)(tcp->doff * 4);
        return PACKET_TUPLE;
    }
    case IPPROTO_UDP: {
        struct udphdr *udp = l4;
        if ((void *)(udp + 1) > data_end || bpf_ntohs(udp->len) < sizeof(*udp) ||
            (whole ? bpf_ntohs(udp->len) : sizeof(*udp)) > l4_length)
            return PACKET_MALFORMED;
        key->src_port = udp->source;
        key->dst_port = udp->dest;
        packet->csum_offset = offsetof(struct udphdr, check);
        packet->l4_header = sizeof(*udp);
        return PACKET_TUPLE;
    }
    case IPPROTO_SCTP: {
        /* Its checksum covers the ports but no addresses, so these are all that is ever changed. INIT, ABORT and
         * SHUTDOWN COMPLETE are to an association what SYN and RST are to a connection; an ABORT behind another chunk
         * is missed, and the time-out ends the flow. */
        struct sctp_header *sctp = l4;
        if ((void *)(sctp + 1) > data_end || l4_length < sizeof(*sctp))
            return PACKET_MALFORMED;
        key->src_port = sctp->source;
        key->dst_port = sctp->dest;
        if (sctp->chunk_type == SCTP_INIT)
            packet->tcp_flags = FNET_TCP_SYN;
        else if (sctp->chunk_type == SCTP_ABORT || sctp->chunk_type == SCTP_SHUTDOWN_COMPLETE)
            packet->tcp_flags = FNET_TCP_RST;
        packet->l4_header = offsetof(struct sctp_header, chunk_type);
        return PACKET_TUPLE;
    }
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6: {
        /* The fields used here lie at the same place in both (RFC 792, RFC 4443). */
        struct icmp_header *icmp = l4;
        __u8 request = packet->is_ipv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO;
        __u8 reply = packet->is_ipv6 ? ICMPV6_ECHO_REPLY : ICMP_ECHOREPLY;
        if ((key->protocol == IPPROTO_ICMPV6) != packet->is_ipv6)
            return PACKET_OTHER_L4;
        if ((void *)(icmp + 1) > data_end || l4_length < sizeof(*icmp))
            return PACKET_MALFORMED;
        packet->icmp_type = icmp->type;
        packet->csum_offset = offsetof(struct icmp_header, checksum);
        if (icmp->type == request)
            key->src_port = icmp->id;
        else if (icmp->type == reply)
            key->dst_port = icmp->id;
        else
            return PACKET_ICMP_OTHER;
        return PACKET_TUPLE;
    }
    default:
        return protocol_is_portless(key->protocol) ? PACKET_PORTLESS : PACKET_OTHER_L4;
    }
}

FNET_INLINE int packet_parse_ipv4(struct __sk_buff *skb, struct packet *packet, void *data, void *data_end)
{
    struct iphdr *ip = data + ETH_HLEN;
    __u32 header, total;

    if ((void *)(ip + 1) > data_end)
        return PACKET_MALFORMED;
    header = ip->ihl * 4U;
    total = bpf_ntohs(ip->tot_len);
    if (total == 0 && skb->gso_size) /* IPv4 BIG TCP, 6.3: longer than the field can say */
        total = skb->len - ETH_HLEN;
    if (ip->version != 4 || header < sizeof(*ip) || total < header || total > skb->len - ETH_HLEN)
        return PACKET_MALFORMED;
    packet->l3_length = total;
    packet->l4_offset = ETH_HLEN + header;
    packet->ttl = ip->ttl;
    packet->key.protocol = ip->protocol;
    address_from_v4(&packet->key.src, ip->saddr);
    address_from_v4(&packet->key.dst, ip->daddr);
    /* To 0.0.0.0 neither; it would also find the services published on every address as if it were their own. */
    packet->martian = v4_never_on_wire(ip->saddr) || v4_never_on_wire(ip->daddr) || ip->daddr == 0;
    if (ip->frag_off & bpf_htons(0x3fff)) /* more fragments, or an offset */
        return PACKET_FRAGMENT;
    return packet_parse_l4(packet, (void *)ip + header, data_end, total - header, 1);
}

FNET_INLINE int packet_parse_ipv6(struct __sk_buff *skb, struct packet *packet, void *data, void *data_end)
{
    struct ipv6hdr *ip = data + ETH_HLEN;
    __u32 payload;

    if ((void *)(ip + 1) > data_end)
        return PACKET_MALFORMED;
    payload = bpf_ntohs(ip->payload_len);
    if (payload == 0 && skb->gso_size) /* BIG TCP */
        payload = skb->len - ETH_HLEN - sizeof(*ip);
    if (ip->version != 6 || payload + sizeof(*ip) > skb->len - ETH_HLEN)
        return PACKET_MALFORMED;
    packet->is_ipv6 = 1;
    packet->l3_length = payload + sizeof(*ip);
    packet->l4_offset = ETH_HLEN + sizeof(*ip);
    packet->ttl = ip->hop_limit;
    packet->key.protocol = ip->nexthdr;
    address_from_v6(&packet->key.src, &ip->saddr);
    address_from_v6(&packet->key.dst, &ip->daddr);
    /* ::1 and v4-mapped addresses never travel (RFC 4291 2.5.3, RFC 4942 2.2). The latter would alias the keys of IPv4
     * flows, so not even a lookup may see them. */
    if (unlikely((packet->key.src.quads[0] == 0 && packet->key.src.quads[1] != 0) || packet->key.dst.quads[0] == 0)) {
        if ((packet->key.src.quads[0] == 0 && !address_v6_loopback(&packet->key.src)) ||
            (packet->key.dst.quads[0] == 0 && !address_v6_loopback(&packet->key.dst)))
            return PACKET_MALFORMED;
        packet->martian = 1; /* on lo ::1 is at home */
    }
    if (ip->nexthdr == IPPROTO_FRAGMENT)
        return PACKET_FRAGMENT;
    return packet_parse_l4(packet, (void *)(ip + 1), data_end, payload, 1);
}

/* Parses what lies in the linear part of @skb. */
FNET_INLINE int packet_parse_linear(struct __sk_buff *skb, struct packet *packet)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    struct ethhdr *eth = data;
    __be16 proto;

    __builtin_memset(packet, 0, sizeof(*packet));
    if ((void *)(eth + 1) > data_end)
        return PACKET_MALFORMED;
    packet->multicast = eth->h_dest[0] & 1;
    packet->gateway_bound = mac_is_gateway(eth->h_dest);
    proto = load16(&eth->h_proto);
    if (proto == bpf_htons(ETH_P_IP))
        return packet_parse_ipv4(skb, packet, data, data_end);
    if (proto == bpf_htons(ETH_P_IPV6))
        return packet_parse_ipv6(skb, packet, data, data_end);
    return proto == bpf_htons(ETH_P_ARP) ? PACKET_ARP : PACKET_NOT_IP;
}

/* The second try, for a driver that puts headers in fragments. Pulling moves bytes and may copy the head, 50 ns and
 * more, so it is never done on suspicion. */
__noinline int packet_parse_pulled(struct __sk_buff *skb, struct packet *packet)
{
    if (!packet)
        return PACKET_MALFORMED;
    bpf_skb_pull_data(skb, skb->len < PACKET_PULL ? skb->len : PACKET_PULL);
    return packet_parse_linear(skb, packet);
}

#define DHCP_SERVER_PORT 67
#define DHCP6_SERVER_PORT 547

/* What only a DHCP server says. */
FNET_INLINE int is_dhcp_answer(const struct packet *packet)
{
    return packet->key.protocol == IPPROTO_UDP &&
           packet->key.src_port == bpf_htons(packet->is_ipv6 ? DHCP6_SERVER_PORT : DHCP_SERVER_PORT);
}

/* Of TCP only a SYN opens a flow, of SCTP only an INIT. */
FNET_INLINE int packet_may_open(const struct packet *packet)
{
    return (packet->key.protocol != IPPROTO_TCP && packet->key.protocol != IPPROTO_SCTP) ||
           (packet->tcp_flags & (FNET_TCP_SYN | FNET_TCP_ACK | FNET_TCP_RST)) == FNET_TCP_SYN;
}

/* ICMP of this type in this packet's family. */
FNET_INLINE int is_echo(const struct packet *packet, __u8 type4, __u8 type6)
{
    return packet->key.protocol == (packet->is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) &&
           packet->icmp_type == (packet->is_ipv6 ? type6 : type4);
}

/* Fills @packet, which the caller has not touched; returns its kind too. */
FNET_INLINE int packet_parse(struct __sk_buff *skb, struct packet *packet)
{
    int kind = packet_parse_linear(skb, packet);

    if (unlikely(kind == PACKET_MALFORMED))
        kind = packet_parse_pulled(skb, packet);
    packet->kind = (__u8)kind;
    return kind;
}
