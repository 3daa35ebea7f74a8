// What keeps tunnels to the nodes: the gates at the vxlan device, VXLAN that a container makes itself, errors about it.
#include "tests/bpf/overlay_fixture.h"

namespace fastnet::test {
namespace {

class VxlanDevice : public OverlayTest {};
class FromContainer : public OverlayTest {};
class TunnelError : public OverlayTest, public ::testing::WithParamInterface<Peer> {};
INSTANTIATE_TEST_SUITE_P(Each, TunnelError, ::testing::Values(peer4, peer6), [](const ::testing::TestParamInfo<Peer>& parameter) {
    return std::string{parameter.param.v4() ? "Ipv4" : "Ipv6"};
});

TEST_F(VxlanDevice, HandsUpOnlyWhatTheUplinkJudged) {
    const Bytes frame = (from_remote(peer4) / ip(peer4.remote4, container_ip) / udp(1, 2)).bytes();
    const Outcome judged = run("tc_tunnel_in", frame, {.ifindex = lab().ifindex("side0"), .mark = FNET_TUNNEL_MARK});
    EXPECT_EQ(judged.action, kToKernel);
    EXPECT_EQ(judged.verdicts, Verdicts{});
    EXPECT_EQ(judged.out, frame);
    EXPECT_EQ(judged.mark, FNET_TUNNEL_MARK) << "the gate of the bridge knows it by that";
    for (const std::uint32_t mark : {0U, 1U, FNET_TUNNEL_MARK + 1U})
        EXPECT_THAT(run("tc_tunnel_in", frame, {.ifindex = lab().ifindex("side0"), .mark = mark}), IsDropped(FNET_TUNNEL_UNKNOWN_PEER));
}

TEST_F(VxlanDevice, FloodedFramesOfOtherNodesDoNotReachTheHost) {
    for (const Packet& frame : {Packet{Eth{.src = peer4.mac, .dst = broadcast_mac}} / ip(peer4.remote4, host_ip) / udp(1, 9999),
                                Packet{Eth{.src = peer4.mac, .dst = broadcast_mac}} /
                                    Packet{Arp{.sender_mac = peer4.mac, .sender = peer4.remote4, .target = gateway}}}) {
        EXPECT_THAT(run("tc_gateway_in", frame.bytes(), {.ifindex = container().bridge, .mark = FNET_TUNNEL_MARK}),
                    IsDropped(FNET_TUNNEL_TO_HOST));
        EXPECT_EQ(run("tc_gateway_in", frame.bytes(), {.ifindex = container().bridge, .mark = 1}).action, kToKernel);
    }
}

TEST_F(VxlanDevice, SendsWhatContainersFloodAndNothingOfTheHost) {
    const Packet question = Arp{.sender_mac = container_mac, .sender = container_ip, .target = nobody_ip};
    const Outcome flooded = run("tc_tunnel_out", (container_broadcast / question).bytes(), lab().ifindex("side0"));
    EXPECT_EQ(flooded.action, kToKernel);
    EXPECT_EQ(flooded.verdicts, Verdicts{});
    const Eth of_host{.src = gateway_mac, .dst = broadcast_mac};
    EXPECT_THAT(run("tc_tunnel_out", (of_host / question).bytes(), lab().ifindex("side0")), IsDropped(FNET_TUNNEL_FROM_HOST));
}

TEST_F(FromContainer, VxlanToTheHostOrOutsideIsDropped) {
    for (const IpAddress& to : {client, host_ip, second_host_ip, gateway, other_gateway, peer4.address, not_our_ip})
        EXPECT_THAT(at_container(from_container / ip(container_ip, to) / udp(20000, kVxlanPort) / payload(50)),
                    IsDropped(FNET_TUNNEL_FROM_CONTAINER))
            << to.to_string();
    for (const IpAddress& to : {client6, host6, gateway6, peer6.address})
        EXPECT_THAT(at_container(from_container / ip(container6, to) / udp(20000, kVxlanPort) / payload(50)),
                    IsDropped(FNET_TUNNEL_FROM_CONTAINER))
            << to.to_string();
    EXPECT_THAT(at_container(stranger(), from_stranger / ip(stranger_ip, client) / udp(20000, kVxlanPort) / payload(50)),
                IsDropped(FNET_TUNNEL_FROM_CONTAINER))
        << "whatever network it is on";
    EXPECT_TRUE(flows().empty());
}

TEST_F(FromContainer, VxlanInFragmentsOrBehindExtensionHeadersIsDroppedToo) {
    const Packet datagram = udp(20000, kVxlanPort) / payload(64);
    for (const IpAddress& to : {client, host_ip})
        EXPECT_THAT(at_container(from_container / Ipv4{.src = container_ip, .dst = to, .more_fragments = true} / datagram),
                    IsDropped(FNET_TUNNEL_FROM_CONTAINER));
    EXPECT_THAT(at_container(from_container / Ipv4{.src = container_ip, .dst = client, .options = {1, 1, 1, 1}} / datagram),
                IsDropped(FNET_TUNNEL_FROM_CONTAINER));
    for (const IpAddress& to : {client6, host6}) {
        const Packet packet = from_container / ip(container6, to);
        EXPECT_THAT(at_container(packet / Ipv6Extension{} / datagram), IsDropped(FNET_TUNNEL_FROM_CONTAINER));
        EXPECT_THAT(at_container(packet / Ipv6Extension{.type = kProtocolDestination} / datagram), IsDropped(FNET_TUNNEL_FROM_CONTAINER));
        EXPECT_THAT(at_container(packet / Ipv6Fragment{} / datagram), IsDropped(FNET_TUNNEL_FROM_CONTAINER));
        EXPECT_THAT(
            at_container(packet / Ipv6Extension{} / Ipv6Fragment{.more = false} / Ipv6Extension{.type = kProtocolDestination} / datagram),
            IsDropped(FNET_TUNNEL_FROM_CONTAINER));
    }
    EXPECT_TRUE(flows().empty());
}

TEST_F(FromContainer, VxlanWithinItsNetworkIsItsOwnBusiness) {
    add_peer(peer4);
    add_remote(peer4);
    const Packet near = container_to_neighbour / ip(container_ip, neighbour_ip) / udp(20000, kVxlanPort) / payload(50);
    EXPECT_THAT(at_container(near), RedirectsToNeighbour(near));
    const Packet far = to_remote(peer4) / ip(container_ip, peer4.remote4) / udp(20000, kVxlanPort) / payload(50);
    EXPECT_THAT(at_container(far), TunnelsTo(peer4, far));
    const Packet back = from_remote(peer4) / ip(peer4.remote4, container_ip) / udp(20000, kVxlanPort) / payload(50);
    EXPECT_THAT(receive(peer4, back), Decapsulates(back));
}

TEST_F(FromContainer, OtherProtocolsAndThePortAsTheSourceAreFree) {
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / tcp(20000, kVxlanPort)),
                Redirects(out_of_uplink / ip(host_ip, client, 63) / tcp(20000, kVxlanPort)));
    const Outcome outcome = at_container(from_container / ip(container_ip, client) / udp(kVxlanPort, 53));
    EXPECT_EQ(outcome.action, kRedirected);
    EXPECT_NE(outcome.view().src_port, kVxlanPort) << "as the node it has one of the masquerade's";
}

