#include "userspace/host/mounts.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tests/unit/host/own_netns.h"

namespace fastnet {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

class MountsTest : public ::testing::Test {
protected:
    void SetUp() override {
        std::string pattern = (std::filesystem::temp_directory_path() / "fastnet-mounts-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        directory_ = pattern;
    }
    void TearDown() override {
        static_cast<void>(unmount(path("bpf")));
        std::filesystem::remove_all(directory_);
    }
    std::string path(const char* name) const { return directory_ + "/" + name; }

private:
    std::string directory_;
};

TEST_F(MountsTest, DirectoriesAreMadeWithTheirParents) {
    ASSERT_OK(make_directories(path("a/b/c"), 0700));
    struct stat info {};
    ASSERT_EQ(::stat(path("a/b/c").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0700U);
    EXPECT_OK(make_directories(path("a/b/c/")));
    EXPECT_OK(make_directories("/"));
}

TEST_F(MountsTest, FileInTheWayIsAnError) {
    const UniqueFd file{::open(path("f").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)};
    EXPECT_EQ(make_directories(path("f")).error().sys_errno, ENOTDIR);
    EXPECT_FALSE(make_directories(path("f/x")).has_value());
}

TEST_F(MountsTest, OrdinaryAndMissingDirectoriesAreNoBpffs) {
    EXPECT_FALSE(is_bpffs("/tmp"));
    EXPECT_FALSE(is_bpffs(path("missing")));
    EXPECT_FALSE(is_mount_point(path("missing")));
    EXPECT_TRUE(is_mount_point("/proc"));
    EXPECT_TRUE(is_mount_point("/"));
}

TEST_F(MountsTest, UnmountingWhatIsNotMountedIsDone) {
    if (!has_capability(Capability::kSysAdmin)) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
    EXPECT_OK(unmount(path("missing")));
    ASSERT_OK(make_directories(path("plain")));
    EXPECT_OK(unmount(path("plain")));
}

TEST_F(MountsTest, BpffsIsMountedOnceAndUnmounted) {
    if (!has_capability(Capability::kSysAdmin)) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
    ASSERT_OK(mount_bpffs(path("bpf")));
    EXPECT_TRUE(is_bpffs(path("bpf")));
    EXPECT_TRUE(is_mount_point(path("bpf")));
    struct stat info {};
    ASSERT_EQ(::stat(path("bpf").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0700U);  // bpffs adds the sticky bit
    EXPECT_OK(mount_bpffs(path("bpf")));
    ASSERT_OK(make_directories(path("bpf/inner"), 0700));
    EXPECT_OK(mount_bpffs(path("bpf/inner")));  // inside one already: nothing is mounted
    EXPECT_FALSE(is_mount_point(path("bpf/inner")));
    ASSERT_OK(unmount(path("bpf")));
    EXPECT_FALSE(is_bpffs(path("bpf")));
}

TEST_F(MountsTest, LockIsExclusiveBoundedAndReleased) {
    auto first = FileLock::acquire(path("lock"), milliseconds{0});
    ASSERT_TRUE(first.has_value());
    const auto second = FileLock::acquire(path("lock"), milliseconds{20});
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error().sys_errno, ETIMEDOUT);
    EXPECT_THAT(second.error().message, HasSubstr("process " + std::to_string(::getpid())));
    { const FileLock released = std::move(*first); }
    EXPECT_OK(FileLock::acquire(path("lock"), milliseconds{0}));
}

TEST_F(MountsTest, WaiterGetsTheLockWhenItIsReleased) {
    auto held = FileLock::acquire(path("lock"), milliseconds{0});
    ASSERT_TRUE(held.has_value());
    std::thread releaser{[lock = std::move(*held)]() mutable {
        std::this_thread::sleep_for(milliseconds{30});
        const FileLock released = std::move(lock);
    }};
    EXPECT_OK(FileLock::acquire(path("lock"), milliseconds{5000}));
    releaser.join();
}

TEST_F(MountsTest, LockOfADeadProcessIsFree) {
    const std::string lock_path = path("lock");
    const pid_t child = ::fork();
    if (child == 0) {
        const auto lock = FileLock::acquire(lock_path, milliseconds{0});
        ::_exit(lock.has_value() ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_OK(FileLock::acquire(lock_path, milliseconds{0}));
}

TEST(BootId, EnvironmentOverridesTheKernel) {
    ::unsetenv("FASTNET_BOOT_ID");
    const std::string real = boot_id().value();
    EXPECT_EQ(real.size(), 36U);
    EXPECT_EQ(boot_id().value(), real);
    ::setenv("FASTNET_BOOT_ID", "another-boot", 1);
    EXPECT_EQ(boot_id().value(), "another-boot");
    ::unsetenv("FASTNET_BOOT_ID");
}

TEST(Capabilities, MaskIsReadFromTheStatusText) {
    EXPECT_EQ(parse_effective_capabilities("Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n"), 0x1ffffffffffU);
    EXPECT_EQ(parse_effective_capabilities("Name:\tx\n"), 0U);
    EXPECT_EQ(parse_effective_capabilities("\nCapEff:"), 0U);
    EXPECT_EQ(parse_effective_capabilities("\nCapEff:\tzz"), 0U);
}

TEST(Capabilities, MissingOnesAreNamed) {
    const std::vector<Capability> wanted{Capability::kNetAdmin, Capability::kBpf};
    const Status status = require_capabilities(wanted);
    if (has_capability(Capability::kNetAdmin) && has_capability(Capability::kBpf)) {
        EXPECT_TRUE(status.has_value());
        return;
    }
    EXPECT_THAT(status.error().message, HasSubstr("CAP_"));
    EXPECT_EQ(status.error().sys_errno, EPERM);
}

TEST(KernelVersion, ReleaseTextsAreUnderstood) {
    EXPECT_EQ(parse_kernel_version("6.1.0-49-amd64").major, 6U);
    EXPECT_EQ(parse_kernel_version("6.1.0-49-amd64").minor, 1U);
    EXPECT_EQ(parse_kernel_version("6.18.44-fc").minor, 18U);
    EXPECT_EQ(parse_kernel_version("7-rc1").major, 7U);
    EXPECT_EQ(parse_kernel_version("").major, 0U);
    EXPECT_TRUE(parse_kernel_version("6.18.1").at_least(6, 6));
    EXPECT_TRUE(parse_kernel_version("7.0.1").at_least(6, 6));
    EXPECT_FALSE(parse_kernel_version("6.1.9").at_least(6, 6));
    EXPECT_GE(kernel_version().major, 5U);
}

}  // namespace
}  // namespace fastnet
