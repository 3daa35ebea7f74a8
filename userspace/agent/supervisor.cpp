#include "userspace/agent/supervisor.h"

#include <algorithm>
#include <condition_variable>
#include <thread>
#include <utility>

namespace fastnet {

std::string_view to_string(PartState state) {
    switch (state) {
        case PartState::kOff: return "off";
        case PartState::kReady: return "ready";
        case PartState::kNotReady: return "not ready";
        case PartState::kWaiting: return "waiting";
        case PartState::kHung: return "hung";
    }
    return "unknown";
}

Supervisor::Supervisor(std::vector<std::unique_ptr<Part>> parts, std::shared_ptr<spdlog::logger> log) : log_{std::move(log)} {
    slots_.resize(parts.size());
    for (std::size_t i = 0; i < parts.size(); ++i) slots_[i].part = std::move(parts[i]);
}

Supervisor::~Supervisor() {
    for (Slot& slot : slots_) stop(slot);
}

void Supervisor::start(Slot& slot, SteadyTime now) {
    slot.part->heartbeat().beat(now);
    Status status = slot.part->start(config_);
    const std::lock_guard lock{mutex_};
    ++slot.starts;
    if (!status) {
        fail(slot, std::move(status).error().message, now);
        return;
    }
    slot.running = true;
    slot.started = now;
    slot.failure.clear();
}

void Supervisor::stop(Slot& slot) {
    {
        const std::lock_guard lock{mutex_};
        if (!std::exchange(slot.running, false)) return;
    }
    slot.part->stop();
}

void Supervisor::fail(Slot& slot, std::string why, SteadyTime now) {
    slot.failure = std::move(why);
    slot.retry = now + slot.pause;
    slot.pause = std::min(slot.pause * 2, kLongestPause);
}

std::vector<std::string> Supervisor::apply(const AgentConfig& config, SteadyTime now) {
    const AgentConfig before = std::exchange(config_, config);
    std::vector<std::string> touched;
    for (Slot& slot : slots_) {
        const bool wanted = slot.part->enabled(config);
        if (wanted == slot.wanted && (!wanted || !slot.part->concerned(before, config))) continue;
        touched.emplace_back(slot.part->name());
        stop(slot);
        {
            const std::lock_guard lock{mutex_};
            slot.wanted = wanted;
            slot.failure.clear();
            slot.pause = kFirstPause;
        }
        if (wanted) start(slot, now);
        log_change(slot, now);
    }
    return touched;
}

void Supervisor::tick(SteadyTime now) {
    for (Slot& slot : slots_) {
        if (!slot.wanted) continue;
        if (slot.running) {
            const Condition condition = slot.part->condition();
            if (condition.state == Condition::State::kEnded) {
                stop(slot);
                const std::lock_guard lock{mutex_};
                fail(slot, condition.reason, now);
            } else if (now - slot.started >= kProven) {
                slot.pause = kFirstPause;
            }
        } else if (now >= slot.retry) {
            start(slot, now);
        }
        log_change(slot, now);
    }
}

bool Supervisor::stop(std::chrono::milliseconds bound) {
    struct Progress {
        std::mutex mutex;
        std::condition_variable changed;
        std::size_t left = 0;
    };
    const auto progress = std::make_shared<Progress>();  // outlives this call if a part does not end
    std::vector<Slot*> running;
    for (Slot& slot : slots_) {
        const std::lock_guard lock{mutex_};
        if (std::exchange(slot.running, false)) running.push_back(&slot);
        slot.wanted = false;
    }
    progress->left = running.size();
    for (Slot* const slot : running)
        std::thread{[part = slot->part.get(), progress] {
            part->stop();
            const std::lock_guard lock{progress->mutex};
            --progress->left;
            progress->changed.notify_one();
        }}.detach();
    std::unique_lock lock{progress->mutex};
    return progress->changed.wait_for(lock, bound, [&] { return progress->left == 0; });
}

PartReport Supervisor::state_of(const Slot& slot, SteadyTime now) const {
    PartReport report;
    report.name = slot.part->name();
    report.starts = slot.starts;
    if (!slot.wanted) return report;
    if (!slot.running) {
        report.state = PartState::kWaiting;
        report.reason = slot.failure;
        return report;
    }
    if (now - slot.part->heartbeat().last() > slot.part->patience()) {
        report.state = PartState::kHung;  // not asked: it might hang whoever asks
        report.reason = "gave no sign of life for " +
                        std::to_string(std::chrono::duration_cast<std::chrono::seconds>(now - slot.part->heartbeat().last()).count()) +
                        " s";
        return report;
    }
    Condition condition = slot.part->condition();
    report.state = condition.state == Condition::State::kReady ? PartState::kReady : PartState::kNotReady;
    report.reason = std::move(condition.reason);
    return report;
}

std::vector<PartReport> Supervisor::reports(SteadyTime now) const {
    const std::lock_guard lock{mutex_};
    std::vector<PartReport> all;
    all.reserve(slots_.size());
    for (const Slot& slot : slots_) {
        all.push_back(state_of(slot, now));
        if (!slot.running || all.back().state == PartState::kHung) continue;
        all.back().details = slot.part->details();
        all.back().checks = slot.part->checks();
    }
    return all;
}

bool Supervisor::alive(SteadyTime now) const {
    const std::lock_guard lock{mutex_};
    return std::all_of(slots_.begin(), slots_.end(),
                       [&](const Slot& slot) { return !slot.running || now - slot.part->heartbeat().last() <= slot.part->patience(); });
}

void Supervisor::log_change(Slot& slot, SteadyTime now) {
    const PartReport current = state_of(slot, now);
    if (current.state == slot.logged && (current.reason == slot.logged_reason || current.state == PartState::kHung)) return;
    slot.logged = current.state;
    slot.logged_reason = current.reason;
    const std::string text =
        current.name + ": " + std::string{to_string(current.state)} + (current.reason.empty() ? "" : ": " + current.reason);
    if (current.state == PartState::kHung) {
        log_->error(text);
    } else if (current.good()) {
        log_->info(text);
    } else {
        log_->warn(text);
    }
}

}  // namespace fastnet
