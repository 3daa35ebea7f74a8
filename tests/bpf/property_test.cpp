// What must hold for every packet, over random ones with a fixed seed: a rewrite is undone by the rewrite of the reply, every
// checksum holds (or stays exactly as wrong as it was), an ICMP error quotes to its receiver what that one had sent, and no
// container's own address leaves by the uplink.
#include <algorithm>
#include <random>

#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

constexpr int kRounds = 4000;
constexpr std::uint8_t kTcp = 6, kUdp = 17;
constexpr std::size_t kEthernet = 14;

std::size_t addresses_at(const PacketView& view) {
    return kEthernet + (view.ether_type == 0x0800 ? 12U : 8U);
}

std::uint8_t answered(std::uint8_t echo_type) {
    switch (echo_type) {
        case kEchoRequest: return kEchoReply;
        case kEchoReply: return kEchoRequest;
        case kEchoRequest6: return kEchoReply6;
        default: return kEchoRequest6;
    }
}

/// Addresses and ports swapped, which changes no checksum; an echo request becomes its reply and the other way round.
Bytes turned_around(Bytes frame, const Eth& eth) {
    const PacketView view{frame};
    const std::size_t size = view.src.wire_size(), at = addresses_at(view);
    std::swap_ranges(&frame[at], &frame[at] + size, &frame[at + size]);
    if (view.protocol == kTcp || view.protocol == kUdp) {
        std::swap_ranges(&frame[view.l4_offset], &frame[view.l4_offset] + 2, &frame[view.l4_offset + 2]);
    } else {
        const std::uint8_t type = frame[view.l4_offset];
        frame[view.l4_offset] = answered(type);
        // ~m + m' of the word that has the type in its upper byte (RFC 1624).
        std::uint32_t sum = static_cast<std::uint16_t>(~view.l4_checksum) + static_cast<std::uint16_t>(~(type << 8U)) +
                            static_cast<std::uint32_t>(answered(type) << 8U);
        sum = (sum & 0xffffU) + (sum >> 16U);
        sum = ~((sum & 0xffffU) + (sum >> 16U)) & 0xffffU;
        frame[view.l4_offset + 2] = static_cast<std::uint8_t>(sum >> 8U);
        frame[view.l4_offset + 3] = static_cast<std::uint8_t>(sum & 0xffU);
    }
    std::copy_n(eth.dst.bytes().begin(), 6, frame.begin());
    std::copy_n(eth.src.bytes().begin(), 6, frame.begin() + 6);
    return frame;
}

/// What hops leave of an IP packet: all of it but the TTL and, over IPv4, the header's checksum.
Bytes without_ttl(Bytes packet) {
    if (packet[0] >> 4U == 4) {
        packet[8] = packet[10] = packet[11] = 0;
    } else {
        packet[7] = 0;
    }
    return packet;
}

Bytes ip_of(const Bytes& frame) {
    return {frame.begin() + kEthernet, frame.end()};
}

class Property : public DatapathTest {
protected:
    Property() : DatapathTest({.max_flows = 8192}) {}

    /// How a packet and its reply travel: programs, devices and the reply's Ethernet header.
    struct Way {
        const char* program;
        std::uint32_t ifindex;
        const char* reply_program;
        std::uint32_t reply_ifindex;
        Eth reply_eth;
    };
    Way inward() const { return {"tc_uplink", lab().ifindex("up0"), "tc_container", container().ifindex, from_container}; }
    Way outward() const { return {"tc_container", container().ifindex, "tc_uplink", lab().ifindex("up0"), from_outside}; }

    Bytes through(const char* program, std::uint32_t ifindex, const Bytes& frame) {
        Outcome outcome{.action = 0, .in = frame, .out = {}, .verdicts = {}};
        EXPECT_TRUE(run_quickly(program, frame, ifindex, outcome));
        EXPECT_EQ(outcome.action, kRedirected) << program << ": " << describe(frame);
        const PacketView before{frame}, after{outcome.out};
        EXPECT_EQ(after.ip_header_error, 0) << describe(outcome.out);
        EXPECT_EQ(after.l4_error, before.l4_error) << describe(frame) << " became " << describe(outcome.out);
        EXPECT_EQ(after.ttl + 1, before.ttl);
        return outcome.out;
    }

    /// @p sent, as the other end sees it; fails unless its reply comes back as the reply to what was sent.
    Bytes there_and_back(const Way& way, const Bytes& sent) {
        const Bytes there = through(way.program, way.ifindex, sent);
        if (HasFailure()) return there;
        const Bytes back = through(way.reply_program, way.reply_ifindex, turned_around(there, way.reply_eth));
        EXPECT_EQ(without_ttl(ip_of(turned_around(back, {}))), without_ttl(ip_of(sent))) << describe(sent);
        return there;
    }

