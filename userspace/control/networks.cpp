#include "userspace/control/networks.h"

#include <algorithm>
#include <charconv>
#include <random>
#include <set>

#include "userspace/control/kernel.h"
#include "userspace/control/readers.h"
#include "userspace/host/sysctl.h"
#include "userspace/model/address_pool.h"
#include "userspace/model/names.h"
#include "userspace/model/network_options.h"

namespace fastnet {
namespace {

constexpr std::uint32_t kFirstChosenVni = 4096;  // above what people number by hand

/// Everything that was asked for, as one line: two requests are the same if their lines are.
std::string text_of(const NetworkRequest& request) {
    std::string text = to_string(request.driver);
    std::vector<std::string> words;
    for (const IpPrefix& subnet : request.subnets) words.push_back("subnet=" + subnet.to_string());
    for (const IpAddress& gateway : request.gateways) words.push_back("gateway=" + gateway.to_string());
    for (const IpPrefix& range : request.ip_ranges) words.push_back("range=" + range.to_string());
    for (const auto& [key, value] : request.options) words.push_back("opt=" + key + "=" + value);
    std::sort(words.begin(), words.end());
    for (const std::string& word : words) text += " " + word;
    text += " mtu=" + std::to_string(request.mtu) + " internal=" + std::to_string(request.internal) + " icc=" + std::to_string(request.icc);
    if (request.vni != 0) text += " vni=" + std::to_string(request.vni);
    return text;
}

/// Whether @p network, which another node of the cluster made, is what @p request asks for: what it leaves open may be anything.
bool is_asked_for(const Network& network, const NetworkRequest& request) {
    const auto has_all = [](const auto& present, const auto& asked) {
        return std::all_of(asked.begin(), asked.end(),
                           [&](const auto& one) { return std::find(present.begin(), present.end(), one) != present.end(); });
    };
    return !network.uid.empty() && network.driver == request.driver && has_all(network.subnets, request.subnets) &&
           (request.subnets.empty() || request.subnets.size() == network.subnets.size()) && has_all(network.gateways, request.gateways) &&
           has_all(network.ip_ranges, request.ip_ranges) && has_all(network.options, request.options) &&
           (request.vni == 0 || request.vni == network.vni) && request.mtu == network.mtu && request.internal == network.internal &&
           request.icc == network.icc;
}

std::string request_key(std::uint32_t network_id) {
    return "request/network/" + std::to_string(network_id);
}

/// What the host uses already, apart from fastnet's own networks, which the store knows by name.
Result<std::vector<TakenPrefix>> taken_by_host(Netlink& netlink) {
    std::vector<TakenPrefix> taken;
    const auto is_ours = [&](IfIndex device) { return network_id_of_bridge_ifname(netlink.link_name(device)) != 0; };
    for (const Route& route : TRY(netlink.routes())) {
        if (route.destination.length() == 0 || (route.device != 0 && is_ours(route.device))) continue;
        const std::string device = route.device == 0 ? std::string{} : " by " + netlink.link_name(route.device);
        taken.push_back({route.destination, "a route of this host" + device});
    }
    for (const LinkAddress& address : TRY(netlink.addresses())) {
        if (is_ours(address.link)) continue;
        taken.push_back({address.address.network(), "interface " + netlink.link_name(address.link)});
    }
    return taken;
}

/// The same and where the peers are: a tunnel does not lead through what it carries.
Result<std::vector<TakenPrefix>> taken_around(Store& store, Netlink& netlink) {
    std::vector<TakenPrefix> taken = TRY(taken_by_host(netlink));
    std::set<IpAddress> seen;
    for (const Peer& peer : TRY(store.peers())) {
        if (!seen.insert(peer.address).second) continue;
        const std::uint8_t bits = peer.address.family() == Family::kIpv4 ? 32 : 128;
        taken.push_back({IpPrefix{peer.address, bits}, "peer " + peer.address.to_string()});
    }
    return taken;
}

/// False for a kernel without IPv6, and where the administrator has switched it off for everything.
bool ipv6_is_on() {
    return read_sysctl("ipv6/conf/all/disable_ipv6").value_or("1") == "0";
}

/// The node's own prefix for networks that ask for none (RFC 4193 3.2.2). Its global id is drawn once and kept, so that the
/// networks of a node are neighbours and those of two nodes never meet.
Result<SubnetPool> ula_pool_of(Store& store) {
    constexpr const char* kKey = "ula/global_id";
    std::uint64_t id = 0;
    if (const auto kept = TRY(store.setting(kKey)); kept) {
        std::from_chars(kept->data(), kept->data() + kept->size(), id, 16);
    } else {
        std::random_device random;
        id = (std::uint64_t{random()} << 32U | random()) & 0xff'ffff'ffffU;
        std::array<char, 16> text{};
        const auto end = std::to_chars(text.begin(), text.end(), id, 16).ptr;
        CHECK_OK(store.set_setting(kKey, std::string{text.begin(), end}));
    }
    std::array<std::uint8_t, 5> bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(id >> (8 * (bytes.size() - 1 - i)));
    return ula_pool(bytes);
}

/// The first that no network of this node has.
std::uint32_t free_vni(const std::vector<Network>& networks) {
    std::uint32_t vni = kFirstChosenVni;
    while (std::any_of(networks.begin(), networks.end(), [&](const Network& one) { return one.vni == vni; })) ++vni;
    return vni;
}

/// The uplink's program takes UDP port 4789 for tunnels as long as there is an overlay network.
Status check_vxlan_port_is_free(Store& store, const std::string& network) {
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
        const std::vector<PublishedPort> published = TRY(store.ports_overlapping(IpAddress::any(family), Protocol::kUdp, kVxlanPorts));
        if (published.empty()) continue;
        const auto endpoint = TRY(store.find_endpoint(published.front().endpoint_id));
        return conflict("network '" + network + "': UDP port 4789, which VXLAN needs, is published by endpoint '" +
                            (endpoint ? endpoint->name : "?") + "' (" + published.front().to_string() + ")",
                        "`fastnet unpublish` it first");
    }
    return ok();
}

std::string first_of(const std::vector<std::string>& names) {
    constexpr std::size_t kMostShown = 4;
    std::string text;
    for (std::size_t i = 0; i < std::min(names.size(), kMostShown); ++i) text += (i == 0 ? "" : ", ") + names[i];
    return text + (names.size() > kMostShown ? " and " + std::to_string(names.size() - kMostShown) + " more" : "");
}

/// What works on this node alone, but not for the others or for somebody else.
Status warn_about_overlay(Node& node, const Network& network) {
    const bool shares = scope_of(network) == NetworkScope::kLocal &&
                        std::any_of(network.subnets.begin(), network.subnets.end(),
                                    [&](const IpPrefix& subnet) { return !network.ip_range(subnet.family()); });
    if (shares)
        node.warn(
            "network '" + network.name +
            "': without --ip-range addresses are picked from the whole subnet; nodes that share it need an --ip-range of their own each");
    for (const LinkInfo& link : TRY(node.netlink().links())) {
        if (link.kind != "vxlan" || link.vxlan_port != kVxlanPorts.first.value() || network_id_of_vxlan_ifname(link.name) != 0) continue;
        node.warn("vxlan interface '" + link.name +
                  "' uses UDP port 4789 as well: fastnet takes what comes to that port and drops what is not from its peers "
                  "(TUNNEL_UNKNOWN_PEER); give that interface another port (Docker Swarm: `docker swarm init --data-path-port`)");
    }
    return ok();
}

}  // namespace

