#include <CLI/CLI.hpp>

#include "userspace/cli/commands.h"
#include "userspace/cli/render.h"
#include "userspace/control/cleanup.h"

namespace fastnet {

void add_cleanup(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("cleanup", "Remove everything that fastnet made on this node");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet cleanup");
    command->callback([&context] {
        context.action = [&context]() -> Result<Output> {
            const CleanupView view = TRY(cleanup(context.paths()));
            return Output{render(view, context.format()), 0, view.warnings};
        };
    });
}

}  // namespace fastnet
