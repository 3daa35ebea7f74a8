// Real sockets inside a namespace, for what no command-line program shows: source ports, errno, the peer's address.
// A socket belongs to the namespace it was made in for ever, so it is used from the test's thread afterwards.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/harness/netns.h"

namespace fastnet::test {

enum class Transport { kTcp, kUdp };

struct SocketAddress {
    std::string ip;
    std::uint16_t port = 0;
    friend bool operator==(const SocketAddress&, const SocketAddress&) = default;
};
std::ostream& operator<<(std::ostream& stream, const SocketAddress& address);

class Socket {
public:
    Socket() = default;
    Socket(Socket&& other) noexcept;
    Socket& operator=(Socket&& other) noexcept;
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket();

    /// Bound to @p local ("::" is dual-stack unless @p v6_only); look at error() for the verdict.
    static Socket bound(const Netns& netns, Transport transport, const SocketAddress& local, bool v6_only = false);
    static Socket listener(const Netns& netns, const SocketAddress& local);
    /// Connected within @p bound, else error() is ECONNREFUSED, ETIMEDOUT, ...
    static Socket connected(const Netns& netns, Transport transport, const SocketAddress& remote, const SocketAddress& local = {},
                            Millis bound = Millis{3000});

    bool ok() const { return fd_ >= 0 && error_ == 0; }
    int error() const { return error_; }  ///< errno of the step that failed, 0 if none
    int fd() const { return fd_; }

    /// Of a datagram socket: fixes its peer.
    void connect(const SocketAddress& remote);
    Socket accept(Millis bound = Millis{3000}) const;
    bool send(const std::string& text) const;
    bool send_to(const std::string& text, const SocketAddress& remote) const;
    std::string receive(Millis bound = Millis{3000}) const;  ///< empty: nothing came, or the end
    std::string receive_from(SocketAddress& from, Millis bound = Millis{3000}) const;
    bool at_end(Millis bound = Millis{3000}) const;  ///< the peer closed or reset the connection
    SocketAddress local() const;
    SocketAddress peer() const;
    void reset_on_close() const;  ///< SO_LINGER 0: close sends RST
    void close();

private:
    explicit Socket(int fd, int error = 0) : fd_{fd}, error_{error} {}

    int fd_ = -1;
    int error_ = 0;
};

/// @p text goes from @p a to @p b and back.
bool ping_pong(const Socket& a, const Socket& b, const std::string& text = "ping", Millis bound = Millis{3000});
/// True when a socket of this namespace listens (tcp) or is bound (udp) at @p port, in either family.
bool is_listening(const Netns& netns, Transport transport, std::uint16_t port);

}  // namespace fastnet::test
