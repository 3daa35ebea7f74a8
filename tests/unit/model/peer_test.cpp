#include "userspace/model/peer.h"

#include <gtest/gtest.h>

#include "userspace/model/endpoint.h"

namespace fastnet {
namespace {

IpAddress ip(const char* text) {
    return *IpAddress::parse(text);
}

Network overlay(std::uint32_t id) {
    Network network;
    network.id = id;
    network.driver = NetworkDriver::kOverlay;
    network.vni = 7;
    network.subnets = {*IpPrefix::parse("10.77.0.0/24")};
    return network;
}

TEST(Peers, HaveAnAddressThatIsRouted) {
    for (const char* const good : {"192.0.2.7", "10.0.0.1", "223.255.255.255", "2001:db8::7", "fd00::1"})
        EXPECT_TRUE(check_peer_address(ip(good))) << good;
    for (const auto& [bad, word] : {std::pair{"0.0.0.0", "every"},
                                    {"::", "every"},
                                    {"127.0.0.1", "loopback"},
                                    {"::1", "loopback"},
                                    {"224.0.0.1", "multicast"},
                                    {"ff02::1", "multicast"},
                                    {"169.254.1.1", "link-local"},
                                    {"fe80::1", "link-local"},
                                    {"febf::1", "link-local"},
                                    {"0.1.2.3", "reserved"},
                                    {"240.0.0.1", "reserved"},
                                    {"255.255.255.255", "reserved"}}) {
        const Status checked = check_peer_address(ip(bad));
        ASSERT_FALSE(checked) << bad;
        EXPECT_EQ(checked.error().kind, ErrorKind::kUsage);
        EXPECT_NE(checked.error().message.find(word), std::string::npos) << checked.error().message;
    }
}

TEST(Peers, OfANetworkAreItsOwnAndThoseOfAllEachOnce) {
    const std::vector<Peer> peers{{ip("192.0.2.1"), {}, 1}, {ip("192.0.2.1"), 3, 1}, {ip("192.0.2.2"), 3, 2}, {ip("192.0.2.3"), 4, 3}};
    EXPECT_EQ(peers_of(overlay(3), peers), (std::vector<Peer>{peers[0], peers[2]}));
    EXPECT_EQ(peers_of(overlay(4), peers), (std::vector<Peer>{peers[0], peers[3]}));
    Network bridge = overlay(3);
    bridge.driver = NetworkDriver::kBridge;
    EXPECT_TRUE(peers_of(bridge, peers).empty());
}

TEST(Peers, OfTwoOwnersAtOneAddressAreOne) {
    const std::vector<Peer> peers{{ip("192.0.2.1"), 3, 1}, {ip("192.0.2.1"), 3, 1, Owner::kEtcd}, {ip("192.0.2.2"), 3, 2, Owner::kEtcd}};
    EXPECT_EQ(peers_of(overlay(3), peers), (std::vector<Peer>{peers[0], peers[2]}));
}

TEST(Learning, EndsWithTheFirstRemoteEndpointOfTheNetworkUnlessTheOptionSays) {
    Network network = overlay(3);
    EXPECT_TRUE(learns(network, false));
    EXPECT_FALSE(learns(network, true));
    network.options = {{"learning", "on"}};
    EXPECT_TRUE(learns(network, true));
    network.options = {{"learning", "off"}};
    EXPECT_FALSE(learns(network, false));
}

TEST(Learning, IsNeverDoneOnASharedNetwork) {
    Network network = overlay(3);
    network.uid = "7f1c";
    network.options = {{"learning", "on"}};
    EXPECT_FALSE(learns(network, false));
    EXPECT_FALSE(learns(network, true));
}

TEST(Mtu, OfAnOverlayLeavesRoomForTheOutside) {
    Network network = overlay(3);
    const std::vector<Peer> ipv4{{ip("192.0.2.1"), {}, 1}};
    const std::vector<Peer> both{{ip("192.0.2.1"), {}, 1}, {ip("2001:db8::7"), 3, 2}};
    EXPECT_EQ(mtu_of(network, 1500, {}), 1450U);
    EXPECT_EQ(mtu_of(network, 1500, ipv4), 1450U);
    EXPECT_EQ(mtu_of(network, 1500, both), 1430U);
    EXPECT_EQ(mtu_of(network, 9000, both), 8930U);
    EXPECT_EQ(mtu_of(network, 60, both), 68U) << "the least that IPv4 works with";
    network.id = 4;
    EXPECT_EQ(mtu_of(network, 1500, both), 1450U) << "the IPv6 peer is another network's";
    network.subnets.push_back(*IpPrefix::parse("fd77::/64"));
    EXPECT_EQ(mtu_of(network, 1300, ipv4), 1280U) << "the least that IPv6 works with";
    network.mtu = 1400;
    EXPECT_EQ(mtu_of(network, 1500, both), 1400U);
    network.mtu = 0;
    network.driver = NetworkDriver::kBridge;
    EXPECT_EQ(mtu_of(network, 1500, both), 1500U);
}

TEST(Modes, WithAVethAreThoseOfDriversWithABridge) {
    for (const EndpointMode mode : {EndpointMode::kBridge, EndpointMode::kOverlay}) {
        EXPECT_TRUE(has_veth(mode));
        EXPECT_TRUE(has_bridge(*driver_of(mode)));
    }
    for (const EndpointMode mode : {EndpointMode::kNone, EndpointMode::kHost, EndpointMode::kMacvlan, EndpointMode::kIpvlan})
        EXPECT_FALSE(has_veth(mode)) << to_string(mode);
}

}  // namespace
}  // namespace fastnet
