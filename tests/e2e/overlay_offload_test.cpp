// Bulk through the overlay, with the offloads of the wire and of the containers in every state: what arrives is what was sent.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/harness/overlay_lab.h"
#include "tests/harness/services.h"

namespace fastnet::test {
namespace {

constexpr int kUdpSegment = 103;  // UDP_SEGMENT of linux/udp.h

struct Offloads {
    std::string name;
    Argv uplink;     // words for `ethtool -K eth0` on every node
    Argv container;  // and in every container
};

void PrintTo(const Offloads& offloads, std::ostream* stream) {
    *stream << offloads.name;
}

class OverlayOffloads : public OverlayLabTest, public ::testing::WithParamInterface<Offloads> {
protected:
    void SetUp() override {
        OverlayLabTest::SetUp();
        for (std::size_t number = 1; number <= 2; ++number) set(lab().node(number).node(), GetParam().uplink);
        lab().connect();
        for (std::size_t number = 1; number <= 2; ++number) {
            lab().attach(number, "c" + std::to_string(number));
            set(at(number), GetParam().container);
        }
    }
    const Netns& at(std::size_t number) { return lab().node(number).at("c" + std::to_string(number)); }
    static void set(const Netns& netns, const Argv& words) {
        if (words.empty()) return;
        Argv command{"ethtool", "-K", "eth0"};
        command.insert(command.end(), words.begin(), words.end());
        const CommandResult done = netns.run(command);
        ASSERT_TRUE(done.ok()) << done;
    }
    /// 24 MB of a web server in @p server are what @p client gets.
    static void expect_download(const Netns& client, const Netns& server, const std::string& url_host) {
        const WebServer web{server, "web"};
        const std::string file = (web.directory() / "bulk").string();
        ASSERT_TRUE(shell("head -c 24000000 /dev/urandom > " + file).ok());
        const CommandResult got = shell("curl -sS --max-time 60 http://" + url_host + "/files/bulk | cmp - " + file,
                                        {.netns = client.name(), .timeout = Millis{70'000}});
        EXPECT_TRUE(got.ok()) << got;
    }
};

TEST_P(OverlayOffloads, BulkArrivesAsItWasSentBothWays) {
    expect_download(at(1), at(2), lab().node(2).ip("c2"));
    expect_download(at(2), at(1), "[" + without_prefix_length(lab().node(1).endpoint("c1")["ipv6"]) + "]");
    EXPECT_GT(lab().verdict_of_all("TUNNEL_RECEIVED"), 100U);
    EXPECT_EQ(lab().verdict_of_all("TUNNEL_BAD_INNER"), 0U);
    EXPECT_EQ(lab().verdict_of_all("INTERNAL_ERROR"), 0U);
}

TEST_P(OverlayOffloads, DatagramsThatTheSenderGivesInOnePiece) {
    const Socket server = Socket::bound(at(2), Transport::kUdp, {"::", 7000});
    const Socket client = Socket::connected(at(1), Transport::kUdp, {lab().node(2).ip("c2"), 7000});
    const int segment = 1000;
    ASSERT_EQ(::setsockopt(client.fd(), IPPROTO_UDP, kUdpSegment, &segment, sizeof segment), 0);
    std::string sent;
    for (char letter = 'a'; letter < 'k'; ++letter) sent += std::string(static_cast<std::size_t>(segment), letter);
    ASSERT_TRUE(client.send(sent));
    for (char letter = 'a'; letter < 'k'; ++letter)
        EXPECT_EQ(server.receive(), std::string(static_cast<std::size_t>(segment), letter)) << letter;
}

// A container that forwards to one of its own, as Docker inside Docker does, over a link that segments nothing for it.
TEST_P(OverlayOffloads, BulkIsForwardedInsideAContainer) {
    const Netns& outer = at(2);
    const Netns& nested = lab().node(2).container("nested");
    ASSERT_TRUE(
        run({"ip", "link", "add", "in0", "netns", outer.name(), "type", "veth", "peer", "name", "eth0", "netns", nested.name()}).ok());
    outer.ip({"address add 192.168.77.1/24 dev in0", "link set in0 up"});
    nested.ip({"address add 192.168.77.2/24 dev eth0", "link set eth0 up", "route add default via 192.168.77.1"});
    ASSERT_TRUE(outer.run({"ethtool", "-K", "in0", "tso", "off", "tx-udp_tnl-segmentation", "off"}).ok());
    ASSERT_TRUE(outer.run({"sysctl", "-qw", "net.ipv4.ip_forward=1"}).ok());
    const CommandResult rules =
        outer.run({"nft",
                   "table ip nat { chain pre { type nat hook prerouting priority -100; tcp dport 80 dnat to 192.168.77.2; };"
                   " chain post { type nat hook postrouting priority 100; masquerade; }; }"});
    ASSERT_TRUE(rules.ok()) << rules;
    const WebServer web{nested, "nested"};
    const std::string file = (web.directory() / "bulk").string();
    ASSERT_TRUE(shell("head -c 24000000 /dev/urandom > " + file).ok());
    const CommandResult got = shell("curl -sS --max-time 60 http://" + lab().node(2).ip("c2") + "/files/bulk | cmp - " + file,
                                    {.netns = at(1).name(), .timeout = Millis{70'000}});
    EXPECT_TRUE(got.ok()) << got;
    // Towards the container, which is where what was decapsulated is segmented again.
    const Socket listener = Socket::listener(nested, {"192.168.77.2", 7000});
    const CommandResult more = outer.run({"nft", "add rule ip nat pre tcp dport 7000 dnat to 192.168.77.2"});
    ASSERT_TRUE(more.ok()) << more;
    const Socket caller = Socket::connected(at(1), Transport::kTcp, {lab().node(2).ip("c2"), 7000});
    ASSERT_TRUE(caller.ok()) << "errno " << caller.error();
    const Socket served = listener.accept();
    for (char letter = 'a'; letter < 'k'; ++letter)
        ASSERT_TRUE(ping_pong(caller, served, std::string(60'000, letter), Millis{10'000})) << letter;
    EXPECT_TRUE(outer.run({"ip", "link", "delete", "in0"}).ok());
}

INSTANTIATE_TEST_SUITE_P(With, OverlayOffloads,
                         ::testing::Values(Offloads{"AllAsTheyAre", {}, {}},  //
                                           Offloads{"NoSegmentation", {"tso", "off", "gso", "off", "tx-udp_tnl-segmentation", "off"}, {}},
                                           Offloads{"SegmentationInSoftware", {"tso", "off", "tx-udp_tnl-segmentation", "off"}, {}},
                                           Offloads{"NoReceiveOffload", {"gro", "off"}, {"gro", "off"}},
                                           Offloads{"NoChecksums", {"tx", "off", "rx", "off"}, {"tx", "off", "rx", "off"}},
                                           Offloads{"ReceiveOffload", {"gro", "on"}, {"gro", "on"}}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace fastnet::test
