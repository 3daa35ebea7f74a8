#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "userspace/cli/commands.h"
#include "userspace/cli/parse.h"
#include "userspace/cli/render.h"
#include "userspace/control/peers.h"
#include "userspace/control/readers.h"

namespace fastnet {
namespace {

struct Words {
    std::string address{};
    std::optional<std::string> network{};
};

/// An empty name is a variable that was not set, and not "all networks".
Result<PeerRequest> parse_request(const Words& words, const std::string& what) {
    if (words.network && words.network->empty())
        return usage_error(what + ": --network is empty", "name a network, or leave it out for all overlay networks");
    return PeerRequest{TRY(parse_address(words.address, what)), words.network.value_or("")};
}

void add_add(CLI::App& peer, Context& context) {
    CLI::App* const command = peer.add_subcommand("add", "Name another node of the overlay networks");
    const auto words = std::make_shared<Words>();
    command->add_option("address", words->address, "Its address, as this node reaches it")->required()->type_name("ADDRESS");
    command->add_option("--network", words->network, "Peer of this network alone; without it of every overlay network, later ones too")
        ->type_name("NAME");
    add_json_flag(*command, context);
    command->footer(
        "VXLAN is taken from peers only, so each node names the others.\n"
        "Example:\n"
        "  fastnet peer add 192.0.2.7\n"
        "  fastnet peer add 192.0.2.8 --network blue");
    command->callback([&context, words] {
        context.action = [&context, words]() -> Result<Output> {
            const PeerRequest request = TRY(parse_request(*words, "peer add"));
            return Output{render(TRY(add_peer(context.paths(), request)), context.format())};
        };
    });
}

void add_ls(CLI::App& peer, Context& context) {
    CLI::App* const command = peer.add_subcommand("ls", "List the peers");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet peer ls --json");
    command->callback([&context] {
        context.action = [&context]() -> Result<Output> { return Output{render(TRY(read_peers(context.paths())), context.format())}; };
    });
}

void add_rm(CLI::App& peer, Context& context) {
    CLI::App* const command = peer.add_subcommand("rm", "Remove a peer that was named, and the remote endpoints behind it");
    const auto words = std::make_shared<Words>();
    command->add_option("address", words->address, "Its address")->required()->type_name("ADDRESS");
    command->add_option("--network", words->network, "What `peer add` with this network made; without it everything about the peer")
        ->type_name("NAME");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet peer rm 192.0.2.7");
    command->callback([&context, words] {
        context.action = [&context, words]() -> Result<Output> {
            const PeerRequest request = TRY(parse_request(*words, "peer rm"));
            CHECK_OK(remove_peer(context.paths(), request));
            return Output{render_removed_peer(request.address, request.network, context.format())};
        };
    });
}

void add_endpoint_add(CLI::App& endpoint, Context& context) {
    CLI::App* const command = endpoint.add_subcommand("add", "Name a container on another node");
    const auto words = std::make_shared<RemoteEndpointWords>();
    command->add_option("ip", words->ips, "Its addresses on the network, one per family")->required()->expected(1, 2)->type_name("IP");
    command->add_option("--peer", words->peer, "The node that it is on")->required()->type_name("ADDRESS");
    command->add_option("--network", words->network, "The overlay network")->required()->type_name("NAME");
    command->add_option("--mac", words->mac, "Its MAC address; without it the one that fastnet gives with that IPv4 address")
        ->type_name("MAC");
    add_json_flag(*command, context);
    command->footer(
        "A network with a named remote endpoint learns no other addresses, unless it was made with --opt learning=on.\n"
        "Example:\n"
        "  fastnet peer endpoint add 10.77.0.9 --peer 192.0.2.7 --network blue");
    command->callback([&context, words] {
        context.action = [&context, words]() -> Result<Output> {
            const RemoteEndpointRequest request = TRY(parse_remote_endpoint(*words));
            return Output{render(TRY(add_remote_endpoint(context.paths(), request)), context.format())};
        };
    });
}

void add_endpoint_ls(CLI::App& endpoint, Context& context) {
    CLI::App* const command = endpoint.add_subcommand("ls", "List the remote endpoints that were named");
    add_json_flag(*command, context);
    command->footer("`fastnet network inspect NAME` shows the learned ones too.\nExample:\n  fastnet peer endpoint ls --json");
    command->callback([&context] {
        context.action = [&context]() -> Result<Output> {
            return Output{render(TRY(read_remote_endpoints(context.paths())), context.format())};
        };
    });
}

void add_endpoint_rm(CLI::App& endpoint, Context& context) {
    CLI::App* const command = endpoint.add_subcommand("rm", "Forget a remote endpoint");
    const auto words = std::make_shared<Words>();
    command->add_option("ip", words->address, "One of its addresses")->required()->type_name("IP");
    command->add_option("--network", words->network, "The overlay network")->required()->type_name("NAME");
    add_json_flag(*command, context);
    command->footer("Example:\n  fastnet peer endpoint rm 10.77.0.9 --network blue");
    command->callback([&context, words] {
        context.action = [&context, words]() -> Result<Output> {
            const PeerRequest request = TRY(parse_request(*words, "peer endpoint rm"));
            CHECK_OK(remove_remote_endpoint(context.paths(), request.address, request.network));
            return Output{render_removed_remote_endpoint(request.address, request.network, context.format())};
        };
    });
}

}  // namespace

void add_peer(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("peer", "Name the other nodes of overlay networks");
    command->require_subcommand(1);
    command->footer(
        "Example:\n"
        "  fastnet peer add 192.0.2.7\n"
        "  fastnet peer ls\n"
        "  fastnet peer rm 192.0.2.7");
    add_add(*command, context);
    add_ls(*command, context);
    add_rm(*command, context);
    CLI::App* const endpoint = command->add_subcommand("endpoint", "Name containers on other nodes, instead of learning them");
    endpoint->require_subcommand(1);
    endpoint->footer("Example:\n  fastnet peer endpoint add 10.77.0.9 --peer 192.0.2.7 --network blue");
    add_endpoint_add(*endpoint, context);
    add_endpoint_ls(*endpoint, context);
    add_endpoint_rm(*endpoint, context);
}

}  // namespace fastnet
