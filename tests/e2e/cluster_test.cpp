// Several nodes and one etcd: what one node has, the others get; and what happens when etcd, a node or the wire between them does not
// answer, or when somebody writes nonsense.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <set>
#include <sstream>

#include "tests/e2e/cluster_fixture.h"

namespace fastnet::test {
namespace {

using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;
using nlohmann::json;

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
    EXPECT_TRUE(wait_until([&] { return dump().find("/one/v2/endpoints/same/") != std::string::npos; }));
    create(2, "blue", {"--subnet", "10.99.0.0/24"});
    attach(2, "c2");
    EXPECT_TRUE(wait_until([&] { return dump().find("/two/v2/endpoints/same/") != std::string::npos; }));
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
    const std::string root = "/fastnet/v2/";
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

TEST_F(Cluster, ANodeThatIsRenamedLeavesNothingUnderItsOldName) {
    start_all();
    create(1);
    wait_network();
    const std::string ip = attach(1, "c1");
    attach(2, "c2");
    expect_reach(2, "c2", ip);
    agent(1).stop();
    start(1, "/fastnet", "other");
    agent(1).wait_ready();
    EXPECT_TRUE(wait_until([&] { return dump().find("/fastnet/v2/endpoints/other/") != std::string::npos; }));
    EXPECT_EQ(dump().find("/fastnet/v2/nodes/n1\n"), std::string::npos);
    expect_reach(2, "c2", ip);
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
