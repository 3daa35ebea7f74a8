// tc_container and tc_uplink: a container's own connections to the outside. The source becomes the host's address and a
// port that nobody else has; the answer finds its way back; what cannot be translated does not leave.
#include <set>

#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/sockets.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

constexpr std::uint16_t kFirst = 16384, kLast = 32767;  // the range of Options

class Outward : public DatapathTest {
protected:
    using DatapathTest::DatapathTest;
    /// Sends from container_ip:@p port to the client and gives the source port that left the host.
    std::uint16_t masqueraded_port(Protocol protocol, std::uint16_t port, std::uint16_t to = 443) {
        const Outcome outcome = at_container(from_container / ip(container_ip, client) / Variant::l4_of(protocol, port, to));
        EXPECT_TRUE(outcome.counted_only(FNET_FLOW_FORWARDED)) << ::testing::PrintToString(outcome);
        EXPECT_EQ(outcome.view().src, host_ip);
        return outcome.view().src_port;
    }
};

class Masquerade : public DatapathTest, public ::testing::WithParamInterface<Variant> {
protected:
    const Variant& v() const { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Each, Masquerade, all_variants, variant_name);

TEST_P(Masquerade, SourceBecomesTheHostsAddressAndAPortOfTheRange) {
    const Outcome sent = at_container(from_container / ip(v().container(), v().client()) / v().l4(50000, 443) / payload(7));
    const std::uint16_t port = sent.view().src_port;
    EXPECT_GE(port, kFirst);
    EXPECT_LE(port, kLast);
    EXPECT_THAT(sent, Redirects(out_of_uplink / ip(v().host(), v().client(), 63) / v().l4(port, 443) / payload(7)));

    const auto original = flow(key_of(v().protocol, v().container(), 50000, v().client(), 443, container().ifindex));
    ASSERT_TRUE(original.has_value());
    EXPECT_EQ(original->exit, FNET_EXIT_LINK);
    EXPECT_EQ(original->exit_ifindex, lab().ifindex("up0"));
    EXPECT_EQ(original->service, 0U);
    const auto reply = flow(key_of(v().protocol, v().client(), 443, v().host(), port));
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->exit, FNET_EXIT_PEER);
    EXPECT_EQ(reply->exit_ifindex, container().ifindex);
    EXPECT_EQ(endpoint(container()).connections, 1U);
}

TEST_P(Masquerade, AnswerComesBackToTheContainerAndAThirdPartysDoesNot) {
    const std::uint16_t port = at_container(from_container / ip(v().container(), v().client()) / v().l4(50000, 443)).view().src_port;
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(443, port, kSynAck) / payload(3)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(443, 50000, kSynAck) / payload(3)));
    EXPECT_THAT(at_uplink(from_outside / ip(v().not_ours(), v().host()) / v().l4(443, port, kSynAck)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(444, port, kSynAck)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) /
                          v().l4(443, static_cast<std::uint16_t>(port == kLast ? port - 1 : port + 1), kSynAck)),
                GoesToTheKernel(FNET_HOST_TRAFFIC));
}

TEST_P(Masquerade, LaterPacketsKeepThePort) {
    const std::uint16_t port = at_container(from_container / ip(v().container(), v().client()) / v().l4(50000, 443)).view().src_port;
    for (int i = 0; i < 3; ++i)
        EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(50000, 443, kAck)),
                    Redirects(out_of_uplink / ip(v().host(), v().client(), 63) / v().l4(port, 443, kAck)));
    EXPECT_EQ(flows().size(), 2U);
}

TEST_P(Masquerade, PortInsideTheRangeIsPreserved) {
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(kFirst, 443)),
                Redirects(out_of_uplink / ip(v().host(), v().client(), 63) / v().l4(kFirst, 443)));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(kLast, 443)),
                Redirects(out_of_uplink / ip(v().host(), v().client(), 63) / v().l4(kLast, 443)));
}

