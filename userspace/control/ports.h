// Host ports of a publish: which one is taken, and by whom. The database knows the published ones, the kernel the rest.
#pragma once

#include <vector>

#include "loader/base/result.h"
#include "userspace/control/node.h"
#include "userspace/control/requests.h"

namespace fastnet {

/// Refuses what the datapath does not serve yet: a port that is held and never answers helps nobody.
Status check_supported(const std::vector<PublishSpec>& specs);

/// The records for @p specs: host ports chosen where they are open, each checked against the host's sockets. Records of
/// other endpoints are checked by the store when they are added.
Result<std::vector<PublishedPort>> plan_ports(Node& node, const std::vector<PublishSpec>& specs, const AccessList& sources, bool has_ipv4,
                                              bool has_ipv6);

/// Whether @p spec, as a user writes it to take a port back, means @p port.
bool means(const PublishSpec& spec, const PublishedPort& port);

}  // namespace fastnet
