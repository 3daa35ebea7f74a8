#include "userspace/cluster/remote_plan.h"

#include <gtest/gtest.h>

#include "tests/unit/cluster/cluster_builder.h"

namespace fastnet::cluster {
namespace {

using namespace std::chrono_literals;
using test::blue;
using test::FakeEtcd;
using test::here_a;
using test::ip;
using test::joined;
using test::prefix;
using test::uid;

constexpr auto kGrace = 35s;

/// Node a follows b (10.9.0.0/28) and c (10.9.0.16/28), with an endpoint each.
class RemotePlanTest : public ::testing::Test {
protected:
    RemotePlanTest() {
        plan.set_here(etcd.mirror, here_a());
        touch(etcd.wipe());
        add_node("b", '2', "192.0.2.2", "10.9.0.0/28");
        add_node("c", '3', "192.0.2.3", "10.9.0.16/28");
        plan.start(etcd.mirror, {});
        touch(etcd.add_endpoint("b", '2', 1, "10.9.0.2"));
        touch(etcd.add_endpoint("c", '3', 1, "10.9.0.18"));
        settle();
    }
    void add_node(const char* name, char id, const char* address, const char* block) {
        etcd.add_node(name, id, address);
        etcd.add_block(name, id, block);
    }
    void touch(const Touched& touched) { plan.touch(touched); }
    RemoteChange next(bool wiped = false, std::size_t most = 5000) {
        return plan.next(etcd.mirror, now, wiped ? std::optional{now + kGrace} : std::nullopt, most);
    }
    RemoteChange settle(bool wiped = false) {
        RemoteChange change = next(wiped);
        plan.done(etcd.mirror, change, {});
        return change;
    }
    static bool empty(const RemoteChange& change) {
        return change.put.empty() && change.drop_refs.empty() && change.put_nodes.empty() && change.drop_nodes.empty();
    }

    /// Claims b's address with another uid.
    static WatchEvent hostile(std::uint32_t id) {
        const std::int64_t revision = 1'000 + id;
        return {false, KeyValue{test::keys().path(EndpointKey{"b", id}), encode(FakeEtcd::endpoint('7', "10.9.0.2")), revision, revision, 1,
                                1, false}};
    }

