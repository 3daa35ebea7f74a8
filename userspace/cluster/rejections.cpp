#include "userspace/cluster/rejections.h"

#include <algorithm>
#include <cctype>

namespace fastnet::cluster {
namespace {

/// A key may hold anything, a terminal's control sequences too.
std::string printable(const std::string& text) {
    constexpr std::size_t kMost = 200;
    std::string clean = text.substr(0, kMost);
    std::replace_if(
        clean.begin(), clean.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return text.size() > kMost ? clean + "..." : clean;
}

}  // namespace

std::string Rejections::add(const Refusal& refusal, Time now) {
    const auto known = known_.find(refusal.what);
    const bool same = known != known_.end() && known->second.revision == refusal.revision && known->second.reason == refusal.reason;
    if (same) return {};
    ++total_;
    if (known != known_.end()) {
        --counts_[known->second.reason];
        known->second = refusal;
        ++counts_[refusal.reason];
    } else if (known_.size() < kMostKept) {
        known_.emplace(refusal.what, refusal);
        ++counts_[refusal.reason];
    }
    if (now - minute_ >= std::chrono::minutes{1}) {
        minute_ = now;
        lines_ = 0;
    }
    if (lines_ >= kMostLines) {
        ++silent_;
        return {};
    }
    ++lines_;
    std::string line = "rejected " + printable(refusal.what) + " (revision " + std::to_string(refusal.revision) + ", " +
                       to_string(refusal.reason) + "): " + printable(refusal.why);
    if (const std::size_t silent = std::exchange(silent_, 0); silent != 0) line += "; " + std::to_string(silent) + " others before it";
    return line;
}

void Rejections::remove(const std::string& what) {
    const auto known = known_.find(what);
    if (known == known_.end()) return;
    --counts_[known->second.reason];
    known_.erase(known);
}

std::map<Reason, std::size_t> Rejections::counts() const {
    std::map<Reason, std::size_t> counts;
    for (const auto& [reason, count] : counts_)
        if (count != 0) counts.emplace(reason, count);
    return counts;
}

std::vector<Refusal> Rejections::first(std::size_t most) const {
    std::vector<Refusal> list;
    for (auto it = known_.begin(); it != known_.end() && list.size() < most; ++it) {
        list.push_back(it->second);
        list.back().what = printable(list.back().what);
        list.back().why = printable(list.back().why);
    }
    return list;
}

}  // namespace fastnet::cluster
