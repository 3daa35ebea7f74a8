#include "userspace/cluster/own_plan.h"

#include <gtest/gtest.h>

#include "tests/unit/cluster/cluster_builder.h"

namespace fastnet::cluster {
namespace {

using test::blue;
using test::FakeEtcd;
using test::ip;
using test::joined;
using test::keys;
using test::prefix;
using test::self_a;
using test::uid;

constexpr std::int64_t kLease = 77;

Endpoint endpoint(std::uint32_t id, const char* address) {
    Endpoint one;
    one.id = id;
    one.name = "web" + std::to_string(id);
    one.state = EndpointState::kReady;
    one.ipv4 = IpPrefix{ip(address), 20};
    one.mac = mac_for(ip(address));
    return one;
}

template <typename Step, typename Steps>
std::vector<Step> only(const Steps& steps) {
    std::vector<Step> found;
    for (const auto& step : steps)
        if (const auto* const one = std::get_if<Step>(&step)) found.push_back(*one);
    return found;
}

class OwnPlan : public ::testing::Test {
protected:
    void register_self() {
        const Registration registration = plan_registration(etcd.mirror, self, kLease);
        ASSERT_TRUE(registration.txn);
        ASSERT_TRUE(etcd.run(*registration.txn));
    }
    /// blue is shared here and in etcd, with one block.
    void share_blue() {
        etcd.put(GenerationKey{}, self.uid);
        etcd.put(NetworkKey{"blue"}, encode(blue()));
        etcd.add_block("a", 'a', "10.9.0.0/28");
        etcd.add_block("a", 'a', "fd00:9::/88");
        OwnNetwork network;
        network.network = joined(blue());
        network.blocks = {{prefix("10.9.0.0/28"), 14, 14}, {prefix("fd00:9::/88"), 1000, 1000}};
        own.shared = {network};
    }
    bool wiped() const {
        const SignsOfWipe signs = signs_of_wipe(etcd.mirror, own);
        return signs.networks || !signs.blocks.empty();
    }
    std::vector<NetworkStep> networks(bool may_restore = false) const { return plan_networks(etcd.mirror, self, own, 99, may_restore); }
    std::vector<BlockStep> blocks(bool wiped = false) const { return plan_blocks(etcd.mirror, self, own, wiped); }

