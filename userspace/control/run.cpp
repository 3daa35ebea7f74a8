#include "userspace/control/run.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "loader/base/handle.h"
#include "userspace/control/attach.h"

namespace fastnet {
namespace {

struct Pipe {
    UniqueFd read;
    UniqueFd write;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> fds{};
    if (::pipe2(fds.data(), O_CLOEXEC) != 0) return sys_error(errno, "make a pipe");
    return Pipe{UniqueFd{fds[0]}, UniqueFd{fds[1]}};
}

void tell(int fd, int value) {
    (void)!::write(fd, &value, sizeof value);
}

/// False at the end of file: whoever should have spoken is gone.
bool hear(int fd, int& value) {
    ssize_t size = 0;
    do size = ::read(fd, &value, sizeof value);
    while (size < 0 && errno == EINTR);
    return size == static_cast<ssize_t>(sizeof value);
}

constexpr std::array<int, 4> kForwarded{SIGINT, SIGTERM, SIGHUP, SIGQUIT};
volatile std::sig_atomic_t forward_to = 0;

extern "C" void forward_signal(int signal, siginfo_t* info, void*) {
    // What the terminal sends goes to the whole process group: the command has it already.
    if (forward_to > 0 && info->si_code <= 0) (void)::kill(static_cast<pid_t>(forward_to), signal);
}

class Forwarding {
public:
    explicit Forwarding(pid_t child) {
        forward_to = child;
        struct sigaction action {};
        action.sa_sigaction = forward_signal;
        action.sa_flags = SA_SIGINFO;
        for (std::size_t i = 0; i < kForwarded.size(); ++i) (void)::sigaction(kForwarded[i], &action, &previous_[i]);
    }
    Forwarding(const Forwarding&) = delete;
    Forwarding& operator=(const Forwarding&) = delete;
    ~Forwarding() {
        for (std::size_t i = 0; i < kForwarded.size(); ++i) (void)::sigaction(kForwarded[i], &previous_[i], nullptr);
        forward_to = 0;
    }

private:
    std::array<struct sigaction, kForwarded.size()> previous_{};
};

/// The child: a namespace, then the word to start, then the command. Speaks through @p out: 0 when the namespace is
/// there, then an errno if something failed; silence after the start means success.
[[noreturn]] void child(bool own_netns, pid_t parent, int in, int out, const std::vector<std::string>& command) {
    (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    if (own_netns && ::unshare(CLONE_NEWNET) != 0) {
        tell(out, errno);
        ::_exit(1);
    }
    tell(out, 0);
    int start = 0;
    if (!hear(in, start)) ::_exit(1);
    std::vector<char*> argv;
    argv.reserve(command.size() + 1);
    for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    ::execvp(argv.front(), argv.data());
    tell(out, errno);
    ::_exit(127);
}

int wait_for(pid_t pid) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int end(pid_t pid) {
    (void)::kill(pid, SIGKILL);
    return wait_for(pid);
}

}  // namespace

Result<int> run(const NodePaths& paths, RunRequest request, const std::function<void(const std::string&)>& warn) {
    const bool own_netns = request.attach.mode != EndpointMode::kHost;
    {
        AttachRequest named = request.attach;
        named.netns = "pid:1";  // stands in for the one to be made
        CHECK_OK(check_request(named));
    }
    Pipe to_child = TRY(make_pipe());
    Pipe from_child = TRY(make_pipe());
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) return sys_error(errno, "start '" + request.command.front() + "'");
    if (pid == 0) {
        to_child.write.reset();
        from_child.read.reset();
        child(own_netns, parent, to_child.read.get(), from_child.write.get(), request.command);
    }
    to_child.read.reset();
    from_child.write.reset();
    const Forwarding forwarding{pid};

    int word = 0;
    if (!hear(from_child.read.get(), word) || word != 0) {
        (void)end(pid);
        return sys_error(word, "make a network namespace").with_hint("run as root, or with CAP_SYS_ADMIN");
    }
    request.attach.netns = "pid:" + std::to_string(pid);
    if (!own_netns && request.attach.name.empty()) request.attach.name = "host-" + std::to_string(pid);
    auto attached = attach(paths, request.attach);
    if (!attached) {
        (void)end(pid);
        return std::move(attached).error();
    }
    for (const std::string& warning : attached->warnings) warn(warning);

    const auto previous_pipe = std::signal(SIGPIPE, SIG_IGN);  // the command may have been ended before it began
    tell(to_child.write.get(), 0);
    (void)std::signal(SIGPIPE, previous_pipe);
    const bool failed_to_start = hear(from_child.read.get(), word);
    const int status = wait_for(pid);
    const auto detached = detach(paths, {.name = attached->view.endpoint.name});
    if (!detached && detached.error().kind != ErrorKind::kNotFound) warn(detached.error().message);
    if (failed_to_start)
        return sys_error(word, "run '" + request.command.front() + "'")
            .with_hint("name a program that exists, with its path if it is not in $PATH");
    return status;
}

}  // namespace fastnet
