// tc_uplink: what comes from outside. Published ports are translated; everything else is the host's and stays as it is.
#include <arpa/inet.h>
#include <sys/socket.h>

#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/sockets.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

class Uplink : public DatapathTest {};

class PublishedPort : public DatapathTest, public ::testing::WithParamInterface<Variant> {
protected:
    const Variant& v() const { return GetParam(); }
    void publish_8080(const IpAddress& at) { publish({.protocol = v().protocol, .address = at, .port = 8080, .container_port = 80}); }
};
INSTANTIATE_TEST_SUITE_P(Each, PublishedPort, all_variants, variant_name);

TEST_P(PublishedPort, IsTranslatedToItsContainer) {
    publish_8080(v().host());
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080) / payload(11)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(40000, 80) / payload(11)));

    const auto key = key_of(v().protocol, v().client(), 40000, v().host(), 8080);
    const auto original = flow(key);
    ASSERT_TRUE(original.has_value());
    EXPECT_EQ(original->exit, FNET_EXIT_PEER);
    EXPECT_EQ(original->exit_ifindex, container().ifindex);
    EXPECT_EQ(original->packets, 1U);
    EXPECT_EQ(original->service, 1U);
    const auto reply = flow(key_of(v().protocol, v().container(), 80, v().client(), 40000, container().ifindex));
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->exit, FNET_EXIT_LINK);
    EXPECT_EQ(reply->exit_ifindex, lab().ifindex("up0"));
    EXPECT_EQ(reply->packets, 0U);
    EXPECT_EQ(reply->slot, original->slot);
    EXPECT_EQ(flows().size(), 2U);
    EXPECT_EQ(count_of(FNET_CLASS_HALF_OPEN), 1);
    EXPECT_EQ(service_stats(1).connections, 1U);
    EXPECT_EQ(endpoint(container()).connections, 1U);
}

TEST_P(PublishedPort, CallerThatForgesAnAddressOfTheHostIsDropped) {
    publish_8080(v().host());
    EXPECT_THAT(at_uplink(from_outside / ip(v().host(), v().host()) / v().l4(40000, 8080)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_TRUE(flows().empty());
}

TEST_P(PublishedPort, AnswersFromThePublishedAddressAndPort) {
    publish_8080(v().host());
    at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(80, 40000, kSynAck) / payload(33)),
                Redirects(out_of_uplink / ip(v().host(), v().client(), 63) / v().l4(8080, 40000, kSynAck) / payload(33)));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080, kAck) / payload(1)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(40000, 80, kAck) / payload(1)));
    EXPECT_EQ(flows().size(), 2U) << "one flow serves both directions and later packets";
}

TEST_P(PublishedPort, LeavesEveryNearMissToTheKernel) {
    publish_8080(v().host());
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8081)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().not_ours()) / v().l4(40000, 8080)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / Variant::l4_of(v().other_protocol(), 40000, 8080)),
                GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(Eth{.src = router_mac, .dst = mac(7, 7)} / ip(v().client(), v().host()) / v().l4(40000, 8080)),
                GoesToTheKernel(FNET_NOT_FOR_HOST));
    EXPECT_THAT(at_uplink(Eth{.src = router_mac, .dst = broadcast_mac} / ip(v().client(), v().host()) / v().l4(40000, 8080)),
                GoesToTheKernel(FNET_NOT_FOR_HOST));
    EXPECT_THAT(at_uplink(from_outside / Packet{Vlan{.id = 5}} / ip(v().client(), v().host()) / v().l4(40000, 8080)),
                GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_TRUE(flows().empty());
}

TEST_P(PublishedPort, OnEveryAddressServesTheHostsAndNeverOneInTransit) {
    publish_8080(v().any());
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(40000, 80)));
    // CVE-2025-67499: the same port of another machine, routed through this host.
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().not_ours()) / v().l4(40000, 8080)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().v4() ? side_peer : address("2001:db8:99::1")) / v().l4(40000, 8080)),
                GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_EQ(flows().size(), 2U);
}

TEST_P(PublishedPort, OnAnAddressThatIsNotTheHostsAnyMoreIsInTransit) {
    publish_8080(v().not_ours());
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().not_ours()) / v().l4(40000, 8080)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_TRUE(flows().empty());
}

TEST_P(PublishedPort, OfARangeKeepsItsOffset) {
    publish({.protocol = v().protocol, .address = v().host(), .port = 8192, .ports = 64, .container_port = 100});
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8192)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(40000, 100)));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8255)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(40000, 163)));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8256)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8191)), GoesToTheKernel(FNET_HOST_TRAFFIC));
}

