// Where the cgroup v2 hierarchy is mounted, if at all: the root is what the bind and connect hooks attach to.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "loader/base/result.h"

namespace fastnet {

/// The mount point of the cgroup v2 root, wherever it is (/sys/fs/cgroup, /sys/fs/cgroup/unified, ...). nullopt: none.
Result<std::optional<std::string>> cgroup2_mount_point();

/// The same from the text of /proc/PID/mountinfo: prefers a mount of the hierarchy's root over one of a part of it.
std::optional<std::string> find_cgroup2_mount(std::string_view mountinfo);

}  // namespace fastnet
