// TCP clients: request/response on one connection, on a new connection each, and bulk transfer.
#include <netinet/tcp.h>

#include <cerrno>
#include <cstring>

#include "bench.h"

namespace fnbench {

namespace {

constexpr std::size_t kStreamChunk = 128 * 1024;
constexpr int kTimeoutSeconds = 5;

std::uint64_t to_ns(double seconds) {
    return static_cast<std::uint64_t>(seconds * 1e9);
}

bool send_all(int fd, const char* data, std::size_t size) {
    while (size > 0) {
        const ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        data += sent;
        size -= static_cast<std::size_t>(sent);
    }
    return true;
}

bool receive_all(int fd, char* data, std::size_t size) {
    while (size > 0) {
        const ssize_t got = recv(fd, data, size, 0);
        if (got <= 0) return false;
        data += got;
        size -= static_cast<std::size_t>(got);
    }
    return true;
}

bool exchange(int fd, std::vector<char>& message) {
    return send_all(fd, message.data(), message.size()) && receive_all(fd, message.data(), message.size());
}

UniqueFd connect_to(const Address& server) {
    UniqueFd fd{socket(server.family(), SOCK_STREAM, 0)};
    if (fd.get() < 0) die_errno("socket");
    set_timeout(fd.get(), kTimeoutSeconds);
    set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    if (connect(fd.get(), server.raw(), server.length) != 0) die_errno("connect");
    return fd;
}

enum class Outcome { kDone, kPortBusy, kFailed };

// One connection from an explicit source port. The kernel's own choice of a port would scan past TIME_WAIT sockets,
// thousands of them after a second; with SO_REUSEADDR and net.ipv4.tcp_tw_reuse=1 an explicit one costs the same each time.
Outcome connect_request_close(const ClientOptions& options, Close how, Address source, std::vector<char>& message) {
    const UniqueFd fd{socket(options.server.family(), SOCK_STREAM, 0)};
    if (fd.get() < 0) die_errno("socket");
    set_timeout(fd.get(), kTimeoutSeconds);
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (how == Close::kRst) {
        const linger abort_on_close{1, 0};
        if (setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &abort_on_close, sizeof(abort_on_close)) != 0) die_errno("SO_LINGER");
    }
    if (bind(fd.get(), source.raw(), source.length) != 0) {
        if (errno == EADDRINUSE) return Outcome::kPortBusy;
        die_errno("bind source port");
    }
    if (connect(fd.get(), options.server.raw(), options.server.length) != 0)
        return errno == EADDRNOTAVAIL ? Outcome::kPortBusy : Outcome::kFailed;
    return exchange(fd.get(), message) ? Outcome::kDone : Outcome::kFailed;
}

}  // namespace

void tcp_rr(const ClientOptions& options) {
    Samples samples;
    std::vector<char> message(options.message_bytes, 'x');
    const UniqueFd fd = connect_to(options.server);

    const std::uint64_t warm_until = now_ns() + to_ns(options.span.warmup_seconds);
    while (now_ns() < warm_until)
        if (!exchange(fd.get(), message)) die_errno("tcp_rr: the connection broke");

    const std::uint64_t start = now_ns();
    const std::uint64_t end = start + to_ns(options.span.seconds);
    std::uint64_t before = start;
    while (before < end && (options.span.max_iterations == 0 || samples.count() < options.span.max_iterations)) {
        if (!exchange(fd.get(), message)) die_errno("tcp_rr: the connection broke");
        const std::uint64_t after = now_ns();
        samples.add(after - before);
        before = after;
    }
    JsonLine("tcp_rr").add_samples(samples, static_cast<double>(before - start) / 1e9).print();
}

