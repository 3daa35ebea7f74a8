// Names of networks and endpoints, and the names of the host-side links derived from them.
// Pure. A derived link name fits IFNAMSIZ and is unique by the id inside it, whatever the user called the thing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "loader/base/result.h"

namespace fastnet {

constexpr std::size_t kMaxNameLength = 63;
constexpr std::size_t kMaxIfnameLength = 15;  // IFNAMSIZ - 1

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}`, or a usage error that says what is wrong. @p what is "network", "endpoint"...
Status check_name(std::string_view name, std::string_view what);

/// What the kernel accepts as an interface name (dev_valid_name), or a usage error.
Status check_ifname(std::string_view name);

/// `fn-<id in base 36>-<start of the name>`: the bridge of a network. No dot in it, since sysctl(8) reads one as a slash.
std::string bridge_ifname_for(std::uint32_t network_id, std::string_view network_name);

/// `fnv-<id in base 36>`: the host side of an endpoint's veth.
std::string host_ifname_for(std::uint32_t endpoint_id);

/// `fnx-<id in base 36>`: the vxlan device of an overlay network.
std::string vxlan_ifname_for(std::uint32_t network_id);

/// The network id inside a name made by vxlan_ifname_for(), or 0.
std::uint32_t network_id_of_vxlan_ifname(std::string_view ifname);

/// The endpoint id inside a name made by host_ifname_for(), or 0: finds links whose endpoint is gone.
std::uint32_t endpoint_id_of_host_ifname(std::string_view ifname);

/// The network id inside a name made by bridge_ifname_for(), or 0.
std::uint32_t network_id_of_bridge_ifname(std::string_view ifname);

}  // namespace fastnet
