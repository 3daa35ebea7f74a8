// What is not TCP, UDP or ping: protocols without ports to the outside, multicast and broadcast inside a network; and whose
// flows end when a container goes.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <set>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

/// Answers the first packet of an IP protocol: prints `<source> <payload>` and sends `answer` back.
const char* const kRawServer = R"(
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, int(sys.argv[1]))
s.bind((sys.argv[2], 0))
print('ready', flush=True)
while True:
    packet, sender = s.recvfrom(2048)
    print(sender[0], packet[20:].decode(), flush=True)
    s.sendto(b'answer', sender)
)";
/// Sends one packet of an IP protocol and prints `<source> <payload>` of the answer, or why there is none.
const char* const kRawCaller = R"(
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, int(sys.argv[1]))
s.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
s.settimeout(3)
s.connect((sys.argv[2], 0))
s.send(b'question')
try:
    packet = s.recv(2048)
    print(socket.inet_ntoa(packet[12:16]), packet[20:].decode())
except OSError as error:
    print(error.__class__.__name__, error.errno)
)";

class Protocols : public LabTest {
protected:
    /// Joins @p group on eth0, prints `ready`, then each datagram as `<source> <text>`.
    static Background group_member(const Netns& netns, const std::string& group) {
        return started(netns, {"python3", "-c", R"(
import socket, struct, sys
group = sys.argv[1]
v6 = ':' in group
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', 5353))
if v6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, group) + struct.pack('@I', socket.if_nametoindex('eth0')))
else:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack('4s4si', socket.inet_aton(group), b'\0' * 4, socket.if_nametoindex('eth0')))
print('ready', flush=True)
while True:
    text, sender = s.recvfrom(2048)
    print(sender[0].split('%')[0], text.decode(), flush=True)
)",
                               group});
    }
    static void say_to_group(const Netns& netns, const std::string& group, const std::string& text) {
        const auto said = netns.run({"python3", "-c", R"(
import socket, sys
group = sys.argv[1]
v6 = ':' in group
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
if v6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex('eth0'))
s.sendto(sys.argv[2].encode(), (group, 5353))
)",
                                     group, text});
        EXPECT_TRUE(said.ok()) << said;
    }
    static Background started(const Netns& netns, const Argv& argv) {
        Background process = netns.background(argv);
        EXPECT_TRUE(says(process, "ready"));
        return process;
    }
    static bool says(Background& process, const std::string& text, Millis bound = Millis{5000}) {
        return wait_until([&] { return process.output().find(text) != std::string::npos; }, bound);
    }
};

TEST_F(Protocols, WithoutPortsLeaveWithTheAddressOfTheHostAndAreAnswered) {
    lab().attach("app");
    for (const char* const protocol : {"47", "50"}) {  // GRE, ESP
        Background server = started(lab().client(), {"python3", "-c", kRawServer, protocol, kInternetIp});
        EXPECT_EQ(lab().at("app").run({"python3", "-c", kRawCaller, protocol, kInternetIp}).out, kInternetIp + " answer\n");
        EXPECT_TRUE(says(server, kNodeIp + " question")) << server.output();
    }
    std::set<std::string> protocols;
    for (const auto& flow : lab().json({"flows"})) protocols.insert(flow["protocol"].get<std::string>());
    EXPECT_EQ(protocols, (std::set<std::string>{"47", "50"}));
}

TEST_F(Protocols, WithoutPortsBelongToOneContainerPerPeer) {
    lab().attach("a");
    lab().attach("b");
    const Background server = started(lab().client(), {"python3", "-c", kRawServer, "47", kInternetIp});
    const Background other = started(lab().client(), {"python3", "-c", kRawServer, "47", kClientIp});
    const auto call = [&](const char* name, const std::string& peer) {
        return lab().at(name).run({"python3", "-c", kRawCaller, "47", peer}).out;
    };
    EXPECT_EQ(call("a", kInternetIp), kInternetIp + " answer\n");
    EXPECT_EQ(call("b", kInternetIp), "OSError " + std::to_string(EHOSTUNREACH) + "\n") << "told by an ICMP error of type 3, code 13";
    EXPECT_GT(lab().verdict("PROTOCOL_IN_USE"), 0U);
    EXPECT_EQ(call("b", kClientIp), kClientIp + " answer\n") << "another peer";
    ASSERT_EQ(lab().fastnet({"detach", "a"}).status, 0);
    EXPECT_EQ(call("b", kInternetIp), kInternetIp + " answer\n");
}

