// Whether what another node wrote into etcd may reach this node's maps. Pure: judged by the mirror and by what is here, never by what
// the entry says of itself alone.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "userspace/cluster/blocks.h"
#include "userspace/cluster/mirror.h"
#include "userspace/control/shared.h"

namespace fastnet::cluster {

/// Why an entry is not taken; few, since they are labels of a metric.
enum class Reason {
    kNone,
    kUnreadable,      ///< no key or value that fastnet writes
    kUnknownNode,     ///< its node is not in the cluster, or another one has the name by now
    kUnfitNode,       ///< a VTEP address that is somebody else's, or that no other node can have
    kUnknownNetwork,  ///< not shared with this node
    kOutsideSubnet,   ///< not in the subnet, or an address in it that no endpoint can have
    kOutsideBlock,    ///< in a block that its node does not own
    kTakenAddress,    ///< an older entry has the address
    kTakenMac,
    kRefusedHere,      ///< by this node's own records
    kNetworkConflict,  ///< a network that cannot be had here
};
std::string to_string(Reason reason);  ///< `unknown_node`

struct LocalNetwork {
    Network network;
    std::optional<BlockLayout> ipv4;
    std::optional<BlockLayout> ipv6;
    const std::optional<BlockLayout>& layout(Family family) const { return family == Family::kIpv4 ? ipv4 : ipv6; }
    friend bool operator==(const LocalNetwork& a, const LocalNetwork& b) { return a.network == b.network; }
};
LocalNetwork local_network(const Network& network);

/// This node, as far as the others' entries are judged by it.
struct Here {
    std::string name;
    std::string uid;
    std::optional<IpAddress> ipv4;  ///< VTEP addresses
    std::optional<IpAddress> ipv6;
    std::map<std::string, LocalNetwork> networks;  ///< shared ones, by uid
};

struct Judgement {
    Reason reason = Reason::kNone;
    std::string why{};   ///< for people; empty if it is taken
    bool waits = false;  ///< something is missing, nothing contradicts: what is in use already may stay a while
    bool taken() const { return reason == Reason::kNone; }
};

struct JudgedNode : Judgement {
    RemoteNode node{};
};
struct JudgedEndpoint : Judgement {
    RemoteSpec spec{};
};

/// The node of that name; not this one.
JudgedNode judge_node(const Mirror& mirror, const Here& here, const std::string& name);
/// All but whether somebody else has the same address or MAC: RemotePlan knows.
JudgedEndpoint judge_endpoint(const Mirror& mirror, const Here& here, const EndpointKey& key);

}  // namespace fastnet::cluster