TEST_P(Masquerade, TwoContainersWithOneTupleGetTwoPorts) {
    EXPECT_THAT(at_container(container(), from_container / ip(v().container(), v().client()) / v().l4(20000, 443)),
                Redirects(out_of_uplink / ip(v().host(), v().client(), 63) / v().l4(20000, 443)));
    const Outcome second = at_container(neighbour(), from_neighbour / ip(v().neighbour(), v().client()) / v().l4(20000, 443));
    const std::uint16_t port = second.view().src_port;
    EXPECT_NE(port, 20000);
    EXPECT_THAT(second, Redirects(out_of_uplink / ip(v().host(), v().client(), 63) / v().l4(port, 443)));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(443, 20000, kSynAck)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(443, 20000, kSynAck)));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(443, port, kSynAck)),
                Redirects(into_neighbour / ip(v().client(), v().neighbour(), 63) / v().l4(443, 20000, kSynAck)));
    // Another destination is another tuple: the port may serve again, but for UDP (mapping_test.cpp).
    if (v().protocol == Protocol::kTcp) {
        EXPECT_THAT(at_container(neighbour(), from_neighbour / ip(v().neighbour(), v().client()) / v().l4(20000, 444)),
                    Redirects(out_of_uplink / ip(v().host(), v().client(), 63) / v().l4(20000, 444)));
    }
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(Masquerade, NeverTakesAPublishedPort) {
    publish({.protocol = v().protocol, .address = v().host(), .port = 20000});
    EXPECT_NE(at_container(from_container / ip(v().container(), v().client()) / v().l4(20000, 443)).view().src_port, 20000);
    // The other protocol's port of the same number is free.
    EXPECT_EQ(
        at_container(from_container / ip(v().container(), v().client()) / Variant::l4_of(v().other_protocol(), 20000, 443)).view().src_port,
        20000);
}

TEST_P(Masquerade, NeverTakesAPortThatAHostSocketHas) {
    const int type = v().protocol == Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM;
    const HostSocket wildcard{type, v().any(), 20000};
    const HostSocket specific{type, v().host(), 20001};
    const HostSocket elsewhere{type, v().gateway(), 20002};
    const HostSocket other_protocol{type == SOCK_STREAM ? SOCK_DGRAM : SOCK_STREAM, v().any(), 20003};
    for (const HostSocket* each : {&wildcard, &specific, &elsewhere, &other_protocol}) ASSERT_EQ(each->error(), 0);
    const auto port_for = [&](std::uint16_t wanted) {
        return at_container(from_container / ip(v().container(), v().client()) / v().l4(wanted, 443)).view().src_port;
    };
    EXPECT_NE(port_for(20000), 20000);
    EXPECT_NE(port_for(20001), 20001);
    EXPECT_EQ(port_for(20002), 20002) << "bound to an address that is not the masquerade's";
    EXPECT_EQ(port_for(20003), 20003) << "another protocol";
}

TEST_P(Masquerade, AnswersWhatWouldExpire) {
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client(), 1) / v().l4(50000, 443)),
                IsAnswered(FNET_TTL_EXCEEDED, into_container, v().gateway()));
    EXPECT_TRUE(flows().empty());
    at_container(from_container / ip(v().container(), v().client()) / v().l4(20000, 443));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client(), 1) / v().l4(20000, 443, kAck)),
                IsAnswered(FNET_TTL_EXCEEDED, into_container, v().gateway()));
}

TEST_P(Masquerade, AnswersWhatIsTooBigForTheWayOut) {
    const std::size_t headers = (v().v4() ? 20U : 40U) + (v().protocol == Protocol::kTcp ? 20U : 8U);
    const auto sized = [&](std::size_t packet, std::uint8_t flags) {
        return from_container / ip(v().container(), v().client()) / v().l4(20000, 443, flags) / payload(packet - headers);
    };
    EXPECT_TRUE(at_container(sized(1500, kSyn)).counted_only(FNET_FLOW_FORWARDED));
    EXPECT_THAT(at_container(sized(1501, kAck)), IsAnsweredTooBig(1500U, into_container, v().gateway()));
    EXPECT_TRUE(at_container(sized(1500, kAck)).counted_only(FNET_FLOW_FORWARDED));
}

TEST_P(Masquerade, FirstPacketThatIsTooBigIsAnsweredToo) {
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(20000, 443) / payload(1500)),
                IsAnsweredTooBig(1500U, into_container, v().gateway()));
}

