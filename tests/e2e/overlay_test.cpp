// Overlay networks across nodes: three of them on a routed underlay, real programs, real sockets in the containers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/harness/overlay_lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

const OverlayNetwork kRed{.name = "red", .vni = 43, .net4 = "10.98", .net6 = "fd00:98"};

class OverlayNodes : public OverlayLabTest {
protected:
    struct Member {
        const Netns* netns = nullptr;
        std::string ip{};
        std::string ip6{};
    };
    Member join(std::size_t node, const std::string& label, const Argv& extra = {}, const OverlayNetwork& network = {}) {
        const json row = lab().attach(node, label, extra, network);
        return {&lab().node(node).at(label), without_prefix_length(row.value("ipv4", "")), without_prefix_length(row.value("ipv6", ""))};
    }
    Argv attach_args(std::size_t node, const std::string& label, const Argv& extra = {}, const OverlayNetwork& network = {}) {
        Argv args{"--network", network.name};
        args.insert(args.end(), extra.begin(), extra.end());
        return lab().node(node).attach_args(label, args, "overlay");
    }
    static bool pings(const Netns& from, const std::string& to, const Argv& options = {}) {
        Argv argv{"ping", "-c1", "-W1"};
        argv.insert(argv.end(), options.begin(), options.end());
        argv.push_back(to);
        return from.run(argv).ok();
    }
    static bool pings_soon(const Netns& from, const std::string& to, const Argv& options = {}) {
        return wait_until([&] { return pings(from, to, options); }, Millis{10'000});
    }
    static bool connects(const Netns& from, const SocketAddress& to) {
        return Socket::connected(from, Transport::kTcp, to, {}, Millis{500}).ok();
    }
    std::uint64_t verdict(std::size_t node, const std::string& name) { return lab().node(node).verdict(name); }
    /// A file of @p size bytes behind @p server comes over whole.
    static bool downloads(const Netns& from, const std::string& ip, const WebServer& server, std::size_t size) {
        std::ofstream{server.directory() / "bulk"} << std::string(size, 'x');
        return fetch(from, url(ip, 80, "/files/bulk"), 10).size() == size;
    }
};

TEST_F(OverlayNodes, ContainersReachEachOtherOnOneNodeAndAcrossAllOfThem) {
    lab().connect();
    const std::vector<Member> members{join(1, "a"), join(1, "b"), join(2, "c"), join(3, "d")};
    std::vector<std::unique_ptr<WebServer>> servers;
    std::vector<std::unique_ptr<UdpEcho>> echoes;
    for (const Member& member : members) {
        servers.push_back(std::make_unique<WebServer>(*member.netns, "web"));
        echoes.push_back(std::make_unique<UdpEcho>(*member.netns, 7000, true));
    }
    for (const Member& from : members) {
        for (const Member& to : members) {
            if (from.ip == to.ip) continue;
            EXPECT_TRUE(pings(*from.netns, to.ip)) << from.ip << " to " << to.ip;
            EXPECT_TRUE(pings(*from.netns, to.ip6)) << from.ip6 << " to " << to.ip6;
            EXPECT_EQ(fetch(*from.netns, url(to.ip, 80)), "web " + from.ip + " " + to.ip + ":80\n");
            EXPECT_EQ(fetch(*from.netns, url("[" + to.ip6 + "]", 80)), "web " + from.ip6 + " " + to.ip6 + ":80\n");
            EXPECT_TRUE(udp_answers(*from.netns, {to.ip, 7000})) << from.ip << " to " << to.ip;
            EXPECT_TRUE(udp_answers(*from.netns, {to.ip6, 7000})) << from.ip6 << " to " << to.ip6;
        }
    }
    for (std::size_t node = 1; node <= kOverlayNodes; ++node) {
        EXPECT_GT(verdict(node, "TUNNEL_SENT"), 0U);
        EXPECT_GT(verdict(node, "TUNNEL_RECEIVED"), 0U);
        EXPECT_EQ(verdict(node, "TUNNEL_BAD_INNER"), 0U);
    }
    EXPECT_TRUE(downloads(*members[0].netns, members[2].ip, *servers[2], 20'000'000));
    EXPECT_TRUE(downloads(*members[3].netns, "[" + members[0].ip6 + "]", *servers[0], 20'000'000));
}

TEST_F(OverlayNodes, IPv6UnderlayCarriesThemToo) {
    for (std::size_t number = 1; number <= 2; ++number) lab().create(number);
    for (std::size_t number = 1; number <= 2; ++number) {
        const CommandResult added = lab().node(number).fastnet({"peer", "add", OverlayLab::ip6(3 - number)});
        ASSERT_TRUE(added.ok()) << added;
    }
    const Member a = join(1, "a");
    const Member c = join(2, "c");
    const WebServer web{*c.netns, "c"};
    EXPECT_TRUE(pings_soon(*a.netns, c.ip6));
    EXPECT_EQ(fetch(*a.netns, url(c.ip, 80)), "c " + a.ip + " " + c.ip + ":80\n");
    EXPECT_EQ(fetch(*a.netns, url("[" + c.ip6 + "]", 80)), "c " + a.ip6 + " " + c.ip6 + ":80\n");
    EXPECT_TRUE(downloads(*a.netns, c.ip, web, 5'000'000));
}

TEST_F(OverlayNodes, PublishedPortsMasqueradeAndHairpinWorkAsOnABridge) {
    lab().connect();
    const Member web = join(1, "web", {"-p", "2000:80"});
    const Member near = join(1, "near");
    const Member far = join(2, "far");
    const WebServer server{*web.netns, "web"};
    const WebServer outside{lab().router(), "outside"};
    EXPECT_EQ(fetch(lab().router(), url(OverlayLab::ip(1), 2000)), "web 10.77.1.1 " + web.ip + ":80\n");
    EXPECT_EQ(fetch(lab().router(), url("[" + OverlayLab::ip6(1) + "]", 2000)), "web 2001:db8:77:1::1 " + web.ip6 + ":80\n");
    EXPECT_EQ(fetch(*web.netns, url(kInternetIp, 80)), "outside " + OverlayLab::ip(1) + " " + kInternetIp + ":80\n");
    EXPECT_EQ(fetch(*far.netns, url("[" + kInternetIp6 + "]", 80)), "outside " + OverlayLab::ip6(2) + " " + kInternetIp6 + ":80\n");
    EXPECT_EQ(fetch(*near.netns, url(OverlayLab::ip(1), 2000)).substr(0, 4), "web ");
    EXPECT_EQ(fetch(*web.netns, url(OverlayLab::ip(1), 2000)).substr(0, 4), "web ");
    EXPECT_EQ(fetch(*far.netns, url(OverlayLab::ip(1), 2000)), "web " + OverlayLab::ip(2) + " " + web.ip + ":80\n");
    EXPECT_FALSE(connects(lab().router(), {web.ip, 80})) << "the container's own address is not for the outside";
}

TEST_F(OverlayNodes, TwoOverlaysDoNotReachEachOther) {
    lab().connect();
    lab().connect(kRed);
    const Member a = join(1, "a");
    const Member c = join(2, "c");
    const std::vector<Member> red{join(1, "x", {}, kRed), join(2, "y", {}, kRed)};
    std::vector<std::unique_ptr<WebServer>> servers;
    for (const Member& member : red) servers.push_back(std::make_unique<WebServer>(*member.netns, "red"));
    const WebServer blue{*c.netns, "blue"};
    EXPECT_EQ(fetch(*a.netns, url(c.ip, 80)).substr(0, 4), "blue");
    EXPECT_EQ(fetch(*red[0].netns, url(red[1].ip, 80)).substr(0, 3), "red");
    for (const Member& member : red) {
        EXPECT_FALSE(connects(*a.netns, {member.ip, 80})) << member.ip;
        EXPECT_FALSE(connects(*a.netns, {member.ip6, 80})) << member.ip6;
        EXPECT_FALSE(connects(*member.netns, {c.ip, 80})) << member.ip;
    }
}

TEST_F(OverlayNodes, QuestionsAboutAKnownAddressStayOnTheNode) {
    lab().connect();
    const Member a = join(1, "a");
    const Member c = join(2, "c");
    const Member d = join(3, "d");
    for (const std::string& address : {c.ip, c.ip6}) EXPECT_TRUE(pings_soon(*a.netns, address));
    a.netns->ip({"neigh flush dev eth0"});
    const std::uint64_t answered = verdict(1, "NEIGHBOUR_ANSWERED");
    Capture uninvolved{*d.netns, "eth0"};
    for (const std::string& address : {c.ip, c.ip6}) EXPECT_TRUE(pings(*a.netns, address));
    EXPECT_GE(verdict(1, "NEIGHBOUR_ANSWERED"), answered + 2);
    for (const Frame& frame : uninvolved.take()) {
        EXPECT_FALSE(!frame.outgoing() && frame.ether_type() == 0x0806) << frame.describe();
        EXPECT_FALSE(!frame.outgoing() && frame.source() == a.ip6) << frame.describe();
    }
}

TEST_F(OverlayNodes, RemoteEndpointsThatAreNamedNeedNoLearning) {
    lab().connect();
    const Member a = join(1, "a", {"--ip", "10.99.1.10", "--ip", "fd00:99::1:0:10"});
    const Member c = join(2, "c", {"--ip", "10.99.2.10", "--ip", "fd00:99::2:0:10"});
    const Member unnamed = join(2, "e");
    const auto name = [&](std::size_t node, const Member& member, std::size_t peer) {
        const CommandResult named = lab().node(node).fastnet(
            {"peer", "endpoint", "add", member.ip, member.ip6, "--peer", OverlayLab::ip(peer), "--network", "blue"});
        EXPECT_TRUE(named.ok()) << named;
    };
    name(1, c, 2);
    name(2, a, 1);
    const std::uint64_t before = verdict(1, "TUNNEL_BAD_INNER");
    EXPECT_TRUE(pings_soon(*a.netns, c.ip));
    EXPECT_TRUE(pings_soon(*a.netns, c.ip6));
    EXPECT_EQ(verdict(1, "TUNNEL_BAD_INNER"), before);
    EXPECT_FALSE(pings(*unnamed.netns, a.ip));
    EXPECT_GT(verdict(1, "TUNNEL_BAD_INNER"), before) << "what nobody named is not let in";
}

TEST_F(OverlayNodes, LargeDatagramsComeWhole) {
    lab().connect();
    const Member a = join(1, "a");
    const Member c = join(2, "c");
    for (const auto& [from, to] : {std::pair{a.ip, c.ip}, {a.ip6, c.ip6}}) {
        const Socket sender = Socket::bound(*a.netns, Transport::kUdp, {from, 4000});
        const Socket receiver = Socket::bound(*c.netns, Transport::kUdp, {to, 4000});
        for (const std::size_t size : {1000U, 1423U, 4000U, 9000U, 60000U}) {
            const std::string text(size, static_cast<char>('a' + size % 26));
            ASSERT_TRUE(sender.send_to(text, {to, 4000}));
            SocketAddress source;
            EXPECT_EQ(receiver.receive_from(source) == text, true) << size << " bytes to " << to;
            ASSERT_TRUE(receiver.send_to(text, {from, 4000}));
            EXPECT_EQ(sender.receive_from(source) == text, true) << size << " bytes from " << to;
        }
    }
}

TEST_F(OverlayNodes, SmallerMtuOfARouterBetweenIsToldToTheContainer) {
    lab().set_mtu(2, 1400);
    lab().connect();
    const Member a = join(1, "a");
    const Member c = join(2, "c");
    const WebServer web{*c.netns, "c"};
    EXPECT_EQ(a.netns->link_field("eth0", "mtu"), "1450");
    EXPECT_EQ(c.netns->link_field("eth0", "mtu"), "1350");
    ASSERT_TRUE(pings_soon(*a.netns, c.ip));
    ASSERT_TRUE(pings_soon(*a.netns, c.ip6));
    // The underlay's router tells the node, the node tells the container: by then it says so at once.
    for (const auto& [to, family] : {std::pair{c.ip, "-4"}, {c.ip6, "-6"}}) {
        std::string said;
        const auto route = [&] { return a.netns->run({"ip", family, "route", "get", to}).out; };
        EXPECT_TRUE(wait_until(
            [&] {
                pings(*a.netns, to, {"-Mdo", "-s1390"});
                said = route();
                return said.find("mtu 1350") != std::string::npos;
            },
            Millis{10'000}))
            << said;
    }
    EXPECT_TRUE(pings(*a.netns, c.ip, {"-Mdo", "-s1322"})) << "1350 bytes fit";
    EXPECT_TRUE(downloads(*a.netns, c.ip, web, 3'000'000));
    const WebServer back{*a.netns, "a"};
    EXPECT_TRUE(downloads(*c.netns, "[" + a.ip6 + "]", back, 3'000'000));
    EXPECT_TRUE(downloads(*c.netns, a.ip, back, 3'000'000));
}

TEST_F(OverlayNodes, JumboFramesOfTheUplinkAreUsed) {
    for (std::size_t number = 1; number <= kOverlayNodes; ++number) lab().set_mtu(number, 9000);
    lab().connect();
    const Member a = join(1, "a");
    const Member c = join(2, "c");
    EXPECT_EQ(a.netns->link_field("eth0", "mtu"), "8950");
    ASSERT_TRUE(pings_soon(*a.netns, c.ip));
    EXPECT_TRUE(pings(*a.netns, c.ip, {"-Mdo", "-s8922"}));
    EXPECT_FALSE(pings(*a.netns, c.ip, {"-Mdo", "-s8923"}));
    EXPECT_TRUE(pings_soon(*a.netns, c.ip6, {"-Mdo", "-s8902"}));
}

TEST_F(OverlayNodes, NodeThatVanishesAndComesBackDisturbsNoOther) {
    lab().connect();
    const Member a = join(1, "a");
    const Member c = join(2, "c");
    const Member d = join(3, "d");
    ASSERT_TRUE(pings_soon(*a.netns, c.ip));
    const Socket listener = Socket::listener(*d.netns, {"0.0.0.0", 5000});
    const Socket caller = Socket::connected(*a.netns, Transport::kTcp, {d.ip, 5000});
    ASSERT_TRUE(caller.ok());
    const Socket served = listener.accept();
    lab().set_link(2, false);
    EXPECT_FALSE(pings(*a.netns, c.ip));
    EXPECT_TRUE(ping_pong(caller, served));
    lab().set_link(2, true);
    EXPECT_TRUE(pings_soon(*a.netns, c.ip));
    EXPECT_TRUE(ping_pong(caller, served));
    // For good, and back with the same address.
    lab().node(2).cleanup_and_verify();
    EXPECT_FALSE(pings(*a.netns, c.ip));
    EXPECT_TRUE(ping_pong(caller, served));
    lab().create(2);
    for (const std::size_t other : {1U, 3U}) lab().add_peer(2, other);
    const Member again = join(2, "c", {"--ip", c.ip, "--ip", c.ip6});
    EXPECT_TRUE(pings_soon(*again.netns, a.ip));
    EXPECT_TRUE(pings_soon(*a.netns, c.ip));
    EXPECT_TRUE(ping_pong(caller, served));
    const CommandResult end = lab().node(2).fastnet({"cleanup"});
    EXPECT_TRUE(end.ok()) << end;
}

TEST_F(OverlayNodes, AddressMovesToAnotherNodeWhileAnotherConnectionRuns) {
    lab().connect();
    for (std::size_t number = 1; number <= kOverlayNodes; ++number)
        lab().node(number).json({"attach", "--mode", "bridge", "--timeout", "remote=2s"});
    const Argv moving{"--ip", "10.99.200.7", "--ip", "fd00:99::200:0:7"};
    const Member a = join(1, "a");
    const Member d = join(3, "d");
    const Member c = join(2, "c", moving);
    ASSERT_TRUE(pings_soon(*a.netns, c.ip));
    ASSERT_TRUE(pings_soon(*a.netns, c.ip6));
    const Socket listener = Socket::listener(*d.netns, {"0.0.0.0", 5000});
    const Socket caller = Socket::connected(*a.netns, Transport::kTcp, {d.ip, 5000});
    ASSERT_TRUE(caller.ok());
    const Socket served = listener.accept();
    ASSERT_TRUE(lab().node(2).fastnet({"detach", "c"}).ok());
    // The address is the first peer's until that has been silent for long enough; only then another node may give it out.
    lab().node(3).container("moved");
    const Argv attach = attach_args(3, "moved", moving);
    EXPECT_TRUE(wait_until([&] { return lab().node(3).fastnet(attach).ok(); }, Millis{15'000}));
    const Member moved = join(3, "moved", moving);
    EXPECT_EQ(moved.ip, c.ip);
    // Then it is whose container speaks from it.
    const auto answers = [&](const std::string& peer, const std::string& address) {
        EXPECT_TRUE(ping_pong(caller, served));
        return pings(*moved.netns, peer) && pings(*a.netns, address);
    };
    EXPECT_TRUE(wait_until([&] { return answers(a.ip, moved.ip); }, Millis{15'000}));
    EXPECT_TRUE(wait_until([&] { return answers(a.ip6, moved.ip6); }, Millis{15'000}));
}

TEST_F(OverlayNodes, AddressOfAContainerOnAnotherNodeIsAConflict) {
    lab().connect();
    const Member a = join(1, "a");
    const Member c = join(2, "c");
    EXPECT_TRUE(pings_soon(*a.netns, c.ip));
    EXPECT_TRUE(pings_soon(*a.netns, c.ip6));
    lab().node(1).container("b");
    for (const std::string& address : {c.ip, c.ip6})
        expect_error(lab().node(1).fastnet(attach_args(1, "b", {"--ip", address})), kConflict, {address, OverlayLab::ip(2), "remote"});
    EXPECT_EQ(lab().node(1).count("endpoints"), 1U);
    EXPECT_EQ(join(1, "b", {"--ip", "10.99.2.77"}).ip, "10.99.2.77") << "one that nobody has";
}

TEST_F(OverlayNodes, NodesWithoutRangesOfTheirOwnDoNotPickWhatTheyHearOf) {
    for (const std::size_t number : {1U, 2U}) {
        const CommandResult made = lab().node(number).fastnet(
            {"network", "create", "red", "--driver", "overlay", "--vni", "43", "--subnet", "10.98.0.0/16", "--subnet", "fd00:98::/64"});
        EXPECT_TRUE(made.ok()) << made;
        const std::size_t warned = made.err.find("--ip-range");
        ASSERT_NE(warned, std::string::npos) << made;
        EXPECT_EQ(made.err.find("fastnet: warning: ", warned), std::string::npos) << made;
        lab().add_peer(number, 3 - number);
    }
    const Member here = join(1, "here", {"--ip", "10.98.0.100", "--ip", "fd00:98::100"}, kRed);
    std::vector<Member> there;
    for (const char* const label : {"c", "d", "e"}) there.push_back(join(2, label, {}, kRed));
    for (const Member& member : there) {
        EXPECT_TRUE(pings_soon(*member.netns, here.ip));
        EXPECT_TRUE(pings_soon(*member.netns, here.ip6));
    }
    const Member a = join(1, "a", {}, kRed);
    for (const Member& member : there) {
        EXPECT_NE(member.ip, a.ip);
        EXPECT_NE(member.ip6, a.ip6);
    }
    EXPECT_TRUE(pings_soon(*a.netns, there[0].ip));
    EXPECT_TRUE(pings_soon(*a.netns, there[0].ip6));
    EXPECT_EQ(lab().node(1).count("endpoints"), 2U);
}

/// Node 3 is plain Linux: the kernel's vxlan and bridge, with entries made by hand, and a container behind them.
class OverlayInterop : public OverlayNodes {
protected:
    void SetUp() override {
        OverlayNodes::SetUp();
        if (IsSkipped()) return;
        for (const std::size_t number : {1U, 2U}) {
            lab().create(number);
            lab().add_peer(number, 3 - number);
            lab().add_peer(number, 3);
        }
        const Netns& linux_node = lab().node(3).node();
        plain_ = std::make_unique<Netns>(unique_prefix() + "-plain");
        linux_node.ip({"link add name vx type vxlan id 42 dstport 4789 local " + OverlayLab::ip(3), "link add name bridge0 type bridge",
                       "link set vx master bridge0", "link set vx up mtu 1450", "link set bridge0 up mtu 1450",
                       "link add name port mtu 1450 type veth peer name eth0 mtu 1450 netns " + plain_->name(),
                       "link set port master bridge0 up"});
        for (const std::size_t number : {1U, 2U}) {
            const CommandResult entry = linux_node.run(
                {"bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vx", "dst", OverlayLab::ip(number), "self", "permanent"});
            ASSERT_TRUE(entry.ok()) << entry;
        }
        plain_->ip({"addr add 10.99.3.9/16 dev eth0", "addr add fd00:99::3:0:9/64 dev eth0 nodad", "link set eth0 up"});
        lab().node(3).rebaseline();
    }
    void TearDown() override {
        OverlayNodes::TearDown();
        plain_.reset();
    }
    const Netns& plain() { return *plain_; }

private:
    std::unique_ptr<Netns> plain_;
};

TEST_F(OverlayInterop, KernelVxlanPeerReachesContainersAndTheyIt) {
    const Member a = join(1, "a");
    const Member c = join(2, "c");
    const WebServer theirs{plain(), "plain"};
    const WebServer ours{*a.netns, "a"};
    for (const Member& member : {a, c}) {
        EXPECT_TRUE(pings_soon(plain(), member.ip));
        EXPECT_TRUE(pings_soon(plain(), member.ip6));
        EXPECT_TRUE(pings_soon(*member.netns, "10.99.3.9"));
        EXPECT_TRUE(pings_soon(*member.netns, "fd00:99::3:0:9"));
        EXPECT_EQ(fetch(*member.netns, url("10.99.3.9", 80)), "plain " + member.ip + " 10.99.3.9:80\n");
        EXPECT_EQ(fetch(*member.netns, url("[fd00:99::3:0:9]", 80)), "plain " + member.ip6 + " fd00:99::3:0:9:80\n");
    }
    EXPECT_EQ(fetch(plain(), url(a.ip, 80)), "a 10.99.3.9 " + a.ip + ":80\n");
    EXPECT_EQ(fetch(plain(), url("[" + a.ip6 + "]", 80)), "a fd00:99::3:0:9 " + a.ip6 + ":80\n");
    EXPECT_TRUE(downloads(plain(), a.ip, ours, 5'000'000));
    EXPECT_TRUE(downloads(*c.netns, "10.99.3.9", theirs, 5'000'000));
    EXPECT_TRUE(pings(plain(), a.ip, {"-s", "6000"}));
    EXPECT_TRUE(pings(*a.netns, "10.99.3.9", {"-s", "6000"}));
    EXPECT_GT(verdict(1, "TUNNEL_SENT"), 0U);
    EXPECT_GT(verdict(1, "TUNNEL_RECEIVED"), 0U);
}

class OverlaySecurity : public OverlayNodes {
protected:
    void SetUp() override {
        OverlayNodes::SetUp();
        if (IsSkipped()) return;
        lab().connect();
        a_ = join(1, "a");
        c_ = join(2, "c");
        d_ = join(3, "d");
        ASSERT_TRUE(pings_soon(*a_.netns, c_.ip));
        ASSERT_TRUE(pings_soon(*a_.netns, d_.ip));
    }
    struct Forged {
        std::string peer = OverlayLab::ip(2);
        unsigned vni = 42;
        std::string inner_source{};
        std::string inner_destination{};
        std::string inner_source_mac = "02:42:0a:63:02:77";
        std::string inner_destination_mac{};
        bool fragmented = false;
    };
    /// What is inside the outer UDP, as scapy has it.
    std::string vxlan_of(const Forged& packet) {
        return "VXLAN(flags=8, vni=" + std::to_string(packet.vni) + ")/Ether(src='" + packet.inner_source_mac + "', dst='" +
               (packet.inner_destination_mac.empty() ? a_.netns->mac("eth0") : packet.inner_destination_mac) + "')/IP(src='" +
               packet.inner_source + "', dst='" + (packet.inner_destination.empty() ? a_.ip : packet.inner_destination) +
               "')/UDP(sport=1, dport=9)/Raw(b'forged' + bytes(" + (packet.fragmented ? "600" : "0") + "))";
    }
    /// A datagram inside VXLAN to node 1, from the wire.
    void inject_forged(const Forged& packet) {
        const Netns& node = lab().node(1).node();
        const std::string script =
            "from scapy.layers.vxlan import VXLAN\n"
            "whole = IP(src='" +
            packet.peer + "', dst='" + OverlayLab::ip(1) + "')/UDP(sport=50000, dport=4789, chksum=0)/" + vxlan_of(packet) +
            "\n"
            "for part in " +
            (packet.fragmented ? "fragment(whole, fragsize=400)" : "[whole]") + ": frames.append(Ether(src='" + lab().router().mac("n1") +
            "', dst='" + node.mac("eth0") + "')/part)";
        inject(lab().router(), "n1", scapy(script));
    }
    /// Forwarding entries of node 1 for @p mac, of bridges and of vxlan devices.
    std::string forwarding_of(const std::string& mac) {
        std::istringstream all{lab().node(1).node().run({"bridge", "fdb", "show"}).out};
        std::string found;
        for (std::string line; std::getline(all, line);)
            if (line.starts_with(mac)) found += line + "\n";
        return found;
    }
    void expect_dropped(const Forged& packet, const std::string& verdict_name) {
        const std::uint64_t before = verdict(1, verdict_name);
        Capture seen{*a_.netns, "eth0"};
        inject_forged(packet);
        EXPECT_TRUE(wait_until([&] { return verdict(1, verdict_name) == before + 1; }))
            << verdict_name << " for " << packet.inner_source << " from " << packet.peer << ", VNI " << packet.vni;
        for (const Frame& frame : seen.take()) EXPECT_FALSE(frame.contains("forged")) << frame.describe();
    }
    Member a_, c_, d_;
};

TEST_F(OverlaySecurity, HonestPacketOfTheSameMakingArrives) {
    Capture seen{*a_.netns, "eth0"};
    inject_forged({.inner_source = c_.ip});
    EXPECT_TRUE(seen.wait_for(carries("forged")).has_value()) << "what is dropped below is dropped for what it says";
}

TEST_F(OverlaySecurity, ForgedTunnelPacketsAreDroppedByName) {
    expect_dropped({.peer = "10.77.9.9", .inner_source = c_.ip}, "TUNNEL_UNKNOWN_PEER");
    expect_dropped({.peer = "10.77.1.1", .inner_source = c_.ip}, "TUNNEL_UNKNOWN_PEER");
    expect_dropped({.vni = 44, .inner_source = c_.ip}, "TUNNEL_UNKNOWN_NETWORK");
    expect_dropped({.inner_source = a_.ip}, "TUNNEL_BAD_INNER");        // the receiver's own
    expect_dropped({.inner_source = d_.ip}, "TUNNEL_BAD_INNER");        // another peer's
    expect_dropped({.inner_source = "10.99.0.1"}, "TUNNEL_BAD_INNER");  // the gateway's
    expect_dropped({.inner_source = "192.0.2.99"}, "TUNNEL_BAD_INNER");
    // And nothing of that took an address away from whom it belongs to.
    EXPECT_TRUE(pings(*a_.netns, c_.ip));
    EXPECT_TRUE(pings(*a_.netns, d_.ip));
}

TEST_F(OverlaySecurity, StrangerDoesNotSteerTheKernelsOwnVxlanDevice) {
    // A fragment shows no port, so it passes the uplink's program; the device's socket gets the whole.
    const Forged stranger{.peer = "10.77.9.9", .inner_source = c_.ip, .inner_source_mac = "02:42:0a:63:02:78", .fragmented = true};
    const std::uint64_t before = verdict(1, "TUNNEL_UNKNOWN_PEER");
    inject_forged(stranger);
    EXPECT_TRUE(wait_until([&] { return verdict(1, "TUNNEL_UNKNOWN_PEER") > before; }));
    EXPECT_EQ(forwarding_of(stranger.inner_source_mac), "");
}

TEST_F(OverlaySecurity, PeerThatSendsAsALocalContainerDoesNotMoveIt) {
    const Netns& node = lab().node(1).node();
    const std::string mac = a_.netns->mac("eth0");
    ASSERT_TRUE(pings(node, a_.ip));
    const std::string before = forwarding_of(mac);
    EXPECT_NE(before.find(" master "), std::string::npos) << before;
    Capture seen{*a_.netns, "eth0"};
    inject_forged({.inner_source = c_.ip,
                   .inner_destination = "10.99.255.255",
                   .inner_source_mac = mac,
                   .inner_destination_mac = "ff:ff:ff:ff:ff:ff"});
    EXPECT_TRUE(seen.wait_for(carries("forged")).has_value()) << "the bridge floods it";
    EXPECT_EQ(forwarding_of(mac), before);
    EXPECT_TRUE(pings(node, a_.ip));
}

TEST_F(OverlaySecurity, ContainerCannotForgeTunnelPackets) {
    const std::uint64_t before = verdict(2, "TUNNEL_FROM_CONTAINER");
    Capture underlay{lab().router(), "n2"};
    const Socket forger = Socket::bound(*c_.netns, Transport::kUdp, {"0.0.0.0", 0});
    (void)forger.send_to("forged", {OverlayLab::ip(1), 4789});
    EXPECT_TRUE(wait_until([&] { return verdict(2, "TUNNEL_FROM_CONTAINER") > before; }));
    for (const Frame& frame : underlay.take()) EXPECT_FALSE(frame.contains("forged")) << frame.describe();
}

TEST_F(OverlayNodes, DoctorLooksAtEveryPeer) {
    lab().connect();
    const auto finding = [&](std::size_t peer) {
        const json doctor = lab().node(1).json({"doctor"});
        for (const json& check : doctor["checks"])
            if (check["name"] == "peer " + OverlayLab::ip(peer)) return check;
        return json{};
    };
    EXPECT_EQ(finding(2)["result"], "ok") << finding(2);
    EXPECT_NE(finding(3)["text"].get<std::string>().find("1500"), std::string::npos) << finding(3);
    lab().set_router_mtu(2, 1400);
    const json narrow = finding(2);
    EXPECT_EQ(narrow["result"], "warn") << narrow;
    EXPECT_NE(narrow["fix"].get<std::string>().find("--mtu 1350"), std::string::npos) << narrow;
    lab().set_link(3, false);
    const json silent = finding(3);
    EXPECT_EQ(silent["result"], "warn") << silent;
    EXPECT_NE(silent["fix"].get<std::string>().find("4789"), std::string::npos) << silent;
    lab().set_link(3, true);
}

/// The usual way to be reachable by two uplinks: an address on lo. Routes prefer others, and peers know that one.
TEST_F(OverlayNodes, TunnelsComeFromTheAddressThatPeersKnowTheNodeBy) {
    const std::string loopback = "198.51.100.12";
    lab().node(2).node().ip({"addr add " + loopback + "/32 dev lo"});
    lab().node(2).rebaseline();
    lab().router().ip({"route add " + loopback + " via " + OverlayLab::ip(2)});
    for (const std::size_t node : {1U, 2U}) lab().create(node);
    ASSERT_TRUE(lab().node(1).fastnet({"peer", "add", loopback}).ok());
    lab().add_peer(2, 1);
    const Member a = join(1, "a");
    const Member b = join(2, "b");
    EXPECT_FALSE(pings(*b.netns, a.ip));
    EXPECT_GT(verdict(1, "TUNNEL_UNKNOWN_PEER"), 0U) << "it came from the address that the route prefers";

    ASSERT_TRUE(lab().node(2).fastnet({"attach", "--mode", "bridge", "--vtep", loopback}).ok());
    EXPECT_EQ(lab().node(2).json({"status"})["vtep"], loopback);
    EXPECT_TRUE(pings_soon(*b.netns, a.ip)) << "and the other way round, which is learned by that";
    EXPECT_TRUE(pings_soon(*a.netns, b.ip6));
    const std::uint64_t unknown = verdict(1, "TUNNEL_UNKNOWN_PEER");
    // What the kernel's device sends comes from there as well: a broadcast.
    const std::uint64_t flooded = verdict(1, "TUNNEL_TO_KERNEL");
    EXPECT_TRUE(wait_until([&] {
        pings(*b.netns, "10.99.255.255", {"-b"});
        return verdict(1, "TUNNEL_TO_KERNEL") > flooded;
    }));
    EXPECT_EQ(verdict(1, "TUNNEL_UNKNOWN_PEER"), unknown);

    // A command that says nothing about it leaves it alone; auto takes it back.
    ASSERT_TRUE(lab().node(2).fastnet({"attach", "--mode", "bridge"}).ok());
    EXPECT_TRUE(pings_soon(*b.netns, a.ip));
    lab().node(2).node().ip({"addr del " + loopback + "/32 dev lo"});
    const CommandResult doctor = lab().node(2).fastnet({"doctor"});
    EXPECT_THAT(doctor.out, ::testing::HasSubstr(loopback + ", which is no address of this node any more"));
    ASSERT_TRUE(lab().node(2).fastnet({"attach", "--mode", "bridge", "--vtep", "auto"}).ok());
    EXPECT_TRUE(lab().node(2).json({"status"})["vtep"].is_null());
    lab().node(2).node().ip({"addr add " + loopback + "/32 dev lo"});
}

TEST_F(OverlayNodes, TunnelAddressMustBeTheNodes) {
    lab().create(1);
    const auto refused = [&](const std::string& address, const std::string& why) {
        const CommandResult said = lab().node(1).fastnet({"attach", "--mode", "bridge", "--vtep", address});
        EXPECT_EQ(said.status, 2) << said;
        EXPECT_THAT(said.err, ::testing::HasSubstr(why));
    };
    refused("10.77.2.2", "no address of this node");
    refused("10.99.0.1", "gateway of a network");
    refused("127.0.0.1", "127.0.0.1");
    refused("10.77.1.2,10.77.1.2", "one family");
    refused("west", "west");
    EXPECT_TRUE(lab().node(1).json({"status"})["vtep"].is_null());
}

}  // namespace
}  // namespace fastnet::test
