// Which peer an inner address belongs to, where the packets of the peers themselves say so.
#include <bpf/bpf.h>

#include <set>

#include "tests/bpf/overlay_fixture.h"

namespace fastnet::test {
namespace {

constexpr std::uint64_t kSilent = 300;  // remote_ns of the fixture, in seconds

class Learning : public OverlayTest, public ::testing::WithParamInterface<Way> {
protected:
    void SetUp() override {
        OverlayTest::SetUp();
        if (IsSkipped()) return;
        for (const Peer& each : {peer(), other()}) add_peer(each, FNET_VTEP_LEARN);
    }
    const Way& way() const { return GetParam(); }
    const Peer& peer() const { return way().peer; }
    const Peer& other() const { return second_peer4; }
    const IpAddress& address_in_dispute() const { return way().remote(); }
    Packet inner(const IpAddress& source, const MacAddress& mac) const {
        return Eth{.src = mac, .dst = container_mac} / ip(source, way().container()) / udp(20000, 53) / payload(10);
    }
    Outcome from(const Peer& sender, const IpAddress& source) { return receive(sender, inner(source, sender.mac)); }
    bool takes(const Peer& sender, const IpAddress& source) {
        const Outcome outcome = from(sender, source);
        if (outcome.action == kDropped) {
            EXPECT_THAT(outcome, IsDropped(FNET_TUNNEL_BAD_INNER));
            return false;
        }
        EXPECT_THAT(outcome, Decapsulates(inner(source, sender.mac)));
        return true;
    }
    std::uint32_t owner_of(const IpAddress& address) const {
        const auto found = owner(address);
        return found ? found->tunnel : 0;
    }
    IpAddress nth(std::uint32_t n) const {
        Bytes bytes(way().container().bytes().begin(), way().container().bytes().end());
        bytes[14] = static_cast<std::uint8_t>(way().v4() ? 0 : n >> 8U);
        bytes[15] = static_cast<std::uint8_t>(n);
        return IpAddress::from_wire(Family::kIpv6, bytes.data());
    }
};
INSTANTIATE_TEST_SUITE_P(Each, Learning, each_way, way_name);

TEST_P(Learning, FirstPeerThatUsesAnAddressHasIt) {
    EXPECT_TRUE(takes(peer(), address_in_dispute()));
    const auto row = owner(address_in_dispute());
    ASSERT_TRUE(row.has_value());
    EXPECT_EQ(row->ifindex, 0U);
    EXPECT_EQ(row->tunnel, peer().tunnel);
    EXPECT_EQ(row->flags, FNET_ADDRESS_LEARNED);
    EXPECT_EQ(MacAddress{std::to_array(row->mac)}, peer().mac);
    EXPECT_NE(row->seen_ns, 0U);
    EXPECT_EQ(learned(peer()), 1U);
    EXPECT_TRUE(takes(peer(), address_in_dispute()));
    EXPECT_EQ(learned(peer()), 1U) << "once";
    const Packet answer = to_remote(peer()) / ip(way().container(), address_in_dispute()) / udp(53, 20000);
    EXPECT_THAT(at_container(answer), TunnelsTo(peer(), answer));
    EXPECT_TRUE(learned_are_accounted_for());
}

TEST_P(Learning, SecondPeerIsRefusedUntilTheFirstIsSilent) {
    ASSERT_TRUE(takes(peer(), address_in_dispute()));
    EXPECT_FALSE(takes(other(), address_in_dispute()));
    silence(address_in_dispute(), kSilent - 5);
    EXPECT_FALSE(takes(other(), address_in_dispute()));
    EXPECT_EQ(owner_of(address_in_dispute()), peer().tunnel);
    silence(address_in_dispute(), 6);
    EXPECT_TRUE(takes(other(), address_in_dispute()));
    const auto row = owner(address_in_dispute());
    ASSERT_TRUE(row.has_value());
    EXPECT_EQ(row->tunnel, other().tunnel);
    EXPECT_EQ(MacAddress{std::to_array(row->mac)}, other().mac);
    EXPECT_EQ(learned(peer()), 0U);
    EXPECT_EQ(learned(other()), 1U);
    EXPECT_FALSE(takes(peer(), address_in_dispute())) << "now it is the other's";
    EXPECT_TRUE(learned_are_accounted_for());
}

TEST_P(Learning, EachPacketKeepsIt) {
    ASSERT_TRUE(takes(peer(), address_in_dispute()));
    silence(address_in_dispute(), kSilent + 1);
    EXPECT_TRUE(takes(peer(), address_in_dispute()));
    EXPECT_FALSE(takes(other(), address_in_dispute()));
}

TEST_P(Learning, SilentAddressIsLookedForAnew) {
    ASSERT_TRUE(takes(peer(), address_in_dispute()));
    const Packet question = to_remote(peer()) / ip(way().container(), address_in_dispute()) / udp(53, 20000);
    silence(address_in_dispute(), kSilent - 5);
    EXPECT_THAT(at_container(question), TunnelsTo(peer(), question));
    silence(address_in_dispute(), 6);
    EXPECT_THAT(at_container(question), GoesToTheKernel(FNET_TO_BRIDGE)) << "as a switch floods what it has forgotten";
    if (way().v4()) {
        const Packet arp = container_broadcast / Arp{.sender_mac = container_mac, .sender = container_ip, .target = address_in_dispute()};
        EXPECT_THAT(at_container(arp), GoesToTheKernel(FNET_TO_BRIDGE));
        const Packet reply = Eth{.src = peer().mac, .dst = container_mac} / Arp{.operation = 2,
                                                                                .sender_mac = peer().mac,
                                                                                .sender = address_in_dispute(),
                                                                                .target_mac = container_mac,
                                                                                .target = container_ip};
        EXPECT_EQ(receive(peer(), reply).action, kToKernel);
        EXPECT_THAT(at_container(question), TunnelsTo(peer(), question)) << "an answer is a sign of life";
    }
}

TEST_P(Learning, FollowsANewContainerWithTheSameAddress) {
    ASSERT_TRUE(takes(peer(), address_in_dispute()));
    const Packet moved = inner(address_in_dispute(), mac(7, 7));
    EXPECT_THAT(receive(peer(), moved), Decapsulates(moved));
    const Packet answer = Eth{.src = container_mac, .dst = mac(7, 7)} / ip(way().container(), address_in_dispute()) / udp(53, 20000);
    EXPECT_THAT(at_container(answer), TunnelsTo(peer(), answer));
    EXPECT_EQ(receive(other(), inner(address_in_dispute(), mac(9, 9))).action, kDropped);
    EXPECT_THAT(at_container(answer), TunnelsTo(peer(), answer)) << "who may not have the address does not change it";
}

TEST_P(Learning, StaticAddressesNeverMoveAndKeepTheirMac) {
    add_remote(peer());
    EXPECT_FALSE(takes(other(), address_in_dispute()));
    EXPECT_THAT(receive(peer(), inner(address_in_dispute(), mac(7, 7))), Decapsulates(inner(address_in_dispute(), mac(7, 7))));
    EXPECT_EQ(MacAddress{std::to_array(owner(address_in_dispute())->mac)}, peer().mac);
    EXPECT_EQ(owner(address_in_dispute())->seen_ns, 0U);
    EXPECT_FALSE(takes(other(), address_in_dispute())) << "seen never, but not for sale";
    EXPECT_EQ(learned(other()), 0U);
}

TEST_P(Learning, AddressesOfThisNodeOutsideTheSubnetAndTheGatewaysAreNeverLearned) {
    for (const IpAddress& source : {way().container(), way().neighbour(), way().gateway(), way().stranger(), way().v4() ? client : client6,
                                    way().v4() ? limited_broadcast : all_nodes, way().v4() ? other_gateway : address("fd00:20::1")}) {
        const auto before = owner(source);
        EXPECT_FALSE(takes(peer(), source)) << source.to_string();
        EXPECT_EQ(owner(source).has_value(), before.has_value()) << source.to_string();
    }
    if (way().v4()) {
        EXPECT_FALSE(takes(peer(), address("10.10.0.255"))) << "the subnet's broadcast address";
    }
    EXPECT_FALSE(takes(peer(), way().gateway())) << "again";
    EXPECT_EQ(learned(peer()), 0U);
}

TEST_P(Learning, GatewayIsSafeWithoutTheBridgeToo) {
    for (const std::uint32_t bridge : {0U, 4711U, lab().ifindex("side0")}) {
        fnet_vtep_key key{.peer = to_abi(peer().address), .vni = kVni, .reserved = 0};
        fnet_vtep row{
            .network = 1, .tunnel = peer().tunnel, .bridge_ifindex = bridge, .flags = FNET_VTEP_LEARN, .learned = 0, .reserved = 0};
        ASSERT_EQ(bpf_map_update_elem(map_fd("vteps"), &key, &row, BPF_ANY), 0);
        EXPECT_FALSE(takes(peer(), way().gateway())) << bridge;
    }
}

TEST_P(Learning, WithoutLearningNothingIsLearned) {
    set_peer_flags(peer(), 0);
    EXPECT_FALSE(takes(peer(), address_in_dispute()));
    EXPECT_FALSE(owner(address_in_dispute()).has_value());
}

TEST_P(Learning, WithoutLearningNothingIsTakenOver) {
    ASSERT_TRUE(takes(peer(), address_in_dispute()));
    silence(address_in_dispute(), kSilent + 1);
    set_peer_flags(other(), 0);
    EXPECT_FALSE(takes(other(), address_in_dispute()));
    EXPECT_EQ(owner_of(address_in_dispute()), peer().tunnel);
}

TEST_P(Learning, OnePeerHasOnlySoMany) {
    set_learned(peer(), FNET_MAX_LEARNED_OF_A_PEER - 1);
    EXPECT_TRUE(takes(peer(), nth(100)));
    EXPECT_FALSE(takes(peer(), nth(101)));
    EXPECT_EQ(learned(peer()), FNET_MAX_LEARNED_OF_A_PEER);
    EXPECT_TRUE(takes(peer(), nth(100))) << "what it has it keeps";
    EXPECT_TRUE(takes(other(), nth(101)));
    silence(nth(101), kSilent + 1);
    EXPECT_FALSE(takes(peer(), nth(101))) << "by taking over neither";
    EXPECT_EQ(learned(peer()), FNET_MAX_LEARNED_OF_A_PEER);
    EXPECT_EQ(learned(other()), 1U);
}

TEST_P(Learning, BroadcastAndDiscoveryTeachTooAndAreHeldToIt) {
    if (way().v4()) {
        const auto says = [](const Peer& who, const IpAddress& sender) {
            return Eth{.src = who.mac, .dst = broadcast_mac} / Packet{Arp{.sender_mac = who.mac, .sender = sender, .target = container_ip}};
        };
        EXPECT_THAT(receive(peer(), says(peer(), address_in_dispute())), GoesToTheVxlanDevice());
        EXPECT_EQ(owner_of(address_in_dispute()), peer().tunnel);
        EXPECT_THAT(receive(other(), says(other(), address_in_dispute())), IsDropped(FNET_TUNNEL_BAD_INNER));
        EXPECT_THAT(receive(peer(), says(peer(), gateway)), IsDropped(FNET_TUNNEL_BAD_INNER));
    } else {
        const auto says = [](const Peer& who, const IpAddress& target) {
            return Eth{.src = who.mac, .dst = multicast6_mac} / ip(address("fe80::9"), all_nodes, 255) /
                   neighbour_message(kNeighbourAdvertisement, target, who.mac);
        };
        EXPECT_THAT(receive(peer(), says(peer(), address_in_dispute())), GoesToTheVxlanDevice());
        EXPECT_EQ(owner_of(address_in_dispute()), peer().tunnel);
        EXPECT_THAT(receive(other(), says(other(), address_in_dispute())), IsDropped(FNET_TUNNEL_BAD_INNER));
        EXPECT_THAT(receive(peer(), says(peer(), gateway6)), IsDropped(FNET_TUNNEL_BAD_INNER));
    }
    EXPECT_EQ(learned(peer()), 1U);
    EXPECT_TRUE(learned_are_accounted_for());
}

TEST_P(Learning, PlaceOfAnAddressThatUserSpaceTookAwayIsUsedAgain) {
    ASSERT_TRUE(takes(peer(), address_in_dispute()));
    ASSERT_TRUE(forget_address(address_in_dispute()));
    set_learned(peer(), 0);
    EXPECT_TRUE(takes(other(), address_in_dispute()));
    EXPECT_EQ(owner_of(address_in_dispute()), other().tunnel);
    EXPECT_TRUE(learned_are_accounted_for());
}

/// All places but none free: whoever comes next finds the ones that are not needed any more.
class LearningFull : public OverlayTest {
protected:
    struct Place {  // struct fnet_learned of bpf/lib/maps.h, which is no ABI
        fnet_address_key key;
        fnet_vtep_key vtep;
        std::uint32_t state, reserved;
    };
    void SetUp() override {
        OverlayTest::SetUp();
        if (IsSkipped()) return;
        for (const Peer& each : {peer4, second_peer4}) add_peer(each, FNET_VTEP_LEARN);
    }
    /// Each place is taken by an address of its own, of @p peer, which was heard @p seconds ago.
    void fill(const Peer& peer, std::uint64_t seconds) {
        timespec now{};
        (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
        fnet_address row{};
        row.tunnel = peer.tunnel;
        row.flags = FNET_ADDRESS_LEARNED;
        row.seen_ns = (static_cast<std::uint64_t>(now.tv_sec) - seconds) * kSecond;
        for (std::uint32_t i = 0; i < FNET_MAX_LEARNED; ++i) {
            row.slot = i;
            store_address(nth(i), row);
            put(i, {{to_abi(nth(i)), 1, 0}, {to_abi(peer.address), kVni, 0}, 1, 0});
        }
        set_learned(peer, FNET_MAX_LEARNED);
    }
    void put(std::uint32_t index, const Place& place) { ASSERT_EQ(bpf_map_update_elem(map_fd("learned"), &index, &place, BPF_ANY), 0); }
    static IpAddress nth(std::uint32_t n) {
        Bytes bytes(container6.bytes().begin(), container6.bytes().end());
        bytes[12] = 1;
        bytes[14] = static_cast<std::uint8_t>(n >> 8U);
        bytes[15] = static_cast<std::uint8_t>(n);
        return IpAddress::from_wire(Family::kIpv6, bytes.data());
    }
    Outcome from_second() {
        return receive(second_peer4, Eth{.src = second_peer4.mac, .dst = container_mac} / ip(second_peer4.remote6, container6) / udp(1, 2));
    }
};

TEST_F(LearningFull, NobodyLosesAnAddressThatIsInUse) {
    fill(peer4, 1);
    EXPECT_THAT(from_second(), IsDropped(FNET_TUNNEL_BAD_INNER));
    EXPECT_EQ(learned(peer4), FNET_MAX_LEARNED);
    EXPECT_TRUE(learned_are_accounted_for());
}

TEST_F(LearningFull, SilentOnesGiveWay) {
    fill(peer4, kSilent + 10);
    EXPECT_EQ(from_second().action, kRedirected);
    EXPECT_EQ(learned(peer4), FNET_MAX_LEARNED - 1U);
    EXPECT_EQ(learned(second_peer4), 1U);
    EXPECT_TRUE(learned_are_accounted_for());
}

TEST_F(LearningFull, PlacesOfAddressesThatAreGoneOrAnothersNowAreUsedAgain) {
    fill(peer4, 1);
    fnet_address local{};
    local.ifindex = neighbour().ifindex;
    for (std::uint32_t i = 0; i < FNET_MAX_LEARNED; ++i)
        if (i % 2 == 0)
            forget_address(nth(i));
        else
            store_address(nth(i), local);
    EXPECT_EQ(from_second().action, kRedirected);
    const auto row = owner(second_peer4.remote6);
    ASSERT_TRUE(row.has_value());
    EXPECT_EQ(row->tunnel, second_peer4.tunnel);
    EXPECT_EQ(learned(second_peer4), 1U);
    EXPECT_EQ(owner(nth(1))->ifindex, neighbour().ifindex);
}

}  // namespace
}  // namespace fastnet::test
