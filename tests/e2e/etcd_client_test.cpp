// The client of etcd against real members: transactions, leases, fail-over, users and TLS.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "tests/e2e/etcd_fixture.h"

namespace fastnet::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::Not;
using Clock = std::chrono::steady_clock;

class EtcdClientTest : public EtcdTest {};

TEST_F(EtcdClientTest, TransactionIsDoneOnceAndItsLoserSeesWhoWon) {
    start_etcd(1);
    EtcdClient etcd = client();
    const Txn mine{
        .compares = {Compare::absent("/fastnet/a")}, .then = {TxnOp::put("/fastnet/a", "mine")}, .otherwise = {TxnOp::get("/fastnet/a")}};
    Txn yours = mine;
    yours.then[0].value = "yours";
    EXPECT_TRUE(must(etcd, mine).succeeded);
    const TxnResult lost = must(etcd, yours);
    EXPECT_FALSE(lost.succeeded);
    ASSERT_EQ(lost.results.size(), 1U);
    ASSERT_EQ(lost.results[0].kvs.size(), 1U);
    EXPECT_EQ(lost.results[0].kvs[0].value, "mine");

    const KeyValue held = lost.results[0].kvs[0];
    EXPECT_FALSE(
        must(etcd, {.compares = {Compare::mod_revision("/fastnet/a", held.mod_revision - 1)}, .then = {TxnOp::erase("/fastnet/a")}})
            .succeeded);
    EXPECT_FALSE(
        must(etcd, {.compares = {Compare::has_value("/fastnet/a", "yours")}, .then = {TxnOp::erase("/fastnet/a")}, .harmless_twice = true})
            .succeeded);
    EXPECT_FALSE(
        must(etcd, {.compares = {Compare::has_lease("/fastnet/a", 5)}, .then = {TxnOp::erase("/fastnet/a")}, .harmless_twice = true})
            .succeeded);
    put(etcd, "/fastnet/b", "");
    const TxnResult gone = must(etcd, {.compares = {Compare::mod_revision("/fastnet/a", held.mod_revision), Compare::exists("/fastnet/b")},
                                       .then = {TxnOp::erase_prefix("/fastnet/"), TxnOp::put("/other", "\xff\x00 bytes")}});
    ASSERT_TRUE(gone.succeeded);
    EXPECT_EQ(gone.results[0].deleted, 2);
    EXPECT_TRUE(range(etcd).kvs.empty());
    ASSERT_EQ(range(etcd, "").kvs.size(), 1U);
    EXPECT_EQ(range(etcd, "").kvs[0].value, "\xff\x00 bytes");
    EXPECT_EQ(range(etcd).revision, gone.revision);
}

TEST_F(EtcdClientTest, ManyKeysAndLargeValuesComeInPagesOfOneRevision) {
    start_etcd(1);
    EtcdClient etcd = client();
    for (int block = 0; block < 13; ++block) {
        Txn txn{.harmless_twice = true};
        for (int key = 0; key < 100; ++key)
            txn.then.push_back(TxnOp::put("/fastnet/" + std::to_string(block * 100 + key), std::to_string(key)));
        ASSERT_TRUE(must(etcd, txn).succeeded);
    }
    // More than an answer may hold: the page has to become smaller, and larger again.
    for (int large = 0; large < 5; ++large) put(etcd, "/fastnet/2x" + std::to_string(large), std::string(1'000'000, 'x'));
    const RangeResult all = range(etcd);
    EXPECT_EQ(all.kvs.size(), 1305U);
    EXPECT_TRUE(std::is_sorted(all.kvs.begin(), all.kvs.end(), [](const auto& left, const auto& right) { return left.key < right.key; }));
    EXPECT_EQ(std::count_if(all.kvs.begin(), all.kvs.end(), [](const KeyValue& kv) { return kv.oversized && kv.value.empty(); }), 5);
}

