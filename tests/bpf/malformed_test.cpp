// Headers that lie or are cut short: never translated, never changed, at either hook.
#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

/// With a live flow of every kind in the table, so that a parser that believes too much has something to hit.
class Malformed : public DatapathTest {
protected:
    void SetUp() override {
        DatapathTest::SetUp();
        if (IsSkipped()) return;
        for (const IpAddress& published : {host_ip, host6})
            for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) publish({.protocol = protocol, .address = published});
        for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
            at_uplink(from_outside / ip(client, host_ip) / Variant::l4_of(protocol, 40000, 8080));
            at_uplink(from_outside / ip(client6, host6) / Variant::l4_of(protocol, 40000, 8080));
            at_container(from_container / ip(container_ip, client) / Variant::l4_of(protocol, 20000, 443));
            at_container(from_container / ip(container6, client6) / Variant::l4_of(protocol, 20000, 443));
        }
        at_container(from_container / ip(container_ip, client) / echo(kEchoRequest, 7));
        ASSERT_EQ(flows().size(), 18U);
    }
    void expect_malformed_at_both(const Packet& layers_of_ip, const std::string& what) {
        EXPECT_THAT(at_uplink(from_outside / layers_of_ip), IsDropped(FNET_MALFORMED)) << what;
        EXPECT_THAT(at_container(from_container / layers_of_ip), IsDropped(FNET_MALFORMED)) << what;
    }
    /// Cut at every length. The kernel itself may refuse to build so short a packet; a frame on a wire would be padded.
    void expect_no_cut_is_translated(const char* program, std::uint32_t ifindex, const Bytes& whole, std::size_t needed) {
        for (std::size_t size = 14; size < whole.size(); ++size) {
            Outcome outcome{
                .action = 0, .in = Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)), .out = {}, .verdicts = {}};
            if (!run_quickly(program, outcome.in, ifindex, outcome)) {
                EXPECT_LT(size, 14U + 40U) << "refused by the kernel";
                continue;
            }
            EXPECT_EQ(outcome.action, kDropped) << program << " at " << size << " of " << whole.size() << " bytes, headers take " << needed;
            EXPECT_EQ(outcome.out, outcome.in);
        }
    }
};

TEST_F(Malformed, EveryHeaderCutAtEveryLengthIsDroppedUntouched) {
    struct Shape {
        const char* program;
        Bytes frame;
    };
    const Bytes options(12, 1);
    for (const Shape& shape : {
             Shape{"tc_uplink", (from_outside / ip(client, host_ip) / tcp(40000, 8080) / payload(16)).bytes()},
             Shape{"tc_uplink", (from_outside / ip(client, host_ip) / udp(40000, 8080) / payload(16)).bytes()},
             Shape{"tc_uplink",
                   (from_outside / Ipv4{.src = client, .dst = host_ip, .options = options} / tcp(40000, 8080) / payload(16)).bytes()},
             Shape{"tc_uplink", (from_outside / ip(client6, host6) / tcp(40000, 8080) / payload(16)).bytes()},
             Shape{"tc_uplink", (from_outside / ip(client6, host6) / udp(40000, 8080) / payload(16)).bytes()},
             Shape{"tc_container", (from_container / ip(container_ip, client) / tcp(20000, 443) / payload(16)).bytes()},
             Shape{"tc_container", (from_container / ip(container_ip, client) / udp(20000, 443) / payload(16)).bytes()},
             Shape{"tc_container", (from_container / ip(container_ip, client) / echo(kEchoRequest, 7) / payload(16)).bytes()},
             Shape{"tc_container", (from_container / ip(container6, client6) / tcp(20000, 443) / payload(16)).bytes()},
         })
        expect_no_cut_is_translated(shape.program, std::string{shape.program} == "tc_uplink" ? lab().ifindex("up0") : container().ifindex,
                                    shape.frame, shape.frame.size() - 16);
    const Verdicts counted = verdicts();
    EXPECT_EQ(counted.count(FNET_INTERNAL_ERROR), 0U);
    EXPECT_GT(counted.at(FNET_MALFORMED), 250U);
}

/// The IP header tells the truth about a frame that is too short for the header above it.
TEST_F(Malformed, TransportHeaderCutAtEveryLengthIsDropped) {
    const Bytes segment = (ip(client, host_ip) / tcp(40000, 8080)).bytes();
    for (std::size_t kept = 0; kept < 20; ++kept) {
        const Payload part{Bytes(segment.begin() + 20, segment.begin() + 20 + static_cast<std::ptrdiff_t>(kept))};
        expect_malformed_at_both(Ipv4{.src = client, .dst = host_ip, .protocol = 6} / Packet{part}, "TCP " + std::to_string(kept));
        expect_malformed_at_both(Ipv6{.src = client6, .dst = host6, .next_header = 6} / Packet{part},
                                 "TCP over IPv6 " + std::to_string(kept));
        if (kept >= 8) continue;
        expect_malformed_at_both(Ipv4{.src = client, .dst = host_ip, .protocol = 17} / Packet{part}, "UDP " + std::to_string(kept));
        expect_malformed_at_both(Ipv6{.src = client6, .dst = host6, .next_header = 17} / Packet{part},
                                 "UDP over IPv6 " + std::to_string(kept));
        expect_malformed_at_both(Ipv4{.src = client, .dst = host_ip, .protocol = 1} / Packet{part}, "ICMP " + std::to_string(kept));
        expect_malformed_at_both(Ipv6{.src = client6, .dst = host6, .next_header = 58} / Packet{part}, "ICMPv6 " + std::to_string(kept));
    }
}

