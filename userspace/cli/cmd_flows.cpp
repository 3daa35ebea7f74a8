#include <CLI/CLI.hpp>

#include "userspace/cli/commands.h"
#include "userspace/cli/render.h"
#include "userspace/control/readers.h"

namespace fastnet {

void add_flows(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("flows", "List the connections that the datapath knows");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet flows --json | jq '.[] | select(.endpoint == \"web\")'");
    command->callback([&context] {
        context.action = [&context]() -> Result<Output> { return Output{render(TRY(read_flows(context.paths())), context.format())}; };
    });
}

}  // namespace fastnet
