// The client against members that fail, hang and lie: what is tried again, where, and what never gets out.
#include "userspace/etcd/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <thread>

#include "tests/unit/etcd/fake_member.h"
#include "userspace/etcd/gateway.h"

namespace fastnet {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;
using Clock = std::chrono::steady_clock;

const Txn kCreate{.compares = {Compare::absent("/f/a")}, .then = {TxnOp::put("/f/a", "mine")}, .otherwise = {TxnOp::get("/f/a")}};
const Txn kBlind{.then = {TxnOp::put("/f/a", "mine")}};
const std::string kDone = with_header(R"("succeeded":true,"responses":[{"response_put":{}}])");

EtcdClient open_client(std::vector<std::string> urls, EtcdConfig config = {}) {
    config.urls = std::move(urls);
    if (config.timeout == EtcdConfig{}.timeout) config.timeout = milliseconds{300};
    if (config.patience == EtcdConfig{}.patience) config.patience = milliseconds{1500};
    auto client = EtcdClient::open(std::move(config));
    if (!client) ADD_FAILURE() << client.error().message;
    return std::move(*client);
}

bool answer(FakeExchange& exchange, const std::string& body) {
    exchange.json(200, body);
    return true;
}
FakeMember::Handler always(int status, const std::string& body) {
    return [=](const FakeRequest&, FakeExchange& exchange) {
        exchange.json(status, body);
        return true;
    };
}
FakeMember::Handler silent() {
    return [](const FakeRequest&, FakeExchange& exchange) {
        exchange.hold();
        return false;
    };
}
/// An address that refuses: its port was free a moment ago.
std::string closed_url() {
    return FakeMember{always(200, kDone)}.url();
}

TEST(EtcdClient, ConfigurationIsCheckedBeforeAnythingIsSent) {
    const auto refused = [](EtcdConfig config) {
        const auto client = EtcdClient::open(std::move(config));
        EXPECT_FALSE(client);
        return client ? std::string{} : client.error().message;
    };
    EXPECT_THAT(refused({.urls = {}}), HasSubstr("no URL"));
    for (const char* url :
         {"ftp://host:1", "host:2379", "http://host:2379/v3", "http://host:2379/?x", "http://", "", "http://host:99999", "http://ho st:1"})
        refused({.urls = {url}});
    EXPECT_THAT(refused({.urls = {"http://user:hunter2@host:2379"}}), Not(HasSubstr("hunter2")));
    EXPECT_THAT(refused({.urls = {"http://user:hunter2@ho st"}}), Not(HasSubstr("hunter2")));
    EXPECT_THAT(refused({.urls = {"http://h:1"}, .user = "x"}), HasSubstr("password"));
    EXPECT_THAT(refused({.urls = {"http://h:1"}, .cert_file = "/x"}), HasSubstr("key"));
    EXPECT_THAT(refused({.urls = {"http://h:1"}, .ca_file = "/nowhere/ca"}), HasSubstr("/nowhere/ca"));
    for (const char* url : {"http://h:2379", "https://h", "http://[::1]:2379/", "http://10.0.0.1:2379"})
        EXPECT_TRUE(EtcdClient::open({.urls = {url}})) << url;
}

TEST(EtcdClient, MemberThatFailedGoesToTheEnd) {
    FakeMember good{always(200, kDone)};
    FakeMember bad{always(503, refusal(14, "etcdserver: no leader"))};
    EtcdClient client = open_client({closed_url(), bad.url(), good.url()});
    for (int round = 0; round < 3; ++round) {
        const auto result = client.txn(kCreate);
        ASSERT_TRUE(result) << result.error().message;
        EXPECT_FALSE(result->repeated) << "nobody did anything before";
    }
    EXPECT_EQ(bad.count("/v3/kv/txn"), 1U);
    EXPECT_EQ(good.count("/v3/kv/txn"), 3U);
    EXPECT_THAT(good.requests()[0].head, HasSubstr("Grpc-Metadata-hasleader: true"));
}

TEST(EtcdClient, UnknownOutcomeIsRepeatedOnlyWhereThatIsSafe) {
    FakeMember good{always(200, kDone)};
    const std::vector<FakeMember::Handler> doubtful{silent(), always(503, refusal(14, "etcdserver: request timed out")),
                                                    always(200, "{\"header\":"), always(502, "Bad Gateway"),
                                                    [](const FakeRequest&, FakeExchange&) { return false; }};  // hangs up
    for (std::size_t kind = 0; kind < doubtful.size(); ++kind) {
        FakeMember bad{doubtful[kind]};
        const std::size_t before = good.count("/v3/kv/txn");
        const auto created = open_client({bad.url(), good.url()}).txn(kCreate);
        ASSERT_TRUE(created) << kind << created.error().message;
        EXPECT_TRUE(created->repeated) << kind;
        const auto blind = open_client({bad.url(), good.url()}).txn(kBlind);
        ASSERT_FALSE(blind) << kind;
        EXPECT_THAT(blind.error().message, HasSubstr("whether it was done is unknown"));
        EXPECT_EQ(good.count("/v3/kv/txn"), before + 1) << kind;
        Txn allowed = kBlind;
        allowed.harmless_twice = true;
        EXPECT_TRUE(open_client({bad.url(), good.url()}).txn(allowed)) << kind;
    }
    // What surely was not done is repeated for all.
    FakeMember leaderless{always(503, refusal(14, "etcdserver: no leader"))};
    EXPECT_TRUE(open_client({closed_url(), leaderless.url(), good.url()}).txn(kBlind));
}

TEST(EtcdClient, KeptConnectionThatBreaksIsNotRepeatedBehindOurBack) {
    // libcurl sends again by itself when a kept connection ends without a byte of an answer.
    std::atomic<int> served{0};
    FakeMember member{[&](const FakeRequest&, FakeExchange& exchange) { return served++ == 0 && answer(exchange, kDone); }};
    EtcdClient client = open_client({member.url()});
    ASSERT_TRUE(client.txn(kBlind));
    EXPECT_FALSE(client.txn(kBlind));
    EXPECT_EQ(member.count("/v3/kv/txn"), 2U);
}

TEST(EtcdClient, ClustersOwnAnswerEndsTheCallAtOnce) {
    FakeMember strict{always(403, refusal(7, "etcdserver: permission denied"))};
    FakeMember other{always(200, kDone)};
    const auto result = open_client({strict.url(), other.url()}).txn(kCreate);
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().message, HasSubstr(strict.url() + ": etcdserver: permission denied"));
    EXPECT_EQ(other.count("/v3/kv/txn"), 0U);
}

