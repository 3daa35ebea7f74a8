#include "userspace/cli/app.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>

#include "userspace/cli/commands.h"

#ifndef FASTNET_VERSION
#define FASTNET_VERSION "unknown"
#endif

namespace fastnet {
namespace {

const char* const kDescription = "Container networking by eBPF: published ports, masquerade and isolation without one iptables rule.";
const char* const kExample =
    "Example:\n"
    "  ip netns add web\n"
    "  fastnet attach --mode bridge --netns web -p 2000:80\n"
    "  fastnet endpoints\n"
    "  fastnet detach web\n"
    "`fastnet COMMAND --help` explains a command.";

/// The words that lead to the command that was being parsed: "network create".
std::string command_of(const CLI::App& app) {
    std::string words;
    for (const CLI::App* current = &app;;) {
        const auto parsed = current->get_subcommands();
        if (parsed.empty()) return words;
        current = parsed.front();
        words += (words.empty() ? "" : " ") + current->get_name();
    }
}

std::string one_line(std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return text;
}

/// The word that was meant to be a command and is none; CLI11 only says that one is missing.
std::string unknown_command(const CLI::App& app, const std::vector<std::string>& args) {
    const CLI::App* current = &app;
    bool value_expected = false;
    for (const std::string& arg : args) {
        if (value_expected) {
            value_expected = false;
        } else if (arg == "--root") {
            value_expected = true;
        } else if (!arg.empty() && arg.front() != '-') {
            const auto names = current->get_subcommands([&](const CLI::App* sub) { return sub->get_name() == arg; });
            if (!names.empty()) {
                current = names.front();
            } else if (!current->get_subcommands([](const CLI::App*) { return true; }).empty()) {
                return arg;
            } else {
                return {};
            }
        }
    }
    return {};
}

Error usage_from(const CLI::ParseError& error, const CLI::App& app, const std::vector<std::string>& args) {
    const std::string command = command_of(app);
    const std::string hint = "see `fastnet " + command + (command.empty() ? "" : " ") + "--help`";
    const std::string what = command.empty() ? std::string{"command line"} : command;
    if (const std::string unknown = unknown_command(app, args); !unknown.empty())
        return usage_error(what + ": there is no command '" + one_line(unknown) + "'", hint);
    return usage_error(what + ": " + one_line(error.what()), hint);
}

}  // namespace

void add_json_flag(CLI::App& command, Context& context) {
    command.add_flag("--json", context.json, "Print JSON");
}

Result<std::optional<Answer>> parse_command_line(const std::vector<std::string>& args, Context& context) {
    CLI::App app{kDescription, "fastnet"};
    app.footer(kExample);
    app.set_version_flag("--version", std::string{"fastnet "} + FASTNET_VERSION);
    app.add_option("--root", context.root, "Keep database, lock and pins of the node below this directory [FASTNET_ROOT]")
        ->type_name("DIR");
    app.require_subcommand(1);
    app.fallthrough();  // inherited: --root is accepted behind the command too
    if (const char* root = std::getenv("FASTNET_ROOT"); root != nullptr) context.root = root;

    add_attach(app, context);
    add_detach(app, context);
    add_publish(app, context);
    add_unpublish(app, context);
    add_run(app, context);
    add_network(app, context);
    add_peer(app, context);
    add_deny(app, context);
    add_endpoints(app, context);
    add_ports(app, context);
    add_flows(app, context);
    add_stats(app, context);
    add_status(app, context);
    add_doctor(app, context);
    add_cleanup(app, context);
    add_agent(app, context);

    std::vector<std::string> reversed{args.rbegin(), args.rend()};  // CLI11 takes them from the back
    try {
        app.parse(std::move(reversed));
    } catch (const CLI::CallForHelp&) {
        return std::optional{Answer{app.help()}};
    } catch (const CLI::CallForAllHelp&) {
        return std::optional{Answer{app.help("", CLI::AppFormatMode::All)}};
    } catch (const CLI::CallForVersion& version) {
        return std::optional{Answer{std::string{version.what()} + "\n"}};
    } catch (const CLI::ParseError& error) {
        return usage_from(error, app, args);
    }
    return std::optional<Answer>{};
}

std::string error_text(const Error& error) {
    std::string message = error.message;
    if (message.find(": ") == std::string::npos) message = "command failed: " + message;
    std::string hint = error.hint;
    if (hint.empty()) {
        switch (error.kind) {
            case ErrorKind::kFailed: hint = "`fastnet doctor` looks for the reason"; break;
            case ErrorKind::kUsage: hint = "`fastnet COMMAND --help` explains a command"; break;
            case ErrorKind::kConflict: hint = "choose another one, or give the taken one free first"; break;
            case ErrorKind::kNotFound: hint = "`fastnet endpoints` and `fastnet network ls` list what there is"; break;
        }
    }
    return "fastnet: " + message + "\n" + hint + "\n";
}

}  // namespace fastnet
