#include <CLI/CLI.hpp>
#include <memory>

#include "userspace/cli/commands.h"
#include "userspace/cli/parse.h"
#include "userspace/cli/render.h"
#include "userspace/control/networks.h"
#include "userspace/control/readers.h"

namespace fastnet {
namespace {

Result<Output> act_create(const Context& context, const NetworkWords& words) {
    const NetworkRequest request = TRY(parse_network(words));
    const CreatedNetwork created = TRY(create_network(context.paths(), request));
    return Output{render(created.view, context.format()), 0, created.warnings};
}

void add_create(CLI::App& network, Context& context) {
    CLI::App* const command = network.add_subcommand("create", "Make a network; without options a bridge network on a free subnet");
    const auto words = std::make_shared<NetworkWords>();
    command->add_option("name", words->name, "Name of the network")->required()->type_name("NAME");
    command->add_option("--driver", words->driver, "bridge (default) or overlay (one network on several nodes, by VXLAN)")
        ->type_name("DRIVER");
    const auto repeatable = [&](const char* name, std::vector<std::string>& values, const char* text, const char* type) {
        command->add_option(name, values, text)->type_name(type)->allow_extra_args(false);
    };
    repeatable("--subnet", words->subnets, "Subnet, one per family (repeatable)", "CIDR");
    repeatable("--gateway", words->gateways, "Gateway inside the subnet; without it the first address (repeatable)", "ADDRESS");
    repeatable("--ip-range", words->ip_ranges,
               "Part of the subnet that addresses are picked from; nodes of one overlay keep apart by it (repeatable)", "CIDR");
    repeatable(
        "--opt", words->options,
        "gateway_mode_ipv4 or gateway_mode_ipv6, each nat or routed; overlay: learning=on or off, vxlan_guard=on or off, scope=local or "
        "cluster (repeatable)",
        "KEY=VALUE");
    command->add_option("--mtu", words->mtu, "MTU; without it the uplink's, in an overlay without what VXLAN costs")->type_name("N");
    command->add_flag("--internal", words->internal, "No way out, no published ports");
    command->add_flag("--no-icc", words->no_icc, "Containers of the network do not reach each other");
    command
        ->add_option("--vni", words->vni,
                     "VXLAN network identifier of an overlay, the same on all its nodes; without it one that is free on this node")
        ->type_name("N");
    command->add_option("--parent", words->parent, "Host interface (drivers macvlan and ipvlan)")->type_name("DEV");
    add_json_flag(*command, context);
    command->footer(
        "An overlay of scope cluster is made on all nodes by their agents, which give each node blocks of its addresses. It is the "
        "default\n"
        "where the agent uses etcd, else it is local.\n"
        "Example:\n"
        "  fastnet network create blue\n"
        "  fastnet network create blue --subnet 10.99.0.0/24 --gateway 10.99.0.254 --mtu 1400\n"
        "  fastnet network create six --subnet 2001:db8:5::/64 --opt gateway_mode_ipv6=nat\n"
        "  fastnet network create wide --driver overlay --vni 7 --subnet 10.77.0.0/16 --ip-range 10.77.1.0/24");
    command->callback([&context, words] { context.action = [&context, words] { return act_create(context, *words); }; });
}

void add_ls(CLI::App& network, Context& context) {
    CLI::App* const command = network.add_subcommand("ls", "List the networks");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet network ls --json");
    command->callback([&context] {
        context.action = [&context]() -> Result<Output> { return Output{render(TRY(read_networks(context.paths())), context.format())}; };
    });
}

void add_inspect(CLI::App& network, Context& context) {
    CLI::App* const command = network.add_subcommand("inspect", "Show one network and its endpoints");
    const auto name = std::make_shared<std::string>();
    command->add_option("name", *name, "Name of the network")->required()->type_name("NAME");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet network inspect default");
    command->callback([&context, name] {
        context.action = [&context, name]() -> Result<Output> {
            return Output{render(TRY(read_network(context.paths(), *name)), context.format())};
        };
    });
}

void add_rm(CLI::App& network, Context& context) {
    CLI::App* const command = network.add_subcommand("rm", "Remove a network that has no endpoints");
    const auto name = std::make_shared<std::string>();
    command->add_option("name", *name, "Name of the network")->required()->type_name("NAME");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet network rm blue");
    command->callback([&context, name] {
        context.action = [&context, name]() -> Result<Output> {
            CHECK_OK(remove_network(context.paths(), *name));
            return Output{render_removed_network(*name, context.format())};
        };
    });
}

}  // namespace

void add_network(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("network", "Make, list, inspect and remove networks");
    command->require_subcommand(1);
    command->footer(
        "Example:\n"
        "  fastnet network create blue --subnet 10.99.0.0/24\n"
        "  fastnet network ls\n"
        "  fastnet network rm blue");
    add_create(*command, context);
    add_ls(*command, context);
    add_inspect(*command, context);
    add_rm(*command, context);
}

}  // namespace fastnet
