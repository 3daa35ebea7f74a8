// Counts the packets that arrive at a UDP port: one socket per cpu, each with the packets that its cpu received, read on
// that cpu. So nothing crosses from core to core, and each core's share is known.
#include <linux/filter.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>

#include "bench.h"

namespace fnbench {

namespace {

// Socket number = cpu - first cpu; a cpu that has none leaves the choice to the kernel's hash.
void choose_by_cpu(const UniqueFd& socket, int first_cpu) {
    std::array<sock_filter, 3> code{{
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_CPU)},
        {BPF_ALU | BPF_SUB | BPF_K, 0, 0, static_cast<std::uint32_t>(first_cpu)},
        {BPF_RET | BPF_A, 0, 0, 0},
    }};
    const sock_fprog program{code.size(), code.data()};
    if (setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) != 0) die_errno("choose sockets by cpu");
}

class Reader {
public:
    Reader(UniqueFd socket, int cpu) : socket_(std::move(socket)), cpu_(cpu), thread_([this] { run(); }) {}
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    ~Reader() {
        stop();
        join();
    }

    void stop() { stop_.store(true); }
    void join() {
        if (thread_.joinable()) thread_.join();
    }
    // After join().
    std::uint64_t packets() const { return packets_; }
    std::uint64_t bytes() const { return bytes_; }
    JsonLine json() const {
        JsonLine line;
        line.add("cpu", static_cast<std::uint64_t>(cpu_)).add("packets", packets_).add("bytes", bytes_);
        return line.add("first_to_last_seconds", static_cast<double>(last_ns_ - first_ns_) / 1e9);
    }

private:
    static constexpr std::size_t kBatch = 64;

    void run() {
        pin_to_cpu(cpu_);
        become_realtime_if_allowed();
        std::array<mmsghdr, kBatch> messages{};
        std::array<iovec, kBatch> vectors{};
        std::array<char, kBatch> bytes{};
        for (std::size_t i = 0; i < kBatch; ++i) {
            vectors[i] = {&bytes[i], 1};
            messages[i].msg_hdr.msg_iov = &vectors[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        for (;;) {
            const int got = recvmmsg(socket_.get(), messages.data(), kBatch, MSG_WAITFORONE | MSG_TRUNC, nullptr);
            if (got < 0 && errno != EAGAIN && errno != EINTR) die_errno("sink: receive");
            if (got <= 0) {
                if (stop_.load()) return;  // only once the queue is empty
                continue;
            }
            last_ns_ = now_ns();
            if (packets_ == 0) first_ns_ = last_ns_;
            packets_ += static_cast<std::uint64_t>(got);
            for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) bytes_ += messages[i].msg_len;
        }
    }

    UniqueFd socket_;
    int cpu_;
    std::uint64_t packets_ = 0;
    std::uint64_t bytes_ = 0;
    std::uint64_t first_ns_ = 0;
    std::uint64_t last_ns_ = 0;
    std::atomic<bool> stop_{false};
    std::thread thread_;  // last: it uses the members above
};

}  // namespace

void udp_sink(const SinkOptions& options) {
    hold_signals();
    std::vector<UniqueFd> sockets;
    const Sharing sharing = options.threads > 1 ? Sharing::kOnePerCpu : Sharing::kAlone;
    for (std::uint32_t i = 0; i < options.threads; ++i) sockets.push_back(open_sink(options.family, options.port, sharing));
    if (options.threads > 1) choose_by_cpu(sockets.front(), options.first_cpu);
    std::vector<std::unique_ptr<Reader>> readers;
    for (std::uint32_t i = 0; i < options.threads; ++i)
        readers.push_back(std::make_unique<Reader>(std::move(sockets[i]), options.first_cpu + static_cast<int>(i)));
    JsonLine("udp_sink").add("ready", std::uint64_t{options.threads}).print();
    wait_for_end(options.seconds);

    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
    std::vector<JsonLine> rows;
    for (const auto& reader : readers) reader->stop();
    for (const auto& reader : readers) {
        reader->join();
        packets += reader->packets();
        bytes += reader->bytes();
        rows.push_back(reader->json());
    }
    JsonLine("udp_sink").add("packets", packets).add("bytes", bytes).add("threads", rows).print();
}

}  // namespace fnbench
