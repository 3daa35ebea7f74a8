#include "userspace/model/endpoint.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/unit/model/fixed_random.h"

namespace fastnet {
namespace {

std::string name_for(std::string_view netns, const std::set<std::string>& taken = {}) {
    return default_endpoint_name(netns, "blue", 0xabc, [&](const std::string& name) { return taken.count(name) != 0; });
}

TEST(Endpoint, EveryModeHasOneNameAndItsDriver) {
    for (const EndpointMode mode : {EndpointMode::kNone, EndpointMode::kHost, EndpointMode::kBridge, EndpointMode::kOverlay,
                                    EndpointMode::kMacvlan, EndpointMode::kIpvlan}) {
        EXPECT_EQ(endpoint_mode_from(to_string(mode)), mode);
        if (const auto driver = driver_of(mode)) {
            EXPECT_EQ(mode_of(*driver), mode);
        }
    }
    EXPECT_EQ(driver_of(EndpointMode::kNone), std::nullopt);
    EXPECT_EQ(driver_of(EndpointMode::kHost), std::nullopt);
    EXPECT_EQ(endpoint_mode_from("BRIDGE"), std::nullopt);
}

TEST(Endpoint, MacComesFromTheIpv4AddressAsInDocker) {
    EXPECT_EQ(mac_for(IpAddress::v4(172, 30, 0, 2)).to_string(), "02:42:ac:1e:00:02");
}

TEST(Endpoint, RandomMacsAreLocalUnicastAndOutsideTheDerivedRange) {
    FixedRandom random{3};
    for (int i = 0; i < 10'000; ++i) {
        std::array<std::uint8_t, 6> bytes{};
        for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random.below(256));
        if (i % 2 == 0) bytes[1] = 0x42;
        const MacAddress mac = mac_from_random(bytes);
        EXPECT_FALSE(mac.is_multicast());
        EXPECT_EQ(mac.bytes()[0] & 0x02U, 0x02U);
        EXPECT_FALSE(mac.bytes()[0] == 0x02 && mac.bytes()[1] == 0x42);
    }
}

TEST(Endpoint, TheNamespacesNameIsTheDefault) {
    EXPECT_EQ(name_for("web"), "web");
    EXPECT_EQ(name_for("/run/netns/web"), "web");
    EXPECT_EQ(name_for("/run/docker/netns/5f2a"), "5f2a");
}

TEST(Endpoint, ASecondNetworkOfOneNamespaceGetsItsNameBehind) {
    EXPECT_EQ(name_for("web", {"web"}), "web-blue");
}

TEST(Endpoint, WithoutANameOfItsOwnItIsRandomAndFree) {
    EXPECT_EQ(name_for("pid:12"), "ep-00000abc");
    EXPECT_EQ(name_for("/proc/12/ns/net"), "ep-00000abc");
    EXPECT_EQ(name_for("/run/netns/"), "ep-00000abc");
    EXPECT_EQ(name_for("a b"), "ep-00000abc");
    EXPECT_EQ(name_for("web", {"web", "web-blue"}), "ep-00000abc");
    EXPECT_EQ(name_for("pid:12", {"ep-00000abc"}), "ep-00000abd");
}

TEST(Endpoint, PublishedPortsReadLikeDockersOutput) {
    PublishedPort port;
    port.host_ip = IpAddress::any(Family::kIpv4);
    port.host_ports = {Port{2000}, Port{2000}};
    port.container_ports = {Port{80}, Port{80}};
    EXPECT_EQ(port.to_string(), "0.0.0.0:2000->80/tcp");
    port.host_ip = IpAddress::any(Family::kIpv6);
    port.host_ports = {Port{2000}, Port{2009}};
    port.container_ports = {Port{80}, Port{89}};
    port.protocol = Protocol::kUdp;
    EXPECT_EQ(port.to_string(), "[::]:2000-2009->80-89/udp");
}

}  // namespace
}  // namespace fastnet
