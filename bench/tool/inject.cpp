// The injector: UDP frames made in the kernel by XDP live frames, sent into the wire, counted by a socket.
// Everything runs on one core: the frame is made, crosses the wire, the receiving node's stack and the datapath under
// test, and is read by the sink. So time / delivered packets is the whole cost of one packet, and ratios between
// variants understate the difference between their datapaths by what they have in common.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <thread>

#include "bench.h"
#include "live_frames.h"

namespace fnbench {

namespace {

constexpr std::uint32_t kCalibrationFrames = 8192;
constexpr int kFirstAttempts = 50;  // of 20 ms and more each

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
        const UniqueFd fd = open_sink(family, options.sink_port, Sharing::kAlone);
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

void check(const InjectOptions& options) {
    check(options.frames);
    check_batch(options.batch);
    if (options.frames.vni != 0 && !options.one_way) die("inject: --vni goes with --one-way: the answers would be another node's");
}

// One socket per flow, so that an answer finds its port and no ICMP error comes back.
std::vector<UniqueFd> open_source_ports(const InjectOptions& options) {
    Address source = Address::parse(options.frames.source, 0);
    std::vector<UniqueFd> sockets;
    for (std::uint32_t flow = 0; flow < options.frames.flows; ++flow) {
        UniqueFd fd{socket(source.family(), SOCK_DGRAM, 0)};
        source.set_port(static_cast<std::uint16_t>(options.frames.first_source_port + flow));
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
    check(options);
    LiveFrames frames(options.frames, {.batch = options.batch, .receive = options.receive}, 0, options.frames.flows);

    const bool answered = !options.one_way && !options.receive;
    const std::vector<UniqueFd> source_ports = answered ? open_source_ports(options) : std::vector<UniqueFd>{};
    Sink sink(options, is_ipv6(options.frames) ? AF_INET6 : AF_INET);

    // First packets: neighbours resolve, flows are made, answered and, by the next packet, confirmed.
    sink.answer(answered);
    for (int attempt = 0; attempt < kFirstAttempts && sink.packets() == 0; ++attempt) {
        frames.send(options.frames.flows);
        sink.settle();
    }
    if (sink.packets() == 0) die("inject: no packet was delivered");
    for (int more = 0; more < 2; ++more) {
        frames.send(options.frames.flows);
        sink.settle();
    }
    sink.answer(false);

    // Calibrate, which also warms up, then as many frames as fit into the time asked for.
    sink.restart();
    frames.send(kCalibrationFrames);
    sink.settle();
    const Sink::Interval calibration = sink.interval();
    if (calibration.packets == 0) die("inject: no packet was delivered");
    const double frames_per_second = static_cast<double>(calibration.packets) / std::max(calibration.seconds, 1e-6);
    frames.send(frames_for(options, frames_per_second * options.span.warmup_seconds));
    sink.settle();

    const std::uint64_t made_before = frames.made();
    const std::uint64_t delivered_before = sink.packets();
    sink.restart();
    frames.send(frames_for(options, frames_per_second * options.span.seconds));
    sink.settle();
    const std::uint64_t delivered = sink.packets() - delivered_before;
    const Sink::Interval measured = sink.interval();
    if (measured.packets == 0) die("inject: too few packets were delivered");

    JsonLine("inject")
        .add("frame_bytes", std::uint64_t{options.frames.frame_bytes})
        .add("flows", std::uint64_t{options.frames.flows})
        .add("sent", frames.made() - made_before)
        .add("delivered", delivered)
        .add("seconds", measured.seconds)
        .add("delivered_per_second", static_cast<double>(measured.packets) / measured.seconds)
        .add("ns_per_delivered", measured.seconds * 1e9 / static_cast<double>(measured.packets))
        .print();
}

}  // namespace fnbench
