// What a container and a client learn of the path: the node is a hop like any other, and says what it cannot take.
#include <gtest/gtest.h>

#include <sstream>
#include <tuple>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

class Path : public LabTest {
protected:
    void SetUp() override {
        LabTest::SetUp();
        lab().add_ipv6();
        web_ = lab().attach("web", {"-p", "2000:80", "-p", "2000:80/udp"});
    }
    /// The node's way out takes less than what is behind it and before it.
    void TearDown() override {
        lab().node().ip({"link set eth0 mtu 1500"});
        LabTest::TearDown();
    }
    void narrow_the_uplink() { lab().node().ip({"link set eth0 mtu 1280"}); }
    std::string gateway() const { return web_["gateway"]; }
    std::string gateway6() const { return web_["gateway6"]; }
    CommandResult in_web(const Argv& argv) { return lab().at("web").run(argv); }
    /// The kernel of @p netns has learned it.
    static bool knows_mtu_1280(const Netns& netns, const std::string& destination) {
        return netns.run({"ip", "route", "get", destination}).out.find("mtu 1280") != std::string::npos;
    }
    static bool mentions(const CommandResult& result, const std::string& text) {
        return (result.out + result.err).find(text) != std::string::npos;
    }

private:
    nlohmann::json web_;
};

/// The line of hop @p number of traceroute.
std::string hop(const std::string& text, int number) {
    std::istringstream lines{text};
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with(' ' + std::to_string(number) + ' ')) return line;
    return "no hop " + std::to_string(number) + " in: " + text;
}

TEST_F(Path, TracerouteFromInsideShowsTheGatewayFirst) {
    const struct { std::string gateway, destination; } families[] = {{gateway(), kInternetIp}, {gateway6(), kInternetIp6}};
    for (const auto& [first, destination] : families)
        for (const char* method : {"--udp", "--icmp", "--tcp"}) {
            const auto trace = in_web({"traceroute", "-n", "-w2", "-m4", method, destination});
            EXPECT_NE(hop(trace.out, 1).find(first), std::string::npos) << method << ' ' << trace;
            EXPECT_NE(hop(trace.out, 2).find(destination), std::string::npos) << method << ' ' << trace;
        }
}

TEST_F(Path, TracerouteFromOutsideToAPublishedPortShowsTheNode) {
    for (const std::string& node : {kNodeIp, kNodeIp6}) {
        const WebServer server{lab().at("web"), "web"};
        const auto trace = lab().client().run({"traceroute", "-n", "-w2", "-m4", "--tcp", "-p", "2000", node});
        EXPECT_NE(hop(trace.out, 1).find(node), std::string::npos) << trace;
        EXPECT_NE(hop(trace.out, 2).find(node), std::string::npos) << "the container answers under the node's address: " << trace;
        EXPECT_EQ(hop(trace.out, 1).find('*'), std::string::npos) << trace;
    }
    EXPECT_GT(lab().verdict("TTL_EXCEEDED"), 0U);
}

TEST_F(Path, TracepathFindsHopsAndMtu) {
    narrow_the_uplink();
    for (const auto& [first, destination] : {std::pair{gateway(), kInternetIp}, {gateway6(), kInternetIp6}}) {
        const auto trace = in_web({"tracepath", "-n", "-m4", destination});
        EXPECT_TRUE(mentions(trace, " 1:  " + first)) << trace;
        EXPECT_TRUE(mentions(trace, "pmtu 1280")) << trace;
    }
}

TEST_F(Path, PingThatMayNotBeFragmentedIsToldTheMtu) {
    narrow_the_uplink();
    const auto ping = in_web({"ping", "-M", "do", "-s", "1472", "-c2", "-i0.2", "-W2", kInternetIp});
    EXPECT_TRUE(mentions(ping, "From " + gateway())) << ping;
    EXPECT_TRUE(mentions(ping, "mtu = 1280") || mentions(ping, "mtu=1280")) << ping;
    EXPECT_TRUE(knows_mtu_1280(lab().at("web"), kInternetIp));
    const auto ping6 = in_web({"ping", "-6", "-M", "do", "-s", "1452", "-c2", "-i0.2", "-W2", kInternetIp6});
    EXPECT_TRUE(mentions(ping6, "1280")) << ping6;
    EXPECT_TRUE(knows_mtu_1280(lab().at("web"), kInternetIp6));
}

TEST_F(Path, ServerBehindAPublishedPortLearnsTheMtu) {
    narrow_the_uplink();
    for (const auto& [family, node, client] : {std::tuple{"TCP", kNodeIp, kClientIp}, {"TCP6", '[' + kNodeIp6 + ']', kClientIp6}}) {
        const std::string socat = family;
        const Background server =
            lab().at("web").background({"sh", "-c", "head -c 3000000 /dev/zero | socat -u - " + socat + "-LISTEN:80,reuseaddr"});
        ASSERT_TRUE(wait_until([&] { return is_listening(lab().at("web"), Transport::kTcp, 80); }));
        const auto received = lab().client().shell("socat -u " + socat + ':' + node + ":2000 - | wc -c");
        EXPECT_EQ(received.out, "3000000\n") << received;
        EXPECT_TRUE(knows_mtu_1280(lab().at("web"), client));
    }
    EXPECT_GT(lab().verdict("TOO_BIG"), 0U);
}

TEST_F(Path, CallerInsideLearnsTheMtu) {
    narrow_the_uplink();
    for (const auto& [family, host, destination] :
         {std::tuple{"TCP", kInternetIp, kInternetIp}, {"TCP6", '[' + kInternetIp6 + ']', kInternetIp6}}) {
        const std::string socat = family;
        Background sink = lab().client().background({"sh", "-c", "socat -u " + socat + "-LISTEN:7000,reuseaddr - | wc -c"});
        ASSERT_TRUE(wait_until([&] { return is_listening(lab().client(), Transport::kTcp, 7000); }));
        EXPECT_EQ(lab().at("web").shell("head -c 3000000 /dev/zero | socat -u - " + socat + ':' + host + ":7000").status, 0);
        EXPECT_EQ(sink.wait(Millis{5000}), 0);
        EXPECT_EQ(sink.output(), "3000000\n");
        EXPECT_TRUE(knows_mtu_1280(lab().at("web"), destination));
    }
}

}  // namespace
}  // namespace fastnet::test
