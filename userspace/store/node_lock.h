// The lock of a node: whoever changes kernel or database holds it, so commands of several processes run one by one.
// A file lock: the kernel releases it when the process dies, however that happens. Not inherited by exec.
#pragma once

#include <chrono>
#include <filesystem>

#include "loader/base/handle.h"
#include "loader/base/result.h"

namespace fastnet {

class NodeLock {
public:
    static constexpr std::chrono::milliseconds kDefaultPatience{60'000};

    /// Takes DIR/lock exclusively, makes DIR (mode 0700) if needed; waits up to @p patience for another holder, then an
    /// error that names the holder's pid (sys_errno EWOULDBLOCK).
    static Result<NodeLock> acquire(const std::filesystem::path& dir, std::chrono::milliseconds patience = kDefaultPatience);

    /// Unlinks the file while it is held: the last step of cleanup. Safe against processes that wait for it.
    void remove_file();

private:
    NodeLock(UniqueFd fd, std::filesystem::path path) : fd_{std::move(fd)}, path_{std::move(path)} {}
    UniqueFd fd_;
    std::filesystem::path path_;
};

}  // namespace fastnet
