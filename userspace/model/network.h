// A network as the user wants it: name, driver, subnets, options. A pure value; the store gives it its id.
// Invariant after validate(): at most one subnet, gateway and range per family, each inside the other.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"

namespace fastnet {

enum class NetworkDriver : std::uint8_t { kBridge = 1, kOverlay = 2, kMacvlan = 3, kIpvlan = 4 };  // stored: never renumber

std::string to_string(NetworkDriver driver);                              ///< "bridge", "overlay", "macvlan", "ipvlan"
std::optional<NetworkDriver> network_driver_from(std::string_view text);  ///< exactly the words above

/// The network has a bridge device on the host, and its endpoints veths that are ports of it: bridge and overlay.
constexpr bool has_bridge(NetworkDriver driver) {
    return driver == NetworkDriver::kBridge || driver == NetworkDriver::kOverlay;
}

constexpr std::string_view kDefaultNetworkName = "default";
constexpr std::uint32_t kMaxVni = 0xffffff;  // RFC 7348: 24 bits

struct Network {
    std::uint32_t id = 0;  ///< given by the store, > 0, never used again after the network is gone
    std::string name;
    std::string uid{};  ///< of a network that the nodes of a cluster share, the same on all of them; empty: this node's own
    NetworkDriver driver = NetworkDriver::kBridge;
    std::vector<IpPrefix> subnets;    ///< at most one per family, host bits zero
    std::vector<IpAddress> gateways;  ///< at most one per family, each inside its subnet
    std::vector<IpPrefix> ip_ranges;  ///< at most one per family: the part of the subnet that addresses are picked from
    std::uint32_t mtu = 0;            ///< bytes; 0 = follow the uplink
    bool internal = false;            ///< no way out, no default route
    bool icc = true;                  ///< endpoints of this network may talk to each other
    std::uint32_t vni = 0;            ///< overlay only, 1-16777215; else 0
    std::string parent;               ///< macvlan and ipvlan: the host device; else empty
    std::string bridge;               ///< host device that carries the gateway addresses; empty: the store derives it from id and name
    std::map<std::string, std::string> options;  ///< driver options as given (`--opt k=v`)
    std::int64_t created = 0;                    ///< seconds since the epoch

    std::optional<IpPrefix> subnet(Family family) const;
    std::optional<IpAddress> gateway(Family family) const;
    std::optional<IpPrefix> ip_range(Family family) const;

    friend bool operator==(const Network&, const Network&) = default;
};

/// A shared network that was removed on this node, which the cluster has to be told.
struct RemovedNetwork {
    std::string uid;
    std::string name;

    friend bool operator==(const RemovedNetwork&, const RemovedNetwork&) = default;
};

/// Usage error unless @p uid can be one of a shared network: letters, digits and dashes, 64 at most.
Status check_network_uid(std::string_view uid);

/// Everything that can be judged without looking at the host or at other networks.
Status validate(const Network& network);

/// Fit for a network of its own: not loopback, multicast, link-local or everything, and room for a gateway and one endpoint.
/// /31 and /127 are fit (RFC 3021, RFC 6164): gateway first, one endpoint; /32 and /128 are refused.
Status check_subnet(const IpPrefix& subnet);

/// The first address of @p subnet that an interface may have.
IpAddress default_gateway(const IpPrefix& subnet);

}  // namespace fastnet
