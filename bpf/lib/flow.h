/* The flow table: find, create as a pair, follow the state, remove as a pair.
 *
 * Ownership: a flow is one slot in flow_slots and two entries in `flows`. Whoever exchanges slot->flow_class to
 * FNET_CLASS_NONE and gets something else back owns the removal, so a flow is removed and its slot freed exactly once,
 * whether the collector, reclaim under pressure or user space (through the purge program) wins the race.
 * An entry that is found without its partner ends at the collector's next walk. */
#pragma once

#include "bpf/lib/mapping.h"
#include "bpf/lib/packet.h"

#define FNET_RECLAIM_WINDOW 256  /* slots that one new flow may look at when the table is full */
#define FNET_RECLAIM_PATIENCE 32 /* of them for a closed flow, while there is a half-open one to be had */
#define FNET_RECLAIM_IDLE_NS (10ULL * 1000 * 1000 * 1000) /* an answered datagram flow is "idle" from here on */
#define DNS_PORT 53
#define FNET_COLLECT_CHUNK 1024 /* slots per tick */
#define FNET_COLLECT_TICK_NS (100ULL * 1000 * 1000)

/* Key of the other direction: the translated tuple, reversed. */
FNET_INLINE void flow_partner_key(const struct fnet_flow_key *key, const struct fnet_flow *flow,
                                  struct fnet_flow_key *partner)
{
    partner->src = flow->new_dst;
    partner->dst = flow->new_src;
    partner->src_port = flow->new_dst_port;
    partner->dst_port = flow->new_src_port;
    partner->ifindex = flow->exit == FNET_EXIT_PEER || flow->exit == FNET_EXIT_LOOPBACK ? flow->exit_ifindex : 0;
    *(__u64 *)&partner->protocol = key->protocol;
}

/* Of a flow whose originator answered the reply. */
FNET_INLINE __u32 steady_class(__u8 protocol)
{
    return protocol == IPPROTO_TCP ? FNET_CLASS_ESTABLISHED : FNET_CLASS_DATAGRAM;
}

FNET_INLINE void class_count(__u32 flow_class, __s64 by)
{
    struct fnet_flow_table *table = map_single(flow_table);
    if (table && flow_class < FNET_CLASS_COUNT)
        __sync_fetch_and_add(&table->count[flow_class], by);
}

/* Moves a living flow to @to; does nothing if its slot was freed meanwhile. */
FNET_INLINE void flow_reclassify(__u32 slot_index, __u32 to)
{
    struct fnet_flow_slot *slot = bpf_map_lookup_elem(&flow_slots, &slot_index);
    __u32 from;

    if (!slot)
        return;
    from = slot->flow_class;
    if (from == FNET_CLASS_NONE || from == to)
        return;
    if (__sync_val_compare_and_swap(&slot->flow_class, from, to) != from)
        return;
    class_count(from, -1);
    class_count(to, 1);
}

/* Adds a finished flow's counters to what outlives it. */
FNET_INLINE void flow_account(const struct fnet_flow *flow)
{
    __u32 ifindex = flow->endpoint_ifindex, service = flow->service;
    struct fnet_endpoint *endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
    struct fnet_service_stats *stats;

    if (endpoint) {
        __sync_fetch_and_add(&endpoint->fast_packets, flow->packets);
        __sync_fetch_and_add(&endpoint->fast_bytes, flow->bytes);
    }
    if (!service)
        return;
    stats = bpf_map_lookup_elem(&service_stats, &service);
    if (stats) {
        __sync_fetch_and_add(&stats->packets, flow->packets);
        __sync_fetch_and_add(&stats->bytes, flow->bytes);
    }
}

/* Functions that are not static are verified once and on their own, not once per caller and path: that keeps the
 * verifier's work, and so load time, small.
 *
 * Removes both directions of the flow in @slot if its class still is @expected, and leaves the slot owned by the
 * caller. 0 if not: somebody else did it, or the flow came back to life. @area: the caller's part of the work space. */
