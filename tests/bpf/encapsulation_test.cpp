// tc_container: to a container of the overlay network on another node. Every byte of the outer frame.
#include <set>

#include "tests/bpf/overlay_fixture.h"

namespace fastnet::test {
namespace {

class Encapsulation : public OverlayTest, public ::testing::WithParamInterface<Way> {
protected:
    void SetUp() override {
        OverlayTest::SetUp();
        if (IsSkipped()) return;
        add_peer(way().peer);
        add_remote(way().peer);
    }
    const Way& way() const { return GetParam(); }
    const Peer& peer() const { return way().peer; }
    Packet inner_ip(std::uint8_t traffic_class = 0) const {
        if (way().v4()) return Ipv4{.src = way().container(), .dst = way().remote(), .tos = traffic_class};
        return Ipv6{.src = way().container(), .dst = way().remote(), .traffic_class = traffic_class};
    }
    Packet datagram(std::size_t body = 40) const { return to_remote(peer()) / inner_ip() / udp(20000, 53) / payload(body); }
    /// Whose IP packet is @p size bytes long.
    Packet of_size(std::size_t size) const { return datagram(size - (way().v4() ? 20U : 40U) - 8U); }
    void forget_way() {
        fnet_tunnel value = tunnel(peer());
        value.checked_ns -= 2 * kSecond;
        store_tunnel(peer(), value);
    }
};
INSTANTIATE_TEST_SUITE_P(Each, Encapsulation, each_way, way_name);

TEST_P(Encapsulation, PutsTheFrameBehindAnOuterHeader) {
    for (const Packet& l4 : {Packet{tcp(20000, 80)}, Packet{tcp(20000, 80, kAck) / payload(999)}, Packet{udp(20000, 53) / payload(31)},
                             Packet{echo(way().v4() ? kEchoRequest : kEchoRequest6, 7) / payload(56)},
                             Packet{echo(way().v4() ? kEchoReply : kEchoReply6, 7)}, Packet{sctp(1, 2, 1) / payload(12)}}) {
        const Packet frame = to_remote(peer()) / inner_ip() / l4;
        EXPECT_THAT(at_container(frame), TunnelsTo(peer(), frame)) << "the way is looked up";
        EXPECT_THAT(at_container(frame), TunnelsTo(peer(), frame)) << "the way is known";
    }
    EXPECT_TRUE(flows().empty()) << "no address changes";
}

TEST_P(Encapsulation, TakesAnyIpPacketAndSpendsNoTimeToLive) {
    std::vector<Packet> packets{to_remote(peer()) / ip(way().container(), way().remote(), 1) / udp(1, 2)};
    if (way().v4()) {
        packets.push_back(to_remote(peer()) / Ipv4{.src = way().container(), .dst = way().remote(), .more_fragments = true} /
                          Packet{payload(64)});
        packets.push_back(to_remote(peer()) / Ipv4{.src = way().container(), .dst = way().remote(), .fragment_offset = 64} /
                          Packet{payload(64)});
        packets.push_back(to_remote(peer()) / Ipv4{.src = way().container(), .dst = way().remote(), .options = {1, 1, 1, 1}} /
                          Packet{udp(1, 2)});
        packets.push_back(to_remote(peer()) / Ipv4{.src = way().container(), .dst = way().remote(), .protocol = 47} / Packet{payload(64)});
    } else {
        packets.push_back(to_remote(peer()) / inner_ip() / Ipv6Extension{} / udp(1, 2));
        packets.push_back(to_remote(peer()) / inner_ip() / Ipv6Fragment{.offset = 64} / payload(64));
        packets.push_back(to_remote(peer()) / inner_ip() / neighbour_message(kNeighbourSolicitation, way().remote(), container_mac));
    }
    for (const Packet& packet : packets) EXPECT_THAT(at_container(packet), TunnelsTo(peer(), packet));
}

TEST_P(Encapsulation, GivesTheFrameItsOwnersMacWhereverItWasSent) {
    const Packet wanted = datagram();
    for (const MacAddress& to : {gateway_mac, mac(7, 7), neighbour_mac})
        EXPECT_THAT(at_container(Eth{.src = container_mac, .dst = to} / inner_ip() / udp(20000, 53) / payload(40)),
                    TunnelsTo(peer(), wanted));
}

TEST_P(Encapsulation, CopiesTheCongestionBitsAndNoOthers) {
    for (std::uint8_t ecn = 0; ecn < 4; ++ecn) {
        const Packet frame = to_remote(peer()) / inner_ip(static_cast<std::uint8_t>(0xb8 | ecn)) / udp(20000, 53);
        EXPECT_THAT(at_container(frame), TunnelsWithEcn(peer(), frame, ecn)) << int{ecn};
    }
}

TEST_P(Encapsulation, SourcePortTellsFlowsApartAndKeepsEachTogether) {
    const auto port_of = [&](const Packet& frame) { return source_port(peer(), at_container(frame).out); };
    std::set<std::uint16_t> ports;
    for (std::uint16_t port = 20000; port < 20064; ++port) {
        const Packet frame = to_remote(peer()) / inner_ip() / tcp(port, 80);
        const std::uint16_t first = port_of(frame);
        EXPECT_EQ(first, port_of(to_remote(peer()) / inner_ip() / tcp(port, 80, kAck) / payload(100)));
        ports.insert(first);
    }
    EXPECT_GT(ports.size(), 60U);
    ports.clear();
    for (std::uint16_t port = 0; port < 64; ++port) ports.insert(port_of(to_remote(peer()) / inner_ip() / udp(20000, port)));
    EXPECT_GT(ports.size(), 60U);
    EXPECT_NE(port_of(to_remote(peer()) / inner_ip() / udp(20000, 80)), port_of(to_remote(peer()) / inner_ip() / tcp(20000, 80)));
    EXPECT_NE(port_of(to_remote(peer()) / inner_ip() / udp(20000, 80)),
              source_port(peer(), at_container(neighbour(), Eth{.src = neighbour_mac, .dst = peer().mac} /
                                                                ip(way().neighbour(), way().remote()) / udp(20000, 80))
                                      .out));
}

TEST_P(Encapsulation, IsCounted) {
    const Packet frame = datagram();
    at_container(frame);
    at_container(frame);
    EXPECT_EQ(tunnel(peer()).sent_packets, 2U);
    EXPECT_EQ(tunnel(peer()).sent_bytes, 2 * frame.bytes().size());
    EXPECT_EQ(endpoint(container()).fast_packets, 2U);
    EXPECT_EQ(endpoint(container()).fast_bytes, 2 * frame.bytes().size());
}

TEST_P(Encapsulation, WayIsBelievedForAWhileThenLookedUpAgain) {
    at_container(datagram());
    const std::string next_hop = peer().v4() ? "192.0.2.1" : "2001:db8:2::1";
    lab().ip("neigh replace " + next_hop + " lladdr " + moved_router_mac.to_string() + " dev up0 nud permanent\n");
    EXPECT_THAT(at_container(datagram()), TunnelsTo(peer(), datagram()));
    forget_way();
    Bytes moved = to_peer(peer(), {.source_port = source_port(peer(), at_container(datagram()).out)}, datagram()).bytes();
    std::copy(moved_router_mac.bytes().begin(), moved_router_mac.bytes().end(), moved.begin());
    EXPECT_EQ(at_container(datagram()).out, moved);
}

TEST_P(Encapsulation, WithoutAWayIsDropped) {
    at_container(datagram());
    lab().ip(std::string{"route add unreachable "} + peer().address.to_string() + "\n");
    forget_way();
    EXPECT_THAT(at_container(datagram()), IsDropped(FNET_NO_ROUTE));
    lab().ip(std::string{"route del unreachable "} + peer().address.to_string() + "\n");
    EXPECT_THAT(at_container(datagram()), TunnelsTo(peer(), datagram()));
    if (peer().v4()) {
        lab().ip("neigh add 203.0.113.9 lladdr " + mac(8, 2).to_string() + " dev side0 nud permanent\nroute add " +
                 peer().address.to_string() + " via 203.0.113.9 dev side0\n");
        forget_way();
        EXPECT_THAT(at_container(datagram()), IsDropped(FNET_NO_UPLINK));
    }
}

TEST_P(Encapsulation, PeerThatIsGoneIsNoWay) {
    at_container(datagram());
    remove_peer(peer());
    EXPECT_THAT(at_container(datagram()), IsDropped(FNET_NO_ROUTE));
    EXPECT_EQ(tunnel(peer()).sent_packets, 0U);
}

TEST_P(Encapsulation, NextHopThatIsNotKnownIsLeftToTheKernelsNeighbourCode) {
    lab().ip(std::string{"neigh del "} + (peer().v4() ? "192.0.2.1" : "2001:db8:2::1") + " dev up0\n");
    for (int i = 0; i < 2; ++i) {
        const Outcome outcome = at_container(datagram());
        Bytes expected = to_peer(peer(), {.source_port = source_port(peer(), outcome.out)}, datagram()).bytes();
        std::fill_n(expected.begin(), 12, std::uint8_t{0});
        EXPECT_EQ(outcome.action, kRedirected);
        EXPECT_EQ(outcome.out, expected) << "MACs are not known yet";
        EXPECT_EQ(tunnel(peer()).checked_ns, 0U) << "the next packet asks again";
        EXPECT_EQ(tunnel(peer()).mtu, 1500 - peer().overhead());
    }
}

TEST_P(Encapsulation, WhatIsTooBigForTheWayItsSenderIsTold) {
    const std::size_t fits = 1500 - peer().overhead();
    const Packet largest = of_size(fits);
    EXPECT_THAT(at_container(largest), TunnelsTo(peer(), largest));
    EXPECT_EQ(tunnel(peer()).mtu, fits);
    EXPECT_THAT(at_container(of_size(fits + 1)), IsAnsweredTooBig(static_cast<std::uint32_t>(fits), into_container, way().gateway()));
    EXPECT_EQ(tunnel(peer()).sent_packets, 1U);
}

TEST_P(Encapsulation, FollowsASmallerRoute) {
    at_container(datagram());
    lab().ip("route add " + peer().address.to_string() + " via " + (peer().v4() ? "192.0.2.1" : "2001:db8:2::1") +
             " dev up0 mtu lock 1400\n");
    forget_way();
    const std::size_t fits = 1400 - peer().overhead();
    EXPECT_THAT(at_container(of_size(fits + 1)), IsAnsweredTooBig(static_cast<std::uint32_t>(fits), into_container, way().gateway()));
    EXPECT_THAT(at_container(of_size(fits)), TunnelsTo(peer(), of_size(fits)));
}

TEST_P(Encapsulation, NetworkWithoutInterContainerTrafficHasNone) {
    set_flags(container(), FNET_ENDPOINT_NO_ICC);
    EXPECT_THAT(at_container(datagram()), IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_THAT(at_container(from_container / inner_ip() / udp(20000, 53)), IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_EQ(tunnel(peer()).sent_packets, 0U);
}

/// A packet that is still to be segmented, of a kind that the helper does not know.
TEST_P(Encapsulation, WhatTheHelperRefusesGoesByTheBridge) {
    const Packet sent = from_container / inner_ip() / udp(20000, 53) / payload(1200);
    const Outcome outcome = run("tc_container", sent.bytes(), {.ifindex = container().ifindex, .gso_size = 400});
    EXPECT_EQ(outcome.action, kToKernel);
    EXPECT_TRUE(outcome.counted_only(FNET_TO_BRIDGE));
    EXPECT_EQ(outcome.out, (to_remote(peer()) / inner_ip() / udp(20000, 53) / payload(1200)).bytes())
        << "to the MAC of its owner: the gateway's would be the host's";
    EXPECT_EQ(tunnel(peer()).sent_packets, 0U);
    EXPECT_EQ(endpoint(container()).kernel_packets, 1U);
    EXPECT_EQ(endpoint(container()).fast_packets, 0U);
}

TEST_P(Encapsulation, ForgedSourceGoesNowhere) {
    EXPECT_THAT(at_container(to_remote(peer()) / ip(way().neighbour(), way().remote()) / udp(1, 2)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(Eth{.src = neighbour_mac, .dst = peer().mac} / inner_ip() / udp(1, 2)), IsDropped(FNET_SPOOFED_SOURCE));
}

TEST_P(Encapsulation, ContainerOfAnotherNetworkIsNoneOfIt) {
    const IpAddress& from = way().v4() ? stranger_ip : stranger6;
    EXPECT_EQ(at_container(stranger(), from_stranger / ip(from, way().remote()) / udp(20000, 53)).action, kDropped);
    EXPECT_EQ(tunnel(peer()).sent_packets, 0U);
}

}  // namespace
}  // namespace fastnet::test
