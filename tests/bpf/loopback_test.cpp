// tc_loopback: processes of the host call published ports by 127.0.0.1, ::1 and the host's other addresses.
#include <sys/socket.h>

#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/sockets.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

class Loopback : public DatapathTest, public ::testing::WithParamInterface<Variant> {
protected:
    const Variant& v() const { return GetParam(); }
    void publish_at(const IpAddress& address) { publish({.protocol = v().protocol, .address = address}); }
    /// What the caller's port became.
    std::uint16_t port_of(const Outcome& outcome) const { return outcome.view().src_port; }
};
INSTANTIATE_TEST_SUITE_P(Each, Loopback, all_variants, variant_name);

TEST_P(Loopback, CallAtLocalhostComesFromTheGatewayAndIsAnsweredFromLocalhost) {
    publish_at(v().any());
    EXPECT_THAT(at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / v().l4(20000, 8080) / payload(11)),
                Redirects(into_container / ip(v().gateway(), v().container(), 63) / v().l4(20000, 80) / payload(11)));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().gateway()) / v().l4(80, 20000, kSynAck) / payload(5)),
                Redirects(on_loopback / ip(v().localhost(), v().localhost(), 63) / v().l4(8080, 20000, kSynAck) / payload(5)));
    EXPECT_THAT(at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / v().l4(20000, 8080, kAck)),
                Redirects(into_container / ip(v().gateway(), v().container(), 63) / v().l4(20000, 80, kAck)));
    EXPECT_EQ(flows().size(), 2U);
    EXPECT_EQ(count_of(v().protocol == Protocol::kTcp ? FNET_CLASS_ESTABLISHED : FNET_CLASS_DATAGRAM), 1);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(Loopback, CallAtAnotherAddressOfTheHostKeepsItsSource) {
    publish_at(v().any());
    EXPECT_THAT(at_loopback(on_loopback / ip(v().host(), v().host()) / v().l4(20000, 8080)),
                Redirects(into_container / ip(v().host(), v().container(), 63) / v().l4(20000, 80)));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().host()) / v().l4(80, 20000, kSynAck)),
                Redirects(on_loopback / ip(v().host(), v().host(), 63) / v().l4(8080, 20000, kSynAck)));
}

