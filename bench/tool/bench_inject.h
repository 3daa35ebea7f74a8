/* What the injector's BPF program and its loader share: the header template of one flow. C and C++. */
#ifndef FASTNET_BENCH_INJECT_H
#define FASTNET_BENCH_INJECT_H

#include <linux/types.h>

#define BENCH_HEADER_IPV4 42
#define BENCH_HEADER_IPV6 62

#define BENCH_HEADER_VXLAN 50 /* over IPv4; before the inner frame */

struct bench_header {
    __u64 words[14]; /* the first bytes of the frame, as on the wire */
};

#endif
