// Other nodes, as overlay networks see them, and the containers there that an administrator named. Pure values.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/model/network.h"

namespace fastnet {

/// That a node is a peer (a VTEP, RFC 7348) of a network, or of all.
struct Peer {
    IpAddress address;                                       ///< on the underlay
    std::optional<std::uint32_t> network_id = std::nullopt;  ///< unset: of every overlay network, later ones too
    /// Index in the BPF map; given by the store, the same for all records of an address. Used again for another one after the last
    /// record is gone.
    std::uint32_t tunnel = 0;

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

    friend bool operator==(const RemoteEndpoint&, const RemoteEndpoint&) = default;
};

constexpr std::uint32_t kMostPeers = 4095;  // places in the BPF map `tunnels`, without the first

/// Usage error unless a node can have @p address on an underlay that is routed.
Status check_peer_address(const IpAddress& address);

/// The nodes of an overlay network among @p peers, each once.
std::vector<Peer> peers_of(const Network& network, const std::vector<Peer>& peers);

/// Whether addresses of @p network are learned: what its options say, else unless it has a remote endpoint in @p remotes.
bool learns(const Network& network, const std::vector<RemoteEndpoint>& remotes);

/// The MTU of @p network: its own, else @p uplink_mtu, in an overlay without what the outside of an inner packet costs.
std::uint32_t mtu_of(const Network& network, std::uint32_t uplink_mtu, const std::vector<Peer>& peers);

}  // namespace fastnet