TEST_P(Loopback, PortOfOneAddressIsThereAtThatAddressOnly) {
    publish_at(v().localhost());
    EXPECT_THAT(at_loopback(on_loopback / ip(v().host(), v().host()) / v().l4(20000, 8080)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    if (v().v4()) {
        EXPECT_THAT(at_loopback(on_loopback / ip(localhost, other_localhost) / v().l4(20000, 8080)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    }
    EXPECT_EQ(at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / v().l4(20000, 8080)).action, kRedirected);
}

TEST_P(Loopback, PortOfLocalhostIsNotThereForOutsideNorForContainersWhateverTheyForge) {
    publish_at(v().localhost());
    for (const IpAddress& source : {v().client(), v().localhost()}) {
        EXPECT_THAT(at_uplink(from_outside / ip(source, v().localhost()) / v().l4(20000, 8080)), IsDropped(FNET_MALFORMED));
        EXPECT_NE(at_uplink(from_outside / ip(source, v().host()) / v().l4(20000, 8080)).action, kRedirected);
    }
    EXPECT_THAT(at_container(neighbour(), from_neighbour / ip(v().neighbour(), v().localhost()) / v().l4(20000, 8080)),
                IsDropped(FNET_MALFORMED));
    EXPECT_THAT(at_container(neighbour(), from_neighbour / ip(v().neighbour(), v().host()) / v().l4(20000, 8080)),
                GoesToTheKernel(FNET_TO_HOST));
    EXPECT_TRUE(flows().empty());
}

// The tuple of a caller on the host is nobody else's: outside cannot join its flow by the same addresses and ports.
TEST_P(Loopback, FlowOfTheHostIsNotMetFromOutside) {
    publish_at(v().any());
    ASSERT_EQ(at_loopback(on_loopback / ip(v().host(), v().host()) / v().l4(20000, 8080)).action, kRedirected);
    const auto before = flow(key_of(v().protocol, v().host(), 20000, v().host(), 8080, FNET_LOOPBACK_IFINDEX));
    ASSERT_TRUE(before.has_value());
    at_uplink(from_outside / ip(v().host(), v().host()) / v().l4(20000, 8080, kAck));
    EXPECT_EQ(flow(key_of(v().protocol, v().host(), 20000, v().host(), 8080, FNET_LOOPBACK_IFINDEX))->packets, before->packets);
}

TEST_P(Loopback, TrafficOfTheHostItselfIsLeftAlone) {
    publish_at(v().any());
    EXPECT_THAT(at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / v().l4(20000, 8081)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_loopback(on_loopback / ip(v().host(), v().host()) / Variant::l4_of(v().other_protocol(), 20000, 8080)),
                GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / v().l4(20000, 20001)), GoesToTheKernel(FNET_HOST_TRAFFIC))
        << "of the masquerade range, which means nothing on lo";
    for (const std::uint8_t flags : {kAck, kSynAck, kRst}) {
        if (v().protocol != Protocol::kTcp) break;
        EXPECT_THAT(at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / tcp(20000, 8080, flags)),
                    GoesToTheKernel(FNET_NO_FLOW));
    }
    EXPECT_TRUE(flows().empty());
}

// A process that talks to the container directly has the gateway's address too: its answers must stay its own.
// As the local routes of a transparent proxy do: `ip route add local default dev lo`.
TEST_P(Loopback, AddressThatIsNotTheHostsIsNobodysServiceThoughRoutedToLo) {
    publish_at(v().any());
    for (const IpAddress& address : {v().client(), v().not_ours()})
        EXPECT_THAT(at_loopback(on_loopback / ip(v().host(), address) / v().l4(20000, 8080)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_loopback(on_loopback / ip(v().localhost(), v().v4() ? IpAddress::v4(224, 0, 0, 251) : all_nodes) / v().l4(20000, 8080)),
                GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(
        at_loopback(on_loopback / ip(v().localhost(), v().v4() ? IpAddress::v4(127, 255, 255, 255) : all_nodes) / v().l4(20000, 8080)),
        GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_TRUE(flows().empty());
}

// Later the host may choose any port of ip_local_port_range towards the container, with the gateway's address.
TEST_P(Loopback, SourcePortAtTheGatewayIsNoneThatTheHostPicksForItself) {
    publish_at(v().any());
    const Outcome call = at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / v().l4(40000, 8080));
    EXPECT_GE(port_of(call), options_.masquerade_first);
    EXPECT_LE(port_of(call), options_.masquerade_last);
}

TEST_P(Loopback, SourcePortThatASocketOfTheHostHasIsNotTaken) {
    publish_at(v().any());
    const HostSocket held{v().protocol == Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM, v().gateway(), 20000};
    ASSERT_EQ(held.error(), 0);
    const Outcome call = at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / v().l4(20000, 8080));
    ASSERT_EQ(call.action, kRedirected);
    EXPECT_GE(port_of(call), options_.masquerade_first);
    EXPECT_LE(port_of(call), options_.masquerade_last);
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().gateway()) / v().l4(80, port_of(call), kSynAck)),
                Redirects(on_loopback / ip(v().localhost(), v().localhost(), 63) / v().l4(8080, 20000, kSynAck)));
}

TEST_P(Loopback, TwoAddressesOfTheHostWithOneSourcePortAreTwoFlows) {
    publish_at(v().any());
    publish({.id = 2, .protocol = v().protocol, .address = v().any(), .port = 8082});
    const Outcome first = at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / v().l4(20000, 8080));
    const Outcome second = at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / v().l4(20000, 8082));
    EXPECT_NE(port_of(first), port_of(second)) << "both reach the same container port";
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().gateway()) / v().l4(80, port_of(second), kSynAck)),
                Redirects(on_loopback / ip(v().localhost(), v().localhost(), 63) / v().l4(8082, 20000, kSynAck)));
}

