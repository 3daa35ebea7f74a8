#include "userspace/control/readers.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <tuple>
#include <unordered_map>

#include "loader/datapath.h"
#include "userspace/control/agent_link.h"
#include "userspace/control/map_views.h"
#include "userspace/control/node.h"
#include "userspace/control/translate.h"
#include "userspace/control/xdp.h"
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
        view.learning = learns(network, TRY(reader.store().has_remote_endpoint(network.id)));
        for (const EndpointView& endpoint : endpoints)
            if (endpoint.endpoint.network_id == network.id) view.endpoints.push_back(endpoint);
        views.push_back(std::move(view));
    }
    return views;
}

double seconds_since(std::uint64_t stamp_ns) {
    const std::uint64_t now = monotonic_now();
    return static_cast<double>(now - std::min(now, stamp_ns)) / static_cast<double>(kSecond);
}

/// What the packet path knows of the other nodes.
struct PeerMaps {
    std::map<std::uint32_t, fnet_tunnel> tunnels{};
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> learned{};  ///< addresses, by tunnel and network
    std::map<std::uint32_t, std::string> links{};                                ///< names of the tunnels' exits
};

Result<PeerMaps> read_peer_maps(const Datapath* datapath, const Netlink& netlink, const std::vector<Peer>& peers) {
    PeerMaps maps;
    if (datapath == nullptr || peers.empty()) return maps;
    for (const Peer& peer : peers) {
        if (maps.tunnels.contains(peer.tunnel)) continue;
        const auto tunnel = TRY(datapath->tunnels().get(peer.tunnel));
        if (!tunnel || !same_bytes(tunnel->peer, to_abi(peer.address))) continue;  // not carried out yet
        maps.tunnels.emplace(peer.tunnel, *tunnel);
        if (tunnel->exit_ifindex != 0) maps.links.emplace(tunnel->exit_ifindex, netlink.link_name(tunnel->exit_ifindex));
    }
    CHECK_OK(datapath->vteps().for_each([&](const auto&, const fnet_vtep& value) {
        if (value.tunnel != 0) maps.learned[{value.tunnel, value.network}] += value.learned;
    }));
    return maps;
}

/// How many of other nodes' endpoints were named, and by whom.
using RemoteCounts = std::map<std::tuple<Owner, std::uint32_t, std::uint32_t>, std::uint64_t>;  // owner, tunnel, network

RemoteCounts count_remotes(const std::vector<RemoteEndpoint>& remotes) {
    RemoteCounts counts;
    for (const RemoteEndpoint& remote : remotes) ++counts[{remote.owner, remote.tunnel, remote.network_id}];
    return counts;
}

/// Names of the cluster's nodes, by address.
Result<std::map<IpAddress, std::string>> node_names(Store& store) {
    std::map<IpAddress, std::string> names;
    for (const RemoteNode& node : TRY(store.remote_nodes()))
        for (const auto& address : {node.ipv4, node.ipv6})
            if (address) names.emplace(*address, node.name);
    return names;
}

/// The sum of those of @p of_networks that are the tunnel's, on that network or (nullptr) on all.
template <typename Key, typename Count, typename Make>
std::uint64_t sum(const std::map<Key, Count>& of_networks, const Network* network, Make&& key_for) {
    if (network != nullptr) {
        const auto found = of_networks.find(key_for(network->id));
        return found == of_networks.end() ? 0 : found->second;
    }
    std::uint64_t total = 0;
    const auto end = of_networks.upper_bound(key_for(std::numeric_limits<std::uint32_t>::max()));
    for (auto at = of_networks.lower_bound(key_for(0)); at != end; ++at) total += at->second;
    return total;
}

