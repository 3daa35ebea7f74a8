// Driver options of a network (`network create --opt KEY=VALUE`), in Docker's words where it has them. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/model/network.h"

namespace fastnet {

/// How containers of a network meet the outside, per family.
enum class GatewayMode : std::uint8_t {
    kNat,     ///< behind the host's address; only published ports answer, at the host's address
    kRouted,  ///< by their own addresses, which the outside has to have a route to; published ports answer there as well
};

/// `gateway_mode_ipv4` or `gateway_mode_ipv6`.
std::string gateway_mode_key(Family family);

/// @p given with Docker's prefix `com.docker.network.bridge.` taken off the keys. An unknown key or value is a usage error
/// that lists those of @p driver.
Result<std::map<std::string, std::string>> canonical_options(NetworkDriver driver, const std::map<std::string, std::string>& given);

GatewayMode gateway_mode(const Network& network, Family family);

/// `learning` of an overlay network: whether unknown addresses of its peers become known by their packets. Unset: see learns().
std::optional<bool> learning_option(const Network& network);

/// `vxlan_guard` of an overlay network: processes of the node are kept from sending what its peers would take for a tunnel's.
/// Off by default: it costs every unconnected datagram of the machine 0.15 us.
bool vxlan_guard(const Network& network);

/// Whether an overlay network is this node's own, or all nodes of its cluster have it.
enum class NetworkScope : std::uint8_t { kLocal, kCluster };

std::string to_string(NetworkScope scope);  ///< "local", "cluster"
/// `scope` of an overlay network; unset: local.
NetworkScope scope_of(const Network& network);
bool has_scope(const Network& network);  ///< it is set
void set_scope(Network& network, NetworkScope scope);

/// Writes down the mode that a new network has where its options say nothing: a global IPv6 prefix (2000::/3) is routed, since
/// its addresses need no translation. On record, so that networks keep the mode that they were made with.
void choose_gateway_modes(Network& network);

}  // namespace fastnet
