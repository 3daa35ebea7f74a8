#include <CLI/CLI.hpp>
#include <memory>

#include "userspace/agent/agent.h"
#include "userspace/agent/cluster_part.h"
#include "userspace/agent/config.h"
#include "userspace/cli/commands.h"
#include "userspace/cli/render.h"

#ifndef FASTNET_VERSION
#define FASTNET_VERSION "unknown"
#endif

namespace fastnet {
namespace {

struct Words {
    std::string config_file{};
    std::string metrics{};
    std::vector<std::string> etcd_urls{};
    std::string forget{};
    bool check = false;
};

Result<AgentRequest> request_from(const Words& words, const Context& context) {
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

/// Through etcd alone: the node that this runs on need not be part of the cluster.
Result<Output> forget(const AgentRequest& request, const std::string& node, Format format) {
    const AgentConfig config = TRY(load_config(request.config_file, request.overrides));
    if (!config.etcd.enabled()) return usage_error("agent --forget: no etcd is named", "name it with --etcd or in the configuration");
    const std::size_t blocks = TRY(forget_cluster_node(config, node));
    return Output{render_forgotten_node(node, blocks, format)};
}

Result<Output> act(const Words& words, const Context& context) {
    const AgentRequest request = TRY(request_from(words, context));
    if (words.check) return check(request, context.format());
    if (!words.forget.empty()) return forget(request, words.forget, context.format());
    CHECK_OK(run_agent(request, standard_parts()));
    return Output{};
}

}  // namespace

void add_agent(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("agent", "Run the node's agent in the foreground: repair, other nodes by etcd, metrics");
    const auto words = std::make_shared<Words>();
    command->add_option("--config", words->config_file, "Configuration, instead of " + std::string{kDefaultConfigFile})->type_name("FILE");
    command->add_flag("--check", words->check, "Check the configuration, print what is in force, and end; exit status 2 if it is wrong");
    command->add_option("--metrics", words->metrics, "Serve /metrics, /healthz and /readyz there, like 127.0.0.1:9464 or [::1]:9464")
        ->type_name("ADDR:PORT");
    command->add_option("--etcd", words->etcd_urls, "Share networks with other nodes by this member of an etcd cluster; repeatable")
        ->type_name("URL")
        ->expected(1)
        ->take_all();
    command->add_option("--forget", words->forget, "Free the blocks of addresses of a node that will not come back, and end")
        ->type_name("NODE");
    command->add_flag("--json", context.json, "Print JSON (with --check and --forget)");
    command->footer(
        "SIGHUP reads the configuration again, SIGTERM ends the agent; neither touches traffic.\n"
        "Example:\n"
        "  fastnet agent --metrics 127.0.0.1:9464 --etcd http://10.0.0.1:2379 --etcd http://10.0.0.2:2379");
    command->callback([&context, words] { context.action = [&context, words] { return act(*words, context); }; });
}

}  // namespace fastnet
