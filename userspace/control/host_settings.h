// Sysctls of the node that fastnet changes, so that cleanup can put back what was there, and only where the value is
// still ours. What belongs to a link of our own (conf/<bridge>/...) goes with the link and is not recorded.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/host/sysctl.h"
#include "userspace/model/node.h"
#include "userspace/store/store.h"

namespace fastnet {

/// Writes only what differs, so a read-only /proc/sys is fine where all is right already.
/// @p path as read_sysctl() takes it.
Status ensure_sysctl(std::string_view path, std::string_view value);

/// What becomes of ip_local_reserved_ports. Pure, so that the arithmetic is tested without a node.
struct ReservedPlan {
    ReservedPorts value;  ///< to be in force
    /// To be on record; nullopt: nothing of ours is in it, the record goes.
    std::optional<SavedSysctl> record;
};
/// @p current is in force; @p saved the record, if there is one. The administrator may have changed the value since.
ReservedPlan plan_reserved(const ReservedPorts& current, const std::optional<SavedSysctl>& saved, const ReservedPorts& wanted);
/// What of @p current fastnet added.
ReservedPorts ours_of(const std::optional<SavedSysctl>& saved);

Status reserve_ports(Store& store, const ReservedPorts& more);
Status release_ports(Store& store, const ReservedPorts& gone);
/// Exactly these, whatever was reserved before. True if the setting was another one.
Result<bool> sync_reserved_ports(Store& store, const ReservedPorts& wanted);

/// What lets the kernel deliver the replies of published ports to callers at 127.0.0.1 and the host's other addresses:
/// route_localnet and accept_local of lo.
Status set_loopback_sysctls(Store& store);
bool loopback_sysctls_in_force();

/// Whether everything that was reserved still is.
Result<bool> reserved_ports_in_force(Store& store);

/// After a reboot: records whose value is not in force any more are void.
Status forget_void_records(Store& store);
/// The last act of cleanup on the host's settings; goes on after errors.
Status restore_sysctls(Store& store);

}  // namespace fastnet
