#include "userspace/cli/render.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "userspace/control/timeouts.h"
#include "userspace/model/network_options.h"

#ifndef FASTNET_VERSION
#define FASTNET_VERSION "unknown"
#endif

namespace fastnet {
namespace {

using Json = nlohmann::ordered_json;

// --- JSON ---------------------------------------------------------------------------------------------------------

std::string text_of(const Json& json) {
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";  // a path may hold any bytes
}

template <typename T>
Json or_null(const std::optional<T>& value) {
    return value ? Json(value->to_string()) : Json(nullptr);
}

Json or_null(const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
}

double rounded(double seconds) {
    return std::round(seconds * 1000) / 1000;
}

/// Adds FIELD and FIELD_end; the end of a single port is null.
void put_range(Json& json, const std::string& field, const PortRange& range) {
    json[field] = range.first.value();
    json[field + "_end"] = range.size() == 1 ? Json(nullptr) : Json(range.last.value());
}

Json json_of(const std::vector<IpPrefix>& prefixes) {
    Json json = Json::array();
    for (const IpPrefix& prefix : prefixes) json.push_back(prefix.to_string());
    return json;
}

Json json_of(const PublishedPort& port) {
    Json json;
    json["host_ip"] = port.host_ip.to_string();
    put_range(json, "host_port", port.host_ports);
    put_range(json, "container_port", port.container_ports);
    json["protocol"] = to_string(port.protocol);
    return json;
}

Json json_of(const EndpointView& view) {
    const Endpoint& endpoint = view.endpoint;
    Json json;
    json["name"] = endpoint.name;
    json["mode"] = to_string(endpoint.mode);
    json["network"] = or_null(view.network);
    json["netns"] = endpoint.netns;
    json["ifname"] = or_null(endpoint.ifname);
    json["ipv4"] = or_null(endpoint.ipv4);
    json["ipv6"] = or_null(endpoint.ipv6);
    json["mac"] = endpoint.mac.is_zero() ? Json(nullptr) : Json(endpoint.mac.to_string());
    json["gateway"] = or_null(endpoint.gateway4);
    json["gateway6"] = or_null(endpoint.gateway6);
    json["mtu"] = endpoint.mtu == 0 ? Json(nullptr) : Json(endpoint.mtu);
    json["gateway_priority"] = endpoint.gateway_priority;
    json["published"] = Json::array();
    for (const PublishedPort& port : view.ports) json["published"].push_back(json_of(port));
    return json;
}

/// Of whatever node: what only its own node knows is null elsewhere.
Json json_with_node(const EndpointView& view) {
    Json json = json_of(view);
    json["node"] = or_null(view.node);
    if (view.endpoint.id != 0) return json;
    for (const char* const field : {"netns", "gateway_priority"}) json[field] = nullptr;
    if (view.endpoint.name.empty()) json["name"] = nullptr;
    return json;
}

Json json_of(const PortView& view) {
    Json json;
    json["endpoint"] = view.endpoint;
    json["host_ip"] = view.port.host_ip.to_string();
    put_range(json, "host_port", view.port.host_ports);
    json["container_ip"] = or_null(view.container_ip);
    put_range(json, "container_port", view.port.container_ports);
    json["protocol"] = to_string(view.port.protocol);
    json["allow"] = json_of(view.port.sources.allow);
    json["deny"] = json_of(view.port.sources.deny);
    json["packets"] = view.packets;
    json["bytes"] = view.bytes;
    json["connections"] = view.connections;
    return json;
}

Json json_of(const TupleView& tuple) {
    return {{"src", tuple.src.to_string()}, {"sport", tuple.sport.value()}, {"dst", tuple.dst.to_string()}, {"dport", tuple.dport.value()}};
}

Json json_of(const FlowView& view) {
    Json json;
    json["protocol"] = view.protocol;
    json["state"] = view.state;
    json["original"] = json_of(view.original);
    json["translated"] = json_of(view.translated);
    json["endpoint"] = or_null(view.endpoint);
    json["packets"] = view.packets;
    json["bytes"] = view.bytes;
    json["idle_seconds"] = rounded(view.idle_seconds);
    json["expires_seconds"] = rounded(view.expires_seconds);
    return json;
}

Json json_of(const std::vector<MapView>& maps) {
    Json json = Json::object();
    for (const MapView& map : maps)
        json[map.name] = {{"entries", map.entries}, {"max_entries", map.max_entries}, {"memory_bytes", map.memory_bytes}};
    return json;
}

Json json_of(const NetworkView& view) {
    const Network& network = view.network;
    Json json;
    json["name"] = network.name;
    json["id"] = network.id;
    json["driver"] = to_string(network.driver);
    json["subnet"] = or_null(network.subnet(Family::kIpv4));
    json["subnet6"] = or_null(network.subnet(Family::kIpv6));
    json["gateway"] = or_null(network.gateway(Family::kIpv4));
    json["gateway6"] = or_null(network.gateway(Family::kIpv6));
    json["ip_range"] = or_null(network.ip_range(Family::kIpv4));
    json["ip_range6"] = or_null(network.ip_range(Family::kIpv6));
    json["mtu"] = view.mtu == 0 ? Json(nullptr) : Json(view.mtu);
    json["internal"] = network.internal;
    json["icc"] = network.icc;
    json["vni"] = network.vni == 0 ? Json(nullptr) : Json(network.vni);
    json["learning"] = network.driver == NetworkDriver::kOverlay ? Json(view.learning) : Json(nullptr);
    json["scope"] = network.driver == NetworkDriver::kOverlay ? Json(to_string(scope_of(network))) : Json(nullptr);
    json["uid"] = or_null(network.uid);
    json["parent"] = or_null(network.parent);
    json["bridge"] = or_null(network.bridge);
    json["options"] = network.options.empty() ? Json::object() : Json(network.options);
    json["endpoints"] = Json::array();
    for (const EndpointView& endpoint : view.endpoints) json["endpoints"].push_back(endpoint.endpoint.name);
    return json;
}

Json json_of(const PeerView& view) {
    Json json;
    json["address"] = view.address.to_string();
    json["network"] = or_null(view.network);
    json["source"] = to_string(view.source);
    json["node"] = or_null(view.node);
    json["endpoints"] = view.endpoints;
    json["learned"] = view.learned;
    json["last_seen_seconds"] = view.silent_seconds ? Json(rounded(*view.silent_seconds)) : Json(nullptr);
    json["path_mtu"] = view.path_mtu == 0 ? Json(nullptr) : Json(view.path_mtu);
    json["mtu"] = view.mtu == 0 ? Json(nullptr) : Json(view.mtu);
    json["uplink"] = or_null(view.uplink);
    json["sent_packets"] = view.sent_packets;
    json["sent_bytes"] = view.sent_bytes;
    json["received_packets"] = view.received_packets;
    json["received_bytes"] = view.received_bytes;
    json["dropped_packets"] = view.dropped_packets;
    return json;
}

Json json_of(const RemoteEndpointView& view) {
    Json json;
    json["network"] = view.network;
    json["source"] = to_string(view.remote.owner);
    json["name"] = or_null(view.remote.name);
    json["node"] = or_null(view.remote.node);
    json["peer"] = view.remote.peer.to_string();
    json["ipv4"] = or_null(view.remote.ipv4);
    json["ipv6"] = or_null(view.remote.ipv6);
    json["mac"] = view.remote.mac.to_string();
    return json;
}

Json json_of(const RemoteAddressView& view) {
    Json json;
    json["address"] = view.address.to_string();
    json["mac"] = view.mac.to_string();
    json["peer"] = view.peer.to_string();
    json["learned"] = view.learned;
    json["silent_seconds"] = view.learned ? Json(rounded(view.silent_seconds)) : Json(nullptr);
    return json;
}

/// By the names of --timeout, as JSON spells names.
Json json_of(const FlowTimeouts& timeouts) {
    Json json = Json::object();
    for (const TimeoutKnob& knob : timeout_knobs()) {
        std::string name{knob.name};
        std::replace(name.begin(), name.end(), '-', '_');
        json[name] = timeouts.*knob.value;
    }
    return json;
}

Json json_of(const std::vector<UplinkView>& uplinks) {
    Json json = Json::array();
    for (const UplinkView& uplink : uplinks)
        json.push_back({{"name", uplink.name}, {"chosen", uplink.chosen_by_user}, {"exists", uplink.exists}, {"hooks", uplink.hooks}});
    return json;
}

template <typename View>
std::string json_array(const std::vector<View>& views) {
    Json json = Json::array();
    for (const View& view : views) json.push_back(json_of(view));
    return text_of(json);
}

const char* word_of(CheckResult result) {
    switch (result) {
        case CheckResult::kOk: return "ok";
        case CheckResult::kWarn: return "warn";
        case CheckResult::kFail: return "fail";
    }
    return "?";
}

// --- tables -------------------------------------------------------------------------------------------------------

/// Columns as wide as their widest cell.
class Table {
public:
    explicit Table(std::vector<std::string> head) : rows_{std::move(head)} {}
    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
    std::string to_string() const {
        std::vector<std::size_t> widths;
        for (const auto& row : rows_)
            for (std::size_t i = 0; i < row.size(); ++i) {
                if (widths.size() <= i) widths.push_back(0);
                widths[i] = std::max(widths[i], row[i].size());
            }
        std::string text;
        for (const auto& row : rows_) {
            std::string line;
            for (std::size_t i = 0; i < row.size(); ++i) {
                line += row[i];
                if (i + 1 < row.size()) line += std::string(widths[i] - row[i].size() + 2, ' ');
            }
            while (!line.empty() && line.back() == ' ') line.pop_back();
            text += line + "\n";
        }
        return text;
    }

private:
    struct Rows : std::vector<std::vector<std::string>> {
        explicit Rows(std::vector<std::string> head) { push_back(std::move(head)); }
    };
    Rows rows_;
};

template <typename T>
std::string or_dash(const std::optional<T>& value) {
    return value ? value->to_string() : "-";
}

std::string or_dash(const std::string& text) {
    return text.empty() ? "-" : text;
}

std::string number(std::uint64_t value) {
    return std::to_string(value);
}

std::string text_of(const PortRange& range) {
    const std::string first = std::to_string(range.first.value());
    return range.size() == 1 ? first : first + "-" + std::to_string(range.last.value());
}

std::string host_side(const PublishedPort& port) {
    const std::string ip = port.host_ip.to_string();
    return (port.family() == Family::kIpv6 ? "[" + ip + "]" : ip) + ":" + text_of(port.host_ports);
}

std::string text_of(const PublishedPort& port) {
    return host_side(port) + "->" + text_of(port.container_ports) + "/" + to_string(port.protocol);
}

/// For a table: long lists by their length.
std::string sources_of(const AccessList& sources) {
    constexpr std::size_t kMostShown = 4;
    if (sources.empty()) return "any";
    if (sources.allow.size() + sources.deny.size() <= kMostShown) return sources.to_string();
    return "allow " + number(sources.allow.size()) + " deny " + number(sources.deny.size()) + " prefixes";
}

std::string joined(const std::vector<std::string>& words, const char* separator = ", ") {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
    return text;
}

std::string addresses_of(const Endpoint& endpoint) {
    std::vector<std::string> words;
    if (endpoint.ipv4) words.push_back(endpoint.ipv4->to_string());
    if (endpoint.ipv6) words.push_back(endpoint.ipv6->to_string());
    return or_dash(joined(words));
}

std::string published_of(const EndpointView& view) {
    std::vector<std::string> words;
    for (const PublishedPort& port : view.ports) words.push_back(text_of(port));
    return or_dash(joined(words));
}

std::string tuple_text(const TupleView& tuple) {
    const auto side = [](const IpAddress& address, Port port) {
        const std::string ip = address.to_string();
        return (address.family() == Family::kIpv6 ? "[" + ip + "]" : ip) + ":" + std::to_string(port.value());
    };
    return side(tuple.src, tuple.sport) + " > " + side(tuple.dst, tuple.dport);
}

std::string seconds_text(double seconds) {
    return number(static_cast<std::uint64_t>(seconds)) + "s";
}

std::string size_text(std::uint64_t bytes) {
    const char* const units[] = {"B", "KiB", "MiB", "GiB"};
    double size = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; size >= 1024 && unit + 1 < std::size(units); ++unit) size /= 1024;
    char text[32];
    (void)std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
    return text;
}

std::string network_line(const NetworkView& view) {
    const Network& network = view.network;
    std::string text = "network " + network.name + ": ";
    if (network.driver == NetworkDriver::kOverlay) text += "overlay with VNI " + number(network.vni) + ", ";
    text += "bridge " + network.bridge;
    for (const IpPrefix& subnet : network.subnets)
        text += ", " + subnet.to_string() + " gateway " + or_dash(network.gateway(subnet.family()));
    return text + ", MTU " + number(view.mtu) + (network.internal ? ", internal" : "") + (network.icc ? "" : ", no ICC") +
           (view.learning ? ", learning" : "") + (network.uid.empty() ? "" : ", shared as " + network.uid) + "\n";
}

std::string peer_line(const PeerView& view) {
    return "peer " + view.address.to_string() + " of " + (view.network.empty() ? "all overlay networks" : "network " + view.network) +
           (view.source == Owner::kStatic ? "" : ", from " + to_string(view.source)) + (view.node.empty() ? "" : ", node " + view.node) +
           ": " + number(view.endpoints) + " named endpoints, " + number(view.learned) + " learned addresses, " +
           (view.mtu == 0 ? "not tried yet" : "MTU " + number(view.mtu) + " by " + or_dash(view.uplink)) + ", sent " +
           number(view.sent_packets) + ", received " + number(view.received_packets) + ", dropped " + number(view.dropped_packets) +
           " packets\n";
}

std::string remote_line(const RemoteEndpointView& view) {
    std::vector<std::string> addresses;
    for (const auto& address : {view.remote.ipv4, view.remote.ipv6})
        if (address) addresses.push_back(address->to_string());
    return "remote endpoint " + joined(addresses) + " of network " + view.network + ": " + view.remote.mac.to_string() + " behind " +
           view.remote.peer.to_string() + "\n";
}

std::string uplink_lines(const std::vector<UplinkView>& uplinks) {
    std::string text;
    for (const UplinkView& uplink : uplinks) {
        text += "uplink " + uplink.name + ": ";
        text += !uplink.exists ? "does not exist at present" : uplink.hooks.empty() ? "no program" : joined(uplink.hooks);
        text += "\n";
    }
    return text;
}

}  // namespace

