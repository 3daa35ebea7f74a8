#include <CLI/CLI.hpp>
#include <memory>

#include "userspace/cli/commands.h"
#include "userspace/cli/parse.h"
#include "userspace/cli/render.h"
#include "userspace/control/attach.h"

namespace fastnet {
namespace {

struct Words {
    std::string endpoint{};
    std::vector<std::string> specs{};
};

Result<Output> act(const Context& context, const Words& words) {
    const std::vector<PublishSpec> specs = TRY(parse_specs(words.specs));
    return Output{render(TRY(publish(context.paths(), words.endpoint, specs)), context.format())};
}

}  // namespace

void add_publish(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("publish", "Publish more ports of a live container");
    const auto words = std::make_shared<Words>();
    command->add_option("endpoint", words->endpoint, "Name of the endpoint")->required()->type_name("ENDPOINT");
    command->add_option("spec", words->specs, "Port to publish: [HOSTIP:]HOSTPORT[-END]:PORT[-END][/tcp|udp]")
        ->required()
        ->type_name("SPEC");
    add_json_flag(*command, context);
    command->footer(
        "Example:\n"
        "  fastnet publish web 2000:80\n"
        "  fastnet publish web 192.0.2.2:53:53/udp 8443:443");
    command->callback([&context, words] { context.action = [&context, words] { return act(context, *words); }; });
}

}  // namespace fastnet
