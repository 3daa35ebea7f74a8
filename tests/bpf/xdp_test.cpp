// XDP at the uplink: three reasons to drop a frame, each by name, and everything else passes untouched. It reads the maps of the
// datapath under test, so what it says of a source is compared with what tc_uplink says.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>

#include <random>

#include "tests/bpf/overlay_fixture.h"
#include "tests/bpf/shared_maps.h"
#include "tests/bpf/variants.h"
#include "xdp_uplink.skel.h"

namespace fastnet::test {
namespace {

class XdpUplink : public OverlayTest {
protected:
    ~XdpUplink() override { xdp_uplink__destroy(xdp_); }
    void SetUp() override {
        OverlayTest::SetUp();
        if (IsSkipped()) return;
        xdp_ = xdp_uplink__open();
        ASSERT_NE(xdp_, nullptr);
        share_maps(xdp_->obj, [this](const char* name) { return map_fd(name); });
        ASSERT_EQ(xdp_uplink__load(xdp_), 0);
        open_deny_list(list_, [this](const char* name) { return map_fd(name); });
    }
    void deny(const std::vector<std::string>& texts) {
        std::vector<IpPrefix> prefixes;
        for (const std::string& text : texts) prefixes.push_back(*IpPrefix::parse_interface(text));
        ASSERT_TRUE(list_->replace(prefixes, 1));
    }
    /// False: the kernel refused to build the frame.
    bool run_xdp(const Bytes& frame, int& action) {
        LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = static_cast<__u32>(frame.size()));
        if (bpf_prog_test_run_opts(bpf_program__fd(xdp_->progs.xdp_uplink), &options) != 0) return false;
        action = static_cast<int>(options.retval);
        return true;
    }
    Outcome at_xdp(const Packet& packet) {
        Outcome outcome{.action = 0, .in = packet.bytes(), .out = Bytes(packet.bytes().size() + 256), .verdicts = {}};
        const Verdicts before = verdicts();
        LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = outcome.in.data(), .data_out = outcome.out.data(),
                    .data_size_in = static_cast<__u32>(outcome.in.size()), .data_size_out = static_cast<__u32>(outcome.out.size()));
        EXPECT_EQ(bpf_prog_test_run_opts(bpf_program__fd(xdp_->progs.xdp_uplink), &options), 0) << describe(outcome.in);
        outcome.action = static_cast<int>(options.retval);
        outcome.out.resize(options.data_size_out);
        for (const auto& [verdict, packets] : verdicts()) {
            const auto known = before.find(verdict);
            if (const std::uint64_t added = packets - (known == before.end() ? 0 : known->second); added != 0)
                outcome.verdicts[verdict] = added;
        }
        return outcome;
    }
    std::uint64_t count(fnet_verdict verdict) const {
        const Verdicts counted = verdicts();
        const auto found = counted.find(verdict);
        return found == counted.end() ? 0 : found->second;
    }

    ::xdp_uplink* xdp_ = nullptr;
    std::optional<DenyList> list_;
};

MATCHER(Passes, "passes, and nothing is counted") {
    return arg.action == XDP_PASS && arg.in == arg.out && arg.verdicts.empty();
}
MATCHER_P(IsDroppedEarly, verdict, "is dropped by XDP as " + name_of(verdict)) {
    return arg.action == XDP_DROP && arg.counted_only(verdict);
}

TEST_F(XdpUplink, DropsAListedSourceAndNoOther) {
    deny({"198.51.100.7", "203.0.113.0/24", "2001:db8:7::7", "2001:db8:8::/48"});
    for (const char* source : {"198.51.100.7", "203.0.113.9"})
        for (const Packet& l4 : {Packet{tcp(1, 2)}, Packet{udp(1, 2)}, Packet{echo(kEchoRequest, 1)}})
            EXPECT_THAT(at_xdp(from_outside / ip(address(source), host_ip) / l4), IsDroppedEarly(FNET_SOURCE_DENY_LISTED)) << source;
    for (const char* source : {"2001:db8:7::7", "2001:db8:8:9::1"})
        EXPECT_THAT(at_xdp(from_outside / ip(address(source), host6) / tcp(1, 2)), IsDroppedEarly(FNET_SOURCE_DENY_LISTED)) << source;
    EXPECT_THAT(at_xdp(from_outside / ip(address("198.51.100.8"), host_ip) / tcp(1, 2)), Passes());
    EXPECT_THAT(at_xdp(from_outside / ip(address("2001:db8:7::8"), host6) / tcp(1, 2)), Passes());
    EXPECT_THAT(at_xdp(from_outside / ip(host_ip, address("203.0.113.9")) / tcp(1, 2)), Passes()) << "the list is of sources";
}

