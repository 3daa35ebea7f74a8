#include "userspace/control/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/control/state_builder.h"

namespace fastnet {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> steps(const DesiredState& desired, const ActualState& actual) {
    std::vector<std::string> lines;
    for (const Step& step : diff(desired, actual)) lines.push_back(describe(step));
    return lines;
}

std::size_t position(const std::vector<std::string>& lines, const std::string& start) {
    for (std::size_t i = 0; i < lines.size(); ++i)
        if (lines[i].rfind(start, 0) == 0) return i;
    ADD_FAILURE() << "no step '" << start << "'";
    return lines.size();
}

TEST(Plan, HealthyNodeNeedsNothing) {
    EXPECT_THAT(steps(desired_node(), actual_node()), IsEmpty());
}

TEST(Plan, EmptyKernelIsBuiltFromTheBridgeUpwards) {
    ActualState actual;
    actual.links = {{"eth0", {kUplinkIndex, 0, true}}, {"fnv-3", {kWebIndex, 0, false}}};
    EXPECT_THAT(steps(desired_node(), actual),
                ElementsAre("set up bridge fn-1-default", "register device fn-1-default", "attach to bridge fn-1-default",
                            "register subnet 172.30.0.0/16", "register device eth0", "attach to uplink eth0", "serve published ports on lo",
                            "install endpoint 'web'", "register address 172.30.0.2", "publish 0.0.0.0:2000->80/tcp"));
}

TEST(Plan, CountersAndFlagsOfBpfAreNoDifference) {
    ActualState actual = actual_node();
    actual.endpoints.at(kWebIndex).fast_packets = 17;
    actual.endpoints.at(kWebIndex).kernel_bytes = 4;
    actual.endpoints.at(kWebIndex).flags |= FNET_ENDPOINT_HAIRPIN;
    EXPECT_THAT(steps(desired_node(), actual), IsEmpty());
}

TEST(Plan, FlagThatUserSpaceWritesIsADifference) {
    ActualState actual = actual_node();
    actual.endpoints.at(kWebIndex).flags |= FNET_ENDPOINT_NO_ICC;
    EXPECT_THAT(steps(desired_node(), actual), ElementsAre("install endpoint 'web'"));
}

TEST(Plan, EachMissingPieceIsPutBackAlone) {
    const struct {
        const char* what;
        void (*break_it)(ActualState&);
        std::string step;
    } cases[] = {
        {"both gates", [](ActualState& s) { s.hooks.erase(kBridgeIndex); }, "attach to bridge fn-1-default"},
        {"one of two gates", [](ActualState& s) { s.hooks.at(kBridgeIndex) = 1; }, "attach to bridge fn-1-default"},
        {"bridge is down", [](ActualState& s) { s.bridges.at("fn-1-default").up = false; }, "set up bridge fn-1-default"},
        {"forwarding", [](ActualState& s) { s.bridges.at("fn-1-default").forwards4 = false; }, "set up bridge fn-1-default"},
        {"gateway", [](ActualState& s) { s.bridges.at("fn-1-default").addresses.clear(); }, "set up bridge fn-1-default"},
        {"MTU", [](ActualState& s) { s.bridges.at("fn-1-default").mtu = 1400; }, "set up bridge fn-1-default"},
        {"uplink entry", [](ActualState& s) { s.devices.erase(kUplinkIndex); }, "register device eth0"},
        {"bridge entry", [](ActualState& s) { s.devices.erase(kBridgeIndex); }, "register device fn-1-default"},
        {"uplink hook", [](ActualState& s) { s.hooks.erase(kUplinkIndex); }, "attach to uplink eth0"},
        {"lo's hook", [](ActualState& s) { s.hooks.erase(FNET_LOOPBACK_IFINDEX); }, "serve published ports on lo"},
        {"lo's entry", [](ActualState& s) { s.devices.erase(FNET_LOOPBACK_IFINDEX); }, "serve published ports on lo"},
        {"lo's settings", [](ActualState& s) { s.loopback_sysctls = false; }, "serve published ports on lo"},
        {"subnet", [](ActualState& s) { s.subnets.clear(); }, "register subnet 172.30.0.0/16"},
        {"endpoint entry", [](ActualState& s) { s.endpoints.clear(); }, "install endpoint 'web'"},
        {"endpoint hook", [](ActualState& s) { s.hooks.erase(kWebIndex); }, "install endpoint 'web'"},
        {"bridge port", [](ActualState& s) { s.links.at("fnv-3").master = 0; }, "install endpoint 'web'"},
        {"veth is down", [](ActualState& s) { s.links.at("fnv-3").up = false; }, "install endpoint 'web'"},
        {"isolation that nobody wants", [](ActualState& s) { s.links.at("fnv-3").isolated = true; }, "install endpoint 'web'"},
        {"address", [](ActualState& s) { s.addresses.clear(); }, "register address 172.30.0.2"},
        {"service", [](ActualState& s) { s.services.clear(); }, "publish 0.0.0.0:2000->80/tcp"},
    };
    for (const auto& one : cases) {
        SCOPED_TRACE(one.what);
        ActualState actual = actual_node();
        one.break_it(actual);
        EXPECT_THAT(steps(desired_node(), actual), ElementsAre(one.step));
    }
}

TEST(Plan, PortOfANetworkWithoutIccIsIsolated) {
    DesiredState desired = desired_node();
    desired.networks[0].icc = false;
    ActualState actual = actual_node();
    actual.endpoints.at(kWebIndex).flags |= FNET_ENDPOINT_NO_ICC;
    EXPECT_THAT(steps(desired, actual), ElementsAre("install endpoint 'web'")) << "a bridge that was made anew isolates nobody";
    actual.links.at("fnv-3").isolated = true;
    EXPECT_THAT(steps(desired, actual), IsEmpty());
}

TEST(Plan, WhatNobodyWantsIsRemovedBridgeLast) {
    DesiredState nothing;
    const auto lines = steps(nothing, actual_node());
    EXPECT_EQ(lines.front(), "withdraw host ports 2000-2000");
    EXPECT_LT(position(lines, "forget address"), position(lines, "remove link fn-1-default"));
    EXPECT_LT(position(lines, "forget endpoint"), position(lines, "detach from device with index 7"));
    EXPECT_EQ(lines.back(), "remove link fn-1-default");
    EXPECT_EQ(lines.size(), 11U) << ::testing::PrintToString(lines);
}

TEST(Plan, LinksOfOthersAreLeftAlone) {
    ActualState actual = actual_node();
    actual.links.emplace("docker0", ActualLink{20, 0, true});
    actual.links.emplace("veth12ab", ActualLink{21, 20, true});
    actual.links.emplace("fn-lan", ActualLink{22, 0, true});
    EXPECT_THAT(steps(desired_node(), actual), IsEmpty());
}

TEST(Plan, EntryOfAnEndpointUnderAnotherIfindexGoes) {
    ActualState actual = actual_node();
    fnet_endpoint stale = actual.endpoints.at(kWebIndex);
    stale.ifindex = 99;
    actual.endpoints.emplace(99, stale);
    actual.hooks.emplace(99, 1);
    EXPECT_THAT(steps(desired_node(), actual),
                ElementsAre("forget endpoint behind device with index 99", "detach from device with index 99"));
}

TEST(Plan, ServiceOfAnotherEndpointIsReplaced) {
    ActualState actual = actual_node();
    actual.services.begin()->second.endpoint_ifindex = 99;
    EXPECT_THAT(steps(desired_node(), actual), ElementsAre("publish 0.0.0.0:2000->80/tcp"));
}

class PlanOfSources : public ::testing::Test {
protected:
    PlanOfSources() {
        desired_.ports[0].sources = {.allow = {prefix("10.0.0.0/8")}, .deny = {prefix("10.9.0.0/16")}};
        actual_.services = service_rows(desired_.ports, web(), default_network());
        for (const auto& [key, rule] : source_entries(desired_.ports[0])) actual_.sources.emplace(key, rule);
    }
    fnet_source_key foreign(std::uint32_t service) {
        PublishedPort other = web_port();
        other.id = service;
        other.sources.deny = {prefix("192.0.2.0/24")};
        return source_entries(other)[0].first;
    }
    DesiredState desired_ = desired_node();
    ActualState actual_ = actual_node();
};

TEST_F(PlanOfSources, ThatAreInPlaceIsEmpty) {
    EXPECT_THAT(steps(desired_, actual_), IsEmpty());
}

TEST_F(PlanOfSources, PublishesAnewWhereOneIsMissingOrSaysTheOpposite) {
    ActualState missing = actual_;
    missing.sources.erase(missing.sources.begin());
    EXPECT_THAT(steps(desired_, missing), ElementsAre("publish 0.0.0.0:2000->80/tcp"));
    ActualState opposite = actual_;
    for (auto& [key, rule] : opposite.sources) rule = FNET_SOURCE_ALLOW;
    EXPECT_THAT(steps(desired_, opposite), ElementsAre("publish 0.0.0.0:2000->80/tcp"));
    ActualState unrestricted = actual_;
    for (auto& [key, service] : unrestricted.services) service.flags = 0;
    EXPECT_THAT(steps(desired_, unrestricted), ElementsAre("publish 0.0.0.0:2000->80/tcp"));
}

TEST_F(PlanOfSources, ForgetsWhatLetsInAtTheStartAndWhatKeepsOutWhenAllElseStands) {
    actual_.sources.emplace(foreign(77), FNET_SOURCE_ALLOW);
    actual_.sources.emplace(foreign(78), FNET_SOURCE_DENY);
    actual_.addresses.clear();
    EXPECT_THAT(steps(desired_, actual_), ElementsAre("forget 1 sources", "register address 172.30.0.2", "forget 1 sources"));
}

TEST_F(PlanOfSources, WithdrawsTheServiceBeforeItsSources) {
    desired_.ports.clear();
    EXPECT_THAT(steps(desired_, actual_), ElementsAre("withdraw host ports 2000-2000", "forget 1 sources", "forget 1 sources"));
}

TEST(Plan, UplinkThatIsAwayIsNoStep) {
    DesiredState desired = desired_node();
    desired.uplinks.emplace_back("eth1");
    EXPECT_THAT(steps(desired, actual_node()), IsEmpty());
}

TEST(Plan, UplinkThatIsNotWantedAnyMoreIsDetached) {
    DesiredState desired = desired_node();
    desired.uplinks.clear();
    EXPECT_THAT(steps(desired, actual_node()), ElementsAre("forget device with index 2", "detach from device with index 2"));
}

TEST(Plan, NetworkOfBothFamiliesHasASubnetForEach) {
    DesiredState desired = desired_node();
    desired.networks[0].subnets.push_back(prefix("fd00::/64"));
    desired.networks[0].gateways.push_back(ip("fd00::1"));
    const auto lines = steps(desired, actual_node());
    EXPECT_EQ(lines[0], "set up bridge fn-1-default");
    EXPECT_EQ(lines[1], "register subnet fd00::/64");
    EXPECT_EQ(lines[2], "install endpoint 'web'") << "its entry learns the gateway";
}

TEST(Plan, MtuOfTheNetworkWinsOverTheUplinks) {
    Network network = default_network();
    EXPECT_EQ(bridge_wanted(network, 9000).mtu, 9000U);
    network.mtu = 1400;
    EXPECT_EQ(bridge_wanted(network, 9000).mtu, 1400U);
}

TEST(Plan, RangeOfPortsIsOneStep) {
    DesiredState desired = desired_node();
    desired.ports[0].host_ports = {Port{20000}, Port{29999}};
    desired.ports[0].container_ports = desired.ports[0].host_ports;
    ActualState actual = actual_node();
    actual.services.clear();
    EXPECT_EQ(steps(desired, actual).size(), 1U);
}

}  // namespace
}  // namespace fastnet
