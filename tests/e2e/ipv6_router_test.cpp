// The node as its containers' IPv6 gateway: it needs no forwarding but its own bridges', it goes on learning from the routers
// outside, it refuses to learn from containers, and it finds next hops by neighbour discovery.
#include <gtest/gtest.h>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

/// A router advertisement with one autonomous prefix (RFC 4861 4.2, 4.6.2), by python's raw socket: the kernel adds source and
/// checksum. @p lifetime 0: of a router that is no default one.
CommandResult advertise(const Netns& from, const std::string& prefix, unsigned lifetime = 1800) {
    const std::string script =
        "import socket,struct,sys\ns=socket.socket(socket.AF_INET6,socket.SOCK_RAW,socket.IPPROTO_ICMPV6)\n"
        "s.setsockopt(socket.IPPROTO_IPV6,socket.IPV6_MULTICAST_HOPS,255)\n"
        "ra=struct.pack('!BBHBBHII',134,0,0,64,0,int(sys.argv[2]),0,0)\n"
        "ra+=struct.pack('!BBBBIII',3,4,64,0xc0,3600,3600,0)+socket.inet_pton(socket.AF_INET6,sys.argv[1])\n"
        "s.sendto(ra,('ff02::1',0,0,socket.if_nametoindex('eth0')))";
    return from.run({"python3", "-c", script, prefix, std::to_string(lifetime)});
}

/// Says to @p victim, as every router may, that @p target is the better next hop to @p destination (RFC 4861 4.5).
CommandResult redirect(const Netns& from, const std::string& victim, const std::string& target, const std::string& destination) {
    const std::string script =
        "import socket,sys\np=lambda a: socket.inet_pton(socket.AF_INET6,a)\n"
        "s=socket.socket(socket.AF_INET6,socket.SOCK_RAW,socket.IPPROTO_ICMPV6)\n"
        "s.setsockopt(socket.IPPROTO_IPV6,socket.IPV6_UNICAST_HOPS,255)\n"
        "s.sendto(bytes([137]+[0]*7)+p(sys.argv[2])+p(sys.argv[3]),(sys.argv[1],0))";
    return from.run({"python3", "-c", script, victim, target, destination});
}

std::string routes(const Netns& netns) {
    return netns.run({"ip", "-6", "route", "show"}).out;
}

std::string link_local(const Netns& netns, const std::string& ifname) {
    std::string address;
    EXPECT_TRUE(wait_until([&] {
        const json links = json::parse(netns.run({"ip", "-6", "-j", "addr", "show", "dev", ifname, "scope", "link"}).out, nullptr, false);
        for (const json& link : links)
            for (const json& one : link.value("addr_info", json::array()))
                if (!one.value("tentative", false)) address = one.value("local", "");
        return !address.empty();
    }));
    return address;
}

bool has_address(const Netns& netns, const std::string& start) {
    return netns.run({"ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global", "-tentative"}).out.find(start) !=
           std::string::npos;
}

// --- an uplink that is configured by router advertisements ------------------------------------------------------

class AdvertisedUplink : public LabTest {};

TEST_F(AdvertisedUplink, GoesOnLearningWhileContainersTalkIpv6) {
    const Netns& node = lab().node();
    for (const char* const key : {"accept_ra", "autoconf"}) node.set_sysctl(std::string{"net.ipv6.conf.eth0."} + key, "1");
    lab().client().set_sysctl("net.ipv6.conf.all.forwarding", "1");  // else its neighbour advertisements say that it is no router
    lab().client().ip({"addr add 2001:db8:a::1/64 dev eth0 nodad", "addr add " + kInternetIp6 + "/128 dev lo nodad"});
    link_local(lab().client(), "eth0");
    link_local(node, "eth0");
    ASSERT_TRUE(advertise(lab().client(), "2001:db8:a::").ok());
    ASSERT_TRUE(wait_until([&] { return has_address(node, "2001:db8:a:"); }));
    ASSERT_NE(routes(node).find("default via"), std::string::npos);
    lab().rebaseline();

    const auto settings = [&] {
        return node
            .shell(
                "cd /proc/sys/net/ipv6/conf; head -n99 all/forwarding default/forwarding lo/forwarding eth0/forwarding "
                "all/accept_ra eth0/accept_ra eth0/autoconf")
            .out;
    };
    const std::string before = settings();
    lab().attach("app");
    EXPECT_EQ(settings(), before) << "nothing of the host is changed, before force_forwarding or after";
    EXPECT_NE(routes(node).find("default via"), std::string::npos) << "forwarding by a bridge makes the kernel forget it";
    EXPECT_EQ(node.sysctl("net.ipv6.conf.all.forwarding"), "0");
    const std::string bridge = lab().json({"network", "inspect", "default"})["bridge"];
    EXPECT_EQ(node.sysctl("net.ipv6.conf." + bridge + ".forwarding"), "1") << "bpf_fib_lookup asks for it";

    const Socket listener = Socket::listener(lab().client(), {kInternetIp6, 80});
    Socket caller = Socket::connected(lab().at("app"), Transport::kTcp, {kInternetIp6, 80});
    ASSERT_TRUE(caller.ok()) << caller.error();
    Socket served = listener.accept();
    EXPECT_TRUE(ping_pong(caller, served));
    EXPECT_EQ(served.peer().ip.substr(0, 11), "2001:db8:a:") << "by the address that was advertised";

    ASSERT_TRUE(advertise(lab().client(), "2001:db8:b::").ok());
    EXPECT_TRUE(wait_until([&] { return has_address(node, "2001:db8:b:"); })) << "a later advertisement is heard";
    EXPECT_TRUE(ping_pong(caller, served, "still"));
    ASSERT_TRUE(advertise(lab().client(), "2001:db8:b::", 0).ok());
    EXPECT_TRUE(wait_until([&] { return routes(node).find("default via") == std::string::npos; })) << "and one that takes the route back";
    ASSERT_TRUE(advertise(lab().client(), "2001:db8:b::").ok());
    EXPECT_TRUE(wait_until([&] { return routes(node).find("default via") != std::string::npos; }));
    EXPECT_TRUE(ping_pong(caller, served, "again"));
    lab().cleanup_and_verify_except("2001:db8:b:");  // what was learned meanwhile
    EXPECT_EQ(settings(), before);
}

