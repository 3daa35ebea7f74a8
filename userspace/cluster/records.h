// The values in etcd: JSON objects of at most 4 KiB. Pure. Whatever is read is checked here as far as one value can be judged
// alone; members that this version does not know are passed over, so that newer nodes can say more.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/model/network.h"

namespace fastnet::cluster {

constexpr std::size_t kMaxValue = 4096;

struct NodeRecord {
    std::string uid;
    std::string name;
    std::optional<IpAddress> ipv4;  ///< VTEP addresses; one at least
    std::optional<IpAddress> ipv6;
    std::string version;
    friend bool operator==(const NodeRecord&, const NodeRecord&) = default;
};

struct VtepRecord {
    std::string uid;
    std::string name;
    friend bool operator==(const VtepRecord&, const VtepRecord&) = default;
};

struct NetworkRecord {
    std::string uid;
    std::string name;
    bool removed = false;  ///< a tombstone; the rest says nothing then
    std::uint32_t vni = 0;
    std::vector<IpPrefix> subnets{};
    std::vector<IpAddress> gateways{};
    std::vector<IpPrefix> ip_ranges{};
    std::uint32_t mtu = 0;
    bool internal = false;
    bool icc = true;
    std::map<std::string, std::string> options{};

    friend bool operator==(const NetworkRecord&, const NetworkRecord&) = default;
};

/// The network that @p record describes, as a node would have made it; id, bridge and created are unset. That it is the cluster's goes
/// without saying: the option `scope` is not written.
Network network_from(const NetworkRecord& record);
NetworkRecord record_of(const Network& network, std::string uid);
/// The same but for the uid: what makes two networks one.
bool same_arguments(const NetworkRecord& a, const NetworkRecord& b);

struct BlockRecord {
    std::string uid;   ///< of the node
    std::string name;  ///< of the node, for people
    friend bool operator==(const BlockRecord&, const BlockRecord&) = default;
};

struct EndpointRecord {
    std::string uid;      ///< of the node
    std::string network;  ///< uid
    std::string name;
    std::optional<IpAddress> ipv4;
    std::optional<IpAddress> ipv6;
    MacAddress mac;
    friend bool operator==(const EndpointRecord&, const EndpointRecord&) = default;
};

std::string encode(const NodeRecord& record);
std::string encode(const VtepRecord& record);
std::string encode(const NetworkRecord& record);
std::string encode(const BlockRecord& record);
std::string encode(const EndpointRecord& record);

/// Usage error that says what is wrong with @p value.
Result<NodeRecord> decode_node(std::string_view value);
Result<VtepRecord> decode_vtep(std::string_view value);
Result<NetworkRecord> decode_network(std::string_view value);
Result<BlockRecord> decode_block(std::string_view value);
Result<EndpointRecord> decode_endpoint(std::string_view value);

}  // namespace fastnet::cluster
