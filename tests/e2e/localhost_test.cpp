// A process of the host calls a published port: by 127.0.0.1, ::1, localhost and every other address of the host.
#include <gtest/gtest.h>

#include <cerrno>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

class Localhost : public LabTest {
protected:
    void SetUp() override {
        LabTest::SetUp();
        lab().add_ipv6();
    }
    /// Every way in which the node can call itself.
    std::vector<std::string> own_addresses(const json& endpoint) const {
        return {"127.0.0.1", "127.0.0.9", kNodeIp, kNodeIp2, endpoint["gateway"], "::1", kNodeIp6, endpoint["gateway6"]};
    }
    /// A connection from the node, with data both ways.
    bool answers(const SocketAddress& to, const Socket& listener) {
        const Socket caller = Socket::connected(lab().node(), Transport::kTcp, to);
        return caller.ok() && ping_pong(caller, listener.accept());
    }
    static bool is_loopback(const std::string& ip) { return ip == "::1" || ip.rfind("127.", 0) == 0; }
};

/// @p caller asks @p called; @p server is there, and its answer comes from the address that was called.
void expect_answer_from(const Socket& caller, const SocketAddress& called, const Socket& server) {
    SocketAddress from;
    ASSERT_TRUE(caller.send_to("question", called));
    ASSERT_EQ(server.receive_from(from), "question");
    ASSERT_TRUE(server.send_to("answer", from));
    ASSERT_EQ(caller.receive_from(from), "answer");
    EXPECT_EQ(from, called);
}

