/* Where the transport header is when IPv6 extension headers lie before it (RFC 8200 section 4). Off the fast path:
 * helpers, not pointers. */
#pragma once

#include "bpf/lib/packet.h"

#define FNET_EXTENSION_HEADERS 6 /* more than anything honest has */

struct transport {
    __u32 offset;    /* in: of the header behind the IPv6 header; out: of the one that no extension header is */
    __be32 id;       /* of the fragment header */
    __be16 fragment; /* its offset and flag, as on the wire; 0: whole */
    __u8 protocol;   /* of what lies at offset */
    __u8 segments;   /* that a routing header has left: the destination is not the last */
};

FNET_INLINE int is_extension_header(__u8 protocol)
{
    return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_DSTOPTS ||
           protocol == IPPROTO_FRAGMENT;
}

FNET_INLINE int is_later_fragment(const struct transport *where)
{
    return (where->fragment & bpf_htons(0xfff8)) != 0;
}

/* Follows the chain from @where->offset on; a later fragment ends it, what it holds is no header. 0, or a verdict.
 * Routing headers of type 0 go no further (RFC 5095). */
__noinline int transport_find(struct __sk_buff *skb, struct transport *where)
{
    __u8 header[8] __attribute__((aligned(4)));

    if (!where)
        return FNET_INTERNAL_ERROR;
    where->id = 0;
    where->fragment = 0;
    where->segments = 0;
    for (int i = 0; i < FNET_EXTENSION_HEADERS; i++) {
        __u8 type = where->protocol;
        if (!is_extension_header(type))
            return 0;
        if (bpf_skb_load_bytes(skb, where->offset, header, sizeof(header)))
            return FNET_MALFORMED;
        where->protocol = header[0];
        if (type == IPPROTO_FRAGMENT) {
            where->offset += sizeof(header);
            where->fragment = load16(header + 2) & bpf_htons(0xfff9);
            where->id = load32(header + 4);
            if (is_later_fragment(where))
                return 0;
            continue;
        }
        if (type == IPPROTO_ROUTING) {
            if (header[2] == 0)
                return FNET_UNSUPPORTED_PROTOCOL;
            where->segments = header[3];
        }
        where->offset += (header[1] + 1U) * 8;
    }
    return is_extension_header(where->protocol) ? FNET_UNSUPPORTED_PROTOCOL : 0;
}
