#include "userspace/host/netlink.h"

#include <gmock/gmock.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/harness/wait.h"
#include "tests/unit/host/own_netns.h"

namespace fastnet {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const MacAddress kBridgeMac = mac("02:00:00:00:00:01");
const MacAddress kHostMac = mac("02:00:00:00:00:02");
const MacAddress kContainerMac = mac("02:00:00:00:00:03");

TEST(InterfaceName, WhatTheKernelTakesIsAccepted) {
    for (const char* name : {"eth0", "a", "123456789012345", "eth0.100", "br-1a2b", "wg_0", "eth0@x"}) {
        EXPECT_OK(check_interface_name(name));
    }
}

TEST(InterfaceName, WhatItRefusesOrExpandsIsAUsageError) {
    for (const char* name :
         {"", "1234567890123456", ".", "..", "a/b", "a:1", "a b", "a\t", "veth%d", "a\n", "all", "default", "\xc3\xa9"}) {
        const Status checked = check_interface_name(name);
        ASSERT_FALSE(checked.has_value()) << name;
        EXPECT_EQ(checked.error().kind, ErrorKind::kUsage);
    }
}

TEST(Idempotence, OnlyTheExpectedFailureIsForgiven) {
    Error exists = sys_error(EEXIST, "x");
    exists.kind = ErrorKind::kConflict;
    EXPECT_TRUE(unless_exists(exists).has_value());
    EXPECT_FALSE(unless_missing(exists).has_value());
    Error missing = sys_error(ENODEV, "x");
    missing.kind = ErrorKind::kNotFound;
    EXPECT_TRUE(unless_missing(missing).has_value());
    EXPECT_FALSE(unless_exists(missing).has_value());
    EXPECT_FALSE(unless_missing(sys_error(EPERM, "x")).has_value());
    EXPECT_TRUE(unless_missing(ok()).has_value());
}

class NetlinkTest : public OwnNetns {
protected:
    IfIndex make_bridge(std::uint32_t mtu = 1500) {
        const auto bridge = netlink().create_bridge({.name = "br0", .mac = kBridgeMac, .mtu = mtu});
        EXPECT_TRUE(bridge.has_value()) << bridge.error().message;
        return bridge.value();
    }
    VethSpec veth_spec() { return {.host_name = "vh0", .host_mac = kHostMac, .peer_name = "eth0", .peer_mac = kContainerMac, .mtu = 1400}; }
    /// An Ethernet link with 192.0.2.1/24 and 2001:db8::1/64 that is up and has carrier.
    IfIndex make_uplink() {
        const VethPair pair = netlink()
                                  .create_veth({.host_name = "up0", .host_mac = kHostMac, .peer_name = "far0", .peer_mac = kContainerMac},
                                               Netns::current().value())
                                  .value();
        EXPECT_OK(netlink().set_up(pair.host));
        EXPECT_OK(netlink().set_up(pair.peer));
        EXPECT_OK(netlink().add_address(pair.host, prefix("192.0.2.1/24")));
        EXPECT_OK(netlink().add_address(pair.host, prefix("2001:db8::1/64")));
        return pair.host;
    }
};

TEST_F(NetlinkTest, LoopbackIsFoundByNameAndByIndex) {
    const LinkInfo lo = netlink().link("lo").value();
    EXPECT_EQ(lo.index, 1U);
    EXPECT_TRUE(lo.up);
    EXPECT_TRUE(lo.loopback);
    EXPECT_EQ(lo.arp_type, 772);
    EXPECT_EQ(lo.kind, "");
    EXPECT_EQ(netlink().link(1).value().name, "lo");
    EXPECT_EQ(netlink().link_name(1), "lo");
    EXPECT_TRUE(netlink().link_exists(1));
}

TEST_F(NetlinkTest, MissingLinkIsNotFound) {
    const auto by_name = netlink().link("nope");
    ASSERT_FALSE(by_name.has_value());
    EXPECT_EQ(by_name.error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(by_name.error().sys_errno, ENODEV);
    EXPECT_THAT(by_name.error().message, HasSubstr("'nope'"));
    EXPECT_EQ(netlink().link("a-name-that-is-too-long").error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(netlink().link(4711).error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(netlink().delete_link(4711).error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(netlink().delete_link(0).error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(netlink().set_up(4711).error().kind, ErrorKind::kNotFound);
    EXPECT_FALSE(netlink().link_exists(4711));
    EXPECT_FALSE(netlink().link_exists(0));
    EXPECT_EQ(netlink().link_name(4711), "");
}

TEST_F(NetlinkTest, BridgeIsMadeAsSpecified) {
    const IfIndex index = make_bridge(1400);
    const LinkInfo bridge = netlink().link(index).value();
    EXPECT_EQ(bridge.name, "br0");
    EXPECT_EQ(bridge.kind, "bridge");
    EXPECT_EQ(bridge.mac, kBridgeMac);
    EXPECT_EQ(bridge.mtu, 1400U);
    EXPECT_TRUE(bridge.up);
    EXPECT_TRUE(bridge.is_ethernet());

    const auto again = netlink().create_bridge({.name = "br0", .mac = kBridgeMac});
    ASSERT_FALSE(again.has_value());
    EXPECT_EQ(again.error().kind, ErrorKind::kConflict);
    EXPECT_EQ(again.error().sys_errno, EEXIST);
}

TEST_F(NetlinkTest, BridgeThatCannotBeFinishedLeavesNothing) {
    const auto bridge = netlink().create_bridge({.name = "br0", .mac = kBridgeMac, .mtu = 7});
    ASSERT_FALSE(bridge.has_value());
    EXPECT_THAT(bridge.error().message, HasSubstr("create bridge 'br0'"));
    EXPECT_FALSE(netlink().link("br0").has_value());
}

TEST_F(NetlinkTest, BridgeKeepsMacAndMtuWhenPortsComeAndGo) {
    const IfIndex bridge = make_bridge(1400);
    VethSpec spec = veth_spec();
    spec.host_mac = mac("00:00:00:00:00:07");  // lower than the bridge's: a bridge without a fixed MAC would take it
    spec.mtu = 1300;
    spec.master = bridge;
    const Netns inside = fresh_netns();  // kept: with the namespace its end of the pair would go, and the pair with it
    const VethPair pair = netlink().create_veth(spec, inside).value();
    EXPECT_EQ(netlink().link(bridge)->mac, kBridgeMac);
    EXPECT_EQ(netlink().link(bridge)->mtu, 1400U);
    ASSERT_OK(netlink().delete_link(pair.host));
    EXPECT_EQ(netlink().link(bridge)->mac, kBridgeMac);
    EXPECT_EQ(netlink().link(bridge)->mtu, 1400U);
}

TEST_F(NetlinkTest, VethPeerAppearsInTheContainerUnderItsFinalName) {
    const IfIndex bridge = make_bridge();
    const Netns container = fresh_netns();
    VethSpec spec = veth_spec();
    spec.master = bridge;
    spec.host_up = true;
    const auto pair = netlink().create_veth(spec, container);
    ASSERT_TRUE(pair.has_value()) << pair.error().message;

    const LinkInfo host = netlink().link("vh0").value();
    EXPECT_EQ(host.index, pair->host);
    EXPECT_EQ(host.kind, "veth");
    EXPECT_EQ(host.mac, kHostMac);
    EXPECT_EQ(host.mtu, 1400U);
    EXPECT_EQ(host.master, bridge);
    EXPECT_TRUE(host.up);
    EXPECT_TRUE(host.peer_netnsid.has_value());

    Netlink inside = Netlink::open(container).value();
    const LinkInfo peer = inside.link("eth0").value();
    EXPECT_EQ(peer.index, pair->peer);
    EXPECT_EQ(peer.mac, kContainerMac);
    EXPECT_EQ(peer.mtu, 1400U);
    EXPECT_FALSE(peer.up);
    EXPECT_EQ(peer.peer_index, pair->host);
    EXPECT_EQ(inside.links()->size(), 2U);  // lo and eth0: no temporary name was left

    ASSERT_OK(netlink().delete_link(pair->host));
    EXPECT_FALSE(inside.link_exists(pair->peer));
}

TEST_F(NetlinkTest, TakenNameOfAVethIsNamedAndNothingIsLeft) {
    const Netns container = fresh_netns();
    ASSERT_OK(netlink().create_veth(veth_spec(), container));

    const auto same = netlink().create_veth(veth_spec(), container);
    EXPECT_EQ(same.error().kind, ErrorKind::kConflict);
    EXPECT_EQ(same.error().sys_errno, EEXIST);

    VethSpec other_host = veth_spec();
    other_host.host_name = "vh1";
    const auto peer_taken = netlink().create_veth(other_host, container);
    EXPECT_EQ(peer_taken.error().kind, ErrorKind::kConflict);
    EXPECT_THAT(peer_taken.error().message, HasSubstr("'eth0' exists already in netns"));
    EXPECT_FALSE(netlink().link("vh1").has_value());

    VethSpec other_peer = veth_spec();
    other_peer.peer_name = "eth1";
    const auto host_taken = netlink().create_veth(other_peer, container);
    EXPECT_EQ(host_taken.error().kind, ErrorKind::kConflict);
    EXPECT_EQ(host_taken.error().message, "interface 'vh0' exists already");
    EXPECT_FALSE(Netlink::open(container)->link("eth1").has_value());
}

TEST_F(NetlinkTest, VethWithAMissingBridgeIsNotFoundAndNothingIsLeft) {
    VethSpec spec = veth_spec();
    spec.master = 4711;
    const Netns container = fresh_netns();
    EXPECT_FALSE(netlink().create_veth(spec, container).has_value());
    EXPECT_FALSE(netlink().link("vh0").has_value());
    EXPECT_FALSE(Netlink::open(container)->link("eth0").has_value());
}

TEST_F(NetlinkTest, KernelsExplanationIsInTheMessage) {
    const Netns pair_netns = fresh_netns();
    const VethPair pair = netlink().create_veth(veth_spec(), pair_netns).value();
    const Status result = netlink().set_link(pair.host, {.mtu = 70000});
    ASSERT_FALSE(result.has_value());
    EXPECT_THAT(result.error().message, HasSubstr("mtu greater than device maximum"));
    EXPECT_EQ(result.error().sys_errno, EINVAL);
}

TEST_F(NetlinkTest, LinkIsChangedByOneRequest) {
    const IfIndex bridge = make_bridge();
    const Netns pair_netns = fresh_netns();
    const VethPair pair = netlink().create_veth(veth_spec(), pair_netns).value();
    ASSERT_OK(
        netlink().set_link(pair.host, {.up = true, .mtu = 1450, .mac = kBridgeMac, .master = bridge, .name = "renamed0", .group = 7}));
    const LinkInfo link = netlink().link(pair.host).value();
    EXPECT_TRUE(link.up);
    EXPECT_EQ(link.mtu, 1450U);
    EXPECT_EQ(link.mac, kBridgeMac);
    EXPECT_EQ(link.master, bridge);
    EXPECT_EQ(link.name, "renamed0");
    EXPECT_EQ(link.group, 7U);
    ASSERT_OK(netlink().set_link(pair.host, {.up = false, .master = 0}));
    EXPECT_FALSE(netlink().link(pair.host)->up);
    EXPECT_EQ(netlink().link(pair.host)->master, 0U);
    EXPECT_OK(netlink().set_link(4711, {}));  // nothing to change, nothing asked
}

TEST_F(NetlinkTest, BridgePortTakesFlagsAndANonPortIsRefused) {
    const IfIndex bridge = make_bridge();
    VethSpec spec = veth_spec();
    spec.master = bridge;
    const Netns pair_netns = fresh_netns();
    const VethPair pair = netlink().create_veth(spec, pair_netns).value();
    const BridgePortFlags before = netlink().bridge_port(pair.host).value();
    EXPECT_EQ(before.learning, true);
    EXPECT_EQ(before.isolated, false);
    ASSERT_OK(netlink().set_bridge_port(pair.host, {.isolated = true, .learning = false, .hairpin = true, .unicast_flood = false}));
    const BridgePortFlags after = netlink().bridge_port(pair.host).value();
    EXPECT_EQ(after.isolated, true);
    EXPECT_TRUE(netlink().link(pair.host)->isolated);
    EXPECT_FALSE(netlink().link(bridge)->isolated);
    EXPECT_EQ(after.learning, false);
    EXPECT_EQ(after.hairpin, true);
    EXPECT_EQ(after.unicast_flood, false);
    EXPECT_EQ(after.neigh_suppress, before.neigh_suppress);
    EXPECT_EQ(after.multicast_flood, before.multicast_flood);
    EXPECT_EQ(after.broadcast_flood, before.broadcast_flood);
    EXPECT_EQ(netlink().bridge_port(bridge).error().kind, ErrorKind::kNotFound);
    EXPECT_FALSE(netlink().set_bridge_port(bridge, {.isolated = true}).has_value());
}

TEST_F(NetlinkTest, HostEndOfAVethHasNoLinkLocalAddressAndOthersCanBeToldSo) {
    VethSpec spec = veth_spec();
    spec.host_up = true;
    const Netns container = fresh_netns();
    const VethPair pair = netlink().create_veth(spec, container).value();
    Netlink inside = Netlink::open(container).value();
    ASSERT_OK(inside.set_link(pair.peer, {.up = true, .link_local = false}));
    EXPECT_THAT(netlink().addresses(pair.host).value(), IsEmpty());
    EXPECT_THAT(inside.addresses(pair.peer).value(), IsEmpty());
    ASSERT_OK(inside.set_link(pair.peer, {.up = false, .link_local = true}));
    ASSERT_OK(inside.set_up(pair.peer));
    // The kernel sees the carrier, and gives the address, a moment later.
    EXPECT_TRUE(test::wait_until([&] { return inside.addresses(pair.peer).value().size() == 1U; }));
    EXPECT_EQ(inside.set_link(4711, {.link_local = false}).error().kind, ErrorKind::kNotFound);
}

TEST_F(NetlinkTest, AddressesAreAddedListedAndDeleted) {
    const IfIndex bridge = make_bridge();
    for (const char* text : {"172.30.0.1/24", "10.9.8.7/32", "fd00::1/64"}) {
        ASSERT_OK(netlink().add_address(bridge, prefix(text)));
        const Status again = netlink().add_address(bridge, prefix(text));
        EXPECT_EQ(again.error().sys_errno, EEXIST);
        EXPECT_EQ(again.error().kind, ErrorKind::kConflict);
        const auto listed = netlink().addresses(bridge).value();
        const auto found = std::find_if(listed.begin(), listed.end(), [&](const LinkAddress& a) { return a.address == prefix(text); });
        ASSERT_NE(found, listed.end()) << text;
        EXPECT_EQ(found->link, bridge);
        EXPECT_FALSE(found->tentative) << text;
    }
    const auto of_the_bridge = netlink().addresses(bridge).value();
    for (const auto& address : of_the_bridge) EXPECT_EQ(address.link, bridge);
    EXPECT_GT(netlink().addresses().value().size(), netlink().addresses(bridge).value().size());
    ASSERT_OK(netlink().delete_address(bridge, prefix("172.30.0.1/24")));
    const Status again = netlink().delete_address(bridge, prefix("172.30.0.1/24"));
    EXPECT_EQ(again.error().kind, ErrorKind::kNotFound);
    EXPECT_TRUE(unless_missing(again).has_value());
    EXPECT_EQ(netlink().add_address(4711, prefix("172.30.0.1/24")).error().kind, ErrorKind::kNotFound);
}

TEST_F(NetlinkTest, RoutesAreAddedListedAndDeleted) {
    const IfIndex uplink = make_uplink();
    const Route v4{.destination = prefix("198.51.100.0/24"), .gateway = ip("192.0.2.254"), .device = uplink, .metric = 50};
    const Route v6{.destination = prefix("2001:db8:1::/48"), .gateway = ip("2001:db8::ffff"), .device = uplink, .metric = 60};
    const Route direct{.destination = prefix("203.0.113.0/24"), .device = uplink};
    for (const Route& route : {v4, v6, direct}) {
        ASSERT_OK(netlink().add_route(route));
        EXPECT_EQ(netlink().add_route(route).error().sys_errno, EEXIST);
        EXPECT_THAT(netlink().routes().value(), Contains(route));
        ASSERT_OK(netlink().replace_route(route));
        ASSERT_OK(netlink().delete_route(route));
        EXPECT_EQ(netlink().delete_route(route).error().kind, ErrorKind::kNotFound);
    }
    EXPECT_THAT(netlink().routes().value(), Contains(Field(&Route::destination, prefix("192.0.2.0/24"))));
    EXPECT_THAT(netlink().routes().value(), Contains(Field(&Route::destination, prefix("2001:db8::/64"))));
}

TEST_F(NetlinkTest, RoutesOfAnotherTableAreApart) {
    const IfIndex uplink = make_uplink();
    EXPECT_THAT(netlink().routes(1234).value(), IsEmpty());
    const Route route{.destination = prefix("198.51.100.0/24"), .gateway = ip("192.0.2.254"), .device = uplink, .table = 1234};
    const Route prohibit{.destination = prefix("0.0.0.0/0"), .metric = 9, .table = 1234, .type = RouteType::kProhibit};
    ASSERT_OK(netlink().add_route(route));
    ASSERT_OK(netlink().add_route(prohibit));
    EXPECT_THAT(netlink().routes(1234).value(), ElementsAre(prohibit, route));
    EXPECT_THAT(netlink().routes().value(), Not(Contains(route)));
}

TEST_F(NetlinkTest, RouteWithoutALinkIsRefusedWithTheKernelsReason) {
    const Status v4 = netlink().add_default_route(ip("192.0.2.254"), 4711);
    ASSERT_FALSE(v4.has_value());
    EXPECT_THAT(v4.error().message, HasSubstr("add route default via 192.0.2.254 on interface 4711: "));
    EXPECT_THAT(v4.error().message, HasSubstr("(Nexthop has invalid gateway)"));
    EXPECT_EQ(netlink().add_default_route(ip("2001:db8::ffff"), 4711).error().kind, ErrorKind::kNotFound);
}

TEST_F(NetlinkTest, UplinksAreTheInterfacesOfTheDefaultRoutes) {
    EXPECT_THAT(netlink().default_uplinks().value(), IsEmpty());
    const IfIndex uplink = make_uplink();
    EXPECT_THAT(netlink().default_uplinks().value(), IsEmpty());
    ASSERT_OK(netlink().add_default_route(ip("192.0.2.254"), uplink));
    ASSERT_OK(netlink().add_route({.destination = prefix("0.0.0.0/0"), .gateway = ip("192.0.2.253"), .device = uplink, .metric = 100}));
    ASSERT_OK(netlink().add_default_route(ip("2001:db8::ffff"), uplink));
    ASSERT_OK(netlink().add_route({.destination = prefix("0.0.0.0/0"), .metric = 200, .type = RouteType::kUnreachable}));
    const auto uplinks = netlink().default_uplinks().value();
    ASSERT_EQ(uplinks.size(), 2U);
    EXPECT_EQ(uplinks[0].name, "up0");
    EXPECT_EQ(uplinks[0].family, Family::kIpv4);
    EXPECT_EQ(uplinks[0].gateway, ip("192.0.2.254"));
    EXPECT_EQ(uplinks[1].index, uplink);
    EXPECT_EQ(uplinks[1].family, Family::kIpv6);
    EXPECT_EQ(uplinks[1].gateway, ip("2001:db8::ffff"));
}

TEST_F(NetlinkTest, EveryNextHopOfAMultipathDefaultRouteIsAnUplink) {
    const IfIndex first = make_uplink();
    const VethPair second = netlink()
                                .create_veth({.host_name = "up1", .host_mac = kHostMac, .peer_name = "far1", .peer_mac = kContainerMac},
                                             Netns::current().value())
                                .value();
    ASSERT_OK(netlink().set_up(second.host));
    ASSERT_OK(netlink().set_up(second.peer));
    ASSERT_OK(netlink().add_address(second.host, prefix("198.51.100.1/24")));

    NetlinkRequest request{RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL};
    auto& header = request.add_header<rtmsg>();
    header.rtm_family = AF_INET;
    header.rtm_table = RT_TABLE_MAIN;
    header.rtm_protocol = RTPROT_STATIC;
    header.rtm_type = RTN_UNICAST;
    {
        const auto hops = request.nest(RTA_MULTIPATH);
        for (const auto& [device, gateway] : {std::pair{first, ip("192.0.2.254")}, std::pair{second.host, ip("198.51.100.254")}}) {
            auto& hop = request.add_header<rtnexthop>();
            hop.rtnh_len = sizeof(hop) + 8;
            hop.rtnh_ifindex = static_cast<int>(device);
            request.put_address(RTA_GATEWAY, gateway);
        }
    }
    ASSERT_OK(NetlinkSocket::open(NETLINK_ROUTE)->transact(request, "add multipath route"));
    const auto uplinks = netlink().default_uplinks().value();
    ASSERT_EQ(uplinks.size(), 2U);
    EXPECT_EQ(uplinks[0].name, "up0");
    EXPECT_EQ(uplinks[1].name, "up1");
    EXPECT_EQ(uplinks[1].gateway, ip("198.51.100.254"));
}

TEST_F(NetlinkTest, RouteGetAnswersAsTheKernelWouldSend) {
    const IfIndex uplink = make_uplink();
    ASSERT_OK(netlink().add_default_route(ip("192.0.2.254"), uplink));
    const auto outside = netlink().route_get({.destination = ip("203.0.113.9")});
    ASSERT_TRUE(outside.has_value()) << outside.error().message;
    EXPECT_EQ(outside->device, uplink);
    EXPECT_EQ(outside->gateway, ip("192.0.2.254"));
    EXPECT_EQ(outside->preferred_source, ip("192.0.2.1"));
    EXPECT_EQ(outside->type, RouteType::kUnicast);

    EXPECT_EQ(netlink().route_get({.destination = ip("192.0.2.1")})->type, RouteType::kLocal);
    EXPECT_EQ(netlink().route_get({.destination = ip("192.0.2.255")})->type, RouteType::kBroadcast);
    EXPECT_FALSE(netlink().route_get({.destination = ip("192.0.2.77")})->gateway.has_value());
    EXPECT_EQ(netlink().route_get({.destination = ip("2001:db8::2")})->device, uplink);
    // The local route of a new IPv6 address follows from a kernel worker.
    RouteType own = RouteType::kUnicast;
    for (int i = 0; i < 1000 && own != RouteType::kLocal; ++i) {
        own = netlink().route_get({.destination = ip("2001:db8::1")})->type;
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    EXPECT_EQ(own, RouteType::kLocal);
    const auto nowhere = netlink().route_get({.destination = ip("2001:db9::1")});
    EXPECT_EQ(nowhere.error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(nowhere.error().sys_errno, ENETUNREACH);
}

TEST_F(NetlinkTest, NeighboursAreSetReadAndDeleted) {
    const IfIndex uplink = make_uplink();
    for (const char* text : {"192.0.2.9", "2001:db8::9"}) {
        EXPECT_EQ(netlink().neighbour(uplink, ip(text)).error().kind, ErrorKind::kNotFound);
        ASSERT_OK(netlink().set_neighbour(uplink, ip(text), kContainerMac));
        ASSERT_OK(netlink().set_neighbour(uplink, ip(text), kBridgeMac));
        const Neighbour neighbour = netlink().neighbour(uplink, ip(text)).value();
        EXPECT_EQ(neighbour.mac, kBridgeMac);
        EXPECT_EQ(neighbour.address, ip(text));
        EXPECT_TRUE(neighbour.valid());
        EXPECT_THAT(netlink().neighbours(uplink).value(), Contains(Field(&Neighbour::address, ip(text))));
        ASSERT_OK(netlink().delete_neighbour(uplink, ip(text)));
        EXPECT_TRUE(unless_missing(netlink().delete_neighbour(uplink, ip(text))).has_value());
    }
}

TEST_F(NetlinkTest, ForwardingEntryMovesFromPortToPort) {
    const IfIndex bridge = make_bridge();
    VethSpec spec = veth_spec();
    spec.master = bridge;
    const Netns first_netns = fresh_netns();
    const VethPair first = netlink().create_veth(spec, first_netns).value();
    spec.host_name = "vh1";
    const Netns second_netns = fresh_netns();
    const VethPair second = netlink().create_veth(spec, second_netns).value();
    ASSERT_OK(netlink().set_forwarding(first.host, kContainerMac));
    ASSERT_OK(netlink().set_forwarding(second.host, kContainerMac));
    ASSERT_OK(netlink().delete_forwarding(second.host, kContainerMac));
    EXPECT_EQ(netlink().delete_forwarding(second.host, kContainerMac).error().kind, ErrorKind::kNotFound);
}

TEST_F(NetlinkTest, VxlanIsMadeAsSpecifiedAndHasOnlyThePeersThatItWasGiven) {
    for (const auto& [family, peers] : {std::pair{Family::kIpv4, std::vector{ip("192.0.2.9"), ip("192.0.2.10")}},
                                        {Family::kIpv6, std::vector{ip("2001:db8::9"), ip("2001:db8::10")}}}) {
        const VxlanSpec spec{.name = family == Family::kIpv4 ? "vx4" : "vx6",
                             .vni = 16777215,
                             .port = Port{4789},
                             .family = family,
                             .mac = kHostMac,
                             .mtu = 1430,
                             .group = 7,
                             .learning = family == Family::kIpv6};
        const auto made = netlink().create_vxlan(spec);
        ASSERT_TRUE(made.has_value()) << made.error().message;
        const LinkInfo link = netlink().link(*made).value();
        EXPECT_EQ(link.name, spec.name);
        EXPECT_EQ(link.kind, "vxlan");
        EXPECT_EQ(link.vni, 16777215U);
        EXPECT_EQ(link.vxlan_port, 4789);
        EXPECT_EQ(link.mac, kHostMac);
        EXPECT_EQ(link.mtu, 1430U);
        EXPECT_EQ(link.group, 7U);
        EXPECT_EQ(link.vxlan_learns, spec.learning);
        EXPECT_FALSE(link.up);
        ASSERT_OK(netlink().set_up(*made));
        EXPECT_THAT(netlink().addresses(*made).value(), IsEmpty());
        // As a port of a bridge it has entries that are not its own.
        const auto bridge = netlink().create_bridge({.name = spec.name + "br", .mac = kBridgeMac}).value();
        ASSERT_OK(netlink().set_link(*made, {.master = bridge}));
        ASSERT_OK(netlink().set_forwarding(*made, kContainerMac));

        EXPECT_THAT(netlink().vxlan_peers(*made).value(), IsEmpty());
        for (const IpAddress& peer : peers) ASSERT_OK(netlink().add_vxlan_peer(*made, peer));
        ASSERT_OK(netlink().add_vxlan_peer(*made, peers[0]));  // a second time
        EXPECT_THAT(netlink().vxlan_peers(*made).value(), ElementsAre(peers[0], peers[1]));
        ASSERT_OK(netlink().delete_vxlan_peer(*made, peers[0]));
        EXPECT_THAT(netlink().vxlan_peers(*made).value(), ElementsAre(peers[1]));
        EXPECT_OK(unless_missing(netlink().delete_vxlan_peer(*made, peers[0])));
        const IpAddress stranger = family == Family::kIpv4 ? ip("2001:db8::1") : ip("192.0.2.1");
        EXPECT_EQ(netlink().add_vxlan_peer(*made, stranger).error().sys_errno, EAFNOSUPPORT);
    }
}

TEST_F(NetlinkTest, VxlanThatSomebodyElseHasIsAConflict) {
    const VxlanSpec spec{.name = "vx0", .vni = 42, .port = Port{4789}};
    ASSERT_OK(netlink().create_vxlan(spec));
    VxlanSpec other = spec;
    other.name = "vx1";
    const auto same_vni = netlink().create_vxlan(other);
    EXPECT_EQ(same_vni.error().kind, ErrorKind::kConflict);
    EXPECT_EQ(same_vni.error().sys_errno, EEXIST);
    EXPECT_FALSE(netlink().link("vx1").has_value());
    other.name = "vx0";
    other.vni = 43;
    EXPECT_EQ(netlink().create_vxlan(other).error().kind, ErrorKind::kConflict);
}

TEST_F(NetlinkTest, RulesAreAddedListedAndDeleted) {
    EXPECT_THAT(netlink().rules().value(), IsEmpty());  // the kernel's own are not fastnet's
    const Rule v4{.from = ip("192.0.2.1"), .table = 123456, .priority = 1000};
    const Rule v6{.from = ip("2001:db8::1"), .table = 77, .priority = 1001};
    for (const Rule& rule : {v4, v6}) {
        ASSERT_OK(netlink().add_rule(rule));
        EXPECT_EQ(netlink().add_rule(rule).error().sys_errno, EEXIST);
    }
    EXPECT_THAT(netlink().rules().value(), ElementsAre(v4, v6));
    for (const Rule& rule : {v4, v6}) {
        ASSERT_OK(netlink().delete_rule(rule));
        EXPECT_EQ(netlink().delete_rule(rule).error().kind, ErrorKind::kNotFound);
    }
    EXPECT_THAT(netlink().rules().value(), IsEmpty());
}

TEST_F(NetlinkTest, RuleSendsWhatComesFromItsAddressByItsTable) {
    const IfIndex uplink = make_uplink();
    ASSERT_OK(netlink().add_address(uplink, prefix("192.0.2.7/24")));
    ASSERT_OK(netlink().add_default_route(ip("192.0.2.254"), uplink));
    ASSERT_OK(netlink().add_route({.destination = prefix("0.0.0.0/0"), .gateway = ip("192.0.2.253"), .device = uplink, .table = 1234}));
    ASSERT_OK(netlink().add_rule({.from = ip("192.0.2.7"), .table = 1234, .priority = 1000}));
    EXPECT_EQ(netlink().route_get({.destination = ip("203.0.113.9"), .source = ip("192.0.2.1")})->gateway, ip("192.0.2.254"));
    EXPECT_EQ(netlink().route_get({.destination = ip("203.0.113.9"), .source = ip("192.0.2.7")})->gateway, ip("192.0.2.253"));
}

TEST_F(NetlinkTest, GroupOfLinksIsDeletedAtOnceAndOthersStay) {
    const Netns container = fresh_netns();
    for (const int i : {0, 1, 2, 3}) {
        VethSpec spec = veth_spec();
        spec.host_name = "vh" + std::to_string(i);
        spec.peer_name = "eth" + std::to_string(i);
        spec.group = i == 3 ? 8 : 7;
        ASSERT_OK(netlink().create_veth(spec, container));
        EXPECT_EQ(netlink().link(spec.host_name)->group, spec.group);
    }
    ASSERT_OK(netlink().delete_group(7));
    EXPECT_FALSE(netlink().link("vh0").has_value());
    EXPECT_FALSE(netlink().link("vh2").has_value());
    EXPECT_TRUE(netlink().link("vh3").has_value());
    EXPECT_EQ(netlink().delete_group(7).error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(netlink().delete_group(0).error().kind, ErrorKind::kUsage);
}

TEST_F(NetlinkTest, SocketStaysInItsNamespace) {
    const Netns other = fresh_netns();
    ASSERT_OK(netlink().create_bridge({.name = "br0", .mac = kBridgeMac}));
    Netlink inside = Netlink::open(other).value();
    EXPECT_FALSE(inside.link("br0").has_value());
    const auto guard = NetnsGuard::enter(other);
    EXPECT_TRUE(netlink().link("br0").has_value());
}

TEST_F(NetlinkTest, AFailureLeavesTheSocketUsable) {
    for (int i = 0; i < 3; ++i) {
        EXPECT_FALSE(netlink().link("nope").has_value());
        EXPECT_EQ(netlink().link("lo")->name, "lo");
    }
}

}  // namespace
}  // namespace fastnet
