// What belongs to the node as a whole: its uplinks, and the sysctls that fastnet changed. Pure values.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "loader/base/net_types.h"
#include "loader/base/result.h"

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

/// XDP at the uplinks. kAuto: while there is a deny list, where the driver does it natively, and not at virtual devices nor at virtual
/// machines' NICs: there it costs more than it saves.
enum class XdpMode { kAuto, kOn, kOff };
inline std::string to_string(XdpMode mode) {
    return mode == XdpMode::kAuto ? "auto" : mode == XdpMode::kOn ? "on" : "off";
}
inline std::optional<XdpMode> xdp_mode_from(std::string_view text) {
    for (const XdpMode mode : {XdpMode::kAuto, XdpMode::kOn, XdpMode::kOff})
        if (text == to_string(mode)) return mode;
    return std::nullopt;
}

/// The addresses that peers of overlay networks know this node by. Unset: whatever the route to a peer prefers.
struct VtepAddresses {
    std::optional<IpAddress> ipv4{};
    std::optional<IpAddress> ipv6{};

    const std::optional<IpAddress>& of(Family family) const { return family == Family::kIpv4 ? ipv4 : ipv6; }
    friend bool operator==(const VtepAddresses&, const VtepAddresses&) = default;
};

/// "192.0.2.1,2001:db8::1", one of them, or "auto" for none.
std::string to_string(const VtepAddresses& addresses);
/// The reverse. Two of one family, or what no node can have (check_peer_address()): usage.
Result<VtepAddresses> parse_vtep_addresses(std::string_view text);

/// cleanup writes `original` back only where the file still reads `written`.
struct SavedSysctl {
    std::string path;      ///< below /proc/sys, such as `net/ipv4/conf/eth0/forwarding`
    std::string original;  ///< before fastnet's first write
    std::string written;   ///< by fastnet's last write

    friend bool operator==(const SavedSysctl&, const SavedSysctl&) = default;
};

}  // namespace fastnet