TEST_P(PublishedPort, OpensNoFlowForAPacketThatWouldExpire) {
    publish_8080(v().host());
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host(), 1) / v().l4(40000, 8080)),
                IsAnswered(FNET_TTL_EXCEEDED, from_outside, v().host()));
    EXPECT_TRUE(flows().empty());
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host(), 2) / v().l4(40000, 8080)),
                Redirects(into_container / ip(v().client(), v().container(), 1) / v().l4(40000, 80)));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host(), 1) / v().l4(40000, 8080)),
                IsAnswered(FNET_TTL_EXCEEDED, from_outside, v().host()));
}

TEST_P(PublishedPort, OfAContainerThatIsGoneIsDropped) {
    publish_8080(v().host());
    ASSERT_TRUE(forget_container(container()));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080)), IsDropped(FNET_UNKNOWN_ENDPOINT));
}

// One client port to two published ports of one container port: the container must see two tuples.
TEST_P(PublishedPort, GivesTheClientAnotherPortWhereTheContainerWouldSeeOneTupleTwice) {
    publish_8080(v().host());
    publish({.id = 2, .protocol = v().protocol, .address = v().host(), .port = 9090, .container_port = 80});
    at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080));
    const Outcome second = at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 9090));
    ASSERT_TRUE(second.counted_only(FNET_FLOW_FORWARDED)) << ::testing::PrintToString(second);
    const std::uint16_t chosen = second.view().src_port;
    EXPECT_NE(chosen, 40000);
    EXPECT_GE(chosen, 1024);
    EXPECT_THAT(second, Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(chosen, 80)));

    // Each answer goes back to the published port that was called.
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(80, chosen, kSynAck)),
                Redirects(out_of_uplink / ip(v().host(), v().client(), 63) / v().l4(9090, 40000, kSynAck)));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(80, 40000, kSynAck)),
                Redirects(out_of_uplink / ip(v().host(), v().client(), 63) / v().l4(8080, 40000, kSynAck)));
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(PublishedPort, GivesWayToTheContainersOwnConnection) {
    publish_8080(v().host());
    const auto out = [&] { return at_container(from_container / ip(v().container(), v().client()) / v().l4(80, 40000)); };
    const std::uint16_t own = out().view().src_port;
    const Outcome called = at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080));
    ASSERT_TRUE(called.counted_only(FNET_FLOW_FORWARDED)) << ::testing::PrintToString(called);
    const std::uint16_t chosen = called.view().src_port;
    EXPECT_NE(chosen, 40000) << "the container would take it for an answer";
    EXPECT_EQ(out().view().src_port, own);
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(80, chosen, kSynAck)),
                Redirects(out_of_uplink / ip(v().host(), v().client(), 63) / v().l4(8080, 40000, kSynAck)));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, own, kSynAck)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(40000, 80, kSynAck)));
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(PublishedPort, KeepsAPrivilegedClientPortPrivilegedInAClash) {
    publish_8080(v().host());
    publish({.id = 2, .protocol = v().protocol, .address = v().host(), .port = 9090, .container_port = 80});
    at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(600, 8080));
    const Outcome second = at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(600, 9090));
    EXPECT_NE(second.view().src_port, 600);
    EXPECT_LT(second.view().src_port, 1024) << "RFC 4787 REQ-3a";
    EXPECT_GT(second.view().src_port, 0);
}

TEST_P(PublishedPort, IsNeverServedToASourceThatCannotBeAnswered) {
    publish_8080(v().host());
    const auto from = [&](const IpAddress& source) { return at_uplink(from_outside / ip(source, v().host()) / v().l4(40000, 8080)); };
    if (v().v4()) {
        EXPECT_THAT(from(any4), IsDropped(FNET_MALFORMED));
        EXPECT_THAT(from(address("0.1.2.3")), IsDropped(FNET_MALFORMED));
        EXPECT_THAT(from(address("224.0.0.1")), IsDropped(FNET_MALFORMED));
        EXPECT_THAT(from(limited_broadcast), IsDropped(FNET_MALFORMED));
        EXPECT_THAT(from(address("127.0.0.1")), IsDropped(FNET_MALFORMED));
    } else {
        EXPECT_THAT(from(any6), IsDropped(FNET_MALFORMED));
        EXPECT_THAT(from(all_nodes), IsDropped(FNET_MALFORMED));
    }
    EXPECT_TRUE(flows().empty());
}

