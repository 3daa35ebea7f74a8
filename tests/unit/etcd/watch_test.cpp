// The watch against members that break off, fall silent, lie or become another cluster.
#include "userspace/etcd/watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "tests/unit/etcd/fake_member.h"
#include "userspace/etcd/base64.h"

namespace fastnet {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

std::string header(std::int64_t revision, int cluster = 77) {
    return R"("header":{"cluster_id":")" + std::to_string(cluster) + R"(","member_id":"1","revision":")" + std::to_string(revision) + "\"}";
}
std::string line(std::int64_t revision, const std::string& rest) {
    return R"({"result":{)" + header(revision) + "," + rest + "}}\n";
}
std::string event(const std::string& key, std::int64_t revision, const std::string& rest = {}) {
    return line(revision,
                R"("events":[{"kv":{"key":")" + base64_encode(key) + R"(","mod_revision":")" + std::to_string(revision) + R"("}}])" + rest);
}
const std::string kCreated = line(9, R"("created":true)");

/// What the watch told, with a way to wait for it.
class Told {
public:
    WatchSink sink() {
        return [this](WatchMessage message) {
            const std::lock_guard guard{mutex_};
            messages_.push_back(std::move(message));
            changed_.notify_all();
        };
    }
    template <typename Condition>
    bool wait(Condition condition, milliseconds bound = milliseconds{5000}) {
        std::unique_lock guard{mutex_};
        return changed_.wait_for(guard, bound, [&] { return condition(messages_); });
    }
    template <typename Kind>
    bool wait_for(std::size_t count = 1, milliseconds bound = milliseconds{5000}) {
        return wait([&](const auto& messages) { return kinds<Kind>(messages).size() >= count; }, bound);
    }
    template <typename Kind>
    std::vector<Kind> all() {
        const std::lock_guard guard{mutex_};
        return kinds<Kind>(messages_);
    }
    std::size_t size() {
        const std::lock_guard guard{mutex_};
        return messages_.size();
    }

private:
    template <typename Kind>
    static std::vector<Kind> kinds(const std::vector<WatchMessage>& messages) {
        std::vector<Kind> found;
        for (const WatchMessage& message : messages) {
            if (const auto* kind = std::get_if<Kind>(&message)) found.push_back(*kind);
        }
        return found;
    }
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<WatchMessage> messages_;
};

/// For a member that is slow on purpose, or a machine that is.
EtcdConfig patient(std::vector<std::string> urls) {
    return {
        .urls = std::move(urls), .timeout = milliseconds{10'000}, .patience = milliseconds{20'000}, .probe_interval = milliseconds{100}};
}
EtcdConfig quick(std::vector<std::string> urls) {
    return {.urls = std::move(urls), .timeout = milliseconds{300}, .patience = milliseconds{600}, .probe_interval = milliseconds{100}};
}
EtcdWatch start(const std::vector<std::string>& urls, Told& told, std::int64_t from = 5) {
    return *EtcdWatch::start(quick(urls), "/f/", from, 0, told.sink());
}
/// Answers probes with revision 9 and streams with @p stream, whose argument is the number of the stream, from 0.
FakeMember::Handler streaming(std::function<void(int, FakeExchange&)> stream) {
    auto streams = std::make_shared<std::atomic<int>>(0);
    return [stream = std::move(stream), streams](const FakeRequest& request, FakeExchange& exchange) {
        if (request.path != "/v3/watch") {
            exchange.json(200, "{" + header(9) + "}");
            return true;
        }
        exchange.begin_stream();
        stream((*streams)++, exchange);
        return false;
    };
}
/// The start_revision of each stream that was asked for.
std::vector<std::string> starts(const FakeMember& member) {
    std::vector<std::string> found;
    for (const FakeRequest& request : member.requests()) {
        if (request.path == "/v3/watch") found.push_back(nlohmann::json::parse(request.body)["create_request"]["start_revision"]);
    }
    return found;
}

TEST(EtcdWatch, GoesOnBehindTheLastRevisionThatItHasCompletely) {
    FakeMember member{streaming([](int number, FakeExchange& exchange) {
        exchange.send(kCreated);
        if (number == 0) exchange.send(event("/f/a", 7));
        if (number == 1) exchange.send(event("/f/b", 8, R"(,"fragment":true)"));          // more of revision 8 is missing
        if (number == 2) exchange.send(event("/f/b", 8) + line(9, R"("watch_id":"0")"));  // and a progress notification
        if (number == 3) exchange.hold();
    })};
    Told told;
    EtcdWatch watch = start({member.url()}, told);
    ASSERT_TRUE(told.wait_for<WatchConnected>(4));
    EXPECT_EQ(starts(member), (std::vector<std::string>{"5", "8", "8", "10"}));
    const auto events = told.all<WatchEvents>();
    ASSERT_EQ(events.size(), 3U);
    EXPECT_EQ(events[0].events[0].kv.key, "/f/a");
    EXPECT_EQ(events[2].revision, 8);
    EXPECT_EQ(told.all<WatchConnected>()[0].cluster_id, 77U);
}

