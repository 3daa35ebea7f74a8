#include <CLI/CLI.hpp>

#include "userspace/cli/commands.h"
#include "userspace/cli/render.h"
#include "userspace/control/doctor.h"

namespace fastnet {

void add_doctor(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("doctor", "Check everything that fastnet depends on; exit status 1 if something fails");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet doctor");
    command->callback([&context] {
        context.action = [&context]() -> Result<Output> {
            const std::vector<CheckView> checks = examine(context.paths());
            return Output{render(checks, context.format()), any_failed(checks) ? 1 : 0};
        };
    });
}

}  // namespace fastnet
