// The rewrite itself, with the odd cases: UDP checksums 0 (none) and 0xffff (a sum of zero), equal ports, every TTL.
#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

class Rewrite : public DatapathTest {};

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
