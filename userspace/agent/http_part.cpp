#include "userspace/agent/http_part.h"

#include "userspace/control/agent_link.h"

namespace fastnet {
namespace {

Condition condition_of(const HttpServer& server) {
    if (server.accepting()) return {Condition::State::kReady, {}};
    return {Condition::State::kEnded, server.trouble()};
}

}  // namespace

Status SocketPart::start(const AgentConfig& /*config*/) {
    UniqueFd listener = TRY(listen_unix(agent_socket(paths_)));
    server_ = TRY(HttpServer::start(std::move(listener), status_.paths(true), heartbeat()));
    return ok();
}

Condition SocketPart::condition() const {
    return condition_of(*server_);
}

Status MetricsPart::start(const AgentConfig& config) {
    UniqueFd listener = TRY(listen_tcp(*config.metrics.address));
    server_ = TRY(HttpServer::start(std::move(listener), status_.paths(false), heartbeat()));
    return ok();
}

Condition MetricsPart::condition() const {
    return condition_of(*server_);
}

}  // namespace fastnet
