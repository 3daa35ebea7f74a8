// Networks of one family, ports published on one family or one address: what is there works, what is not there stays free.
#include <gtest/gtest.h>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

const std::string kSubnet6 = "fd00:66::/64";
const std::string kGateway6 = "fd00:66::1";

class Families : public LabTest {
protected:
    void SetUp() override {
        LabTest::SetUp();
        lab().add_ipv6();
    }
    /// A connection with data both ways; errno of the connect, ECONNRESET if the data did not pass.
    static int call(const Netns& from, const SocketAddress& to, const Socket& listener) {
        Socket caller = Socket::connected(from, Transport::kTcp, to, {}, Millis{2000});
        if (!caller.ok()) return caller.error();
        Socket served = listener.accept();
        return ping_pong(caller, served) ? 0 : ECONNRESET;
    }
    int bind_error(const std::string& ip, bool v6_only = false) {
        return Socket::bound(lab().node(), Transport::kTcp, {ip, 2000}, v6_only).error();
    }
    static std::string addresses(const Netns& netns, const std::string& ifname, const std::string& family) {
        return netns.run({"ip", family, "-o", "addr", "show", "dev", ifname, "scope", "global"}).out;
    }
};

// --- IPv6 only ----------------------------------------------------------------------------------------------------

class Ipv6Only : public Families {
protected:
    void SetUp() override {
        Families::SetUp();
        network_ = lab().json({"network", "create", "six", "--subnet", kSubnet6});
    }
    json attach(const std::string& label, const Argv& extra = {}) {
        Argv args{"--network", "six"};
        args.insert(args.end(), extra.begin(), extra.end());
        return lab().attach(label, args);
    }
    json network_;
};

TEST_F(Ipv6Only, HasNoIpv4Anywhere) {
    const json web = attach("web");
    EXPECT_TRUE(network_["subnet"].is_null()) << network_;
    EXPECT_EQ(network_["subnet6"], kSubnet6);
    EXPECT_TRUE(web["ipv4"].is_null()) << web;
    EXPECT_EQ(web["gateway6"], kGateway6);
    EXPECT_EQ(addresses(lab().at("web"), "eth0", "-4"), "");
    EXPECT_NE(addresses(lab().at("web"), "eth0", "-6").find("fd00:66::2/64"), std::string::npos);
    EXPECT_EQ(lab().at("web").run({"ip", "-4", "route"}).out, "");
    const std::string bridge = network_["bridge"];
    EXPECT_EQ(addresses(lab().node(), bridge, "-4"), "");
    EXPECT_EQ(lab().node().sysctl("net.ipv4.conf." + bridge + ".forwarding"), "0");
    EXPECT_EQ(lab().json({"network", "inspect", "six"})["endpoints"], json::array({"web"}));
    EXPECT_EQ(lab().endpoint("web")["ipv4"], nullptr);
}

TEST_F(Ipv6Only, PublishedPortIsOnIpv6Only) {
    const json web = attach("web", {"-p", "2000:80"});
    ASSERT_EQ(web["published"].size(), 1U) << web;
    EXPECT_EQ(web["published"][0]["host_ip"], "::");
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    EXPECT_EQ(call(lab().client(), {kNodeIp6, 2000}, listener), 0);
    EXPECT_EQ(call(lab().client(), {kNodeIp, 2000}, listener), ECONNREFUSED);
}

TEST_F(Ipv6Only, PublishedPortLeavesIpv4OfTheHostAlone) {
    attach("web", {"-p", "2000:80"});
    EXPECT_EQ(bind_error("0.0.0.0"), 0);
    EXPECT_EQ(bind_error(kNodeIp), 0);
    EXPECT_EQ(bind_error("::"), EADDRINUSE);
    EXPECT_EQ(bind_error("::", true), EADDRINUSE);
    EXPECT_EQ(bind_error(kNodeIp6), EADDRINUSE);
    const Socket host = Socket::listener(lab().node(), {"0.0.0.0", 2000});
    EXPECT_EQ(call(lab().client(), {kNodeIp, 2000}, host), 0) << "and the host is reached there";
    // The filter is exact after the other family came and went.
    lab().attach("v4", {"-p", "0.0.0.0:2001:80"});
    expect_error(lab().fastnet({"publish", "v4", "0.0.0.0:2000:80"}), kConflict, {"2000"});
    lab().json({"unpublish", "web", "2000:80"});
    EXPECT_EQ(bind_error("::", true), 0);
}

TEST_F(Ipv6Only, GoesOutByTheNodesAddressAndByNothingElse) {
    attach("app");
    const Socket listener = Socket::listener(lab().client(), {kInternetIp6, 80});
    Socket caller = Socket::connected(lab().at("app"), Transport::kTcp, {kInternetIp6, 80});
    ASSERT_TRUE(caller.ok()) << caller.error();
    Socket served = listener.accept();
    EXPECT_TRUE(ping_pong(caller, served));
    EXPECT_EQ(served.peer().ip, kNodeIp6);
    EXPECT_EQ(Socket::connected(lab().at("app"), Transport::kTcp, {kInternetIp, 80}).error(), ENETUNREACH);
}

TEST_F(Ipv6Only, HairpinAndNeighboursWork) {
    const json web = attach("web", {"-p", "2000:80"});
    attach("app");
    lab().attach("elsewhere");
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    EXPECT_EQ(call(lab().at("app"), {kNodeIp6, 2000}, listener), 0);
    EXPECT_EQ(call(lab().at("web"), {kNodeIp6, 2000}, listener), 0) << "itself";
    EXPECT_EQ(call(lab().at("app"), {kGateway6, 2000}, listener), 0) << "by the gateway";
    EXPECT_EQ(call(lab().at("elsewhere"), {kNodeIp6, 2000}, listener), 0) << "from another network";
    EXPECT_EQ(call(lab().at("app"), {without_prefix_length(web["ipv6"]), 80}, listener), 0);
}

