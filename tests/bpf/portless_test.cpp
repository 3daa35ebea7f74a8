// Protocols of which only the addresses are translated: SCTP, whose checksum covers its ports, and those that have none.
#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

constexpr std::uint8_t kInit = 1, kInitAck = 2, kAbort = 6, kShutdownComplete = 14, kCookieEcho = 10, kData = 0;

struct Addresses {
    IpAddress client, other_client, host, container, neighbour, gateway, router;
};
const Addresses addresses4{client, other_client, host_ip, container_ip, neighbour_ip, gateway, router};
const Addresses addresses6{client6, address("2001:db8:7::8"), host6, container6, neighbour6, gateway6, router6};

class BothFamilies : public DatapathTest, public ::testing::WithParamInterface<Family> {
protected:
    const Addresses& a() const { return GetParam() == Family::kIpv4 ? addresses4 : addresses6; }
};
std::string family_name(const ::testing::TestParamInfo<Family>& info) {
    return info.param == Family::kIpv4 ? "Ipv4" : "Ipv6";
}

class Association : public BothFamilies {
protected:
    void publish_sctp(const Container& target, std::uint16_t port = 5000) {
        publish({.protocol = Protocol::kSctp, .address = a().host, .port = port, .container_port = port}, target);
    }
    Outcome request(std::uint8_t chunk) { return at_uplink(from_outside / ip(a().client, a().host) / sctp(40000, 5000, chunk)); }
    Outcome answer(std::uint8_t chunk) { return at_container(from_container / ip(a().container, a().client) / sctp(5000, 40000, chunk)); }
    Outcome call(std::uint16_t from, std::uint8_t chunk = kInit) {
        return at_container(from_container / ip(a().container, a().client) / sctp(from, 9, chunk));
    }
    Outcome neighbours_call(std::uint16_t from) {
        return at_container(neighbour(), from_neighbour / ip(a().neighbour, a().client) / sctp(from, 9, kInit));
    }
    fnet_flow_key request_key() const { return key_of(Protocol::kSctp, a().client, 40000, a().host, 5000); }
};
INSTANTIATE_TEST_SUITE_P(Each, Association, ::testing::Values(Family::kIpv4, Family::kIpv6), family_name);

