// Peers of overlay networks, and remote endpoints that are named by hand.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "loader/base/result.h"
#include "userspace/control/node.h"
#include "userspace/control/paths.h"
#include "userspace/control/requests.h"
#include "userspace/control/views.h"

namespace fastnet {

/// The same again is fine. No overlay network of that name: not found or usage. An address that no peer can have: usage.
Result<PeerView> add_peer(const NodePaths& paths, const PeerRequest& request);
/// Of one network, or wholly; its remote endpoints go with it. Unknown: not found.
Status remove_peer(const NodePaths& paths, const PeerRequest& request);

/// The same again is fine. An address or MAC that somebody has: conflict. No peer of that network: not found.
Result<RemoteEndpointView> add_remote_endpoint(const NodePaths& paths, const RemoteEndpointRequest& request);
/// The one that has @p ip. Unknown: not found.
Status remove_remote_endpoint(const NodePaths& paths, const IpAddress& ip, const std::string& network);

/// What is on this node's own side of a tunnel.
struct Surroundings {
    std::vector<std::pair<IpAddress, std::string>> own{};      ///< with their interfaces
    std::vector<std::pair<IpPrefix, std::string>> networks{};  ///< subnets, with the names of their networks
};
Result<Surroundings> read_surroundings(Node& node);
/// Usage error unless @p peer is elsewhere: tunnels lead to another node, and not through one of the networks that they carry.
Status check_is_elsewhere(const Surroundings& around, const IpAddress& peer);

/// What can be judged without the node: usage errors.
Status check_request(const RemoteEndpointRequest& request);

}  // namespace fastnet
