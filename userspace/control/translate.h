// From the model to the entries of the BPF maps and back. Pure: the only place where byte order changes hands.
#pragma once

#include <compare>
#include <cstdint>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "bpf/abi/endpoint.h"
#include "bpf/abi/flow.h"
#include "bpf/abi/service.h"
#include "bpf/abi/tunnel.h"
#include "loader/base/net_types.h"
#include "userspace/model/endpoint.h"
#include "userspace/model/network.h"
#include "userspace/model/peer.h"

namespace fastnet {

/// Of every fastnet bridge on every node: a container that moves keeps its ARP entry of the gateway.
inline const MacAddress kGatewayMac{{0x02, 0x66, 0x6e, 0x00, 0x00, 0x01}};

fnet_addr to_abi(const IpAddress& address);
IpAddress from_abi(const fnet_addr& address);
Port port_from_abi(__be16 port);
MacAddress mac_from_abi(const __u8 (&mac)[FNET_MAC_LEN]);

fnet_subnet_key subnet_key(const IpPrefix& subnet);
IpPrefix subnet_from(const fnet_subnet_key& key);

fnet_address_key address_key(const IpAddress& address, std::uint32_t network_id);
fnet_address address_value(std::uint32_t host_ifindex, const MacAddress& mac);
fnet_address remote_address_value(std::uint32_t tunnel, const MacAddress& mac);
bool is_learned(const fnet_address& address);
/// The same as far as user space writes it.
bool same_address(const fnet_address& a, const fnet_address& b);

/// @p vni 0: the row that says that the address is a peer's.
fnet_vtep_key vtep_key(const IpAddress& peer, std::uint32_t vni);
/// Without the bridge's index and what BPF counts.
fnet_vtep vtep_value(const Network& network, std::uint32_t tunnel, bool learning);
/// The same as far as user space writes it.
bool same_vtep(const fnet_vtep& a, const fnet_vtep& b);
fnet_tunnel tunnel_value(const IpAddress& peer);

/// Counters and the flags that BPF writes are zero.
fnet_endpoint endpoint_value(const Endpoint& endpoint, const Network& network, std::uint32_t bridge_ifindex);
/// The same as far as user space writes it.
bool same_endpoint(const fnet_endpoint& a, const fnet_endpoint& b);
/// @p wanted with the counters and flags that BPF keeps in @p present.
fnet_endpoint with_counters_of(fnet_endpoint wanted, const fnet_endpoint& present);

/// Orders ABI structs without hidden padding, for maps of them.
template <typename Abi>
struct AbiLess {
    bool operator()(const Abi& a, const Abi& b) const { return std::memcmp(&a, &b, sizeof(Abi)) < 0; }
};
using VtepRows = std::map<fnet_vtep_key, fnet_vtep, AbiLess<fnet_vtep_key>>;
using ServiceRows = std::map<fnet_service_key, fnet_service, AbiLess<fnet_service_key>>;
/// Entries of @p ports, which are @p endpoint's in the order of their ids: one per aligned block of host ports, at most
/// kMaxPortBlocks each. In a routed network the container's own address and port lead to it too; where several ports would
/// have such an entry, the first has it.
ServiceRows service_rows(const std::vector<PublishedPort>& ports, const Endpoint& endpoint, const Network& network);
/// @p rows by the id of the published port that each belongs to.
std::map<std::uint32_t, ServiceRows> by_port(const ServiceRows& rows);
/// What `sources` holds about @p port: the prefixes of its own family.
std::vector<std::pair<fnet_source_key, std::uint32_t>> source_entries(const PublishedPort& port);
/// The ports that an entry covers.
PortRange ports_of(const fnet_service_key& key);

template <typename Abi>
bool same_bytes(const Abi& a, const Abi& b) {
    static_assert(std::has_unique_object_representations_v<Abi>);
    return std::memcmp(&a, &b, sizeof(Abi)) == 0;
}

}  // namespace fastnet
