// Random damage to VXLAN, with a fixed seed: whatever a peer sends, nothing reaches a container but what an address of that
// peer sent to an address of this node, and not a byte of it changed.
#include <random>

#include "tests/bpf/overlay_fixture.h"

namespace fastnet::test {
namespace {

constexpr int kRounds = 100'000;

class OverlayFuzz : public OverlayTest {
protected:
    void SetUp() override {
        OverlayTest::SetUp();
        if (IsSkipped()) return;
        for (const Peer& peer : {peer4, peer6, second_peer4}) {
            add_peer(peer);
            add_remote(peer);
        }
        for (const Peer& peer : {peer4, peer6, second_peer4}) {
            const Eth unicast = from_remote(peer), group{.src = peer.mac, .dst = broadcast_mac};
            for (const bool v4 : {true, false}) {
                const IpAddress& from = peer.remote(v4);
                const IpAddress& to = v4 ? container_ip : container6;
                seeds_.push_back({peer, from_peer(peer, unicast / ip(from, to) / tcp(20000, 80) / payload(30)).bytes()});
                seeds_.push_back({peer, from_peer(peer, {.ecn = 3}, unicast / ip(from, to) / udp(20000, 80) / payload(9)).bytes()});
                seeds_.push_back({peer, from_peer(peer, unicast / ip(from, v4 ? neighbour_ip : neighbour6) / udp(1, 2)).bytes()});
            }
            seeds_.push_back(
                {peer,
                 from_peer(peer, group / Packet{Arp{.sender_mac = peer.mac, .sender = peer.remote4, .target = container_ip}}).bytes()});
            seeds_.push_back({peer, from_peer(peer, group / ip(peer.remote6, all_nodes, 255) / Ipv6Extension{} /
                                                        neighbour_message(kNeighbourAdvertisement, peer.remote6, peer.mac))
                                        .bytes()});
        }
    }
    unsigned pick(unsigned limit) { return static_cast<unsigned>(random_() % limit); }
    void damage(Bytes& frame) {
        for (unsigned i = 1 + pick(3); i > 0; --i) {
            const std::size_t at = 12 + pick(static_cast<unsigned>(frame.size()) - 12);
            const Bytes& other = seeds_[pick(static_cast<unsigned>(seeds_.size()))].second;
            switch (pick(4)) {
                case 0: frame[at] = static_cast<std::uint8_t>(pick(256)); break;
                case 1: frame[at] = static_cast<std::uint8_t>(frame[at] ^ 1U << pick(8)); break;
                case 2: frame[at] = std::array<std::uint8_t, 4>{0, 1, 0x7f, 0xff}.at(pick(4)); break;
                default:  // fields of another packet's
                    for (std::size_t byte = at; byte < std::min({at + 16, frame.size(), other.size()}); ++byte) frame[byte] = other[byte];
            }
        }
        if (pick(8) == 0) frame.resize(14 + pick(static_cast<unsigned>(frame.size()) - 14 + 1));
    }
    /// What came out belongs to the peer that the outer header names, and to us.
    static ::testing::AssertionResult came_from_its_owner(const Bytes& in, const Bytes& out) {
        const auto wrong = [](const char* what) { return ::testing::AssertionFailure() << what; };
        const bool outer_v4 = in[12] == 0x08;
        const IpAddress outer = outer_v4 ? IpAddress::from_wire(Family::kIpv4, &in[26]) : IpAddress::from_wire(Family::kIpv6, &in[22]);
        const std::size_t header = outer_v4 ? FNET_TUNNEL_OVERHEAD_IPV4 : FNET_TUNNEL_OVERHEAD_IPV6;
        if (out.size() + header != in.size()) return wrong("the length");
        const bool v4 = out[12] == 0x08;
        const IpAddress src = v4 ? IpAddress::from_wire(Family::kIpv4, &out[26]) : IpAddress::from_wire(Family::kIpv6, &out[22]);
        const IpAddress dst = v4 ? IpAddress::from_wire(Family::kIpv4, &out[30]) : IpAddress::from_wire(Family::kIpv6, &out[38]);
        bool owns = false;
        for (const Peer& peer : {peer4, peer6, second_peer4}) owns = owns || (peer.address == outer && peer.remote(v4) == src);
        if (!owns) return wrong("a source that is not the peer's");
        if (dst != container_ip && dst != neighbour_ip && dst != container6 && dst != neighbour6)
            return wrong("a destination that is not here");
        const MacAddress& mac = dst == container_ip || dst == container6 ? container_mac : neighbour_mac;
        if (!std::equal(mac.bytes().begin(), mac.bytes().end(), out.begin())) return wrong("not its MAC");
        if ((in[header - 8] & 0x08U) == 0 || in[header - 4] != 0x12 || in[header - 3] != 0x34 || in[header - 2] != 0x56)
            return wrong("the VNI");
        Bytes expected(in.begin() + static_cast<std::ptrdiff_t>(header), in.end()), found = out;
        for (Bytes* each : {&expected, &found}) {  // congestion is passed on
            std::fill_n(each->begin(), 6, std::uint8_t{0});
            each->at(15) = 0;
            if (v4) each->at(24) = each->at(25) = 0;
        }
        return expected == found ? ::testing::AssertionSuccess() : wrong("bytes that are none of its business");
    }

    std::vector<std::pair<Peer, Bytes>> seeds_;
    std::mt19937 random_{0xfa57};
};

TEST_F(OverlayFuzz, NothingArrivesInAnothersName) {
    const std::uint32_t uplink = lab().ifindex("up0");
    int received = 0, dropped = 0, refused = 0;
    Outcome outcome;
    for (int round = 0; round < kRounds; ++round) {
        outcome.in = seeds_[pick(static_cast<unsigned>(seeds_.size()))].second;
        if (pick(8) != 0) damage(outcome.in);
        if (!run_quickly("tc_uplink", outcome.in, uplink, outcome)) {
            ASSERT_LT(outcome.in.size(), 14U + 40U) << "the kernel builds no packet that is shorter than its IP header";
            ++refused;
            continue;
        }
        if (outcome.action == kRedirected) {
            ++received;
            ASSERT_TRUE(came_from_its_owner(outcome.in, outcome.out)) << "round " << round << '\n' << ::testing::PrintToString(outcome);
        } else {
            ASSERT_TRUE(outcome.action == kToKernel || outcome.action == kDropped) << outcome.action;
            dropped += outcome.action == kDropped ? 1 : 0;
            ASSERT_EQ(outcome.out, outcome.in) << "round " << round;
        }
    }
    const Verdicts counted = verdicts();
    EXPECT_EQ(counted.count(FNET_INTERNAL_ERROR), 0U);
    EXPECT_EQ(counted.at(FNET_TUNNEL_RECEIVED), static_cast<std::uint64_t>(received));
    // The damage must be of the interesting kind.
    EXPECT_GT(received, kRounds / 10);
    EXPECT_GT(dropped, kRounds / 10);
    EXPECT_LT(refused, kRounds / 10);
    for (const fnet_verdict each : {FNET_TUNNEL_UNKNOWN_PEER, FNET_TUNNEL_UNKNOWN_NETWORK, FNET_TUNNEL_BAD_INNER, FNET_TUNNEL_TO_KERNEL,
                                    FNET_TUNNEL_CONGESTED, FNET_MALFORMED})
        EXPECT_EQ(counted.count(each), 1U) << name_of(each);
}

}  // namespace
}  // namespace fastnet::test
