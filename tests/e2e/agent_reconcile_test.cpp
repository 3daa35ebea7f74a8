// What others delete or change while the agent runs is back within a second: told by netlink, or looked at where no event is made. It
// is logged and counted, a fight with somebody does not make the agent spin, and at no moment of a repair does anybody reach what he
// should not.
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <thread>

#include "tests/harness/agent.h"
#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

/// A second, and what a busy machine takes for the commands of the test itself.
constexpr Millis kSoon{10'000};  // a second and more: the machine may be busy, and timing decides no test

class AgentReconcile : public LabTest {
protected:
    void TearDown() override {
        if (agent_) agent_->stop();
        agent_.reset();
        std::error_code ignored;
        fs::remove(config_, ignored);
        LabTest::TearDown();
    }

    /// With @p interval no check happens by the clock alone during a test, unless that is what is tested.
    Agent& start(const std::string& interval = "1h") {
        config_ = fs::temp_directory_path() / (lab().node().name() + "-agent.toml");
        std::ofstream{config_} << "[log]\nlevel = \"debug\"\n[reconcile]\ninterval = \"" << interval << "\"\n";
        agent_ = std::make_unique<Agent>(lab(), Argv{"--config", config_.string()});
        agent_->wait_ready();
        settle();
        return *agent_;
    }
    Agent& agent() { return *agent_; }

    /// Checks that commands before have caused are over.
    void settle() {
        double before = -1;
        EXPECT_TRUE(wait_until([&] {
            const double now = metric("fastnet_reconcile_runs_total");
            const bool same = now == before;
            before = now;
            if (!same) std::this_thread::sleep_for(Millis{200});
            return same && now > 0;
        }));
    }

    double metric(const std::string& name) const {
        const std::string text = "\n" + agent_->get("/metrics");
        const std::size_t at = text.find("\n" + name + " ");
        return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
    }
    double repairs(const std::string& kind) const { return metric("fastnet_repairs_total{kind=\"" + kind + "\"}"); }

    /// @p destroy makes @p whole untrue, and the agent makes it true again, which it counts and logs as @p kind.
    void expect_repaired(const std::string& kind, const std::function<void()>& destroy, const std::function<bool()>& whole,
                         Millis bound = kSoon) {
        ASSERT_TRUE(whole()) << "it is not there to begin with";
        const double before = repairs(kind);
        ASSERT_GE(before, 0) << "no such kind";
        destroy();
        EXPECT_TRUE(wait_until([&] { return repairs(kind) > before && whole(); }, bound))
            << "not repaired, or not counted: whole " << whole() << ", counted " << repairs(kind) - before << "\n"
            << agent().log();
        EXPECT_NE(agent().log().find("repaired: " + kind + ": "), std::string::npos) << agent().log();
        settle();
    }

    std::string veth(std::size_t number = 0) {
        std::vector<std::string> found;
        for (const std::string& name : lab().node().links())
            if (name.starts_with("fnv-")) found.push_back(name);
        return number < found.size() ? found[number] : "";
    }
    std::string bridge() { return lab().json({"network", "inspect", "default"})["bridge"]; }
    bool web_answers() { return !fetch(lab().client(), url(kNodeIp, 2000), 1).empty(); }
    bool flag_up(const std::string& link) { return lab().node().link_field(link, "flags").find("\"UP\"") != std::string::npos; }

    fs::path pin(const std::string& end) {
        for (const fs::path& one : lab().root().pin_files())
            if (one.string().ends_with(end)) return one;
        ADD_FAILURE() << "nothing is pinned as " << end;
        return {};
    }
    fs::path hook(const std::string& ifname, const std::string& program) {
        return pin("links/" + lab().node().link_field(ifname, "ifindex") + "-" + program);
    }
    static void detach(const fs::path& link) {
        const CommandResult result = run({"bpftool", "link", "detach", "pinned", link.string()});
        ASSERT_TRUE(result.ok()) << result;
    }
    static std::size_t entries(const fs::path& map) {
        const json rows = json::parse(run({"bpftool", "-j", "map", "dump", "pinned", map.string()}).out, nullptr, false);
        return rows.is_array() ? rows.size() : 0;
    }
    /// All of them.
    static void empty(const fs::path& map) {
        for (const json& row : json::parse(run({"bpftool", "-j", "map", "dump", "pinned", map.string()}).out)) {
            Argv argv{"bpftool", "map", "delete", "pinned", map.string(), "key"};
            for (const json& byte : row.at("key")) argv.push_back(byte.get<std::string>());
            const CommandResult result = run(argv);
            ASSERT_TRUE(result.ok()) << result;
        }
    }

private:
    fs::path config_;
    std::unique_ptr<Agent> agent_;
};

// ---------------------------------------------------------------------------------------------- told by netlink

TEST_F(AgentReconcile, WhatNetlinkTellsIsRepairedWithinASecond) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    start();
    const std::string bridge = this->bridge();
    const std::string port = veth();
    const Netns& node = lab().node();
    const auto address = [&] {
        return lab().node().run({"ip", "-4", "addr", "show", "dev", bridge}).out.find("172.30.0.1/16") != std::string::npos;
    };
    const auto is_port = [&] { return node.link_field(port, "master") == bridge && flag_up(port); };
    const auto setting = [&](const std::string& family) {
        return [&node, key = "net." + family + ".conf." + bridge + ".forwarding"] { return node.sysctl(key) == "1"; };
    };
    const struct {
        const char* what;
        const char* kind;
        std::function<void()> destroy;
        std::function<bool()> whole;
    } cases[] = {
        {"the bridge", "bridge", [&] { node.ip({"link del " + bridge}); }, [&] { return is_port() && address(); }},
        {"the bridge is down", "bridge", [&] { node.ip({"link set " + bridge + " down"}); }, [&] { return flag_up(bridge); }},
        {"its MAC address", "bridge", [&] { node.ip({"link set " + bridge + " address 02:00:00:00:00:99"}); },
         [&] { return node.mac(bridge) != "02:00:00:00:00:99"; }},
        {"the gateway's address", "bridge", [&] { node.ip({"addr del 172.30.0.1/16 dev " + bridge}); }, address},
        {"IPv4 forwarding", "bridge", [&] { node.set_sysctl("net.ipv4.conf." + bridge + ".forwarding", "0"); }, setting("ipv4")},
        {"IPv6 forwarding", "bridge", [&] { node.set_sysctl("net.ipv6.conf." + bridge + ".forwarding", "0"); }, setting("ipv6")},
        {"the bridge port", "endpoint", [&] { node.ip({"link set " + port + " nomaster"}); }, is_port},
        {"the veth is down", "endpoint", [&] { node.ip({"link set " + port + " down"}); }, is_port},
        {"the veth isolated", "endpoint", [&] { node.ip({"link set " + port + " type bridge_slave isolated on"}); },
         [&] { return node.link_field(port, "linkinfo").find("\"isolated\":false") != std::string::npos; }},
    };
    for (const auto& one : cases) {
        SCOPED_TRACE(one.what);
        expect_repaired(one.kind, one.destroy, one.whole);
        EXPECT_TRUE(web_answers());
        EXPECT_FALSE(fetch(node, url(lab().ip("web"), 80), 1).empty()) << "by the bridge";
    }
}

