// What commands show: plain values without a word about where they came from. The command line prints them, the agent
// will serve them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/flow_timeouts.h"
#include "userspace/model/address_pool.h"
#include "userspace/model/endpoint.h"
#include "userspace/model/network.h"
#include "userspace/model/node.h"
#include "userspace/model/peer.h"

namespace fastnet {

struct EndpointView {
    Endpoint endpoint{};    ///< of another node: id 0, without what only that node knows
    std::string network{};  ///< empty in modes none and host
    std::vector<PublishedPort> ports{};
    std::string node{};  ///< where endpoints of all nodes are listed: its node's name, or address if it has none; empty: this node, alone
};

struct PortView {
    std::string endpoint{};
    PublishedPort port{};
    std::optional<IpAddress> container_ip{};
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
    std::uint64_t connections = 0;
};

struct TupleView {
    IpAddress src{};
    Port sport{};
    IpAddress dst{};
    Port dport{};
};

struct FlowView {
    std::string protocol{};
    std::string state{};  ///< new, replied, established, closed
    TupleView original{};
    TupleView translated{};
    std::string endpoint{};  ///< empty if it is not known (any more)
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
    double idle_seconds = 0;
    double expires_seconds = 0;
};

struct VerdictView {
    std::string name{};
    std::string kind{};  ///< fast, kernel or drop
    std::string text{};
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
};

struct MapView {
    std::string name{};
    std::uint64_t entries = 0;
    std::uint64_t max_entries = 0;
    std::uint64_t memory_bytes = 0;
};

struct EndpointStatsView {
    std::string name{};
    std::uint64_t fast_packets = 0;
    std::uint64_t fast_bytes = 0;
    std::uint64_t kernel_packets = 0;
    std::uint64_t kernel_bytes = 0;
    std::uint64_t connections = 0;
};

struct StatsView {
    std::vector<VerdictView> verdicts{};
    std::vector<MapView> maps{};
    std::vector<EndpointStatsView> endpoints{};
};

/// What a change of the deny list came to.
struct DenyView {
    std::size_t changed = 0;  ///< prefixes that were not on it before, or are not any more
    std::size_t total = 0;    ///< that are on it now
    std::vector<std::string> warnings{};
};

/// A record of a peer, and what the packet path knows of it.
struct PeerView {
    IpAddress address{};
    std::string network{};  ///< empty: of every overlay network
    Owner source = Owner::kStatic;
    std::string node{};                      ///< name of the cluster's node with that address; empty: none is known
    std::optional<double> silent_seconds{};  ///< since a packet of one of its containers was seen; unset: not known
    std::uint32_t path_mtu = 0;              ///< bytes of outer packet; 0: not known yet
    std::uint64_t endpoints = 0;             ///< remote ones that were named, here as below on that network or on all
    std::uint64_t learned = 0;               ///< addresses
    std::uint32_t mtu = 0;                   ///< bytes of inner packet that fit; 0: not known yet
    std::string uplink{};                    ///< by which it is reached; empty: not known yet
    std::uint64_t sent_packets = 0;          ///< of all its networks, as the other counters
    std::uint64_t sent_bytes = 0;
    std::uint64_t received_packets = 0;
    std::uint64_t received_bytes = 0;
    std::uint64_t dropped_packets = 0;
};

struct RemoteEndpointView {
    RemoteEndpoint remote{};
    std::string network{};
};

/// An address on another node, as the packet path has it.
struct RemoteAddressView {
    IpAddress address{};
    MacAddress mac{};
    IpAddress peer{};
    bool learned = false;
    double silent_seconds = 0;  ///< if learned
};

struct NetworkView {
    Network network{};
    std::uint32_t mtu = 0;  ///< in force
    std::vector<EndpointView> endpoints{};
    std::vector<OwnBlock> blocks{};  ///< of a shared one
    bool learning = false;           ///< overlay, as the rest
    std::vector<PeerView> peers{};
    std::vector<RemoteAddressView> remotes{};
};

struct UplinkView {
    std::string name{};
    bool chosen_by_user = false;
    bool exists = true;
    std::vector<std::string> hooks{};
};

struct FeatureView {
    std::string name{};
    bool present = false;
};

enum class CheckResult { kOk, kWarn, kFail };
struct CheckView {
    std::string name{};
    CheckResult result = CheckResult::kOk;
    std::string text{};
    std::string fix{};  ///< what to do; empty if all is well
};

struct AgentPartView {
    std::string name{};
    std::string state{};  ///< off, ready, not ready, waiting, hung
    std::string reason{};
};

/// The node's agent, as it tells of itself.
struct AgentView {
    bool running = false;
    std::uint64_t pid = 0;  ///< 0 if not running
    std::string trouble{};  ///< why the running agent gave no answer; the rest is empty then
    std::string version{};
    std::string since{};  ///< RFC 3339, UTC
    bool ready = false;
    std::vector<AgentPartView> parts{};
    std::vector<CheckView> checks{};
};

struct StatusView {
    std::string kernel{};
    std::string root{};  ///< of --root; empty for the machine's own node
    bool prepared = false;
    std::vector<FeatureView> features{};
    std::vector<UplinkView> uplinks{};
    std::vector<std::string> cgroup_hooks{};
    std::uint64_t networks = 0;
    std::uint64_t endpoints = 0;
    std::uint64_t ports = 0;
    std::uint64_t flows = 0;
    std::uint64_t max_flows = 0;
    std::string masquerade_ports{};  ///< "A-B"; empty if not prepared
    UdpMapping udp_mapping = UdpMapping::kEndpointIndependent;
    VtepAddresses vtep{};
    XdpMode xdp = XdpMode::kAuto;
    FlowTimeouts timeouts{};
    std::uint64_t links = 0;         ///< pinned BPF links (or clsact filters)
    std::uint64_t memory_bytes = 0;  ///< of all maps
    std::vector<MapView> maps{};
    AgentView agent{};
    std::vector<std::string> warnings{};
};

/// What `attach --mode bridge` alone did or found.
struct PrepareView {
    std::vector<UplinkView> uplinks{};
    std::vector<std::string> cgroup_hooks{};
    NetworkView network{};
    std::string masquerade_ports{};
    std::uint64_t max_flows = 0;
    std::vector<std::string> warnings{};
};

struct CleanupView {
    std::vector<std::string> removed{};  ///< for people: "3 endpoints"
    bool remove_root = false;            ///< the --root directory was made by fastnet
    std::vector<std::string> warnings{};
};

}  // namespace fastnet
