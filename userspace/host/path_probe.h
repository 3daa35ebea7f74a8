// Whether other hosts answer, and how large a packet gets there and back, by ICMP echo without fragmentation.
// Needs CAP_NET_RAW. Knows nothing of tunnels.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"

namespace fastnet {

struct PathReport {
    IpAddress host{};
    bool answers = false;
    std::uint32_t mtu = 0;        ///< bytes of the largest IP packet that was answered in full; 0: only small ones were
    std::uint32_t route_mtu = 0;  ///< what this host takes the path for, after what routers said; 0 without a route
    std::string trouble{};        ///< why nothing could be sent; empty: it was
};

/// All at the same time: takes @p bound if one is silent, else as long as the slowest answer.
Result<std::vector<PathReport>> probe_paths(const std::vector<IpAddress>& hosts, std::chrono::milliseconds bound);

}  // namespace fastnet
