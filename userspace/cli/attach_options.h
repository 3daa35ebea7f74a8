// The options that `attach` and `run` share.
#pragma once

#include "userspace/cli/parse.h"

namespace CLI {
class App;
}

namespace fastnet {

/// @p words outlives the parsing, here as below.
void add_access_options(CLI::App& command, AccessWords& words);
void add_endpoint_options(CLI::App& command, AttachWords& words);

}  // namespace fastnet
