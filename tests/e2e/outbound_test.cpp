// Out of a container: to its neighbours untranslated, to the outside masqueraded, and along whatever the routes say now.
#include <gtest/gtest.h>

#include <set>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

class Outbound : public LabTest {
protected:
    /// The pair of ip_local_port_range of the node.
    std::pair<int, int> ephemeral_range() {
        std::istringstream words{lab().node().sysctl("net.ipv4.ip_local_port_range")};
        int low = 0;
        int high = 0;
        words >> low >> high;
        return {low, high};
    }

    /// A connection from container @p label to @p remote; where the listener of @p outside says it comes from.
    SocketAddress seen_source(const std::string& label, const Socket& listener, const SocketAddress& remote,
                              const SocketAddress& local = {}) {
        Socket caller = Socket::connected(lab().at(label), Transport::kTcp, remote, local);
        EXPECT_TRUE(caller.ok()) << "no connection to " << remote << ": errno " << caller.error();
        if (!caller.ok()) return {};
        Socket served = listener.accept();
        EXPECT_TRUE(ping_pong(caller, served));
        const SocketAddress peer = served.peer();
        kept_.push_back(std::move(caller));
        kept_.push_back(std::move(served));
        return peer;
    }

    void hang_up() { kept_.clear(); }

private:
    std::vector<Socket> kept_;  ///< the flows stay open, so that their ports stay taken
};

TEST_F(Outbound, ContainerReachesTheOutsideWithTheNodesAddress) {
    lab().attach("app");
    const WebServer outside{lab().client(), "outside"};
    EXPECT_EQ(fetch(lab().at("app"), url(kClientIp, 80)), "outside " + kNodeIp + " " + kClientIp + ":80\n");
    EXPECT_EQ(fetch(lab().at("app"), url(kInternetIp, 80)), "outside " + kNodeIp + " " + kInternetIp + ":80\n");
}

TEST_F(Outbound, MasqueradePortLiesOutsideTheEphemeralRangeOfTheHost) {
    lab().attach("app");
    const Socket listener = Socket::listener(lab().client(), {"0.0.0.0", 80});
    const auto [low, high] = ephemeral_range();
    std::set<int> ports;
    for (int i = 0; i < 20; ++i) {
        const SocketAddress source = seen_source("app", listener, {kInternetIp, 80});
        EXPECT_EQ(source.ip, kNodeIp);
        EXPECT_TRUE(source.port < low || source.port > high) << source.port;
        EXPECT_GE(source.port, 1024);
        ports.insert(source.port);
    }
    EXPECT_EQ(ports.size(), 20U);
}

TEST_F(Outbound, UdpIsMasqueradedAndAnsweredOnTheSameMapping) {
    lab().attach("app");
    const Socket outside = Socket::bound(lab().client(), Transport::kUdp, {kInternetIp, 53});
    const Socket app = Socket::bound(lab().at("app"), Transport::kUdp, {"0.0.0.0", 45010});
    const auto [low, high] = ephemeral_range();
    SocketAddress first;
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(app.send_to("question", {kInternetIp, 53}));
        SocketAddress from;
        ASSERT_EQ(outside.receive_from(from), "question");
        if (i == 0) first = from;
        EXPECT_EQ(from, first);
        EXPECT_EQ(from.ip, kNodeIp);
        EXPECT_TRUE(from.port < low || from.port > high) << from.port;
        ASSERT_TRUE(outside.send_to("answer", from));
        SocketAddress answered_by;
        ASSERT_EQ(app.receive_from(answered_by), "answer");
        EXPECT_EQ(answered_by, (SocketAddress{kInternetIp, 53}));
    }
}

TEST_F(Outbound, PortInsideTheMasqueradeRangeIsPreserved) {
    lab().json({"attach", "--mode", "bridge", "--masquerade-ports", "20000-20999"});
    lab().attach("app");
    const Socket listener = Socket::listener(lab().client(), {"0.0.0.0", 80});
    EXPECT_EQ(seen_source("app", listener, {kInternetIp, 80}, {"0.0.0.0", 20123}).port, 20123);
    const int mapped = seen_source("app", listener, {kInternetIp, 80}, {"0.0.0.0", 45678}).port;
    EXPECT_TRUE(mapped >= 20000 && mapped <= 20999) << mapped;
}

