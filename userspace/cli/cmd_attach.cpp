#include <CLI/CLI.hpp>
#include <memory>

#include "userspace/cli/attach_options.h"
#include "userspace/cli/commands.h"
#include "userspace/cli/render.h"
#include "userspace/control/attach.h"

namespace fastnet {
namespace {

Result<Output> act(const Context& context, const AttachWords& words) {
    const AttachRequest request = TRY(parse_attach(words));
    CHECK_OK(check_request(request));
    if (request.mode == EndpointMode::kBridge && !request.netns) {
        const PrepareView view = TRY(prepare(context.paths(), request.prepare));
        return Output{render(view, context.format()), 0, view.warnings};
    }
    const Attached attached = TRY(attach(context.paths(), request));
    return Output{render(attached.view, context.format()), 0, attached.warnings};
}

}  // namespace

void add_attach(CLI::App& app, Context& context) {
    CLI::App* const command = app.add_subcommand("attach", "Attach a network namespace; without --netns prepare the node");
    const auto words = std::make_shared<AttachWords>();
    CLI::Option* const netns =
        command->add_option("--netns", words->netns, "Namespace: a name (`ip netns`), a path or pid:N")->type_name("NETNS");
    add_endpoint_options(*command, *words);
    command->add_option("--max-flows", words->max_flows, "Size of the flow table (default 262144); fixed while it exists")->type_name("N");
    command->add_option("--masquerade-ports", words->masquerade_ports, "Source ports for containers, outside net.ipv4.ip_local_port_range")
        ->type_name("A-B");
    command
        ->add_option("--udp-mapping", words->udp_mapping,
                     "endpoint-independent (default: a container's UDP port has one source port outside towards everybody) or "
                     "address-and-port-dependent (one per destination: for more UDP sockets at a time than masquerade ports)")
        ->type_name("MAPPING");
    command
        ->add_option(
            "--timeout", words->timeouts,
            "How long a silent flow is kept, NAME=TIME[,NAME=TIME...] in seconds or with s, m, h, d, or `default`: tcp-established, "
            "tcp-opening, tcp-closing, udp, udp-unreplied, dns, icmp, other (repeatable)")
        ->type_name("NAME=TIME")
        ->allow_extra_args(false);
    command
        ->add_option("--vtep", words->vtep,
                     "Address of this node that its peers of overlay networks know it by, one per family (repeatable), or auto: what the "
                     "route to each peer prefers (default)")
        ->type_name("ADDRESS")
        ->allow_extra_args(false);
    command
        ->add_option("--xdp", words->xdp,
                     "Drop what the deny list names, malformed packets and tunnels of strangers before the kernel makes a packet of "
                     "them: auto (default: while something is on the deny list, where the driver does it natively, not at virtual devices "
                     "or NICs of virtual machines), on (or fail) or off")
        ->type_name("auto|on|off");
    command->add_flag("--reload", words->reload, "Load the programs anew and replace them without a gap");
    add_json_flag(*command, context);
    command->footer(
        "Example:\n"
        "  fastnet attach --mode bridge                             prepare the node, safe to repeat\n"
        "  fastnet attach --mode bridge --netns web -p 2000:80      give `web` an address and publish its port 80\n"
        "  fastnet attach --netns pid:4711 --network blue --ip 10.99.0.7 -p 53:53/udp\n"
        "  fastnet attach --netns db -p 5432:5432 --allow 10.0.0.0/8 --deny 10.9.0.0/16\n"
        "--allow and --deny hold for every -p of the command; `fastnet publish` adds a port with other ones.");
    command->callback([&context, words, netns] {
        words->has_netns = netns->count() > 0;
        context.action = [&context, words] { return act(context, *words); };
    });
}

}  // namespace fastnet