TEST_F(XdpUplink, LetsPassWhatIsLegalHoweverUnusual) {
    const Bytes options(12, 1);
    const Vlan tag{.id = 7};
    for (const Packet& packet : {
             from_outside / Arp{.sender_mac = router_mac, .sender = router, .target = host_ip},
             from_outside / tag / ip(client, host_ip) / tcp(1, 2),
             from_outside / tag / Packet{Ipv4{.src = client, .dst = host_ip, .version = std::uint8_t{7}}},
             from_outside / Packet{Ipv4{.src = client, .dst = host_ip, .options = options}} / tcp(1, 2),
             from_outside / Packet{Ipv4{.src = client, .dst = host_ip, .more_fragments = true, .protocol = std::uint8_t{17}}} / payload(8),
             from_outside / Packet{Ipv4{.src = client, .dst = host_ip, .fragment_offset = 64, .protocol = std::uint8_t{6}}} / payload(3),
             from_outside / Packet{Ipv4{.src = client, .dst = host_ip, .protocol = kProtocolExperimental}} / payload(1),
             from_outside / Packet{Ipv4{.src = client, .dst = host_ip, .checksum = std::uint16_t{1}}} / udp(1, 2),
             from_outside / ip(client, host_ip) / Packet{Udp{.src = Port{1}, .dst = Port{2}, .checksum = std::uint16_t{0}}},
             from_outside / ip(client, host_ip) / Packet{Tcp{.src = Port{1}, .dst = Port{2}, .options = Bytes(40, 1)}},
             from_outside / ip(client, host_ip) / sctp(1, 2, 1),
             from_outside / ip(client6, host6) / Ipv6Extension{} / tcp(1, 2),
             from_outside / ip(client6, host6) / Ipv6Extension{} / Ipv6Fragment{} / payload(24),
             from_outside / ip(client6, host6) / Ipv6Fragment{.offset = 64} / payload(3),
             from_outside / Packet{Ipv6{.src = client6, .dst = host6, .next_header = std::uint8_t{59}}},
             from_outside / ip(client6, host6) / echo(kEchoRequest6, 1),
             Eth{.src = router_mac, .dst = broadcast_mac} / ip(client, limited_broadcast) / udp(68, 67),
         })
        EXPECT_THAT(at_xdp(packet), Passes()) << describe(packet.bytes());
    // Ethernet pads short packets: the frame may be longer than the header says.
    Bytes padded = (from_outside / ip(client, host_ip) / udp(1, 2)).bytes();
    padded.resize(60);
    int action = 0;
    ASSERT_TRUE(run_xdp(padded, action));
    EXPECT_EQ(action, XDP_PASS);
}

TEST_F(XdpUplink, LooksAtTheWholeOfAFrameInSeveralPieces) {
    const Packet whole = from_outside / ip(client, host_ip) / Packet{Udp{.src = Port{1}, .dst = Port{2}}} / payload(9000);
    Bytes frame = whole.bytes();
    int action = 0;
    ASSERT_TRUE(run_xdp(frame, action));
    EXPECT_EQ(action, XDP_PASS);
    frame.pop_back();
    ASSERT_TRUE(run_xdp(frame, action));
    EXPECT_EQ(action, XDP_DROP);
}