TEST_P(Masquerade, NextHopThatIsNotKnownYetIsLeftToTheKernelToResolve) {
    // On the uplink's subnet, without a neighbour entry.
    for (int i = 0; i < 2; ++i)
        EXPECT_TRUE(
            at_container(from_container / ip(v().container(), v().not_ours()) / v().l4(20000, 443)).counted_only(FNET_FLOW_FORWARDED));
    const auto original = flow(key_of(v().protocol, v().container(), 20000, v().not_ours(), 443, container().ifindex));
    ASSERT_TRUE(original.has_value());
    EXPECT_EQ(original->exit_checked_ns, 0U) << "asked again by each packet until it is known";
}

TEST_F(Outward, IdentifierOfAnEchoIsThePort) {
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / echo(kEchoRequest, 20077) / payload(56)),
                Redirects(out_of_uplink / ip(host_ip, client, 63) / echo(kEchoRequest, 20077) / payload(56)));
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / echo(kEchoReply, 20077) / payload(56)),
                Redirects(into_container / ip(client, container_ip, 63) / echo(kEchoReply, 20077) / payload(56)));
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / echo(kEchoReply, 20078) / payload(56)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / echo(kEchoRequest, 20077)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(other_client, host_ip) / echo(kEchoReply, 20077)), GoesToTheKernel(FNET_HOST_TRAFFIC));
}

TEST_F(Outward, IdentifierOfAnIpv6EchoIsThePort) {
    EXPECT_THAT(at_container(from_container / ip(container6, client6) / echo(kEchoRequest6, 20077) / payload(9)),
                Redirects(out_of_uplink / ip(host6, client6, 63) / echo(kEchoRequest6, 20077) / payload(9)));
    EXPECT_THAT(at_uplink(from_outside / ip(client6, host6) / echo(kEchoReply6, 20077) / payload(9)),
                Redirects(into_container / ip(client6, container6, 63) / echo(kEchoReply6, 20077) / payload(9)));
}

TEST_F(Outward, IdentifierOutsideTheRangeIsChanged) {
    // Else a container could use up all identifiers towards an address, and the host's own pings went unanswered.
    const Outcome ping = at_container(from_container / ip(container_ip, client) / echo(kEchoRequest, 77));
    const std::uint16_t id = ping.view().echo_id;
    EXPECT_GE(id, kFirst);
    EXPECT_LE(id, kLast);
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / echo(kEchoReply, id)),
                Redirects(into_container / ip(client, container_ip, 63) / echo(kEchoReply, 77)));
}

TEST_F(Outward, GroupsAndLinkLocalSourcesAreNotMasqueraded) {
    EXPECT_THAT(at_container(from_container / ip(container_ip, IpAddress::v4(239, 1, 2, 3)) / udp(20000, 53)), IsDropped(FNET_MALFORMED));
    EXPECT_THAT(at_container(from_container / ip(container_ip, limited_broadcast) / udp(20000, 53)), IsDropped(FNET_MALFORMED));
    EXPECT_THAT(at_container(from_container / ip(container6, all_nodes) / udp(20000, 53)), IsDropped(FNET_MALFORMED));
    EXPECT_THAT(at_container(from_container / ip(container_link_local, client6) / udp(20000, 53)), IsDropped(FNET_MALFORMED));
    EXPECT_TRUE(flows().empty());
}

TEST_F(Outward, EqualIdentifiersOfTwoContainersAreToldApart) {
    at_container(container(), from_container / ip(container_ip, client) / echo(kEchoRequest, 20005));
    const Outcome second = at_container(neighbour(), from_neighbour / ip(neighbour_ip, client) / echo(kEchoRequest, 20005));
    const std::uint16_t id = second.view().echo_id;
    EXPECT_NE(id, 20005);
    EXPECT_THAT(second, Redirects(out_of_uplink / ip(host_ip, client, 63) / echo(kEchoRequest, id)));
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / echo(kEchoReply, id)),
                Redirects(into_neighbour / ip(client, neighbour_ip, 63) / echo(kEchoReply, 20005)));
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / echo(kEchoReply, 20005)),
                Redirects(into_container / ip(client, container_ip, 63) / echo(kEchoReply, 20005)));
}

