// Published ports from outside: real clients, real servers, TCP and UDP, single ports, ranges, one host address or all.
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

class Publish : public LabTest {};

TEST_F(Publish, PublishedPortIsReachableFromOutside) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2000)), "web " + kClientIp + " " + lab().ip("web") + ":80\n");
}

TEST_F(Publish, AnotherPortIsNotReachable) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web", {80, 2001, 8080}};
    for (const std::uint16_t port : {std::uint16_t{80}, std::uint16_t{1999}, std::uint16_t{2001}, std::uint16_t{8080}}) {
        EXPECT_EQ(fetch(lab().client(), url(kNodeIp, port), 1), "") << port;
    }
    EXPECT_FALSE(fetch(lab().client(), url(kNodeIp, 2000)).empty());
}

TEST_F(Publish, ServerSeesTheAddressAndPortOfTheRealClient) {
    lab().attach("web", {"-p", "2000:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    const Socket caller = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000}, {kInternetIp, 45001});
    ASSERT_TRUE(caller.ok()) << caller.error();
    const Socket served = listener.accept();
    EXPECT_EQ(served.peer(), (SocketAddress{kInternetIp, 45001}));
    EXPECT_EQ(served.local(), (SocketAddress{lab().ip("web"), 80}));
    EXPECT_EQ(caller.peer(), (SocketAddress{kNodeIp, 2000}));
    EXPECT_TRUE(ping_pong(caller, served));
}

TEST_F(Publish, TcpAndUdpOnOnePortAreTwoDifferentThings) {
    lab().attach("dns", {"-p", "2053:53/udp", "-p", "2053:80/tcp"});
    const UdpEcho echo{lab().at("dns"), 53};
    const WebServer web{lab().at("dns"), "dns"};
    EXPECT_TRUE(udp_answers(lab().client(), {kNodeIp, 2053}));
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2053)), "");
}

TEST_F(Publish, UdpPublishedPortIsNotOpenForTcp) {
    lab().attach("dns", {"-p", "2053:53/udp"});
    const WebServer web{lab().at("dns"), "dns", {53}};
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2053), 1), "");
}

TEST_F(Publish, UdpServerSeesTheRealClientAndItsReplyComesFromTheCalledAddress) {
    lab().attach("dns", {"-p", "2053:53/udp"});
    const Socket server = Socket::bound(lab().at("dns"), Transport::kUdp, {"0.0.0.0", 53});
    const Socket caller = Socket::bound(lab().client(), Transport::kUdp, {"0.0.0.0", 45002});
    ASSERT_TRUE(caller.send_to("question", {kNodeIp2, 2053}));
    SocketAddress from;
    ASSERT_EQ(server.receive_from(from), "question");
    EXPECT_EQ(from, (SocketAddress{kClientIp, 45002}));
    ASSERT_TRUE(server.send_to("answer", from));
    SocketAddress answered_by;
    ASSERT_EQ(caller.receive_from(answered_by), "answer");
    EXPECT_EQ(answered_by, (SocketAddress{kNodeIp2, 2053}));
}

TEST_F(Publish, RealDnsQueryGoesThroughUdp) {
    // dig against a socat that answers every query with a canned response of the same id would be a mock; the echo of
    // the query itself is a well-formed DNS message, which dig accepts with a warning about the missing QR flag.
    lab().attach("dns", {"-p", "2053:53/udp"});
    const UdpEcho echo{lab().at("dns"), 53};
    const CommandResult result = lab().client().run({"dig", "+tries=1", "+time=2", "-p", "2053", "@" + kNodeIp, "example.org"});
    EXPECT_EQ(result.out.find("no servers could be reached"), std::string::npos) << result;
}

TEST_F(Publish, EveryPortOfARangeIsReachableAndItsNeighboursAreNot) {
    lab().attach("web", {"-p", "3000-3004:4000-4004"});
    const WebServer web{lab().at("web"), "web", {3999, 4000, 4001, 4002, 4003, 4004, 4005}};
    for (std::uint16_t i = 0; i < 5; ++i) {
        const auto host_port = static_cast<std::uint16_t>(3000 + i);
        EXPECT_EQ(fetch(lab().client(), url(kNodeIp, host_port)),
                  "web " + kClientIp + " " + lab().ip("web") + ":" + std::to_string(4000 + i) + "\n");
    }
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2999), 1), "");
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 3005), 1), "");
}

