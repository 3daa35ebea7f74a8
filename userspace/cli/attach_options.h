// The options that `attach` and `run` share.
#pragma once

#include "userspace/cli/parse.h"

namespace CLI {
class App;
}

namespace fastnet {

/// @p words outlives the parsing.
void add_endpoint_options(CLI::App& command, AttachWords& words);

}  // namespace fastnet
