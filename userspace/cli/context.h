// What every subcommand gets: where the node is, how to print, and the place to put what it found it has to do.
// Parsing fills it in, main() runs the action and prints once.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "loader/base/result.h"
#include "userspace/control/paths.h"

namespace fastnet {

enum class Format { kText, kJson };

struct Output {
    std::string text{};
    int exit_status = 0;
    std::vector<std::string> warnings{};
};

/// The words of `agent`, as they stand on the command line.
struct AgentWords {
    std::string config_file{};
    std::string metrics{};
    std::vector<std::string> etcd_urls{};
    std::string forget{};
    bool check = false;
};

struct Context {
    std::string root{};  ///< of --root or FASTNET_ROOT; empty: the machine's own node
    bool json = false;
    std::function<Result<Output>()> action{};
    /// What `agent` does: of two programs, see program.h.
    std::function<Result<Output>(const AgentWords&, const Context&)> agent{};
    std::function<void(const std::string&)> warn{};  ///< at once, for commands that run long

    Format format() const { return json ? Format::kJson : Format::kText; }
    NodePaths paths() const { return paths_for(root.empty() ? std::nullopt : std::optional<std::filesystem::path>{root}); }
};

}  // namespace fastnet
