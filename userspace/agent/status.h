// What the agent tells of itself: the status document for `fastnet status` and `doctor`, health and readiness for supervisors, metrics
// for Prometheus. Safe from any thread. Metrics: bounded labels (verdicts, maps, modes, parts), never an address or a name of the user's.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/registry.h>

#include <chrono>
#include <mutex>
#include <string>

#include "userspace/agent/http_server.h"
#include "userspace/agent/supervisor.h"
#include "userspace/control/node_metrics.h"
#include "userspace/control/paths.h"

namespace fastnet {

/// UTC to the second, as JSON documents and messages show it.
std::string rfc3339(std::chrono::system_clock::time_point time);

class AgentStatus {
public:
    AgentStatus(NodePaths paths, std::string version);

    /// Before any part is started: the parts were made with what this object hands out.
    void watch(const Supervisor& supervisor) { supervisor_ = &supervisor; }
    prometheus::Registry& registry() { return registry_; }

    /// The configuration that was read last; @p error is empty if it is in force.
    void set_config(const std::string& node_name, const std::string& error);

    std::string document() const;
    bool ready() const;
    /// One line: "ready", or what is not.
    std::string summary() const;
    /// /metrics, /healthz, /readyz; the document besides if @p with_document.
    HttpPaths paths(bool with_document);

private:
    HttpAnswer health() const;
    HttpAnswer readiness() const;
    HttpAnswer metrics();
    std::vector<prometheus::MetricFamily> node_families();
    void add_part_families(std::vector<prometheus::MetricFamily>& families) const;

    NodePaths paths_;
    std::string version_;
    std::chrono::system_clock::time_point since_;
    const Supervisor* supervisor_ = nullptr;
    prometheus::Registry registry_;

    mutable std::mutex mutex_;  ///< of the rest
    std::string node_name_;
    std::string config_error_;
    std::uint64_t reloads_ = 0;
    std::uint64_t failed_reloads_ = 0;
    NodeMetrics node_;
    SteadyTime node_read_{};
    std::uint64_t node_failures_ = 0;
};

}  // namespace fastnet
