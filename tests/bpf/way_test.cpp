// tc_container, once the way from one container to another is kept: what still is asked of every packet, and what makes the
// way void.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>

#include "tests/bpf/overlay_fixture.h"

namespace fastnet::test {
namespace {

class Ways : public OverlayTest, public ::testing::WithParamInterface<Way> {
protected:
    void SetUp() override {
        OverlayTest::SetUp();
        if (IsSkipped()) return;
        add_peer(way().peer);
        add_remote(way().peer);
        for (int i = 0; i < 2; ++i) {
            ASSERT_THAT(at_container(here()), RedirectsToNeighbour(here()));
            ASSERT_THAT(at_container(there()), TunnelsTo(peer(), there()));
        }
        for (const fnet_way& one : ways()) ASSERT_NE(one.judged_ns, 0U);
        ASSERT_EQ(ways().size(), 2U) << "each packet was the first of its way";
    }
    const Way& way() const { return GetParam(); }
    const Peer& peer() const { return way().peer; }
    /// To the neighbour, and to the container on the other node.
    Packet here(const Packet& l4 = udp(20000, 53)) const { return container_to_neighbour / ip(way().container(), way().neighbour()) / l4; }
    Packet there(const Packet& l4 = udp(20000, 53)) const { return to_remote(peer()) / ip(way().container(), way().remote()) / l4; }
    Packet forged(const MacAddress& src, const MacAddress& dst, const IpAddress& from, const IpAddress& to) const {
        return Eth{.src = src, .dst = dst} / ip(from, to) / udp(20000, 53);
    }
    std::uint64_t settled() const { return stored_endpoint(container()).fast_packets; }
    /// Lets every way look @p nanoseconds older than it is.
    void age_ways(std::uint64_t nanoseconds) {
        const auto cpus = static_cast<std::size_t>(libbpf_num_possible_cpus());
        std::vector<fnet_way> values(cpus);
        for (std::uint32_t i = 0; i < FNET_WAYS; ++i) {
            ASSERT_EQ(bpf_map_lookup_elem(map_fd("ways"), &i, values.data()), 0);
            for (fnet_way& value : values) value.judged_ns -= std::min<std::uint64_t>(nanoseconds, value.judged_ns);
            ASSERT_EQ(bpf_map_update_elem(map_fd("ways"), &i, values.data(), BPF_ANY), 0);
        }
    }
};
INSTANTIATE_TEST_SUITE_P(Each, Ways, each_way, way_name);

TEST_P(Ways, ForgedSourceIsDroppedAsBefore) {
    for (const auto& [mac_of, to] : {std::pair{neighbour_mac, way().neighbour()}, {peer().mac, way().remote()}}) {
        EXPECT_THAT(at_container(forged(mac(7, 7), mac_of, way().container(), to)), IsDropped(FNET_SPOOFED_SOURCE));
        EXPECT_THAT(at_container(forged(container_mac, mac_of, way().stranger(), to)), IsDropped(FNET_SPOOFED_SOURCE));
    }
}

TEST_P(Ways, AnswersOfDhcpServersAreDroppedAsBefore) {
    const std::uint16_t server = way().v4() ? 67 : 547;
    EXPECT_THAT(at_container(here(udp(server, 68))), IsDropped(FNET_ROUTER_MESSAGE));
    EXPECT_THAT(at_container(there(udp(server, 68))), IsDropped(FNET_ROUTER_MESSAGE));
}

TEST_P(Ways, AnotherDestinationMacIsTheBridges) {
    EXPECT_THAT(at_container(forged(container_mac, mac(7, 7), way().container(), way().neighbour())), GoesToTheKernel(FNET_TO_BRIDGE));
    const MacAddress group{{0x33, 0x33, 0, 0, 0, 1}};
    EXPECT_THAT(at_container(forged(container_mac, group, way().container(), way().neighbour())), GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(at_container(forged(container_mac, group, way().container(), way().remote())), GoesToTheKernel(FNET_TO_BRIDGE));
}

TEST_P(Ways, AreNobodyElses) {
    // The same two addresses at another container's veth: of another network, or forged. Wherever its place may be.
    for (const fnet_way& one : ways()) {
        const std::vector<fnet_way> everywhere(static_cast<std::size_t>(libbpf_num_possible_cpus()), one);
        for (std::uint32_t i = 0; i < FNET_WAYS; ++i) ASSERT_EQ(bpf_map_update_elem(map_fd("ways"), &i, everywhere.data(), BPF_ANY), 0);
        EXPECT_THAT(at_container(neighbour(), one.tunnel == 0 ? here() : there()), IsDropped(FNET_SPOOFED_SOURCE));
        const MacAddress to = one.tunnel == 0 ? neighbour_mac : peer().mac;
        const IpAddress& dst = one.tunnel == 0 ? way().neighbour() : way().remote();
        EXPECT_THAT(at_container(forged(container_mac, to, way().stranger(), dst)), IsDropped(FNET_SPOOFED_SOURCE));
        EXPECT_THAT(at_container(forged(container_mac, to, way().container(), way().stranger())), GoesToTheKernel(FNET_TO_BRIDGE));
    }
    EXPECT_THAT(at_container(stranger(), here()), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(neighbour(), there()), IsDropped(FNET_SPOOFED_SOURCE));
}

TEST_P(Ways, EndWhenUserSpaceChangesWhatTheyRestOn) {
    forget_address(way().neighbour());
    forget_address(way().remote());
    EXPECT_THAT(at_container(here()), GoesToTheKernel(FNET_TO_BRIDGE));
    EXPECT_THAT(at_container(there()), GoesToTheKernel(FNET_TO_BRIDGE));
}

TEST_P(Ways, EndWithTheirSender) {
    forget_container(container());
    EXPECT_THAT(at_container(here()), IsDropped(FNET_UNKNOWN_ENDPOINT));
    EXPECT_THAT(at_container(there()), IsDropped(FNET_UNKNOWN_ENDPOINT));
}

TEST_P(Ways, EndWhenTheNetworkForbidsThem) {
    set_flags(container(), FNET_ENDPOINT_NO_ICC);
    EXPECT_THAT(at_container(here()), IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_THAT(at_container(there()), IsDropped(FNET_NETWORK_ISOLATED));
}

TEST_P(Ways, EndAfterASecond) {
    // Not told to the packet path, so only time makes it look.
    const fnet_address_key key{to_abi(way().remote()), container().network, 0};
    ASSERT_EQ(bpf_map_delete_elem(map_fd("addresses"), &key), 0);
    EXPECT_THAT(at_container(there()), TunnelsTo(peer(), there()));
    age_ways(1100ULL * 1000 * 1000);
    EXPECT_THAT(at_container(there()), GoesToTheKernel(FNET_TO_BRIDGE));
}

/// A fragment and its like between the same two do not cost the others their way.
TEST_P(Ways, StayWhileOtherKindsOfPacketsGoBetweenTheSameTwo) {
    const Packet big =
        way().v4() ? to_remote(peer()) / Ipv4{.src = way().container(), .dst = way().remote(), .fragment_offset = 64} / payload(64)
                   : to_remote(peer()) / Ipv6{.src = way().container(), .dst = way().remote()} / Ipv6Fragment{.offset = 64} / payload(64);
    EXPECT_THAT(at_container(big), TunnelsTo(peer(), big));
    for (const fnet_way& one : ways()) EXPECT_NE(one.judged_ns, 0U);
    EXPECT_EQ(ways().size(), 2U);
}

TEST_P(Ways, ManyHavePlacesOfTheirOwn) {
    fnet_address value{};
    value.tunnel = peer().tunnel;
    std::copy(peer().mac.bytes().begin(), peer().mac.bytes().end(), value.mac);
    const std::string prefix = way().v4() ? "172.30.1." : "fd00:30::1:";
    for (int i = 1; i <= 200; ++i) {
        const IpAddress one = address((prefix + std::to_string(i)).c_str());
        store_address(one, value);
        at_container(to_remote(peer()) / ip(way().container(), one) / udp(1, 2));
    }
    EXPECT_GT(ways().size(), 170U) << "200 and 2 of 1,024 places, by chance";
}

/// Its answers must be looked up as a flow's from then on, though they are for a MAC of the same network.
TEST_P(Ways, OfAServerEndWithItsFirstHairpin) {
    const Packet answer = Eth{.src = neighbour_mac, .dst = container_mac} / ip(way().neighbour(), way().container()) / udp(80, 20000);
    EXPECT_THAT(at_container(neighbour(), answer), RedirectsToNeighbour(answer));
    EXPECT_THAT(at_container(neighbour(), answer), RedirectsToNeighbour(answer));
    const IpAddress& host = way().v4() ? host_ip : host6;
    publish({.protocol = Protocol::kUdp, .address = host}, neighbour());
    const auto called = at_container(from_container / ip(way().container(), host) / udp(20000, 8080));
    EXPECT_EQ(called.action, kRedirected);
    EXPECT_EQ(at_container(neighbour(), answer).out, (into_container / ip(host, way().container(), 63) / udp(8080, 20000)).bytes());
}

TEST_P(Ways, CountForTheirSender) {
    EXPECT_EQ(endpoint(container()).fast_packets, 4U);
    EXPECT_EQ(settled(), 0U);
    const std::uint64_t bytes = 2 * here().bytes().size() + 2 * there().bytes().size();
    EXPECT_EQ(endpoint(container()).fast_bytes, bytes);
    user_space_changed();
    at_container(here());
    at_container(there());
    EXPECT_EQ(settled(), 0U) << "the place is still its sender's";
    EXPECT_EQ(endpoint(container()).fast_packets, 6U);
    // Another sender takes the place, wherever it is.
    const fnet_way before = ways().front();
    const std::vector<fnet_way> everywhere(static_cast<std::size_t>(libbpf_num_possible_cpus()), before);
    for (std::uint32_t i = 0; i < FNET_WAYS; ++i) ASSERT_EQ(bpf_map_update_elem(map_fd("ways"), &i, everywhere.data(), BPF_ANY), 0);
    at_container(neighbour(), Eth{.src = neighbour_mac, .dst = container_mac} / ip(way().neighbour(), way().container()) / udp(1, 2));
    EXPECT_EQ(settled(), before.packets);
    EXPECT_EQ(stored_endpoint(container()).fast_bytes, before.bytes);
    EXPECT_EQ(endpoint(neighbour()).fast_packets, 1U);
}

TEST_P(Ways, CountNothingForWhoeverComesAfterTheirSender) {
    fnet_endpoint next = stored_endpoint(container());
    next.id += 100;
    ASSERT_EQ(bpf_map_update_elem(map_fd("endpoints"), &container().ifindex, &next, BPF_ANY), 0);
    user_space_changed();
    at_container(here());
    EXPECT_EQ(settled(), 0U);
    EXPECT_EQ(endpoint(container()).fast_packets, 1U);
}

}  // namespace
}  // namespace fastnet::test
