// The watch against real members that restart, freeze, lose their quorum or their data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "tests/e2e/etcd_fixture.h"

namespace fastnet::test {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;
using Events = std::vector<std::string>;

class EtcdWatchTest : public EtcdTest {
protected:
    bool sees(const Told& told, const Events& events, milliseconds bound = milliseconds{5000}) {
        const bool seen = wait_until([&] { return told.events() == events; }, bound);
        EXPECT_EQ(told.events(), events) << told.last_why();
        return seen;
    }
    /// The URL of @p first, then those of the others.
    EtcdConfig beginning_with(std::size_t first) {
        EtcdConfig config{.urls = {cluster().url(first)}};
        for (std::size_t member = 0; member < cluster().size(); ++member) {
            if (member != first) config.urls.push_back(cluster().url(member));
        }
        return config;
    }
    EtcdConfig without(std::size_t left_out) {
        EtcdConfig config{.urls = {}};
        for (std::size_t member = 0; member < cluster().size(); ++member) {
            if (member != left_out) config.urls.push_back(cluster().url(member));
        }
        return config;
    }
    static std::string last_url(const Told& told) {
        const auto connected = told.all<WatchConnected>();
        return connected.empty() ? std::string{} : connected.back().url;
    }
};

TEST_F(EtcdWatchTest, GoesOnWhereItWasAfterTheMembersRestart) {
    start_etcd(1);
    EtcdClient etcd = client();
    const std::int64_t revision = put(etcd, "/fastnet/a", "1");
    Told told;
    EtcdWatch following = watch(told, revision);  // the put itself is seen: from_revision is inclusive
    ASSERT_TRUE(sees(told, {"/fastnet/a=1"}));
    put(etcd, "/elsewhere", "unseen");
    must(etcd, {.then = {TxnOp::put("/fastnet/b", "2"), TxnOp::erase("/fastnet/a")}});
    ASSERT_TRUE(sees(told, {"/fastnet/a=1", "/fastnet/b=2", "-/fastnet/a"}));
    cluster().restart(0);
    ASSERT_TRUE(cluster().wait_healthy());
    put(etcd, "/fastnet/c", "3");
    EXPECT_TRUE(sees(told, {"/fastnet/a=1", "/fastnet/b=2", "-/fastnet/a", "/fastnet/c=3"}));
    EXPECT_EQ(told.all<WatchConnected>().size(), 2U);
    EXPECT_FALSE(told.all<WatchDisconnected>().empty());
}

TEST_F(EtcdWatchTest, CompactionEndsItAndTheOwnerBeginsAnew) {
    start_etcd(1);
    EtcdClient etcd = client();
    const std::int64_t first = put(etcd, "/fastnet/a", "1");
    const std::int64_t last = put(etcd, "/fastnet/a", "2");
    ASSERT_TRUE(cluster().etcdctl({"compaction", std::to_string(last)}).ok());
    Told told;
    EtcdWatch old = watch(told, first);
    ASSERT_TRUE(wait_until([&] { return !told.all<WatchCompacted>().empty(); }));
    EXPECT_EQ(told.all<WatchCompacted>()[0].revision, last);
    EXPECT_THAT(told.all<WatchCompacted>()[0].why, HasSubstr("compacted"));
    EXPECT_TRUE(wait_until([&] { return !old.running(); }));
    const RangeResult now = range(etcd);
    Told anew;
    EtcdWatch following = watch(anew, now.revision + 1);
    put(etcd, "/fastnet/a", "3");
    EXPECT_TRUE(sees(anew, {"/fastnet/a=3"}));
}

TEST_F(EtcdWatchTest, WipedClusterEndsItInsteadOfSilence) {
    start_etcd(1);
    EtcdClient etcd = client();
    for (int count = 0; count < 20; ++count) put(etcd, "/fastnet/a", std::to_string(count));
    Told told;
    EtcdWatch following = watch(told, range(etcd).revision + 1);
    ASSERT_TRUE(wait_until([&] { return !told.all<WatchConnected>().empty(); }));
    cluster().wipe();  // with the same cluster id: etcd derives it from the members' names
    ASSERT_TRUE(wait_until([&] { return !told.all<WatchCompacted>().empty(); }, milliseconds{10'000}));
    EXPECT_THAT(told.all<WatchCompacted>()[0].why, HasSubstr("gone back"));
    EXPECT_FALSE(following.running());
}

TEST_F(EtcdWatchTest, KilledLeaderCostsNoEvent) {
    start_etcd(3);
    EtcdClient etcd = client();
    const auto leader = cluster().leader();
    ASSERT_TRUE(leader);
    Told told;
    EtcdWatch following = watch(told, 1, beginning_with(*leader));
    put(etcd, "/fastnet/a", "1");
    ASSERT_TRUE(sees(told, {"/fastnet/a=1"}));
    EXPECT_EQ(last_url(told), cluster().url(*leader));
    cluster().kill(*leader);
    put(etcd, "/fastnet/a", "2");
    EXPECT_TRUE(sees(told, {"/fastnet/a=1", "/fastnet/a=2"}));
    EXPECT_NE(last_url(told), cluster().url(*leader));
}

TEST_F(EtcdWatchTest, FrozenMemberIsLeft) {
    start_etcd(3);
    const std::size_t frozen = (*cluster().leader() + 1) % 3;
    Told told;
    EtcdWatch following = watch(told, 1, beginning_with(frozen));
    ASSERT_TRUE(wait_until([&] { return last_url(told) == cluster().url(frozen); }));
    cluster().freeze(frozen);
    EtcdClient etcd = client(without(frozen));
    put(etcd, "/fastnet/a", "1");
    EXPECT_TRUE(sees(told, {"/fastnet/a=1"}, milliseconds{6000}));
    EXPECT_NE(last_url(told), cluster().url(frozen));
    cluster().thaw(frozen);
}

TEST_F(EtcdWatchTest, MemberBehindAWireThatSwallowsPacketsIsLeft) {
    start_etcd_apart();
    const std::size_t lost = (*cluster().leader() + 1) % 3;
    Told told;
    EtcdWatch following = watch(told, 1, beginning_with(lost));
    ASSERT_TRUE(wait_until([&] { return last_url(told) == cluster().url(lost); }));
    cut_off(lost, false);
    EtcdClient etcd = client(without(lost));
    put(etcd, "/fastnet/a", "1");
    EXPECT_TRUE(sees(told, {"/fastnet/a=1"}, milliseconds{6000}));
    EXPECT_NE(last_url(told), cluster().url(lost));
}

TEST_F(EtcdWatchTest, MemberThatLostItsQuorumIsLeftThoughItStillServesItsStream) {
    start_etcd_apart();
    const auto leader = cluster().leader();
    ASSERT_TRUE(leader);
    Told told;
    EtcdWatch following = watch(told, 1, beginning_with(*leader));
    ASSERT_TRUE(wait_until([&] { return last_url(told) == cluster().url(*leader); }));
    cut_off(*leader, true);
    EtcdClient etcd = client(without(*leader));
    put(etcd, "/fastnet/a", "1");
    EXPECT_TRUE(sees(told, {"/fastnet/a=1"}, milliseconds{8000}));
    EXPECT_NE(last_url(told), cluster().url(*leader));
}

TEST_F(EtcdWatchTest, StopsAtOnceWhateverItWaitsFor) {
    start_etcd(1);
    const auto stops_at_once = [&](EtcdWatch& stopped) {
        const auto begin = Clock::now();
        stopped.stop();
        EXPECT_LT(Clock::now() - begin, milliseconds{100});
        EXPECT_FALSE(stopped.running());
    };
    Told streaming;
    EtcdWatch stream = watch(streaming, 1);
    ASSERT_TRUE(wait_until([&] { return !streaming.all<WatchConnected>().empty(); }));
    stops_at_once(stream);

    Told frozen;
    EtcdWatch probing = watch(frozen, 1, {.urls = cluster().urls(), .timeout = milliseconds{60'000}, .patience = milliseconds{60'000}});
    ASSERT_TRUE(wait_until([&] { return !frozen.all<WatchConnected>().empty(); }));
    cluster().freeze(0);
    Told waiting;
    EtcdWatch connecting = watch(waiting, 1, {.urls = cluster().urls(), .timeout = milliseconds{60'000}, .patience = milliseconds{60'000}});
    stops_at_once(probing);
    stops_at_once(connecting);
    cluster().thaw(0);

    // A name that nobody resolves: packets to the resolver vanish behind a device without a carrier.
    netns().ip({"link add hole type veth peer name hole1", "link set hole up", "link set hole1 up", "addr add 192.0.2.1/24 dev hole",
                "route add default via 192.0.2.2"});
    Told resolving;
    EtcdWatch nameless =
        watch(resolving, 1, {.urls = {"http://etcd.example:2379"}, .timeout = milliseconds{60'000}, .patience = milliseconds{60'000}});
    EXPECT_FALSE(wait_until([&] { return !resolving.all<WatchDisconnected>().empty(); }, milliseconds{300})) << resolving.last_why();
    stops_at_once(nameless);
}

}  // namespace
}  // namespace fastnet::test
