// The node's deny list, asked by tc or by XDP, as real callers see it: the host's own sockets, published ports and connections
// that are open. And XDP at the uplink, alone and where somebody else's program is.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr Millis kNoAnswer{250};
constexpr std::uint16_t kPorts[] = {2000, 7000};
// The second where the kernel has freplace: libxdp's dispatcher is there, with nobody else behind it.
const std::set<std::string> kXdp{"xdp native xdp_uplink", "xdp dispatcher xdp_uplink"};

/// With --xdp on or off: what the list does is the same.
class Deny : public LabTest, public ::testing::WithParamInterface<std::string> {
protected:
    void SetUp() override {
        LabTest::SetUp();
        lab().add_ipv6();
        const CommandResult prepared = lab().fastnet({"attach", "--mode", "bridge", "--xdp", GetParam()});
        ASSERT_EQ(prepared.status, kDone) << prepared;
    }
    void deny(const Argv& prefixes) { change("add", prefixes); }
    void allow_again(const Argv& prefixes) { change("rm", prefixes); }
    bool can_call(const std::string& source, const SocketAddress& to, Millis bound = Millis{2000}) {
        return Socket::connected(lab().client(), Transport::kTcp, to, {source, 0}, bound).ok();
    }
    std::uint64_t drops() { return lab().verdict("SOURCE_DENY_LISTED"); }

private:
    void change(const std::string& verb, const Argv& prefixes) {
        Argv command{"deny", verb};
        command.insert(command.end(), prefixes.begin(), prefixes.end());
        const CommandResult result = lab().fastnet(command);
        ASSERT_EQ(result.status, kDone) << result;
    }
};

TEST_P(Deny, KeepsASourceFromTheHostsSocketsAndFromPublishedPorts) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    const Socket server = Socket::listener(lab().node(), {"::", 7000});
    const std::vector<std::pair<std::string, std::string>> calls{{kInternetIp, kNodeIp}, {kInternetIp6, kNodeIp6}};
    for (const auto& [source, node] : calls)
        for (const std::uint16_t port : kPorts) ASSERT_TRUE(can_call(source, {node, port})) << source << " to " << port;
    deny({kInternetIp, "2001:db8:7::/48"});
    const std::uint64_t before = drops();
    for (const auto& [source, node] : calls)
        for (const std::uint16_t port : kPorts) EXPECT_FALSE(can_call(source, {node, port}, kNoAnswer)) << source << " to " << port;
    EXPECT_GE(drops(), before + 4);
    EXPECT_TRUE(can_call(kClientIp, {kNodeIp, 2000})) << "another source is not concerned";
    EXPECT_TRUE(can_call(kClientIp6, {kNodeIp6, 7000}));
    allow_again({kInternetIp, "2001:db8:7::/48"});
    for (const auto& [source, node] : calls)
        for (const std::uint16_t port : kPorts) EXPECT_TRUE(can_call(source, {node, port})) << source << " to " << port;
}

TEST_P(Deny, StopsAConnectionThatIsOpenAndLetsItGoOn) {
    lab().attach("web", {"-p", "2000:7"});
    const Socket server = Socket::listener(lab().at("web"), {"0.0.0.0", 7});
    const Socket caller = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000}, {kInternetIp, 0});
    const Socket inside = server.accept();
    ASSERT_TRUE(ping_pong(caller, inside));
    deny({kInternetIp});
    ASSERT_TRUE(caller.send("lost"));
    EXPECT_EQ(inside.receive(kNoAnswer), "");
    allow_again({kInternetIp});
    EXPECT_EQ(inside.receive(Millis{5000}), "lost") << "TCP sends it again";
    EXPECT_TRUE(ping_pong(caller, inside));
}

