// Between the commands and the node's agent: the lock that says that it runs, and the socket on which it tells how it is.
// A command needs neither: an agent that is absent, stuck or talks nonsense costs it kPatience at most.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "loader/base/handle.h"
#include "loader/base/result.h"
#include "userspace/control/paths.h"
#include "userspace/control/views.h"

namespace fastnet {

/// Held by the agent while it runs; released by the kernel however it ends.
class AgentLock {
public:
    /// Makes the node's run directory if needed. A conflict that names the other agent's pid if there is one.
    static Result<AgentLock> acquire(const NodePaths& paths);
    AgentLock(AgentLock&&) noexcept = default;
    AgentLock& operator=(AgentLock&&) = delete;
    ~AgentLock() { release_files(); }
    /// Removes socket and lock file while the lock is held.
    void release_files();

private:
    AgentLock(UniqueFd fd, NodePaths paths) : fd_{std::move(fd)}, paths_{std::move(paths)} {}
    UniqueFd fd_;
    NodePaths paths_;
};

/// The agent that runs; takes no lock, so it is never in an agent's way.
std::optional<pid_t> running_agent(const NodePaths& paths);
/// What an agent that was killed left in the run directory.
void remove_agent_leftovers(const NodePaths& paths);

std::filesystem::path agent_socket(const NodePaths& paths);

/// A path that fits into a socket's address (108 bytes) wherever the directory is: by way of /proc. Valid while it lives.
class ShortPath {
public:
    static Result<ShortPath> open(const std::filesystem::path& path);
    const std::string& str() const { return short_; }

private:
    ShortPath(UniqueFd directory, std::string text) : directory_{std::move(directory)}, short_{std::move(text)} {}
    UniqueFd directory_;
    std::string short_;
};

/// Never fails as a whole, never takes longer than about @p patience.
AgentView read_agent(const NodePaths& paths, std::chrono::milliseconds patience = std::chrono::milliseconds{500});
/// What the agent's answer says; `trouble` if it is not what an agent answers. Pure.
AgentView agent_view(std::string_view document);

/// Names the BPF programs of this build: `fastnet` and `fastnet-agent` must agree on them.
std::string programs_build();

}  // namespace fastnet