TEST_F(XdpUplink, DropsHeadersThatLieAboutThemselves) {
    const auto v4 = [](Ipv4 header, const Packet& rest) { return from_outside / Packet{std::move(header)} / rest; };
    for (const Packet& packet : {
             v4({.src = client, .dst = host_ip, .version = std::uint8_t{6}}, tcp(1, 2)),
             v4({.src = client, .dst = host_ip, .header_words = std::uint8_t{4}}, tcp(1, 2)),
             v4({.src = client, .dst = host_ip, .protocol = kProtocolExperimental, .header_words = std::uint8_t{4}}, payload(8)),
             v4({.src = client, .dst = host_ip, .total_length = std::uint16_t{19}}, tcp(1, 2)),
             v4({.src = client, .dst = host_ip, .total_length = std::uint16_t{41}}, tcp(1, 2)),
             v4({.src = client, .dst = host_ip, .total_length = std::uint16_t{0}}, tcp(1, 2)),
             v4({.src = client, .dst = host_ip, .protocol = std::uint8_t{6}}, payload(19)),
             v4({.src = client, .dst = host_ip, .protocol = std::uint8_t{17}}, payload(7)),
             v4({.src = client, .dst = host_ip}, Tcp{.src = Port{1}, .dst = Port{2}, .data_offset_words = std::uint8_t{4}}),
             v4({.src = client, .dst = host_ip}, Tcp{.src = Port{1}, .dst = Port{2}, .data_offset_words = std::uint8_t{6}}),
             v4({.src = client, .dst = host_ip}, Udp{.src = Port{1}, .dst = Port{2}, .length = std::uint16_t{7}}),
             v4({.src = client, .dst = host_ip}, Udp{.src = Port{1}, .dst = Port{2}, .length = std::uint16_t{9}}),
             from_outside / Packet{Ipv6{.src = client6, .dst = host6, .version = std::uint8_t{4}}} / tcp(1, 2),
             from_outside / Packet{Ipv6{.src = client6, .dst = host6, .payload_length = std::uint16_t{21}}} / tcp(1, 2),
             from_outside / Packet{Ipv6{.src = client6, .dst = host6, .payload_length = std::uint16_t{0}}} / tcp(1, 2),
             from_outside / Packet{Ipv6{.src = client6, .dst = host6, .next_header = std::uint8_t{6}}} / payload(19),
             from_outside / ip(client6, host6) / Packet{Udp{.src = Port{1}, .dst = Port{2}, .length = std::uint16_t{9}}},
         })
        EXPECT_THAT(at_xdp(packet), IsDroppedEarly(FNET_MALFORMED)) << describe(packet.bytes());
}

TEST_F(XdpUplink, DropsAFrameThatIsCutAnywhereInItsHeaders) {
    for (const Packet& packet : {from_outside / ip(client, host_ip) / tcp(1, 2), from_outside / ip(client6, host6) / udp(1, 2)}) {
        const Bytes whole = packet.bytes();
        for (std::size_t size = 15; size < whole.size(); ++size) {
            int action = 0;
            ASSERT_TRUE(run_xdp(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)), action));
            EXPECT_EQ(action, XDP_DROP) << size << " of " << whole.size();
        }
    }
}

TEST_F(XdpUplink, DropsTheTunnelOfAStrangerWhereThereAreOverlayNetworks) {
    add_peer(peer4);
    add_peer(peer6);
    const Packet inner = from_remote(peer4) / ip(peer4.remote4, container_ip) / udp(1, 2);
    for (const Peer& peer : {peer4, peer6}) {
        EXPECT_THAT(at_xdp(from_peer(peer, inner)), Passes()) << "a peer";
        EXPECT_THAT(at_xdp(from_peer(peer, {.vni = kVni + 1}, inner)), Passes()) << "a peer, for a network that is not here: tc knows";
    }
    Peer stranger = second_peer4;
    const Packet strange = from_peer(stranger, inner);
    EXPECT_THAT(at_xdp(strange), IsDroppedEarly(FNET_TUNNEL_UNKNOWN_PEER));
    EXPECT_THAT(at_uplink(strange), IsDropped(FNET_TUNNEL_UNKNOWN_PEER)) << "so does tc";
    stranger.address = address("2001:db8:7::51");
    EXPECT_THAT(at_xdp(from_peer(stranger, inner)), IsDroppedEarly(FNET_TUNNEL_UNKNOWN_PEER));
    set_overlay(false);
    EXPECT_THAT(at_xdp(strange), Passes()) << "VXLAN is none of ours then";
}

TEST_F(XdpUplink, LeavesATunnelThatIsNotForThisHost) {
    add_peer(peer4);
    add_peer(peer6);
    const Packet tunnel = udp(50000, 4789) / Vxlan{.vni = kVni} / from_remote(peer4) / ip(peer4.remote4, container_ip) / udp(1, 2);
    const Eth to_all{.src = router_mac, .dst = broadcast_mac};
    // Where no route leads to a group, the helper says of it what it says of an address that is ours.
    lab().ip("route del default via 192.0.2.1 dev up0\n");
    ASSERT_THAT(at_xdp(from_outside / ip(client, host_ip) / tunnel), IsDroppedEarly(FNET_TUNNEL_UNKNOWN_PEER));
    ASSERT_THAT(at_xdp(from_outside / ip(client6, host6) / tunnel), IsDroppedEarly(FNET_TUNNEL_UNKNOWN_PEER));
    for (const Packet& packet : {
             from_outside / ip(client, not_our_ip) / tunnel,
             from_outside / ip(client6, not_our_ip6) / tunnel,
             Eth{.src = router_mac, .dst = multicast6_mac} / ip(client6, address("ff05::1")) / tunnel,
             from_outside / ip(client6, address("ff05::1")) / tunnel,
             from_outside / ip(client, address("239.1.1.1")) / tunnel,
             from_outside / ip(client, limited_broadcast) / tunnel,
             to_all / ip(client, address("192.0.2.255")) / tunnel,
             to_all / ip(client, host_ip) / tunnel,
         })
        EXPECT_THAT(at_xdp(packet), Passes()) << describe(packet.bytes());
}

