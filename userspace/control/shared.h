// What the nodes of a cluster share, as this node has it in its own database and maps: other nodes and their endpoints, shared
// networks, and the blocks of addresses that this node alone hands out. The agent keeps it equal to etcd; where it comes from is
// not known here. Each call takes the node's lock for as long as it runs, like a command; those that read take none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/control/paths.h"
#include "userspace/model/address_pool.h"
#include "userspace/model/endpoint.h"
#include "userspace/model/network.h"
#include "userspace/model/peer.h"

namespace fastnet {

// --- other nodes and their endpoints ------------------------------------------------------------------------------

/// An endpoint of another node on a shared network.
struct RemoteSpec {
    std::string ref;   ///< the owner's key
    std::string node;  ///< name
    std::string name;  ///< of the endpoint
    std::string network_uid;
    std::optional<IpAddress> ipv4 = std::nullopt;
    std::optional<IpAddress> ipv6 = std::nullopt;
    MacAddress mac;
    IpAddress peer;  ///< the VTEP address of its node

    friend bool operator==(const RemoteSpec&, const RemoteSpec&) = default;
};

/// What was dropped goes before what is put. A node that is dropped takes none of its endpoints along: they are named too.
struct RemoteChange {
    std::vector<RemoteNode> put_nodes{};
    std::vector<std::string> drop_nodes{};  ///< by name; unknown ones are fine, as below
    std::vector<RemoteSpec> put{};          ///< new, or instead of what had the ref
    std::vector<std::string> drop_refs{};
};

struct Rejected {
    std::string ref;  ///< of a RemoteSpec, or the name of a RemoteNode
    std::string why;
};

struct RemoteOutcome {
    std::size_t changed = 0;                 ///< records that are other than before
    std::vector<Rejected> rejected_nodes{};  ///< not on record, nor is what had that name or ref before
    std::vector<Rejected> rejected{};
};

/// One transaction, and only those steps in the kernel that follow from it. A node is a peer of a network as long as it has an
/// endpoint there. Rejected is what this node cannot have: an unfit address or MAC, one that is taken, a network that is not shared
/// here. An error: nothing is on record, or the next command carries it out.
Result<RemoteOutcome> apply_remote_change(const NodePaths& paths, const RemoteChange& change);

// --- what this node has -------------------------------------------------------------------------------------------

struct OwnNetwork {
    Network network{};
    std::vector<OwnBlock> blocks{};     ///< IPv4 first, by address
    std::vector<Endpoint> endpoints{};  ///< of this node, ready
    /// An endpoint was refused an address of that family because no block had one; until a block comes.
    bool wants_ipv4_block = false;
    bool wants_ipv6_block = false;
};

struct OwnSide {
    std::vector<OwnNetwork> shared{};       ///< by id, as the next
    std::vector<OwnNetwork> to_share{};     ///< overlay networks of scope cluster that have no uid yet
    std::vector<RemovedNetwork> removed{};  ///< shared ones that were removed here; until forget_removed()
};

struct SharedState {
    OwnSide own{};
    std::vector<RemoteNode> nodes{};    ///< by name
    std::vector<RemoteSpec> remotes{};  ///< by ref
};

/// As of one moment. A node that was never prepared: not found.
Result<SharedState> read_shared(const NodePaths& paths);
/// The same without the other nodes: cheap however many they have.
Result<OwnSide> read_own_side(const NodePaths& paths);

// --- networks -----------------------------------------------------------------------------------------------------

/// From here on the network is the cluster's. Unknown: not found. Another uid already, or not of scope cluster: conflict.
Status share_network(const NodePaths& paths, const std::string& name, const std::string& uid);
/// Makes the network that another node shares; @p wanted has a uid (id, bridge and created are filled in). Here already: as it is, with its
/// mtu, internal, icc and options brought up to date. Name, VNI or subnet taken here, or removed here a moment ago: conflict.
Result<Network> join_network(const NodePaths& paths, Network wanted);
/// The cluster has it no more: it goes here too. Endpoints on it: conflict. Unknown: fine.
Status leave_network(const NodePaths& paths, const std::string& uid);
/// Its removal is known to the cluster. Unknown: fine.
Status forget_removed(const NodePaths& paths, const std::string& uid);

// --- blocks -------------------------------------------------------------------------------------------------------

/// Unknown network: not found. Outside of its subnet or range: usage. Overlaps another one: conflict. The same again is fine.
Status add_block(const NodePaths& paths, const std::string& uid, const IpPrefix& prefix);
/// Endpoints of this node in it: conflict. Unknown: fine.
Status remove_block(const NodePaths& paths, const std::string& uid, const IpPrefix& prefix);
/// It is another node's by now (it was freed while this node was away): nothing more is given out of it, whoever has an address of it.
Status lose_block(const NodePaths& paths, const std::string& uid, const IpPrefix& prefix);

// --- the agent's own records --------------------------------------------------------------------------------------

/// Whether overlay networks that are made from now on are shared unless they say `--opt scope=local`, and the name of this node
/// in the cluster (unset: no cluster).
Status set_cluster_name(const NodePaths& paths, const std::optional<std::string>& node);

/// What the agent keeps for its next start (its lease, the cluster's id), in the settings.
Result<std::optional<std::string>> read_agent_setting(const NodePaths& paths, const std::string& key);
Status write_agent_setting(const NodePaths& paths, const std::string& key, const std::optional<std::string>& value);

}  // namespace fastnet
