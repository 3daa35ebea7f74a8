#include "userspace/host/sockets.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <memory>

#include "userspace/host/netlink_socket.h"

namespace fastnet {
namespace {

// Kernel 6.8 and later: bound, not listening, not connected. Older ones have no socket in that state to show.
constexpr std::uint32_t kTcpBoundInactive = 13;

/// The states in which a socket of @p protocol holds its port against a newcomer.
std::uint32_t holding_states(Protocol protocol) {
    switch (protocol) {
        case Protocol::kTcp: return 1U << TCP_LISTEN | 1U << kTcpBoundInactive;
        case Protocol::kUdp: return 1U << TCP_CLOSE | 1U << TCP_ESTABLISHED;  // unconnected, connected
        case Protocol::kSctp: return 1U << TCP_LISTEN;
        default: return 0;
    }
}

/// The kernel-side filter "port within range": four ops of inet_diag's little language. Each comparison is two ops, the
/// second of which carries the port in `no`; `yes` and `no` are byte offsets, past the end by 4 means "reject".
std::array<inet_diag_bc_op, 4> port_filter(PortRange range) {
    constexpr std::uint8_t kCompare = 2 * sizeof(inet_diag_bc_op);
    constexpr std::uint16_t kReject = sizeof(inet_diag_bc_op);
    const auto op = [](int code, std::uint8_t yes, std::size_t no) {
        return inet_diag_bc_op{static_cast<unsigned char>(code), yes, static_cast<unsigned short>(no)};
    };
    return {op(INET_DIAG_BC_S_GE, kCompare, 2 * kCompare + kReject), op(INET_DIAG_BC_NOP, 0, range.first.value()),
            op(INET_DIAG_BC_S_LE, kCompare, kCompare + kReject), op(INET_DIAG_BC_NOP, 0, range.last.value())};
}

std::optional<LocalSocket> parse_socket(const nlmsghdr& message, Protocol protocol) {
    if (mnl_nlmsg_get_payload_len(&message) < sizeof(inet_diag_msg)) return std::nullopt;
    const auto& diag = *static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(&message));
    const Attributes<INET_DIAG_SKV6ONLY> attributes{message, sizeof(diag)};
    const Family family = diag.idiag_family == AF_INET6 ? Family::kIpv6 : Family::kIpv4;
    LocalSocket socket;
    socket.protocol = protocol;
    socket.address = IpAddress::from_wire(family, diag.id.idiag_src);  // v4-mapped becomes IPv4
    socket.port = Port{ntohs(diag.id.idiag_sport)};
    socket.v6_only = attributes.value<std::uint8_t>(INET_DIAG_SKV6ONLY) != 0;
    socket.connected = protocol == Protocol::kUdp && diag.idiag_state == TCP_ESTABLISHED;
    socket.device = diag.id.idiag_if;
    socket.inode = diag.idiag_inode;
    socket.uid = diag.idiag_uid;
    return socket;
}

struct DirectoryCloser {
    void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, DirectoryCloser>;

std::optional<pid_t> parse_pid(const char* text) {
    pid_t pid = 0;
    const std::string_view digits{text};
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), pid);
    if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
    return pid;
}

bool has_open(const std::string& fd_directory, const std::string& target) {
    const Directory directory{::opendir(fd_directory.c_str())};
    if (!directory) return false;
    std::array<char, 64> link{};
    while (const dirent* entry = ::readdir(directory.get())) {
        const ssize_t size = ::readlinkat(::dirfd(directory.get()), entry->d_name, link.data(), link.size());
        if (size > 0 && std::string_view{link.data(), static_cast<std::size_t>(size)} == target) return true;
    }
    return false;
}

}  // namespace

Result<std::vector<LocalSocket>> sockets_in(Protocol protocol, PortRange range) {
    NetlinkSocket netlink = TRY(NetlinkSocket::open(NETLINK_SOCK_DIAG));
    std::vector<LocalSocket> result;
    for (const int family : {AF_INET, AF_INET6}) {
        NetlinkRequest request{SOCK_DIAG_BY_FAMILY, NLM_F_DUMP};
        auto& header = request.add_header<inet_diag_req_v2>();
        header.sdiag_family = static_cast<std::uint8_t>(family);
        header.sdiag_protocol = static_cast<std::uint8_t>(protocol);
        header.idiag_states = holding_states(protocol);
        const auto filter = port_filter(range);
        request.put(INET_DIAG_REQ_BYTECODE, filter.data(), sizeof(filter));

        std::vector<LocalSocket> found;
        auto dumped = netlink.dump(
            request, "list " + to_string(protocol) + " sockets", [&] { found.clear(); },
            [&](const nlmsghdr& message) {
                auto socket = message.nlmsg_type == SOCK_DIAG_BY_FAMILY ? parse_socket(message, protocol) : std::nullopt;
                if (socket && range.contains(socket->port)) found.push_back(*socket);
                return ok();
            });
        // No such protocol, or no IPv6, in this kernel.
        if (!dumped && dumped.error().kind == ErrorKind::kNotFound) continue;
        CHECK_OK(std::move(dumped));
        result.insert(result.end(), found.begin(), found.end());
    }
    return result;
}

bool covers(const LocalSocket& socket, const IpAddress& address) {
    const bool v6_wildcard = socket.address.family() == Family::kIpv6 && socket.address.is_any();
    if (socket.address.family() != address.family()) return v6_wildcard && !socket.v6_only;
    return socket.address.is_any() || address.is_any() || socket.address == address;
}

std::optional<Process> holder_of(std::uint64_t inode) {
    if (inode == 0) return std::nullopt;
    const Directory processes{::opendir("/proc")};
    if (!processes) return std::nullopt;
    const std::string target = "socket:[" + std::to_string(inode) + "]";
    while (const dirent* entry = ::readdir(processes.get())) {
        const auto pid = parse_pid(entry->d_name);
        if (!pid || !has_open("/proc/" + std::to_string(*pid) + "/fd", target)) continue;
        Process process{*pid, {}};
        std::ifstream comm{"/proc/" + std::to_string(*pid) + "/comm"};
        std::getline(comm, process.program);
        return process;
    }
    return std::nullopt;
}

std::string describe_holder(const LocalSocket& socket) {
    if (socket.inode == 0) return "a socket of the kernel";
    if (const auto process = holder_of(socket.inode)) {
        return (process->program.empty() ? "a process" : process->program) + " (pid " + std::to_string(process->pid) + ")";
    }
    return "a process of uid " + std::to_string(socket.uid) + " that is not visible from here";
}

}  // namespace fastnet
