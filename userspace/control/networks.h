// Networks: making and removing them.
#pragma once

#include <string>
#include <vector>

#include "loader/base/result.h"
#include "userspace/control/node.h"
#include "userspace/control/paths.h"
#include "userspace/control/requests.h"
#include "userspace/control/views.h"

namespace fastnet {

struct CreatedNetwork {
    NetworkView view{};
    std::vector<std::string> warnings{};
};

/// The same request again: the network as it is. With other arguments: conflict.
Result<CreatedNetwork> create_network(const NodePaths& paths, NetworkRequest request);
/// Unknown: not found. In use: conflict. The default network stays as long as the node.
Status remove_network(const NodePaths& paths, const std::string& name);

/// What can be judged without the node: usage errors.
Status check_request(const NetworkRequest& request);
/// Conflict if the host, a published port or a peer has what @p network, an overlay, needs.
Status check_overlay_fits(Node& node, const Network& network);
/// What was asked for when a network was made on this node.
Status forget_request(Store& store, const Network& network);
/// The network to store: subnets chosen where none are given, gateways filled in.
Result<Network> draft_network(Store& store, Netlink& netlink, const NetworkRequest& request);

}  // namespace fastnet
