// tc_container on an overlay network: questions for the MAC of an address that is known are answered in its stead.
#include "tests/bpf/overlay_fixture.h"

namespace fastnet::test {
namespace {

class OverlayNeighbour : public OverlayTest {
protected:
    void SetUp() override {
        OverlayTest::SetUp();
        if (IsSkipped()) return;
        add_peer(peer4);
        add_remote(peer4);
    }
    static Arp question(const IpAddress& target, const IpAddress& sender = container_ip) {
        return {.sender_mac = container_mac, .sender = sender, .target = target};
    }
    static Packet answer(const IpAddress& target, const MacAddress& mac, const IpAddress& sender = container_ip) {
        return Eth{.src = mac, .dst = container_mac} /
               Packet{Arp{.operation = 2, .sender_mac = mac, .sender = target, .target_mac = container_mac, .target = sender}};
    }
    static Packet solicitation(const IpAddress& target, const IpAddress& source = container6) {
        return container_multicast6 / ip(source, address("ff02::1:ff00:50"), 255) /
               neighbour_message(kNeighbourSolicitation, target, container_mac);
    }
    static Packet advertisement(const IpAddress& target, const MacAddress& mac, std::uint32_t flags, const IpAddress& to = container6) {
        Bytes body{target.bytes().begin(), target.bytes().end()};
        body.insert(body.end(), {2, 1});
        body.insert(body.end(), mac.bytes().begin(), mac.bytes().end());
        return Eth{.src = mac, .dst = container_mac} / Packet{Ipv6{.src = target, .dst = to, .hop_limit = 255, .flow_label = 0}} /
               Icmp{.type = kNeighbourAdvertisement, .rest = flags} / Payload{body};
    }
    void expect_answered(const Packet& asked, const Packet& expected) {
        const Outcome outcome = at_container(asked);
        EXPECT_TRUE(redirected(outcome, FNET_NEIGHBOUR_ANSWERED, expected)) << ::testing::PrintToString(outcome);
    }
    void expect_asked_further(const Packet& asked) { EXPECT_THAT(at_container(asked), GoesToTheKernel(FNET_TO_BRIDGE)); }
};
constexpr std::uint32_t kSolicitedOverride = 0x60000000, kRouter = 0x80000000;

TEST_F(OverlayNeighbour, ArpIsAnsweredForEachAddressThatIsKnown) {
    for (const auto& [target, mac] : {std::pair{peer4.remote4, peer4.mac}, {neighbour_ip, neighbour_mac}, {gateway, gateway_mac}}) {
        expect_answered(container_broadcast / Packet{question(target)}, answer(target, mac));
        expect_answered(Eth{.src = container_mac, .dst = mac} / Packet{question(target)}, answer(target, mac));
    }
    EXPECT_EQ(endpoint(container()).kernel_packets, 0U);
}

TEST_F(OverlayNeighbour, ProbeForAnAddressThatIsTakenIsAnswered) {
    expect_answered(container_broadcast / Packet{question(peer4.remote4, any4)}, answer(peer4.remote4, peer4.mac, any4));
    expect_asked_further(container_broadcast / Packet{question(container_ip, any4)});
}

TEST_F(OverlayNeighbour, PaddingOfAFrameIsNoMatter) {
    Bytes asked = (container_broadcast / Packet{question(peer4.remote4)}).bytes();
    Bytes expected = answer(peer4.remote4, peer4.mac).bytes();
    asked.resize(60);
    expected.resize(60);
    EXPECT_EQ(run("tc_container", asked, container().ifindex).out, expected);
}

TEST_F(OverlayNeighbour, WhatIsNotKnownOrTheAskersOwnIsAskedFurther) {
    for (const IpAddress& target : {nobody_ip, container_ip, stranger_ip, client})
        expect_asked_further(container_broadcast / Packet{question(target)});
    Arp reply = question(neighbour_ip);
    reply.operation = 2;
    expect_asked_further(container_broadcast / Packet{reply});
    for (const IpAddress& target : {address("fd00:10::99"), container6, stranger6, address("fe80::1")})
        expect_asked_further(solicitation(target));
}

TEST_F(OverlayNeighbour, ForgedQuestionsAreDropped) {
    EXPECT_THAT(at_container(container_broadcast / Packet{question(peer4.remote4, neighbour_ip)}), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(solicitation(peer4.remote6, neighbour6)), IsDropped(FNET_SPOOFED_SOURCE));
}

TEST_F(OverlayNeighbour, SolicitationIsAnsweredForEachAddressThatIsKnown) {
    expect_answered(solicitation(peer4.remote6), advertisement(peer4.remote6, peer4.mac, kSolicitedOverride));
    expect_answered(solicitation(neighbour6), advertisement(neighbour6, neighbour_mac, kSolicitedOverride));
    expect_answered(solicitation(gateway6), advertisement(gateway6, gateway_mac, kSolicitedOverride | kRouter));
    expect_answered(solicitation(peer4.remote6, container_link_local),
                    advertisement(peer4.remote6, peer4.mac, kSolicitedOverride, container_link_local));
}

TEST_F(OverlayNeighbour, OtherDiscoveryIsAskedFurther) {
    const Eth group = container_multicast6;
    expect_asked_further(group / ip(any6, address("ff02::1:ff00:2"), 255) /
                         neighbour_message(kNeighbourSolicitation, peer4.remote6, container_mac));
    Bytes target(peer4.remote6.bytes().begin(), peer4.remote6.bytes().end());
    expect_asked_further(group / ip(container6, all_nodes, 255) / Icmp{.type = kNeighbourSolicitation} / Payload{target});
    target.insert(target.end(), {14, 1, 1, 2, 3, 4, 5, 6});
    expect_asked_further(group / ip(container6, all_nodes, 255) / Icmp{.type = kNeighbourSolicitation} / Payload{target});
    expect_asked_further(group / ip(container6, all_nodes, 255) / neighbour_message(kNeighbourAdvertisement, container6, container_mac));
    expect_asked_further(group / ip(container6, all_nodes, 255) / Icmp{.type = kRouterSolicitation});
}

TEST_F(OverlayNeighbour, WithoutInterContainerTrafficOnlyTheGatewayIsKnown) {
    set_flags(container(), FNET_ENDPOINT_NO_ICC);
    for (const IpAddress& target : {peer4.remote4, neighbour_ip}) expect_asked_further(container_broadcast / Packet{question(target)});
    for (const IpAddress& target : {peer4.remote6, neighbour6}) expect_asked_further(solicitation(target));
    expect_answered(container_broadcast / Packet{question(gateway)}, answer(gateway, gateway_mac));
    expect_answered(solicitation(gateway6), advertisement(gateway6, gateway_mac, kSolicitedOverride | kRouter));
}

TEST_F(OverlayNeighbour, OnANetworkOfOneNodeTheBridgeIsAsked) {
    set_vni(container(), 0);
    expect_asked_further(container_broadcast / Packet{question(neighbour_ip)});
    expect_asked_further(solicitation(neighbour6));
}

}  // namespace
}  // namespace fastnet::test
