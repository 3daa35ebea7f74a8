#include <CLI/CLI.hpp>
#include <memory>

#include "userspace/cli/attach_options.h"
#include "userspace/cli/commands.h"
#include "userspace/cli/parse.h"
#include "userspace/cli/render.h"
#include "userspace/control/attach.h"

namespace fastnet {
namespace {

struct Words {
    std::string endpoint{};
    std::vector<std::string> specs{};
    AccessWords sources{};
};

Result<Output> act(const Context& context, const Words& words) {
    PublishRequest request;
    request.endpoint = words.endpoint;
    request.ports = TRY(parse_specs(words.specs));
    request.sources = TRY(parse_access(words.sources));
    return Output{render(TRY(publish(context.paths(), request)), context.format())};
}

}  // namespace

void add_publish(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("publish", "Publish more ports of a live container");
    const auto words = std::make_shared<Words>();
    command->add_option("endpoint", words->endpoint, "Name of the endpoint")->required()->type_name("ENDPOINT");
    command->add_option("spec", words->specs, "Port to publish: [HOSTIP:]HOSTPORT[-END]:PORT[-END][/tcp|udp]")
        ->required()
        ->type_name("SPEC");
    add_access_options(*command, words->sources);
    add_json_flag(*command, context);
    command->footer(
        "A caller whom --allow and --deny keep out gets no answer, whatever iptables says; SOURCE_DENIED in `fastnet stats` counts\n"
        "its packets. Connections are judged when they begin.\n"
        "Example:\n"
        "  fastnet publish web 2000:80\n"
        "  fastnet publish web 192.0.2.2:53:53/udp 8443:443\n"
        "  fastnet publish web 5432:5432 --allow 10.0.0.0/8,2001:db8::/32 --deny 10.9.0.0/16\n"
        "  fastnet publish web 8080:80 --deny-file blocklist.txt");
    command->callback([&context, words] { context.action = [&context, words] { return act(context, *words); }; });
}

}  // namespace fastnet
