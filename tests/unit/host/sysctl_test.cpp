#include "userspace/host/sysctl.h"

#include <gmock/gmock.h>

#include <bitset>
#include <random>

#include "tests/unit/host/own_netns.h"

namespace fastnet {
namespace {

using ::testing::HasSubstr;

constexpr std::size_t kPorts = 65536;

PortRange range(int first, int last) {
    return {Port{static_cast<std::uint16_t>(first)}, Port{static_cast<std::uint16_t>(last)}};
}
ReservedPorts ports(const char* text) {
    return ReservedPorts::parse(text).value();
}

TEST(ReservedPortsText, KernelsNotationIsReadAndWritten) {
    EXPECT_EQ(ports("").to_string(), "");
    EXPECT_EQ(ports("\n").to_string(), "");
    EXPECT_EQ(ports("80,2000-2010\n").to_string(), "80,2000-2010");
    EXPECT_EQ(ports("0-65535").to_string(), "0-65535");
    EXPECT_EQ(ports("7-7").to_string(), "7");
    EXPECT_EQ(ports("3, 1,2").to_string(), "1-3");
}

TEST(ReservedPortsText, AnythingElseIsAUsageError) {
    for (const char* text : {",", "80,", ",80", "80,,81", "-", "80-", "-80", "90-80", "65536", "x", "80 90", "1-2-3", "+1", "0x10"}) {
        const auto parsed = ReservedPorts::parse(text);
        ASSERT_FALSE(parsed.has_value()) << text;
        EXPECT_EQ(parsed.error().kind, ErrorKind::kUsage) << text;
    }
}

TEST(ReservedPortsSet, EndsOfThePortSpaceDoNotWrap) {
    ReservedPorts set;
    set.add(range(65535, 65535));
    set.add(range(0, 0));
    EXPECT_EQ(set.to_string(), "0,65535");
    set.remove(range(65535, 65535));
    set.remove(range(0, 0));
    EXPECT_TRUE(set.empty());
    set.add(range(0, 65535));
    set.remove(range(1, 65534));
    EXPECT_EQ(set.to_string(), "0,65535");
}

TEST(ReservedPortsSet, BehavesAsASetOfBits) {
    std::mt19937 random{20240229};
    std::uniform_int_distribution<int> port{0, 65535};
    std::uniform_int_distribution<int> width{0, 3000};
    for (int round = 0; round < 20; ++round) {
        ReservedPorts set;
        std::bitset<kPorts> model;
        for (int step = 0; step < 60; ++step) {
            const int first = port(random);
            const int last = std::min(65535, first + width(random));
            const bool add = random() % 3 != 0;
            add ? set.add(range(first, last)) : set.remove(range(first, last));
            for (int i = first; i <= last; ++i) model.set(static_cast<std::size_t>(i), add);
        }
        std::size_t count = 0;
        for (const PortRange& each : set.ranges()) count += each.size();
        EXPECT_EQ(count, model.count());
        for (std::size_t i = 0; i < kPorts; ++i) {
            ASSERT_EQ(set.contains(Port{static_cast<std::uint16_t>(i)}), model.test(i)) << i;
        }
        // Sorted, apart, not adjacent; and the text is the same set.
        for (std::size_t i = 1; i < set.ranges().size(); ++i) {
            ASSERT_GT(set.ranges()[i].first.value(), set.ranges()[i - 1].last.value() + 1);
        }
        EXPECT_EQ(ReservedPorts::parse(set.to_string()).value(), set);
    }
}

TEST(ReservedPortsSet, UnionAndDifferenceUndoEachOther) {
    const ReservedPorts admin = ports("80,2000-2010");
    const ReservedPorts ours = ports("2011-2020,8080");
    EXPECT_EQ(admin.united_with(ours).to_string(), "80,2000-2020,8080");
    EXPECT_EQ(admin.united_with(ours).without(ours), admin);
    EXPECT_TRUE(admin.intersects(range(2010, 3000)));
    EXPECT_FALSE(admin.intersects(range(2011, 3000)));
    EXPECT_TRUE(admin.contains(range(2000, 2010)));
    EXPECT_FALSE(admin.contains(range(2000, 2011)));
}

TEST(Sysctl, PathsThatLeaveTheTreeAreRefused) {
    for (const char* path : {"", "/etc/passwd", "../kernel/hostname", "ipv4/../../kernel/hostname"}) {
        EXPECT_EQ(read_sysctl(path).error().kind, ErrorKind::kUsage) << path;
    }
}

TEST(Sysctl, MissingOneIsNotFound) {
    const auto value = read_sysctl("ipv4/conf/fnt-none/forwarding");
    EXPECT_EQ(value.error().kind, ErrorKind::kNotFound);
    EXPECT_THAT(value.error().message, HasSubstr("net/ipv4/conf/fnt-none/forwarding"));
}

TEST(Sysctl, LocalPortRangeIsRead) {
    const auto local = local_port_range();
    ASSERT_TRUE(local.has_value()) << local.error().message;
    EXPECT_LT(local->first, local->last);
}

class SysctlTest : public OwnNetns {};

TEST_F(SysctlTest, FollowsTheThreadsNamespace) {
    const Netns other = fresh_netns();
    ASSERT_OK(write_sysctl("ipv4/conf/lo/forwarding", "1"));
    EXPECT_EQ(read_sysctl("ipv4/conf/lo/forwarding").value(), "1");
    EXPECT_EQ(run_in(other, [] { return read_sysctl("ipv4/conf/lo/forwarding"); }).value(), "0");
    ASSERT_OK(run_in(other, [] { return write_sysctl("ipv4/ip_local_port_range", "1025 2000"); }));
    EXPECT_EQ(run_in(other, [] { return local_port_range(); }).value(), range(1025, 2000));
    EXPECT_NE(local_port_range().value(), range(1025, 2000));
}

TEST_F(SysctlTest, RefusedValueIsAnError) {
    const Status result = write_sysctl("ipv4/ip_local_port_range", "2000 1000");
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().sys_errno, EINVAL);
}

TEST_F(SysctlTest, ReservedPortsSurviveTheKernel) {
    for (const char* text : {"80,2000-2010", "1-65535", ""}) {
        ASSERT_OK(write_reserved_ports(ports(text)));
        EXPECT_EQ(read_reserved_ports().value(), ports(text)) << text;
    }
}

TEST_F(SysctlTest, ListsLongerThanAPageAreWrittenWhole) {
    ReservedPorts many;
    for (int port = 10000; port < 30000; port += 2) many.add(range(port, port));
    ASSERT_GT(many.to_string().size(), 12U * 4096U);
    ASSERT_OK(write_reserved_ports(many));
    EXPECT_EQ(read_reserved_ports().value(), many);
    ASSERT_OK(write_reserved_ports(ports("7")));  // replaces, does not add
    EXPECT_EQ(read_reserved_ports().value(), ports("7"));
}

}  // namespace
}  // namespace fastnet
