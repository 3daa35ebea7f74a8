// A command in a network namespace of its own, for people without a container engine.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "loader/base/result.h"
#include "userspace/control/paths.h"
#include "userspace/control/requests.h"

namespace fastnet {

struct RunRequest {
    AttachRequest attach{};  ///< without netns: it is made here (mode host: the node's own)
    std::vector<std::string> command{};
};

/// Waits for the command and returns its exit status, 128 + n if signal n ended it. SIGINT, SIGTERM, SIGHUP and SIGQUIT
/// are passed on. Dies with this process. @p warn is told what is worth knowing before the command starts and after it
/// ended.
Result<int> run(const NodePaths& paths, RunRequest request, const std::function<void(const std::string&)>& warn);

}  // namespace fastnet