TEST(EtcdWatch, SameReasonIsToldOnce) {
    const std::string closed = FakeMember{streaming([](int, FakeExchange&) {})}.url();
    Told told;
    EtcdWatch watch = *EtcdWatch::start(patient({closed}), "/f/", 5, 0, told.sink());
    ASSERT_TRUE(told.wait_for<WatchDisconnected>());
    EXPECT_FALSE(told.wait_for<WatchDisconnected>(2, milliseconds{1000})) << told.all<WatchDisconnected>()[1].why;
}

TEST(EtcdWatch, AnotherClusterOrOneThatWentBackEndsIt) {
    const auto ends = [](std::int64_t revision, int cluster, milliseconds bound = milliseconds{5000}) {
        FakeMember member{[=](const FakeRequest& request, FakeExchange& exchange) {
            if (request.path == "/v3/watch") {
                exchange.begin_stream();
                exchange.send(R"({"result":{)" + header(revision, cluster) + R"(,"created":true}})" + "\n");
                exchange.hold();
                return false;
            }
            exchange.json(200, "{" + header(revision, cluster) + "}");
            return true;
        }};
        Told told;
        EtcdWatch watch = *EtcdWatch::start(patient({member.url()}), "/f/", 5, 77, told.sink());
        const bool ended = told.wait_for<WatchCompacted>(1, bound);
        EXPECT_EQ(watch.running(), !ended);
        return ended ? told.all<WatchCompacted>()[0].why : std::string{};
    };
    EXPECT_EQ(ends(4, 77, milliseconds{500}), "");  // nothing has happened since the range
    EXPECT_EQ(ends(9, 77, milliseconds{500}), "");
    EXPECT_THAT(ends(3, 77), HasSubstr("gone back from revision 4 to 3"));
    EXPECT_THAT(ends(9, 78), HasSubstr("another cluster"));
}

TEST(EtcdWatch, EventsThatOvertakeTheAnswerOfAProbeAreNoStepBack) {
    Told told;
    std::atomic<int> probes{0};
    FakeMember member{[&](const FakeRequest& request, FakeExchange& exchange) {
        if (request.path == "/v3/watch") {
            exchange.begin_stream();
            exchange.send(kCreated);
            while (probes < 2 && exchange.send(line(9, R"("watch_id":"0")"))) std::this_thread::sleep_for(milliseconds{1});
            exchange.send(event("/f/a", 10));
            exchange.hold();
            return false;
        }
        // The second one is read before the event, and told after it.
        if (++probes == 2) (void)told.wait_for<WatchEvents>();
        exchange.json(200, "{" + header(probes <= 2 ? 9 : 10) + "}");
        return true;
    }};
    EtcdWatch watch = *EtcdWatch::start(patient({member.url()}), "/f/", 5, 77, told.sink());
    ASSERT_TRUE(told.wait_for<WatchEvents>());
    const auto begin = Clock::now();
    while (probes < 4 && watch.running() && Clock::now() - begin < milliseconds{5000}) std::this_thread::sleep_for(milliseconds{1});
    EXPECT_GE(probes, 4) << "the watch goes on";
    EXPECT_EQ(told.all<WatchCompacted>().size(), 0U);
}

TEST(EtcdWatch, MemberWhoseProbesFailIsLeftThoughItsStreamStands) {
    std::atomic<bool> quorum{true};
    FakeMember lost{[&](const FakeRequest& request, FakeExchange& exchange) {
        if (request.path == "/v3/watch") {
            exchange.begin_stream();
            exchange.send(kCreated);
            exchange.hold();
            return false;
        }
        if (quorum) {
            exchange.json(200, "{" + header(9) + "}");
            return true;
        }
        exchange.hold();
        return false;
    }};
    FakeMember good{streaming([](int, FakeExchange& exchange) {
        exchange.send(kCreated + event("/f/a", 9));
        exchange.hold();
    })};
    Told told;
    EtcdWatch watch = start({lost.url(), good.url()}, told);
    ASSERT_TRUE(told.wait_for<WatchConnected>());
    quorum = false;
    ASSERT_TRUE(told.wait_for<WatchEvents>());
    EXPECT_EQ(told.all<WatchConnected>()[1].url, good.url());
    EXPECT_THAT(told.all<WatchDisconnected>()[0].why, HasSubstr("quorum"));
}

