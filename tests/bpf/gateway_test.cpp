// tc_gateway_in and tc_gateway_out: the gates of a network's bridge, for what the kernel delivers to containers and what it
// takes from them. wire_test.cpp does the same with real frames.
#include "tests/bpf/datapath_fixture.h"

namespace fastnet::test {
namespace {

class GatewayOut : public DatapathTest {
protected:
    const Packet segment = into_container / ip(client, container_ip) / tcp(40000, 80);
};

TEST_F(GatewayOut, HostsOwnPacketsPassAndCount) {
    EXPECT_THAT(at_gateway_out(container(), 0, segment), GoesToTheKernel(FNET_FROM_HOST));
    EXPECT_EQ(endpoint(container()).kernel_packets, 1U);
    EXPECT_EQ(endpoint(container()).kernel_bytes, segment.bytes().size());
    EXPECT_EQ(endpoint(neighbour()).kernel_packets, 0U);
}

TEST_F(GatewayOut, HostsOwnPacketsOfIpv6PassAndCount) {
    EXPECT_THAT(at_gateway_out(container(), 0, into_container / ip(client6, container6) / tcp(40000, 80)), GoesToTheKernel(FNET_FROM_HOST));
    EXPECT_EQ(endpoint(container()).kernel_packets, 1U);
}

TEST_F(GatewayOut, ArpOfTheHostPasses) {
    EXPECT_THAT(at_gateway_out(container(), 0,
                               Eth{.src = gateway_mac, .dst = broadcast_mac} /
                                   Packet{Arp{.sender_mac = gateway_mac, .sender = container().gateway4, .target = container_ip}}),
                GoesToTheKernel(FNET_FROM_HOST));
    EXPECT_EQ(endpoint(container()).kernel_packets, 0U) << "a broadcast belongs to nobody";
}

TEST_F(GatewayOut, MembersOfNetworksAreNotRoutedTo) {
    EXPECT_THAT(at_gateway_out(container(), stranger().bridge, segment), IsDropped(FNET_NETWORK_ISOLATED)) << "of another network";
    EXPECT_THAT(at_gateway_out(container(), container().bridge, segment), IsDropped(FNET_NETWORK_ISOLATED))
        << "routed back into its own network";
}

TEST_F(GatewayOut, EveryOtherDeviceIsOutside) {
    for (const std::uint32_t from : {lab().ifindex("up0"), lab().ifindex("side0"), stranger().ifindex, 424242U /* came later */})
        EXPECT_THAT(at_gateway_out(container(), from, segment), IsDropped(FNET_NOT_PUBLISHED)) << from;
    EXPECT_EQ(endpoint(container()).kernel_packets, 0U);
}

class GatewayIn : public DatapathTest {
protected:
    static bool passes(const Outcome& outcome) { return outcome.action == -1 && outcome.verdicts.empty() && outcome.out == outcome.in; }
};

TEST_F(GatewayIn, OnlyTheHostItselfIsReached) {
    for (const IpAddress& own : {container().gateway4, host_ip})
        EXPECT_TRUE(passes(at_gateway_in(container(), from_container / ip(container_ip, own) / tcp(20000, 22)))) << own.to_string();
    EXPECT_TRUE(passes(at_gateway_in(container(), from_container / ip(container6, container().gateway6) / tcp(20000, 22))));
}

TEST_F(GatewayIn, NothingIsLeftToTheRoutes) {
    EXPECT_THAT(at_gateway_in(container(), from_container / ip(container_ip, client) / tcp(20000, 443)), IsDropped(FNET_UNTRANSLATED));
    EXPECT_THAT(at_gateway_in(container(), from_container / ip(container6, client6) / tcp(20000, 443)), IsDropped(FNET_UNTRANSLATED));
    EXPECT_THAT(at_gateway_in(container(), from_container / ip(container_ip, stranger_ip) / tcp(20000, 80)), IsDropped(FNET_UNTRANSLATED));
    EXPECT_THAT(at_gateway_in(container(), from_container / ip(client, client) / tcp(20000, 443)), IsDropped(FNET_UNTRANSLATED))
        << "whatever it says that it is";
}

TEST_F(GatewayIn, WhatIsNotForwardedAnywayPasses) {
    EXPECT_TRUE(passes(at_gateway_in(container(), Eth{.src = container_mac, .dst = broadcast_mac} /
                                                      Packet{Arp{.sender_mac = container_mac, .sender = container_ip, .target = client}})));
    EXPECT_TRUE(
        passes(at_gateway_in(container(), Eth{.src = container_mac, .dst = broadcast_mac} / ip(container_ip, client) / udp(68, 67))));
    EXPECT_TRUE(passes(at_gateway_in(container(), from_container / ip(container6, all_nodes) / udp(5353, 5353))));
}

}  // namespace
}  // namespace fastnet::test
