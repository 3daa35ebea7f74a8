#include <CLI/CLI.hpp>

#include "userspace/cli/commands.h"
#include "userspace/cli/render.h"
#include "userspace/control/readers.h"

namespace fastnet {

void add_status(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("status", "Show what is attached and how much there is");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet status");
    command->callback([&context] {
        context.action = [&context]() -> Result<Output> { return Output{render(TRY(read_status(context.paths())), context.format())}; };
    });
}

}  // namespace fastnet
