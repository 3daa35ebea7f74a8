// The host's side of the bargain: ports held without a process, sysctls given back, no collision with the host's own
// sockets, subnets and addresses.
#include <gtest/gtest.h>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

class HostSide : public LabTest {};

TEST_F(HostSide, PublishedPortCannotBeBoundOnTheHost) {
    lab().attach("web", {"-p", "2000:80", "-p", "2053:53/udp"});
    for (const char* const ip : {"0.0.0.0", "192.0.2.2", "127.0.0.1", "::"}) {
        SCOPED_TRACE(ip);
        EXPECT_EQ(Socket::bound(lab().node(), Transport::kTcp, {ip, 2000}).error(), EADDRINUSE);
        EXPECT_EQ(Socket::bound(lab().node(), Transport::kUdp, {ip, 2053}).error(), EADDRINUSE);
        EXPECT_TRUE(Socket::bound(lab().node(), Transport::kUdp, {ip, 2000}).ok()) << "the other protocol is free";
        EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {ip, 2001}).ok());
    }
    EXPECT_EQ(Socket::bound(lab().node(), Transport::kTcp, {"::ffff:192.0.2.2", 2000}).error(), EADDRINUSE);
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 0}).ok());
}

TEST_F(HostSide, RealProgramGetsAddressInUse) {
    lab().attach("web", {"-p", "2000:80"});
    const CommandResult result = lab().node().run({"timeout", "3", "ncat", "-l", "0.0.0.0", "2000"});
    EXPECT_NE(result.err.find("Address already in use"), std::string::npos) << result;
}

TEST_F(HostSide, BindInsideContainersAndOtherNamespacesIsUnaffected) {
    lab().attach("web", {"-p", "2000:80"});
    lab().attach("other");
    for (const Netns* const netns : {&lab().at("web"), &lab().at("other"), &lab().client()}) {
        SCOPED_TRACE(netns->name());
        EXPECT_TRUE(Socket::bound(*netns, Transport::kTcp, {"0.0.0.0", 2000}).ok());
        EXPECT_TRUE(Socket::bound(*netns, Transport::kTcp, {"::", 2000}).ok());
        EXPECT_TRUE(Socket::bound(*netns, Transport::kUdp, {"0.0.0.0", 2000}).ok());
    }
}

TEST_F(HostSide, PortPublishedOnOneAddressIsFreeOnTheOthers) {
    lab().attach("web", {"-p", kNodeIp2 + ":2000:80"});
    EXPECT_EQ(Socket::bound(lab().node(), Transport::kTcp, {kNodeIp2, 2000}).error(), EADDRINUSE);
    EXPECT_EQ(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2000}).error(), EADDRINUSE)
        << "a wildcard bind includes that address";
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {kNodeIp, 2000}).ok());
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"127.0.0.1", 2000}).ok());
}

TEST_F(HostSide, EveryPortOfARangeIsHeld) {
    lab().attach("web", {"-p", "2000-2099:3000-3099"});
    for (const std::uint16_t port : {std::uint16_t{2000}, std::uint16_t{2001}, std::uint16_t{2064}, std::uint16_t{2099}}) {
        EXPECT_EQ(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", port}).error(), EADDRINUSE) << port;
    }
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 1999}).ok());
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2100}).ok());
}

TEST_F(HostSide, HeldPortsAreFreeAgainAfterUnpublishAndDetach) {
    lab().attach("web", {"-p", "2000:80", "-p", "2001:81"});
    ASSERT_EQ(lab().fastnet({"unpublish", "web", "2000:80"}).status, 0);
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2000}).ok());
    EXPECT_EQ(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2001}).error(), EADDRINUSE);
    ASSERT_EQ(lab().fastnet({"detach", "web"}).status, 0);
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2001}).ok());
}

TEST_F(HostSide, ReservedPortsAreMergedAndGivenBack) {
    const std::string key = "net.ipv4.ip_local_reserved_ports";
    lab().node().set_sysctl(key, "1234,40000-40002");
    lab().rebaseline();
    lab().attach("web", {"-p", "33000:80", "-p", "40002-40004:90-92"});
    EXPECT_EQ(lab().node().sysctl(key), "1234,33000,40000-40004");
    ASSERT_EQ(lab().fastnet({"unpublish", "web", "33000:80"}).status, 0);
    EXPECT_EQ(lab().node().sysctl(key), "1234,40000-40004");
    ASSERT_EQ(lab().fastnet({"detach", "web"}).status, 0);
    EXPECT_EQ(lab().node().sysctl(key), "1234,40000-40002");
}

