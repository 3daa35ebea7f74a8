#include "userspace/control/uplinks.h"

#include <gtest/gtest.h>

namespace fastnet {
namespace {

PortRange range(unsigned first, unsigned last) {
    return {Port{static_cast<std::uint16_t>(first)}, Port{static_cast<std::uint16_t>(last)}};
}

const UplinkCandidate kEth0{"eth0"};
const UplinkCandidate kEth1{"eth1"};
const UplinkCandidate kWireguard{"wg0", true, false};

TEST(Uplinks, DefaultRoutesGiveThem) {
    const auto choice = choose_uplinks({}, false, {}, {kEth0, kEth1, kEth0});
    ASSERT_TRUE(choice) << choice.error().message;
    EXPECT_EQ(choice->uplinks, (std::vector<Uplink>{{"eth0", false}, {"eth1", false}}));
}

TEST(Uplinks, ChosenOnesAreKeptWhateverTheRoutesSay) {
    const auto choice = choose_uplinks({}, false, {{"eth0", true}}, {kEth1});
    ASSERT_TRUE(choice);
    EXPECT_EQ(choice->uplinks, (std::vector<Uplink>{{"eth0", true}}));
}

TEST(Uplinks, FoundOnesGrowWithTheRoutes) {
    const auto choice = choose_uplinks({}, false, {{"eth0", false}}, {kEth1});
    ASSERT_TRUE(choice);
    EXPECT_EQ(choice->uplinks, (std::vector<Uplink>{{"eth0", false}, {"eth1", false}}));
}

TEST(Uplinks, AskedForAddsOrReplaces) {
    const std::vector<Uplink> stored{{"eth0", true}};
    EXPECT_EQ(choose_uplinks({kEth1}, false, stored, {})->uplinks, (std::vector<Uplink>{{"eth1", true}, {"eth0", true}}));
    EXPECT_EQ(choose_uplinks({kEth1}, true, stored, {})->uplinks, (std::vector<Uplink>{{"eth1", true}}));
    EXPECT_EQ(choose_uplinks({kEth1, kEth1}, true, stored, {})->uplinks.size(), 1U);
}

TEST(Uplinks, DeviceWithoutEthernetHeaderIsRefusedWithTheReason) {
    const auto asked = choose_uplinks({kWireguard}, true, {}, {});
    ASSERT_FALSE(asked);
    EXPECT_EQ(asked.error().kind, ErrorKind::kFailed);
    EXPECT_NE(asked.error().message.find("wg0"), std::string::npos);
    EXPECT_NE(asked.error().message.find("Ethernet"), std::string::npos);
    const auto routed = choose_uplinks({}, false, {}, {kWireguard});
    ASSERT_FALSE(routed);
    EXPECT_NE(routed.error().message.find("wg0"), std::string::npos);
}

TEST(Uplinks, DeviceWithoutEthernetHeaderBesideAGoodOneIsAWarning) {
    const auto choice = choose_uplinks({}, false, {}, {kWireguard, kEth0});
    ASSERT_TRUE(choice);
    EXPECT_EQ(choice->uplinks, (std::vector<Uplink>{{"eth0", false}}));
    EXPECT_EQ(choice->warnings.size(), 1U);
}

TEST(Uplinks, NoneIsAnErrorThatNamesTheOption) {
    const auto choice = choose_uplinks({}, false, {}, {});
    ASSERT_FALSE(choice);
    EXPECT_NE(choice.error().hint.find("--uplink"), std::string::npos);
}

TEST(Uplinks, UnknownLoopbackAndOwnDevicesAreRefused) {
    EXPECT_EQ(choose_uplinks({{"eth9", false}}, true, {}, {}).error().kind, ErrorKind::kNotFound);
    EXPECT_FALSE(choose_uplinks({{"lo", true, false, true}}, true, {}, {}));
    EXPECT_FALSE(choose_uplinks({{"fn-1-default"}}, true, {}, {}));
    EXPECT_FALSE(choose_uplinks({{"fnv-3"}}, true, {}, {}));
    EXPECT_TRUE(choose_uplinks({{"fn-lan"}}, true, {}, {})) << "only looks like one";
}

TEST(MasqueradePorts, LargerPartBesideTheHostsOwnIsTaken) {
    EXPECT_EQ(*choose_masquerade_ports({}, {}, range(32768, 60999)), range(16384, 32767));
    EXPECT_EQ(*choose_masquerade_ports({}, {}, range(20000, 30000)), range(30001, 65535));
    EXPECT_EQ(*choose_masquerade_ports({}, {}, range(1024, 40000)), range(40001, 65535));
    EXPECT_FALSE(choose_masquerade_ports({}, {}, range(1024, 65535)));
}

TEST(MasqueradePorts, WhatWasStoredStays) {
    EXPECT_EQ(*choose_masquerade_ports({}, range(20000, 20999), range(32768, 60999)), range(20000, 20999));
}

TEST(MasqueradePorts, RangeInsideTheHostsOwnIsRefused) {
    EXPECT_EQ(*choose_masquerade_ports(range(20000, 20001), {}, range(32768, 60999)), range(20000, 20001));
    for (const PortRange& asked : {range(40000, 41000), range(30000, 32768), range(60999, 61000), range(1, 65535)}) {
        const auto refused = choose_masquerade_ports(asked, {}, range(32768, 60999));
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().kind, ErrorKind::kConflict);
        EXPECT_NE(refused.error().message.find("ip_local_port_range"), std::string::npos);
    }
}

TEST(MasqueradePorts, TextIsParsedStrictly) {
    EXPECT_EQ(*parse_port_range("20000-20999"), range(20000, 20999));
    EXPECT_EQ(*parse_port_range("7-7"), range(7, 7));
    for (const char* text : {"", "20000", "20000-", "-20000", "21000-20000", "0-10", "20000-65536", "a-b", "1-2-3", " 1-2"}) {
        SCOPED_TRACE(text);
        const auto refused = parse_port_range(text);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().kind, ErrorKind::kUsage);
        EXPECT_FALSE(refused.error().hint.empty());
    }
}

}  // namespace
}  // namespace fastnet