std::string render(const EndpointView& view, Format format) {
    if (format == Format::kJson) return text_of(json_of(view));
    const Endpoint& endpoint = view.endpoint;
    if (view.network.empty()) return endpoint.name + ": mode " + to_string(endpoint.mode) + "\n";
    std::string text = endpoint.name + ": " + addresses_of(endpoint) + " on network " + view.network + ", " + endpoint.ifname +
                       " in netns " + endpoint.netns + "\n";
    for (const PublishedPort& port : view.ports) text += "published " + text_of(port) + "\n";
    return text;
}

std::string render(const std::vector<EndpointView>& views, Format format) {
    if (format == Format::kJson) return json_array(views);
    if (views.empty()) return "no endpoints\n";
    Table table{{"NAME", "MODE", "NETWORK", "NETNS", "IFNAME", "ADDRESS", "MAC", "PUBLISHED"}};
    for (const EndpointView& view : views)
        table.add({view.endpoint.name, to_string(view.endpoint.mode), or_dash(view.network), or_dash(view.endpoint.netns),
                   or_dash(view.endpoint.ifname), addresses_of(view.endpoint),
                   view.endpoint.mac.is_zero() ? "-" : view.endpoint.mac.to_string(), published_of(view)});
    return table.to_string();
}

std::string render_with_nodes(const std::vector<EndpointView>& views, Format format) {
    if (format == Format::kJson) {
        Json json = Json::array();
        for (const EndpointView& view : views) json.push_back(json_with_node(view));
        return text_of(json);
    }
    if (views.empty()) return "no endpoints\n";
    Table table{{"NAME", "NODE", "MODE", "NETWORK", "NETNS", "ADDRESS", "MAC", "PUBLISHED"}};
    for (const EndpointView& view : views)
        table.add({or_dash(view.endpoint.name), or_dash(view.node), to_string(view.endpoint.mode), or_dash(view.network),
                   or_dash(view.endpoint.netns), addresses_of(view.endpoint),
                   view.endpoint.mac.is_zero() ? "-" : view.endpoint.mac.to_string(), published_of(view)});
    return table.to_string();
}

