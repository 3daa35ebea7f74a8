// What the running kernel can do, found by trying; never inferred from its version number.
#pragma once

#include <string>

#include "loader/base/result.h"

namespace fastnet {

struct Features {
    bool tcx = false;             ///< BPF_LINK_CREATE at tcx hooks (6.6); clsact otherwise
    bool fib_lookup_src = false;  ///< BPF_FIB_LOOKUP_SRC (6.7, many stable kernels): required
    bool csum_ipv6 = false;       ///< BPF_F_IPV6 of bpf_l4_csum_replace
    bool decap_l3 = false;        ///< BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (6.3): IPv6 inside VXLAN over IPv4 takes the fast path
    bool batch_lookup = false;    ///< BPF_MAP_LOOKUP_BATCH
    bool btf = false;             ///< /sys/kernel/btf/vmlinux
    std::string kernel;           ///< uname -r
};

/// Probes in the calling thread's network namespace (`lo` must exist). Fails with a hint if something required is
/// missing: privileges, BPF system call, kernel below 6.1 in function.
Result<Features> probe_features();

}  // namespace fastnet
