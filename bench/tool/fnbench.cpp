// fnbench: the measuring program behind bench/compare. Command line only; each subcommand is declared in bench.h.
#include <CLI/CLI.hpp>

#include <algorithm>
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

void add_frames(CLI::App* command, FrameOptions& frames) {
    command->add_option("--dev", frames.device, "device that sends (its veth peer needs gro on)")->required();
    command->add_option("--dst-mac", frames.destination_mac)->required();
    command->add_option("--src-mac", frames.source_mac, "default: the device's");
    command->add_option("--src", frames.source, "source address")->required();
    command->add_option("--dst", frames.destination, "destination address")->required();
    command->add_option("--dst-port", frames.destination_port)->required();
    command->add_option("--first-src-port", frames.first_source_port)->capture_default_str();
    command->add_option("--flows", frames.flows, "source ports used in turn")->capture_default_str();
    command->add_option("--size", frames.frame_bytes, "frame size without FCS")->capture_default_str();
    CLI::Option* const vni = command->add_option("--vni", frames.vni, "send in VXLAN (--src, --dst and --size are the inner frame's)");
    for (const auto& [name, value] : {std::pair{"--outer-src", &frames.outer_source},
                                      {"--outer-dst", &frames.outer_destination},
                                      {"--inner-src-mac", &frames.inner_source_mac},
                                      {"--inner-dst-mac", &frames.inner_destination_mac}})
        vni->needs(command->add_option(name, *value, "with --vni"));
}

void add_batch(CLI::App* command, std::uint32_t& batch, bool& receive) {
    command->add_option("--batch", batch, "frames per batch")->capture_default_str();
    command->add_flag("--receive", receive, "frames enter at --dev instead of leaving through it");
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
    GenerateOptions generation;

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
    udp_sink_command->add_option("--seconds", sink.seconds, "end after this long (default: at SIGTERM or SIGINT)");
    udp_sink_command->add_option("--threads", sink.threads, "readers: one per cpu, from --cpu on")->check(CLI::Range(1, 1024));
    udp_sink_command->add_flag("-6", ipv6, "listen on IPv6");

    FlowsOptions filling;
    CLI::App* flows_command = app.add_subcommand("flows", "make UDP flows, one exchange each (against udp-echo)");
    flows_command->add_option("host", client.host, "server address (numeric)")->required();
    flows_command->add_option("port", client.port, "server port")->required()->check(CLI::Range(1, 65535));
    flows_command->add_option("--count", filling.count, "how many")->required()->check(CLI::PositiveNumber);
    flows_command->add_option("--sources", filling.sources, "addresses of ours that they come from")->required()->delimiter(',');
    flows_command->add_option("--first-port", filling.first_port, "lowest source port")->check(CLI::Range(1, 65535))->capture_default_str();
    flows_command->add_option("--last-port", filling.last_port, "highest source port")->check(CLI::Range(1, 65535))->capture_default_str();

    CLI::App* inject_command = app.add_subcommand("inject", "send UDP frames by XDP live frames, count what is delivered");
    add_frames(inject_command, injection.frames);
    add_batch(inject_command, injection.batch, injection.receive);
    inject_command->add_flag("--one-way", injection.one_way, "never answer: flows stay unreplied");
    inject_command->add_option("--sink-netns", injection.sink_netns, "namespace of the receiving socket (path)");
    inject_command->add_option("--sink-port", injection.sink_port)->required();
    add_span(inject_command, injection.span);

    CLI::App* generate_command =
        app.add_subcommand("generate", "send UDP frames by XDP live frames, by threads and at a pace; count nothing else");
    add_frames(generate_command, generation.frames);
    add_batch(generate_command, generation.batch, generation.receive);
    generate_command->add_option("--threads", generation.threads, "one per cpu, from --cpu on; each has its part of the flows")
        ->check(CLI::Range(1, 1024))
        ->capture_default_str();
    generate_command->add_option("--rate", generation.rate, "frames per second of all threads (default: as many as possible)")
        ->check(CLI::PositiveNumber);
    generate_command->add_option("--count", generation.count, "frames of each thread (default: by time)");
    generate_command->add_option("--seconds", generation.seconds, "at most")->check(CLI::Range(0.01, 86400.0))->capture_default_str();

    FrameOptions tunnelled;
    CLI::App* vxlan_command = app.add_subcommand("vxlan", "attach a BPF program that makes VXLAN of what pktgen sends to port 4789");
    add_frames(vxlan_command, tunnelled);

    DropOptions dropping;
    CLI::App* drop_command = app.add_subcommand("drop", "attach an XDP program that counts and drops every frame, while this runs");
    drop_command->add_option("--dev", dropping.device)->required();
    drop_command->add_option("--seconds", dropping.seconds, "end after this long (default: at SIGTERM or SIGINT)");

    RedirectOptions redirection;
    CLI::App* redirect_command = app.add_subcommand("redirect", "attach a BPF program that only redirects: the floor of any such datapath");
    redirect_command->add_option("--from", redirection.from, "device at whose ingress it sits")->required();
    redirect_command->add_option("--to", redirection.to, "device")->required();
    redirect_command->add_flag("--peer", redirection.into_peer, "into the namespace of the device's veth peer");
    redirect_command->add_option("--destination", redirection.destination, "only what goes to this IPv4 address")->check(CLI::ValidIPV4);

    StepsOptions stepping;
    CLI::App* steps_command = app.add_subcommand("steps", "what single steps of a packet path cost here, by BPF_PROG_TEST_RUN");
    CLI::Option* const steps_device = steps_command->add_option("--dev", stepping.device, "device of the route that is looked up");
    steps_device->needs(steps_command->add_option("--next-hop", stepping.next_hop, "IPv4 address of a neighbour there"));

    for (CLI::App* command : app.get_subcommands({})) add_common(command, common);
    CLI11_PARSE(app, argc, argv);

    if (common.die_with_parent) die_with_parent();
    // These two run a thread per cpu, from --cpu on.
    if (*generate_command || *udp_sink_command) {
        generation.first_cpu = sink.first_cpu = std::max(common.cpu, 0);
    } else {
        pin_to_cpu(common.cpu);
    }
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
    } else if (*flows_command) {
        filling.server = Address::parse(client.host, client.port);
        flows(filling);
    } else if (*inject_command) {
        inject(injection);
    } else if (*generate_command) {
        generate(generation);
    } else if (*drop_command) {
        drop(dropping);
    } else if (*vxlan_command) {
        vxlan(tunnelled);
    } else if (*redirect_command) {
        redirect(redirection);
    } else if (*steps_command) {
        steps(stepping);
    }
    return 0;
}
