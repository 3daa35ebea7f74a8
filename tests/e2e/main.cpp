// Entry of the end-to-end tests: sweeps what crashed runs left, then lets GoogleTest run.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include "tests/harness/netns.h"

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;  // tests that fill a flow table hold thousands of sockets
    ::setrlimit(RLIMIT_NOFILE, &files);
    ::signal(SIGPIPE, SIG_IGN);  // a peer that is gone is a test's finding, not its end
    if (!::testing::GTEST_FLAG(list_tests)) fastnet::test::sweep_stale();
    return RUN_ALL_TESTS();
}
