// The node's desired state on disk: settings, uplinks, networks, endpoints, published ports, peers, saved sysctls.
// Knows SQL and the model, nothing of the kernel. Uniqueness is enforced by the schema, so that a bug elsewhere cannot
// hand out a name, an address or a MAC twice. Every method that changes something is one transaction, or part of the
// caller's when one is open (begin()). Ids are never used again, so a stale BPF entry cannot name a new object.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/model/address_pool.h"
#include "userspace/model/endpoint.h"
#include "userspace/model/network.h"
#include "userspace/model/node.h"
#include "userspace/model/peer.h"
#include "userspace/store/database.h"

namespace fastnet {

/// Keys of settings that more than one place uses; any other key works as well.
namespace setting {
constexpr std::string_view kBootId = "boot_id";                    // /proc/sys/kernel/random/boot_id of the last preparation
constexpr std::string_view kBuildId = "build_id";                  // hash of ABI and programs that are loaded
constexpr std::string_view kMasqueradePorts = "masquerade_ports";  // "A-B"
constexpr std::string_view kMaxFlows = "max_flows";
constexpr std::string_view kUdpMapping = "udp_mapping";     // as --udp-mapping takes it
constexpr std::string_view kVtep = "vtep";                  // as --vtep takes it
constexpr std::string_view kTimeouts = "timeouts";          // "udp=300,..."; those that are not in it are the default
constexpr std::string_view kPortCursor = "port_cursor";     // host port picked last
constexpr std::string_view kUlaGlobalId = "ula_global_id";  // 10 hex digits
}  // namespace setting

class Store {
public:
    using OpenMode = Database::OpenMode;

    /// Opens DIR/fastnet.db. kCreate makes DIR (mode 0700) and the file, and migrates an older schema, as kExisting does;
    /// kReadOnly refuses an older schema. No file: not-found error (except kCreate). A file that is corrupt, not ours or
    /// newer than this program: error with a hint, file untouched.
    static Result<Store> open(const std::filesystem::path& dir, OpenMode mode = OpenMode::kCreate);
    static std::filesystem::path file_in(const std::filesystem::path& dir) { return dir / "fastnet.db"; }
    /// Deletes the database files in @p dir (not the directory, not the lock). No Store may be open on them.
    static Status remove_files(const std::filesystem::path& dir);
    /// Renames the database files of @p dir to `fastnet.db.broken-<time>[-wal]`, which keeps a corrupt file for study.
    /// Returns the new path.
    static Result<std::filesystem::path> move_aside(const std::filesystem::path& dir);

    /// Several calls as one: all or nothing. Never keep it open while something slow runs.
    Result<Transaction> begin(Durability durability = Durability::kProcessCrash) { return db_.begin(durability); }
    /// All that is read until it ends is of one moment. Nothing can be changed meanwhile by this Store.
    Result<Transaction> begin_snapshot() { return db_.begin_snapshot(); }
    Status check_integrity() { return db_.check_integrity(); }

    // --- settings -----------------------------------------------------------------------------------------------
    Result<std::optional<std::string>> setting(std::string_view key);
    Status set_setting(std::string_view key, std::string_view value);
    Status remove_setting(std::string_view key);  ///< an unknown key is fine
    /// After a reboot: in one transaction forgets all endpoints (with ports and addresses) and saved sysctls, since the
    /// kernel has forgotten them too, and records @p boot_id. Networks, settings and uplinks stay.
    Status start_boot(std::string_view boot_id);

    // --- uplinks ------------------------------------------------------------------------------------------------
    Result<std::vector<Uplink>> uplinks();  ///< by name
    Status put_uplink(const Uplink& uplink);
    Status remove_uplink(std::string_view name);  ///< unknown: not found

    // --- networks -----------------------------------------------------------------------------------------------
    /// Stores @p network (id and, if empty, bridge and created are filled in) and reserves its gateways.
    /// Invalid: usage. Name, bridge, VNI taken or subnet overlaps another network's: conflict. Survives a power cut.
    Result<Network> add_network(Network network);
    Result<std::vector<Network>> networks();  ///< by id
    Result<std::optional<Network>> find_network(std::string_view name);
    Result<std::optional<Network>> find_network(std::uint32_t id);
    Result<std::optional<Network>> find_network_by_uid(std::string_view uid);
    /// Makes it a shared one. Unknown: not found. Another network has @p uid: conflict.
    Status set_network_uid(std::uint32_t id, std::string_view uid);
    /// What is remembered of shared networks that were removed here, by uid.
    Status remember_removed(const RemovedNetwork& network);
    Result<std::vector<RemovedNetwork>> removed_networks();
    Status forget_removed(std::string_view uid);  ///< an unknown one is fine
    /// Writes mtu, internal, icc, parent and options of an existing network. Unknown: not found.
    Status update_network(const Network& network);
    /// Unknown: not found. Has endpoints: conflict that names some. Its peers and remote endpoints go with it. Survives a power cut.
    Status remove_network(std::uint32_t id);