/// Ethernet pads to 60 bytes: padding is not part of the packet and must not complete a header.
TEST_F(Malformed, PaddingDoesNotCompleteAHeader) {
    for (std::size_t kept = 0; kept < 20; ++kept) {
        const Payload padding{Bytes(64, 0)};
        expect_malformed_at_both(Ipv4{.src = client, .dst = host_ip, .protocol = 6, .total_length = static_cast<std::uint16_t>(20 + kept)} /
                                     Packet{tcp(40000, 8080)} / padding,
                                 "TCP " + std::to_string(kept));
        if (kept < 8)
            expect_malformed_at_both(
                Ipv4{.src = client, .dst = host_ip, .protocol = 17, .total_length = static_cast<std::uint16_t>(20 + kept)} /
                    Packet{udp(40000, 8080)} / padding,
                "UDP " + std::to_string(kept));
    }
}

TEST_F(Malformed, Ipv4HeaderThatLiesIsDropped) {
    for (std::uint8_t words = 0; words < 5; ++words)
        expect_malformed_at_both(Ipv4{.src = client, .dst = host_ip, .header_words = words} / Packet{tcp(40000, 8080)},
                                 "ihl " + std::to_string(words));
    expect_malformed_at_both(Ipv4{.src = client, .dst = host_ip, .header_words = 15} / Packet{udp(40000, 8080)},
                             "ihl beyond the total length");
    for (const std::uint8_t version : std::initializer_list<std::uint8_t>{0, 5, 6, 15})
        expect_malformed_at_both(Ipv4{.src = client, .dst = host_ip, .version = version} / Packet{tcp(40000, 8080)},
                                 "version " + std::to_string(version));
    for (const std::uint16_t total : std::initializer_list<std::uint16_t>{0, 1, 19, 41, 100, 65535})
        expect_malformed_at_both(Ipv4{.src = client, .dst = host_ip, .total_length = total} / Packet{tcp(40000, 8080)},
                                 "tot_len " + std::to_string(total));
}

TEST_F(Malformed, Ipv6HeaderThatLiesIsDropped) {
    for (const std::uint8_t version : std::initializer_list<std::uint8_t>{0, 4, 5, 15})
        expect_malformed_at_both(Ipv6{.src = client6, .dst = host6, .version = version} / Packet{tcp(40000, 8080)},
                                 "version " + std::to_string(version));
    for (const std::uint16_t length : std::initializer_list<std::uint16_t>{0, 1, 19, 21, 100, 65535})
        expect_malformed_at_both(Ipv6{.src = client6, .dst = host6, .payload_length = length} / Packet{tcp(40000, 8080)},
                                 "payload length " + std::to_string(length));
}

TEST_F(Malformed, TcpDataOffsetThatLiesIsDropped) {
    for (const std::uint8_t words : std::initializer_list<std::uint8_t>{0, 1, 4, 6, 15}) {
        const Tcp lying{.src = Port{40000}, .dst = Port{8080}, .data_offset_words = words};
        expect_malformed_at_both(ip(client, host_ip) / lying, "doff " + std::to_string(words));
        expect_malformed_at_both(ip(client6, host6) / lying, "doff over IPv6 " + std::to_string(words));
    }
}

TEST_F(Malformed, UdpLengthThatLiesIsDropped) {
    for (const std::uint16_t length : std::initializer_list<std::uint16_t>{0, 1, 7, 13, 1000, 65535}) {
        const Packet lying = Udp{.src = Port{40000}, .dst = Port{8080}, .length = length} / Packet{payload(4)};
        expect_malformed_at_both(ip(client, host_ip) / lying, "length " + std::to_string(length));
        expect_malformed_at_both(ip(client6, host6) / lying, "length over IPv6 " + std::to_string(length));
    }
}