/// @p network nullptr: with the counts of all networks.
PeerView peer_view(const Peer& peer, const Network* network, const PeerMaps& maps, const RemoteCounts& remotes) {
    PeerView view;
    view.address = peer.address;
    view.source = peer.owner;
    view.endpoints = sum(remotes, network, [&](std::uint32_t id) { return std::tuple{peer.owner, peer.tunnel, id}; });
    view.learned = sum(maps.learned, network, [&](std::uint32_t id) { return std::pair{peer.tunnel, id}; });
    const auto tunnel = maps.tunnels.find(peer.tunnel);
    if (tunnel == maps.tunnels.end()) return view;
    const fnet_tunnel& value = tunnel->second;
    view.mtu = value.mtu;
    if (value.mtu != 0)
        view.path_mtu = value.mtu + (peer.address.family() == Family::kIpv4 ? FNET_TUNNEL_OVERHEAD_IPV4 : FNET_TUNNEL_OVERHEAD_IPV6);
    if (const auto link = maps.links.find(value.exit_ifindex); link != maps.links.end()) view.uplink = link->second;
    if (value.seen_ns != 0) view.silent_seconds = seconds_since(value.seen_ns);
    view.sent_packets = value.sent_packets;
    view.sent_bytes = value.sent_bytes;
    view.received_packets = value.received_packets;
    view.received_bytes = value.received_bytes;
    view.dropped_packets = value.dropped_packets;
    return view;
}

const Network* find_network(const std::vector<Network>& networks, const std::optional<std::uint32_t>& id) {
    const auto found = std::find_if(networks.begin(), networks.end(), [&](const Network& one) { return one.id == id; });
    return found == networks.end() ? nullptr : &*found;
}

Result<std::vector<PeerView>> peer_views(Store& store, const Netlink& netlink, const Datapath* datapath) {
    const std::vector<Peer> peers = TRY(store.peers());
    const RemoteCounts remotes = count_remotes(TRY(store.remote_endpoints()));
    const std::vector<Network> networks = TRY(store.networks());
    const std::map<IpAddress, std::string> names = TRY(node_names(store));
    const PeerMaps maps = TRY(read_peer_maps(datapath, netlink, peers));
    std::vector<PeerView> views;
    for (const Peer& peer : peers) {
        const Network* const network = find_network(networks, peer.network_id);
        PeerView view = peer_view(peer, network, maps, remotes);
        if (network != nullptr) view.network = network->name;
        if (const auto name = names.find(peer.address); name != names.end()) view.node = name->second;
        views.push_back(std::move(view));
    }
    return views;
}