TEST_P(Loopback, ErrorOfTheContainerReachesTheCaller) {
    publish_at(v().any());
    ASSERT_EQ(at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / v().l4(20000, 8080)).action, kRedirected);
    const Packet unreachable =
        Icmp{.type = static_cast<std::uint8_t>(v().v4() ? 3 : 1), .code = static_cast<std::uint8_t>(v().v4() ? 3 : 4)};
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().gateway()) / unreachable / ip(v().gateway(), v().container(), 63) /
                             v().l4(20000, 80)),
                RedirectsError(on_loopback / ip(v().localhost(), v().localhost(), 63) / unreachable /
                               ip(v().localhost(), v().localhost(), 63) / v().l4(20000, 8080)));
    EXPECT_THAT(at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / unreachable / ip(v().localhost(), v().localhost(), 63) /
                            v().l4(8080, 20000)),
                RedirectsError(into_container / ip(v().gateway(), v().container(), 63) / unreachable /
                               ip(v().container(), v().gateway(), 63) / v().l4(80, 20000)));
}

TEST_P(Loopback, ErrorAboutTheHostsOwnTrafficIsTheHosts) {
    publish_at(v().any());
    const Packet unreachable = Icmp{.type = static_cast<std::uint8_t>(v().v4() ? 3 : 1), .code = 3};
    EXPECT_THAT(at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / unreachable / ip(v().localhost(), v().localhost()) /
                            v().l4(20000, 9000)),
                GoesToTheKernel(FNET_ICMP_TO_KERNEL));
}

TEST_P(Loopback, CallThatWouldExpireIsToldSo) {
    publish_at(v().any());
    EXPECT_THAT(at_loopback(on_loopback / ip(v().localhost(), v().localhost(), 1) / v().l4(20000, 8080)),
                IsAnswered(FNET_TTL_EXCEEDED, on_loopback, v().localhost()));
    EXPECT_TRUE(flows().empty());
}

TEST_P(Loopback, ListOfThePortSpeaksOfTheHostToo) {
    publish({.protocol = v().protocol, .address = v().any(), .flags = FNET_SERVICE_RESTRICTED | FNET_SERVICE_ALLOW_ONLY});
    EXPECT_THAT(at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / v().l4(20000, 8080)), IsDropped(FNET_SOURCE_DENIED));
    EXPECT_TRUE(flows().empty());
}

TEST_P(Loopback, ServiceOfAnEndpointThatIsGoneIsDroppedByName) {
    publish_at(v().any());
    ASSERT_TRUE(forget_container(container()));
    EXPECT_THAT(at_loopback(on_loopback / ip(v().localhost(), v().localhost()) / v().l4(20000, 8080)), IsDropped(FNET_UNKNOWN_ENDPOINT));
}

TEST_P(Loopback, CallFromALinkLocalOrALoopbackAddressToAnotherOneCanBeAnswered) {
    publish_at(v().any());
    const IpAddress source = v().v4() ? localhost : container_link_local;
    EXPECT_THAT(at_loopback(on_loopback / ip(source, v().host()) / v().l4(20000, 8080)),
                Redirects(into_container / ip(v().gateway(), v().container(), 63) / v().l4(20000, 80)));
    EXPECT_THAT(at_loopback(on_loopback / ip(v().localhost(), v().host()) / v().l4(20001, 8080)),
                Redirects(into_container / ip(v().gateway(), v().container(), 63) / v().l4(20001, 80)));
}

class LoopbackBytes : public DatapathTest {};

TEST_F(LoopbackBytes, WhatIsNoTcpUdpOrIcmpIsNotJudged) {
    publish({.address = any4});
    EXPECT_THAT(at_loopback(on_loopback / ip(localhost, localhost) / echo(kEchoRequest, 7)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_loopback(on_loopback / Packet{Ipv4{.src = localhost, .dst = localhost, .protocol = 47}} / payload(20)),
                GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_TRUE(flows().empty());
}

}  // namespace
}  // namespace fastnet::test
