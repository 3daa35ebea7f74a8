// One check of a node for a process that runs on: look, put right what differs, and say what that was; what to watch until the next
// one, and whether a change of the network concerns it. When to check is the caller's business (agent/reconcile.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "loader/base/result.h"
#include "loader/datapath.h"
#include "userspace/control/paths.h"
#include "userspace/control/repairs.h"
#include "userspace/host/netlink.h"
#include "userspace/host/netlink_events.h"

namespace fastnet {

/// The links on which a node stands.
struct WatchedLinks {
    enum class Role { kBridge, kVxlan, kEndpoint, kUplink, kLoopback };
    struct Link {
        std::string name{};
        Role role = Role::kUplink;
        friend bool operator==(const Link&, const Link&) = default;
    };
    std::map<IfIndex, Link> links{};
    std::set<std::string> uplinks{};  ///< by name: one that is gone may come back
};

/// What @p change does to the node, if anything.
struct Concern {
    std::string subject;  ///< what it is about; few, and the same for a change that comes again
    std::string what;     ///< for people
};
std::optional<Concern> concern_of(const NetworkChange& change, const WatchedLinks& watched);

/// What changes without any event, and is looked at instead: cheap, without lock and database.
class Tripwire {
public:
    /// As things are now, XDP at the uplinks of @p watched.
    static Tripwire set(const NodePaths& paths, const WatchedLinks& watched);
    /// What moved since, for people; empty: nothing.
    std::string tripped() const;

private:
    struct Settings {
        std::string route_localnet{}, accept_local{}, reserved_ports{};
        friend bool operator==(const Settings&, const Settings&) = default;
    };
    static Settings read_settings();
    struct Xdp {
        std::string uplink{};
        int ifindex = 0;
        std::uint32_t program = 0;
    };

    std::filesystem::path pins_{};
    std::vector<AttachedHook> hooks_{};
    std::vector<Xdp> xdp_{};
    Settings settings_{};
};

struct Reconciliation {
    bool prepared = false;  ///< there is a datapath; if not, nothing was to be done for it
    Repairs repairs{};      ///< in the order in which they were made
    std::vector<std::string> warnings{};
    std::optional<Error> error{};  ///< what could not be put right; `repairs` could
    WatchedLinks watched{};
    Tripwire tripwire{};
};

/// Compares all of the node with what it should be. Writes nothing to the database where they agree. A node that was never prepared
/// is no error. A lock that is held for longer than @p patience is one, with sys_errno EWOULDBLOCK.
Reconciliation reconcile(const NodePaths& paths, std::chrono::milliseconds patience);

}  // namespace fastnet