    FakeEtcd etcd;
    RemotePlan plan{kGrace};
    Time now{1000s};
};

TEST_F(RemotePlanTest, StartsWithEverythingThatIsTaken) {
    EXPECT_EQ(plan.endpoints(), 2U);
    EXPECT_EQ(plan.nodes().size(), 2U);
    EXPECT_TRUE(empty(settle()));
}

TEST_F(RemotePlanTest, OneChangeIsOneEntry) {
    touch(etcd.add_endpoint("b", '2', 2, "10.9.0.3"));
    const RemoteChange change = settle();
    ASSERT_EQ(change.put.size(), 1U);
    EXPECT_EQ(change.put[0].ref, "endpoints/b/2");
    EXPECT_TRUE(change.put_nodes.empty() && change.drop_refs.empty());
    touch(etcd.erase(EndpointKey{"b", 2}));
    EXPECT_EQ(settle().drop_refs, (std::vector<std::string>{"endpoints/b/2"}));
}

TEST_F(RemotePlanTest, OneChangeCostsTheSameAmongAThousand) {
    std::size_t id = 0;
    for (int node = 0; node < 40; ++node) {
        const std::string name = "n" + std::to_string(node);
        etcd.add_node(name, 'd', ("198.51.100." + std::to_string(node + 1)).c_str());
        for (int i = 0; i < 25; ++i) {
            EndpointRecord record = FakeEtcd::endpoint('d', "10.9.0.2");
            record.ipv4.reset();
            record.ipv6 = ip("fd00:9::").plus(static_cast<std::uint64_t>(++id) + 16);
            record.mac = MacAddress{{2, 0, 0, 0, static_cast<std::uint8_t>(id >> 8U), static_cast<std::uint8_t>(id)}};
            etcd.put(EndpointKey{name, static_cast<std::uint32_t>(i + 1)}, encode(record), 1);
        }
    }
    etcd.add_block("n0", 'd', "fd00:9::/88");
    plan.start(etcd.mirror, {});
    settle();
    EXPECT_GE(plan.endpoints(), 1000U);
    const std::size_t before = plan.judged();
    touch(etcd.add_endpoint("b", '2', 2, "10.9.0.3"));
    EXPECT_EQ(settle().put.size(), 1U);
    EXPECT_EQ(plan.judged() - before, 1U);
    touch(etcd.erase(EndpointKey{"b", 2}));
    EXPECT_EQ(settle().drop_refs.size(), 1U);
    EXPECT_EQ(plan.judged() - before, 2U);
}

TEST_F(RemotePlanTest, ADeadNodeGoesWithItsEndpoints) {
    touch(etcd.erase(std::vector<Key>{NodeKey{"b"}, VtepKey{ip("192.0.2.2")}, EndpointKey{"b", 1}}));
    const RemoteChange change = settle();
    EXPECT_EQ(change.drop_nodes, (std::vector<std::string>{"b"}));
    EXPECT_EQ(change.drop_refs, (std::vector<std::string>{"endpoints/b/1"}));
    EXPECT_TRUE(empty(settle()));
    EXPECT_EQ(plan.endpoints(), 1U);
}

TEST_F(RemotePlanTest, ANodeThatMovesTakesItsEndpointsAlong) {
    etcd.put(VtepKey{ip("192.0.2.22")}, encode(VtepRecord{uid('2'), "b"}), 1);
    touch(etcd.put(NodeKey{"b"}, encode(NodeRecord{uid('2'), "b", ip("192.0.2.22"), std::nullopt, "1"}), 1));
    const RemoteChange change = settle();
    ASSERT_EQ(change.put.size(), 1U);
    EXPECT_EQ(change.put[0].peer, ip("192.0.2.22"));
    EXPECT_EQ(change.put_nodes.size(), 1U);
    EXPECT_TRUE(change.drop_refs.empty());
}

TEST_F(RemotePlanTest, WhatGoesIsGoneBeforeAnythingComes) {
    etcd.erase(EndpointKey{"b", 1});
    touch(etcd.erase(EndpointKey{"c", 1}));
    touch(etcd.add_endpoint("b", '2', 2, "10.9.0.2"));
    touch({{}, {{"b", 1}}});
    RemoteChange change = next(false, 1);
    EXPECT_EQ(change.drop_refs.size(), 1U);
    EXPECT_TRUE(change.put.empty());
    plan.done(etcd.mirror, change, {});
    change = next(false, 1);
    EXPECT_EQ(change.drop_refs.size(), 1U);
    EXPECT_TRUE(change.put.empty());
    plan.done(etcd.mirror, change, {});
    EXPECT_EQ(next(false, 1).put.size(), 1U);
}

TEST_F(RemotePlanTest, WhatIsOnRecordAndNotInEtcdGoes) {
    SharedState state;
    state.nodes = {{"old", uid('9'), ip("192.0.2.9"), std::nullopt}};
    state.remotes = {
        {"endpoints/old/1", "old", "web", uid('b'), ip("10.9.0.99"), std::nullopt, mac_for(ip("10.9.0.99")), ip("192.0.2.9")},
        {"of an older build", "old", "web", uid('b'), ip("10.9.0.98"), std::nullopt, mac_for(ip("10.9.0.98")), ip("192.0.2.9")}};
    plan.start(etcd.mirror, state);
    const RemoteChange change = settle();
    EXPECT_EQ(change.drop_refs.size(), 2U);
    EXPECT_EQ(change.drop_nodes, (std::vector<std::string>{"old"}));
    EXPECT_EQ(change.put.size(), 2U);
}

TEST_F(RemotePlanTest, ARestartChangesNothingThatIsRight) {
    SharedState state;
    for (const auto& [name, node] : plan.nodes()) state.nodes.push_back(node);
    for (const char* const node : {"b", "c"}) state.remotes.push_back(judge_endpoint(etcd.mirror, here_a(), {node, 1}).spec);
    RemotePlan again{kGrace};
    again.set_here(etcd.mirror, here_a());
    again.start(etcd.mirror, state);
    EXPECT_TRUE(empty(again.next(etcd.mirror, now, std::nullopt, 1000)));
}

TEST_F(RemotePlanTest, AfterAWipeRemovalsWait) {
    touch(etcd.wipe());
    EXPECT_TRUE(empty(settle(true)));
    EXPECT_EQ(plan.kept(), 4U);
    EXPECT_EQ(plan.deadline(), now + kGrace);
    now += kGrace - 1s;
    EXPECT_TRUE(empty(settle()));
    add_node("b", '2', "192.0.2.2", "10.9.0.0/28");
    touch({{"b"}, {}});
    touch(etcd.add_endpoint("b", '2', 1, "10.9.0.2"));
    EXPECT_TRUE(empty(settle())) << "b is back as it was";
    now += 2s;
    const RemoteChange change = settle();
    EXPECT_EQ(change.drop_refs, (std::vector<std::string>{"endpoints/c/1"}));
    EXPECT_EQ(change.drop_nodes, (std::vector<std::string>{"c"}));
    EXPECT_EQ(plan.kept(), 0U);
}

TEST_F(RemotePlanTest, AfterAWipeWhatComesIsAppliedAtOnceAndTakesTheAddress) {
    touch(etcd.wipe());
    settle(true);
    add_node("b", '2', "192.0.2.2", "10.9.0.0/28");
    touch({{"b"}, {}});
    touch(etcd.add_endpoint("b", '2', 9, "10.9.0.2"));  // under another id
    const RemoteChange change = settle(true);
    EXPECT_EQ(change.drop_refs, (std::vector<std::string>{"endpoints/b/1"}));
    ASSERT_EQ(change.put.size(), 1U);
    EXPECT_EQ(change.put[0].ref, "endpoints/b/9");
}

TEST_F(RemotePlanTest, AnEndpointWhoseBlockVanishesStaysForAWhile) {
    touch(etcd.erase(BlockKey{uid('b'), prefix("10.9.0.0/28")}));
    EXPECT_TRUE(empty(settle()));
    touch(etcd.add_block("b", '2', "10.9.0.0/28"));
    EXPECT_TRUE(empty(settle()));
    EXPECT_FALSE(plan.deadline());
    touch(etcd.erase(BlockKey{uid('b'), prefix("10.9.0.0/28")}));
    settle();
    now += kGrace;
    EXPECT_EQ(settle().drop_refs.size(), 1U);
}

TEST_F(RemotePlanTest, AnEndpointThatIsKeptGoesWithItsKey) {
    touch(etcd.erase(BlockKey{uid('b'), prefix("10.9.0.0/28")}));
    EXPECT_TRUE(empty(settle()));
    touch(etcd.erase(EndpointKey{"b", 1}));
    EXPECT_EQ(settle().drop_refs.size(), 1U);
}

TEST_F(RemotePlanTest, ABlockThatSomebodyElseGetsEndsItAtOnce) {
    touch(etcd.add_block("c", '3', "10.9.0.0/28"));
    EXPECT_EQ(settle().drop_refs, (std::vector<std::string>{"endpoints/b/1"}));
}

TEST_F(RemotePlanTest, TheNextClaimantGetsAnAddressThatIsFree) {
    touch(etcd.add_endpoint("b", '2', 2, "10.9.0.2", "02:42:00:00:00:02"));
    EXPECT_TRUE(empty(settle()));
    ASSERT_EQ(plan.take_refusals().size(), 1U);
    touch(etcd.erase(EndpointKey{"b", 1}));
    const RemoteChange change = settle();
    EXPECT_EQ(change.drop_refs, (std::vector<std::string>{"endpoints/b/1"}));
    ASSERT_EQ(change.put.size(), 1U);
    EXPECT_EQ(change.put[0].ref, "endpoints/b/2");
}

TEST_F(RemotePlanTest, AnOlderClaimantThatBecomesRightfulTakesTheAddressBack) {
    touch(etcd.put(EndpointKey{"b", 3}, encode(FakeEtcd::endpoint('7', "10.9.0.5"))));  // wrong uid
    touch(etcd.add_endpoint("b", '2', 4, "10.9.0.5", "02:42:00:00:00:04"));
    EXPECT_EQ(settle().put.size(), 1U);
    touch(etcd.add_endpoint("b", '2', 3, "10.9.0.5"));  // its key is older
    const RemoteChange change = settle();
    EXPECT_EQ(change.drop_refs, (std::vector<std::string>{"endpoints/b/4"}));
    ASSERT_EQ(change.put.size(), 1U);
    EXPECT_EQ(change.put[0].ref, "endpoints/b/3");
}

TEST_F(RemotePlanTest, TheOlderKeyHasAnAddressOrMacThatTwoClaim) {
    touch(etcd.add_endpoint("c", '3', 7, "10.9.0.19", "02:42:00:00:00:01"));
    touch(etcd.add_endpoint("b", '2', 7, "10.9.0.3", "02:42:00:00:00:01"));  // the MAC; on another node
    touch(etcd.add_endpoint("b", '2', 8, "10.9.0.2", "02:42:00:00:00:02"));  // the address
    const RemoteChange change = settle();
    ASSERT_EQ(change.put.size(), 1U);
    EXPECT_EQ(change.put[0].ref, "endpoints/c/7");
    std::map<std::string, Reason> reasons;
    for (const Refusal& refusal : plan.take_refusals()) reasons[refusal.what] = refusal.reason;
    EXPECT_EQ(reasons, (std::map<std::string, Reason>{{"endpoints/b/7", Reason::kTakenMac}, {"endpoints/b/8", Reason::kTakenAddress}}));
    // Another address: both can be had.
    touch(etcd.add_endpoint("b", '2', 8, "10.9.0.4", "02:42:00:00:00:02"));
    EXPECT_EQ(settle().put.size(), 1U);
}

TEST_F(RemotePlanTest, ManyClaimsWithoutARightCostTheirNumber) {
    // Twenty thousand would take minutes if each were judged for each.
    constexpr std::uint32_t kMany = 20'000;
    const std::size_t before = plan.judged();
    for (std::uint32_t id = 10; id < 10 + kMany; ++id) touch(etcd.mirror.apply({hostile(id)}, 1'000 + id));
    EXPECT_TRUE(empty(settle()));
    EXPECT_EQ(plan.judged() - before, kMany);
    // One more costs one more, though they all claim the same.
    const std::size_t after = plan.judged();
    touch(etcd.mirror.apply({hostile(10 + kMany)}, 1'010 + kMany));
    EXPECT_TRUE(empty(settle()));
    EXPECT_EQ(plan.judged() - after, 1U);
    touch(etcd.mirror.apply({{true, KeyValue{test::keys().path(EndpointKey{"b", 1}), "", 0, 1'011 + kMany, 0, 0, false}}}, 1'011 + kMany));
    EXPECT_EQ(settle().drop_refs.size(), 1U) << "nor does its end";
    EXPECT_EQ(plan.judged() - after, 2U);
}

TEST_F(RemotePlanTest, AThousandClaimsOfOneAddressCostNoMoreThanTheirNumber) {
    const std::size_t before = plan.judged();
    for (std::uint32_t id = 10; id < 1010; ++id) touch(etcd.add_endpoint("b", '2', id, "10.9.0.2", "02:42:00:00:00:07"));
    EXPECT_TRUE(empty(settle()));
    EXPECT_LE(plan.judged() - before, 2100U);
}

TEST_F(RemotePlanTest, WhatThisNodeRefusesIsTriedAgainWhenItIsAsked) {
    touch(etcd.add_endpoint("b", '2', 2, "10.9.0.3"));
    const RemoteChange change = next();
    RemoteOutcome outcome;
    outcome.rejected = {{"endpoints/b/2", "MAC address is taken"}};
    plan.done(etcd.mirror, change, outcome);
    const std::vector<Refusal> refusals = plan.take_refusals();
    ASSERT_EQ(refusals.size(), 1U);
    EXPECT_EQ(refusals[0].reason, Reason::kRefusedHere);
    EXPECT_TRUE(empty(settle()));
    plan.retry_refused();
    EXPECT_EQ(settle().put.size(), 1U);
}

TEST_F(RemotePlanTest, ANetworkThatComesBringsItsEndpoints) {
    Here without = here_a();
    without.networks.clear();
    plan.set_here(etcd.mirror, without);
    EXPECT_TRUE(empty(settle())) << "they went from this node's record with the network";
    EXPECT_EQ(plan.endpoints(), 0U);
    plan.set_here(etcd.mirror, here_a());
    EXPECT_EQ(settle().put.size(), 2U);
}

TEST_F(RemotePlanTest, OwnEntriesAreNobodyElses) {
    etcd.add_node("a", 'a', "192.0.2.1");
    etcd.add_block("a", 'a', "10.9.0.32/28");
    touch(etcd.add_endpoint("a", 'a', 1, "10.9.0.34"));
    touch({{"a"}, {}});
    EXPECT_TRUE(empty(settle()));
    EXPECT_TRUE(plan.take_refusals().empty());
}

TEST_F(RemotePlanTest, ARefusalSaysWhatAndWhy) {
    touch(etcd.add_endpoint("b", '2', 2, "10.9.0.20"));
    settle();
    const std::vector<Refusal> refusals = plan.take_refusals();
    ASSERT_EQ(refusals.size(), 1U);
    EXPECT_EQ(refusals[0].what, "endpoints/b/2");
    EXPECT_EQ(refusals[0].revision, etcd.revision);
    EXPECT_EQ(refusals[0].reason, Reason::kOutsideBlock);
    EXPECT_NE(refusals[0].why.find("node 'c'"), std::string::npos) << refusals[0].why;
}

}  // namespace
}  // namespace fastnet::cluster
