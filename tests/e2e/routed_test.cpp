// Networks with `--opt gateway_mode_ipv4/6`: containers that keep their own addresses outside, over real sockets.
#include <gtest/gtest.h>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

const std::string kSubnet4 = "10.55.0.0/24";
const std::string kSubnet6 = "2001:db8:55::/64";
const std::string kContainer4 = "10.55.0.2";
const std::string kContainer6 = "2001:db8:55::2";

/// The client knows the way to the containers' subnets: by the node.
class Routed : public LabTest {
protected:
    void SetUp() override {
        LabTest::SetUp();
        lab().add_ipv6();
        lab().client().ip({"route add " + kSubnet4 + " via " + kNodeIp, "route add " + kSubnet6 + " via " + kNodeIp6});
    }

    void create(const Argv& options) {
        Argv args{"network", "create", "open", "--subnet", kSubnet4, "--subnet", kSubnet6};
        args.insert(args.end(), options.begin(), options.end());
        lab().json(args);
    }
    void attach(const std::string& label, const Argv& extra = {}) {
        Argv args{"--network", "open"};
        args.insert(args.end(), extra.begin(), extra.end());
        lab().attach(label, args);
    }
    /// What the server sees of a caller that got through with data both ways; empty if it did not.
    static std::string seen_of_call(const Netns& from, const SocketAddress& to, const Socket& listener) {
        Socket caller = Socket::connected(from, Transport::kTcp, to, {}, Millis{1000});
        if (!caller.ok()) return "";
        Socket served = listener.accept();
        return ping_pong(caller, served) ? served.peer().ip : "";
    }
};

TEST_F(Routed, ContainerIsSeenUnderItsOwnAddress) {
    create({"--opt", "gateway_mode_ipv4=routed"});
    attach("app");
    const Socket listener4 = Socket::listener(lab().client(), {kClientIp, 80});
    const Socket listener6 = Socket::listener(lab().client(), {kClientIp6, 80});
    EXPECT_EQ(seen_of_call(lab().at("app"), {kClientIp, 80}, listener4), kContainer4);
    EXPECT_EQ(seen_of_call(lab().at("app"), {kClientIp6, 80}, listener6), kContainer6) << "a global prefix needs no option";
    EXPECT_EQ(lab().at("app").run({"ping", "-c1", "-W2", kClientIp}).status, 0);
    EXPECT_EQ(lab().at("app").run({"ping", "-6", "-c1", "-W2", kClientIp6}).status, 0);
    EXPECT_EQ(lab().node().sysctl("net.ipv6.conf.all.forwarding"), "0") << "the kernel forwards nothing of this";
    EXPECT_EQ(lab().node().sysctl("net.ipv4.ip_forward"), "0");
}

TEST_F(Routed, PublishedPortAnswersAtBothAddressesAndOthersAtNone) {
    create({"--opt", "gateway_mode_ipv4=routed"});
    attach("web", {"-p", "2000:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    const Socket closed = Socket::listener(lab().at("web"), {"::", 81});
    for (const auto& [own, host, client] : {std::tuple{kContainer4, kNodeIp, kClientIp}, std::tuple{kContainer6, kNodeIp6, kClientIp6}}) {
        const std::string seen = client == kClientIp ? "::ffff:" + client : client;
        EXPECT_EQ(seen_of_call(lab().client(), {own, 80}, listener), seen);
        EXPECT_EQ(seen_of_call(lab().client(), {host, 2000}, listener), seen) << "at the host as ever";
        EXPECT_EQ(seen_of_call(lab().client(), {own, 81}, closed), "") << "listens but is not published";
        EXPECT_EQ(seen_of_call(lab().client(), {own, 2000}, listener), "") << "that is the host's number";
        EXPECT_EQ(lab().client().run({"ping", "-c1", "-W2", own}).status, 0);
    }
}

TEST_F(Routed, ListsOfAPublishedPortHoldAtTheContainersOwnAddressToo) {
    create({"--opt", "gateway_mode_ipv4=routed"});
    attach("web", {"-p", "2000:80", "--allow", kInternetIp + "," + kInternetIp6});
    const Socket listener = Socket::listener(lab().at("web"), {"::", 80});
    for (const auto& [own, allowed] : {std::pair{kContainer4, kInternetIp}, std::pair{kContainer6, kInternetIp6}}) {
        EXPECT_EQ(seen_of_call(lab().client(), {own, 80}, listener), "") << "the client's address on the wire is on no list";
        EXPECT_TRUE(Socket::connected(lab().client(), Transport::kTcp, {own, 80}, {allowed, 0}).ok());
    }
    EXPECT_GE(lab().verdict("SOURCE_DENIED"), 2U);
    lab().attach("stranger");  // on the default network
    EXPECT_EQ(seen_of_call(lab().at("stranger"), {kContainer4, 80}, listener), "") << "a container of another network";
}

TEST_F(Routed, HostMayStillUseTheContainersPortNumber) {
    create({"--opt", "gateway_mode_ipv4=routed"});
    attach("web", {"-p", "2000:80"});
    EXPECT_EQ(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 80}).error(), 0);
    EXPECT_EQ(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2000}).error(), EADDRINUSE);
}

