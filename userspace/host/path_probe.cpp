#include "userspace/host/path_probe.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "loader/base/handle.h"

namespace fastnet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kSmallPacket = 84;     // what ping sends
constexpr std::uint32_t kLargestProbe = 9216;  // jumbo frames; what is said of a path ends there
constexpr std::size_t kIpv4Header = 20;
constexpr std::size_t kIpv6Header = 40;
constexpr std::size_t kEchoHeader = 8;  // type, code, checksum, identifier, sequence number: the same in both families
constexpr int kMostAtOnce = 64;         // packets taken from one socket in one go
constexpr int kTick = 50;               // ms: an ICMP error may lower the MTU without waking poll()

std::uint16_t internet_checksum(const std::vector<std::uint8_t>& bytes) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) sum += static_cast<std::uint32_t>(bytes[i]) << 8U | bytes[i + 1];
    if (bytes.size() % 2 != 0) sum += static_cast<std::uint32_t>(bytes.back()) << 8U;
    while (sum >> 16U != 0) sum = (sum & 0xffffU) + (sum >> 16U);
    return static_cast<std::uint16_t>(~sum);
}

/// One host, through a raw socket that is connected to it: the kernel then hands over its packets only, and tells its path MTU.
class Probe {
public:
    explicit Probe(const IpAddress& host) : ipv4_{host.family() == Family::kIpv4}, header_size_{ipv4_ ? kIpv4Header : kIpv6Header} {
        report_.host = host;
    }

    Status open() {
        const int family = ipv4_ ? AF_INET : AF_INET6;
        fd_ = UniqueFd{::socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, ipv4_ ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6})};
        if (!fd_) return sys_error(errno, "open an ICMP socket");
        const int never_fragment = ipv4_ ? IP_PMTUDISC_DO : IPV6_PMTUDISC_DO;
        if (::setsockopt(fd_.get(), level(), ipv4_ ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, &never_fragment, sizeof(never_fragment)) != 0)
            return sys_error(errno, "forbid fragmentation of ICMP packets");
        (void)!::getrandom(&identifier_, sizeof(identifier_),
                           0);  // a poor number is no failure: answers are told apart by their sender too
        sockaddr_storage address{};
        const socklen_t size = fill(address);
        if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) report_.trouble = std::strerror(errno);
        return ok();
    }

    bool done() const { return !report_.trouble.empty() || (report_.answers && report_.mtu != 0); }
    int fd() const { return done() ? -1 : fd_.get(); }
    const PathReport& report() const { return report_; }

    void ask() {
        if (done()) return;
        if (!report_.answers) send_echo(kSmallPacket, 0);
        asked_ = 0;
        ask_for_the_mtu();
    }

    /// Takes answers, and asks for less where a router said that it was too much.
    void look() {
        if (done()) return;
        std::array<std::uint8_t, 65536> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled by recv
        for (int i = 0; i < kMostAtOnce; ++i) {
            const ssize_t size = ::recv(fd_.get(), buffer.data(), buffer.size(), MSG_TRUNC);
            if (size >= 0) {
                take(buffer.data(), static_cast<std::size_t>(size));
            } else if (errno == EAGAIN) {
                break;
            }  // else what a router reported, which is cleared by this
        }
        ask_for_the_mtu();
    }

