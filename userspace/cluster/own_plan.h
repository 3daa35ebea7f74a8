// What this node has to write into etcd, and what it has to do to its own networks and blocks because of etcd. Pure: each function looks
// at the mirror and at the node's side, and says one kind of next steps; the worker carries them out and asks again. Every transaction
// compares what it relies on, so one that was planned on an old mirror does nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "userspace/cluster/judge.h"
#include "userspace/cluster/mirror.h"
#include "userspace/control/shared.h"

namespace fastnet::cluster {

/// This node, as it shows itself to the others.
struct Self {
    std::string name;
    std::string uid;
    std::optional<IpAddress> ipv4;
    std::optional<IpAddress> ipv6;
    std::string version;
    friend bool operator==(const Self&, const Self&) = default;
};

// --- nodes/ and vteps/ --------------------------------------------------------------------------------------------

struct Registration {
    std::optional<Txn> txn{};  ///< unset: nothing to write, or nothing that may be
    std::string conflict{};    ///< name or address is another node's: "what: why"
    bool done() const { return !txn && conflict.empty(); }
};
/// Name and addresses in one transaction, on @p lease: all of them or none.
Registration plan_registration(const Mirror& mirror, const Self& self, std::int64_t lease);

// --- endpoints/ ---------------------------------------------------------------------------------------------------

/// What differs, in transactions of at most @p most operations. Endpoints outside of this node's blocks are left out.
std::vector<Txn> plan_endpoints(const Mirror& mirror, const Self& self, std::int64_t lease, const OwnSide& own, std::size_t most = 100);

// --- networks/ ----------------------------------------------------------------------------------------------------

/// Another node's network, to be made here.
struct JoinNetwork {
    NetworkRecord record;
};
/// The cluster has it no more. Refused here as long as endpoints are on it: their traffic goes on.
struct LeaveNetwork {
    std::string uid;
    std::string name;
};
/// This node's network, to be written; after that it is the cluster's, and so are the blocks its endpoints are in.
struct ShareNetwork {
    std::string name;
    std::string uid;
    std::optional<Txn> txn{};  ///< unset: it is all there
    std::vector<IpPrefix> blocks{};
};
/// A shared network that etcd lost.
struct RestoreNetwork {
    std::string name;
    Txn txn;
};
/// Removed on this node: a tombstone tells the others; it is written on a lease of its own. Without a transaction they know already.
struct BuryNetwork {
    std::string uid;
    std::string name;
    std::optional<Txn> txn{};
};
/// A network that cannot be the cluster's, or not this node's.
struct NetworkProblem {
    std::string name;
    std::string why;
};
using NetworkStep = std::variant<JoinNetwork, LeaveNetwork, ShareNetwork, RestoreNetwork, BuryNetwork, NetworkProblem>;

/// @p tombstone_lease is given to what buries. A shared network that etcd does not have is written again only with @p may_restore: etcd
/// lost the networks. Else it was removed so long ago that its tombstone is gone, and this node leaves it. Only one step per call changes
/// etcd's networks, since each changes the generation.
std::vector<NetworkStep> plan_networks(const Mirror& mirror, const Self& self, const OwnSide& own, std::int64_t tombstone_lease,
                                       bool may_restore);
/// Whether plan_networks() will need a lease for tombstones.
bool needs_tombstone(const Mirror& mirror, const OwnSide& own);

constexpr std::size_t kMostNetworks = 1'024;  ///< of a cluster; more are not joined

// --- blocks/ ------------------------------------------------------------------------------------------------------

/// Claim in etcd, then have.
struct TakeBlock {
    std::string network;
    IpPrefix prefix;
    std::optional<Txn> txn{};  ///< unset: it is this node's in etcd already
};
/// Have no more, then let go of in etcd.
struct ReturnBlock {
    std::string network;
    IpPrefix prefix;
    Txn txn;
};
/// Had here, not in etcd: it was wiped; or under the name that this node had before.
struct RestoreBlock {
    std::string network;
    IpPrefix prefix;
    Txn txn;
};
/// Another node has it: `--forget` freed it while this node was away.
struct LoseBlock {
    std::string network;  ///< uid
    IpPrefix prefix;
    std::string why;
};
struct BlockProblem {
    std::string network;  ///< name
    std::string why;
};
using BlockStep = std::variant<TakeBlock, ReturnBlock, RestoreBlock, LoseBlock, BlockProblem>;

/// With @p wiped no new block is taken: whose it was may not be written yet.
std::vector<BlockStep> plan_blocks(const Mirror& mirror, const Self& self, const OwnSide& own, bool wiped);

// --- wipes --------------------------------------------------------------------------------------------------------

/// What has no lease and is gone, though this node knows it to have been there.
struct SignsOfWipe {
    std::set<std::string> blocks{};  ///< "what is gone", each. Also of a node that was forgotten: no proof
    bool networks = false;           ///< nobody deletes the generation
};
SignsOfWipe signs_of_wipe(const Mirror& mirror, const OwnSide& own);

// --- administration -----------------------------------------------------------------------------------------------

/// `--forget NODE`: its blocks, and whatever else has its name. Conflict: the node is alive. Not found: nothing has its name.
Result<std::vector<Txn>> plan_forget(const Mirror& mirror, const std::string& name, std::size_t most = 100);

}  // namespace fastnet::cluster
