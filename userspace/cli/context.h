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

struct Context {
    std::string root{};  ///< of --root or FASTNET_ROOT; empty: the machine's own node
    bool json = false;
    std::function<Result<Output>()> action{};
    std::function<void(const std::string&)> warn{};  ///< at once, for commands that run long

    Format format() const { return json ? Format::kJson : Format::kText; }
    NodePaths paths() const { return paths_for(root.empty() ? std::nullopt : std::optional<std::filesystem::path>{root}); }
};

}  // namespace fastnet
