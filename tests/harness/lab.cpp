#include "tests/harness/lab.h"

#include <filesystem>

#include "tests/harness/privileges.h"
#include "tests/harness/wait.h"

namespace fastnet::test {
namespace fs = std::filesystem;

Lab::Lab() : LabNode{unique_prefix()} {
    client_ = std::make_unique<Netns>(prefix() + "-client");
    client_->ip({"addr add " + kInternetIp + "/32 dev lo"});
    build_node();
}

Lab::~Lab() = default;

void Lab::build_node() {
    client_->ip(
        {"link add eth0 type veth peer name eth0 netns " + node().name(), "addr add " + kClientIp + "/24 dev eth0", "link set eth0 up"});
    node().ip({"addr add " + kNodeIp + "/24 dev eth0", "addr add " + kNodeIp2 + "/24 dev eth0", "link set eth0 up",
               "route add default via " + kClientIp});
    rebaseline();
}

void Lab::reboot() {
    // Its end of the veth pair goes with the namespace.
    lose_power([&] { return !client_->has_link("eth0"); });
    build_node();
}

const Netns& Lab::add_other_host(const std::string& ifname) {
    other_ = std::make_unique<Netns>(prefix() + "-other");
    other_->ip({"link add eth0 type veth peer name " + ifname + " netns " + node().name(), "addr add " + kOtherHostIp + "/24 dev eth0",
                "link set eth0 up", "route add default via " + kNodeOtherIp});
    node().ip({"addr add " + kNodeOtherIp + "/24 dev " + ifname, "link set " + ifname + " up"});
    return *other_;
}

void Lab::add_ipv6() {
    client_->ip({"addr add " + kClientIp6 + "/64 dev eth0 nodad", "addr add " + kInternetIp6 + "/128 dev lo nodad"});
    node().ip({"addr add " + kNodeIp6 + "/64 dev eth0 nodad", "route add ::/0 via " + kClientIp6});
    // The kernel adds the local routes of an address a moment later.
    EXPECT_TRUE(wait_until([&] {
        const std::string routes = node().run({"ip", "-6", "route", "show", "table", "local"}).out;
        return routes.find("local " + kNodeIp6) != std::string::npos && routes.find("local fe80") != std::string::npos;
    }));
    rebaseline();
}

std::string url(const std::string& ip, std::uint16_t port, const std::string& path) {
    return "http://" + ip + ":" + std::to_string(port) + path;
}

void LabTest::SetUp() {
    FASTNET_SKIP_WITHOUT_PRIVILEGES();
    ASSERT_TRUE(fs::exists(fastnet_binary())) << "no fastnet at " << fastnet_binary() << " (build it, or set FASTNET_BIN)";
    lab_ = std::make_unique<Lab>();
}

void LabTest::TearDown() {
    if (lab_ && !lab_->cleaned()) lab_->cleanup_and_verify();
    lab_.reset();
}

}  // namespace fastnet::test
