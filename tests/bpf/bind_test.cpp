// cgroup_bind4 and cgroup_bind6: real binds of a child process inside a cgroup of this test. While a port is published,
// no process of the node's network namespace gets it.
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/sockets.h"

namespace fastnet::test {
namespace {

/// Where cgroup v2 is mounted, empty if nowhere.
std::string cgroup2_mount() {
    std::ifstream mounts{"/proc/self/mountinfo"};
    for (std::string line; std::getline(mounts, line);) {
        // 36 35 98:0 /root /mountpoint options - type source options
        const std::size_t dash = line.find(" - cgroup2 ");
        if (dash == std::string::npos) continue;
        std::istringstream fields{line};
        std::string id, parent, device, root, mount_point;
        if (fields >> id >> parent >> device >> root >> mount_point) return mount_point;
    }
    return {};
}

struct BindRequest {
    int type = SOCK_STREAM;
    IpAddress address;
    std::uint16_t port = 8080;
    bool as_ipv6 = false;  ///< an IPv4 address on an IPv6 socket
    bool v6_only = false;
    bool in_a_container = false;  ///< in a network namespace of its own
};

class HeldPort : public DatapathTest {
protected:
    void SetUp() override {
        DatapathTest::SetUp();
        if (IsSkipped()) return;
        const std::string mount = cgroup2_mount();
        if (mount.empty()) GTEST_SKIP() << "needs a mounted cgroup v2 hierarchy";
        cgroup_ = mount + "/fastnet-bpf-test-" + std::to_string(getpid());
        ASSERT_EQ(mkdir(cgroup_.c_str(), 0755), 0) << cgroup_ << ": " << std::strerror(errno);
        const UniqueFd directory{open(cgroup_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        attach_to_cgroup("cgroup_bind4", directory.get(), BPF_CGROUP_INET4_BIND);
        attach_to_cgroup("cgroup_bind6", directory.get(), BPF_CGROUP_INET6_BIND);
    }
    void TearDown() override {
        if (cgroup_.empty()) return;
        EXPECT_EQ(rmdir(cgroup_.c_str()), 0) << cgroup_ << ": " << std::strerror(errno);
    }

    /// errno of a bind by a process of the cgroup, 0 if it worked.
    int bind_error(const BindRequest& request) const {
        const pid_t child = fork();
        if (child == 0) {
            std::ofstream procs{cgroup_ + "/cgroup.procs"};
            if (!(procs << getpid() << std::flush)) _exit(255);
            if (request.in_a_container && unshare(CLONE_NEWNET) != 0) _exit(255);
            const HostSocket attempt{request.type, request.address, request.port, request.as_ipv6, request.v6_only};
            _exit(attempt.error());
        }
        int status = 0;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) != 255) << "the child could not try";
        return WEXITSTATUS(status);
    }

private:
    std::string cgroup_;
};

TEST_F(HeldPort, IsRefusedToTheAddressTheWildcardAndTheDualStackWildcard) {
    publish({.address = host_ip});
    EXPECT_EQ(bind_error({.address = host_ip}), EADDRINUSE);
    EXPECT_EQ(bind_error({.address = any4}), EADDRINUSE);
    EXPECT_EQ(bind_error({.address = any6}), EADDRINUSE);
    EXPECT_EQ(bind_error({.address = host_ip, .as_ipv6 = true}), EADDRINUSE) << "::ffff:192.0.2.2";
    EXPECT_EQ(bind_error({.address = any4, .as_ipv6 = true}), EADDRINUSE) << "::ffff:0.0.0.0";
}

TEST_F(HeldPort, LeavesOtherAddressesPortsAndProtocolsFree) {
    publish({.address = host_ip});
    EXPECT_EQ(bind_error({.address = second_host_ip}), 0);
    EXPECT_EQ(bind_error({.address = address("127.0.0.1")}), 0);
    EXPECT_EQ(bind_error({.address = host6}), 0);
    EXPECT_EQ(bind_error({.address = host_ip, .port = 8081}), 0);
    EXPECT_EQ(bind_error({.type = SOCK_DGRAM, .address = host_ip}), 0);
    EXPECT_EQ(bind_error({.address = any4, .port = 0}), 0) << "the kernel picks one";
}

TEST_F(HeldPort, OnEveryAddressIsRefusedOnEachOfThatFamily) {
    publish({.protocol = Protocol::kUdp, .address = any4});
    for (const IpAddress& local : {host_ip, second_host_ip, gateway, address("127.0.0.1"), any4, any6})
        EXPECT_EQ(bind_error({.type = SOCK_DGRAM, .address = local}), EADDRINUSE) << local.to_string();
    EXPECT_EQ(bind_error({.type = SOCK_DGRAM, .address = host6}), 0);
    EXPECT_EQ(bind_error({.type = SOCK_STREAM, .address = host_ip}), 0);
}

TEST_F(HeldPort, OfIpv6IsRefusedToIpv6) {
    publish({.address = any6});
    EXPECT_EQ(bind_error({.address = host6}), EADDRINUSE);
    EXPECT_EQ(bind_error({.address = address("::1")}), EADDRINUSE);
    EXPECT_EQ(bind_error({.address = any6}), EADDRINUSE);
    EXPECT_EQ(bind_error({.address = any6, .v6_only = true}), EADDRINUSE);
    EXPECT_EQ(bind_error({.address = host_ip}), 0);
}

TEST_F(HeldPort, OfIpv6LeavesIpv4Alone) {
    for (const IpAddress& published : {any6, host6}) {
        publish({.address = published});
        EXPECT_EQ(bind_error({.address = any4}), 0) << published.to_string();
        EXPECT_EQ(bind_error({.address = any4, .as_ipv6 = true}), 0) << "::ffff:0.0.0.0";
        EXPECT_EQ(bind_error({.address = any6}), EADDRINUSE);
    }
}

TEST_F(HeldPort, OfIpv4LeavesSocketsThatAreForIpv6OnlyAlone) {
    publish({.address = any4});
    publish({.protocol = Protocol::kUdp, .address = host_ip});
    for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
        EXPECT_EQ(bind_error({.type = type, .address = any6, .v6_only = true}), 0);
        EXPECT_EQ(bind_error({.type = type, .address = any6}), EADDRINUSE);
    }
}

TEST_F(HeldPort, RangeIsHeldAsAWhole) {
    publish({.address = any4, .port = 8192, .ports = 64});
    EXPECT_EQ(bind_error({.address = host_ip, .port = 8191}), 0);
    EXPECT_EQ(bind_error({.address = host_ip, .port = 8192}), EADDRINUSE);
    EXPECT_EQ(bind_error({.address = host_ip, .port = 8255}), EADDRINUSE);
    EXPECT_EQ(bind_error({.address = host_ip, .port = 8256}), 0);
}

TEST_F(HeldPort, IsFreeInsideAContainer) {
    publish({.address = any4});
    EXPECT_EQ(bind_error({.address = any4, .in_a_container = true}), 0);
    EXPECT_EQ(bind_error({.address = any6, .in_a_container = true}), 0);
    EXPECT_EQ(bind_error({.address = any4}), EADDRINUSE);
}

TEST_F(HeldPort, IsFreeAgainWhenItIsNotPublishedAnyMore) {
    publish({.address = host_ip});
    ASSERT_EQ(bind_error({.address = host_ip}), EADDRINUSE);
    set_filter(FNET_FILTER_TCP4, 8080, false);
    EXPECT_EQ(bind_error({.address = host_ip}), 0);
}

}  // namespace
}  // namespace fastnet::test