TEST_F(Protocols, TunnelOfTheHostStaysTheHosts) {
    lab().attach("app");
    const Background far = started(lab().client(), {"python3", "-c", kRawServer, "47", kClientIp});
    const auto from_host = [&] { return lab().node().run({"python3", "-c", kRawCaller, "47", kClientIp}).out; };
    EXPECT_EQ(from_host(), kClientIp + " answer\n");
    EXPECT_EQ(lab().at("app").run({"python3", "-c", kRawCaller, "47", kClientIp}).out, "OSError " + std::to_string(EHOSTUNREACH) + "\n");
    EXPECT_EQ(from_host(), kClientIp + " answer\n");
}

TEST_F(Protocols, MulticastReachesTheMembersOfItsNetworkOnly) {
    lab().json({"network", "create", "other"});
    for (const char* const name : {"a", "b"}) lab().attach(name);
    lab().attach("stranger", {"--network", "other"});
    for (const char* const group : {"224.0.0.251", "ff02::fb"}) {  // mDNS
        SCOPED_TRACE(group);
        Background member = group_member(lab().at("b"), group);
        Background outside = group_member(lab().at("stranger"), group);
        say_to_group(lab().at("a"), group, "who is printer.local");
        EXPECT_TRUE(says(member, "who is printer.local"));
        say_to_group(lab().at("stranger"), group, "mine alone");
        EXPECT_TRUE(says(outside, "mine alone")) << "a sender that is a member hears itself";
        EXPECT_EQ(outside.output().find("printer"), std::string::npos);
        EXPECT_EQ(member.output().find("mine alone"), std::string::npos);
    }
}

TEST_F(Protocols, MulticastNeverLeavesTheHost) {
    lab().attach("a");
    Background outside = group_member(lab().client(), "224.0.0.251");
    Capture wire{lab().client(), "eth0"};
    say_to_group(lab().at("a"), "224.0.0.251", "inside only");
    // Whatever the datagram was to meet, this one meets after it.
    const WebServer web{lab().client(), "outside"};
    EXPECT_NE(fetch(lab().at("a"), url(kInternetIp, 80)), "");
    EXPECT_EQ(outside.output().find("inside only"), std::string::npos);
}

TEST_F(Protocols, BroadcastReachesTheNetwork) {
    lab().attach("a");
    lab().attach("b");
    Socket b = Socket::bound(lab().at("b"), Transport::kUdp, {"0.0.0.0", 4000});
    const Socket a = Socket::bound(lab().at("a"), Transport::kUdp, {"0.0.0.0", 4001});
    const int on = 1;
    ASSERT_EQ(setsockopt(a.fd(), SOL_SOCKET, SO_BROADCAST, &on, sizeof on), 0);
    ASSERT_TRUE(a.send_to("to all", {"255.255.255.255", 4000}));
    SocketAddress from;
    EXPECT_EQ(b.receive_from(from), "to all");
    EXPECT_EQ(from.ip, lab().ip("a"));
}

/// A DHCP server on the host gives the container a lease; one in a container is heard by nobody.
TEST_F(Protocols, DhcpWorksWithAServerOnTheHostAndNotWithOneInAContainer) {
    const auto client = lab().attach("dhcp");
    lab().attach("rogue");
    const std::string bridge = lab().json({"network", "inspect", "default"})["bridge"];
    const std::string gateway = client["gateway"];
    // BOOTP with options 53 (message type), 54 (server), 51 (lease time) and 1 (mask): RFC 2131.
    const char* const server = R"(
import socket, sys
device, address, offered = sys.argv[1:4]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.SOL_SOCKET, 25, device.encode())  # SO_BINDTODEVICE
s.bind(('', 67))
print('ready', flush=True)
while True:
    q, sender = s.recvfrom(2048)
    kind = q[240:][q[240:].index(b'\x35\x01') + 2]
    print('asked', kind, flush=True)
    a = socket.inet_aton
    answer = b'\x02' + q[1:8] + b'\0\0\x80\0' + q[12:16] + a(offered) + a(address) + b'\0' * 4 + q[28:240]
    answer += bytes([53, 1, 2 if kind == 1 else 5, 54, 4]) + a(address) + b'\x33\x04\0\0\x0e\x10\x01\x04\xff\xff\xff\0\xff'
    s.sendto(answer, ('255.255.255.255', 68))
)";
    const auto lease = [&] {
        return lab().at("dhcp").run({"busybox", "udhcpc", "-f", "-n", "-q", "-i", "eth0", "-t", "3", "-T", "1", "-s", "/bin/true"});
    };
    {
        Background rogue = started(lab().at("rogue"), {"python3", "-c", server, "eth0", lab().ip("rogue"), "10.9.9.9"});
        EXPECT_NE(lease().status, 0) << "nobody else answers";
        EXPECT_TRUE(says(rogue, "asked 1")) << "the broadcast reaches every container";
        EXPECT_GT(lab().verdict("ROUTER_MESSAGE"), 0U);
    }
    Background host = started(lab().node(), {"python3", "-c", server, bridge, gateway, lab().ip("dhcp")});
    const CommandResult leased = lease();
    EXPECT_TRUE(leased.ok()) << leased << host.output();
    EXPECT_NE((leased.out + leased.err).find(lab().ip("dhcp")), std::string::npos) << leased;
}

