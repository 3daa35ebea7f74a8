// What the two programs share: `fastnet`, and `fastnet-agent` beside it, which `fastnet agent` becomes. They are two because of what an
// agent needs (HTTP, TLS, TOML, metrics): 40 libraries, which each command would load as well, for 8 ms of attach's 19.
#pragma once

#include "userspace/cli/context.h"

namespace fastnet {

using AgentAction = Result<Output> (*)(const AgentWords&, const Context&);

/// Parse, act, print once. Nothing else prints, nothing of ours throws. The process's exit status.
int run_program(int argc, char** argv, AgentAction agent);

/// The two are of one build: `fastnet` says which one it is when it becomes the other, which refuses to be another one's (half an upgrade).
void tell_build();
Status check_build();

}  // namespace fastnet
