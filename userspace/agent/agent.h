// The process `fastnet agent`: one thread that waits for signals and the supervisor's clock, and the parts on threads of their own. Tells
// the service manager what it does. Nothing of the node's state lives here: the process may be killed at any moment.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "loader/base/result.h"
#include "userspace/agent/config.h"
#include "userspace/agent/part.h"
#include "userspace/control/paths.h"

namespace fastnet {

struct AgentRequest {
    std::optional<std::filesystem::path> config_file{};
    ConfigOverrides overrides{};
    NodePaths paths{};
    std::string version{};
};

using PartMaker = std::function<std::unique_ptr<Part>(const PartContext&)>;

/// The parts that do the agent's work: what `fastnet agent` consists of beside the listeners.
std::vector<PartMaker> standard_parts();

/// Until SIGTERM or SIGINT. Blocks the process's signals, so it is called before there are other threads.
Status run_agent(const AgentRequest& request, const std::vector<PartMaker>& makers);

}  // namespace fastnet
