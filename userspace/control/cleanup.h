// The way out: everything that fastnet made on this node, removed. Works by the database where there is one, and by what
// the kernel shows where it is broken or gone. Goes on after errors, and can be repeated.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "loader/base/result.h"
#include "userspace/control/paths.h"
#include "userspace/control/views.h"
#include "userspace/host/netlink.h"
#include "userspace/store/store.h"

namespace fastnet {

Result<CleanupView> cleanup(const NodePaths& paths);

/// Everything but the lock. Closes @p store.
Result<CleanupView> wipe(Netlink& netlink, const NodePaths& paths, std::optional<Store>& store);

/// The pins of every version of fastnet that was here, one directory each.
std::vector<std::filesystem::path> pinned_versions(const NodePaths& paths);

}  // namespace fastnet