TEST_P(Deny, HoldsTheLongestListAndRefusesALongerOne) {
    const Socket server = Socket::listener(lab().node(), {"::", 7000});
    std::string list = "# made by a test\n" + kInternetIp + "\n2001:db8:7::1 # beside it\n";
    for (unsigned i = 0; i < 49'999; ++i)
        list += "10." + std::to_string(i >> 10U) + "." + std::to_string(i >> 2U & 255U) + "." + std::to_string((i & 3U) * 50 + 1) + "\n";
    for (unsigned i = 0; i < 49'999; ++i) {
        char text[64];
        (void)std::snprintf(text, sizeof text, "2001:db8:%x:%x::%s\n", 0x100 + (i >> 8U), i & 255U, (i & 1U) != 0 ? "/64" : "5");
        list += text;
    }
    const CommandResult added = lab().fastnet({"deny", "add", "--file", "-"}, {.timeout = Millis{60'000}, .input = list});
    ASSERT_EQ(added.status, kDone) << added.err;
    EXPECT_EQ(added.out, "added 100000 prefixes, 100000 on the deny list\n");
    EXPECT_EQ(lab().json({"deny", "ls"}).size(), 100'000U);
    EXPECT_FALSE(can_call(kInternetIp, {kNodeIp, 7000}, kNoAnswer));
    EXPECT_FALSE(can_call(kInternetIp6, {kNodeIp6, 7000}, kNoAnswer));
    EXPECT_TRUE(can_call(kClientIp, {kNodeIp, 7000}));
    EXPECT_TRUE(can_call(kClientIp6, {kNodeIp6, 7000}));

    expect_error(lab().fastnet({"deny", "add", kClientIp}), kConflict, {"100001", "100000"});
    EXPECT_TRUE(can_call(kClientIp, {kNodeIp, 7000})) << "what was refused is not half done";
    allow_again({kInternetIp});
    EXPECT_TRUE(can_call(kInternetIp, {kNodeIp, 7000}));
    deny({kClientIp});
    EXPECT_FALSE(can_call(kClientIp, {kNodeIp, 7000}, kNoAnswer));
    deny({kClientIp});  // it is there
    EXPECT_EQ(lab().json({"deny", "ls"}).size(), 100'000U);
}

TEST_P(Deny, OfPrefixesInsideOneAnotherLosesOnlyWhatIsTakenOff) {
    const Socket server = Socket::listener(lab().node(), {"::", 7000});
    deny({kInternetIp, "198.51.100.0/24", "198.51.0.0/16"});
    allow_again({"198.51.0.0/16"});
    EXPECT_FALSE(can_call(kInternetIp, {kNodeIp, 7000}, kNoAnswer));
    allow_again({"198.51.100.0/24"});
    EXPECT_FALSE(can_call(kInternetIp, {kNodeIp, 7000}, kNoAnswer));
    allow_again({kInternetIp});
    EXPECT_TRUE(can_call(kInternetIp, {kNodeIp, 7000}));
}

TEST_P(Deny, ComesBackAfterARebootAndAfterEveryCommandThatWasKilled) {
    deny({kInternetIp});
    lab().reboot();
    ASSERT_EQ(lab().fastnet({"attach", "--mode", "bridge"}).status, kDone);
    {
        const Socket server = Socket::listener(lab().node(), {"::", 7000});
        EXPECT_FALSE(can_call(kInternetIp, {kNodeIp, 7000}, kNoAnswer));
        EXPECT_TRUE(can_call(kClientIp, {kNodeIp, 7000}));
    }
    int step = 1;
    for (;; ++step) {
        const CommandResult result =
            lab().fastnet({"deny", "add", "203.0.113.0/24", kClientIp}, {.env = {{"FASTNET_CRASH_AT", std::to_string(step)}}});
        if (result.status == kDone) break;
        ASSERT_EQ(result.status, 128 + SIGKILL) << result;
        const bool recorded = lab().json({"deny", "ls"}).size() == 3;
        ASSERT_EQ(lab().fastnet({"attach", "--mode", "bridge"}).status, kDone);
        const Socket server = Socket::listener(lab().node(), {"::", 7000});
        EXPECT_EQ(can_call(kClientIp, {kNodeIp, 7000}, kNoAnswer), !recorded) << "killed at step " << step;
        if (recorded) allow_again({"203.0.113.0/24", kClientIp});
        ASSERT_LT(step, 100);
    }
    EXPECT_GT(step, 1) << "FASTNET_CRASH_AT has no effect";
}

INSTANTIATE_TEST_SUITE_P(Xdp, Deny, ::testing::Values("off", "on"), [](const auto& tested) { return tested.param; });

class DenyErrors : public LabTest {};

TEST_F(DenyErrors, FollowTheContract) {
    EXPECT_EQ(lab().fastnet({"deny", "ls"}).out, "# nothing is denied\n") << "on a node that was never prepared";
    expect_error(lab().fastnet({"deny", "rm", "10.0.0.0/8"}), kNotFound, {"10.0.0.0/8"});
    expect_error(lab().fastnet({"deny", "add"}), kUsage, {"no prefix"});
    expect_error(lab().fastnet({"deny", "add", "10.0.0.1/8"}), kUsage, {"10.0.0.0/8"});
    expect_error(lab().fastnet({"deny", "add", "example.org"}), kUsage, {"example.org"});
    expect_error(lab().fastnet({"deny", "add", "--file", "/nowhere/list"}), kFailed, {"/nowhere/list"});
    expect_error(lab().fastnet({"deny", "add", "--file", "-"}, {.input = "# nothing\n"}), kUsage, {"--file -"});
    expect_error(lab().fastnet({"deny", "add", "--file", "-"}, {.input = "10.0.0.0/8\n10.0.0/9\n"}), kUsage, {"line 2", "10.0.0"});
    ASSERT_EQ(lab().fastnet({"deny", "add", "10.0.0.0/8", "0.0.0.0/0", "::/0"}).status, kDone);
    expect_error(lab().fastnet({"deny", "rm", "10.0.0.0/8", "11.0.0.0/8"}), kNotFound, {"11.0.0.0/8"});
    const json list = lab().json({"deny", "ls"});
    ASSERT_EQ(list.size(), 3U) << "all of them or none";
    EXPECT_EQ(list[0]["prefix"], "0.0.0.0/0");
    EXPECT_EQ(list[2]["prefix"], "::/0");
    const json removed = lab().json({"deny", "rm", "10.0.0.0/8", "0.0.0.0/0", "::/0"});
    EXPECT_EQ(removed["removed"], 3);
    EXPECT_EQ(removed["total"], 0);
}

/// Somebody else's XDP program at the node's uplink, for as long as the object lives.
class ForeignXdp {
public:
    explicit ForeignXdp(const Netns& netns, __u32 mode = XDP_FLAGS_DRV_MODE) {
        const bpf_insn code[]{{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = XDP_PASS},
                              {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
        bpf_attr load{};
        load.prog_type = BPF_PROG_TYPE_XDP;
        load.insns = reinterpret_cast<std::uintptr_t>(code);
        load.insn_cnt = 2;
        load.license = reinterpret_cast<std::uintptr_t>("GPL");
        (void)std::snprintf(load.prog_name, sizeof load.prog_name, "somebody_else");
        program_ = static_cast<int>(::syscall(__NR_bpf, BPF_PROG_LOAD, &load, sizeof load));
        netns.inside([&] {
            bpf_attr link{};
            link.link_create.prog_fd = static_cast<__u32>(program_);
            link.link_create.target_ifindex = ::if_nametoindex("eth0");
            link.link_create.attach_type = BPF_XDP;
            link.link_create.flags = mode;
            link_ = static_cast<int>(::syscall(__NR_bpf, BPF_LINK_CREATE, &link, sizeof link));
        });
        EXPECT_GE(link_, 0) << "cannot attach the test's own XDP program";
    }
    ForeignXdp(const ForeignXdp&) = delete;
    ForeignXdp& operator=(const ForeignXdp&) = delete;
    ~ForeignXdp() {
        ::close(link_);
        ::close(program_);
    }

private:
    int program_ = -1;
    int link_ = -1;
};

class Xdp : public LabTest {
protected:
    json status() { return lab().json({"status"}); }
    bool is_attached() {
        const json now = status();  // a range-for would keep no more of it than its end
        for (const json& hook : now["uplinks"][0]["hooks"])
            if (kXdp.count(hook.get<std::string>()) != 0) return true;
        return false;
    }
    /// The kernel's number of what is at the hook; empty: nothing.
    std::string program() {
        const std::string text = lab().node().run({"ip", "-d", "link", "show", "dev", "eth0"}).out;
        const std::string mark = "prog/xdp id ";
        const std::size_t at = text.find(mark);
        return at == std::string::npos ? "" : text.substr(at + mark.size(), text.find(' ', at + mark.size()) - at - mark.size());
    }
    CommandResult prepare(const std::string& mode) { return lab().fastnet({"attach", "--mode", "bridge", "--xdp", mode}); }
};

TEST_F(Xdp, IsLeftOutAtAVethUnlessItIsAskedFor) {
    ASSERT_EQ(lab().fastnet({"attach", "--mode", "bridge"}).status, kDone);
    EXPECT_FALSE(is_attached());
    EXPECT_EQ(status()["xdp"], "auto");
    for (const auto& [mode, attached] : {std::pair{"on", true}, {"on", true}, {"auto", false}, {"on", true}, {"off", false}}) {
        ASSERT_EQ(prepare(mode).status, kDone) << mode;
        EXPECT_EQ(is_attached(), attached) << mode;
        EXPECT_EQ(status()["xdp"], mode);
    }
    expect_error(prepare("maybe"), kUsage, {"maybe"});
}

TEST_F(Xdp, StaysWithLaterCommandsAndComesBackWhenSomebodyTookItOff) {
    ASSERT_EQ(prepare("on").status, kDone);
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    EXPECT_TRUE(is_attached());
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
    ASSERT_EQ(lab().node().run({"ip", "link", "set", "dev", "eth0", "xdp", "off"}).status, 0);
    EXPECT_FALSE(is_attached());
    ASSERT_EQ(lab().fastnet({"attach", "--mode", "bridge"}).status, kDone);
    EXPECT_TRUE(is_attached());
    const std::string before = program();
    ASSERT_EQ(lab().fastnet({"attach", "--mode", "bridge"}).status, kDone);
    EXPECT_EQ(program(), before) << "what is right stays";
    ASSERT_EQ(lab().fastnet({"attach", "--mode", "bridge", "--reload"}).status, kDone);
    EXPECT_TRUE(is_attached());
    EXPECT_NE(program(), before) << "another one has taken its place";
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
}

TEST_F(Xdp, RefusesAHookThatSomebodyElseHasAndLeavesItAlone) {
    const Argv auto_mode{"attach", "--mode", "bridge"};
    std::optional<ForeignXdp> foreign{std::in_place, lab().node()};
    expect_error(prepare("on"), kConflict, {"eth0", "somebody_else"});
    ASSERT_EQ(lab().fastnet(auto_mode).status, kDone);
    expect_error(prepare("on"), kConflict, {"eth0", "somebody_else", "--xdp off"});
    EXPECT_EQ(status()["xdp"], "auto") << "nothing is half done";
    EXPECT_NE(lab().node().run({"ip", "link", "show", "eth0"}).out.find("xdp"), std::string::npos) << "the other one is still there";
    foreign.reset();
    ASSERT_EQ(prepare("on").status, kDone);
    EXPECT_TRUE(is_attached());
}

TEST_F(Xdp, RefusesAHookThatIsTakenInGenericModeAndSaysHowToFreeIt) {
    const ForeignXdp foreign{lab().node(), XDP_FLAGS_SKB_MODE};
    expect_error(prepare("on"), kConflict, {"eth0", "somebody_else", "generic mode", "xdpgeneric off"});
    EXPECT_NE(lab().node().run({"ip", "link", "show", "eth0"}).out.find("xdpgeneric"), std::string::npos) << "the other one is still there";
}

TEST_F(Xdp, MissingAtTwoUplinksLeavesTheListToTcAtTheOneWhateverIsAtTheOther) {
    const Netns& stranger = lab().add_other_host("eth1");
    lab().rebaseline();
    ASSERT_EQ(lab().fastnet({"attach", "--mode", "bridge", "--uplink", "eth0", "--uplink", "eth1", "--xdp", "on"}).status, kDone);
    ASSERT_EQ(lab().fastnet({"deny", "add", kOtherHostIp}).status, kDone);
    const Socket server = Socket::listener(lab().node(), {"0.0.0.0", 7000});
    const auto can_call = [&](Millis bound) {
        return Socket::connected(stranger, Transport::kTcp, {kNodeOtherIp, 7000}, {kOtherHostIp, 0}, bound).ok();
    };
    ASSERT_FALSE(can_call(kNoAnswer)) << "XDP asks the list";
    for (const char* uplink : {"eth0", "eth1"}) ASSERT_EQ(lab().node().run({"ip", "link", "set", "dev", uplink, "xdp", "off"}).status, 0);
    ASSERT_TRUE(can_call(Millis{2000})) << "nobody has noticed yet";
    const ForeignXdp foreign{lab().node()};
    const CommandResult later = lab().fastnet({"attach", "--mode", "bridge"});
    ASSERT_EQ(later.status, kDone);
    EXPECT_NE(later.err.find("somebody_else"), std::string::npos) << later;
    EXPECT_FALSE(can_call(kNoAnswer));
    EXPECT_NE(lab().node().run({"ip", "link", "show", "eth1"}).out.find("prog/xdp"), std::string::npos) << "XDP is back at the other one";
}

/// As libxdp leaves it where its dispatcher is taken off by somebody else.
TEST_F(Xdp, RemovesWhatADispatcherLeftOfItAndNothingThatIsInUse) {
    ASSERT_EQ(prepare("on").status, kDone);
    if (status()["uplinks"][0]["hooks"].dump().find("xdp native") == std::string::npos)
        GTEST_SKIP() << "this kernel has freplace: what is at the hook is the dispatcher, and tools/kernel-check takes that off";
    std::set<fs::path> made;
    const auto remove = [](const std::set<fs::path>* directories) {
        std::error_code gone;
        for (const fs::path& directory : *directories)
            if (fs::exists(directory, gone)) fs::remove_all(directory, gone);
    };
    const std::unique_ptr<std::set<fs::path>, decltype(remove)> guard{&made, remove};
    const auto pinned = [&](const std::string& name) {
        const json links = json::parse(lab().node().run({"ip", "-j", "link", "show", "eth0"}).out);
        const std::string id = links[0]["xdp"]["prog"]["id"].dump();
        const fs::path directory = "/sys/fs/bpf/xdp/dispatch-0-" + id;
        fs::create_directories(directory);
        made.insert(directory);
        EXPECT_EQ(lab().node().run({"bpftool", "prog", "pin", "id", id, (directory / name).string()}).status, 0);
        return directory;
    };
    const fs::path directory = pinned("prog0-prog");
    ASSERT_EQ(prepare("on").status, kDone);
    EXPECT_TRUE(fs::exists(directory)) << "it is at the device";
    ASSERT_EQ(lab().node().run({"ip", "link", "set", "dev", "eth0", "xdp", "off"}).status, 0);
    ASSERT_EQ(prepare("on").status, kDone);
    EXPECT_FALSE(fs::exists(directory));
    EXPECT_TRUE(is_attached());
    const fs::path last = pinned("prog1-prog");
    ASSERT_EQ(lab().fastnet({"cleanup"}).status, kDone);
    EXPECT_FALSE(fs::exists(last));
}

TEST_F(Xdp, SaysWhatLibxdpMisses) {
    const CommandResult refused =
        lab().fastnet({"attach", "--mode", "bridge", "--xdp", "on"}, {.env = {{"LIBXDP_OBJECT_PATH", "/nowhere"}}});
    expect_error(refused, kFailed, {"eth0", "xdp-dispatcher.o", "--xdp off"});
}

TEST_F(Xdp, IsPutRightOrTakenAwayAfterEveryCommandThatWasKilled) {
    for (const std::string mode : {"on", "off"}) {
        int step = 1;
        for (;; ++step) {
            const CommandResult result =
                lab().fastnet({"attach", "--mode", "bridge", "--xdp", mode}, {.env = {{"FASTNET_CRASH_AT", std::to_string(step)}}});
            if (result.status == kDone) break;
            ASSERT_EQ(result.status, 128 + SIGKILL) << result;
            ASSERT_LT(step, 200);
        }
        EXPECT_EQ(is_attached(), mode == "on");
    }
    ASSERT_EQ(prepare("on").status, kDone);
    for (int step = 1;; ++step) {
        const CommandResult result = lab().fastnet({"cleanup"}, {.env = {{"FASTNET_CRASH_AT", std::to_string(step)}}});
        if (result.status == kDone) break;
        ASSERT_EQ(result.status, 128 + SIGKILL) << result;
        ASSERT_LT(step, 200);
    }
}

}  // namespace
}  // namespace fastnet::test
