#include "userspace/control/container_routes.h"

#include <gmock/gmock.h>

#include "tests/unit/host/own_netns.h"

namespace fastnet {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

/// On 10.0.<id>.0/24 and fd00:<id>::/64, with the gateways of both.
Endpoint endpoint(std::uint32_t id, std::int32_t priority = 0) {
    const std::string number = std::to_string(id);
    Endpoint made;
    made.id = id;
    made.name = "e" + number;
    made.ifname = "eth" + number;
    made.host_ifname = "vh" + number;
    made.gateway_priority = priority;
    made.ipv4 = prefix(("10.0." + number + ".2/24").c_str());
    made.ipv6 = prefix(("fd00:" + number + "::2/64").c_str());
    made.gateway4 = ip(("10.0." + number + ".1").c_str());
    made.gateway6 = ip(("fd00:" + number + "::1").c_str());
    return made;
}

Endpoint internal(std::uint32_t id) {
    Endpoint made = endpoint(id);
    made.gateway4.reset();
    made.gateway6.reset();
    return made;
}

std::vector<IfIndex> devices_of(const std::vector<Route>& routes, Family family) {
    std::vector<IfIndex> devices;
    for (const Route& route : routes)
        if (route.destination.family() == family) devices.push_back(route.device);
    return devices;
}

TEST(ContainerRoutes, OneNetworkHasItsDefaultRouteAndNoRules) {
    const ContainerRoutes routes = container_routes({{endpoint(1), 5}});
    ASSERT_EQ(routes.defaults.size(), 2U);
    EXPECT_EQ(routes.defaults[0].gateway, ip("10.0.1.1"));
    EXPECT_EQ(routes.defaults[0].metric, 0U);
    EXPECT_EQ(routes.defaults[1].gateway, ip("fd00:1::1"));
    EXPECT_EQ(routes.defaults[1].metric, 1024U) << "what the kernel gives to one without a metric";
    EXPECT_THAT(routes.tables, IsEmpty());
    EXPECT_THAT(routes.rules, IsEmpty());
}

TEST(ContainerRoutes, HighestPriorityIsTheDefaultRouteThenTheEarliest) {
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
        const auto order = [&](std::int32_t first, std::int32_t second, std::int32_t third) {
            return devices_of(container_routes({{endpoint(3, third), 7}, {endpoint(1, first), 5}, {endpoint(2, second), 6}}).defaults,
                              family);
        };
        EXPECT_THAT(order(0, 0, 0), ElementsAre(5, 6, 7));
        EXPECT_THAT(order(0, 0, 1), ElementsAre(7, 5, 6));
        EXPECT_THAT(order(-1, 0, 0), ElementsAre(6, 7, 5));
        EXPECT_THAT(order(5, 10, 10), ElementsAre(6, 7, 5));
    }
    const ContainerRoutes routes = container_routes({{endpoint(1), 5}, {endpoint(2, 1), 6}});
    EXPECT_THAT(routes.defaults, Contains(::testing::AllOf(Field(&Route::device, 6U), Field(&Route::metric, 0U))));
    EXPECT_THAT(routes.defaults, Contains(::testing::AllOf(Field(&Route::device, 5U), Field(&Route::metric, 2001U))));
}

TEST(ContainerRoutes, InternalNetworkHasARuleButNoDefaultRoute) {
    const ContainerRoutes routes = container_routes({{internal(1), 5}, {endpoint(2, -9), 6}});
    EXPECT_THAT(devices_of(routes.defaults, Family::kIpv4), ElementsAre(6));
    EXPECT_EQ(routes.rules.size(), 4U);
    EXPECT_THAT(devices_of(routes.tables, Family::kIpv6), ElementsAre(5, 6, 6));
    EXPECT_EQ(routes.defaults[0].metric, 0U);
}

TEST(ContainerRoutes, EveryAddressHasATableWithItsSubnetAndItsGateway) {
    const ContainerRoutes routes = container_routes({{endpoint(1), 5}, {endpoint(2), 6}});
    ASSERT_EQ(routes.rules.size(), 4U);
    for (const Rule& rule : routes.rules) {
        std::vector<Route> table = routes.tables;
        std::erase_if(table,
                      [&](const Route& route) { return route.table != rule.table || route.destination.family() != rule.from.family(); });
        ASSERT_EQ(table.size(), 2U);
        EXPECT_TRUE(table[0].destination.contains(rule.from));
        EXPECT_TRUE(table[0].destination.contains(table[1].gateway.value()));
        EXPECT_EQ(table[1].destination.length(), 0);
        EXPECT_EQ(table[0].device, table[1].device);
        EXPECT_LT(rule.priority, 32766U) << "the main table's";
    }
    EXPECT_NE(routes.rules[0].table, routes.rules[1].table);
}