std::string render(const std::vector<PortView>& views, Format format) {
    if (format == Format::kJson) return json_array(views);
    if (views.empty()) return "no published ports\n";
    Table table{{"HOST", "CONTAINER", "PROTOCOL", "ENDPOINT", "SOURCES", "CONNECTIONS", "PACKETS", "BYTES"}};
    for (const PortView& view : views)
        table.add({host_side(view.port), or_dash(view.container_ip) + ":" + text_of(view.port.container_ports),
                   to_string(view.port.protocol), view.endpoint, sources_of(view.port.sources), number(view.connections),
                   number(view.packets), number(view.bytes)});
    return table.to_string();
}

std::string render(const std::vector<FlowView>& views, Format format) {
    if (format == Format::kJson) return json_array(views);
    if (views.empty()) return "no flows\n";
    Table table{{"PROTOCOL", "STATE", "ORIGINAL", "TRANSLATED", "ENDPOINT", "PACKETS", "BYTES", "IDLE", "EXPIRES"}};
    for (const FlowView& view : views)
        table.add({view.protocol, view.state, tuple_text(view.original), tuple_text(view.translated), or_dash(view.endpoint),
                   number(view.packets), number(view.bytes), seconds_text(view.idle_seconds), seconds_text(view.expires_seconds)});
    return table.to_string();
}

