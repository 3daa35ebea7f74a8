// The subcommands. Each runs one benchmark (or serves one until it is killed) and prints one JSON line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "frames.h"
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
    double seconds = 0;  // 0: until SIGTERM or SIGINT
    int first_cpu = 0;   // thread i reads on cpu first_cpu + i what that cpu received
    std::uint32_t threads = 1;
};

struct FlowsOptions {
    Address server;
    std::vector<std::string> sources;
    std::uint16_t first_port = 10000;
    std::uint16_t last_port = 65535;
    std::uint64_t count = 0;
};

struct InjectOptions {
    FrameOptions frames;
    std::uint32_t batch = 64;
    bool receive = false;    // hand the frames to the device's own receive path instead of sending them
    bool one_way = false;    // never answer: the flow stays unreplied
    std::string sink_netns;  // path; empty: the current one
    std::uint16_t sink_port = 0;
    Span span;
};

struct GenerateOptions {
    FrameOptions frames;
    std::uint32_t batch = 64;
    bool receive = false;
    int first_cpu = 0;
    std::uint32_t threads = 1;  // one per cpu, from first_cpu on; each has its part of the flows
    double rate = 0;            // frames per second, all threads together; 0: as fast as it goes
    std::uint64_t count = 0;    // frames per thread; 0: by time
    double seconds = 1.0;       // at most
};

[[noreturn]] void serve(const ServeOptions& options);
void tcp_rr(const ClientOptions& options);
void tcp_crr(const ClientOptions& options, const CrrOptions& crr);
void tcp_stream(const ClientOptions& options, Direction direction);
void udp_rr(const ClientOptions& options);
void udp_sink(const SinkOptions& options);
void flows(const FlowsOptions& options);
void inject(const InjectOptions& options);
void generate(const GenerateOptions& options);
/// The kernel's pktgen sends the outer headers of these frames and zeros; a BPF program at the device's egress writes the rest.
void vxlan(FrameOptions frames);

struct RedirectOptions {
    std::string from;
    std::string to;
    bool into_peer = false;   ///< into the namespace of the veth peer of `to`
    std::string destination;  ///< an IPv4 address, and only what goes there; empty: everything
};
/// IP packets that enter at `from` go to `to` by a BPF program that does nothing else.
void redirect(const RedirectOptions& options);

struct DropOptions {
    std::string device;
    double seconds = 0;  ///< 0: until SIGTERM or SIGINT
};
/// An XDP program that counts and drops everything, for as long as this process runs.
void drop(const DropOptions& options);

struct StepsOptions {
    std::string device;    // for the route lookup; empty: it is left out
    std::string next_hop;  // an IPv4 neighbour there
};
/// What single steps of a packet path cost (a lookup, a checksum, a counter), one JSON line each.
void steps(const StepsOptions& options);

}  // namespace fnbench
