#include "userspace/host/netlink_events.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "tests/unit/host/own_netns.h"
#include "userspace/host/sysctl.h"

namespace fastnet {
namespace {

using What = NetworkChange::What;

class NetlinkEventsTest : public OwnNetns {
protected:
    void SetUp() override {
        OwnNetns::SetUp();
        if (IsSkipped()) return;
        bridge_ = netlink().create_bridge({.name = "br0", .mac = mac("02:00:00:00:00:01")}).value();
        auto events = NetlinkEvents::open();
        ASSERT_TRUE(events.has_value()) << events.error().message;
        events_.emplace(*std::move(events));
    }

    bool readable(int milliseconds = 0) const {
        pollfd waiting{events_->fd(), POLLIN, 0};
        return ::poll(&waiting, 1, milliseconds) == 1;
    }

    std::vector<NetworkChange> take() {
        std::vector<NetworkChange> changes;
        EXPECT_FALSE(events_->read([&](const NetworkChange& change) { changes.push_back(change); }).value_or(true));
        return changes;
    }

    /// The only event of its kind, or the first of them.
    std::optional<NetworkChange> first(What what) {
        for (const NetworkChange& change : take())
            if (change.what == what) return change;
        return std::nullopt;
    }

    IfIndex bridge_ = 0;
    std::optional<NetlinkEvents> events_;
};

TEST_F(NetlinkEventsTest, NothingIsToldWhenNothingChanges) {
    EXPECT_FALSE(readable());
    EXPECT_TRUE(take().empty());
}

TEST_F(NetlinkEventsTest, LinkThatChangesAndGoes) {
    ASSERT_OK(netlink().set_up(bridge_, false));
    const auto down = first(What::kLink);
    ASSERT_TRUE(down.has_value());
    EXPECT_EQ(down->link, bridge_);
    EXPECT_EQ(down->name, "br0");
    EXPECT_FALSE(down->gone);
    ASSERT_OK(netlink().delete_link(bridge_));
    bool gone = false;
    for (const NetworkChange& change : take()) gone = gone || (change.what == What::kLink && change.gone && change.link == bridge_);
    EXPECT_TRUE(gone);
}

TEST_F(NetlinkEventsTest, PortThatLeavesItsBridgeIsNoLinkThatGoes) {
    const Netns inside = fresh_netns();
    const auto pair = netlink().create_veth({.host_name = "port",
                                             .host_mac = mac("02:00:00:00:00:02"),
                                             .peer_name = "eth0",
                                             .peer_mac = mac("02:00:00:00:00:03"),
                                             .master = bridge_},
                                            inside);
    ASSERT_OK(pair);
    take();
    ASSERT_OK(netlink().set_link(pair->host, {.master = 0}));
    bool told = false;
    for (const NetworkChange& change : take()) {
        if (change.what != What::kLink || change.link != pair->host) continue;
        told = true;
        EXPECT_FALSE(change.gone);
    }
    EXPECT_TRUE(told);
}

TEST_F(NetlinkEventsTest, AddressWithItsLengthAndWhoAskedForIt) {
    ASSERT_OK(netlink().add_address(bridge_, prefix("192.0.2.1/24")));
    take();
    ASSERT_OK(netlink().delete_address(bridge_, prefix("192.0.2.1/24")));
    const auto change = first(What::kAddress);
    ASSERT_TRUE(change.has_value());
    EXPECT_TRUE(change->gone);
    EXPECT_EQ(change->link, bridge_);
    EXPECT_EQ(change->address.to_string(), "192.0.2.1/24");
    EXPECT_NE(change->sender, 0U);
}

TEST_F(NetlinkEventsTest, DefaultRoutesAreToldAndOthersWakeNobody) {
    ASSERT_OK(netlink().set_up(bridge_));
    ASSERT_OK(netlink().add_address(bridge_, prefix("192.0.2.1/24")));
    ASSERT_OK(netlink().add_address(bridge_, prefix("2001:db8::1/64")));
    while (readable(200)) take();  // IPv6 settles in a worker
    ASSERT_OK(netlink().add_route({.destination = prefix("198.51.100.0/24"), .gateway = ip("192.0.2.9"), .device = bridge_}));
    ASSERT_OK(netlink().add_route({.destination = prefix("2001:db8:9::/48"), .gateway = ip("2001:db8::9"), .device = bridge_}));
    EXPECT_FALSE(readable()) << "a node with the routes of the internet is woken by each of them";
    for (const auto& [gateway, everywhere] : {std::pair{"192.0.2.9", "0.0.0.0/0"}, {"2001:db8::9", "::/0"}}) {
        SCOPED_TRACE(gateway);
        ASSERT_OK(netlink().add_default_route(ip(gateway), bridge_));
        const auto added = first(What::kRoute);
        ASSERT_TRUE(added.has_value());
        EXPECT_EQ(added->link, bridge_);
        ASSERT_OK(netlink().delete_route({.destination = prefix(everywhere), .gateway = ip(gateway), .device = bridge_}));
        const auto gone = first(What::kRoute);
        ASSERT_TRUE(gone.has_value());
        EXPECT_TRUE(gone->gone);
    }
    ASSERT_OK(netlink().add_route({.destination = prefix("0.0.0.0/0"), .gateway = ip("192.0.2.9"), .device = bridge_, .table = 99}));
    EXPECT_FALSE(first(What::kRoute).has_value()) << "of another table";
}

TEST_F(NetlinkEventsTest, NeighboursWakeNobodyAndPeersOfAVxlanDeviceAreTold) {
    const auto vxlan = netlink().create_vxlan({.name = "vx0", .vni = 7, .port = Port{4789}});
    ASSERT_OK(vxlan);
    take();
    ASSERT_OK(netlink().set_neighbour(bridge_, ip("192.0.2.7"), mac("02:00:00:00:00:07")));
    EXPECT_FALSE(readable());
    ASSERT_OK(netlink().add_vxlan_peer(*vxlan, ip("192.0.2.7")));
    const auto added = first(What::kForwarding);
    ASSERT_TRUE(added.has_value());
    EXPECT_EQ(added->link, *vxlan);
    ASSERT_OK(netlink().delete_vxlan_peer(*vxlan, ip("192.0.2.7")));
    const auto gone = first(What::kForwarding);
    ASSERT_TRUE(gone.has_value());
    EXPECT_TRUE(gone->gone);
}

TEST_F(NetlinkEventsTest, ForwardingSettingsOfADeviceAreTold) {
    for (const char* const family : {"ipv4", "ipv6"}) {
        SCOPED_TRACE(family);
        const std::string path = std::string{family} + "/conf/br0/forwarding";
        const std::string other = read_sysctl(path).value_or("") == "1" ? "0" : "1";
        take();
        ASSERT_OK(write_sysctl(path, other));
        const auto change = first(What::kSetting);
        ASSERT_TRUE(change.has_value());
        EXPECT_EQ(change->link, bridge_);
    }
}

TEST_F(NetlinkEventsTest, WhatTheKernelHadToDropIsSaid) {
    const int small = 0;
    ASSERT_EQ(::setsockopt(events_->fd(), SOL_SOCKET, SO_RCVBUFFORCE, &small, sizeof small), 0);
    for (int i = 0; i < 200; ++i) ASSERT_OK(netlink().set_up(bridge_, i % 2 == 0));
    std::size_t told = 0;
    EXPECT_TRUE(events_->read([&](const NetworkChange&) { ++told; }).value());
    EXPECT_LT(told, 200U);
    EXPECT_FALSE(events_->read([](const NetworkChange&) {}).value()) << "said once";
}

TEST_F(NetlinkEventsTest, DiscardLeavesNothing) {
    for (int i = 0; i < 20; ++i) ASSERT_OK(netlink().set_up(bridge_, i % 2 == 0));
    ASSERT_TRUE(readable());
    while (readable(200)) ASSERT_OK(events_->discard());
    EXPECT_TRUE(take().empty());
}

TEST(NameOfSender, IsAProcessThatLivesAndIsNotThisOne) {
    EXPECT_EQ(name_of_sender(0), "");
    EXPECT_EQ(name_of_sender(static_cast<std::uint32_t>(::getpid())), "");
    EXPECT_EQ(name_of_sender(0xfffffff0U), "");
    EXPECT_TRUE(name_of_sender(1).starts_with("pid 1 ("));
}

}  // namespace
}  // namespace fastnet
