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

TEST(Plan, StepsSayWhatIsWrong) {
    const auto explained = [](void (*break_it)(ActualState&)) {
        ActualState actual = actual_overlay_node();
        break_it(actual);
        const Plan plan = diff(desired_overlay_node(), actual);
        return plan.empty() ? std::string{} : explain(plan.front());
    };
    EXPECT_EQ(explained([](ActualState& s) { s.bridges.at("fn-1-default").addresses.clear(); }),
              "set up bridge fn-1-default (it lacks 172.30.0.1/16)");
    EXPECT_EQ(explained([](ActualState& s) { s.bridges.at("fn-1-default").mac = {}; }), "set up bridge fn-1-default (its MAC address)");
    EXPECT_EQ(explained([](ActualState& s) { s.bridges.erase("fn-1-default"); }), "set up bridge fn-1-default (it is missing)");
    EXPECT_EQ(explained([](ActualState& s) { s.vxlans.at("fnx-2").peers.clear(); }),
              "set up vxlan interface fnx-2 (it lacks peer 192.0.2.7)");
    EXPECT_EQ(explained([](ActualState& s) { s.links.at("fnv-3").master = 0; }), "install endpoint 'web' (no port of fn-1-default)");
    EXPECT_EQ(explained([](ActualState& s) { s.hooks.erase(kWebIndex); }), "install endpoint 'web' (without its program)");
    EXPECT_EQ(explained([](ActualState& s) { s.hooks.erase(kUplinkIndex); }), "attach to uplink eth0");
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
    DesiredState desired = desired_overlay_node();
    desired.default_mtu = 9000;
    EXPECT_EQ(bridge_wanted(network, desired.default_mtu, desired.peers).mtu, 9000U);
    EXPECT_EQ(bridge_wanted(overlay_network(), desired.default_mtu, desired.peers).mtu, 8950U);
    EXPECT_EQ(vxlan_wanted(overlay_network(), desired.default_mtu, desired.peers, {}).mtu, 8950U);
    network.mtu = 1400;
    EXPECT_EQ(bridge_wanted(network, desired.default_mtu, desired.peers).mtu, 1400U);
}

class PlanOfAnOverlay : public ::testing::Test {
protected:
    void learn(const char* address, std::uint32_t tunnel) {
        actual_.addresses.emplace(address_key(ip(address), kOverlayId), learned_address(tunnel));
        for (auto& [key, vtep] : actual_.vteps)
            if (key.vni == 7 && vtep.tunnel == tunnel) ++vtep.learned;
    }
    void add_peer(const char* address, std::uint32_t tunnel) { desired_.peers.push_back({ip(address), kOverlayId, tunnel}); }
    DesiredState desired_ = desired_overlay_node();
    ActualState actual_ = actual_overlay_node();
};

TEST_F(PlanOfAnOverlay, ThatStandsIsEmpty) {
    EXPECT_THAT(steps(desired_, actual_), IsEmpty());
    learn("10.77.0.8", 1);
    EXPECT_THAT(steps(desired_, actual_), IsEmpty()) << "what the packet path learned and counted is its own";
}

TEST_F(PlanOfAnOverlay, IsBuiltFromTheDevicesToThePeersToTheirEndpoints) {
    desired_.remotes = {remote_endpoint()};
    EXPECT_THAT(
        steps(desired_, actual_node()),
        ElementsAre("set up bridge fn-2-blue", "set up vxlan interface fnx-2", "register device fn-2-blue", "attach to bridge fn-2-blue",
                    "register device fnx-2", "attach to vxlan interface fnx-2", "register subnet 10.77.0.0/24", "open tunnel to 192.0.2.7",
                    "admit VXLAN", "admit peer 192.0.2.7", "admit peer 192.0.2.7 to VNI 7", "register address 10.77.0.9"));
}