std::string render(const StatsView& view, Format format) {
    if (format == Format::kJson) {
        Json json;
        json["verdicts"] = Json::object();
        for (const VerdictView& verdict : view.verdicts)
            json["verdicts"][verdict.name] = {{"packets", verdict.packets}, {"bytes", verdict.bytes}, {"kind", verdict.kind}};
        json["maps"] = json_of(view.maps);
        json["endpoints"] = Json::object();
        for (const EndpointStatsView& endpoint : view.endpoints)
            json["endpoints"][endpoint.name] = {{"fast_packets", endpoint.fast_packets},
                                                {"fast_bytes", endpoint.fast_bytes},
                                                {"kernel_packets", endpoint.kernel_packets},
                                                {"kernel_bytes", endpoint.kernel_bytes},
                                                {"connections", endpoint.connections}};
        return text_of(json);
    }
    std::string text;
    Table verdicts{{"VERDICT", "KIND", "PACKETS", "BYTES", "MEANING"}};
    bool any = false;
    for (const VerdictView& verdict : view.verdicts) {
        if (verdict.packets == 0) continue;
        any = true;
        verdicts.add({verdict.name, verdict.kind, number(verdict.packets), number(verdict.bytes), verdict.text});
    }
    text += any ? verdicts.to_string() : "no packet was seen yet\n";
    if (!view.endpoints.empty()) {
        Table endpoints{{"ENDPOINT", "FAST PACKETS", "FAST BYTES", "KERNEL PACKETS", "KERNEL BYTES", "CONNECTIONS"}};
        for (const EndpointStatsView& endpoint : view.endpoints)
            endpoints.add({endpoint.name, number(endpoint.fast_packets), number(endpoint.fast_bytes), number(endpoint.kernel_packets),
                           number(endpoint.kernel_bytes), number(endpoint.connections)});
        text += "\n" + endpoints.to_string();
    }
    if (!view.maps.empty()) {
        Table maps{{"MAP", "ENTRIES", "MAX", "MEMORY"}};
        for (const MapView& map : view.maps)
            maps.add({map.name, number(map.entries), number(map.max_entries), size_text(map.memory_bytes)});
        text += "\n" + maps.to_string();
    }
    return text;
}

