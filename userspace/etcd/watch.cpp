#include "userspace/etcd/watch.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <random>
#include <thread>
#include <utility>

#include "userspace/etcd/gateway.h"
#include "userspace/etcd/line_buffer.h"
#include "userspace/etcd/session.h"

namespace fastnet {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLongestPause{2000};
// A refused password costs the member 100 ms of CPU (bcrypt), and does not get better within seconds.
constexpr milliseconds kPauseAfterRefusal{10'000};

/// Why a stream is no more.
struct Broken {
    std::string why;
    bool refused = false;  ///< by the cluster, not by this member
};

}  // namespace

class EtcdWatch::Impl {
public:
    Impl(std::unique_ptr<EtcdSession> session, std::string prefix, std::int64_t from_revision, std::uint64_t cluster_id, WatchSink sink)
        : session_{std::move(session)},
          prefix_{std::move(prefix)},
          next_revision_{from_revision},
          seen_revision_{from_revision - 1},
          cluster_id_{cluster_id},
          sink_{std::move(sink)},
          thread_{[this] { run(); }} {}
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() { stop(); }

    void stop() noexcept {
        session_->engine().interrupt();
        if (thread_.joinable()) thread_.join();
    }
    bool running() const noexcept { return running_.load(); }

private:
    void run();
    /// Follows by one member until that ends.
    Broken follow(const std::string& url);
    std::optional<Broken> read_stream(const std::string& url, LineBuffer& lines);
    std::optional<Broken> take(const std::string& url, gateway::WatchAnswer answer);
    EtcdCall probe_call();
    /// What a probe or stream says about the cluster; false, and the end of the watch, if it is not the one that was followed.
    /// @p least: below this revision it has gone back.
    bool same_history(const gateway::Header& header, std::int64_t least);
    void disconnected(const std::string& url, const Broken& broken);
    void end(std::int64_t revision, std::string why);
    bool over() const { return ended_ || session_->engine().interrupted(); }
    void tell(WatchMessage message) {
        if (!session_->engine().interrupted()) sink_(std::move(message));
    }