/// In a namespace of its own, with an interface per endpoint.
class ArrangedRoutes : public OwnNetns {
protected:
    void add_interface(const Endpoint& endpoint) {
        const VethPair pair = netlink()
                                  .create_veth({.host_name = endpoint.ifname,
                                                .host_mac = MacAddress{{2, 0, 0, 0, 0, static_cast<std::uint8_t>(endpoint.id)}},
                                                .peer_name = endpoint.host_ifname,
                                                .peer_mac = MacAddress{{2, 0, 0, 0, 1, static_cast<std::uint8_t>(endpoint.id)}}},
                                               Netns::current().value())
                                  .value();
        ASSERT_OK(netlink().add_address(pair.host, *endpoint.ipv4));
        ASSERT_OK(netlink().add_address(pair.host, *endpoint.ipv6));
        ASSERT_OK(netlink().set_up(pair.host));
        ASSERT_OK(netlink().set_up(pair.peer));
    }
    void attach(const Endpoint& endpoint) {
        add_interface(endpoint);
        present_.push_back(endpoint);
        ASSERT_OK(arrange_routes(netlink(), present_));
        expect_arranged();
    }
    void detach(const Endpoint& endpoint) {
        ASSERT_OK(netlink().delete_link(netlink().link(endpoint.ifname)->index));
        std::erase(present_, endpoint);
        ASSERT_OK(arrange_routes(netlink(), present_, endpoint));
        expect_arranged();
    }
    /// As it should be, also when done again.
    void expect_arranged() {
        for (int i = 0; i < 2; ++i) {
            std::vector<ContainerInterface> interfaces;
            for (const Endpoint& one : present_) interfaces.push_back({one, netlink().link(one.ifname)->index});
            const ContainerRoutes wanted = container_routes(interfaces);
            std::vector<Route> defaults = netlink().routes().value();
            std::erase_if(defaults, [](const Route& route) { return route.protocol != kFastnetRouteProtocol; });
            EXPECT_THAT(defaults, ::testing::UnorderedElementsAreArray(wanted.defaults));
            EXPECT_THAT(netlink().rules().value(), ::testing::UnorderedElementsAreArray(wanted.rules));
            for (const Route& route : wanted.tables) EXPECT_THAT(netlink().routes(route.table).value(), Contains(route));
            ASSERT_OK(arrange_routes(netlink(), present_));
        }
    }
    /// The interface by which the container would send.
    std::string way_out(const char* to, const char* from = nullptr) {
        const auto answer = netlink().route_get({.destination = ip(to), .source = from ? std::optional{ip(from)} : std::nullopt});
        return answer ? netlink().link_name(answer->device) : "none";
    }
    std::vector<Endpoint> present_;
};

TEST_F(ArrangedRoutes, FollowTheEndpointsThatComeAndGo) {
    attach(endpoint(1));
    EXPECT_EQ(way_out("198.51.100.1"), "eth1");
    attach(endpoint(2, 10));
    EXPECT_EQ(way_out("198.51.100.1"), "eth2");
    EXPECT_EQ(way_out("2001:db8::1"), "eth2");
    attach(endpoint(3, 5));
    attach(internal(4));
    EXPECT_EQ(way_out("198.51.100.1"), "eth2");
    EXPECT_EQ(way_out("198.51.100.1", "10.0.1.2"), "eth1");
    EXPECT_EQ(way_out("2001:db8::1", "fd00:3::2"), "eth3");
    EXPECT_EQ(way_out("10.0.1.77", "10.0.2.2"), "eth2") << "what another network asked is answered by that one";
    detach(endpoint(2, 10));
    EXPECT_EQ(way_out("198.51.100.1"), "eth3");
    EXPECT_EQ(way_out("2001:db8::1"), "eth3");
    detach(endpoint(3, 5));
    EXPECT_EQ(way_out("2001:db8::1"), "eth1");
    detach(endpoint(1));
    EXPECT_EQ(way_out("198.51.100.1"), "none") << "an internal network leads nowhere";
    EXPECT_THAT(netlink().rules().value(), IsEmpty()) << "one that is alone needs none";
}

TEST_F(ArrangedRoutes, DefaultRouteThatTheContainerMadeItselfStays) {
    const Route own{.destination = prefix("0.0.0.0/0"), .gateway = ip("10.0.1.99"), .device = 0, .protocol = 4};
    add_interface(endpoint(1));
    Route theirs = own;
    theirs.device = netlink().link("eth1")->index;
    ASSERT_OK(netlink().add_route(theirs));
    present_ = {endpoint(1)};
    ASSERT_OK(arrange_routes(netlink(), present_));
    add_interface(endpoint(2));
    present_.push_back(endpoint(2));
    for (int i = 0; i < 2; ++i) {
        ASSERT_OK(arrange_routes(netlink(), present_));
        EXPECT_THAT(netlink().routes().value(), Contains(theirs));
        EXPECT_EQ(netlink().route_get({.destination = ip("198.51.100.1")})->gateway, ip("10.0.1.99"));
        std::vector<Route> defaults = netlink().routes().value();
        std::erase_if(defaults, [](const Route& route) {
            return route.protocol != kFastnetRouteProtocol || route.destination.family() != Family::kIpv4;
        });
        EXPECT_EQ(defaults.size(), 2U) << "both stand by";
    }
}

TEST_F(ArrangedRoutes, RulesCanBeForgotten) {
    attach(endpoint(1));
    attach(endpoint(2));
    const Rule theirs{.from = ip("10.0.1.2"), .table = 77, .priority = 100};
    ASSERT_OK(netlink().add_rule(theirs));
    ASSERT_OK(forget_rules(netlink(), present_));
    EXPECT_THAT(netlink().rules().value(), ElementsAre(theirs));
}

}  // namespace
}  // namespace fastnet
