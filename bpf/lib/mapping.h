/* Endpoint-independent mapping (RFC 4787 REQ-1, RFC 5508 REQ-1a): a container's UDP port, or echo identifier, has one
 * outside port towards everybody for as long as any flow of it lives, and that port is nobody else's (REQ-3).
 *
 * A mapping is created by its first flow and counts its flows. A count of 0 is final: whoever brings it there deletes
 * the mapping, whoever finds it there takes it for none. Filtering is not touched by this: packets come in by flows
 * only. */
#pragma once

#include "bpf/lib/maps.h"

#define FNET_JOIN_TRIES 8 /* against other CPUs that count at the same time */

FNET_INLINE int mapping_wanted(const struct fnet_scratch *work)
{
    __u8 protocol = work->original_key.protocol;

    return cfg.endpoint_mapping && (work->original.flags & FNET_FLOW_MASQUERADE) &&
           (protocol == IPPROTO_UDP || protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6);
}

FNET_INLINE void mapping_key_set(struct fnet_mapping_key *mapping, const struct fnet_flow_key *original,
                                 const struct fnet_addr *outside)
{
    mapping->inside = original->src;
    mapping->outside = *outside;
    mapping->ifindex = original->ifindex;
    mapping->inside_port = original->src_port;
    mapping->protocol = original->protocol;
}

FNET_INLINE void claim_key_set(struct fnet_mapping_key *claim, const struct fnet_mapping_key *mapping, __be16 port)
{
    claim->outside = mapping->outside;
    claim->outside_port = port;
    claim->protocol = mapping->protocol;
}

/* Counts the flow that the work space describes into the mapping of its source. The outside port, or 0: there is none.
 */
__noinline int mapping_join(void)
{
    struct fnet_scratch *work = map_single(scratch);
    struct fnet_mapping *mapping;
    __u32 count;
    __be16 port;

    if (!work)
        return 0;
    mapping_key_set(&work->mapping, &work->original_key, &work->original.new_src);
    mapping = bpf_map_lookup_elem(&mappings, &work->mapping);
    if (!mapping)
        return 0;
    for (int i = 0; i < FNET_JOIN_TRIES; i++) {
        count = mapping->flows;
        if (!count)
            return 0;
        if (__sync_val_compare_and_swap(&mapping->flows, count, count + 1) != count)
            continue;
        port = mapping->outside_port;
        /* The entry may have been deleted and its memory given to another mapping meanwhile. */
        if (bpf_map_lookup_elem(&mappings, &work->mapping) == mapping)
            return port;
        __sync_fetch_and_sub(&mapping->flows, 1);
        return 0;
    }
    return 0;
}

/* Takes a flow out of the mapping of @original, the key of its original direction. */
FNET_INLINE void mapping_leave(struct fnet_scratch *work, const struct fnet_flow_key *original,
                               const struct fnet_addr *outside)
{
    struct fnet_mapping *mapping;

    mapping_key_set(&work->mapping, original, outside);
    mapping = bpf_map_lookup_elem(&mappings, &work->mapping);
    if (!mapping)
        return;
    claim_key_set(&work->claim, &work->mapping, mapping->outside_port);
    if (__sync_fetch_and_sub(&mapping->flows, 1) != 1)
        return;
    bpf_map_delete_elem(&mappings, &work->mapping);
    bpf_map_delete_elem(&mappings, &work->claim);
}

/* Makes outside port @port nobody else's. 0, or an errno. */
FNET_INLINE int mapping_claim(struct fnet_scratch *work, __be16 port)
{
    struct fnet_mapping value = {};

    claim_key_set(&work->claim, &work->mapping, port);
    return (int)bpf_map_update_elem(&mappings, &work->claim, &value, BPF_NOEXIST);
}

FNET_INLINE void mapping_unclaim(struct fnet_scratch *work)
{
    bpf_map_delete_elem(&mappings, &work->claim);
}

/* The mapping whose port was claimed, with its first flow. 0, or an errno: another CPU was faster. */
FNET_INLINE int mapping_record(struct fnet_scratch *work)
{
    struct fnet_mapping value = {.flows = 1, .outside_port = work->claim.outside_port};

    return (int)bpf_map_update_elem(&mappings, &work->mapping, &value, BPF_NOEXIST);
}
