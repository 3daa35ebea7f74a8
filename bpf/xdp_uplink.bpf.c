/* The one program that is not in the datapath's object: libxdp loads it, once for each uplink, as whatever the device's
 * other XDP programs make necessary. It uses the datapath's maps. */
#include "bpf/hook/xdp_uplink.h"

#include <xdp/xdp_helpers.h>

/* Early among the programs of a device: what is dropped here none of them has to see. The others go on with what
 * passes. */
struct {
    __uint(priority, 10);
    __uint(XDP_PASS, 1);
} XDP_RUN_CONFIG(xdp_uplink);

char LICENSE[] SEC("license") = "Dual BSD/GPL";
