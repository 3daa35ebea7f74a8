// Where the tunnels of this node can end: the addresses that other nodes reach it by. Reads only.
#pragma once

#include <optional>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/control/paths.h"

namespace fastnet {

struct TunnelEnds {
    std::optional<IpAddress> ipv4{};
    std::optional<IpAddress> ipv6{};
    friend bool operator==(const TunnelEnds&, const TunnelEnds&) = default;
};

/// The first address of each family that one of the uplinks has and a peer can have. A node that was never prepared: not found.
Result<TunnelEnds> find_tunnel_ends(const NodePaths& paths);

}  // namespace fastnet
