// One function per subcommand, each in a file of its own. build_app() puts them together.
#pragma once

#include "userspace/cli/context.h"

namespace CLI {
class App;
}

namespace fastnet {

void add_attach(CLI::App& app, Context& context);
void add_detach(CLI::App& app, Context& context);
void add_publish(CLI::App& app, Context& context);
void add_unpublish(CLI::App& app, Context& context);
void add_run(CLI::App& app, Context& context);
void add_network(CLI::App& app, Context& context);
void add_peer(CLI::App& app, Context& context);
void add_deny(CLI::App& app, Context& context);
void add_endpoints(CLI::App& app, Context& context);
void add_ports(CLI::App& app, Context& context);
void add_flows(CLI::App& app, Context& context);
void add_stats(CLI::App& app, Context& context);
void add_status(CLI::App& app, Context& context);
void add_doctor(CLI::App& app, Context& context);
void add_cleanup(CLI::App& app, Context& context);
void add_agent(CLI::App& app, Context& context);

/// Adds --json to a command that prints state.
void add_json_flag(CLI::App& command, Context& context);

}  // namespace fastnet
