#include "userspace/control/readers.h"

#include <algorithm>
#include <ctime>
#include <map>
#include <optional>
#include <unordered_map>

#include "loader/datapath.h"
#include "userspace/control/map_views.h"
#include "userspace/control/node.h"
#include "userspace/control/translate.h"
#include "userspace/host/mounts.h"

namespace fastnet {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::chrono::milliseconds kShortPatience{500};

/// Tables of a node as they are now; empty ones for a node that was never prepared.
class Reader {
public:
    static Result<Reader> open(const NodePaths& paths) {
        CHECK_OK(require_capabilities({Capability::kNetAdmin, Capability::kSysAdmin}));
        Reader reader{paths, TRY(Netlink::open())};
        CHECK_OK(reader.open_store());
        if (Datapath::is_loaded(paths.pins)) reader.datapath_ = TRY(Datapath::open(paths.pins));
        return reader;
    }

    bool has_store() const { return store_.has_value(); }
    Store& store() { return *store_; }
    Netlink& netlink() { return netlink_; }
    std::optional<Datapath>& datapath() { return datapath_; }
    const std::vector<Endpoint>& endpoints() const { return endpoints_; }
    const std::vector<Network>& networks() const { return networks_; }

    Result<std::vector<PublishedPort>> ports() {
        std::vector<PublishedPort> ports;
        if (!store_) return ports;
        ports = TRY(store_->ports());
        std::erase_if(ports, [&](const PublishedPort& port) { return find_endpoint(port.endpoint_id) == nullptr; });
        return ports;
    }

    const Endpoint* find_endpoint(std::uint32_t id) const {
        const auto found = std::find_if(endpoints_.begin(), endpoints_.end(), [&](const Endpoint& one) { return one.id == id; });
        return found == endpoints_.end() ? nullptr : &*found;
    }

    std::string network_name(std::uint32_t id) const {
        const auto found = std::find_if(networks_.begin(), networks_.end(), [&](const Network& one) { return one.id == id; });
        return found == networks_.end() ? std::string{} : found->name;
    }

    std::string name_by_ifindex(std::uint32_t ifindex) const {
        const auto found =
            std::find_if(endpoints_.begin(), endpoints_.end(), [&](const Endpoint& one) { return one.host_ifindex == ifindex; });
        return found == endpoints_.end() ? std::string{} : found->name;
    }

    Result<std::vector<FlowEntry>> flows() const {
        std::vector<FlowEntry> entries;
        if (datapath_)
            CHECK_OK(datapath_->flows().for_each([&](const fnet_flow_key& key, const fnet_flow& flow) { entries.push_back({key, flow}); }));
        return entries;
    }

private:
    Reader(NodePaths paths, Netlink netlink) : paths_{std::move(paths)}, netlink_{std::move(netlink)} {}

    Status open_store() {
        auto store = Store::open(paths_.state_dir, Store::OpenMode::kReadOnly);
        if (!store && store.error().kind == ErrorKind::kNotFound) return ok();
        if (!store) return std::move(store).error();
        store_ = *std::move(store);
        CHECK_OK(read_tables());
        const bool same_boot = TRY(store_->setting(setting::kBootId)) == TRY(boot_id());
        const auto is_dead = [&](const Endpoint& endpoint) { return !is_alive(netlink_, endpoint); };
        const bool any_dead = std::any_of(endpoints_.begin(), endpoints_.end(), is_dead);
        // Whoever looks should not see ghosts; a node that is busy or not ours to change shows what lives.
        if (any_dead && same_boot && Node::open(paths_, Need::kExisting, {}, kShortPatience)) CHECK_OK(read_tables());
        std::erase_if(endpoints_, is_dead);
        return ok();
    }

    Status read_tables() {
        networks_ = TRY(store_->networks());
        endpoints_ = TRY(store_->endpoints());
        std::erase_if(endpoints_, [](const Endpoint& endpoint) { return endpoint.state != EndpointState::kReady; });
        return ok();
    }

