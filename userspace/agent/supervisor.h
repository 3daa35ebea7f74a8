// Starts, stops and watches the parts of the agent. One that cannot start, or that ended by itself, is tried again with growing pauses
// while the others go on. Decides by the time it is told, so that tests have their own clock.
// apply(), tick() and stop() belong to one thread; reports() and alive() to any.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/agent/part.h"

namespace fastnet {

enum class PartState {
    kOff,       ///< by the configuration
    kReady,     ///< started, and says so
    kNotReady,  ///< started, and says why not
    kWaiting,   ///< could not start or ended: to be tried again
    kHung,      ///< started, but its heartbeat is too old
};
std::string_view to_string(PartState state);

struct PartReport {
    std::string name{};
    PartState state = PartState::kOff;
    std::string reason{};
    std::uint64_t starts = 0;  ///< since the process began
    nlohmann::json details = nlohmann::json::object();
    std::vector<CheckView> checks{};
    bool good() const { return state == PartState::kOff || state == PartState::kReady; }
};

class Supervisor {
public:
    static constexpr std::chrono::seconds kFirstPause{1};
    static constexpr std::chrono::seconds kLongestPause{30};
    /// A part that ran for so long begins with the first pause again.
    static constexpr std::chrono::seconds kProven{60};

    Supervisor(std::vector<std::unique_ptr<Part>> parts, std::shared_ptr<spdlog::logger> log);
    Supervisor(const Supervisor&) = delete;
    Supervisor& operator=(const Supervisor&) = delete;
    ~Supervisor();

    /// Starts what @p config switches on, stops what it switches off, restarts what it changes. Names of the parts that were touched.
    std::vector<std::string> apply(const AgentConfig& config, SteadyTime now);
    /// What is due: new attempts, parts that ended, changes of state for the log.
    void tick(SteadyTime now);
    /// All at once, as none waits for another. False if a part has not ended within @p bound: the process is to end without it.
    [[nodiscard]] bool stop(std::chrono::milliseconds bound);

    std::vector<PartReport> reports(SteadyTime now) const;
    /// No part that runs is hung.
    bool alive(SteadyTime now) const;

private:
    struct Slot {
        std::unique_ptr<Part> part;
        bool wanted = false;
        bool running = false;  ///< between start() and stop(): only then is the part asked anything
        std::string failure{};
        std::uint64_t starts = 0;
        SteadyTime started{};
        SteadyTime retry{};
        std::chrono::seconds pause{kFirstPause};
        PartState logged = PartState::kOff;
        std::string logged_reason{};
    };

    void start(Slot& slot, SteadyTime now);
    void stop(Slot& slot);
    void fail(Slot& slot, std::string why, SteadyTime now);
    PartReport state_of(const Slot& slot, SteadyTime now) const;  ///< without details and checks
    void log_change(Slot& slot, SteadyTime now);

    mutable std::mutex mutex_;  ///< of the slots' fields; never held while a part starts or stops
    std::vector<Slot> slots_;
    AgentConfig config_;
    std::shared_ptr<spdlog::logger> log_;
};

}  // namespace fastnet
