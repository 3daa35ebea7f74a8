// The way out: everything that fastnet made on this node, removed. Works by the database where there is one, and by what
// the kernel shows where it is broken or gone. Goes on after errors, and can be repeated.
#pragma once

#include <optional>

#include "loader/base/result.h"
#include "userspace/control/paths.h"
#include "userspace/control/views.h"
#include "userspace/host/netlink.h"
#include "userspace/store/store.h"

namespace fastnet {

Result<CleanupView> cleanup(const NodePaths& paths);

/// Everything but the lock. Closes @p store.
Result<CleanupView> wipe(Netlink& netlink, const NodePaths& paths, std::optional<Store>& store);

}  // namespace fastnet
