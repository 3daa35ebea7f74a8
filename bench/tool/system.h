// The ground floor of fnbench: clock, pinning, addresses, samples, JSON lines.
// A benchmark whose system call failed has no figure to give, so failures end the process here (die), with one line
// on stderr and status 1; the kernel closes what was open.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fnbench {

[[noreturn]] void die(std::string_view what);        // without errno
[[noreturn]] void die_errno(std::string_view what);  // with errno's text

std::uint64_t now_ns();  // CLOCK_MONOTONIC, by the vDSO

void pin_to_cpu(int cpu);           // no-op below 0
void die_with_parent();             // SIGKILL for us when our parent is gone
void become_realtime_if_allowed();  // SCHED_FIFO 1: the receiver preempts the sender as soon as it is woken
void enter_netns(const std::string& path);

class UniqueFd {
public:
    explicit UniqueFd(int fd = -1) noexcept : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    UniqueFd(const UniqueFd&) = delete;
    UniqueFd& operator=(const UniqueFd&) = delete;
    ~UniqueFd() {
        if (fd_ >= 0) close(fd_);
    }
    int get() const { return fd_; }

private:
    int fd_;
};

// An IPv4 or IPv6 socket address.
struct Address {
    sockaddr_storage storage{};
    socklen_t length = 0;

    static Address parse(const std::string& host, std::uint16_t port);  // numeric only
    static Address any(int family, std::uint16_t port);
    int family() const { return storage.ss_family; }
    void set_port(std::uint16_t port);
    const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
    sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
};

void set_option(int fd, int level, int name, int value);
void set_timeout(int fd, int seconds);  // both directions

enum class Sharing { kAlone, kOnePerCpu };
// A UDP socket with a deep queue; reading gives up after 50 ms, so that its reader can look for its end.
UniqueFd open_sink(int family, std::uint16_t port, Sharing sharing);

// Until SIGTERM, SIGINT or, if @p seconds is not 0, for that long. hold_signals() comes first, before any thread.
void hold_signals();
void wait_for_end(double seconds);

// How long a client runs. Counting starts after the warm-up.
struct Span {
    double seconds = 1.0;
    double warmup_seconds = 0.1;
    std::uint64_t max_iterations = 0;  // 0 = no limit
};

// Durations of single transactions. Exact (every sample is kept): a median of a histogram would round what we compare.
class Samples {
public:
    Samples();
    void add(std::uint64_t duration_ns) {
        if (durations_ns_.size() < durations_ns_.capacity()) durations_ns_.push_back(static_cast<std::uint32_t>(duration_ns));
        ++count_;
        sum_ns_ += duration_ns;
    }
    std::uint64_t count() const { return count_; }
    double mean_ns() const { return count_ == 0 ? 0.0 : static_cast<double>(sum_ns_) / static_cast<double>(count_); }
    std::uint32_t quantile_ns(double fraction);  // sorts on first use

private:
    std::vector<std::uint32_t> durations_ns_;
    std::uint64_t count_ = 0;
    std::uint64_t sum_ns_ = 0;
    bool sorted_ = false;
};

// One JSON object, printed as one line on stdout.
class JsonLine {
public:
    JsonLine() = default;
    explicit JsonLine(std::string_view bench);
    JsonLine& add(std::string_view key, std::uint64_t value);
    JsonLine& add(std::string_view key, double value);
    JsonLine& add(std::string_view key, std::string_view value);
    JsonLine& add(std::string_view key, const std::vector<JsonLine>& rows);
    JsonLine& add_samples(Samples& samples, double seconds);
    void print();

private:
    void key(std::string_view name);
    std::string text_ = "{";
};

}  // namespace fnbench