    // --- addresses ----------------------------------------------------------------------------------------------
    /// A free address of the network's subnet of that family, with the subnet's prefix length; reserved for
    /// @p endpoint_id until the endpoint goes (0: until release_address()). Exhausted: conflict. No such subnet: usage. Of a shared
    /// network only this node's blocks are handed out.
    Result<IpPrefix> allocate_address(std::uint32_t network_id, Family family, std::uint32_t endpoint_id = 0);
    /// The same for one address that the user wants. Outside the subnet, or its network or broadcast address: usage.
    /// Taken: conflict that names by whom. Outside of the blocks of a shared network: conflict.
    Result<IpPrefix> reserve_address(std::uint32_t network_id, const IpAddress& address, std::uint32_t endpoint_id = 0);
    Status release_address(std::uint32_t network_id, const IpAddress& address);  ///< not reserved, or an endpoint's: not found

    // --- blocks of shared networks ------------------------------------------------------------------------------
    /// False if it is there. Outside of the network's subnet or range: usage. Overlaps another: conflict. Survives a power cut.
    Result<bool> add_block(std::uint32_t network_id, const IpPrefix& prefix);
    /// False if it is not there. An endpoint has an address of it: conflict.
    Result<bool> remove_block(std::uint32_t network_id, const IpPrefix& prefix);
    /// The same of a block that is another node's by now, even while endpoints have addresses of it: nothing more is given out of it.
    Result<bool> forget_block(std::uint32_t network_id, const IpPrefix& prefix);
    Result<std::vector<OwnBlock>> blocks(std::uint32_t network_id);  ///< IPv4 first, by address
    Result<std::size_t> count_blocks(std::uint32_t network_id);
    Result<bool> is_in_block(std::uint32_t network_id, const IpAddress& address);
    /// That an endpoint found no address; until a block of that family comes.
    Status want_block(std::uint32_t network_id, Family family);
    Result<bool> wants_block(std::uint32_t network_id, Family family);

    // --- endpoints ----------------------------------------------------------------------------------------------
    /// The intent of an attach, in one transaction: the endpoint in state pending with its addresses and @p ports.
    /// Filled in: id, created; in a network with subnets the addresses (one per family; `ipv4`/`ipv6` of @p draft are
    /// requests, their prefix length is replaced by the subnet's), gateways unless the network is internal, a MAC where
    /// it is zero (modes bridge, overlay and macvlan), host_ifname (bridge, overlay). In @p ports: id, endpoint_id.
    /// Conflict: name, address, MAC or host port taken. Not found: network. Nothing is stored after an error.
    Result<Endpoint> stage_endpoint(Endpoint draft, std::vector<PublishedPort> ports = {});
    /// The commit of an attach: state ready, with what the kernel told (host_ifname, host_ifindex, mac, mtu, netns_id,
    /// netns_cookie, gateways of @p endpoint are written; name, network and addresses are not).
    Status mark_ready(const Endpoint& endpoint);
    /// The intent of a detach. Unknown: not found; deleting already: fine.
    Status mark_deleting(std::uint32_t id);
    /// The commit of a detach, or the roll-back of an attach: the row, its ports and its addresses go. Unknown: not found.
    Status remove_endpoint(std::uint32_t id);
    /// What a command that died left behind: to be finished or rolled back before anything else is done.
    Result<std::vector<Endpoint>> pending_or_deleting();

    Result<std::vector<Endpoint>> endpoints();  ///< by id, all states
    Result<std::int64_t> count_endpoints();
    Result<std::vector<Endpoint>> endpoints_of_network(std::uint32_t network_id);
    Result<std::vector<Endpoint>> endpoints_in_netns(std::string_view netns_id);
    Result<std::vector<Endpoint>> endpoints_with_cookie(std::uint64_t netns_cookie);  ///< safe against a reused inode
    Result<std::optional<Endpoint>> find_endpoint(std::string_view name);
    Result<std::optional<Endpoint>> find_endpoint(std::uint32_t id);
    Result<std::optional<Endpoint>> find_endpoint(std::string_view netns_id, std::string_view ifname);
    Result<std::optional<Endpoint>> find_endpoint_by_address(std::uint32_t network_id, const IpAddress& address);
    Result<std::vector<Endpoint>> endpoints_with_address(const IpAddress& address);  ///< on any network

    // --- published ports ----------------------------------------------------------------------------------------
    /// Adds the records of one publish in one transaction; ids are filled in. A host port taken: conflict that names the
    /// endpoint. Unknown endpoint: not found.
    Result<std::vector<PublishedPort>> add_ports(std::uint32_t endpoint_id, std::vector<PublishedPort> ports);
    Result<std::vector<PublishedPort>> ports();  ///< by id
    Result<std::vector<PublishedPort>> ports_of(std::uint32_t endpoint_id);
    Status remove_port(std::uint32_t id);  ///< unknown: not found
    /// Published ports that collide with a publish on these (an any address collides with all of its family).
    /// By index: does not list the others.
    Result<std::vector<PublishedPort>> ports_overlapping(const IpAddress& host_ip, Protocol protocol, const PortRange& host_ports);
    /// For choose_host_ports(): one published range that stands in the way on any of @p host_ips, or nullopt.
    Result<std::optional<PortRange>> port_obstacle(std::span<const IpAddress> host_ips, Protocol protocol, const PortRange& wanted);

