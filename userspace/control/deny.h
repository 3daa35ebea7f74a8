// The node's deny list: sources that nothing is taken from, by host or containers. The database has it; the kernel's tables
// carry the revision of the list that they hold, so that a difference is seen by one comparison.
#pragma once

#include <cstddef>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/control/paths.h"
#include "userspace/control/views.h"

namespace fastnet {

constexpr std::size_t kMostDenied = 100'000;

class Node;

/// All of them or none. Those that are on it stay. More than kMostDenied in the end: conflict.
Result<DenyView> add_denied(const NodePaths& paths, const std::vector<IpPrefix>& prefixes);
/// All of them or none. One that is not on it: not found.
Result<DenyView> remove_denied(const NodePaths& paths, const std::vector<IpPrefix>& prefixes);
/// IPv4 first, by address. Needs no prepared node.
Result<std::vector<IpPrefix>> read_denied(const NodePaths& paths);

}  // namespace fastnet
