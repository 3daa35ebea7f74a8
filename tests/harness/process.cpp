#include "tests/harness/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ostream>
#include <thread>

#include "tests/harness/wait.h"

namespace fastnet::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kCannotStart = 127;

/// Everything the child needs, made before fork: after it only async-signal-safe calls are allowed.
class Launch {
public:
    Launch(const Argv& argv, const RunOptions& options) : argv_{argv} {
        for (std::string& word : argv_) argv_pointers_.push_back(word.data());
        argv_pointers_.push_back(nullptr);
        for (char** entry = environ; *entry != nullptr; ++entry) {
            if (!overridden(*entry, options)) env_.emplace_back(*entry);
        }
        for (const auto& [name, value] : options.env) env_.push_back(name + "=" + value);
        for (std::string& entry : env_) env_pointers_.push_back(entry.data());
        env_pointers_.push_back(nullptr);
        if (!options.netns.empty()) {
            netns_fd_ = ::open(("/run/netns/" + options.netns).c_str(), O_RDONLY | O_CLOEXEC);
            netns_wanted_ = true;
        }
    }
    Launch(const Launch&) = delete;
    Launch& operator=(const Launch&) = delete;
    ~Launch() {
        if (netns_fd_ >= 0) ::close(netns_fd_);
    }

    pid_t start(int stdin_fd, int stdout_fd, int stderr_fd) {
        const pid_t parent = ::getpid();
        const pid_t child = ::fork();
        if (child == 0) exec(parent, stdin_fd, stdout_fd, stderr_fd);
        if (child > 0) ::setpgid(child, child);  // both sides: whoever comes first
        return child;
    }

private:
    static bool overridden(const char* entry, const RunOptions& options) {
        for (const auto& [name, value] : options.env) {
            if (std::strncmp(entry, name.c_str(), name.size()) == 0 && entry[name.size()] == '=') return true;
        }
        return false;
    }

    [[noreturn]] void exec(pid_t parent, int stdin_fd, int stdout_fd, int stderr_fd) {
        ::setpgid(0, 0);
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::signal(SIGPIPE, SIG_DFL);
        if (::getppid() != parent) ::_exit(kCannotStart);
        if (netns_wanted_ && (netns_fd_ < 0 || ::setns(netns_fd_, CLONE_NEWNET) != 0)) ::_exit(kCannotStart);
        ::dup2(stdin_fd, STDIN_FILENO);
        ::dup2(stdout_fd, STDOUT_FILENO);
        ::dup2(stderr_fd, STDERR_FILENO);
        ::execvpe(argv_pointers_[0], argv_pointers_.data(), env_pointers_.data());
        ::_exit(kCannotStart);
    }

    Argv argv_;
    std::vector<std::string> env_;
    std::vector<char*> argv_pointers_;
    std::vector<char*> env_pointers_;
    int netns_fd_ = -1;
    bool netns_wanted_ = false;
};

int decode(int wait_status) {
    return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

std::array<int, 2> make_pipe() {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
    return ends;
}

/// Moves what is readable into @p sink; false at the end of the stream.
bool drain(int fd, std::string& sink) {
    std::array<char, 16384> buffer{};
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got > 0) sink.append(buffer.data(), static_cast<std::size_t>(got));
    return got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN));
}

/// Feeds input and collects both outputs until the child closed them or @p deadline is over.
bool pump(int input_fd, const std::string& input, std::array<int, 2> output_fds, CommandResult& result, Clock::time_point deadline) {
    std::size_t written = 0;
    std::array<pollfd, 3> fds{{{output_fds[0], POLLIN, 0}, {output_fds[1], POLLIN, 0}, {input_fd, POLLOUT, 0}}};
    const auto close_entry = [](pollfd& entry) {
        ::close(entry.fd);
        entry.fd = -1;
    };
    if (input.empty()) close_entry(fds[2]);
    bool in_time = true;
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        const auto left = std::chrono::duration_cast<Millis>(deadline - Clock::now()).count();
        if (left <= 0) {
            in_time = false;
            break;
        }
        if (::poll(fds.data(), fds.size(), static_cast<int>(left)) < 0) continue;
        if (fds[0].fd >= 0 && fds[0].revents != 0 && !drain(fds[0].fd, result.out)) close_entry(fds[0]);
        if (fds[1].fd >= 0 && fds[1].revents != 0 && !drain(fds[1].fd, result.err)) close_entry(fds[1]);
        if (fds[2].fd >= 0 && fds[2].revents != 0) {
            const ssize_t count = ::write(fds[2].fd, input.data() + written, input.size() - written);
            if (count > 0) written += static_cast<std::size_t>(count);
            if (count <= 0 || written == input.size()) close_entry(fds[2]);
        }
    }
    for (pollfd& entry : fds) {
        if (entry.fd >= 0) ::close(entry.fd);
    }
    return in_time;
}

