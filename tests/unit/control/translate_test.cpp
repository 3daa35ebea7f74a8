#include "userspace/control/translate.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "tests/unit/control/state_builder.h"

namespace fastnet {
namespace {

TEST(Translate, AddressesKeepTheirBytesAndComeBack) {
    for (const char* text : {"0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "255.255.255.255"}) {
        SCOPED_TRACE(text);
        EXPECT_EQ(from_abi(to_abi(ip(text))), ip(text));
    }
    const fnet_addr v4 = to_abi(ip("192.0.2.1"));
    EXPECT_EQ(v4.words[0], 0U);
    EXPECT_EQ(v4.words[2], htonl(0xffff));
    EXPECT_EQ(v4.words[3], htonl(0xc0000201));
}

TEST(Translate, AnyAddressOfEachFamilyIsAnotherKey) {
    EXPECT_FALSE(same_bytes(to_abi(IpAddress::any(Family::kIpv4)), to_abi(IpAddress::any(Family::kIpv6))));
}

TEST(Translate, SubnetLengthCountsTheMappedPrefix) {
    EXPECT_EQ(subnet_key(prefix("172.30.0.0/16")).prefix_len, 112U);
    EXPECT_EQ(subnet_key(prefix("fd00::/64")).prefix_len, 64U);
    for (const char* text : {"172.30.0.0/16", "10.0.0.0/8", "10.1.2.4/30", "fd00::/64", "fd12:3456:789a::/48"})
        EXPECT_EQ(subnet_from(subnet_key(prefix(text))), prefix(text)) << text;
}

TEST(Translate, RemoteAddressIsBehindATunnelAndHasNoVeth) {
    const MacAddress mac = *MacAddress::parse("02:42:0a:4d:00:09");
    const fnet_address value = remote_address_value(7, mac);
    EXPECT_EQ(value.tunnel, 7U);
    EXPECT_EQ(value.ifindex, 0U);
    EXPECT_EQ(value.flags, 0U);
    EXPECT_EQ(mac_from_abi(value.mac), mac);
    EXPECT_FALSE(is_learned(value));
    fnet_address other = value;
    other.seen_ns = 5;
    other.slot = 6;
    EXPECT_TRUE(same_address(value, other));
    other.flags = FNET_ADDRESS_LEARNED;
    EXPECT_TRUE(is_learned(other));
    EXPECT_FALSE(same_address(value, other));
}

TEST(Translate, VtepIsAPeerOnOneNetwork) {
    const fnet_vtep_key key = vtep_key(ip("192.0.2.7"), 0xabcdef);
    EXPECT_EQ(from_abi(key.peer), ip("192.0.2.7"));
    EXPECT_EQ(key.vni, 0xabcdefU) << "host order";
    Network network = overlay_network();
    EXPECT_EQ(vtep_value(network, 3, true).flags, FNET_VTEP_LEARN);
    EXPECT_EQ(vtep_value(network, 3, false).flags, 0U);
    network.icc = false;
    const fnet_vtep value = vtep_value(network, 3, false);
    EXPECT_EQ(value.flags, FNET_VTEP_NO_ICC);
    EXPECT_EQ(value.network, kOverlayId);
    EXPECT_EQ(value.tunnel, 3U);
    fnet_vtep counted = value;
    counted.learned = 9;
    EXPECT_TRUE(same_vtep(value, counted));
    counted.tunnel = 4;
    EXPECT_FALSE(same_vtep(value, counted));
}

TEST(Translate, TunnelIsThePeersAddressAndNothingElse) {
    const fnet_tunnel value = tunnel_value(ip("2001:db8::7"));
    EXPECT_EQ(from_abi(value.peer), ip("2001:db8::7"));
    fnet_tunnel empty = value;
    empty.peer = {};
    EXPECT_TRUE(same_bytes(empty, fnet_tunnel{}));
}

TEST(Translate, SinglePortIsOneFullLengthKey) {
    const ServiceRows rows = service_rows({web_port()}, web(), default_network());
    ASSERT_EQ(rows.size(), 1U);
    const fnet_service_key& key = rows.begin()->first;
    EXPECT_EQ(key.prefix_len, FNET_SERVICE_PREFIX_BASE + 16U);
    EXPECT_EQ(key.port, htons(2000));
    EXPECT_EQ(key.protocol, 6);
    EXPECT_EQ(key.reserved, 0);
    EXPECT_EQ(ports_of(key), web_port().host_ports);
}

TEST(Translate, RangeIsCoveredExactlyByFewKeys) {
    for (const auto& [first, last] : {std::pair{20000U, 29999U}, {1U, 65534U}, {1U, 65535U}, {2000U, 2001U}, {65535U, 65535U}}) {
        SCOPED_TRACE(std::to_string(first) + "-" + std::to_string(last));
        PublishedPort port = web_port();
        port.host_ports = {Port{static_cast<std::uint16_t>(first)}, Port{static_cast<std::uint16_t>(last)}};
        port.container_ports = port.host_ports;
        std::vector<PortRange> blocks;
        for (const auto& [key, value] : service_rows({port}, web(), default_network())) blocks.push_back(ports_of(key));
        std::sort(blocks.begin(), blocks.end(), [](const PortRange& a, const PortRange& b) { return a.first < b.first; });
        EXPECT_LE(blocks.size(), 30U);
        std::uint32_t next = first;
        for (const PortRange& block : blocks) {
            EXPECT_EQ(block.first.value(), next);
            next = block.last.value() + 1U;
        }
        EXPECT_EQ(next, last + 1);
    }
}

TEST(Translate, ServiceMapsTheFirstPortsOfBothRanges) {
    PublishedPort port = web_port();
    port.host_ports = {Port{3000}, Port{3009}};
    port.container_ports = {Port{4000}, Port{4009}};
    const fnet_service value = service_rows({port}, web(), default_network()).begin()->second;
    EXPECT_EQ(value.host_first, 3000);
    EXPECT_EQ(value.container_first, 4000);
    EXPECT_EQ(value.id, 11U);
    EXPECT_EQ(value.endpoint_ifindex, kWebIndex);
    EXPECT_EQ(from_abi(value.container_addr), ip("172.30.0.2"));
    EXPECT_EQ(value.container_mac[5], 2);
}

TEST(Translate, ServiceOfAnIpv6AddressLeadsToTheIpv6Address) {
    Endpoint endpoint = web();
    endpoint.ipv6 = prefix("fd00::2/64");
    PublishedPort port = web_port();
    port.host_ip = IpAddress::any(Family::kIpv6);
    EXPECT_EQ(from_abi(service_rows({port}, endpoint, default_network()).begin()->second.container_addr), ip("fd00::2"));
}

/// The entry that leads to @p port of @p address, if any.
std::optional<fnet_service> find_row(const ServiceRows& rows, const IpAddress& address, std::uint16_t port) {
    for (const auto& [key, value] : rows)
        if (IpAddress::from_wire(Family::kIpv6, key.addr) == address && ports_of(key).contains(Port{port})) return value;
    return std::nullopt;
}

TEST(Translate, RoutedContainerIsCalledAtItsOwnAddressAndPortToo) {
    Network network = default_network();
    EXPECT_FALSE(find_row(service_rows({web_port()}, web(), network), ip("172.30.0.2"), 80)) << "not behind NAT";
    network.options["gateway_mode_ipv4"] = "routed";
    EXPECT_EQ(endpoint_value(web(), network, kBridgeIndex).flags, FNET_ENDPOINT_ROUTED4);
    const ServiceRows rows = service_rows({web_port()}, web(), network);
    const auto direct = find_row(rows, ip("172.30.0.2"), 80);
    ASSERT_TRUE(direct);
    EXPECT_EQ(direct->host_first, 80);
    EXPECT_EQ(direct->container_first, 80);
    EXPECT_TRUE(find_row(rows, IpAddress::any(Family::kIpv4), 2000)) << "and at the host's as before";
    EXPECT_FALSE(find_row(rows, ip("172.30.0.2"), 2000));
}

TEST(Translate, RoutedPortPublishedTwiceIsTheFirstOnes) {
    Network network = default_network();
    network.options["gateway_mode_ipv4"] = "routed";
    PublishedPort second = web_port();
    second.id = 12;
    second.host_ports = {Port{2001}, Port{2001}};
    EXPECT_EQ(find_row(service_rows({web_port(), second}, web(), network), ip("172.30.0.2"), 80)->id, 11U);
    EXPECT_EQ(by_port(service_rows({web_port(), second}, web(), network)).at(second.id).size(), 1U) << "the one of host port 2001";
    EXPECT_EQ(find_row(service_rows({second}, web(), network), ip("172.30.0.2"), 80)->id, 12U);
}

TEST(Translate, SourcesOfAPortAreThePrefixesOfItsFamilyAndDenyWinsATie) {
    PublishedPort port = web_port();
    port.sources.allow = {prefix("0.0.0.0/0"), prefix("10.0.0.0/8"), prefix("2001:db8::/32")};
    port.sources.deny = {prefix("10.0.0.0/8"), prefix("2001:db8:9::/48")};
    const auto entries = source_entries(port);
    ASSERT_EQ(entries.size(), 2U);
    EXPECT_EQ(entries[0].first.prefix_len, FNET_SOURCE_PREFIX_BASE + 96U + 8U);
    EXPECT_EQ(entries[0].first.service, 11U);
    EXPECT_EQ(IpAddress::from_wire(Family::kIpv6, entries[0].first.addr), ip("10.0.0.0"));
    EXPECT_EQ(entries[0].second, FNET_SOURCE_DENY);
    EXPECT_EQ(entries[1].first.prefix_len, FNET_SOURCE_PREFIX_BASE + 96U) << "all of IPv4, none of IPv6";
    EXPECT_EQ(entries[1].second, FNET_SOURCE_ALLOW);
    port.host_ip = IpAddress::any(Family::kIpv6);
    EXPECT_EQ(source_entries(port).size(), 2U);
    EXPECT_EQ(source_entries(port)[1].first.prefix_len, FNET_SOURCE_PREFIX_BASE + 32U);
}

std::uint32_t flags_of(const PublishedPort& port) {
    return service_rows({port}, web(), default_network()).begin()->second.flags;
}

TEST(Translate, ServiceIsRestrictedOnlyWhereItsListsHaveASay) {
    PublishedPort port = web_port();
    EXPECT_EQ(flags_of(port), 0U);
    port.sources.deny = {prefix("2001:db8::/32")};
    EXPECT_EQ(flags_of(port), 0U) << "no IPv4 caller is kept out";
    port.sources.deny.push_back(prefix("10.0.0.0/8"));
    EXPECT_EQ(flags_of(port), FNET_SERVICE_RESTRICTED);
    port.sources = {.allow = {prefix("2001:db8::/32")}};
    EXPECT_EQ(flags_of(port), FNET_SERVICE_RESTRICTED | FNET_SERVICE_ALLOW_ONLY) << "nobody over IPv4 is let in";
}

TEST(Translate, EndpointCarriesItsNetworksFlagsAndGateway) {
    Network network = default_network();
    network.internal = true;
    network.icc = false;
    const fnet_endpoint value = endpoint_value(web(), network, kBridgeIndex);
    EXPECT_EQ(value.flags, FNET_ENDPOINT_INTERNAL | FNET_ENDPOINT_NO_ICC);
    EXPECT_EQ(from_abi(value.gateway4), ip("172.30.0.1")) << "also where the container has no route to it";
    EXPECT_EQ(value.bridge_ifindex, kBridgeIndex);
    EXPECT_EQ(value.ipv6.quads[0] | value.ipv6.quads[1], 0U) << "none is all zero";
    EXPECT_EQ(value.fast_packets, 0U);
}

TEST(Translate, CountersSurviveARewrite) {
    const fnet_endpoint wanted = endpoint_value(web(), default_network(), kBridgeIndex);
    fnet_endpoint present = wanted;
    present.connections = 5;
    present.flags |= FNET_ENDPOINT_HAIRPIN;
    EXPECT_TRUE(same_endpoint(wanted, present));
    EXPECT_EQ(with_counters_of(wanted, present).connections, 5U);
    EXPECT_EQ(with_counters_of(wanted, present).flags & FNET_ENDPOINT_HAIRPIN, FNET_ENDPOINT_HAIRPIN);
    present.bridge_ifindex = 99;
    EXPECT_FALSE(same_endpoint(wanted, present));
}

}  // namespace
}  // namespace fastnet
