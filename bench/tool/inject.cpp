// The injector: UDP frames made in the kernel by XDP live frames, sent into the wire, counted by a socket.
// Everything runs on one core: the frame is made, crosses the wire, the receiving node's stack and the datapath under
// test, and is read by the sink. So time / delivered packets is the whole cost of one packet, and ratios between
// variants understate the difference between their datapaths by what they have in common.
#include "bench.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <thread>

#include "bench_inject.h"
#include "bench_inject.skel.h"

namespace fnbench {

namespace {

constexpr std::uint32_t kMaxFrameBytes = 1514;
constexpr std::uint32_t kCalibrationFrames = 8192;
constexpr int kFirstAttempts = 50;  // of 20 ms and more each

using MacBytes = std::array<std::uint8_t, ETH_ALEN>;
using Frame = std::vector<std::uint8_t>;

struct SkeletonDestroyer {
    void operator()(bench_inject* skeleton) const { bench_inject__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<bench_inject, SkeletonDestroyer>;

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

Frame build_frame(const InjectOptions& options, const Address& source, const Address& destination, const MacBytes& from, const MacBytes& to,
                  std::uint16_t source_port) {
    const bool is_ipv6 = source.family() == AF_INET6;
    const std::size_t l3 = ETH_HLEN;
    const std::size_t l4 = l3 + (is_ipv6 ? sizeof(ipv6hdr) : sizeof(iphdr));
    const auto udp_length = static_cast<std::uint16_t>(options.frame_bytes - l4);
    Frame frame(options.frame_bytes, 'x');

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
    if (address.family() != AF_INET) die("inject: --vni wants IPv4 addresses");
    return reinterpret_cast<const sockaddr_in*>(address.raw())->sin_addr.s_addr;
}

// RFC 7348: @p inner as it travels from one VTEP to another.
Frame encapsulate(const InjectOptions& options, const Frame& inner, const MacBytes& from, const MacBytes& to, std::uint16_t source_port) {
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

// The receiver: a thread in the container's namespace that reads in batches. It is SCHED_FIFO, so it runs as soon as
// the injecting call reaches a scheduling point (after each batch), and no queue grows beyond a batch.
class Sink {
public:
    Sink(const InjectOptions& options, int family) : thread_([this, options, family] { run(options, family); }) {
        while (!ready_.load()) std::this_thread::yield();
    }
    Sink(const Sink&) = delete;
    Sink& operator=(const Sink&) = delete;
    ~Sink() {
        stop_.store(true);
        thread_.join();
    }

    std::uint64_t packets() const { return packets_.load(std::memory_order_relaxed); }
    void answer(bool on) { answer_.store(on); }

    // What has arrived since the last restart(). Time runs from the end of the first batch to the end of the last, and
    // the first batch is not counted: the call that sends takes some 10 ms to set up and tear down, which is not ours.
    struct Interval {
        std::uint64_t packets;
        double seconds;
    };
    void restart() { restart_.store(true); }
    Interval interval() const { return {packets() - first_packets_.load(), static_cast<double>(last_ns_.load() - first_ns_.load()) / 1e9}; }

    // Until nothing more arrives for a moment.
    void settle() const {
        std::uint64_t seen = packets();
        for (;;) {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            const std::uint64_t now = packets();
            if (now == seen) return;
            seen = now;
        }
    }

private:
    static constexpr std::size_t kBatch = 64;

    void run(const InjectOptions& options, int family) {
        if (!options.sink_netns.empty()) enter_netns(options.sink_netns);
        const UniqueFd fd{socket(family, SOCK_DGRAM, 0)};
        if (fd.get() < 0) die_errno("sink socket");
        set_option(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, 64 * 1024 * 1024);
        const Address address = Address::any(family, options.sink_port);
        if (bind(fd.get(), address.raw(), address.length) != 0) die_errno("bind sink port " + std::to_string(options.sink_port));
        const timeval tick{0, 50'000};
        if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick)) != 0) die_errno("setsockopt timeout");
        become_realtime_if_allowed();

        std::array<mmsghdr, kBatch> messages{};
        std::array<iovec, kBatch> vectors{};
        std::array<Address, kBatch> senders{};
        std::array<char, kBatch> bytes{};
        for (std::size_t i = 0; i < kBatch; ++i) {
            vectors[i] = {&bytes[i], 1};
            messages[i].msg_hdr.msg_iov = &vectors[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        ready_.store(true);
        while (!stop_.load(std::memory_order_relaxed)) {
            const bool answering = answer_.load();
            for (std::size_t i = 0; i < kBatch; ++i) {
                messages[i].msg_hdr.msg_name = answering ? senders[i].raw() : nullptr;
                messages[i].msg_hdr.msg_namelen = answering ? sizeof(senders[i].storage) : 0;
            }
            const int got = recvmmsg(fd.get(), messages.data(), kBatch, MSG_WAITFORONE, nullptr);
            if (got <= 0) continue;
            for (std::size_t i = 0; answering && i < static_cast<std::size_t>(got); ++i)
                sendto(fd.get(), &bytes[i], 1, 0, senders[i].raw(), messages[i].msg_hdr.msg_namelen);
            last_ns_.store(now_ns(), std::memory_order_relaxed);
            packets_.fetch_add(static_cast<std::uint64_t>(got), std::memory_order_relaxed);
            if (restart_.load(std::memory_order_relaxed)) {
                restart_.store(false);
                first_ns_.store(last_ns_.load());
                first_packets_.store(packets_.load());
            }
        }
    }

    std::atomic<bool> ready_{false};
    std::atomic<bool> stop_{false};
    std::atomic<bool> answer_{false};
    std::atomic<std::uint64_t> packets_{0};
    std::atomic<std::uint64_t> last_ns_{0};
    std::atomic<bool> restart_{true};
    std::atomic<std::uint64_t> first_packets_{0};
    std::atomic<std::uint64_t> first_ns_{0};
    std::thread thread_;  // last: it uses the members above
};

void check(const InjectOptions& options, bool is_ipv6) {
    const std::uint32_t smallest = is_ipv6 ? BENCH_HEADER_IPV6 : BENCH_HEADER_IPV4;
    if (options.frame_bytes < smallest || options.frame_bytes > kMaxFrameBytes)
        die("inject: a frame has " + std::to_string(smallest) + " to " + std::to_string(kMaxFrameBytes) + " bytes");
    if (options.vni != 0 && is_ipv6) die("inject: --vni is for IPv4");
    if (options.vni != 0 && !options.one_way) die("inject: --vni goes with --one-way: the answers would be another node's");
    if (options.flows == 0 || options.flows > 10'000) die("inject: 1 to 10000 flows");
    if (options.first_source_port + options.flows > 65536) die("inject: not enough source ports above the first");
    if (options.batch == 0 || options.batch > 256) die("inject: a batch has 1 to 256 frames");
}

Skeleton load_program(const InjectOptions& options, bool is_ipv6) {
    Skeleton skeleton{bench_inject__open()};
    if (!skeleton) die_errno("open the injector's program");
    skeleton->rodata->flow_count = options.flows;
    skeleton->rodata->ipv6 = is_ipv6 ? 1 : 0;
    skeleton->rodata->vxlan = options.vni != 0 ? 1 : 0;
    skeleton->rodata->action = options.receive ? XDP_PASS : XDP_TX;
    if (bpf_map__set_max_entries(skeleton->maps.headers, options.flows) != 0) die_errno("size the injector's map");
    if (bench_inject__load(skeleton.get()) != 0) die_errno("load the injector's program");
    return skeleton;
}

// One socket per flow, so that an answer finds its port and no ICMP error comes back.
std::vector<UniqueFd> open_source_ports(const InjectOptions& options, Address source) {
    std::vector<UniqueFd> sockets;
    for (std::uint32_t flow = 0; flow < options.flows; ++flow) {
        UniqueFd fd{socket(source.family(), SOCK_DGRAM, 0)};
        source.set_port(static_cast<std::uint16_t>(options.first_source_port + flow));
        if (fd.get() < 0 || bind(fd.get(), source.raw(), source.length) != 0) die_errno("bind a source port");
        sockets.push_back(std::move(fd));
    }
    return sockets;
}

std::uint32_t frames_for(const InjectOptions& options, double wanted) {
    if (options.span.max_iterations != 0) wanted = std::min(wanted, static_cast<double>(options.span.max_iterations));
    return static_cast<std::uint32_t>(std::clamp(wanted, 1024.0, 1e9));
}

}  // namespace

void inject(const InjectOptions& options) {
    const Address source = Address::parse(options.source, 0);
    const Address destination = Address::parse(options.destination, options.destination_port);
    if (source.family() != destination.family()) die("inject: source and destination are of different families");
    const bool is_ipv6 = source.family() == AF_INET6;
    check(options, is_ipv6);

    const unsigned ifindex = if_nametoindex(options.device.c_str());
    if (ifindex == 0) die_errno("device " + options.device);
    const MacBytes from = options.source_mac.empty() ? mac_of_device(options.device) : parse_mac(options.source_mac);
    const MacBytes to = parse_mac(options.destination_mac);

    const Skeleton skeleton = load_program(options, is_ipv6);
    Frame frame;
    for (std::uint32_t flow = options.flows; flow-- > 0;) {
        const auto port = static_cast<std::uint16_t>(options.first_source_port + flow);
        if (options.vni == 0) {
            frame = build_frame(options, source, destination, from, to, port);
        } else {
            const Frame inner = build_frame(options, source, destination, parse_mac(options.inner_source_mac),
                                            parse_mac(options.inner_destination_mac), port);
            frame = encapsulate(options, inner, from, to, port);
        }
        bench_header header{};
        std::memcpy(header.words, frame.data(), std::min(sizeof(header.words), frame.size()));
        if (bpf_map__update_elem(skeleton->maps.headers, &flow, sizeof(flow), &header, sizeof(header), BPF_ANY) != 0)
            die_errno("store a frame header");
    }

    const bool answered = !options.one_way && !options.receive;
    const std::vector<UniqueFd> source_ports = answered ? open_source_ports(options, source) : std::vector<UniqueFd>{};
    Sink sink(options, source.family());

    const auto send_frames = [&](std::uint32_t frames) {
        xdp_md context{};
        context.data_end = static_cast<std::uint32_t>(frame.size());
        context.ingress_ifindex = ifindex;
        bpf_test_run_opts run{};
        run.sz = sizeof(run);
        run.data_in = frame.data();
        run.data_size_in = static_cast<std::uint32_t>(frame.size());
        run.ctx_in = &context;
        run.ctx_size_in = sizeof(context);
        run.repeat = static_cast<int>(frames);
        run.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
        run.batch_size = std::min(options.batch, frames);
        if (bpf_prog_test_run_opts(bpf_program__fd(skeleton->progs.inject), &run) != 0)
            die_errno("BPF_PROG_TEST_RUN with live frames on " + options.device);
    };

    // First packets: neighbours resolve, flows are made, answered and, by the next packet, confirmed.
    sink.answer(answered);
    for (int attempt = 0; attempt < kFirstAttempts && sink.packets() == 0; ++attempt) {
        send_frames(options.flows);
        sink.settle();
    }
    if (sink.packets() == 0) die("inject: no packet was delivered");
    for (int more = 0; more < 2; ++more) {
        send_frames(options.flows);
        sink.settle();
    }
    sink.answer(false);

    // Calibrate, which also warms up, then as many frames as fit into the time asked for.
    sink.restart();
    send_frames(kCalibrationFrames);
    sink.settle();
    const Sink::Interval calibration = sink.interval();
    if (calibration.packets == 0) die("inject: no packet was delivered");
    const double frames_per_second = static_cast<double>(calibration.packets) / std::max(calibration.seconds, 1e-6);
    send_frames(frames_for(options, frames_per_second * options.span.warmup_seconds));
    sink.settle();

    const std::uint64_t made_before = skeleton->bss->frames_made;
    const std::uint64_t delivered_before = sink.packets();
    sink.restart();
    send_frames(frames_for(options, frames_per_second * options.span.seconds));
    sink.settle();
    const std::uint64_t delivered = sink.packets() - delivered_before;
    const Sink::Interval measured = sink.interval();
    if (measured.packets == 0) die("inject: too few packets were delivered");

    JsonLine("inject")
        .add("frame_bytes", std::uint64_t{options.frame_bytes})
        .add("flows", std::uint64_t{options.flows})
        .add("sent", std::uint64_t{skeleton->bss->frames_made} - made_before)
        .add("delivered", delivered)
        .add("seconds", measured.seconds)
        .add("delivered_per_second", static_cast<double>(measured.packets) / measured.seconds)
        .add("ns_per_delivered", measured.seconds * 1e9 / static_cast<double>(measured.packets))
        .print();
}

}  // namespace fnbench
