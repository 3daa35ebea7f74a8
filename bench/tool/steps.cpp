// What a single step of a packet path costs on this machine: programs of bench_steps.bpf.c run by BPF_PROG_TEST_RUN.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>

#include "bench.h"
#include "bench_steps.h"
#include "bench_steps.skel.h"

namespace fnbench {
namespace {

constexpr int kRuns = 7;
constexpr unsigned kRepeat = 20'000;  // a run of them is some milliseconds

struct SkeletonDestroyer {
    void operator()(bench_steps* skeleton) const { bench_steps__destroy(skeleton); }
};

// An IPv4 UDP datagram; the addresses are documentation's (RFC 5737).
std::array<unsigned char, 98> datagram() {
    std::array<unsigned char, 98> frame{0x02, 0, 0,  0,  0, 1, 0x02, 0, 0, 0, 0,   2,  0x08, 0x00, 0x45, 0,    0,    84,   0, 0,
                                        0,    0, 64, 17, 0, 0, 192,  0, 2, 1, 198, 51, 100,  2,    0x4e, 0x20, 0x4e, 0x21, 0, 64};
    return frame;
}

void update(const bpf_map* map, const void* key, const void* value) {
    if (bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY) != 0) die_errno(std::string{"fill map "} + bpf_map__name(map));
}

void fill_hash(const bpf_map* map, std::uint64_t entries) {
    std::array<std::uint64_t, 6> key{};
    const std::array<std::uint64_t, 16> value{};
    for (key[0] = 0; key[0] < entries; ++key[0]) update(map, key.data(), value.data());
}

void fill(const bench_steps& skeleton) {
    for (const bpf_map* map : {skeleton.maps.warm16, skeleton.maps.warm24, skeleton.maps.warm48}) fill_hash(map, WARM / 2);
    fill_hash(skeleton.maps.cold48, COLD / 2);
    const std::uint64_t value = 1;
    for (unsigned i = 0; i < WARM / 2; ++i) {
        const bench_prefix prefix{24, htonl(i << 8U)};
        update(skeleton.maps.trie, &prefix, &value);
    }
}

struct Cost {
    double median_ns = 0, least_ns = 0;  // of a whole program
};

Cost cost_of(const bpf_program* program) {
    std::vector<double> runs;
    for (int run = 0; run <= kRuns; ++run) {
        auto frame = datagram();
        LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = frame.size(), .repeat = kRepeat);
        if (bpf_prog_test_run_opts(bpf_program__fd(program), &options) != 0)
            die_errno(std::string{"run program "} + bpf_program__name(program));
        if (static_cast<int>(options.retval) == -1) die(std::string{"program "} + bpf_program__name(program) + ": a helper failed");
        if (run > 0) runs.push_back(options.duration);  // the first one warms up
    }
    std::sort(runs.begin(), runs.end());
    return {runs[runs.size() / 2], runs.front()};
}

}  // namespace

void steps(const StepsOptions& options) {
    const std::unique_ptr<bench_steps, SkeletonDestroyer> skeleton{bench_steps__open()};
    if (!skeleton) die_errno("open the programs of single steps");
    const bool routed = !options.device.empty();
    if (routed) {
        skeleton->rodata->route_ifindex = if_nametoindex(options.device.c_str());
        if (skeleton->rodata->route_ifindex == 0) die_errno("device " + options.device);
        in_addr to{};
        if (inet_pton(AF_INET, options.next_hop.c_str(), &to) != 1) die("steps: not an IPv4 address: " + options.next_hop);
        skeleton->rodata->route_to = to.s_addr;
    }
    if (bench_steps__load(skeleton.get()) != 0) die_errno("load the programs of single steps");
    fill(*skeleton);
    const Cost nothing = cost_of(skeleton->progs.nothing);
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton->obj) {
        const std::string name = bpf_program__name(program);
        if (name == "nothing" || (name == "route_lookup" && !routed)) continue;
        const Cost cost = cost_of(program);
        JsonLine{"steps"}
            .add("step", name)
            .add("ns", std::max(0.0, cost.median_ns - nothing.median_ns) / STEPS)
            .add("least_ns", std::max(0.0, cost.least_ns - nothing.least_ns) / STEPS)
            .print();
    }
}

}  // namespace fnbench
