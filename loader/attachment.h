// Attaching programs to hooks, with the one fallback that kernels differ in: a pinned tcx link (6.6), or a clsact filter
// with a fixed handle (it lives as long as its device). Decided once per node by Features and kept.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "loader/base/handle.h"
#include "loader/base/result.h"

namespace fastnet {

enum class Direction { kIngress, kEgress };

/// Attach @p program_fd to @p ifindex and pin the link at @p pin; replaces the program if the pin exists, and the pin if
/// its link leads nowhere any more.
Status attach_tcx(int program_fd, int ifindex, Direction direction, const std::filesystem::path& pin);
/// Replaces atomically if our filter is there already.
Status attach_clsact(int program_fd, int ifindex, Direction direction);
/// Removes our filter, and the qdisc when nothing else uses it. A device that is gone is no error.
Status detach_clsact(int ifindex, Direction direction);
/// The id of our filter's program; 0 if the filter is not there.
std::uint32_t clsact_program(int ifindex, Direction direction);
/// cgroup link with BPF_F_ALLOW_MULTI; @p attach_type is BPF_CGROUP_INET4_BIND or the like.
Status attach_cgroup_link(int program_fd, const std::filesystem::path& cgroup, int attach_type, const std::filesystem::path& pin);
/// Swaps the program of the link pinned at @p pin, atomically. sys_errno is ENOLINK if the link leads nowhere: its device
/// or cgroup is gone, or it was detached by force.
Status update_link(const std::filesystem::path& pin, int program_fd);

}  // namespace fastnet
