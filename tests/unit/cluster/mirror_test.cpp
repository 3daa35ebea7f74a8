#include "userspace/cluster/mirror.h"

#include <gtest/gtest.h>

#include "tests/unit/cluster/cluster_builder.h"

namespace fastnet::cluster {
namespace {

using test::blue;
using test::FakeEtcd;
using test::ip;
using test::keys;
using test::prefix;
using test::uid;

/// Two nodes with an endpoint each, in blocks of their own.
class ClusterMirror : public ::testing::Test {
protected:
    ClusterMirror() {
        etcd.add_node("b", '2', "192.0.2.2");
        etcd.add_node("c", '3', "192.0.2.3");
        etcd.put(NetworkKey{"blue"}, encode(blue()));
        etcd.add_block("b", '2', "10.9.0.0/28");
        etcd.add_block("c", '3', "10.9.0.16/28");
        etcd.add_endpoint("b", '2', 1, "10.9.0.2");
        etcd.add_endpoint("c", '3', 1, "10.9.0.18");
    }
    FakeEtcd etcd;
};

TEST_F(ClusterMirror, OneEndpointTouchesOnlyItself) {
    const Touched touched = etcd.add_endpoint("b", '2', 2, "10.9.0.3");
    EXPECT_EQ(touched.endpoints, (std::set<EndpointKey>{{"b", 2}}));
    EXPECT_TRUE(touched.nodes.empty());
    EXPECT_FALSE(touched.networks || touched.blocks);
}

TEST_F(ClusterMirror, ANodeTouchesItsEndpoints) {
    const Touched touched = etcd.erase(NodeKey{"b"});
    EXPECT_EQ(touched.nodes, (std::set<std::string>{"b"}));
    EXPECT_EQ(touched.endpoints, (std::set<EndpointKey>{{"b", 1}}));
    EXPECT_EQ(etcd.mirror.node("b"), nullptr);
}

TEST_F(ClusterMirror, AVtepTouchesTheNodeThatHadItAndTheOneThatHasIt) {
    const Touched touched = etcd.put(VtepKey{ip("192.0.2.2")}, encode(VtepRecord{uid('3'), "c"}));
    EXPECT_EQ(touched.nodes, (std::set<std::string>{"b", "c"}));
    EXPECT_EQ(touched.endpoints.size(), 2U);
}

TEST_F(ClusterMirror, ABlockTouchesTheEndpointsInIt) {
    const Touched touched = etcd.erase(BlockKey{uid('b'), prefix("10.9.0.16/28")});
    EXPECT_EQ(touched.endpoints, (std::set<EndpointKey>{{"c", 1}}));
    EXPECT_TRUE(touched.blocks);
}

TEST_F(ClusterMirror, ARangeTouchesOnlyWhatDiffers) {
    EXPECT_FALSE(etcd.mirror.reset(etcd.kvs, 500).anything());
    std::erase_if(etcd.kvs, [](const KeyValue& kv) { return kv.key == keys().path(EndpointKey{"c", 1}); });
    const Touched touched = etcd.mirror.reset(etcd.kvs, 501);
    EXPECT_EQ(touched.endpoints, (std::set<EndpointKey>{{"c", 1}}));
    EXPECT_EQ(etcd.mirror.endpoint({"c", 1}), nullptr);
    EXPECT_EQ(etcd.mirror.endpoints_of_network(uid('b')), (std::vector<EndpointKey>{{"b", 1}}));
    EXPECT_EQ(etcd.mirror.revision(), 501);
}

TEST_F(ClusterMirror, WhatComesAgainChangesNothing) {
    const auto old = std::find_if(etcd.kvs.begin(), etcd.kvs.end(), [](const KeyValue& kv) {
        return kv.key == keys().path(EndpointKey{"b", 1});
    });
    const KeyValue again = *old;
    etcd.erase(EndpointKey{"b", 1});
    EXPECT_FALSE(etcd.mirror.apply({{false, again}}, again.mod_revision).anything()) << "the deletion came after it";
    EXPECT_EQ(etcd.mirror.endpoint({"b", 1}), nullptr);
}

TEST_F(ClusterMirror, PiecesOfOneTransactionAreAllTaken) {
    const std::int64_t revision = etcd.revision + 1;
    const auto piece = [&](std::uint32_t id, const char* address) {
        return WatchEvent{
            false, KeyValue{keys().path(EndpointKey{"b", id}), encode(FakeEtcd::endpoint('2', address)), revision, revision, 1, 1, false}};
    };
    etcd.mirror.apply({piece(5, "10.9.0.5")}, revision);
    etcd.mirror.apply({piece(6, "10.9.0.6")}, revision);
    EXPECT_NE(etcd.mirror.endpoint({"b", 5}), nullptr);
    EXPECT_NE(etcd.mirror.endpoint({"b", 6}), nullptr);
}

TEST_F(ClusterMirror, AnUnreadableValueSaysNothingIsThereAndIsReported) {
    const Touched touched = etcd.put(EndpointKey{"b", 1}, "{\"uid\":1}");
    EXPECT_EQ(touched.endpoints, (std::set<EndpointKey>{{"b", 1}}));
    ASSERT_EQ(touched.unreadable.size(), 1U);
    EXPECT_EQ(touched.unreadable[0].key, keys().path(EndpointKey{"b", 1}));
    EXPECT_EQ(touched.unreadable[0].revision, etcd.revision);
    EXPECT_EQ(etcd.mirror.endpoint({"b", 1}), nullptr);
    EXPECT_EQ(etcd.mirror.mod_revision(EndpointKey{"b", 1}), etcd.revision) << "whoever writes it has to compare";
    EXPECT_TRUE(etcd.mirror.is_unreadable(EndpointKey{"b", 1}));
    EXPECT_FALSE(etcd.mirror.is_unreadable(EndpointKey{"b", 2}));
    EXPECT_FALSE(etcd.mirror.is_unreadable(EndpointKey{"c", 1}));
    EXPECT_EQ(etcd.add_endpoint("b", '2', 1, "10.9.0.2").readable.size(), 1U);
}

TEST_F(ClusterMirror, AKeyThatIsNoneOfOursIsReported) {
    const Touched touched = etcd.put_path(keys().root() + "nonsense/\n", "x");
    EXPECT_EQ(touched.unreadable.size(), 1U);
    EXPECT_FALSE(touched.anything());
}

TEST_F(ClusterMirror, TheNameInsideMustBeTheKeys) {
    NetworkRecord record = blue();
    EXPECT_EQ(etcd.put(NetworkKey{"red"}, encode(record)).unreadable.size(), 1U);
    EXPECT_EQ(etcd.put(NodeKey{"d"}, encode(NodeRecord{uid('4'), "e", ip("192.0.2.4"), std::nullopt, "1"})).unreadable.size(), 1U);
}

TEST_F(ClusterMirror, AValueTooLongToBeKeptIsUnreadable) {
    KeyValue kv{keys().path(NodeKey{"b"}), "", 1, etcd.revision + 1, 1, 0, true};
    EXPECT_EQ(etcd.mirror.apply({{false, kv}}, etcd.revision + 1).unreadable.size(), 1U);
    EXPECT_EQ(etcd.mirror.node("b"), nullptr);
}

TEST_F(ClusterMirror, WhatThisNodeWroteIsKnownBeforeTheWatchBringsIt) {
    const std::string path = keys().path(EndpointKey{"b", 9});
    Txn txn;
    txn.then = {TxnOp::put(path, encode(FakeEtcd::endpoint('2', "10.9.0.9")), 5), TxnOp::erase(keys().path(EndpointKey{"b", 1}))};
    const std::int64_t revision = etcd.revision + 10;
    EXPECT_EQ(etcd.mirror.wrote(txn, revision).endpoints.size(), 2U);
    EXPECT_EQ(etcd.mirror.endpoint({"b", 9})->mod_revision, revision);
    EXPECT_EQ(etcd.mirror.endpoint({"b", 9})->lease, 5);
    EXPECT_EQ(etcd.mirror.endpoint({"b", 1}), nullptr);
    // What others did before it still comes.
    EXPECT_EQ(etcd.add_endpoint("c", '3', 4, "10.9.0.20").endpoints.size(), 1U);
    const KeyValue own{path, txn.then[0].value, revision, revision, 1, 5, false};
    EXPECT_FALSE(etcd.mirror.apply({{false, own}}, revision).anything());
}

TEST_F(ClusterMirror, WhatThisNodeDeletedStaysDeletedWhateverALateWatchBrings) {
    const BlockKey key{uid('b'), prefix("10.9.0.32/28")};
    const std::string value = encode(BlockRecord{uid('2'), "b"});
    const std::int64_t taken = etcd.revision + 1;
    const std::int64_t given_back = etcd.revision + 2;
    Txn take;
    take.then = {TxnOp::put(keys().path(key), value)};
    etcd.mirror.wrote(take, taken);
    Txn give;
    give.then = {TxnOp::erase(keys().path(key))};
    etcd.mirror.wrote(give, given_back);
    EXPECT_EQ(etcd.mirror.block(key), nullptr);
    const KeyValue late{keys().path(key), value, taken, taken, 1, 0, false};
    EXPECT_FALSE(etcd.mirror.apply({{false, late}}, taken).anything());
    EXPECT_EQ(etcd.mirror.block(key), nullptr);
    EXPECT_EQ(etcd.mirror.mod_revision(key), 0);
    // Somebody else takes it afterwards, before the watch has brought the deletion or behind it.
    for (const std::int64_t revision : {given_back + 1, given_back + 3}) {
        const KeyValue next{keys().path(key), encode(BlockRecord{uid('3'), "c"}), revision, revision, 1, 0, false};
        EXPECT_TRUE(etcd.mirror.apply({{false, next}}, revision).blocks);
        ASSERT_NE(etcd.mirror.block(key), nullptr);
        EXPECT_EQ(etcd.mirror.block(key)->record.name, "c");
        const KeyValue gone{keys().path(key), "", 0, revision + 1, 0, 0, false};
        EXPECT_TRUE(etcd.mirror.apply({{true, gone}}, revision + 1).blocks);
    }
}

TEST_F(ClusterMirror, AFullReadEndsWhatIsKnownOfOwnDeletions) {
    const EndpointKey key{"b", 1};
    const KeyValue before = *std::find_if(etcd.kvs.begin(), etcd.kvs.end(), [&](const KeyValue& kv) { return kv.key == keys().path(key); });
    Txn txn;
    txn.then = {TxnOp::erase(keys().path(key))};
    etcd.mirror.wrote(txn, etcd.revision + 10);
    // Restored from a backup: the history is another one from here on.
    EXPECT_EQ(etcd.mirror.reset(etcd.kvs, etcd.revision).endpoints.size(), 1U);
    EXPECT_NE(etcd.mirror.endpoint(key), nullptr);
    KeyValue changed = before;
    changed.mod_revision = etcd.revision + 5;
    EXPECT_EQ(etcd.mirror.apply({{false, changed}}, etcd.revision + 5).endpoints.size(), 1U);
}

TEST_F(ClusterMirror, TellsThatTheGenerationWasDeletedThoughItIsThereAgain) {
    etcd.put(GenerationKey{}, uid('a'));
    EXPECT_FALSE(etcd.put(GenerationKey{}, uid('b')).generation_lost);
    const std::string path = keys().path(GenerationKey{});
    const std::int64_t gone = ++etcd.revision;
    const std::int64_t back = ++etcd.revision;
    EXPECT_TRUE(
        etcd.mirror
            .apply({{true, KeyValue{path, "", 0, gone, 0, 0, false}}, {false, KeyValue{path, uid('c'), back, back, 1, 0, false}}}, back)
            .generation_lost);
    EXPECT_NE(etcd.mirror.mod_revision(GenerationKey{}), 0);
}

TEST_F(ClusterMirror, CountsTheBlocksOfAFamilyAndLength) {
    etcd.add_block("b", '2', "fd00:9::/88");
    etcd.add_block("b", '2', "10.9.0.64/27");
    const auto count = [&](Family family, std::uint8_t length, char network = 'b') {
        return etcd.mirror.count_blocks(uid(network), family, length);
    };
    EXPECT_EQ(count(Family::kIpv4, 28), 2U);
    EXPECT_EQ(count(Family::kIpv4, 27), 1U);
    EXPECT_EQ(count(Family::kIpv6, 88), 1U);
    EXPECT_EQ(count(Family::kIpv4, 28, 'c'), 0U);
    etcd.erase(BlockKey{uid('b'), prefix("10.9.0.0/28")});
    etcd.put(BlockKey{uid('b'), prefix("10.9.0.16/28")}, "unreadable");
    EXPECT_EQ(count(Family::kIpv4, 28), 0U);
}

TEST_F(ClusterMirror, KnowsTheBlocksOfEachNode) {
    EXPECT_EQ(etcd.mirror.blocks_of_node(uid('2')), (std::set<BlockKey>{{uid('b'), prefix("10.9.0.0/28")}}));
    etcd.add_block("c", '3', "10.9.0.0/28");  // it has another owner by now
    EXPECT_TRUE(etcd.mirror.blocks_of_node(uid('2')).empty());
    EXPECT_EQ(etcd.mirror.blocks_of_node(uid('3')).size(), 2U);
    etcd.wipe();
    EXPECT_TRUE(etcd.mirror.blocks_of_node(uid('3')).empty());
}

TEST_F(ClusterMirror, FindsANetworkByItsUid) {
    ASSERT_NE(etcd.mirror.network_of(uid('b')), nullptr);
    NetworkRecord record = blue();
    record.name = "azure";
    etcd.put(NetworkKey{"azure"}, encode(record));
    EXPECT_EQ(etcd.mirror.network_of(uid('b'))->record.name, "azure") << "the first by name";
    etcd.erase(NetworkKey{"azure"});
    EXPECT_EQ(etcd.mirror.network_of(uid('b'))->record.name, "blue");
    record = blue();
    record.uid = uid('c');
    etcd.put(NetworkKey{"blue"}, encode(record));
    EXPECT_EQ(etcd.mirror.network_of(uid('b')), nullptr);
    EXPECT_NE(etcd.mirror.network_of(uid('c')), nullptr);
}

TEST_F(ClusterMirror, SaysWhenItIsMoreThanANodeFollows) {
    EXPECT_FALSE(etcd.mirror.overflow());
    const std::string large(Mirror::kMostBytes / 8, 'x');
    const auto path = [](int number) { return keys().root() + "nonsense/" + std::to_string(number); };
    const auto put = [&](int number, const std::string& value) {
        const std::int64_t revision = ++etcd.revision;
        etcd.mirror.apply({{false, KeyValue{path(number), value, revision, revision, 1, 0, false}}}, revision);
    };
    for (int i = 0; i < 8; ++i) put(i, large);
    EXPECT_TRUE(etcd.mirror.overflow());
    put(0, "small");  // another value of the same key
    EXPECT_FALSE(etcd.mirror.overflow());
    put(0, large);
    EXPECT_TRUE(etcd.mirror.overflow());
    const std::int64_t revision = ++etcd.revision;
    etcd.mirror.apply({{true, KeyValue{path(1), "", 0, revision, 0, 0, false}}}, revision);
    EXPECT_FALSE(etcd.mirror.overflow());
    std::vector<KeyValue> many(Mirror::kMostKeys + 1);
    for (std::size_t i = 0; i < many.size(); ++i) many[i] = {path(static_cast<int>(i)), "", 1, 1, 1, 0, false};
    etcd.mirror.reset(many, ++etcd.revision);
    EXPECT_TRUE(etcd.mirror.overflow());
}

}  // namespace
}  // namespace fastnet::cluster
