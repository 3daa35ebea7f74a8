/* The first packet of a flow: which published port, which masquerade port, and the pair of entries.
 *
 * The reply tuple is claimed first, with BPF_NOEXIST: it is what must be unique. Its destination port is the one we may
 * choose (the masquerade port, or the client's port as the container sees it), so a clash costs another candidate. */
#pragma once

#include "bpf/lib/exit.h"
#include "bpf/lib/nat.h"
#include "bpf/lib/portless.h"

#define FNET_PORT_TRIES 32
#define FNET_PORT_TRIES_BEFORE_CLOSED 4 /* when a closed flow's port could be had instead */

FNET_INLINE struct fnet_service *service_find(const struct fnet_addr *dst, __u8 protocol, __be16 port, int wildcard)
{
    struct fnet_service_key key = {.prefix_len = FNET_SERVICE_PREFIX_BASE + 16, .protocol = protocol, .port = port};
    int v4 = dst->quads[0] == 0 && dst->words[2] == bpf_htonl(0xffff);

    if (wildcard) {
        key.addr[2] = v4 ? bpf_htonl(0xffff) : 0;
    } else {
        key.addr[0] = dst->words[0];
        key.addr[1] = dst->words[1];
        key.addr[2] = dst->words[2];
        key.addr[3] = dst->words[3];
    }
    return bpf_map_lookup_elem(&services, &key);
}

/* Published on this address, else on every one. */
FNET_INLINE struct fnet_service *service_find_any(const struct fnet_addr *dst, __u8 protocol, __be16 port)
{
    struct fnet_service *service = service_find(dst, protocol, port, 0);

    return service ? service : service_find(dst, protocol, port, 1);
}

FNET_INLINE int filter_region(int is_ipv6, __u8 protocol)
{
    switch (protocol) {
    case IPPROTO_TCP:
        return is_ipv6 ? FNET_FILTER_TCP6 : FNET_FILTER_TCP4;
    case IPPROTO_UDP:
        return is_ipv6 ? FNET_FILTER_UDP6 : FNET_FILTER_UDP4;
    case IPPROTO_SCTP:
        return is_ipv6 ? FNET_FILTER_SCTP6 : FNET_FILTER_SCTP4;
    default:
        return -1;
    }
}

FNET_INLINE int port_is_published(int is_ipv6, __u8 protocol, __be16 port)
{
    int region = filter_region(is_ipv6, protocol);
    return region >= 0 && filter_has((__u32)region, bpf_ntohs(port));
}

/* True if a socket of this netns has the tuple @src:@src_port -> @dst:@dst_port, or is bound to its destination. */
FNET_INLINE int host_socket_exists(struct __sk_buff *skb, int is_ipv6, __u8 protocol, const struct fnet_addr *src,
                                   __be16 src_port, const struct fnet_addr *dst, __be16 dst_port)
{
    struct bpf_sock_tuple tuple = {};
    struct bpf_sock *sock;
    __u32 size;

    if (is_ipv6) {
        __builtin_memcpy(tuple.ipv6.saddr, src, 16);
        __builtin_memcpy(tuple.ipv6.daddr, dst, 16);
        tuple.ipv6.sport = src_port;
        tuple.ipv6.dport = dst_port;
        size = sizeof(tuple.ipv6);
    } else {
        tuple.ipv4.saddr = src->words[3];
        tuple.ipv4.daddr = dst->words[3];
        tuple.ipv4.sport = src_port;
        tuple.ipv4.dport = dst_port;
        size = sizeof(tuple.ipv4);
    }
    if (protocol == IPPROTO_TCP)
        sock = bpf_skc_lookup_tcp(skb, &tuple, size, (__u64)BPF_F_CURRENT_NETNS, 0);
    else if (protocol == IPPROTO_UDP)
        sock = bpf_sk_lookup_udp(skb, &tuple, size, (__u64)BPF_F_CURRENT_NETNS, 0);
    else
        return 0;
    if (!sock)
        return 0;
    bpf_sk_release(sock);
    return 1;
}

/* A port that may be another one outside: not where a checksum of the whole packet covers it, nor where there is none.
 */
FNET_INLINE int port_may_change(__u8 protocol)
{
    return protocol != IPPROTO_SCTP && !protocol_is_portless(protocol);
}