TEST_F(Localhost, TcpReachesThePortByEveryAddressOfTheHost) {
    const json web = lab().attach("web", {"-p", "2000:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    for (const std::string& address : own_addresses(web)) {
        SCOPED_TRACE(address);
        const Socket caller = Socket::connected(lab().node(), Transport::kTcp, {address, 2000});
        ASSERT_TRUE(caller.ok()) << "errno " << caller.error();
        EXPECT_EQ(caller.peer(), (SocketAddress{address, 2000}));
        const Socket served = listener.accept();
        EXPECT_TRUE(ping_pong(caller, served, std::string(40000, 'x')));
        const bool ipv6 = address.find(':') != std::string::npos;
        const std::string seen = is_loopback(address) ? web[ipv6 ? "gateway6" : "gateway"].get<std::string>() : caller.local().ip;
        EXPECT_EQ(served.peer().ip, ipv6 ? seen : "::ffff:" + seen) << "what can be answered is kept";
    }
}

TEST_F(Localhost, UdpAnswersFromTheCalledAddressConnectedOrNot) {
    const json dns = lab().attach("dns", {"-p", "5353:53/udp"});
    const Socket server = Socket::bound(lab().at("dns"), Transport::kUdp, {"::", 53});
    for (const std::string& address : own_addresses(dns)) {
        SCOPED_TRACE(address);
        const bool ipv6 = address.find(':') != std::string::npos;
        const Socket loose = Socket::bound(lab().node(), Transport::kUdp, {ipv6 ? "::" : "0.0.0.0", 0});
        SocketAddress from;
        expect_answer_from(loose, {address, 5353}, server);

        const Socket connected = Socket::connected(lab().node(), Transport::kUdp, {address, 5353});
        ASSERT_TRUE(connected.send("question"));
        ASSERT_EQ(server.receive_from(from), "question");
        ASSERT_TRUE(server.send_to("answer", from));
        EXPECT_EQ(connected.receive(), "answer");
        EXPECT_EQ(connected.peer(), (SocketAddress{address, 5353}));
    }
}

// The container's answer comes in fragments; lo itself takes the question whole.
TEST_F(Localhost, LargeDatagramsGoBothWays) {
    const json dns = lab().attach("dns", {"-p", "5353:53/udp"});
    const Socket server = Socket::bound(lab().at("dns"), Transport::kUdp, {"::", 53});
    for (const std::string& address : own_addresses(dns)) {
        for (const std::size_t size : {8000U, 60000U}) {
            SCOPED_TRACE(address + " " + std::to_string(size));
            const Socket caller = Socket::connected(lab().node(), Transport::kUdp, {address, 5353});
            SocketAddress from;
            ASSERT_TRUE(caller.send(std::string(size, 'q')));
            ASSERT_EQ(server.receive_from(from).size(), size);
            ASSERT_TRUE(server.send_to(std::string(size, 'a'), from));
            EXPECT_EQ(caller.receive(), std::string(size, 'a'));
        }
    }
}

TEST_F(Localhost, SocketThatIsBoundBeforehandIsServed) {
    lab().attach("web", {"-p", "2000:80", "-p", "2000:80/udp"});
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    const Socket echo = Socket::bound(lab().at("web"), Transport::kUdp, {"::", 80});
    for (const std::string& own : {std::string{"127.0.0.1"}, std::string{"::1"}}) {
        SCOPED_TRACE(own);
        const Socket caller = Socket::connected(lab().node(), Transport::kTcp, {own, 2000}, {own, 45000});
        ASSERT_TRUE(caller.ok()) << "errno " << caller.error();
        EXPECT_TRUE(ping_pong(caller, listener.accept()));
        const Socket sender = Socket::bound(lab().node(), Transport::kUdp, {own, 45000});
        expect_answer_from(sender, {own, 2000}, echo);
    }
}

TEST_F(Localhost, CurlByName) {
    const json web = lab().attach("web", {"-p", "2000:80"});
    const WebServer server{lab().at("web"), "web"};
    EXPECT_EQ(fetch(lab().node(), "http://localhost:2000/").substr(0, 3), "web")
        << "this server speaks IPv4 only: ::1 is refused and curl goes on to 127.0.0.1";
}

TEST_F(Localhost, ClosedPortOfTheContainerIsRefusedAtOnce) {
    const json web = lab().attach("web", {"-p", "2000:80", "-p", "2000:80/udp"});
    for (const std::string& address : own_addresses(web)) {
        SCOPED_TRACE(address);
        EXPECT_EQ(Socket::connected(lab().node(), Transport::kTcp, {address, 2000}).error(), ECONNREFUSED);
        const Socket udp = Socket::connected(lab().node(), Transport::kUdp, {address, 2000});
        ASSERT_TRUE(udp.send("anybody?"));
        EXPECT_TRUE(wait_until([&] { return !udp.send("still nobody?") && errno == ECONNREFUSED; }))
            << "the port-unreachable error did not arrive";
    }
}

TEST_F(Localhost, PortOfALoopbackAddressIsThereForTheHostAlone) {
    lab().attach("web", {"-p", "127.0.0.1:2000:80", "-p", "[::1]:2000:80", "-p", "127.0.0.1:2000:80/udp"});
    lab().attach("app");
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    for (const std::string& own : {std::string{"127.0.0.1"}, std::string{"::1"}}) EXPECT_TRUE(answers({own, 2000}, listener)) << own;
    for (const std::string& address : {std::string{"127.0.0.2"}, kNodeIp, kNodeIp6})
        EXPECT_EQ(Socket::connected(lab().node(), Transport::kTcp, {address, 2000}).error(), ECONNREFUSED) << address;
    for (const std::string& address : {kNodeIp, kNodeIp6}) {
        EXPECT_EQ(Socket::connected(lab().client(), Transport::kTcp, {address, 2000}).error(), ECONNREFUSED) << address;
        EXPECT_EQ(Socket::connected(lab().at("app"), Transport::kTcp, {address, 2000}).error(), ECONNREFUSED) << address;
    }
}

// CVE-2020-8558: a neighbour routes loopback addresses to this host. Neither what is published there nor the host's own
// services on 127.0.0.1 may answer.
TEST_F(Localhost, NeighbourThatForgesLoopbackAddressesReachesNothing) {
    const json web = lab().attach("web", {"-p", "127.0.0.1:2000:80", "-p", "127.0.0.1:2000:80/udp", "-p", "2001:80"});
    lab().attach("app");
    const Socket published = Socket::bound(lab().at("web"), Transport::kUdp, {"::", 80});
    const Socket tcp = Socket::listener(lab().at("web"), {"::", 80});
    const Socket hosts_own = Socket::bound(lab().node(), Transport::kUdp, {"127.0.0.1", 3000});
    const Socket hosts_tcp = Socket::listener(lab().node(), {"127.0.0.1", 3000});
    const struct {
        const Netns& from;
        std::string via;
    } neighbours[] = {{lab().client(), kNodeIp}, {lab().at("app"), web["gateway"]}};
    for (const auto& neighbour : neighbours) {
        SCOPED_TRACE(neighbour.via);
        neighbour.from.set_sysctl("net.ipv4.conf.all.route_localnet", "1");
        ASSERT_EQ(neighbour.from.run({"ip", "addr", "del", "127.0.0.1/8", "dev", "lo"}).status, 0);
        ASSERT_EQ(neighbour.from.run({"ip", "route", "add", "127.0.0.0/8", "via", neighbour.via}).status, 0);
        for (const std::uint16_t port : std::initializer_list<std::uint16_t>{2000, 2001, 3000}) {
            const Socket udp = Socket::connected(neighbour.from, Transport::kUdp, {"127.0.0.1", port});
            ASSERT_TRUE(udp.send("let me in"));
            EXPECT_EQ(Socket::connected(neighbour.from, Transport::kTcp, {"127.0.0.1", port}, {}, Millis{300}).error(), ETIMEDOUT) << port;
        }
    }
    EXPECT_EQ(published.receive(Millis{100}), "");
    EXPECT_EQ(hosts_own.receive(Millis{100}), "");
    EXPECT_EQ(lab().count("flows"), 0U);
    EXPECT_EQ(lab().node().sysctl("net.ipv4.conf.all.route_localnet"), "0");
    EXPECT_EQ(lab().node().sysctl("net.ipv4.conf.eth0.route_localnet"), "0");
    EXPECT_EQ(lab().node().sysctl("net.ipv4.conf.lo.route_localnet"), "1");
}

TEST_F(Localhost, DistinctLoopbackAddressesShareAPort) {
    lab().attach("web", {"-p", "127.0.0.2:2000:80"});
    lab().attach("app", {"-p", "127.0.0.3:2000:80"});
    const Socket web = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    const Socket app = Socket::listener(lab().at("app"), {"0.0.0.0", 80});
    EXPECT_TRUE(answers({"127.0.0.2", 2000}, web));
    EXPECT_TRUE(answers({"127.0.0.3", 2000}, app));
    expect_error(lab().fastnet({"publish", "app", "127.0.0.2:2000:81"}), kConflict, {"web"});
}

TEST_F(Localhost, ServiceOfTheHostOnLocalhostIsNotHijacked) {
    const Socket own = Socket::listener(lab().node(), {"127.0.0.1", 2000});
    lab().container("web");
    expect_error(lab().fastnet(lab().attach_args("web", {"-p", "2000:80"})), kConflict, {"2000"});
    lab().attach("web", {"-p", kNodeIp + ":2000:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    EXPECT_TRUE(answers({"127.0.0.1", 2000}, own));
    EXPECT_TRUE(answers({kNodeIp, 2000}, listener));
}

TEST_F(Localhost, ConnectedUdpSocketReachesTheContainerThatTookThePlace) {
    lab().attach("old", {"-p", "5353:53/udp"});
    const Socket first = Socket::bound(lab().at("old"), Transport::kUdp, {"::", 53});
    const Socket caller = Socket::connected(lab().node(), Transport::kUdp, {"127.0.0.1", 5353});
    ASSERT_TRUE(caller.send("one"));
    ASSERT_EQ(first.receive(), "one");
    ASSERT_EQ(lab().fastnet({"detach", "old"}).status, kDone);
    lab().attach("new", {"-p", "5353:53/udp"});
    const Socket second = Socket::bound(lab().at("new"), Transport::kUdp, {"::", 53});
    SocketAddress from;
    ASSERT_TRUE(caller.send("two"));
    ASSERT_EQ(second.receive_from(from), "two");
    ASSERT_TRUE(second.send_to("answer", from));
    EXPECT_EQ(caller.receive(), "answer");
}

TEST_F(Localhost, SettingsOfLoAreRepairedAndGoWithFastnet) {
    lab().attach("web", {"-p", "2000:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    lab().node().set_sysctl("net.ipv4.conf.lo.route_localnet", "0");
    EXPECT_EQ(Socket::connected(lab().node(), Transport::kTcp, {"127.0.0.1", 2000}, {}, Millis{300}).error(), ETIMEDOUT);
    ASSERT_EQ(lab().fastnet({"attach", "--mode", "bridge"}).status, kDone);
    EXPECT_TRUE(Socket::connected(lab().node(), Transport::kTcp, {"127.0.0.1", 2000}).ok());
    lab().cleanup_and_verify();
    EXPECT_EQ(lab().node().sysctl("net.ipv4.conf.lo.route_localnet"), "0");
    EXPECT_EQ(lab().node().sysctl("net.ipv4.conf.lo.accept_local"), "0");
}

}  // namespace
}  // namespace fastnet::test