TEST_P(Association, PublishedPortIsTranslatedByAddressOnly) {
    publish_sctp(container());
    // The builder computes the CRC32c of both: it must not change.
    EXPECT_THAT(at_uplink(from_outside / ip(a().client, a().host) / sctp(40000, 5000, kInit) / payload(21)),
                Redirects(into_container / ip(a().client, a().container, 63) / sctp(40000, 5000, kInit) / payload(21)));
    EXPECT_THAT(at_container(from_container / ip(a().container, a().client) / sctp(5000, 40000, kInitAck) / payload(100)),
                Redirects(out_of_uplink / ip(a().host, a().client, 63) / sctp(5000, 40000, kInitAck) / payload(100)));
    EXPECT_THAT(at_uplink(from_outside / ip(a().client, a().host) / sctp(40000, 5001, kInit)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(Association, OnlyAnInitOpensAFlowFromOutside) {
    publish_sctp(container());
    for (const std::uint8_t chunk : {kData, kInitAck, kAbort, kCookieEcho, kShutdownComplete})
        EXPECT_THAT(request(chunk), GoesToTheKernel(FNET_NO_FLOW)) << int{chunk};
    EXPECT_TRUE(flows().empty());
}

TEST_P(Association, LeavesWithItsOwnPortWhateverItIs) {
    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{1, 5000, 20000, 50000, 65535})
        EXPECT_THAT(call(port), Redirects(out_of_uplink / ip(a().host, a().client, 63) / sctp(port, 9, kInit)));
    EXPECT_THAT(at_uplink(from_outside / ip(a().client, a().host) / sctp(9, 50000, kInitAck) / payload(3)),
                Redirects(into_container / ip(a().client, a().container, 63) / sctp(9, 50000, kInitAck) / payload(3)));
}

TEST_P(Association, SecondContainerWithTheSamePortsIsRefused) {
    call(5000);
    EXPECT_THAT(neighbours_call(5000), IsAnswered(FNET_PORTS_EXHAUSTED, into_neighbour, a().gateway));
    EXPECT_TRUE(neighbours_call(5001).counted_only(FNET_FLOW_FORWARDED));
    EXPECT_TRUE(slots_are_accounted_for());
    call(5000, kAbort);
    EXPECT_TRUE(neighbours_call(5000).counted_only(FNET_FLOW_FORWARDED)) << "the closed flow's ports are taken over";
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(Association, PublishedPortLeavesFromItsOwnContainerOnly) {
    publish_sctp(container());
    EXPECT_THAT(neighbours_call(5000), IsAnswered(FNET_PORTS_EXHAUSTED, into_neighbour, a().gateway));
    EXPECT_TRUE(call(5000).counted_only(FNET_FLOW_FORWARDED));
}

TEST_P(Association, IsFollowedThroughItsStates) {
    publish_sctp(container());
    const auto state = [&] { return class_of(request_key()); };
    request(kInit);
    answer(kInitAck);
    EXPECT_EQ(state(), FNET_CLASS_HALF_OPEN);
    request(kCookieEcho);
    EXPECT_EQ(state(), FNET_CLASS_DATAGRAM);
    answer(kAbort);
    EXPECT_EQ(state(), FNET_CLASS_CLOSED);
    request(kData);
    answer(kData);
    EXPECT_EQ(state(), FNET_CLASS_DATAGRAM) << "an ABORT that the ends did not believe";
    answer(kShutdownComplete);
    EXPECT_EQ(state(), FNET_CLASS_CLOSED);
    request(kInit);
    EXPECT_EQ(state(), FNET_CLASS_HALF_OPEN) << "the same ports once more";
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(Association, AbortWithoutAFlowOpensNone) {
    EXPECT_THAT(call(5000, kAbort), IsDropped(FNET_RESET_WITHOUT_FLOW));
    EXPECT_THAT(call(5000, kShutdownComplete), IsDropped(FNET_RESET_WITHOUT_FLOW));
    EXPECT_TRUE(flows().empty());
}

TEST_P(Association, OfAContainerThatHadOneBeforeGoesOn) {
    // As of TCP, after the node lost its flows.
    EXPECT_THAT(call(5000, kData), Redirects(out_of_uplink / ip(a().host, a().client, 63) / sctp(5000, 9, kData)));
}

TEST_P(Association, ErrorsAboutItTravelWithIt) {
    call(5000);
    const std::uint8_t type = GetParam() == Family::kIpv4 ? 11 : 3;
    EXPECT_THAT(
        at_uplink(from_outside / ip(a().router, a().host) / Icmp{.type = type} / ip(a().host, a().client, 1) / sctp(5000, 9, kInit)),
        RedirectsError(into_container / ip(a().router, a().container, 63) / Icmp{.type = type} / ip(a().container, a().client, 1) /
                       sctp(5000, 9, kInit)));
}

TEST_P(Association, CutShortIsMalformed) {
    Bytes frame = (from_container / ip(a().container, a().client) / sctp(5000, 9, kInit)).bytes();
    frame.resize(frame.size() - 2);
    EXPECT_EQ(run("tc_container", frame, container().ifindex).action, kDropped);
    EXPECT_EQ(verdicts(), (Verdicts{{FNET_MALFORMED, 1}}));
}

constexpr std::uint8_t kIpInIp = 4, kGre = 47, kEsp = 50, kL2tp = 115;

struct Portless {
    std::uint8_t protocol;
    Family family;
};
class PortlessProtocol : public DatapathTest, public ::testing::WithParamInterface<Portless> {
protected:
    const Addresses& a() const { return GetParam().family == Family::kIpv4 ? addresses4 : addresses6; }
    Packet between(const IpAddress& src, const IpAddress& dst, std::uint8_t ttl = 64) const {
        return of(GetParam().protocol, src, dst, ttl);
    }
    static Packet of(std::uint8_t protocol, const IpAddress& src, const IpAddress& dst, std::uint8_t ttl = 64) {
        if (dst.family() == Family::kIpv4) return Ipv4{.src = src, .dst = dst, .ttl = ttl, .protocol = protocol} / Packet{payload(31)};
        return Ipv6{.src = src, .dst = dst, .hop_limit = ttl, .next_header = protocol} / Packet{payload(31)};
    }
    fnet_flow_key flow_key() const {
        return key_of(static_cast<Protocol>(GetParam().protocol), a().container, 0, a().client, 0, container().ifindex);
    }
};
INSTANTIATE_TEST_SUITE_P(Each, PortlessProtocol,
                         ::testing::Values(Portless{kGre, Family::kIpv4}, Portless{kGre, Family::kIpv6}, Portless{kEsp, Family::kIpv4},
                                           Portless{kEsp, Family::kIpv6}, Portless{kIpInIp, Family::kIpv4}, Portless{kL2tp, Family::kIpv6},
                                           Portless{kProtocolExperimental, Family::kIpv4}),
                         [](const ::testing::TestParamInfo<Portless>& one) {
                             return std::string{one.param.family == Family::kIpv4 ? "Ipv4" : "Ipv6"} + "Protocol" +
                                    std::to_string(one.param.protocol);
                         });

TEST_P(PortlessProtocol, LeavesByAddressAndItsAnswerComesBack) {
    EXPECT_THAT(at_container(from_container / between(a().container, a().client)),
                Redirects(out_of_uplink / between(a().host, a().client, 63)));
    EXPECT_THAT(at_uplink(from_outside / between(a().client, a().host)),
                Redirects(into_container / between(a().client, a().container, 63)));
    at_container(from_container / between(a().container, a().client));
    EXPECT_EQ(class_of(flow_key()), FNET_CLASS_DATAGRAM);
    EXPECT_EQ(flows().size(), 2U);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(PortlessProtocol, SecondContainerTowardsThePeerIsRefusedByName) {
    at_container(from_container / between(a().container, a().client));
    const Packet second = from_neighbour / between(a().neighbour, a().client);
    EXPECT_THAT(at_container(neighbour(), second), IsAnswered(FNET_PROTOCOL_IN_USE, into_neighbour, a().gateway));
    EXPECT_TRUE(at_container(neighbour(), from_neighbour / between(a().neighbour, a().other_client)).counted_only(FNET_FLOW_FORWARDED))
        << "another peer";
    EXPECT_TRUE(at_container(neighbour(), from_neighbour / of(GetParam().protocol == kGre ? kEsp : kGre, a().neighbour, a().client))
                    .counted_only(FNET_FLOW_FORWARDED))
        << "another protocol";
    EXPECT_TRUE(slots_are_accounted_for());
    EXPECT_EQ(purge(container().ifindex, 0), 1U);
    EXPECT_TRUE(at_container(neighbour(), second).counted_only(FNET_FLOW_FORWARDED));
    EXPECT_THAT(at_uplink(from_outside / between(a().client, a().host)),
                Redirects(into_neighbour / between(a().client, a().neighbour, 63)));
}

TEST_P(PortlessProtocol, OfPeersThatNobodyAskedIsTheHosts) {
    EXPECT_THAT(at_uplink(from_outside / between(a().other_client, a().host)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    at_container(from_container / between(a().container, a().client));
    EXPECT_THAT(at_uplink(from_outside / between(a().other_client, a().host)), GoesToTheKernel(FNET_HOST_TRAFFIC));
}

TEST_P(PortlessProtocol, TunnelOfTheHostIsNotTakenOver) {
    const Packet to_host = from_outside / between(a().client, a().host);
    EXPECT_THAT(at_uplink(to_host), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_container(from_container / between(a().container, a().client)),
                IsAnswered(FNET_PROTOCOL_IN_USE, into_container, a().gateway));
    EXPECT_TRUE(at_container(from_container / between(a().container, a().other_client)).counted_only(FNET_FLOW_FORWARDED))
        << "another peer";
    EXPECT_THAT(at_uplink(to_host), GoesToTheKernel(FNET_HOST_TRAFFIC));
}

TEST_P(PortlessProtocol, IsGuardedLikeAnyOther) {
    EXPECT_THAT(at_container(from_container / between(a().neighbour, a().client)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(from_container / between(a().container, a().gateway)), GoesToTheKernel(FNET_TO_HOST));
    EXPECT_THAT(at_container(container_to_neighbour / between(a().container, a().neighbour)),
                RedirectsToNeighbour(container_to_neighbour / between(a().container, a().neighbour)));
    set_flags(container(), FNET_ENDPOINT_INTERNAL);
    EXPECT_THAT(at_container(from_container / between(a().container, a().client)), IsDropped(FNET_NETWORK_INTERNAL));
    EXPECT_TRUE(flows().empty());
}

TEST_P(PortlessProtocol, ErrorsAboutItTravelWithIt) {
    at_container(from_container / between(a().container, a().client));
    const std::uint8_t type = GetParam().family == Family::kIpv4 ? 11 : 3;
    EXPECT_THAT(
        at_uplink(from_outside / ip(a().router, a().host) / Icmp{.type = type} / between(a().host, a().client, 1)),
        RedirectsError(into_container / ip(a().router, a().container, 63) / Icmp{.type = type} / between(a().container, a().client, 1)));
}

TEST_P(PortlessProtocol, ThatWouldExpireIsAnswered) {
    at_container(from_container / between(a().container, a().client));
    EXPECT_THAT(at_container(from_container / between(a().container, a().client, 1)),
                IsAnswered(FNET_TTL_EXCEEDED, into_container, a().gateway));
}

class Refused : public DatapathTest {};

TEST_F(Refused, ProtocolsThatCoverTheAddressesAreDroppedByName) {
    // IGMP, DCCP, AH, OSPF, PIM, VRRP, mobility, UDP-Lite, HIP, shim6, raw; ICMP of the other family.
    for (const std::uint8_t protocol : std::initializer_list<std::uint8_t>{2, 33, 51, 89, 103, 112, 135, 136, 139, 140, 255, 58, 59}) {
        EXPECT_THAT(at_container(from_container / Ipv4{.src = container_ip, .dst = client, .protocol = protocol} / payload(24)),
                    IsDropped(FNET_UNSUPPORTED_PROTOCOL))
            << int{protocol};
    }
    for (const std::uint8_t protocol : std::initializer_list<std::uint8_t>{2, 33, 89, 103, 112, 136, 255, 1}) {
        EXPECT_THAT(at_container(from_container / Ipv6{.src = container6, .dst = client6, .next_header = protocol} / payload(24)),
                    IsDropped(FNET_UNSUPPORTED_PROTOCOL))
            << int{protocol};
    }
    EXPECT_TRUE(flows().empty());
}

class PortlessTimeouts : public DatapathTest {
protected:
    PortlessTimeouts()
        : DatapathTest({.tcp_established_s = 1000,
                        .tcp_opening_s = 1000,
                        .tcp_closing_s = 1000,
                        .udp_s = 1000,
                        .udp_unreplied_s = 1000,
                        .icmp_s = 1000,
                        .other_s = 50}) {}
};

TEST_F(PortlessTimeouts, AreThoseOfOtherProtocols) {
    at_container(from_container / ip(container_ip, client) / sctp(5000, 9, kInit));
    at_container(from_container / Ipv4{.src = container_ip, .dst = client, .protocol = kGre} / payload(8));
    const auto association = key_of(Protocol::kSctp, container_ip, 5000, client, 9, container().ifindex);
    const auto tunnel = key_of(static_cast<Protocol>(kGre), container_ip, 0, client, 0, container().ifindex);
    for (const auto& key : {association, tunnel}) age(key, 45);
    ASSERT_TRUE(collector_walks());
    EXPECT_EQ(flows().size(), 4U);
    for (const auto& key : {association, tunnel}) age(key, 51);
    ASSERT_TRUE(collector_walks());
    EXPECT_TRUE(flows().empty());
}

}  // namespace
}  // namespace fastnet::test
