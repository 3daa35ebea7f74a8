#include <CLI/CLI.hpp>
#include <memory>

#include "userspace/cli/commands.h"
#include "userspace/cli/render.h"
#include "userspace/control/attach.h"

namespace fastnet {
namespace {

Result<Output> act(const Context& context, const DetachRequest& request) {
    if (request.name.empty() == request.netns.empty())
        return usage_error("detach: name either an endpoint or a namespace", "`fastnet detach web` or `fastnet detach --netns web`");
    return Output{render_detached(TRY(detach(context.paths(), request)), context.format())};
}

}  // namespace

void add_detach(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("detach", "Detach an endpoint, or all endpoints of a namespace");
    const auto request = std::make_shared<DetachRequest>();
    command->add_option("endpoint", request->name, "Name of the endpoint")->type_name("ENDPOINT");
    command->add_option("--netns", request->netns, "Namespace: a name, a path or pid:N, as it was attached")->type_name("NETNS");
    add_json_flag(*command, context);
    command->footer(
        "Example:\n"
        "  fastnet detach web\n"
        "  fastnet detach --netns web");
    command->callback([&context, request] { context.action = [&context, request] { return act(context, *request); }; });
}

}  // namespace fastnet