__noinline int flow_remove(__u32 slot_index, __u32 expected, __u32 area)
{
    struct fnet_flow_slot *slot = bpf_map_lookup_elem(&flow_slots, &slot_index);
    struct fnet_scratch *work = bpf_map_lookup_elem(&scratch, &area);
    struct fnet_flow *flow, *reply;

    if (!slot || !work || expected == FNET_CLASS_NONE)
        return 0;
    if (__sync_val_compare_and_swap(&slot->flow_class, expected, FNET_CLASS_NONE) != expected)
        return 0;
    class_count(expected, -1);
    work->victim = slot->key; /* ours until slot_free() */
    flow = bpf_map_lookup_elem(&flows, &work->victim);
    if (flow && flow->slot == slot_index) {
        flow_partner_key(&work->victim, flow, &work->victim_partner);
        reply = bpf_map_lookup_elem(&flows, &work->victim_partner);
        flow_account(flow);
        if (flow->flags & FNET_FLOW_MAPPED)
            mapping_leave(work, &slot->key, &flow->new_src);
        if (reply && reply->slot == slot_index) {
            flow_account(reply);
            bpf_map_delete_elem(&flows, &work->victim_partner);
        }
        bpf_map_delete_elem(&flows, &work->victim);
    }
    return 1;
}

FNET_INLINE void slot_free(__u32 slot)
{
    bpf_map_push_elem(&free_slots, &slot, BPF_ANY);
}

/* @key: of the original direction. */
FNET_INLINE __u64 flow_timeout(__u32 flow_class, const struct fnet_flow_key *key)
{
    switch (key->protocol) {
    case IPPROTO_TCP:
        if (flow_class == FNET_CLASS_ESTABLISHED)
            return cfg.tcp_established_ns;
        return flow_class == FNET_CLASS_HALF_OPEN ? cfg.tcp_opening_ns : cfg.tcp_closing_ns;
    case IPPROTO_UDP:
        if (key->dst_port == bpf_htons(DNS_PORT))
            return cfg.dns_ns;
        return flow_class == FNET_CLASS_HALF_OPEN ? cfg.udp_unreplied_ns : cfg.udp_ns;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        return cfg.icmp_ns;
    default:
        return cfg.other_ns;
    }
}

/* How long neither direction was used; ~0 if a direction is missing, so that a half ends. */
FNET_INLINE __u64 flow_idle(const struct fnet_flow_key *key, __u64 now)
{
    struct fnet_flow_key partner;
    struct fnet_flow *flow = bpf_map_lookup_elem(&flows, key), *reply;
    __u64 last;

    if (!flow)
        return ~0ULL;
    flow_partner_key(key, flow, &partner);
    reply = bpf_map_lookup_elem(&flows, &partner);
    if (!reply || reply->slot != flow->slot)
        return ~0ULL;
    last = flow->last_seen_ns > reply->last_seen_ns ? flow->last_seen_ns : reply->last_seen_ns;
    return now > last ? now - last : 0;
}

/* A container's to the port of VXLAN as the node, opened before this had an overlay network (see tc_container()). */
FNET_INLINE int flow_is_forbidden(const struct fnet_flow_key *key)
{
    struct fnet_flow *flow;

    if (!key->ifindex || !is_overlay_port(key->protocol, key->dst_port))
        return 0;
    flow = bpf_map_lookup_elem(&flows, key);
    return flow && (flow->flags & FNET_FLOW_MASQUERADE);
}

struct reclaim_walk {
    __u32 found;  /* slot + 1 that was freed for the caller */
    __u32 second; /* slot + 1 of the best that is not closed */
    __u32 second_class;
    __u32 limit; /* slots in use */
    __u32 closed_exist;
};

