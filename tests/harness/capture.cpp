#include "tests/harness/capture.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <sstream>

namespace fastnet::test {
namespace {

constexpr std::size_t kEthernetSize = 14;
constexpr std::size_t kTagSize = 4;
constexpr std::size_t kIpv4Size = 20;
constexpr std::size_t kIpv6Size = 40;
constexpr std::uint8_t kIcmp = 1;
constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kIcmpv6 = 58;

bool is_icmp(std::uint8_t protocol) {
    return protocol == kIcmp || protocol == kIcmpv6;
}

std::string mac_text(const std::uint8_t* bytes) {
    std::array<char, 18> text{};
    std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]);
    return text.data();
}

int open_packet_socket(const Netns& netns, const std::string& ifname) {
    int fd = -1;
    netns.inside([&] {
        sockaddr_ll address{};
        address.sll_family = AF_PACKET;
        address.sll_protocol = htons(ETH_P_ALL);
        address.sll_ifindex = static_cast<int>(::if_nametoindex(ifname.c_str()));
        // Protocol 0 first: a packet socket hears every interface until it is bound.
        fd = ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
        EXPECT_NE(address.sll_ifindex, 0) << "no interface " << ifname << " in " << netns.name();
        EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << ifname;
    });
    return fd;
}

/// RFC 1071 sum of 16-bit words, not folded.
std::uint32_t sum_words(const std::uint8_t* data, std::size_t size, std::uint32_t sum = 0) {
    for (std::size_t i = 0; i + 1 < size; i += 2) sum += static_cast<std::uint32_t>(data[i] << 8U | data[i + 1]);
    if (size % 2 != 0) sum += static_cast<std::uint32_t>(data[size - 1] << 8U);
    return sum;
}

bool folds_to_ones(std::uint32_t sum) {
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16U);
    return sum == 0xffff;
}

Bytes from_hex(const std::string& text) {
    Bytes bytes;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
        bytes.push_back(static_cast<std::uint8_t>(std::stoul(text.substr(i, 2), nullptr, 16)));
    }
    return bytes;
}

}  // namespace

std::uint16_t Frame::word(std::size_t offset) const {
    if (offset + 1 >= bytes_.size()) return 0;
    return static_cast<std::uint16_t>(bytes_[offset] << 8U | bytes_[offset + 1]);
}

std::string Frame::source_mac() const {
    return bytes_.size() < kEthernetSize ? "" : mac_text(bytes_.data() + 6);
}
std::string Frame::destination_mac() const {
    return bytes_.size() < kEthernetSize ? "" : mac_text(bytes_.data());
}
std::uint16_t Frame::ether_type() const {
    return word(12);
}
bool Frame::is_ipv4() const {
    return ether_type() == ETHERTYPE_IP && bytes_.size() >= kEthernetSize + kIpv4Size;
}
bool Frame::is_ipv6() const {
    return ether_type() == ETHERTYPE_IPV6 && bytes_.size() >= kEthernetSize + kIpv6Size;
}
std::uint8_t Frame::protocol() const {
    return is_ipv4() ? bytes_[kEthernetSize + 9] : is_ipv6() ? bytes_[kEthernetSize + 6] : std::uint8_t{0};
}
std::uint8_t Frame::ttl() const {
    return is_ipv4() ? bytes_[kEthernetSize + 8] : is_ipv6() ? bytes_[kEthernetSize + 7] : std::uint8_t{0};
}

std::string Frame::address_text(std::size_t v4_offset, std::size_t v6_offset) const {
    if (!is_ipv4() && !is_ipv6()) return {};
    std::array<char, INET6_ADDRSTRLEN> text{};
    const std::size_t offset = kEthernetSize + (is_ipv4() ? v4_offset : v6_offset);
    return ::inet_ntop(is_ipv4() ? AF_INET : AF_INET6, bytes_.data() + offset, text.data(), text.size());
}
std::string Frame::source() const {
    return address_text(12, 8);
}
std::string Frame::destination() const {
    return address_text(16, 24);
}

std::size_t Frame::l4_offset() const {
    return kEthernetSize + (is_ipv6() ? kIpv6Size : static_cast<std::size_t>(bytes_[kEthernetSize] & 0xfU) * 4);
}

std::uint16_t Frame::source_port() const {
    if (!is_ipv4() && !is_ipv6()) return 0;
    return is_icmp(protocol()) ? word(l4_offset() + 4) : word(l4_offset());
}

std::uint16_t Frame::destination_port() const {
    return (is_ipv4() || is_ipv6()) && !is_icmp(protocol()) ? word(l4_offset() + 2) : std::uint16_t{0};
}

Bytes Frame::network_layer() const {
    if (!is_ipv4() && !is_ipv6()) return {};
    const std::size_t stated = is_ipv4() ? word(kEthernetSize + 2) : kIpv6Size + word(kEthernetSize + 4);
    const std::size_t size = std::min(stated, bytes_.size() - kEthernetSize);
    const auto first = bytes_.begin() + static_cast<std::ptrdiff_t>(kEthernetSize);
    return {first, first + static_cast<std::ptrdiff_t>(size)};
}

bool Frame::contains(const std::string& text) const {
    return std::search(bytes_.begin(), bytes_.end(), text.begin(), text.end()) != bytes_.end();
}

