/* Who may call a published port (--allow, --deny). Asked before a flow exists, so a source that may not call leaves
 * nothing behind. One walk down a trie: what it costs grows with the length of the prefixes, not with their number. */
#pragma once

#include "bpf/lib/maps.h"

/* True if the lists of @service, which has some, let @src call. */
__noinline int source_listed(const struct fnet_service *service, const struct fnet_addr *src)
{
    struct fnet_source_key key = {.prefix_len = FNET_SOURCE_PREFIX_BASE + 128};
    const __u32 *rule;

    if (!service || !src)
        return 0;
    key.service = service->id;
    key.addr[0] = src->words[0];
    key.addr[1] = src->words[1];
    key.addr[2] = src->words[2];
    key.addr[3] = src->words[3];
    rule = bpf_map_lookup_elem(&sources, &key);
    return rule ? *rule == FNET_SOURCE_ALLOW : !(service->flags & FNET_SERVICE_ALLOW_ONLY);
}

/* True if @src, as the caller sent it, may open a flow to @service. */
FNET_INLINE int source_allowed(const struct fnet_service *service, const struct fnet_addr *src)
{
    return likely(!(service->flags & FNET_SERVICE_RESTRICTED)) || source_listed(service, src);
}
