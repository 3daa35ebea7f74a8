#include <CLI/CLI.hpp>

#include "userspace/cli/commands.h"
#include "userspace/cli/render.h"
#include "userspace/control/readers.h"

namespace fastnet {

void add_ports(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("ports", "List the published ports with their counters");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet ports");
    command->callback([&context] {
        context.action = [&context]() -> Result<Output> { return Output{render(TRY(read_ports(context.paths())), context.format())}; };
    });
}

}  // namespace fastnet