Status check_request(const NetworkRequest& request) {
    CHECK_OK(check_name(request.name, "network"));
    const std::string driver = "driver " + to_string(request.driver);
    if (!has_bridge(request.driver))
        return usage_error("network '" + request.name + "': " + driver + " is not part of this version", "use --driver bridge or overlay");
    if (!request.parent.empty()) return usage_error("network '" + request.name + "': " + driver + " has no --parent", "leave it out");
    if (request.vni != 0 && request.driver != NetworkDriver::kOverlay)
        return usage_error("network '" + request.name + "': " + driver + " has no --vni", "leave it out");
    if (request.subnets.empty() && !(request.gateways.empty() && request.ip_ranges.empty()))
        return usage_error("network '" + request.name + "': --gateway and --ip-range need a --subnet", "name the subnet as well");
    Network network;
    network.name = request.name;
    network.driver = request.driver;
    if (network.driver == NetworkDriver::kOverlay) network.vni = request.vni != 0 ? request.vni : kFirstChosenVni;
    network.mtu = request.mtu;
    network.subnets = request.subnets;
    network.gateways = request.gateways;
    network.ip_ranges = request.ip_ranges;
    network.options = TRY(canonical_options(request.driver, request.options));
    for (const Family family : {Family::kIpv4, Family::kIpv6})
        if (!network.subnets.empty() && !network.subnet(family) && network.options.contains(gateway_mode_key(family)))
            return usage_error("network '" + request.name + "': " + gateway_mode_key(family) + " is given, but no subnet of that family",
                               "leave it out, or name such a subnet");
    for (const IpPrefix& subnet : request.subnets)
        if (!network.gateway(subnet.family())) network.gateways.push_back(default_gateway(subnet));
    if (network.subnets.empty()) {  // stands in for the one that will be chosen
        network.subnets.emplace_back(IpAddress::v4(172, 30, 0, 0), std::uint8_t{16});
        network.gateways.push_back(default_gateway(network.subnets.front()));
    }
    return validate(network);
}

