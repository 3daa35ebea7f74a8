#include "tests/harness/flood.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

namespace fastnet::test {
namespace {

constexpr std::size_t kBatch = 64;
constexpr std::size_t kIp = ETH_HLEN, kL4 = kIp + 20;
constexpr std::size_t kIpCheck = kIp + 10, kSource = kIp + 12, kDestination = kIp + 16;
constexpr std::size_t kTcpSequence = kL4 + 4, kTcpCheck = kL4 + 16;
constexpr std::uint32_t kTcpSize = 20, kUdpSize = 16;
constexpr std::uint32_t kSharedSpace = 0x64400000;  // 100.64.0.0/10
constexpr std::uint32_t kSharedMask = 0x003fffff;

void put16(std::uint8_t* at, std::uint32_t value) {
    at[0] = static_cast<std::uint8_t>(value >> 8U);
    at[1] = static_cast<std::uint8_t>(value);
}
void put32(std::uint8_t* at, std::uint32_t value) {
    put16(at, value >> 16U);
    put16(at + 2, value & 0xffffU);
}
std::uint32_t sum_words(const std::uint8_t* data, std::size_t size) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i + 1 < size; i += 2) sum += static_cast<std::uint32_t>(data[i] << 8U | data[i + 1]);
    return sum;
}
std::uint32_t halves(std::uint32_t value) {
    return (value >> 16U) + (value & 0xffffU);
}
std::uint32_t checksum(std::uint32_t sum) {
    return ~halves(halves(sum)) & 0xffffU;
}

}  // namespace

Flood::Flood(const Netns& netns, const std::string& ifname, const Target& target) : transport_{target.transport} {
    const bool tcp = transport_ == Transport::kTcp;
    const std::uint32_t l4_size = tcp ? kTcpSize : kUdpSize;
    size_ = kL4 + l4_size;
    std::uint8_t* const frame = template_.data();
    EXPECT_EQ(
        std::sscanf(target.mac.c_str(), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", frame, frame + 1, frame + 2, frame + 3, frame + 4, frame + 5), 6);
    frame[6] = 0x02;  // the sender's MAC: any
    put16(frame + 12, ETHERTYPE_IP);
    frame[kIp] = 0x45;
    put16(frame + kIp + 2, 20 + l4_size);
    frame[kIp + 8] = 64;
    frame[kIp + 9] = tcp ? IPPROTO_TCP : IPPROTO_UDP;
    EXPECT_EQ(::inet_pton(AF_INET, target.ip.c_str(), frame + kDestination), 1);
    put16(frame + kL4 + 2, target.port);
    if (tcp) {
        frame[kL4 + 12] = 5 << 4U;
        frame[kL4 + 13] = 0x02;  // SYN
        put16(frame + kL4 + 14, 64240);
    } else {
        put16(frame + kL4 + 4, kUdpSize);  // checksum 0: none (RFC 768)
    }
    ip_sum_ = sum_words(frame + kIp, 20);
    l4_sum_ = sum_words(frame + kDestination, 4) + IPPROTO_TCP + kTcpSize + sum_words(frame + kL4, kTcpSize);
    netns.inside([&] {
        sockaddr_ll address{};
        address.sll_family = AF_PACKET;
        address.sll_ifindex = static_cast<int>(::if_nametoindex(ifname.c_str()));
        fd_ = ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);  // protocol 0: it hears nothing
        const int yes = 1;
        EXPECT_EQ(::setsockopt(fd_, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes), 0) << std::strerror(errno);
        EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << std::strerror(errno);
    });
}

Flood::~Flood() {
    if (fd_ >= 0) ::close(fd_);
}

std::uint64_t Flood::random() {  // xorshift64 (Marsaglia 2003)
    state_ ^= state_ << 13U;
    state_ ^= state_ >> 7U;
    state_ ^= state_ << 17U;
    return state_;
}

void Flood::forge(std::array<std::uint8_t, kFrameSize>& frame) {
    const std::uint64_t dice = random();
    const std::uint32_t source = kSharedSpace | (static_cast<std::uint32_t>(dice) & kSharedMask);
    const std::uint32_t port = 1024 + static_cast<std::uint32_t>(dice >> 32U) % 64512;
    put32(frame.data() + kSource, source);
    put16(frame.data() + kIpCheck, checksum(ip_sum_ + halves(source)));
    put16(frame.data() + kL4, port);
    if (transport_ == Transport::kUdp) return;
    const auto sequence = static_cast<std::uint32_t>(random());
    put32(frame.data() + kTcpSequence, sequence);
    put16(frame.data() + kTcpCheck, checksum(l4_sum_ + halves(source) + port + halves(sequence)));
}

std::uint64_t Flood::send(std::uint64_t count) {
    std::array<std::array<std::uint8_t, kFrameSize>, kBatch> frames;
    std::array<iovec, kBatch> parts{};
    std::array<mmsghdr, kBatch> messages{};
    frames.fill(template_);
    for (std::size_t i = 0; i < kBatch; ++i) {
        parts[i] = {frames[i].data(), size_};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    std::uint64_t sent = 0;
    while (sent < count) {
        const auto wanted = static_cast<unsigned>(std::min<std::uint64_t>(kBatch, count - sent));
        for (unsigned i = 0; i < wanted; ++i) forge(frames[i]);
        const int done = ::sendmmsg(fd_, messages.data(), wanted, 0);
        if (done < 0 && errno == ENOBUFS) continue;  // the receiver's queue is full for a moment
        EXPECT_GT(done, 0) << std::strerror(errno);
        if (done <= 0) break;
        sent += static_cast<std::uint64_t>(done);
    }
    return sent;
}

UdpReflector::UdpReflector(const Netns& netns, std::uint16_t port)
    : socket_{Socket::bound(netns, Transport::kUdp, {"0.0.0.0", port})}, thread_{[this] { work(); }} {
    EXPECT_TRUE(socket_.ok()) << socket_.error();
}

UdpReflector::~UdpReflector() {
    stop_ = true;
    thread_.join();
}

void UdpReflector::work() {
    constexpr int kPatienceMs = 20;
    std::vector<std::array<char, 2048>> buffers(kBatch);
    std::array<sockaddr_in, kBatch> senders{};
    std::array<iovec, kBatch> parts{};
    std::array<mmsghdr, kBatch> messages{};
    while (!stop_) {
        for (std::size_t i = 0; i < kBatch; ++i) {
            parts[i] = {buffers[i].data(), buffers[i].size()};
            messages[i].msg_hdr = {&senders[i], sizeof senders[i], &parts[i], 1, nullptr, 0, 0};
        }
        const int received = ::recvmmsg(socket_.fd(), messages.data(), kBatch, MSG_DONTWAIT, nullptr);
        if (received <= 0) {
            pollfd entry{socket_.fd(), POLLIN, 0};
            (void)::poll(&entry, 1, kPatienceMs);
            continue;
        }
        for (int i = 0; i < received; ++i) parts[static_cast<std::size_t>(i)].iov_len = messages[static_cast<std::size_t>(i)].msg_len;
        for (int first = 0; first < received;) {
            const int done =
                ::sendmmsg(socket_.fd(), &messages[static_cast<std::size_t>(first)], static_cast<unsigned>(received - first), 0);
            first += std::max(done, 1);  // an answer that the kernel refuses is one to a sender that does not exist
            if (done > 0) answered_ += static_cast<std::uint64_t>(done);
        }
    }
}

}  // namespace fastnet::test
