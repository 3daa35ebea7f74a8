// fnbench: the measuring program behind bench/compare. Command line only; each subcommand is declared in bench.h.
#include <CLI/CLI.hpp>

#include <map>

#include "bench.h"

namespace {

using namespace fnbench;

struct Common {
    int cpu = -1;
    bool die_with_parent = false;
};

struct ClientArguments {
    std::string host;
    std::uint16_t port = 0;
    Span span;
    std::size_t message_bytes = 1;

    ClientOptions options() const { return {Address::parse(host, port), span, message_bytes}; }
};

void add_common(CLI::App* command, Common& common) {
    command->add_option("--cpu", common.cpu, "run on this cpu only");
    command->add_flag("--die-with-parent", common.die_with_parent, "end when the parent process ends");
}

void add_span(CLI::App* command, Span& span) {
    command->add_option("--seconds", span.seconds, "how long to measure")->check(CLI::Range(0.01, 3600.0))->capture_default_str();
    command->add_option("--warmup", span.warmup_seconds, "seconds before counting starts")
        ->check(CLI::Range(0.0, 60.0))
        ->capture_default_str();
    command->add_option("--iterations", span.max_iterations, "stop after this many; 0 = by time only");
}

void add_client(CLI::App* command, ClientArguments& client) {
    command->add_option("host", client.host, "server address (numeric)")->required();
    command->add_option("port", client.port, "server port")->required()->check(CLI::Range(1, 65535));
    add_span(command, client.span);
}

void add_message_bytes(CLI::App* command, std::size_t& message_bytes) {
    command->add_option("--bytes", message_bytes, "size of request and of response")->check(CLI::Range(1, 65000))->capture_default_str();
}

ServiceSpec parse_service(const std::string& text) {
    static const std::map<std::string, Service> kServices{{"tcp-echo", Service::kTcpEcho},
                                                          {"tcp-sink", Service::kTcpSink},
                                                          {"tcp-source", Service::kTcpSource},
                                                          {"udp-echo", Service::kUdpEcho},
                                                          {"udp-sink", Service::kUdpSink}};
    const std::size_t colon = text.find(':');
    const auto service = kServices.find(text.substr(0, colon));
    int port = 0;
    if (service == kServices.end() || colon == std::string::npos || !CLI::detail::lexical_cast(text.substr(colon + 1), port) || port < 1 ||
        port > 65535)
        die("serve: not a service: " + text + " (for instance tcp-echo:80)");
    return {service->second, static_cast<std::uint16_t>(port)};
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"fnbench: small network benchmarks, one JSON line each", "fnbench"};
    app.require_subcommand(1);
    app.footer("Example: fnbench serve tcp-echo:7000 &  fnbench tcp_rr 127.0.0.1 7000 --cpu 1 --seconds 2");

    Common common;
    bool ipv6 = false;
    ServeOptions serving;
    std::vector<std::string> services;
    ClientArguments client;
    CrrOptions crr;
    bool by_rst = false;
    bool down = false;
    SinkOptions sink;
    InjectOptions injection;

    CLI::App* serve_command = app.add_subcommand("serve", "serve until killed");
    serve_command->add_option("services", services, "tcp-echo|tcp-sink|tcp-source|udp-echo|udp-sink:PORT ...")->required();
    serve_command->add_flag("-6", ipv6, "listen on IPv6");
    add_message_bytes(serve_command, serving.message_bytes);

    CLI::App* tcp_rr_command = app.add_subcommand("tcp_rr", "request/response on one TCP connection (against tcp-echo)");
    add_client(tcp_rr_command, client);
    add_message_bytes(tcp_rr_command, client.message_bytes);

    CLI::App* udp_rr_command = app.add_subcommand("udp_rr", "request/response on a connected UDP socket (against udp-echo)");
    add_client(udp_rr_command, client);
    add_message_bytes(udp_rr_command, client.message_bytes);

    CLI::App* tcp_crr_command = app.add_subcommand("tcp_crr", "connect, request, response, close (against tcp-echo)");
    add_client(tcp_crr_command, client);
    add_message_bytes(tcp_crr_command, client.message_bytes);
    tcp_crr_command->add_flag("--rst", by_rst, "close by RST instead of FIN");
    tcp_crr_command->add_option("--first-port", crr.first_port, "lowest source port")->check(CLI::Range(1, 65535))->capture_default_str();
    tcp_crr_command->add_option("--last-port", crr.last_port, "highest source port")->check(CLI::Range(1, 65535))->capture_default_str();