    /// A router's error about what left as @p there gives the sender a quote of what it had @p sent.
    void expect_error_quotes(const Bytes& there, const Bytes& sent, bool v4) {
        const PacketView view{there};
        const Bytes whole = ip_of(there);
        const std::size_t least = view.l4_offset - kEthernet + 8;
        std::size_t size = number(static_cast<unsigned>(least), static_cast<unsigned>(whole.size()));
        if (view.protocol == kTcp && size == least - 8 + 17) ++size;  // half a checksum cannot be mended
        const Bytes quote{whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)};
        const Icmp error{
            .type = one_of(v4 ? Bytes{3, 11, 12} : Bytes{1, 2, 3, 4}), .code = static_cast<std::uint8_t>(number(0, 15)), .rest = word()};
        const Bytes told =
            through("tc_uplink", lab().ifindex("up0"), (from_outside / random_ip(somebody(v4), view.src) / error / Payload{quote}).bytes());
        // As hex, for a message that shows where they differ.
        const Bytes was = ip_of(sent), is = ip_of(told);
        const auto quoted = is.begin() + static_cast<std::ptrdiff_t>(PacketView{told}.l4_offset - kEthernet) + 8;
        EXPECT_EQ(describe(without_ttl({quoted, is.end()})),
                  describe(without_ttl({was.begin(), was.begin() + static_cast<std::ptrdiff_t>(quote.size())})));
    }

    std::uint16_t number(unsigned first, unsigned last) {
        return static_cast<std::uint16_t>(std::uniform_int_distribution<unsigned>{first, last}(random_));
    }
    std::uint32_t word() { return static_cast<std::uint32_t>(random_()); }
    bool one_in(unsigned n) { return number(1, n) == 1; }
    template <typename T>
    const T& one_of(const std::vector<T>& items) {
        return items[number(0, static_cast<unsigned>(items.size()) - 1)];
    }
    Bytes random_bytes(std::size_t size) {
        Bytes bytes(size);
        for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(number(0, 255));
        return bytes;
    }
    IpAddress somebody(bool v4) {
        if (v4)  // none of ours, none that cannot be a source
            return IpAddress::v4(static_cast<std::uint8_t>(number(11, 99)), static_cast<std::uint8_t>(number(0, 255)),
                                 static_cast<std::uint8_t>(number(0, 255)), static_cast<std::uint8_t>(number(0, 255)));
        std::array<std::uint8_t, 16> bytes{};
        std::copy_n(random_bytes(16).begin(), 16, bytes.begin());
        bytes[0] = 0x2a;
        return IpAddress::from_bytes(bytes);
    }
    /// Everything that is nobody's business on the way is drawn at random.
    Packet random_ip(const IpAddress& src, const IpAddress& dst) {
        const auto ttl = static_cast<std::uint8_t>(number(3, 255)), tos = static_cast<std::uint8_t>(number(0, 255));
        if (src.family() == Family::kIpv4)
            return Ipv4{.src = src,
                        .dst = dst,
                        .ttl = ttl,
                        .tos = tos,
                        .id = number(0, 65535),
                        .dont_fragment = one_in(2),
                        .options = one_in(4) ? Bytes(number(1, 40), 1) : Bytes{}};
        return Ipv6{.src = src, .dst = dst, .hop_limit = ttl, .traffic_class = tos, .flow_label = word() & 0xfffffU};
    }
    Packet random_l4(Protocol protocol, bool v4, std::uint16_t src, std::uint16_t dst, std::uint8_t flags = kSyn) {
        // Sometimes wrong, and then it has to stay so; not 0 or ffff, which are one number and one of them means "none".
        std::optional<std::uint16_t> checksum;
        if (one_in(8)) checksum = number(1, 65534);
        if (protocol == Protocol::kTcp)
            return Tcp{.src = Port{src},
                       .dst = Port{dst},
                       .flags = flags,
                       .sequence = word(),
                       .acknowledgement = word(),
                       .window = number(0, 65535),
                       .options = random_bytes(number(0, 40)),
                       .checksum = checksum};
        if (protocol == Protocol::kUdp) {
            if (v4 && one_in(8)) checksum = 0;
            return Udp{.src = Port{src}, .dst = Port{dst}, .checksum = checksum};
        }
        return Icmp{.type = v4 ? kEchoRequest : kEchoRequest6, .rest = static_cast<std::uint32_t>(src) << 16U | number(0, 65535)};
    }
    Packet random_payload() { return Payload{random_bytes(number(0, 300))}; }
    /// IP with anything in it, or nearly nothing.
    Packet strange_ip(const IpAddress& src, const IpAddress& dst, bool v4) {
        const auto protocol = static_cast<std::uint8_t>(number(0, 255));
        switch (number(0, 7)) {
            case 0: return random_ip(src, dst) / random_l4(Protocol::kTcp, v4, number(0, 65535), number(0, 65535), later_flags());
            case 1: return random_ip(src, dst) / random_l4(Protocol::kUdp, v4, number(0, 65535), number(0, 65535)) / random_payload();
            case 2: return random_ip(src, dst) / random_l4(v4 ? Protocol::kIcmp : Protocol::kIcmpv6, v4, number(0, 65535), 0);
            case 3:  // perhaps an error, about anything
                return random_ip(src, dst) / Icmp{.type = static_cast<std::uint8_t>(number(0, 255))} / random_ip(dst, src) /
                       random_l4(Protocol::kUdp, v4, number(0, 65535), number(0, 65535));
            case 4:
                if (v4)
                    return Ipv4{.src = src,
                                .dst = dst,
                                .more_fragments = one_in(2),
                                .fragment_offset = static_cast<std::uint16_t>(8 * number(0, 99)),
                                .protocol = one_of(Bytes{kTcp, kUdp, protocol})} /
                           random_payload();
                return Packet{Ipv6{.src = src, .dst = dst}} /
                       Ipv6Fragment{.offset = static_cast<std::uint16_t>(8 * number(0, 99)), .more = one_in(2)} / udp(1, 2);
            case 5:
                if (v4)
                    return Ipv4{.src = src, .dst = dst, .options = random_bytes(number(1, 40)), .protocol = protocol} / random_payload();
                return Packet{Ipv6{.src = src, .dst = dst}} /
                       Ipv6Extension{.type = one_of(Bytes{kProtocolHopByHop, kProtocolRouting, kProtocolDestination})} / udp(1, 2);
            default:
                if (v4) return Ipv4{.src = src, .dst = dst, .ttl = static_cast<std::uint8_t>(number(0, 3)), .protocol = protocol};
                return Ipv6{.src = src, .dst = dst, .hop_limit = static_cast<std::uint8_t>(number(0, 3)), .next_header = protocol};
        }
    }
    std::uint8_t later_flags() { return static_cast<std::uint8_t>(number(0, 255)); }

    std::mt19937 random_{20261121};
};

