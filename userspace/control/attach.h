// Endpoints: attaching and detaching them, publishing and withdrawing their ports.
#pragma once

#include <string>
#include <vector>

#include "loader/base/result.h"
#include "userspace/control/paths.h"
#include "userspace/control/requests.h"
#include "userspace/control/views.h"

namespace fastnet {

struct Attached {
    EndpointView view{};
    std::vector<std::string> warnings{};
};

/// The same request again: the endpoint as it is. With other arguments: conflict.
Result<Attached> attach(const NodePaths& paths, const AttachRequest& request);
/// What can be judged without the node: usage errors.
Status check_request(const AttachRequest& request);

/// Exactly one of the two is given. Unknown: not found. An endpoint that had died meanwhile counts as detached.
struct DetachRequest {
    std::string name{};
    std::string netns{};
};
Result<std::vector<std::string>> detach(const NodePaths& paths, const DetachRequest& request);

/// A port that is published already stays as it is; with another list of sources: conflict.
Result<EndpointView> publish(const NodePaths& paths, const PublishRequest& request);
Result<EndpointView> unpublish(const NodePaths& paths, const std::string& endpoint, const std::vector<PublishSpec>& specs);

/// Prepares the node and nothing more.
Result<PrepareView> prepare(const NodePaths& paths, const PrepareRequest& request);

}  // namespace fastnet
