// Real sockets in the namespace of the calling thread, for what the programs look up.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "loader/base/handle.h"
#include "loader/base/net_types.h"

namespace fastnet::test {

struct SocketName {
    sockaddr_storage storage{};
    socklen_t length = 0;
    SocketName(const IpAddress& address, std::uint16_t port, bool as_ipv6 = false) {
        if (address.family() == Family::kIpv4 && !as_ipv6) {
            sockaddr_in name{};
            name.sin_family = AF_INET;
            name.sin_port = htons(port);
            std::memcpy(&name.sin_addr, address.wire(), 4);
            std::memcpy(&storage, &name, length = sizeof name);
        } else {
            sockaddr_in6 name{};
            name.sin6_family = AF_INET6;
            name.sin6_port = htons(port);
            std::memcpy(&name.sin6_addr, address.bytes().data(), 16);
            std::memcpy(&storage, &name, length = sizeof name);
        }
    }
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// Bound, and listening if it is a stream; error() is the errno of bind.
class HostSocket {
public:
    HostSocket(int type, const IpAddress& address, std::uint16_t port, bool as_ipv6 = false, bool v6_only = false) {
        const SocketName name{address, port, as_ipv6};
        fd_.reset(socket(name.get()->sa_family, type | SOCK_CLOEXEC, 0));
        const int only = v6_only ? 1 : 0;
        if (name.get()->sa_family == AF_INET6) (void)setsockopt(fd_.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
        if (bind(fd_.get(), name.get(), name.length) != 0)
            error_ = errno;
        else if (type == SOCK_STREAM && listen(fd_.get(), 1) != 0)
            error_ = errno;
    }
    int error() const { return error_; }
    int fd() const { return fd_.get(); }

private:
    UniqueFd fd_;
    int error_ = 0;
};

}  // namespace fastnet::test
