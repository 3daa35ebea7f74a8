#include "tests/bpf/packet_builder.h"

#include <algorithm>

namespace fastnet::test {
namespace {

constexpr std::uint16_t kEtherIpv4 = 0x0800, kEtherIpv6 = 0x86dd, kEtherArp = 0x0806;

void put8(Bytes& out, std::uint32_t value) {
    out.push_back(static_cast<std::uint8_t>(value));
}
void put16(Bytes& out, std::uint32_t value) {
    put8(out, value >> 8U & 0xffU);
    put8(out, value & 0xffU);
}
void put32(Bytes& out, std::uint32_t value) {
    put16(out, value >> 16U);
    put16(out, value & 0xffffU);
}
void put(Bytes& out, std::span<const std::uint8_t> bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
}
void put(Bytes& out, const MacAddress& mac) {
    put(out, std::span{mac.bytes()});
}
void put(Bytes& out, const IpAddress& address) {
    put(out, std::span{address.wire(), address.wire_size()});
}
void set16(Bytes& out, std::size_t at, std::uint32_t value) {
    out[at] = static_cast<std::uint8_t>(value >> 8U & 0xffU);
    out[at + 1] = static_cast<std::uint8_t>(value & 0xffU);
}
Bytes padded(Bytes bytes, std::size_t unit) {
    bytes.resize((bytes.size() + unit - 1) / unit * unit);
    return bytes;
}

template <typename... Visitors>
struct Overloaded : Visitors... {
    using Visitors::operator()...;
};
template <typename... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;

struct Addresses {
    IpAddress src, dst;
    bool v6 = false;
};

/// The number by which the header before it announces @p layer.
std::uint8_t protocol_of(const Layer* layer, bool v6) {
    if (layer == nullptr) return v6 ? 59 : kProtocolExperimental;  // 59: no next header
    return std::visit(Overloaded{[](const Tcp&) -> std::uint8_t { return 6; }, [](const Udp&) -> std::uint8_t { return 17; },
                                 [](const Sctp&) -> std::uint8_t { return 132; }, [&](const Icmp&) -> std::uint8_t { return v6 ? 58 : 1; },
                                 [](const Ipv6Extension& extension) { return extension.type; },
                                 [](const Ipv6Fragment&) { return kProtocolFragment; }, [](const Ipv4&) -> std::uint8_t { return 4; },
                                 [](const Ipv6&) -> std::uint8_t { return 41; }, [](const auto&) { return kProtocolExperimental; }},
                      *layer);
}

std::uint16_t ether_type_of(const Layer* layer) {
    if (layer == nullptr) return 0xffff;
    return std::visit(Overloaded{[](const Ipv4&) { return kEtherIpv4; }, [](const Ipv6&) { return kEtherIpv6; },
                                 [](const Arp&) { return kEtherArp; }, [](const Vlan& vlan) { return vlan.tag_protocol; },
                                 [](const auto&) -> std::uint16_t { return 0x88b5; }},  // IEEE local experimental
                      *layer);
}

/// Castagnoli's, as SCTP has it: reflected, sent with the low byte first.
std::uint32_t crc32c(std::initializer_list<std::span<const std::uint8_t>> parts) {
    std::uint32_t crc = 0xffffffff;
    for (const auto part : parts)
        for (const std::uint8_t byte : part) {
            crc ^= byte;
            for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
        }
    return ~crc;
}

/// Each build() puts one header in front of what follows it on the wire.
struct Builder {
    const Layer* next;    // above this layer, nullptr at the end
    Addresses addresses;  // of the IP header around this layer
    const Bytes& rest;

    std::uint16_t l4_checksum(const Bytes& header, std::uint8_t protocol) const {
        const auto length = static_cast<std::uint32_t>(header.size() + rest.size());
        return internet_checksum({pseudo_header(addresses.src, addresses.dst, protocol, length), header, rest});
    }

