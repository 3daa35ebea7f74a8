// A place where a test may kill the process: proves that every moment of a command can be its last.
#pragma once

namespace fastnet {

/// While the environment variable FASTNET_CRASH_AT is set: counts its calls, and when the count reaches the variable's
/// number the process dies by SIGKILL on the spot. Otherwise does nothing. Call it before and after each step that changes
/// something outside this process. Transaction::commit() does so around COMMIT.
void crash_point();

}  // namespace fastnet