TEST_F(AgentReconcile, OverlayDeviceAndItsPeersAreRepairedWithinASecond) {
    lab().json({"network", "create", "blue", "--driver", "overlay", "--vni", "7", "--subnet", "10.77.0.0/24"});
    ASSERT_TRUE(lab().fastnet({"peer", "add", "192.0.2.7"}).ok());
    start();
    const Netns& node = lab().node();
    const std::string vxlan = "fnx-" + std::to_string(lab().json({"network", "inspect", "blue"})["id"].get<int>());
    const std::string bridge = lab().json({"network", "inspect", "blue"})["bridge"];
    const auto peer = [&] { return node.run({"bridge", "fdb", "show", "dev", vxlan}).out.find("dst 192.0.2.7") != std::string::npos; };
    const auto whole = [&] {
        return node.link_field(vxlan, "master") == bridge && flag_up(vxlan) && peer() && tcx_program_count(node, vxlan) == 2;
    };
    expect_repaired(
        "vxlan", [&] { node.ip({"link del " + vxlan}); }, whole);
    expect_repaired(
        "vxlan", [&] { node.ip({"link set " + vxlan + " down"}); }, whole);
    expect_repaired(
        "vxlan", [&] { node.ip({"link set " + vxlan + " nomaster"}); }, whole);
    expect_repaired(
        "vxlan",
        [&] {
            const CommandResult gone = node.run({"bridge", "fdb", "del", "00:00:00:00:00:00", "dev", vxlan, "dst", "192.0.2.7"});
            ASSERT_TRUE(gone.ok()) << gone;
        },
        whole);
    expect_repaired(
        "bridge", [&] { node.ip({"link del " + bridge}); }, whole);
}

