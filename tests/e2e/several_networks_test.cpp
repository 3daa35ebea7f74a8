// A container on several networks: answers leave by the network that the question came by, one of them has the default route.
#include <gtest/gtest.h>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

class SeveralNetworks : public LabTest {
protected:
    void SetUp() override {
        LabTest::SetUp();
        if (IsSkipped()) return;
        lab().add_ipv6();
        lab().json({"network", "create", "red", "--subnet", "10.81.0.0/24", "--subnet", "fd00:81::/64"});
        lab().json({"network", "create", "blue", "--subnet", "10.82.0.0/24", "--subnet", "fd00:82::/64"});
    }
    /// The namespace of container `app` joins @p network as endpoint `app-<network>`.
    json join(const std::string& network, const Argv& extra = {}) {
        lab().container("app");
        Argv args{"attach", "--mode", "bridge", "--netns", lab().netns_argument("app"), "--name", "app-" + network, "--network", network};
        args.insert(args.end(), extra.begin(), extra.end());
        return lab().json(args);
    }
    /// The interface by which `app` would send to the outside.
    std::string way_out(const std::string& family = "-4") {
        const std::string to = family == "-4" ? kInternetIp : kInternetIp6;
        const json routes = json::parse(lab().at("app").run({"ip", family, "-j", "route", "get", to}).out, nullptr, false);
        return routes.is_array() && !routes.empty() ? routes[0].value("dev", "none") : "none";
    }
    bool reaches(const Socket& outside) {
        const Socket caller = Socket::connected(lab().at("app"), Transport::kTcp, {kInternetIp, 80});
        return caller.ok() && ping_pong(caller, outside.accept());
    }
    std::string rules() { return lab().at("app").run({"ip", "-4", "rule"}).out + lab().at("app").run({"ip", "-6", "rule"}).out; }
};

TEST_F(SeveralNetworks, AnswersLeaveByTheNetworkThatTheQuestionCameBy) {
    const json red = join("red", {"-p", "2000:80", "-p", "2000:53/udp"});
    const json blue = join("blue", {"-p", "3000:80", "-p", "3000:53/udp"});
    const WebServer server{lab().at("app"), "app"};
    for (const auto& [endpoint, port] : {std::pair{red, 2000}, {blue, 3000}}) {
        const auto number = static_cast<std::uint16_t>(port);
        const std::string own = without_prefix_length(endpoint["ipv4"]);
        const std::string own6 = without_prefix_length(endpoint["ipv6"]);
        EXPECT_EQ(fetch(lab().client(), url(kNodeIp, number)), "app " + kClientIp + " " + own + ":80\n");
        EXPECT_EQ(fetch(lab().client(), url("[" + kNodeIp6 + "]", number)), "app " + kClientIp6 + " " + own6 + ":80\n");
        for (const auto& [address, node] : {std::pair{own, kNodeIp}, {own6, kNodeIp6}}) {
            const Socket service = Socket::bound(lab().at("app"), Transport::kUdp, {address, 53});
            const Socket caller = Socket::bound(lab().client(), Transport::kUdp, {node == kNodeIp ? "0.0.0.0" : "::", 0});
            ASSERT_TRUE(caller.send_to("question", {node, number}));
            SocketAddress from;
            ASSERT_EQ(service.receive_from(from), "question");
            ASSERT_TRUE(service.send_to("answer", from));
            EXPECT_EQ(caller.receive_from(from), "answer") << address;
            EXPECT_EQ(from, (SocketAddress{node, number}));
        }
    }
}

TEST_F(SeveralNetworks, NeighboursOfBothAreReachedAndASourceOfOneGoesOutByThatOne) {
    join("red");
    const json blue = join("blue");
    lab().attach("r", {"--network", "red"});
    lab().attach("b", {"--network", "blue"});
    const WebServer on_red{lab().at("r"), "r"};
    const WebServer on_blue{lab().at("b"), "b"};
    EXPECT_EQ(fetch(lab().at("app"), url(lab().ip("r"), 80)).substr(0, 1), "r");
    EXPECT_EQ(fetch(lab().at("app"), url(lab().ip("b"), 80)).substr(0, 1), "b");
    const Socket outside = Socket::listener(lab().client(), {"0.0.0.0", 80});
    const Socket caller = Socket::connected(lab().at("app"), Transport::kTcp, {kInternetIp, 80}, {without_prefix_length(blue["ipv4"]), 0});
    ASSERT_TRUE(caller.ok()) << caller.error();
    EXPECT_TRUE(ping_pong(caller, outside.accept()));
    EXPECT_EQ(lab().verdict("SPOOFED_SOURCE"), 0U);
}

TEST_F(SeveralNetworks, TheEarliestHasTheDefaultRouteAndHandsItOver) {
    lab().container("app");
    const std::string before = rules();
    join("red");
    EXPECT_EQ(rules(), before) << "one network needs no rules";
    join("blue");
    for (const char* const family : {"-4", "-6"}) EXPECT_EQ(way_out(family), "eth0");
    EXPECT_NE(rules(), before);
    const Socket outside = Socket::listener(lab().client(), {"0.0.0.0", 80});
    EXPECT_TRUE(reaches(outside));
    ASSERT_EQ(lab().fastnet({"detach", "app-red"}).status, 0);
    for (const char* const family : {"-4", "-6"}) EXPECT_EQ(way_out(family), "eth1");
    EXPECT_TRUE(reaches(outside));
    EXPECT_EQ(rules(), before);
    join("red");  // now the later one
    for (const char* const family : {"-4", "-6"}) EXPECT_EQ(way_out(family), "eth1");
    ASSERT_EQ(lab().fastnet({"detach", "--netns", lab().netns_argument("app")}).status, 0);
    EXPECT_EQ(rules(), before);
}

TEST_F(SeveralNetworks, HighestPriorityHasTheDefaultRoute) {
    lab().json({"network", "create", "green", "--subnet", "10.84.0.0/24", "--subnet", "fd00:84::/64"});
    join("red", {"--gw-priority", "-1"});
    join("blue", {"--gw-priority", "7"});
    join("green");
    for (const char* const family : {"-4", "-6"}) EXPECT_EQ(way_out(family), "eth1");
    ASSERT_EQ(lab().fastnet({"detach", "app-blue"}).status, 0);
    for (const char* const family : {"-4", "-6"}) EXPECT_EQ(way_out(family), "eth2") << "not the earliest, the next by priority";
    join("blue", {"--gw-priority", "7"});
    for (const char* const family : {"-4", "-6"}) EXPECT_EQ(way_out(family), "eth1");
}

TEST_F(SeveralNetworks, InternalNetworkGivesNoDefaultRoute) {
    lab().json({"network", "create", "inner", "--internal", "--subnet", "10.83.0.0/24"});
    join("inner");
    EXPECT_EQ(way_out(), "none");
    join("red");
    EXPECT_EQ(way_out(), "eth1");
    ASSERT_EQ(lab().fastnet({"detach", "app-red"}).status, 0);
    EXPECT_EQ(way_out(), "none");
}

TEST_F(SeveralNetworks, CleanupLeavesNoRuleInsideTheContainer) {
    lab().container("app");
    const std::string before = rules();
    join("red");
    join("blue");
    lab().cleanup_and_verify();
    EXPECT_EQ(rules(), before);
}

}  // namespace
}  // namespace fastnet::test
