// Building the frames that are sent: Ethernet, IPv4 or IPv6, UDP, and VXLAN around it. Checksums are real ones.
#include "frames.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <span>

#include "bench_inject.h"
#include "system.h"

namespace fnbench {

namespace {

constexpr std::uint32_t kMaxFrameBytes = 1514;

using MacBytes = std::array<std::uint8_t, ETH_ALEN>;

MacBytes parse_mac(const std::string& text) {
    MacBytes mac{};
    int end = 0;
    if (std::sscanf(text.c_str(), "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5], &end) !=
            6 ||
        static_cast<std::size_t>(end) != text.size())
        die("not a MAC address: " + text);
    return mac;
}

MacBytes mac_of_device(const std::string& device) {
    const UniqueFd fd{socket(AF_INET, SOCK_DGRAM, 0)};
    ifreq request{};
    if (device.size() >= sizeof(request.ifr_name)) die("device name too long: " + device);
    std::memcpy(request.ifr_name, device.data(), device.size());
    if (ioctl(fd.get(), SIOCGIFHWADDR, &request) != 0) die_errno("MAC address of " + device);
    MacBytes mac{};
    std::memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
    return mac;
}

// RFC 1071 sum of 16-bit words; the caller folds the parts together.
std::uint32_t sum_words(std::span<const std::uint8_t> bytes, std::uint32_t sum = 0) {
    for (std::size_t i = 0; i < bytes.size(); i += 2) {
        const std::uint32_t low = i + 1 < bytes.size() ? bytes[i + 1] : 0U;
        sum += (std::uint32_t{bytes[i]} << 8) | low;
    }
    return sum;
}

std::uint16_t fold(std::uint32_t sum) {
    while ((sum >> 16) != 0) sum = (sum & 0xffff) + (sum >> 16);
    return htons(static_cast<std::uint16_t>(~sum));
}

template <typename T>
void put(Frame& frame, std::size_t offset, const T& header) {
    std::memcpy(frame.data() + offset, &header, sizeof(header));
}

Frame build_frame(const FrameOptions& options, const Address& source, const Address& destination, const MacBytes& from, const MacBytes& to,
                  std::uint16_t source_port) {
    const bool is_ipv6 = source.family() == AF_INET6;
    const std::size_t l3 = ETH_HLEN;
    const std::size_t l4 = l3 + (is_ipv6 ? sizeof(ipv6hdr) : sizeof(iphdr));
    const auto udp_length = static_cast<std::uint16_t>(options.frame_bytes - l4);
    Frame frame(options.frame_bytes, options.payload);

    ethhdr eth{};
    std::memcpy(eth.h_dest, to.data(), to.size());
    std::memcpy(eth.h_source, from.data(), from.size());
    eth.h_proto = htons(is_ipv6 ? ETH_P_IPV6 : ETH_P_IP);
    put(frame, 0, eth);

    std::size_t addresses = 0;
    std::size_t addresses_size = 0;
    if (is_ipv6) {
        ipv6hdr ip{};
        ip.version = 6;
        ip.payload_len = htons(udp_length);
        ip.nexthdr = IPPROTO_UDP;
        ip.hop_limit = 64;
        std::memcpy(&ip.saddr, &reinterpret_cast<const sockaddr_in6*>(source.raw())->sin6_addr, sizeof(ip.saddr));
        std::memcpy(&ip.daddr, &reinterpret_cast<const sockaddr_in6*>(destination.raw())->sin6_addr, sizeof(ip.daddr));
        put(frame, l3, ip);
        addresses = l3 + offsetof(ipv6hdr, saddr);
        addresses_size = 2 * sizeof(ip.saddr);
    } else {
        iphdr ip{};
        ip.version = 4;
        ip.ihl = 5;
        ip.tot_len = htons(static_cast<std::uint16_t>(options.frame_bytes - l3));
        ip.frag_off = htons(0x4000);  // DF
        ip.ttl = 64;
        ip.protocol = IPPROTO_UDP;
        ip.saddr = reinterpret_cast<const sockaddr_in*>(source.raw())->sin_addr.s_addr;
        ip.daddr = reinterpret_cast<const sockaddr_in*>(destination.raw())->sin_addr.s_addr;
        put(frame, l3, ip);
        ip.check = fold(sum_words({frame.data() + l3, sizeof(ip)}));
        put(frame, l3, ip);
        addresses = l3 + offsetof(iphdr, saddr);
        addresses_size = 2 * sizeof(ip.saddr);
    }

    udphdr udp{};
    udp.source = htons(source_port);
    udp.dest = htons(options.destination_port);
    udp.len = htons(udp_length);
    put(frame, l4, udp);
    std::uint32_t sum = sum_words({frame.data() + addresses, addresses_size}, IPPROTO_UDP + std::uint32_t{udp_length});
    sum = sum_words({frame.data() + l4, udp_length}, sum);
    udp.check = fold(sum);
    if (udp.check == 0) udp.check = 0xffff;
    put(frame, l4, udp);
    return frame;
}

std::uint32_t address_of(const std::string& text) {
    const Address address = Address::parse(text, 0);
    if (address.family() != AF_INET) die("--outer-src and --outer-dst are IPv4 addresses");
    return reinterpret_cast<const sockaddr_in*>(address.raw())->sin_addr.s_addr;
}

// RFC 7348: @p inner as it travels from one VTEP to another.
Frame encapsulate(const FrameOptions& options, const Frame& inner, const MacBytes& from, const MacBytes& to, std::uint16_t source_port) {
    constexpr std::size_t kVxlan = 8;
    constexpr std::size_t kOuter = ETH_HLEN + sizeof(iphdr) + sizeof(udphdr) + kVxlan;
    Frame frame(kOuter);
    ethhdr eth{};
    std::memcpy(eth.h_dest, to.data(), to.size());
    std::memcpy(eth.h_source, from.data(), from.size());
    eth.h_proto = htons(ETH_P_IP);
    put(frame, 0, eth);
    iphdr ip{};
    ip.version = 4;
    ip.ihl = 5;
    ip.tot_len = htons(static_cast<std::uint16_t>(kOuter - ETH_HLEN + inner.size()));
    ip.frag_off = htons(0x4000);  // DF
    ip.ttl = 64;
    ip.protocol = IPPROTO_UDP;
    ip.saddr = address_of(options.outer_source);
    ip.daddr = address_of(options.outer_destination);
    put(frame, ETH_HLEN, ip);
    ip.check = fold(sum_words({frame.data() + ETH_HLEN, sizeof(ip)}));
    put(frame, ETH_HLEN, ip);
    udphdr udp{};  // no checksum (RFC 7348 section 5)
    udp.source = htons(source_port);
    udp.dest = htons(4789);
    udp.len = htons(static_cast<std::uint16_t>(sizeof(udp) + kVxlan + inner.size()));
    put(frame, ETH_HLEN + sizeof(ip), udp);
    frame[kOuter - kVxlan] = 0x08;
    put(frame, kOuter - 4, htonl(options.vni << 8));
    frame.insert(frame.end(), inner.begin(), inner.end());
    return frame;
}

Frame build_flow(const FrameOptions& options, std::uint32_t flow) {
    const Address source = Address::parse(options.source, 0);
    const Address destination = Address::parse(options.destination, options.destination_port);
    const MacBytes from = options.source_mac.empty() ? mac_of_device(options.device) : parse_mac(options.source_mac);
    const MacBytes to = parse_mac(options.destination_mac);
    const auto port = static_cast<std::uint16_t>(options.first_source_port + flow);
    if (options.vni == 0) return build_frame(options, source, destination, from, to, port);
    const Frame inner =
        build_frame(options, source, destination, parse_mac(options.inner_source_mac), parse_mac(options.inner_destination_mac), port);
    return encapsulate(options, inner, from, to, port);
}

}  // namespace

bool is_ipv6(const FrameOptions& options) {
    return Address::parse(options.source, 0).family() == AF_INET6;
}

void check(const FrameOptions& options) {
    if (Address::parse(options.source, 0).family() != Address::parse(options.destination, 0).family())
        die("source and destination are of different families");
    const std::uint32_t smallest = is_ipv6(options) ? BENCH_HEADER_IPV6 : BENCH_HEADER_IPV4;
    const std::uint32_t largest = options.vni == 0 ? kMaxFrameBytes : kMaxFrameBytes - BENCH_HEADER_VXLAN;
    if (options.frame_bytes < smallest || options.frame_bytes > largest)
        die("a frame of this kind has " + std::to_string(smallest) + " to " + std::to_string(largest) + " bytes");
    if (options.flows == 0 || options.flows > 10'000) die("1 to 10000 flows");
    if (options.first_source_port + options.flows > 65536) die("not enough source ports above the first");
}

std::uint32_t header_bytes(const FrameOptions& options) {
    return (is_ipv6(options) ? BENCH_HEADER_IPV6 : BENCH_HEADER_IPV4) + (options.vni == 0 ? 0U : BENCH_HEADER_VXLAN);
}

std::vector<Frame> build_frames(const FrameOptions& options, std::uint32_t first_flow, std::uint32_t count) {
    std::vector<Frame> frames;
    frames.reserve(count);
    for (std::uint32_t flow = first_flow; flow < first_flow + count; ++flow) frames.push_back(build_flow(options, flow));
    return frames;
}

}  // namespace fnbench
