// Real servers and clients for the inside of a namespace: nginx, socat, curl.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/harness/netns.h"
#include "tests/harness/sockets.h"

namespace fastnet::test {

/// nginx that answers `<label> <client address> <server address>:<server port>` on every port in both families, and serves files from
/// directory() below /files/. Ready when the constructor returns.
class WebServer {
public:
    WebServer(const Netns& netns, const std::string& label, const std::vector<std::uint16_t>& ports = {80});
    WebServer(const WebServer&) = delete;
    WebServer& operator=(const WebServer&) = delete;
    ~WebServer();

    const std::filesystem::path& directory() const { return directory_; }

private:
    std::filesystem::path directory_;
    Background nginx_;
};

/// socat that answers each datagram with itself, of IPv4 or of both families; ready when the constructor returns.
class UdpEcho {
public:
    UdpEcho(const Netns& netns, std::uint16_t port, bool dual_stack = false);

private:
    Background socat_;
};

/// `curl`'s body; empty when the request failed within @p seconds.
std::string fetch(const Netns& from, const std::string& url, int seconds = 3);
/// The same, tried again until it answers or @p bound is over.
std::string fetch_soon(const Netns& from, const std::string& url, Millis bound = Millis{10'000});
/// One datagram there and back by a socket of @p from; true when @p text came back.
bool udp_answers(const Netns& from, const SocketAddress& to, const std::string& text = "are you there", Millis bound = Millis{2000});

/// What a UDP call from @p from to a port of @p ip where nobody listens meets: "refused" by an ICMP error, else "silence".
std::string unanswered_call(const Netns& from, const std::string& ip, std::uint16_t port);

}  // namespace fastnet::test
