// The agent's two listeners as parts: the socket in the node's run directory, for the node's own commands, and the address of the
// configuration, for Prometheus and supervisors.
#pragma once

#include <memory>
#include <mutex>

#include "userspace/agent/http_server.h"
#include "userspace/agent/part.h"
#include "userspace/agent/status.h"

namespace fastnet {

class SocketPart : public Part {
public:
    SocketPart(NodePaths paths, AgentStatus& status) : paths_{std::move(paths)}, status_{status} {}
    std::string_view name() const override { return "socket"; }
    bool enabled(const AgentConfig& /*config*/) const override { return true; }
    bool concerned(const AgentConfig& /*before*/, const AgentConfig& /*after*/) const override { return false; }
    Status start(const AgentConfig& config) override;
    void stop() override { server_.reset(); }
    Condition condition() const override;

private:
    NodePaths paths_;
    AgentStatus& status_;
    std::unique_ptr<HttpServer> server_;
};

class MetricsPart : public Part {
public:
    explicit MetricsPart(AgentStatus& status) : status_{status} {}
    std::string_view name() const override { return "metrics"; }
    bool enabled(const AgentConfig& config) const override { return config.metrics.address.has_value(); }
    bool concerned(const AgentConfig& before, const AgentConfig& after) const override { return !(before.metrics == after.metrics); }
    Status start(const AgentConfig& config) override;
    void stop() override { server_.reset(); }
    Condition condition() const override;

private:
    AgentStatus& status_;
    std::unique_ptr<HttpServer> server_;
};

}  // namespace fastnet
