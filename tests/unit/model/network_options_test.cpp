#include "userspace/model/network_options.h"

#include <gtest/gtest.h>

namespace fastnet {
namespace {

Network network_of(std::vector<const char*> subnets) {
    Network network;
    for (const char* const text : subnets) network.subnets.push_back(*IpPrefix::parse(text));
    return network;
}

TEST(NetworkOptions, AreDockersWithOrWithoutItsPrefix) {
    const std::map<std::string, std::string> wanted{{"gateway_mode_ipv4", "routed"}, {"gateway_mode_ipv6", "nat"}};
    EXPECT_EQ(canonical_options(NetworkDriver::kBridge, {}).value(), (std::map<std::string, std::string>{}));
    EXPECT_EQ(canonical_options(NetworkDriver::kBridge, wanted).value(), wanted);
    EXPECT_EQ(
        canonical_options(NetworkDriver::kBridge, {{"com.docker.network.bridge.gateway_mode_ipv4", "routed"}, {"gateway_mode_ipv6", "nat"}})
            .value(),
        wanted);
}

TEST(NetworkOptions, UnknownKeysAndValuesNameTheKnownOnes) {
    for (const auto& [key, value, mention] :
         {std::tuple{"gateway_mode_ipv5", "nat", "gateway_mode_ipv4 and gateway_mode_ipv6"},
          std::tuple{"com.example.gateway_mode_ipv4", "nat", "gateway_mode_ipv4 and gateway_mode_ipv6"},
          std::tuple{"gateway_mode_ipv4", "isolated", "nat or routed"}, std::tuple{"gateway_mode_ipv4", "", "nat or routed"}}) {
        SCOPED_TRACE(std::string{key} + "=" + value);
        const auto options = canonical_options(NetworkDriver::kBridge, {{key, value}});
        ASSERT_FALSE(options);
        EXPECT_EQ(options.error().kind, ErrorKind::kUsage);
        EXPECT_NE(options.error().hint.find(mention), std::string::npos) << options.error().hint;
    }
    EXPECT_FALSE(
        canonical_options(NetworkDriver::kBridge, {{"com.docker.network.bridge.gateway_mode_ipv4", "nat"}, {"gateway_mode_ipv4", "nat"}}));
}

TEST(NetworkOptions, LearningIsForOverlayNetworks) {
    for (const char* const value : {"on", "off"}) {
        const std::map<std::string, std::string> wanted{{"learning", value}, {"gateway_mode_ipv4", "routed"}};
        EXPECT_EQ(canonical_options(NetworkDriver::kOverlay, wanted).value(), wanted);
        Network network;
        EXPECT_FALSE(learning_option(network));
        network.options = wanted;
        EXPECT_EQ(learning_option(network), std::string_view{value} == "on");
    }
    const auto on_bridge = canonical_options(NetworkDriver::kBridge, {{"learning", "on"}});
    ASSERT_FALSE(on_bridge);
    EXPECT_EQ(on_bridge.error().hint, "known are gateway_mode_ipv4 and gateway_mode_ipv6");
    const auto bad = canonical_options(NetworkDriver::kOverlay, {{"learning", "yes"}});
    ASSERT_FALSE(bad);
    EXPECT_EQ(bad.error().hint, "it is on or off");
    EXPECT_EQ(canonical_options(NetworkDriver::kOverlay, {{"ageing", "on"}}).error().hint,
              "known are gateway_mode_ipv4, gateway_mode_ipv6, learning, vxlan_guard and scope");
}

TEST(NetworkOptions, OnlyAGlobalIpv6PrefixIsRoutedByDefault) {
    for (const auto& [subnet, routed] :
         {std::pair{"2001:db8:5::/64", true}, {"3fff::/20", true}, {"fd00:5::/64", false}, {"4000::/16", false}}) {
        SCOPED_TRACE(subnet);
        Network network = network_of({"10.9.0.0/24", subnet});
        choose_gateway_modes(network);
        EXPECT_EQ(gateway_mode(network, Family::kIpv6) == GatewayMode::kRouted, routed);
        EXPECT_EQ(gateway_mode(network, Family::kIpv4), GatewayMode::kNat);
    }
}

TEST(NetworkOptions, WhatIsAskedForCounts) {
    Network network = network_of({"2001:db8:5::/64"});
    network.options = {{"gateway_mode_ipv6", "nat"}};
    choose_gateway_modes(network);
    EXPECT_EQ(gateway_mode(network, Family::kIpv6), GatewayMode::kNat);
}

TEST(NetworkOptions, NetworkMadeBeforeThereWereModesKeepsItsNat) {
    EXPECT_EQ(gateway_mode(network_of({"2001:db8:5::/64"}), Family::kIpv6), GatewayMode::kNat);
}

TEST(NetworkOptions, VxlanGuardIsOffUnlessAskedFor) {
    Network network;
    network.driver = NetworkDriver::kOverlay;
    EXPECT_FALSE(vxlan_guard(network));
    network.options = {{"vxlan_guard", "off"}};
    EXPECT_FALSE(vxlan_guard(network));
    network.options = {{"vxlan_guard", "on"}};
    EXPECT_TRUE(vxlan_guard(network));
    EXPECT_FALSE(canonical_options(NetworkDriver::kBridge, {{"vxlan_guard", "on"}}));
}

TEST(NetworkOptions, ScopeIsOfOverlayNetworksAndLocalUnlessSaid) {
    Network network;
    network.driver = NetworkDriver::kOverlay;
    EXPECT_EQ(scope_of(network), NetworkScope::kLocal);
    EXPECT_FALSE(has_scope(network));
    network.options = *canonical_options(network.driver, {{"scope", "cluster"}});
    EXPECT_EQ(scope_of(network), NetworkScope::kCluster);
    set_scope(network, NetworkScope::kLocal);
    EXPECT_EQ(network.options.at("scope"), "local");
    EXPECT_TRUE(has_scope(network));
    EXPECT_EQ(canonical_options(network.driver, {{"scope", "global"}}).error().hint, "it is local or cluster");
    EXPECT_FALSE(canonical_options(NetworkDriver::kBridge, {{"scope", "cluster"}}));
}

}  // namespace
}  // namespace fastnet
