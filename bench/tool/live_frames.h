// Frames made in the kernel: BPF_PROG_TEST_RUN with live frames runs bench_inject.bpf.c, and what it lets out is sent by
// the device, or received by it. One object is one thread's generator: its counters are its own.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "frames.h"

struct bench_inject;

namespace fnbench {

struct LiveOptions {
    std::uint32_t batch = 64;       // frames between two chances for everything else on this cpu to run
    bool receive = false;           // the device receives the frames instead of sending them
    std::uint64_t interval_ns = 0;  // time from one frame to the next; 0: none
    std::uint64_t limit = 0;        // frames to make at all; 0: no limit
};

class LiveFrames {
public:
    LiveFrames(const FrameOptions& frames, const LiveOptions& options, std::uint32_t first_flow, std::uint32_t flows);
    LiveFrames(const LiveFrames&) = delete;
    LiveFrames& operator=(const LiveFrames&) = delete;
    ~LiveFrames();

    // @p rounds of the program; each makes a frame unless the pace or the limit forbids it. Ends early on a signal.
    void send(std::uint32_t rounds);

    std::uint64_t made() const;  // may be read by another thread meanwhile

    // What the program saw of time, from the first frame to the last that it stamped (each 64th if there is no pace).
    struct Timing {
        std::uint64_t frames;  // that passed between the two stamps
        std::uint64_t elapsed_ns;
        std::uint64_t idle_ns;  // of these: waiting for the next frame's time
    };
    Timing timing() const;

private:
    struct SkeletonDestroyer {
        void operator()(bench_inject* skeleton) const;
    };

    std::vector<std::uint8_t> frame_;
    std::uint32_t batch_;
    unsigned ifindex_;
    std::unique_ptr<bench_inject, SkeletonDestroyer> skeleton_;
};

void check_batch(std::uint32_t batch);  // dies with the reason

}  // namespace fnbench