TEST_F(Outward, EchoReplyThatNobodyAskedForOpensNoFlow) {
    // Such a flow would hand the client's later pings of the host to the container.
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / echo(kEchoReply, 5)), IsDropped(FNET_UNSUPPORTED_PROTOCOL));
    EXPECT_THAT(at_container(from_container / ip(container6, client6) / echo(kEchoReply6, 5)), IsDropped(FNET_UNSUPPORTED_PROTOCOL));
    EXPECT_TRUE(flows().empty());
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / echo(kEchoRequest, 5)), GoesToTheKernel(FNET_HOST_TRAFFIC));
}

TEST_F(Outward, PortsAreUniqueUntilTheyAreGoneAndOtherDestinationsStillWork) {
    std::set<std::uint16_t> ports;
    for (std::uint16_t source = 40000; source < 40400; ++source) ports.insert(masqueraded_port(Protocol::kTcp, source));
    EXPECT_EQ(ports.size(), 400U);
    EXPECT_GE(*ports.begin(), kFirst);
    EXPECT_LE(*ports.rbegin(), kLast);
    EXPECT_TRUE(slots_are_accounted_for());
}

class EightPorts : public Outward {
protected:
    EightPorts() : Outward({.masquerade_first = 20000, .masquerade_last = 20007}) {}
};

TEST_F(EightPorts, AreAllUsedAndThenThePacketIsRefused) {
    std::set<std::uint16_t> ports;
    for (std::uint16_t source = 40000; source < 40008; ++source) ports.insert(masqueraded_port(Protocol::kTcp, source));
    EXPECT_EQ(ports.size(), 8U) << "a random start and at most 32 tries find each of eight";
    EXPECT_EQ(*ports.begin(), 20000);
    EXPECT_EQ(*ports.rbegin(), 20007);
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / tcp(40008, 443)),
                IsAnswered(FNET_PORTS_EXHAUSTED, into_container, gateway));
    EXPECT_TRUE(slots_are_accounted_for()) << "the slot of the refused flow is free again";
    masqueraded_port(Protocol::kTcp, 40008, 444);  // another destination port
    masqueraded_port(Protocol::kUdp, 40008);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(EightPorts, PortOfAClosedFlowIsTakenOverWhenNoneIsFree) {
    std::set<std::uint16_t> ports;
    for (std::uint16_t source = 40000; source < 40008; ++source) ports.insert(masqueraded_port(Protocol::kTcp, source));
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / tcp(40008, 443)),
                IsAnswered(FNET_PORTS_EXHAUSTED, into_container, gateway));
    at_container(from_container / ip(container_ip, client) / tcp(40003, 443, kRst));
    EXPECT_EQ(count_of(FNET_CLASS_CLOSED), 1);
    EXPECT_TRUE(ports.contains(masqueraded_port(Protocol::kTcp, 40008)));
    EXPECT_EQ(count_of(FNET_CLASS_CLOSED), 0) << "it went, both entries and the slot";
    EXPECT_EQ(flows().size(), 16U);
    EXPECT_TRUE(slots_are_accounted_for());
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / tcp(40009, 443)),
                IsAnswered(FNET_PORTS_EXHAUSTED, into_container, gateway))
        << "flows that are open keep theirs";
}

TEST_F(EightPorts, PublishedAndHostsOwnAreLeftOut) {
    publish({.protocol = Protocol::kUdp, .address = host_ip, .port = 20003});
    const HostSocket taken{SOCK_DGRAM, any4, 20005};
    std::set<std::uint16_t> ports;
    for (std::uint16_t source = 40000; source < 40006; ++source) ports.insert(masqueraded_port(Protocol::kUdp, source));
    EXPECT_EQ(ports, (std::set<std::uint16_t>{20000, 20001, 20002, 20004, 20006, 20007}));
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / udp(40008, 443)),
                IsAnswered(FNET_PORTS_EXHAUSTED, into_container, gateway));
}

