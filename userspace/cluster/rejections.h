// The entries that are not taken at the moment: counted by reason, a few shown, each logged once per key and revision. Bounded, however
// many a hostile or broken writer makes.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "userspace/cluster/remote_plan.h"

namespace fastnet::cluster {

class Rejections {
public:
    static constexpr std::size_t kMostKept = 10'000;
    static constexpr std::size_t kMostLines = 60;  ///< per minute

    /// The line for the log; empty if this was logged before, or too much was.
    std::string add(const Refusal& refusal, Time now);
    void remove(const std::string& what);

    /// Of the keys that are known, and what came beyond their number.
    std::map<Reason, std::size_t> counts() const;
    std::vector<Refusal> first(std::size_t most) const;
    std::uint64_t total() const { return total_; }  ///< events since the start

private:
    std::map<std::string, Refusal> known_;
    std::map<Reason, std::size_t> counts_;
    std::uint64_t total_ = 0;
    Time minute_{};
    std::size_t lines_ = 0;
    std::size_t silent_ = 0;
};

}  // namespace fastnet::cluster