// --- a container that would like to be the router -----------------------------------------------------------------

class Ipv6Router : public LabTest {
protected:
    void SetUp() override {
        LabTest::SetUp();
        lab().add_ipv6();
    }
};

TEST_F(Ipv6Router, MessagesOfARouterFromAContainerChangeNoRoute) {
    const json app = lab().attach("app");
    const json evil = lab().attach("evil");
    const std::string bridge = lab().json({"network", "inspect", "default"})["bridge"];
    // As gullible as can be: what protects them is the datapath and not a sysctl.
    for (const auto& [netns, device] : {std::pair{&lab().at("app"), std::string{"eth0"}}, {&lab().node(), bridge}}) {
        netns->set_sysctl("net.ipv6.conf." + device + ".accept_ra", "2");
        netns->set_sysctl("net.ipv6.conf." + device + ".accept_redirects", "1");
    }
    const std::string own = link_local(lab().at("evil"), "eth0");
    const std::string host_routes = routes(lab().node());
    const std::string app_routes = routes(lab().at("app"));
    const std::uint64_t before = lab().verdict("ROUTER_MESSAGE");
    ASSERT_TRUE(advertise(lab().at("evil"), "2001:db8:e::").ok());
    for (const std::string& victim : {without_prefix_length(app["ipv6"]), without_prefix_length(app["gateway6"])})
        ASSERT_TRUE(redirect(lab().at("evil"), victim, own, kInternetIp6).ok());
    EXPECT_TRUE(wait_until([&] { return lab().verdict("ROUTER_MESSAGE") >= before + 3; }));
    EXPECT_EQ(routes(lab().node()), host_routes);
    EXPECT_EQ(routes(lab().at("app")), app_routes);
    EXPECT_FALSE(has_address(lab().at("app"), "2001:db8:e:"));
    EXPECT_EQ(lab().at("app").run({"ip", "-6", "route", "get", kInternetIp6}).out.find(own), std::string::npos);
    // The same message is believed where it may be: it is a good one.
    lab().node().set_sysctl("net.ipv6.conf.eth0.accept_ra", "1");
    ASSERT_TRUE(advertise(lab().client(), "2001:db8:e::", 0).ok());
    EXPECT_TRUE(wait_until([&] { return has_address(lab().node(), "2001:db8:e:"); }));
    lab().cleanup_and_verify_except("2001:db8:e:");
}

// --- next hops ----------------------------------------------------------------------------------------------------

TEST_F(Ipv6Router, UnknownNextHopIsResolvedForMasqueradedAndPublishedFlows) {
    lab().attach("web", {"-p", "2000:80"});
    const auto forget = [&] { EXPECT_TRUE(lab().node().run({"ip", "-6", "neigh", "flush", "dev", "eth0"}).ok()); };
    const Socket outside = Socket::listener(lab().client(), {kInternetIp6, 80});
    const Socket inside = Socket::listener(lab().at("web"), {"::", 80});
    forget();
    Socket out = Socket::connected(lab().at("web"), Transport::kTcp, {kInternetIp6, 80});
    Socket out_served = outside.accept();
    EXPECT_TRUE(ping_pong(out, out_served));
    forget();
    Socket in = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp6, 2000});
    Socket in_served = inside.accept();
    EXPECT_TRUE(ping_pong(in, in_served));
    forget();
    EXPECT_TRUE(ping_pong(out, out_served, "after"));
    EXPECT_TRUE(ping_pong(in, in_served, "after"));
}

TEST_F(Ipv6Router, ChangedNextHopMacIsFollowed) {
    lab().node().set_sysctl("net.ipv6.neigh.eth0.base_reachable_time_ms", "1000");
    lab().node().set_sysctl("net.ipv6.neigh.eth0.delay_first_probe_time", "1");
    lab().rebaseline();
    lab().attach("web", {"-p", "2000:80"});
    const Socket outside = Socket::listener(lab().client(), {kInternetIp6, 80});
    const Socket inside = Socket::listener(lab().at("web"), {"::", 80});
    Socket out = Socket::connected(lab().at("web"), Transport::kTcp, {kInternetIp6, 80});
    Socket out_served = outside.accept();
    Socket in = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp6, 2000});
    Socket in_served = inside.accept();
    ASSERT_TRUE(ping_pong(out, out_served));
    ASSERT_TRUE(ping_pong(in, in_served));
    lab().client().set_sysctl("net.ipv6.conf.eth0.ndisc_notify", "0");  // it says nothing about it
    lab().client().ip({"link set eth0 address 02:00:00:00:00:99"});
    EXPECT_TRUE(ping_pong(out, out_served, "after", Millis{10'000})) << "a masqueraded flow still goes to the old MAC";
    EXPECT_TRUE(ping_pong(in, in_served, "after", Millis{10'000})) << "the reply of a published flow still goes to the old MAC";
}

}  // namespace
}  // namespace fastnet::test
