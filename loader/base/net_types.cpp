#include "loader/base/net_types.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <cstring>

namespace fastnet {
namespace {

constexpr std::array<std::uint8_t, 12> kV4MappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr std::size_t kV4Offset = 12;

std::optional<unsigned> parse_unsigned(std::string_view text, unsigned max) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || text.empty() || value > max) return std::nullopt;
    return value;
}

/// Clears (or sets) the host bits of @p bytes; @p bits counts from the first of the 16 bytes.
std::array<std::uint8_t, 16> fill_host_bits(std::array<std::uint8_t, 16> bytes, unsigned bits, bool ones) {
    for (unsigned i = 0; i < bytes.size(); ++i) {
        const unsigned kept = bits >= (i + 1) * 8 ? 8 : (bits > i * 8 ? bits - i * 8 : 0);
        const auto mask = static_cast<std::uint8_t>(0xffU << (8 - kept));
        bytes[i] = static_cast<std::uint8_t>(ones ? (bytes[i] | static_cast<std::uint8_t>(~mask)) : (bytes[i] & mask));
    }
    return bytes;
}

unsigned bits_from_start(const IpPrefix& prefix) {
    return prefix.family() == Family::kIpv4 ? 96U + prefix.length() : prefix.length();
}

Result<IpPrefix> parse_prefix(std::string_view text, bool length_required) {
    const std::size_t slash = text.find('/');
    const IpAddress address = TRY(IpAddress::parse(text.substr(0, slash)));
    const unsigned max = address.family() == Family::kIpv4 ? 32 : 128;
    if (slash == std::string_view::npos) {
        if (length_required) return usage_error("'" + std::string{text} + "' has no prefix length", "write it like 172.30.0.0/24");
        return IpPrefix{address, static_cast<std::uint8_t>(max)};
    }
    const auto length = parse_unsigned(text.substr(slash + 1), max);
    if (!length)
        return usage_error("'" + std::string{text} + "' has a bad prefix length", "it is a number from 0 to " + std::to_string(max));
    return IpPrefix{address, static_cast<std::uint8_t>(*length)};
}

}  // namespace

std::string to_string(Protocol protocol) {
    switch (protocol) {
        case Protocol::kIcmp: return "icmp";
        case Protocol::kTcp: return "tcp";
        case Protocol::kUdp: return "udp";
        case Protocol::kIcmpv6: return "icmpv6";
        case Protocol::kSctp: return "sctp";
    }
    return std::to_string(static_cast<unsigned>(protocol));
}

std::optional<Protocol> protocol_from(std::string_view text) {
    std::string lower{text};
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    for (const Protocol protocol : {Protocol::kIcmp, Protocol::kTcp, Protocol::kUdp, Protocol::kIcmpv6, Protocol::kSctp})
        if (to_string(protocol) == lower) return protocol;
    return std::nullopt;
}

IpAddress IpAddress::v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    const std::array<std::uint8_t, 4> wire{a, b, c, d};
    return from_wire(Family::kIpv4, wire.data());
}

IpAddress IpAddress::v4_from_host(std::uint32_t host_order) {
    const std::uint32_t wire = htonl(host_order);
    return from_wire(Family::kIpv4, &wire);
}

IpAddress IpAddress::from_bytes(const std::array<std::uint8_t, 16>& wire) {
    IpAddress address;
    address.bytes_ = wire;
    return address;
}

IpAddress IpAddress::from_wire(Family family, const void* wire) {
    IpAddress address;
    if (family == Family::kIpv4) {
        std::copy(kV4MappedPrefix.begin(), kV4MappedPrefix.end(), address.bytes_.begin());
        std::memcpy(address.bytes_.data() + kV4Offset, wire, 4);
    } else {
        std::memcpy(address.bytes_.data(), wire, 16);
    }
    return address;
}

IpAddress IpAddress::any(Family family) {
    return family == Family::kIpv4 ? v4(0, 0, 0, 0) : IpAddress{};
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
    const std::string copy{text};
    std::array<std::uint8_t, 16> wire{};
    const bool whole = text.find('\0') == std::string_view::npos;  // where inet_pton() would end
    if (whole && inet_pton(AF_INET, copy.c_str(), wire.data()) == 1) return from_wire(Family::kIpv4, wire.data());
    if (whole && inet_pton(AF_INET6, copy.c_str(), wire.data()) == 1) return from_wire(Family::kIpv6, wire.data());
    return usage_error("'" + copy + "' is not an IP address", "write it like 172.30.0.2 or fd00::2");
}

