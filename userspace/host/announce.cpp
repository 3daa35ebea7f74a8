#include "userspace/host/announce.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "loader/base/handle.h"

namespace fastnet {
namespace {

/// Appends to a frame of fixed size; the frames' layouts below are read from top to bottom.
template <std::size_t Size>
class FrameWriter {
public:
    FrameWriter& u8(unsigned value) {
        frame_[used_++] = static_cast<std::uint8_t>(value);
        return *this;
    }
    FrameWriter& be16(unsigned value) { return u8(value >> 8).u8(value & 0xffU); }
    FrameWriter& mac(const MacAddress& address) { return bytes(address.bytes().data(), address.bytes().size()); }
    FrameWriter& ip(const IpAddress& address) { return bytes(address.wire(), address.wire_size()); }
    FrameWriter& zeros(std::size_t count) {
        used_ += count;
        return *this;
    }
    std::array<std::uint8_t, Size>& frame() { return frame_; }

private:
    FrameWriter& bytes(const std::uint8_t* first, std::size_t count) {
        std::copy_n(first, count, frame_.begin() + static_cast<std::ptrdiff_t>(used_));
        used_ += count;
        return *this;
    }
    std::array<std::uint8_t, Size> frame_{};
    std::size_t used_ = 0;
};

constexpr std::size_t kIpv6Offset = 14;
constexpr std::size_t kIcmpOffset = kIpv6Offset + 40;
constexpr std::size_t kIcmpSize = 32;  // advertisement 24, target link-layer address option 8

/// RFC 4443 2.3: over the pseudo header (source, destination, length, next header) and the ICMPv6 message.
std::uint16_t icmpv6_checksum(const AdvertisementFrame& frame) {
    std::uint32_t sum = kIcmpSize + IPPROTO_ICMPV6;
    for (std::size_t i = kIpv6Offset + 8; i < kIcmpOffset + kIcmpSize; i += 2) {
        sum += static_cast<std::uint32_t>(frame[i]) << 8 | frame[i + 1];
    }
    while (sum >> 16 != 0) sum = (sum & 0xffffU) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

}  // namespace

ArpFrame gratuitous_arp(const IpAddress& address, const MacAddress& mac) {
    const MacAddress broadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
    FrameWriter<std::tuple_size_v<ArpFrame>> writer;
    writer.mac(broadcast).mac(mac).be16(ETHERTYPE_ARP);
    writer.be16(1).be16(ETHERTYPE_IP).u8(6).u8(4).be16(1);  // Ethernet, IPv4, their sizes, request
    writer.mac(mac).ip(address).mac(MacAddress{}).ip(address);
    return writer.frame();
}

AdvertisementFrame unsolicited_advertisement(const IpAddress& address, const MacAddress& mac) {
    const IpAddress all_nodes = IpAddress::from_bytes({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
    const MacAddress all_nodes_mac{{0x33, 0x33, 0, 0, 0, 1}};
    FrameWriter<std::tuple_size_v<AdvertisementFrame>> writer;
    writer.mac(all_nodes_mac).mac(mac).be16(ETHERTYPE_IPV6);
    writer.u8(0x60).zeros(3).be16(kIcmpSize).u8(IPPROTO_ICMPV6).u8(255).ip(address).ip(all_nodes);
    writer.u8(136).u8(0).be16(0).u8(0x20).zeros(3).ip(address);  // advertisement, flag O: override what is cached
    writer.u8(2).u8(1).mac(mac);                                 // option: target link-layer address, 8 bytes
    AdvertisementFrame& frame = writer.frame();
    const std::uint16_t checksum = icmpv6_checksum(frame);
    frame[kIcmpOffset + 2] = static_cast<std::uint8_t>(checksum >> 8);
    frame[kIcmpOffset + 3] = static_cast<std::uint8_t>(checksum & 0xffU);
    return frame;
}

Status announce(IfIndex link, const IpAddress& address, const MacAddress& mac) {
    const std::string what = "announce " + address.to_string() + " on interface " + std::to_string(link);
    const UniqueFd socket{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)};  // protocol 0: receives nothing
    if (!socket) return sys_error(errno, what).with_hint("this needs CAP_NET_RAW: run as root");
    sockaddr_ll target{};
    target.sll_family = AF_PACKET;
    target.sll_ifindex = static_cast<int>(link);
    target.sll_halen = 6;
    const auto send = [&](const auto& frame) -> Status {
        target.sll_protocol = Port{static_cast<std::uint16_t>(frame[12] << 8 | frame[13])}.wire();
        std::copy_n(frame.begin(), 6, target.sll_addr);
        if (::sendto(socket.get(), frame.data(), frame.size(), 0, reinterpret_cast<const sockaddr*>(&target), sizeof(target)) < 0) {
            return sys_error(errno, what);
        }
        return ok();
    };
    return address.family() == Family::kIpv4 ? send(gratuitous_arp(address, mac)) : send(unsolicited_advertisement(address, mac));
}

}  // namespace fastnet
