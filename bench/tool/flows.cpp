// Fills flow tables: one UDP request and response per flow, each from an address and port of its own.
#include <algorithm>
#include <cerrno>

#include "bench.h"

namespace fnbench {

namespace {

// One exchange; a lost packet is sent again.
bool exchange(const Address& from, const Address& to) {
    constexpr int kAttempts = 3;
    const UniqueFd fd{socket(to.family(), SOCK_DGRAM, 0)};
    if (fd.get() < 0) die_errno("socket");
    set_timeout(fd.get(), 1);
    if (bind(fd.get(), from.raw(), from.length) != 0) {
        if (errno == EADDRINUSE) return false;
        die_errno("flows: bind a source port");
    }
    if (connect(fd.get(), to.raw(), to.length) != 0) die_errno("connect");
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        char byte = 'x';
        if (send(fd.get(), &byte, 1, 0) < 0) die_errno("flows: send");
        if (recv(fd.get(), &byte, 1, 0) >= 0) return true;
        if (errno != EAGAIN) die_errno("flows: receive");
    }
    return false;
}

}  // namespace

void flows(const FlowsOptions& options) {
    const std::uint64_t ports = std::uint64_t{options.last_port} - options.first_port + 1;
    if (options.last_port < options.first_port || options.count > ports * options.sources.size())
        die("flows: not that many source addresses and ports");
    Samples samples;
    std::uint64_t failed = 0;
    const std::uint64_t start = now_ns();
    for (std::uint64_t done = 0; done < options.count;) {
        Address from = Address::parse(options.sources[static_cast<std::size_t>(done / ports)], 0);
        const std::uint64_t last = std::min(options.count, (done / ports + 1) * ports);
        for (; done < last; ++done) {
            from.set_port(static_cast<std::uint16_t>(options.first_port + done % ports));
            const std::uint64_t before = now_ns();
            if (exchange(from, options.server))
                samples.add(now_ns() - before);
            else
                ++failed;
        }
    }
    JsonLine("flows").add_samples(samples, static_cast<double>(now_ns() - start) / 1e9).add("failed", failed).print();
}

}  // namespace fnbench
