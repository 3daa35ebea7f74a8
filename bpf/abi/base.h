/* What both compilers need to agree on before the first struct: fixed-width types and a static assertion.
 * bpf/abi is the contract between the BPF programs (C, clang) and user space (C++, g++): plain structs, no code.
 * A change of any layout here bumps FNET_ABI_VERSION, which is part of the pin path: an old pinned map is never
 * misread. */
#pragma once

#include <linux/types.h>

#ifdef __cplusplus
#define FNET_ASSERT(condition, text) static_assert(condition, text)
#else
#define FNET_ASSERT(condition, text) _Static_assert(condition, text)
#endif

#define FNET_ABI_VERSION 6
#define FNET_MAC_LEN 6

/* An IPv4 or IPv6 address in wire order. IPv4 is v4-mapped, ::ffff:a.b.c.d (RFC 4291 2.5.5.2), so one key layout serves
 * both. */
struct fnet_addr {
    union {
        __u8 bytes[16];
        __be32 words[4];
        __u64 quads[2];
    };
};
FNET_ASSERT(sizeof(struct fnet_addr) == 16, "an address is 16 bytes");
