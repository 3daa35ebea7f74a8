#include "userspace/model/port_plan.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/unit/model/fixed_random.h"

namespace fastnet {
namespace {

PortRange range(unsigned first, unsigned last) {
    return {Port{static_cast<std::uint16_t>(first)}, Port{static_cast<std::uint16_t>(last)}};
}

PublishedPort published(const char* host_ip, unsigned first, unsigned last, Protocol protocol = Protocol::kTcp,
                        std::uint32_t endpoint = 1) {
    PublishedPort port;
    port.endpoint_id = endpoint;
    port.host_ip = *IpAddress::parse(host_ip);
    port.host_ports = range(first, last);
    port.container_ports = range(first, last);
    port.protocol = protocol;
    return port;
}

std::string name_of(std::uint32_t id) {
    return "ep" + std::to_string(id);
}

TEST(PortConflicts, SameAddressOrAnyOfTheSameFamilyCollides) {
    const PublishedPort any = published("0.0.0.0", 2000, 2000);
    EXPECT_TRUE(ports_collide(any, published("0.0.0.0", 2000, 2000)));
    EXPECT_TRUE(ports_collide(any, published("127.0.0.1", 2000, 2000)));
    EXPECT_TRUE(ports_collide(published("127.0.0.1", 2000, 2000), any));
    EXPECT_TRUE(ports_collide(published("127.0.0.1", 2000, 2000), published("127.0.0.1", 1990, 2000)));
    EXPECT_TRUE(ports_collide(published("::", 2000, 2000), published("fd00::1", 2000, 2001)));
}

TEST(PortConflicts, OtherAddressFamilyProtocolOrPortDoesNot) {
    EXPECT_FALSE(ports_collide(published("127.0.0.2", 2000, 2000), published("127.0.0.3", 2000, 2000)));
    EXPECT_FALSE(ports_collide(published("0.0.0.0", 2000, 2000), published("::", 2000, 2000)));
    EXPECT_FALSE(ports_collide(published("0.0.0.0", 2000, 2000), published("0.0.0.0", 2000, 2000, Protocol::kUdp)));
    EXPECT_FALSE(ports_collide(published("0.0.0.0", 2000, 2009), published("0.0.0.0", 2010, 2019)));
}

TEST(PortConflicts, TheMessageNamesTheHolder) {
    const std::vector<PublishedPort> existing{published("127.0.0.1", 2000, 2000, Protocol::kUdp, 4),
                                              published("0.0.0.0", 1990, 2010, Protocol::kTcp, 7)};
    const auto checked = check_port_is_free(published("127.0.0.1", 2000, 2000), existing, name_of);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().kind, ErrorKind::kConflict);
    EXPECT_EQ(checked.error().message, "publish 127.0.0.1:2000->2000/tcp: endpoint 'ep7' has 0.0.0.0:1990-2010->1990-2010/tcp");
    EXPECT_TRUE(check_port_is_free(published("127.0.0.1", 2011, 2011), existing, name_of));
    EXPECT_TRUE(check_port_is_free(published("127.0.0.1", 2011, 2011), {}, name_of));
}

TEST(HostAddresses, OneRecordForEachFamilyOfTheEndpoint) {
    const PublishSpec spec = *PublishSpec::parse("2000:80");
    EXPECT_EQ(host_addresses_for(spec, true, true)->size(), 2U);
    EXPECT_EQ(*host_addresses_for(spec, true, false), std::vector{IpAddress::any(Family::kIpv4)});
    EXPECT_EQ(*host_addresses_for(spec, false, true), std::vector{IpAddress::any(Family::kIpv6)});
    EXPECT_FALSE(host_addresses_for(spec, false, false));
}

TEST(HostAddresses, AnAddressOfAFamilyThatTheEndpointLacksIsAUsageError) {
    const PublishSpec v6 = *PublishSpec::parse("[::1]:2000:80");
    EXPECT_EQ(host_addresses_for(v6, true, true)->size(), 1U);
    const auto refused = host_addresses_for(v6, true, false);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::kUsage);
    EXPECT_FALSE(host_addresses_for(*PublishSpec::parse("127.0.0.1:2000:80"), false, true));
}

/// Obstacles out of a list of taken ranges, with a count of the questions asked.
struct Taken {
    std::vector<PortRange> ranges;
    int questions = 0;
    PortObstacle obstacle() {
        return [this](const PortRange& wanted) -> Result<std::optional<PortRange>> {
            ++questions;
            for (const PortRange& taken : ranges)
                if (taken.overlaps(wanted)) return std::optional{taken};
            return std::optional<PortRange>{};
        };
    }
};

TEST(ChooseHostPorts, TheFirstFreePortOfTheRangeIsTaken) {
    Taken taken{{range(8000, 8003), range(8005, 8005)}};
    EXPECT_EQ(*choose_host_ports(range(8000, 8010), 1, Port{8000}, taken.obstacle()), range(8004, 8004));
    EXPECT_EQ(*choose_host_ports(range(8000, 8010), 3, Port{8000}, taken.obstacle()), range(8006, 8008));
    EXPECT_EQ(*choose_host_ports(range(8000, 8010), 1, Port{8005}, taken.obstacle()), range(8006, 8006));
}