TEST_F(EtcdClientTest, KeysGoWithTheirLease) {
    start_etcd(1);
    EtcdClient etcd = client();
    const auto lease = in([&] { return etcd.grant(seconds{2}); });
    ASSERT_TRUE(lease) << text_of(lease.error());
    EXPECT_EQ(lease->ttl, seconds{2});
    const auto begin = Clock::now();
    const std::int64_t revision = put(etcd, "/fastnet/mine", "x", lease->id);
    EXPECT_EQ(range(etcd).kvs.at(0).lease, lease->id);
    Told told;
    EtcdWatch following = watch(told, revision + 1);
    ASSERT_TRUE(wait_until([&] { return told.events() == std::vector<std::string>{"-/fastnet/mine"}; }, milliseconds{10'000}));
    EXPECT_GE(Clock::now() - begin, milliseconds{1900});
    const auto renewed = in([&] { return etcd.keep_alive(lease->id); });
    ASSERT_FALSE(renewed);
    EXPECT_EQ(renewed.error().kind, ErrorKind::kNotFound);
    const auto late = in([&] { return etcd.txn({.then = {TxnOp::put("/fastnet/mine", "x", lease->id)}}); });
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().kind, ErrorKind::kNotFound);

    const auto other = in([&] { return etcd.grant(seconds{600}, 4711); });
    ASSERT_TRUE(other) << text_of(other.error());
    EXPECT_EQ(other->id, 4711);
    EXPECT_EQ(in([&] { return etcd.grant(seconds{600}, 4711); }).error().kind, ErrorKind::kConflict);
    EXPECT_EQ(*in([&] { return etcd.keep_alive(4711); }), seconds{600});
    put(etcd, "/fastnet/other", "x", 4711);
    EXPECT_TRUE(in([&] { return etcd.revoke(4711); }));
    EXPECT_TRUE(range(etcd).kvs.empty());
    EXPECT_EQ(in([&] { return etcd.revoke(4711); }).error().kind, ErrorKind::kNotFound);
}

TEST_F(EtcdClientTest, WriteSucceedsWithinThreeSecondsOfTheLeadersEnd) {
    start_etcd(3);
    EtcdClient etcd = client();
    put(etcd, "/fastnet/before", "1");
    for (int round = 0; round < 2; ++round) {
        const auto leader = cluster().leader();
        ASSERT_TRUE(leader);
        cluster().kill(*leader);
        const auto killed = Clock::now();
        const std::string key = "/fastnet/after" + std::to_string(round);
        const TxnResult done =
            must(etcd, {.compares = {Compare::absent(key)}, .then = {TxnOp::put(key, "mine")}, .otherwise = {TxnOp::get(key)}});
        EXPECT_LT(Clock::now() - killed, milliseconds{3000});
        // Either this attempt did it or one before, whose answer is lost.
        EXPECT_TRUE(done.succeeded || (done.repeated && done.results.at(0).kvs.at(0).value == "mine"));
        cluster().restart(*leader);
        ASSERT_TRUE(cluster().wait_healthy());
    }
}

TEST_F(EtcdClientTest, WithoutQuorumTheErrorAndTheStatusSaySo) {
    start_etcd(3);
    EtcdClient etcd = client({.urls = {}, .patience = milliseconds{2500}});
    put(etcd, "/fastnet/a", "1");
    const auto healthy = in([&] { return etcd.status(); });
    ASSERT_TRUE(healthy);
    std::size_t leaders = 0;
    for (const MemberHealth& member : healthy->members) {
        EXPECT_TRUE(member.reachable && member.quorum) << member.error;
        EXPECT_EQ(member.version.substr(0, 2), "3.");
        EXPECT_EQ(member.cluster_id, healthy->members[0].cluster_id);
        ASSERT_TRUE(member.clock_offset);
        EXPECT_LE(std::abs(member.clock_offset->count()), 1);
        leaders += member.is_leader() ? 1 : 0;
    }
    EXPECT_EQ(leaders, 1U);

    cluster().kill(0);
    cluster().kill(1);
    const auto begin = Clock::now();
    const auto failed_put = in([&] { return etcd.txn({.then = {TxnOp::put("/fastnet/a", "2")}, .harmless_twice = true}); });
    EXPECT_LT(Clock::now() - begin, milliseconds{3500});
    ASSERT_FALSE(failed_put);
    EXPECT_THAT(failed_put.error().message, HasSubstr(cluster().url(2)));
    EXPECT_THAT(failed_put.error().message, ::testing::AnyOf(HasSubstr("no leader"), HasSubstr("quorum")));
    EXPECT_THAT(failed_put.error().message, HasSubstr("whether it was done is unknown"));
    const auto sick = in([&] { return etcd.status(); });
    ASSERT_TRUE(sick);
    EXPECT_FALSE(sick->members[0].reachable);
    EXPECT_TRUE(sick->members[2].reachable);
    EXPECT_FALSE(sick->members[2].quorum);
    EXPECT_THAT(sick->members[2].error, HasSubstr("no quorum"));
}

TEST_F(EtcdClientTest, UserPasswordAndTlsWorkTogetherAndWrongOnesAreNamed) {
    const std::string secret = "s3cret-of-this-test";
    start_etcd(1, {.tls = true, .client_certificates = true, .user = "node", .password = secret});
    const EtcdConfig good{.urls = {},
                          .user = "node",
                          .password = secret,
                          .ca_file = cluster().ca_file(),
                          .cert_file = cluster().cert_file(),
                          .key_file = cluster().key_file()};
    EtcdClient etcd = client(good);
    put(etcd, "/fastnet/a", "1");
    EXPECT_EQ(range(etcd).kvs.size(), 1U);
    EXPECT_TRUE(in([&] { return etcd.status(); })->members[0].quorum);
    Told told;
    EtcdWatch following = watch(told, 1, good);
    EXPECT_TRUE(wait_until([&] { return !told.events().empty(); }));

    const auto error_of = [&](EtcdConfig config, const std::string& prefix = "/fastnet/") {
        config.patience = milliseconds{2000};
        EtcdClient other = client(std::move(config));
        const auto result = in([&] { return other.range_prefix(prefix); });
        EXPECT_FALSE(result);
        return result ? std::string{} : text_of(result.error());
    };
    EtcdConfig config = good;
    config.password = "wr0ng-password";
    std::string error = error_of(config);
    EXPECT_THAT(error, HasSubstr("invalid user ID or password"));
    EXPECT_THAT(error, Not(HasSubstr("wr0ng-password")));
    EXPECT_THAT(error, HasSubstr("node"));

    config = good;
    config.user.clear();
    config.password.clear();
    EXPECT_THAT(error_of(config), HasSubstr("etcd asks for a user and password"));

    config = good;
    config.ca_file = cluster().other_ca_file();
    const auto begin = Clock::now();
    error = error_of(config);
    EXPECT_LT(Clock::now() - begin, milliseconds{1000});  // waiting does not help
    EXPECT_THAT(error, HasSubstr("certificate"));
    EXPECT_THAT(error, HasSubstr("CA file"));

    config = good;
    config.cert_file.clear();
    config.key_file.clear();
    EXPECT_THAT(error_of(config), HasSubstr("certificate"));

    config = good;
    config.cert_file = cluster().named_cert_file();
    config.key_file = cluster().named_key_file();
    EXPECT_THAT(error_of(config), HasSubstr("without a CommonName"));

    config = good;
    config.urls = {"http://127.0.0.1:2379"};
    EXPECT_THAT(error_of(config), HasSubstr("http://127.0.0.1:2379"));

    EXPECT_THAT(error_of(good, "/elsewhere/"), HasSubstr("permission denied"));
    Told refused;
    EtcdWatch outside = watch(refused, 1, good, "/elsewhere/");
    EXPECT_TRUE(wait_until([&] { return refused.last_why().find("permission denied") != std::string::npos; }));
    for (const std::string& text : {error_of(good, "/elsewhere/"), refused.last_why()}) EXPECT_THAT(text, Not(HasSubstr(secret)));
}

TEST_F(EtcdClientTest, TokenThatAMemberForgotIsRenewed) {
    start_etcd(1, {.user = "node", .password = "secret"});
    EtcdClient etcd = client({.urls = {}, .user = "node", .password = "secret"});
    put(etcd, "/fastnet/a", "1");
    Told told;
    EtcdWatch following = watch(told, 1, {.urls = {}, .user = "node", .password = "secret"});
    ASSERT_TRUE(wait_until([&] { return told.events().size() == 1; }));
    // etcd's simple tokens live in the member's memory.
    cluster().restart(0);
    ASSERT_TRUE(cluster().wait_healthy());
    put(etcd, "/fastnet/a", "2");
    EXPECT_TRUE(wait_until([&] { return told.events().size() == 2; }, milliseconds{10'000}));
    EXPECT_GE(told.all<WatchConnected>().size(), 2U);
}

}  // namespace
}  // namespace fastnet::test
