// tc_uplink: VXLAN from another node. Who may send what into which network, and every byte of what comes out.
#include "tests/bpf/overlay_fixture.h"

namespace fastnet::test {
namespace {

class Decapsulation : public OverlayTest, public ::testing::WithParamInterface<Way> {
protected:
    void SetUp() override {
        OverlayTest::SetUp();
        if (IsSkipped()) return;
        add_peer(peer());
        add_remote(peer());
    }
    const Way& way() const { return GetParam(); }
    const Peer& peer() const { return way().peer; }
    const IpAddress& host() const { return peer().v4() ? host_ip : host6; }
    Packet inner_ip(const IpAddress& from, const IpAddress& to, std::uint8_t traffic_class = 0) const {
        if (way().v4()) return Ipv4{.src = from, .dst = to, .tos = traffic_class};
        return Ipv6{.src = from, .dst = to, .traffic_class = traffic_class};
    }
    Packet datagram(std::uint8_t traffic_class = 0) const {
        return from_remote(peer()) / inner_ip(way().remote(), way().container(), traffic_class) / udp(20000, 53) / payload(40);
    }
    /// The outer frame in parts, for those that lie.
    Packet outer_ip(const IpAddress& from, const IpAddress& to) const { return from_outside / test::ip(from, to); }
    static Udp to_vxlan() { return {.src = Port{50000}, .dst = Port{kVxlanPort}, .checksum = 0}; }
};
INSTANTIATE_TEST_SUITE_P(Each, Decapsulation, each_way, way_name);

TEST_P(Decapsulation, TakesTheFrameOutUnchanged) {
    for (const Packet& l4 : {Packet{tcp(20000, 80)}, Packet{tcp(20000, 80, kAck) / payload(1300)}, Packet{udp(20000, 53) / payload(31)},
                             Packet{echo(way().v4() ? kEchoRequest : kEchoRequest6, 7) / payload(56)},
                             Packet{echo(way().v4() ? kEchoReply : kEchoReply6, 7)}, Packet{sctp(1, 2, 1) / payload(12)}}) {
        const Packet frame = from_remote(peer()) / inner_ip(way().remote(), way().container()) / l4;
        EXPECT_THAT(receive(peer(), frame), Decapsulates(frame));
    }
    EXPECT_TRUE(flows().empty());
}

TEST_P(Decapsulation, TakesAnyIpPacketAndSpendsNoTimeToLive) {
    const Packet expiring = from_remote(peer()) / ip(way().remote(), way().container(), 1) / udp(1, 2);
    EXPECT_THAT(receive(peer(), expiring), Decapsulates(expiring));
    if (way().v4()) {
        const Packet fragment =
            from_remote(peer()) / Ipv4{.src = way().remote(), .dst = way().container(), .fragment_offset = 64} / Packet{payload(64)};
        EXPECT_THAT(receive(peer(), fragment), Decapsulates(fragment));
        const Packet options =
            from_remote(peer()) / Ipv4{.src = way().remote(), .dst = way().container(), .options = {1, 1, 1, 1}} / Packet{udp(1, 2)};
        EXPECT_THAT(receive(peer(), options), Decapsulates(options));
    } else {
        const Packet extended = from_remote(peer()) / ip(way().remote(), way().container()) / Ipv6Extension{} / udp(1, 2);
        EXPECT_THAT(receive(peer(), extended), Decapsulates(extended));
    }
}

TEST_P(Decapsulation, GivesTheFrameItsOwnersMac) {
    for (const MacAddress& to : {gateway_mac, neighbour_mac, mac(7, 7)})
        EXPECT_THAT(receive(peer(), Eth{.src = peer().mac, .dst = to} / inner_ip(way().remote(), way().neighbour()) / udp(1, 2)),
                    Decapsulates(Eth{.src = peer().mac, .dst = neighbour_mac} / inner_ip(way().remote(), way().neighbour()) / udp(1, 2)));
}

TEST_P(Decapsulation, IsCounted) {
    receive(peer(), datagram());
    receive(peer(), datagram());
    EXPECT_EQ(tunnel(peer()).received_packets, 2U);
    EXPECT_EQ(tunnel(peer()).received_bytes, 2 * datagram().bytes().size());
    EXPECT_EQ(tunnel(peer()).dropped_packets, 0U);
    EXPECT_EQ(tunnel(peer()).kernel_packets, 0U);
}

TEST_P(Decapsulation, PeerIsSeenByWhatIsBelievedOfItAndByNothingElse) {
    receive(peer(), from_remote(peer()) / inner_ip(way().neighbour(), way().container()) / udp(1, 2));
    EXPECT_EQ(tunnel(peer()).dropped_packets, 1U);
    EXPECT_EQ(tunnel(peer()).seen_ns, 0U);
    receive(peer(), datagram());
    EXPECT_NE(tunnel(peer()).seen_ns, 0U);
}

TEST_P(Decapsulation, BelievesAnyOtherBitAndSourcePortAndOuterChecksum) {
    const Packet outer = outer_ip(peer().address, host());
    EXPECT_THAT(at_uplink(outer / to_vxlan() / Vxlan{.vni = kVni, .flags = 0xff, .reserved = 0xabcdef, .reserved_end = 0x99} / datagram()),
                Decapsulates(datagram()))
        << "RFC 7348 section 5: reserved bits are ignored";
    EXPECT_THAT(at_uplink(from_peer(peer(), {.source_port = 1}, datagram())), Decapsulates(datagram()));
    EXPECT_THAT(at_uplink(outer / udp(50000, kVxlanPort) / Vxlan{.vni = kVni} / datagram()), Decapsulates(datagram()));
}

TEST_P(Decapsulation, WithoutTheFlagThereIsNoVni) {
    for (const std::uint8_t flags : {std::uint8_t{0}, std::uint8_t{0xf7}})
        EXPECT_THAT(at_uplink(outer_ip(peer().address, host()) / to_vxlan() / Vxlan{.vni = kVni, .flags = flags} / datagram()),
                    IsDropped(FNET_MALFORMED));
}

TEST_P(Decapsulation, OnAnotherAddressOfTheHostToo) {
    const IpAddress second = peer().v4() ? second_host_ip : address("fd00:20::1");
    const Packet frame = outer_ip(peer().address, second) / to_vxlan() / Vxlan{.vni = kVni} / datagram();
    EXPECT_THAT(at_uplink(frame), Decapsulates(datagram())) << "nothing was sent yet";
    at_container(to_remote(peer()) / inner_ip(way().container(), way().remote()) / udp(53, 20000));
    EXPECT_THAT(at_uplink(frame), Decapsulates(datagram())) << "what we send has the first address";
    EXPECT_THAT(receive(peer(), datagram()), Decapsulates(datagram()));
}

TEST_P(Decapsulation, WhatIsNotForTheHostIsInTransit) {
    const IpAddress& elsewhere = peer().v4() ? client : client6;
    const IpAddress& nobody = peer().v4() ? other_client : router6;
    for (int i = 0; i < 2; ++i) {
        EXPECT_THAT(at_uplink(outer_ip(peer().address, elsewhere) / to_vxlan() / Vxlan{.vni = kVni} / datagram()),
                    GoesToTheKernel(FNET_HOST_TRAFFIC));
        EXPECT_THAT(at_uplink(outer_ip(nobody, elsewhere) / to_vxlan() / Vxlan{.vni = kVni} / datagram()),
                    GoesToTheKernel(FNET_HOST_TRAFFIC));
        EXPECT_THAT(at_uplink(outer_ip(peer().address, elsewhere) / to_vxlan() / Vxlan{.vni = kOtherVni} / datagram()),
                    GoesToTheKernel(FNET_HOST_TRAFFIC));
        at_container(to_remote(peer()) / inner_ip(way().container(), way().remote()) / udp(53, 20000));
    }
    EXPECT_EQ(tunnel(peer()).dropped_packets, 0U);
}

TEST_P(Decapsulation, FromNoPeerIsDropped) {
    const IpAddress& nobody = peer().v4() ? other_client : router6;
    for (const std::uint32_t vni : {kVni, kOtherVni, 0U})
        EXPECT_THAT(at_uplink(outer_ip(nobody, host()) / to_vxlan() / Vxlan{.vni = vni} / datagram()), IsDropped(FNET_TUNNEL_UNKNOWN_PEER));
    EXPECT_EQ(tunnel(peer()).dropped_packets, 0U);
}

TEST_P(Decapsulation, PeersOfOneNetworkAreNoneOfAnother) {
    for (const std::uint32_t vni : {kOtherVni, 0U, kVni + 1, kVni & 0xffff, 0xffffffU})
        EXPECT_THAT(at_uplink(from_peer(peer(), {.vni = vni}, datagram())), IsDropped(FNET_TUNNEL_UNKNOWN_NETWORK)) << vni;
    EXPECT_EQ(tunnel(peer()).dropped_packets, 5U);
}

TEST_P(Decapsulation, InnerSourceMustBeThePeers) {
    const Peer& other = peer().v4() ? second_peer4 : peer4;
    add_peer(other);
    add_remote(other);
    const IpAddress& unknown = way().v4() ? nobody_ip : address("fd00:10::99");
    const IpAddress& outside = way().v4() ? client : client6;
    unsigned dropped = 0;
    for (const IpAddress& source :
         {other.remote(way().v4()), way().container(), way().neighbour(), way().gateway(), unknown, way().stranger(), outside,
          way().v4() ? any4 : localhost6, way().v4() ? limited_broadcast : all_nodes}) {
        EXPECT_THAT(receive(peer(), from_remote(peer()) / inner_ip(source, way().container()) / udp(1, 2)),
                    IsDropped(FNET_TUNNEL_BAD_INNER))
            << source.to_string();
        EXPECT_EQ(tunnel(peer()).dropped_packets, ++dropped);
    }
    EXPECT_THAT(receive(other, from_remote(peer()) / inner_ip(way().remote(), way().container()) / udp(1, 2)),
                IsDropped(FNET_TUNNEL_BAD_INNER));
    EXPECT_EQ(tunnel(peer()).received_packets, 0U);
}

TEST_P(Decapsulation, InnerDestinationMustBeHere) {
    const Peer& other = peer().v4() ? second_peer4 : peer4;
    add_peer(other);
    add_remote(other);
    const IpAddress& unknown = way().v4() ? nobody_ip : address("fd00:10::99");
    for (const IpAddress& to : {unknown, way().gateway(), way().remote(), other.remote(way().v4()), way().stranger(),
                                way().v4() ? client : client6, peer().v4() ? host_ip : host6})
        if (to.family() == way().inner) {
            EXPECT_THAT(receive(peer(), from_remote(peer()) / inner_ip(way().remote(), to) / udp(1, 2)), IsDropped(FNET_TUNNEL_BAD_INNER))
                << to.to_string();
        }
    EXPECT_EQ(tunnel(peer()).received_packets, 0U);
}

TEST_P(Decapsulation, InnerFrameMustBePlainIp) {
    const Packet ip_packet = inner_ip(way().remote(), way().container()) / udp(1, 2) / payload(40);
    const Eth eth = from_remote(peer()), broadcast{.src = peer().mac, .dst = broadcast_mac};
    for (const Packet& inner : {eth / Packet{Vlan{.id = 5}} / ip_packet, broadcast / Packet{Vlan{.id = 5}} / ip_packet,
                                Eth{.src = peer().mac, .dst = container_mac, .ether_type = 0x88b5} / ip_packet,
                                Eth{.src = peer().mac, .dst = broadcast_mac, .ether_type = 0x88b5} / ip_packet,
                                Eth{.src = peer().mac, .dst = container_mac, .ether_type = way().v4() ? 0x86dd : 0x0800} / ip_packet})
        EXPECT_THAT(receive(peer(), inner), IsDropped(FNET_TUNNEL_BAD_INNER));
}

/// They would be the keys of IPv4 addresses.
TEST_P(Decapsulation, MappedAddressesAreNobodys) {
    const Peer& v4_peer = peer4;
    add_peer(v4_peer);
    add_remote(v4_peer);
    const Packet forged_outer = from_outside / Packet{Ipv6{.src = v4_peer.address, .dst = host6}} / to_vxlan() / Vxlan{.vni = kVni};
    EXPECT_THAT(at_uplink(forged_outer / from_remote(v4_peer) / ip(v4_peer.remote4, container_ip) / udp(1, 2)), IsDropped(FNET_MALFORMED));
    EXPECT_THAT(at_uplink(from_outside / Packet{Ipv6{.src = any6, .dst = host6}} / to_vxlan() / Vxlan{.vni = 0} / datagram()),
                IsDropped(FNET_MALFORMED));
    const Packet mapped_source = from_remote(peer()) / Packet{Ipv6{.src = peer().remote4, .dst = container6}} / udp(1, 2);
    EXPECT_THAT(receive(peer(), mapped_source), IsDropped(FNET_TUNNEL_BAD_INNER));
    const Packet mapped_target = from_remote(peer()) / Packet{Ipv6{.src = peer().remote6, .dst = container_ip}} / udp(1, 2);
    EXPECT_THAT(receive(peer(), mapped_target), IsDropped(FNET_TUNNEL_BAD_INNER));
    const Packet mapped_group =
        Eth{.src = peer().mac, .dst = multicast6_mac} / Packet{Ipv6{.src = peer().remote4, .dst = all_nodes}} / udp(1, 2);
    EXPECT_THAT(receive(peer(), mapped_group), IsDropped(FNET_TUNNEL_BAD_INNER));
}

TEST_P(Decapsulation, NetworkWithoutInterContainerTrafficHasNone) {
    set_peer_flags(peer(), FNET_VTEP_NO_ICC);
    EXPECT_THAT(receive(peer(), datagram()), IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_EQ(tunnel(peer()).received_packets, 0U);
}

TEST_P(Decapsulation, CutAtEveryLengthItIsDroppedUntouched) {
    const Bytes whole = from_peer(peer(), datagram()).bytes();
    const std::size_t vxlan_header = peer().overhead() - 14;
    for (std::size_t size = 14; size < whole.size(); ++size) {
        Outcome outcome{
            .action = 0, .in = Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)), .out = {}, .verdicts = {}};
        if (!run_quickly("tc_uplink", outcome.in, lab().ifindex("up0"), outcome)) {
            EXPECT_LT(size, 14U + 40U) << "refused by the kernel";
            continue;
        }
        EXPECT_EQ(outcome.action, kDropped) << size << " of " << whole.size() << " bytes, VXLAN ends at " << vxlan_header;
        EXPECT_EQ(outcome.out, outcome.in);
    }
    Verdicts counted = verdicts();
    counted.erase(FNET_MALFORMED);
    EXPECT_EQ(counted, Verdicts{}) << "its lengths say more than is there";
}

/// Outer lengths that fit what is there, of an inner frame that is cut.
TEST_P(Decapsulation, InnerFrameCutAtEveryLengthIsDroppedUntouched) {
    const Bytes inner = datagram().bytes();
    const std::size_t needed = 14U + (way().v4() ? 20U : 40U);
    for (std::size_t size = 0; size < needed; ++size) {
        const Packet cut = Payload{Bytes(inner.begin(), inner.begin() + static_cast<std::ptrdiff_t>(size))};
        EXPECT_THAT(receive(peer(), cut), IsDropped(size < 14 ? FNET_MALFORMED : FNET_TUNNEL_BAD_INNER)) << size;
    }
    for (const MacAddress& to : {broadcast_mac, multicast6_mac})
        for (std::size_t size = 14; size < needed; ++size) {
            Bytes group(inner.begin(), inner.begin() + static_cast<std::ptrdiff_t>(size));
            std::copy(to.bytes().begin(), to.bytes().end(), group.begin());
            const Outcome outcome = receive(peer(), Packet{Payload{group}});
            EXPECT_EQ(outcome.action == kToKernel, outcome.counted_only(FNET_TUNNEL_TO_KERNEL));
            EXPECT_EQ(outcome.out, outcome.in);
        }
}

TEST_P(Decapsulation, LengthsThatLieAreDropped) {
    const Packet outer = outer_ip(peer().address, host());
    const auto size = static_cast<std::uint16_t>(16 + datagram().bytes().size());
    for (const std::uint16_t length : {std::uint16_t{0}, std::uint16_t{7}, std::uint16_t{8}, std::uint16_t{29},
                                       static_cast<std::uint16_t>(size + 1), std::uint16_t{0xffff}})
        EXPECT_THAT(at_uplink(outer / Udp{.src = Port{50000}, .dst = Port{kVxlanPort}, .length = length, .checksum = 0} /
                              Vxlan{.vni = kVni} / datagram()),
                    IsDropped(FNET_MALFORMED))
            << length;
    const auto ip_says = [&](std::uint16_t payload_length) -> Packet {
        if (!peer().v4()) return from_outside / Packet{Ipv6{.src = peer().address, .dst = host(), .payload_length = payload_length}};
        return from_outside /
               Packet{Ipv4{.src = peer().address, .dst = host(), .total_length = static_cast<std::uint16_t>(payload_length + 20)}};
    };
    for (const int beside : {-1, 1, -int{size}, 2000})
        EXPECT_THAT(at_uplink(ip_says(static_cast<std::uint16_t>(size + beside)) / to_vxlan() / Vxlan{.vni = kVni} / datagram()),
                    IsDropped(FNET_MALFORMED))
            << beside;
}

TEST_P(Decapsulation, FrameOfNobodyOrOfTheGatewayIsDropped) {
    for (const MacAddress& source : {gateway_mac, broadcast_mac})
        EXPECT_THAT(receive(peer(), Eth{.src = source, .dst = container_mac} / inner_ip(way().remote(), way().container()) / udp(1, 2)),
                    IsDropped(FNET_TUNNEL_BAD_INNER))
            << source.to_string();
}

class DecapsulationByIpv4 : public Decapsulation {};

INSTANTIATE_TEST_SUITE_P(Each, DecapsulationByIpv4, ::testing::Values(Way{peer4, Family::kIpv4}, Way{peer4, Family::kIpv6}), way_name);

TEST_P(DecapsulationByIpv4, FragmentsAndOptionsAreNoVteps) {
    for (const bool first : {true, false})
        EXPECT_THAT(at_uplink(from_outside /
                              Packet{Ipv4{.src = peer().address,
                                          .dst = host_ip,
                                          .more_fragments = first,
                                          .fragment_offset = static_cast<std::uint16_t>(first ? 0 : 64),
                                          .protocol = 17}} /
                              to_vxlan() / Vxlan{.vni = kVni} / datagram()),
                    GoesToTheKernel(first ? FNET_HOST_TRAFFIC : FNET_FRAGMENT_TO_KERNEL));
    const Outcome optional = at_uplink(from_outside / Packet{Ipv4{.src = peer().address, .dst = host_ip, .options = {1, 1, 1, 1}}} /
                                       to_vxlan() / Vxlan{.vni = kVni} / datagram());
    EXPECT_EQ(optional.action, kToKernel);
    EXPECT_EQ(optional.mark, 0U) << "its vxlan device takes only what was judged";
}

TEST_P(Decapsulation, CongestionOnTheWayIsPassedOn) {
    constexpr std::uint8_t kCongested = 3;
    for (std::uint8_t inner = 1; inner < 4; ++inner)
        EXPECT_THAT(at_uplink(from_peer(peer(), {.ecn = kCongested}, datagram(static_cast<std::uint8_t>(0xb8 | inner)))),
                    Decapsulates(datagram(0xb8 | kCongested)))
            << int{inner};
    EXPECT_THAT(at_uplink(from_peer(peer(), {.ecn = kCongested}, datagram(0xb8))), IsDropped(FNET_TUNNEL_CONGESTED))
        << "its sender would not understand (RFC 6040 4.2)";
    EXPECT_EQ(tunnel(peer()).dropped_packets, 1U);
    for (std::uint8_t outer = 0; outer < kCongested; ++outer)
        for (std::uint8_t inner = 0; inner < 4; ++inner)
            if (outer != 1 || inner != 2) {
                EXPECT_THAT(at_uplink(from_peer(peer(), {.ecn = outer}, datagram(inner))), Decapsulates(datagram(inner)));
            }
}

TEST_P(Decapsulation, CongestionIsNotWrittenIntoWhatIsNoHeader) {
    const Packet lying = way().v4() ? Packet{Ipv4{.src = way().remote(), .dst = way().container(), .tos = 2, .version = 6}}
                                    : Packet{Ipv6{.src = way().remote(), .dst = way().container(), .traffic_class = 0x22, .version = 4}};
    EXPECT_THAT(at_uplink(from_peer(peer(), {.ecn = 3}, from_remote(peer()) / lying / udp(1, 2) / payload(20))),
                IsDropped(FNET_TUNNEL_BAD_INNER));
}

/// A pair of containers is judged once in a while only.
TEST_P(Decapsulation, WhatUserSpaceTakesAwayIsGoneAtOnce) {
    const auto established = [&] {
        EXPECT_THAT(receive(peer(), datagram()), Decapsulates(datagram()));
        EXPECT_THAT(receive(peer(), datagram()), Decapsulates(datagram()));
    };
    established();
    const fnet_address local = *owner(way().container());
    ASSERT_TRUE(forget_address(way().container()));
    EXPECT_THAT(receive(peer(), datagram()), IsDropped(FNET_TUNNEL_BAD_INNER));
    store_address(way().container(), local);
    established();
    ASSERT_TRUE(forget_address(way().remote()));
    EXPECT_THAT(receive(peer(), datagram()), IsDropped(FNET_TUNNEL_BAD_INNER));
    add_remote(peer());
    established();
    set_peer_flags(peer(), FNET_VTEP_NO_ICC);
    EXPECT_THAT(receive(peer(), datagram()), IsDropped(FNET_NETWORK_ISOLATED));
}

TEST_P(Decapsulation, WhatOnePairMayAnotherMayNot) {
    const Peer& other = peer().v4() ? second_peer4 : peer4;
    add_peer(other);
    add_remote(other);
    const auto sent = [&](const IpAddress& from, const IpAddress& to) {
        return from_remote(peer()) / inner_ip(from, to) / udp(20000, 53) / payload(40);
    };
    const auto again = [&] { EXPECT_THAT(receive(peer(), datagram()), Decapsulates(datagram())); };
    again();
    EXPECT_THAT(receive(other, datagram()), IsDropped(FNET_TUNNEL_BAD_INNER));
    again();
    EXPECT_THAT(receive(peer(), sent(other.remote(way().v4()), way().container())), IsDropped(FNET_TUNNEL_BAD_INNER));
    again();
    EXPECT_THAT(receive(peer(), sent(way().remote(), way().remote())), IsDropped(FNET_TUNNEL_BAD_INNER));
    again();
    EXPECT_THAT(at_uplink(from_peer(peer(), {.vni = kOtherVni}, datagram())), IsDropped(FNET_TUNNEL_UNKNOWN_NETWORK));
    again();
    EXPECT_THAT(
        receive(peer(), Eth{.src = peer().mac, .dst = broadcast_mac} / inner_ip(way().remote(), way().container()) / udp(20000, 53)),
        GoesToTheVxlanDevice());
    again();
    EXPECT_THAT(at_uplink(outer_ip(peer().address, host()) / to_vxlan() / Vxlan{.vni = kVni, .flags = 0} / datagram()),
                IsDropped(FNET_MALFORMED));
    const Packet moved = Eth{.src = mac(7, 7), .dst = container_mac} / inner_ip(way().remote(), way().container()) / udp(1, 2);
    EXPECT_THAT(receive(peer(), moved), Decapsulates(moved));
    const Packet next_door = Eth{.src = peer().mac, .dst = neighbour_mac} / inner_ip(way().remote(), way().neighbour()) / udp(1, 2);
    EXPECT_THAT(receive(peer(), next_door), Decapsulates(next_door));
}

TEST_P(Decapsulation, OtherPortsAreNoTunnels) {
    const Packet frame =
        outer_ip(peer().address, host()) / Udp{.src = Port{kVxlanPort}, .dst = Port{4790}, .checksum = 0} / Vxlan{.vni = kVni} / datagram();
    EXPECT_THAT(at_uplink(frame), GoesToTheKernel(FNET_HOST_TRAFFIC));
}

TEST_P(Decapsulation, NodeWithoutAnOverlayLeavesItToTheHost) {
    set_overlay(false);
    EXPECT_THAT(receive(peer(), datagram()), GoesToTheKernel(FNET_HOST_TRAFFIC));
}

// What the fast path does not carry.

class Unusual : public OverlayTest, public ::testing::WithParamInterface<Peer> {
protected:
    void SetUp() override {
        OverlayTest::SetUp();
        if (IsSkipped()) return;
        for (const Peer& each : {peer(), other()}) {
            add_peer(each);
            add_remote(each);
        }
    }
    const Peer& peer() const { return GetParam(); }
    const Peer& other() const { return second_peer4; }
    Eth to(const MacAddress& group) const { return {.src = peer().mac, .dst = group}; }
    Arp arp(const IpAddress& sender, std::uint16_t operation = 1) const {
        return {.operation = operation, .sender_mac = peer().mac, .sender = sender, .target = container_ip};
    }
    void expect_left(const Packet& inner, const char* what = "") {
        const std::uint64_t before = tunnel(peer()).kernel_packets;
        EXPECT_THAT(receive(peer(), inner), GoesToTheVxlanDevice()) << what;
        EXPECT_EQ(tunnel(peer()).kernel_packets, before + 1);
    }
    void expect_bad(const Packet& inner, const char* what = "") {
        const std::uint64_t before = tunnel(peer()).dropped_packets;
        EXPECT_THAT(receive(peer(), inner), IsDropped(FNET_TUNNEL_BAD_INNER)) << what;
        EXPECT_EQ(tunnel(peer()).dropped_packets, before + 1);
    }
};
INSTANTIATE_TEST_SUITE_P(Each, Unusual, ::testing::Values(peer4, peer6), [](const ::testing::TestParamInfo<Peer>& parameter) {
    return std::string{parameter.param.v4() ? "Ipv4" : "Ipv6"};
});

TEST_P(Unusual, ArpOfThePeersContainersGoesToTheKernel) {
    for (const MacAddress& group : {broadcast_mac, container_mac})
        for (const std::uint16_t operation : {std::uint16_t{1}, std::uint16_t{2}})
            expect_left(to(group) / Packet{arp(peer().remote4, operation)});
    expect_left(to(broadcast_mac) / Packet{arp(any4)}, "a probe");
}

TEST_P(Unusual, ArpInAnothersNameIsDropped) {
    for (const IpAddress& sender : {gateway, container_ip, neighbour_ip, other().remote4, nobody_ip, client, stranger_ip})
        for (const std::uint16_t operation : {std::uint16_t{1}, std::uint16_t{2}})
            expect_bad(to(broadcast_mac) / Packet{arp(sender, operation)}, sender.to_string().c_str());
    Arp forged = arp(peer().remote4);
    forged.sender_mac = container_mac;
    expect_bad(to(broadcast_mac) / Packet{forged}, "another's MAC");
    forged = arp(peer().remote4);
    forged.address_length = 8;
    expect_bad(to(broadcast_mac) / Packet{forged} / payload(8), "no IPv4");
    const Bytes whole = (to(broadcast_mac) / Packet{arp(peer().remote4)}).bytes();
    for (std::size_t size = 15; size < whole.size(); ++size) {
        const Packet cut = Payload{Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))};
        const Outcome outcome = receive(peer(), cut);
        EXPECT_EQ(outcome.action == kToKernel, size >= 14 + 18) << size << ": up to the sender's address it is looked at";
        EXPECT_EQ(outcome.out, outcome.in);
    }
}