TEST(EtcdClient, CallsEndWhenPatienceIsOverAndNameEachMember) {
    FakeMember hanging{silent()};
    const std::string closed = closed_url();
    const auto begin = Clock::now();
    const auto result = open_client({hanging.url(), closed}).range_prefix("/f/");
    EXPECT_LT(Clock::now() - begin, milliseconds{2500});
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().message, HasSubstr(hanging.url() + ": no answer within"));
    EXPECT_THAT(result.error().message, HasSubstr(closed + ": "));
    EXPECT_THAT(result.error().message, Not(HasSubstr("unknown"))) << "a read has no outcome";
}

TEST(EtcdClient, LeaseThatAnUnansweredAttemptMadeIsOurs) {
    std::atomic<int> grants{0};
    FakeMember member{[&](const FakeRequest& request, FakeExchange& exchange) {
        if (request.path == "/v3/lease/keepalive") return answer(exchange, R"({"result":)" + with_header(R"("ID":"5","TTL":"30")") + "}");
        if (grants++ == 0) return false;
        exchange.json(412, refusal(9, "etcdserver: lease already exists"));
        return true;
    }};
    EtcdClient client = open_client({member.url()});
    const auto lease = client.grant(std::chrono::seconds{30});
    ASSERT_TRUE(lease) << lease.error().message;
    EXPECT_EQ(lease->ttl, std::chrono::seconds{30});
    EXPECT_GT(lease->id, 0);
    const auto taken = client.grant(std::chrono::seconds{30}, 5);
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().kind, ErrorKind::kConflict);
}

