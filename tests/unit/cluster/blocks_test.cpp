#include "userspace/cluster/blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
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
         {Case{"10.0.0.0/8", nullptr, 20, 4096}, Case{"10.8.0.0/13", nullptr, 25, 4096}, Case{"10.9.0.0/16", nullptr, 28, 4096},
          Case{"10.9.0.0/20", nullptr, 28, 256}, Case{"10.9.0.0/24", nullptr, 28, 16}, Case{"10.9.0.0/28", nullptr, 28, 1},
          Case{"10.9.0.0/30", nullptr, 30, 1}, Case{"10.9.0.0/31", nullptr, 31, 1}, Case{"10.9.0.0/16", "10.9.128.0/17", 28, 2048},
          Case{"10.9.0.0/16", "10.9.1.64/26", 28, 4}, Case{"10.9.0.0/16", "10.9.1.64/29", 29, 1}, Case{"fd00::/48", nullptr, 72, 1U << 24U},
          Case{"fd00::/64", nullptr, 88, 1U << 24U}, Case{"fd00::/112", nullptr, 120, 256}, Case{"fd00::/124", nullptr, 124, 1},
          Case{"fd00::/16", nullptr, 40, 1U << 24U}, Case{"fd00::/56", nullptr, 80, 1U << 24U}, Case{"fd00::/64", "fd00::/96", 96, 1}}) {
        const Network network = with(one.subnet, one.range);
        const auto layout = block_layout(network, network.subnets[0].family());
        ASSERT_TRUE(layout) << one.subnet;
        EXPECT_EQ(layout->length, one.length) << one.subnet;
        EXPECT_EQ(layout->count(), one.count) << one.subnet;
    }
    EXPECT_FALSE(block_layout(with("10.9.0.0/16"), Family::kIpv6));
}

TEST(Blocks, CoverTheRangeOnceAndInOrder) {
    for (const char* const subnet :
         {"10.9.0.0/20", "10.0.0.0/8", "fd00:9::/64", "fd00::/48", "fd00::/40", "fd00::/38", "fd00:0:0:1::/112"}) {
        const IpPrefix whole = prefix(subnet);
        const BlockLayout layout = *block_layout(with(subnet), whole.family());
        EXPECT_EQ(layout.at(0).address(), whole.address());
        EXPECT_EQ(layout.at(layout.count() - 1).last(), whole.last()) << subnet;
        // All of them, or those beside every carry.
        for (std::uint64_t i = 0; i + 1 < layout.count(); i += layout.count() <= 4096 ? 1 : i + 1) {
            ASSERT_EQ(layout.at(i).last().plus(1), layout.at(i + 1).address()) << subnet << " " << i;
            ASSERT_TRUE(layout.is_block(layout.at(i)));
        }
    }
}

TEST(Blocks, EveryAddressOfTheRangeIsInOne) {
    const BlockLayout layout = *block_layout(with("10.9.0.0/16", "10.9.128.0/17"), Family::kIpv4);
    EXPECT_EQ(layout.block_of(ip("10.9.128.0")), prefix("10.9.128.0/28"));
    EXPECT_EQ(layout.block_of(ip("10.9.255.255")), prefix("10.9.255.240/28"));
    EXPECT_FALSE(layout.block_of(ip("10.9.127.255")));
    EXPECT_FALSE(layout.block_of(ip("fd00::1")));
    EXPECT_FALSE(layout.is_block(prefix("10.9.128.0/29")));
    EXPECT_FALSE(layout.is_block(prefix("10.9.128.0/27")));
    EXPECT_FALSE(layout.is_block(prefix("10.9.0.0/28")));
}

BlockUse use_of(std::uint64_t blocks, std::uint64_t used, bool wanted = false) {
    return {blocks, blocks * 16, blocks * 16 - used, wanted};
}

TEST(Blocks, AreWantedWhenFewerThanAQuarterIsFree) {
    const BlockLayout layout = *block_layout(with("10.9.0.0/20"), Family::kIpv4);
    EXPECT_EQ(blocks_to_take({1, 100, 24, false}, layout, 10), 1U);
    EXPECT_EQ(blocks_to_take({1, 100, 25, false}, layout, 10), 0U);
    EXPECT_EQ(blocks_to_take({1, 101, 25, false}, layout, 10), 1U);
    EXPECT_EQ(blocks_to_take({1, 100, 100, true}, layout, 255), 1U) << "an attach waits";
    EXPECT_EQ(blocks_to_take({1, 16, 0, false}, layout, 255), 1U) << "whatever is left, once it is needed";
    constexpr std::uint64_t kHuge = std::uint64_t{1} << 63U;
    EXPECT_EQ(blocks_to_take({1, kHuge, kHuge - 5, false}, layout, 10), 0U) << "no overflow";
    BlockUse use;
    for (int i = 0; i < 3; ++i) use.add({prefix("fd00::/40"), kHuge, kHuge});
    EXPECT_EQ(blocks_to_take(use, layout, 10), 0U);
}

