// The whole process with parts of the test's own, in a child: what the service manager sees of it.
#include "userspace/agent/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>

#include "loader/base/handle.h"
#include "tests/unit/store/temp_dir.h"
#include "userspace/control/agent_link.h"

namespace fastnet {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

/// Beats by nobody: hung when its patience is over.
class SilentPart : public Part {
public:
    explicit SilentPart(milliseconds patience, milliseconds stop_takes = milliseconds{0}) : patience_{patience}, stop_takes_{stop_takes} {}
    std::string_view name() const override { return "silent"; }
    bool enabled(const AgentConfig& /*config*/) const override { return true; }
    bool concerned(const AgentConfig& /*before*/, const AgentConfig& /*after*/) const override { return false; }
    Status start(const AgentConfig& /*config*/) override { return ok(); }
    void stop() override { std::this_thread::sleep_for(stop_takes_); }
    Condition condition() const override { return {Condition::State::kReady, {}}; }
    milliseconds patience() const override { return patience_; }

private:
    milliseconds patience_;
    milliseconds stop_takes_;
};

/// The service manager's end of NOTIFY_SOCKET.
class NotifySocket {
public:
    explicit NotifySocket(const std::filesystem::path& path) : fd_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)} {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    /// The next message; empty if none comes.
    std::string next(milliseconds bound) const {
        pollfd one{fd_.get(), POLLIN, 0};
        if (::poll(&one, 1, static_cast<int>(bound.count())) <= 0) return {};
        std::array<char, 4096> text{};
        const ssize_t size = ::recv(fd_.get(), text.data(), text.size(), 0);
        return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
    }
    /// Whether a message with @p part comes within @p bound; others are passed over.
    bool comes(const std::string& part, milliseconds bound = milliseconds{5'000}) const {
        for (const auto deadline = Clock::now() + bound; Clock::now() < deadline;)
            if (next(std::chrono::ceil<milliseconds>(deadline - Clock::now())).find(part) != std::string::npos) return true;
        return false;
    }

private:
    UniqueFd fd_;
};

class AgentProcessTest : public ::testing::Test {
protected:
    ~AgentProcessTest() override {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            (void)::waitpid(pid_, nullptr, 0);
        }
    }

    void start(milliseconds patience, milliseconds stop_takes = milliseconds{0}, const std::string& watchdog_usec = {}) {
        std::ofstream{config_};
        pid_ = ::fork();
        ASSERT_GE(pid_, 0);
        if (pid_ != 0) return;
        (void)std::freopen(log_.c_str(), "w", stderr);
        ::setenv("NOTIFY_SOCKET", socket_path_.c_str(), 1);
        if (!watchdog_usec.empty()) ::setenv("WATCHDOG_USEC", watchdog_usec.c_str(), 1);
        const AgentRequest request{config_, {}, paths_for(dir_.path() / "root"), "1.2.3"};
        const Status status = run_agent(request, {[&](const PartContext&) { return std::make_unique<SilentPart>(patience, stop_takes); }});
        std::_Exit(status ? 0 : static_cast<int>(status.error().kind));
    }
    /// Its exit status within @p bound, -1 if it lives.
    int wait(milliseconds bound) {
        for (const auto deadline = Clock::now() + bound; Clock::now() < deadline;) {
            int status = 0;
            if (::waitpid(pid_, &status, WNOHANG) == pid_) {
                pid_ = -1;
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            }
            std::this_thread::sleep_for(milliseconds{5});
        }
        return -1;
    }
    std::string log() const {
        std::ifstream file{log_};
        return {std::istreambuf_iterator<char>{file}, {}};
    }

    TempDir dir_;
    std::filesystem::path socket_path_ = dir_.path() / "notify";
    std::filesystem::path config_ = dir_.path() / "config";
    std::filesystem::path log_ = dir_.path() / "log";
    NotifySocket notify_{socket_path_};
    pid_t pid_ = -1;
};

TEST_F(AgentProcessTest, TellsTheServiceManagerOfItsStartReloadAndEnd) {
    start(std::chrono::hours{1});
    EXPECT_TRUE(notify_.comes("READY=1"));
    EXPECT_TRUE(notify_.comes("STATUS=ready"));
    std::ofstream{config_} << "[log]\nlevel = 1\n";
    ::kill(pid_, SIGHUP);
    const std::string reloading = notify_.next(milliseconds{5'000});
    EXPECT_THAT(reloading, HasSubstr("RELOADING=1\nMONOTONIC_USEC="));
    EXPECT_TRUE(notify_.comes("READY=1"));
    EXPECT_THAT(log(), HasSubstr("config:2: log.level: must be"));
    ::kill(pid_, SIGTERM);
    EXPECT_TRUE(notify_.comes("STOPPING=1"));
    EXPECT_EQ(wait(milliseconds{1'000}), 0) << log();
}

TEST_F(AgentProcessTest, TheWatchdogIsFedOnlyWhileEveryPartGivesSignsOfLife) {
    start(milliseconds{400}, milliseconds{0}, "80000");
    EXPECT_TRUE(notify_.comes("WATCHDOG=1"));
    EXPECT_TRUE(notify_.comes("WATCHDOG=1"));
    EXPECT_TRUE(notify_.comes("STATUS=silent: hung"));
    // It lives, only the watchdog starves.
    for (const auto deadline = Clock::now() + milliseconds{500}; Clock::now() < deadline;)
        EXPECT_EQ(notify_.next(milliseconds{100}).find("WATCHDOG=1"), std::string::npos);
    EXPECT_EQ(wait(milliseconds{1}), -1);
    EXPECT_THAT(log(), HasSubstr("silent: hung"));
}

TEST_F(AgentProcessTest, WithoutAWatchdogThereIsNoFeeding) {
    start(std::chrono::hours{1});
    EXPECT_TRUE(notify_.comes("STATUS=ready"));
    EXPECT_FALSE(notify_.comes("WATCHDOG=1", milliseconds{1'300}));
}

TEST_F(AgentProcessTest, EndsWithinASecondEvenIfAPartDoesNot) {
    start(std::chrono::hours{1}, std::chrono::minutes{10});
    EXPECT_TRUE(notify_.comes("READY=1"));
    ::kill(pid_, SIGTERM);
    EXPECT_EQ(wait(milliseconds{1'000}), 0) << log();
    EXPECT_THAT(log(), HasSubstr("did not end in time"));
    EXPECT_EQ(running_agent(paths_for(dir_.path() / "root")), std::nullopt);
    EXPECT_FALSE(std::filesystem::exists(dir_.path() / "root" / "agent.sock"));
}

TEST_F(AgentProcessTest, ASecondOneIsRefused) {
    start(std::chrono::hours{1});
    EXPECT_TRUE(notify_.comes("READY=1"));
    const AgentRequest request{config_, {}, paths_for(dir_.path() / "root"), "1.2.3"};
    const Status second = run_agent(request, {});
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().kind, ErrorKind::kConflict);
    EXPECT_THAT(second.error().message, HasSubstr("pid " + std::to_string(pid_)));
}

}  // namespace
}  // namespace fastnet