TEST(EtcdClient, RefusedTokenIsRenewedOnceAndSecretsStayInside) {
    std::atomic<int> tokens{0};
    FakeMember member{[&](const FakeRequest& request, FakeExchange& exchange) {
        if (request.path == "/v3/auth/authenticate")
            return answer(exchange, with_header(R"("token":"tok)" + std::to_string(++tokens) + "\""));
        if (request.head.find("Authorization: tok2") != std::string::npos) return answer(exchange, kDone);
        exchange.json(401, refusal(16, "etcdserver: invalid auth token"));
        return true;
    }};
    EtcdClient client = open_client({member.url()}, {.urls = {}, .user = "u", .password = "hunter2"});
    ASSERT_TRUE(client.txn(kBlind));
    ASSERT_TRUE(client.txn(kBlind));
    EXPECT_EQ(tokens, 2);

    // A member that quotes what it was sent.
    FakeMember parrot{[&](const FakeRequest& request, FakeExchange& exchange) {
        if (request.path == "/v3/auth/authenticate") return answer(exchange, with_header(R"("token":"tok9")"));
        exchange.json(403, refusal(7, "no hunter2 and no tok9 here"));
        return true;
    }};
    const auto result = open_client({parrot.url()}, {.urls = {}, .user = "u", .password = "hunter2"}).txn(kBlind);
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().message, HasSubstr("no *** and no *** here"));
}

TEST(EtcdClient, HostileAnswersAreErrorsWithinBounds) {
    const std::string huge_length = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
    const std::string chunk = std::string(65536, 'x');
    const auto endless = [&](const std::string& begin, const std::string& piece) {
        return [=](const FakeRequest&, FakeExchange& exchange) {
            bool on = exchange.send(begin);
            for (int pieces = 0; on && pieces < 2000; ++pieces) on = exchange.send(piece);  // 130 MB if nobody stops it
            return false;
        };
    };
    const auto raw = [](const std::string& bytes) {
        return [=](const FakeRequest&, FakeExchange& exchange) {
            exchange.send(bytes);
            return false;
        };
    };
    const std::vector<FakeMember::Handler> hostile{
        endless(huge_length, chunk),
        endless("HTTP/1.1 200 OK\r\n", "X-Header: " + std::string(1000, 'h') + "\r\n"),
        endless("", "HTTP/1.1 100 Continue\r\n\r\n"),
        endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "10000\r\n" + chunk + "\r\n"),
        raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
        raw("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"),
        raw("HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        raw("SSH-2.0-OpenSSH_9\r\n"),
        raw(std::string(1000, '\0')),
        raw(""),
        always(200, "null"),
        always(200, with_header(R"("more":true,"kvs":[{"key":"L2YvYQ==","mod_revision":"2"}])")),  // the same page for ever
    };
    rusage before{};
    ::getrusage(RUSAGE_SELF, &before);
    for (std::size_t kind = 0; kind < hostile.size(); ++kind) {
        FakeMember member{hostile[kind]};
        const auto begin = Clock::now();
        const auto result = open_client({member.url()}, {.urls = {}, .patience = milliseconds{700}}).range_prefix("/f/");
        EXPECT_FALSE(result) << kind;
        EXPECT_LT(Clock::now() - begin, milliseconds{3000}) << kind;
    }
    rusage after{};
    ::getrusage(RUSAGE_SELF, &after);
    EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 * 1024) << "kB more than before";
}

TEST(EtcdClient, ARangeBeyondItsLimitsIsAnErrorOfItsOwn) {
    FakeMember member{always(
        200, with_header(
                 R"("kvs":[{"key":"L2YvYQ==","mod_revision":"1","value":"eA=="},{"key":"L2YvYg==","mod_revision":"1","value":"eA=="}])"))};
    const auto read = [&](const RangeLimits& limits) { return open_client({member.url()}).range_prefix("/f/", limits); };
    const auto fits = read({2, 10});
    ASSERT_TRUE(fits) << fits.error().message;
    EXPECT_EQ(fits->kvs.size(), 2U);
    for (const RangeLimits& limits : {RangeLimits{1, 100}, RangeLimits{100, 9}}) {
        const auto result = read(limits);
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().sys_errno, E2BIG) << result.error().message;
    }
}