TEST_F(AgentReconcile, ContainerThatIsGoneGivesBackItsPortsAndAddresses) {
    lab().attach("web", {"-p", "2000:80"});
    start();
    expect_repaired(
        "dead_endpoint", [&] { lab().lose_container("web"); }, [] { return true; }, Millis{10'000});
    EXPECT_EQ(lab().count("endpoints"), 0U);
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2000}).ok());
}

TEST_F(AgentReconcile, NewDefaultRouteBringsItsUplink) {
    lab().add_other_host();
    lab().rebaseline();
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    start();
    lab().node().ip({"route add default via " + kOtherHostIp + " metric 5"});
    EXPECT_TRUE(wait_until([&] { return tcx_program_count(lab().node(), "eth1") == 1; }, kSoon)) << agent().log();
    EXPECT_NE(fetch(lab().other_host(), url(kNodeOtherIp, 2000)), "");
    EXPECT_GE(repairs("uplink"), 1);
    lab().node().ip({"route del default via " + kOtherHostIp + " metric 5"});
}

// -------------------------------------------------------------------------------------------------- looked at

TEST_F(AgentReconcile, ProgramsThatWereDetachedAreBackWithinTwoSeconds) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    if (tcx_program_count(lab().node(), "eth0") == 0) GTEST_SKIP() << "no tcx on this kernel: there is no link to detach";
    start();
    const std::string bridge = this->bridge();
    const std::string port = veth();
    for (const auto& [ifname, program, kind] : {std::tuple{std::string{"eth0"}, "tc_uplink", "program"},
                                                {bridge, "tc_gateway_in", "program"},
                                                {bridge, "tc_gateway_out", "program"},
                                                {std::string{"lo"}, "tc_loopback", "program"},
                                                {port, "tc_container", "endpoint"}}) {
        SCOPED_TRACE(program);
        const unsigned count = tcx_program_count(lab().node(), ifname);
        expect_repaired(
            kind, [&, name = ifname, prog = program] { detach(hook(name, prog)); },
            [&, name = ifname] { return tcx_program_count(lab().node(), name) == count; }, kSoon);
        EXPECT_TRUE(web_answers());
    }
    // A socket that could be bound says that nobody holds the port.
    expect_repaired(
        "program", [&] { detach(pin("links/cgroup_bind4")); },
        [&] {
            return !Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2000}).ok();
        },
        kSoon);
}