TEST(Blocks, TheFirstOneIsTakenAheadWhileHalfOfThemIsFree) {
    const BlockLayout layout = *block_layout(with("10.9.0.0/24"), Family::kIpv4);  // 16
    EXPECT_EQ(blocks_to_take({}, layout, 7), 1U);
    EXPECT_EQ(blocks_to_take({}, layout, 8), 0U);
    EXPECT_EQ(blocks_to_take(use_of(0, 0, true), layout, 15), 1U);
    const BlockLayout single = *block_layout(with("10.9.0.0/28"), Family::kIpv4);
    EXPECT_EQ(blocks_to_take({}, single, 0), 1U);
}

TEST(Blocks, AreTakenAheadInTimeWhileThereArePlenty) {
    const BlockLayout layout = *block_layout(with("10.9.0.0/20"), Family::kIpv4);  // 256
    EXPECT_EQ(blocks_to_take(use_of(1, 8), layout, 127), 0U);
    EXPECT_EQ(blocks_to_take(use_of(1, 9), layout, 127), 1U) << "seven are left";
    EXPECT_EQ(blocks_to_take(use_of(1, 9), layout, 128), 0U) << "scarce: the quarter decides";
    EXPECT_EQ(blocks_to_take(use_of(1, 13), layout, 128), 1U);
}

TEST(Blocks, AreTakenByDoublingUnlessTheyAreScarce) {
    const BlockLayout layout = *block_layout(with("10.9.0.0/20"), Family::kIpv4);  // 256
    EXPECT_EQ(blocks_to_take(use_of(4, 60), layout, 20), 4U);
    EXPECT_EQ(blocks_to_take(use_of(40, 640, true), layout, 60), 16U) << "not without a bound";
    EXPECT_EQ(blocks_to_take(use_of(16, 250), layout, 125), 3U) << "never into the second half";
    EXPECT_EQ(blocks_to_take(use_of(16, 250), layout, 128), 1U);
    // A hundred containers, one after the other.
    BlockUse use = use_of(1, 0);
    int times = 0;
    for (int used = 0; used < 100; ++used) {
        if (const auto more = blocks_to_take(use, layout, use.blocks); more != 0) {
            ++times;
            EXPECT_NE(use.free, 0U) << used << ": nobody has to wait";
            use = use_of(use.blocks + more, static_cast<std::uint64_t>(used));
        }
        --use.free;
    }
    EXPECT_EQ(times, 4);
}

TEST(Blocks, IdleOnesAreSparedWithoutBeingWantedBack) {
    const OwnBlock idle{prefix("10.9.0.0/28"), 16, 16};
    for (const char* const subnet : {"10.9.0.0/20", "10.9.0.0/24"}) {
        const BlockLayout layout = *block_layout(with(subnet), Family::kIpv4);
        for (std::uint64_t taken = 1; taken <= layout.count(); ++taken)
            for (std::uint64_t blocks = 1; blocks <= std::min<std::uint64_t>(taken, 20); ++blocks)
                for (std::uint64_t used = 0; used <= (blocks - 1) * 16; ++used) {
                    const BlockUse use = use_of(blocks, used);
                    if (!can_spare(use, idle, layout, taken)) continue;
                    EXPECT_EQ(blocks_to_take(use_of(blocks - 1, used), layout, taken - 1), 0U) << subnet << " " << taken << " " << used;
                }
        EXPECT_FALSE(can_spare(use_of(1, 0), idle, layout, 1)) << "the last one stays";
        EXPECT_TRUE(can_spare(use_of(2, 1), idle, layout, 2));
        EXPECT_FALSE(can_spare(use_of(2, 1, true), idle, layout, 2)) << "an attach waits";
        EXPECT_FALSE(can_spare(use_of(2, 1), {prefix("10.9.0.0/28"), 16, 15}, layout, 2)) << "somebody is in it";
        // What was just taken stays: 4 more when a quarter of 4 was left.
        EXPECT_FALSE(can_spare(use_of(8, 49), idle, layout, layout.count() / 2 - 1));
        EXPECT_TRUE(can_spare(use_of(8, 49), idle, layout, layout.count())) << "scarce: others may need it";
    }
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