/// What an overlay network has on other nodes.
Status add_remote_side(Reader& reader, NetworkView& view) {
    const Network& network = view.network;
    if (network.driver != NetworkDriver::kOverlay) return ok();
    view.blocks = TRY(reader.store().blocks(network.id));
    const std::vector<Peer> peers = peers_of(network, TRY(reader.store().peers()));
    const RemoteCounts remotes = count_remotes(TRY(reader.store().remote_endpoints()));
    const std::map<IpAddress, std::string> names = TRY(node_names(reader.store()));
    const Datapath* const datapath = reader.datapath() ? &*reader.datapath() : nullptr;
    const PeerMaps maps = TRY(read_peer_maps(datapath, reader.netlink(), peers));
    std::map<std::uint32_t, IpAddress> by_tunnel;
    for (const Peer& peer : peers) {
        PeerView& shown = view.peers.emplace_back(peer_view(peer, &network, maps, remotes));
        if (peer.network_id) shown.network = network.name;
        if (const auto name = names.find(peer.address); name != names.end()) shown.node = name->second;
        by_tunnel.emplace(peer.tunnel, peer.address);
    }
    if (datapath == nullptr) return ok();
    CHECK_OK(datapath->addresses().for_each([&](const fnet_address_key& key, const fnet_address& value) {
        if (key.network != network.id || value.tunnel == 0) return;
        const auto peer = by_tunnel.find(value.tunnel);
        if (peer == by_tunnel.end()) return;
        RemoteAddressView remote;
        remote.address = from_abi(key.addr);
        remote.mac = mac_from_abi(value.mac);
        remote.peer = peer->second;
        remote.learned = is_learned(value);
        if (remote.learned) remote.silent_seconds = seconds_since(value.seen_ns);
        view.remotes.push_back(remote);
    }));
    std::sort(view.remotes.begin(), view.remotes.end(),
              [](const RemoteAddressView& a, const RemoteAddressView& b) { return a.address < b.address; });
    return ok();
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

/// They are no links, so nobody counts them among the others.
void add_xdp_hooks(Netlink& netlink, const std::vector<Uplink>& uplinks, const Datapath& datapath, std::vector<AttachedHook>& hooks) {
    for (const Uplink& uplink : uplinks) {
        const auto link = netlink.link(uplink.name);
        if (!link) continue;
        const auto hook = datapath.xdp_hook(static_cast<int>(link->index));
        if (hook && hook->current) hooks.push_back({hook->title(), static_cast<int>(link->index), 0, true});
    }
}

/// Why it is not where --xdp auto would have it.
Result<std::vector<std::string>> xdp_refusals(Reader& reader, const std::vector<Uplink>& uplinks, XdpMode mode) {
    std::vector<std::string> reasons;
    if (mode != XdpMode::kAuto || TRY(reader.store().count_denied()) == 0) return reasons;
    const std::string boot = TRY(boot_id());
    for (const Uplink& uplink : uplinks) {
        const auto link = reader.netlink().link(uplink.name);
        const auto record = TRY(reader.store().setting(xdp_refusal_key(uplink.name)));
        if (!link || !record) continue;
        auto reason = xdp_refusal_reason(*record, xdp_device_id(boot, link->index));
        if (reason && !reason->empty()) reasons.push_back(*std::move(reason));
    }
    return reasons;
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

Result<std::vector<EndpointView>> read_endpoints_of_all_nodes(const NodePaths& paths) {
    Reader reader = TRY(Reader::open(paths));
    std::vector<EndpointView> views = TRY(endpoint_views(reader));
    if (!reader.has_store()) return views;
    const std::string here = TRY(reader.store().setting(setting::kClusterName)).value_or("");
    for (EndpointView& view : views) view.node = here;
    std::map<std::uint32_t, const Network*> networks;
    for (const Network& network : reader.networks()) networks.emplace(network.id, &network);
    for (const RemoteEndpoint& remote : TRY(reader.store().remote_endpoints())) {
        const Network& network = *networks.at(remote.network_id);
        EndpointView view;
        view.endpoint.name = remote.name;
        view.endpoint.mode = EndpointMode::kOverlay;
        view.endpoint.state = EndpointState::kReady;
        view.endpoint.network_id = network.id;
        view.endpoint.mac = remote.mac;
        if (remote.ipv4) view.endpoint.ipv4 = IpPrefix{*remote.ipv4, network.subnet(Family::kIpv4)->length()};
        if (remote.ipv6) view.endpoint.ipv6 = IpPrefix{*remote.ipv6, network.subnet(Family::kIpv6)->length()};
        view.network = network.name;
        view.node = remote.node.empty() ? remote.peer.to_string() : remote.node;
        views.push_back(std::move(view));
    }
    return views;
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
    std::unordered_map<std::uint32_t, fnet_endpoint> counted;
    std::map<std::uint32_t, fnet_verdict_count> uncounted;
    if (reader.datapath()) {
        // One right after the other: what moves from the one to the other between them would count twice.
        CHECK_OK(
            reader.datapath()->endpoints().for_each([&](std::uint32_t ifindex, const fnet_endpoint& value) { counted[ifindex] = value; }));
        uncounted = TRY(reader.datapath()->uncounted());
        counts = TRY(reader.datapath()->verdict_counts());
        for (const MapUsage& usage : TRY(reader.datapath()->map_usage())) view.maps.push_back(map_view(usage));
        for (const FlowEntry& entry : TRY(reader.flows())) live[entry.flow.endpoint_ifindex].add(entry.flow);
    }
    view.verdicts = verdict_views(counts);
    for (const Endpoint& endpoint : reader.endpoints()) {
        if (!has_veth(endpoint.mode) || !reader.datapath()) continue;
        const fnet_endpoint& value = counted[endpoint.host_ifindex];
        const Totals& now = live[endpoint.host_ifindex];
        const fnet_verdict_count& more = uncounted[endpoint.id];
        view.endpoints.push_back({endpoint.name, value.fast_packets + now.packets + more.packets, value.fast_bytes + now.bytes + more.bytes,
                                  value.kernel_packets, value.kernel_bytes, value.connections});
    }
    return view;
}

Result<std::vector<NetworkView>> read_networks(const NodePaths& paths) {
    Reader reader = TRY(Reader::open(paths));
    return network_views(reader);
}

Result<NetworkView> read_network(const NodePaths& paths, const std::string& name) {
    Reader reader = TRY(Reader::open(paths));
    for (NetworkView& view : TRY(network_views(reader))) {
        if (view.network.name != name) continue;
        CHECK_OK(add_remote_side(reader, view));
        return std::move(view);
    }
    return not_found("network '" + name + "' does not exist", "`fastnet network ls` lists the networks");
}

Result<std::vector<PeerView>> read_peers(const NodePaths& paths) {
    Reader reader = TRY(Reader::open(paths));
    if (!reader.has_store()) return std::vector<PeerView>{};
    return peer_views(reader.store(), reader.netlink(), reader.datapath() ? &*reader.datapath() : nullptr);
}

Result<std::vector<RemoteEndpointView>> read_remote_endpoints(const NodePaths& paths) {
    Reader reader = TRY(Reader::open(paths));
    std::vector<RemoteEndpointView> views;
    if (!reader.has_store()) return views;
    for (const RemoteEndpoint& remote : TRY(reader.store().remote_endpoints())) {
        std::string network = reader.network_name(remote.network_id);
        views.push_back({remote, std::move(network)});
    }
    return views;
}

Result<PeerView> read_peer(Node& node, const IpAddress& address, const std::optional<std::uint32_t>& network_id) {
    const auto network = network_id ? TRY(node.store().find_network(*network_id)) : std::nullopt;
    for (PeerView& view : TRY(peer_views(node.store(), node.netlink(), &node.datapath())))
        if (view.address == address && view.source == Owner::kStatic && view.network == (network ? network->name : ""))
            return std::move(view);
    return not_found(address.to_string() + " is no peer");
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
    view.agent = read_agent(paths);
    view.cgroup_hooks = cgroup_hooks(hooks);
    if (reader.has_store()) {
        const std::vector<Uplink> uplinks = TRY(reader.store().uplinks());
        if (reader.datapath()) add_xdp_hooks(reader.netlink(), uplinks, *reader.datapath(), hooks);
        view.uplinks = uplink_views(reader.netlink(), uplinks, hooks);
        view.xdp = TRY(stored_xdp(reader.store()));
        for (std::string& reason : TRY(xdp_refusals(reader, uplinks, view.xdp)))
            view.warnings.push_back(std::move(reason) + "; tc asks the deny list");
        view.max_flows = setting_number(reader.store(), setting::kMaxFlows);
        view.udp_mapping = TRY(stored_udp_mapping(reader.store()));
        view.vtep = TRY(stored_vtep(reader.store()));
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
    std::vector<AttachedHook> hooks = node.datapath().attached();
    add_xdp_hooks(node.netlink(), node.uplinks(), node.datapath(), hooks);
    view.uplinks = uplink_views(node.netlink(), node.uplinks(), hooks);
    view.cgroup_hooks = cgroup_hooks(hooks);
    if (auto network = TRY(node.store().find_network(kDefaultNetworkName)); network) {
        view.network.mtu = TRY(node.mtu_of(*network));
        view.network.network = *std::move(network);
    }
    view.masquerade_ports = TRY(node.store().setting(setting::kMasqueradePorts)).value_or("");
    view.max_flows = setting_number(node.store(), setting::kMaxFlows);
    view.warnings = node.warnings();
    return view;
}

}  // namespace fastnet