TEST_P(Unusual, BroadcastAndMulticastOfThePeersContainersGoToTheKernel) {
    expect_left(to(broadcast_mac) / ip(peer().remote4, address("10.10.0.255")) / udp(1, 2));
    expect_left(to(broadcast_mac) / ip(any4, limited_broadcast) / udp(68, 67), "DHCP");
    expect_left(to(MacAddress{{1, 0, 0x5e, 0, 0, 0xfb}}) / ip(peer().remote4, address("224.0.0.251")) / udp(5353, 5353));
    expect_left(to(multicast6_mac) / ip(peer().remote6, all_nodes) / udp(5353, 5353));
    expect_left(to(multicast6_mac) / ip(container_link_local, all_nodes) / udp(5353, 5353), "link-local addresses are of each node");
    expect_left(to(container_mac) / ip(address("fe80::9"), container_link_local) / udp(1, 2));
}

TEST_P(Unusual, BroadcastAndMulticastInAnothersNameAreDropped) {
    for (const IpAddress& source : {gateway, container_ip, other().remote4, nobody_ip, client}) {
        expect_bad(to(broadcast_mac) / ip(source, limited_broadcast) / udp(1, 2), source.to_string().c_str());
        expect_bad(to(broadcast_mac) / ip(source, container_ip) / udp(1, 2), source.to_string().c_str());
    }
    for (const IpAddress& source : {gateway6, container6, other().remote6, client6})
        expect_bad(to(multicast6_mac) / ip(source, all_nodes) / udp(1, 2), source.to_string().c_str());
    expect_bad(to(container_mac) / ip(container6, container_link_local) / udp(1, 2));
}

