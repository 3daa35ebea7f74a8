// The subcommands. Each runs one benchmark (or serves one until it is killed) and prints one JSON line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "system.h"

namespace fnbench {

enum class Service { kTcpEcho, kTcpSink, kTcpSource, kUdpEcho, kUdpSink };

struct ServiceSpec {
    Service service;
    std::uint16_t port;
};

struct ServeOptions {
    int family = AF_INET;
    std::size_t message_bytes = 1;  // an echo answers after this many bytes
    std::vector<ServiceSpec> services;
};

// What every client needs.
struct ClientOptions {
    Address server;
    Span span;
    std::size_t message_bytes = 1;
};

enum class Close { kFin, kRst };

struct CrrOptions {
    Close close = Close::kFin;
    std::uint16_t first_port = 2048;  // explicit source ports, cycled: see tcp_bench.cpp
    std::uint16_t last_port = 65535;
};

enum class Direction { kUp, kDown };  // client to server, server to client

struct SinkOptions {
    int family = AF_INET;
    std::uint16_t port = 0;
    double seconds = 1.0;
    std::uint64_t expect = 0;  // stop after this many packets; 0 = run for `seconds`
};

struct InjectOptions {
    std::string device;      // where the frames start: the far end of the wire, in the current namespace
    std::string source_mac;  // empty: the device's own
    std::string destination_mac;
    std::string source;
    std::string destination;
    std::uint16_t destination_port = 0;
    std::uint16_t first_source_port = 20000;
    std::uint32_t flows = 1;
    std::uint32_t frame_bytes = 60;  // Ethernet header included, FCS not
    std::uint32_t batch = 64;
    bool receive = false;   // hand the frames to the device's own receive path instead of sending them
    bool one_way = false;   // never answer: the flow stays unreplied
    std::uint32_t vni = 0;  // not 0: the frame travels in VXLAN, with these outer addresses; IPv4 only
    std::string outer_source;
    std::string outer_destination;
    std::string inner_source_mac;
    std::string inner_destination_mac;
    std::string sink_netns;  // path; empty: the current one
    std::uint16_t sink_port = 0;
    Span span;
};

[[noreturn]] void serve(const ServeOptions& options);
void tcp_rr(const ClientOptions& options);
void tcp_crr(const ClientOptions& options, const CrrOptions& crr);
void tcp_stream(const ClientOptions& options, Direction direction);
void udp_rr(const ClientOptions& options);
void udp_sink(const SinkOptions& options);
void inject(const InjectOptions& options);

struct RedirectOptions {
    std::string from;
    std::string to;
    bool into_peer = false;  ///< into the namespace of the veth peer of `to`
};
/// IP packets that enter at `from` go to `to` by a BPF program that does nothing else.
void redirect(const RedirectOptions& options);

}  // namespace fnbench
