#include "userspace/control/peers.h"

#include <algorithm>

#include "loader/base/text.h"
#include "userspace/control/node.h"
#include "userspace/control/readers.h"

namespace fastnet {
namespace {

Result<Network> find_overlay(Store& store, const std::string& name) {
    auto network = TRY(store.find_network(name));
    if (!network) return not_found("network " + in_quotes(name) + " does not exist", "`fastnet network ls` lists the networks");
    if (network->driver != NetworkDriver::kOverlay)
        return usage_error("network " + in_quotes(name) + " has driver " + to_string(network->driver) + ", which knows no peers",
                           "use a network of driver overlay");
    return *std::move(network);
}

/// Nothing is on record on a node that was never prepared.
Result<Node> open_for_removal(const NodePaths& paths, const Error& unknown) {
    auto node = Node::open(paths, Need::kExisting);
    if (!node && node.error().kind == ErrorKind::kNotFound) return unknown;
    return node;
}

/// A vxlan device has one socket, of one family.
Status check_families(Store& store) {
    const PeerTable peers{TRY(store.peers())};
    for (const Network& network : TRY(store.networks())) {
        std::set<IpAddress> addresses;
        for (const Peer& peer : peers.of(network)) addresses.insert(peer.address);
        if (Status checked = check_peer_families(addresses); !checked)
            return std::move(checked).error().in("network " + in_quotes(network.name));
    }
    return ok();
}

/// Carries out a change of the records that is committed already; if that fails, @p take_back undoes it.
template <typename TakeBack>
Status carry_out(Node& node, const std::string& what, TakeBack take_back) {
    Status done = node.repair();
    if (done) return node.mark_clean();
    take_back();
    if (node.repair()) (void)node.mark_clean();
    return std::move(done).error().in(what);
}

}  // namespace

Result<Surroundings> read_surroundings(Node& node) {
    Surroundings around;
    for (const LinkAddress& address : TRY(node.netlink().addresses()))
        around.own.emplace_back(address.address.address(), node.netlink().link_name(address.link));
    for (const Network& network : TRY(node.store().networks()))
        for (const IpPrefix& subnet : network.subnets) around.networks.emplace_back(subnet, network.name);
    return around;
}

Status check_is_elsewhere(const Surroundings& around, const IpAddress& peer) {
    const std::string what = "peer " + peer.to_string();
    for (const auto& [address, interface] : around.own)
        if (address == peer)
            return usage_error(what + ": it is an address of this node (" + interface + ")",
                               "name the other node's address; on the other node, name this one");
    for (const auto& [subnet, network] : around.networks)
        if (subnet.contains(peer))
            return usage_error(what + ": it is inside the subnet " + subnet.to_string() + " of network " + in_quotes(network),
                               "name the other node's address outside of the networks of containers");
    return ok();
}

Status check_request(const RemoteEndpointRequest& request) {
    const auto count = [&](Family family) {
        return std::count_if(request.ips.begin(), request.ips.end(), [&](const IpAddress& ip) { return ip.family() == family; });
    };
    if (count(Family::kIpv4) > 1 || count(Family::kIpv6) > 1)
        return usage_error("remote endpoint: more than one address of one family", "it has one IPv4 and one IPv6 address at most");
    if (request.network.empty()) return usage_error("remote endpoint: no network is named", "name it with --network");
    if (!request.mac && count(Family::kIpv4) == 0)
        return usage_error("remote endpoint " + (request.ips.empty() ? "" : request.ips.front().to_string()) +
                               ": its MAC address does not follow from an IPv6 address",
                           "name it with --mac");
    if (request.mac && (request.mac->is_multicast() || request.mac->is_zero() || *request.mac == kGatewayMac))
        return usage_error("MAC address " + request.mac->to_string() + ": it is no address of one container",
                           "its first byte must be even, not all bytes zero, and it must not be the gateways'");
    return check_peer_address(request.peer);
}

Result<PeerView> add_peer(const NodePaths& paths, const PeerRequest& request) {
    CHECK_OK(check_peer_address(request.address));
    Node node = TRY(Node::open(paths, Need::kPrepared));
    const Surroundings around = TRY(read_surroundings(node));
    CHECK_OK(check_is_elsewhere(around, request.address));
    std::optional<std::uint32_t> network_id;
    if (!request.network.empty()) network_id = TRY(find_overlay(node.store(), request.network)).id;
    bool added = false;
    {
        Transaction transaction = TRY(node.store().begin(Durability::kPowerLoss));
        added = TRY(node.store().add_peer(request.address, network_id));
        CHECK_OK(check_families(node.store()));
        if (added) CHECK_OK(node.mark_dirty());
        CHECK_OK(transaction.commit());
    }
    if (added)
        CHECK_OK(carry_out(node, "add peer " + request.address.to_string(),
                           [&] { (void)node.store().remove_peer(request.address, network_id); }));
    return read_peer(node, request.address, network_id);
}

Status remove_peer(const NodePaths& paths, const PeerRequest& request) {
    const Error unknown = not_found(request.address.to_string() + " is no peer", "`fastnet peer ls` lists the peers");
    Node node = TRY(open_for_removal(paths, unknown));
    std::optional<std::uint32_t> network_id;
    if (!request.network.empty()) network_id = TRY(find_overlay(node.store(), request.network)).id;
    {
        Transaction transaction = TRY(node.store().begin(Durability::kPowerLoss));
        CHECK_OK(network_id ? node.store().remove_peer(request.address, network_id) : node.store().forget_peer(request.address));
        CHECK_OK(node.mark_dirty());
        CHECK_OK(transaction.commit());
    }
    CHECK_OK(node.repair());
    return node.mark_clean();
}

Result<RemoteEndpointView> add_remote_endpoint(const NodePaths& paths, const RemoteEndpointRequest& request) {
    CHECK_OK(check_request(request));
    Node node = TRY(Node::open(paths, Need::kPrepared));
    RemoteEndpoint wanted;
    wanted.network_id = TRY(find_overlay(node.store(), request.network)).id;
    wanted.peer = request.peer;
    for (const IpAddress& ip : request.ips) (ip.family() == Family::kIpv4 ? wanted.ipv4 : wanted.ipv6) = ip;
    wanted.mac = request.mac ? *request.mac : mac_for(*wanted.ipv4);
    const auto before = TRY(node.store().find_remote_endpoint(wanted.network_id, request.ips.front()));
    RemoteEndpoint stored;
    {
        Transaction transaction = TRY(node.store().begin(Durability::kPowerLoss));
        stored = TRY(node.store().add_remote_endpoint(wanted));
        CHECK_OK(node.mark_dirty());
        CHECK_OK(transaction.commit());
    }
    if (before == stored) {
        CHECK_OK(node.mark_clean());
    } else {
        CHECK_OK(carry_out(node, "add remote endpoint " + request.ips.front().to_string(),
                           [&] { (void)node.store().remove_remote_endpoint(stored.network_id, request.ips.front()); }));
    }
    return RemoteEndpointView{stored, request.network};
}

Status remove_remote_endpoint(const NodePaths& paths, const IpAddress& ip, const std::string& network) {
    const Error unknown = not_found("network " + in_quotes(network) + " does not exist", "`fastnet network ls` lists the networks");
    Node node = TRY(open_for_removal(paths, unknown));
    const Network overlay = TRY(find_overlay(node.store(), network));
    {
        Transaction transaction = TRY(node.store().begin(Durability::kPowerLoss));
        CHECK_OK(node.store().remove_remote_endpoint(overlay.id, ip));
        CHECK_OK(node.mark_dirty());
        CHECK_OK(transaction.commit());
    }
    CHECK_OK(node.repair());
    return node.mark_clean();
}

}  // namespace fastnet
