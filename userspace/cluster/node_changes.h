// That a command has changed this node: whoever changes it holds the node's lock, so the lock's file is closed after each change. By
// inotify; nothing is polled. Knows nothing of what was changed.
#pragma once

#include <filesystem>

#include "loader/base/handle.h"

namespace fastnet::cluster {

class NodeChanges {
public:
    explicit NodeChanges(std::filesystem::path run_dir) : run_dir_{std::move(run_dir)} {}

    /// For poll(): readable after a change; -1 while there is no directory to watch.
    int fd() const { return fd_.get(); }
    /// Whether something happened since the last call. True once after the watch began anew: what happened before is not known. Also
    /// looks whether the directory is there again.
    bool take();

private:
    void begin();

    std::filesystem::path run_dir_;
    UniqueFd fd_;
};

}  // namespace fastnet::cluster
