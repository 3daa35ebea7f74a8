#include "userspace/store/node_lock.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <fstream>
#include <vector>

#include "tests/unit/store/child_process.h"
#include "tests/unit/store/temp_dir.h"

namespace fastnet {
namespace {

using std::chrono::milliseconds;

TEST(NodeLock, TheDirectoryIsMadeForItsOwnerAlone) {
    const TempDir dir;
    const auto root = dir.path() / "deep" / "er";
    ASSERT_TRUE(NodeLock::acquire(root));
    struct stat info {};
    ASSERT_EQ(::stat(root.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0700U);
}

TEST(NodeLock, ASecondHolderWaitsAndThenNamesTheFirst) {
    const TempDir dir;
    auto first = NodeLock::acquire(dir.path());
    ASSERT_TRUE(first);
    const auto second = NodeLock::acquire(dir.path(), milliseconds{20});
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("pid " + std::to_string(::getpid())), std::string::npos) << second.error().message;
}

TEST(NodeLock, AKilledHolderLeavesNoLock) {
    const TempDir dir;
    EXPECT_EQ(wait_for(start_child([&] {
                  const auto lock = NodeLock::acquire(dir.path());
                  (void)::raise(SIGKILL);
                  return lock ? 0 : 1;
              })),
              -SIGKILL);
    EXPECT_TRUE(NodeLock::acquire(dir.path(), milliseconds{0}));
}

TEST(NodeLock, ProcessesHoldItOneByOneAlsoWhenTheFileIsRemovedMeanwhile) {
    const TempDir dir;
    const auto counter = dir.path() / "counter";
    std::ofstream{counter} << 0;
    std::vector<pid_t> children;
    constexpr int kChildren = 8;
    constexpr int kRounds = 25;
    for (int i = 0; i < kChildren; ++i)
        children.push_back(start_child([&] {
            for (int round = 0; round < kRounds; ++round) {
                auto lock = NodeLock::acquire(dir.path() / "state");
                if (!lock) return 1;
                int value = 0;
                std::ifstream{counter} >> value;
                std::ofstream{counter} << value + 1;
                if (round % 5 == 0) lock->remove_file();
            }
            return 0;
        }));
    for (const pid_t child : children) EXPECT_EQ(wait_for(child), 0);
    int value = 0;
    std::ifstream{counter} >> value;
    EXPECT_EQ(value, kChildren * kRounds);
}

TEST(NodeLock, AFileInPlaceOfTheDirectoryIsAClearError) {
    const TempDir dir;
    std::ofstream{dir.path() / "state"} << "x";
    const auto lock = NodeLock::acquire(dir.path() / "state");
    ASSERT_FALSE(lock);
    EXPECT_NE(lock.error().message.find("Not a directory"), std::string::npos) << lock.error().message;
}

}  // namespace
}  // namespace fastnet