std::string render(const std::vector<NetworkView>& views, Format format) {
    if (format == Format::kJson) return json_array(views);
    if (views.empty()) return "no networks\n";
    Table table{{"NAME", "DRIVER", "VNI", "SUBNET", "GATEWAY", "MTU", "BRIDGE", "ENDPOINTS", "OPTIONS"}};
    for (const NetworkView& view : views) {
        const Network& network = view.network;
        std::vector<std::string> subnets, gateways, options;
        for (const IpPrefix& subnet : network.subnets) subnets.push_back(subnet.to_string());
        for (const IpAddress& gateway : network.gateways) gateways.push_back(gateway.to_string());
        if (network.internal) options.emplace_back("internal");
        if (!network.icc) options.emplace_back("no-icc");
        for (const auto& [key, value] : network.options) options.push_back(key + "=" + value);
        table.add({network.name, to_string(network.driver), network.vni == 0 ? "-" : number(network.vni), or_dash(joined(subnets)),
                   or_dash(joined(gateways)), number(view.mtu), or_dash(network.bridge), number(view.endpoints.size()),
                   or_dash(joined(options))});
    }
    return table.to_string();
}

std::string render(const NetworkView& view, Format format) {
    if (format == Format::kJson) {
        Json json = json_of(view);
        json["peers"] = Json::array();
        for (const PeerView& peer : view.peers) json["peers"].push_back(json_of(peer));
        json["remote_endpoints"] = Json::array();
        for (const RemoteAddressView& remote : view.remotes) json["remote_endpoints"].push_back(json_of(remote));
        json["blocks"] = Json::array();
        for (const OwnBlock& block : view.blocks)
            json["blocks"].push_back({{"block", block.prefix.to_string()}, {"size", block.size}, {"free", block.free}});
        return text_of(json);
    }
    std::string text = network_line(view);
    for (const EndpointView& endpoint : view.endpoints)
        text +=
            "endpoint " + endpoint.endpoint.name + ": " + addresses_of(endpoint.endpoint) + ", " + endpoint.endpoint.mac.to_string() + "\n";
    for (const OwnBlock& block : view.blocks)
        text += "block " + block.prefix.to_string() + ": " + number(block.free) + " of " + number(block.size) + " addresses free\n";
    for (const PeerView& peer : view.peers) text += peer_line(peer);
    for (const RemoteAddressView& remote : view.remotes)
        text += "remote " + remote.address.to_string() + ": " + remote.mac.to_string() + " behind " + remote.peer.to_string() +
                (remote.learned ? ", learned, silent for " + seconds_text(remote.silent_seconds) : "") + "\n";
    return text;
}

