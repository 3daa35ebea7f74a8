// Frames on the wire of a namespace: taking them (AF_PACKET, from the moment the object exists) and putting them there.
// Invariant: a Frame is what the interface carried, with the 802.1Q tag that the kernel strips put back.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/harness/netns.h"

namespace fastnet::test {

using Bytes = std::vector<std::uint8_t>;

class Frame {
public:
    Frame(Bytes bytes, bool outgoing) : bytes_{std::move(bytes)}, outgoing_{outgoing} {}

    const Bytes& bytes() const { return bytes_; }
    bool outgoing() const { return outgoing_; }
    std::string source_mac() const;
    std::string destination_mac() const;
    std::uint16_t ether_type() const;  ///< of the outermost header: 0x8100 for a tagged frame
    bool is_ipv4() const;
    bool is_ipv6() const;  ///< what follows takes it as without extension headers
    std::uint8_t protocol() const;
    std::uint8_t ttl() const;
    std::string source() const;  ///< address as text, empty if it is no IP
    std::string destination() const;
    std::uint16_t source_port() const;  ///< TCP/UDP, or the ICMP echo identifier
    std::uint16_t destination_port() const;
    Bytes network_layer() const;  ///< from the IP header on, cut to the length that it states
    bool contains(const std::string& text) const;
    bool checksums_verify() const;  ///< IPv4 header and TCP/UDP/ICMP(v6), recomputed in full
    std::string describe() const;

private:
    std::uint16_t word(std::size_t offset) const;
    std::size_t l4_offset() const;
    std::string address_text(std::size_t v4_offset, std::size_t v6_offset) const;

    Bytes bytes_;
    bool outgoing_;
};

using FramePredicate = std::function<bool(const Frame&)>;

class Capture {
public:
    Capture(const Netns& netns, const std::string& ifname);
    Capture(Capture&& other) noexcept;
    Capture& operator=(Capture&&) = delete;
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;
    ~Capture();

    /// The first frame, of those not looked at yet, that fits.
    std::optional<Frame> wait_for(const FramePredicate& wanted, Millis bound = Millis{3000});
    /// Everything that arrived and was not looked at yet; does not wait.
    std::vector<Frame> take();

private:
    std::optional<Frame> next(Millis bound);

    int fd_ = -1;
};

/// Sends complete frames out of an interface, past every netfilter hook.
class Injector {
public:
    Injector(const Netns& netns, const std::string& ifname);
    Injector(const Injector&) = delete;
    Injector& operator=(const Injector&) = delete;
    ~Injector();

    void send(const Bytes& frame) const;

private:
    int fd_ = -1;
};

/// The same for a few frames at once.
void inject(const Netns& netns, const std::string& ifname, const std::vector<Bytes>& frames);

/// Builds frames with scapy. @p script is Python that fills the list `frames`; scapy's inet and l2 layers are imported.
std::vector<Bytes> scapy(const std::string& script);

FramePredicate to_port(std::uint16_t port);
FramePredicate carries(const std::string& text);

}  // namespace fastnet::test
