// The directory that holds database and lock of a node.
#pragma once

#include <filesystem>

#include "loader/base/result.h"

namespace fastnet {

/// Makes @p dir with mode 0700 (parents 0755) unless it exists; an existing one keeps its mode.
Status make_state_dir(const std::filesystem::path& dir);

}  // namespace fastnet
