#include "tests/harness/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <ostream>
#include <sstream>
#include <utility>

namespace fastnet::test {
namespace {

struct RawAddress {
    sockaddr_storage storage{};
    socklen_t size = sizeof(sockaddr_storage);
    sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

int family_of(const std::string& ip) {
    return ip.find(':') != std::string::npos ? AF_INET6 : AF_INET;
}

RawAddress to_raw(const SocketAddress& address) {
    RawAddress raw;
    if (family_of(address.ip) == AF_INET6) {
        auto& in6 = reinterpret_cast<sockaddr_in6&>(raw.storage);
        in6.sin6_family = AF_INET6;
        in6.sin6_port = htons(address.port);
        ::inet_pton(AF_INET6, address.ip.c_str(), &in6.sin6_addr);
        raw.size = sizeof in6;
    } else {
        auto& in = reinterpret_cast<sockaddr_in&>(raw.storage);
        in.sin_family = AF_INET;
        in.sin_port = htons(address.port);
        ::inet_pton(AF_INET, address.ip.empty() ? "0.0.0.0" : address.ip.c_str(), &in.sin_addr);
        raw.size = sizeof in;
    }
    return raw;
}

SocketAddress from_raw(const RawAddress& raw) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (raw.storage.ss_family == AF_INET6) {
        const auto& in6 = reinterpret_cast<const sockaddr_in6&>(raw.storage);
        ::inet_ntop(AF_INET6, &in6.sin6_addr, text.data(), text.size());
        return {text.data(), ntohs(in6.sin6_port)};
    }
    const auto& in = reinterpret_cast<const sockaddr_in&>(raw.storage);
    ::inet_ntop(AF_INET, &in.sin_addr, text.data(), text.size());
    return {text.data(), ntohs(in.sin_port)};
}

bool wait_for(int fd, short events, Millis bound) {
    pollfd entry{fd, events, 0};
    return ::poll(&entry, 1, static_cast<int>(bound.count())) == 1;
}

int open_socket(const Netns& netns, Transport transport, int family) {
    int fd = -1;
    netns.inside([&] {
        const int type = transport == Transport::kTcp ? SOCK_STREAM : SOCK_DGRAM;
        fd = ::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    });
    return fd;
}

/// 0 or the errno of the connection attempt.
int connect_within(int fd, RawAddress remote, Millis bound) {
    if (::connect(fd, remote.get(), remote.size) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    if (!wait_for(fd, POLLOUT, bound)) return ETIMEDOUT;
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

}  // namespace

std::ostream& operator<<(std::ostream& stream, const SocketAddress& address) {
    return stream << address.ip << " port " << address.port;
}

Socket::Socket(Socket&& other) noexcept : fd_{std::exchange(other.fd_, -1)}, error_{other.error_} {}

Socket& Socket::operator=(Socket&& other) noexcept {
    if (this != &other) {
        close();
        fd_ = std::exchange(other.fd_, -1);
        error_ = other.error_;
    }
    return *this;
}

Socket::~Socket() {
    close();
}

void Socket::close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Socket Socket::bound(const Netns& netns, Transport transport, const SocketAddress& local, bool v6_only) {
    const int family = family_of(local.ip);
    const int fd = open_socket(netns, transport, family);
    if (fd < 0) return Socket{-1, errno};
    const int yes = 1;
    const int only = v6_only ? 1 : 0;
    if (transport == Transport::kTcp) ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (family == AF_INET6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    RawAddress raw = to_raw(local);
    int error = 0;
    // The thread's cgroup and namespace decide what the bind hooks see, so bind happens inside as well.
    netns.inside([&] { error = ::bind(fd, raw.get(), raw.size) == 0 ? 0 : errno; });
    return Socket{fd, error};
}

Socket Socket::listener(const Netns& netns, const SocketAddress& local) {
    Socket socket = bound(netns, Transport::kTcp, local);
    if (socket.ok() && ::listen(socket.fd_, 128) != 0) socket.error_ = errno;
    return socket;
}

Socket Socket::connected(const Netns& netns, Transport transport, const SocketAddress& remote, const SocketAddress& local,
                         Millis bound_time) {
    Socket socket;
    if (local.ip.empty() && local.port == 0) {
        const int fd = open_socket(netns, transport, family_of(remote.ip));
        socket = Socket{fd, fd < 0 ? errno : 0};
    } else {
        socket = bound(netns, transport, local);
    }
    if (!socket.ok()) return socket;
    netns.inside([&] { socket.error_ = connect_within(socket.fd_, to_raw(remote), bound_time); });
    return socket;
}

void Socket::connect(const SocketAddress& remote) {
    RawAddress raw = to_raw(remote);
    error_ = ::connect(fd_, raw.get(), raw.size) == 0 ? 0 : errno;
}

Socket Socket::accept(Millis bound_time) const {
    if (!wait_for(fd_, POLLIN, bound_time)) return Socket{-1, ETIMEDOUT};
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return Socket{fd, fd < 0 ? errno : 0};
}

bool Socket::send(const std::string& text) const {
    std::size_t sent = 0;
    while (sent < text.size() || text.empty()) {
        const ssize_t count = ::send(fd_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && wait_for(fd_, POLLOUT, Millis{5000})) continue;
        if (count < 0) return false;
        sent += static_cast<std::size_t>(count);
        if (text.empty()) break;
    }
    return true;
}

bool Socket::send_to(const std::string& text, const SocketAddress& remote) const {
    RawAddress raw = to_raw(remote);
    return ::sendto(fd_, text.data(), text.size(), MSG_NOSIGNAL, raw.get(), raw.size) == static_cast<ssize_t>(text.size());
}

std::string Socket::receive(Millis bound_time) const {
    SocketAddress ignored;
    return receive_from(ignored, bound_time);
}

std::string Socket::receive_from(SocketAddress& from, Millis bound_time) const {
    if (!wait_for(fd_, POLLIN, bound_time)) return {};
    std::string text(65536, '\0');
    RawAddress raw;
    const ssize_t got = ::recvfrom(fd_, text.data(), text.size(), 0, raw.get(), &raw.size);
    if (got <= 0) return {};
    text.resize(static_cast<std::size_t>(got));
    if (raw.size > 0) from = from_raw(raw);
    return text;
}

bool Socket::at_end(Millis bound_time) const {
    if (!wait_for(fd_, POLLIN | POLLRDHUP, bound_time)) return false;
    char byte = 0;
    const ssize_t got = ::recv(fd_, &byte, 1, MSG_PEEK);
    return got == 0 || (got < 0 && errno != EAGAIN);
}

SocketAddress Socket::local() const {
    RawAddress raw;
    ::getsockname(fd_, raw.get(), &raw.size);
    return from_raw(raw);
}

SocketAddress Socket::peer() const {
    RawAddress raw;
    if (::getpeername(fd_, raw.get(), &raw.size) != 0) return {};
    return from_raw(raw);
}

void Socket::reset_on_close() const {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

bool ping_pong(const Socket& a, const Socket& b, const std::string& text, Millis bound) {
    return a.send(text) && b.receive(bound) == text && b.send(text) && a.receive(bound) == text;
}

bool is_listening(const Netns& netns, Transport transport, std::uint16_t port) {
    constexpr std::string_view kTcpListen = "0A";
    bool found = false;
    netns.inside([&] {
        const std::string base = std::string{"/proc/thread-self/net/"} + (transport == Transport::kTcp ? "tcp" : "udp");
        for (const std::string& path : {base, base + "6"}) {
            std::ifstream table{path};
            std::string line;
            std::getline(table, line);
            while (std::getline(table, line)) {
                std::istringstream words{line};
                std::string slot;
                std::string local;
                std::string remote;
                std::string state;
                words >> slot >> local >> remote >> state;
                const auto colon = local.rfind(':');
                if (colon == std::string::npos || std::stoul(local.substr(colon + 1), nullptr, 16) != port) continue;
                found = found || transport == Transport::kUdp || state == kTcpListen;
            }
        }
    });
    return found;
}

}  // namespace fastnet::test
