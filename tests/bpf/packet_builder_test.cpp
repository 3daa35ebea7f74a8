// The tools themselves: what the builder makes is right by published examples and in the kernel's own opinion, and the
// view notices a single wrong bit. Everything else in this folder leans on that.
#include <poll.h>

#include <array>

#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/sockets.h"

namespace fastnet::test {
namespace {

TEST(PacketBuilder, ChecksumIsThatOfTheExampleInRfc1071) {
    // Section 3: the sum of 00 01 f2 03 f4 f5 f6 f7 is dd f2.
    const std::array<std::uint8_t, 8> example{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    EXPECT_EQ(internet_checksum({example}), static_cast<std::uint16_t>(~0xddf2U & 0xffffU));
    EXPECT_EQ(internet_checksum({std::span{example}.first(3), std::span{example}.subspan(3)}), internet_checksum({example}))
        << "split at an odd place";
    EXPECT_EQ(internet_checksum({std::span{example}.first(3)}), static_cast<std::uint16_t>(~(0x0001U + 0xf200U) & 0xffffU)) << "odd length";
}

TEST(PacketBuilder, WritesHeadersAsTheRfcsDrawThem) {
    const Bytes frame = (from_outside / Ipv4{.src = client, .dst = host_ip, .id = 1} / tcp(40000, 8080) / Payload{{0xaa, 0xbb}}).bytes();
    const Bytes expected{0x02, 0xfa, 0x57,      0,         1, 1, 0x02, 0xfa, 0x57, 0, 1,         2,         0x08, 0x00,  // Ethernet
                         0x45, 0,    0,         42,        0, 1, 0x40, 0,    64,   6, frame[24], frame[25], 198,  51,
                         100,  7,    192,       0,         2, 2,  // IPv4
                         0x9c, 0x40, 0x1f,      0x90,      1, 2, 3,    4,    0,    0, 0,         0,         0x50, 0x02,
                         0xfa, 0xf0, frame[50], frame[51], 0, 0, 0xaa, 0xbb};
    EXPECT_EQ(frame, expected);
    EXPECT_TRUE(PacketView{frame}.checksums_verify());
}

TEST(PacketBuilder, FieldsThatAreSetAreWrittenAsTheyAre) {
    const Bytes frame = (from_outside / Ipv4{.src = client, .dst = host_ip, .header_words = 3, .total_length = 9, .checksum = 0x1234} /
                         Udp{.src = Port{1}, .dst = Port{2}, .length = 5, .checksum = 0x5678})
                            .bytes();
    EXPECT_EQ(frame[14], 0x43);
    EXPECT_EQ(frame[17], 9);
    EXPECT_EQ(frame[24], 0x12);
    EXPECT_EQ(frame[39], 5);
    EXPECT_EQ(frame[40], 0x56);
    EXPECT_FALSE(PacketView{frame}.valid);
}

TEST(PacketView, ReadsEveryShapeBack) {
    for (const Packet& layers :
         {ip(client, host_ip) / tcp(1, 2), ip(client, host_ip) / udp(1, 2) / payload(3), ip(client6, host6) / tcp(1, 2) / payload(5),
          ip(client6, host6) / udp(1, 2), ip(client, host_ip) / echo(kEchoRequest, 3) / payload(1),
          ip(client6, host6) / echo(kEchoRequest6, 3) / payload(2),
          Ipv4{.src = client, .dst = host_ip, .options = Bytes(5, 1)} / Packet{tcp(1, 2)}}) {
        const PacketView view{(from_outside / layers).bytes()};
        EXPECT_TRUE(view.checksums_verify());
        EXPECT_EQ(view.eth_src, router_mac);
        EXPECT_EQ(view.ttl, 64);
        EXPECT_TRUE(view.echo_id == 3 || (view.src_port == 1 && view.dst_port == 2));
    }
}

TEST(PacketView, NoticesEveryFlippedBit) {
    for (const Packet& layers : {ip(client, host_ip) / tcp(1, 2) / payload(7), ip(client6, host6) / udp(1, 2) / payload(7),
                                 ip(client, host_ip) / echo(kEchoRequest, 3)}) {
        const Bytes frame = (from_outside / layers).bytes();
        for (std::size_t bit = 14 * 8; bit < frame.size() * 8; ++bit) {
            Bytes damaged = frame;
            damaged[bit / 8] = static_cast<std::uint8_t>(damaged[bit / 8] ^ 1U << bit % 8);
            const PacketView view{damaged};
            // IPv6 protects its class, flow label, next header and hop limit by nothing.
            const bool unprotected = view.ether_type == 0x86dd && ((bit / 8 >= 14 && bit / 8 < 18) || bit / 8 == 20 || bit / 8 == 21);
            EXPECT_TRUE(!view.checksums_verify() || unprotected) << "byte " << bit / 8;
        }
    }
}

class KernelsOpinion : public ::testing::Test {
protected:
    void SetUp() override {
        if (const std::string missing = missing_capability(); !missing.empty()) GTEST_SKIP() << missing;
    }
};

TEST_F(KernelsOpinion, ChecksumsOfTheBuilderAreAccepted) {
    const NetLab lab;
    const FarDevice wire{lab, "wire"};
    const HostSocket receiver{SOCK_DGRAM, any6, 5000};
    ASSERT_EQ(receiver.error(), 0);
    const auto arrives = [&](const Packet& packet) {
        wire.send(from_outside / packet);
        pollfd readable{receiver.fd(), POLLIN, 0};
        if (poll(&readable, 1, 300) != 1) return false;
        std::array<char, 100> data{};
        return recv(receiver.fd(), data.data(), data.size(), 0) == 7;
    };
    EXPECT_TRUE(arrives(ip(router, host_ip) / udp(1, 5000) / payload(7)));
    EXPECT_TRUE(arrives(ip(router6, host6) / udp(1, 5000) / payload(7)));
    EXPECT_TRUE(arrives(Ipv4{.src = router, .dst = host_ip, .options = Bytes(4, 1)} / Packet{udp(1, 5000)} / payload(7)));
    EXPECT_FALSE(arrives(ip(router, host_ip) / Udp{.src = Port{1}, .dst = Port{5000}, .checksum = 0x1234} / payload(7)))
        << "it does look at them";
    EXPECT_FALSE(arrives(Ipv4{.src = router, .dst = host_ip, .checksum = 0x1234} / Packet{udp(1, 5000)} / payload(7)));
}

}  // namespace
}  // namespace fastnet::test