TEST(EtcdClient, StatusTellsOfEveryMember) {
    const auto date = [](std::time_t when) {
        std::array<char, 64> text{};
        std::tm broken{};
        ::gmtime_r(&when, &broken);
        return std::string{text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &broken)};
    };
    FakeMember late{[&](const FakeRequest& request, FakeExchange& exchange) {
        const bool status = request.path == "/v3/maintenance/status";
        const std::string body =
            status ? with_header(R"("version":"3.4.23","leader":"1","dbSize":"20480")") : refusal(3, "etcdserver: user name is empty");
        exchange.send("HTTP/1.1 " + std::string{status ? "200" : "400"} + " X\r\nDate: " + date(std::time(nullptr) - 100) +
                      "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
        return true;
    }};
    FakeMember lost{[&](const FakeRequest& request, FakeExchange& exchange) {
        if (request.path == "/v3/maintenance/status") return answer(exchange, with_header(R"("version":"3.4.23")"));
        exchange.hold();
        return false;
    }};
    EtcdClient client = open_client({late.url(), lost.url(), closed_url()});
    const auto health = client.status();
    ASSERT_TRUE(health);
    const auto& [first, second, third] = std::tie(health->members[0], health->members[1], health->members[2]);
    EXPECT_TRUE(first.reachable && first.quorum && first.is_leader()) << first.error;
    EXPECT_EQ(first.database_bytes, 20480);
    EXPECT_NEAR(static_cast<double>(first.clock_offset.value_or(std::chrono::seconds{0}).count()), -100, 1);
    EXPECT_TRUE(second.reachable && !second.quorum && !second.is_leader());
    EXPECT_THAT(second.error, HasSubstr("no quorum"));
    EXPECT_FALSE(second.clock_offset);
    EXPECT_FALSE(third.reachable);
    EXPECT_FALSE(third.error.empty());
}

TEST(EtcdClient, InterruptEndsTheCallThatRunsAndEveryLaterOne) {
    FakeMember member{silent()};
    EtcdClient client = open_client({member.url()}, {.urls = {}, .timeout = milliseconds{30'000}, .patience = milliseconds{30'000}});
    std::thread other{[&] {
        while (member.count("/v3/kv/range") == 0) std::this_thread::yield();
        client.interrupt();
    }};
    const auto result = client.range_prefix("/f/");
    other.join();
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().message, HasSubstr("interrupted"));
    EXPECT_FALSE(client.txn(kCreate));
    EXPECT_FALSE(client.status());
}

TEST(AppliesOnce, OnlyIfItsOwnWritesMakeItsComparesFail) {
    const auto once = [](std::vector<Compare> compares, std::vector<TxnOp> then, std::vector<TxnOp> otherwise = {}) {
        return applies_once({std::move(compares), std::move(then), std::move(otherwise)});
    };
    EXPECT_TRUE(once({Compare::absent("a")}, {TxnOp::put("a", "1")}));
    EXPECT_TRUE(once({Compare::exists("b"), Compare::absent("a")}, {TxnOp::put("b", "1"), TxnOp::put("a", "1")}));
    EXPECT_TRUE(once({Compare::mod_revision("a", 5)}, {TxnOp::put("a", "1")}));
    EXPECT_TRUE(once({Compare::mod_revision("a", 0)}, {TxnOp::put("a", "1")}));
    EXPECT_TRUE(once({Compare::mod_revision("a", 5)}, {TxnOp::erase("a")}));
    EXPECT_TRUE(once({Compare::create_revision("a", 5)}, {TxnOp::erase_prefix("")}));
    EXPECT_TRUE(once({}, {TxnOp::get("a")}, {TxnOp::get("b")}));

    EXPECT_FALSE(once({}, {TxnOp::put("a", "1")}));
    EXPECT_FALSE(once({Compare::absent("a")}, {TxnOp::put("b", "1")})) << "another key";
    EXPECT_FALSE(once({Compare::absent("a")}, {TxnOp::erase("a")})) << "absent before and after";
    EXPECT_FALSE(once({Compare::create_revision("a", 5)}, {TxnOp::put("a", "1")})) << "a put keeps it";
    EXPECT_FALSE(once({Compare::exists("a")}, {TxnOp::put("a", "1")}));
    EXPECT_FALSE(once({Compare::has_value("a", "0")}, {TxnOp::put("a", "1")})) << "others may have put the old value back";
    EXPECT_FALSE(once({Compare::absent("a")}, {TxnOp::put("a", "1")}, {TxnOp::put("a", "2")})) << "a second time does the other branch";
}

}  // namespace
}  // namespace fastnet
