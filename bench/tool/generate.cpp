// The open-loop generator behind bench/pktgen: threads, each on a cpu with its part of the flows, that send at a pace or
// as fast as they can. What became of the frames is for others to count.
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <climits>
#include <thread>

#include "bench.h"
#include "live_frames.h"

namespace fnbench {

namespace {

void ignore_wakeup(int) {}

// Makes a running BPF_PROG_TEST_RUN return.
void wake(std::thread& thread) {
    pthread_kill(thread.native_handle(), SIGUSR1);
}

class Generator {
public:
    Generator(const GenerateOptions& options, std::uint32_t number)
        : cpu_(options.first_cpu + static_cast<int>(number)),
          count_(options.count),
          paced_(options.rate > 0),
          frames_(options.frames, live_options(options), first_flow(options, number), flows(options, number)) {}

    void run(std::barrier<>& start, const std::atomic<bool>& stop) {
        pin_to_cpu(cpu_);
        start.arrive_and_wait();
        while (!stop.load() && !is_complete()) {
            // Without a pace each round makes a frame, and the call ends by itself with the last one.
            const std::uint64_t rounds = !paced_ && count_ != 0 ? count_ - frames_.made() : INT_MAX;
            frames_.send(static_cast<std::uint32_t>(std::min<std::uint64_t>(rounds, INT_MAX)));
        }
    }

    bool is_complete() const { return count_ != 0 && frames_.made() >= count_; }
    std::uint64_t sent() const { return frames_.made(); }

    JsonLine json() const {
        const LiveFrames::Timing timing = frames_.timing();
        JsonLine line;
        line.add("cpu", static_cast<std::uint64_t>(cpu_))
            .add("sent", sent())
            .add("timed_frames", timing.frames)
            .add("elapsed_ns", timing.elapsed_ns)
            .add("idle_ns", timing.idle_ns);
        return line;
    }

private:
    static LiveOptions live_options(const GenerateOptions& options) {
        const double per_thread = options.rate / options.threads;
        return {.batch = options.batch,
                .receive = options.receive,
                .interval_ns = options.rate > 0 ? std::max<std::uint64_t>(1, static_cast<std::uint64_t>(1e9 / per_thread + 0.5)) : 0,
                .limit = options.count};
    }
    static std::uint32_t first_flow(const GenerateOptions& options, std::uint32_t number) {
        return static_cast<std::uint32_t>(std::uint64_t{options.frames.flows} * number / options.threads);
    }
    static std::uint32_t flows(const GenerateOptions& options, std::uint32_t number) {
        return first_flow(options, number + 1) - first_flow(options, number);
    }

    int cpu_;
    std::uint64_t count_;
    bool paced_;
    LiveFrames frames_;
};

}  // namespace

void generate(const GenerateOptions& options) {
    check(options.frames);
    check_batch(options.batch);
    if (options.threads == 0 || options.threads > options.frames.flows) die("generate: each thread needs a flow of its own");

    struct sigaction action {};
    action.sa_handler = ignore_wakeup;  // and no SA_RESTART
    if (sigaction(SIGUSR1, &action, nullptr) != 0) die_errno("handle SIGUSR1");

    std::vector<std::unique_ptr<Generator>> generators;
    for (std::uint32_t number = 0; number < options.threads; ++number) generators.push_back(std::make_unique<Generator>(options, number));
    std::barrier start(static_cast<std::ptrdiff_t>(options.threads) + 1);
    std::atomic<bool> stop{false};
    std::atomic<std::uint32_t> running{options.threads};
    std::vector<std::thread> threads;
    for (const auto& generator : generators) {
        threads.emplace_back([&start, &stop, &running, &generator = *generator] {
            generator.run(start, stop);
            running.fetch_sub(1);
        });
    }

    start.arrive_and_wait();
    const std::uint64_t end = now_ns() + static_cast<std::uint64_t>(options.seconds * 1e9);
    while (running.load() != 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (now_ns() >= end) stop.store(true);
        for (std::size_t i = 0; i < threads.size(); ++i)
            if (stop.load() || generators[i]->is_complete()) wake(threads[i]);
    }
    for (std::thread& thread : threads) thread.join();

    std::uint64_t sent = 0;
    std::vector<JsonLine> rows;
    for (const auto& generator : generators) {
        sent += generator->sent();
        rows.push_back(generator->json());
    }
    JsonLine("generate").add("sent", sent).add("threads", rows).print();
}

}  // namespace fnbench