TEST_P(Unusual, NeighbourDiscoveryOfThePeersContainersGoesToTheKernel) {
    const Eth group = to(multicast6_mac), unicast = to(container_mac);
    const IpAddress link_local = address("fe80::9");
    expect_left(group / ip(peer().remote6, address("ff02::1:ff00:2"), 255) /
                neighbour_message(kNeighbourSolicitation, container6, peer().mac));
    expect_left(group / ip(any6, address("ff02::1:ff00:50"), 255) / neighbour_message(kNeighbourSolicitation, peer().remote6, peer().mac),
                "who looks for a double");
    expect_left(group / ip(peer().remote6, all_nodes, 255) / neighbour_message(kNeighbourAdvertisement, peer().remote6, peer().mac));
    expect_left(unicast / ip(link_local, container_link_local, 255) /
                neighbour_message(kNeighbourAdvertisement, peer().remote6, peer().mac));
    expect_left(unicast / ip(link_local, container_link_local, 255) / neighbour_message(kNeighbourAdvertisement, link_local, peer().mac));
    expect_left(group / ip(link_local, address("ff02::2"), 255) / Icmp{.type = kRouterSolicitation});
    expect_left(
        group / ip(link_local, address("ff02::16"), 1) / Ipv6Extension{.body = {5, 2, 0, 0, 1, 0}} / Icmp{.type = 143} / payload(20),
        "MLD");
}