TEST_F(Outbound, TwoContainersWithOneSourcePortGetDifferentMappings) {
    lab().json({"attach", "--mode", "bridge", "--masquerade-ports", "20000-20999"});
    lab().attach("a");
    lab().attach("b");
    const Socket listener = Socket::listener(lab().client(), {"0.0.0.0", 80});
    const SocketAddress from_a = seen_source("a", listener, {kInternetIp, 80}, {"0.0.0.0", 20123});
    const SocketAddress from_b = seen_source("b", listener, {kInternetIp, 80}, {"0.0.0.0", 20123});
    EXPECT_NE(from_a.port, from_b.port);
}

TEST_F(Outbound, PortThatAHostSocketHasIsNeverGivenToAFlow) {
    lab().json({"attach", "--mode", "bridge", "--masquerade-ports", "20000-20003"});
    lab().attach("app");
    const Socket listener = Socket::listener(lab().client(), {"0.0.0.0", 80});
    const Socket wildcard = Socket::listener(lab().node(), {"0.0.0.0", 20000});
    const Socket specific = Socket::listener(lab().node(), {kNodeIp, 20001});
    const Socket dual = Socket::listener(lab().node(), {"::", 20002});
    ASSERT_TRUE(wildcard.ok() && specific.ok() && dual.ok());
    EXPECT_EQ(seen_source("app", listener, {kInternetIp, 80}, {"0.0.0.0", 20000}).port, 20003);
}

TEST_F(Outbound, HostBindThatComesLaterWins) {
    lab().json({"attach", "--mode", "bridge", "--masquerade-ports", "20000-20001"});
    lab().attach("app");
    const Socket listener = Socket::listener(lab().client(), {"0.0.0.0", 80});
    const Socket other = Socket::listener(lab().client(), {"0.0.0.0", 81});
    EXPECT_EQ(seen_source("app", listener, {kInternetIp, 80}, {"0.0.0.0", 20000}).port, 20000);
    const Socket late = Socket::listener(lab().node(), {"0.0.0.0", 20000});
    ASSERT_TRUE(late.ok()) << "masquerade ports are not held against the host";
    EXPECT_EQ(seen_source("app", other, {kInternetIp, 81}, {"0.0.0.0", 20000}).port, 20001);
    const Socket caller = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 20000});
    ASSERT_TRUE(caller.ok()) << "the host's own service is reachable";
    EXPECT_TRUE(ping_pong(caller, late.accept()));
}

TEST_F(Outbound, PublishedPortIsNeverAMasqueradePort) {
    lab().json({"attach", "--mode", "bridge", "--masquerade-ports", "20000-20003"});
    lab().attach("web", {"-p", "20000-20002:80-82"});
    lab().attach("app");
    const Socket listener = Socket::listener(lab().client(), {"0.0.0.0", 80});
    EXPECT_EQ(seen_source("app", listener, {kInternetIp, 80}, {"0.0.0.0", 20001}).port, 20003);
}

TEST_F(Outbound, ExhaustedPortsRefuseByNameAndRecover) {
    lab().json({"attach", "--mode", "bridge", "--masquerade-ports", "20000-20001"});
    lab().attach("app");
    const Socket listener = Socket::listener(lab().client(), {"0.0.0.0", 80});
    seen_source("app", listener, {kInternetIp, 80});
    seen_source("app", listener, {kInternetIp, 80});
    const std::uint64_t before = lab().verdict("PORTS_EXHAUSTED");
    EXPECT_FALSE(Socket::connected(lab().at("app"), Transport::kTcp, {kInternetIp, 80}, {}, Millis{500}).ok());
    EXPECT_GT(lab().verdict("PORTS_EXHAUSTED"), before);
    const Socket elsewhere = Socket::listener(lab().client(), {"0.0.0.0", 81});
    seen_source("app", elsewhere, {kInternetIp, 81});  // the same ports towards another destination are free
}

/// The source that @p server sees of a datagram from @p app.
SocketAddress seen_by(const Socket& server, const Socket& app, const SocketAddress& to) {
    SocketAddress from;
    EXPECT_TRUE(app.send_to("who am I", to));
    EXPECT_EQ(server.receive_from(from), "who am I");
    return from;
}