TEST_F(PlanOfAnOverlay, EachMissingPieceIsPutBackAlone) {
    const struct {
        const char* what;
        void (*break_it)(ActualState&);
        std::string step;
    } cases[] = {
        {"both gates", [](ActualState& s) { s.hooks.erase(kVxlanIndex); }, "attach to vxlan interface fnx-2"},
        {"one of two gates", [](ActualState& s) { s.hooks.at(kVxlanIndex) = 1; }, "attach to vxlan interface fnx-2"},
        {"vxlan is down", [](ActualState& s) { s.vxlans.at("fnx-2").up = false; }, "set up vxlan interface fnx-2"},
        {"port of no bridge", [](ActualState& s) { s.vxlans.at("fnx-2").bridge.clear(); }, "set up vxlan interface fnx-2"},
        {"peer to flood to", [](ActualState& s) { s.vxlans.at("fnx-2").peers.clear(); }, "set up vxlan interface fnx-2"},
        {"MTU", [](ActualState& s) { s.vxlans.at("fnx-2").mtu = 1400; }, "set up vxlan interface fnx-2"},
        {"isolation", [](ActualState& s) { s.vxlans.at("fnx-2").isolated = true; }, "set up vxlan interface fnx-2"},
        {"port that learns", [](ActualState& s) { s.vxlans.at("fnx-2").port_learns = true; }, "set up vxlan interface fnx-2"},
        {"vxlan entry", [](ActualState& s) { s.devices.erase(kVxlanIndex); }, "register device fnx-2"},
        {"row of a peer", [](ActualState& s) { s.vteps.erase(vtep_key(ip("192.0.2.7"), 0)); }, "admit peer 192.0.2.7"},
        {"row of a network", [](ActualState& s) { s.vteps.erase(vtep_key(ip("192.0.2.7"), 7)); }, "admit peer 192.0.2.7 to VNI 7"},
        {"that there is an overlay", [](ActualState& s) { s.vteps.erase(fnet_vtep_key{}); }, "admit VXLAN"},
        {"flag", [](ActualState& s) { s.vteps.at(vtep_key(ip("192.0.2.7"), 7)).flags = 0; }, "admit peer 192.0.2.7 to VNI 7"},
        {"bridge", [](ActualState& s) { s.vteps.at(vtep_key(ip("192.0.2.7"), 7)).bridge_ifindex = 99; }, "admit peer 192.0.2.7 to VNI 7"},
    };
    for (const auto& one : cases) {
        SCOPED_TRACE(one.what);
        ActualState actual = actual_overlay_node();
        one.break_it(actual);
        EXPECT_THAT(steps(desired_, actual), ElementsAre(one.step));
    }
}

/// What cannot be changed makes it another device, with an index, an entry and gates of its own.
TEST_F(PlanOfAnOverlay, DeviceThatIsMadeAnewIsPlannedAsAnotherOne) {
    desired_.vtep.ipv4 = ip("192.0.2.1");
    const std::vector<std::string> anew{"set up vxlan interface fnx-2", "register device fnx-2", "attach to vxlan interface fnx-2",
                                        "forget device with index " + std::to_string(kVxlanIndex),
                                        "detach from device with index " + std::to_string(kVxlanIndex)};
    EXPECT_EQ(steps(desired_, actual_), anew) << "another address to send from";
    actual_.vxlans.at("fnx-2").local = ip("192.0.2.1");
    EXPECT_THAT(steps(desired_, actual_), IsEmpty());
    actual_.vxlans.at("fnx-2").learns = true;
    EXPECT_EQ(steps(desired_, actual_), anew) << "one that learned";
}

TEST_F(PlanOfAnOverlay, PeerThatGoesIsRefusedThenForgottenThenItsTunnelIsClosed) {
    learn("10.77.0.8", 1);
    actual_.addresses.emplace(address_key(ip("10.77.0.9"), kOverlayId), remote_address_value(1, remote_endpoint().mac));
    desired_.peers.clear();
    EXPECT_THAT(steps(desired_, actual_), ElementsAre("refuse peer 192.0.2.7", "refuse peer 192.0.2.7 to VNI 7", "forget address 10.77.0.8",
                                                      "forget address 10.77.0.9", "close tunnel 1", "set up vxlan interface fnx-2"));
}

TEST_F(PlanOfAnOverlay, PeerThatTakesTheTunnelOfAnotherInheritsNothing) {
    learn("10.77.0.8", 1);
    desired_.peers = {{ip("192.0.2.8"), std::nullopt, 1}};
    EXPECT_THAT(steps(desired_, actual_), ElementsAre("refuse peer 192.0.2.7", "refuse peer 192.0.2.7 to VNI 7", "forget address 10.77.0.8",
                                                      "close tunnel 1", "set up vxlan interface fnx-2", "open tunnel to 192.0.2.8",
                                                      "admit peer 192.0.2.8", "admit peer 192.0.2.8 to VNI 7"));
}

TEST_F(PlanOfAnOverlay, TunnelThatWasEmptiedIsOpenedAnewBehindClosedDoors) {
    actual_.tunnels.clear();
    EXPECT_THAT(steps(desired_, actual_), ElementsAre("refuse peer 192.0.2.7", "refuse peer 192.0.2.7 to VNI 7", "open tunnel to 192.0.2.7",
                                                      "admit peer 192.0.2.7", "admit peer 192.0.2.7 to VNI 7"));
}