static long reclaim_step(__u32 i, struct reclaim_walk *walk)
{
    struct fnet_flow_table *table = map_single(flow_table);
    struct fnet_flow_slot *slot;
    __u32 index, flow_class;

    if (!table || walk->limit == 0)
        return 1;
    /* A flood of half-open flows must not make every packet of it dear. */
    if (i >= FNET_RECLAIM_PATIENCE && walk->second && walk->second_class == FNET_CLASS_HALF_OPEN)
        return 1;
    index = __sync_fetch_and_add(&table->hand, 1) % walk->limit;
    slot = bpf_map_lookup_elem(&flow_slots, &index);
    if (!slot)
        return 1;
    flow_class = slot->flow_class;
    if (flow_class == FNET_CLASS_CLOSED) {
        if (flow_remove(index, flow_class, FNET_SCRATCH_PACKET)) {
            walk->found = index + 1;
            return 1;
        }
    } else if (flow_class == FNET_CLASS_HALF_OPEN || flow_class == FNET_CLASS_DATAGRAM ||
               flow_class == FNET_CLASS_CLOSING) {
        if (walk->second && walk->second_class <= flow_class)
            return 0;
        if (flow_class != FNET_CLASS_HALF_OPEN &&
            flow_idle(&slot->key, bpf_ktime_get_coarse_ns()) < FNET_RECLAIM_IDLE_NS)
            return 0;
        walk->second = index + 1;
        walk->second_class = flow_class;
        /* Nothing better can come: no closed flow is left in the table. */
        if (flow_class == FNET_CLASS_HALF_OPEN && !walk->closed_exist)
            return 1;
    }
    return 0;
}

/* A slot for a new flow, or -1: closed flows go first, then half-open ones, then idle datagrams; established TCP never.
 */
__noinline int slot_reclaim(void)
{
    struct fnet_flow_table *table = map_single(flow_table);
    struct reclaim_walk walk = {};

    if (!table)
        return -1;
    walk.limit = table->unused < cfg.max_flows ? table->unused : cfg.max_flows;
    walk.closed_exist = table->count[FNET_CLASS_CLOSED] > 0;
    if (table->count[FNET_CLASS_CLOSED] <= 0 && table->count[FNET_CLASS_HALF_OPEN] <= 0 &&
        table->count[FNET_CLASS_DATAGRAM] <= 0 && table->count[FNET_CLASS_CLOSING] <= 0)
        return -1;
    bpf_loop(FNET_RECLAIM_WINDOW, reclaim_step, &walk, 0);
    if (!walk.found && walk.second && flow_remove(walk.second - 1, walk.second_class, FNET_SCRATCH_PACKET))
        walk.found = walk.second;
    if (!walk.found)
        return -1;
    __sync_fetch_and_add(&table->reclaimed, 1);
    return (int)(walk.found - 1);
}

/* Index of a slot that the caller owns, or -1: the table is full. */
__noinline int slot_alloc(void)
{
    struct fnet_flow_table *table;
    __u32 slot;

    if (bpf_map_pop_elem(&free_slots, &slot) == 0)
        return (int)slot;
    table = map_single(flow_table);
    if (!table)
        return -1;
    if (table->unused < cfg.max_flows) { /* may overshoot by the number of CPUs, no further */
        slot = __sync_fetch_and_add(&table->unused, 1);
        if (slot < cfg.max_flows)
            return (int)slot;
    }
    return slot_reclaim();
}

/* Of TCP: octets in the sequence space beyond a SYN: payload and FIN. */
FNET_INLINE int segment_has_data(const struct packet *packet)
{
    return (packet->tcp_flags & FNET_TCP_FIN) ||
           packet->l3_length + ETH_HLEN > (__u32)packet->l4_offset + packet->l4_header;
}

/* Has this segment of a TCP flow that is not established shown that the originator sees the replies? A SYN and a bare
 * ACK can be forged, and servers answer both; flows of forged senders must stay half open, or they would fill the table
 * for hours. Proof is what a forger has to guess 2^32 numbers for, an ACK of the last reply; or data of the server,
 * which sends none before it has had that ACK itself. A bare ACK of the server proves nothing: an unfinished handshake
 * answers a segment outside its window that way (RFC 9293 3.10.7.4). */
FNET_INLINE int handshake_proves(struct __sk_buff *skb, const struct packet *packet, struct fnet_flow *flow,
                                 struct fnet_flow *partner)
{
    __be32 numbers[2]; /* sequence, acknowledgement */