Family IpAddress::family() const {
    return std::equal(kV4MappedPrefix.begin(), kV4MappedPrefix.end(), bytes_.begin()) ? Family::kIpv4 : Family::kIpv6;
}

bool IpAddress::is_any() const {
    return *this == any(family());
}

bool IpAddress::is_loopback() const {
    if (family() == Family::kIpv4) return bytes_[kV4Offset] == 127;
    IpAddress one;
    one.bytes_[15] = 1;
    return *this == one;
}

bool IpAddress::is_multicast() const {
    return family() == Family::kIpv4 ? (bytes_[kV4Offset] & 0xf0U) == 0xe0U : bytes_[0] == 0xffU;
}

const std::uint8_t* IpAddress::wire() const {
    return bytes_.data() + (family() == Family::kIpv4 ? kV4Offset : 0);
}

std::size_t IpAddress::wire_size() const {
    return family() == Family::kIpv4 ? 4 : 16;
}

std::uint32_t IpAddress::v4_host_order() const {
    std::uint32_t value = 0;
    std::memcpy(&value, bytes_.data() + kV4Offset, sizeof value);
    return ntohl(value);
}

std::string IpAddress::to_string() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    inet_ntop(family() == Family::kIpv4 ? AF_INET : AF_INET6, wire(), text.data(), text.size());
    return text.data();
}

IpAddress IpAddress::plus(std::uint64_t offset) const {
    IpAddress sum = *this;
    for (std::size_t i = 16; i-- > 0 && offset != 0;) {
        offset += sum.bytes_[i];
        sum.bytes_[i] = static_cast<std::uint8_t>(offset & 0xffU);
        offset >>= 8U;
    }
    return sum;
}

Result<IpPrefix> IpPrefix::parse(std::string_view text) {
    const IpPrefix prefix = TRY(parse_prefix(text, true));
    if (prefix != prefix.network())
        return usage_error("'" + std::string{text} + "' has bits set behind the prefix",
                           "did you mean " + prefix.network().to_string() + "?");
    return prefix;
}

Result<IpPrefix> IpPrefix::parse_interface(std::string_view text) {
    return parse_prefix(text, false);
}

IpPrefix IpPrefix::network() const {
    return {IpAddress::from_bytes(fill_host_bits(address_.bytes(), bits_from_start(*this), false)), length_};
}

bool IpPrefix::contains(const IpAddress& address) const {
    return address.family() == family() && IpPrefix{address, length_}.network() == network();
}

bool IpPrefix::overlaps(const IpPrefix& other) const {
    return contains(other.address_) || other.contains(address_);
}

IpAddress IpPrefix::last() const {
    return IpAddress::from_bytes(fill_host_bits(address_.bytes(), bits_from_start(*this), true));
}

std::string IpPrefix::to_string() const {
    return address_.to_string() + "/" + std::to_string(length_);
}

Result<MacAddress> MacAddress::parse(std::string_view text) {
    std::array<std::uint8_t, 6> bytes{};
    bool good = text.size() == 17;
    for (std::size_t i = 0; good && i < bytes.size(); ++i) {
        const char* start = text.data() + i * 3;
        const auto [end, error] = std::from_chars(start, start + 2, bytes[i], 16);
        good = error == std::errc{} && end == start + 2 && (i == 5 || start[2] == ':');
    }
    if (!good) return usage_error("'" + std::string{text} + "' is not a MAC address", "write it like 02:42:ac:1e:00:02");
    return MacAddress{bytes};
}

bool MacAddress::is_zero() const {
    return *this == MacAddress{};
}

std::string MacAddress::to_string() const {
    std::array<char, 18> text{};
    (void)std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", bytes_[0], bytes_[1], bytes_[2], bytes_[3], bytes_[4],
                        bytes_[5]);
    return text.data();
}

Result<Port> Port::parse(std::string_view text) {
    const auto value = parse_unsigned(text, 65535);
    if (!value) return usage_error("'" + std::string{text} + "' is not a port", "a port is a number from 1 to 65535");
    return Port{static_cast<std::uint16_t>(*value)};
}

std::uint16_t Port::wire() const {
    return htons(value_);
}

}  // namespace fastnet
