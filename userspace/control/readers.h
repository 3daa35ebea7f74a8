// What the node is and does, for commands that only look. No lock is needed: the database gives a consistent view, and
// maps may be read while they change. A node that was never prepared has nothing to show, which is no error.
#pragma once

#include <string>
#include <vector>

#include "loader/base/result.h"
#include "userspace/control/paths.h"
#include "userspace/control/views.h"

namespace fastnet {

class Node;

Result<std::vector<EndpointView>> read_endpoints(const NodePaths& paths);
/// The same and those of other nodes, each with its node.
Result<std::vector<EndpointView>> read_endpoints_of_all_nodes(const NodePaths& paths);
Result<std::vector<PortView>> read_ports(const NodePaths& paths);
Result<std::vector<FlowView>> read_flows(const NodePaths& paths);
Result<StatsView> read_stats(const NodePaths& paths);
Result<std::vector<NetworkView>> read_networks(const NodePaths& paths);
Result<NetworkView> read_network(const NodePaths& paths, const std::string& name);
/// Each record of a peer, and what the packet path knows of it.
Result<std::vector<PeerView>> read_peers(const NodePaths& paths);
Result<std::vector<RemoteEndpointView>> read_remote_endpoints(const NodePaths& paths);
Result<StatusView> read_status(const NodePaths& paths);
/// After a preparation: what is attached.
Result<PrepareView> read_preparation(Node& node);
/// After a peer was added: its row.
Result<PeerView> read_peer(Node& node, const IpAddress& address, const std::optional<std::uint32_t>& network_id);

}  // namespace fastnet