    // --- peers of overlay networks ------------------------------------------------------------------------------
    /// A record of an administrator's. False if it is there already. Unfit address, or a network that is no overlay: usage. No such
    /// network: not found. kMostPeers addresses: conflict. Survives a power cut.
    Result<bool> add_peer(const IpAddress& address, std::optional<std::uint32_t> network_id);
    Result<std::vector<Peer>> peers();  ///< by tunnel; of all networks first, then by network
    /// Those of one overlay network, each once, by tunnel; the first @p most.
    Result<std::vector<Peer>> peers_of(std::uint32_t network_id, std::int64_t most = kMostPeers);
    Result<std::optional<IpAddress>> address_of_tunnel(std::uint32_t tunnel);
    Result<std::optional<std::uint32_t>> find_tunnel(const IpAddress& peer);
    /// Whether a record of @p owner (unset: of anybody) makes the tunnel's end a peer of the network.
    Result<bool> is_peer(std::uint32_t tunnel, std::uint32_t network_id, std::optional<Owner> owner = std::nullopt);
    /// That one record. With the last one that makes it a peer of a network, its remote endpoints there go. Unknown: not found. The
    /// cluster's: conflict.
    Status remove_peer(const IpAddress& address, std::optional<std::uint32_t> network_id);
    /// Every record of the address, but for the cluster's. Unknown: not found. None but the cluster's: conflict.
    Status forget_peer(const IpAddress& address);
    /// Adds @p remote (id and tunnel are filled in). An address outside the subnet, or no addresses: usage. No peer of the
    /// network: not found. Address or MAC taken: conflict that names by whom. The very same is there already: that one.
    Result<RemoteEndpoint> add_remote_endpoint(RemoteEndpoint remote);
    Result<std::vector<RemoteEndpoint>> remote_endpoints();  ///< by id
    Result<std::optional<RemoteEndpoint>> find_remote_endpoint(std::uint32_t network_id, const IpAddress& address);
    Result<std::optional<RemoteEndpoint>> find_remote_endpoint(Owner owner, std::string_view ref);
    Result<bool> has_remote_endpoint(std::uint32_t network_id);
    /// Those of the cluster that have an endpoint on the network, by name.
    Result<std::vector<std::string>> nodes_on_network(std::uint32_t network_id);
    /// The one that has @p address. Unknown: not found. The cluster's: conflict.
    Status remove_remote_endpoint(std::uint32_t network_id, const IpAddress& address);

    // --- what the cluster says: steps of one transaction of the caller's, a row each ------------------------------
    /// Adds one of owner kEtcd (id, network and tunnel are filled in), and the record that makes its node a peer of the network.
    /// Refused as above, or because it is in a block of this node's: nothing has changed then.
    Result<RemoteEndpoint> put_remote_endpoint(RemoteEndpoint remote, const Network& network);
    Status erase_remote_endpoint(std::uint32_t id);
    /// The cluster's record of that peer, if no endpoint needs it any more, and the tunnel, if no record does.
    Status prune_peer(std::uint32_t tunnel, std::uint32_t network_id);
    /// That all peers of the network have; unset: it has none.
    Result<std::optional<Family>> family_of_peers(std::uint32_t network_id);
    Result<std::vector<RemoteNode>> remote_nodes();  ///< by name
    Result<std::optional<RemoteNode>> find_remote_node(std::string_view name);
    Result<std::optional<RemoteNode>> find_remote_node(const IpAddress& address);
    Status insert_remote_node(const RemoteNode& node);
    Status erase_remote_node(std::string_view name);

    // --- the deny list ------------------------------------------------------------------------------------------
    Result<bool> add_denied(const IpPrefix& prefix);     ///< false: it is there
    Result<bool> remove_denied(const IpPrefix& prefix);  ///< false: it is not there
    Result<std::size_t> count_denied();                  ///< reads them all
    Result<bool> has_denied();
    Result<std::vector<IpPrefix>> denied();              ///< IPv4 first, by address, then length
    Result<bool> denies_around(const IpPrefix& prefix);  ///< a shorter one covers it
    Result<bool> denies_within(const IpPrefix& prefix);  ///< it covers a longer one

    // --- sysctls ------------------------------------------------------------------------------------------------
    /// Call before the write. The first call for a path keeps `original`; later ones change only `written`.
    Status save_sysctl(const SavedSysctl& sysctl);
    Result<std::vector<SavedSysctl>> sysctls();   ///< by path
    Status remove_sysctl(std::string_view path);  ///< an unknown path is fine

private:
    explicit Store(Database db) : db_{std::move(db)} {}
    Status assign_addresses(Endpoint& endpoint, const Network& network);
    Status write_endpoint(const Endpoint& endpoint);
    Status insert_ports(std::uint32_t endpoint_id, std::vector<PublishedPort>& ports);
    Status insert_sources(std::uint32_t port_id, const std::vector<IpPrefix>& prefixes, bool allow);

    Database db_;
};

}  // namespace fastnet