// --- IPv4 only ----------------------------------------------------------------------------------------------------

class Ipv4Only : public Families {};

TEST_F(Ipv4Only, PublishesOnIpv4OnlyAndHasNoIpv6Inside) {
    const json network = lab().json({"network", "create", "four", "--subnet", "10.44.0.0/24"});
    EXPECT_TRUE(network["subnet6"].is_null());
    const json web = lab().attach("web", {"--network", "four", "-p", "2000:80"});
    ASSERT_EQ(web["published"].size(), 1U) << web;
    EXPECT_EQ(web["published"][0]["host_ip"], "0.0.0.0");
    EXPECT_EQ(lab().at("web").run({"ip", "-6", "addr", "show", "dev", "eth0"}).out, "");
    EXPECT_EQ(lab().node().sysctl("net.ipv6.conf." + network["bridge"].get<std::string>() + ".disable_ipv6"), "1");
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    EXPECT_EQ(call(lab().client(), {kNodeIp, 2000}, listener), 0);
    EXPECT_EQ(call(lab().client(), {kNodeIp6, 2000}, listener), ECONNREFUSED);
    EXPECT_EQ(bind_error("::", true), 0) << "IPv6 of the host is free";
    EXPECT_EQ(bind_error("::"), EADDRINUSE) << "dual-stack";
    EXPECT_EQ(bind_error("0.0.0.0"), EADDRINUSE);
}

TEST_F(Ipv4Only, AddressOfTheMissingFamilyIsAUsageError) {
    lab().json({"network", "create", "four", "--subnet", "10.44.0.0/24"});
    lab().json({"network", "create", "six", "--subnet", kSubnet6});
    lab().container("web");
    expect_error(lab().fastnet(lab().attach_args("web", {"--network", "four", "-p", "[::]:2000:80"})), kUsage, {"IPv6"});
    expect_error(lab().fastnet(lab().attach_args("web", {"--network", "six", "-p", "0.0.0.0:2000:80"})), kUsage, {"IPv4"});
}

TEST_F(Ipv4Only, NetworkThatIsThereStaysAsItIsWhenTheHostGainsIpv6) {
    lab().node().set_sysctl("net.ipv6.conf.all.disable_ipv6", "1");
    lab().rebaseline();
    EXPECT_TRUE(lab().attach("old")["ipv6"].is_null());
    lab().node().set_sysctl("net.ipv6.conf.all.disable_ipv6", "0");
    EXPECT_TRUE(lab().attach("new")["ipv6"].is_null()) << "the same network";
    EXPECT_TRUE(lab().json({"network", "inspect", "default"})["subnet6"].is_null());
    EXPECT_TRUE(lab().json({"network", "create", "fresh"})["subnet6"].is_string());
    lab().node().set_sysctl("net.ipv6.conf.all.disable_ipv6", "1");
}

// --- one family or one address of a dual-stack network ----------------------------------------------------------

using PublishedOn = Families;

TEST_F(PublishedOn, EveryIpv6Address) {
    lab().attach("web", {"-p", "[::]:2000:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    EXPECT_EQ(call(lab().client(), {kNodeIp6, 2000}, listener), 0);
    EXPECT_EQ(call(lab().client(), {kNodeIp, 2000}, listener), ECONNREFUSED);
    EXPECT_EQ(bind_error("0.0.0.0"), 0);
}

TEST_F(PublishedOn, OneIpv6AddressAndNoOther) {
    const std::string second = "2001:db8:2::3";
    lab().node().ip({"addr add " + second + "/64 dev eth0 nodad"});
    lab().rebaseline();
    lab().attach("web", {"-p", "[" + kNodeIp6 + "]:2000:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    EXPECT_EQ(call(lab().client(), {kNodeIp6, 2000}, listener), 0);
    EXPECT_EQ(call(lab().client(), {second, 2000}, listener), ECONNREFUSED);
    EXPECT_EQ(call(lab().client(), {kNodeIp, 2000}, listener), ECONNREFUSED);
    EXPECT_EQ(bind_error(second), 0);
    EXPECT_EQ(bind_error("0.0.0.0"), 0);
    EXPECT_EQ(bind_error("::"), EADDRINUSE);
    // Another container may have the other address, and the wildcard goes to neither.
    lab().attach("app", {"-p", "[" + second + "]:2000:80"});
    const Socket other = Socket::listener(lab().at("app"), {"::", 80});
    EXPECT_EQ(call(lab().client(), {second, 2000}, other), 0);
    EXPECT_EQ(call(lab().client(), {kNodeIp6, 2000}, listener), 0);
    lab().container("late");
    expect_error(lab().fastnet(lab().attach_args("late", {"-p", "[::]:2000:80"})), kConflict, {"2000"});
}

TEST_F(PublishedOn, AddressThatTheHostDoesNotHaveIsRefused) {
    lab().container("web");
    expect_error(lab().fastnet(lab().attach_args("web", {"-p", "[2001:db8:2::99]:2000:80"})), kFailed, {"2001:db8:2::99"});
    expect_error(lab().fastnet(lab().attach_args("web", {"-p", "192.0.2.99:2000:80"})), kFailed, {"192.0.2.99"});
    EXPECT_EQ(lab().count("endpoints"), 0U);
}

}  // namespace
}  // namespace fastnet::test
