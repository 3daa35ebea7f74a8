// Several nodes and one etcd: what one node has, the others get; and what happens when etcd, a node or the wire between them does not
// answer, or when somebody writes nonsense.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <regex>
#include <set>
#include <sstream>

#include "tests/harness/agent.h"
#include "tests/harness/etcd.h"
#include "tests/harness/overlay_lab.h"
#include "tests/harness/privileges.h"
#include "tests/harness/wait.h"

namespace fastnet::test {
namespace {

using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr const char* kRouterIp = "198.51.100.1";

/// etcd on the router, an agent on each node that a test starts one on.
class Cluster : public OverlayLabTest {
protected:
    void SetUp() override {
        FASTNET_SKIP_WITHOUT_ETCD();
        OverlayLabTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        files_ = std::make_unique<RootDir>(unique_prefix() + "-conf");
        etcd_.emplace(std::vector<EtcdPlace>{{lab().router().name(), kRouterIp}});
    }
    void TearDown() override {
        if (HasFailure())
            for (const auto& agent : agents_)
                if (agent) std::cerr << agent->log();
        for (auto& agent : agents_) agent.reset();
        etcd_.reset();
        OverlayLabTest::TearDown();
        files_.reset();
    }

    EtcdCluster& etcd() { return *etcd_; }

    std::string config(std::size_t number, const std::string& prefix = "/fastnet", const std::string& name = "") {
        const auto path = files_->path() / ("node" + std::to_string(number) + ".toml");
        std::ofstream file{path};
        file << "[node]\nname = \"" << (name.empty() ? "n" + std::to_string(number) : name) << "\"\n[etcd]\nurls = [\"" << etcd().url(0)
             << "\"]\nprefix = \"" << prefix << "\"\nlease_ttl = \"5s\"\n";
        return path.string();
    }
    Agent& start(std::size_t number, const std::string& prefix = "/fastnet", const std::string& name = "") {
        agents_.at(number - 1) = std::make_unique<Agent>(lab().node(number), Argv{"--config", config(number, prefix, name)});
        return agent(number);
    }
    void start_all() {
        for (std::size_t number = 1; number <= kOverlayNodes; ++number) start(number);
        for (std::size_t number = 1; number <= kOverlayNodes; ++number) agent(number).wait_ready();
    }
    Agent& agent(std::size_t number) { return *agents_.at(number - 1); }
    json details(std::size_t number) {
        const json part = agent(number).part("cluster");
        return part.is_object() ? part["details"] : json::object();
    }
    std::string state(std::size_t number) {
        const json part = agent(number).part("cluster");
        return part.is_object() ? part["state"].get<std::string>() + " " + part["reason"].get<std::string>() : std::string{};
    }

    bool is_cut_off(std::size_t number) { return state(number).find("not ready") == 0; }

    void create(std::size_t number, const std::string& name = "blue", const Argv& extra = {"--subnet", "10.99.0.0/20"}) {
        Argv args{"network", "create", name, "--driver", "overlay"};
        args.insert(args.end(), extra.begin(), extra.end());
        lab().node(number).json(args);
    }
    bool has_network(std::size_t number, const std::string& name = "blue") {
        const json rows = lab().node(number).json({"network", "ls"});
        return std::any_of(rows.begin(), rows.end(), [&](const json& row) { return row["name"] == name; });
    }
    void wait_network(const std::string& name = "blue") {
        for (std::size_t number = 1; number <= kOverlayNodes; ++number)
            if (agents_.at(number - 1)) {
                ASSERT_TRUE(wait_until([&] { return has_network(number, name); })) << "node " << number << "\n" << agent(number).log();
            }
    }
    std::string attach(std::size_t number, const std::string& label, const Argv& extra = {}, const std::string& network = "blue") {
        Argv args{"--network", network};
        args.insert(args.end(), extra.begin(), extra.end());
        lab().node(number).attach(label, args, "overlay");
        return lab().node(number).ip(label);
    }
    std::size_t remote_endpoints(std::size_t number) {
        const json found = details(number);
        return found.contains("endpoints") ? found["endpoints"]["remote"].get<std::size_t>() : 999;
    }
    bool pings(std::size_t number, const std::string& label, const std::string& ip, const char* patience = "1") {
        return lab().node(number).at(label).run({"ping", "-c", "1", "-W", patience, ip}).ok();
    }
    void expect_reach(std::size_t number, const std::string& label, const std::string& ip) {
        EXPECT_TRUE(wait_until([&] { return pings(number, label, ip); })) << "node " << number << " " << label << " -> " << ip;
    }
    CommandResult put(const std::string& path, const json& value) {
        return etcd().etcdctl({"put", path, value.is_string() ? value.get<std::string>() : value.dump()});
    }
    std::string dump() { return etcd().etcdctl({"get", "--prefix", "/"}).out; }