TEST_F(Malformed, UdpShorterThanItsPacketIsTranslatedByItsOwnLength) {
    // Allowed by RFC 768; the checksum covers what the UDP header says. The builder's checksum would cover the rest too.
    Bytes frame = (from_outside / ip(client, host_ip) / udp(40000, 8080) / payload(4)).bytes();
    frame.insert(frame.end(), {0xde, 0xad, 0xbe, 0xef});
    frame[17] = static_cast<std::uint8_t>(frame[17] + 4);  // tot_len
    frame[24] = frame[25] = 0;
    const std::uint16_t header = internet_checksum({std::span{frame}.subspan(14, 20)});
    frame[24] = static_cast<std::uint8_t>(header >> 8U);
    frame[25] = static_cast<std::uint8_t>(header & 0xffU);
    ASSERT_TRUE(PacketView{frame}.checksums_verify());
    const Outcome outcome = run("tc_uplink", frame, lab().ifindex("up0"));
    EXPECT_TRUE(outcome.counted_only(FNET_FLOW_FORWARDED));
    EXPECT_TRUE(outcome.view().checksums_verify());
}

TEST_F(Malformed, LoopbackAddressesNeverTravel) {
    for (const char* loopback : {"127.0.0.1", "127.0.0.2", "127.255.255.255"}) {
        EXPECT_THAT(at_uplink(from_outside / ip(address(loopback), host_ip) / tcp(40000, 8080)), IsDropped(FNET_MALFORMED));
        EXPECT_THAT(at_uplink(from_outside / ip(client, address(loopback)) / tcp(40000, 8080)), IsDropped(FNET_MALFORMED));
        EXPECT_THAT(at_container(from_container / ip(container_ip, address(loopback)) / tcp(20000, 443)), IsDropped(FNET_MALFORMED));
        EXPECT_EQ(at_container(from_container / ip(address(loopback), client) / tcp(20000, 443)).action, kDropped);
    }
    EXPECT_THAT(at_uplink(from_outside / ip(address("::1"), host6) / tcp(40000, 8080)), IsDropped(FNET_MALFORMED));
    EXPECT_THAT(at_uplink(from_outside / ip(client6, address("::1")) / tcp(40000, 8080)), IsDropped(FNET_MALFORMED));
    EXPECT_THAT(at_container(from_container / ip(container6, address("::1")) / tcp(20000, 443)), IsDropped(FNET_MALFORMED));
}

/// 0.0.0.0 is how `services` says "every address": as a destination it must not find that entry.
TEST_F(Malformed, NullAddressIsNoDestination) {
    publish({.address = any4, .port = 9090});
    publish({.address = any6, .port = 9090});
    EXPECT_THAT(at_uplink(from_outside / ip(client, any4) / tcp(40000, 9090)), IsDropped(FNET_MALFORMED));
    EXPECT_THAT(at_container(from_container / ip(container_ip, any4) / tcp(20000, 9090)), IsDropped(FNET_MALFORMED));
    EXPECT_THAT(at_uplink(from_outside / ip(client6, any6) / tcp(40000, 9090)), IsDropped(FNET_MALFORMED));
    EXPECT_THAT(at_container(from_container / ip(container6, any6) / tcp(20000, 9090)), IsDropped(FNET_MALFORMED));
    EXPECT_EQ(at_uplink(from_outside / ip(client, host_ip) / tcp(40000, 9090)).action, kRedirected);
}

/// An IPv6 packet with v4-mapped addresses has the key of an IPv4 flow. It is no packet of that flow.
TEST_F(Malformed, MappedAddressesInIpv6DoNotAliasAnIpv4Flow) {
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
        EXPECT_THAT(at_uplink(from_outside / Packet{Ipv6{.src = client, .dst = host_ip}} / Variant::l4_of(protocol, 40000, 8080, kAck)),
                    IsDropped(FNET_MALFORMED));
        const Outcome outcome =
            at_container(from_container / Packet{Ipv6{.src = container_ip, .dst = client}} / Variant::l4_of(protocol, 20000, 443, kAck));
        EXPECT_EQ(outcome.action, kDropped) << ::testing::PrintToString(outcome);
        EXPECT_EQ(outcome.out, outcome.in);
    }
    EXPECT_THAT(at_uplink(from_outside / Packet{Ipv6{.src = client6, .dst = host_ip}} / tcp(40000, 8080)), IsDropped(FNET_MALFORMED));
    EXPECT_THAT(at_uplink(from_outside / Packet{Ipv6{.src = client, .dst = host6}} / tcp(40000, 8080)), IsDropped(FNET_MALFORMED));
}

TEST_F(Malformed, ProtocolOfTheOtherFamilyIsNoEcho) {
    EXPECT_THAT(
        at_uplink(from_outside / Ipv4{.src = client, .dst = host_ip, .protocol = 58} / Icmp{.type = kEchoReply6, .rest = 7U << 16U}),
        GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(
        at_uplink(from_outside / Ipv6{.src = client6, .dst = host6, .next_header = 1} / Icmp{.type = kEchoReply, .rest = 7U << 16U}),
        GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_container(from_container / Ipv4{.src = container_ip, .dst = client, .protocol = 58} / Icmp{.type = kEchoRequest6}),
                IsDropped(FNET_UNSUPPORTED_PROTOCOL));
}

}  // namespace
}  // namespace fastnet::test
