// Random damage to valid packets, with a fixed seed: whatever comes, a program either leaves the bytes alone or translates
// them rightly; above all, no container's own address leaves by the uplink. "Rightly" is told from the bytes alone, without asking the
// program's own parser.
#include <random>

#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

constexpr int kRounds = 250'000;

struct Seed {
    bool at_container;
    Bytes frame;
};

class Fuzz : public DatapathTest {
protected:
    Fuzz() : DatapathTest({.max_flows = 512}) {}
    void SetUp() override {
        DatapathTest::SetUp();
        if (IsSkipped()) return;
        for (const IpAddress& published : {any4, any6})
            for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) publish({.protocol = protocol, .address = published});
        const Bytes options{1, 1, 1, 1, 0x94, 4, 0, 0};
        for (const bool v4 : {true, false}) {
            const IpAddress from = v4 ? client : client6, host = v4 ? host_ip : host6, inside = v4 ? container_ip : container6,
                            next = v4 ? neighbour_ip : neighbour6;
            for (const std::uint8_t flags : {kSyn, kAck, kFinAck, kRst}) {
                outside(ip(from, host) / tcp(40000, 8080, flags) / payload(12));
                inside_out(ip(inside, from) / tcp(80, 40000, flags) / payload(12));
                inside_out(ip(inside, from) / tcp(20000, 443, flags) / payload(3));
                outside(ip(from, host) / tcp(443, 20000, flags) / payload(3));
            }
            outside(ip(from, host) / udp(40000, 8080) / payload(5));
            inside_out(ip(inside, from) / udp(80, 40000) / payload(8));
            inside_out(ip(inside, from) / udp(20000, 53));
            inside_out(ip(inside, from) / echo(v4 ? kEchoRequest : kEchoRequest6, 7) / payload(16));
            outside(ip(from, host) / echo(v4 ? kEchoReply : kEchoReply6, 7) / payload(16));
            inside_out(ip(inside, host) / tcp(20001, 8080));
            inside_out(ip(inside, next) / tcp(20001, 80));
            seeds_.push_back({true, (container_to_neighbour / ip(inside, next) / udp(1, 2) / payload(8)).bytes()});
        }
        outside(Ipv4{.src = client, .dst = host_ip, .options = options} / Packet{tcp(40000, 8080)});
        inside_out(Ipv4{.src = container_ip, .dst = client, .options = options} / Packet{udp(20000, 53)});
        for (const bool first : {true, false}) {
            const auto v4 = [&](const IpAddress& from, const IpAddress& to, std::uint16_t src, std::uint16_t dst) -> Packet {
                const std::uint16_t offset = first ? 0 : 24;
                const Ipv4 header{.src = from, .dst = to, .more_fragments = first, .fragment_offset = offset, .protocol = 17};
                return first ? header / Packet{udp(src, dst)} / payload(16) : header / Packet{payload(16)};
            };
            const auto v6 = [&](const IpAddress& from, const IpAddress& to, std::uint16_t src, std::uint16_t dst) -> Packet {
                const Packet header = ip(from, to) / Ipv6Extension{} / Ipv6Fragment{.offset = std::uint16_t(first ? 0 : 32), .more = first};
                return first ? header / Ipv6Extension{.type = kProtocolDestination} / udp(src, dst) / payload(16) : header / payload(16);
            };
            outside(v4(client, host_ip, 40000, 8080));
            outside(v6(client6, host6, 40000, 8080));
            inside_out(v4(container_ip, client, 20000, 53));
            inside_out(v6(container6, client6, 20000, 53));
        }
        for (const Packet& headers : {Packet{Ipv6Extension{}}, Ipv6Extension{} / Packet{Ipv6Extension{.type = kProtocolDestination}},
                                      Packet{Ipv6Fragment{.more = false}}}) {
            outside(ip(client6, host6) / headers / tcp(40000, 8080) / payload(4));
            inside_out(ip(container6, client6) / headers / udp(1, 2));
        }
        seeds_.push_back({true, (container_multicast6 / ip(container6, all_nodes) /
                                 neighbour_message(kNeighbourAdvertisement, container6, container_mac))
                                    .bytes()});
        seeds_.push_back(
            {true, (container_broadcast / Packet{Arp{.sender_mac = container_mac, .sender = container_ip, .target = gateway}}).bytes()});
    }
    void outside(const Packet& packet) { seeds_.push_back({false, (from_outside / packet).bytes()}); }
    void inside_out(const Packet& packet) { seeds_.push_back({true, (from_container / packet).bytes()}); }

    unsigned pick(unsigned limit) { return static_cast<unsigned>(random_() % limit); }
    void damage(Bytes& frame) {
        for (unsigned hits = 1 + pick(4); hits > 0; --hits) {
            // Mostly headers; Ethernet addresses seldom, since they end a packet's way at once.
            const std::size_t at = pick(16) == 0 ? pick(14) : 12 + pick(static_cast<unsigned>(frame.size()) - 12);
            switch (pick(4)) {
                case 0: frame[at] = static_cast<std::uint8_t>(pick(256)); break;
                case 1: frame[at] = static_cast<std::uint8_t>(frame[at] ^ 1U << pick(8)); break;
                case 2: frame[at] = std::array<std::uint8_t, 4>{0, 1, 0x7f, 0xff}.at(pick(4)); break;
                default:  // a field of another packet's
                    const Bytes& other = seeds_[pick(static_cast<unsigned>(seeds_.size()))].frame;
                    for (std::size_t i = at; i < std::min({at + 4, frame.size(), other.size()}); ++i) frame[i] = other[i];
            }
        }
        if (pick(8) == 0) frame.resize(14 + pick(static_cast<unsigned>(frame.size()) - 14 + 1));
        if (pick(16) == 0) frame.resize(frame.size() + pick(24), static_cast<std::uint8_t>(pick(256)));
    }
    /// Puts checksums right where the damaged packet still has any, so that some damage gets beyond them.
    static void mend(Bytes& frame) {
        PacketView view{frame};
        if (view.ether_type == 0x0800 && frame.size() >= 34) add(frame, 24, view.ip_header_error);
        view = PacketView{frame};
        if (!view.valid || !view.has_l4_checksum) return;
        const std::size_t at = view.l4_offset + (view.protocol == 6                          ? 16U
                                                 : view.protocol == 17                       ? 6U
                                                 : view.protocol == 1 || view.protocol == 58 ? 2U
                                                                                             : 0U);
        if (at != view.l4_offset) add(frame, at, view.l4_error);
    }
    static void add(Bytes& frame, std::size_t at, std::uint16_t error) {
        std::uint32_t sum = (static_cast<std::uint32_t>(frame[at]) << 8U | frame[at + 1]) + error;
        sum = (sum & 0xffffU) + (sum >> 16U);
        frame[at] = static_cast<std::uint8_t>(sum >> 8U);
        frame[at + 1] = static_cast<std::uint8_t>(sum & 0xffU);
    }
    /// 0 and 0xffff are the same number in one's complement.
    static std::uint16_t normal(std::uint16_t error) { return error == 0xffff ? std::uint16_t{0} : error; }

    /// Its addresses; and, for ports published on every address, its subnets' broadcast addresses, because to
    /// bpf_fib_lookup() both are "not forwarded". The kernel's own DNAT by address type would leave those out.
    static bool is_the_hosts(const IpAddress& source) {
        for (const char* each : {"192.0.2.2", "192.0.2.3", "203.0.113.1", "2001:db8:2::2", "192.0.2.255", "203.0.113.255"})
            if (source == address(each)) return true;
        return false;
    }

    static ::testing::AssertionResult translated_rightly(bool at_container, const Bytes& in, const Bytes& out) {
        const PacketView before{in}, after{out};
        const auto wrong = [](const char* what) { return ::testing::AssertionFailure() << what; };
        if (std::equal(in.begin() + 12, in.end(), out.begin() + 12)) {
            // Only MACs differ: to a container of the same network, by its address.
            const bool to_neighbour =
                after.dst == neighbour_ip || after.dst == neighbour6 || after.dst == container_ip || after.dst == container6;
            const bool own_source = after.src == container_ip || after.src == container6 || after.src == container_link_local ||
                                    (after.src.family() == Family::kIpv6 && after.src.bytes()[0] == 0xfe);
            return at_container && to_neighbour && own_source ? ::testing::AssertionSuccess()
                                                              : wrong("untranslated, and not to a neighbour");
        }
        if (!before.valid || !after.valid) return wrong("a packet that cannot be parsed was translated");
        if (before.part != after.part || before.protocol != after.protocol || before.l4_offset != after.l4_offset)
            return wrong("a header was moved or changed");
        if (after.ttl + 1 != before.ttl) return wrong("the TTL");
        if (before.has_l4_checksum != after.has_l4_checksum) return wrong("a UDP checksum came or went");
        if (normal(before.ip_header_error) != normal(after.ip_header_error)) return wrong("the IP header's checksum");
        if (normal(before.l4_error) != normal(after.l4_error)) return wrong("the transport checksum");
        const bool into_a_container =
            after.dst == container_ip || after.dst == container6 || after.dst == neighbour_ip || after.dst == neighbour6;
        if (!at_container && !into_a_container) return wrong("from the uplink to something that is no container");
        const bool out_by_uplink = after.eth_src == uplink_mac || after.eth_src.is_zero();  // zero: the kernel resolves the next hop
        if (out_by_uplink == into_a_container) return wrong("neither out nor in");
        if (out_by_uplink && !is_the_hosts(after.src)) return wrong("a source that is not the host's left");
        // Beyond the addresses, ports, TTL and checksums not a byte may change.
        Bytes masked_in = in, masked_out = out;
        for (Bytes* each : {&masked_in, &masked_out}) {
            const bool v4 = after.ether_type == 0x0800;
            const auto hide = [&](std::size_t from, std::size_t size) {
                std::fill_n(each->begin() + static_cast<std::ptrdiff_t>(from), size, std::uint8_t{0});
            };
            hide(0, 12);
            hide(v4 ? 22 : 21, 1);
            hide(v4 ? 24 : 22, v4 ? 10 : 32);
            if (after.part == PacketView::Part::kLater) continue;
            const bool icmp = after.protocol == 1 || after.protocol == 58;
            if (!icmp && after.protocol != 6 && after.protocol != 17) continue;  // addresses only
            hide(after.l4_offset + (icmp ? 4U : 0U), icmp ? 2 : 4);
            hide(after.l4_offset + (icmp ? 2U : after.protocol == 6 ? 16U : 6U), 2);
        }
        if (masked_in != masked_out) return wrong("bytes that are none of its business");
        return ::testing::AssertionSuccess();
    }

    /// An error of our own about exactly this packet: nothing else may change a frame's length.
    static ::testing::AssertionResult answered_rightly(bool at_container, const Bytes& in, const Bytes& out) {
        const PacketView after{out};
        const bool v4 = after.ether_type == 0x0800;
        if (!after.valid || after.protocol != (v4 ? 1 : 58)) return ::testing::AssertionFailure() << "no ICMP error";
        const Eth eth = at_container ? into_container : Eth{.src = after.eth_src, .dst = after.eth_dst};
        const IpAddress from = !at_container ? after.src : v4 ? gateway : gateway6;
        if (!at_container && (!is_the_hosts(from) || !std::equal(in.begin(), in.begin() + 12, out.begin())))
            return ::testing::AssertionFailure() << "from an address that is not the host's";
        if (out != error_about(in, FNET_TTL_EXCEEDED, eth, from).bytes() && out != error_about(in, FNET_PROTOCOL_IN_USE, eth, from).bytes())
            return ::testing::AssertionFailure() << "not what it should say";
        return ::testing::AssertionSuccess();
    }

    std::vector<Seed> seeds_;
    std::mt19937 random_{0xfa57};
};

