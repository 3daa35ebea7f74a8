/* From one container to another of its network, without hashing: what the source guard and the two tables said of a
 * sender and an address is kept per CPU for a moment, and the next packets are compared with it. As pairs do for what
 * comes from a peer (bpf/lib/decap.h). */
#pragma once

#include "bpf/lib/remote.h"

/* Two ways in one place only judge more often. packet->key.ifindex is the sender's veth. */
FNET_INLINE struct fnet_way *way_find(const struct packet *packet)
{
    const struct fnet_flow_key *key = &packet->key;
    /* Each side is multiplied, or those of a network, which differ in their last bits, would cancel each other out. */
    __u64 from = (key->src.quads[1] ^ key->ifindex) * GOLDEN_RATIO;
    __u32 index =
        (__u32)((from + (key->dst.quads[1] >> 32 | key->dst.quads[1] << 32)) * GOLDEN_RATIO >> (64 - FNET_WAYS_BITS));

    return bpf_map_lookup_elem(&ways, &index);
}

/* Was @way judged for this packet, a moment ago? Of a PACKET_TUPLE. The guard's questions are among these, but for the
 * one about the port. */
FNET_INLINE int way_is_for(struct __sk_buff *skb, const struct fnet_way *way, const struct packet *packet)
{
    void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
    const struct fnet_validity *valid = map_single(validity);
    const struct ethhdr *eth = data;

    return valid && way->generation == valid->generation &&
           bpf_ktime_get_coarse_ns() - way->judged_ns <= JUDGED_FOR_NS && way->from == packet->key.ifindex &&
           address_equal(&way->src, &packet->key.src) && address_equal(&way->dst, &packet->key.dst) &&
           (void *)(eth + 1) <= data_end && mac_equal(way->src_mac, eth->h_source) &&
           (way->tunnel ? !packet->multicast : mac_equal(way->dst_mac, eth->h_dest)) && !is_dhcp_answer(packet);
}

/* What @way has counted becomes its sender's, if that is still there. While a place has one sender it only grows, and
 * readers add it: see Datapath::uncounted(). */
FNET_INLINE void way_settle(struct fnet_way *way)
{
    __u32 from = way->from;
    struct fnet_endpoint *sender;

    if (!way->packets)
        return;
    sender = bpf_map_lookup_elem(&endpoints, &from);
    if (sender && sender->id == way->endpoint) {
        __sync_fetch_and_add(&sender->fast_packets, way->packets);
        __sync_fetch_and_add(&sender->fast_bytes, way->bytes);
    }
    way->packets = way->bytes = 0;
}

/* The guard believes @packet, and @target owns its destination. @generation was read before that was looked up. The
 * answer is kept, unless it has to be looked at whether a packet is a flow's: see tc_container(). */
FNET_INLINE struct fnet_way *way_judged(const struct packet *packet, const struct fnet_endpoint *endpoint,
                                        const struct fnet_address *target, __u32 generation)
{
    struct fnet_way *way = way_find(packet);

    if (!way)
        return NULL;
    if (way->endpoint != endpoint->id)
        way_settle(way);
    way->src = packet->key.src;
    way->dst = packet->key.dst;
    way->generation = generation;
    way->endpoint = endpoint->id;
    way->from = packet->key.ifindex;
    way->ifindex = target->ifindex;
    way->tunnel = target->tunnel;
    way->vni = endpoint->vni;
    way->bridge_ifindex = endpoint->bridge_ifindex;
    __builtin_memcpy(way->src_mac, endpoint->mac, ETH_ALEN);
    __builtin_memcpy(way->dst_mac, target->mac, ETH_ALEN);
    way->judged_ns = endpoint->flags & FNET_ENDPOINT_HAIRPIN ? 0 : bpf_ktime_get_coarse_ns();
    return way;
}

FNET_INLINE void way_count(struct fnet_way *way, __u32 length)
{
    way->packets++;
    way->bytes += length;
}

/* To a container of this node. */
FNET_INLINE int way_deliver(struct __sk_buff *skb, struct fnet_way *way)
{
    way_count(way, skb->len);
    leave(skb, FNET_LOCAL_FORWARDED, 0);
    return deliver_to_peer(skb, way->ifindex);
}
