#include "live_frames.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bench_inject.h"
#include "bench_inject.skel.h"
#include "system.h"

namespace fnbench {

namespace {

constexpr std::uint32_t kMaxBatch = 256;  // the kernel's

// The program writes these while another thread looks.
std::uint64_t read_once(const __u64& value) {
    return *const_cast<const volatile __u64*>(&value);
}

}  // namespace

void check_batch(std::uint32_t batch) {
    if (batch == 0 || batch > kMaxBatch) die("a batch has 1 to " + std::to_string(kMaxBatch) + " frames");
}

void LiveFrames::SkeletonDestroyer::operator()(bench_inject* skeleton) const {
    bench_inject__destroy(skeleton);
}

LiveFrames::LiveFrames(const FrameOptions& frames, const LiveOptions& options, std::uint32_t first_flow, std::uint32_t flows)
    : batch_(options.batch), ifindex_(if_nametoindex(frames.device.c_str())), skeleton_(bench_inject__open()) {
    if (ifindex_ == 0) die_errno("device " + frames.device);
    if (!skeleton_) die_errno("open the injector's program");
    skeleton_->rodata->flow_count = flows;
    skeleton_->rodata->header_bytes = header_bytes(frames);
    skeleton_->rodata->action = options.receive ? XDP_PASS : XDP_TX;
    skeleton_->rodata->interval_ns = options.interval_ns;
    skeleton_->rodata->catch_up_ns = options.interval_ns * options.batch;
    skeleton_->rodata->frame_limit = options.limit;
    if (bpf_map__set_max_entries(skeleton_->maps.headers, flows) != 0) die_errno("size the injector's map");
    if (bench_inject__load(skeleton_.get()) != 0) die_errno("load the injector's program");

    const std::vector<Frame> built = build_frames(frames, first_flow, flows);
    for (std::uint32_t flow = 0; flow < flows; ++flow) {
        bench_header header{};
        std::memcpy(header.words, built[flow].data(), std::min(sizeof(header.words), built[flow].size()));
        if (bpf_map__update_elem(skeleton_->maps.headers, &flow, sizeof(flow), &header, sizeof(header), BPF_ANY) != 0)
            die_errno("store a frame header");
    }
    frame_ = built.front();
}

LiveFrames::~LiveFrames() = default;

void LiveFrames::send(std::uint32_t rounds) {
    xdp_md context{};
    context.data_end = static_cast<std::uint32_t>(frame_.size());
    context.ingress_ifindex = ifindex_;
    bpf_test_run_opts run{};
    run.sz = sizeof(run);
    run.data_in = frame_.data();
    run.data_size_in = static_cast<std::uint32_t>(frame_.size());
    run.ctx_in = &context;
    run.ctx_size_in = sizeof(context);
    run.repeat = static_cast<int>(rounds);
    run.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
    run.batch_size = std::min(batch_, rounds);
    if (bpf_prog_test_run_opts(bpf_program__fd(skeleton_->progs.inject), &run) != 0 && errno != EINTR)
        die_errno("BPF_PROG_TEST_RUN with live frames on ifindex " + std::to_string(ifindex_));
}

std::uint64_t LiveFrames::made() const {
    return read_once(skeleton_->bss->frames_made);
}

LiveFrames::Timing LiveFrames::timing() const {
    const auto& seen = *skeleton_->bss;
    return {seen.stamped_frames, seen.last_ns - seen.first_ns, seen.idle_ns};
}

}  // namespace fnbench
