// ICMP errors through translated flows, as programs inside and outside meet them.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

class Icmp : public LabTest {
protected:
    /// A network behind the client, which routes to it by a link of 1400 bytes; nobody lives there.
    void add_narrow_network() {
        lab().client().ip(
            {"link add d0 mtu 1400 type veth peer name d1", "addr add 10.99.0.1/24 dev d0", "link set d0 up", "link set d1 up"});
        lab().client().set_sysctl("net.ipv4.ip_forward", "1");
    }
};

TEST_F(Icmp, UnreachablePortOutsideEndsAUdpCallInsideAtOnce) {
    lab().attach("app");
    EXPECT_EQ(unanswered_call(lab().at("app"), kInternetIp, 9), "refused");
    EXPECT_GT(lab().verdict("ICMP_FORWARDED"), 0U);
}

TEST_F(Icmp, UnreachablePortInsideEndsACallOfThePublishedOne) {
    lab().attach("app", {"-p", "5000:53/udp"});
    EXPECT_EQ(unanswered_call(lab().client(), kNodeIp, 5000), "refused");
}

TEST_F(Icmp, SmallerMtuOnTheWayIsLearnedInside) {
    add_narrow_network();
    lab().attach("app");
    const auto ping = lab().at("app").run({"ping", "-M", "do", "-s", "1472", "-c2", "-i0.2", "-W2", "10.99.0.2"});
    EXPECT_NE((ping.out + ping.err).find("mtu"), std::string::npos) << ping;
    EXPECT_NE(lab().at("app").run({"ip", "route", "get", "10.99.0.2"}).out.find("mtu 1400"), std::string::npos)
        << "the kernel inside has it";
}

TEST_F(Icmp, SmallerMtuIsLearnedByAPublishedServer) {
    // Its segments towards the client meet the narrow link; the error quotes what left the node.
    lab().client().ip({"link add d0 mtu 1400 type veth peer name d1", "link set d0 up"});
    const Netns far{lab().client().name() + "f"};
    lab().client().ip({"link set d1 netns " + far.name(), "addr add 10.99.0.1/24 dev d0"});
    far.ip({"link set d1 mtu 1500", "addr add 10.99.0.2/24 dev d1", "link set d1 up", "route add default via 10.99.0.1"});
    lab().client().set_sysctl("net.ipv4.ip_forward", "1");
    lab().attach("web", {"-p", "2000:80"});
    const WebServer server{lab().at("web"), "web"};
    std::ofstream{server.directory() / "large"} << std::string(300000, 'w');
    const auto fetched = far.run({"curl", "-s", "-m5", url(kNodeIp, 2000, "/files/large")});
    EXPECT_EQ(fetched.status, 0);
    EXPECT_EQ(fetched.out.size(), 300000U);
    EXPECT_GT(lab().verdict("ICMP_FORWARDED"), 0U);
}

TEST_F(Icmp, RouterOnTheWayIsSeenByTtl) {
    add_narrow_network();
    lab().attach("app");
    const auto ping = lab().at("app").run({"ping", "-t", "2", "-c1", "-W2", "10.99.0.2"});
    EXPECT_NE(ping.out.find("From " + kClientIp), std::string::npos) << ping;
    EXPECT_NE(ping.out.find("Time to live exceeded"), std::string::npos) << ping;
}

}  // namespace
}  // namespace fastnet::test
