#include "userspace/cluster/own_plan.h"

#include <algorithm>
#include <map>
#include <set>

#include "loader/base/text.h"
#include "userspace/cluster/blocks.h"

namespace fastnet::cluster {
namespace {

/// The node's own key as it is: who lost the name writes nothing any more.
Compare still_me(const Mirror& mirror, const Self& self) {
    const Key key = NodeKey{self.name};
    return Compare::mod_revision(mirror.keys().path(key), mirror.mod_revision(key));
}

Compare unchanged(const Mirror& mirror, const Key& key) {
    return Compare::mod_revision(mirror.keys().path(key), mirror.mod_revision(key));
}

std::vector<IpAddress> addresses_of(const Self& self) {
    std::vector<IpAddress> addresses;
    for (const auto& address : {self.ipv4, self.ipv6})
        if (address) addresses.push_back(*address);
    return addresses;
}

bool is_own(const Mirror& mirror, const Self& self, const BlockKey& key) {
    const Entry<BlockRecord>* const block = mirror.block(key);
    return block != nullptr && block->record.uid == self.uid;
}

/// Writes networks/<name>; whatever else the transaction does, it does on the networks as they were read.
Txn network_txn(const Mirror& mirror, const Self& self, const std::string& name, const std::string& value, std::int64_t lease) {
    const Key network = NetworkKey{name};
    const Key generation = GenerationKey{};
    Txn txn;
    txn.compares = {still_me(mirror, self), unchanged(mirror, network), unchanged(mirror, generation)};
    txn.then = {TxnOp::put(mirror.keys().path(network), value, lease), TxnOp::put(mirror.keys().path(generation), self.uid)};
    return txn;
}

/// Why @p record cannot be beside the other networks of the cluster.
std::optional<std::string> clash(const Mirror& mirror, const NetworkRecord& record) {
    for (const auto& [name, entry] : mirror.networks()) {
        const NetworkRecord& other = entry.record;
        if (other.removed || name == record.name) continue;
        if (other.uid == record.uid) return "network " + in_quotes(name) + " of the cluster has the same uid";
        if (other.vni == record.vni) return "network " + in_quotes(name) + " of the cluster has VNI " + std::to_string(record.vni);
        for (const IpPrefix& subnet : record.subnets)
            for (const IpPrefix& taken : other.subnets)
                if (subnet.family() == taken.family() && subnet.overlaps(taken))
                    return "subnet " + subnet.to_string() + " overlaps " + taken.to_string() + " of network " + in_quotes(name) +
                           " of the cluster";
    }
    return std::nullopt;
}

/// Which blocks of @p layout the endpoints of @p own are in, each with one of them.
std::map<IpPrefix, const Endpoint*> blocks_of_endpoints(const OwnNetwork& own, const BlockLayout& layout) {
    std::map<IpPrefix, const Endpoint*> blocks;
    for (const Endpoint& endpoint : own.endpoints) {
        const auto& address = layout.range.family() == Family::kIpv4 ? endpoint.ipv4 : endpoint.ipv6;
        if (!address) continue;
        if (const auto block = layout.block_of(address->address())) blocks.emplace(*block, &endpoint);
    }
    return blocks;
}

/// The blocks that the endpoints of @p own are in: each once.
std::vector<IpPrefix> blocks_in_use(const OwnNetwork& own) {
    std::vector<IpPrefix> blocks;
    const LocalNetwork local = local_network(own.network);
    for (const auto& layout : {local.ipv4, local.ipv6})
        if (layout)
            for (const auto& [block, endpoint] : blocks_of_endpoints(own, *layout)) blocks.push_back(block);
    return blocks;
}

/// An endpoint whose address is no block's: made with --ip while the network was this node's alone.
const Endpoint* outside_of_blocks(const OwnNetwork& own) {
    const LocalNetwork local = local_network(own.network);
    for (const Endpoint& endpoint : own.endpoints)
        for (const auto& address : {endpoint.ipv4, endpoint.ipv6}) {
            if (!address) continue;
            const auto& layout = local.layout(address->family());
            if (!layout || !layout->block_of(address->address())) return &endpoint;
        }
    return nullptr;
}

/// Null: it cannot be read.
std::string owner_of(const Entry<BlockRecord>* block) {
    return block == nullptr ? "an entry that cannot be read" : "node " + in_quotes(block->record.name);
}

TxnOp put_block(const Mirror& mirror, const Self& self, const BlockKey& key) {
    return TxnOp::put(mirror.keys().path(key), encode(BlockRecord{self.uid, self.name}));
}

/// A network of this node that wants to be the cluster's.
NetworkStep plan_share(const Mirror& mirror, const Self& self, const OwnNetwork& own) {
    const std::string& name = own.network.name;
    const NetworkRecord wanted = record_of(own.network, random_uid());
    const Entry<NetworkRecord>* const there = mirror.network(name);
    if (mirror.is_unreadable(NetworkKey{name}))
        return NetworkProblem{name, "the cluster has a network of that name that this version of fastnet cannot read"};
    const bool exists = there != nullptr && !there->record.removed;
    if (exists && !same_arguments(there->record, wanted))
        return NetworkProblem{name, "the cluster has a network of that name with other arguments"};
    if (!exists) {
        if (auto why = clash(mirror, wanted)) return NetworkProblem{name, *std::move(why)};
    }
    if (const Endpoint* const endpoint = outside_of_blocks(own))
        return NetworkProblem{name,
                              "endpoint " + in_quotes(endpoint->name) + " has an address outside of the range that blocks are cut from"};
    ShareNetwork share{name, exists ? there->record.uid : wanted.uid, std::nullopt, blocks_in_use(own)};
    Txn txn;
    if (exists)
        txn.compares = {still_me(mirror, self), unchanged(mirror, NetworkKey{name})};
    else
        txn = network_txn(mirror, self, name, encode(wanted), 0);
    for (const IpPrefix& prefix : share.blocks) {
        const BlockKey key{share.uid, prefix};
        const Entry<BlockRecord>* const block = mirror.block(key);
        if (block != nullptr ? block->record.uid != self.uid : mirror.is_unreadable(key))
            return NetworkProblem{name,
                                  "its endpoints have addresses in block " + prefix.to_string() + ", which is that of " + owner_of(block)};
        if (block != nullptr) continue;
        txn.compares.push_back(unchanged(mirror, key));
        txn.then.push_back(put_block(mirror, self, key));
    }
    if (txn.then.size() > 100) return NetworkProblem{name, "its endpoints are spread over more than 98 blocks"};
    if (!txn.then.empty()) share.txn = std::move(txn);
    return share;
}

/// A network that this node shares, as etcd has it now. Nullopt: all is well.
std::optional<NetworkStep> plan_shared(const Mirror& mirror, const Self& self, const OwnNetwork& own, bool may_restore) {
    const std::string& name = own.network.name;
    const std::string& uid = own.network.uid;
    const Entry<NetworkRecord>* const there = mirror.network(name);
    if (there != nullptr && there->record.uid != uid) return LeaveNetwork{uid, name};  // removed, and made anew by somebody
    if (there != nullptr && there->record.removed) return LeaveNetwork{uid, name};
    if (there != nullptr) {
        const NetworkRecord here = record_of(own.network, uid);
        if (same_arguments(there->record, here)) return std::nullopt;
        const bool same_place = there->record.vni == here.vni && there->record.subnets == here.subnets &&
                                there->record.gateways == here.gateways && there->record.ip_ranges == here.ip_ranges;
        if (same_place) return JoinNetwork{there->record};  // brings the rest up to date
        return NetworkProblem{name, "the cluster's has another VNI or other subnets by now"};
    }
    if (mirror.is_unreadable(NetworkKey{name}))
        return NetworkProblem{name, "etcd's entry cannot be read by this version of fastnet: the network stays as it was"};
    if (!may_restore) return LeaveNetwork{uid, name};
    const NetworkRecord record = record_of(own.network, uid);
    if (auto why = clash(mirror, record)) return NetworkProblem{name, "etcd lost it, and it cannot be written again: " + *std::move(why)};
    return RestoreNetwork{name, network_txn(mirror, self, name, encode(record), 0)};
}

/// Changes one block, which must be as it was read.
Txn block_txn(const Mirror& mirror, const Self& self, const BlockKey& key, TxnOp op) {
    Txn txn;
    txn.compares = {still_me(mirror, self), unchanged(mirror, key)};
    txn.then = {std::move(op)};
    return txn;
}

/// Steps of one family of one shared network.
void plan_family(const Mirror& mirror, const Self& self, const OwnNetwork& own, Family family, bool wiped, std::vector<BlockStep>& steps) {
    const LocalNetwork local = local_network(own.network);
    const auto& layout = local.layout(family);
    if (!layout) return;
    const std::string& uid = own.network.uid;
    BlockUse use{.wanted = family == Family::kIpv4 ? own.wants_ipv4_block : own.wants_ipv6_block};
    std::set<IpPrefix> here;
    std::vector<const OwnBlock*> idle;
    for (const OwnBlock& block : own.blocks) {
        if (block.prefix.family() != family) continue;
        here.insert(block.prefix);
        const BlockKey key{uid, block.prefix};
        const Entry<BlockRecord>* const entry = mirror.block(key);
        if (mirror.is_unreadable(key)) {
            steps.push_back(BlockProblem{own.network.name, "block " + block.prefix.to_string() +
                                                               " has an entry in etcd that cannot be read: endpoints in it are not shown"});
        } else if (entry == nullptr) {
            steps.push_back(RestoreBlock{uid, block.prefix, block_txn(mirror, self, key, put_block(mirror, self, key))});
        } else if (entry->record.uid != self.uid) {
            steps.push_back(LoseBlock{uid, block.prefix,
                                      "block " + block.prefix.to_string() + " of network " + in_quotes(own.network.name) +
                                          " is that of node " + in_quotes(entry->record.name) +
                                          " by now: endpoints in it are not shown to other nodes; detach and attach them again"});
            continue;
        } else if (entry->record.name != self.name) {
            steps.push_back(RestoreBlock{uid, block.prefix, block_txn(mirror, self, key, put_block(mirror, self, key))});
        }
        use.add(block);
        if (block.free == block.size) idle.push_back(&block);
    }
    // An endpoint that came while the network was being shared: its block was not claimed with it.
    for (const auto& [block, endpoint] : blocks_of_endpoints(own, *layout)) {
        if (here.contains(block)) continue;
        const BlockKey key{uid, block};
        const Entry<BlockRecord>* const entry = mirror.block(key);
        if (entry != nullptr && entry->record.uid == self.uid) continue;  // below
        if (mirror.mod_revision(key) != 0)
            steps.push_back(BlockProblem{own.network.name, "endpoint " + in_quotes(endpoint->name) + " has an address in block " +
                                                               block.to_string() + " of " + owner_of(entry) +
                                                               " and is not shown to other nodes: detach and attach it again"});
        else if (!wiped)
            steps.push_back(TakeBlock{uid, block, block_txn(mirror, self, key, put_block(mirror, self, key))});
    }
    // Claimed before a crash, and not on record here.
    bool recovers = false;
    for (const BlockKey& key : mirror.blocks_of_node(self.uid)) {
        if (key.network != uid || here.contains(key.prefix) || !layout->is_block(key.prefix)) continue;
        steps.push_back(TakeBlock{uid, key.prefix, std::nullopt});
        recovers = true;
    }
    if (recovers) return;
    const std::uint64_t taken = mirror.count_blocks(uid, family, layout->length);
    const std::uint64_t more = wiped ? 0 : blocks_to_take(use, *layout, taken);
    std::set<IpPrefix> chosen;
    while (chosen.size() < more) {
        const auto prefix = pick_block(*layout, self.uid + uid, taken + chosen.size(), [&](const IpPrefix& one) {
            return chosen.contains(one) || mirror.mod_revision(BlockKey{uid, one}) != 0;
        });
        if (!prefix) break;
        chosen.insert(*prefix);
        const BlockKey key{uid, *prefix};
        steps.push_back(TakeBlock{uid, *prefix, block_txn(mirror, self, key, put_block(mirror, self, key))});
    }
    if (chosen.size() < more && use.free == 0)
        steps.push_back(BlockProblem{own.network.name, "no free block is left in " + layout->range.to_string() +
                                                           ": `fastnet agent --forget NODE` frees those of a node that is gone for good"});
    if (more != 0) return;
    for (const OwnBlock* const block : idle) {
        if (!can_spare(use, *block, *layout, taken)) break;
        use.remove(*block);
        const BlockKey key{uid, block->prefix};
        steps.push_back(ReturnBlock{uid, block->prefix, block_txn(mirror, self, key, TxnOp::erase(mirror.keys().path(key)))});
    }
}

/// Gathers operations into transactions of a size that etcd takes.
class Batches {
public:
    Batches(std::vector<Compare> compares, std::size_t most) : compares_{std::move(compares)}, most_{most} {}
    void add(TxnOp op, std::optional<Compare> compare = std::nullopt) {
        if (txns_.empty() || txns_.back().then.size() >= most_) {
            txns_.emplace_back();
            txns_.back().compares = compares_;
            // Each value is this node's own; one that is late is seen by the watch and written anew.
            txns_.back().harmless_twice = true;
        }
        txns_.back().then.push_back(std::move(op));
        if (compare) txns_.back().compares.push_back(*std::move(compare));
    }
    std::vector<Txn> take() { return std::move(txns_); }

private:
    std::vector<Compare> compares_;
    std::size_t most_;
    std::vector<Txn> txns_;
};

}  // namespace

Registration plan_registration(const Mirror& mirror, const Self& self, std::int64_t lease) {
    const NodeRecord wanted{self.uid, self.name, self.ipv4, self.ipv6, self.version};
    const Entry<NodeRecord>* const node = mirror.node(self.name);
    if (mirror.is_unreadable(NodeKey{self.name}))
        return {std::nullopt, "node name " + in_quotes(self.name) + " has an entry in etcd that cannot be read"};
    if (node != nullptr && node->record.uid != self.uid)
        return {std::nullopt, "node name " + in_quotes(self.name) + " is held by another node (uid " + node->record.uid + ")"};
    for (const auto& [name, other] : mirror.nodes())
        if (name != self.name && other.record.uid == self.uid)
            return {std::nullopt, "node " + in_quotes(name) + " is alive and has this node's uid " + self.uid +
                                      ": one of the two disks is a copy; give that machine an /etc/machine-id of its own "
                                      "(`systemd-machine-id-setup` after removing the file) and restart its agent"};
    const std::vector<IpAddress> addresses = addresses_of(self);
    bool complete = node != nullptr && node->record == wanted && node->lease == lease;
    Txn txn;
    txn.compares = {unchanged(mirror, NodeKey{self.name})};
    txn.then = {TxnOp::put(mirror.keys().path(NodeKey{self.name}), encode(wanted), lease)};
    const VtepRecord mine{self.uid, self.name};
    for (const IpAddress& address : addresses) {
        const Entry<VtepRecord>* const vtep = mirror.vtep(address);
        if (mirror.is_unreadable(VtepKey{address}))
            return {std::nullopt, "tunnel address " + address.to_string() + " has an entry in etcd that cannot be read"};
        if (vtep != nullptr && vtep->record.uid != self.uid)
            return {std::nullopt, "tunnel address " + address.to_string() + " is held by node " + in_quotes(vtep->record.name)};
        complete &= vtep != nullptr && vtep->record == mine && vtep->lease == lease;
        txn.compares.push_back(unchanged(mirror, VtepKey{address}));
        txn.then.push_back(TxnOp::put(mirror.keys().path(VtepKey{address}), encode(mine), lease));
    }
    for (const auto& [address, entry] : mirror.vteps()) {
        if (entry.record.uid != self.uid || std::find(addresses.begin(), addresses.end(), address) != addresses.end()) continue;
        complete = false;
        txn.compares.push_back(unchanged(mirror, VtepKey{address}));
        txn.then.push_back(TxnOp::erase(mirror.keys().path(VtepKey{address})));
    }
    if (complete) return {};
    return {std::move(txn), {}};
}

std::vector<Txn> plan_endpoints(const Mirror& mirror, const Self& self, std::int64_t lease, const OwnSide& own, std::size_t most) {
    std::map<EndpointKey, EndpointRecord> wanted;
    for (const OwnNetwork& shared : own.shared) {
        const LocalNetwork local = local_network(shared.network);
        const auto is_mine = [&](const std::optional<IpPrefix>& address) {
            if (!address) return true;
            const auto& layout = local.layout(address->family());
            const auto block = layout ? layout->block_of(address->address()) : std::nullopt;
            return block && is_own(mirror, self, {shared.network.uid, *block});
        };
        const auto plain = [](const std::optional<IpPrefix>& address) {
            return address ? std::optional{address->address()} : std::nullopt;
        };
        for (const Endpoint& endpoint : shared.endpoints)
            if ((endpoint.ipv4 || endpoint.ipv6) && is_mine(endpoint.ipv4) && is_mine(endpoint.ipv6))
                wanted.emplace(
                    EndpointKey{self.name, endpoint.id},
                    EndpointRecord{self.uid, shared.network.uid, endpoint.name, plain(endpoint.ipv4), plain(endpoint.ipv6), endpoint.mac});
    }
    Batches batches{{still_me(mirror, self)}, most};
    for (const EndpointKey& key : mirror.endpoints_of_node(self.name))
        if (!wanted.contains(key)) batches.add(TxnOp::erase(mirror.keys().path(key)));
    for (const auto& [key, record] : wanted) {
        const Entry<EndpointRecord>* const entry = mirror.endpoint(key);
        if (entry == nullptr || entry->record != record || entry->lease != lease)
            batches.add(TxnOp::put(mirror.keys().path(key), encode(record), lease));
    }
    return batches.take();
}

bool needs_tombstone(const Mirror& mirror, const OwnSide& own) {
    return std::any_of(own.removed.begin(), own.removed.end(), [&](const RemovedNetwork& removed) {
        const Entry<NetworkRecord>* const there = mirror.network(removed.name);
        return there != nullptr && there->record.uid == removed.uid && !there->record.removed;
    });
}

std::vector<NetworkStep> plan_networks(const Mirror& mirror, const Self& self, const OwnSide& own, std::int64_t tombstone_lease,
                                       bool may_restore) {
    std::vector<NetworkStep> steps;
    bool changes_generation = false;
    const auto add_change = [&](NetworkStep step) {
        if (!std::exchange(changes_generation, true)) steps.push_back(std::move(step));
    };
    std::set<std::string> known;  // uids
    std::set<std::string> own_names;
    for (const RemovedNetwork& removed : own.removed) {
        known.insert(removed.uid);
        const Entry<NetworkRecord>* const there = mirror.network(removed.name);
        if (mirror.is_unreadable(NetworkKey{removed.name}))
            steps.push_back(NetworkProblem{removed.name, "was removed here, but etcd's entry cannot be read by this version of fastnet"});
        else if (there == nullptr || there->record.uid != removed.uid || there->record.removed)
            steps.push_back(BuryNetwork{removed.uid, removed.name, std::nullopt});
        else
            add_change(BuryNetwork{
                removed.uid, removed.name,
                network_txn(mirror, self, removed.name, encode(NetworkRecord{.uid = removed.uid, .name = removed.name, .removed = true}),
                            tombstone_lease)});
    }
    for (const OwnNetwork& shared : own.shared) {
        known.insert(shared.network.uid);
        auto step = plan_shared(mirror, self, shared, may_restore);
        if (!step) continue;
        if (std::holds_alternative<RestoreNetwork>(*step))
            add_change(*std::move(step));
        else
            steps.push_back(*std::move(step));
    }
    for (const OwnNetwork& to_share : own.to_share) {
        own_names.insert(to_share.network.name);
        NetworkStep step = plan_share(mirror, self, to_share);
        if (std::holds_alternative<ShareNetwork>(step))
            add_change(std::move(step));
        else
            steps.push_back(std::move(step));
    }
    std::size_t joined = own.shared.size();
    for (const auto& [name, entry] : mirror.networks()) {
        const NetworkRecord& record = entry.record;
        if (record.removed || known.contains(record.uid) || own_names.contains(name)) continue;
        if (const Entry<NetworkRecord>* const first = mirror.network_of(record.uid); first->record.name != name) {
            steps.push_back(NetworkProblem{name, "network " + in_quotes(first->record.name) + " of the cluster has the same uid"});
        } else if (++joined > kMostNetworks) {
            steps.push_back(NetworkProblem{name, "the cluster has more than " + std::to_string(kMostNetworks) + " networks"});
        } else {
            steps.push_back(JoinNetwork{record});
        }
    }
    return steps;
}

std::vector<BlockStep> plan_blocks(const Mirror& mirror, const Self& self, const OwnSide& own, bool wiped) {
    std::vector<BlockStep> steps;
    std::set<std::string> shared;
    for (const OwnNetwork& one : own.shared) {
        shared.insert(one.network.uid);
        for (const Family family : {Family::kIpv4, Family::kIpv6}) plan_family(mirror, self, one, family, wiped, steps);
    }
    // Of networks that this node has left.
    for (const BlockKey& key : mirror.blocks_of_node(self.uid)) {
        if (shared.contains(key.network)) continue;
        steps.push_back(ReturnBlock{key.network, key.prefix, block_txn(mirror, self, key, TxnOp::erase(mirror.keys().path(key)))});
    }
    return steps;
}

SignsOfWipe signs_of_wipe(const Mirror& mirror, const OwnSide& own) {
    SignsOfWipe gone;
    for (const OwnNetwork& shared : own.shared)
        for (const OwnBlock& block : shared.blocks)
            if (mirror.mod_revision(BlockKey{shared.network.uid, block.prefix}) == 0)
                gone.blocks.insert("block " + block.prefix.to_string() + " of network " + in_quotes(shared.network.name) + " is gone");
    gone.networks = !own.shared.empty() && mirror.mod_revision(GenerationKey{}) == 0;
    return gone;
}

Result<std::vector<Txn>> plan_forget(const Mirror& mirror, const std::string& name, std::size_t most) {
    const Entry<NodeRecord>* const node = mirror.node(name);
    std::set<std::string> alive;  // under whatever name: a node that was renamed keeps its blocks
    for (const auto& [other, entry] : mirror.nodes()) alive.insert(entry.record.uid);
    std::vector<BlockKey> blocks;
    bool renamed = false;
    for (const auto& [key, entry] : mirror.blocks()) {
        if (entry.record.name != name) continue;
        if (alive.contains(entry.record.uid)) {
            renamed = renamed || node == nullptr;
        } else {
            blocks.push_back(key);
        }
    }
    if (blocks.empty() && renamed)
        return conflict("forget node " + in_quotes(name) + ": it is alive under another name", "`fastnet status` lists the nodes");
    if ((blocks.empty() && node != nullptr) || mirror.is_unreadable(NodeKey{name}))
        return conflict("forget node " + in_quotes(name) + ": it is alive",
                        "stop its agent and wait for its lease to end, if it will not come back");
    if (blocks.empty()) return not_found("forget node " + in_quotes(name) + ": no block has its name", "`fastnet status` lists the nodes");
    // If the node comes back meanwhile, nothing is taken from it: by its name, or by its blocks, which get the name that it has then.
    Batches batches{{unchanged(mirror, NodeKey{name})}, most};
    for (const BlockKey& key : blocks) batches.add(TxnOp::erase(mirror.keys().path(key)), unchanged(mirror, key));
    return batches.take();
}

}  // namespace fastnet::cluster