TEST_P(PublishedPort, IsNeverServedFromOutsideToAContainersAddress) {
    publish_8080(v().host());
    EXPECT_THAT(at_uplink(from_outside / ip(v().neighbour(), v().host()) / v().l4(40000, 8080)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_uplink(from_outside / ip(v().stranger(), v().host()) / v().l4(40000, 8080)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_TRUE(flows().empty());
}

TEST_P(PublishedPort, CountsPacketsAndBytesPerDirection) {
    publish_8080(v().host());
    const Packet request = from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080) / payload(100);
    at_uplink(request);
    at_uplink(request);
    const Packet answer = from_container / ip(v().container(), v().client()) / v().l4(80, 40000, kSynAck);
    at_container(answer);
    const auto key = key_of(v().protocol, v().client(), 40000, v().host(), 8080);
    EXPECT_EQ(flow(key)->packets, 2U);
    EXPECT_EQ(flow(key)->bytes, 2 * request.bytes().size());
    EXPECT_EQ(partner_of(key)->packets, 1U);
    EXPECT_EQ(partner_of(key)->bytes, answer.bytes().size());
}

TEST_F(Uplink, OnlyASynOpensATcpFlow) {
    publish({.address = host_ip});
    for (const std::uint8_t flags :
         {kAck, kSynAck, kFinAck, kRst, kRstAck, std::uint8_t{kPsh | kAck}, std::uint8_t{0}, std::uint8_t{kSyn | kRst}})
        EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / tcp(40000, 8080, flags)), GoesToTheKernel(FNET_NO_FLOW)) << int{flags};
    EXPECT_TRUE(flows().empty());
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / tcp(40000, 8080, kSyn | kFin)),
                Redirects(into_container / ip(client, container_ip, 63) / tcp(40000, 80, kSyn | kFin)))
        << "odd, but a SYN: the container decides";
}

TEST_F(Uplink, DatagramForASocketThatTheHostHadBeforeStaysTheHosts) {
    publish({.protocol = Protocol::kUdp, .address = host_ip});
    const HostSocket earlier{SOCK_DGRAM, host_ip, 8080};
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / udp(40000, 8080)), GoesToTheKernel(FNET_HOST_SOCKET));
    EXPECT_THAT(at_uplink(from_outside / ip(client, second_host_ip) / udp(40000, 8080)), GoesToTheKernel(FNET_HOST_TRAFFIC));
}

TEST_F(Uplink, ContainersAddressIsNotReachableFromOutsideByRouting) {
    publish({.address = host_ip});
    EXPECT_THAT(at_uplink(from_outside / ip(client, container_ip) / tcp(40000, 80)), IsDropped(FNET_NOT_PUBLISHED));
    EXPECT_THAT(at_uplink(from_outside / ip(client, container_ip) / tcp(40000, 8080)), IsDropped(FNET_NOT_PUBLISHED));
    EXPECT_THAT(at_uplink(from_outside / ip(client, container_ip) / udp(40000, 53)), IsDropped(FNET_NOT_PUBLISHED));
    EXPECT_THAT(at_uplink(from_outside / ip(client, container_ip) / echo(kEchoRequest, 7)), IsDropped(FNET_NOT_PUBLISHED));
    EXPECT_THAT(at_uplink(from_outside / Ipv4{.src = client, .dst = container_ip, .fragment_offset = 64} / payload(20)),
                IsDropped(FNET_NOT_PUBLISHED));
    EXPECT_THAT(at_uplink(from_outside / Ipv4{.src = client, .dst = container_ip, .protocol = 132} / payload(20)),
                IsDropped(FNET_NOT_PUBLISHED));
    EXPECT_THAT(at_uplink(from_outside / ip(client6, container6) / tcp(40000, 80)), IsDropped(FNET_NOT_PUBLISHED));
    EXPECT_THAT(at_uplink(from_outside / ip(client6, container6) / Ipv6Extension{} / tcp(40000, 80)), IsDropped(FNET_NOT_PUBLISHED));
    // Near misses: same first 16 bits, another subnet.
    EXPECT_THAT(at_uplink(from_outside / ip(client, address("10.10.1.2")) / tcp(40000, 80)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(client6, address("fd00:11::2")) / tcp(40000, 80)), GoesToTheKernel(FNET_HOST_TRAFFIC));
}