TEST_F(AgentReconcile, XdpThatWasDetachedIsBackWithinTwoSeconds) {
    const Netns& node = lab().node();
    // Of a link that is down the kernel tells nothing.
    ASSERT_EQ(node.run({"ip", "link", "add", "spare0", "type", "veth", "peer", "name", "spare1"}).status, 0);
    ASSERT_EQ(lab().fastnet({"attach", "--mode", "bridge", "--uplink", "eth0", "--uplink", "spare0", "--xdp", "on"}).status, kDone);
    start();
    for (const std::string uplink : {"spare0", "eth0"}) {
        SCOPED_TRACE(uplink);
        expect_repaired(
            "program",
            [&] {
                ASSERT_EQ(node.run({"ip", "link", "set", "dev", uplink, "xdp", "off"}).status, 0);
            },
            [&] {
                return node.run({"ip", "link", "show", "dev", uplink}).out.find("prog/xdp") != std::string::npos;
            },
            kSoon);
    }
    EXPECT_NE(agent().log().find("after XDP of spare0 was detached"), std::string::npos) << agent().log();
    ASSERT_EQ(node.run({"ip", "link", "del", "spare0"}).status, 0);
}

TEST_F(AgentReconcile, SettingsWithoutAnEventAreBackWithinTwoSeconds) {
    lab().attach("web", {"-p", "33000:80"});
    start();
    const Netns& node = lab().node();
    for (const std::string& key : Argv{"net.ipv4.conf.lo.route_localnet", "net.ipv4.conf.lo.accept_local"}) {
        SCOPED_TRACE(key);
        expect_repaired(
            "program", [&] { node.set_sysctl(key, "0"); }, [&] { return node.sysctl(key) == "1"; }, kSoon);
    }
    expect_repaired(
        "reserved_ports", [&] { node.set_sysctl("net.ipv4.ip_local_reserved_ports", "\n"); },
        [&] { return node.sysctl("net.ipv4.ip_local_reserved_ports") == "33000"; }, kSoon);
}

TEST_F(AgentReconcile, MapsAreCorrectedByThePeriodicCheck) {
    lab().attach("web", {"-p", "2000:80", "--allow", "192.0.2.0/24"});
    const WebServer web{lab().at("web"), "web"};
    start("1s");
    for (const auto& [map, kind] : {std::pair{"services", "port"},
                                    {"sources", "port"},
                                    {"addresses", "address"},
                                    {"endpoints", "endpoint"},
                                    {"devices", "device"},
                                    {"subnets", "subnet"}}) {
        SCOPED_TRACE(map);
        const fs::path file = pin(std::string{"maps/"} + map);
        const std::size_t before = entries(file);
        ASSERT_GT(before, 0U);
        expect_repaired(
            kind, [&] { empty(file); }, [&] { return entries(file) == before; }, kSoon);
        EXPECT_TRUE(web_answers());
    }
    Argv clear{"bpftool", "map", "update", "pinned", pin("maps/filters").string(), "key", std::to_string(2000 / 64),
               "0",       "0",   "0",      "value"};
    clear.insert(clear.end(), 8, "0");
    expect_repaired(
        "filter", [&] { EXPECT_TRUE(run(clear).ok()); }, [&] { return web_answers(); }, kSoon);
}

// ---------------------------------------------------------------------------------------------- what it costs

TEST_F(AgentReconcile, CheckThatFindsNothingWritesNothing) {
    lab().attach("web", {"-p", "2000:80"});
    start("1s");
    const fs::path file = lab().root().database();
    const auto written = [&] { return std::pair{fs::last_write_time(file), fs::file_size(file.string() + "-wal")}; };
    const auto before = written();
    const double runs = metric("fastnet_reconcile_runs_total");
    ASSERT_TRUE(wait_until([&] { return metric("fastnet_reconcile_runs_total") >= runs + 2; }));
    EXPECT_EQ(written(), before);
    EXPECT_EQ(metric("fastnet_reconcile_errors_total"), 0);
}