TEST(ChooseHostPorts, TheSearchGoesRoundToTheStart) {
    Taken taken{{range(8008, 8010)}};
    EXPECT_EQ(*choose_host_ports(range(8000, 8010), 1, Port{8008}, taken.obstacle()), range(8000, 8000));
    EXPECT_EQ(*choose_host_ports(range(8000, 8010), 1, Port{9}, taken.obstacle()), range(8000, 8000));
}

TEST(ChooseHostPorts, AFullRangeIsAConflict) {
    Taken taken{{range(1, 65535)}};
    for (const Port start : {Port{8000}, Port{8005}, Port{8010}, Port{1}}) {
        const auto none = choose_host_ports(range(8000, 8010), 1, start, taken.obstacle());
        ASSERT_FALSE(none);
        EXPECT_EQ(none.error().kind, ErrorKind::kConflict);
    }
    EXPECT_FALSE(choose_host_ports(range(8000, 8010), 12, Port{8000}, taken.obstacle()));
    EXPECT_FALSE(choose_host_ports(range(8000, 8010), 0, Port{8000}, taken.obstacle()));
}

TEST(ChooseHostPorts, TheLastPortsCanBeTaken) {
    Taken taken{{range(65000, 65534)}};
    EXPECT_EQ(*choose_host_ports(range(65000, 65535), 1, Port{65000}, taken.obstacle()), range(65535, 65535));
    taken.ranges.push_back(range(65535, 65535));
    EXPECT_FALSE(choose_host_ports(range(65000, 65535), 1, Port{65535}, taken.obstacle()));
}

TEST(ChooseHostPorts, ALargeObstacleCostsOneQuestion) {
    Taken taken{{range(20000, 29999)}};
    EXPECT_EQ(*choose_host_ports(range(20000, 40000), 1, Port{20000}, taken.obstacle()), range(30000, 30000));
    EXPECT_EQ(taken.questions, 2);
}

TEST(ChooseHostPorts, RandomSituationsAgreeWithAPlainSearch) {
    FixedRandom random{17};
    for (int round = 0; round < 5000; ++round) {
        Taken taken;
        for (unsigned i = random.below(6); i-- > 0;) {
            const unsigned first = 100 + random.below(30);
            taken.ranges.push_back(range(first, first + random.below(5)));
        }
        const unsigned width = 1 + random.below(4);
        const unsigned start = 100 + random.below(22);
        std::optional<PortRange> expected;
        const auto consider = [&](unsigned first) {
            const PortRange wanted = range(first, first + width - 1);
            bool free = first + width - 1 <= 120;
            for (const PortRange& other : taken.ranges) free = free && !other.overlaps(wanted);
            if (free && !expected) expected = wanted;
        };
        const bool start_fits = start <= 121 - width;
        for (unsigned first = start_fits ? start : 100; first <= 120; ++first) consider(first);
        for (unsigned first = 100; first < start; ++first) consider(first);
        const auto chosen = choose_host_ports(range(100, 120), width, Port{static_cast<std::uint16_t>(start)}, taken.obstacle());
        ASSERT_EQ(chosen.has_value(), expected.has_value());
        if (expected) {
            ASSERT_EQ(*chosen, *expected);
        }
    }
}

void expect_exact_cover(const PortRange& wanted) {
    const std::vector<PortBlock> blocks = port_blocks(wanted);
    ASSERT_LE(blocks.size(), kMaxPortBlocks);
    ASSERT_FALSE(blocks.empty());
    std::uint32_t next = wanted.first.value();  // ascending without gap or overlap: exact and disjoint
    for (const PortBlock& block : blocks) {
        ASSERT_LE(block.prefix_bits, 16);
        ASSERT_EQ(block.first.value(), next);
        ASSERT_EQ(block.first.value() % block.size(), 0U) << "not aligned";
        next += block.size();
    }
    ASSERT_EQ(next, wanted.last.value() + 1U);
}

TEST(PortBlocks, KnownRanges) {
    EXPECT_EQ(port_blocks(range(80, 80)), (std::vector<PortBlock>{{Port{80}, 16}}));
    EXPECT_EQ(port_blocks(range(0, 65535)), (std::vector<PortBlock>{{Port{0}, 0}}));
    EXPECT_EQ(port_blocks(range(8000, 8003)), (std::vector<PortBlock>{{Port{8000}, 14}}));
    EXPECT_EQ(port_blocks(range(7, 9)), (std::vector<PortBlock>{{Port{7}, 16}, {Port{8}, 15}}));
    EXPECT_EQ(port_blocks(range(1, 65534)).size(), kMaxPortBlocks);
    EXPECT_LE(port_blocks(range(20000, 29999)).size(), 32U);
}

TEST(PortBlocks, EveryRangeFromAnEdgeIsCoveredExactly) {
    for (unsigned port = 0; port <= 65535; ++port) {
        expect_exact_cover(range(0, port));
        expect_exact_cover(range(port, 65535));
        expect_exact_cover(range(port, port));
        if (HasFatalFailure()) return;
    }
}

TEST(PortBlocks, RandomRangesAreCoveredExactly) {
    FixedRandom random{23};
    for (int i = 0; i < 200'000; ++i) {
        const unsigned a = random.below(65536);
        const unsigned b = random.below(65536);
        expect_exact_cover(range(std::min(a, b), std::max(a, b)));
        if (HasFatalFailure()) return;
    }
}

}  // namespace
}  // namespace fastnet