TEST_F(HostSide, ReservationOfTheAdministratorThatComesLaterIsKept) {
    const std::string key = "net.ipv4.ip_local_reserved_ports";
    lab().attach("web", {"-p", "33000:80"});
    lab().node().set_sysctl(key, "33000,50000");
    lab().cleanup_and_verify_except("sysctl net.ipv4.ip_local_reserved_ports");
    EXPECT_NE(lab().node().sysctl(key).find("50000"), std::string::npos);
}

TEST_F(HostSide, AutomaticBindOfAConnectNeverTakesAPublishedPort) {
    lab().node().set_sysctl("net.ipv4.ip_local_port_range", "40000 40009");
    lab().rebaseline();
    lab().attach("web", {"-p", "40003-40006:80-83"});
    const Socket listener = Socket::listener(lab().client(), {"0.0.0.0", 80});
    std::vector<Socket> open;
    for (int i = 0; i < 6; ++i) {
        Socket caller = Socket::connected(lab().node(), Transport::kTcp, {kClientIp, 80});
        ASSERT_TRUE(caller.ok()) << "connection " << i << ": errno " << caller.error();
        const int port = caller.local().port;
        EXPECT_FALSE(port >= 40003 && port <= 40006) << port;
        Socket served = listener.accept();
        EXPECT_TRUE(ping_pong(caller, served)) << "the published port captured the replies of " << port;
        open.push_back(std::move(caller));
        open.push_back(std::move(served));
    }
}

TEST_F(HostSide, PortPublishedUnderAnOpenConnectionDoesNotCaptureItsReplies) {
    const Socket listener = Socket::listener(lab().client(), {"0.0.0.0", 80});
    const Socket caller = Socket::connected(lab().node(), Transport::kTcp, {kClientIp, 80}, {kNodeIp, 40000});
    ASSERT_TRUE(caller.ok());
    const Socket served = listener.accept();
    lab().attach("web");
    const WebServer web{lab().at("web"), "web"};
    const CommandResult published = lab().fastnet({"publish", "web", "40000:80"});
    EXPECT_TRUE(published.status == kDone || published.status == kConflict) << published;
    EXPECT_TRUE(ping_pong(caller, served, "still mine"));
    if (published.status == kDone) {
        EXPECT_NE(fetch(lab().client(), url(kNodeIp, 40000)), "");
    }
}

TEST_F(HostSide, RepliesToAUdpSocketOfTheHostAreItsOwn) {
    const Socket host = Socket::connected(lab().node(), Transport::kUdp, {kClientIp, 53}, {kNodeIp, 40000});
    const Socket outside = Socket::bound(lab().client(), Transport::kUdp, {kClientIp, 53});
    ASSERT_TRUE(host.ok() && outside.ok());
    lab().attach("web");
    const CommandResult published = lab().fastnet({"publish", "web", "40000:7/udp"});
    EXPECT_TRUE(published.status == kDone || published.status == kConflict) << published;
    ASSERT_TRUE(host.send("question"));
    SocketAddress from;
    ASSERT_EQ(outside.receive_from(from), "question");
    ASSERT_TRUE(outside.send_to("answer", from));
    EXPECT_EQ(host.receive(), "answer");
}

TEST_F(HostSide, PortThatAProcessHoldsIsRefusedWithItsPidAndName) {
    lab().attach("web");
    struct Holder {
        Argv argv;
        Transport transport;
        std::string spec;
    };
    const std::vector<Holder> holders{{{"ncat", "-k", "-l", "0.0.0.0", "2000"}, Transport::kTcp, "2000:80"},
                                      {{"ncat", "-k", "-l", "127.0.0.1", "2000"}, Transport::kTcp, "2000:80"},
                                      {{"socat", "TCP6-LISTEN:2000,fork,ipv6only=0", "PIPE"}, Transport::kTcp, "2000:80"},
                                      {{"ncat", "-u", "-l", "0.0.0.0", "2000"}, Transport::kUdp, "2000:80/udp"},
                                      {{"ncat", "-k", "-l", "0.0.0.0", "2000"}, Transport::kTcp, "1990-2010:90-110"},
                                      {{"ncat", "-k", "-l", kNodeIp, "2000"}, Transport::kTcp, kNodeIp + ":2000:80"}};
    for (const Holder& holder : holders) {
        SCOPED_TRACE(::testing::PrintToString(holder.argv));
        Background process = lab().node().background(holder.argv);
        ASSERT_TRUE(wait_until([&] { return is_listening(lab().node(), holder.transport, 2000); })) << process.output();
        expect_error(lab().fastnet({"publish", "web", holder.spec}), kConflict,
                     {"2000", holder.argv.front(), std::to_string(process.pid())});
        EXPECT_EQ(lab().json({"ports"}), json::array());
        process.kill();
    }
    EXPECT_EQ(lab().fastnet({"publish", "web", "2000:80"}).status, 0) << "nobody holds it any more";
}