    if (bpf_skb_load_bytes(skb, packet->l4_offset + offsetof(struct tcphdr, seq), numbers, sizeof(numbers)))
        return 0;
    if (flow->flags & FNET_FLOW_ORIGINAL)
        return flow->state == FNET_FLOW_REPLIED && (packet->tcp_flags & FNET_TCP_ACK) &&
               bpf_ntohl(numbers[1]) == flow->expected_ack;
    if (!(packet->tcp_flags & FNET_TCP_SYN) && segment_has_data(packet))
        return 1;
    partner->expected_ack = bpf_ntohl(numbers[0]) + !!(packet->tcp_flags & FNET_TCP_SYN);
    if (partner->state == FNET_FLOW_NEW)
        partner->state = FNET_FLOW_REPLIED;
    return 0;
}

/* Follows TCP and first replies; called only when something may change, see flow_needs_track(). No window tracking:
 * RFC 5382 asks for none, and an RST that was not real is undone by later traffic in both directions. */
__noinline int flow_track(struct __sk_buff *skb, const struct packet *packet, struct fnet_flow *flow)
{
    struct fnet_flow_key partner_key;
    struct fnet_flow *partner;
    __u32 tcp_flags;

    if (!flow || !packet)
        return 0;
    tcp_flags = packet->tcp_flags;
    flow_partner_key(&packet->key, flow, &partner_key);
    partner = bpf_map_lookup_elem(&flows, &partner_key);
    if (!partner || partner->slot != flow->slot)
        return 0; /* half a flow: the collector ends it */

    if (tcp_flags & FNET_TCP_RST) {
        flow->state = partner->state = FNET_FLOW_CLOSED;
        flow->flags = (flow->flags | FNET_FLOW_RESET) & ~FNET_FLOW_ALIVE;
        partner->flags = (partner->flags | FNET_FLOW_RESET) & ~FNET_FLOW_ALIVE;
        flow_reclassify(flow->slot, FNET_CLASS_CLOSED);
        return 0;
    }
    if (flow->state == FNET_FLOW_CLOSED) {
        if ((tcp_flags & (FNET_TCP_SYN | FNET_TCP_ACK)) == FNET_TCP_SYN && (flow->flags & FNET_FLOW_ORIGINAL)) {
            /* The tuple is used again: a new connection in the place of the old (RFC 9293 3.6.1, RFC 6191). */
            flow->flags &= ~(FNET_FLOW_FIN | FNET_FLOW_RESET | FNET_FLOW_ALIVE | FNET_FLOW_PROVEN);
            partner->flags &= ~(FNET_FLOW_FIN | FNET_FLOW_RESET | FNET_FLOW_ALIVE | FNET_FLOW_PROVEN);
            flow->state = partner->state = FNET_FLOW_NEW;
            flow_reclassify(flow->slot, FNET_CLASS_HALF_OPEN);
        } else if ((flow->flags & FNET_FLOW_RESET) && !(tcp_flags & FNET_TCP_SYN)) {
            flow->flags |= FNET_FLOW_ALIVE;
            if (partner->flags & FNET_FLOW_ALIVE) {
                int proven = packet->key.protocol != IPPROTO_TCP || (flow->flags & FNET_FLOW_PROVEN);
                flow->flags &= ~(FNET_FLOW_RESET | FNET_FLOW_ALIVE);
                partner->flags &= ~(FNET_FLOW_RESET | FNET_FLOW_ALIVE);
                flow->state = partner->state = proven ? FNET_FLOW_ESTABLISHED : FNET_FLOW_NEW;
                flow_reclassify(flow->slot, proven ? steady_class(packet->key.protocol) : FNET_CLASS_HALF_OPEN);
            }
        }
        return 0;
    }
    if (packet->key.protocol == IPPROTO_TCP) {
        if (!(flow->flags & FNET_FLOW_PROVEN)) {
            if (!handshake_proves(skb, packet, flow, partner))
                return 0;
            flow->state = partner->state = FNET_FLOW_ESTABLISHED;
            flow->flags |= FNET_FLOW_PROVEN;
            partner->flags |= FNET_FLOW_PROVEN;
            flow_reclassify(flow->slot, FNET_CLASS_ESTABLISHED);
        }
    } else if (!(flow->flags & FNET_FLOW_ORIGINAL)) {
        if (flow->state == FNET_FLOW_NEW) {
            flow->state = FNET_FLOW_ESTABLISHED; /* steady; whether the flow is, its original direction says */
            if (partner->state == FNET_FLOW_NEW)
                partner->state = FNET_FLOW_REPLIED;
        }
    } else if (flow->state == FNET_FLOW_REPLIED) {
        flow->state = FNET_FLOW_ESTABLISHED;
        if (!(partner->flags & FNET_FLOW_FIN)) /* else it is closing already */
            flow_reclassify(flow->slot, steady_class(packet->key.protocol));
    }
    if (tcp_flags & FNET_TCP_FIN) {
        flow->flags |= FNET_FLOW_FIN;
        if (partner->flags & FNET_FLOW_FIN) {
            flow->state = partner->state = FNET_FLOW_CLOSED;
            flow_reclassify(flow->slot, FNET_CLASS_CLOSED);
        } else {
            /* A peer that vanishes now must not hold the slot for hours. And should both directions' FINs race on two
             * CPUs, each missing the other's, this is where the flow stays. */
            flow_reclassify(flow->slot, FNET_CLASS_CLOSING);
        }
    }
    return 0;
}

