// Frames from layers: `from_outside / ipv4(client, host_ip) / tcp(40000, 8080, kSyn) / payload(10)`.
// Lengths, next-header numbers and checksums are computed in full when the bytes are asked for; a field that is set
// explicitly (an std::optional below) is written as it is, so that a header can lie. Knows no BPF and no maps.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "loader/base/net_types.h"

namespace fastnet::test {

using Bytes = std::vector<std::uint8_t>;

inline constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPsh = 0x08, kAck = 0x10;
inline constexpr std::uint8_t kSynAck = kSyn | kAck, kFinAck = kFin | kAck, kRstAck = kRst | kAck;

inline constexpr std::uint8_t kProtocolHopByHop = 0, kProtocolRouting = 43, kProtocolFragment = 44, kProtocolDestination = 60;
inline constexpr std::uint8_t kProtocolExperimental = 253;  // RFC 3692
inline constexpr std::uint8_t kEchoRequest = 8, kEchoReply = 0, kEchoRequest6 = 128, kEchoReply6 = 129;
inline constexpr std::uint8_t kRouterSolicitation = 133, kRouterAdvertisement = 134, kNeighbourSolicitation = 135,
                              kNeighbourAdvertisement = 136, kNdRedirect = 137;

struct Eth {
    MacAddress src = {}, dst = {};
    std::optional<std::uint16_t> ether_type = std::nullopt;
};
struct Vlan {
    std::uint16_t id = 0;
    std::uint16_t tag_protocol = 0x8100;  ///< 0x88a8: the outer tag of QinQ
};
struct Arp {
    std::uint16_t operation = 1;  ///< 1 request, 2 reply
    MacAddress sender_mac = {};
    IpAddress sender = {};
    MacAddress target_mac = {};
    IpAddress target = {};
    std::uint8_t address_length = 4;
};
struct Ipv4 {
    IpAddress src, dst;
    std::uint8_t ttl = 64;
    std::uint8_t tos = 0;
    std::uint16_t id = 0x1234;
    bool dont_fragment = true;
    bool more_fragments = false;
    std::uint16_t fragment_offset = 0;  ///< bytes, a multiple of 8
    Bytes options = {};                 ///< padded to 4
    std::optional<std::uint8_t> protocol = std::nullopt;
    std::optional<std::uint8_t> version = std::nullopt;
    std::optional<std::uint8_t> header_words = std::nullopt;
    std::optional<std::uint16_t> total_length = std::nullopt;
    std::optional<std::uint16_t> checksum = std::nullopt;
};
struct Ipv6 {
    IpAddress src, dst;
    std::uint8_t hop_limit = 64;
    std::uint8_t traffic_class = 0;
    std::uint32_t flow_label = 0x12345;
    std::optional<std::uint8_t> next_header = std::nullopt;
    std::optional<std::uint8_t> version = std::nullopt;
    std::optional<std::uint16_t> payload_length = std::nullopt;
};
/// Hop-by-hop, routing or destination options: next header, length, and @p body padded to 8 with zeros.
struct Ipv6Extension {
    std::uint8_t type = kProtocolHopByHop;
    Bytes body = {1, 4, 0, 0, 0, 0};  // PadN
};
struct Ipv6Fragment {
    std::uint16_t offset = 0;  ///< bytes, a multiple of 8
    bool more = true;
    std::uint32_t id = 0xabcd;
};
struct Tcp {
    Port src, dst;
    std::uint8_t flags = kSyn;
    std::uint32_t sequence = 0x01020304;
    std::uint32_t acknowledgement = 0;
    std::uint16_t window = 64240;
    Bytes options = {};  ///< padded to 4
    std::optional<std::uint8_t> data_offset_words = std::nullopt;
    std::optional<std::uint16_t> checksum = std::nullopt;
};
struct Udp {
    Port src, dst;
    std::optional<std::uint16_t> length = std::nullopt;
    std::optional<std::uint16_t> checksum = std::nullopt;  ///< 0: none (RFC 768)
};
/// A first chunk of this type and what follows as its value; the checksum is CRC32c (RFC 9260 6.8).
struct Sctp {
    Port src, dst;
    std::uint8_t chunk = 1;  ///< INIT
    std::uint32_t tag = 0x0a0b0c0d;
};
/// ICMP or, above an Ipv6, ICMPv6. @p rest is the second word: identifier and sequence of an echo, MTU of an error.
struct Icmp {
    std::uint8_t type = kEchoRequest;
    std::uint8_t code = 0;
    std::uint32_t rest = 0;
    std::optional<std::uint16_t> checksum = std::nullopt;
};
/// RFC 7348 section 5; an Eth follows.
struct Vxlan {
    std::uint32_t vni = 0;
    std::uint8_t flags = 0x08;   ///< the I flag
    std::uint32_t reserved = 0;  ///< the 24 bits behind the flags
    std::uint8_t reserved_end = 0;
};
struct Payload {
    Bytes bytes;
};

using Layer = std::variant<Eth, Vlan, Arp, Ipv4, Ipv6, Ipv6Extension, Ipv6Fragment, Tcp, Udp, Sctp, Icmp, Vxlan, Payload>;

class Packet {
public:
    template <typename L>
    requires std::constructible_from<Layer, L> Packet(L layer)
        : layers_{Layer{std::move(layer)}} {}  // NOLINT(google-explicit-constructor): it is how layers compose

