#include "userspace/cluster/blocks.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/unit/cluster/cluster_builder.h"

namespace fastnet::cluster {
namespace {

using test::ip;
using test::prefix;

Network with(const char* subnet, const char* range = nullptr) {
    Network network;
    network.subnets = {prefix(subnet)};
    if (range != nullptr) network.ip_ranges = {prefix(range)};
    return network;
}

TEST(Blocks, HaveALengthThatFollowsFromTheSubnet) {
    struct Case {
        const char* subnet;
        const char* range;
        int length;
        std::uint64_t count;
    };
    for (const Case& one :
         {Case{"10.0.0.0/8", nullptr, 16, 256}, Case{"10.9.0.0/16", nullptr, 24, 256}, Case{"10.9.0.0/20", nullptr, 28, 256},
          Case{"10.9.0.0/24", nullptr, 28, 16}, Case{"10.9.0.0/28", nullptr, 28, 1}, Case{"10.9.0.0/30", nullptr, 30, 1},
          Case{"10.9.0.0/31", nullptr, 31, 1}, Case{"10.9.0.0/16", "10.9.128.0/17", 24, 128}, Case{"10.9.0.0/16", "10.9.1.64/26", 26, 1},
          Case{"fd00::/48", nullptr, 64, 65536}, Case{"fd00::/64", nullptr, 80, 65536}, Case{"fd00::/112", nullptr, 120, 256},
          Case{"fd00::/124", nullptr, 124, 1}, Case{"fd00::/16", nullptr, 32, 65536}, Case{"fd00::/56", nullptr, 72, 65536},
          Case{"fd00::/64", "fd00::/96", 96, 1}}) {
        const Network network = with(one.subnet, one.range);
        const auto layout = block_layout(network, network.subnets[0].family());
        ASSERT_TRUE(layout) << one.subnet;
        EXPECT_EQ(layout->length, one.length) << one.subnet;
        EXPECT_EQ(layout->count(), one.count) << one.subnet;
    }
    EXPECT_FALSE(block_layout(with("10.9.0.0/16"), Family::kIpv6));
}

TEST(Blocks, CoverTheRangeOnceAndInOrder) {
    for (const char* const subnet : {"10.9.0.0/20", "10.0.0.0/8", "fd00:9::/64", "fd00::/16", "fd00::/56", "fd00:0:0:1::/112"}) {
        const IpPrefix whole = prefix(subnet);
        const BlockLayout layout = *block_layout(with(subnet), whole.family());
        EXPECT_EQ(layout.at(0).address(), whole.address());
        EXPECT_EQ(layout.at(layout.count() - 1).last(), whole.last()) << subnet;
        for (std::uint64_t i = 0; i + 1 < layout.count(); ++i) {
            ASSERT_EQ(layout.at(i).last().plus(1), layout.at(i + 1).address()) << subnet << " " << i;
            ASSERT_TRUE(layout.is_block(layout.at(i)));
        }
    }
}

TEST(Blocks, EveryAddressOfTheRangeIsInOne) {
    const BlockLayout layout = *block_layout(with("10.9.0.0/16", "10.9.128.0/17"), Family::kIpv4);
    EXPECT_EQ(layout.block_of(ip("10.9.128.0")), prefix("10.9.128.0/24"));
    EXPECT_EQ(layout.block_of(ip("10.9.255.255")), prefix("10.9.255.0/24"));
    EXPECT_FALSE(layout.block_of(ip("10.9.127.255")));
    EXPECT_FALSE(layout.block_of(ip("fd00::1")));
    EXPECT_FALSE(layout.is_block(prefix("10.9.128.0/25")));
    EXPECT_FALSE(layout.is_block(prefix("10.9.128.0/23")));
    EXPECT_FALSE(layout.is_block(prefix("10.9.0.0/24")));
}

TEST(Blocks, AreWantedWhenFewerThanAQuarterIsFree) {
    const BlockLayout layout = *block_layout(with("10.9.0.0/20"), Family::kIpv4);
    EXPECT_TRUE(wants_block({100, 24, false}, layout, 10));
    EXPECT_FALSE(wants_block({100, 25, false}, layout, 10));
    EXPECT_TRUE(wants_block({100, 100, true}, layout, 255)) << "an attach waits";
    EXPECT_TRUE(wants_block({16, 0, false}, layout, 255)) << "whatever is left, once it is needed";
}

TEST(Blocks, TheFirstOneIsTakenAheadWhileHalfOfThemIsFree) {
    const BlockLayout layout = *block_layout(with("10.9.0.0/24"), Family::kIpv4);  // 16
    EXPECT_TRUE(wants_block({}, layout, 7));
    EXPECT_FALSE(wants_block({}, layout, 8));
    EXPECT_TRUE(wants_block({0, 0, true}, layout, 15));
    const BlockLayout single = *block_layout(with("10.9.0.0/28"), Family::kIpv4);
    EXPECT_TRUE(wants_block({}, single, 0));
}

TEST(Blocks, TheNextOneIsTheFirstFreeOneFromAPlaceOfTheNodesOwn) {
    const BlockLayout layout = *block_layout(with("10.9.0.0/24"), Family::kIpv4);
    std::set<IpPrefix> taken;
    std::set<IpPrefix> first;
    for (int i = 0; i < 16; ++i) {
        const auto block = pick_block(layout, "seed", taken.size(), [&](const IpPrefix& one) { return taken.contains(one); });
        ASSERT_TRUE(block);
        EXPECT_TRUE(layout.is_block(*block));
        EXPECT_TRUE(taken.insert(*block).second) << "never one that somebody has";
        first.insert(*pick_block(layout, std::to_string(i), 0, [](const IpPrefix&) { return false; }));
    }
    EXPECT_FALSE(pick_block(layout, "seed", 16, [](const IpPrefix&) { return true; }));
    EXPECT_FALSE(pick_block(layout, "seed", 15, [](const IpPrefix&) { return true; })) << "keys that cannot be read count as taken";
    EXPECT_GT(first.size(), 4U) << "nodes do not all reach for the same one";
}

}  // namespace
}  // namespace fastnet::cluster