TEST(EtcdWatch, HostileStreamsAreLeftForTheNextMember) {
    const std::vector<std::string> hostile{
        "half a line {\"result\":\n",
        "[]\n",
        "\"x\"\n",
        R"({"result":5})"
        "\n",
        event("/f/a", 9),             // before it was created
        kCreated + event("/f/a", 4),  // older than asked for
        kCreated + event("/elsewhere", 9),
        kCreated + event("/f/b", 9) + event("/f/a", 8),  // backwards
        kCreated + std::string(100, '\0') + "\n",
        line(9, R"("canceled":true,"cancel_reason":"because")"),
        R"({"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}})"
        "\n",
        "",  // silence: never created
    };
    for (std::size_t kind = 0; kind < hostile.size(); ++kind) {
        FakeMember bad{streaming([&](int, FakeExchange& exchange) {
            exchange.send(hostile[kind]);
            if (hostile[kind].empty()) exchange.hold();
        })};
        FakeMember good{streaming([](int, FakeExchange& exchange) {
            exchange.send(kCreated + event("/f/good", 9));
            exchange.hold();
        })};
        Told told;
        EtcdWatch watch = start({bad.url(), good.url()}, told);
        const bool reached = told.wait([&](const auto& messages) {
            return std::any_of(messages.begin(), messages.end(), [&](const WatchMessage& message) {
                const auto* connected = std::get_if<WatchConnected>(&message);
                return connected != nullptr && connected->url == good.url();
            });
        });
        EXPECT_TRUE(reached) << kind;
        EXPECT_FALSE(told.all<WatchDisconnected>().empty()) << kind;
    }
}

TEST(EtcdWatch, LineWithoutEndIsBoundedAndSendsTheOwnerToARange) {
    std::atomic<bool> all_sent{false};
    FakeMember member{streaming([&](int, FakeExchange& exchange) {
        const std::string piece(1024 * 1024, 'x');
        bool on = exchange.send(kCreated);
        for (int pieces = 0; on && pieces < 100; ++pieces) on = exchange.send(piece);
        all_sent = on;
    })};
    rusage before{};
    ::getrusage(RUSAGE_SELF, &before);
    Told told;
    EtcdWatch watch = start({member.url()}, told);
    ASSERT_TRUE(told.wait_for<WatchCompacted>());
    EXPECT_THAT(told.all<WatchCompacted>()[0].why, HasSubstr("larger than"));
    EXPECT_FALSE(watch.running());
    rusage after{};
    ::getrusage(RUSAGE_SELF, &after);
    EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 * 1024) << "kB more than before";
    watch.stop();
    EXPECT_FALSE(all_sent);
}

TEST(EtcdWatch, RefusedTokenIsRenewed) {
    std::atomic<int> tokens{0};
    FakeMember member{[&](const FakeRequest& request, FakeExchange& exchange) {
        if (request.path == "/v3/auth/authenticate") {
            exchange.json(200, with_header(R"("token":"tok)" + std::to_string(++tokens) + "\""));
            return true;
        }
        if (request.path == "/v3/kv/range") {
            exchange.json(200, "{" + header(9) + "}");
            return true;
        }
        exchange.begin_stream();
        if (request.head.find("Authorization: tok2") == std::string::npos) {
            exchange.send(line(9, R"("created":true,"canceled":true,"cancel_reason":"etcdserver: invalid auth token")"));
            return false;
        }
        exchange.send(kCreated);
        exchange.hold();
        return false;
    }};
    EtcdConfig config = quick({member.url()});
    config.user = "u";
    config.password = "hunter2";
    Told told;
    EtcdWatch watch = *EtcdWatch::start(config, "/f/", 5, 0, told.sink());
    EXPECT_TRUE(told.wait_for<WatchConnected>());
    EXPECT_EQ(tokens, 2);
}

TEST(EtcdWatch, StopsWithin100MillisecondsAndIsSilentAfterwards) {
    FakeMember quiet{streaming([](int, FakeExchange& exchange) {
        exchange.send(kCreated);
        exchange.hold();
    })};
    FakeMember flood{streaming([](int, FakeExchange& exchange) {
        exchange.send(kCreated);
        std::int64_t revision = 9;
        while (exchange.send(event("/f/a", ++revision))) {
        }
    })};
    FakeMember mute{[](const FakeRequest&, FakeExchange& exchange) {
        exchange.hold();
        return false;
    }};
    FakeMember refusing{[](const FakeRequest&, FakeExchange& exchange) {
        exchange.json(403, refusal(7, "etcdserver: permission denied"));  // followed by a long pause
        return true;
    }};
    for (const FakeMember* member : {&quiet, &flood, &mute, &refusing}) {
        Told told;
        EtcdConfig config = quick({member->url()});
        config.timeout = config.patience = milliseconds{30'000};
        EtcdWatch watch = *EtcdWatch::start(config, "/f/", 5, 0, told.sink());
        if (member == &mute) {
            while (member->count("/v3/kv/range") == 0) std::this_thread::yield();
        } else {
            ASSERT_TRUE(told.wait([](const auto& messages) { return !messages.empty(); }));
        }
        const auto begin = Clock::now();
        watch.stop();
        EXPECT_LT(Clock::now() - begin, milliseconds{100});
        EXPECT_FALSE(watch.running());
        const std::size_t told_until_then = told.size();
        EXPECT_FALSE(told.wait([&](const auto& messages) { return messages.size() != told_until_then; }, milliseconds{50}));
        watch.stop();  // twice is no harm
    }
}

}  // namespace
}  // namespace fastnet
