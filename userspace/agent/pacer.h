// When the reconciler checks the node. Pure: told what changed and what a check found, it says when the next one is due.
// Changes are collected for `debounce`, counted from the first: a stream of them delays nothing. A check that is expensive is followed
// by a pause in proportion, so that no flood of changes takes more than a twentieth of a CPU. Who keeps undoing a repair waits longer
// each time, up to `interval`, without holding up the repair of anything else.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "userspace/agent/config.h"

namespace fastnet {

class Pacer {
public:
    using Time = std::chrono::steady_clock::time_point;
    using Duration = std::chrono::steady_clock::duration;

    static constexpr int kCheckShare = 20;                            ///< a pause is so many times as long as its check took of a CPU
    static constexpr int kPeriodicShare = 100;                        ///< the same where nothing has changed
    static constexpr std::chrono::milliseconds kLongestPause{500};    ///< so that a repair is done within a second
    static constexpr unsigned kFreeRepairs = 4;                       ///< of one subject, until somebody is taken to fight us
    static constexpr std::chrono::seconds kCalm{60};                  ///< without another repair: forgotten
    static constexpr std::chrono::milliseconds kFirstBackOff{1'000};  ///< doubled with each repair
    static constexpr std::chrono::milliseconds kFirstRetry{1'000};    ///< after a failure, doubled with each

    /// The first check is due at once.
    Pacer(const ReconcileSettings& settings, Time now);

    /// Without a subject nobody is taken to fight us.
    void changed(const std::string& subject, Time now);
    Time next_check() const;
    bool waits_for_changes() const { return !due_; }  ///< no change is pending
    /// Somebody undoes what was repaired: each of @p subjects waits.
    bool is_contested(const std::string& subject) const;
    enum class Outcome { kNothing, kRepaired, kFailed };
    /// @p cost: CPU time of the check. Subjects that became contested by it, which repaired @p repaired; where changes of none of these led
    /// to it, all that did are held to have. A change that only came along with contested ones waits as they do.
    std::vector<std::string> checked(Outcome outcome, Duration cost, Time now, const std::set<std::string>& repaired = {});

private:
    struct History {
        unsigned repairs = 0;
        Time last{};
        Time until{};  ///< its changes wait until then
    };

    ReconcileSettings settings_;
    std::optional<Time> due_;  ///< by changes
    Time periodic_;
    Time not_before_;
    std::set<std::string> pending_{};
    std::map<std::string, History> history_{};
    unsigned failures_ = 0;
};

}  // namespace fastnet