TEST_F(Property, ReplysRewriteUndoesThePublishedPorts) {
    for (const IpAddress& published : {any4, any6})
        for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp})
            publish({.protocol = protocol, .address = published, .port = 32768, .ports = 16384, .container_port = 7});
    for (int i = 0; i < kRounds && !HasFailure(); ++i) {
        const bool v4 = one_in(2);
        const Protocol protocol = one_in(2) ? Protocol::kTcp : Protocol::kUdp;
        const IpAddress from = somebody(v4);
        const std::uint16_t src = number(1, 65535), dst = number(32768, 49151);
        for (const std::uint8_t flags : {kSyn, later_flags(), later_flags()})
            there_and_back(inward(), (from_outside / random_ip(from, v4 ? host_ip : host6) / random_l4(protocol, v4, src, dst, flags) /
                                      random_payload())
                                         .bytes());
    }
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Property, ReplysRewriteUndoesTheMasqueradeAndErrorsQuoteWhatWasSent) {
    for (int i = 0; i < kRounds && !HasFailure(); ++i) {
        const bool v4 = one_in(2);
        const Protocol protocol = one_of(std::vector{Protocol::kTcp, Protocol::kUdp, v4 ? Protocol::kIcmp : Protocol::kIcmpv6});
        const IpAddress to = somebody(v4);
        const std::uint16_t src = number(1, 65535), dst = number(1, 65535);
        for (const std::uint8_t flags : {kSyn, later_flags()}) {
            const Bytes sent = (from_container / random_ip(v4 ? container_ip : container6, to) /
                                random_l4(protocol, v4, src, dst, static_cast<std::uint8_t>(flags & ~kRst)) / random_payload())
                                   .bytes();
            const Bytes there = there_and_back(outward(), sent);
            ASSERT_EQ(PacketView{there}.src, v4 ? host_ip : host6);
            expect_error_quotes(there, sent, v4);
        }
    }
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Property, ReplysRewriteUndoesAHairpin) {
    for (const IpAddress& host : {host_ip, host6})
        for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
            publish({.protocol = protocol, .address = host}, neighbour());
            publish({.id = 2, .protocol = protocol, .address = host, .port = 8081}, container());
        }
    const Way to_neighbour{"tc_container", container().ifindex, "tc_container", neighbour().ifindex,
                           Eth{.src = neighbour_mac, .dst = container_mac}};
    const Way to_itself{"tc_container", container().ifindex, "tc_container", container().ifindex, from_container};
    for (int i = 0; i < kRounds && !HasFailure(); ++i) {
        const bool v4 = one_in(2), itself = one_in(2);
        const Protocol protocol = one_in(2) ? Protocol::kTcp : Protocol::kUdp;
        there_and_back(itself ? to_itself : to_neighbour,
                       (from_container / random_ip(v4 ? container_ip : container6, v4 ? host_ip : host6) /
                        random_l4(protocol, v4, number(1, 65535), itself ? 8081 : 8080) / random_payload())
                           .bytes());
    }
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Property, RoutedPacketsKeepEveryByteButTheTtl) {
    set_flags(container(), FNET_ENDPOINT_ROUTED4 | FNET_ENDPOINT_ROUTED6);
    for (int i = 0; i < kRounds && !HasFailure(); ++i) {
        const bool v4 = one_in(2);
        const IpAddress own = v4 ? container_ip : container6, other = somebody(v4);
        const Protocol protocol = one_of(std::vector{Protocol::kTcp, Protocol::kUdp, v4 ? Protocol::kIcmp : Protocol::kIcmpv6});
        const Bytes sent =
            (from_container / random_ip(own, other) / random_l4(protocol, v4, number(1, 65535), number(1, 65535)) / random_payload())
                .bytes();
        const Bytes there = there_and_back(outward(), sent);
        ASSERT_EQ(without_ttl(ip_of(there)), without_ttl(ip_of(sent)));
        expect_error_quotes(there, sent, v4);
    }
    EXPECT_TRUE(slots_are_accounted_for());
}