TEST_F(HostSide, HolderOnAnotherAddressOrProtocolIsNoConflict) {
    const Socket specific = Socket::listener(lab().node(), {kNodeIp2, 2000});
    const Socket udp = Socket::bound(lab().node(), Transport::kUdp, {"0.0.0.0", 2001});
    const Socket v6_only = Socket::bound(lab().node(), Transport::kUdp, {"::", 2002}, true);
    ASSERT_TRUE(specific.ok() && udp.ok() && v6_only.ok());
    lab().attach("web", {"-p", kNodeIp + ":2000:80", "-p", "2001:80/tcp"});
    EXPECT_NE(lab().endpoint("web"), nullptr);
}

TEST_F(HostSide, HolderOfTheContainersOwnNamespaceIsNoConflict) {
    lab().container("web");
    const Socket inside = Socket::listener(lab().at("web"), {"0.0.0.0", 2000});
    const Socket outside = Socket::listener(lab().client(), {"0.0.0.0", 2000});
    ASSERT_TRUE(inside.ok() && outside.ok());
    lab().attach("web", {"-p", "2000:2000"});
    EXPECT_TRUE(Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000}).ok());
}

TEST_F(HostSide, PortZeroAndMissingPortPickAFreeOne) {
    const json attached = lab().attach("web", {"-p", "80", "-p", "0:81", "-p", "0:53/udp"});
    const WebServer web{lab().at("web"), "web", {80, 81}};
    std::set<int> picked;
    for (const json& published : attached["published"]) {
        if (published["host_ip"] != "0.0.0.0") continue;
        const int port = published["host_port"];
        EXPECT_GT(port, 0);
        if (published["protocol"] == "tcp") {
            picked.insert(port);
            EXPECT_NE(fetch(lab().client(), url(kNodeIp, static_cast<std::uint16_t>(port))), "") << published.dump();
            EXPECT_EQ(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", static_cast<std::uint16_t>(port)}).error(), EADDRINUSE);
        }
    }
    EXPECT_EQ(picked.size(), 2U) << attached.dump();
    EXPECT_EQ(lab().attach("web", {"-p", "80", "-p", "0:81", "-p", "0:53/udp"}), attached) << "the same attach again keeps what was picked";
}

TEST_F(HostSide, PickedPortIsNeverOneThatAProcessHolds) {
    lab().node().set_sysctl("net.ipv4.ip_local_port_range", "40000 40003");
    lab().rebaseline();
    const Socket a = Socket::listener(lab().node(), {"0.0.0.0", 40000});
    const Socket b = Socket::listener(lab().node(), {"::", 40001});
    ASSERT_TRUE(a.ok() && b.ok());
    const json attached = lab().attach("web", {"-p", "80", "-p", "81"});
    for (const json& published : attached["published"]) {
        EXPECT_NE(published["host_port"], 40000);
        EXPECT_NE(published["host_port"], 40001);
    }
}

TEST_F(HostSide, ForwardingIsNeverSwitchedOnGlobally) {
    lab().attach("web", {"-p", "2000:80"});
    EXPECT_EQ(lab().node().sysctl("net.ipv4.ip_forward"), "0");
    EXPECT_EQ(lab().node().sysctl("net.ipv4.conf.default.forwarding"), "0");
    for (const char* const key :
         {"net.ipv4.conf.all.route_localnet", "net.ipv4.conf.default.route_localnet", "net.ipv4.conf.eth0.route_localnet"}) {
        EXPECT_EQ(lab().node().sysctl(key), "0") << key;
    }
}

TEST_F(HostSide, CleanupRestoresASysctlOnlyWhereItIsStillOurs) {
    lab().attach("web", {"-p", "2000:80"});
    // The administrator now sets what fastnet may have set before: neither value may be taken away.
    lab().node().set_sysctl("net.ipv4.ip_forward", "1");  // writes forwarding=1 to every interface, ours to restore or not
    lab().node().set_sysctl("net.ipv4.conf.eth0.rp_filter", "0");
    lab().cleanup_and_verify_except("sysctl net.ipv");
    EXPECT_EQ(lab().node().sysctl("net.ipv4.ip_forward"), "1") << "cleanup took the administrator's setting away";
    EXPECT_EQ(lab().node().sysctl("net.ipv4.conf.eth0.rp_filter"), "0");
}

TEST_F(HostSide, SubnetsThatCollideWithRoutesAreSkipped) {
    const std::string first = lab().attach("probe")["ipv4"];
    ASSERT_EQ(lab().fastnet({"cleanup"}).status, 0);
    // The block that was chosen now belongs to a VPN.
    const std::string block = first.substr(0, first.find('.', first.find('.') + 1)) + ".0.0/16";
    lab().node().ip({"route add " + block + " via " + kClientIp});
    lab().rebaseline();
    lab().lose_container("probe");
    const std::string second = lab().attach("web")["ipv4"];
    EXPECT_NE(second.substr(0, second.rfind('.')), first.substr(0, first.rfind('.')));
}

TEST_F(HostSide, AddressesComeBackAndAreNeverGivenOutTwice) {
    lab().json({"network", "create", "tiny", "--subnet", "10.99.0.0/29"});
    std::set<std::string> given;
    for (const char* const label : {"a", "b", "c", "d", "e"})
        given.insert(lab().attach(label, {"--network", "tiny"})["ipv4"].get<std::string>());
    EXPECT_EQ(given.size(), 5U) << "of eight addresses, network, broadcast and gateway are taken";
    lab().container("f");
    expect_error_in(lab().fastnet(lab().attach_args("f", {"--network", "tiny"})), {kFailed, kConflict}, {"tiny", "10.99.0.6"});
    ASSERT_EQ(lab().fastnet({"detach", "c"}).status, 0);
    const std::string again = lab().attach("f", {"--network", "tiny"})["ipv4"];
    EXPECT_TRUE(given.contains(again)) << again;
}

TEST_F(HostSide, WithoutCgroupV2TheReservationHoldsAndTheOutputSaysSo) {
    lab().container("web");  // before: its mount would not reach a private mount namespace
    // A mount namespace of our own where the unified hierarchy is not mounted; nothing of it reaches the machine's mounts.
    const Background holder{
        {"unshare", "-m", "--propagation", "private", "sh", "-c",
         "grep ' - cgroup2 ' /proc/self/mountinfo | cut -d' ' -f5 | xargs -r -n1 umount -l; echo ready; exec sleep 600"}};
    const std::string pid = std::to_string(holder.pid());
    ASSERT_TRUE(wait_until([&] { return shell("tr '\\0' ' ' < /proc/" + pid + "/cmdline").out.rfind("sleep", 0) == 0; }));
    ASSERT_FALSE(shell("grep -q ' - cgroup2 ' /proc/" + pid + "/mountinfo").ok());
    ASSERT_TRUE(shell("grep -q ' - cgroup2 ' /proc/self/mountinfo").ok()) << "the machine's own mount is gone";
    lab().wrap_fastnet({"nsenter", "-t", pid, "-m", "--"});
    const CommandResult attached = lab().fastnet(lab().attach_args("web", {"-p", "33000:80"}));
    EXPECT_EQ(attached.status, 0) << attached;
    EXPECT_EQ(lab().node().sysctl("net.ipv4.ip_local_reserved_ports"), "33000");
    // Either it found another way to the cgroup v2 root, then the port is held; or both outputs say that it is not.
    const bool held = Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 33000}).error() == EADDRINUSE;
    const CommandResult doctor = lab().fastnet({"doctor"});
    EXPECT_TRUE(held || (attached.out + attached.err).find("cgroup") != std::string::npos) << attached;
    EXPECT_TRUE(held || (doctor.out + doctor.err).find("cgroup") != std::string::npos) << doctor;
    lab().cleanup_and_verify();
}

}  // namespace
}  // namespace fastnet::test
