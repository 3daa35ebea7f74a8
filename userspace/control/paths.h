// Where a node keeps its things: database, lock, bpffs and pins. Pure: nothing is made or looked at here.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace fastnet {

struct NodePaths {
    std::filesystem::path state_dir;    ///< fastnet.db
    std::filesystem::path run_dir;      ///< lock
    std::filesystem::path bpffs;        ///< mount point; mounted by us if it is none
    std::filesystem::path pins_parent;  ///< holds one directory per ABI version
    std::filesystem::path pins;         ///< of this build's ABI version
    bool own_root = false;              ///< everything lies below one --root directory
    /// Of a process that runs long: when another build of fastnet has put its programs in, they stay, and opening the node is a
    /// kConflict. Two builds would else replace each other's for ever.
    bool yields_to_other_builds = false;
};

/// Without @p root the node of this machine; with it everything below that directory.
NodePaths paths_for(const std::optional<std::filesystem::path>& root);

}  // namespace fastnet
