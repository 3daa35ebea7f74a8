#include <CLI/CLI.hpp>
#include <memory>

#include "userspace/cli/commands.h"
#include "userspace/cli/parse.h"
#include "userspace/cli/render.h"
#include "userspace/control/deny.h"

namespace fastnet {
namespace {

void add_words(CLI::App& command, DenyWords& words) {
    command.add_option("prefix", words.prefixes, "Prefixes or addresses, IPv4 or IPv6")->type_name("PREFIX");
    command
        .add_option("--file", words.files, "More of them out of a file, - is standard input: one a line, # starts a comment (repeatable)")
        ->type_name("FILE")
        ->allow_extra_args(false);
}

void add_change(CLI::App& deny, Context& context, const char* name, const char* text, const char* footer, bool on) {
    CLI::App* const command = deny.add_subcommand(name, text);
    const auto words = std::make_shared<DenyWords>();
    add_words(*command, *words);
    add_json_flag(*command, context);
    command->footer(footer);
    command->callback([&context, words, on, name] {
        context.action = [&context, words, on, name]() -> Result<Output> {
            const std::vector<IpPrefix> prefixes = TRY(parse_denied(*words, std::string{"deny "} + name));
            DenyView view = TRY(on ? add_denied(context.paths(), prefixes) : remove_denied(context.paths(), prefixes));
            return Output{render_denied_change(view, on, context.format()), 0, view.warnings};
        };
    });
}

void add_ls(CLI::App& deny, Context& context) {
    CLI::App* const command = deny.add_subcommand("ls", "List what is on it");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet deny ls > saved; fastnet deny add --file saved");
    command->callback([&context] {
        context.action = [&context]() -> Result<Output> {
            return Output{render_denied(TRY(read_denied(context.paths())), context.format())};
        };
    });
}

}  // namespace

void add_deny(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("deny", "Sources that this node takes nothing from");
    command->require_subcommand(1);
    command->footer(
        "What comes by an uplink from a source on the list is dropped before anything else: packets to the host, to published\n"
        "ports, and of connections that are open already. Counted as SOURCE_DENY_LISTED by `fastnet stats`.\n"
        "Example:\n"
        "  fastnet deny add 203.0.113.0/24 2001:db8:bad::/48\n"
        "  fastnet deny ls\n"
        "  fastnet deny rm 203.0.113.0/24");
    add_change(*command, context, "add", "Put prefixes on the list, all of them or none",
               "100,000 prefixes at most. Mind your own: a list with your address on it ends your connection to this node.\n"
               "Example:\n"
               "  fastnet deny add 203.0.113.0/24 2001:db8:bad::/48\n"
               "  fastnet deny add --file blocklist.txt",
               true);
    add_ls(*command, context);
    add_change(*command, context, "rm", "Take prefixes off the list, all of them or none",
               "Each as it was added: a part of a prefix cannot be taken off.\n"
               "Example:\n"
               "  fastnet deny rm 203.0.113.0/24\n"
               "  fastnet deny ls | fastnet deny rm --file -",
               false);
}

}  // namespace fastnet
