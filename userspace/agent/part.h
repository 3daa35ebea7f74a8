// What the agent is made of: parts that are switched on and off, fail and are restarted one by one. A part owns its threads and
// everything behind them; it knows no other part. The supervisor (supervisor.h) starts, stops and watches it, the status document
// and /readyz show it. Invariant: what a part changes on the node goes through control, so that losing the process loses nothing.
#pragma once

#include <spdlog/logger.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/result.h"
#include "userspace/agent/config.h"
#include "userspace/control/paths.h"
#include "userspace/control/views.h"

namespace prometheus {
class Registry;
}

namespace fastnet {

using SteadyTime = std::chrono::steady_clock::time_point;

/// The sign of life of a part's threads: whichever does the part's work beats at least every kBeatInterval while it waits, and between
/// two steps while it works. One that is silent for Part::patience() counts as hung; the service manager's watchdog is fed no more.
class Heartbeat {
public:
    void beat(SteadyTime now = std::chrono::steady_clock::now()) noexcept { last_.store(now.time_since_epoch().count()); }
    SteadyTime last() const noexcept { return SteadyTime{SteadyTime::duration{last_.load()}}; }

private:
    std::atomic<SteadyTime::rep> last_{0};
};

/// What a started part says of itself.
struct Condition {
    enum class State {
        kReady,
        kNotReady,  ///< at work, but not there yet or cut off: `reason` goes to /readyz; nobody interferes
        kEnded,     ///< its work ended by itself: the supervisor stops it and starts it again, as if start() had failed
    };
    State state = State::kNotReady;
    std::string reason{};  ///< "what: why", for people; empty if ready; the same words as long as the cause is the same
};

/// What every part gets when it is made. The registry outlives it.
struct PartContext {
    NodePaths paths;
    std::shared_ptr<spdlog::logger> log;  ///< to stderr; safe from any thread
    prometheus::Registry* metrics;        ///< families are registered once, in the constructor
    std::string version{};                ///< of this program
};

class Part {
public:
    static constexpr std::chrono::milliseconds kBeatInterval{1'000};
    static constexpr std::chrono::milliseconds kStopLimit{700};

    Part() = default;
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;
    virtual ~Part() = default;

    /// A word: the name in logs, in the status document and as a label.
    virtual std::string_view name() const = 0;
    virtual bool enabled(const AgentConfig& config) const = 0;
    /// Whether the part looks at anything that differs: it is then restarted with @p after.
    virtual bool concerned(const AgentConfig& before, const AgentConfig& after) const = 0;

    /// Begins the threads and returns soon: what may take longer happens on them. On an error nothing is left running, and the
    /// supervisor tries again later. Never called twice without stop() between.
    virtual Status start(const AgentConfig& config) = 0;
    /// Ends and joins the threads within kStopLimit: calls that block have a time-out below it or can be interrupted. On a thread of the
    /// supervisor's. Harmless if not started.
    virtual void stop() = 0;

    // Any thread, at any time between start() and stop(), without waiting for anybody.
    virtual Condition condition() const = 0;
    /// An object for the status document's `parts[].details`.
    virtual nlohmann::json details() const { return nlohmann::json::object(); }
    /// For `fastnet doctor`.
    virtual std::vector<CheckView> checks() const { return {}; }
    /// How long the heartbeat may be silent.
    virtual std::chrono::milliseconds patience() const { return std::chrono::seconds{20}; }
    Heartbeat& heartbeat() { return heartbeat_; }

private:
    Heartbeat heartbeat_;
};

}  // namespace fastnet