Result<Network> draft_network(Store& store, Netlink& netlink, const NetworkRequest& request) {
    Network network;
    network.name = request.name;
    network.driver = request.driver;
    network.subnets = request.subnets;
    network.gateways = request.gateways;
    network.ip_ranges = request.ip_ranges;
    network.mtu = request.mtu;
    network.internal = request.internal;
    network.icc = request.icc;
    network.options = request.options;
    if (network.driver == NetworkDriver::kOverlay) network.vni = request.vni != 0 ? request.vni : free_vni(TRY(store.networks()));

    const bool in_cluster = TRY(store.setting(setting::kClusterName)).has_value();
    if (network.driver == NetworkDriver::kOverlay && in_cluster && !has_scope(network)) set_scope(network, NetworkScope::kCluster);

    std::vector<TakenPrefix> taken = TRY(taken_around(store, netlink));
    if (network.subnets.empty()) {
        for (const Network& other : TRY(store.networks()))
            for (const IpPrefix& subnet : other.subnets) taken.push_back({subnet, "network '" + other.name + "'"});
        auto subnet = pick_subnet(default_ipv4_pools(), taken);
        if (!subnet) return std::move(subnet).error().in("network '" + request.name + "'");
        network.subnets.push_back(*subnet);
        if (ipv6_is_on()) {
            const SubnetPool pool = TRY(ula_pool_of(store));
            network.subnets.push_back(TRY(pick_subnet(std::span{&pool, 1}, taken)));
        }
    } else {
        for (const IpPrefix& subnet : network.subnets)
            if (Status free = check_subnet_is_free(subnet, taken); !free)
                return std::move(free).error().in("network '" + request.name + "'");
    }
    for (const IpPrefix& subnet : network.subnets)
        if (!network.gateway(subnet.family())) network.gateways.push_back(default_gateway(subnet));
    choose_gateway_modes(network);
    return network;
}

