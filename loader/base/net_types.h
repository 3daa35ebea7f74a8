// Addresses, ports and prefixes as types: byte order never leaves these classes unnoticed.
// Pure values, no I/O. In memory an IpAddress is always 16 bytes in wire order; IPv4 is v4-mapped (::ffff:a.b.c.d,
// RFC 4291 2.5.5.2), which is also how the BPF maps store it.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "loader/base/result.h"

namespace fastnet {

enum class Family : std::uint8_t { kIpv4 = 4, kIpv6 = 6 };

/// IP protocol numbers (IANA) that fastnet knows by name.
enum class Protocol : std::uint8_t { kIcmp = 1, kTcp = 6, kUdp = 17, kIcmpv6 = 58, kSctp = 132 };
std::string to_string(Protocol protocol);                      ///< "tcp", "udp", "sctp", "icmp", "icmpv6"
std::optional<Protocol> protocol_from(std::string_view text);  ///< lower or upper case

class IpAddress {
public:
    IpAddress() = default;  ///< `::`
    static IpAddress v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d);
    static IpAddress v4_from_host(std::uint32_t host_order);
    static IpAddress from_bytes(const std::array<std::uint8_t, 16>& wire);
    static IpAddress from_wire(Family family, const void* wire);  ///< 4 or 16 bytes
    static IpAddress any(Family family);                          ///< 0.0.0.0 or ::
    static Result<IpAddress> parse(std::string_view text);        ///< no prefix length, no brackets, no zone

    Family family() const;
    bool is_any() const;        ///< 0.0.0.0 or ::
    bool is_loopback() const;   ///< 127/8 or ::1
    bool is_multicast() const;  ///< 224/4 or ff00::/8
    const std::array<std::uint8_t, 16>& bytes() const { return bytes_; }
    const std::uint8_t* wire() const;  ///< first of wire_size() bytes in wire order
    std::size_t wire_size() const;     ///< 4 or 16
    std::uint32_t v4_host_order() const;
    std::string to_string() const;
    /// This address plus @p offset, as one big number; wraps silently, callers stay inside a prefix.
    IpAddress plus(std::uint64_t offset) const;

    friend auto operator<=>(const IpAddress&, const IpAddress&) = default;

private:
    std::array<std::uint8_t, 16> bytes_{};
};

/// A prefix whose host bits are zero, or an interface address when made by parse_interface().
class IpPrefix {
public:
    IpPrefix() = default;
    IpPrefix(IpAddress address, std::uint8_t length) : address_{address}, length_{length} {}
    static Result<IpPrefix> parse(std::string_view text);            ///< refuses host bits: `10.0.0.1/24` is an error
    static Result<IpPrefix> parse_interface(std::string_view text);  ///< keeps host bits; without length = /32 or /128

    IpAddress address() const { return address_; }
    std::uint8_t length() const { return length_; }  ///< in bits, 0-32 or 0-128
    Family family() const { return address_.family(); }
    IpPrefix network() const;  ///< host bits cleared
    bool contains(const IpAddress& address) const;
    bool overlaps(const IpPrefix& other) const;
    IpAddress last() const;  ///< all host bits one
    std::string to_string() const;

    friend auto operator<=>(const IpPrefix&, const IpPrefix&) = default;

private:
    IpAddress address_{};
    std::uint8_t length_ = 0;
};

class MacAddress {
public:
    MacAddress() = default;
    explicit MacAddress(const std::array<std::uint8_t, 6>& bytes) : bytes_{bytes} {}
    static Result<MacAddress> parse(std::string_view text);  ///< aa:bb:cc:dd:ee:ff

    const std::array<std::uint8_t, 6>& bytes() const { return bytes_; }
    bool is_zero() const;
    bool is_multicast() const { return (bytes_[0] & 1U) != 0; }
    std::string to_string() const;

    friend auto operator<=>(const MacAddress&, const MacAddress&) = default;

private:
    std::array<std::uint8_t, 6> bytes_{};
};

/// A TCP, UDP or SCTP port in host order; conversion to the wire happens in the ABI translation only.
class Port {
public:
    constexpr Port() = default;
    constexpr explicit Port(std::uint16_t host_order) : value_{host_order} {}
    static Result<Port> parse(std::string_view text);  ///< 0-65535, decimal digits only
    constexpr std::uint16_t value() const { return value_; }
    std::uint16_t wire() const;  ///< network byte order
    friend constexpr auto operator<=>(Port, Port) = default;

private:
    std::uint16_t value_ = 0;
};

struct PortRange {
    Port first;
    Port last;  ///< inclusive
    std::uint32_t size() const { return static_cast<std::uint32_t>(last.value()) - first.value() + 1U; }
    bool contains(Port port) const { return port >= first && port <= last; }
    bool overlaps(const PortRange& other) const { return first <= other.last && other.first <= last; }
    friend auto operator<=>(const PortRange&, const PortRange&) = default;
};

}  // namespace fastnet