TEST_F(Publish, RangeOfTenThousandUdpPortsIsOneRecordAndFewMapEntries) {
    lab().attach("media");
    const json before = lab().json({"stats"})["maps"];
    ASSERT_EQ(lab().fastnet({"publish", "media", "20000-29999:20000-29999/udp"}).status, 0);
    const json after = lab().json({"stats"})["maps"];
    constexpr std::int64_t kPerAddressAndProtocol = 32;
    constexpr std::int64_t kFamilies = 2;
    for (const auto& [name, map] : after.items()) {
        const std::int64_t grown = map["entries"].get<std::int64_t>() - before[name]["entries"].get<std::int64_t>();
        EXPECT_LE(grown, kPerAddressAndProtocol * kFamilies) << "map " << name;
    }
    json rows = json::array();
    for (const json& row : lab().json({"ports"})) {
        if (row["host_ip"] == "0.0.0.0") rows.push_back(row);
    }
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0]["host_port_end"], 29999);
    for (const std::uint16_t port : {std::uint16_t{20000}, std::uint16_t{20001}, std::uint16_t{24567}, std::uint16_t{29999}}) {
        const UdpEcho echo{lab().at("media"), port};
        EXPECT_TRUE(udp_answers(lab().client(), {kNodeIp, port})) << port;
    }
    const UdpEcho outside{lab().at("media"), 30000};
    EXPECT_FALSE(udp_answers(lab().client(), {kNodeIp, 30000}, "x", Millis{500}));
    ASSERT_EQ(lab().fastnet({"unpublish", "media", "20000-29999:20000-29999/udp"}).status, 0);
    const UdpEcho echo{lab().at("media"), 24567};
    EXPECT_FALSE(udp_answers(lab().client(), {kNodeIp, 24567}, "x", Millis{500}));
}

TEST_F(Publish, HostRangeToASinglePortTakesTheFirstFreeOne) {
    lab().attach("a", {"-p", "2000:80"});
    const Socket taken = Socket::listener(lab().node(), {"0.0.0.0", 2001});
    const json b = lab().attach("b", {"-p", "2000-2005:80"});
    const WebServer web{lab().at("b"), "b"};
    EXPECT_EQ(b["published"][0]["host_port"], 2002) << b.dump();
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2002)), "");
}

TEST_F(Publish, HostRangeWithNoFreePortIsAConflict) {
    lab().attach("a", {"-p", "2000-2001:80-81"});
    lab().container("b");
    expect_error(lab().fastnet(lab().attach_args("b", {"-p", "2000-2001:80"})), kConflict, {"2000"});
}

TEST_F(Publish, PortBoundToOneHostAddressIsServedThereOnly) {
    lab().attach("web", {"-p", kNodeIp2 + ":2000:80"});
    const WebServer web{lab().at("web"), "web"};
    EXPECT_NE(fetch(lab().client(), url(kNodeIp2, 2000)), "");
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2000), 1), "");
}

TEST_F(Publish, TwoContainersShareAPortOnDifferentHostAddresses) {
    lab().attach("a", {"-p", kNodeIp + ":2000:80"});
    lab().attach("b", {"-p", kNodeIp2 + ":2000:80"});
    const WebServer web_a{lab().at("a"), "a"};
    const WebServer web_b{lab().at("b"), "b"};
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2000)).substr(0, 2), "a ");
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp2, 2000)).substr(0, 2), "b ");
}

TEST_F(Publish, PortBoundToAllAddressesFollowsAnAddressThatIsAddedLater) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    lab().node().ip({"addr add 192.0.2.44/24 dev eth0"});
    EXPECT_NE(fetch_soon(lab().client(), url("192.0.2.44", 2000)), "");
    lab().node().ip({"addr del 192.0.2.44/24 dev eth0"});
}

TEST_F(Publish, PortOfAnAddressThatMovedToAnotherHostIsThatHosts) {
    const Netns& other = lab().add_other_host("eth1");
    lab().node().set_sysctl("net.ipv4.ip_forward", "1");
    lab().rebaseline();
    lab().attach("web", {"--uplink", "eth0", "-p", kNodeIp2 + ":2000:80"});
    const WebServer web{lab().at("web"), "web"};
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp2, 2000)).substr(0, 4), "web ");
    lab().node().ip({"addr del " + kNodeIp2 + "/24 dev eth0", "route add " + kNodeIp2 + "/32 via " + kOtherHostIp});
    other.ip({"addr add " + kNodeIp2 + "/32 dev lo"});
    lab().client().ip({"route add " + kNodeIp2 + "/32 via " + kNodeIp});
    const WebServer elsewhere{other, "elsewhere", {2000}};
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp2, 2000)).substr(0, 9), "elsewhere");
    lab().node().ip({"route del " + kNodeIp2 + "/32", "addr add " + kNodeIp2 + "/24 dev eth0"});
}