TEST_P(Unusual, NeighbourDiscoveryInAnothersNameIsDropped) {
    const Eth group = to(multicast6_mac), unicast = to(container_mac);
    const IpAddress link_local = address("fe80::9");
    for (const IpAddress& target : {gateway6, container6, neighbour6, other().remote6, client6}) {
        expect_bad(group / ip(peer().remote6, all_nodes, 255) / neighbour_message(kNeighbourAdvertisement, target, peer().mac),
                   target.to_string().c_str());
        expect_bad(unicast / ip(link_local, container_link_local, 255) / neighbour_message(kNeighbourAdvertisement, target, peer().mac),
                   target.to_string().c_str());
        expect_bad(
            group / ip(link_local, all_nodes, 255) / Ipv6Extension{} / neighbour_message(kNeighbourAdvertisement, target, peer().mac),
            "behind an extension header");
    }
    for (const std::uint8_t type : {kRouterAdvertisement, kNdRedirect}) {
        expect_bad(group / ip(link_local, all_nodes, 255) / Icmp{.type = type} / payload(32));
        expect_bad(group / ip(peer().remote6, all_nodes, 255) / Icmp{.type = type} / payload(32));
        expect_bad(unicast / ip(link_local, container_link_local, 255) / Icmp{.type = type} / payload(32));
        expect_bad(group / ip(link_local, all_nodes, 255) / Ipv6Extension{} / Icmp{.type = type} / payload(32));
        expect_bad(group / ip(link_local, all_nodes, 255) / Ipv6Extension{.type = kProtocolDestination} /
                   Ipv6Extension{.type = kProtocolDestination} / Icmp{.type = type} / payload(32));
    }
    for (const std::uint8_t type :
         {kRouterSolicitation, kRouterAdvertisement, kNeighbourSolicitation, kNeighbourAdvertisement, kNdRedirect})
        expect_bad(group / ip(link_local, all_nodes, 255) / Ipv6Fragment{} / Icmp{.type = type} / payload(32), "RFC 6980");
}