TEST_F(PlanOfAnOverlay, FirstRemoteEndpointEndsLearningBeforeWhatWasLearnedGoes) {
    learn("10.77.0.7", 1);
    learn("10.77.0.8", 1);
    desired_.remotes = {remote_endpoint()};
    EXPECT_THAT(steps(desired_, actual_), ElementsAre("admit peer 192.0.2.7 to VNI 7", "forget address 10.77.0.7",
                                                      "forget address 10.77.0.8", "register address 10.77.0.9"));
    const PutVtep narrowed = std::get<PutVtep>(diff(desired_, actual_).front());
    EXPECT_EQ(narrowed.value.flags, 0U);
    EXPECT_EQ(narrowed.unlearned, 2U);
    desired_.networks[1].options = {{"learning", "on"}};
    EXPECT_THAT(steps(desired_, actual_), ElementsAre("register address 10.77.0.9"));
}

TEST_F(PlanOfAnOverlay, AddressThatIsNamedOrAttachedIsNotLearnedAnyMore) {
    desired_.networks[1].options = {{"learning", "on"}};
    learn("10.77.0.9", 1);
    desired_.remotes = {remote_endpoint()};
    EXPECT_THAT(steps(desired_, actual_), ElementsAre("admit peer 192.0.2.7 to VNI 7", "register address 10.77.0.9"));
    EXPECT_EQ(std::get<PutVtep>(diff(desired_, actual_).front()).unlearned, 1U);
}

TEST_F(PlanOfAnOverlay, CountThatIsTooHighIsPutRight) {
    learn("10.77.0.8", 1);
    actual_.vteps.at(vtep_key(ip("192.0.2.7"), 7)).learned = 0xffffffff;
    const Plan plan = diff(desired_, actual_);
    ASSERT_EQ(plan.size(), 1U);
    EXPECT_EQ(std::get<PutVtep>(plan.front()).unlearned, 0xfffffffeU);
    actual_.vteps.at(vtep_key(ip("192.0.2.7"), 7)).learned = 0;
    EXPECT_THAT(steps(desired_, actual_), IsEmpty()) << "learned between two reads";
}

TEST_F(PlanOfAnOverlay, OnePeersGoingLeavesTheOthers) {
    add_peer("192.0.2.8", 2);
    actual_ = actual_overlay_node();
    actual_.vxlans.at("fnx-2") = vxlan_wanted(overlay_network(), desired_.default_mtu, desired_.peers, {});
    actual_.tunnels.emplace(2, ip("192.0.2.8"));
    fnet_vtep second{};
    second.tunnel = 2;
    actual_.vteps.emplace(vtep_key(ip("192.0.2.8"), 0), second);
    actual_.vteps.emplace(vtep_key(ip("192.0.2.8"), 7), overlay_vtep(2, true));
    learn("10.77.0.8", 1);
    learn("10.77.0.18", 2);
    EXPECT_THAT(steps(desired_, actual_), IsEmpty());
    desired_.peers.pop_back();
    EXPECT_THAT(steps(desired_, actual_), ElementsAre("refuse peer 192.0.2.8", "refuse peer 192.0.2.8 to VNI 7",
                                                      "forget address 10.77.0.18", "close tunnel 2", "set up vxlan interface fnx-2"));
}

TEST_F(PlanOfAnOverlay, PeerOfAnotherNetworkMayNotSendIntoThisOne) {
    desired_.peers = {{ip("192.0.2.7"), 99, 1}};
    EXPECT_THAT(steps(desired_, actual_), ElementsAre("refuse peer 192.0.2.7 to VNI 7", "set up vxlan interface fnx-2"));
}

TEST_F(PlanOfAnOverlay, NetworkThatIsGoneLeavesTheTunnel) {
    desired_.networks.pop_back();
    EXPECT_THAT(steps(desired_, actual_),
                ElementsAre("refuse VXLAN", "refuse peer 192.0.2.7 to VNI 7", "forget device with index 15", "forget device with index 16",
                            "detach from device with index 15", "detach from device with index 16", "forget subnet 10.77.0.0/24",
                            "remove link fnx-2", "remove link fn-2-blue"));
}

TEST_F(PlanOfAnOverlay, WithoutIccPeersAreToldSo) {
    desired_.networks[1].icc = false;
    const Plan plan = diff(desired_, actual_);
    ASSERT_EQ(plan.size(), 2U);
    EXPECT_EQ(std::get<PutVtep>(plan[0]).value.flags, FNET_VTEP_LEARN | FNET_VTEP_NO_ICC);
    EXPECT_TRUE(std::get<MakeVxlan>(plan[1]).wanted.isolated);
}

TEST_F(PlanOfAnOverlay, EndpointIsInstalledWithItsVni) {
    Endpoint endpoint = web();
    endpoint.network_id = kOverlayId;
    EXPECT_EQ(endpoint_value(endpoint, overlay_network(), kOverlayBridgeIndex).vni, 7U);
    EXPECT_EQ(endpoint_value(web(), default_network(), kBridgeIndex).vni, 0U);
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