    FakeEtcd etcd;
    Self self = self_a();
    OwnSide own;
};

// --- registration ---------------------------------------------------------------------------------------------------

TEST_F(OwnPlan, NameAndAddressAreClaimedTogether) {
    self.ipv6 = ip("2001:db8::1");
    register_self();
    EXPECT_EQ(etcd.mirror.node("a")->record.ipv6, ip("2001:db8::1"));
    EXPECT_EQ(etcd.mirror.node("a")->lease, kLease);
    EXPECT_EQ(etcd.mirror.vtep(ip("192.0.2.1"))->record, (VtepRecord{uid('a'), "a"}));
    EXPECT_NE(etcd.mirror.vtep(ip("2001:db8::1")), nullptr);
    EXPECT_TRUE(plan_registration(etcd.mirror, self, kLease).done());
}

TEST_F(OwnPlan, ANameThatAnotherNodeHoldsIsNotTaken) {
    etcd.add_node("a", '9', "192.0.2.9");
    const Registration registration = plan_registration(etcd.mirror, self, kLease);
    EXPECT_FALSE(registration.txn);
    EXPECT_NE(registration.conflict.find(uid('9')), std::string::npos) << registration.conflict;
}

TEST_F(OwnPlan, AnAddressThatAnotherNodeHoldsIsNotTaken) {
    etcd.add_node("x", '9', "192.0.2.1");
    const Registration registration = plan_registration(etcd.mirror, self, kLease);
    EXPECT_FALSE(registration.txn);
    EXPECT_NE(registration.conflict.find("'x'"), std::string::npos) << registration.conflict;
}

TEST_F(OwnPlan, AUidThatAnotherNodeLivesWithIsNotUsed) {
    etcd.add_node("twin", 'a', "192.0.2.9");
    const Registration registration = plan_registration(etcd.mirror, self, kLease);
    EXPECT_FALSE(registration.txn);
    EXPECT_NE(registration.conflict.find("'twin'"), std::string::npos) << registration.conflict;
    EXPECT_NE(registration.conflict.find("machine-id"), std::string::npos) << "what to do";
    etcd.erase({Key{NodeKey{"twin"}}, Key{VtepKey{ip("192.0.2.9")}}});
    register_self();
}

TEST_F(OwnPlan, WhoeverIsFasterHasTheName) {
    const Registration registration = plan_registration(etcd.mirror, self, kLease);
    etcd.add_node("a", '9', "192.0.2.9");
    EXPECT_FALSE(etcd.run(*registration.txn));
}

TEST_F(OwnPlan, ANewLeaseOrAddressIsWritten) {
    register_self();
    ASSERT_TRUE(plan_registration(etcd.mirror, self, kLease + 1).txn);
    self.ipv4 = ip("192.0.2.11");
    register_self();
    EXPECT_EQ(etcd.mirror.vtep(ip("192.0.2.1")), nullptr) << "the old address is anybody's";
    EXPECT_TRUE(plan_registration(etcd.mirror, self, kLease).done());
}

// --- endpoints ------------------------------------------------------------------------------------------------------

TEST_F(OwnPlan, EndpointsAreWrittenWhereTheyDiffer) {
    register_self();
    share_blue();
    own.shared[0].endpoints = {endpoint(1, "10.9.0.2"), endpoint(2, "10.9.0.3")};
    auto txns = plan_endpoints(etcd.mirror, self, kLease, own);
    ASSERT_EQ(txns.size(), 1U);
    EXPECT_EQ(txns[0].then.size(), 2U);
    EXPECT_TRUE(etcd.run(txns[0]));
    EXPECT_TRUE(plan_endpoints(etcd.mirror, self, kLease, own).empty());
    own.shared[0].endpoints = {endpoint(2, "10.9.0.4"), endpoint(3, "10.9.0.2")};
    txns = plan_endpoints(etcd.mirror, self, kLease, own);
    ASSERT_EQ(txns.size(), 1U);
    EXPECT_EQ(txns[0].then.size(), 3U);
    EXPECT_EQ(txns[0].then[0].kind, TxnOp::Kind::kDelete);
    EXPECT_TRUE(etcd.run(txns[0]));
    EXPECT_EQ(etcd.mirror.endpoint({"a", 1}), nullptr);
    EXPECT_EQ(etcd.mirror.endpoint({"a", 2})->record.ipv4, ip("10.9.0.4"));
}

TEST_F(OwnPlan, EndpointsComeOnTheLeaseThatLives) {
    register_self();
    share_blue();
    own.shared[0].endpoints = {endpoint(1, "10.9.0.2")};
    EXPECT_TRUE(etcd.run(plan_endpoints(etcd.mirror, self, kLease - 1, own)[0]));
    EXPECT_EQ(plan_endpoints(etcd.mirror, self, kLease, own).size(), 1U);
}

TEST_F(OwnPlan, ManyEndpointsAreSeveralTransactions) {
    register_self();
    share_blue();
    for (std::uint32_t id = 1; id <= 25; ++id) own.shared[0].endpoints.push_back(endpoint(id, "10.9.0.2"));
    const auto txns = plan_endpoints(etcd.mirror, self, kLease, own, 10);
    ASSERT_EQ(txns.size(), 3U);
    EXPECT_EQ(txns[2].then.size(), 5U);
}

TEST_F(OwnPlan, WhoLostItsNameWritesNothing) {
    register_self();
    share_blue();
    own.shared[0].endpoints = {endpoint(1, "10.9.0.2")};
    const auto txns = plan_endpoints(etcd.mirror, self, kLease, own);
    etcd.add_node("a", '9', "192.0.2.9");
    EXPECT_FALSE(etcd.run(txns[0]));
}

/// And nothing more is given out of the block, or two nodes would give the same address.
TEST_F(OwnPlan, AnEndpointInALostBlockIsNotShownAndTheBlockIsGivenUp) {
    register_self();
    share_blue();
    own.shared[0].endpoints = {endpoint(1, "10.9.0.2")};
    etcd.add_block("b", '2', "10.9.0.0/28");
    EXPECT_TRUE(plan_endpoints(etcd.mirror, self, kLease, own).empty());
    const auto lost = only<LoseBlock>(blocks());
    ASSERT_EQ(lost.size(), 1U);
    EXPECT_EQ(lost[0].prefix, IpPrefix::parse("10.9.0.0/28").value());
    EXPECT_NE(lost[0].why.find("is that of node 'b' by now"), std::string::npos) << lost[0].why;
}

// --- networks -------------------------------------------------------------------------------------------------------

TEST_F(OwnPlan, ANewNetworkIsSharedWithTheBlocksThatItsEndpointsAreIn) {
    register_self();
    OwnNetwork network;
    network.network = network_from(blue());
    network.endpoints = {endpoint(1, "10.9.0.2"), endpoint(2, "10.9.0.3"), endpoint(3, "10.9.0.40")};
    own.to_share = {network};
    const auto steps = only<ShareNetwork>(networks());
    ASSERT_EQ(steps.size(), 1U);
    ASSERT_TRUE(steps[0].txn);
    EXPECT_EQ(steps[0].blocks, (std::vector<IpPrefix>{prefix("10.9.0.0/28"), prefix("10.9.0.32/28")}));
    EXPECT_TRUE(etcd.run(*steps[0].txn));
    EXPECT_TRUE(same_arguments(etcd.mirror.network("blue")->record, blue()));
    EXPECT_EQ(etcd.mirror.block({steps[0].uid, prefix("10.9.0.32/28")})->record.uid, self.uid);
    EXPECT_NE(etcd.mirror.mod_revision(GenerationKey{}), 0);
    // Killed before its own database knew: it goes on with what is there.
    const auto again = only<ShareNetwork>(networks());
    ASSERT_EQ(again.size(), 1U);
    EXPECT_EQ(again[0].uid, steps[0].uid);
    EXPECT_FALSE(again[0].txn);
}

TEST_F(OwnPlan, AnEndpointThatCameWhileItsNetworkWasSharedGetsItsBlock) {
    register_self();
    share_blue();
    own.shared[0].endpoints = {endpoint(3, "10.9.5.3")};
    EXPECT_TRUE(plan_endpoints(etcd.mirror, self, kLease, own).empty());
    EXPECT_TRUE(only<TakeBlock>(blocks(true)).empty()) << "whose it is may not be written yet";
    const auto taken = only<TakeBlock>(blocks());
    ASSERT_EQ(taken.size(), 1U);
    EXPECT_EQ(taken[0].prefix, prefix("10.9.5.0/28"));
    ASSERT_TRUE(taken[0].txn && etcd.run(*taken[0].txn));
    own.shared[0].blocks.push_back({prefix("10.9.5.0/28"), 16, 15});
    EXPECT_TRUE(only<TakeBlock>(blocks()).empty());
    EXPECT_EQ(plan_endpoints(etcd.mirror, self, kLease, own).size(), 1U);
}

TEST_F(OwnPlan, AnEndpointInSomebodyElsesBlockIsAProblem) {
    register_self();
    share_blue();
    own.shared[0].endpoints = {endpoint(3, "10.9.5.3")};
    etcd.add_block("b", 'b', "10.9.5.0/28");
    const auto problems = only<BlockProblem>(blocks());
    ASSERT_EQ(problems.size(), 1U);
    EXPECT_NE(problems[0].why.find("node 'b'"), std::string::npos) << problems[0].why;
    EXPECT_TRUE(only<TakeBlock>(blocks()).empty());
    // Nor what cannot be read: somebody wrote it.
    etcd.put(BlockKey{uid('b'), prefix("10.9.5.0/28")}, "{}");
    EXPECT_EQ(only<BlockProblem>(blocks()).size(), 1U);
    EXPECT_TRUE(only<TakeBlock>(blocks()).empty());
}

TEST_F(OwnPlan, TwoNetworksAtOnceTakeTurns) {
    register_self();
    OwnNetwork network;
    network.network = network_from(blue());
    own.to_share = {network, network};
    own.to_share[1].network.name = "red";
    own.to_share[1].network.vni = 43;
    own.to_share[1].network.subnets = {prefix("10.10.0.0/20")};
    own.to_share[1].network.gateways = {ip("10.10.0.1")};
    EXPECT_EQ(networks().size(), 1U);
    EXPECT_TRUE(etcd.run(*only<ShareNetwork>(networks())[0].txn));
}

TEST_F(OwnPlan, ANetworkWithTheNameOfAnotherStaysHere) {
    register_self();
    etcd.put(NetworkKey{"blue"}, encode(blue()));
    OwnNetwork network;
    network.network = network_from(blue());
    network.network.vni = 43;
    own.to_share = {network};
    ASSERT_EQ(networks().size(), 1U);
    const auto problems = only<NetworkProblem>(networks());
    ASSERT_EQ(problems.size(), 1U);
    EXPECT_NE(problems[0].why.find("other arguments"), std::string::npos);
}

TEST_F(OwnPlan, TheSameNetworkMadeOnBothSidesOfAPartitionBecomesOne) {
    register_self();
    etcd.put(NetworkKey{"blue"}, encode(blue()));
    OwnNetwork network;
    network.network = network_from(blue());
    network.endpoints = {endpoint(1, "10.9.0.2")};
    own.to_share = {network};
    const auto steps = only<ShareNetwork>(networks());
    ASSERT_EQ(steps.size(), 1U);
    EXPECT_EQ(steps[0].uid, blue().uid);
    ASSERT_TRUE(steps[0].txn);
    EXPECT_TRUE(etcd.run(*steps[0].txn));
    EXPECT_EQ(etcd.mirror.block({blue().uid, prefix("10.9.0.0/28")})->record.uid, self.uid);
    EXPECT_EQ(etcd.mirror.network("blue")->record, blue());
}

TEST_F(OwnPlan, TheSameNetworkStaysHereIfAnotherNodeHasTheBlockOfAnEndpoint) {
    register_self();
    etcd.put(NetworkKey{"blue"}, encode(blue()));
    etcd.add_block("b", '2', "10.9.0.0/28");
    OwnNetwork network;
    network.network = network_from(blue());
    network.endpoints = {endpoint(1, "10.9.0.2")};
    own.to_share = {network};
    const auto problems = only<NetworkProblem>(networks());
    ASSERT_EQ(problems.size(), 1U);
    EXPECT_NE(problems[0].why.find("'b'"), std::string::npos) << problems[0].why;
}

TEST_F(OwnPlan, ATakenVniOrSubnetKeepsANetworkHere) {
    register_self();
    etcd.put(NetworkKey{"blue"}, encode(blue()));
    OwnNetwork network;
    network.network = network_from(blue());
    network.network.name = "red";
    own.to_share = {network};
    EXPECT_NE(only<NetworkProblem>(networks())[0].why.find("VNI 42"), std::string::npos);
    own.to_share[0].network.vni = 43;
    EXPECT_NE(only<NetworkProblem>(networks())[0].why.find("overlaps"), std::string::npos);
    own.to_share[0].network.subnets = {prefix("10.9.16.0/20")};
    own.to_share[0].network.gateways = {ip("10.9.16.1")};
    EXPECT_EQ(only<ShareNetwork>(networks()).size(), 1U);
}

TEST_F(OwnPlan, OfTwoNodesThatShareAtOnceOneWins) {
    register_self();
    OwnNetwork network;
    network.network = network_from(blue());
    own.to_share = {network};
    const auto steps = only<ShareNetwork>(networks());
    NetworkRecord red = blue();  // another name, the same VNI
    red.name = "red";
    red.uid = uid('c');
    etcd.put(NetworkKey{"red"}, encode(red));
    etcd.put(GenerationKey{}, uid('9'));
    EXPECT_FALSE(etcd.run(*steps[0].txn));
    EXPECT_EQ(only<NetworkProblem>(networks()).size(), 1U);
}

TEST_F(OwnPlan, NetworksOfOthersAreJoined) {
    register_self();
    etcd.put(NetworkKey{"blue"}, encode(blue()));
    const auto steps = only<JoinNetwork>(networks());
    ASSERT_EQ(steps.size(), 1U);
    EXPECT_EQ(steps[0].record, blue());
}

TEST_F(OwnPlan, AUidUnderTwoNamesIsJoinedOnce) {
    register_self();
    etcd.put(NetworkKey{"blue"}, encode(blue()));
    NetworkRecord other = blue();
    other.name = "red";
    etcd.put(NetworkKey{"red"}, encode(other));
    EXPECT_EQ(only<JoinNetwork>(networks()).size(), 1U);
    EXPECT_EQ(only<NetworkProblem>(networks()).size(), 1U);
}

TEST_F(OwnPlan, WhatASharedNetworkMayChangeIsBroughtUpToDate) {
    register_self();
    share_blue();
    EXPECT_TRUE(networks().empty());
    NetworkRecord changed = blue();
    changed.icc = false;
    etcd.put(NetworkKey{"blue"}, encode(changed));
    EXPECT_EQ(only<JoinNetwork>(networks()).size(), 1U);
    changed.vni = 44;
    etcd.put(NetworkKey{"blue"}, encode(changed));
    EXPECT_EQ(only<NetworkProblem>(networks()).size(), 1U);
}

TEST_F(OwnPlan, ARemovedNetworkIsBuriedOnceAndForgotten) {
    register_self();
    share_blue();
    own.shared.clear();
    own.removed = {{uid('b'), "blue"}};
    EXPECT_TRUE(needs_tombstone(etcd.mirror, own));
    const auto steps = only<BuryNetwork>(networks());
    ASSERT_EQ(steps.size(), 1U);
    ASSERT_EQ(networks().size(), 1U) << "and not joined";
    ASSERT_TRUE(steps[0].txn);
    EXPECT_TRUE(etcd.run(*steps[0].txn));
    EXPECT_TRUE(etcd.mirror.network("blue")->record.removed);
    EXPECT_EQ(etcd.mirror.network("blue")->lease, 99);
    EXPECT_FALSE(needs_tombstone(etcd.mirror, own));
    const auto after = only<BuryNetwork>(networks());
    ASSERT_EQ(after.size(), 1U);
    EXPECT_FALSE(after[0].txn) << "only this node has to forget it";
}

TEST_F(OwnPlan, ATombstoneMakesTheOthersLeave) {
    register_self();
    share_blue();
    NetworkRecord tombstone = blue();
    tombstone.removed = true;
    etcd.put(NetworkKey{"blue"}, encode(tombstone));
    ASSERT_EQ(networks().size(), 1U);
    EXPECT_EQ(only<LeaveNetwork>(networks()).size(), 1U);
    // Made anew by somebody while this node was away.
    NetworkRecord anew = blue();
    anew.uid = uid('c');
    etcd.put(NetworkKey{"blue"}, encode(anew));
    EXPECT_EQ(only<LeaveNetwork>(networks()).size(), 1U);
    EXPECT_EQ(only<JoinNetwork>(networks()).size(), 1U);
}

TEST_F(OwnPlan, ATombstonesNameIsFree) {
    register_self();
    NetworkRecord tombstone = blue();
    tombstone.removed = true;
    etcd.put(NetworkKey{"blue"}, encode(tombstone));
    OwnNetwork network;
    network.network = network_from(blue());
    own.to_share = {network};
    const auto steps = only<ShareNetwork>(networks());
    ASSERT_EQ(steps.size(), 1U);
    EXPECT_NE(steps[0].uid, uid('b'));
    EXPECT_TRUE(etcd.run(*steps[0].txn));
}

// --- wipes ----------------------------------------------------------------------------------------------------------

TEST_F(OwnPlan, WhatVanishedWithoutATombstoneIsPutBack) {
    register_self();
    share_blue();
    EXPECT_FALSE(wiped());
    etcd.wipe();
    EXPECT_EQ(signs_of_wipe(etcd.mirror, own).blocks.size(), 2U);
    EXPECT_TRUE(signs_of_wipe(etcd.mirror, own).networks);
    register_self();
    const auto restored = only<RestoreNetwork>(networks(true));
    ASSERT_EQ(restored.size(), 1U);
    EXPECT_TRUE(etcd.run(restored[0].txn));
    EXPECT_EQ(etcd.mirror.network("blue")->record, blue());
    const auto put_back = only<RestoreBlock>(blocks(true));
    ASSERT_EQ(put_back.size(), 2U);
    for (const RestoreBlock& one : put_back) EXPECT_TRUE(etcd.run(one.txn));
    EXPECT_TRUE(networks(true).empty());
    EXPECT_TRUE(blocks(true).empty());
    EXPECT_FALSE(wiped());
}

TEST_F(OwnPlan, ANetworkWhoseTombstoneIsGoneIsLeftAndNotPutBack) {
    register_self();
    share_blue();
    etcd.erase(NetworkKey{"blue"});  // this node was off for more than a day: its blocks and the generation are as it knows them
    EXPECT_FALSE(wiped());
    ASSERT_EQ(networks(false).size(), 1U);
    const auto left = only<LeaveNetwork>(networks(false));
    ASSERT_EQ(left.size(), 1U);
    EXPECT_EQ(left[0].uid, uid('b'));
    EXPECT_EQ(only<RestoreNetwork>(networks(true)).size(), 1U);
    own.shared.clear();  // its blocks go back then
    EXPECT_EQ(only<ReturnBlock>(blocks()).size(), 2U);
}

TEST_F(OwnPlan, AForgottenNodesBlocksAreMissingAndItsNetworksAreNot) {
    register_self();
    share_blue();
    etcd.erase({NetworkKey{"blue"}, BlockKey{uid('b'), prefix("10.9.0.0/28")}});  // `--forget`, and a tombstone that is over
    EXPECT_EQ(signs_of_wipe(etcd.mirror, own).blocks.size(), 1U);
    EXPECT_FALSE(signs_of_wipe(etcd.mirror, own).networks);
}

// --- what cannot be read --------------------------------------------------------------------------------------------

TEST_F(OwnPlan, ANameOrAddressThatCannotBeReadIsNotTaken) {
    etcd.put(NodeKey{"a"}, "from the future");
    Registration registration = plan_registration(etcd.mirror, self, kLease);
    EXPECT_FALSE(registration.txn);
    EXPECT_NE(registration.conflict.find("cannot be read"), std::string::npos) << registration.conflict;
    etcd.erase(NodeKey{"a"});
    etcd.put(VtepKey{ip("192.0.2.1")}, "from the future");
    registration = plan_registration(etcd.mirror, self, kLease);
    EXPECT_FALSE(registration.txn);
    EXPECT_NE(registration.conflict.find("192.0.2.1"), std::string::npos) << registration.conflict;
}

TEST_F(OwnPlan, ANetworkThatCannotBeReadIsNeitherWrittenNorLeftNorBuried) {
    register_self();
    share_blue();
    etcd.put(NetworkKey{"blue"}, "from the future");
    for (const bool may_restore : {false, true}) {
        EXPECT_EQ(networks(may_restore).size(), 1U);
        EXPECT_EQ(only<NetworkProblem>(networks(may_restore)).size(), 1U);
    }
    own.to_share = std::exchange(own.shared, {});
    EXPECT_EQ(networks().size(), 1U);
    EXPECT_EQ(only<NetworkProblem>(networks()).size(), 1U);
    own = {};
    own.removed = {{uid('b'), "blue"}};
    EXPECT_EQ(networks().size(), 1U);
    EXPECT_EQ(only<NetworkProblem>(networks()).size(), 1U);
}

TEST_F(OwnPlan, ABlockThatCannotBeReadIsNeitherWrittenNorShared) {
    register_self();
    share_blue();
    const BlockKey key{uid('b'), prefix("10.9.0.0/28")};
    own.shared[0].endpoints = {endpoint(3, "10.9.0.3")};
    etcd.put(key, "from the future");
    EXPECT_FALSE(wiped());
    EXPECT_TRUE(only<RestoreBlock>(blocks(true)).empty());
    EXPECT_EQ(only<BlockProblem>(blocks()).size(), 1U);
    EXPECT_TRUE(plan_endpoints(etcd.mirror, self, kLease, own).empty());
    etcd.erase(NetworkKey{"blue"});
    own.to_share = std::exchange(own.shared, {});
    own.to_share[0].network.uid.clear();
    EXPECT_EQ(only<ShareNetwork>(networks()).size(), 1U) << "blocks of another uid";
}

TEST_F(OwnPlan, ANodeThatCannotBeReadIsNotForgotten) {
    etcd.add_block("b", 'b', "10.9.1.0/28");
    EXPECT_TRUE(plan_forget(etcd.mirror, "b"));
    etcd.put(NodeKey{"b"}, "from the future");
    EXPECT_FALSE(plan_forget(etcd.mirror, "b"));
}

// --- wipes and blocks -----------------------------------------------------------------------------------------------

TEST_F(OwnPlan, AfterAWipeNoNewBlockIsTaken) {
    register_self();
    share_blue();
    own.shared[0].blocks[0].free = 0;
    EXPECT_TRUE(only<TakeBlock>(blocks(true)).empty());
    EXPECT_EQ(only<TakeBlock>(blocks(false)).size(), 1U);
}

// --- blocks ---------------------------------------------------------------------------------------------------------

TEST_F(OwnPlan, TheFirstBlockIsTakenAheadTheNextWhenOneIsNearlyFull) {
    register_self();
    share_blue();
    EXPECT_TRUE(blocks().empty());
    own.shared[0].blocks[0].free = 3;
    auto steps = only<TakeBlock>(blocks());
    ASSERT_EQ(steps.size(), 1U);
    EXPECT_NE(steps[0].prefix, prefix("10.9.0.0/28"));
    ASSERT_TRUE(steps[0].txn);
    const auto again = only<TakeBlock>(blocks());
    EXPECT_TRUE(etcd.run(*steps[0].txn));
    EXPECT_FALSE(etcd.run(*again[0].txn)) << "one that somebody has is not taken";
    steps = only<TakeBlock>(blocks());
    ASSERT_EQ(steps.size(), 1U);
    EXPECT_FALSE(steps[0].txn) << "claimed, and not on record yet";
    own.shared[0].blocks.clear();
    etcd.erase(BlockKey{uid('b'), prefix("fd00:9::/88")});
    EXPECT_EQ(only<TakeBlock>(blocks()).size(), 3U) << "both that are claimed, and a first one of IPv6";
}

TEST_F(OwnPlan, NoBlockLeftIsAProblemOnceNothingIsFree) {
    register_self();
    share_blue();
    for (std::uint64_t i = 1; i < 256; ++i)
        etcd.put(BlockKey{uid('b'), block_layout(joined(blue()), Family::kIpv4)->at(i)}, encode(BlockRecord{uid('2'), "b"}));
    own.shared[0].blocks[0].free = 1;
    EXPECT_TRUE(blocks().empty());
    own.shared[0].blocks[0].free = 0;
    ASSERT_EQ(blocks().size(), 1U);
    EXPECT_NE(only<BlockProblem>(blocks())[0].why.find("--forget"), std::string::npos);
}

TEST_F(OwnPlan, AnIdleBlockGoesBackWhenTheOthersHaveRoom) {
    register_self();
    share_blue();
    etcd.add_block("a", 'a', "10.9.0.16/28");
    own.shared[0].blocks = {{prefix("10.9.0.0/28"), 14, 12}, {prefix("10.9.0.16/28"), 16, 16}, {prefix("fd00:9::/88"), 1000, 1000}};
    const auto steps = only<ReturnBlock>(blocks());
    ASSERT_EQ(steps.size(), 1U);
    EXPECT_EQ(steps[0].prefix, prefix("10.9.0.16/28"));
    own.shared[0].blocks[0].free = 11;
    EXPECT_TRUE(blocks().empty()) << "not before more than three quarters would be free";
    for (std::uint64_t i = 2; i < 200; ++i)
        etcd.put(BlockKey{uid('b'), block_layout(joined(blue()), Family::kIpv4)->at(i)}, encode(BlockRecord{uid('2'), "b"}));
    EXPECT_EQ(only<ReturnBlock>(blocks()).size(), 1U) << "they are scarce: others may need it";
    own.shared[0].blocks[0].free = 7;
    EXPECT_TRUE(blocks().empty());
}

TEST_F(OwnPlan, AllBlocksThatAreTooManyGoBackAtOnceAndManyAreTakenAtOnce) {
    register_self();
    share_blue();
    auto& list = own.shared[0].blocks;
    list = {{prefix("10.9.0.0/28"), 14, 13}, {prefix("fd00:9::/88"), 1000, 1000}};
    for (int i = 1; i < 8; ++i) {
        const std::string block = "10.9.0." + std::to_string(16 * i) + "/28";
        etcd.add_block("a", 'a', block.c_str());
        list.push_back({prefix(block.c_str()), 16, 16});
    }
    EXPECT_EQ(only<ReturnBlock>(blocks()).size(), 7U);
    for (OwnBlock& one : list)
        if (one.prefix.family() == Family::kIpv4) one.free = 0;
    const auto taken = only<TakeBlock>(blocks());
    ASSERT_EQ(taken.size(), 8U) << "as many as there are";
    for (const TakeBlock& one : taken) EXPECT_TRUE(etcd.run(*one.txn));
}

TEST_F(OwnPlan, BlocksOfNetworksThatAreGoneGoBack) {
    register_self();
    share_blue();
    own.shared.clear();
    const auto steps = only<ReturnBlock>(blocks());
    ASSERT_EQ(steps.size(), 2U);
    for (const ReturnBlock& one : steps) EXPECT_TRUE(etcd.run(one.txn));
    EXPECT_TRUE(etcd.mirror.blocks().empty());
}

// --- forget ---------------------------------------------------------------------------------------------------------

TEST_F(OwnPlan, ANodeIsForgottenOnlyOnceItsLeaseHasEnded) {
    etcd.add_node("b", '2', "192.0.2.2");
    etcd.add_block("b", '2', "10.9.0.0/28");
    EXPECT_EQ(plan_forget(etcd.mirror, "b").error().kind, ErrorKind::kConflict);
    EXPECT_EQ(plan_forget(etcd.mirror, "c").error().kind, ErrorKind::kNotFound);
    etcd.erase(NodeKey{"b"});
    const auto txns = *plan_forget(etcd.mirror, "b");
    ASSERT_EQ(txns.size(), 1U);
    EXPECT_TRUE(etcd.run(txns[0]));
    EXPECT_TRUE(etcd.mirror.blocks().empty());
}

TEST_F(OwnPlan, ANodeThatWasRenamedKeepsItsBlocks) {
    etcd.add_block("old", '2', "10.9.0.0/28");
    etcd.add_node("new", '2', "192.0.2.2");
    EXPECT_EQ(plan_forget(etcd.mirror, "old").error().kind, ErrorKind::kConflict);
    etcd.erase(NodeKey{"new"});
    EXPECT_EQ(plan_forget(etcd.mirror, "old")->size(), 1U);
}

TEST_F(OwnPlan, ANodeThatComesBackLosesNothing) {
    etcd.add_block("b", '2', "10.9.0.0/28");
    const auto txns = *plan_forget(etcd.mirror, "b");
    etcd.add_node("b", '2', "192.0.2.2");
    EXPECT_FALSE(etcd.run(txns[0]));
}

TEST_F(OwnPlan, ANodeThatComesBackUnderAnotherNameLosesNothing) {
    etcd.add_block("old", '2', "10.9.0.0/28");
    const auto txns = *plan_forget(etcd.mirror, "old");
    etcd.add_node("new", '2', "192.0.2.2");
    etcd.add_block("new", '2', "10.9.0.0/28");
    EXPECT_FALSE(etcd.run(txns[0]));
}

TEST_F(OwnPlan, ARenamedNodePutsItsNameIntoItsBlocks) {
    register_self();
    share_blue();
    etcd.add_block("old", 'a', "10.9.0.0/28");
    const auto renamed = only<RestoreBlock>(blocks());
    ASSERT_EQ(renamed.size(), 1U);
    EXPECT_TRUE(etcd.run(renamed[0].txn));
    EXPECT_EQ(etcd.mirror.block({uid('b'), prefix("10.9.0.0/28")})->record.name, "a");
    EXPECT_TRUE(only<RestoreBlock>(blocks()).empty());
}

TEST_F(OwnPlan, OfANodeThatWasMadeAnewTheOldBlocksAreForgotten) {
    etcd.add_block("b", '2', "10.9.0.0/28");
    etcd.add_node("b", '8', "192.0.2.2");
    etcd.add_block("b", '8', "10.9.0.16/28");
    const auto txns = *plan_forget(etcd.mirror, "b");
    ASSERT_EQ(txns.size(), 1U);
    EXPECT_TRUE(etcd.run(txns[0]));
    EXPECT_EQ(etcd.mirror.blocks().size(), 1U);
    EXPECT_EQ(etcd.mirror.blocks().begin()->second.record.uid, uid('8'));
}

}  // namespace
}  // namespace fastnet::cluster
