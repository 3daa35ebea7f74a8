#include "userspace/agent/reconcile.h"

#include <poll.h>
#include <prometheus/registry.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <string>

namespace fastnet {
namespace {

using std::chrono::milliseconds;

/// Part::kStopLimit bounds it: who waits for the lock cannot be told to stop.
constexpr milliseconds kLockPatience{300};
/// A command that holds the lock for longer is said to.
constexpr std::chrono::seconds kLockAlarm{60};
/// Between two readings of events that concern nobody here: the kernel keeps them meanwhile.
constexpr milliseconds kEventPause{10};
constexpr milliseconds kLook{1'000};
/// A look that costs much is followed by a pause in proportion: half a percent of a CPU.
constexpr int kLookShare = 200;
constexpr std::size_t kLinesPerCheck = 20;

SteadyTime now() {
    return std::chrono::steady_clock::now();
}

/// Of this thread. By the clock a busy machine would look like dear work, and the pauses that follow would be of minutes.
std::chrono::nanoseconds cpu_time() {
    timespec used{};
    static_cast<void>(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used));
    return std::chrono::seconds{used.tv_sec} + std::chrono::nanoseconds{used.tv_nsec};
}

/// What containers and administrators do all day, as opposed to what somebody broke.
bool is_ordinary(RepairKind kind) {
    return kind == RepairKind::kDeadEndpoint || kind == RepairKind::kUplink || kind == RepairKind::kDatapath;
}

prometheus::Counter& counter(prometheus::Registry& registry, const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

}  // namespace

ReconcilePart::ReconcilePart(const PartContext& context)
    : context_{context},
      runs_{counter(*context.metrics, "fastnet_reconcile_runs_total", "Full checks of the node.")},
      errors_{counter(*context.metrics, "fastnet_reconcile_errors_total", "Full checks that could not put everything right.")},
      contested_{counter(*context.metrics, "fastnet_reconcile_contested_total",
                         "Times that somebody was found to undo the same repair again and again.")},
      duration_{prometheus::BuildHistogram()
                    .Name("fastnet_reconcile_duration_seconds")
                    .Help("Time that a full check took, with its repairs.")
                    .Register(*context.metrics)
                    .Add({}, prometheus::Histogram::BucketBoundaries{0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5, 30})},
      paths_{context.paths} {
    paths_.yields_to_other_builds = false;  // the first check takes the node over
    auto& family = prometheus::BuildCounter()
                       .Name("fastnet_repairs_total")
                       .Help("Things that were found missing or changed, and were put right.")
                       .Register(*context.metrics);
    for (std::size_t kind = 0; kind < repairs_.size(); ++kind)
        repairs_[kind] = &family.Add({{"kind", std::string{to_string(static_cast<RepairKind>(kind))}}});
}

ReconcilePart::~ReconcilePart() {
    stop();
}

Status ReconcilePart::start(const AgentConfig& config) {
    UniqueFd wake{::eventfd(0, EFD_CLOEXEC)};
    if (!wake) return sys_error(errno, "make an eventfd");
    auto events = NetlinkEvents::open();
    if (!events) return std::move(events).error();
    wake_ = std::move(wake);
    events_ = std::make_unique<NetlinkEvents>(*std::move(events));
    {
        const std::lock_guard held{mutex_};
        shown_.condition = {Condition::State::kNotReady, "the first check is under way"};
    }
    heartbeat().beat();
    thread_ = std::thread{[this, settings = config.reconcile] { work(settings); }};
    return ok();
}

void ReconcilePart::stop() {
    if (!thread_.joinable()) return;
    const std::uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
    thread_.join();
    events_.reset();
}

Condition ReconcilePart::condition() const {
    const std::lock_guard held{mutex_};
    return shown_.condition;
}

nlohmann::json ReconcilePart::details() const {
    const std::lock_guard held{mutex_};
    return {{"prepared", shown_.prepared},
            {"checks", shown_.checks},
            {"repairs", shown_.repairs},
            {"last_check_microseconds", shown_.last_microseconds},
            {"last_repair", shown_.last_repair}};
}

void ReconcilePart::work(const ReconcileSettings& settings) {
    Pacer pacer{settings, now()};
    ended_ = false;
    next_look_ = now() + kLook;
    while (!ended_ && wait(pacer, next_look_)) {
        if (pacer.waits_for_changes()) read_events(pacer);
        if (now() >= next_look_) look(pacer);
        if (now() >= pacer.next_check()) check(pacer);
    }
}

bool ReconcilePart::wait(const Pacer& pacer, SteadyTime look) {
    heartbeat().beat();
    // While a check is due anyway nothing is read: it looks at everything, whatever else happens until then.
    pollfd waiting[2] = {{wake_.get(), POLLIN, 0}, {pacer.waits_for_changes() ? events_->fd() : -1, POLLIN, 0}};
    const SteadyTime until = std::min({pacer.next_check(), look, now() + kBeatInterval});
    const auto left = std::chrono::ceil<milliseconds>(until - now());
    (void)::poll(waiting, 2, static_cast<int>(std::max<milliseconds::rep>(left.count(), 0)));
    return (waiting[0].revents & POLLIN) == 0;
}

void ReconcilePart::read_events(Pacer& pacer) {
    bool concerned = false;
    const auto lost = events_->read([&](const NetworkChange& change) {
        const auto concern = concern_of(change, last_.watched);
        if (!concern) return;
        if (!concerned) cause_ = concern->what;
        concerned = true;
        pacer.changed(concern->subject, now());
    });
    if (!lost) return end_with(lost.error());
    if (*lost) {
        if (!concerned) cause_ = "more changes than the kernel could tell";
        pacer.changed({}, now());
    } else if (!concerned) {
        std::this_thread::sleep_for(kEventPause);
    }
}

void ReconcilePart::look(Pacer& pacer) {
    const auto begin = cpu_time();
    if (const std::string moved = last_.tripwire.tripped(); !moved.empty()) {
        if (pacer.waits_for_changes()) cause_ = moved;
        pacer.changed("programs and settings", now());
    }
    next_look_ = now() + std::max<SteadyTime::duration>(kLook, (cpu_time() - begin) * kLookShare);
}

void ReconcilePart::check(Pacer& pacer) {
    // What the check sees needs no other one. What happens from here on is told again.
    if (Status discarded = events_->discard(); !discarded) return end_with(discarded.error());
    const SteadyTime begin = now();
    const auto cpu_before = cpu_time();
    Reconciliation found = reconcile(paths_, kLockPatience);
    const SteadyTime end = now();
    const auto cost = cpu_time() - cpu_before;
    if (found.error && found.error->sys_errno == EWOULDBLOCK) {  // a command is at work; it leaves things right by itself
        if (lock_wait_since_ == SteadyTime{}) lock_wait_since_ = begin;
        if (end - lock_wait_since_ < kLockAlarm) return;  // still due
    } else {
        lock_wait_since_ = {};
    }
    runs_.Increment();
    duration_.Observe(std::chrono::duration<double>{end - begin}.count());
    for (const Repair& repair : found.repairs) repairs_[static_cast<std::size_t>(repair.kind)]->Increment();
    if (found.error) {
        errors_.Increment();
        found.watched = std::move(last_.watched);  // what was there before is what may come back
        found.tripwire = std::move(last_.tripwire);
    } else if (found.prepared) {
        paths_.yields_to_other_builds = true;
    }
    last_ = std::move(found);
    context_.log->debug("checked" + (cause_.empty() ? std::string{} : " after " + cause_) + ": " + std::to_string(last_.repairs.size()) +
                        " repairs in " + std::to_string(std::chrono::duration_cast<milliseconds>(end - begin).count()) + " ms");
    log_repairs(pacer);
    log_warnings();
    using Outcome = Pacer::Outcome;
    const Outcome outcome = last_.error ? Outcome::kFailed : last_.repairs.empty() ? Outcome::kNothing : Outcome::kRepaired;
    std::set<std::string> subjects;
    for (const Repair& repair : last_.repairs) subjects.insert(repair.subject);
    for (const std::string& subject : pacer.checked(outcome, cost, end, subjects)) {
        contested_.Increment();
        context_.log->warn("reconcile: somebody undoes the repairs of " + subject + " again and again (the last time: " + cause_ +
                           "); from now on they come later each time, and are no longer logged");
    }
    cause_.clear();
    const std::lock_guard held{mutex_};
    if (last_.error) {
        shown_.condition = {Condition::State::kNotReady, last_.error->message};
    } else if (!last_.prepared) {
        // Nothing that should be, is not: the first command prepares the node, and is seen.
        shown_.condition = {Condition::State::kReady, "the node is not prepared yet: there is nothing to repair"};
    } else {
        shown_.condition = {Condition::State::kReady, {}};
    }
    shown_.prepared = last_.prepared;
    ++shown_.checks;
    shown_.repairs += last_.repairs.size();
    shown_.last_microseconds = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(end - begin).count());
    if (!last_.repairs.empty()) shown_.last_repair = last_.repairs.back().what;
}

void ReconcilePart::log_repairs(const Pacer& pacer) {
    const bool contested =
        std::all_of(last_.repairs.begin(), last_.repairs.end(), [&](const Repair& repair) { return pacer.is_contested(repair.subject); });
    const std::string after = cause_.empty() ? "" : ", after " + cause_;
    for (std::size_t i = 0; i < last_.repairs.size(); ++i) {
        if (i == kLinesPerCheck) {
            context_.log->warn("repaired: " + std::to_string(last_.repairs.size() - i) + " more" + after);
            break;
        }
        const Repair& repair = last_.repairs[i];
        const std::string line = "repaired: " + std::string{to_string(repair.kind)} + ": " + repair.what + after;
        context_.log->log(contested ? spdlog::level::debug : is_ordinary(repair.kind) ? spdlog::level::info : spdlog::level::warn, line);
    }
}

void ReconcilePart::log_warnings() {
    std::set<std::string> present{last_.warnings.begin(), last_.warnings.end()};
    for (const std::string& warning : present)
        if (!warned_.contains(warning)) context_.log->warn("reconcile: " + warning);
    if (!last_.error) warned_ = std::move(present);
    const std::string error = last_.error ? last_.error->message : "";
    if (error == logged_error_) return;
    if (last_.error) {
        context_.log->error("reconcile: " + error + (last_.error->hint.empty() ? "" : "; " + last_.error->hint));
    } else {
        context_.log->info("reconcile: the node is whole again");
    }
    logged_error_ = error;
}

void ReconcilePart::end_with(const Error& error) {
    ended_ = true;
    const std::lock_guard held{mutex_};
    shown_.condition = {Condition::State::kEnded, error.message};
}

}  // namespace fastnet
