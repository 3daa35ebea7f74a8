// The steps of a change of remote endpoints, and that they are those which diff() finds.
#include "userspace/control/remote_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/control/state_builder.h"

namespace fastnet {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> words(const Plan& plan) {
    std::vector<std::string> lines;
    for (const Step& step : plan) lines.push_back(describe(step));
    return lines;
}

RemoteEndpoint endpoint(const char* ipv4, const char* peer, std::uint32_t tunnel) {
    RemoteEndpoint remote = remote_endpoint();
    remote.owner = Owner::kEtcd;
    remote.ipv4 = ip(ipv4);
    remote.mac = mac_for(*remote.ipv4);
    remote.peer = ip(peer);
    remote.tunnel = tunnel;
    return remote;
}

class RemotePlan : public testing::Test {
protected:
    RemotePlan() {
        network_.uid = "u";
        effect_.networks[kOverlayId] = {network_, Family::kIpv4, {}, Family::kIpv4};
    }
    std::vector<std::string> plan() const { return words(plan_remote_change(effect_, 1500, {})); }

    Network network_ = overlay_network();
    RemoteEffect effect_;
};

TEST_F(RemotePlan, OfAnEndpointMoreAtAKnownPeerIsOneAddress) {
    effect_.memberships = {{kOverlayId, 1, ip("192.0.2.7"), true, true}};
    effect_.come = {endpoint("10.77.0.9", "192.0.2.7", 1)};
    EXPECT_THAT(plan(), ElementsAre("register address 10.77.0.9"));
}

TEST_F(RemotePlan, OfTheFirstEndpointOfANodeOpensItsTunnelFirst) {
    effect_.memberships = {{kOverlayId, 2, ip("192.0.2.8"), false, true}};
    effect_.tunnels_come = {{2, ip("192.0.2.8")}};
    effect_.come = {endpoint("10.77.0.9", "192.0.2.8", 2)};
    EXPECT_THAT(plan(), ElementsAre("flood to 192.0.2.8 by fnx-2", "open tunnel to 192.0.2.8", "admit peer 192.0.2.8",
                                    "admit peer 192.0.2.8 to VNI 7", "register address 10.77.0.9"));
}

TEST_F(RemotePlan, OfTheLastEndpointOfANodeRestrictsFirst) {
    effect_.memberships = {{kOverlayId, 2, ip("192.0.2.8"), true, false}};
    effect_.tunnels_gone = {{2, ip("192.0.2.8")}};
    effect_.gone = {endpoint("10.77.0.9", "192.0.2.8", 2)};
    EXPECT_THAT(plan(), ElementsAre("refuse peer 192.0.2.8 to VNI 7", "refuse peer 192.0.2.8", "forget address 10.77.0.9", "close tunnel 2",
                                    "flood no more to 192.0.2.8 by fnx-2"));
}

TEST_F(RemotePlan, OfAnAddressThatMovesIsNotWithoutItForAMoment) {
    effect_.memberships = {{kOverlayId, 1, ip("192.0.2.7"), true, true}, {kOverlayId, 2, ip("192.0.2.8"), true, true}};
    effect_.gone = {endpoint("10.77.0.9", "192.0.2.7", 1)};
    effect_.come = {endpoint("10.77.0.9", "192.0.2.8", 2)};
    EXPECT_THAT(plan(), ElementsAre("register address 10.77.0.9"));
    effect_.come = effect_.gone;
    effect_.come[0].name = "renamed";
    EXPECT_THAT(plan(), ElementsAre()) << "the packet path does not know names";
}

TEST_F(RemotePlan, OfTheFirstPeerMakesTheDeviceOfItsFamily) {
    effect_.networks[kOverlayId] = {network_, std::nullopt, {{ip("2001:db8::8"), kOverlayId, 2, Owner::kEtcd}}, Family::kIpv6};
    effect_.memberships = {{kOverlayId, 2, ip("2001:db8::8"), false, true}};
    effect_.tunnels_come = {{2, ip("2001:db8::8")}};
    const Plan plan = plan_remote_change(effect_, 1500, {});
    ASSERT_TRUE(std::holds_alternative<MakeBridge>(plan[0]));
    EXPECT_EQ(std::get<MakeBridge>(plan[0]).wanted.mtu, 1430U);
    EXPECT_EQ(std::get<MakeVxlan>(plan[1]).wanted.peers, std::set{ip("2001:db8::8")});
    for (const Step& step : plan) EXPECT_FALSE(std::holds_alternative<FloodTo>(step));
}

/// What the maps hold after the steps is what diff() wants.
TEST_F(RemotePlan, LeavesNothingForARepair) {
    DesiredState desired = desired_overlay_node();
    desired.networks[1] = network_;
    desired.peers = {{ip("192.0.2.7"), std::nullopt, 1}, {ip("192.0.2.8"), kOverlayId, 2, Owner::kEtcd}};
    desired.remotes = {endpoint("10.77.0.9", "192.0.2.7", 1), endpoint("10.77.0.10", "192.0.2.8", 2)};
    ActualState actual = actual_overlay_node();
    actual.vteps.at(vtep_key(ip("192.0.2.7"), 7)) = overlay_vtep(1, false);
    actual.addresses.emplace(address_key(ip("10.77.0.9"), kOverlayId), remote_address_value(1, mac_for(ip("10.77.0.9"))));
    effect_.memberships = {{kOverlayId, 2, ip("192.0.2.8"), false, true}};
    effect_.tunnels_come = {{2, ip("192.0.2.8")}};
    effect_.come = {desired.remotes[1]};
    EXPECT_FALSE(diff(desired, actual).empty());
    for (const Step& step : plan_remote_change(effect_, 1500, {})) {
        if (const auto* put = std::get_if<PutAddress>(&step)) actual.addresses[put->key] = put->value;
        if (const auto* put = std::get_if<PutTunnel>(&step)) actual.tunnels[put->index] = put->peer;
        if (const auto* put = std::get_if<PutVtep>(&step)) {
            actual.vteps[put->key] = put->value;
            if (!put->bridge.empty()) actual.vteps[put->key].bridge_ifindex = kOverlayBridgeIndex;
        }
        if (const auto* flood = std::get_if<FloodTo>(&step)) actual.vxlans.at(flood->vxlan).peers.insert(flood->peer);
    }
    EXPECT_THAT(words(diff(desired, actual)), ElementsAre());
}

}  // namespace
}  // namespace fastnet