TEST_F(Outbound, UdpSocketHasOnePortTowardsEverybody) {
    lab().json({"attach", "--mode", "bridge", "--masquerade-ports", "20000-20999"});
    lab().attach("a");
    lab().attach("b");
    const Socket first = Socket::bound(lab().client(), Transport::kUdp, {kInternetIp, 5000});
    const Socket second = Socket::bound(lab().client(), Transport::kUdp, {kClientIp, 6000});
    for (const std::uint16_t source : std::initializer_list<std::uint16_t>{45010, 20123}) {  // outside the range, inside it
        SCOPED_TRACE(source);
        const Socket a = Socket::bound(lab().at("a"), Transport::kUdp, {"0.0.0.0", source});
        const Socket b = Socket::bound(lab().at("b"), Transport::kUdp, {"0.0.0.0", source});
        const SocketAddress of_a = seen_by(first, a, {kInternetIp, 5000});
        const SocketAddress of_b = seen_by(second, b, {kClientIp, 6000});
        EXPECT_NE(of_a.port, of_b.port) << "no port is two sockets' (REQ-3)";
        EXPECT_EQ(seen_by(second, a, {kClientIp, 6000}), of_a);
        EXPECT_EQ(seen_by(first, b, {kInternetIp, 5000}), of_b);
        ASSERT_TRUE(second.send_to("hello a", of_a));
        ASSERT_TRUE(second.send_to("hello b", of_b));
        EXPECT_EQ(a.receive(), "hello a");
        EXPECT_EQ(b.receive(), "hello b");
        const Socket stranger = Socket::bound(lab().client(), Transport::kUdp, {kClientIp, 6001});
        ASSERT_TRUE(stranger.send_to("nobody asked", of_a));
        EXPECT_EQ(a.receive(Millis{200}), "") << "filtering is by address and port";
    }
}

TEST_F(Outbound, UdpMappingPerDestinationSharesPorts) {
    lab().json({"attach", "--mode", "bridge", "--masquerade-ports", "20000-20001"});
    lab().attach("a");
    const Socket first = Socket::bound(lab().client(), Transport::kUdp, {kInternetIp, 5000});
    const Socket second = Socket::bound(lab().client(), Transport::kUdp, {kClientIp, 6000});
    const Socket one = Socket::bound(lab().at("a"), Transport::kUdp, {"0.0.0.0", 45010});
    const Socket two = Socket::bound(lab().at("a"), Transport::kUdp, {"0.0.0.0", 45011});
    const Socket three = Socket::bound(lab().at("a"), Transport::kUdp, {"0.0.0.0", 45012});
    seen_by(first, one, {kInternetIp, 5000});
    seen_by(first, two, {kInternetIp, 5000});
    seen_by(second, three, {kClientIp, 6000});  // both ports are somebody's: this source shares one
    ASSERT_TRUE(three.send_to("refused", {kInternetIp, 5000}));
    EXPECT_EQ(first.receive(Millis{200}), "");
    EXPECT_GT(lab().verdict("PORTS_EXHAUSTED"), 0U);
    EXPECT_EQ(lab().json({"status"})["udp_mapping"], "endpoint-independent");
    lab().json({"attach", "--mode", "bridge", "--udp-mapping", "address-and-port-dependent"});
    EXPECT_EQ(lab().json({"status"})["udp_mapping"], "address-and-port-dependent");
    seen_by(second, two, {kClientIp, 6000});
    expect_error(lab().fastnet({"attach", "--mode", "bridge", "--udp-mapping", "cone"}), kUsage, {"cone"});
}

nlohmann::json flow_of(const Lab& lab, const std::string& protocol) {
    for (const auto& flow : lab.json({"flows"}))
        if (flow["protocol"] == protocol) return flow;
    return nullptr;
}

