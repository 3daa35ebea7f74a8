/* Sends test frames into the wire, for BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES.
 * The kernel recycles the frame's page after the receiver freed it, with whatever the datapath under test wrote into
 * the headers (addresses, ports, checksums, TTL). So each run writes all headers anew, from one template per flow.
 *
 * A program cannot sleep, so the pace is kept by dropping: a run before the next frame's time drops its page and comes
 * again. Each such run takes some 40 ns, and between two batches everything else on the cpu gets its turn.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bench_inject.h"

#define STAMP_EVERY 64     /* frames without a pace: reading the clock costs as much as making a frame */
#define LONGEST_RUN 1000   /* ns; a longer step from one run to the next had the end of a batch in it */
#define LONGEST_IDLE 20000 /* ns; a longer step was somebody else's work */

const volatile __u32 flow_count = 1;
const volatile __u32 header_bytes = BENCH_HEADER_IPV4;
const volatile __u32 action = XDP_TX;
const volatile __u64 interval_ns = 0; /* from one frame to the next; 0: as fast as it goes */
const volatile __u64 catch_up_ns = 0; /* at most so much lateness is made up for */
const volatile __u64 frame_limit = 0;

__u64 frames_made = 0;
__u64 stamped_frames = 0; /* made between first_ns and last_ns */
__u64 first_ns = 0;
__u64 last_ns = 0;
__u64 idle_ns = 0;
__u64 due_ns = 0;
__u64 waiting_ns = 0; /* when the run before this one found nothing due, or 0 */
__u32 under_way = 0;  /* frames were made that the end of their batch has yet to send */
__u32 next_flow = 0;

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct bench_header);
} headers SEC(".maps");

static __always_inline void stamp(__u64 now) {
    if (!first_ns) first_ns = now;
    last_ns = now;
    stamped_frames = frames_made;
}

/* Nothing is due. The time since the run before is idle, unless a batch with frames ended meanwhile: they crossed the
 * whole path under test in that step. */
static __always_inline void wait(__u64 now) {
    __u64 step = now - waiting_ns;
    int idle = waiting_ns && step < LONGEST_IDLE;

    if (waiting_ns && step > LONGEST_RUN && under_way) {
        under_way = 0;
        idle = 0;
    }
    if (idle) idle_ns += step;
    waiting_ns = now;
}

static __always_inline int is_due(void) {
    __u64 now;

    if (frame_limit && frames_made >= frame_limit) return 0;
    if (!interval_ns) {
        if (frames_made % STAMP_EVERY == 0) stamp(bpf_ktime_get_ns());
        return 1;
    }
    now = bpf_ktime_get_ns();
    if (!due_ns) due_ns = now;
    if (now < due_ns) {
        wait(now);
        return 0;
    }
    waiting_ns = 0;
    under_way = 1;
    if (now - due_ns > catch_up_ns) due_ns = now - catch_up_ns;
    due_ns += interval_ns;
    stamp(now);
    return 1;
}

SEC("xdp")
int inject(struct xdp_md* ctx) {
    void* data = (void*)(long)ctx->data;
    void* data_end = (void*)(long)ctx->data_end;
    __u32 flow = next_flow;
    const struct bench_header* header;

    if (!is_due()) return XDP_DROP;
    if (flow >= flow_count) flow = 0;
    next_flow = flow + 1;

    header = bpf_map_lookup_elem(&headers, &flow);
    if (!header) return XDP_ABORTED;

    /* Eight bytes at a time, then the rest; the length is a constant to the verifier, which drops the other branches. */
    if (header_bytes == BENCH_HEADER_VXLAN + BENCH_HEADER_IPV6) {
        if (data + BENCH_HEADER_VXLAN + BENCH_HEADER_IPV6 > data_end) return XDP_ABORTED;
        for (int i = 0; i < 14; i++) ((__u64*)data)[i] = header->words[i];
    } else if (header_bytes == BENCH_HEADER_VXLAN + BENCH_HEADER_IPV4) {
        if (data + BENCH_HEADER_VXLAN + BENCH_HEADER_IPV4 > data_end) return XDP_ABORTED;
        for (int i = 0; i < 11; i++) ((__u64*)data)[i] = header->words[i];
        ((__u32*)data)[22] = ((const __u32*)header->words)[22];
    } else if (header_bytes == BENCH_HEADER_IPV6) {
        if (data + BENCH_HEADER_IPV6 > data_end) return XDP_ABORTED;
        for (int i = 0; i < BENCH_HEADER_IPV6 / 8; i++) ((__u64*)data)[i] = header->words[i];
        ((__u32*)data)[14] = ((const __u32*)header->words)[14];
        ((__u16*)data)[30] = ((const __u16*)header->words)[30];
    } else {
        if (data + BENCH_HEADER_IPV4 > data_end) return XDP_ABORTED;
        for (int i = 0; i < BENCH_HEADER_IPV4 / 8; i++) ((__u64*)data)[i] = header->words[i];
        ((__u16*)data)[20] = ((const __u16*)header->words)[20];
    }
    frames_made++;
    return action;
}

char _license[] SEC("license") = "GPL";