std::string render(const PeerView& view, Format format) {
    return format == Format::kJson ? text_of(json_of(view)) : peer_line(view);
}

std::string render(const std::vector<PeerView>& views, Format format) {
    if (format == Format::kJson) return json_array(views);
    if (views.empty()) return "no peers\n";
    Table table{
        {"PEER", "NETWORK", "SOURCE", "NODE", "ENDPOINTS", "LEARNED", "LAST SEEN", "PATH MTU", "UPLINK", "SENT", "RECEIVED", "DROPPED"}};
    for (const PeerView& view : views)
        table.add({view.address.to_string(), view.network.empty() ? "all" : view.network, to_string(view.source), or_dash(view.node),
                   number(view.endpoints), number(view.learned), view.silent_seconds ? seconds_text(*view.silent_seconds) : "-",
                   view.path_mtu == 0 ? "-" : number(view.path_mtu), or_dash(view.uplink), number(view.sent_packets),
                   number(view.received_packets), number(view.dropped_packets)});
    return table.to_string();
}

std::string render(const RemoteEndpointView& view, Format format) {
    return format == Format::kJson ? text_of(json_of(view)) : remote_line(view);
}

std::string render(const std::vector<RemoteEndpointView>& views, Format format) {
    if (format == Format::kJson) return json_array(views);
    if (views.empty()) return "no remote endpoints\n";
    Table table{{"NETWORK", "IPV4", "IPV6", "MAC", "PEER", "SOURCE", "NODE", "NAME"}};
    for (const RemoteEndpointView& view : views)
        table.add({view.network, or_dash(view.remote.ipv4), or_dash(view.remote.ipv6), view.remote.mac.to_string(),
                   view.remote.peer.to_string(), to_string(view.remote.owner), or_dash(view.remote.node), or_dash(view.remote.name)});
    return table.to_string();
}

