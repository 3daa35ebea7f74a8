/* The datapath of one node: one object, so that every program shares one set of maps and one configuration.
 * One file per hook; the packet walk is in ARCHITECTURE.md. */
#include "bpf/hook/cgroup_bind.h"
#include "bpf/hook/cgroup_vxlan.h"
#include "bpf/hook/maintenance.h"
#include "bpf/hook/tc_container.h"
#include "bpf/hook/tc_gateway.h"
#include "bpf/hook/tc_loopback.h"
#include "bpf/hook/tc_tunnel.h"
#include "bpf/hook/tc_uplink.h"

/* bpf_timer and others are for GPL-compatible programs only. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";
