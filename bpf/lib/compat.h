/* The ground floor of the BPF side: UAPI headers, helpers, and the constants that Debian 12's headers may lack.
 * Everything here is UAPI, so the build needs no kernel of its own (no vmlinux.h). */
#pragma once

#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/abi/base.h"

#define FNET_INLINE static __always_inline
#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

#ifndef AF_INET
#define AF_INET 2
#define AF_INET6 10
#endif
#ifndef CLOCK_MONOTONIC
#define CLOCK_MONOTONIC 1
#endif
#define FNET_EADDRINUSE 98
#define FNET_EEXIST 17

/* <linux/icmp.h> and <linux/if_arp.h> drag in libc's socket headers, which have no BPF variant. */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_FRAG_NEEDED 4
#define ICMP_PKT_FILTERED 13
#define ICMP_REDIRECT 5
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ARPHRD_ETHER 1
struct icmp_header { /* RFC 792, RFC 4443: the part that both share */
    __u8 type;
    __u8 code;
    __sum16 checksum;
    __be16 id; /* of echo */
    __be16 sequence;
};
struct sctp_header { /* RFC 9260 3.1, and the start of the first chunk */
    __be16 source;
    __be16 dest;
    __be32 verification_tag;
    __le32 checksum;
    __u8 chunk_type;
    __u8 chunk_flags;
    __be16 chunk_length;
};
enum { SCTP_INIT = 1, SCTP_ABORT = 6, SCTP_SHUTDOWN_COMPLETE = 14 };
struct vxlan_header { /* RFC 7348 section 5 */
    __u8 flags;
    __u8 reserved[3];
    __be32 vni; /* in the upper 24 bits */
};
#define VXLAN_FLAG_VNI 0x08 /* the I flag; all others are ignored */
struct arp_header {         /* RFC 826 */
    __be16 hardware;
    __be16 protocol;
    __u8 hardware_length;
    __u8 protocol_length;
    __be16 operation;
};

#define FNET_DECAP_L3_IPV4 (1ULL << 7) /* of bpf_skb_adjust_room, 6.3; features.cpp probes it */
#define FNET_DECAP_L3_IPV6 (1ULL << 8)
#define FNET_FIB_LOOKUP_SRC (1U << 4) /* 6.7 and many stable kernels; features.cpp probes it */
#define FNET_CSUM_IPV6 (1ULL << 7)    /* BPF_F_IPV6 of bpf_l4_csum_replace; used where probed */

/* How far the L4 checksum of a packet is known (include/linux/skbuff.h); read where the kernel lets a program look at
 * its sk_buff (6.2). */
struct sk_buff {
    __u8 ip_summed : 2;
} __attribute__((preserve_access_index));
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym __weak;
enum {
    CHECKSUM_NONE = 0,
    CHECKSUM_UNNECESSARY = 1,
    CHECKSUM_COMPLETE = 2,
    CHECKSUM_PARTIAL = 3,
    CHECKSUM_UNKNOWN = 4, /* older kernel */
};
FNET_INLINE int skb_checksum_state(struct __sk_buff *skb)
{
    if (!bpf_cast_to_kern_ctx)
        return CHECKSUM_UNKNOWN;
    return BPF_CORE_READ_BITFIELD((struct sk_buff *)bpf_cast_to_kern_ctx(skb), ip_summed);
}

/* Continue with the next program of the hook (tcx) or the next filter (clsact), then the kernel. */
#define FNET_TO_KERNEL TC_ACT_UNSPEC