TEST_F(Outward, DualStackSocketOfTheHostKeepsItsIpv4Port) {
    const HostSocket dual{SOCK_STREAM, any6, 20000};
    const HostSocket only6{SOCK_STREAM, any6, 20001, true, true};
    ASSERT_EQ(dual.error(), 0);
    ASSERT_EQ(only6.error(), 0);
    EXPECT_NE(masqueraded_port(Protocol::kTcp, 20000), 20000);
    EXPECT_EQ(masqueraded_port(Protocol::kTcp, 20001), 20001) << "IPv6 only";
}

TEST_F(Outward, SocketThatTheHostOpensLaterGetsNoNewFlowBeside) {
    EXPECT_EQ(masqueraded_port(Protocol::kUdp, 20000, 443), 20000);
    const HostSocket later{SOCK_DGRAM, any4, 20000};
    EXPECT_EQ(masqueraded_port(Protocol::kUdp, 20000, 443), 20000) << "the flow that is there keeps it";
    EXPECT_NE(masqueraded_port(Protocol::kUdp, 20000, 444), 20000);
}

TEST_F(Outward, ChangedSourceAddressOfTheRouteEndsTheFlowAndOpensAnother) {
    EXPECT_EQ(masqueraded_port(Protocol::kUdp, 20000), 20000);
    lab().ip("route replace default via 192.0.2.1 dev up0 src 192.0.2.3\n");
    const auto key = key_of(Protocol::kUdp, container_ip, 20000, client, 443, container().ifindex);
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / udp(20000, 443)),
                Redirects(out_of_uplink / ip(host_ip, client, 63) / udp(20000, 443)))
        << "believed for a second";
    forget_exit(key);
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / udp(20000, 443)),
                Redirects(out_of_uplink / ip(second_host_ip, client, 63) / udp(20000, 443)));
    EXPECT_EQ(flows().size(), 2U);
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / udp(443, 20000)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Outward, OverIpv6KeepsItsSourceWhileThatIsTheHosts) {
    const IpAddress second = address("2001:db8:2::3");
    const auto key = key_of(Protocol::kTcp, container6, 20000, client6, 443, container().ifindex);
    const auto send = [&](std::uint8_t flags) {
        return at_container(from_container / ip(container6, client6) / tcp(20000, 443, flags)).view().src;
    };
    ASSERT_EQ(send(kSyn), host6);
    lab().ip("addr add 2001:db8:2::3/64 dev up0 nodad\nroute replace ::/0 via 2001:db8:2::1 dev up0 src 2001:db8:2::3\n");
    forget_exit(key);
    EXPECT_EQ(send(kAck), host6) << "another is preferred for new flows";
    EXPECT_EQ(at_container(from_container / ip(container6, client6) / tcp(20001, 443)).view().src, second);
    lab().ip("addr del 2001:db8:2::2/64 dev up0\n");
    forget_exit(key);
    EXPECT_EQ(send(kAck), second) << "its own is gone";
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Outward, ChangedMacOfTheNextHopIsFollowed) {
    masqueraded_port(Protocol::kTcp, 20000);
    lab().ip("neigh replace 192.0.2.1 lladdr " + moved_router_mac.to_string() + " dev up0 nud permanent\n");
    forget_exit(key_of(Protocol::kTcp, container_ip, 20000, client, 443, container().ifindex));
    EXPECT_TRUE(at_container(from_container / ip(container_ip, client) / tcp(20000, 443, kAck)).counted_only(FNET_FLOW_FORWARDED));
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / tcp(20000, 443, kAck)),
                Redirects(Eth{.src = uplink_mac, .dst = moved_router_mac} / ip(host_ip, client, 63) / tcp(20000, 443, kAck)));
}

TEST_F(Outward, CachedExitExpiresByItself) {
    masqueraded_port(Protocol::kTcp, 20000);
    const auto key = key_of(Protocol::kTcp, container_ip, 20000, client, 443, container().ifindex);
    const std::uint64_t first = flow(key)->exit_checked_ns;
    ASSERT_NE(first, 0U);
    timespec pause{1, 100'000'000};
    nanosleep(&pause, nullptr);
    masqueraded_port(Protocol::kTcp, 20000);
    EXPECT_GT(flow(key)->exit_checked_ns, first);
}

