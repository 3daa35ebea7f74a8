// The part that keeps the node as it should be: told by netlink what changes, it checks and repairs through control
// (control/reconcile.h), paced by pacer.h. What makes no event is looked at once a second where that is cheap (Tripwire), the rest, BPF
// maps above all, every `interval`. One thread; holds nothing between two checks but what it watches.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/histogram.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "loader/base/handle.h"
#include "userspace/agent/pacer.h"
#include "userspace/agent/part.h"
#include "userspace/control/reconcile.h"

namespace fastnet {

class ReconcilePart final : public Part {
public:
    explicit ReconcilePart(const PartContext& context);
    ~ReconcilePart() override;

    std::string_view name() const override { return "reconcile"; }
    bool enabled(const AgentConfig& config) const override { return config.reconcile.enabled; }
    bool concerned(const AgentConfig& before, const AgentConfig& after) const override { return before.reconcile != after.reconcile; }
    Status start(const AgentConfig& config) override;
    void stop() override;
    Condition condition() const override;
    nlohmann::json details() const override;
    /// To put a thousand endpoints back takes half a minute.
    std::chrono::milliseconds patience() const override { return std::chrono::minutes{2}; }

private:
    void work(const ReconcileSettings& settings);
    /// Waits until something is to be done; false: the end.
    bool wait(const Pacer& pacer, SteadyTime look);
    void read_events(Pacer& pacer);
    void look(Pacer& pacer);
    void check(Pacer& pacer);
    void log_repairs(const Pacer& pacer);
    void log_warnings();
    void end_with(const Error& error);

    PartContext context_;
    std::array<prometheus::Counter*, static_cast<std::size_t>(kLastRepairKind) + 1> repairs_{};
    prometheus::Counter& runs_;
    prometheus::Counter& errors_;
    prometheus::Counter& contested_;
    prometheus::Histogram& duration_;

    std::thread thread_;
    UniqueFd wake_;  ///< readable: stop
    std::unique_ptr<NetlinkEvents> events_;

    // Of the thread alone.
    bool ended_ = false;
    NodePaths paths_;
    Reconciliation last_;
    std::string cause_{};           ///< the first change since the last check
    SteadyTime lock_wait_since_{};  ///< zero: the lock was free
    SteadyTime next_look_{};
    std::set<std::string> warned_{};
    std::string logged_error_{};

    mutable std::mutex mutex_;
    struct Shown {
        Condition condition{};
        bool prepared = false;
        std::uint64_t checks = 0;
        std::uint64_t repairs = 0;
        std::uint64_t last_microseconds = 0;
        std::string last_repair{};
    } shown_{};
};

}  // namespace fastnet