bool Frame::checksums_verify() const {
    const Bytes packet = network_layer();
    const std::size_t header = l4_offset() - kEthernetSize;
    if (packet.size() < std::max(header, kIpv4Size)) return false;
    if (is_ipv4() && !folds_to_ones(sum_words(packet.data(), header))) return false;
    const std::uint8_t* const l4 = packet.data() + header;
    const std::size_t size = packet.size() - header;
    if (protocol() == kIcmp) return folds_to_ones(sum_words(l4, size));  // has no pseudo-header
    if (protocol() != kTcp && protocol() != kUdp && protocol() != kIcmpv6) return true;
    if (is_ipv4() && protocol() == kUdp && size >= 8 && l4[6] == 0 && l4[7] == 0) return true;  // no checksum, RFC 768
    const std::size_t addresses = is_ipv4() ? 12 : 8;
    const std::size_t length = is_ipv4() ? 8 : 32;
    const std::uint32_t pseudo = sum_words(packet.data() + addresses, length, static_cast<std::uint32_t>(protocol() + size));
    return folds_to_ones(sum_words(l4, size, pseudo));
}

std::string Frame::describe() const {
    std::ostringstream text;
    text << source_mac() << " > " << destination_mac() << " type 0x" << std::hex << ether_type() << std::dec;
    if (is_ipv4() || is_ipv6()) {
        text << " " << source() << ":" << source_port() << " > " << destination() << ":" << destination_port() << " proto "
             << int{protocol()} << " ttl " << int{ttl()};
    }
    text << " (" << bytes_.size() << " bytes" << (outgoing_ ? ", outgoing)" : ")");
    return text.str();
}

Capture::Capture(const Netns& netns, const std::string& ifname) : fd_{open_packet_socket(netns, ifname)} {
    const int size = 8 << 20;
    const int yes = 1;
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    ::setsockopt(fd_, SOL_PACKET, PACKET_AUXDATA, &yes, sizeof yes);
}

Capture::Capture(Capture&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}

Capture::~Capture() {
    if (fd_ >= 0) ::close(fd_);
}

std::optional<Frame> Capture::next(Millis bound) {
    pollfd entry{fd_, POLLIN, 0};
    if (::poll(&entry, 1, static_cast<int>(bound.count())) != 1) return std::nullopt;
    Bytes bytes(70'000);
    sockaddr_ll from{};
    iovec data{bytes.data(), bytes.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(tpacket_auxdata))> control{};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(fd_, &message, MSG_DONTWAIT);
    if (got < 0) return std::nullopt;
    bytes.resize(static_cast<std::size_t>(got));
    const cmsghdr* const header = CMSG_FIRSTHDR(&message);
    if (header != nullptr && header->cmsg_type == PACKET_AUXDATA && bytes.size() >= 12) {
        tpacket_auxdata aux{};
        std::memcpy(&aux, CMSG_DATA(header), sizeof aux);
        if ((aux.tp_status & TP_STATUS_VLAN_VALID) != 0) {
            const std::uint16_t tpid = (aux.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0 ? aux.tp_vlan_tpid : std::uint16_t{0x8100};
            const std::array<std::uint8_t, kTagSize> tag{static_cast<std::uint8_t>(tpid >> 8U), static_cast<std::uint8_t>(tpid & 0xffU),
                                                         static_cast<std::uint8_t>(aux.tp_vlan_tci >> 8U),
                                                         static_cast<std::uint8_t>(aux.tp_vlan_tci & 0xffU)};
            bytes.insert(bytes.begin() + 12, tag.begin(), tag.end());
        }
    }
    return Frame{std::move(bytes), from.sll_pkttype == PACKET_OUTGOING};
}

std::optional<Frame> Capture::wait_for(const FramePredicate& wanted, Millis bound) {
    const auto deadline = std::chrono::steady_clock::now() + bound;
    while (true) {
        const auto left = std::chrono::duration_cast<Millis>(deadline - std::chrono::steady_clock::now());
        std::optional<Frame> frame = next(std::max(left, Millis{0}));
        if (!frame && left.count() <= 0) return std::nullopt;
        if (frame && wanted(*frame)) return frame;
    }
}

std::vector<Frame> Capture::take() {
    std::vector<Frame> frames;
    while (std::optional<Frame> frame = next(Millis{0})) frames.push_back(std::move(*frame));
    return frames;
}

Injector::Injector(const Netns& netns, const std::string& ifname) : fd_{open_packet_socket(netns, ifname)} {}

Injector::~Injector() {
    if (fd_ >= 0) ::close(fd_);
}

void Injector::send(const Bytes& frame) const {
    EXPECT_EQ(::send(fd_, frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size())) << std::strerror(errno);
}

void inject(const Netns& netns, const std::string& ifname, const std::vector<Bytes>& frames) {
    const Injector injector{netns, ifname};
    for (const Bytes& frame : frames) injector.send(frame);
}

std::vector<Bytes> scapy(const std::string& script) {
    const std::string program =
        "from scapy.config import conf\n"
        "conf.ipv6_enabled = False\n"
        "from scapy.layers.l2 import *\n"
        "from scapy.layers.inet import *\n"
        "from scapy.layers.inet6 import *\n"
        "from scapy.packet import Raw, fuzz\n"
        "conf.ipv6_enabled = True\n"  // for checksums; during the imports it would read routes
        "import random\n"
        "frames = []\n" +
        script + "\nfor frame in frames: print(bytes(frame).hex())\n";
    RunOptions options;
    options.timeout = Millis{60'000};
    const CommandResult built = run({"/usr/bin/python3", "-W", "ignore", "-c", program}, options);
    EXPECT_TRUE(built.ok()) << built;
    std::vector<Bytes> frames;
    std::istringstream lines{built.out};
    for (std::string line; std::getline(lines, line);) frames.push_back(from_hex(line));
    EXPECT_FALSE(frames.empty()) << "scapy built nothing:\n" << script;
    return frames;
}

FramePredicate to_port(std::uint16_t port) {
    return [port](const Frame& frame) { return frame.destination_port() == port; };
}

FramePredicate carries(const std::string& text) {
    return [text](const Frame& frame) { return frame.contains(text); };
}

}  // namespace fastnet::test