TEST_F(FromContainer, NodeWithoutAnOverlayHasNoTunnelsToGuardUntilItHas) {
    set_overlay(false);
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / udp(20000, kVxlanPort)),
                Redirects(out_of_uplink / ip(host_ip, client, 63) / udp(20000, kVxlanPort)));
    EXPECT_THAT(at_container(from_container / ip(container6, client6) / udp(20000, kVxlanPort)),
                Redirects(out_of_uplink / ip(host6, client6, 63) / udp(20000, kVxlanPort)));
    at_container(from_container / ip(container_ip, client) / udp(20000, 53));
    ASSERT_EQ(run_maintenance("collector_arm"), 0);
    ASSERT_TRUE(collector_walks());
    EXPECT_EQ(flows().size(), 6U);
    set_overlay(true);
    ASSERT_TRUE(collector_walks());
    EXPECT_EQ(flows().size(), 2U) << "what was opened before is closed";
    EXPECT_EQ(class_of(key_of(Protocol::kUdp, container_ip, 20000, client, 53, container().ifindex)), FNET_CLASS_HALF_OPEN);
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / udp(20000, kVxlanPort)), IsDropped(FNET_TUNNEL_FROM_CONTAINER));
    EXPECT_TRUE(slots_are_accounted_for());
}

