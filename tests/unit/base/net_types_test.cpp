#include "loader/base/net_types.h"

#include <gtest/gtest.h>

#include <random>

namespace fastnet {
namespace {

IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}
IpPrefix prefix(const char* text) {
    return IpPrefix::parse(text).value();
}

TEST(IpAddress, BothFamiliesSurviveParsingAndPrinting) {
    for (const char* text : {"0.0.0.0", "172.30.0.2", "255.255.255.255", "::", "::1", "fd00::2", "2001:db8::a:b"})
        EXPECT_EQ(address(text).to_string(), text);
    EXPECT_EQ(address("10.0.0.1").family(), Family::kIpv4);
    EXPECT_EQ(address("fd00::1").family(), Family::kIpv6);
}

TEST(IpAddress, WhatIsNoAddressIsAUsageError) {
    for (const char* text : {"", "10.0.0", "10.0.0.256", "10.0.0.1/24", "localhost", "fd00::1%eth0", "[::1]", " 10.0.0.1"}) {
        const auto parsed = IpAddress::parse(text);
        ASSERT_FALSE(parsed) << text;
        EXPECT_EQ(parsed.error().kind, ErrorKind::kUsage) << text;
    }
}

TEST(IpAddress, DoesNotEndAtANulByte) {
    using namespace std::string_view_literals;
    for (const std::string_view text : {"10.0.0.1\0"sv, "10.0.0.1\0.2"sv, "fd00::1\0nonsense"sv, "\0"sv})
        EXPECT_FALSE(IpAddress::parse(text));
}

TEST(IpAddress, AnyLoopbackAndMulticastAreToldApartPerFamily) {
    EXPECT_TRUE(address("0.0.0.0").is_any());
    EXPECT_TRUE(address("::").is_any());
    EXPECT_FALSE(address("0.0.0.1").is_any());
    EXPECT_TRUE(address("127.8.0.1").is_loopback());
    EXPECT_TRUE(address("::1").is_loopback());
    EXPECT_FALSE(address("128.0.0.1").is_loopback());
    EXPECT_TRUE(address("239.1.2.3").is_multicast());
    EXPECT_TRUE(address("ff02::1").is_multicast());
    EXPECT_FALSE(address("223.255.255.255").is_multicast());
}

TEST(IpAddress, PlusCarriesAcrossBytes) {
    EXPECT_EQ(address("10.0.255.255").plus(1), address("10.1.0.0"));
    EXPECT_EQ(address("fd00::ffff:ffff:ffff:ffff").plus(1), address("fd00:0:0:1::"));
}

TEST(IpPrefix, HostBitsAreRefusedInNetworksAndKeptInInterfaceAddresses) {
    EXPECT_FALSE(IpPrefix::parse("10.0.0.1/24"));
    EXPECT_EQ(IpPrefix::parse_interface("10.0.0.1/24").value().to_string(), "10.0.0.1/24");
    EXPECT_EQ(IpPrefix::parse_interface("10.0.0.1").value().length(), 32);
    EXPECT_EQ(IpPrefix::parse_interface("fd00::1").value().length(), 128);
    for (const char* text : {"10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "fd00::/129", "10.0.0.0/08x"})
        EXPECT_FALSE(IpPrefix::parse(text)) << text;
}

TEST(IpPrefix, ContainsAndOverlapsStopAtTheLastBit) {
    const IpPrefix net = prefix("172.16.0.0/12");
    EXPECT_TRUE(net.contains(address("172.31.255.255")));
    EXPECT_FALSE(net.contains(address("172.32.0.0")));
    EXPECT_FALSE(net.contains(address("fd00::1")));
    EXPECT_TRUE(net.overlaps(prefix("172.20.0.0/16")));
    EXPECT_TRUE(prefix("172.20.0.0/16").overlaps(net));
    EXPECT_FALSE(net.overlaps(prefix("172.32.0.0/16")));
    EXPECT_EQ(net.last(), address("172.31.255.255"));
    EXPECT_EQ(prefix("fd00::/64").last(), address("fd00::ffff:ffff:ffff:ffff"));
    EXPECT_TRUE(prefix("0.0.0.0/0").contains(address("8.8.8.8")));
}

TEST(IpPrefix, NetworkOfAnyAddressContainsIt) {
    std::mt19937 random{20260721};
    for (int i = 0; i < 2000; ++i) {
        std::array<std::uint8_t, 16> bytes{};
        for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
        const bool v4 = (random() & 1U) != 0;
        const IpAddress any = v4 ? IpAddress::from_wire(Family::kIpv4, bytes.data()) : IpAddress::from_bytes(bytes);
        const auto length = static_cast<std::uint8_t>(random() % (v4 ? 33 : 129));
        const IpPrefix net = IpPrefix{any, length}.network();
        EXPECT_TRUE(net.contains(any));
        EXPECT_TRUE(net.contains(net.last()));
        EXPECT_LE(net.address(), net.last());
    }
}

TEST(MacAddress, ParsesItsOwnTextAndNothingElse) {
    EXPECT_EQ(MacAddress::parse("02:42:ac:1e:00:02").value().to_string(), "02:42:ac:1e:00:02");
    for (const char* text : {"", "02:42:ac:1e:00", "02:42:ac:1e:00:0g", "02-42-ac-1e-00-02", "02:42:ac:1e:00:02:"})
        EXPECT_FALSE(MacAddress::parse(text)) << text;
    EXPECT_TRUE(MacAddress::parse("01:00:5e:00:00:01").value().is_multicast());
}

TEST(Port, OnlyDecimalNumbersUpTo65535) {
    EXPECT_EQ(Port::parse("65535").value().value(), 65535);
    for (const char* text : {"", "65536", "-1", "+1", "0x50", "80 ", "99999999999"}) EXPECT_FALSE(Port::parse(text)) << text;
}

TEST(Protocol, NamesGoBothWays) {
    EXPECT_EQ(protocol_from("TCP"), Protocol::kTcp);
    EXPECT_EQ(protocol_from("udp"), Protocol::kUdp);
    EXPECT_FALSE(protocol_from("gre"));
    EXPECT_EQ(to_string(Protocol::kSctp), "sctp");
}

}  // namespace
}  // namespace fastnet