TEST_F(AgentReconcile, RepairIsFollowedByOneMoreCheckAndThenSilence) {
    lab().attach("web", {"-p", "2000:80"});
    start();
    const double before = metric("fastnet_reconcile_runs_total");
    lab().node().ip({"link del " + bridge()});
    ASSERT_TRUE(wait_until([&] { return metric("fastnet_reconcile_runs_total") > before; }));
    settle();
    EXPECT_LE(metric("fastnet_reconcile_runs_total") - before, 4);
}

TEST_F(AgentReconcile, ThousandsOfRoutesAndLinksOfOthersCauseNoCheck) {
    lab().attach("web", {"-p", "2000:80"});
    start();
    const double before = metric("fastnet_reconcile_runs_total");
    std::string batch;
    for (int i = 0; i < 5'000; ++i)
        batch += "route add 10." + std::to_string(100 + i / 250) + "." + std::to_string(i % 250) + ".0/24 via " + kClientIp + "\n";
    std::string undo = batch;
    for (std::size_t at = 0; (at = undo.find("route add", at)) != std::string::npos;) undo.replace(at, 9, "route del");
    for (const std::string& one : {batch, undo}) {
        const CommandResult result = lab().node().run({"ip", "-batch", "-"}, {.input = one});
        ASSERT_TRUE(result.ok()) << result;
    }
    for (int i = 0; i < 50; ++i) lab().node().ip({"link add other type bridge", "link set other up", "link del other"});
    settle();
    EXPECT_EQ(metric("fastnet_reconcile_runs_total"), before) << agent().log();
}

TEST_F(AgentReconcile, FlappingUplinkDoesNotMakeItSpin) {
    lab().attach("web", {"-p", "2000:80"});
    start();
    const auto cpu_ticks = [&] {
        std::ifstream stat{"/proc/" + std::to_string(agent().pid()) + "/stat"};
        std::string word;
        long user = 0;
        long system = 0;
        for (int i = 0; i < 13; ++i) stat >> word;
        stat >> user >> system;
        return user + system;
    };
    const double before = metric("fastnet_reconcile_runs_total");
    const long ticks = cpu_ticks();
    std::string batch;
    for (int i = 0; i < 2'000; ++i) batch += i % 2 == 0 ? "link set eth0 promisc on\n" : "link set eth0 promisc off\n";
    const auto begin = Clock::now();
    do {
        ASSERT_TRUE(lab().node().run({"ip", "-batch", "-"}, {.input = batch}).ok());
    } while (Clock::now() - begin < std::chrono::seconds{3});
    const double seconds = std::chrono::duration<double>{Clock::now() - begin}.count();
    const double checks = metric("fastnet_reconcile_runs_total") - before;
    EXPECT_GT(checks, 0);
    EXPECT_LE(checks, seconds * 20 + 2) << "more than one check in each debounce";
    EXPECT_LT(static_cast<double>(cpu_ticks() - ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK)), seconds / 4);
}

TEST_F(AgentReconcile, WhoKeepsUndoingARepairIsNamedOnceAndRepairedLessOften) {
    lab().attach("web", {"-p", "2000:80"});
    start();
    const std::string name = bridge();
    Background fighter = lab().node().background({"sh", "-c", "while :; do ip link set " + name + " down 2>/dev/null; sleep 0.05; done"},
                                                 {.timeout = Millis{60'000}});
    EXPECT_TRUE(wait_until([&] { return metric("fastnet_reconcile_contested_total") == 1; }, Millis{10'000})) << agent().log();
    const double before = repairs("bridge");
    const auto begin = Clock::now();
    EXPECT_TRUE(wait_until([&] { return Clock::now() - begin > std::chrono::seconds{5}; }, kSoon));
    EXPECT_LE(repairs("bridge") - before, 4) << "one after 1, 2 and 4 seconds";
    const std::string log = agent().log();
    const std::size_t first = log.find("again and again");
    EXPECT_NE(first, std::string::npos) << log;
    EXPECT_EQ(log.find("again and again", first + 1), std::string::npos) << log;
    const json parts = agent().part("reconcile");
    EXPECT_EQ(parts.value("state", ""), "ready") << parts.dump();
    fighter.kill();
    EXPECT_TRUE(wait_until([&] { return flag_up(name); }, Millis{20'000}));
}

// --------------------------------------------------------------------------------------------- nobody slips in

TEST_F(AgentReconcile, NothingBecomesReachableWhileThingsAreRepaired) {
    lab().node().set_sysctl("net.ipv4.ip_forward", "1");  // the worst case
    lab().rebaseline();
    lab().json({"network", "create", "quiet", "--no-icc"});
    lab().json({"network", "create", "red"});
    lab().attach("web", {"-p", "2000:80", "-p", "2001:81", "--deny", kClientIp + "/32"});
    lab().attach("app", {"--network", "red", "-p", "2002:80"});
    lab().attach("lonely", {"--network", "quiet"});
    lab().attach("neighbour", {"--network", "quiet"});
    const WebServer web{lab().at("web"), "web", {80, 81, 8080}};
    const WebServer app{lab().at("app"), "app", {80, 8080}};
    const WebServer neighbour{lab().at("neighbour"), "neighbour"};
    lab().client().ip({"route add 172.16.0.0/12 via " + kNodeIp});
    start();
    std::atomic<bool> over{false};
    std::atomic<int> probes{0};
    const struct {
        const Netns& from;
        std::string ip;
        std::uint16_t port;
    } probed[] = {
        {lab().client(), lab().ip("web"), 8080},          // not published
        {lab().client(), kNodeIp, 2000},                  // denied
        {lab().client(), kNodeIp, 8080},                  // not published
        {lab().at("app"), lab().ip("web"), 8080},         // another network
        {lab().at("lonely"), lab().ip("neighbour"), 80},  // no ICC
    };
    std::vector<std::string> answered(std::size(probed));
    std::vector<std::thread> strangers;
    for (std::size_t i = 0; i < std::size(probed); ++i) {
        strangers.emplace_back([&, i] {
            while (!over) {
                const Socket caller = Socket::connected(probed[i].from, Transport::kTcp, {probed[i].ip, probed[i].port}, {}, Millis{40});
                if (caller.ok()) answered[i] = probed[i].ip + ":" + std::to_string(probed[i].port);
                ++probes;
            }
        });
    }
    const std::vector<std::string> bridges{bridge(), lab().json({"network", "inspect", "quiet"})["bridge"],
                                           lab().json({"network", "inspect", "red"})["bridge"]};
    const double before = metric("fastnet_reconcile_runs_total");
    for (int round = 0; round < 5; ++round) {
        for (std::size_t i = 0; i < bridges.size(); ++i) {
            // Another thing each time, so that nobody is taken for a fighter.
            const double runs = metric("fastnet_reconcile_runs_total");
            if (round % 3 == 0) lab().node().ip({"link del " + bridges[i]});
            if (round % 3 == 1) lab().node().ip({"link set " + bridges[i] + " down"});
            if (round % 3 == 2) lab().node().ip({"link set " + veth(i) + " nomaster"});
            EXPECT_TRUE(wait_until([&] { return metric("fastnet_reconcile_runs_total") > runs; }, kSoon)) << agent().log();
        }
    }
    EXPECT_TRUE(wait_until([&] { return !fetch(lab().client(), url(kNodeIp, 2002), 1).empty(); }, Millis{15'000})) << agent().log();
    over = true;
    for (std::thread& stranger : strangers) stranger.join();
    for (const std::string& answer : answered) EXPECT_EQ(answer, "") << "a stranger got through";
    EXPECT_GT(probes, 100);
    EXPECT_GT(metric("fastnet_reconcile_runs_total") - before, 10);
    EXPECT_TRUE(wait_until([&] { return !fetch(lab().node(), url(lab().ip("web"), 8080), 1).empty(); }, Millis{15'000}))
        << "what the strangers called does answer\n"
        << agent().log();
}

}  // namespace
}  // namespace fastnet::test