private:
    int level() const { return ipv4_ ? int{IPPROTO_IP} : int{IPPROTO_IPV6}; }

    socklen_t fill(sockaddr_storage& storage) const {
        if (ipv4_) {
            auto& address = reinterpret_cast<sockaddr_in&>(storage);
            address.sin_family = AF_INET;
            std::memcpy(&address.sin_addr, report_.host.wire(), report_.host.wire_size());
            return sizeof(address);
        }
        auto& address = reinterpret_cast<sockaddr_in6&>(storage);
        address.sin6_family = AF_INET6;
        std::memcpy(&address.sin6_addr, report_.host.wire(), report_.host.wire_size());
        return sizeof(address);
    }

    /// @p sequence is 0 for the small packet, else the size: an answer says which it is for.
    bool send_echo(std::uint32_t size, std::uint16_t sequence) {
        std::vector<std::uint8_t> message(size - header_size_);
        message[0] = ipv4_ ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
        message[4] = static_cast<std::uint8_t>(identifier_ >> 8U);
        message[5] = static_cast<std::uint8_t>(identifier_);
        message[6] = static_cast<std::uint8_t>(sequence >> 8U);
        message[7] = static_cast<std::uint8_t>(sequence);
        if (ipv4_) {  // the kernel fills in that of ICMPv6
            const std::uint16_t checksum = internet_checksum(message);
            message[2] = static_cast<std::uint8_t>(checksum >> 8U);
            message[3] = static_cast<std::uint8_t>(checksum);
        }
        for (int attempt = 0; attempt < 2; ++attempt) {
            if (::send(fd_.get(), message.data(), message.size(), 0) >= 0) return true;
            if (errno == EMSGSIZE) return false;
            // The first failure may be what a router reported about an earlier packet.
        }
        if (errno != EAGAIN && errno != ENOBUFS && sequence == 0) report_.trouble = std::strerror(errno);
        return false;
    }

    void ask_for_the_mtu() {
        int mtu = 0;
        socklen_t size = sizeof(mtu);
        if (done() || ::getsockopt(fd_.get(), level(), ipv4_ ? IP_MTU : IPV6_MTU, &mtu, &size) != 0 || mtu <= 0) return;
        report_.route_mtu = static_cast<std::uint32_t>(mtu);
        const std::uint32_t wanted = std::clamp(report_.route_mtu, kSmallPacket, kLargestProbe);
        if (wanted == asked_) return;
        if (send_echo(wanted, static_cast<std::uint16_t>(wanted))) asked_ = wanted;
    }

    void take(const std::uint8_t* packet, std::size_t size) {
        if (ipv4_) {  // comes with its IP header
            const std::size_t header = size == 0 ? 0 : (packet[0] & 0x0fU) * std::size_t{4};
            if (size < header + kEchoHeader) return;
            packet += header;
            size -= header;
        }
        if (size < kEchoHeader || packet[0] != (ipv4_ ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY)) return;
        const auto word = [&](std::size_t at) { return static_cast<std::uint16_t>(packet[at] << 8U | packet[at + 1]); };
        if (word(4) != identifier_) return;
        report_.answers = true;
        // An answer that was cut short says nothing about the size.
        if (word(6) != 0 && size + header_size_ == word(6)) report_.mtu = std::max<std::uint32_t>(report_.mtu, word(6));
    }

    bool ipv4_;
    std::size_t header_size_;
    UniqueFd fd_{};
    std::uint16_t identifier_ = 0;
    std::uint32_t asked_ = 0;  // the size of the last large packet
    PathReport report_{};
};

}  // namespace

Result<std::vector<PathReport>> probe_paths(const std::vector<IpAddress>& hosts, std::chrono::milliseconds bound) {
    std::vector<Probe> probes;
    probes.reserve(hosts.size());
    for (const IpAddress& host : hosts) {
        probes.emplace_back(host);
        CHECK_OK(probes.back().open());
    }
    const auto start = Clock::now();
    bool asked_again = false;
    for (Probe& probe : probes) probe.ask();
    while (std::any_of(probes.begin(), probes.end(), [](const Probe& probe) { return !probe.done(); })) {
        const auto passed = Clock::now() - start;
        if (passed >= bound) break;
        if (!asked_again && passed >= bound / 2) {  // a packet may be lost
            asked_again = true;
            for (Probe& probe : probes) probe.ask();
        }
        std::vector<pollfd> waiting;
        for (const Probe& probe : probes) waiting.push_back({probe.fd(), POLLIN, 0});
        (void)::poll(waiting.data(), waiting.size(), kTick);
        for (Probe& probe : probes) probe.look();
    }
    std::vector<PathReport> reports;
    for (const Probe& probe : probes) reports.push_back(probe.report());
    return reports;
}

}  // namespace fastnet
