// Runs a function in a forked child, for tests of crashes and of several processes at once.
#pragma once

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace fastnet {

/// Starts a child that runs @p body and exits with the status that it returns.
template <typename Body>
pid_t start_child(Body body) {
    const pid_t pid = ::fork();
    if (pid < 0) std::abort();
    if (pid == 0) ::_exit(body());  // no destructors, no atexit: they belong to the parent
    return pid;
}

/// The child's exit status, or -N when signal N killed it.
inline int wait_for(pid_t pid) {
    int status = 0;
    if (::waitpid(pid, &status, 0) != pid) std::abort();
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace fastnet
