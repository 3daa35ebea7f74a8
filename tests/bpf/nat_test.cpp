// The rewrite itself: over random tuples it can be undone by the reply's rewrite, and every checksum holds, the odd ones
// of UDP (0 = none, 0xffff = a sum of zero) included.
#include <algorithm>
#include <random>

#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

/// Addresses and ports swapped, nothing else: no checksum changes by that.
Bytes turned_around(Bytes frame, const Eth& eth) {
    const PacketView view{frame};
    const std::size_t size = view.src.wire_size(), at = 14 + (size == 4 ? 12U : 8U);
    std::swap_ranges(&frame[at], &frame[at] + size, &frame[at + size]);
    if (view.protocol == 6 || view.protocol == 17)
        std::swap_ranges(&frame[view.l4_offset], &frame[view.l4_offset] + 2, &frame[view.l4_offset + 2]);
    std::copy_n(eth.dst.bytes().begin(), 6, frame.begin());
    std::copy_n(eth.src.bytes().begin(), 6, frame.begin() + 6);
    return frame;
}

/// What two hops leave of a packet: all of it but the TTL and, over IPv4, the header's checksum.
Bytes without_ttl(Bytes frame) {
    if (PacketView{frame}.ether_type == 0x0800) {
        frame[22] = frame[24] = frame[25] = 0;
    } else {
        frame[21] = 0;
    }
    frame.erase(frame.begin(), frame.begin() + 12);
    return frame;
}

class Rewrite : public DatapathTest {
protected:
    using DatapathTest::DatapathTest;
    Outcome quickly(const char* program, const Bytes& frame, std::uint32_t ifindex) {
        Outcome outcome{.action = 0, .in = frame, .out = {}, .verdicts = {}};
        EXPECT_TRUE(run_quickly(program, frame, ifindex, outcome));
        EXPECT_EQ(outcome.action, kRedirected) << ::testing::PrintToString(outcome);
        EXPECT_TRUE(outcome.view().checksums_verify()) << ::testing::PrintToString(outcome);
        return outcome;
    }
    std::uint16_t number(unsigned first, unsigned last) {
        return static_cast<std::uint16_t>(std::uniform_int_distribution<unsigned>{first, last}(random_));
    }
    IpAddress somebody(bool v4) {
        if (v4)  // none of ours, none that cannot be a source
            return IpAddress::v4(static_cast<std::uint8_t>(number(11, 99)), static_cast<std::uint8_t>(number(0, 255)),
                                 static_cast<std::uint8_t>(number(0, 255)), static_cast<std::uint8_t>(number(0, 255)));
        std::array<std::uint8_t, 16> bytes{};
        for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(number(0, 255));
        bytes[0] = 0x2a;
        return IpAddress::from_bytes(bytes);
    }
    Packet random_payload() {
        Bytes bytes(number(0, 300));
        for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(number(0, 255));
        return Payload{std::move(bytes)};
    }
    std::mt19937 random_{20241031};
};

class ManyRewrites : public Rewrite {
protected:
    ManyRewrites() : Rewrite({.max_flows = 8192}) {}
};

TEST_F(ManyRewrites, ReplysRewriteUndoesThePublishedPorts) {
    for (const IpAddress& published : {any4, any6})
        for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp})
            publish({.protocol = protocol, .address = published, .port = 32768, .ports = 16384, .container_port = 7});
    for (int i = 0; i < 3000; ++i) {
        const bool v4 = number(0, 1) == 0;
        const Protocol protocol = number(0, 1) == 0 ? Protocol::kTcp : Protocol::kUdp;
        Packet l4 = Variant::l4_of(protocol, number(1, 65535), number(32768, 49151));
        const Bytes sent =
            (from_outside / ip(somebody(v4), v4 ? host_ip : host6, static_cast<std::uint8_t>(number(3, 255))) / l4 / random_payload())
                .bytes();
        const Outcome inward = quickly("tc_uplink", sent, lab().ifindex("up0"));
        const Outcome outward = quickly("tc_container", turned_around(inward.out, from_container), container().ifindex);
        ASSERT_EQ(without_ttl(turned_around(outward.out, from_outside)), without_ttl(sent)) << describe(sent);
        ASSERT_EQ(outward.view().ttl, PacketView{sent}.ttl - 2);
        ASSERT_EQ(outward.view().eth_dst, router_mac);
    }
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(ManyRewrites, ReplysRewriteUndoesTheMasquerade) {
    for (int i = 0; i < 3000; ++i) {
        const bool v4 = number(0, 1) == 0;
        Packet l4 = number(0, 1) == 0 ? Packet{tcp(number(1, 65535), number(1, 65535))} : Packet{udp(number(1, 65535), number(1, 65535))};
        const Bytes sent = (from_container / ip(v4 ? container_ip : container6, somebody(v4), static_cast<std::uint8_t>(number(3, 255))) /
                            l4 / random_payload())
                               .bytes();
        const Outcome outward = quickly("tc_container", sent, container().ifindex);
        ASSERT_EQ(outward.view().src, v4 ? host_ip : host6);
        const Outcome inward = quickly("tc_uplink", turned_around(outward.out, from_outside), lab().ifindex("up0"));
        ASSERT_EQ(without_ttl(turned_around(inward.out, from_container)), without_ttl(sent)) << describe(sent);
    }
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Rewrite, UdpChecksumZeroStaysZero) {
    publish({.protocol = Protocol::kUdp, .address = host_ip});
    const Udp unsummed{.src = Port{40000}, .dst = Port{8080}, .checksum = 0};
    const Udp translated{.src = Port{40000}, .dst = Port{80}, .checksum = 0};
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / unsummed / payload(9)),
                Redirects(into_container / ip(client, container_ip, 63) / translated / payload(9)));
    const Udp answer{.src = Port{80}, .dst = Port{40000}, .checksum = 0};
    const Udp answer_translated{.src = Port{8080}, .dst = Port{40000}, .checksum = 0};
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / answer / payload(9)),
                Redirects(out_of_uplink / ip(host_ip, client, 63) / answer_translated / payload(9)));
}