struct Caller {
    Socket socket;
    SocketAddress to;
    /// Whether @p server hears the next datagram of this very socket.
    bool reaches(const Socket& server) const {
        SocketAddress from;
        return socket.send_to("still there", to) && server.receive_from(from, Millis{1000}) == "still there" &&
               server.send_to("yes", from) && socket.receive(Millis{1000}) == "yes";
    }
};

/// Flows that end are exactly those of the port, the endpoint or the container that goes; both families.
class EndsFlows : public LabTest, public ::testing::WithParamInterface<bool> {
protected:
    void SetUp() override {
        LabTest::SetUp();
        if (GetParam()) lab().add_ipv6();
    }
    Caller caller(std::uint16_t to) {
        const bool v6 = GetParam();
        return {Socket::bound(lab().client(), Transport::kUdp, {v6 ? "::" : "0.0.0.0", 0}), {v6 ? kNodeIp6 : kNodeIp, to}};
    }
    Socket server(const std::string& label, std::uint16_t port) {
        return Socket::bound(lab().at(label), Transport::kUdp, {GetParam() ? "::" : "0.0.0.0", port});
    }
    std::size_t flows() const { return const_cast<EndsFlows*>(this)->lab().json({"flows"}).size(); }
};
INSTANTIATE_TEST_SUITE_P(Each, EndsFlows, ::testing::Bool(),
                         [](const ::testing::TestParamInfo<bool>& one) { return one.param ? "Ipv6" : "Ipv4"; });

TEST_P(EndsFlows, UnpublishOfItsPortOnly) {
    lab().attach("a", {"-p", "2053:53/udp", "-p", "2054:54/udp"});
    const Socket one = server("a", 53), two = server("a", 54);
    const Caller first = caller(2053), second = caller(2054);
    ASSERT_TRUE(first.reaches(one));
    ASSERT_TRUE(second.reaches(two));
    ASSERT_EQ(flows(), 2U);
    ASSERT_EQ(lab().fastnet({"unpublish", "a", "2053:53/udp"}).status, 0);
    EXPECT_EQ(flows(), 1U);
    EXPECT_FALSE(first.reaches(one));
    EXPECT_TRUE(second.reaches(two));
    lab().attach("b", {"-p", "2053:5353/udp"});
    EXPECT_TRUE(first.reaches(server("b", 5353))) << "the same socket's next datagram meets the new owner of the port";
}

TEST_P(EndsFlows, DetachOfItsEndpointOnly) {
    lab().attach("a", {"-p", "2053:53/udp"});
    lab().attach("b", {"-p", "2054:53/udp"});
    const Socket of_a = server("a", 53), of_b = server("b", 53);
    const Caller first = caller(2053), second = caller(2054);
    ASSERT_TRUE(first.reaches(of_a));
    ASSERT_TRUE(second.reaches(of_b));
    ASSERT_EQ(lab().fastnet({"detach", "a"}).status, 0);
    EXPECT_EQ(flows(), 1U);
    EXPECT_TRUE(second.reaches(of_b));
    lab().attach("c", {"-p", "2053:53/udp"});
    EXPECT_TRUE(first.reaches(server("c", 53)));
}

TEST_P(EndsFlows, OfAContainerThatVanishedAndWasReplaced) {
    lab().attach("a", {"-p", "2053:53/udp"});
    const Caller first = caller(2053);
    ASSERT_TRUE(first.reaches(server("a", 53)));
    lab().lose_container("a");
    ASSERT_TRUE(wait_until([&] { return lab().fastnet({"attach", "--mode", "bridge"}).ok() && lab().count("endpoints") == 0; }));
    lab().attach("b", {"-p", "2053:53/udp"});
    EXPECT_TRUE(first.reaches(server("b", 53)));
    EXPECT_EQ(flows(), 1U);
}

}  // namespace
}  // namespace fastnet::test