/// Reaps @p pid before @p deadline; true when it is gone.
bool reap(pid_t pid, int& wait_status, Clock::time_point deadline) {
    while (true) {
        const pid_t got = ::waitpid(pid, &wait_status, WNOHANG);
        if (got == pid || (got < 0 && errno == ECHILD)) return true;
        if (Clock::now() >= deadline) return false;
        std::this_thread::sleep_for(Millis{2});
    }
}

}  // namespace

std::ostream& operator<<(std::ostream& stream, const CommandResult& result) {
    return stream << "status " << result.status << (result.timed_out ? " (timed out)" : "") << "\nstdout: " << result.out
                  << "\nstderr: " << result.err;
}

CommandResult run(const Argv& argv, const RunOptions& options) {
    CommandResult result;
    const auto input = make_pipe();
    const auto out = make_pipe();
    const auto err = make_pipe();
    Launch launch{argv, options};
    const pid_t pid = launch.start(input[0], out[1], err[1]);
    ::close(input[0]);
    ::close(out[1]);
    ::close(err[1]);
    const auto deadline = Clock::now() + options.timeout;
    const bool in_time = pump(input[1], options.input, {out[0], err[0]}, result, deadline);
    if (pid < 0) return result;
    int wait_status = 0;
    if (!in_time || !reap(pid, wait_status, deadline)) {
        result.timed_out = true;
        ::kill(-pid, SIGKILL);
        reap(pid, wait_status, Clock::now() + Millis{5000});
    }
    result.status = decode(wait_status);
    return result;
}

CommandResult shell(const std::string& script, const RunOptions& options) {
    return run({"sh", "-c", script}, options);
}

Background::Background(const Argv& argv, const RunOptions& options) {
    std::string path = "/tmp/fnt-output-XXXXXX";
    output_fd_ = ::mkostemp(path.data(), O_CLOEXEC | O_APPEND);
    ::unlink(path.c_str());
    const auto input = make_pipe();
    Launch launch{argv, options};
    pid_ = launch.start(input[0], output_fd_, output_fd_);
    ::close(input[0]);
    input_fd_ = input[1];
    if (!options.input.empty()) send(options.input);
}

Background::Background(Background&& other) noexcept
    : pid_{std::exchange(other.pid_, -1)},
      input_fd_{std::exchange(other.input_fd_, -1)},
      output_fd_{std::exchange(other.output_fd_, -1)},
      status_{other.status_} {}

Background& Background::operator=(Background&& other) noexcept {
    if (this != &other) {
        release();
        pid_ = std::exchange(other.pid_, -1);
        input_fd_ = std::exchange(other.input_fd_, -1);
        output_fd_ = std::exchange(other.output_fd_, -1);
        status_ = other.status_;
    }
    return *this;
}

Background::~Background() {
    release();
}

void Background::release() noexcept {
    kill();
    close_input();
    if (output_fd_ >= 0) ::close(std::exchange(output_fd_, -1));
}

bool Background::running() {
    return pid_ > 0 && wait(Millis{0}) < 0;
}

int Background::wait(Millis bound) {
    if (pid_ <= 0) return status_;
    int wait_status = 0;
    if (!reap(pid_, wait_status, Clock::now() + bound)) return -1;
    status_ = decode(wait_status);
    ::kill(-pid_, SIGKILL);  // children it left in its group
    pid_ = -1;
    return status_;
}

void Background::kill() {
    if (pid_ <= 0) return;
    ::kill(-pid_, SIGKILL);
    wait(Millis{5000});
    pid_ = -1;
}

void Background::signal(int number) const {
    if (pid_ > 0) ::kill(pid_, number);
}

void Background::send(const std::string& text) const {
    std::size_t written = 0;
    while (written < text.size()) {
        const ssize_t count = ::write(input_fd_, text.data() + written, text.size() - written);
        if (count <= 0) return;
        written += static_cast<std::size_t>(count);
    }
}

void Background::close_input() {
    if (input_fd_ >= 0) ::close(std::exchange(input_fd_, -1));
}

std::string Background::output() {
    std::string text;
    std::array<char, 16384> buffer{};
    off_t offset = 0;
    while (output_fd_ >= 0) {
        const ssize_t got = ::pread(output_fd_, buffer.data(), buffer.size(), offset);
        if (got <= 0) break;
        text.append(buffer.data(), static_cast<std::size_t>(got));
        offset += got;
    }
    return text;
}

}  // namespace fastnet::test