TEST_F(Fuzz, DamagedPacketsAreLeftAloneOrTranslatedRightly) {
    const std::uint32_t uplink = lab().ifindex("up0");
    int refused = 0, translated = 0, answered = 0, dropped = 0;
    Outcome outcome;
    for (int round = 0; round < kRounds; ++round) {
        const Seed& seed = seeds_[pick(static_cast<unsigned>(seeds_.size()))];
        outcome.in = seed.frame;
        if (pick(20) != 0) damage(outcome.in);
        if (pick(2) == 0) mend(outcome.in);
        if (!run_quickly(seed.at_container ? "tc_container" : "tc_uplink", outcome.in, seed.at_container ? container().ifindex : uplink,
                         outcome)) {
            ASSERT_LT(outcome.in.size(), 14U + 40U) << "the kernel builds no packet that is shorter than its IP header";
            ++refused;
            continue;
        }
        if (outcome.action == kRedirected && outcome.out.size() != outcome.in.size()) {
            ++answered;
            ASSERT_TRUE(answered_rightly(seed.at_container, outcome.in, outcome.out)) << "round " << round << '\n'
                                                                                      << ::testing::PrintToString(outcome);
        } else if (outcome.action == kRedirected) {
            ++translated;
            ASSERT_TRUE(translated_rightly(seed.at_container, outcome.in, outcome.out)) << "round " << round << '\n'
                                                                                        << ::testing::PrintToString(outcome);
        } else {
            ASSERT_TRUE(outcome.action == kToKernel || outcome.action == kDropped) << outcome.action;
            dropped += outcome.action == kDropped ? 1 : 0;
            ASSERT_EQ(outcome.out, outcome.in) << "round " << round;
        }
    }
    EXPECT_EQ(verdicts().count(FNET_INTERNAL_ERROR), 0U);
    EXPECT_TRUE(slots_are_accounted_for());
    // The damage must be of the interesting kind: enough of it gets through, enough does not.
    EXPECT_GT(translated, kRounds / 10);
    EXPECT_GT(dropped, kRounds / 10);
    EXPECT_GT(answered, 0);
    EXPECT_LT(refused, kRounds / 10);
    RecordProperty("translated", translated);
    RecordProperty("answered", answered);
    RecordProperty("dropped", dropped);
}

}  // namespace
}  // namespace fastnet::test
