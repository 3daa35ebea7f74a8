#include "userspace/host/netns.h"

#include <gmock/gmock.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <thread>
#include <vector>

#include "tests/unit/host/own_netns.h"

namespace fastnet {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

std::string unique_name(const char* what) {
    return std::string{"fnt-"} + what + "-" + std::to_string(::getpid());
}

TEST(NetnsSpec, MissingNameIsNotFoundAndSaysHowToMakeIt) {
    const auto netns = Netns::open("fnt-no-such-one");
    ASSERT_FALSE(netns.has_value());
    EXPECT_EQ(netns.error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(netns.error().message, "netns 'fnt-no-such-one' does not exist");
    EXPECT_THAT(netns.error().hint, HasSubstr("ip netns add fnt-no-such-one"));
}

TEST(NetnsSpec, MissingPathAndMissingProcessAreNotFound) {
    EXPECT_EQ(Netns::open("/no/such/path").error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(Netns::open("/etc/passwd/x").error().kind, ErrorKind::kNotFound);
    const auto process = Netns::open("pid:999999999");
    EXPECT_EQ(process.error().kind, ErrorKind::kNotFound);
    EXPECT_THAT(process.error().message, HasSubstr("no process 999999999"));
}

TEST(NetnsSpec, MalformedSpecsAreUsageErrors) {
    for (const char* spec : {"", ".", "..", "pid:", "pid:x", "pid:-1", "pid:1x", "pid:99999999999999999999", "a\nb"}) {
        const auto netns = Netns::open(spec);
        ASSERT_FALSE(netns.has_value()) << spec;
        EXPECT_EQ(netns.error().kind, ErrorKind::kUsage) << spec;
    }
}

TEST(NetnsSpec, FilesOfOtherKindsAreRefused) {
    for (const char* path : {"/etc/passwd", "/dev/null", "/tmp", "/proc/self/ns/mnt"}) {
        const auto netns = Netns::open(path);
        ASSERT_FALSE(netns.has_value()) << path;
        EXPECT_EQ(netns.error().kind, ErrorKind::kUsage) << path;
        EXPECT_THAT(netns.error().message, HasSubstr("namespace")) << path;
    }
}

TEST(NetnsSpec, OwnNamespaceByPathByPidAndByThreadIsOneIdentity) {
    const Netns current = Netns::current().value();
    EXPECT_THAT(current.identity(), MatchesRegex("[0-9]+:[0-9]+"));
    EXPECT_EQ(current, Netns::open("/proc/self/ns/net").value());
    EXPECT_EQ(current, Netns::open("pid:" + std::to_string(::getpid())).value());
    EXPECT_EQ(Netns::open("pid:" + std::to_string(::getpid()))->path(), "/proc/" + std::to_string(::getpid()) + "/ns/net");
}

TEST(NetnsSpec, RelativePathBecomesAbsolute) {
    const auto netns = Netns::open("../../../../../../../../proc/self/ns/net");
    ASSERT_TRUE(netns.has_value());
    EXPECT_TRUE(netns->path().starts_with('/'));
}

TEST(NetnsSpec, OwnCookieNeedsNoPrivilege) {
    const auto cookie = Netns::current()->cookie();
    ASSERT_TRUE(cookie.has_value()) << cookie.error().message;
    EXPECT_NE(*cookie, 0U);
}

TEST_F(OwnNetns, CookiesOfTwoNamespacesDiffer) {
    const Netns other = fresh_netns();
    EXPECT_NE(other.cookie().value(), Netns::current()->cookie().value());
    EXPECT_EQ(other.cookie().value(), other.cookie().value());
}

TEST_F(OwnNetns, GuardEntersAndReturns) {
    const Netns home = Netns::current().value();
    const Netns other = fresh_netns();
    ASSERT_FALSE(home == other);
    {
        const auto guard = NetnsGuard::enter(other);
        ASSERT_TRUE(guard.has_value());
        EXPECT_EQ(Netns::current().value(), other);
    }
    EXPECT_EQ(Netns::current().value(), home);
}

TEST_F(OwnNetns, RunInReturnsAlsoAfterAnError) {
    const Netns home = Netns::current().value();
    const Netns other = fresh_netns();
    const Status result = run_in(other, []() -> Status { return failed("on purpose"); });
    EXPECT_EQ(result.error().message, "on purpose");
    EXPECT_EQ(Netns::current().value(), home);
}

TEST_F(OwnNetns, NamedNamespaceIsMadeOpenedAndRemoved) {
    const std::string name = unique_name("a");
    const Netns home = Netns::current().value();
    const auto made = create_named_netns(name);
    ASSERT_TRUE(made.has_value()) << made.error().message;
    EXPECT_EQ(Netns::current().value(), home);
    EXPECT_EQ(made->path(), "/run/netns/" + name);
    EXPECT_EQ(made->display_name(), name);
    EXPECT_EQ(*made, Netns::open(name).value());
    EXPECT_EQ(*made, Netns::open("/run/netns/" + name).value());
    EXPECT_FALSE(*made == home);

    EXPECT_EQ(create_named_netns(name).error().kind, ErrorKind::kConflict);
    const std::string identity = made->identity();
    EXPECT_OK(Netns::reopen("/run/netns/" + name, identity));
    EXPECT_EQ(Netns::reopen("/run/netns/" + name, home.identity()).error().kind, ErrorKind::kNotFound);

    EXPECT_OK(remove_named_netns(name));
    EXPECT_EQ(remove_named_netns(name).error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(Netns::open(name).error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(Netns::reopen("/run/netns/" + name, identity).error().kind, ErrorKind::kNotFound);
}

TEST_F(OwnNetns, UnmountedLeftoverOfANameIsNotFoundAndCanBeRemoved) {
    const std::string name = unique_name("b");
    ASSERT_OK(create_named_netns(name));
    ASSERT_EQ(::umount2(("/run/netns/" + name).c_str(), MNT_DETACH), 0);
    const auto netns = Netns::open(name);
    ASSERT_FALSE(netns.has_value());
    EXPECT_EQ(netns.error().kind, ErrorKind::kNotFound);
    EXPECT_THAT(netns.error().hint, HasSubstr("leftover"));
    EXPECT_OK(remove_named_netns(name));
}

TEST_F(OwnNetns, NamesThatAreNoFileNamesAreRefused) {
    for (const char* name : {"", ".", "..", "a/b", "../x"}) {
        EXPECT_EQ(create_named_netns(name).error().kind, ErrorKind::kUsage) << name;
        EXPECT_EQ(remove_named_netns(name).error().kind, ErrorKind::kUsage) << name;
    }
}

TEST_F(OwnNetns, ConcurrentCreationsDoNotHideEachOther) {
    constexpr int kThreads = 8;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([i] { EXPECT_OK(create_named_netns(unique_name("c") + std::to_string(i))); });
    }
    for (auto& thread : threads) thread.join();
    for (int i = 0; i < kThreads; ++i) EXPECT_OK(remove_named_netns(unique_name("c") + std::to_string(i)));
}

}  // namespace
}  // namespace fastnet
