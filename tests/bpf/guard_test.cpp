// tc_container's source guard: what a container says about itself is believed only if it is true.
#include "tests/bpf/datapath_fixture.h"

namespace fastnet::test {
namespace {

class Guard : public DatapathTest {
protected:
    static Packet arp(std::uint16_t operation, const MacAddress& sender_mac, const IpAddress& sender, const IpAddress& target) {
        return container_broadcast / Packet{Arp{.operation = operation, .sender_mac = sender_mac, .sender = sender, .target = target}};
    }
    static Packet icmp6(const IpAddress& src, const IpAddress& dst, const Packet& message) {
        return container_multicast6 / Packet{Ipv6{.src = src, .dst = dst, .hop_limit = 255}} / message;
    }
};

TEST_F(Guard, OwnSourceAndMacPass) {
    EXPECT_TRUE(at_container(from_container / ip(container_ip, client) / tcp(20000, 443)).counted_only(FNET_FLOW_FORWARDED));
    EXPECT_TRUE(at_container(from_container / ip(container6, client6) / tcp(20000, 443)).counted_only(FNET_FLOW_FORWARDED));
}

TEST_F(Guard, ForgedMacIsDropped) {
    const Eth forged{.src = forged_mac, .dst = gateway_mac};
    EXPECT_THAT(at_container(forged / ip(container_ip, client) / tcp(20000, 443)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(forged / ip(container6, client6) / udp(20000, 53)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(Eth{.src = neighbour_mac, .dst = broadcast_mac} / ip(container_ip, limited_broadcast) / udp(1, 2)),
                IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(Eth{.src = gateway_mac, .dst = neighbour_mac} / ip(container_ip, neighbour_ip) / udp(1, 2)),
                IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_TRUE(flows().empty());
}

TEST_F(Guard, ForgedAddressIsDroppedWhereverItGoes) {
    for (const IpAddress& forged : {neighbour_ip, gateway, host_ip, client, stranger_ip, nobody_ip, limited_broadcast}) {
        EXPECT_THAT(at_container(from_container / ip(forged, client) / tcp(20000, 443)), IsDropped(FNET_SPOOFED_SOURCE))
            << forged.to_string();
        EXPECT_THAT(at_container(container_to_neighbour / ip(forged, neighbour_ip) / udp(1, 2)), IsDropped(FNET_SPOOFED_SOURCE));
        EXPECT_THAT(at_container(from_container / ip(forged, host_ip) / echo(kEchoRequest, 1)), IsDropped(FNET_SPOOFED_SOURCE));
        EXPECT_THAT(at_container(from_container / Ipv4{.src = forged, .dst = client, .fragment_offset = 8} / payload(8)),
                    IsDropped(FNET_SPOOFED_SOURCE));
        EXPECT_THAT(at_container(from_container / Ipv4{.src = forged, .dst = client, .protocol = 89} / payload(8)),
                    IsDropped(FNET_SPOOFED_SOURCE));
    }
    for (const IpAddress& forged : {neighbour6, gateway6, host6, client6, stranger6, all_nodes}) {
        EXPECT_THAT(at_container(from_container / ip(forged, client6) / tcp(20000, 443)), IsDropped(FNET_SPOOFED_SOURCE))
            << forged.to_string();
        EXPECT_THAT(at_container(container_to_neighbour / ip(forged, neighbour6) / udp(1, 2)), IsDropped(FNET_SPOOFED_SOURCE));
        EXPECT_THAT(at_container(from_container / ip(forged, client6) / Ipv6Fragment{} / udp(1, 2)), IsDropped(FNET_SPOOFED_SOURCE));
        EXPECT_THAT(at_container(from_container / ip(forged, client6) / Ipv6Extension{} / udp(1, 2)), IsDropped(FNET_SPOOFED_SOURCE));
    }
    EXPECT_TRUE(flows().empty());
}

TEST_F(Guard, EachEndpointHasItsOwn) {
    EXPECT_THAT(at_container(neighbour(), from_container / ip(container_ip, client) / tcp(20000, 443)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(neighbour(), from_neighbour / ip(container_ip, client) / tcp(20000, 443)), IsDropped(FNET_SPOOFED_SOURCE));
}

TEST_F(Guard, FlowOfAnotherContainerCannotBeUsed) {
    at_container(from_container / ip(container_ip, client) / tcp(20000, 443));
    EXPECT_THAT(at_container(neighbour(), from_neighbour / ip(container_ip, client) / tcp(20000, 443, kAck)),
                IsDropped(FNET_SPOOFED_SOURCE))
        << "the tuple is right, the veth is not";
}

TEST_F(Guard, SourcesThatNobodyOwnsPassToTheBridgeOnly) {
    // DHCP discover.
    EXPECT_THAT(at_container(container_broadcast / ip(any4, limited_broadcast) / udp(68, 67)), GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(at_container(from_container / ip(any4, client) / udp(68, 67)), IsDropped(FNET_SPOOFED_SOURCE))
        << "not to the gateway's MAC";
    // DAD, router solicitation, MLD report behind a hop-by-hop header (RFC 3810), DHCPv6 solicit.
    EXPECT_THAT(at_container(icmp6(any6, all_nodes, Icmp{.type = kNeighbourSolicitation} / Packet{payload(16)})),
                GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(at_container(icmp6(any6, all_nodes, Icmp{.type = kRouterSolicitation})), GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(
        at_container(icmp6(any6, address("ff02::16"), Ipv6Extension{.body = {5, 2, 0, 0, 1, 0}} / Packet{Icmp{.type = 143}} / payload(20))),
        GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(at_container(icmp6(container_link_local, address("ff02::1:2"), udp(546, 547))), GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(at_container(from_container / ip(any6, client6) / udp(1, 2)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_TRUE(flows().empty());
}

TEST_F(Guard, OwnMulticastAndBroadcastGoToTheBridge) {
    EXPECT_THAT(at_container(container_broadcast / ip(container_ip, limited_broadcast) / udp(1, 2)), GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(at_container(Eth{.src = container_mac, .dst = MacAddress{{1, 0, 0x5e, 0, 0, 0xfb}}} /
                             ip(container_ip, address("224.0.0.251")) / udp(5353, 5353)),
                GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(at_container(container_multicast6 / ip(container6, all_nodes) / udp(5353, 5353)), GoesToTheKernel(FNET_TO_BRIDGE));
}

TEST_F(Guard, ArpSpeaksForItselfOnly) {
    EXPECT_THAT(at_container(arp(1, container_mac, container_ip, gateway)), GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(at_container(arp(2, container_mac, container_ip, container_ip)), GoesToTheKernel(FNET_TO_BRIDGE)) << "gratuitous";
    EXPECT_THAT(at_container(arp(1, container_mac, any4, container_ip)), GoesToTheKernel(FNET_TO_BRIDGE)) << "probe, RFC 5227";
    EXPECT_THAT(at_container(arp(2, container_mac, gateway, container_ip)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(arp(1, container_mac, neighbour_ip, gateway)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(arp(2, forged_mac, container_ip, gateway)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(arp(2, neighbour_mac, neighbour_ip, gateway)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(Eth{.src = forged_mac, .dst = broadcast_mac} /
                             Packet{Arp{.sender_mac = container_mac, .sender = container_ip, .target = gateway}}),
                IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(container_broadcast /
                             Packet{Arp{.sender_mac = container_mac, .sender = container_ip, .target = gateway, .address_length = 16}}),
                IsDropped(FNET_SPOOFED_SOURCE))
        << "another layout, where the sender is elsewhere";
}

TEST_F(Guard, ShortArpIsDropped) {
    const Bytes whole = arp(1, container_mac, container_ip, gateway).bytes();
    for (std::size_t size = 14; size < whole.size(); ++size) {
        const Outcome outcome =
            run("tc_container", Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)), container().ifindex);
        EXPECT_THAT(outcome, IsDropped(FNET_SPOOFED_SOURCE)) << size;
    }
}

TEST_F(Guard, NeighbourDiscoverySpeaksForItselfOnly) {
    const auto advertise = [&](const IpAddress& src, const IpAddress& target, const MacAddress& option) {
        return at_container(icmp6(src, all_nodes, neighbour_message(kNeighbourAdvertisement, target, option)));
    };
    const auto solicit = [&](const IpAddress& src, const MacAddress& option) {
        return at_container(icmp6(src, all_nodes, neighbour_message(kNeighbourSolicitation, gateway6, option)));
    };
    EXPECT_THAT(advertise(container6, container6, container_mac), GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(advertise(container_link_local, container_link_local, container_mac), GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(advertise(container6, gateway6, container_mac), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(advertise(container6, neighbour6, container_mac), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(advertise(container6, container6, forged_mac), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(advertise(neighbour6, neighbour6, container_mac), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(solicit(container6, container_mac), GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(solicit(container6, forged_mac), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(
        at_container(icmp6(container6, all_nodes, neighbour_message(kNeighbourAdvertisement, container6, container_mac) / payload(8))),
        IsDropped(FNET_SPOOFED_SOURCE))
        << "a second option";
}

TEST_F(Guard, UnicastNeighbourDiscoveryIsGuardedToo) {
    EXPECT_THAT(at_container(container_to_neighbour / Packet{Ipv6{.src = container6, .dst = neighbour6, .hop_limit = 255}} /
                             neighbour_message(kNeighbourAdvertisement, gateway6, container_mac)),
                IsDropped(FNET_SPOOFED_SOURCE));
}

TEST_F(Guard, NeighbourDiscoveryBehindExtensionHeadersIsDropped) {
    // RFC 7113: the usual way around a guard that looks at the first next-header only.
    for (const std::uint8_t extension : {kProtocolHopByHop, kProtocolDestination, kProtocolRouting}) {
        EXPECT_THAT(at_container(icmp6(container_link_local, all_nodes,
                                       Ipv6Extension{.type = extension} / Packet{Icmp{.type = kRouterAdvertisement}} / payload(8))),
                    IsDropped(FNET_ROUTER_MESSAGE))
            << int{extension};
        EXPECT_THAT(
            at_container(icmp6(container6, all_nodes,
                               Ipv6Extension{.type = extension} / neighbour_message(kNeighbourAdvertisement, gateway6, container_mac))),
            IsDropped(FNET_SPOOFED_SOURCE))
            << int{extension};
    }
    EXPECT_THAT(at_container(icmp6(container_link_local, all_nodes,
                                   Ipv6Extension{.type = kProtocolHopByHop} / Packet{Ipv6Extension{.type = kProtocolDestination}} /
                                       Icmp{.type = kRouterAdvertisement} / payload(8))),
                IsDropped(FNET_ROUTER_MESSAGE));
    EXPECT_THAT(
        at_container(icmp6(container_link_local, all_nodes,
                           Ipv6Extension{.body = Bytes(62, 0)} / Packet{Ipv6Extension{.type = kProtocolDestination, .body = Bytes(70, 0)}} /
                               Icmp{.type = kRouterAdvertisement} / payload(8))),
        IsDropped(FNET_ROUTER_MESSAGE))
        << "long headers";
    EXPECT_THAT(at_container(icmp6(container_link_local, all_nodes, Ipv6Extension{} / Packet{udp(547, 546)} / payload(8))),
                IsDropped(FNET_ROUTER_MESSAGE));
}

TEST_F(Guard, NeighbourDiscoveryInFragmentsIsDropped) {
    EXPECT_THAT(
        at_container(icmp6(container_link_local, all_nodes, Ipv6Fragment{} / Packet{Icmp{.type = kRouterAdvertisement}} / payload(8))),
        IsDropped(FNET_ROUTER_MESSAGE));
    EXPECT_THAT(at_container(icmp6(container6, all_nodes,
                                   Ipv6Fragment{.more = false} / neighbour_message(kNeighbourAdvertisement, gateway6, container_mac))),
                IsDropped(FNET_SPOOFED_SOURCE));
}

TEST_F(Guard, RouterMessagesAreDropped) {
    EXPECT_THAT(at_container(icmp6(container_link_local, all_nodes, Icmp{.type = kRouterAdvertisement} / Packet{payload(24)})),
                IsDropped(FNET_ROUTER_MESSAGE));
    EXPECT_THAT(at_container(icmp6(container_link_local, all_nodes, Icmp{.type = kNdRedirect} / Packet{payload(40)})),
                IsDropped(FNET_ROUTER_MESSAGE));
    EXPECT_THAT(at_container(from_container / ip(container_ip, gateway) / Icmp{.type = 5, .code = 1} / ip(host_ip, client) / udp(1, 2)),
                IsDropped(FNET_ROUTER_MESSAGE));
    EXPECT_THAT(at_container(icmp6(container_link_local, address("ff02::2"), Icmp{.type = kRouterSolicitation})),
                GoesToTheKernel(FNET_TO_BRIDGE))
        << "a question is allowed";
}

TEST_F(Guard, DhcpServerAnswersAreDropped) {
    EXPECT_THAT(at_container(container_broadcast / ip(container_ip, limited_broadcast) / udp(67, 68)), IsDropped(FNET_ROUTER_MESSAGE));
    EXPECT_THAT(at_container(container_to_neighbour / ip(container_ip, neighbour_ip) / udp(67, 68)), IsDropped(FNET_ROUTER_MESSAGE));
    EXPECT_THAT(at_container(container_to_neighbour / ip(container6, neighbour6) / udp(547, 546)), IsDropped(FNET_ROUTER_MESSAGE));
    EXPECT_TRUE(at_container(container_to_neighbour / ip(container_ip, neighbour_ip) / udp(547, 68)).counted_only(FNET_LOCAL_FORWARDED))
        << "the other family's port";
    EXPECT_TRUE(at_container(container_to_neighbour / ip(container_ip, neighbour_ip) / tcp(67, 68)).counted_only(FNET_LOCAL_FORWARDED));
}

TEST_F(Guard, DhcpServerAnswerInFragmentsIsDropped) {
    const auto fragment = [](std::uint16_t offset, std::uint16_t port) {
        return container_to_neighbour /
               Packet{Ipv4{.src = container_ip, .dst = neighbour_ip, .more_fragments = true, .fragment_offset = offset}} / udp(port, 68) /
               payload(8);
    };
    EXPECT_THAT(at_container(fragment(0, 67)), IsDropped(FNET_ROUTER_MESSAGE));
    EXPECT_TRUE(at_container(fragment(0, 66)).counted_only(FNET_LOCAL_FORWARDED));
    EXPECT_TRUE(at_container(fragment(16, 67)).counted_only(FNET_LOCAL_FORWARDED))
        << "no header there, and worth nothing without the first";
}

TEST_F(Guard, EndlessExtensionHeadersAreDropped) {
    Packet packet = container_to_neighbour / ip(container6, neighbour6);
    for (int i = 0; i < 7; ++i) packet = packet / Ipv6Extension{.type = kProtocolDestination};
    EXPECT_THAT(at_container(packet / udp(1, 2)), IsDropped(FNET_UNSUPPORTED_PROTOCOL));
    EXPECT_THAT(at_container(container_to_neighbour / ip(container6, neighbour6) / Ipv6Extension{.body = {}} / payload(0)),
                RedirectsToNeighbour(container_to_neighbour / ip(container6, neighbour6) / Ipv6Extension{.body = {}} / payload(0)))
        << "ends in nothing, and says so";
    Bytes cut = (container_to_neighbour / ip(container6, neighbour6) / Ipv6Extension{}).bytes();
    cut.resize(cut.size() - 4);
    cut[19] = 4;  // payload length
    EXPECT_THAT(run("tc_container", cut, container().ifindex), IsDropped(FNET_MALFORMED));
}

TEST_F(Guard, WhatIsNotIpOrArpIsDropped) {
    EXPECT_THAT(at_container(Eth{.src = container_mac, .dst = gateway_mac, .ether_type = 0x88cc} / payload(50)),
                IsDropped(FNET_UNSUPPORTED_PROTOCOL));
    EXPECT_THAT(at_container(Eth{.src = container_mac, .dst = MacAddress{{1, 0x80, 0xc2, 0, 0, 0}}, .ether_type = 38} / payload(50)),
                IsDropped(FNET_UNSUPPORTED_PROTOCOL))
        << "spanning tree";
    // The tag as raw bytes; wire_test.cpp sends real tagged frames, whose tag the kernel takes out.
    EXPECT_THAT(at_container(from_container / Packet{Vlan{.id = 5}} / ip(container_ip, client) / tcp(20000, 443)),
                IsDropped(FNET_UNSUPPORTED_PROTOCOL));
    EXPECT_THAT(at_container(from_container / Packet{Vlan{.id = 5, .tag_protocol = 0x88a8}} / Vlan{.id = 6} / ip(container_ip, client) /
                             tcp(20000, 443)),
                IsDropped(FNET_UNSUPPORTED_PROTOCOL));
}

TEST_F(Guard, VethWithoutAnEndpointIsDropped) {
    ASSERT_TRUE(forget_container(container()));
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / tcp(20000, 443)), IsDropped(FNET_UNKNOWN_ENDPOINT));
    EXPECT_THAT(at_container(arp(1, container_mac, container_ip, gateway)), IsDropped(FNET_UNKNOWN_ENDPOINT));
}

}  // namespace
}  // namespace fastnet::test
