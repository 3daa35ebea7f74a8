#include "userspace/host/cgroup.h"

#include <gtest/gtest.h>

namespace fastnet {
namespace {

constexpr const char* kHybrid =
    "22 27 0:20 / /sys rw,nosuid - sysfs sysfs rw\n"
    "30 22 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n"
    "31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 master:2 - cgroup2 cgroup2 rw,nsdelegate\n"
    "32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

TEST(Cgroup2Mount, IsFoundUnderTheV1Tree) {
    EXPECT_EQ(find_cgroup2_mount(kHybrid), "/sys/fs/cgroup/unified");
}

TEST(Cgroup2Mount, IsFoundWithoutOptionalFields) {
    EXPECT_EQ(find_cgroup2_mount("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 none rw\n"), "/sys/fs/cgroup");
}

TEST(Cgroup2Mount, RootOfTheHierarchyIsPreferredOverAPartOfIt) {
    EXPECT_EQ(find_cgroup2_mount("40 30 0:27 /docker/abc /mnt/part rw - cgroup2 cgroup2 rw\n"
                                 "41 30 0:27 / /mnt/whole rw - cgroup2 cgroup2 rw\n"),
              "/mnt/whole");
    EXPECT_EQ(find_cgroup2_mount("40 30 0:27 /docker/abc /mnt/part rw - cgroup2 cgroup2 rw\n"), "/mnt/part");
}

TEST(Cgroup2Mount, EscapedCharactersAreRestored) {
    EXPECT_EQ(find_cgroup2_mount("41 30 0:27 / /mnt/a\\040b\\134c rw - cgroup2 cgroup2 rw\n"), "/mnt/a b\\c");
}

TEST(Cgroup2Mount, NoneIsNone) {
    EXPECT_EQ(find_cgroup2_mount(""), std::nullopt);
    EXPECT_EQ(find_cgroup2_mount("garbage\n\n32 30 0:28 / /cgroup2 rw - cgroup cgroup2 rw\n1 2 3 4 5"), std::nullopt);
}

TEST(Cgroup2Mount, ThisMachineCanBeAsked) {
    EXPECT_TRUE(cgroup2_mount_point().has_value());
}

}  // namespace
}  // namespace fastnet
