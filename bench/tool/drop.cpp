// Attaches bench_drop.bpf.c: what any XDP program at that hook costs at least. The link goes with the process.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>

#include <memory>

#include "bench.h"
#include "bench_drop.skel.h"

namespace fnbench {
namespace {

struct SkeletonDestroyer {
    void operator()(bench_drop* skeleton) const { bench_drop__destroy(skeleton); }
};

}  // namespace

void drop(const DropOptions& options) {
    hold_signals();
    const unsigned ifindex = if_nametoindex(options.device.c_str());
    if (ifindex == 0) die_errno("device " + options.device);
    const std::unique_ptr<bench_drop, SkeletonDestroyer> skeleton{bench_drop__open_and_load()};
    if (!skeleton) die_errno("load the dropping program");
    skeleton->links.drop = bpf_program__attach_xdp(skeleton->progs.drop, static_cast<int>(ifindex));
    if (!skeleton->links.drop) die_errno("attach the dropping program to " + options.device);
    JsonLine("drop").add("ready", std::uint64_t{1}).print();
    wait_for_end(options.seconds);

    const int cpus = libbpf_num_possible_cpus();
    if (cpus < 0) die("count the cpus");
    std::vector<std::uint64_t> packets(static_cast<std::size_t>(cpus));
    const std::uint32_t key = 0;
    if (bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.dropped), &key, packets.data()) != 0) die_errno("read the count");
    std::uint64_t sum = 0;
    std::vector<JsonLine> rows;
    for (std::size_t cpu = 0; cpu < packets.size(); ++cpu) {
        sum += packets[cpu];
        if (packets[cpu] != 0) rows.push_back(JsonLine{}.add("cpu", std::uint64_t{cpu}).add("packets", packets[cpu]));
    }
    JsonLine("drop").add("packets", sum).add("threads", rows).print();
}

}  // namespace fnbench
