// What a frame says, read from its bytes without help of the builder, and whether its checksums hold when they are
// computed anew over all of it. Reads only; a frame that is cut short has `valid` false.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "loader/base/net_types.h"
#include "tests/bpf/packet_builder.h"

namespace fastnet::test {

struct PacketView {
    explicit PacketView(std::span<const std::uint8_t> frame);

    enum class Part { kWhole, kFirst, kLater };

    bool valid = false;  ///< IP whose headers lie inside the frame
    Part part = Part::kWhole;
    MacAddress eth_src, eth_dst;
    std::uint16_t ether_type = 0;
    IpAddress src, dst;
    std::uint8_t ttl = 0;
    std::uint8_t protocol = 0;
    std::size_t l4_offset = 0;                 ///< behind IPv6 extension headers
    std::size_t l4_length = 0;                 ///< that the checksum covers
    std::uint16_t src_port = 0, dst_port = 0;  ///< TCP and UDP
    std::uint16_t echo_id = 0;                 ///< ICMP
    std::uint16_t l4_checksum = 0;             ///< as it is in the frame
    bool has_l4_checksum = false;              ///< false: UDP with 0, or a protocol without one

    /// What is missing for each checksum to hold, as 16-bit one's complement numbers: 0 = it holds. A rewrite by
    /// differences must leave even a wrong checksum exactly as wrong as it was, and that of a first fragment too, which is
    /// computed without the rest.
    std::uint16_t ip_header_error = 0;
    std::uint16_t l4_error = 0;
    bool checksums_verify() const { return valid && ip_header_error == 0 && (l4_error == 0 || part == Part::kFirst); }
};

/// One line for a failure message, and the bytes in hex.
std::string describe(std::span<const std::uint8_t> frame);

}  // namespace fastnet::test
