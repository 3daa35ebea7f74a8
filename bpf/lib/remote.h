/* Which peer an inner address belongs to. User space writes the static ones; the others are learned here: the first
 * peer that uses a free address of the network's subnet has it until it has been silent for cfg.remote_ns. No process
 * is needed for that, and nothing that a peer sends can take an address from another one or from this node. Bounded:
 * FNET_MAX_LEARNED in all, FNET_MAX_LEARNED_OF_A_PEER of one peer on one network. */
#pragma once

#include "bpf/lib/exit.h"

#define LEARNED_TRIED 16 /* places in `learned` that one new address may look at */

enum {
    LEARNED_FREE = 0,
    LEARNED_USED = 1,
    LEARNED_BUSY = 2, /* of the CPU that made it so */
};

/* The network whose container subnet @addr is in, NULL = none. */
FNET_INLINE __u32 *container_subnet(const struct fnet_addr *addr)
{
    struct fnet_subnet_key key = {.prefix_len = 128};

    __builtin_memcpy(key.addr, addr->bytes, sizeof(key.addr));
    return bpf_map_lookup_elem(&subnets, &key);
}

/* Learned, and nothing was heard since: another peer may have it, and who looks for it asks anew. */
FNET_INLINE int remote_is_silent(const struct fnet_address *address, __u64 now)
{
    return (address->flags & FNET_ADDRESS_LEARNED) && now - address->seen_ns > cfg.remote_ns;
}

/* One address less. A peer that was taken away and came back may count fewer than it has, never more: the bound gets
 * wider, learning does not stop. */
FNET_INLINE void vtep_unlearn(const struct fnet_vtep_key *key)
{
    struct fnet_vtep *vtep = bpf_map_lookup_elem(&vteps, key);

    if (vtep && vtep->learned)
        __sync_fetch_and_add(&vtep->learned, (__u32)-1);
}

struct learned_search {
    __u64 now;
    __u32 start;
    __u32 found; /* place + 1, BUSY and the caller's */
};

static long learned_step(__u32 i, struct learned_search *search)
{
    __u32 index = (search->start + i) % FNET_MAX_LEARNED;
    struct fnet_learned *place = bpf_map_lookup_elem(&learned, &index);
    struct fnet_address_key key;
    struct fnet_address *address;
    int ours;

    if (!place)
        return 1;
    if (place->state == LEARNED_USED) {
        key = place->key;
        address = bpf_map_lookup_elem(&addresses, &key);
        /* Else user space took the address away, or gave it to somebody. */
        ours = address && address->slot == index && (address->flags & FNET_ADDRESS_LEARNED);
        if ((ours && !remote_is_silent(address, search->now)) ||
            __sync_val_compare_and_swap(&place->state, LEARNED_USED, LEARNED_BUSY) != LEARNED_USED)
            return 0;
        if (ours)
            bpf_map_delete_elem(&addresses, &key);
        vtep_unlearn(&place->vtep);
        search->found = index + 1;
        return 1;
    }
    if (__sync_val_compare_and_swap(&place->state, LEARNED_FREE, LEARNED_BUSY) != LEARNED_FREE)
        return 0;
    search->found = index + 1;
    return 1;
}

