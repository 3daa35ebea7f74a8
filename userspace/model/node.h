// What belongs to the node as a whole: its uplinks, and the sysctls that fastnet changed. Pure values.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fastnet {

struct Uplink {
    std::string name;
    bool chosen_by_user = false;  ///< by --uplink; else found by the default route, and may be replaced when that moves

    friend bool operator==(const Uplink&, const Uplink&) = default;
};

/// Whether a container's UDP port has one outside port towards everybody, or one per destination (RFC 4787 section 4.1).
/// The identifiers of pings follow it.
enum class UdpMapping { kEndpointIndependent, kAddressAndPortDependent };
inline std::string to_string(UdpMapping mapping) {
    return mapping == UdpMapping::kEndpointIndependent ? "endpoint-independent" : "address-and-port-dependent";
}
inline std::optional<UdpMapping> udp_mapping_from(std::string_view text) {
    for (const UdpMapping mapping : {UdpMapping::kEndpointIndependent, UdpMapping::kAddressAndPortDependent})
        if (text == to_string(mapping)) return mapping;
    return std::nullopt;
}

/// cleanup writes `original` back only where the file still reads `written`.
struct SavedSysctl {
    std::string path;      ///< below /proc/sys, such as `net/ipv4/conf/eth0/forwarding`
    std::string original;  ///< before fastnet's first write
    std::string written;   ///< by fastnet's last write

    friend bool operator==(const SavedSysctl&, const SavedSysctl&) = default;
};

}  // namespace fastnet