    CLI::App* tcp_stream_command = app.add_subcommand("tcp_stream", "bulk TCP (against tcp-sink, or tcp-source with --down)");
    add_client(tcp_stream_command, client);
    tcp_stream_command->add_flag("--down", down, "server to client");

    CLI::App* udp_sink_command = app.add_subcommand("udp_sink", "count the packets that arrive at a UDP port");
    udp_sink_command->add_option("port", sink.port)->required();
    udp_sink_command->add_option("--seconds", sink.seconds)->capture_default_str();
    udp_sink_command->add_option("--expect", sink.expect, "stop after this many packets");
    udp_sink_command->add_flag("-6", ipv6, "listen on IPv6");

    CLI::App* inject_command = app.add_subcommand("inject", "send UDP frames by XDP live frames, count what is delivered");
    inject_command->add_option("--dev", injection.device, "device that sends (its veth peer needs gro on)")->required();
    inject_command->add_option("--dst-mac", injection.destination_mac)->required();
    inject_command->add_option("--src-mac", injection.source_mac, "default: the device's");
    inject_command->add_option("--src", injection.source, "source address")->required();
    inject_command->add_option("--dst", injection.destination, "destination address")->required();
    inject_command->add_option("--dst-port", injection.destination_port)->required();
    inject_command->add_option("--first-src-port", injection.first_source_port)->capture_default_str();
    inject_command->add_option("--flows", injection.flows, "source ports used in turn")->capture_default_str();
    inject_command->add_option("--size", injection.frame_bytes, "frame size without FCS")->capture_default_str();
    inject_command->add_option("--batch", injection.batch, "frames per batch")->capture_default_str();
    inject_command->add_flag("--receive", injection.receive, "frames enter at --dev instead of leaving through it");
    inject_command->add_flag("--one-way", injection.one_way, "never answer: flows stay unreplied");
    CLI::Option* const vni =
        inject_command->add_option("--vni", injection.vni, "send in VXLAN (--src, --dst and --size are the inner frame's)");
    for (const auto& [name, value] : {std::pair{"--outer-src", &injection.outer_source},
                                      {"--outer-dst", &injection.outer_destination},
                                      {"--inner-src-mac", &injection.inner_source_mac},
                                      {"--inner-dst-mac", &injection.inner_destination_mac}})
        vni->needs(inject_command->add_option(name, *value, "with --vni"));
    inject_command->add_option("--sink-netns", injection.sink_netns, "namespace of the receiving socket (path)");
    inject_command->add_option("--sink-port", injection.sink_port)->required();
    add_span(inject_command, injection.span);

    RedirectOptions redirection;
    CLI::App* redirect_command = app.add_subcommand("redirect", "attach a BPF program that only redirects: the floor of any such datapath");
    redirect_command->add_option("--from", redirection.from, "device at whose ingress it sits")->required();
    redirect_command->add_option("--to", redirection.to, "device")->required();
    redirect_command->add_flag("--peer", redirection.into_peer, "into the namespace of the device's veth peer");

    for (CLI::App* command : app.get_subcommands({})) add_common(command, common);
    CLI11_PARSE(app, argc, argv);

    if (common.die_with_parent) die_with_parent();
    pin_to_cpu(common.cpu);
    const int family = ipv6 ? AF_INET6 : AF_INET;

    if (*serve_command) {
        serving.family = family;
        for (const std::string& text : services) serving.services.push_back(parse_service(text));
        serve(serving);
    } else if (*tcp_rr_command) {
        tcp_rr(client.options());
    } else if (*udp_rr_command) {
        udp_rr(client.options());
    } else if (*tcp_crr_command) {
        crr.close = by_rst ? Close::kRst : Close::kFin;
        tcp_crr(client.options(), crr);
    } else if (*tcp_stream_command) {
        tcp_stream(client.options(), down ? Direction::kDown : Direction::kUp);
    } else if (*udp_sink_command) {
        sink.family = family;
        udp_sink(sink);
    } else if (*inject_command) {
        inject(injection);
    } else if (*redirect_command) {
        redirect(redirection);
    }
    return 0;
}