Result<CreatedNetwork> create_network(const NodePaths& paths, NetworkRequest request) {
    CHECK_OK(check_request(request));
    request.options = TRY(canonical_options(request.driver, request.options));
    Node node = TRY(Node::open(paths, Need::kPrepared));
    const auto view = [&](Network network) -> Result<CreatedNetwork> {
        NetworkView shown;
        shown.mtu = TRY(node.mtu_of(network));
        shown.learning = learns(network, TRY(node.store().has_remote_endpoint(network.id)));
        shown.network = std::move(network);
        return CreatedNetwork{std::move(shown), node.warnings()};
    };
    if (auto present = TRY(node.store().find_network(request.name)); present) {
        const auto asked = TRY(node.store().setting(request_key(present->id)));
        if (asked ? *asked == text_of(request) : is_asked_for(*present, request)) return view(*std::move(present));
        return conflict("network '" + request.name + "' exists already with other arguments", "choose another name, or remove it first");
    }
    if (request.driver == NetworkDriver::kOverlay) CHECK_OK(check_vxlan_port_is_free(node.store(), request.name));
    Network draft = TRY(draft_network(node.store(), node.netlink(), request));
    Network network;
    {
        Transaction transaction = TRY(node.store().begin(Durability::kPowerLoss));
        network = TRY(node.store().add_network(std::move(draft)));
        CHECK_OK(node.store().set_setting(request_key(network.id), text_of(request)));
        CHECK_OK(node.mark_dirty());
        CHECK_OK(transaction.commit());
    }
    if (Status built = node.repair(); !built) {
        // Not there, then not on record either.
        (void)node.store().remove_network(network.id);
        (void)node.store().remove_setting(request_key(network.id));
        if (node.repair()) (void)node.mark_clean();
        return std::move(built).error().in("create network '" + request.name + "'");
    }
    CHECK_OK(node.mark_clean());
    if (network.driver == NetworkDriver::kOverlay) CHECK_OK(warn_about_overlay(node, network));
    return view(std::move(network));
}

Status check_overlay_fits(Node& node, const Network& network) {
    CHECK_OK(check_vxlan_port_is_free(node.store(), network.name));
    const std::vector<TakenPrefix> taken = TRY(taken_around(node.store(), node.netlink()));
    for (const IpPrefix& subnet : network.subnets)
        if (Status free = check_subnet_is_free(subnet, taken); !free) return std::move(free).error().in("network '" + network.name + "'");
    return ok();
}

Status forget_request(Store& store, const Network& network) {
    return store.remove_setting(request_key(network.id));
}

Status remove_network(const NodePaths& paths, const std::string& name) {
    const Error unknown = not_found("network '" + name + "' does not exist", "`fastnet network ls` lists the networks");
    auto opened = Node::open(paths, Need::kExisting);
    if (!opened && opened.error().kind == ErrorKind::kNotFound) return unknown;
    if (!opened) return std::move(opened).error();
    Node& node = *opened;
    const auto network = TRY(node.store().find_network(name));
    if (!network) return unknown;
    if (name == kDefaultNetworkName)
        return failed("remove network '" + name + "': it is the node's own", "`fastnet cleanup` removes it with everything else");
    if (const std::vector<std::string> nodes = TRY(node.store().nodes_on_network(network->id)); !nodes.empty())
        return conflict("remove network '" + name + "': there are endpoints on it on other nodes: " + first_of(nodes),
                        "detach them there first: `fastnet endpoints --all-nodes` lists them");
    {
        Transaction transaction = TRY(node.store().begin(Durability::kPowerLoss));
        CHECK_OK(node.store().remove_network(network->id));
        CHECK_OK(forget_request(node.store(), *network));
        if (!network->uid.empty()) CHECK_OK(node.store().remember_removed({network->uid, network->name}));
        CHECK_OK(node.mark_dirty());
        CHECK_OK(transaction.commit());
    }
    CHECK_OK(node.repair());
    return node.mark_clean();
}

}  // namespace fastnet