/// An address that the outside knows is no tunnel of the node's.
// A peer would take the answer for a tunnel's.
TEST_F(FromContainer, CallerAtThePortOfVxlanIsNotServed) {
    publish({.protocol = Protocol::kUdp, .address = host_ip});
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / udp(kVxlanPort, 8080)), IsDropped(FNET_TUNNEL_FROM_CONTAINER));
    EXPECT_EQ(at_uplink(from_outside / ip(client, host_ip) / udp(kVxlanPort + 1, 8080)).action, kRedirected);
    set_overlay(false);
    EXPECT_EQ(at_uplink(from_outside / ip(client, host_ip) / udp(kVxlanPort, 8080)).action, kRedirected);
}

TEST_F(FromContainer, RoutedContainerMayHaveTunnelsOfItsOwn) {
    set_flags(container(), FNET_ENDPOINT_ROUTED4 | FNET_ENDPOINT_ROUTED6);
    const Packet out = ip(container_ip, client, 63) / udp(20000, kVxlanPort) / payload(50);
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / udp(20000, kVxlanPort) / payload(50)),
                Redirects(out_of_uplink / out));
    ASSERT_EQ(run_maintenance("collector_arm"), 0);
    ASSERT_TRUE(collector_walks());
    EXPECT_EQ(flows().size(), 2U);
    EXPECT_THAT(at_uplink(from_outside / ip(client, container_ip) / udp(kVxlanPort, 20000)),
                Redirects(into_container / ip(client, container_ip, 63) / udp(kVxlanPort, 20000)));
    publish({.protocol = Protocol::kUdp, .address = container_ip, .port = kVxlanPort, .container_port = kVxlanPort});
    EXPECT_THAT(at_uplink(from_outside / ip(client, container_ip) / udp(50000, kVxlanPort) / payload(50)),
                Redirects(into_container / ip(client, container_ip, 63) / udp(50000, kVxlanPort) / payload(50)));
}

TEST_P(TunnelError, MakesTheNextPacketLookForTheWayAgain) {
    const Peer& peer = GetParam();
    add_peer(peer);
    add_remote(peer);
    const Packet inner = to_remote(peer) / ip(container_ip, peer.remote4) / udp(20000, 53) / payload(40);
    Bytes quoted = at_container(inner).out;
    quoted.erase(quoted.begin(), quoted.begin() + 14);
    ASSERT_NE(tunnel(peer).checked_ns, 0U);
    const IpAddress& from = peer.v4() ? router : router6;
    const IpAddress& to = peer.v4() ? host_ip : host6;
    const auto error = [&](const Bytes& quote) -> Packet {
        const Icmp icmp{
            .type = static_cast<std::uint8_t>(peer.v4() ? 3 : 2), .code = static_cast<std::uint8_t>(peer.v4() ? 4 : 0), .rest = 1400};
        return from_outside / ip(from, to) / icmp / Payload{quote};
    };
    Bytes of_another_port = quoted;
    of_another_port[peer.v4() ? 23 : 43] ^= 1U;
    EXPECT_THAT(at_uplink(error(of_another_port)), GoesToTheKernel(FNET_ICMP_TO_KERNEL));
    Bytes to_another = quoted;
    to_another[peer.v4() ? 19 : 39] ^= 1U;
    EXPECT_THAT(at_uplink(error(to_another)), GoesToTheKernel(FNET_ICMP_TO_KERNEL));
    EXPECT_NE(tunnel(peer).checked_ns, 0U);
    quoted.resize((peer.v4() ? 20U : 40U) + 8U);
    EXPECT_THAT(at_uplink(error(quoted)), GoesToTheKernel(FNET_ICMP_TO_KERNEL)) << "the kernel learns the MTU";
    EXPECT_EQ(tunnel(peer).checked_ns, 0U);
    EXPECT_THAT(at_container(inner), TunnelsTo(peer, inner));
}

}  // namespace
}  // namespace fastnet::test
