#include "userspace/control/node_metrics.h"

#include <algorithm>
#include <array>
#include <set>

#include "loader/datapath.h"
#include "userspace/control/map_views.h"
#include "userspace/store/store.h"

namespace fastnet {
namespace {

struct FlowClassName {
    int flow_class;
    const char* name;
};
constexpr std::array<FlowClassName, 5> kFlowClasses{{{FNET_CLASS_CLOSED, "closed"},
                                                     {FNET_CLASS_HALF_OPEN, "half_open"},
                                                     {FNET_CLASS_DATAGRAM, "datagram"},
                                                     {FNET_CLASS_CLOSING, "closing"},
                                                     {FNET_CLASS_ESTABLISHED, "established"}}};

Status read_store(Store& store, NodeMetrics& metrics) {
    for (const Network& network : TRY(store.networks())) ++metrics.networks[to_string(network.driver)];
    for (const Endpoint& endpoint : TRY(store.endpoints()))
        if (endpoint.state == EndpointState::kReady) ++metrics.endpoints[to_string(endpoint.mode)];
    metrics.ports = TRY(store.ports()).size();
    std::set<IpAddress> peers;  // one that is a peer of several networks is one peer
    for (const Peer& peer : TRY(store.peers())) peers.insert(peer.address);
    metrics.peers = peers.size();
    metrics.remote_endpoints = TRY(store.remote_endpoints()).size();
    return ok();
}

Status read_maps(const NodePaths& paths, NodeMetrics& metrics) {
    if (!Datapath::is_loaded(paths.pins)) return ok();
    const Datapath datapath = TRY(Datapath::open(paths.pins));
    metrics.prepared = true;
    metrics.verdicts = verdict_views(TRY(datapath.verdict_counts()));
    for (const MapUsage& usage : TRY(datapath.map_usage())) {
        metrics.maps.push_back({usage.name, usage.entries, usage.max_entries, usage.memory_bytes});
        if (usage.name == "flow_slots") metrics.max_flows = usage.max_entries;
    }
    const fnet_flow_table table = TRY(datapath.flow_table());
    for (const auto& [flow_class, name] : kFlowClasses)
        metrics.flows[name] = static_cast<std::uint64_t>(std::max<__s64>(table.count[flow_class], 0));
    metrics.expired_flows = table.expired;
    metrics.reclaimed_flows = table.reclaimed;
    return ok();
}

}  // namespace

Result<NodeMetrics> read_node_metrics(const NodePaths& paths) {
    NodeMetrics metrics;
    auto store = Store::open(paths.state_dir, Store::OpenMode::kReadOnly);
    if (store) {
        CHECK_OK(read_store(*store, metrics));
    } else if (store.error().kind != ErrorKind::kNotFound) {
        return std::move(store).error();
    }
    CHECK_OK(read_maps(paths, metrics));
    return metrics;
}

}  // namespace fastnet
