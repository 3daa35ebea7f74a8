// Is this node fit, and if not, what is to be done? Looks at everything that fastnet depends on; changes nothing.
#pragma once

#include <vector>

#include "loader/base/result.h"
#include "userspace/control/paths.h"
#include "userspace/control/views.h"

namespace fastnet {

/// Never fails as a whole: what cannot be found out is a failed check.
std::vector<CheckView> examine(const NodePaths& paths);
bool any_failed(const std::vector<CheckView>& checks);

}  // namespace fastnet
