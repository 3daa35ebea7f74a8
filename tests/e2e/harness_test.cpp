// The harness tested against itself: before a test may accuse fastnet, its tools must be above suspicion.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/harness/lab.h"
#include "tests/harness/overlay_lab.h"
#include "tests/harness/privileges.h"

namespace fastnet::test {
namespace {

class Harness : public ::testing::Test {
protected:
    void SetUp() override { FASTNET_SKIP_WITHOUT_PRIVILEGES(); }
};

TEST_F(Harness, CommandThatHangsIsKilledAtItsBound) {
    RunOptions options;
    options.timeout = Millis{100};
    const CommandResult result = run({"sh", "-c", "sleep 60 & sleep 60"}, options);
    EXPECT_TRUE(result.timed_out);
    EXPECT_NE(result.status, 0);
}

TEST_F(Harness, CommandReportsBothOutputsStatusAndInput) {
    RunOptions options;
    options.input = std::string(200'000, 'x');
    const CommandResult result = shell("wc -c; echo wrong >&2; exit 7", options);
    EXPECT_EQ(result.status, 7);
    EXPECT_EQ(result.out, "200000\n");
    EXPECT_EQ(result.err, "wrong\n");
}

TEST_F(Harness, BackgroundProcessIsGoneWithItsOwner) {
    pid_t pid = 0;
    {
        Background sleeper{{"sleep", "600"}};
        pid = sleeper.pid();
        EXPECT_TRUE(sleeper.running());
    }
    EXPECT_FALSE(std::filesystem::exists("/proc/" + std::to_string(pid)));
}

TEST_F(Harness, NamespaceIsRemovedWithItsOwnerAndStaleOnesAreRecognised) {
    std::string path;
    {
        const Netns netns{unique_prefix() + "-x"};
        path = netns.path();
        EXPECT_TRUE(std::filesystem::exists(path));
        EXPECT_FALSE(is_stale(netns.name()));
        EXPECT_EQ(netns.links(), std::vector<std::string>{"lo"});
    }
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_TRUE(is_stale("fnt4194304-0-node")) << "above the largest pid, so never alive";
    EXPECT_FALSE(is_stale("fnt-node"));
    EXPECT_FALSE(is_stale("docker"));
}

TEST_F(Harness, ClientAndNodeReachEachOtherOnTheStandardTopology) {
    Lab lab;
    const WebServer web{lab.client(), "outside"};
    EXPECT_EQ(fetch(lab.node(), url(kInternetIp, 80)), "outside 192.0.2.2 198.51.100.1:80\n");
    const Socket listener = Socket::listener(lab.node(), {"0.0.0.0", 5000});
    ASSERT_TRUE(listener.ok());
    EXPECT_TRUE(is_listening(lab.node(), Transport::kTcp, 5000));
    EXPECT_FALSE(is_listening(lab.client(), Transport::kTcp, 5000));
    const Socket caller = Socket::connected(lab.client(), Transport::kTcp, {kNodeIp, 5000}, {kClientIp, 6000});
    ASSERT_TRUE(caller.ok());
    const Socket answered = listener.accept();
    EXPECT_EQ(answered.peer(), (SocketAddress{kClientIp, 6000}));
    EXPECT_TRUE(ping_pong(caller, answered));
    EXPECT_EQ(Socket::connected(lab.client(), Transport::kTcp, {kNodeIp, 5001}).error(), ECONNREFUSED);
}

TEST_F(Harness, NodesOfTheOverlayTopologyReachEachOtherThroughTheRouter) {
    OverlayLab lab;
    for (std::size_t from = 1; from <= kOverlayNodes; ++from)
        for (std::size_t to = 1; to <= kOverlayNodes; ++to)
            for (const std::string& address : {OverlayLab::ip(to), OverlayLab::ip6(to), kInternetIp, kInternetIp6})
                EXPECT_TRUE(lab.node(from).node().run({"ping", "-c1", "-W2", address}).ok()) << from << " to " << address;
    const Argv too_big{"ping", "-c1", "-W1", "-Mdo", "-s1400", OverlayLab::ip(2)};
    EXPECT_TRUE(lab.node(1).node().run(too_big).ok());
    lab.set_mtu(2, 1400);
    EXPECT_FALSE(lab.node(1).node().run(too_big).ok());
    EXPECT_TRUE(lab.node(3).node().run({"ping", "-c1", "-W2", "-Mdo", "-s1372", OverlayLab::ip(2)}).ok());
    lab.set_link(2, false);
    EXPECT_FALSE(lab.node(1).node().run({"ping", "-c1", "-W1", OverlayLab::ip(2)}).ok());
    lab.set_link(2, true);
    for (const std::string& address : {OverlayLab::ip(2), OverlayLab::ip6(2)})
        EXPECT_TRUE(wait_until([&] { return lab.node(1).node().run({"ping", "-c1", "-W1", address}).ok(); })) << address;
    lab.cleanup_and_verify();
}

TEST_F(Harness, UdpEchoAnswersEachSender) {
    Lab lab;
    const UdpEcho echo{lab.node(), 7000};
    EXPECT_TRUE(udp_answers(lab.client(), {kNodeIp, 7000}, "one"));
    EXPECT_TRUE(udp_answers(lab.client(), {kNodeIp, 7000}, "two"));
    EXPECT_FALSE(udp_answers(lab.client(), {kNodeIp, 7001}, "three", Millis{300}));
}

TEST_F(Harness, CaptureSeesInjectedFramesWithTheirTags) {
    Lab lab;
    Capture capture{lab.node(), "eth0"};
    const std::string ether = "Ether(src='02:00:00:00:00:01', dst='" + lab.node().mac("eth0") + "')";
    inject(lab.client(), "eth0",
           scapy("frames.append(" + ether + "/IP(src='192.0.2.1', dst='192.0.2.2', ttl=7)/UDP(sport=1111, dport=2222)/b'hello')\n" +
                 "frames.append(" + ether + "/Dot1Q(vlan=5)/IP(src='192.0.2.1', dst='192.0.2.2')/UDP(dport=3333)/b'tagged')\n"));
    const auto plain = capture.wait_for(carries("hello"));
    ASSERT_TRUE(plain);
    EXPECT_EQ(plain->source(), kClientIp);
    EXPECT_EQ(plain->source_port(), 1111);
    EXPECT_EQ(plain->destination_port(), 2222);
    EXPECT_EQ(plain->ttl(), 7);
    EXPECT_TRUE(plain->checksums_verify()) << plain->describe();
    const auto tagged = capture.wait_for(carries("tagged"));
    ASSERT_TRUE(tagged);
    EXPECT_EQ(tagged->ether_type(), 0x8100) << tagged->describe();
}

TEST_F(Harness, NodeStateNoticesEveryKindOfChange) {
    Lab lab;
    const NodeState before = NodeState::read(lab.node());
    EXPECT_EQ(before.difference(NodeState::read(lab.node())), "");
    lab.node().ip({"link add br7 type bridge", "addr add 10.7.7.1/24 dev br7", "rule add pref 77 from 10.7.7.0/24 lookup 77",
                   "route add 10.8.0.0/16 via 192.0.2.1"});
    lab.node().set_sysctl("net.ipv4.ip_forward", "1");
    lab.node().run({"nft", "add", "table", "ip", "left"});
    const std::string difference = before.difference(NodeState::read(lab.node()));
    for (const char* const wanted : {"new: link br7", "new: rule -4 77", "new: route -4 10.8.0.0/16", "new: address br7 10.7.7.1",
                                     "changed: sysctl net.ipv4.ip_forward: 0 -> 1", "changed: nftables"}) {
        EXPECT_NE(difference.find(wanted), std::string::npos) << "not noticed: " << wanted << "\n" << difference;
    }
}

TEST_F(Harness, RootDirectoryListsPinsAndForgetsThemAtUnmount) {
    const RootDir root{unique_prefix() + "-root"};
    const std::string mount_point = (root.path() / "bpf").string();
    std::filesystem::create_directories(mount_point);
    ASSERT_TRUE(run({"mount", "-t", "bpf", "bpf", mount_point}).ok());
    ASSERT_TRUE(
        run({"bpftool", "map", "create", mount_point + "/m", "type", "array", "key", "4", "value", "4", "entries", "1", "name", "m"}).ok());
    const PinnedObjects objects = root.pinned();
    EXPECT_EQ(objects.maps.size(), 1U);
    EXPECT_FALSE(still_alive(objects).empty());
    EXPECT_EQ(root.mounts(), std::vector<std::string>{mount_point});
    root.unmount();
    EXPECT_TRUE(root.mounts().empty());
    EXPECT_TRUE(wait_until([&] { return still_alive(objects).empty(); }));
}

}  // namespace
}  // namespace fastnet::test