FNET_INLINE int flow_needs_track(const struct fnet_flow *flow, __u32 tcp_flags)
{
    return flow->state != FNET_FLOW_ESTABLISHED || (tcp_flags & (FNET_TCP_SYN | FNET_TCP_FIN | FNET_TCP_RST));
}

/* One tick of the collector: FNET_COLLECT_CHUNK slots from where the last one stopped. */
static long collect_step(__u32 i, __u64 *now)
{
    struct fnet_flow_table *table = map_single(flow_table);
    struct fnet_flow_slot *slot;
    __u32 index, limit, flow_class;

    if (!table)
        return 1;
    limit = table->unused < cfg.max_flows ? table->unused : cfg.max_flows;
    if (i >= limit)
        return 1; /* once around */
    index = table->cursor;
    if (index >= limit)
        index = 0;
    table->cursor = index + 1;
    slot = bpf_map_lookup_elem(&flow_slots, &index);
    if (!slot)
        return 1;
    flow_class = slot->flow_class;
    if (flow_class != FNET_CLASS_NONE &&
        (flow_idle(&slot->key, *now) > flow_timeout(flow_class, &slot->key) || flow_is_forbidden(&slot->key)) &&
        flow_remove(index, flow_class, FNET_SCRATCH_PACKET)) {
        slot_free(index);
        __sync_fetch_and_add(&table->expired, 1);
    }
    return 0;
}

static int collect(void *map, int *key, struct fnet_collector *value)
{
    struct fnet_flow_table *table = map_single(flow_table);
    __u64 now = bpf_ktime_get_coarse_ns();

    bpf_loop(FNET_COLLECT_CHUNK, collect_step, &now, 0);
    if (table)
        table->ticks++;
    bpf_timer_start(&value->timer, FNET_COLLECT_TICK_NS, 0);
    return 0;
}

/* Removes flows for user space, a chunk per call (see struct fnet_purge). */
static long purge_step(__u32 i, struct fnet_purge *request)
{
    struct fnet_flow_slot *slot;
    struct fnet_flow *flow;
    struct fnet_flow_key key;
    __u32 index = request->cursor;

    slot = bpf_map_lookup_elem(&flow_slots, &index);
    if (!slot)
        return 1;
    request->cursor = index + 1;
    if (slot->flow_class == FNET_CLASS_NONE)
        return 0;
    key = slot->key;
    flow = bpf_map_lookup_elem(&flows, &key);
    if (!flow)
        return 0;
    if (request->endpoint_ifindex
            ? (flow->endpoint_ifindex != request->endpoint_ifindex && key.ifindex != request->endpoint_ifindex)
            : flow->service != request->service)
        return 0;
    /* Its class may change meanwhile: once more then. */
    if (flow_remove(index, slot->flow_class, FNET_SCRATCH_TASK) ||
        flow_remove(index, slot->flow_class, FNET_SCRATCH_TASK)) {
        slot_free(index);
        request->removed++;
    }
    return 0;
}