TEST_F(Outbound, TimeOutsAreSetAndFollowedByFlowsThatLive) {
    lab().attach("app");
    const Socket listener = Socket::listener(lab().client(), {"0.0.0.0", 80});
    const Socket caller = Socket::connected(lab().at("app"), Transport::kTcp, {kInternetIp, 80});
    const Socket served = listener.accept();
    ASSERT_TRUE(ping_pong(caller, served));
    const Socket datagrams = Socket::bound(lab().at("app"), Transport::kUdp, {"0.0.0.0", 45010});
    ASSERT_TRUE(datagrams.send_to("nobody answers", {kInternetIp, 5000}));
    EXPECT_LE(flow_of(lab(), "tcp")["expires_seconds"], 7440);
    EXPECT_LE(flow_of(lab(), "udp")["expires_seconds"], 120);

    const CommandResult set =
        lab().fastnet({"attach", "--mode", "bridge", "--timeout", "tcp-established=3h,udp-unreplied=2", "--timeout", "dns=1m"});
    EXPECT_TRUE(set.ok()) << set;
    EXPECT_NE(set.err.find("warning: time-out udp-unreplied=2: RFC 4787 REQ-5"), std::string::npos) << set;
    EXPECT_TRUE(ping_pong(caller, served, "the programs were replaced"));
    EXPECT_GT(flow_of(lab(), "tcp")["expires_seconds"], 10000);
    EXPECT_TRUE(wait_until([&] { return flow_of(lab(), "udp").is_null(); }, Millis{10'000}))
        << "the collector still has the former time-out";
    EXPECT_TRUE(ping_pong(caller, served));

    lab().json({"attach", "--mode", "bridge", "--timeout", "udp-unreplied=default"});
    const auto timeouts = lab().json({"status"})["timeouts"];
    EXPECT_EQ(timeouts["tcp_established"], 10800) << "what is not named stays";
    EXPECT_EQ(timeouts["dns"], 60);
    EXPECT_EQ(timeouts["udp_unreplied"], 120);
    EXPECT_EQ(timeouts["tcp_opening"], 240);
}

TEST_F(Outbound, TimeOutThatMakesNoSenseIsRefused) {
    for (const char* const text : {"udp=0", "udp=366d", "tcp=5", "udp"})
        expect_error(lab().fastnet({"attach", "--mode", "bridge", "--timeout", text}), kUsage, {text});
}

TEST_F(Outbound, MasqueradeRangeThatMakesNoSenseIsRefused) {
    for (const char* const range : {"20000", "20000-", "21000-20000", "0-10", "20000-65536", "a-b"}) {
        SCOPED_TRACE(range);
        expect_error(lab().fastnet({"attach", "--mode", "bridge", "--masquerade-ports", range}), kUsage);
    }
    expect_error_in(lab().fastnet({"attach", "--mode", "bridge", "--masquerade-ports", "40000-41000"}), {kUsage, kConflict},
                    {"ip_local_port_range"});
}

TEST_F(Outbound, ChangeOfTheMasqueradePortsSaysWhatItEnds) {
    lab().json({"attach", "--mode", "bridge", "--masquerade-ports", "20000-20999"});
    lab().attach("app");
    const Socket listener = Socket::listener(lab().client(), {"0.0.0.0", 80});
    const auto connect = [&](std::uint16_t port) {
        Socket caller = Socket::connected(lab().at("app"), Transport::kTcp, {kInternetIp, 80}, {"0.0.0.0", port});
        Socket served = listener.accept();
        EXPECT_TRUE(ping_pong(caller, served));
        return std::pair{std::move(caller), std::move(served)};
    };
    const auto ends = connect(20100);
    const auto lives = connect(20900);
    const auto change = [&](const std::string& range) {
        return lab().fastnet({"attach", "--mode", "bridge", "--masquerade-ports", range});
    };
    const CommandResult result = change("20500-21499");
    EXPECT_TRUE(result.ok()) << result;
    EXPECT_NE(result.err.find("warning: the masquerade ports change from 20000-20999 to 20500-21499: 1 connection"), std::string::npos)
        << result;
    EXPECT_TRUE(ping_pong(lives.first, lives.second)) << "its port lies in both ranges";
    EXPECT_EQ(change("20500-21499").err, "") << "nothing changes";
    EXPECT_EQ(change("20000-21499").err, "") << "nothing ends";
}

TEST_F(Outbound, PingGoesOutAndComesBack) {
    lab().attach("app");
    EXPECT_TRUE(lab().at("app").run({"ping", "-c2", "-i0.2", "-W2", kInternetIp}).ok());
    EXPECT_TRUE(lab().at("app").run({"ping", "-c1", "-W2", lab().endpoint("app")["gateway"].get<std::string>()}).ok());
}

TEST_F(Outbound, ContainersOfOneNetworkReachEachOtherWithTheirOwnAddresses) {
    lab().attach("a");
    lab().attach("b");
    const WebServer web{lab().at("b"), "b"};
    const UdpEcho echo{lab().at("b"), 7};
    EXPECT_EQ(fetch(lab().at("a"), url(lab().ip("b"), 80)), "b " + lab().ip("a") + " " + lab().ip("b") + ":80\n");
    EXPECT_TRUE(udp_answers(lab().at("a"), {lab().ip("b"), 7}));
    EXPECT_TRUE(lab().at("a").run({"ping", "-c1", "-W2", lab().ip("b")}).ok());
}

TEST_F(Outbound, LargeTransferBetweenContainersArrivesIntact) {
    lab().attach("a");
    lab().attach("b");
    const WebServer web{lab().at("b"), "b"};
    const std::string file = (web.directory() / "blob").string();
    ASSERT_TRUE(shell("head -c 50000000 /dev/urandom > " + file).ok());
    const std::string expected = shell("sha256sum < " + file).out;
    EXPECT_EQ(lab()
                  .at("a")
                  .shell("curl -s --max-time 20 " + url(lab().ip("b"), 80, "/files/blob") + " | sha256sum", {.timeout = Millis{30'000}})
                  .out,
              expected);
}

TEST_F(Outbound, FastPathIsWhatCarriesTheTraffic) {
    lab().attach("a", {"-p", "2000:80"});
    lab().attach("b");
    const WebServer web{lab().at("a"), "a"};
    const WebServer outside{lab().client(), "outside"};
    // Of a transfer nearly nothing may pass the kernel path: the host's forwarding counters stay where they are.
    const auto forwarded = [&] { return lab().node().shell("nstat -asz IpForwDatagrams | awk '/IpForw/ {print $2}'").out; };
    ASSERT_FALSE(fetch(lab().client(), url(kNodeIp, 2000)).empty());
    ASSERT_FALSE(fetch(lab().at("b"), url(lab().ip("a"), 80)).empty());
    ASSERT_FALSE(fetch(lab().at("b"), url(kInternetIp, 80)).empty());
    const std::string before = forwarded();
    for (int i = 0; i < 10; ++i) {
        ASSERT_FALSE(fetch(lab().client(), url(kNodeIp, 2000)).empty());
        ASSERT_FALSE(fetch(lab().at("b"), url(lab().ip("a"), 80)).empty());
        ASSERT_FALSE(fetch(lab().at("b"), url(kInternetIp, 80)).empty());
    }
    EXPECT_EQ(forwarded(), before);
}

TEST_F(Outbound, NothingWithAPrivateSourceLeavesTheUplink) {
    lab().json({"attach", "--mode", "bridge", "--masquerade-ports", "20000-20001"});
    const json app = lab().attach("app", {"-p", "2000:80"});
    Capture outside{lab().client(), "eth0"};
    const std::string gateway = app["gateway"];
    // The gateway's MAC as the container knows it.
    lab().at("app").run({"ping", "-c1", "-W1", gateway});
    const std::string gateway_mac =
        nlohmann::json::parse(lab().at("app").run({"ip", "-j", "neigh", "show", gateway}).out)[0].value("lladdr", "");
    const std::string head = "e = Ether(src='" + lab().at("app").mac("eth0") + "', dst='" + gateway_mac + "')\nip = lambda **k: IP(src='" +
                             lab().ip("app") + "', dst='" + kInternetIp + "', **k)\n";
    inject(
        lab().at("app"), "eth0",
        scapy(
            head +
            "frames += [e/ip(proto=p)/Raw(b'private' + bytes(32)) for p in (0, 2, 4, 41, 47, 50, 51, 89, 103, 112, 132, 136, 253, 255)]\n"
            "frames += [e/ip(flags='MF')/UDP(sport=1, dport=2)/Raw(b'private' + bytes(9))]\n"
            "frames += [e/ip(frag=100)/Raw(b'private' + bytes(16))]\n"
            "frames += [e/ip(options=IPOption(b'\\x83\\x03\\x10'))/UDP(sport=3, dport=4)/Raw(b'private')]\n"
            "frames += [e/ip()/ICMP(type=t)/Raw(b'private') for t in (0, 3, 5, 11, 12, 13, 17)]\n"
            "frames += [e/ip()/TCP(sport=s, dport=80, flags=f)/Raw(b'private') for s in range(5) for f in ('S', 'A', 'R', 'F', 'SA', '')]\n"
            "frames += [e/ip()/UDP(sport=s, dport=53)/Raw(b'private') for s in range(20)]\n"
            "frames += [e/ip(ttl=1)/UDP(sport=9, dport=53)/Raw(b'private')]\n"));
    EXPECT_TRUE(lab().at("app").run({"ping", "-c1", "-W2", kInternetIp}).ok()) << "also the barrier: what was sent before has left or not";
    const std::string prefix = lab().ip("app").substr(0, lab().ip("app").rfind('.') + 1);
    for (const Frame& frame : outside.take()) {
        if (frame.outgoing()) continue;
        EXPECT_FALSE(frame.source().rfind(prefix, 0) == 0) << "untranslated on the wire: " << frame.describe();
    }
}

TEST_F(Outbound, ChangedNextHopMacIsFollowed) {
    lab().attach("web", {"-p", "2000:80"});
    lab().client().set_sysctl("net.ipv4.conf.eth0.arp_notify", "1");
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    const Socket outside = Socket::listener(lab().client(), {"0.0.0.0", 81});
    const Socket in = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000});
    ASSERT_TRUE(in.ok());
    const Socket in_served = listener.accept();
    const Socket out = Socket::connected(lab().at("web"), Transport::kTcp, {kInternetIp, 81});
    ASSERT_TRUE(out.ok());
    const Socket out_served = outside.accept();
    ASSERT_TRUE(ping_pong(in, in_served) && ping_pong(out, out_served));
    lab().client().ip({"link set eth0 address 02:00:5e:00:53:07"});
    EXPECT_TRUE(ping_pong(in, in_served, "after", Millis{8000})) << "the reply of a published flow still goes to the old MAC";
    EXPECT_TRUE(ping_pong(out, out_served, "after", Millis{8000})) << "a masqueraded flow still goes to the old MAC";
    const Socket fresh = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000});
    EXPECT_TRUE(fresh.ok());
}

TEST_F(Outbound, ChangedUplinkAddressIsFollowed) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    const Socket listener = Socket::listener(lab().client(), {"0.0.0.0", 81});
    EXPECT_EQ(seen_source("web", listener, {kInternetIp, 81}).ip, kNodeIp);
    // With the last address of a device its routes go as well.
    lab().node().ip({"addr flush dev eth0", "addr add 192.0.2.99/24 dev eth0", "route add default via " + kClientIp});
    EXPECT_TRUE(wait_until(
        [&] {
            const Socket caller = Socket::connected(lab().at("web"), Transport::kTcp, {kInternetIp, 81}, {}, Millis{500});
            const Socket served = listener.accept(Millis{500});
            return caller.ok() && served.ok() && served.peer().ip == "192.0.2.99";
        },
        Millis{8000}));
    EXPECT_NE(fetch_soon(lab().client(), url("192.0.2.99", 2000)), "");
    lab().node().ip({"addr flush dev eth0", "addr add " + kNodeIp + "/24 dev eth0", "addr add " + kNodeIp2 + "/24 dev eth0",
                     "route add default via " + kClientIp});
}

TEST_F(Outbound, ChangedRouteIsFollowedToAnotherUplink) {
    const Netns& other = lab().add_other_host("eth1");
    other.ip({"addr add " + kInternetIp + "/32 dev lo"});
    lab().rebaseline();
    lab().json({"attach", "--mode", "bridge", "--uplink", "eth0", "--uplink", "eth1"});
    lab().attach("app");
    const Socket before = Socket::listener(lab().client(), {"0.0.0.0", 81});
    const Socket after = Socket::listener(other, {"0.0.0.0", 81});
    EXPECT_EQ(seen_source("app", before, {kInternetIp, 81}).ip, kNodeIp);
    const Socket udp_after = Socket::bound(other, Transport::kUdp, {"0.0.0.0", 53});
    const Socket udp = Socket::connected(lab().at("app"), Transport::kUdp, {kInternetIp, 53});
    ASSERT_TRUE(udp.send("to the first uplink"));
    lab().node().ip({"route replace default via " + kOtherHostIp});
    EXPECT_TRUE(wait_until(
        [&] {
            const Socket caller = Socket::connected(lab().at("app"), Transport::kTcp, {kInternetIp, 81}, {}, Millis{500});
            const Socket served = after.accept(Millis{500});
            return caller.ok() && served.ok() && served.peer().ip == kNodeOtherIp;
        },
        Millis{8000}));
    EXPECT_TRUE(wait_until([&] { return udp.send("x") && !udp_after.receive(Millis{300}).empty(); }, Millis{8000}))
        << "a flow that was there before still leaves by the old uplink";
    lab().node().ip({"route replace default via " + kClientIp});
}

TEST_F(Outbound, ContainerGoesOutThroughAVlanOfTheUplink) {
    if (!lab().client().run({"ip", "link", "add", "link", "eth0", "name", "probe", "type", "vlan", "id", "9"}).ok())
        GTEST_SKIP() << "this kernel has no 802.1Q devices";
    lab().client().ip({"link delete probe"});
    lab().client().ip(
        {"link add link eth0 name eth0.100 type vlan id 100", "addr add 198.18.100.1/24 dev eth0.100", "link set eth0.100 up"});
    lab().node().ip({"link add link eth0 name eth0.100 type vlan id 100", "addr add 198.18.100.2/24 dev eth0.100", "link set eth0.100 up",
                     "route replace default via 198.18.100.1"});
    lab().rebaseline();
    lab().attach("web", {"-p", "2000:80"});
    EXPECT_EQ(lab().json({"status"})["uplinks"][0]["name"], "eth0.100");
    const WebServer web{lab().at("web"), "web"};
    const WebServer outside{lab().client(), "outside"};
    EXPECT_NE(fetch(lab().client(), url("198.18.100.2", 2000)), "");
    EXPECT_EQ(fetch(lab().at("web"), url(kInternetIp, 80)), "outside 198.18.100.2 " + kInternetIp + ":80\n");
}

TEST_F(Outbound, ContainerGoesOutThroughABridgeThatHoldsTheNic) {
    lab().node().ip({"addr flush dev eth0", "link add br0 type bridge", "link set eth0 master br0", "link set br0 up",
                     "addr add " + kNodeIp + "/24 dev br0", "route replace default via " + kClientIp});
    lab().rebaseline();
    lab().attach("web", {"-p", "2000:80"});
    EXPECT_EQ(lab().json({"status"})["uplinks"][0]["name"], "br0");
    const WebServer web{lab().at("web"), "web"};
    const WebServer outside{lab().client(), "outside"};
    EXPECT_NE(fetch_soon(lab().client(), url(kNodeIp, 2000)), "");
    EXPECT_EQ(fetch(lab().at("web"), url(kInternetIp, 80)), "outside " + kNodeIp + " " + kInternetIp + ":80\n");
}

TEST_F(Outbound, UplinkWithoutEthernetHeaderWorksOrIsRefusedAtAttach) {
    lab().node().ip(
        {"tuntap add mode tun name tun0", "addr add 10.200.0.2/24 dev tun0", "link set tun0 up", "route replace default dev tun0"});
    lab().rebaseline();
    const CommandResult result = lab().fastnet({"attach", "--mode", "bridge"});
    if (result.status != 0) {
        expect_error_in(result, {kFailed, kUsage}, {"tun0"});
        EXPECT_TRUE(lab().root().pinned().links.empty());
    }
    // Where it was taken, real packets prove it in UplinkWithoutEthernetHeader tests of the datapath (tests/bpf).
}

TEST_F(Outbound, NetworkWithoutIccKeepsItsContainersApart) {
    lab().json({"network", "create", "quiet", "--no-icc"});
    lab().attach("a", {"--network", "quiet"});
    lab().attach("b", {"--network", "quiet", "-p", "2000:80"});
    const WebServer web{lab().at("b"), "b"};
    EXPECT_EQ(fetch(lab().at("a"), url(lab().ip("b"), 80), 1), "");
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
}

TEST_F(Outbound, InternalNetworkHasNoWayOut) {
    lab().json({"network", "create", "inside", "--internal"});
    lab().attach("a", {"--network", "inside"});
    lab().attach("b", {"--network", "inside"});
    const WebServer web{lab().at("b"), "b"};
    const WebServer outside{lab().client(), "outside"};
    EXPECT_NE(fetch(lab().at("a"), url(lab().ip("b"), 80)), "");
    EXPECT_EQ(fetch(lab().at("a"), url(kInternetIp, 80), 1), "");
    EXPECT_EQ(lab().at("a").shell("ip route show default").out, "");
    // Nor by a route that the container gives itself.
    const std::string gateway = lab().node().shell("ip -4 -o addr | grep -v eth0 | grep -v ' lo ' | head -1 | awk '{print $4}'").out;
    lab().at("a").run({"ip", "route", "add", "default", "via", gateway.substr(0, gateway.find('/'))});
    EXPECT_EQ(fetch(lab().at("a"), url(kInternetIp, 80), 1), "");
}

}  // namespace
}  // namespace fastnet::test
