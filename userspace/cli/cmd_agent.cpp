#include <CLI/CLI.hpp>
#include <memory>

#include "userspace/cli/commands.h"

namespace fastnet {

void add_agent(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("agent", "Run the node's agent in the foreground: repair, other nodes by etcd, metrics");
    const auto words = std::make_shared<AgentWords>();
    command->add_option("--config", words->config_file, "Configuration, instead of /etc/fastnet/fastnet.toml")->type_name("FILE");
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
    command->callback([&context, words] { context.action = [&context, words] { return context.agent(*words, context); }; });
}

}  // namespace fastnet
