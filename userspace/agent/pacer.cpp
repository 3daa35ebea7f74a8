#include "userspace/agent/pacer.h"

#include <algorithm>

namespace fastnet {
namespace {

/// @p first, doubled @p times, but no more than @p most.
Pacer::Duration doubled(Pacer::Duration first, unsigned times, Pacer::Duration most) {
    while (times-- > 0 && first < most) first *= 2;
    return std::min(first, most);
}

}  // namespace

Pacer::Pacer(const ReconcileSettings& settings, Time now) : settings_{settings}, periodic_{now}, not_before_{now} {}

void Pacer::changed(const std::string& subject, Time now) {
    Time at = std::max(now + settings_.debounce, not_before_);
    if (const auto known = history_.find(subject); known != history_.end()) at = std::max(at, known->second.until);
    due_ = due_ ? std::min(*due_, at) : at;
    if (!subject.empty()) pending_.insert(subject);
}

Pacer::Time Pacer::next_check() const {
    return due_ ? std::min(*due_, periodic_) : periodic_;
}

bool Pacer::is_contested(const std::string& subject) const {
    const auto known = history_.find(subject);
    return known != history_.end() && known->second.repairs >= kFreeRepairs;
}

std::vector<std::string> Pacer::checked(Outcome outcome, Duration cost, Time now, const std::set<std::string>& repaired) {
    std::vector<std::string> contested;
    std::erase_if(history_, [&](const auto& one) { return now - std::max(one.second.last, one.second.until) > kCalm; });
    if (outcome == Outcome::kRepaired) {
        Time latest = now;
        const bool known = std::any_of(pending_.begin(), pending_.end(), [&](const std::string& one) { return repaired.contains(one); });
        for (const std::string& subject : pending_) {
            if (known && !repaired.contains(subject)) continue;
            History& history = history_[subject];
            ++history.repairs;
            history.last = now;
            if (history.repairs < kFreeRepairs) continue;
            history.until = now + doubled(kFirstBackOff, history.repairs - kFreeRepairs, settings_.interval);
            if (history.repairs == kFreeRepairs) contested.push_back(subject);
            latest = std::max(latest, history.until);
        }
        // What changes along with something that is fought over, as the ports of a bridge do, waits with it.
        const bool all_contested = std::all_of(repaired.begin(), repaired.end(), [&](const std::string& one) { return is_contested(one); });
        if (known && all_contested)
            for (const std::string& subject : pending_)
                if (!repaired.contains(subject)) history_[subject].until = latest;
    }
    pending_.clear();
    due_.reset();
    not_before_ = now + std::min<Duration>(cost * kCheckShare, kLongestPause);
    failures_ = outcome == Outcome::kFailed ? failures_ + 1 : 0;
    periodic_ = now + (failures_ != 0 ? doubled(kFirstRetry, failures_ - 1, settings_.interval)
                                      : std::max<Duration>(settings_.interval, cost * kPeriodicShare));
    return contested;
}

}  // namespace fastnet
