#include <CLI/CLI.hpp>
#include <memory>

#include "userspace/cli/attach_options.h"
#include "userspace/cli/commands.h"
#include "userspace/control/run.h"

namespace fastnet {
namespace {

struct Words {
    AttachWords attach{};
    std::vector<std::string> command{};
};

Result<Output> act(const Context& context, const Words& words) {
    RunRequest request;
    request.attach = TRY(parse_attach(words.attach));
    request.command = words.command;
    return Output{{}, TRY(run(context.paths(), std::move(request), context.warn))};
}

}  // namespace

void add_run(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("run", "Run a command in a network namespace of its own, attached while it runs");
    const auto words = std::make_shared<Words>();
    add_endpoint_options(*command, words->attach);
    add_json_flag(*command, context);
    command->add_option("command", words->command, "Command and its arguments, behind --")->required()->type_name("COMMAND");
    command->footer(
        "The exit status is the command's, or 128 + n if signal n ended it.\n"
        "Example:\n"
        "  fastnet run --mode bridge -p 2000:80 -- python3 -m http.server 80");
    command->callback([&context, words] {
        words->attach.has_netns = true;  // it will be made
        context.action = [&context, words] { return act(context, *words); };
    });
}

}  // namespace fastnet
