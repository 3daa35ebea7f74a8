#include "system.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace fnbench {

namespace {

// Room for 20 s of the fastest round trip seen (about 4 us). What comes after that still counts for the mean.
constexpr std::size_t kMaxSamples = 5'000'000;

sigset_t end_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    return signals;
}

}  // namespace

void die(std::string_view what) {
    std::fprintf(stderr, "fnbench: %.*s\n", static_cast<int>(what.size()), what.data());
    std::exit(1);
}

void die_errno(std::string_view what) {
    const int error = errno;
    die(std::string(what) + ": " + std::strerror(error));
}

std::uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

void pin_to_cpu(int cpu) {
    if (cpu < 0) return;
    if (cpu >= CPU_SETSIZE) die("pin: no such cpu " + std::to_string(cpu));
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(cpu), &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) die_errno("pin to cpu " + std::to_string(cpu));
}

void die_with_parent() {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) die_errno("prctl(PR_SET_PDEATHSIG)");
}

void become_realtime_if_allowed() {
    sched_param parameters{};
    parameters.sched_priority = 1;
    if (sched_setscheduler(0, SCHED_FIFO, &parameters) != 0)
        std::fputs("fnbench: note: the receiver could not become SCHED_FIFO; figures are noisier\n", stderr);
}

void enter_netns(const std::string& path) {
    const UniqueFd netns{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (netns.get() < 0) die_errno("open " + path);
    if (setns(netns.get(), CLONE_NEWNET) != 0) die_errno("enter " + path);
}

Address Address::parse(const std::string& host, std::uint16_t port) {
    Address address;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        address.length = sizeof(*v4);
    } else if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        address.length = sizeof(*v6);
    } else {
        die("not a numeric IPv4 or IPv6 address: " + host);
    }
    address.set_port(port);
    return address;
}

Address Address::any(int family, std::uint16_t port) {
    return parse(family == AF_INET6 ? "::" : "0.0.0.0", port);
}

void Address::set_port(std::uint16_t port) {
    if (family() == AF_INET6)
        reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port = htons(port);
    else
        reinterpret_cast<sockaddr_in*>(&storage)->sin_port = htons(port);
}

void set_option(int fd, int level, int name, int value) {
    if (setsockopt(fd, level, name, &value, sizeof(value)) != 0)
        die_errno("setsockopt " + std::to_string(level) + "/" + std::to_string(name));
}

void set_timeout(int fd, int seconds) {
    const timeval timeout{seconds, 0};
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) != 0)
        die_errno("setsockopt timeout");
}

UniqueFd open_sink(int family, std::uint16_t port, Sharing sharing) {
    UniqueFd fd{socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    if (fd.get() < 0) die_errno("sink socket");
    if (sharing == Sharing::kOnePerCpu) set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    set_option(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, 64 * 1024 * 1024);
    const timeval tick{0, 50'000};
    if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick)) != 0) die_errno("setsockopt timeout");
    const Address address = Address::any(family, port);
    if (bind(fd.get(), address.raw(), address.length) != 0) die_errno("bind sink port " + std::to_string(port));
    return fd;
}

void hold_signals() {
    const sigset_t signals = end_signals();
    if (const int error = pthread_sigmask(SIG_BLOCK, &signals, nullptr); error != 0) {
        errno = error;
        die_errno("hold signals");
    }
}

void wait_for_end(double seconds) {
    const sigset_t signals = end_signals();
    const std::uint64_t end = now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
    for (;;) {
        const std::uint64_t now = now_ns();
        if (seconds > 0 && now >= end) return;
        const std::uint64_t left = seconds > 0 ? end - now : 3'600'000'000'000;
        const timespec time{static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
        if (sigtimedwait(&signals, nullptr, &time) >= 0) return;
        if (errno != EAGAIN && errno != EINTR) die_errno("wait for a signal");
    }
}

Samples::Samples() {
    // Touch the pages now: a page fault inside the measured loop would be a sample of its own.
    durations_ns_.resize(kMaxSamples, 1);
    durations_ns_.clear();
}

std::uint32_t Samples::quantile_ns(double fraction) {
    if (durations_ns_.empty()) return 0;
    if (!sorted_) {
        std::sort(durations_ns_.begin(), durations_ns_.end());
        sorted_ = true;
    }
    const auto last = static_cast<double>(durations_ns_.size() - 1);
    return durations_ns_[static_cast<std::size_t>(fraction * last + 0.5)];
}

JsonLine::JsonLine(std::string_view bench) {
    add("bench", bench);
}

void JsonLine::key(std::string_view name) {
    if (text_.size() > 1) text_ += ", ";
    text_.append("\"").append(name).append("\": ");
}

JsonLine& JsonLine::add(std::string_view name, std::uint64_t value) {
    key(name);
    text_ += std::to_string(value);
    return *this;
}

JsonLine& JsonLine::add(std::string_view name, double value) {
    char digits[64];
    std::snprintf(digits, sizeof(digits), "%.6g", value);
    key(name);
    text_ += digits;
    return *this;
}

// Values are words of ours (bench names, directions): nothing in them needs escaping.
JsonLine& JsonLine::add(std::string_view name, std::string_view value) {
    key(name);
    text_.append("\"").append(value).append("\"");
    return *this;
}

JsonLine& JsonLine::add(std::string_view name, const std::vector<JsonLine>& rows) {
    key(name);
    text_ += "[";
    for (const JsonLine& row : rows) text_.append(&row == rows.data() ? "" : ", ").append(row.text_).append("}");
    text_ += "]";
    return *this;
}

JsonLine& JsonLine::add_samples(Samples& samples, double seconds) {
    add("transactions", samples.count());
    add("seconds", seconds);
    add("rate", seconds > 0 ? static_cast<double>(samples.count()) / seconds : 0.0);
    add("min_ns", std::uint64_t{samples.quantile_ns(0.0)});
    add("p50_ns", std::uint64_t{samples.quantile_ns(0.50)});
    add("p90_ns", std::uint64_t{samples.quantile_ns(0.90)});
    add("p99_ns", std::uint64_t{samples.quantile_ns(0.99)});
    add("mean_ns", samples.mean_ns());
    return *this;
}

void JsonLine::print() {
    std::printf("%s}\n", text_.c_str());
    std::fflush(stdout);
}

}  // namespace fnbench
