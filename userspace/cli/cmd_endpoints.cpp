#include <CLI/CLI.hpp>
#include <memory>

#include "userspace/cli/commands.h"
#include "userspace/cli/render.h"
#include "userspace/control/readers.h"

namespace fastnet {

void add_endpoints(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("endpoints", "List the endpoints");
    const auto all_nodes = std::make_shared<bool>(false);
    command->add_flag("--all-nodes", *all_nodes, "Those of other nodes too, with their nodes: what etcd or an administrator said");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet endpoints --json | jq '.[].ipv4'\n  fastnet endpoints --all-nodes");
    command->callback([&context, all_nodes] {
        context.action = [&context, all_nodes]() -> Result<Output> {
            if (*all_nodes) return Output{render_with_nodes(TRY(read_endpoints_of_all_nodes(context.paths())), context.format())};
            return Output{render(TRY(read_endpoints(context.paths())), context.format())};
        };
    });
}

}  // namespace fastnet
