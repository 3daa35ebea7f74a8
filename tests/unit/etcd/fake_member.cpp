#include "tests/unit/etcd/fake_member.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

namespace fastnet {
namespace {

constexpr int kLookMs = 20;  // how soon a thread sees that its member stops

bool readable(int fd, const std::atomic<bool>& stopping) {
    while (!stopping) {
        pollfd entry{fd, POLLIN, 0};
        if (::poll(&entry, 1, kLookMs) > 0) return true;
    }
    return false;
}

}  // namespace

bool FakeExchange::send(std::string_view bytes) {
    while (!bytes.empty() && !stopping_) {
        pollfd entry{fd_, POLLOUT, 0};
        if (::poll(&entry, 1, kLookMs) <= 0) continue;
        const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN) return false;
        if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return bytes.empty();
}

void FakeExchange::json(int status, const std::string& body) {
    send("HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body);
}

void FakeExchange::hold() {
    std::array<char, 512> ignored{};
    while (readable(fd_, stopping_)) {
        if (::recv(fd_, ignored.data(), ignored.size(), 0) <= 0) return;
    }
}

FakeMember::FakeMember(Handler handler) : handler_{std::move(handler)}, listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_.get(), generic, size) != 0 || ::listen(listener_.get(), 64) != 0 ||
        ::getsockname(listener_.get(), generic, &size) != 0)
        std::abort();
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread{[this] { accept_all(); }};
}

FakeMember::~FakeMember() {
    stopping_ = true;
    acceptor_.join();
    for (std::thread& connection : connections_) connection.join();
}

void FakeMember::accept_all() {
    while (readable(listener_.get(), stopping_)) {
        const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0) connections_.emplace_back([this, fd] { serve(fd); });
    }
}

void FakeMember::serve(int raw_fd) {
    const UniqueFd fd{raw_fd};
    std::string input;
    std::array<char, 4096> buffer{};
    while (true) {
        const std::size_t head_end = input.find("\r\n\r\n");
        const std::size_t length_at = input.find("Content-Length: ");
        if (head_end != std::string::npos && length_at < head_end) {
            const std::size_t length = std::strtoul(input.c_str() + length_at + 16, nullptr, 10);
            const std::size_t end = head_end + 4 + length;
            if (input.size() >= end) {
                FakeRequest request;
                request.head = input.substr(0, head_end);
                request.body = input.substr(head_end + 4, length);
                request.path = input.substr(5, input.find(' ', 5) - 5);  // behind "POST "
                input.erase(0, end);
                {
                    const std::lock_guard guard{mutex_};
                    requests_.push_back(request);
                }
                FakeExchange exchange{fd.get(), stopping_};
                if (!handler_(request, exchange)) return;
                continue;
            }
        }
        if (!readable(fd.get(), stopping_)) return;
        const ssize_t got = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
        if (got <= 0) return;
        input.append(buffer.data(), static_cast<std::size_t>(got));
    }
}

std::size_t FakeMember::count(std::string_view path) const {
    const std::lock_guard guard{mutex_};
    return static_cast<std::size_t>(
        std::count_if(requests_.begin(), requests_.end(), [&](const FakeRequest& request) { return request.path == path; }));
}

std::vector<FakeRequest> FakeMember::requests() const {
    const std::lock_guard guard{mutex_};
    return requests_;
}

}  // namespace fastnet