TEST_F(Uplink, LeavesWhatIsNoTupleToTheKernel) {
    publish({.address = host_ip});
    EXPECT_THAT(at_uplink(from_outside / Arp{.sender_mac = router_mac, .sender = router, .target = host_ip}),
                GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / echo(kEchoRequest, 9)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / echo(kEchoReply, 9)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(client6, host6) / echo(kEchoRequest6, 9)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(router, host_ip) / Icmp{.type = 3, .code = 4, .rest = 1280} / ip(host_ip, client) / tcp(1, 2)),
                GoesToTheKernel(FNET_ICMP_TO_KERNEL));
    EXPECT_THAT(at_uplink(from_outside / ip(router6, host6) / Icmp{.type = kNeighbourSolicitation} / payload(16)),
                GoesToTheKernel(FNET_ICMP_TO_KERNEL));
    EXPECT_THAT(at_uplink(from_outside / ip(client6, host6) / Ipv6Extension{} / tcp(40000, 8080)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / Ipv4{.src = client, .dst = host_ip, .protocol = 132} / payload(40)),
                GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(Eth{.src = router_mac, .dst = uplink_mac, .ether_type = 0x88cc} / payload(60)),
                GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_TRUE(flows().empty());
}

TEST_F(Uplink, TranslatesBehindIpOptions) {
    publish({.address = host_ip});
    const Bytes options{0x94, 4, 0, 0, 1, 1, 1, 0};  // router alert, no-ops, end
    EXPECT_THAT(
        at_uplink(from_outside / Ipv4{.src = client, .dst = host_ip, .options = options} / tcp(40000, 8080) / payload(5)),
        Redirects(into_container / Ipv4{.src = client, .dst = container_ip, .ttl = 63, .options = options} / tcp(40000, 80) / payload(5)));
    const Bytes longest(40, 1);
    EXPECT_THAT(at_uplink(from_outside / Ipv4{.src = client, .dst = host_ip, .options = longest} / tcp(40000, 8080, kAck) / payload(5)),
                Redirects(into_container / Ipv4{.src = client, .dst = container_ip, .ttl = 63, .options = longest} / tcp(40000, 80, kAck) /
                          payload(5)));
}

TEST_F(Uplink, KeepsTosIdDontFragmentAndTcpOptions) {
    publish({.address = host_ip});
    const Bytes mss{2, 4, 5, 0xb4, 1, 3, 3, 7};
    EXPECT_THAT(
        at_uplink(from_outside / Ipv4{.src = client, .dst = host_ip, .tos = 0xba, .id = 77, .dont_fragment = false} /
                  Tcp{.src = Port{40000}, .dst = Port{8080}, .options = mss}),
        Redirects(into_container / Ipv4{.src = client, .dst = container_ip, .ttl = 63, .tos = 0xba, .id = 77, .dont_fragment = false} /
                  Tcp{.src = Port{40000}, .dst = Port{80}, .options = mss}));
}

TEST_F(Uplink, KeepsTrailingEthernetPadding) {
    publish({.address = host_ip});
    Bytes padded = (from_outside / ip(client, host_ip) / tcp(40000, 8080)).bytes();
    padded.resize(60, 0xee);
    const Outcome outcome = run("tc_uplink", padded, lab().ifindex("up0"));
    EXPECT_TRUE(outcome.counted_only(FNET_FLOW_FORWARDED));
    Bytes expected = (into_container / ip(client, container_ip, 63) / tcp(40000, 80)).bytes();
    expected.resize(60, 0xee);
    EXPECT_EQ(outcome.out, expected);
}

TEST_F(Uplink, AnswerWaitsForARouteBackAndThenFindsIt) {
    publish({.address = host_ip});
    EXPECT_THAT(at_uplink(from_outside / ip(unroutable, host_ip) / tcp(40000, 8080)),
                Redirects(into_container / ip(unroutable, container_ip, 63) / tcp(40000, 80)));
    EXPECT_THAT(at_container(from_container / ip(container_ip, unroutable) / tcp(80, 40000, kSynAck)), IsDropped(FNET_NO_ROUTE));
    lab().ip("route del unreachable 100.64.0.1/32\n");
    EXPECT_THAT(at_container(from_container / ip(container_ip, unroutable) / tcp(80, 40000, kSynAck)),
                Redirects(out_of_uplink / ip(host_ip, unroutable, 63) / tcp(8080, 40000, kSynAck)));
}

}  // namespace
}  // namespace fastnet::test
