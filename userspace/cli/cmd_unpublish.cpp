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
    return Output{render(TRY(unpublish(context.paths(), words.endpoint, specs)), context.format())};
}

}  // namespace

void add_unpublish(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("unpublish", "Take published ports of a live container back");
    const auto words = std::make_shared<Words>();
    command->add_option("endpoint", words->endpoint, "Name of the endpoint")->required()->type_name("ENDPOINT");
    command->add_option("spec", words->specs, "Published port, as it was published or as `fastnet ports` shows it")
        ->required()
        ->type_name("SPEC");
    add_json_flag(*command, context);
    command->footer(
        "Example:\n"
        "  fastnet unpublish web 2000:80");
    command->callback([&context, words] { context.action = [&context, words] { return act(context, *words); }; });
}

}  // namespace fastnet