    std::unique_ptr<EtcdSession> session_;
    std::string prefix_;
    std::int64_t next_revision_;  ///< where a stream begins
    std::int64_t seen_revision_;  ///< the cluster has been as far as this
    std::uint64_t cluster_id_;
    WatchSink sink_;
    std::string told_why_{};  ///< the last WatchDisconnected, until connected
    bool connected_ = false;
    bool ended_ = false;
    gateway::Header probed_{};
    std::atomic<bool> running_{true};
    std::thread thread_;  ///< last: starts when all else stands
};

void EtcdWatch::Impl::run() {
    std::minstd_rand random{std::random_device{}()};
    milliseconds pause{0};
    std::size_t failures = 0;
    while (!over()) {
        const std::string url = session_->first();
        const Broken broken = follow(url);
        if (over()) break;
        const bool was_connected = connected_;
        disconnected(url, broken);
        session_->demote_first();
        if (was_connected) {
            failures = 0;
            pause = milliseconds{0};
        }
        if (broken.refused) {
            pause = kPauseAfterRefusal;
        } else if (++failures % session_->config().urls.size() == 0) {
            pause = std::clamp(2 * pause, kFirstPause, kLongestPause);
        } else {
            continue;
        }
        // All nodes lose a member at the same time; they need not come back at the same time.
        const milliseconds spread{static_cast<long>(random() % static_cast<unsigned long>(pause.count() / 4 + 1))};
        if (!session_->engine().pause(pause - spread)) break;
    }
    running_.store(false);
}

void EtcdWatch::Impl::disconnected(const std::string& url, const Broken& broken) {
    std::string why = "etcd: watch: " + url + ": " + broken.why;
    connected_ = false;
    if (std::exchange(told_why_, why) != why) tell(WatchDisconnected{std::move(why)});
}

void EtcdWatch::Impl::end(std::int64_t revision, std::string why) {
    if (ended_) return;
    ended_ = true;
    running_.store(false);
    tell(WatchCompacted{revision, std::move(why)});
}

bool EtcdWatch::Impl::same_history(const gateway::Header& header, std::int64_t least) {
    if (cluster_id_ != 0 && header.cluster_id != cluster_id_) {
        end(0, "etcd has become another cluster");
    } else if (header.revision < least) {
        end(0, "etcd has gone back from revision " + std::to_string(least) + " to " + std::to_string(header.revision));
    }
    cluster_id_ = header.cluster_id;
    seen_revision_ = std::max(seen_revision_, header.revision);
    return !ended_;
}

EtcdCall EtcdWatch::Impl::probe_call() {
    const gateway::RangeQuery query{.key = prefix_.empty() ? std::string(1, '\0') : prefix_, .limit = 1, .keys_only = true};
    EtcdCall call{.what = "probe", .path = "/v3/kv/range", .body = gateway::range_request(query)};
    call.take = [this](std::string_view body) -> Status {
        probed_ = TRY(gateway::parse_header(body));
        return ok();
    };
    return call;
}

Broken EtcdWatch::Impl::follow(const std::string& url) {
    const EtcdConfig& config = session_->config();
    const EtcdCall probe = probe_call();
    // A member that lags behind shows less in its stream, but not in a linearizable read: that is at least of when it was sent. What the
    // stream has told since then is newer than the answer may be.
    std::int64_t least = seen_revision_;
    EtcdAttempt attempt = session_->attempt(url, probe, config.timeout);
    if (attempt.end != EtcdAttempt::End::kAnswered) return {std::move(attempt.error.message), attempt.end == EtcdAttempt::End::kFinal};
    if (!same_history(probed_, least)) return {};

    LineBuffer lines{gateway::kMaxAnswer};
    HttpRequest request = session_->request(url, "/v3/watch", gateway::watch_request(prefix_, next_revision_), true);
    request.timeout = milliseconds{0};
    request.on_data = [&lines](std::string_view bytes) { return lines.append(bytes); };
    HttpEngine::Transfer stream{session_->engine(), std::move(request)};
    std::unique_ptr<HttpEngine::Transfer> probing;
    const auto start_probe = [&] {
        least = seen_revision_;
        HttpRequest read = session_->request(url, probe.path, probe.body, true);
        probing = std::make_unique<HttpEngine::Transfer>(session_->engine(), std::move(read));
    };
    auto next_probe = Clock::now() + config.probe_interval;
    const auto first_line_due = Clock::now() + config.timeout;
    while (true) {
        const auto due = !connected_ ? first_line_due : probing ? Clock::now() + config.timeout : next_probe;
        session_->engine().step(std::max(milliseconds{0}, std::chrono::ceil<milliseconds>(due - Clock::now())));
        if (auto broken = read_stream(url, lines)) return std::move(*broken);
        if (over()) return {};
        if (stream.done()) return {stream.reply().code == CURLE_OK ? "the stream has ended" : gateway::printable(stream.reply().why)};
        if (!connected_ && Clock::now() >= first_line_due) return {"no answer within " + std::to_string(config.timeout.count()) + " ms"};
        if (probing && probing->done()) {
            attempt = session_->judge(probing->take_reply(), probe);
            probing.reset();
            next_probe = Clock::now() + config.probe_interval;
            if (attempt.end != EtcdAttempt::End::kAnswered)
                return {std::move(attempt.error.message), attempt.end == EtcdAttempt::End::kFinal};
            if (!same_history(probed_, least)) return {};
        } else if (connected_ && !probing && Clock::now() >= next_probe) {
            start_probe();
        }
    }
}

std::optional<Broken> EtcdWatch::Impl::read_stream(const std::string& url, LineBuffer& lines) {
    for (const std::string& line : lines.take()) {
        auto answer = gateway::parse_watch(line, prefix_, session_->config().max_value_bytes);
        if (!answer) return Broken{std::move(answer).error().message};
        if (auto broken = take(url, std::move(*answer))) return broken;
        if (over()) return Broken{};
    }
    if (!lines.overflown()) return std::nullopt;
    // The same line would come again from every member: only a range gets past it.
    end(0, "a single message of etcd is larger than " + std::to_string(gateway::kMaxAnswer) + " bytes");
    return Broken{};
}

std::optional<Broken> EtcdWatch::Impl::take(const std::string& url, gateway::WatchAnswer answer) {
    if (answer.refusal) {
        const gateway::Verdict verdict = gateway::judge(*answer.refusal);
        if (verdict == gateway::Verdict::kToken) session_->forget_token();
        return Broken{session_->refusal_error(*answer.refusal).message, verdict == gateway::Verdict::kFinal};
    }
    if (!same_history(answer.header, 0)) return Broken{};
    if (answer.compact_revision > 0) {
        end(answer.compact_revision, "etcd has compacted what came after revision " + std::to_string(next_revision_ - 1));
        return Broken{};
    }
    if (answer.canceled) {
        const gateway::Refusal refusal{0, answer.cancel_reason};
        if (gateway::judge(refusal) == gateway::Verdict::kToken) session_->forget_token();
        const bool refused = answer.cancel_reason.find("permission denied") != std::string::npos;
        return Broken{"canceled: " + session_->refusal_error(refusal).message, refused};
    }
    if (answer.created && !connected_) {
        connected_ = true;
        told_why_.clear();
        tell(WatchConnected{url, answer.header.cluster_id});
        return std::nullopt;
    }
    if (answer.events.empty()) {
        // A progress notification: everything up to here has been sent.
        if (connected_ && !answer.created) next_revision_ = std::max(next_revision_, answer.header.revision + 1);
        return std::nullopt;
    }
    if (!connected_ || answer.events.front().kv.mod_revision < next_revision_) return Broken{"not an answer of etcd: events out of order"};
    const std::int64_t last = answer.events.back().kv.mod_revision;
    next_revision_ = answer.fragment ? last : last + 1;
    tell(WatchEvents{std::move(answer.events), last});
    return std::nullopt;
}

EtcdWatch::EtcdWatch(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
EtcdWatch::EtcdWatch(EtcdWatch&&) noexcept = default;
EtcdWatch& EtcdWatch::operator=(EtcdWatch&&) noexcept = default;
EtcdWatch::~EtcdWatch() = default;

Result<EtcdWatch> EtcdWatch::start(EtcdConfig config, std::string prefix, std::int64_t from_revision, std::uint64_t cluster_id,
                                   WatchSink sink) {
    if (from_revision <= 0) return usage_error("etcd: watch: the first revision has to be positive");
    auto session = TRY(EtcdSession::open(std::move(config)));
    return EtcdWatch{std::make_unique<Impl>(std::move(session), std::move(prefix), from_revision, cluster_id, std::move(sink))};
}

void EtcdWatch::stop() noexcept {
    if (impl_) impl_->stop();
}

bool EtcdWatch::running() const noexcept {
    return impl_ && impl_->running();
}

}  // namespace fastnet
