// Attaches bench_vxlan.bpf.c at a device's egress, with each flow's headers: it stays until its device goes, and the next one
// replaces it.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "bench.h"
#include "bench_vxlan.h"
#include "bench_vxlan.skel.h"

namespace fnbench {
namespace {

struct SkeletonDestroyer {
    void operator()(bench_vxlan* skeleton) const { bench_vxlan__destroy(skeleton); }
};

}  // namespace

void vxlan(FrameOptions frames) {
    if (frames.vni == 0) die("vxlan: --vni is missing");
    frames.payload = 0;  // as pktgen's, which the inner checksum covers
    check(frames);
    const unsigned ifindex = if_nametoindex(frames.device.c_str());
    if (ifindex == 0) die_errno("device " + frames.device);

    const std::unique_ptr<bench_vxlan, SkeletonDestroyer> skeleton{bench_vxlan__open()};
    if (!skeleton) die_errno("open the program that writes VXLAN");
    skeleton->rodata->first_port = frames.first_source_port;
    skeleton->rodata->is_ipv6 = is_ipv6(frames) ? 1 : 0;
    if (bpf_map__set_max_entries(skeleton->maps.starts, frames.flows) != 0 || bench_vxlan__load(skeleton.get()) != 0)
        die_errno("load the program that writes VXLAN");
    const std::vector<Frame> built = build_frames(frames, 0, frames.flows);
    for (std::uint32_t flow = 0; flow < frames.flows; ++flow) {
        bench_vxlan_start start{};
        const std::size_t headers = header_bytes(frames) - BENCH_VXLAN_PAYLOAD;
        std::copy_n(built[flow].begin() + BENCH_VXLAN_PAYLOAD, headers, start.bytes);
        if (bpf_map_update_elem(bpf_map__fd(skeleton->maps.starts), &flow, &start, BPF_ANY) != 0) die_errno("write a flow's headers");
    }

    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex), .attach_point = BPF_TC_EGRESS);
    LIBBPF_OPTS(bpf_tc_opts, filter, .prog_fd = bpf_program__fd(skeleton->progs.vxlan), .flags = BPF_TC_F_REPLACE, .handle = 1,
                .priority = 1);
    if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST) die_errno("make a clsact qdisc");
    if (bpf_tc_attach(&hook, &filter) != 0) die_errno("attach the program that writes VXLAN");
}

}  // namespace fnbench