TEST_F(Publish, PortOfAnotherContainerIsAConflictThatNamesIt) {
    lab().attach("a", {"-p", "2000:80"});
    lab().container("b");
    expect_error(lab().fastnet(lab().attach_args("b", {"-p", "2000:80"})), kConflict, {"2000", "a"});
    expect_error(lab().fastnet(lab().attach_args("b", {"-p", "1999-2001:80-82"})), kConflict, {"2000"});
    expect_error(lab().fastnet(lab().attach_args("b", {"-p", kNodeIp + ":2000:80"})), kConflict, {"2000"});
    expect_error(lab().fastnet(lab().attach_args("b", {"-p", "2001:80", "-p", "2001:81"})), kConflict, {"2001"});
    EXPECT_EQ(lab().at("b").links(), std::vector<std::string>{"lo"}) << "half attached";
    EXPECT_EQ(lab().count("endpoints"), 1U);
    EXPECT_NE(lab().attach("b", {"-p", "2000:80/udp"}), nullptr) << "another protocol is another port";
}

TEST_F(Publish, PublishAndUnpublishWorkOnALiveContainer) {
    lab().attach("web");
    const WebServer web{lab().at("web"), "web"};
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2000), 1), "");
    ASSERT_EQ(lab().fastnet({"publish", "web", "2000:80"}).status, 0);
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
    EXPECT_EQ(lab().endpoint("web")["published"][0]["host_port"], 2000);
    ASSERT_EQ(lab().fastnet({"unpublish", "web", "2000:80"}).status, 0);
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2000), 1), "");
    EXPECT_EQ(lab().endpoint("web")["published"], json::array());
}

TEST_F(Publish, UnpublishDoesNotDisturbTheOtherPorts) {
    lab().attach("web", {"-p", "2000:80", "-p", "2001:80"});
    const WebServer web{lab().at("web"), "web"};
    ASSERT_EQ(lab().fastnet({"unpublish", "web", "2000:80"}).status, 0);
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2000), 1), "");
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2001)), "");
}

TEST_F(Publish, NextContainerOnTheSameUdpPortGetsTheNextPacketOfTheSameSender) {
    lab().attach("first", {"-p", "2053:53/udp"});
    const Socket caller = Socket::bound(lab().client(), Transport::kUdp, {"0.0.0.0", 45003});
    const Socket first = Socket::bound(lab().at("first"), Transport::kUdp, {"0.0.0.0", 53});
    SocketAddress from;
    ASSERT_TRUE(caller.send_to("one", {kNodeIp, 2053}));
    ASSERT_EQ(first.receive_from(from), "one");
    ASSERT_TRUE(first.send_to("reply", from));
    ASSERT_EQ(caller.receive(), "reply");
    ASSERT_EQ(lab().fastnet({"detach", "first"}).status, 0);
    lab().attach("second", {"-p", "2053:53/udp"});
    const Socket second = Socket::bound(lab().at("second"), Transport::kUdp, {"0.0.0.0", 53});
    ASSERT_TRUE(caller.send_to("two", {kNodeIp, 2053}));
    EXPECT_EQ(second.receive_from(from), "two") << "a stale flow still leads to the old container";
}

TEST_F(Publish, OneClientPortTalksToTwoPublishedPortsOfOneContainerPort) {
    lab().attach("web", {"-p", "2000:80", "-p", "2001:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    const Socket first = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000}, {kClientIp, 45004});
    ASSERT_TRUE(first.ok()) << first.error();
    const Socket first_served = listener.accept();
    // SO_REUSEADDR lets a second connection leave from the same port to another destination.
    const Socket second = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2001}, {kClientIp, 45004});
    ASSERT_TRUE(second.ok()) << "both flows have one reply tuple: the second needs another source port; errno " << second.error();
    const Socket second_served = listener.accept();
    EXPECT_TRUE(ping_pong(first, first_served, "first"));
    EXPECT_TRUE(ping_pong(second, second_served, "second"));
}

TEST_F(Publish, TupleOfAClosedConnectionIsUsedAgainAtOnce) {
    lab().attach("web", {"-p", "2000:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    for (int round = 0; round < 6; ++round) {
        SCOPED_TRACE(round);
        Socket caller = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000}, {kClientIp, 45005});
        ASSERT_TRUE(caller.ok()) << caller.error();
        Socket served = listener.accept();
        ASSERT_TRUE(ping_pong(caller, served));
        EXPECT_EQ(served.peer(), (SocketAddress{kClientIp, 45005}));
        if (round % 2 == 1) served.reset_on_close();
        served.close();  // first: TIME-WAIT is on this side
        ASSERT_TRUE(caller.at_end());
        caller.close();
    }
    EXPECT_EQ(lab().json({"flows"}).size(), 1U);
}

