// The default network speaks both families: published ports, masquerade and containers among themselves over IPv6.
#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

class Ipv6 : public LabTest {
protected:
    void SetUp() override {
        LabTest::SetUp();
        lab().add_ipv6();
    }

    static std::string bare(const json& address) { return without_prefix_length(address.get<std::string>()); }

    static std::string first_48_bits(const std::string& address) {
        in6_addr bytes{};
        EXPECT_EQ(::inet_pton(AF_INET6, address.c_str(), &bytes), 1) << address;
        return {reinterpret_cast<const char*>(&bytes), 6};
    }

    struct Call {
        SocketAddress seen;  ///< by the server
        SocketAddress peer;  ///< as the caller sees it
    };
    /// One connection with data both ways; what both sides call the other.
    static Call call(const Netns& from, const SocketAddress& to, const Socket& listener) {
        Socket caller = Socket::connected(from, Transport::kTcp, to);
        EXPECT_TRUE(caller.ok()) << "no connection to " << to << ": errno " << caller.error();
        if (!caller.ok()) return {};
        Socket served = listener.accept();
        EXPECT_TRUE(ping_pong(caller, served));
        return {served.peer(), caller.peer()};
    }
};

TEST_F(Ipv6, DefaultNetworkHasAUniqueLocalPrefixBesideTheIpv4One) {
    const json web = lab().attach("web");
    const json app = lab().attach("app");
    ASSERT_TRUE(web["ipv6"].is_string()) << web;
    EXPECT_EQ(web["ipv6"].get<std::string>().substr(0, 2), "fd");
    EXPECT_EQ(web["gateway6"], app["gateway6"]);
    EXPECT_NE(web["ipv6"], app["ipv6"]);
    const json network = lab().json({"network", "inspect", "default"});
    EXPECT_EQ(network["gateway6"], web["gateway6"]) << network;
    EXPECT_EQ(lab().node().sysctl("net.ipv6.conf.all.forwarding"), "0") << "the host does not become a router";
    EXPECT_EQ(lab().node().sysctl("net.ipv6.conf.eth0.forwarding"), "0");
}

TEST_F(Ipv6, NodeKeepsItsPrefixForLaterNetworks) {
    const std::string first = lab().attach("web")["ipv6"];
    const json blue = lab().json({"network", "create", "blue"});
    ASSERT_TRUE(blue["subnet6"].is_string()) << blue;
    EXPECT_EQ(first_48_bits(bare(blue["subnet6"])), first_48_bits(without_prefix_length(first)));
}

TEST_F(Ipv6, HostWithoutIpv6GetsAnIpv4Network) {
    lab().node().set_sysctl("net.ipv6.conf.all.disable_ipv6", "1");
    lab().rebaseline();
    EXPECT_TRUE(lab().attach("web")["ipv6"].is_null());
}

TEST_F(Ipv6, PublishedPortIsReachableAndTheServerSeesTheClient) {
    const json web = lab().attach("web", {"-p", "2000:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    const Call seen = call(lab().client(), {kNodeIp6, 2000}, listener);
    EXPECT_EQ(seen.seen.ip, kClientIp6);
    EXPECT_EQ(seen.peer, (SocketAddress{kNodeIp6, 2000}));
    EXPECT_EQ(Socket::connected(lab().client(), Transport::kTcp, {kNodeIp6, 2001}).error(), ECONNREFUSED);
}

TEST_F(Ipv6, UdpAnswersFromTheCalledAddress) {
    lab().attach("dns", {"-p", "[" + kNodeIp6 + "]:5353:53/udp"});
    const Socket server = Socket::bound(lab().at("dns"), Transport::kUdp, {"::", 53});
    const Socket caller = Socket::bound(lab().client(), Transport::kUdp, {kClientIp6, 45000});
    ASSERT_TRUE(caller.send_to("question", {kNodeIp6, 5353}));
    SocketAddress from;
    ASSERT_EQ(server.receive_from(from), "question");
    EXPECT_EQ(from, (SocketAddress{kClientIp6, 45000}));
    ASSERT_TRUE(server.send_to("answer", from));
    ASSERT_EQ(caller.receive_from(from), "answer");
    EXPECT_EQ(from, (SocketAddress{kNodeIp6, 5353}));
}

TEST_F(Ipv6, ContainerGoesOutWithTheNodesAddress) {
    lab().attach("app");
    const Socket listener = Socket::listener(lab().client(), {kInternetIp6, 80});
    const Call seen = call(lab().at("app"), {kInternetIp6, 80}, listener);
    EXPECT_EQ(seen.seen.ip, kNodeIp6);
    EXPECT_GE(seen.seen.port, 16384);
    EXPECT_LE(seen.seen.port, 32767);
    EXPECT_EQ(lab().at("app").run({"ping", "-6", "-c1", "-W2", kInternetIp6}).status, 0);
}

TEST_F(Ipv6, ContainersReachEachOtherByRedirect) {
    const json web = lab().attach("web");
    lab().attach("app");
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    const std::uint64_t before = lab().verdict("LOCAL_FORWARDED");
    call(lab().at("app"), {bare(web["ipv6"]), 80}, listener);
    EXPECT_GT(lab().verdict("LOCAL_FORWARDED"), before);
}

TEST_F(Ipv6, HairpinReachesAnotherAndItself) {
    lab().attach("web", {"-p", "2000:80"});
    lab().attach("app");
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    EXPECT_EQ(call(lab().at("app"), {kNodeIp6, 2000}, listener).peer, (SocketAddress{kNodeIp6, 2000}));
    EXPECT_EQ(call(lab().at("web"), {kNodeIp6, 2000}, listener).peer, (SocketAddress{kNodeIp6, 2000}));
}

TEST_F(Ipv6, UnpublishedPortIsOutOfReachByTheContainersOwnAddress) {
    const json web = lab().attach("web", {"-p", "2000:80"});
    const std::string address = bare(web["ipv6"]);
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    lab().client().ip({"route add " + address + "/128 via " + kNodeIp6});
    const std::uint64_t before = lab().verdict("NOT_PUBLISHED");
    EXPECT_NE(lab().client().run({"curl", "-gs", "-m1", "http://[" + address + "]/"}).status, 0);
    EXPECT_GT(lab().verdict("NOT_PUBLISHED"), before);
}

TEST_F(Ipv6, RouterAdvertisementOfAContainerReachesNobody) {
    lab().attach("evil");
    lab().attach("app");
    const std::uint64_t before = lab().verdict("ROUTER_MESSAGE");
    // A router advertisement is a type 134 message to all nodes; python only builds the bytes.
    const std::string advertise =
        "import socket; s=socket.socket(socket.AF_INET6,socket.SOCK_RAW,socket.IPPROTO_ICMPV6);"
        "s.setsockopt(socket.IPPROTO_IPV6,socket.IPV6_MULTICAST_HOPS,255);"
        "s.sendto(bytes([134,0,0,0,64,0,7,8])+bytes(8),('ff02::1',0,0,socket.if_nametoindex('eth0')))";
    // Until the link-local address is usable: duplicate address detection takes a second.
    EXPECT_TRUE(wait_until([&] { return lab().at("evil").run({"python3", "-c", advertise}).ok(); }));
    EXPECT_TRUE(wait_until([&] { return lab().verdict("ROUTER_MESSAGE") > before; }));
}

}  // namespace
}  // namespace fastnet::test
