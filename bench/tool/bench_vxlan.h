/* What the program that makes VXLAN of pktgen's frames and its loader share: the start of one flow's tunnel payload. C and C++. */
#ifndef FASTNET_BENCH_VXLAN_H
#define FASTNET_BENCH_VXLAN_H

#include <linux/types.h>

#include "bench_inject.h"

#define BENCH_VXLAN_PAYLOAD (BENCH_HEADER_VXLAN - 8) /* where UDP's payload starts: the VXLAN header */
#define BENCH_VXLAN_IPV4 (8 + BENCH_HEADER_IPV4)
#define BENCH_VXLAN_IPV6 (8 + BENCH_HEADER_IPV6)
#define BENCH_VXLAN_PORT 4789

struct bench_vxlan_start {
    __u8 bytes[BENCH_VXLAN_IPV6]; /* VXLAN header and the inner frame's headers, as on the wire */
};

#endif
