#include "userspace/agent/agent.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <utility>

#include "loader/base/handle.h"
#include "userspace/agent/cluster_part.h"
#include "userspace/agent/http_part.h"
#include "userspace/agent/log.h"
#include "userspace/agent/reconcile.h"
#include "userspace/agent/status.h"
#include "userspace/agent/supervisor.h"
#include "userspace/control/agent_link.h"

namespace fastnet {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr milliseconds kTick{1'000};
/// SIGTERM to the end; a part that takes longer is left behind, which costs no more than a crash.
constexpr milliseconds kStopBound{850};

SteadyTime now() {
    return std::chrono::steady_clock::now();
}

Result<UniqueFd> signal_fd() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
    if (const int error = ::pthread_sigmask(SIG_BLOCK, &signals, nullptr); error != 0) return sys_error(error, "block signals");
    UniqueFd fd{::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK)};
    if (!fd) return sys_error(errno, "take signals");
    return fd;
}

/// The service manager's end of the bargain: silent where there is none.
class ServiceManager {
public:
    ServiceManager() {
        std::uint64_t usec = 0;
        if (::sd_watchdog_enabled(0, &usec) > 0) watchdog_ = microseconds{usec};
    }

    /// How often tick() has to be called.
    milliseconds period() const {
        if (watchdog_.count() == 0) return kTick;
        return std::clamp(std::chrono::duration_cast<milliseconds>(watchdog_ / 4), milliseconds{10}, kTick);
    }

    static void say(const std::string& state) { (void)::sd_notify(0, state.c_str()); }

    static void reloading() {
        timespec time{};
        (void)::clock_gettime(CLOCK_MONOTONIC, &time);
        say("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(time.tv_sec * 1'000'000 + time.tv_nsec / 1'000));
    }

    void tick(bool alive, const std::string& summary) {
        if (alive && watchdog_.count() != 0) say("WATCHDOG=1");
        std::string line = summary;
        std::replace(line.begin(), line.end(), '\n', ' ');
        if (line == status_) return;
        status_ = std::move(line);
        say("STATUS=" + status_);
    }

private:
    microseconds watchdog_{0};
    std::string status_;
};

class Agent {
public:
    Agent(const AgentRequest& request, AgentLock lock, std::shared_ptr<spdlog::logger> log, AgentConfig config)
        : request_{request},
          lock_{std::move(lock)},
          log_{std::move(log)},
          config_{std::move(config)},
          status_{request.paths, request.version},
          supervisor_{nullptr} {}

    Status run(const std::vector<PartMaker>& makers, const UniqueFd& signals) {
        make_parts(makers);
        log_->info("fastnet " + request_.version + " agent of node " + config_.node.name + ", pid " + std::to_string(::getpid()));
        status_.set_config(config_.node.name, {});
        (void)supervisor_->apply(config_, now());
        ServiceManager::say("READY=1");
        while (!stopping_) {
            supervisor_->tick(now());
            manager_.tick(supervisor_->alive(now()), status_.summary());
            pollfd one{signals.get(), POLLIN, 0};
            (void)::poll(&one, 1, static_cast<int>(manager_.period().count()));
            signalfd_siginfo info{};
            while (!stopping_ && ::read(signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) handle(info);
        }
        end();
        return ok();
    }

private:
    void make_parts(const std::vector<PartMaker>& makers) {
        std::vector<std::unique_ptr<Part>> parts;
        parts.push_back(std::make_unique<SocketPart>(request_.paths, status_));
        parts.push_back(std::make_unique<MetricsPart>(status_));
        PartContext context{request_.paths, log_, &status_.registry(), request_.version};
        context.paths.yields_to_other_builds = true;
        for (const PartMaker& make : makers) parts.push_back(make(context));
        supervisor_ = std::make_unique<Supervisor>(std::move(parts), log_);
        status_.watch(*supervisor_);
    }

    void handle(const signalfd_siginfo& info) {
        if (info.ssi_signo == SIGHUP) {
            reload();
            return;
        }
        log_->info("ends: signal " + std::to_string(info.ssi_signo) + " of pid " + std::to_string(info.ssi_pid));
        stopping_ = true;
    }

    void reload() {
        ServiceManager::reloading();
        auto config = load_config(request_.config_file, request_.overrides);
        if (config) {
            set_level(*log_, config->log.level);
            const std::vector<std::string> touched = supervisor_->apply(*config, now());
            std::string names;
            for (const std::string& name : touched) names += (names.empty() ? "" : ", ") + name;
            log_->info("configuration reloaded; parts that changed: " + (names.empty() ? "none" : names));
            config_ = *std::move(config);
            status_.set_config(config_.node.name, {});
        } else {
            log_->error("configuration not reloaded, the old one stays in force: " + config.error().message);
            status_.set_config({}, config.error().message);
        }
        ServiceManager::say("READY=1");
    }

    void end() {
        ServiceManager::say("STOPPING=1");
        if (supervisor_->stop(kStopBound)) return;
        log_->error("a part did not end in time and is left behind");
        // Its thread goes on: nothing that it uses may be taken down, so destructors are for others.
        lock_.release_files();
        log_->flush();
        std::_Exit(0);
    }

    const AgentRequest& request_;
    AgentLock lock_;
    std::shared_ptr<spdlog::logger> log_;
    AgentConfig config_;
    AgentStatus status_;
    std::unique_ptr<Supervisor> supervisor_;
    ServiceManager manager_;
    bool stopping_ = false;
};

}  // namespace

std::vector<PartMaker> standard_parts() {
    return {[](const PartContext& context) { return std::make_unique<ReconcilePart>(context); },
            [](const PartContext& context) { return std::make_unique<ClusterPart>(context); }};
}

Status run_agent(const AgentRequest& request, const std::vector<PartMaker>& makers) {
    const UniqueFd signals = TRY(signal_fd());  // first: a SIGHUP must not end what has not begun
    ::signal(SIGPIPE, SIG_IGN);                 // whoever reads the log may end before the agent
    AgentConfig config = TRY(load_config(request.config_file, request.overrides));
    AgentLock lock = TRY(AgentLock::acquire(request.paths));
    auto log = make_log();
    set_level(*log, config.log.level);
    return Agent{request, std::move(lock), std::move(log), std::move(config)}.run(makers, signals);
}

}  // namespace fastnet