TEST_F(Publish, LargeTransfersArriveIntactInBothDirections) {
    lab().attach("web", {"-p", "2000:80", "-p", "2001:9000"});
    const WebServer web{lab().at("web"), "web"};
    constexpr std::size_t kSize = 64U << 20U;
    const std::string file = (web.directory() / "blob").string();
    ASSERT_TRUE(shell("head -c " + std::to_string(kSize) + " /dev/urandom > " + file).ok());
    const std::string expected = shell("sha256sum < " + file).out;
    RunOptions options;
    options.timeout = Millis{60'000};
    EXPECT_EQ(lab().client().shell("curl -s --max-time 50 " + url(kNodeIp, 2000, "/files/blob") + " | sha256sum", options).out, expected);
    Background sink = lab().at("web").background({"sh", "-c", "socat -u TCP4-LISTEN:9000 STDOUT | sha256sum"});
    ASSERT_TRUE(wait_until([&] { return is_listening(lab().at("web"), Transport::kTcp, 9000); }));
    EXPECT_TRUE(lab().client().shell("socat -u STDIN TCP4:" + kNodeIp + ":2001 < " + file, options).ok());
    EXPECT_EQ(sink.wait(Millis{20'000}), 0);
    EXPECT_EQ(sink.output(), expected);
}

TEST_F(Publish, IperfRunsBothWaysOverTcpAndUdp) {
    lab().attach("perf", {"-p", "5201:5201", "-p", "5201:5201/udp"});
    const Background server = lab().at("perf").background({"iperf3", "-s"});
    ASSERT_TRUE(wait_until([&] { return is_listening(lab().at("perf"), Transport::kTcp, 5201); }));
    for (const Argv& extra : std::vector<Argv>{{}, {"-R"}, {"-u", "-b", "50M"}, {"-u", "-b", "50M", "-R"}}) {
        Argv argv{"iperf3", "-c", kNodeIp, "-t", "1", "-J"};
        argv.insert(argv.end(), extra.begin(), extra.end());
        SCOPED_TRACE(::testing::PrintToString(extra));
        CommandResult result;
        // The single-threaded server may still be closing the run before.
        EXPECT_TRUE(wait_until(
            [&] {
                result = lab().client().run(argv);
                return result.ok();
            },
            Millis{15'000}))
            << result;
    }
}

TEST_F(Publish, PortAndEndpointCountersRise) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    const auto row = [&] {
        for (const json& port : lab().json({"ports"})) {
            if (port["host_ip"] == "0.0.0.0") return port;
        }
        return json{};
    };
    const json before = row();
    EXPECT_EQ(before["connections"], 0);
    for (int i = 0; i < 5; ++i) ASSERT_FALSE(fetch(lab().client(), url(kNodeIp, 2000)).empty());
    json after;
    EXPECT_TRUE(wait_until([&] {
        after = row();
        return after["connections"] == 5;
    })) << after.dump();
    EXPECT_GE(after["packets"].get<int>(), 5 * 4);
    EXPECT_GT(after["bytes"].get<int>(), 5 * 200);
}

TEST_F(Publish, ManyShortConnectionsAllSucceed) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    RunOptions options;
    options.timeout = Millis{60'000};
    const CommandResult result = lab().client().shell("seq 2000 | xargs -P 4 -n 100 sh -c 'for i; do curl -s --max-time 10 -o /dev/null " +
                                                          url(kNodeIp, 2000) + " || echo failed; done' sh",
                                                      options);
    EXPECT_TRUE(result.ok()) << result;
    EXPECT_EQ(result.out, "");
}

TEST_F(Publish, ConnectionToAPortWithoutAServerIsRefusedByTheContainer) {
    lab().attach("web", {"-p", "2000:80"});
    EXPECT_EQ(Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000}).error(), ECONNREFUSED);
}

TEST_F(Publish, HalfClosedConnectionStillCarriesTheAnswer) {
    lab().attach("web", {"-p", "2000:80"});
    const Background server =
        lab().at("web").background({"socat", "TCP4-LISTEN:80,fork", "SYSTEM:cat >/dev/null; sleep 0.3; echo late answer"});
    ASSERT_TRUE(wait_until([&] { return is_listening(lab().at("web"), Transport::kTcp, 80); }));
    EXPECT_EQ(lab().client().shell("echo question | socat -t10 STDIO TCP4:" + kNodeIp + ":2000").out, "late answer\n");
}

TEST_F(Publish, HostReachesTheContainersOwnAddress) {
    lab().attach("web");
    const WebServer web{lab().at("web"), "web"};
    EXPECT_NE(fetch(lab().node(), url(lab().ip("web"), 80)), "") << "host to container needs no published port";
}

TEST_F(Publish, ServiceOfTheHostItselfStaysReachable) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer own{lab().node(), "node", {8022}};
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 8022)), "node " + kClientIp + " " + kNodeIp + ":8022\n");
    const WebServer outside{lab().client(), "outside"};
    EXPECT_EQ(fetch(lab().node(), url(kInternetIp, 80)), "outside " + kNodeIp + " " + kInternetIp + ":80\n");
}

}  // namespace
}  // namespace fastnet::test
