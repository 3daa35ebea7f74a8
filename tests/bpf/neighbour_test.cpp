// tc_container: to the network's other containers, to the host itself, and back in through a published port (hairpin).
#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

class ToNeighbour : public DatapathTest {};
class ToHost : public DatapathTest {};

class Hairpin : public DatapathTest, public ::testing::WithParamInterface<Variant> {
protected:
    const Variant& v() const { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Each, Hairpin, all_variants, variant_name);

TEST_F(ToNeighbour, IsRedirectedWithoutAChange) {
    const Packet segment = container_to_neighbour / ip(container_ip, neighbour_ip) / tcp(20000, 80) / payload(100);
    EXPECT_THAT(at_container(segment), RedirectsToNeighbour(segment));
    const Packet six = container_to_neighbour / ip(container6, neighbour6) / udp(20000, 53);
    EXPECT_THAT(at_container(six), RedirectsToNeighbour(six));
    EXPECT_TRUE(flows().empty()) << "no address changes, so there is no flow";
    EXPECT_EQ(endpoint(container()).fast_packets, 2U);
    EXPECT_EQ(endpoint(container()).fast_bytes, segment.bytes().size() + six.bytes().size());
}

TEST_F(ToNeighbour, AnyIpPacketMayGoFragmentsAndOtherProtocolsToo) {
    const Eth eth = container_to_neighbour;
    for (const Packet& packet :
         {eth / ip(container_ip, neighbour_ip) / echo(kEchoRequest, 1), eth / ip(container_ip, neighbour_ip) / echo(kEchoReply, 1),
          eth / Ipv4{.src = container_ip, .dst = neighbour_ip, .more_fragments = true} / payload(64),
          eth / Ipv4{.src = container_ip, .dst = neighbour_ip, .fragment_offset = 64} / payload(64),
          eth / Ipv4{.src = container_ip, .dst = neighbour_ip, .protocol = 132} / payload(64),
          eth / ip(container_ip, neighbour_ip, 1) / tcp(1, 2),  // the same link: no TTL is spent
          eth / ip(container6, neighbour6) / Ipv6Extension{} / udp(1, 2)})
        EXPECT_THAT(at_container(packet), RedirectsToNeighbour(packet));
}

TEST_F(ToNeighbour, SentThroughTheGatewayItGetsTheNeighboursMac) {
    EXPECT_THAT(at_container(from_container / ip(container_ip, neighbour_ip) / tcp(20000, 80)),
                RedirectsToNeighbour(into_neighbour / ip(container_ip, neighbour_ip) / tcp(20000, 80)));
}

TEST_F(ToNeighbour, AnotherMacOrAnUnknownAddressIsLeftToTheBridge) {
    EXPECT_THAT(at_container(Eth{.src = container_mac, .dst = mac(7, 7)} / ip(container_ip, neighbour_ip) / tcp(20000, 80)),
                GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(at_container(Eth{.src = container_mac, .dst = mac(7, 7)} / ip(container_ip, nobody_ip) / tcp(20000, 80)),
                GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(at_container(container_to_neighbour / ip(container_ip, stranger_ip) / tcp(20000, 80)), GoesToTheKernel(FNET_TO_BRIDGE))
        << "not the gateway's MAC: it does not leave the bridge";
    EXPECT_EQ(endpoint(container()).kernel_packets, 3U);
}

TEST_F(ToNeighbour, WithoutInterContainerTrafficIsDropped) {
    set_flags(container(), FNET_ENDPOINT_NO_ICC);
    EXPECT_THAT(at_container(container_to_neighbour / ip(container_ip, neighbour_ip) / tcp(20000, 80)), IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_THAT(at_container(from_container / ip(container_ip, neighbour_ip) / udp(20000, 80)), IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_THAT(at_container(container_to_neighbour / ip(container6, neighbour6) / tcp(20000, 80)), IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / echo(kEchoRequest, 20003)),
                Redirects(out_of_uplink / ip(host_ip, client, 63) / echo(kEchoRequest, 20003)))
        << "the way out stays open";
}

TEST_F(ToHost, GoesToTheKernelForEachAddressOfTheHost) {
    for (const IpAddress& local : {gateway, host_ip, second_host_ip, other_gateway})
        EXPECT_THAT(at_container(from_container / ip(container_ip, local) / tcp(20000, 22)), GoesToTheKernel(FNET_TO_HOST))
            << local.to_string();
    EXPECT_THAT(at_container(from_container / ip(container_ip, gateway) / echo(kEchoRequest, 1)), GoesToTheKernel(FNET_TO_HOST));
    EXPECT_THAT(at_container(from_container / ip(container_ip, gateway) / echo(kEchoReply, 1)), GoesToTheKernel(FNET_TO_HOST))
        << "the host pinged the container";
    EXPECT_THAT(at_container(from_container / Ipv4{.src = container_ip, .dst = gateway, .fragment_offset = 64} / payload(20)),
                GoesToTheKernel(FNET_TO_HOST));
    EXPECT_THAT(at_container(from_container / ip(container6, gateway6) / tcp(20000, 22)), GoesToTheKernel(FNET_TO_HOST));
    EXPECT_THAT(at_container(from_container / ip(container6, address("fe80::1")) / tcp(20000, 22)), GoesToTheKernel(FNET_TO_HOST));
    EXPECT_TRUE(flows().empty());
}

TEST_F(ToHost, PublishedPortOfAnotherProtocolOrNumberIsTheHosts) {
    publish({.address = host_ip});
    EXPECT_THAT(at_container(from_container / ip(container_ip, host_ip) / udp(20000, 8080)), GoesToTheKernel(FNET_TO_HOST));
    EXPECT_THAT(at_container(from_container / ip(container_ip, host_ip) / tcp(20000, 8081)), GoesToTheKernel(FNET_TO_HOST));
    EXPECT_THAT(at_container(from_container / ip(container_ip, second_host_ip) / tcp(20000, 8080)), GoesToTheKernel(FNET_TO_HOST));
    EXPECT_THAT(at_container(from_container / ip(container_ip, host_ip) / tcp(20000, 8080, kAck)), GoesToTheKernel(FNET_NO_FLOW));
}

TEST_F(ToHost, PortPublishedOnAllAddressesIsNoTrapForOutwardConnections) {
    publish({.address = any4, .port = 443});
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / tcp(20000, 443)),
                Redirects(out_of_uplink / ip(host_ip, client, 63) / tcp(20000, 443)));
}

TEST_P(Hairpin, ReachesAnotherContainerThroughThePublishedPort) {
    publish({.protocol = v().protocol, .address = v().host()}, neighbour());
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().host()) / v().l4(20000, 8080)),
                Redirects(into_neighbour / ip(v().container(), v().neighbour(), 63) / v().l4(20000, 80)));
    // The caller is on the server's own link: the answer goes to its MAC, not to the gateway's.
    EXPECT_THAT(at_container(neighbour(), Eth{.src = neighbour_mac, .dst = container_mac} / ip(v().neighbour(), v().container()) /
                                              v().l4(80, 20000, kSynAck)),
                Redirects(into_container / ip(v().host(), v().container(), 63) / v().l4(8080, 20000, kSynAck)));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().host()) / v().l4(20000, 8080, kAck)),
                Redirects(into_neighbour / ip(v().container(), v().neighbour(), 63) / v().l4(20000, 80, kAck)));
    EXPECT_EQ(flows().size(), 2U);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(Hairpin, LeavesDirectTrafficOfTheSameTwoContainersAlone) {
    publish({.protocol = v().protocol, .address = v().host()}, neighbour());
    at_container(from_container / ip(v().container(), v().host()) / v().l4(20000, 8080));
    const Packet direct =
        Eth{.src = neighbour_mac, .dst = container_mac} / ip(v().neighbour(), v().container()) / v().l4(81, 20000, kSynAck);
    EXPECT_THAT(at_container(neighbour(), direct), RedirectsToNeighbour(direct));
}