    Packet& append(const Packet& other) {
        layers_.insert(layers_.end(), other.layers_.begin(), other.layers_.end());
        return *this;
    }
    Bytes bytes() const;

private:
    std::vector<Layer> layers_;
};

/// @p right inside @p left. Either may be a single layer.
inline Packet operator/(Packet left, const Packet& right) {
    return left.append(right);
}

inline Ipv4 ipv4(IpAddress src, IpAddress dst) {
    return {.src = src, .dst = dst};
}
inline Ipv6 ipv6(IpAddress src, IpAddress dst) {
    return {.src = src, .dst = dst};
}
/// An Ipv4 or Ipv6, as the addresses are.
Packet ip(IpAddress src, IpAddress dst, std::uint8_t ttl = 64);
inline Tcp tcp(std::uint16_t src, std::uint16_t dst, std::uint8_t flags = kSyn) {
    constexpr std::uint32_t kNextNumber = 0x01020305;  // of the other side's SYN, which has the default number too
    return {.src = Port{src}, .dst = Port{dst}, .flags = flags, .acknowledgement = (flags & kAck) != 0 ? kNextNumber : 0};
}
inline Udp udp(std::uint16_t src, std::uint16_t dst) {
    return {.src = Port{src}, .dst = Port{dst}};
}
inline Sctp sctp(std::uint16_t src, std::uint16_t dst, std::uint8_t chunk) {
    return {.src = Port{src}, .dst = Port{dst}, .chunk = chunk};
}
inline Icmp echo(std::uint8_t type, std::uint16_t id, std::uint16_t sequence = 1) {
    return {.type = type, .rest = static_cast<std::uint32_t>(id) << 16U | sequence};
}
/// @p size bytes that differ from their neighbours.
Payload payload(std::size_t size);
/// Neighbour solicitation or advertisement for @p target with one link-layer option.
Packet neighbour_message(std::uint8_t type, IpAddress target, MacAddress option_mac);

/// RFC 1071, over all of the bytes, in one's complement, ready for a header field.
std::uint16_t internet_checksum(std::initializer_list<std::span<const std::uint8_t>> parts);
/// Pseudo header of RFC 9293 3.1 (IPv4) or RFC 8200 8.1 (IPv6).
Bytes pseudo_header(const IpAddress& src, const IpAddress& dst, std::uint8_t protocol, std::uint32_t length);

}  // namespace fastnet::test