    std::array<std::unique_ptr<Agent>, kOverlayNodes> agents_;

private:
    std::unique_ptr<RootDir> files_;
    std::optional<EtcdCluster> etcd_;
};

/// Pings beside the test, numbered; what was lost is known at the end.
class Stream {
public:
    Stream(const Netns& from, const std::string& to) : ping_{from.background({"ping", "-q", "-i", "0.01", to})} {}
    /// Answered and sent, for two seconds at least.
    std::pair<long, long> end() {
        EXPECT_TRUE(wait_until([&] { return Clock::now() - begun_ > std::chrono::seconds{2}; }));
        ping_.signal(SIGINT);
        (void)ping_.wait(Millis{5000});
        std::smatch match;
        const std::string text = ping_.output();
        if (!std::regex_search(text, match, std::regex{"([0-9]+) packets transmitted, ([0-9]+) received"})) return {-1, -2};
        return {std::stol(match[2]), std::stol(match[1])};
    }

private:
    Background ping_;
    Clock::time_point begun_ = Clock::now();
};

/// The last one may be on its way when it ends.
#define EXPECT_NO_LOSS(stream)                        \
    do {                                              \
        const auto [answered, sent] = (stream).end(); \
        EXPECT_GT(sent, 50);                          \
        EXPECT_GE(answered, sent - 1);                \
    } while (false)

TEST_F(Cluster, ANetworkOfOneNodeIsAllNodesNetwork) {
    start_all();
    create(1);
    wait_network();
    const std::string one = attach(1, "c1");
    const std::string two = attach(2, "c2");
    const std::string three = attach(3, "c3");
    expect_reach(1, "c1", two);
    expect_reach(2, "c2", three);
    expect_reach(3, "c3", one);
    EXPECT_EQ(details(1)["nodes"].size(), 2U);
    // Detached: gone everywhere.
    EXPECT_TRUE(wait_until([&] { return remote_endpoints(2) == 2; }));
    EXPECT_TRUE(lab().node(1).fastnet({"detach", "c1"}).ok());
    EXPECT_TRUE(wait_until([&] { return remote_endpoints(2) == 1 && remote_endpoints(3) == 1; }));
    EXPECT_FALSE(pings(2, "c2", one));
    // Removed on one node: where nothing is attached it goes.
    for (const auto& [number, label] : {std::pair{2, "c2"}, {3, "c3"}})
        EXPECT_TRUE(lab().node(static_cast<std::size_t>(number)).fastnet({"detach", label}).ok());
    EXPECT_TRUE(wait_until([&] { return remote_endpoints(1) == 0; }));
    EXPECT_TRUE(wait_until([&] { return lab().node(1).fastnet({"network", "rm", "blue"}).ok(); }));
    for (std::size_t number = 1; number <= kOverlayNodes; ++number)
        EXPECT_TRUE(wait_until([&] { return !has_network(number); })) << "node " << number << "\n" << agent(number).log();
    EXPECT_TRUE(wait_until([&] { return dump().find("/blocks/") == std::string::npos; })) << dump();
}

TEST_F(Cluster, AnAttachIsReachableFromAnotherNodeWellWithin200Milliseconds) {
    start_all();
    create(1);
    wait_network();
    attach(2, "c2");
    expect_reach(2, "c2", "10.99.0.1");
    std::vector<long> times;
    for (int i = 0; i < 9; ++i) {
        const std::string label = "c" + std::to_string(10 + i);
        const std::string ip = attach(1, label);
        const auto attached = Clock::now();
        // The first packet must not be an ARP question: its answer that is lost is asked for again after a second.
        const std::string mac = lab().node(1).endpoint(label)["mac"];
        lab().node(2).at("c2").ip({"neigh replace " + ip + " lladdr " + mac + " dev eth0 nud permanent"});
        ASSERT_TRUE(wait_until([&] { return pings(2, "c2", ip, "0.02"); })) << agent(2).log();
        times.push_back(std::chrono::duration_cast<Millis>(Clock::now() - attached).count());
    }
    std::sort(times.begin(), times.end());
    std::cout << "attach to first answer from another node: median " << times[times.size() / 2] << " ms, most " << times.back() << " ms\n";
    EXPECT_LT(times[times.size() / 2], 200);
}

TEST_F(Cluster, NodesHandOutAddressesOfTheirOwnBlocks) {
    start(1);
    start(2);
    agent(1).wait_ready();
    agent(2).wait_ready();
    create(1, "small", {"--subnet", "10.99.0.0/26"});  // four blocks of sixteen
    wait_network("small");
    std::set<std::string> addresses;
    for (std::size_t number = 1; number <= 2; ++number)
        for (int i = 0; i < 18; ++i) addresses.insert(attach(number, "c" + std::to_string(number) + "x" + std::to_string(i), {}, "small"));
    EXPECT_EQ(addresses.size(), 36U);
    EXPECT_TRUE(wait_until([&] { return remote_endpoints(1) == 18 && remote_endpoints(2) == 18; }));
    // All four are taken: nothing is left for a third node.
    start(3);
    wait_network("small");
    EXPECT_TRUE(wait_until([&] { return remote_endpoints(3) == 36; }));
    lab().node(3).container("late");
    const CommandResult late = lab().node(3).fastnet(lab().node(3).attach_args("late", {"--network", "small"}, "overlay"));
    EXPECT_EQ(late.status, kConflict) << late;
}

TEST_F(Cluster, ANodeThatIsDeadForGoodVanishesWithinItsLease) {
    start_all();
    create(1);
    wait_network();
    attach(1, "c1");
    attach(2, "c2");
    EXPECT_TRUE(wait_until([&] { return remote_endpoints(2) == 1 && remote_endpoints(3) == 2; }));
    const auto died = Clock::now();
    agent(1).kill();
    EXPECT_TRUE(wait_until([&] { return remote_endpoints(2) == 0 && remote_endpoints(3) == 1; }, Millis{15'000}));
    const auto took = std::chrono::duration_cast<Millis>(Clock::now() - died);
    EXPECT_LT(took, Millis{9000}) << "a lease of 5 s";
    EXPECT_EQ(details(2)["nodes"].size(), 1U);
    // Its blocks are its own until somebody says otherwise.
    EXPECT_THAT(dump(), HasSubstr("\"name\":\"n1\""));
    const Argv forget{"agent", "--config", config(2), "--forget"};
    Argv living = forget;
    living.push_back("n3");
    expect_error(lab().node(2).fastnet(living), kConflict, {"n3", "alive"});
    Argv dead = forget;
    dead.push_back("n1");
    EXPECT_TRUE(lab().node(2).fastnet(dead).ok());
    EXPECT_TRUE(wait_until([&] { return dump().find("\"name\":\"n1\"") == std::string::npos; })) << dump();
    expect_error(lab().node(2).fastnet(dead), kNotFound, {"n1"});
    // And it comes back: as if nothing had been.
    agent(1).restart();
    agent(1).wait_ready();
    EXPECT_TRUE(wait_until([&] { return remote_endpoints(2) == 1; })) << agent(1).log();
}

TEST_F(Cluster, WithoutEtcdTrafficAndLocalAttachGoOn) {
    start_all();
    create(1);
    wait_network();
    const std::string one = attach(1, "c1");
    attach(2, "c2");
    expect_reach(2, "c2", one);
    Stream stream{lab().node(2).at("c2"), one};
    etcd().kill(0);
    EXPECT_TRUE(wait_until([&] { return is_cut_off(1) && is_cut_off(2); }, Millis{15'000})) << state(1);
    const std::string later = attach(1, "later");
    EXPECT_TRUE(wait_until([&] { return pings(1, "c1", later); }));
    EXPECT_EQ(remote_endpoints(2), 1U);
    etcd().restart(0);
    agent(2).wait_ready(Millis{15'000});
    expect_reach(2, "c2", later);
    EXPECT_NO_LOSS(stream);
}

TEST_F(Cluster, AWipedEtcdIsFilledAgainWithoutLoss) {
    start_all();
    create(1);
    wait_network();
    const std::string one = attach(1, "c1");
    attach(2, "c2");
    expect_reach(2, "c2", one);
    const auto keys = [&] {
        std::vector<std::string> found;
        std::istringstream lines{etcd().etcdctl({"get", "--prefix", "/", "--keys-only"}).out};
        for (std::string line; std::getline(lines, line);)
            if (!line.empty()) found.push_back(line);
        return found;
    };
    ASSERT_TRUE(wait_until([&] { return remote_endpoints(3) == 2; }));
    const auto before = keys();
    Stream stream{lab().node(2).at("c2"), one};
    ASSERT_TRUE(etcd().etcdctl({"del", "--prefix", "/"}).ok());
    EXPECT_TRUE(wait_until([&] { return keys() == before; })) << ::testing::PrintToString(keys()) << ::testing::PrintToString(before);
    EXPECT_EQ(remote_endpoints(3), 2U);
    // And one that is another cluster altogether.
    etcd().wipe();
    EXPECT_TRUE(etcd().wait_healthy());
    EXPECT_TRUE(wait_until([&] { return keys() == before; }, Millis{20'000})) << ::testing::PrintToString(keys());
    for (std::size_t number = 1; number <= kOverlayNodes; ++number) agent(number).wait_ready(Millis{15'000});
    EXPECT_EQ(remote_endpoints(3), 2U);
    EXPECT_NO_LOSS(stream);
    const std::string later = attach(1, "later");
    expect_reach(2, "c2", later);
}

TEST_F(Cluster, TwoClustersInOneEtcdDoNotMix) {
    start(1, "/one", "same");
    start(2, "/two", "same");
    agent(1).wait_ready();
    agent(2).wait_ready();
    create(1);
    attach(1, "c1");
    EXPECT_TRUE(wait_until([&] { return dump().find("/one/v1/endpoints/same/") != std::string::npos; }));
    create(2, "blue", {"--subnet", "10.99.0.0/24"});
    attach(2, "c2");
    EXPECT_TRUE(wait_until([&] { return dump().find("/two/v1/endpoints/same/") != std::string::npos; }));
    EXPECT_EQ(remote_endpoints(1), 0U);
    EXPECT_EQ(remote_endpoints(2), 0U);
    EXPECT_TRUE(details(1)["nodes"].empty());
}

TEST_F(Cluster, WhatMakesNoSenseIsRejectedAndSaidSo) {
    start(1);
    start(2);
    agent(1).wait_ready();
    agent(2).wait_ready();
    create(1);
    ASSERT_TRUE(wait_until([&] { return has_network(2); }));
    const std::string one = attach(1, "c1");
    ASSERT_TRUE(wait_until([&] { return remote_endpoints(2) == 1; }));
    const std::string node = details(1)["node"]["uid"];
    const std::string root = "/fastnet/v1/";
    const std::string mine = etcd().etcdctl({"get", "--prefix", root + "endpoints/n1/", "--print-value-only"}).out;
    const json good = json::parse(mine);
    const auto with = [&](const char* name, const json& value) {
        json changed = good;
        changed[name] = value;
        return changed;
    };
    const std::vector<std::pair<std::string, json>> hostile{
        {"endpoints/n1/9001", "no JSON at all"},
        {"endpoints/n1/9002", with("ipv4", "192.0.2.1")},
        {"endpoints/n1/9003", with("ipv4", "10.99.0.1")},
        {"endpoints/n1/9004", with("mac", "ff:ff:ff:ff:ff:ff")},
        {"endpoints/n1/9005", with("uid", std::string(32, '7'))},
        {"endpoints/n1/9006", with("network", std::string(32, '7'))},
        {"endpoints/stranger/1", with("ipv4", "10.99.9.9")},
        {"endpoints/n1/../../x", good},
        {"endpoints/n1/9007", std::string(8000, 'x')},
        {"nodes/evil", {{"uid", std::string(32, '6')}, {"name", "evil"}, {"ipv4", "10.99.0.7"}, {"version", "1"}}},
        {"networks/evil",
         {{"uid", std::string(32, '5')},
          {"name", "evil"},
          {"vni", 1},
          {"subnets", {{{"subnet", "127.0.0.0/8"}, {"gateway", "127.0.0.1"}}}}}},
    };
    for (const auto& [path, value] : hostile) ASSERT_TRUE(put(root + path, value).ok()) << path;
    const auto rejected = [&](std::size_t number) {
        std::size_t count = 0;
        const json known = details(number);
        for (const auto& [reason, many] : known["rejected"].items()) count += many.get<std::size_t>();
        return count;
    };
    // Node 1 takes its own endpoints' rubbish away: what is left are the others.
    EXPECT_TRUE(wait_until([&] { return rejected(2) >= 4; })) << details(2).dump(1);
    for (const char* const key : {"endpoints/stranger/1", "endpoints/n1/../../x", "nodes/evil", "networks/evil"})
        EXPECT_THAT(agent(2).log(), HasSubstr(std::string{"rejected "} + key));
    EXPECT_EQ(remote_endpoints(2), 1U);
    EXPECT_FALSE(has_network(2, "evil"));
    attach(2, "c2");
    expect_reach(2, "c2", one);
}

TEST_F(Cluster, TheSameNameOnBothSidesOfAPartition) {
    start(1);
    start(2);
    agent(1).wait_ready();
    agent(2).wait_ready();
    lab().set_link(2, false);
    EXPECT_TRUE(wait_until([&] { return is_cut_off(2); }, Millis{20'000}));
    create(1, "blue", {"--subnet", "10.99.0.0/20"});
    create(2, "blue", {"--subnet", "10.98.0.0/20"});
    create(1, "red", {"--subnet", "10.97.0.0/20", "--vni", "77"});
    create(2, "red", {"--subnet", "10.97.0.0/20", "--vni", "77"});
    lab().set_link(2, true);
    agent(2).wait_ready(Millis{20'000});
    // With the same arguments they are one; with others node 2's stays its own.
    EXPECT_TRUE(wait_until([&] { return details(2)["networks"] == 1; })) << details(2).dump(1) << agent(2).log();
    EXPECT_TRUE(wait_until([&] { return details(2)["problems"].contains("network blue"); })) << details(2).dump(1);
    EXPECT_THAT(agent(2).log(), HasSubstr("network blue: the cluster has a network of that name with other arguments"));
    const std::string one = attach(1, "r1", {}, "red");
    attach(2, "r2", {}, "red");
    expect_reach(2, "r2", one);
}

TEST_F(Cluster, AgentsRestartInAnyOrderAndNothingChanges) {
    start_all();
    create(1);
    wait_network();
    const std::string one = attach(1, "c1");
    attach(2, "c2");
    attach(3, "c3");
    expect_reach(2, "c2", one);
    EXPECT_TRUE(wait_until([&] { return remote_endpoints(3) == 2; }));
    Stream stream{lab().node(2).at("c2"), one};
    const std::string lease = details(1)["lease"]["id"];
    for (const std::size_t number : {2, 1, 3, 1, 2}) {
        if (number == 3)
            agent(number).stop();
        else
            agent(number).kill();
        agent(number).restart();
        agent(number).wait_ready();
        EXPECT_TRUE(wait_until([&] { return remote_endpoints(number) == 2; })) << number;
    }
    EXPECT_EQ(details(1)["lease"]["id"], lease) << "it goes on with the one it had";
    EXPECT_NO_LOSS(stream);
}

TEST_F(Cluster, WhatWasCompactedWhileANodeWasCutOffIsReadAnew) {
    start(1);
    start(2);
    agent(1).wait_ready();
    agent(2).wait_ready();
    create(1);
    ASSERT_TRUE(wait_until([&] { return has_network(2); }));
    attach(1, "c1");
    ASSERT_TRUE(wait_until([&] { return remote_endpoints(2) == 1; }));
    lab().set_link(2, false);
    EXPECT_TRUE(wait_until([&] { return is_cut_off(2); }, Millis{20'000}));
    EXPECT_TRUE(lab().node(1).fastnet({"detach", "c1"}).ok());
    attach(1, "c3");
    const std::string four = attach(1, "c4");
    EXPECT_TRUE(wait_until([&] { return details(1)["endpoints"]["own"] == 2; }));
    const json status = json::parse(etcd().etcdctl({"endpoint", "status", "-w", "json"}).out);
    const auto revision = status[0]["Status"]["header"]["revision"].get<std::int64_t>();
    ASSERT_TRUE(etcd().etcdctl({"compact", std::to_string(revision)}).ok());
    EXPECT_EQ(remote_endpoints(2), 1U) << "cut off: nothing is removed";
    lab().set_link(2, true);
    agent(2).wait_ready(Millis{20'000});
    EXPECT_TRUE(wait_until([&] { return remote_endpoints(2) == 2; }, Millis{15'000})) << agent(2).log();
    attach(2, "c2");
    expect_reach(2, "c2", four);
}

TEST_F(Cluster, ANameThatAnotherNodeHasIsNotTaken) {
    start(1, "/fastnet", "same");
    agent(1).wait_ready();
    start(2, "/fastnet", "same");
    EXPECT_TRUE(wait_until([&] { return state(2).find("is held by another node") != std::string::npos; })) << state(2);
    agent(1).kill();
    agent(2).wait_ready(Millis{15'000});
}

TEST_F(Cluster, ANodeThatIsCleanedUpLeavesTheCluster) {
    start(1);
    start(2);
    agent(1).wait_ready();
    agent(2).wait_ready();
    create(1);
    ASSERT_TRUE(wait_until([&] { return has_network(2); }));
    attach(1, "c1");
    ASSERT_TRUE(wait_until([&] { return remote_endpoints(2) == 1; }));
    EXPECT_TRUE(lab().node(1).fastnet({"cleanup"}).ok());
    EXPECT_TRUE(wait_until([&] { return remote_endpoints(2) == 0 && details(2)["nodes"].empty(); })) << agent(1).log();
    EXPECT_TRUE(wait_until([&] { return dump().find("\"name\":\"n1\"") == std::string::npos; })) << dump();
}

}  // namespace
}  // namespace fastnet::test
