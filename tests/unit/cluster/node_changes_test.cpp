#include "userspace/cluster/node_changes.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <fstream>

#include "tests/unit/store/temp_dir.h"
#include "userspace/store/node_lock.h"

namespace fastnet::cluster {
namespace {

bool readable(const NodeChanges& changes) {
    pollfd fd{changes.fd(), POLLIN, 0};
    return ::poll(&fd, 1, 1000) == 1;
}

TEST(NodeChanges, AreSeenWhenTheNodesLockIsLetGo) {
    const TempDir dir;
    NodeChanges changes{dir.path()};
    EXPECT_TRUE(changes.take()) << "what was before is not known";
    EXPECT_FALSE(changes.take());
    {
        auto lock = NodeLock::acquire(dir.path());
        ASSERT_TRUE(lock);
        EXPECT_FALSE(changes.take()) << "not before the command has ended";
    }
    EXPECT_TRUE(readable(changes));
    EXPECT_TRUE(changes.take());
    EXPECT_FALSE(changes.take());
}

TEST(NodeChanges, OtherFilesBesideItAreNone) {
    const TempDir dir;
    NodeChanges changes{dir.path()};
    (void)changes.take();
    std::ofstream{dir.path() / "something"} << "else";
    EXPECT_FALSE(changes.take());
}

TEST(NodeChanges, AreSeenAgainInADirectoryThatWasMadeAnew) {
    const TempDir dir;
    const auto run = dir.path() / "run";
    NodeChanges changes{run};
    EXPECT_FALSE(changes.take());
    EXPECT_EQ(changes.fd(), -1);
    std::filesystem::create_directory(run);
    EXPECT_TRUE(changes.take());
    std::filesystem::remove_all(run);
    EXPECT_TRUE(changes.take()) << "gone is a change";
    EXPECT_FALSE(changes.take());
    { ASSERT_TRUE(NodeLock::acquire(run)); }
    EXPECT_TRUE(changes.take());
}

}  // namespace
}  // namespace fastnet::cluster