// As for the kernel's own forwarding, only if it is locked (or ip_forward_use_pmtu is set).
TEST_F(Outward, LockedMtuOfTheRouteCounts) {
    lab().ip("route replace default via 192.0.2.1 dev up0 mtu lock 1300\n");
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / udp(20000, 443) / payload(1300 - 28 + 1)),
                IsAnsweredTooBig(1300U, into_container, gateway));
    EXPECT_TRUE(
        at_container(from_container / ip(container_ip, client) / udp(20000, 443) / payload(1300 - 28)).counted_only(FNET_FLOW_FORWARDED));
}

TEST_F(Outward, WithoutAWayOutThePacketIsDroppedByName) {
    EXPECT_THAT(at_container(from_container / ip(container_ip, side_peer) / tcp(20000, 443)), IsDropped(FNET_NO_UPLINK));
    EXPECT_THAT(at_container(from_container / ip(container_ip, unroutable) / tcp(20000, 443)), IsDropped(FNET_NO_ROUTE));
    lab().ip("route replace default dev side0\n");
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / tcp(20000, 443)), IsDropped(FNET_NO_UPLINK));
    EXPECT_TRUE(flows().empty());
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Outward, RouteThatMovesToAnotherDeviceStopsTheFlow) {
    masqueraded_port(Protocol::kUdp, 20000);
    lab().ip("route replace default dev side0\n");
    forget_exit(key_of(Protocol::kUdp, container_ip, 20000, client, 443, container().ifindex));
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / udp(20000, 443)), IsDropped(FNET_NO_UPLINK));
}

TEST_F(Outward, WhatCannotBeTranslatedIsDroppedByName) {
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / Icmp{.type = 3, .code = 3} / ip(client, container_ip) / udp(1, 2)),
                IsDropped(FNET_UNSUPPORTED_PROTOCOL));
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / tcp(20000, 443, kRst)), IsDropped(FNET_RESET_WITHOUT_FLOW));
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / tcp(20000, 443, kRstAck)), IsDropped(FNET_RESET_WITHOUT_FLOW));
    EXPECT_TRUE(flows().empty());
}

TEST_F(Outward, InternalNetworkHasNoWayOut) {
    set_flags(container(), FNET_ENDPOINT_INTERNAL);
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / tcp(20000, 443)), IsDropped(FNET_NETWORK_INTERNAL));
    EXPECT_THAT(at_container(from_container / ip(container6, client6) / udp(20000, 53)), IsDropped(FNET_NETWORK_INTERNAL));
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / echo(kEchoRequest, 20001)), IsDropped(FNET_NETWORK_INTERNAL));
    EXPECT_THAT(at_container(container_to_neighbour / ip(container_ip, neighbour_ip) / tcp(20000, 80)),
                RedirectsToNeighbour(container_to_neighbour / ip(container_ip, neighbour_ip) / tcp(20000, 80)))
        << "its own members are reachable";
    EXPECT_THAT(at_container(neighbour(), from_neighbour / ip(neighbour_ip, client) / echo(kEchoRequest, 20001)),
                Redirects(out_of_uplink / ip(host_ip, client, 63) / echo(kEchoRequest, 20001)));
}

TEST_F(Outward, OtherNetworksAreNotReachedThroughTheHost) {
    EXPECT_THAT(at_container(from_container / ip(container_ip, stranger_ip) / tcp(20000, 80)), IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_THAT(at_container(from_container / ip(container_ip, stranger_ip) / echo(kEchoRequest, 1)), IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_THAT(at_container(from_container / ip(container6, stranger6) / udp(20000, 80)), IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_THAT(at_container(from_container / Ipv4{.src = container_ip, .dst = stranger_ip, .fragment_offset = 64} / payload(20)),
                IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_THAT(at_container(stranger(), from_stranger / ip(stranger_ip, container_ip) / tcp(20000, 80)), IsDropped(FNET_NETWORK_ISOLATED));
}

}  // namespace
}  // namespace fastnet::test