TEST_P(Hairpin, ReachesItselfAsTheGateway) {
    publish({.protocol = v().protocol, .address = v().host()}, container());
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().host()) / v().l4(20000, 8080)),
                Redirects(into_container / ip(v().gateway(), v().container(), 63) / v().l4(20000, 80)));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().gateway()) / v().l4(80, 20000, kSynAck)),
                Redirects(into_container / ip(v().host(), v().container(), 63) / v().l4(8080, 20000, kSynAck)));
}

TEST_P(Hairpin, InternalNetworkStaysInside) {
    publish({.protocol = v().protocol, .address = v().host()}, stranger());
    publish({.id = 2, .protocol = v().protocol, .address = v().host(), .port = 8081}, neighbour());
    set_flags(container(), FNET_ENDPOINT_INTERNAL);
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().host()) / v().l4(20000, 8080)), IsDropped(FNET_NETWORK_INTERNAL));
    EXPECT_EQ(at_container(from_container / ip(v().container(), v().host()) / v().l4(20000, 8081)).action, kRedirected);
}

TEST_P(Hairpin, AddressWithoutARouteIsNotTheHosts) {
    publish({.protocol = v().protocol, .address = v().any()}, container());
    lab().ip(v().v4() ? "route del default via 192.0.2.1 dev up0\n" : "route del ::/0 via 2001:db8:2::1 dev up0\n");
    EXPECT_THAT(at_container(neighbour(), from_neighbour / ip(v().neighbour(), v().client()) / v().l4(20000, 8080)),
                GoesToTheKernel(FNET_TO_HOST));
    EXPECT_THAT(at_container(neighbour(), from_neighbour / ip(v().neighbour(), v().host()) / v().l4(20000, 8080)),
                Redirects(into_container / ip(v().neighbour(), v().container(), 63) / v().l4(20000, 80)));
}

TEST_P(Hairpin, WorksFromAnotherNetworkAndOnEveryAddressOfTheHost) {
    publish({.protocol = v().protocol, .address = v().any()}, container());
    EXPECT_THAT(at_container(stranger(), from_stranger / ip(v().stranger(), v().host()) / v().l4(20000, 8080)),
                Redirects(into_container / ip(v().stranger(), v().container(), 63) / v().l4(20000, 80)));
    EXPECT_THAT(
        at_container(from_container / ip(v().container(), v().stranger()) / v().l4(80, 20000, kSynAck)),
        Redirects(Eth{.src = gateway_mac, .dst = stranger_mac} / ip(v().host(), v().stranger(), 63) / v().l4(8080, 20000, kSynAck)));
    EXPECT_THAT(
        at_container(stranger(), from_stranger / ip(v().stranger(), v().gateway()) / v().l4(20000, 8080)),
        Redirects(
            into_container / ip(v().stranger(), v().container(), 63) /
            v().l4(
                PacketView{at_container(stranger(), from_stranger / ip(v().stranger(), v().gateway()) / v().l4(20000, 8080)).out}.src_port,
                80)));
}

TEST_P(Hairpin, AnswersWhatWouldExpire) {
    publish({.protocol = v().protocol, .address = v().host()}, neighbour());
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().host(), 1) / v().l4(20000, 8080)),
                IsAnswered(FNET_TTL_EXCEEDED, into_container, v().gateway()));
}

}  // namespace
}  // namespace fastnet::test
