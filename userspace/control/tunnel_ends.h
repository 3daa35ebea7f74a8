// Where the tunnels of this node can end: the addresses that other nodes reach it by. Reads only.
#pragma once

#include "loader/base/result.h"
#include "userspace/control/paths.h"
#include "userspace/model/node.h"

namespace fastnet {

/// Those that are set (--vtep), as long as the node has them; else the first address of each family that an uplink has and a peer can
/// have. A node that was never prepared: not found.
Result<VtepAddresses> find_tunnel_ends(const NodePaths& paths);

}  // namespace fastnet