namespace {

Json json_of(const AgentView& agent) {
    Json json;
    json["running"] = agent.running;
    if (!agent.running) return json;
    json["pid"] = agent.pid;
    json["ready"] = agent.ready;
    json["version"] = or_null(agent.version);
    json["since"] = or_null(agent.since);
    json["trouble"] = or_null(agent.trouble);
    json["parts"] = Json::array();
    for (const AgentPartView& part : agent.parts)
        json["parts"].push_back({{"name", part.name}, {"state", part.state}, {"reason", or_null(part.reason)}});
    return json;
}

std::string agent_lines(const AgentView& agent) {
    if (!agent.running) return "agent: not running (the datapath needs none)\n";
    const std::string head = "agent: pid " + number(agent.pid);
    if (!agent.trouble.empty()) return head + ", gives no answer: " + agent.trouble + "\n";
    std::string text = head + ", " + agent.version + ", since " + agent.since + (agent.ready ? ", ready\n" : ", not ready\n");
    for (const AgentPartView& part : agent.parts)
        if (part.state != "ready" && part.state != "off")
            text += "  " + part.name + ": " + part.state + (part.reason.empty() ? "" : ": " + part.reason) + "\n";
    return text;
}

}  // namespace

std::string render(const StatusView& view, Format format) {
    if (format == Format::kJson) {
        Json json;
        json["version"] = FASTNET_VERSION;
        json["kernel"] = view.kernel;
        json["root"] = or_null(view.root);
        json["prepared"] = view.prepared;
        json["features"] = Json::object();
        for (const FeatureView& feature : view.features) json["features"][feature.name] = feature.present;
        json["uplinks"] = json_of(view.uplinks);
        json["cgroup_hooks"] = view.cgroup_hooks;
        json["networks"] = view.networks;
        json["endpoints"] = view.endpoints;
        json["ports"] = view.ports;
        json["flows"] = view.flows;
        json["max_flows"] = view.max_flows == 0 ? Json(nullptr) : Json(view.max_flows);
        json["masquerade_ports"] = or_null(view.masquerade_ports);
        json["udp_mapping"] = to_string(view.udp_mapping);
        json["vtep"] = view.vtep == VtepAddresses{} ? Json(nullptr) : Json(to_string(view.vtep));
        json["xdp"] = to_string(view.xdp);
        json["timeouts"] = json_of(view.timeouts);
        json["links"] = view.links;
        json["memory_bytes"] = view.memory_bytes;
        json["maps"] = json_of(view.maps);
        json["agent"] = json_of(view.agent);
        json["warnings"] = view.warnings;
        return text_of(json);
    }
    std::string text = "fastnet " FASTNET_VERSION ", kernel " + view.kernel + (view.root.empty() ? "" : ", root " + view.root) + "\n";
    std::vector<std::string> features;
    for (const FeatureView& feature : view.features) features.push_back((feature.present ? "" : "no ") + feature.name);
    text += "features: " + joined(features) + "\n";
    if (!view.prepared) {
        text += "not prepared: `fastnet attach --mode bridge`\n";
    } else {
        text += uplink_lines(view.uplinks);
        text += "held ports: " + (view.cgroup_hooks.empty() ? std::string{"reserved only"} : joined(view.cgroup_hooks)) + "\n";
    }
    text += number(view.networks) + " networks, " + number(view.endpoints) + " endpoints, " + number(view.ports) + " published ports, " +
            number(view.flows) + " flows" + (view.max_flows == 0 ? "" : " of " + number(view.max_flows)) + "\n";
    if (view.prepared)
        text += "masquerade ports " + view.masquerade_ports + ", " + number(view.links) + " links, maps use " +
                size_text(view.memory_bytes) + "\ntunnels from " + to_string(view.vtep) + ", UDP mapping " + to_string(view.udp_mapping) +
                ", time-outs in seconds: " + to_string(view.timeouts) + "\n";
    text += agent_lines(view.agent);
    for (const std::string& warning : view.warnings) text += "warning: " + warning + "\n";
    return text;
}