TEST_F(Routed, NatIsTheDefaultAndKeepsContainersOutOfReach) {
    create({"--opt", "com.docker.network.bridge.gateway_mode_ipv6=nat"});
    attach("web", {"-p", "2000:80"});
    const Socket inside = Socket::listener(lab().at("web"), {"::", 80});
    const Socket listener4 = Socket::listener(lab().client(), {kClientIp, 80});
    const Socket listener6 = Socket::listener(lab().client(), {kClientIp6, 80});
    EXPECT_EQ(seen_of_call(lab().at("web"), {kClientIp, 80}, listener4), kNodeIp);
    EXPECT_EQ(seen_of_call(lab().at("web"), {kClientIp6, 80}, listener6), kNodeIp6) << "although the prefix is global";
    for (const std::string& own : {kContainer4, kContainer6}) {
        EXPECT_EQ(seen_of_call(lab().client(), {own, 80}, inside), "");
        EXPECT_NE(lab().client().run({"ping", "-c1", "-W1", own}).status, 0);
    }
}

TEST_F(Routed, WithdrawnPortEndsAtOnceAndASecondWayInStays) {
    create({"--opt", "gateway_mode_ipv4=routed"});
    attach("web", {"-p", "2000:80", "-p", "2001:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    lab().json({"unpublish", "web", "2000:80"});
    EXPECT_EQ(seen_of_call(lab().client(), {kContainer4, 80}, listener), kClientIp) << "2001:80 leads there as well";
    lab().json({"unpublish", "web", "2001:80"});
    EXPECT_EQ(seen_of_call(lab().client(), {kContainer4, 80}, listener), "");
    lab().json({"publish", "web", "80"});
    EXPECT_EQ(seen_of_call(lab().client(), {kContainer4, 80}, listener), kClientIp);
}

TEST_F(Routed, RepairBringsTheDirectWayBack) {
    create({"--opt", "gateway_mode_ipv4=routed"});
    attach("web", {"-p", "2000:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    ASSERT_TRUE(lab()
                    .node()
                    .run({"python3", "-c",
                          "import json,subprocess,sys,glob\nm=glob.glob(sys.argv[1]+'/bpf/*/maps/services')[0]\n"
                          "for e in json.loads(subprocess.check_output(['bpftool','-j','map','dump','pinned',m])):\n"
                          " subprocess.check_call(['bpftool','map','delete','pinned',m,'key']+e['key'])\n",
                          lab().root().string()})
                    .ok());
    EXPECT_EQ(seen_of_call(lab().client(), {kContainer4, 80}, listener), "");
    lab().json({"attach", "--mode", "bridge"});
    EXPECT_EQ(seen_of_call(lab().client(), {kContainer4, 80}, listener), kClientIp);
    EXPECT_EQ(seen_of_call(lab().client(), {kNodeIp, 2000}, listener), kClientIp);
}

TEST_F(Routed, AnotherNetworkReachesPublishedPortsOnly) {
    create({"--opt", "gateway_mode_ipv4=routed"});
    attach("web", {"-p", "2000:80"});
    const std::string caller = without_prefix_length(lab().attach("app")["ipv4"]);
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    const Socket closed = Socket::listener(lab().at("web"), {"0.0.0.0", 81});
    EXPECT_EQ(seen_of_call(lab().at("app"), {kContainer4, 80}, listener), caller);
    EXPECT_EQ(seen_of_call(lab().at("app"), {kContainer4, 81}, closed), "");
}

TEST_F(Routed, RouterErrorsReachTheContainer) {
    create({"--opt", "gateway_mode_ipv4=routed"});
    attach("app");
    EXPECT_EQ(unanswered_call(lab().at("app"), kClientIp, 9), "refused");
    EXPECT_EQ(unanswered_call(lab().at("app"), kClientIp6, 9), "refused");
}

TEST_F(Routed, OptionsAreShownAndCheckedAndDecideWhatTheSameNetworkIs) {
    create({"--opt", "com.docker.network.bridge.gateway_mode_ipv4=routed"});
    const json wanted{{"gateway_mode_ipv4", "routed"}, {"gateway_mode_ipv6", "routed"}};
    EXPECT_EQ(lab().json({"network", "inspect", "open"})["options"], wanted);
    for (const json& network : lab().json({"network", "ls"}))
        EXPECT_EQ(network["options"], network["name"] == "open" ? wanted : json::object());
    EXPECT_NE(lab().fastnet({"network", "ls"}).out.find("gateway_mode_ipv4=routed"), std::string::npos);
    const Argv same{"network", "create", "open", "--subnet", kSubnet4, "--subnet", kSubnet6, "--opt"};
    const auto with = [&](const std::string& option) {
        Argv args = same;
        args.push_back(option);
        return lab().fastnet(args);
    };
    EXPECT_EQ(with("gateway_mode_ipv4=routed").status, kDone) << "Docker's prefix makes no difference";
    expect_error(with("gateway_mode_ipv4=nat"), kConflict, {"open"});
    expect_error(with("gateway_mode=routed"), kUsage, {"gateway_mode_ipv4", "gateway_mode_ipv6"});
    expect_error(with("gateway_mode_ipv4=isolated"), kUsage, {"nat", "routed"});
    expect_error(lab().fastnet({"network", "create", "blue", "--subnet", "10.56.0.0/24", "--opt", "gateway_mode_ipv6=routed"}), kUsage,
                 {"gateway_mode_ipv6"});
}

}  // namespace
}  // namespace fastnet::test
