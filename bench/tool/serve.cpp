// The server side: one process per service, blocking calls only. An event loop would cost the same in every variant
// and so hide a part of the difference that we want to see.
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "bench.h"

namespace fnbench {

namespace {

constexpr std::size_t kStreamChunk = 128 * 1024;
constexpr std::size_t kLargestDatagram = 65536;

bool is_tcp(Service service) {
    return service == Service::kTcpEcho || service == Service::kTcpSink || service == Service::kTcpSource;
}

UniqueFd open_service(const ServeOptions& options, const ServiceSpec& spec) {
    UniqueFd fd{socket(options.family, is_tcp(spec.service) ? SOCK_STREAM : SOCK_DGRAM, 0)};
    if (fd.get() < 0) die_errno("socket");
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (options.family == AF_INET6) set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    const Address address = Address::any(options.family, spec.port);
    if (bind(fd.get(), address.raw(), address.length) != 0) die_errno("bind port " + std::to_string(spec.port));
    if (!is_tcp(spec.service)) return fd;

    // Accepted sockets inherit both: no call per connection.
    set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    set_timeout(fd.get(), 5);  // a client that was killed must not block the next one for long
    if (listen(fd.get(), 4096) != 0) die_errno("listen on port " + std::to_string(spec.port));
    return fd;
}

UniqueFd accept_next(int listener) {
    for (;;) {
        UniqueFd connection{accept(listener, nullptr, nullptr)};
        if (connection.get() >= 0) return connection;
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) die_errno("accept");
    }
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

[[noreturn]] void run_tcp_echo(int listener, std::size_t message_bytes) {
    std::vector<char> buffer(message_bytes);
    for (;;) {
        const UniqueFd connection = accept_next(listener);
        std::size_t have = 0;
        for (;;) {
            const ssize_t got = recv(connection.get(), buffer.data() + have, message_bytes - have, 0);
            if (got <= 0) break;
            have += static_cast<std::size_t>(got);
            if (have < message_bytes) continue;
            have = 0;
            if (!send_all(connection.get(), buffer.data(), message_bytes)) break;
        }
    }
}

// Answers with the number of bytes received (8 bytes, host order: both ends are one machine) once the client is done.
[[noreturn]] void run_tcp_sink(int listener) {
    std::vector<char> buffer(kStreamChunk);
    for (;;) {
        const UniqueFd connection = accept_next(listener);
        std::uint64_t total = 0;
        ssize_t got = 0;
        while ((got = recv(connection.get(), buffer.data(), buffer.size(), 0)) > 0) total += static_cast<std::uint64_t>(got);
        char answer[sizeof(total)];
        std::memcpy(answer, &total, sizeof(total));
        send_all(connection.get(), answer, sizeof(answer));
    }
}

[[noreturn]] void run_tcp_source(int listener) {
    const std::vector<char> buffer(kStreamChunk, 'x');
    for (;;) {
        const UniqueFd connection = accept_next(listener);
        while (send_all(connection.get(), buffer.data(), buffer.size())) {
        }
    }
}

[[noreturn]] void run_udp_echo(int fd) {
    std::vector<char> buffer(kLargestDatagram);
    for (;;) {
        Address client;
        client.length = sizeof(client.storage);
        const ssize_t got = recvfrom(fd, buffer.data(), buffer.size(), 0, client.raw(), &client.length);
        if (got < 0) continue;
        sendto(fd, buffer.data(), static_cast<std::size_t>(got), 0, client.raw(), client.length);
    }
}

[[noreturn]] void run_udp_sink(int fd) {
    char first_byte = 0;
    for (;;) recv(fd, &first_byte, sizeof(first_byte), MSG_TRUNC);
}

[[noreturn]] void run(const ServeOptions& options, const ServiceSpec& spec, int fd) {
    switch (spec.service) {
        case Service::kTcpEcho: run_tcp_echo(fd, options.message_bytes);
        case Service::kTcpSink: run_tcp_sink(fd);
        case Service::kTcpSource: run_tcp_source(fd);
        case Service::kUdpEcho: run_udp_echo(fd);
        case Service::kUdpSink: run_udp_sink(fd);
    }
    die("unknown service");
}

}  // namespace

void serve(const ServeOptions& options) {
    if (options.services.empty()) die("serve: nothing to serve");
    std::vector<UniqueFd> sockets;
    for (const ServiceSpec& spec : options.services) sockets.push_back(open_service(options, spec));

    // The signals that end us are taken by sigwait below, so that no service is left behind, not even as a zombie.
    sigset_t ends;
    sigset_t before;
    sigemptyset(&ends);
    for (const int signal_number : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&ends, signal_number);
    sigprocmask(SIG_BLOCK, &ends, &before);

    std::vector<pid_t> children;
    for (std::size_t i = 0; i < sockets.size(); ++i) {
        const pid_t child = fork();
        if (child < 0) die_errno("fork");
        if (child == 0) {
            sigprocmask(SIG_SETMASK, &before, nullptr);
            die_with_parent();
            run(options, options.services[i], sockets[i].get());
        }
        children.push_back(child);
    }
    sockets.clear();
    JsonLine("serve").add("services", std::uint64_t{options.services.size()}).print();

    int signal_number = 0;
    sigwait(&ends, &signal_number);
    for (const pid_t child : children) kill(child, SIGKILL);
    for (const pid_t child : children) waitpid(child, nullptr, 0);
    // A service ends only by a failure of its own, which it has printed: then the whole server is of no use.
    if (signal_number == SIGCHLD) die("a service ended");
    std::exit(0);
}

}  // namespace fnbench
