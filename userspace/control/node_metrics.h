// The node in numbers, for a process that asks again and again: reads database and maps as they are, takes no lock, repairs nothing.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "loader/base/result.h"
#include "userspace/control/paths.h"
#include "userspace/control/views.h"

namespace fastnet {

struct NodeMetrics {
    bool prepared = false;
    std::vector<VerdictView> verdicts{};
    std::vector<MapView> maps{};
    std::map<std::string, std::uint64_t> flows{};  ///< by class, every class
    std::uint64_t max_flows = 0;
    std::uint64_t expired_flows = 0;
    std::uint64_t reclaimed_flows = 0;                 ///< removed because the table was nearly full
    std::map<std::string, std::uint64_t> endpoints{};  ///< by mode
    std::map<std::string, std::uint64_t> networks{};   ///< by driver
    std::uint64_t ports = 0;
    std::uint64_t peers = 0;
    std::uint64_t remote_endpoints = 0;
};

Result<NodeMetrics> read_node_metrics(const NodePaths& paths);

}  // namespace fastnet
