// The program behind `fastnet agent`: the same command line, and this one command for real.
#include <nlohmann/json.hpp>
#include <string>

#include "userspace/agent/agent.h"
#include "userspace/agent/cluster_part.h"
#include "userspace/agent/config.h"
#include "userspace/cli/program.h"

#ifndef FASTNET_VERSION
#define FASTNET_VERSION "unknown"
#endif

namespace fastnet {
namespace {

Result<AgentRequest> request_from(const AgentWords& words, const Context& context) {
    AgentRequest request;
    if (!words.config_file.empty()) request.config_file = words.config_file;
    if (!words.metrics.empty()) {
        auto address = ListenAddress::parse(words.metrics);
        if (!address) return std::move(address).error().in("--metrics");
        request.overrides.metrics = *address;
    }
    request.overrides.etcd_urls = words.etcd_urls;
    request.paths = context.paths();
    request.version = FASTNET_VERSION;
    return request;
}

Result<Output> check(const AgentRequest& request, Format format) {
    const AgentConfig config = TRY(load_config(request.config_file, request.overrides));
    if (Status files = check_files(config); !files) {
        Error error = std::move(files).error();
        error.kind = ErrorKind::kUsage;
        return std::move(error).with_hint("the configuration names a file that the agent could not use");
    }
    return Output{format == Format::kJson ? to_json(config) : to_toml(config)};
}

std::string forgotten(const std::string& node, std::size_t blocks, Format format) {
    if (format == Format::kJson) return nlohmann::ordered_json{{"forgotten", node}, {"blocks", blocks}}.dump(2) + "\n";
    return "forgot node " + node + ": " + std::to_string(blocks) + (blocks == 1 ? " block of addresses is" : " blocks of addresses are") +
           " free\n";
}

/// Through etcd alone: the node that this runs on need not be part of the cluster.
Result<Output> forget(const AgentRequest& request, const std::string& node, Format format) {
    const AgentConfig config = TRY(load_config(request.config_file, request.overrides));
    if (!config.etcd.enabled()) return usage_error("agent --forget: no etcd is named", "name it with --etcd or in the configuration");
    const std::size_t blocks = TRY(forget_cluster_node(config, node));
    return Output{forgotten(node, blocks, format)};
}

Result<Output> act(const AgentWords& words, const Context& context) {
    const AgentRequest request = TRY(request_from(words, context));
    CHECK_OK(check_build());
    if (words.check) return check(request, context.format());
    if (!words.forget.empty()) return forget(request, words.forget, context.format());
    CHECK_OK(run_agent(request, standard_parts()));
    return Output{};
}

}  // namespace
}  // namespace fastnet

int main(int argc, char** argv) {
    return fastnet::run_program(argc, argv, fastnet::act);
}