TEST_F(Rewrite, UdpChecksumThatComesOutAsZeroIsWrittenAsAllOnes) {
    for (const bool v4 : {true, false}) {
        const IpAddress from = v4 ? client : client6, to = v4 ? host_ip : host6, inside = v4 ? container_ip : container6;
        publish({.protocol = Protocol::kUdp, .address = to});
        const auto with_word = [&](const IpAddress& dst, std::uint16_t port, std::uint16_t word) {
            const Payload data{{static_cast<std::uint8_t>(word >> 8U), static_cast<std::uint8_t>(word & 0xffU)}};
            return ip(from, dst, dst == to ? 64 : 63) / udp(40000, port) / data;
        };
        // A payload equal to the checksum that it would have had with zeros makes the sum zero.
        const std::uint16_t word = PacketView{(into_container / with_word(inside, 80, 0)).bytes()}.l4_checksum;
        const Outcome outcome = at_uplink(from_outside / with_word(to, 8080, word));
        EXPECT_EQ(outcome.view().l4_checksum, 0xffff);
        EXPECT_THAT(outcome, Redirects(into_container / with_word(inside, 80, word)));
    }
}

TEST_F(Rewrite, TcpChecksumThatComesOutAsZeroIsZero) {
    publish({.address = host_ip});
    const auto with_word = [&](const IpAddress& dst, std::uint16_t port, std::uint16_t word) {
        const Payload data{{static_cast<std::uint8_t>(word >> 8U), static_cast<std::uint8_t>(word & 0xffU)}};
        return ip(client, dst, dst == host_ip ? 64 : 63) / tcp(40000, port) / data;
    };
    const std::uint16_t word = PacketView{(into_container / with_word(container_ip, 80, 0)).bytes()}.l4_checksum;
    const Outcome outcome = at_uplink(from_outside / with_word(host_ip, 8080, word));
    EXPECT_EQ(outcome.view().l4_checksum, 0);
    EXPECT_THAT(outcome, Redirects(into_container / with_word(container_ip, 80, word)));
}

TEST_F(Rewrite, SamePortInsideAndOutsideChangesAddressesOnly) {
    publish({.address = host_ip, .port = 8080, .container_port = 8080});
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / tcp(40000, 8080) / payload(1)),
                Redirects(into_container / ip(client, container_ip, 63) / tcp(40000, 8080) / payload(1)));
    EXPECT_EQ(flow(key_of(Protocol::kTcp, client, 40000, host_ip, 8080))->port_diff, 0U);
}

TEST_F(Rewrite, EveryTtlIsLoweredByOneWithARightHeaderChecksum) {
    publish({.address = host_ip});
    for (unsigned ttl = 2; ttl <= 255; ++ttl)
        EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip, static_cast<std::uint8_t>(ttl)) / tcp(40000, 8080)),
                    Redirects(into_container / ip(client, container_ip, static_cast<std::uint8_t>(ttl - 1)) / tcp(40000, 80)));
}

TEST_F(Rewrite, WrongChecksumStaysExactlyAsWrong) {
    publish({.address = host_ip});
    const Bytes sent = (from_outside / ip(client, host_ip) / Tcp{.src = Port{40000}, .dst = Port{8080}, .checksum = 0xbad}).bytes();
    Outcome outcome{.action = 0, .in = sent, .out = {}, .verdicts = {}};
    ASSERT_TRUE(run_quickly("tc_uplink", sent, lab().ifindex("up0"), outcome));
    EXPECT_NE(PacketView{sent}.l4_error, 0) << "the receiver must see that it is broken";
    EXPECT_EQ(outcome.view().l4_error, PacketView{sent}.l4_error);
}

}  // namespace
}  // namespace fastnet::test
