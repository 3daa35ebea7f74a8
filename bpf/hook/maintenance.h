/* Not attached to any hook: run by the loader through BPF_PROG_TEST_RUN. */
#pragma once

#include "bpf/lib/flow.h"

#define FNET_PURGE_CHUNK 8192

/* Arms the collector, or hands it to this build of the programs: set_callback replaces the callback of the old one. */
SEC("tc")
int collector_arm(struct __sk_buff *skb)
{
    struct fnet_collector *value = map_single(collector);

    if (!value)
        return 1;
    bpf_timer_init(&value->timer, &collector, CLOCK_MONOTONIC); /* EBUSY when it is there already */
    if (bpf_timer_set_callback(&value->timer, collect))
        return 2;
    return bpf_timer_start(&value->timer, FNET_COLLECT_TICK_NS, 0) ? 3 : 0;
}

/* One chunk of struct fnet_purge; returns 1 while there is more. */
SEC("tc")
int flow_purge(struct __sk_buff *skb)
{
    struct fnet_purge *request = map_single(purge);
    struct fnet_flow_table *table = map_single(flow_table);
    struct fnet_purge local;
    __u32 limit;

    if (!request || !table)
        return 0;
    local = *request;
    limit = table->unused < cfg.max_flows ? table->unused : cfg.max_flows;
    bpf_loop(FNET_PURGE_CHUNK, purge_step, &local, 0);
    *request = local;
    return local.cursor < limit;
}
