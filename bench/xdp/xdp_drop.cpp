// How fast xdp_uplink drops what its deny list names, against a program that drops everything: both in turn, in one run, on live
// frames. The sources take turns; how many there are decides how much of the list a cache holds. Prints one JSON object; see
// bench/README.md.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <sched.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include "bench_xdp.skel.h"
#include "bpf/abi/config.h"
#include "bpf/abi/deny.h"
#include "bpf/abi/verdict.h"
#include "loader/base/handle.h"
#include "loader/deny_list.h"
#include "xdp_uplink.skel.h"

namespace {

using namespace fastnet;

constexpr std::uint32_t kPrefixes = 100'000;
constexpr std::uint32_t kFrames = 1U << 18U;
constexpr int kRounds = 7;

[[noreturn]] void die(const std::string& what) {
    std::fprintf(stderr, "xdp_drop: %s\n", what.c_str());
    std::exit(1);
}

/// The frames are made and dropped by this thread: what others do meanwhile on its CPU is not counted.
double cpu_ns() {
    timespec now{};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

struct Source {
    std::uint32_t words[4];
};
struct TrieKey {
    std::uint32_t length;
    std::uint32_t words[4];
};

/// A list of one kind, and an address inside each of its prefixes.
struct List {
    const char* name;
    Family family;
    std::uint8_t length;
};
constexpr std::array<List, 4> kLists{{
    {"IPv4 /24", Family::kIpv4, 24},
    {"IPv4 /32", Family::kIpv4, 32},
    {"IPv6 /64", Family::kIpv6, 64},
    {"IPv6 /128", Family::kIpv6, 128},
}};

std::vector<IpAddress> draw(const List& list, std::mt19937_64& random) {
    std::vector<IpAddress> addresses;
    for (std::size_t i = 0; i < kPrefixes; ++i) {
        if (list.family == Family::kIpv4) {
            addresses.push_back(IpAddress::v4_from_host(static_cast<std::uint32_t>(random())));
        } else {
            std::array<std::uint8_t, 16> bytes{0x20, 0x01};
            for (std::size_t at = 2; at < 16; ++at) bytes[at] = static_cast<std::uint8_t>(random());
            addresses.push_back(IpAddress::from_bytes(bytes));
        }
    }
    return addresses;
}

std::vector<unsigned char> frame_of(Family family) {
    std::vector<unsigned char> frame(ETH_ZLEN);
    ethhdr eth{};
    eth.h_proto = htons(family == Family::kIpv4 ? ETH_P_IP : ETH_P_IPV6);
    std::memcpy(frame.data(), &eth, sizeof eth);
    if (family == Family::kIpv4) {
        iphdr ip{};
        ip.version = 4;
        ip.ihl = 5;
        ip.tot_len = htons(static_cast<std::uint16_t>(frame.size() - sizeof eth));
        ip.protocol = 253;
        ip.ttl = 64;
        std::memcpy(frame.data() + sizeof eth, &ip, sizeof ip);
    } else {
        ipv6hdr ip{};
        ip.version = 6;
        ip.payload_len = htons(static_cast<std::uint16_t>(frame.size() - sizeof eth - sizeof ip));
        ip.nexthdr = 253;
        std::memcpy(frame.data() + sizeof eth, &ip, sizeof ip);
    }
    return frame;
}

class Bench {
public:
    Bench() {
        if (bench_ == nullptr || bench_xdp__load(bench_.get()) != 0) die("load the programs of the benchmark");
        if (xdp_ == nullptr || xdp_uplink__load(xdp_.get()) != 0) die("load xdp_uplink");
    }

    /// Fills everything with @p list.
    void load(const List& list) {
        std::mt19937_64 random{1};
        const std::vector<IpAddress> addresses = draw(list, random);
        std::vector<IpPrefix> prefixes;
        for (const IpAddress& address : addresses) prefixes.push_back(IpPrefix{address, list.length}.network());
        auto deny = DenyList::of_maps(fd(".data.deny"), fd("deny_blocks"), fd("deny_nodes"));
        if (!deny || !deny->replace(prefixes, 1)) die("fill the deny list");
        fill_trie(list, prefixes);
        for (std::uint32_t i = 0; i < kPrefixes; ++i) {
            const IpAddress& address = addresses[i];
            Source source{};
            std::memcpy(source.words, address.wire(), address.wire_size());
            if (bpf_map_update_elem(bpf_map__fd(bench_->maps.sources), &i, &source, BPF_ANY) != 0) die("write the sources");
        }
    }

    /// Nanoseconds per frame, medians, in the order of `programs`; frames from @p sources in turn.
    void measure(const List& list, std::uint32_t sources, bool last) {
        bench_->data->sources_in_use = sources;
        const std::array<int, 3> programs{bpf_program__fd(bench_->progs.bench_drop), bpf_program__fd(xdp_->progs.xdp_uplink),
                                          bpf_program__fd(bench_->progs.bench_trie)};
        std::array<std::vector<double>, 3> times;
        const std::uint64_t before = denied();
        bench_->bss->passed = 0;
        const std::vector<unsigned char> frame = frame_of(list.family);
        for (int round = -1; round < kRounds; ++round)
            for (std::size_t which = 0; which < programs.size(); ++which) {
                const double ns = run(programs[which], frame);
                if (round >= 0) times[which].push_back(ns);  // the first is for warming up
            }
        if (denied() - before != std::uint64_t{kFrames} * (kRounds + 1)) die("not every frame was denied");
        if (bench_->bss->passed != 0) die("the trie does not hold the list");
        std::array<double, 3> median{};
        for (std::size_t which = 0; which < programs.size(); ++which) {
            std::sort(times[which].begin(), times[which].end());
            median[which] = times[which][kRounds / 2];
        }
        std::printf(
            "  {\"list\": \"100,000 %s\", \"sources\": %u, \"bare_drop_ns\": %.1f, \"xdp_uplink_ns\": %.1f, \"trie_ns\": %.1f, "
            "\"rate_to_bare\": %.2f, \"trie_rate_to_bare\": %.2f, \"spread\": %.2f}%s\n",
            list.name, sources, median[0], median[1], median[2], median[0] / median[1], median[0] / median[2],
            times[1].back() / times[1].front(), last ? "" : ",");
        std::fflush(stdout);
    }

private:
    int fd(const char* map) const { return bpf_object__find_map_fd_by_name(xdp_->obj, map); }

    void fill_trie(const List& list, const std::vector<IpPrefix>& prefixes) const {
        const int trie = bpf_map__fd(bench_->maps.trie);
        TrieKey key{};
        while (bpf_map_get_next_key(trie, nullptr, &key) == 0) (void)bpf_map_delete_elem(trie, &key);
        for (const IpPrefix& prefix : prefixes) {
            key = {list.length, {}};
            const IpAddress address = prefix.address();
            std::memcpy(key.words, address.wire(), address.wire_size());
            const std::uint8_t value = 1;
            if (bpf_map_update_elem(trie, &key, &value, BPF_ANY) != 0) die("fill the trie");
        }
    }

    std::uint64_t denied() const {
        std::vector<fnet_verdict_count> counts(static_cast<std::size_t>(libbpf_num_possible_cpus()));
        const std::uint32_t verdict = FNET_SOURCE_DENY_LISTED;
        if (bpf_map_lookup_elem(fd("verdicts"), &verdict, counts.data()) != 0) die("read the verdicts");
        std::uint64_t sum = 0;
        for (const fnet_verdict_count& count : counts) sum += count.packets;
        return sum;
    }

    double run(int program, const std::vector<unsigned char>& frame) const {
        const std::uint32_t place = 0;
        if (bpf_map_update_elem(bpf_map__fd(bench_->maps.under_test), &place, &program, BPF_ANY) != 0) die("put a program under test");
        LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = static_cast<__u32>(frame.size()),
                    .repeat = static_cast<int>(kFrames), .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 64);
        const double start = cpu_ns();
        if (bpf_prog_test_run_opts(bpf_program__fd(bench_->progs.bench_source), &options) != 0)
            die(std::string{"run live frames: "} + std::strerror(errno));
        return (cpu_ns() - start) / kFrames;
    }

    Handle<bench_xdp, bench_xdp__destroy> bench_{bench_xdp__open()};
    Handle<xdp_uplink, xdp_uplink__destroy> xdp_{xdp_uplink__open()};
};

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"What xdp_uplink costs for a frame that the deny list drops, beside a bare XDP_DROP and an LPM trie"};
    std::vector<std::uint32_t> counts{1, 1'000, kPrefixes};
    app.add_option("--sources", counts, "How many different sources send in turn (repeatable)")
        ->check(CLI::Range(std::uint32_t{1}, kPrefixes))
        ->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) die("stay on one CPU");
    libbpf_set_print(nullptr);
    Bench bench;
    std::printf("{\"drop\": [\n");
    for (const List& list : kLists) {
        bench.load(list);
        for (const std::uint32_t& count : counts) bench.measure(list, count, &list == &kLists.back() && &count == &counts.back());
    }
    std::printf("]}\n");
    return 0;
}