    NodePaths paths_;
    Netlink netlink_;
    std::optional<Store> store_{};
    std::optional<Datapath> datapath_{};
    std::vector<Endpoint> endpoints_{};
    std::vector<Network> networks_{};
};

std::uint64_t monotonic_now() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

Result<std::vector<EndpointView>> endpoint_views(Reader& reader) {
    std::vector<EndpointView> views;
    std::map<std::uint32_t, std::vector<PublishedPort>> ports;
    for (PublishedPort& port : TRY(reader.ports())) ports[port.endpoint_id].push_back(std::move(port));
    for (const Endpoint& endpoint : reader.endpoints())
        views.push_back({endpoint, reader.network_name(endpoint.network_id), std::move(ports[endpoint.id])});
    return views;
}

Result<std::vector<NetworkView>> network_views(Reader& reader) {
    std::vector<NetworkView> views;
    std::vector<EndpointView> endpoints = TRY(endpoint_views(reader));
    for (const Network& network : reader.networks()) {
        NetworkView view;
        view.network = network;
        const auto link = reader.netlink().link(network.bridge);
        view.mtu = link ? link->mtu : network.mtu;
        for (const EndpointView& endpoint : endpoints)
            if (endpoint.endpoint.network_id == network.id) view.endpoints.push_back(endpoint);
        views.push_back(std::move(view));
    }
    return views;
}

/// Programs in the order of their interfaces.
std::vector<UplinkView> uplink_views(Netlink& netlink, const std::vector<Uplink>& uplinks, const std::vector<AttachedHook>& hooks) {
    std::vector<UplinkView> views;
    for (const Uplink& uplink : uplinks) {
        UplinkView view;
        view.name = uplink.name;
        view.chosen_by_user = uplink.chosen_by_user;
        const auto link = netlink.link(uplink.name);
        view.exists = link.has_value();
        for (const AttachedHook& hook : hooks)
            if (link && hook.ifindex == static_cast<int>(link->index)) view.hooks.push_back(hook.name);
        views.push_back(std::move(view));
    }
    return views;
}

std::vector<std::string> cgroup_hooks(const std::vector<AttachedHook>& hooks) {
    std::vector<std::string> names;
    for (const AttachedHook& hook : hooks)
        if (hook.ifindex == 0) names.push_back(hook.name);
    return names;
}

std::uint64_t live_flows(const fnet_flow_table& table) {
    std::uint64_t flows = 0;
    for (int flow_class = FNET_CLASS_CLOSED; flow_class < FNET_CLASS_COUNT; ++flow_class)
        flows += static_cast<std::uint64_t>(std::max<__s64>(table.count[flow_class], 0));
    return flows;
}

struct Totals {
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
    void add(const fnet_flow& flow) {
        packets += flow.packets;
        bytes += flow.bytes;
    }
};

MapView map_view(const MapUsage& usage) {
    return {usage.name, usage.entries, usage.max_entries, usage.memory_bytes};
}

std::uint64_t setting_number(Store& store, std::string_view key) {
    const auto text = store.setting(key);
    return text && *text ? std::strtoull((*text)->c_str(), nullptr, 10) : 0;
}

}  // namespace

Result<std::vector<EndpointView>> read_endpoints(const NodePaths& paths) {
    Reader reader = TRY(Reader::open(paths));
    return endpoint_views(reader);
}

Result<std::vector<PortView>> read_ports(const NodePaths& paths) {
    Reader reader = TRY(Reader::open(paths));
    std::unordered_map<std::uint32_t, Totals> live;
    for (const FlowEntry& entry : TRY(reader.flows()))
        if (entry.flow.service != 0) live[entry.flow.service].add(entry.flow);
    std::vector<PortView> views;
    for (PublishedPort& port : TRY(reader.ports())) {
        const Endpoint* endpoint = reader.find_endpoint(port.endpoint_id);
        PortView view;
        view.endpoint = endpoint->name;
        const auto& address = port.family() == Family::kIpv4 ? endpoint->ipv4 : endpoint->ipv6;
        if (address) view.container_ip = address->address();
        if (reader.datapath()) {
            const auto stats = TRY(reader.datapath()->service_stats().get(port.id)).value_or(fnet_service_stats{});
            const Totals& now = live[port.id];
            view.packets = stats.packets + now.packets;
            view.bytes = stats.bytes + now.bytes;
            view.connections = stats.connections;
        }
        view.port = std::move(port);
        views.push_back(std::move(view));
    }
    return views;
}

Result<std::vector<FlowView>> read_flows(const NodePaths& paths) {
    Reader reader = TRY(Reader::open(paths));
    std::unordered_map<std::uint32_t, std::string> names;
    for (const Endpoint& endpoint : reader.endpoints()) names.emplace(endpoint.host_ifindex, endpoint.name);
    const std::vector<FlowEntry> entries = TRY(reader.flows());
    const FlowTimeouts timeouts = reader.has_store() ? TRY(stored_timeouts(reader.store())) : FlowTimeouts{};
    return flow_views(entries, timeouts, monotonic_now(), [&](std::uint32_t ifindex) {
        const auto found = names.find(ifindex);
        return found == names.end() ? std::string{} : found->second;
    });
}

