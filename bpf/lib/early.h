/* Later fragments that come before their first: kept as they came, and sent after it (RFC 4787 REQ-14). A copy is all
 * that a program can keep, and a packet at hand all that it can send: the first fragment takes each one's bytes for a
 * moment, is cloned, and gets its own back.
 * Bounded in every way, and lossy: who floods it harms fragments that are out of order, and nothing else. */
#pragma once

#include "bpf/lib/leave.h"
#include "bpf/lib/nat.h"

/* No two pieces of one datagram are honestly further apart on their way than this. */
#define EARLY_LIFETIME_NS (1000ULL * 1000 * 1000)

/* So many pieces of one datagram never push each other out of an idle node's places. */
#define EARLY_TRIED 8

enum {
    EARLY_FREE = 0,
    EARLY_KEPT = 1,
    EARLY_BUSY = 2, /* of the CPU that made it so */
};

/* The length of a frame that was found to be 1 to FNET_EARLY_BYTES long: by arithmetic that the compiler must not see
 * through, because 6.1 takes no lower bound from a comparison. */
FNET_INLINE __u32 early_length(__u32 length)
{
    asm volatile("" : "+r"(length));
    return ((length - 1) & (FNET_EARLY_BYTES - 1)) + 1;
}

/* The first free place of a few from a random one on, else the last of them: whoever is there loses it. */
FNET_INLINE struct fnet_early *early_place(__u64 now)
{
    __u32 start = bpf_get_prandom_u32();
    struct fnet_early *place = NULL;
    int tried;

    for (tried = 0; tried < EARLY_TRIED; tried++) {
        __u32 index = (start + (__u32)tried) % FNET_EARLY_PLACES;

        place = bpf_map_lookup_elem(&early, &index);
        if (!place || place->state == EARLY_FREE ||
            (place->state == EARLY_KEPT && now - place->seen_ns >= EARLY_LIFETIME_NS))
            break;
    }
    return place;
}

FNET_INLINE void early_keep(struct __sk_buff *skb, const struct fnet_fragment_key *id, __u64 now)
{
    struct fnet_early *place = early_place(now);
    __u32 length = skb->len;

    if (!place || length < 1 || length > FNET_EARLY_BYTES ||
        __sync_lock_test_and_set(&place->state, EARLY_BUSY) == EARLY_BUSY)
        return;
    place->id = *id;
    place->seen_ns = now;
    place->length = length;
    __sync_lock_test_and_set(&place->state,
                             bpf_skb_load_bytes(skb, 0, place->frame, early_length(length)) ? EARLY_FREE : EARLY_KEPT);
}

struct early_walk {
    struct __sk_buff *skb;
    struct fnet_flow *flow;
    __u64 now;
    __u32 length;   /* of the first fragment's frame */
    __u32 borrowed; /* its bytes are in the work space */
};

FNET_INLINE int early_is_for(const struct fnet_early *place, const struct fnet_fragment_key *id, __u64 now)
{
    const __u64 *a = (const __u64 *)&place->id, *b = (const __u64 *)id;

    return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4] && a[5] == b[5] &&
           now - place->seen_ns < EARLY_LIFETIME_NS;
}

/* Sends the fragment in @place by the flow of its first. */
FNET_INLINE void early_send(struct early_walk *walk, const struct fnet_early *place, struct fnet_scratch *work)
{
    struct __sk_buff *skb = walk->skb;
    struct fnet_flow *flow = walk->flow;
    __u32 length = place->length;
    void *data, *data_end;
    __u8 ttl;
    int is_ipv6;

    if (!walk->borrowed) {
        __u32 own = walk->length;
        /* Growing takes CHECKSUM_COMPLETE away, which would have to follow every byte. */
        if (own < 1 || own > FNET_EARLY_BYTES || bpf_skb_load_bytes(skb, 0, work->frame, early_length(own)) ||
            bpf_skb_change_tail(skb, own + 1, 0))
            return;
        walk->borrowed = 1;
    }
    if (length < ETH_HLEN + sizeof(struct iphdr) || length > FNET_EARLY_BYTES)
        return;
    if (bpf_skb_change_tail(skb, length, 0) || bpf_skb_store_bytes(skb, 0, place->frame, early_length(length), 0))
        return;
    is_ipv6 = skb->protocol == bpf_htons(ETH_P_IPV6);
    ttl = place->frame[ETH_HLEN + (is_ipv6 ? offsetof(struct ipv6hdr, hop_limit) : offsetof(struct iphdr, ttl))];
    if (ttl <= 1 || (flow->exit_mtu && length - ETH_HLEN > flow->exit_mtu))
        return;
    data = (void *)(long)skb->data;
    data_end = (void *)(long)skb->data_end;
    if (nat_rewrite_ip(skb, data, data_end, is_ipv6, flow))
        return;
    flow->packets++;
    flow->bytes += length;
    if (flow->exit == FNET_EXIT_LOOPBACK)
        bpf_skb_change_type(skb, PACKET_HOST); /* as deliver_to_loopback() */
    if (!bpf_clone_redirect(skb, flow->exit_ifindex, 0))
        leave(skb, FNET_FLOW_FORWARDED, 0);
}

static long early_step(__u32 index, struct early_walk *walk)
{
    struct fnet_early *place = bpf_map_lookup_elem(&early, &index);
    struct fnet_scratch *work = map_single(scratch);

    if (!place || !work)
        return 1;
    if (place->state != EARLY_KEPT || !early_is_for(place, &work->fragment, walk->now) ||
        __sync_val_compare_and_swap(&place->state, EARLY_KEPT, EARLY_BUSY) != EARLY_KEPT)
        return 0;
    if (early_is_for(place, &work->fragment, walk->now)) /* it may have changed until it was ours */
        early_send(walk, place, work);
    __sync_lock_test_and_set(&place->state, EARLY_FREE);
    return 0;
}

/* Sends what was kept for the first fragment @skb, which is unchanged afterwards; work->fragment says which it is. 0,
 * or -1: a helper refused (the packet is then not whole). */
__noinline int early_resend(struct __sk_buff *skb, struct fnet_flow *flow)
{
    struct fnet_scratch *work = map_single(scratch);
    struct early_walk walk = {};
    __u32 length = skb->len;

    /* The next hop is not known, or not known to be right: nothing to send to. */
    if (!flow || !work || !flow->exit_ifindex || (flow->exit == FNET_EXIT_LINK && !flow->exit_checked_ns))
        return 0;
    walk.skb = skb;
    walk.flow = flow;
    walk.now = bpf_ktime_get_coarse_ns();
    walk.length = length;
    bpf_loop(FNET_EARLY_PLACES, early_step, &walk, 0);
    if (!walk.borrowed)
        return 0;
    if (length < 1 || length > FNET_EARLY_BYTES || bpf_skb_change_tail(skb, length, 0) ||
        bpf_skb_store_bytes(skb, 0, work->frame, early_length(length), 0))
        return -1;
    return 0;
}
