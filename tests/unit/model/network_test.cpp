#include "userspace/model/network.h"

#include <gtest/gtest.h>

namespace fastnet {
namespace {

IpPrefix prefix(const char* text) {
    return *IpPrefix::parse_interface(text);
}
IpAddress address(const char* text) {
    return *IpAddress::parse(text);
}

Network dual_stack() {
    Network network;
    network.name = "blue";
    network.subnets = {prefix("172.30.0.0/16"), prefix("fd00:1::/64")};
    network.gateways = {address("172.30.0.1"), address("fd00:1::1")};
    return network;
}

void expect_usage_error(const Network& network, const char* why) {
    const auto checked = validate(network);
    ASSERT_FALSE(checked) << why;
    EXPECT_EQ(checked.error().kind, ErrorKind::kUsage);
    EXPECT_NE(checked.error().message.find(why), std::string::npos) << checked.error().message;
}

TEST(Network, EveryDriverHasOneName) {
    for (const NetworkDriver driver : {NetworkDriver::kBridge, NetworkDriver::kOverlay, NetworkDriver::kMacvlan, NetworkDriver::kIpvlan})
        EXPECT_EQ(network_driver_from(to_string(driver)), driver);
    EXPECT_EQ(network_driver_from("Bridge"), std::nullopt);
    EXPECT_EQ(network_driver_from(""), std::nullopt);
}

TEST(Network, ADualStackNetworkIsFineAndAnswersByFamily) {
    const Network network = dual_stack();
    ASSERT_TRUE(validate(network));
    EXPECT_EQ(network.subnet(Family::kIpv4), prefix("172.30.0.0/16"));
    EXPECT_EQ(network.subnet(Family::kIpv6), prefix("fd00:1::/64"));
    EXPECT_EQ(network.gateway(Family::kIpv6), address("fd00:1::1"));
    EXPECT_EQ(network.ip_range(Family::kIpv4), std::nullopt);
}

TEST(Network, ABadNameIsRefused) {
    Network network = dual_stack();
    network.name = "a b";
    expect_usage_error(network, "network name");
}

TEST(Network, TwoSubnetsOfOneFamilyAreRefused) {
    Network network = dual_stack();
    network.subnets.push_back(prefix("10.1.0.0/24"));
    expect_usage_error(network, "more than one subnet");
}

TEST(Network, AGatewayOutsideItsSubnetOrOnItsEdgeIsRefused) {
    for (const char* gateway : {"10.0.0.1", "172.30.0.0", "172.30.255.255"}) {
        Network network = dual_stack();
        network.gateways = {address(gateway)};
        expect_usage_error(network, "gateway");
    }
    Network only_v4 = dual_stack();
    only_v4.subnets.pop_back();
    expect_usage_error(only_v4, "gateway fd00:1::1 is outside");
}

TEST(Network, AnIpRangeMustLieInsideTheSubnet) {
    Network network = dual_stack();
    network.ip_ranges = {prefix("172.30.4.0/24")};
    EXPECT_TRUE(validate(network));
    network.ip_ranges = {prefix("172.31.4.0/24")};
    expect_usage_error(network, "ip range");
    network.ip_ranges = {prefix("172.0.0.0/8")};
    expect_usage_error(network, "ip range");
    network.ip_ranges = {prefix("172.30.4.1/24")};
    expect_usage_error(network, "bits set");
}

TEST(Network, MtuIsBoundedByTheProtocols) {
    Network network = dual_stack();
    for (const std::uint32_t mtu : {0U, 1280U, 1500U, 9000U, 65535U}) {
        network.mtu = mtu;
        EXPECT_TRUE(validate(network)) << mtu;
    }
    for (const std::uint32_t mtu : {1U, 1279U, 65536U}) {
        network.mtu = mtu;
        expect_usage_error(network, "MTU");
    }
    network.subnets.pop_back();
    network.gateways.pop_back();
    network.mtu = 576;
    EXPECT_TRUE(validate(network));
}

TEST(Network, VniAndParentBelongToTheirDrivers) {
    Network network = dual_stack();
    network.vni = 7;
    expect_usage_error(network, "only an overlay");
    network.driver = NetworkDriver::kOverlay;
    EXPECT_TRUE(validate(network));
    network.vni = kMaxVni + 1;
    expect_usage_error(network, "above 16777215");
    network.vni = 0;
    expect_usage_error(network, "needs a VNI");
    network.driver = NetworkDriver::kBridge;
    network.parent = "eth0";
    expect_usage_error(network, "no parent");
    network.driver = NetworkDriver::kMacvlan;
    EXPECT_TRUE(validate(network));
    network.parent.clear();
    expect_usage_error(network, "needs a parent");
}

TEST(Network, SubnetsThatNoContainerCanUseAreRefused) {
    for (const char* subnet : {"10.0.0.0/32", "fd00::1/128", "127.0.0.0/24", "127.0.0.0/7", "224.0.0.0/24", "240.0.0.0/8", "169.254.1.0/24",
                               "0.0.0.0/0", "0.1.0.0/16", "::/0", "::/64", "ff05::/64", "fe80::/64", "10.0.0.1/24"}) {
        const auto checked = check_subnet(prefix(subnet));
        ASSERT_FALSE(checked) << subnet;
        EXPECT_EQ(checked.error().kind, ErrorKind::kUsage);
    }
    for (const char* subnet : {"10.0.0.0/8", "10.0.0.0/31", "192.0.2.0/30", "100.64.0.0/10", "fd00::/64", "fd00::/127", "2001:db8::/48"})
        EXPECT_TRUE(check_subnet(prefix(subnet))) << subnet;
}

TEST(Network, TheGatewayIsTheFirstAddressAHostMayHave) {
    EXPECT_EQ(default_gateway(prefix("172.30.0.0/16")), address("172.30.0.1"));
    EXPECT_EQ(default_gateway(prefix("10.0.0.4/31")), address("10.0.0.4"));
    EXPECT_EQ(default_gateway(prefix("fd00:1::/64")), address("fd00:1::1"));
    EXPECT_EQ(default_gateway(prefix("fd00:1::2/127")), address("fd00:1::2"));
}

}  // namespace
}  // namespace fastnet
