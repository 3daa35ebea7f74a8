// Load that no honest client makes: packets of forged random senders by the million, and a server that answers each.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

#include "tests/harness/netns.h"
#include "tests/harness/sockets.h"

namespace fastnet::test {

/// Puts packets of random senders out of 100.64.0.0/10 (RFC 6598) on the wire, as fast as one thread can.
class Flood {
public:
    struct Target {
        Transport transport = Transport::kTcp;  ///< a SYN, or a datagram of eight bytes
        std::string mac{};
        std::string ip{};
        std::uint16_t port = 0;
    };
    Flood(const Netns& netns, const std::string& ifname, const Target& target);
    Flood(const Flood&) = delete;
    Flood& operator=(const Flood&) = delete;
    ~Flood();

    /// The number that left; fewer than @p count only after a failure of the test.
    std::uint64_t send(std::uint64_t count);

private:
    static constexpr std::size_t kFrameSize = 54;

    void forge(std::array<std::uint8_t, kFrameSize>& frame);
    std::uint64_t random();

    Transport transport_;
    std::size_t size_;  ///< bytes of a frame
    std::array<std::uint8_t, kFrameSize> template_{};
    std::uint32_t ip_sum_ = 0;  ///< of what does not change from frame to frame
    std::uint32_t l4_sum_ = 0;
    std::uint64_t state_ = 0x9e3779b97f4a7c15;
    int fd_ = -1;
};

/// Sends every datagram back where it says that it comes from; a busy thread, not a process per sender.
class UdpReflector {
public:
    UdpReflector(const Netns& netns, std::uint16_t port);
    UdpReflector(const UdpReflector&) = delete;
    UdpReflector& operator=(const UdpReflector&) = delete;
    ~UdpReflector();

    std::uint64_t answered() const { return answered_; }

private:
    void work();

    Socket socket_;
    std::atomic<bool> stop_{false};
    std::atomic<std::uint64_t> answered_{0};
    std::thread thread_;
};

}  // namespace fastnet::test
