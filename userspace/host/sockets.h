// Which sockets of this namespace already hold a port (sock_diag), and which process has them.
// Works in the calling thread's namespace. A published port is checked against these before it is taken.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"

namespace fastnet {

struct LocalSocket {
    Protocol protocol = Protocol::kTcp;
    IpAddress address{};  ///< bound address; 0.0.0.0 or :: for all
    Port port{};
    bool v6_only = false;      ///< a `::` socket that leaves IPv4 alone
    bool connected = false;    ///< UDP only: receives from one peer only
    std::uint32_t device = 0;  ///< interface index of SO_BINDTODEVICE, 0 = any
    std::uint64_t inode = 0;   ///< 0 for a socket of the kernel itself
    std::uint32_t uid = 0;
};

/// Sockets bound to a port of @p range: TCP and SCTP listeners (and, on kernels that list them, TCP sockets that are
/// bound but do not listen yet), every UDP socket. Two dumps however wide the range is, filtered in the kernel; TCP
/// takes half a millisecond on an idle host. A kernel without the protocol has no sockets of it.
Result<std::vector<LocalSocket>> sockets_in(Protocol protocol, PortRange range);

/// Whether @p socket receives, or shares with whoever binds it, what arrives for @p address: equal addresses, a
/// wildcard on either side, and `::` without v6_only counts for IPv4. `::` as @p address means all of IPv6 only.
bool covers(const LocalSocket& socket, const IpAddress& address);

struct Process {
    pid_t pid = 0;
    std::string program{};  ///< /proc/PID/comm
};

/// A process that has the socket open. nullopt if there is none that this process can see. Walks /proc: milliseconds,
/// meant for error messages.
std::optional<Process> holder_of(std::uint64_t inode);

/// For messages: `nginx (pid 4711)`, or what is known instead.
std::string describe_holder(const LocalSocket& socket);

}  // namespace fastnet