Result<StatsView> read_stats(const NodePaths& paths) {
    Reader reader = TRY(Reader::open(paths));
    StatsView view;
    std::vector<fnet_verdict_count> counts;
    std::unordered_map<std::uint32_t, Totals> live;
    if (reader.datapath()) {
        counts = TRY(reader.datapath()->verdict_counts());
        for (const MapUsage& usage : TRY(reader.datapath()->map_usage())) view.maps.push_back(map_view(usage));
        for (const FlowEntry& entry : TRY(reader.flows())) live[entry.flow.endpoint_ifindex].add(entry.flow);
    }
    view.verdicts = verdict_views(counts);
    for (const Endpoint& endpoint : reader.endpoints()) {
        if (endpoint.mode != EndpointMode::kBridge || !reader.datapath()) continue;
        const fnet_endpoint value = TRY(reader.datapath()->endpoints().get(endpoint.host_ifindex)).value_or(fnet_endpoint{});
        const Totals& now = live[endpoint.host_ifindex];
        view.endpoints.push_back({endpoint.name, value.fast_packets + now.packets, value.fast_bytes + now.bytes, value.kernel_packets,
                                  value.kernel_bytes, value.connections});
    }
    return view;
}

Result<std::vector<NetworkView>> read_networks(const NodePaths& paths) {
    Reader reader = TRY(Reader::open(paths));
    return network_views(reader);
}

Result<NetworkView> read_network(const NodePaths& paths, const std::string& name) {
    for (NetworkView& view : TRY(read_networks(paths)))
        if (view.network.name == name) return std::move(view);
    return not_found("network '" + name + "' does not exist", "`fastnet network ls` lists the networks");
}

Result<StatusView> read_status(const NodePaths& paths) {
    Reader reader = TRY(Reader::open(paths));
    StatusView view;
    if (paths.own_root) view.root = paths.state_dir.string();
    const Features features = TRY(probe_features());
    view.kernel = features.kernel;
    view.features = {{"tcx", features.tcx},           {"fib_lookup_src", features.fib_lookup_src}, {"csum_ipv6", features.csum_ipv6},
                     {"decap_l3", features.decap_l3}, {"batch_lookup", features.batch_lookup},     {"btf", features.btf}};
    view.networks = reader.networks().size();
    view.endpoints = reader.endpoints().size();
    const std::vector<PublishedPort> ports = TRY(reader.ports());
    view.ports = ports.size();
    std::vector<AttachedHook> hooks;
    if (reader.datapath()) {
        view.prepared = true;
        hooks = reader.datapath()->attached();
        view.flows = live_flows(TRY(reader.datapath()->flow_table()));
        for (const MapUsage& usage : TRY(reader.datapath()->map_usage())) view.maps.push_back(map_view(usage));
        for (const MapView& map : view.maps) view.memory_bytes += map.memory_bytes;
    }
    view.links = hooks.size();
    view.cgroup_hooks = cgroup_hooks(hooks);
    if (reader.has_store()) {
        const std::vector<Uplink> uplinks = TRY(reader.store().uplinks());
        view.uplinks = uplink_views(reader.netlink(), uplinks, hooks);
        view.max_flows = setting_number(reader.store(), setting::kMaxFlows);
        view.udp_mapping = TRY(stored_udp_mapping(reader.store()));
        view.timeouts = TRY(stored_timeouts(reader.store()));
        view.masquerade_ports = TRY(reader.store().setting(setting::kMasqueradePorts)).value_or("");
        if (TRY(reader.store().setting(setting::kDirty)))
            view.warnings.emplace_back("an earlier command was interrupted; the next one that changes something repairs the node");
    }
    if (view.prepared && view.cgroup_hooks.empty())
        view.warnings.emplace_back(
            "published ports are reserved but not held: the cgroup hooks are not attached (`fastnet doctor` says why)");
    for (const UplinkView& uplink : view.uplinks)
        if (view.prepared && uplink.hooks.empty())
            view.warnings.push_back("uplink " + uplink.name + (uplink.exists ? " has no program" : " does not exist"));
    return view;
}

Result<PrepareView> read_preparation(Node& node) {
    PrepareView view;
    const std::vector<AttachedHook> hooks = node.datapath().attached();
    view.uplinks = uplink_views(node.netlink(), node.uplinks(), hooks);
    view.cgroup_hooks = cgroup_hooks(hooks);
    if (auto network = TRY(node.store().find_network(kDefaultNetworkName)); network) {
        view.network.mtu = network->mtu != 0 ? network->mtu : node.default_mtu();
        view.network.network = *std::move(network);
    }
    view.masquerade_ports = TRY(node.store().setting(setting::kMasqueradePorts)).value_or("");
    view.max_flows = setting_number(node.store(), setting::kMaxFlows);
    view.warnings = node.warnings();
    return view;
}

}  // namespace fastnet