void tcp_crr(const ClientOptions& options, const CrrOptions& crr) {
    if (crr.first_port > crr.last_port) die("tcp_crr: the port range is reversed");
    Samples samples;
    std::vector<char> message(options.message_bytes, 'x');
    Address source = Address::any(options.server.family(), 0);
    std::uint64_t port_busy = 0;
    std::uint64_t failed = 0;

    // Start anywhere in the range, so that a run does not begin in its predecessor's TIME_WAIT.
    const std::uint32_t range = std::uint32_t{crr.last_port} - crr.first_port + 1U;
    std::uint32_t offset = static_cast<std::uint32_t>((now_ns() / 1000) % range);

    const auto next = [&] {
        source.set_port(static_cast<std::uint16_t>(crr.first_port + offset));
        offset = offset + 1 == range ? 0 : offset + 1;
        return connect_request_close(options, crr.close, source, message);
    };

    const std::uint64_t warm_until = now_ns() + to_ns(options.span.warmup_seconds);
    do {
        if (next() == Outcome::kFailed) die_errno("tcp_crr: no connection");
    } while (now_ns() < warm_until);

    const std::uint64_t start = now_ns();
    const std::uint64_t end = start + to_ns(options.span.seconds);
    std::uint64_t before = start;
    while (before < end && (options.span.max_iterations == 0 || samples.count() < options.span.max_iterations)) {
        const Outcome outcome = next();
        const std::uint64_t after = now_ns();
        if (outcome == Outcome::kDone)
            samples.add(after - before);
        else if (outcome == Outcome::kPortBusy)
            ++port_busy;
        else if (++failed > 100)
            die_errno("tcp_crr: more than 100 connections failed");
        before = after;
    }
    JsonLine("tcp_crr")
        .add("close", crr.close == Close::kFin ? "fin" : "rst")
        .add_samples(samples, static_cast<double>(before - start) / 1e9)
        .add("failed", failed)
        .add("port_busy", port_busy)
        .print();
}

void tcp_stream(const ClientOptions& options, Direction direction) {
    std::vector<char> buffer(kStreamChunk, 'x');
    const UniqueFd fd = connect_to(options.server);

    // Bytes are counted at the receiver; the warm-up's are subtracted (down) or sent on a connection of their own (up).
    const auto transfer = [&](int socket_fd, double seconds) {
        std::uint64_t bytes = 0;
        const std::uint64_t end = now_ns() + to_ns(seconds);
        while (now_ns() < end) {
            const ssize_t moved = direction == Direction::kUp ? send(socket_fd, buffer.data(), buffer.size(), MSG_NOSIGNAL)
                                                              : recv(socket_fd, buffer.data(), buffer.size(), 0);
            if (moved <= 0) die_errno("tcp_stream: the connection broke");
            bytes += static_cast<std::uint64_t>(moved);
        }
        return bytes;
    };
    const auto finish_up = [&](int socket_fd) {
        std::uint64_t received = 0;
        char answer[sizeof(received)];
        if (shutdown(socket_fd, SHUT_WR) != 0) die_errno("shutdown");
        if (!receive_all(socket_fd, answer, sizeof(answer))) die_errno("tcp_stream: the receiver did not report");
        std::memcpy(&received, answer, sizeof(received));
        return received;
    };

    std::uint64_t bytes = 0;
    std::uint64_t start = 0;
    if (direction == Direction::kUp) {
        transfer(fd.get(), options.span.warmup_seconds);
        finish_up(fd.get());
        const UniqueFd measured = connect_to(options.server);
        start = now_ns();
        transfer(measured.get(), options.span.seconds);
        bytes = finish_up(measured.get());
    } else {
        transfer(fd.get(), options.span.warmup_seconds);
        start = now_ns();
        bytes = transfer(fd.get(), options.span.seconds);
    }
    const double seconds = static_cast<double>(now_ns() - start) / 1e9;
    JsonLine("tcp_stream")
        .add("direction", direction == Direction::kUp ? "up" : "down")
        .add("bytes", bytes)
        .add("seconds", seconds)
        .add("bytes_per_second", static_cast<double>(bytes) / seconds)
        .print();
}

}  // namespace fnbench
