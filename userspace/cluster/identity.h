// Who this node is, across restarts, renamings and copied disks. Pure.
#pragma once

#include <optional>
#include <string>

namespace fastnet::cluster {

/// What the node remembers of itself; empty: nothing.
struct Remembered {
    std::string uid;
    std::string machine;  ///< /etc/machine-id
    std::string name;     ///< in the cluster
};

struct Identity {
    bool new_uid = false;
    /// Renamed: what is in etcd under the old name is on the old lease, and goes with it.
    bool ends_lease = false;
    /// Another machine's: it goes on with it.
    bool forgets_lease = false;
    bool remembers_machine = true;
    std::string notice{};  ///< for the log
};

/// @p machine: empty if it cannot be read. @p is_inhabited: there are endpoints on shared networks, which only this node can have.
Identity identify(const Remembered& before, const std::string& machine, const std::string& name, bool is_inhabited);

}  // namespace fastnet::cluster
