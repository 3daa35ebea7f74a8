// Peers of overlay networks, and remote endpoints that are named by hand.
#pragma once

#include <string>
#include <vector>

#include "loader/base/result.h"
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

/// What can be judged without the node: usage errors.
Status check_request(const RemoteEndpointRequest& request);

}  // namespace fastnet
