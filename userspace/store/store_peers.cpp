// Peers, and what other nodes have: their names, and their endpoints on networks of this node.
#include "userspace/store/rows.h"
#include "userspace/store/store.h"

namespace fastnet {
namespace {

Error no_such_peer(const IpAddress& address, const std::string& of_what) {
    return not_found(address.to_string() + " is no peer " + of_what, "`fastnet peer ls` lists the peers");
}

Error belongs_to_the_agent(const IpAddress& address, const std::string& of_what) {
    return conflict("peer " + address.to_string() + " " + of_what + " comes from etcd: it belongs to the agent",
                    "it goes when its node has no endpoint on the network any more, or leaves the cluster");
}

std::string words_for(const Statement& row, int name_column) {
    return "of network " + in_quotes(row.text(name_column));
}

Status check_overlay(const Network& network) {
    if (network.driver == NetworkDriver::kOverlay) return ok();
    return usage_error("network " + in_quotes(network.name) + " has driver " + to_string(network.driver) + ", which knows no peers",
                       "use a network of driver overlay");
}

Result<std::uint32_t> tunnel_of(Database& db, const IpAddress& peer) {  // 0: none
    Statement select = TRY(db.prepare("SELECT id FROM tunnels WHERE address = ?"));
    select.bind(blob_of(peer));
    return TRY(select.step()) ? select.u32(0) : 0U;
}

/// The smallest index that is free: peers come and go, places in the BPF map do not.
Result<std::uint32_t> add_tunnel(Database& db, const IpAddress& peer) {
    const std::int64_t free = TRY(
        db.query_int("SELECT min(id) FROM (SELECT 1 AS id UNION ALL SELECT id + 1 FROM tunnels) WHERE id NOT IN (SELECT id FROM tunnels)"));
    if (free > kMostPeers)
        return conflict("peer " + peer.to_string() + ": there are " + std::to_string(kMostPeers) + " already, which is the most",
                        "`fastnet peer rm` those that are gone");
    Statement insert = TRY(db.prepare("INSERT INTO tunnels (id, address) VALUES (?, ?)"));
    CHECK_OK(insert.bind(free).bind(blob_of(peer)).run());
    return static_cast<std::uint32_t>(free);
}

/// False if it is there.
Result<bool> insert_peer(Database& db, std::uint32_t tunnel, std::uint32_t network_id, Owner owner) {
    Statement insert = TRY(db.prepare("INSERT INTO peers (tunnel_id, network_id, owner) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"));
    CHECK_OK(bind_unless_zero(insert.bind(tunnel), network_id).bind(number(owner)).run());
    return db.changes() != 0;
}

constexpr std::string_view kSelectPeers =
    "SELECT t.address, p.network_id, t.id, p.owner FROM peers p JOIN tunnels t ON t.id = p.tunnel_id ";

Peer peer_from(const Statement& row) {
    return Peer{address_from(row, 0), row.is_null(1) ? std::nullopt : std::optional{row.u32(1)}, row.u32(2), enum_from<Owner>(row, 3)};
}

constexpr std::string_view kSelectRemotes =
    "SELECT r.id, r.network_id, t.address, r.tunnel_id, a4.address, a6.address, r.mac, r.owner, r.ref, r.name, r.node"
    " FROM remote_endpoints r JOIN tunnels t ON t.id = r.tunnel_id"
    " LEFT JOIN addresses a4 ON a4.remote_id = r.id AND a4.family = 4"
    " LEFT JOIN addresses a6 ON a6.remote_id = r.id AND a6.family = 6 ";

RemoteEndpoint remote_from(const Statement& row) {
    RemoteEndpoint remote;
    remote.id = row.u32(0);
    remote.network_id = row.u32(1);
    remote.peer = address_from(row, 2);
    remote.tunnel = row.u32(3);
    remote.ipv4 = optional_address_from(row, 4);
    remote.ipv6 = optional_address_from(row, 5);
    remote.mac = mac_from(row, 6);
    remote.owner = enum_from<Owner>(row, 7);
    remote.ref = row.text(8);
    remote.name = row.text(9);
    remote.node = row.text(10);
    return remote;
}

Result<Statement> select_remotes(Database& db, std::string_view where) {
    return db.prepare(std::string{kSelectRemotes} + std::string{where});
}

/// Two of one MAC on a network would take each other's frames. Behind one peer they may be one host.
Status check_remote_mac(Database& db, const RemoteEndpoint& remote) {
    const std::span<const std::uint8_t> mac{remote.mac.bytes()};
    const std::string subject = "MAC " + remote.mac.to_string() + " is taken by ";
    Statement local = TRY(db.prepare("SELECT name FROM endpoints WHERE network_id = ? AND mac = ? AND mac IS NOT NULL AND mode <> 6"));
    local.bind(remote.network_id).bind(mac);
    if (TRY(local.step())) return conflict(subject + "endpoint " + in_quotes(local.text(0)), "name the MAC that it really has with --mac");
    Statement other = TRY(select_remotes(db, "WHERE r.network_id = ? AND r.mac = ? AND r.tunnel_id <> ?"));
    other.bind(remote.network_id).bind(mac).bind(remote.tunnel);
    if (TRY(other.step()))
        return conflict(subject + "a remote endpoint behind peer " + remote_from(other).peer.to_string(),
                        "name the MAC that it really has with --mac");
    return ok();
}

/// Everything but its tunnel must be known to fit.
Status insert_remote(Database& db, RemoteEndpoint& remote, const Network& network) {
    Statement insert =
        TRY(db.prepare("INSERT INTO remote_endpoints (network_id, tunnel_id, mac, owner, ref, name, node) VALUES (?, ?, ?, ?, ?, ?, ?)"));
    insert.bind(remote.network_id).bind(remote.tunnel).bind(std::span<const std::uint8_t>{remote.mac.bytes()}).bind(number(remote.owner));
    CHECK_OK(bind_unless_empty(insert, remote.ref).bind(remote.name).bind(remote.node).run());
    remote.id = static_cast<std::uint32_t>(db.last_insert_id());
    for (const auto& address : {remote.ipv4, remote.ipv6})
        if (address)
            CHECK_OK(insert_address(db, network.id, {*address, network.subnet(address->family())->length()}, Purpose::kRemote, remote.id));
    return ok();
}

RemoteNode node_from(const Statement& row) {
    return RemoteNode{row.text(0), row.text(1), optional_address_from(row, 2), optional_address_from(row, 3)};
}

}  // namespace

Status forget_former_peers(Database& db) {
    return db.exec(
        "DELETE FROM remote_endpoints WHERE owner = 1 AND NOT EXISTS (SELECT 1 FROM peers p WHERE p.tunnel_id = remote_endpoints.tunnel_id"
        " AND p.owner = 1 AND (p.network_id IS NULL OR p.network_id = remote_endpoints.network_id));"
        "DELETE FROM tunnels WHERE NOT EXISTS (SELECT 1 FROM peers p WHERE p.tunnel_id = tunnels.id);");
}

// --- peers --------------------------------------------------------------------------------------------------------

Result<bool> Store::add_peer(const IpAddress& address, std::optional<std::uint32_t> network_id) {
    CHECK_OK(check_peer_address(address));
    Transaction transaction = TRY(begin(Durability::kPowerLoss));
    if (network_id) {
        const auto network = TRY(find_network(*network_id));
        if (!network) return no_such_network(*network_id);
        CHECK_OK(check_overlay(*network));
    }
    std::uint32_t tunnel = TRY(tunnel_of(db_, address));
    if (tunnel == 0) tunnel = TRY(add_tunnel(db_, address));
    const bool added = TRY(insert_peer(db_, tunnel, network_id.value_or(0), Owner::kStatic));
    CHECK_OK(transaction.commit());
    return added;
}

Result<std::vector<Peer>> Store::peers() {
    Statement select = TRY(db_.prepare(std::string{kSelectPeers} + "ORDER BY t.id, ifnull(p.network_id, 0), p.owner"));
    return collect<Peer>(select, peer_from);
}

Result<std::vector<Peer>> Store::peers_of(std::uint32_t network_id, std::int64_t most) {
    Statement select = TRY(
        db_.prepare(std::string{kSelectPeers} + "WHERE p.network_id = ?1 OR p.network_id IS NULL GROUP BY t.id ORDER BY t.id LIMIT ?2"));
    return collect<Peer>(select.bind(network_id).bind(most), peer_from);
}

Result<std::optional<IpAddress>> Store::address_of_tunnel(std::uint32_t tunnel) {
    Statement select = TRY(db_.prepare("SELECT address FROM tunnels WHERE id = ?"));
    select.bind(tunnel);
    return TRY(select.step()) ? std::optional{address_from(select, 0)} : std::nullopt;
}

Result<std::optional<std::uint32_t>> Store::find_tunnel(const IpAddress& peer) {
    const std::uint32_t tunnel = TRY(tunnel_of(db_, peer));
    return tunnel == 0 ? std::nullopt : std::optional{tunnel};
}

Status Store::remove_peer(const IpAddress& address, std::optional<std::uint32_t> network_id) {
    Transaction transaction = TRY(begin(Durability::kPowerLoss));
    const std::uint32_t tunnel = TRY(tunnel_of(db_, address));
    const std::string of_what =
        network_id ? "of network " + in_quotes(TRY(network_name(db_, *network_id))) : std::string{"of all networks"};
    Statement remove = TRY(db_.prepare("DELETE FROM peers WHERE tunnel_id = ? AND ifnull(network_id, 0) = ? AND owner = ?"));
    CHECK_OK(remove.bind(tunnel).bind(network_id.value_or(0)).bind(number(Owner::kStatic)).run());
    if (db_.changes() == 0)
        return network_id && TRY(is_peer(tunnel, *network_id, Owner::kEtcd)) ? belongs_to_the_agent(address, of_what)
                                                                             : no_such_peer(address, of_what);
    CHECK_OK(forget_former_peers(db_));
    return transaction.commit();
}

Status Store::forget_peer(const IpAddress& address) {
    Transaction transaction = TRY(begin(Durability::kPowerLoss));
    const std::uint32_t tunnel = TRY(tunnel_of(db_, address));
    Statement remove = TRY(db_.prepare("DELETE FROM peers WHERE tunnel_id = ? AND owner = ?"));
    CHECK_OK(remove.bind(tunnel).bind(number(Owner::kStatic)).run());
    if (db_.changes() == 0) {
        Statement other =
            TRY(db_.prepare("SELECT n.name FROM peers p JOIN networks n ON n.id = p.network_id WHERE p.tunnel_id = ? LIMIT 1"));
        other.bind(tunnel);
        return TRY(other.step()) ? belongs_to_the_agent(address, words_for(other, 0)) : no_such_peer(address, "of any network");
    }
    CHECK_OK(forget_former_peers(db_));
    return transaction.commit();
}

Result<bool> Store::is_peer(std::uint32_t tunnel, std::uint32_t network_id, std::optional<Owner> owner) {
    Statement select =
        TRY(db_.prepare("SELECT 1 FROM peers WHERE tunnel_id = ? AND ifnull(network_id, 0) IN (0, ?) AND (?3 = 0 OR owner = ?3)"));
    select.bind(tunnel).bind(network_id).bind(owner ? number(*owner) : std::int64_t{0});
    return select.step();
}

// --- endpoints of other nodes -------------------------------------------------------------------------------------

Result<RemoteEndpoint> Store::add_remote_endpoint(RemoteEndpoint remote) {
    Transaction transaction = TRY(begin(Durability::kPowerLoss));
    const auto network = TRY(find_network(remote.network_id));
    if (!network) return no_such_network(remote.network_id);
    CHECK_OK(check_overlay(*network));
    remote.tunnel = TRY(tunnel_of(db_, remote.peer));
    if (!TRY(is_peer(remote.tunnel, network->id, Owner::kStatic)))
        return not_found(remote.peer.to_string() + " is no peer of network " + in_quotes(network->name),
                         "`fastnet peer add " + remote.peer.to_string() + " --network " + network->name + "` makes it one");
    if (!remote.ipv4 && !remote.ipv6) return usage_error("a remote endpoint without an address", "name its address on the network");
    if (const auto present = TRY(find_remote_endpoint(network->id, remote.ipv4 ? *remote.ipv4 : *remote.ipv6)); present) {
        remote.id = present->id;
        if (remote == *present) return remote;
    }
    for (const auto& address : {remote.ipv4, remote.ipv6})
        if (address) TRY(check_address_fits(db_, network->id, network->name, *address, "choose another address"));
    CHECK_OK(check_remote_mac(db_, remote));
    CHECK_OK(insert_remote(db_, remote, *network));
    CHECK_OK(transaction.commit());
    return remote;
}

Result<std::vector<RemoteEndpoint>> Store::remote_endpoints() {
    Statement select = TRY(select_remotes(db_, "ORDER BY r.id"));
    return collect<RemoteEndpoint>(select, remote_from);
}

Result<std::optional<RemoteEndpoint>> Store::find_remote_endpoint(std::uint32_t network_id, const IpAddress& address) {
    Statement select = TRY(select_remotes(db_, "WHERE r.id = (SELECT remote_id FROM addresses WHERE network_id = ? AND address = ?)"));
    return first_of(collect<RemoteEndpoint>(select.bind(network_id).bind(blob_of(address)), remote_from));
}

Result<std::optional<RemoteEndpoint>> Store::find_remote_endpoint(Owner owner, std::string_view ref) {
    Statement select = TRY(select_remotes(db_, "WHERE r.owner = ? AND r.ref = ?"));
    return first_of(collect<RemoteEndpoint>(select.bind(number(owner)).bind(ref), remote_from));
}

Result<bool> Store::has_remote_endpoint(std::uint32_t network_id) {
    Statement select = TRY(db_.prepare("SELECT 1 FROM remote_endpoints WHERE network_id = ? LIMIT 1"));
    return select.bind(network_id).step();
}

Result<std::vector<std::string>> Store::nodes_on_network(std::uint32_t network_id) {
    Statement select = TRY(db_.prepare("SELECT DISTINCT node FROM remote_endpoints WHERE network_id = ? AND owner = ? ORDER BY node"));
    select.bind(network_id).bind(number(Owner::kEtcd));
    return collect<std::string>(select, [](const Statement& row) { return row.text(0); });
}

Status Store::remove_remote_endpoint(std::uint32_t network_id, const IpAddress& address) {
    Transaction transaction = TRY(begin(Durability::kPowerLoss));
    const std::string name = TRY(network_name(db_, network_id));
    const auto present = TRY(find_remote_endpoint(network_id, address));
    if (!present)
        return not_found("network " + in_quotes(name) + " has no remote endpoint " + address.to_string(),
                         "`fastnet peer endpoint ls` lists them");
    if (present->owner != Owner::kStatic)
        return conflict(
            "remote endpoint " + address.to_string() + " of network " + in_quotes(name) + " comes from etcd: it belongs to the agent",
            "detach it on its node" + (present->node.empty() ? std::string{} : ", " + present->node));
    CHECK_OK(erase_remote_endpoint(present->id));
    return transaction.commit();
}

// --- what the cluster says ----------------------------------------------------------------------------------------

Status Store::erase_remote_endpoint(std::uint32_t id) {
    Statement remove = TRY(db_.prepare("DELETE FROM remote_endpoints WHERE id = ?"));
    return remove.bind(id).run();
}

Result<RemoteEndpoint> Store::put_remote_endpoint(RemoteEndpoint remote, const Network& network) {
    remote.owner = Owner::kEtcd;
    remote.network_id = network.id;
    remote.tunnel = TRY(tunnel_of(db_, remote.peer));
    if (!remote.ipv4 && !remote.ipv6) return usage_error("it has no address");
    for (const auto& address : {remote.ipv4, remote.ipv6}) {
        if (!address) continue;
        TRY(check_address_fits(db_, network.id, network.name, *address, {}));
        if (TRY(is_in_block(network.id, *address))) return conflict("address " + address->to_string() + " is in a block of this node");
    }
    CHECK_OK(check_remote_mac(db_, remote));
    // From here on nothing is refused.
    if (remote.tunnel == 0) remote.tunnel = TRY(add_tunnel(db_, remote.peer));
    TRY(insert_peer(db_, remote.tunnel, network.id, Owner::kEtcd));
    CHECK_OK(insert_remote(db_, remote, network));
    return remote;
}

Result<std::optional<Family>> Store::family_of_peers(std::uint32_t network_id) {
    // A record of the cluster's counts as long as an endpoint needs it: within a change the last may have gone.
    Statement select = TRY(db_.prepare(
        "SELECT t.address FROM peers p JOIN tunnels t ON t.id = p.tunnel_id WHERE (p.network_id = ?1 OR p.network_id IS NULL)"
        " AND (p.owner = 1 OR EXISTS (SELECT 1 FROM remote_endpoints r WHERE r.network_id = p.network_id AND r.tunnel_id = p.tunnel_id"
        " AND r.owner = p.owner)) LIMIT 1"));
    select.bind(network_id);
    return TRY(select.step()) ? std::optional{address_from(select, 0).family()} : std::nullopt;
}

Status Store::prune_peer(std::uint32_t tunnel, std::uint32_t network_id) {
    Statement peer =
        TRY(db_.prepare("DELETE FROM peers WHERE tunnel_id = ?1 AND network_id = ?2 AND owner = 2"
                        " AND NOT EXISTS (SELECT 1 FROM remote_endpoints WHERE network_id = ?2 AND tunnel_id = ?1 AND owner = 2)"));
    CHECK_OK(peer.bind(tunnel).bind(network_id).run());
    if (db_.changes() == 0) return ok();
    Statement last = TRY(db_.prepare("DELETE FROM tunnels WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM peers WHERE tunnel_id = ?1)"));
    return last.bind(tunnel).run();
}

Result<std::vector<RemoteNode>> Store::remote_nodes() {
    Statement select = TRY(db_.prepare("SELECT name, uid, ipv4, ipv6 FROM remote_nodes ORDER BY name"));
    return collect<RemoteNode>(select, node_from);
}

Result<std::optional<RemoteNode>> Store::find_remote_node(std::string_view name) {
    Statement select = TRY(db_.prepare("SELECT name, uid, ipv4, ipv6 FROM remote_nodes WHERE name = ?"));
    return first_of(collect<RemoteNode>(select.bind(name), node_from));
}

Result<std::optional<RemoteNode>> Store::find_remote_node(const IpAddress& address) {
    Statement select = TRY(db_.prepare("SELECT name, uid, ipv4, ipv6 FROM remote_nodes WHERE ipv4 = ?1 OR ipv6 = ?1"));
    return first_of(collect<RemoteNode>(select.bind(blob_of(address)), node_from));
}

Status Store::insert_remote_node(const RemoteNode& node) {
    Statement insert = TRY(db_.prepare("INSERT INTO remote_nodes (name, uid, ipv4, ipv6) VALUES (?, ?, ?, ?)"));
    insert.bind(node.name).bind(node.uid);
    bind_optional(insert, node.ipv4);
    return bind_optional(insert, node.ipv6).run();
}

Status Store::erase_remote_node(std::string_view name) {
    Statement remove = TRY(db_.prepare("DELETE FROM remote_nodes WHERE name = ?"));
    return remove.bind(name).run();
}

}  // namespace fastnet