TEST_F(XdpUplink, LeavesWhatIsNoTunnelOfAnybodyToTc) {
    add_peer(peer4);
    add_peer(peer6);
    const Packet inner = from_remote(peer4) / ip(peer4.remote4, container_ip) / udp(1, 2);
    const Packet tunnel = udp(50000, 4789) / Vxlan{.vni = kVni} / inner;
    ASSERT_THAT(at_xdp(from_outside / ip(client, host_ip) / tunnel), IsDroppedEarly(FNET_TUNNEL_UNKNOWN_PEER));
    constexpr std::uint16_t kTooShort = 8 + 8 + 13;
    for (const Packet& packet : {
             from_outside / ip(client, host_ip) / udp(50000, 4789) / Vxlan{.vni = kVni, .flags = 0} / inner,
             from_outside / ip(client, host_ip) / Packet{Udp{.src = Port{50000}, .dst = Port{4789}, .length = kTooShort}} /
                 Vxlan{.vni = kVni} / inner,
             from_outside / ip(address("::"), host6) / tunnel,
             from_outside / ip(address("::5"), host6) / tunnel,
         })
        EXPECT_THAT(at_xdp(packet), Passes()) << describe(packet.bytes());
}

TEST_F(XdpUplink, LeavesAListedSourceBehindAPriorityTagToTc) {
    deny({"198.51.100.7"});
    list_->set_asked_by_xdp(lab().ifindex("up0"), true);
    const Packet tagged = from_outside / Packet{Vlan{.id = 0}} / ip(address("198.51.100.7"), host_ip) / tcp(1, 2);
    EXPECT_THAT(at_xdp(tagged), Passes());
    EXPECT_THAT(at_uplink(tagged), IsDropped(FNET_SOURCE_DENY_LISTED));
}

/// Damage to valid frames, and noise: neither program crashes, and of every frame both say the same about the list.
TEST_F(XdpUplink, AgreesWithTcAboutEverySourceWhateverTheFrame) {
    deny({"198.51.100.0/25", "192.0.2.1", "2001:db8:7::/64", "2001:db8:2::1", "64.0.0.0/2", "8000::/2"});
    std::vector<Bytes> seeds;
    for (const bool v4 : {true, false})
        for (const char* source : {v4 ? "198.51.100.7" : "2001:db8:7::7", v4 ? "198.51.100.200" : "2001:db8:9::7"})
            for (const Packet& l4 : {Packet{tcp(1, 2)} / payload(5), Packet{udp(1, 4789)} / payload(40)})
                seeds.push_back((from_outside / ip(address(source), v4 ? host_ip : host6) / l4).bytes());
    std::mt19937 random{5};
    const auto below = [&](std::size_t bound) { return std::uniform_int_distribution<std::size_t>{0, bound - 1}(random); };
    unsigned denied = 0, compared = 0;
    for (int round = 0; round < 6000; ++round) {
        Bytes frame = seeds[below(seeds.size())];
        if (below(4) == 0) frame.resize(14 + below(200));
        for (std::size_t damage = below(6); damage > 0; --damage) frame[below(frame.size())] = static_cast<std::uint8_t>(random());
        if (below(10) == 0)
            for (std::size_t i = 14; i < frame.size(); ++i) frame[i] = static_cast<std::uint8_t>(random());
        int action = 0;
        const std::uint64_t before = count(FNET_SOURCE_DENY_LISTED);
        if (!run_xdp(frame, action)) continue;
        ASSERT_TRUE(action == XDP_DROP || action == XDP_PASS);
        const std::uint64_t after = count(FNET_SOURCE_DENY_LISTED);
        Outcome tc{.action = 0, .in = frame, .out = {}, .verdicts = {}};
        if (!run_quickly("tc_uplink", frame, lab().ifindex("up0"), tc)) continue;
        ASSERT_EQ(count(FNET_SOURCE_DENY_LISTED) - after, after - before) << describe(frame);
        denied += after != before ? 1U : 0U;
        ++compared;
    }
    EXPECT_GT(denied, 500U);
    EXPECT_GT(compared - denied, 500U);
}

}  // namespace
}  // namespace fastnet::test
