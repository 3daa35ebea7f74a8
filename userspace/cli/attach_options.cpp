#include "userspace/cli/attach_options.h"

#include <CLI/CLI.hpp>

namespace fastnet {

void add_access_options(CLI::App& command, AccessWords& words) {
    const auto add = [&](const char* name, std::vector<std::string>& values, const char* type, const char* text) {
        command.add_option(name, values, text)->type_name(type)->allow_extra_args(false);
    };
    add("--allow", words.allow, "PREFIX,...",
        "Who may call the ports of this command, and nobody else: prefixes or addresses (repeatable)");
    add("--deny", words.deny, "PREFIX,...", "Who may not. The longest prefix decides; on a tie --deny (repeatable)");
    add("--allow-file", words.allow_files, "FILE", "The same out of a file, one prefix a line, # starts a comment (repeatable)");
    add("--deny-file", words.deny_files, "FILE", "The same for --deny (repeatable)");
}

void add_endpoint_options(CLI::App& command, AttachWords& words) {
    command.add_option("--mode", words.mode, "bridge (default), overlay, none or host")->type_name("MODE");
    command.add_option("--network", words.network, "Network to join; without it `default` (mode overlay has no default)")
        ->type_name("NAME");
    command.add_option("--name", words.name, "Name of the endpoint; without it that of the namespace")->type_name("NAME");
    command.add_option("--ip", words.ips, "Address inside the network's subnet, one per family (repeatable)")
        ->type_name("ADDRESS")
        ->allow_extra_args(false);
    command.add_option("--mac", words.mac, "MAC address of the container's interface")->type_name("MAC");
    command.add_option("--ifname", words.ifname, "Name of the interface in the container; without it eth0, then eth1...")
        ->type_name("NAME");
    command
        .add_option("--gw-priority", words.gateway_priority,
                    "Of the networks of a namespace, the one with the highest gives the default route (default 0, may be negative)")
        ->type_name("N");
    command
        .add_option("-p,--publish", words.ports,
                    "Publish a port: [HOSTIP:]HOSTPORT[-END]:PORT[-END][/tcp|udp|sctp]; host port 0 or absent: a free one (repeatable)")
        ->type_name("SPEC")
        ->allow_extra_args(false);
    add_access_options(command, words.sources);
    command.add_option("--uplink", words.uplinks, "Interface that leads outside; without it those of the default routes (repeatable)")
        ->type_name("DEV")
        ->allow_extra_args(false);
}

}  // namespace fastnet