TEST_P(Unusual, AdvertisementToOneContainerIsJudgedThoughItsPairIsKnown) {
    const Packet between = to(container_mac) / ip(peer().remote6, container6, 255);
    const Packet ordinary = to(container_mac) / ip(peer().remote6, container6) / udp(1, 2);
    ASSERT_THAT(receive(peer(), ordinary), Decapsulates(ordinary));
    const Packet own = between / neighbour_message(kNeighbourAdvertisement, peer().remote6, peer().mac);
    expect_left(own, "that it is there");
    for (const IpAddress& target : {gateway6, neighbour6, other().remote6})
        expect_bad(between / neighbour_message(kNeighbourAdvertisement, target, peer().mac), target.to_string().c_str());
    expect_bad(between / Ipv6Extension{} / neighbour_message(kNeighbourAdvertisement, gateway6, peer().mac));
    expect_bad(between / Icmp{.type = kNdRedirect} / payload(32));
    const Packet segment = between / tcp(20000, 80);
    EXPECT_THAT(receive(peer(), segment), Decapsulates(segment)) << "some systems begin with that hop limit";
    EXPECT_THAT(receive(peer(), ordinary), Decapsulates(ordinary));
}

TEST_P(Unusual, WithoutInterContainerTrafficNothingOfItEither) {
    set_peer_flags(peer(), FNET_VTEP_NO_ICC);
    for (const Packet& inner :
         {to(broadcast_mac) / Packet{arp(peer().remote4)}, to(broadcast_mac) / ip(peer().remote4, container_ip) / udp(1, 2),
          to(multicast6_mac) / ip(peer().remote6, all_nodes) / udp(1, 2),
          to(container_mac) / ip(address("fe80::9"), container_link_local) / udp(1, 2)})
        EXPECT_THAT(receive(peer(), inner), IsDropped(FNET_NETWORK_ISOLATED));
}

}  // namespace
}  // namespace fastnet::test
