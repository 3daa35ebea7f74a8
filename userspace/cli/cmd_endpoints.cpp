#include <CLI/CLI.hpp>

#include "userspace/cli/commands.h"
#include "userspace/cli/render.h"
#include "userspace/control/readers.h"

namespace fastnet {

void add_endpoints(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("endpoints", "List the endpoints");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet endpoints --json | jq '.[].ipv4'");
    command->callback([&context] {
        context.action = [&context]() -> Result<Output> { return Output{render(TRY(read_endpoints(context.paths())), context.format())}; };
    });
}

}  // namespace fastnet