    Bytes operator()(const Eth& eth) const {
        Bytes out;
        put(out, eth.dst);
        put(out, eth.src);
        put16(out, eth.ether_type.value_or(ether_type_of(next)));
        return out;
    }
    Bytes operator()(const Vlan& vlan) const {
        Bytes out;
        put16(out, vlan.id);
        put16(out, ether_type_of(next));
        return out;
    }
    Bytes operator()(const Arp& arp) const {
        Bytes out;
        put16(out, 1);  // Ethernet
        put16(out, kEtherIpv4);
        put8(out, 6);
        put8(out, arp.address_length);
        put16(out, arp.operation);
        put(out, arp.sender_mac);
        put(out, arp.sender);
        put(out, arp.target_mac);
        put(out, arp.target);
        return out;
    }
    Bytes operator()(const Ipv4& ip4) const {
        const Bytes options = padded(ip4.options, 4);
        const std::size_t header = 20 + options.size();
        Bytes out;
        put8(out,
             static_cast<std::uint32_t>(ip4.version.value_or(4)) << 4U | ip4.header_words.value_or(static_cast<std::uint8_t>(header / 4)));
        put8(out, ip4.tos);
        put16(out, ip4.total_length.value_or(static_cast<std::uint16_t>(header + rest.size())));
        put16(out, ip4.id);
        put16(out, (ip4.dont_fragment ? 0x4000U : 0U) | (ip4.more_fragments ? 0x2000U : 0U) | ip4.fragment_offset / 8U);
        put8(out, ip4.ttl);
        put8(out, ip4.protocol.value_or(protocol_of(next, false)));
        put16(out, 0);
        put(out, ip4.src);
        put(out, ip4.dst);
        put(out, options);
        set16(out, 10, ip4.checksum.value_or(internet_checksum({out})));
        return out;
    }
    Bytes operator()(const Ipv6& ip6) const {
        Bytes out;
        put32(out, static_cast<std::uint32_t>(ip6.version.value_or(6)) << 28U | static_cast<std::uint32_t>(ip6.traffic_class) << 20U |
                       ip6.flow_label);
        put16(out, ip6.payload_length.value_or(static_cast<std::uint16_t>(rest.size())));
        put8(out, ip6.next_header.value_or(protocol_of(next, true)));
        put8(out, ip6.hop_limit);
        put(out, std::span{ip6.src.bytes()});  // all 16, v4-mapped ones too
        put(out, std::span{ip6.dst.bytes()});
        return out;
    }
    Bytes operator()(const Ipv6Extension& extension) const {
        Bytes out;
        put8(out, protocol_of(next, true));
        put8(out, 0);
        put(out, extension.body);
        out = padded(std::move(out), 8);
        out[1] = static_cast<std::uint8_t>(out.size() / 8 - 1);
        return out;
    }
    Bytes operator()(const Ipv6Fragment& fragment) const {
        Bytes out;
        put8(out, protocol_of(next, true));
        put8(out, 0);
        put16(out, fragment.offset | (fragment.more ? 1U : 0U));
        put32(out, fragment.id);
        return out;
    }
    Bytes operator()(const Tcp& segment) const {
        const Bytes options = padded(segment.options, 4);
        Bytes out;
        put16(out, segment.src.value());
        put16(out, segment.dst.value());
        put32(out, segment.sequence);
        put32(out, segment.acknowledgement);
        put8(out, static_cast<std::uint32_t>(segment.data_offset_words.value_or(static_cast<std::uint8_t>(5 + options.size() / 4))) << 4U);
        put8(out, segment.flags);
        put16(out, segment.window);
        put16(out, 0);
        put16(out, 0);
        put(out, options);
        set16(out, 16, segment.checksum.value_or(l4_checksum(out, 6)));
        return out;
    }
    Bytes operator()(const Udp& datagram) const {
        Bytes out;
        put16(out, datagram.src.value());
        put16(out, datagram.dst.value());
        put16(out, datagram.length.value_or(static_cast<std::uint16_t>(8 + rest.size())));
        put16(out, 0);
        const std::uint16_t sum = l4_checksum(out, 17);
        set16(out, 6, datagram.checksum.value_or(sum == 0 ? std::uint16_t{0xffff} : sum));  // RFC 768: 0 means none
        return out;
    }
    Bytes operator()(const Sctp& packet) const {
        Bytes out;
        put16(out, packet.src.value());
        put16(out, packet.dst.value());
        put32(out, packet.tag);
        put32(out, 0);
        put8(out, packet.chunk);
        put8(out, 0);
        put16(out, static_cast<std::uint32_t>(4 + rest.size()));
        const std::uint32_t crc = crc32c({out, rest});
        for (unsigned i = 0; i < 4; ++i) out[8 + i] = static_cast<std::uint8_t>(crc >> (8 * i));
        return out;
    }
    Bytes operator()(const Icmp& icmp) const {
        Bytes out;
        put8(out, icmp.type);
        put8(out, icmp.code);
        put16(out, 0);
        put32(out, icmp.rest);
        const std::uint16_t sum = addresses.v6 ? l4_checksum(out, 58) : internet_checksum({out, rest});
        set16(out, 2, icmp.checksum.value_or(sum));
        return out;
    }
    Bytes operator()(const Vxlan& vxlan) const {
        Bytes out;
        put32(out, static_cast<std::uint32_t>(vxlan.flags) << 24U | vxlan.reserved);
        put32(out, vxlan.vni << 8U | vxlan.reserved_end);
        return out;
    }
    Bytes operator()(const Payload& data) const { return data.bytes; }
};

}  // namespace

std::uint16_t internet_checksum(std::initializer_list<std::span<const std::uint8_t>> parts) {
    std::uint32_t sum = 0;
    bool high = true;
    for (const auto part : parts) {
        for (const std::uint8_t byte : part) {
            sum += high ? static_cast<std::uint32_t>(byte) << 8U : byte;
            high = !high;
            sum = (sum & 0xffffU) + (sum >> 16U);
        }
    }
    return static_cast<std::uint16_t>(~sum & 0xffffU);
}

Bytes pseudo_header(const IpAddress& src, const IpAddress& dst, std::uint8_t protocol, std::uint32_t length) {
    Bytes out;
    put(out, src);
    put(out, dst);
    // IPv4 has zero, protocol, 16-bit length; IPv6 32-bit length, zeros, next header: the same sum.
    put32(out, length);
    put32(out, protocol);
    return out;
}

Bytes Packet::bytes() const {
    std::vector<Addresses> around(layers_.size());
    Addresses current;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        around[i] = current;
        if (const auto* ip4 = std::get_if<Ipv4>(&layers_[i])) current = {ip4->src, ip4->dst, false};
        if (const auto* ip6 = std::get_if<Ipv6>(&layers_[i])) current = {ip6->src, ip6->dst, true};
    }
    Bytes rest;
    for (std::size_t i = layers_.size(); i-- > 0;) {
        const Layer* next = i + 1 < layers_.size() ? &layers_[i + 1] : nullptr;
        Bytes header = std::visit(Builder{next, around[i], rest}, layers_[i]);
        header.insert(header.end(), rest.begin(), rest.end());
        rest = std::move(header);
    }
    return rest;
}

Packet ip(IpAddress src, IpAddress dst, std::uint8_t ttl) {
    if (dst.family() == Family::kIpv4) return Ipv4{.src = src, .dst = dst, .ttl = ttl};
    return Ipv6{.src = src, .dst = dst, .hop_limit = ttl};
}

Payload payload(std::size_t size) {
    Bytes bytes(size);
    std::uint8_t value = 17;
    std::generate(bytes.begin(), bytes.end(), [&] { return value = static_cast<std::uint8_t>(value * 5 + 3); });
    return {std::move(bytes)};
}

Packet neighbour_message(std::uint8_t type, IpAddress target, MacAddress option_mac) {
    Bytes body;
    put(body, std::span{target.bytes()});
    put8(body, type == kNeighbourAdvertisement ? 2 : 1);
    put8(body, 1);
    put(body, option_mac);
    return Icmp{.type = type, .rest = type == kNeighbourAdvertisement ? 0x60000000U : 0U} / Packet{Payload{std::move(body)}};
}

}  // namespace fastnet::test
