#include <CLI/CLI.hpp>

#include "userspace/cli/commands.h"
#include "userspace/cli/render.h"
#include "userspace/control/readers.h"

namespace fastnet {

void add_stats(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("stats", "Show why packets left the fast path, and how many took it");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet stats --json | jq .verdicts.NOT_PUBLISHED");
    command->callback([&context] {
        context.action = [&context]() -> Result<Output> { return Output{render(TRY(read_stats(context.paths())), context.format())}; };
    });
}

}  // namespace fastnet