struct port_walk { /* small: it lies on the deepest chain of calls */
    struct __sk_buff *skb;
    __u32 candidate;   /* host order, as all here */
    __u32 closed_slot; /* slot + 1 of a closed flow whose port would do, */
    __u16 closed_port; /* and that port */
    __u16 first, last;
    __u8 is_ipv6;
    __u8 host_source;
    __u8 own_service; /* the port that cannot change is published, but by this container */
    __u8 exclusive;   /* the port is claimed for a mapping first */
    __u8 claimed;
    __u8 full;
};

/* May this candidate be the source port of a flow whose source is an address of the host? Never one that is published
 * or that a socket of the host has: so no flow can shadow the host's. */
FNET_INLINE int host_port_free(struct port_walk *walk, const struct fnet_flow_key *reply, __be16 port)
{
    if (port_is_published(walk->is_ipv6, reply->protocol, port) && !walk->own_service)
        return 0;
    return !host_socket_exists(walk->skb, walk->is_ipv6, reply->protocol, &reply->src, reply->src_port, &reply->dst,
                               port);
}

static long port_step(__u32 i, struct port_walk *walk)
{
    struct fnet_scratch *work = map_single(scratch);
    __be16 port;
    int error; /* before 6.4 the upper half of what the helper returns is not the sign */

    if (!work)
        return 1;
    if (walk->candidate < walk->first || walk->candidate > walk->last)
        walk->candidate = walk->first;
    port = bpf_htons((__u16)walk->candidate);
    walk->candidate++;
    if (walk->host_source && !host_port_free(walk, &work->reply_key, port))
        return 0;
    if (walk->exclusive) {
        error = mapping_claim(work, port);
        if (error) {
            walk->full = error != -FNET_EEXIST;
            return walk->full;
        }
    }
    work->reply_key.dst_port = port;
    nat_set_port_difference(&work->reply_key, &work->reply);
    error = (int)bpf_map_update_elem(&flows, &work->reply_key, &work->reply, BPF_NOEXIST);
    if (!error) {
        walk->claimed = 1;
        return 1;
    }
    if (walk->exclusive)
        mapping_unclaim(work);
    if (error == -FNET_EEXIST) {
        struct fnet_flow *holder = walk->closed_slot ? NULL : bpf_map_lookup_elem(&flows, &work->reply_key);
        if (holder && holder->state == FNET_FLOW_CLOSED) {
            walk->closed_slot = holder->slot + 1;
            walk->closed_port = bpf_ntohs(port);
        }
        return 0;
    }
    walk->full = 1; /* E2BIG or ENOMEM: no other port helps */
    return 1;
}

/* Tries the port of the mapping that the source has; 0 if it has none. */
FNET_INLINE int port_of_mapping(struct fnet_scratch *work, struct port_walk *walk)
{
    __be16 port = (__be16)mapping_join();

    if (!port)
        return 0;
    walk->candidate = bpf_ntohs(port);
    if (walk->candidate >= walk->first && walk->candidate <= walk->last) /* else --masquerade-ports changed */
        bpf_loop(1, port_step, walk, 0);
    if (walk->claimed)
        work->original.flags |= FNET_FLOW_MAPPED;
    else
        mapping_leave(work, &work->original_key, &work->original.new_src);
    return 1;
}

FNET_INLINE __u32 random_port(const struct port_walk *walk)
{
    return walk->first + bpf_get_prandom_u32() % (walk->last - walk->first + 1U);
}

/* SCTP's ports are the same on both sides: what a container sends from the port that it publishes belongs to it. */
FNET_INLINE int is_own_service(const struct fnet_scratch *work, int is_ipv6)
{
    const struct fnet_flow_key *key = &work->original_key;
    struct fnet_service *service;

    if (!port_is_published(is_ipv6, key->protocol, key->src_port))
        return 0;
    service = service_find_any(&work->reply_key.dst, key->protocol, key->src_port);
    return service && service->endpoint_ifindex == work->original.endpoint_ifindex;
}

