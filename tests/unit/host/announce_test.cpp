#include "userspace/host/announce.h"

#include <gmock/gmock.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <poll.h>
#include <sys/socket.h>

#include <vector>

#include "tests/unit/host/own_netns.h"

namespace fastnet {
namespace {

using ::testing::ElementsAreArray;

const MacAddress kMac = mac("02:11:22:33:44:55");

TEST(Announcement, GratuitousArpSaysWhoHasTheAddress) {
    EXPECT_THAT(gratuitous_arp(ip("192.0.2.7"), kMac),
                ElementsAreArray({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55, 0x08, 0x06,  // Ethernet
                                  0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01,                                      // request
                                  0x02, 0x11, 0x22, 0x33, 0x44, 0x55, 192,  0,    2,    7,                             // sender
                                  0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 192,  0,    2,    7}));                          // target
}

TEST(Announcement, AdvertisementIsWellFormed) {
    const IpAddress address = ip("2001:db8::7");
    const AdvertisementFrame frame = unsolicited_advertisement(address, kMac);
    EXPECT_EQ(frame[12] << 8 | frame[13], 0x86dd);
    EXPECT_EQ(frame[14] >> 4, 6);
    EXPECT_EQ(frame[18] << 8 | frame[19], 32);  // payload
    EXPECT_EQ(frame[20], 58);                   // ICMPv6
    EXPECT_EQ(frame[21], 255);                  // hop limit, RFC 4861 7.1.2
    EXPECT_EQ(IpAddress::from_wire(Family::kIpv6, &frame[22]), address);
    EXPECT_EQ(IpAddress::from_wire(Family::kIpv6, &frame[38]), ip("ff02::1"));
    EXPECT_EQ(frame[54], 136);
    EXPECT_EQ(frame[58], 0x20);  // override, not solicited, not a router
    EXPECT_EQ(IpAddress::from_wire(Family::kIpv6, &frame[62]), address);
    EXPECT_THAT(std::vector<std::uint8_t>(frame.begin() + 78, frame.end()), ElementsAreArray({2, 1, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55}));

    // The sum over pseudo header and message, its checksum included, is all ones.
    std::uint32_t sum = 32 + 58;
    for (std::size_t i = 22; i < frame.size(); i += 2) sum += static_cast<std::uint32_t>(frame[i] << 8 | frame[i + 1]);
    while (sum >> 16 != 0) sum = (sum & 0xffffU) + (sum >> 16);
    EXPECT_EQ(sum, 0xffffU);
}

class AnnounceTest : public OwnNetns {
protected:
    void SetUp() override {
        OwnNetns::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        if (!has_capability(Capability::kNetRaw)) GTEST_SKIP() << "needs CAP_NET_RAW";
        pair_ = netlink()
                    .create_veth({.host_name = "vh0", .host_mac = kMac, .peer_name = "vp0", .peer_mac = mac("02:00:00:00:00:03")},
                                 Netns::current().value())
                    .value();
    }
    VethPair pair_;
};

TEST_F(AnnounceTest, LinkThatIsDownIsAnError) {
    EXPECT_EQ(announce(pair_.host, ip("192.0.2.7"), kMac).error().sys_errno, ENETDOWN);
    EXPECT_FALSE(announce(4711, ip("192.0.2.7"), kMac).has_value());
}

TEST_F(AnnounceTest, FrameArrivesAtThePeer) {
    ASSERT_OK(netlink().set_up(pair_.host));
    ASSERT_OK(netlink().set_up(pair_.peer));
    const UniqueFd peer{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, Port{ETH_P_ALL}.wire())};
    sockaddr_ll where{};
    where.sll_family = AF_PACKET;
    where.sll_protocol = Port{ETH_P_ALL}.wire();
    where.sll_ifindex = static_cast<int>(pair_.peer);
    ASSERT_EQ(::bind(peer.get(), reinterpret_cast<const sockaddr*>(&where), sizeof(where)), 0);
    const auto receives = [&](const auto& expected) {
        std::vector<std::uint8_t> frame(2048);
        for (pollfd ready{peer.get(), POLLIN, 0}; ::poll(&ready, 1, 1000) == 1;) {
            const ssize_t size = ::recv(peer.get(), frame.data(), frame.size(), 0);
            // The kernel's own router solicitations pass by as well.
            if (size == static_cast<ssize_t>(expected.size()) && std::equal(expected.begin(), expected.end(), frame.begin())) return true;
        }
        return false;
    };
    ASSERT_OK(announce(pair_.host, ip("192.0.2.7"), kMac));
    EXPECT_TRUE(receives(gratuitous_arp(ip("192.0.2.7"), kMac)));
    ASSERT_OK(announce(pair_.host, ip("2001:db8::7"), kMac));
    EXPECT_TRUE(receives(unsolicited_advertisement(ip("2001:db8::7"), kMac)));
}

}  // namespace
}  // namespace fastnet
