/* Protocols without ports, of which only the addresses are translated: a peer's answers belong to one container, or to
 * the host itself, whose tunnels no container may take over. */
#pragma once

#include "bpf/lib/packet.h"

/* The uplink looks for no flow of a protocol that no container has ever used. */
FNET_INLINE int portless_flow_possible(__u8 protocol)
{
    struct fnet_flow_table *table = map_single(flow_table);
    return table && (table->portless[(protocol >> 6) & 3] >> (protocol & 63) & 1);
}

FNET_INLINE void portless_flow_note(struct fnet_flow_table *table, __u8 protocol)
{
    __u64 bit = 1ULL << (protocol & 63), *word = &table->portless[(protocol >> 6) & 3];

    if (protocol_is_portless(protocol) && !(*word & bit))
        __sync_fetch_and_or(word, bit);
}

/* A packet from outside that belongs to no flow is for the host: it has such a peer. */
__noinline int portless_host_note(const struct packet *packet)
{
    struct fnet_portless_key key = {};
    __u64 now = bpf_ktime_get_coarse_ns(), *seen;

    if (!packet)
        return 0;
    key.peer = packet->key.src;
    key.protocol = packet->key.protocol;
    seen = bpf_map_lookup_elem(&host_portless, &key);
    if (seen)
        *seen = now;
    else
        bpf_map_update_elem(&host_portless, &key, &now, BPF_ANY);
    return 0;
}

/* Does the host itself hear this protocol from where the container sends it? Sockets or tunnels cannot be asked for;
 * before the host's peer has sent anything nobody knows. */
__noinline int portless_is_hosts(const struct packet *packet)
{
    struct fnet_portless_key key = {};
    __u64 *seen;

    if (!packet)
        return 0;
    key.peer = packet->key.dst;
    key.protocol = packet->key.protocol;
    seen = bpf_map_lookup_elem(&host_portless, &key);
    return seen && bpf_ktime_get_coarse_ns() - *seen < cfg.other_ns;
}
