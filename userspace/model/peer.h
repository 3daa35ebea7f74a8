// Other nodes, as overlay networks see them, and the containers there that fastnet is told of: by an administrator, or by the
// agent out of etcd. Pure values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/model/network.h"

namespace fastnet {

/// Who a record belongs to, and who alone may change it.
enum class Owner : std::uint8_t { kStatic = 1, kEtcd = 2 };  // stored: never renumber

std::string to_string(Owner owner);  ///< "static", "etcd"

/// That a node is a peer (a VTEP, RFC 7348) of a network, or of all.
struct Peer {
    IpAddress address;                                       ///< on the underlay
    std::optional<std::uint32_t> network_id = std::nullopt;  ///< unset: of every overlay network, later ones too
    /// Index in the BPF map; given by the store, the same for all records of an address. Used again for another one after the last
    /// record is gone.
    std::uint32_t tunnel = 0;
    Owner owner = Owner::kStatic;  ///< an address may have a record of each

    friend bool operator==(const Peer&, const Peer&) = default;
};

/// A container on another node, which fastnet is told of and does not learn.
struct RemoteEndpoint {
    std::uint32_t id = 0;  ///< given by the store, > 0, never used again
    std::uint32_t network_id = 0;
    IpAddress peer;  ///< the node that it is on
    std::uint32_t tunnel = 0;
    std::optional<IpAddress> ipv4 = std::nullopt;
    std::optional<IpAddress> ipv6 = std::nullopt;
    MacAddress mac;
    Owner owner = Owner::kStatic;
    std::string ref{};   ///< the owner's key, unique among its own; empty if static, as the rest
    std::string name{};  ///< of the endpoint on its node
    std::string node{};  ///< name of that node

    friend bool operator==(const RemoteEndpoint&, const RemoteEndpoint&) = default;
};

/// A node of the cluster, whether it is a peer of a network or not.
struct RemoteNode {
    std::string name;                              ///< unique
    std::string uid;                               ///< of its database: a node that was made anew under the same name has another one
    std::optional<IpAddress> ipv4 = std::nullopt;  ///< VTEP addresses
    std::optional<IpAddress> ipv6 = std::nullopt;

    friend bool operator==(const RemoteNode&, const RemoteNode&) = default;
};

constexpr std::uint32_t kMostPeers = 4095;  // places in the BPF map `tunnels`, without the first

/// Usage error unless a node can have @p address on an underlay that is routed.
Status check_peer_address(const IpAddress& address);

/// The nodes of an overlay network among @p peers, each once.
std::vector<Peer> peers_of(const Network& network, const std::vector<Peer>& peers);

/// The same for many networks: their records are sorted once.
class PeerTable {
public:
    explicit PeerTable(const std::vector<Peer>& peers);
    std::vector<Peer> of(const Network& network) const;

private:
    std::vector<Peer> everywhere_{};
    std::map<std::uint32_t, std::vector<Peer>> here_{};  // by network
};

/// Whether addresses of @p network are learned: of a shared one never, else what its options say, else unless @p has_remotes (it has
/// endpoints on other nodes that fastnet is told of).
bool learns(const Network& network, bool has_remotes);

/// The MTU of @p network: its own, else @p uplink_mtu, in an overlay without what the outside of an inner packet costs.
std::uint32_t mtu_of(const Network& network, std::uint32_t uplink_mtu, const std::vector<Peer>& peers);

}  // namespace fastnet
