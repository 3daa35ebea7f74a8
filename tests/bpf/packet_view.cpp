#include "tests/bpf/packet_view.h"

#include <array>
#include <cstdio>
#include <sstream>

namespace fastnet::test {
namespace {

std::uint16_t word(std::span<const std::uint8_t> bytes, std::size_t at) {
    return static_cast<std::uint16_t>(static_cast<std::uint32_t>(bytes[at]) << 8U | bytes[at + 1]);
}
MacAddress mac_at(std::span<const std::uint8_t> bytes, std::size_t at) {
    std::array<std::uint8_t, 6> mac{};
    for (std::size_t i = 0; i < mac.size(); ++i) mac[i] = bytes[at + i];
    return MacAddress{mac};
}

}  // namespace

PacketView::PacketView(std::span<const std::uint8_t> frame) {
    if (frame.size() < 14) return;
    eth_dst = mac_at(frame, 0);
    eth_src = mac_at(frame, 6);
    ether_type = word(frame, 12);
    const auto packet = frame.subspan(14);
    std::size_t total = 0;
    if (ether_type == 0x0800) {
        if (packet.size() < 20) return;
        const std::size_t header = (packet[0] & 0x0fU) * 4U;
        total = word(packet, 2);
        if (packet[0] >> 4U != 4 || header < 20 || total < header || total > packet.size()) return;
        src = IpAddress::from_wire(Family::kIpv4, &packet[12]);
        dst = IpAddress::from_wire(Family::kIpv4, &packet[16]);
        ttl = packet[8];
        protocol = packet[9];
        ip_header_error = internet_checksum({packet.first(header)});
        if ((word(packet, 6) & 0x3fffU) != 0) part = (word(packet, 6) & 0x1fffU) == 0 ? Part::kFirst : Part::kLater;
        l4_offset = 14 + header;
        total -= header;
    } else if (ether_type == 0x86dd) {
        if (packet.size() < 40) return;
        total = word(packet, 4);
        if (packet[0] >> 4U != 6 || total + 40 > packet.size()) return;
        src = IpAddress::from_wire(Family::kIpv6, &packet[8]);
        dst = IpAddress::from_wire(Family::kIpv6, &packet[24]);
        ttl = packet[7];
        protocol = packet[6];
        l4_offset = 14 + 40;
        while (part != Part::kLater && (protocol == kProtocolHopByHop || protocol == kProtocolRouting || protocol == kProtocolDestination ||
                                        protocol == kProtocolFragment)) {
            if (total < 8) return;
            const auto extension = frame.subspan(l4_offset);
            const bool fragment = protocol == kProtocolFragment;
            const std::size_t length = fragment ? 8U : (extension[1] + 1U) * 8U;
            if (total < length) return;
            if (fragment && (word(extension, 2) & 0xfff9U) != 0) part = (word(extension, 2) & 0xfff8U) == 0 ? Part::kFirst : Part::kLater;
            protocol = extension[0];
            l4_offset += length;
            total -= length;
        }
    } else {
        return;
    }
    const auto l4 = frame.subspan(l4_offset, total);
    l4_length = total;
    if (part == Part::kLater) {
        valid = true;
        return;
    }
    std::size_t checksum_at = 0;
    switch (protocol) {
        case 6:
            if (total < 20) return;
            checksum_at = 16;
            break;
        case 17:
            if (total < 8) return;
            checksum_at = 6;
            if (part == Part::kFirst) break;
            l4_length = word(l4, 4);
            if (l4_length < 8 || l4_length > total) return;
            break;
        case 1:
        case 58:
            if (total < 8) return;
            checksum_at = 2;
            echo_id = word(l4, 4);
            break;
        case 132:
            if (total < 12) return;
            src_port = word(l4, 0);
            dst_port = word(l4, 2);
            valid = true;
            return;
        default: valid = true; return;
    }
    if (protocol == 6 || protocol == 17) {
        src_port = word(l4, 0);
        dst_port = word(l4, 2);
    }
    l4_checksum = word(l4, checksum_at);
    has_l4_checksum = !(protocol == 17 && l4_checksum == 0);
    valid = true;
    if (!has_l4_checksum) return;
    const auto covered = l4.first(l4_length);
    if (protocol == 1) {
        l4_error = internet_checksum({covered});
    } else {
        l4_error = internet_checksum({pseudo_header(src, dst, protocol, static_cast<std::uint32_t>(l4_length)), covered});
    }
}

std::string describe(std::span<const std::uint8_t> frame) {
    const PacketView view{frame};
    std::ostringstream out;
    out << frame.size() << " bytes, " << view.eth_src.to_string() << " > " << view.eth_dst.to_string();
    if (view.l4_offset != 0) {
        out << ", protocol " << int{view.protocol} << ", ttl " << int{view.ttl} << ", " << view.src.to_string() << ':' << view.src_port
            << " > " << view.dst.to_string() << ':' << view.dst_port << " id " << view.echo_id
            << (view.checksums_verify() ? ", checksums hold" : ", CHECKSUMS DO NOT HOLD");
    }
    out << "\n   ";
    for (std::size_t i = 0; i < frame.size() && i < 128; ++i) {
        std::array<char, 4> hex{};
        (void)std::snprintf(hex.data(), hex.size(), i % 2 == 0 ? " %02x" : "%02x", frame[i]);
        out << hex.data();
    }
    return out.str();
}

}  // namespace fastnet::test