/* Any port that is free: the wanted one, else one after a random start. */
FNET_INLINE void port_of_choice(struct port_walk *walk, __u16 wanted)
{
    walk->candidate = wanted;
    if (wanted < walk->first || wanted > walk->last)
        walk->candidate = random_port(walk);
    bpf_loop(1, port_step, walk, 0);
    if (!walk->claimed && !walk->full && walk->first != walk->last) {
        if (walk->host_source) {
            walk->first = cfg.masquerade_first;
            walk->last = cfg.masquerade_last;
        }
        walk->candidate = random_port(walk);
        bpf_loop(walk->closed_slot ? FNET_PORT_TRIES_BEFORE_CLOSED : FNET_PORT_TRIES, port_step, walk, 0);
    }
    if (!walk->claimed && !walk->full && walk->closed_slot) {
        /* Closed flows stay in the table for minutes, and a busy client has used all its ports by then. A port of none
         * is better, because a peer may still be in TIME-WAIT; this one is better than no connection. */
        if (flow_remove(walk->closed_slot - 1, FNET_CLASS_CLOSED, FNET_SCRATCH_PACKET))
            slot_free(walk->closed_slot - 1);
        walk->candidate = walk->closed_port;
        bpf_loop(1, port_step, walk, 0);
    }
}

/* The flow that the work space describes, in @index, which it owns from now on. Use flow_open(). */
#define FLOW_CREATED (-3) /* neither a verdict nor a tc action */
__noinline int flow_create(struct __sk_buff *skb, __u32 is_ipv6, __u32 index)
{
    struct fnet_scratch *work = map_single(scratch);
    struct fnet_flow *original, *reply;
    struct fnet_flow_table *table = map_single(flow_table);
    struct fnet_flow_slot *slot;
    struct port_walk walk = {};
    struct fnet_endpoint *endpoint;
    struct fnet_service_stats *stats;
    __u64 now = bpf_ktime_get_coarse_ns();
    __u16 wanted;
    __u32 ifindex;
    int error;

    if (!work || !table) {
        slot_free(index);
        return FNET_INTERNAL_ERROR;
    }
    original = &work->original;
    reply = &work->reply;
    original->slot = reply->slot = index;
    original->last_seen_ns = reply->last_seen_ns = now;
    reply->new_src = work->original_key.dst;
    reply->new_dst = work->original_key.src;
    reply->new_src_port = work->original_key.dst_port;
    reply->new_dst_port = work->original_key.src_port;

    walk.skb = skb;
    walk.is_ipv6 = (__u8)is_ipv6;
    walk.host_source = !!(original->flags & (FNET_FLOW_MASQUERADE | FNET_FLOW_HOST_SOURCE));
    wanted = bpf_ntohs(work->original_key.src_port);
    if (!walk.host_source && original->exit == FNET_EXIT_LINK) { /* from a routed container: nothing is translated */
        walk.first = walk.last = wanted;
    } else if (!port_may_change(work->original_key.protocol)) {
        walk.first = walk.last = wanted;
        walk.own_service = (original->flags & FNET_FLOW_MASQUERADE) && is_own_service(work, (int)is_ipv6);
    } else if ((original->flags & FNET_FLOW_MASQUERADE) ||
               ((original->flags & FNET_FLOW_HOST_SOURCE) &&
                !address_equal(&original->new_src, &work->original_key.src))) {
        /* Where the source becomes one of the host's, its port is none that the host picks for itself, also not later.
         * ICMP's identifiers too: a container must not be able to use up those of the host's pings. */
        walk.first = cfg.masquerade_first;
        walk.last = cfg.masquerade_last;
    } else {
        walk.first = wanted < 1024 ? 1 : 1024; /* RFC 4787 REQ-3a: same class */
        walk.last = wanted < 1024 ? 1023 : 65535;
    }
    nat_set_address_difference(&work->reply_key, reply);
    /* Should the host have taken a mapping's port meanwhile, the flow gets another one that belongs to it alone. */
    if (mapping_wanted(work))
        walk.exclusive = !port_of_mapping(work, &walk);
    if (!walk.claimed && !walk.full)
        port_of_choice(&walk, wanted);
    if (walk.exclusive && !walk.claimed && !walk.full) {
        /* The ports are other sources' mappings. One container must not be able to take them from all others, so they
         * are shared by destination then, as those of TCP are. */
        walk.exclusive = 0;
        walk.candidate = random_port(&walk);
        bpf_loop(FNET_PORT_TRIES, port_step, &walk, 0);
    }
    if (walk.exclusive && walk.claimed) {
        if (!mapping_record(work)) {
            original->flags |= FNET_FLOW_MAPPED;
        } else { /* another CPU was faster with another packet of this source */
            bpf_map_delete_elem(&flows, &work->reply_key);
            mapping_unclaim(work);
            walk.claimed = walk.exclusive = 0;
            port_of_mapping(work, &walk);
        }
    }
    if (!walk.claimed) {
        slot_free(index);
        if (walk.full)
            return FNET_FLOW_TABLE_FULL;
        return protocol_is_portless(work->original_key.protocol) ? FNET_PROTOCOL_IN_USE : FNET_PORTS_EXHAUSTED;
    }
    original->new_src_port = work->reply_key.dst_port;
    nat_set_address_difference(&work->original_key, original);
    nat_set_port_difference(&work->original_key, original);
    error = (int)bpf_map_update_elem(&flows, &work->original_key, original, BPF_NOEXIST);
    if (error) {
        bpf_map_delete_elem(&flows, &work->reply_key);
        if (original->flags & FNET_FLOW_MAPPED)
            mapping_leave(work, &work->original_key, &original->new_src);
        slot_free(index);
        /* EEXIST: another CPU opened the same flow, follow that one. */
        return error == -FNET_EEXIST ? FLOW_CREATED : FNET_FLOW_TABLE_FULL;
    }
    slot = bpf_map_lookup_elem(&flow_slots, &index);
    if (!slot)
        return FNET_INTERNAL_ERROR;
    slot->key = work->original_key;
    portless_flow_note(table, work->original_key.protocol);
    __sync_lock_test_and_set(&slot->flow_class, FNET_CLASS_HALF_OPEN);
    class_count(FNET_CLASS_HALF_OPEN, 1);

    ifindex = original->endpoint_ifindex;
    endpoint = bpf_map_lookup_elem(&endpoints, &ifindex);
    if (endpoint)
        __sync_fetch_and_add(&endpoint->connections, 1);
    if (original->service) {
        __u32 service = original->service;
        stats = bpf_map_lookup_elem(&service_stats, &service);
        if (stats)
            __sync_fetch_and_add(&stats->connections, 1);
    }
    return FLOW_CREATED;
}