/* Gives the address in the work space to the peer there, if it may have it. 0, or a verdict. */
FNET_INLINE int remote_claim(struct __sk_buff *skb, struct fnet_scratch *work, struct fnet_vtep *vtep, __u64 now)
{
    struct learned_search search = {.now = now, .start = bpf_get_prandom_u32()};
    struct fnet_learned *place;
    __u32 *network = container_subnet(&work->remote_key.addr);
    int is_ipv6 = !(work->remote_key.addr.quads[0] == 0 && work->remote_key.addr.words[2] == bpf_htonl(0xffff));
    __u32 index;

    if (!(vtep->flags & FNET_VTEP_LEARN) || !network || *network != vtep->network ||
        vtep->learned >= FNET_MAX_LEARNED_OF_A_PEER)
        return FNET_TUNNEL_BAD_INNER;
    /* The gateway's address is that of every node, this one too. Any other's way is back to the network. */
    if (exit_lookup(skb, vtep->bridge_ifindex, NULL, &work->remote_key.addr, is_ipv6, 0, &work->route) != EXIT_ISOLATED)
        return FNET_TUNNEL_BAD_INNER;
    bpf_loop(LEARNED_TRIED, learned_step, &search, 0);
    if (!search.found)
        return FNET_TUNNEL_BAD_INNER;
    index = search.found - 1;
    place = bpf_map_lookup_elem(&learned, &index);
    if (!place)
        return FNET_INTERNAL_ERROR;
    place->key = work->remote_key;
    place->vtep = work->vtep_key;
    work->remote.slot = index;
    if (bpf_map_update_elem(&addresses, &work->remote_key, &work->remote, BPF_NOEXIST)) {
        __sync_lock_test_and_set(&place->state, LEARNED_FREE);
        return FNET_TUNNEL_BAD_INNER; /* taken meanwhile, or the map is full */
    }
    __sync_fetch_and_add(&vtep->learned, 1);
    __sync_lock_test_and_set(&place->state, LEARNED_USED);
    return 0;
}

/* work->remote_key is an inner source that is not known to be the peer's, work->vtep_key the peer and work->remote.mac
 * who sent the frame. 0: it is the peer's now. Else a verdict. */
__noinline int remote_source(struct __sk_buff *skb)
{
    struct fnet_scratch *work = map_single(scratch);
    __u64 now = bpf_ktime_get_coarse_ns();
    struct fnet_address *address;
    struct fnet_learned *place;
    struct fnet_vtep *vtep;
    __u32 slot;
    int moved;

    if (!work)
        return FNET_INTERNAL_ERROR;
    vtep = bpf_map_lookup_elem(&vteps, &work->vtep_key);
    if (!vtep)
        return FNET_TUNNEL_UNKNOWN_NETWORK;
    work->remote.ifindex = 0;
    work->remote.tunnel = vtep->tunnel;
    work->remote.flags = FNET_ADDRESS_LEARNED;
    work->remote.reserved = 0;
    work->remote.seen_ns = now;
    address = bpf_map_lookup_elem(&addresses, &work->remote_key);
    if (!address)
        return remote_claim(skb, work, vtep, now);
    if (address->tunnel == vtep->tunnel)
        return 0;
    if (!(address->flags & FNET_ADDRESS_LEARNED) || !(vtep->flags & FNET_VTEP_LEARN) ||
        vtep->learned >= FNET_MAX_LEARNED_OF_A_PEER || !remote_is_silent(address, now))
        return FNET_TUNNEL_BAD_INNER;
    /* It moves to the other peer, and keeps its place. Whoever makes it BUSY does so, or takes it away. */
    slot = work->remote.slot = address->slot;
    place = bpf_map_lookup_elem(&learned, &slot);
    if (!place || __sync_val_compare_and_swap(&place->state, LEARNED_USED, LEARNED_BUSY) != LEARNED_USED)
        return FNET_TUNNEL_BAD_INNER;
    /* Looked at once more, now that the place is ours: it may have become another address's meanwhile, or this address
     * somebody's. */
    address = bpf_map_lookup_elem(&addresses, &work->remote_key);
    moved = address && address->slot == slot && remote_is_silent(address, now) &&
            place->key.network == work->remote_key.network && address_equal(&place->key.addr, &work->remote_key.addr) &&
            !bpf_map_update_elem(&addresses, &work->remote_key, &work->remote, BPF_EXIST);
    if (moved) {
        vtep_unlearn(&place->vtep);
        __sync_fetch_and_add(&vtep->learned, 1);
        place->vtep = work->vtep_key;
    }
    __sync_lock_test_and_set(&place->state, LEARNED_USED);
    return moved ? 0 : FNET_TUNNEL_BAD_INNER;
}
