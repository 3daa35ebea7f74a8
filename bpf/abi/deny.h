/* The node's deny list: sources that nothing is taken from. Only the prefixes that no other one of the list covers are
 * in the tables, so a lookup ends at the first that it meets.
 *
 * IPv4: `deny_blocks` has 2 bits for each /24: none, all of it, or some of its addresses, which a node then names.
 * IPv6: a node of level n stands for 8n leading bits and says which values of the next 8 are denied; a prefix of length
 * l is in a node of level (l - 1) / 8. Which of the 16 levels to look at is told by a search tree: where there is a
 * node the search goes on with longer ones, else with shorter ones. For that a prefix also has a node (without bits) at
 * each level on the way to its own from which the search must turn to longer ones. */
#pragma once

#include "bpf/abi/base.h"

/* Value of the inner map of `deny_blocks`, key: the first 16 bits of an IPv4 address. */
struct fnet_deny_blocks {
    __u64 states[8]; /* of block n: bits 2 * (n % 32) and the next of word n / 32; enum fnet_deny_state */
};
FNET_ASSERT(sizeof(struct fnet_deny_blocks) == 64, "a cache line");
#define FNET_DENY_BLOCK_ROWS 65536

enum fnet_deny_state {
    FNET_DENY_NONE = 0,
    FNET_DENY_ALL = 1,
    FNET_DENY_SOME = 2, /* see the block's node */
};

/* Value of the inner map of `deny_nodes`: open addressing, by the hash of the key and the FNET_DENY_PROBES places from
 * there on. IPv4 is v4-mapped, so a /24 is of level 15. Host order, for arithmetic. Written while packets are judged:
 * the key's last word is what makes a node valid, and is written last. Worst case: a packet that finds a place while it
 * is taken for another node is judged by that one's bits. */
struct fnet_deny_node {
    __u64 high; /* the first 8 bytes of the address, those behind the key are zero */
    __u64 low;  /* the next 7 bytes; lowest byte: level + 1. 0 = never used, FNET_DENY_GONE = no more */
    __u64 bits[4];
    __u32 users; /* prefixes that need it; user space only */
    __u32 reserved[3];
};
FNET_ASSERT(sizeof(struct fnet_deny_node) == 64, "a cache line");
#define FNET_DENY_PROBES 16
#define FNET_DENY_GONE 0xff
#define FNET_DENY_V4_LEVEL 15
#define FNET_DENY_LEVELS 16

/* The search tree. FNET_DENY_LEVELS: nothing further. */
#define FNET_DENY_ROOT 7
#define FNET_DENY_DEPTH 5
struct fnet_deny_turn {
    __u8 shorter, longer; /* levels */
    __u16 reach;          /* bit n: level n is this one, or below it in the tree */
};
static const struct fnet_deny_turn fnet_deny_tree[32] = {
    {16, 16, 0x0001}, {0, 2, 0x0007},   {16, 16, 0x0004}, {1, 4, 0x001f},   {16, 16, 0x0010}, {3, 6, 0x007f},
    {16, 16, 0x0040}, {5, 15, 0xffff},  {16, 16, 0x0100}, {8, 10, 0x0700},  {16, 16, 0x0400}, {9, 13, 0x7f00},
    {16, 16, 0x1000}, {12, 14, 0x7000}, {16, 16, 0x4000}, {11, 16, 0xff00}, {16, 16, 0},
};

/* `tables` below: everything that one lookup needs, so that it is read at once. */
#define FNET_DENY_SLOT 1ULL    /* which entry of the two outer maps */
#define FNET_DENY_V4 2ULL      /* there are IPv4 prefixes */
#define FNET_DENY_SIZE_SHIFT 8 /* the table of nodes has 2 to this power places, and FNET_DENY_PROBES */
#define FNET_DENY_SIZE_MASK 0x3f
#define FNET_DENY_LEVELS_SHIFT 16 /* bit n: there are IPv6 prefixes of level n */

#define FNET_DENY_XDP_PLACES 64
/* The one instance is a global variable, which costs a packet a load and no lookup. */
struct fnet_deny_list {
    __u64 tables;     /* 0: the list is empty */
    __u64 factors[2]; /* of the hash; odd, random, and the same for as long as there are tables */
    __u64 revision;   /* of the list that the tables hold; 0 = none. User space only */
    /* Uplinks where XDP asks the list, so that tc need not: ifindex at place ifindex modulo. */
    __u32 by_xdp[FNET_DENY_XDP_PLACES];
};
FNET_ASSERT(sizeof(struct fnet_deny_list) == 288, "no hidden padding");