/// Whatever a container sends: what goes out has the host's address, and what is left to the kernel gets no further than the
/// host, because of the gate at the bridge.
TEST_F(Property, NoContainersAddressLeavesByTheUplink) {
    publish({.address = any4});
    publish({.address = any6});
    const std::vector<IpAddress> hosts{host_ip, second_host_ip, address("203.0.113.1"), host6};
    int out = 0, to_host = 0, stopped = 0;
    for (int i = 0; i < 10 * kRounds && !HasFailure(); ++i) {
        const bool v4 = one_in(2);
        const IpAddress outside = v4 ? one_of(std::vector{client, other_client, not_our_ip, side_peer, stranger_ip, somebody(true)})
                                     : one_of(std::vector{client6, not_our_ip6, stranger6, somebody(false)});
        const IpAddress inside = v4 ? one_of(std::vector{gateway, other_gateway, host_ip, neighbour_ip, nobody_ip, limited_broadcast})
                                    : one_of(std::vector{gateway6, host6, neighbour6, container_link_local, all_nodes});
        const bool goes_outside = !one_in(4);
        const IpAddress src = !one_in(8) ? v4 ? container_ip : container6
                              : v4       ? one_of(std::vector{neighbour_ip, stranger_ip, host_ip, any4, somebody(true)})
                                         : one_of(std::vector{neighbour6, stranger6, host6, container_link_local, any6, somebody(false)});
        const Eth eth =
            one_in(8) ? Eth{.src = container_mac, .dst = one_of(std::vector{neighbour_mac, broadcast_mac, forged_mac})} : from_container;
        const Bytes frame = (eth / strange_ip(src, goes_outside ? outside : inside, v4)).bytes();
        Outcome outcome{.action = 0, .in = frame, .out = {}, .verdicts = {}};
        ASSERT_TRUE(run_quickly("tc_container", frame, container().ifindex, outcome));
        const PacketView after{outcome.out};
        if (outcome.action == kRedirected) {
            if (after.dst == neighbour_ip || after.dst == neighbour6 || after.dst == container_ip || after.dst == container6) continue;
            ASSERT_NE(std::find(hosts.begin(), hosts.end(), after.src), hosts.end())
                << describe(frame) << " became " << describe(outcome.out);
            ++out;
        } else if (outcome.action == kToKernel && eth.dst == gateway_mac) {
            ASSERT_EQ(outcome.out, frame);
            ASSERT_TRUE(run_quickly("tc_gateway_in", frame, container().bridge, outcome));
            ASSERT_TRUE(outcome.action == kDropped || !goes_outside) << describe(frame);
            ++(outcome.action == kDropped ? stopped : to_host);
        }
    }
    EXPECT_GT(out, kRounds);
    EXPECT_GT(to_host, kRounds / 4);
    RecordProperty("stopped at the gate", stopped);
}

}  // namespace
}  // namespace fastnet::test