std::string render(const PrepareView& view, Format format) {
    if (format == Format::kJson) {
        Json json;
        json["mode"] = "bridge";
        json["uplinks"] = json_of(view.uplinks);
        json["cgroup_hooks"] = view.cgroup_hooks;
        json["network"] = json_of(view.network);
        json["masquerade_ports"] = view.masquerade_ports;
        json["max_flows"] = view.max_flows;
        json["warnings"] = view.warnings;
        return text_of(json);
    }
    std::string text = uplink_lines(view.uplinks);
    text += "published ports: " +
            (view.cgroup_hooks.empty() ? std::string{"reserved only, no cgroup v2"} : "held by " + joined(view.cgroup_hooks)) + "\n";
    text += network_line(view.network);
    text += "masquerade ports " + view.masquerade_ports + ", at most " + number(view.max_flows) + " flows\n";
    return text;
}

std::string render(const std::vector<CheckView>& checks, Format format) {
    const bool failed =
        std::any_of(checks.begin(), checks.end(), [](const CheckView& check) { return check.result == CheckResult::kFail; });
    if (format == Format::kJson) {
        Json json;
        json["healthy"] = !failed;
        json["checks"] = Json::array();
        for (const CheckView& check : checks)
            json["checks"].push_back(
                {{"name", check.name}, {"result", word_of(check.result)}, {"text", check.text}, {"fix", or_null(check.fix)}});
        return text_of(json);
    }
    Table table{{"RESULT", "CHECK", "FINDING"}};
    for (const CheckView& check : checks) {
        table.add({word_of(check.result), check.name, check.text});
        if (!check.fix.empty()) table.add({"", "", "-> " + check.fix});
    }
    return table.to_string();
}

std::string render(const CleanupView& view, Format format) {
    if (format == Format::kJson) return text_of({{"removed", view.removed}});
    return view.removed.empty() ? "nothing to remove\n" : "removed " + joined(view.removed) + "\n";
}

std::string render_denied(const std::vector<IpPrefix>& prefixes, Format format) {
    if (format == Format::kJson) {
        Json json = Json::array();
        for (const IpPrefix& prefix : prefixes) json.push_back({{"prefix", prefix.to_string()}});
        return text_of(json);
    }
    std::string text;
    for (const IpPrefix& prefix : prefixes) text += prefix.to_string() + "\n";
    return text.empty() ? "# nothing is denied\n" : text;  // a comment to `deny add --file`
}

std::string render_denied_change(const DenyView& view, bool added, Format format) {
    if (format == Format::kJson) return text_of({{added ? "added" : "removed", view.changed}, {"total", view.total}});
    return (added ? "added " : "removed ") + std::to_string(view.changed) + (view.changed == 1 ? " prefix, " : " prefixes, ") +
           std::to_string(view.total) + " on the deny list\n";
}

std::string render_detached(const std::vector<std::string>& names, Format format) {
    if (format == Format::kJson) return text_of({{"detached", names}});
    return "detached " + joined(names) + "\n";
}

std::string render_removed_network(const std::string& name, Format format) {
    if (format == Format::kJson) return text_of({{"removed", name}});
    return "removed network " + name + "\n";
}

std::string render_removed_peer(const IpAddress& address, const std::string& network, Format format) {
    if (format == Format::kJson) return text_of({{"removed", address.to_string()}, {"network", or_null(network)}});
    return "removed peer " + address.to_string() + (network.empty() ? "" : " of network " + network) + "\n";
}

std::string render_removed_remote_endpoint(const IpAddress& address, const std::string& network, Format format) {
    if (format == Format::kJson) return text_of({{"removed", address.to_string()}, {"network", or_null(network)}});
    return "removed remote endpoint " + address.to_string() + " of network " + network + "\n";
}

}  // namespace fastnet
