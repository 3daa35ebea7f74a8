// UDP: request/response on a connected socket.
#include <cerrno>

#include "bench.h"

namespace fnbench {

namespace {

std::uint64_t to_ns(double seconds) {
    return static_cast<std::uint64_t>(seconds * 1e9);
}

}  // namespace

void udp_rr(const ClientOptions& options) {
    Samples samples;
    std::vector<char> message(options.message_bytes, 'x');
    const UniqueFd fd{socket(options.server.family(), SOCK_DGRAM, 0)};
    if (fd.get() < 0) die_errno("socket");
    set_timeout(fd.get(), 1);
    if (connect(fd.get(), options.server.raw(), options.server.length) != 0) die_errno("connect");

    std::uint64_t lost = 0;
    const auto exchange = [&] {
        if (send(fd.get(), message.data(), message.size(), 0) < 0) die_errno("udp_rr: send");
        if (recv(fd.get(), message.data(), message.size(), 0) >= 0) return true;
        if (errno != EAGAIN) die_errno("udp_rr: receive");
        if (++lost > 3) die("udp_rr: no answer");
        return false;
    };

    const std::uint64_t warm_until = now_ns() + to_ns(options.span.warmup_seconds);
    do {
        exchange();
    } while (now_ns() < warm_until);

    const std::uint64_t start = now_ns();
    const std::uint64_t end = start + to_ns(options.span.seconds);
    std::uint64_t before = start;
    while (before < end && (options.span.max_iterations == 0 || samples.count() < options.span.max_iterations)) {
        const bool answered = exchange();
        const std::uint64_t after = now_ns();
        if (answered) samples.add(after - before);
        before = after;
    }
    JsonLine("udp_rr").add_samples(samples, static_cast<double>(before - start) / 1e9).add("lost", lost).print();
}

}  // namespace fnbench