/* Creates the flow that the work space describes: original_key opens it, rewrite addresses and exits are filled in,
 * ports are chosen here. Returns FLOW_CREATED or a verdict.
 * The slot comes first, in a call beside flow_create() and not below it: reclaim is the deepest chain of calls, and a
 * chain has 512 bytes of stack, of which 6.1 counts each function rounded up to 32. */
FNET_INLINE int flow_open(struct __sk_buff *skb, __u32 is_ipv6)
{
    int slot = slot_alloc();

    if (slot < 0)
        return FNET_FLOW_TABLE_FULL;
    return flow_create(skb, is_ipv6, (__u32)slot);
}

/* Prepares the work space for a packet that opens a flow; work->route stays. */
FNET_INLINE void flow_prepare(struct fnet_scratch *work, const struct packet *packet)
{
    __builtin_memset(work, 0, offsetof(struct fnet_scratch, route));
    work->original_key = packet->key;
    work->original.flags = FNET_FLOW_ORIGINAL;
    work->reply_key.protocol = packet->key.protocol;
}

/* Destination of a published port: fills the translated destination and the exit into the container. */
FNET_INLINE void flow_to_service(struct fnet_scratch *work, const struct fnet_service *service)
{
    struct fnet_flow *original = &work->original;
    __u16 offset = bpf_ntohs(work->original_key.dst_port) - service->host_first;

    original->new_dst = service->container_addr;
    original->new_dst_port = bpf_htons(service->container_first + offset);
    original->new_src = work->original_key.src;
    original->exit = FNET_EXIT_PEER;
    original->exit_ifindex = service->endpoint_ifindex;
    __builtin_memcpy(original->exit_dst_mac, service->container_mac, ETH_ALEN);
    mac_set_gateway(original->exit_src_mac);
    original->service = work->reply.service = service->id;
    original->endpoint_ifindex = work->reply.endpoint_ifindex = service->endpoint_ifindex;
    work->reply_key.src = original->new_dst;
    work->reply_key.src_port = original->new_dst_port;
    work->reply_key.dst = original->new_src;
    work->reply_key.ifindex = service->endpoint_ifindex;
}
