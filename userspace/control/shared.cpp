#include "userspace/control/shared.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "loader/base/text.h"
#include "userspace/control/kernel.h"
#include "userspace/control/networks.h"
#include "userspace/control/node.h"
#include "userspace/control/peers.h"
#include "userspace/control/remote_plan.h"
#include "userspace/control/translate.h"
#include "userspace/model/names.h"
#include "userspace/model/network_options.h"
#include "userspace/store/node_lock.h"
#include "userspace/store/store.h"

namespace fastnet {
namespace {

constexpr const char* kNotPreparedHint = "run `fastnet attach --mode bridge` to prepare the node";

std::string agent_key(const std::string& key) {
    return "agent/" + key;
}

/// The database under the node's lock, for what the kernel has no part in.
struct Records {
    NodeLock lock;  // released last
    Store store;
};

Result<Records> open_records(const NodePaths& paths) {
    std::error_code ignored;
    if (!std::filesystem::exists(Store::file_in(paths.state_dir), ignored))
        return not_found("open node " + paths.state_dir.string() + ": it was never prepared", kNotPreparedHint);
    NodeLock lock = TRY(NodeLock::acquire(paths.run_dir));
    Store store = TRY(Store::open(paths.state_dir, Store::OpenMode::kExisting));
    return Records{std::move(lock), std::move(store)};
}

Error no_such_uid(const std::string& uid) {
    return not_found("no network of this node has the uid " + uid);
}

Result<Network> find_shared(Store& store, const std::string& uid) {
    auto network = TRY(store.find_network_by_uid(uid));
    if (!network) return no_such_uid(uid);
    return *std::move(network);
}

// --- a change of what other nodes have ----------------------------------------------------------------------------

/// Carries a RemoteChange out on the records, in a transaction of the caller's, and notes what it came to.
class RemoteRecords {
public:
    RemoteRecords(Node& node, RemoteOutcome& outcome) : node_{node}, store_{node.store()}, outcome_{outcome} {}

    Status run(const RemoteChange& change) {
        CHECK_OK(change_nodes(change));
        // What goes, goes first, all of it: what comes may have its addresses.
        for (const std::string& ref : change.drop_refs)
            if (const auto present = TRY(store_.find_remote_endpoint(Owner::kEtcd, ref)); present) CHECK_OK(retire(*present));
        std::map<std::string_view, const RemoteSpec*> last;  // of several with one ref
        for (const RemoteSpec& spec : change.put) last[spec.ref] = &spec;
        std::vector<const RemoteSpec*> fresh;
        for (const RemoteSpec& spec : change.put) {
            if (last.at(spec.ref) != &spec) continue;
            const auto present = TRY(store_.find_remote_endpoint(Owner::kEtcd, spec.ref));
            if (present && TRY(is_same(*present, spec))) continue;
            if (present) CHECK_OK(retire(*present));
            fresh.push_back(&spec);
        }
        for (const RemoteSpec* spec : fresh) CHECK_OK(note_rejection(admit(*spec), spec->ref, outcome_.rejected));
        return settle();
    }

    const RemoteEffect& effect() const { return effect_; }

private:
    /// What cannot be is rejected; what should be possible and failed ends all of it.
    static Status note_rejection(Status status, const std::string& ref, std::vector<Rejected>& rejected) {
        if (status || status.error().kind == ErrorKind::kFailed) return status;
        rejected.push_back({ref, std::move(status).error().message});
        return ok();
    }

    Status change_nodes(const RemoteChange& change) {
        for (const std::string& name : change.drop_nodes) {
            if (!TRY(store_.find_remote_node(name))) continue;
            CHECK_OK(store_.erase_remote_node(name));
            ++outcome_.changed;
        }
        std::vector<const RemoteNode*> fresh;
        for (const RemoteNode& node : change.put_nodes) {
            const auto present = TRY(store_.find_remote_node(node.name));
            if (present == node) continue;
            if (present) CHECK_OK(store_.erase_remote_node(node.name));
            fresh.push_back(&node);
        }
        for (const RemoteNode* node : fresh) {
            ++outcome_.changed;
            CHECK_OK(note_rejection(add_node(*node), node->name, outcome_.rejected_nodes));
        }
        return ok();
    }

    Status add_node(const RemoteNode& node) {
        CHECK_OK(check_name(node.name, "node"));
        if (TRY(store_.find_remote_node(node.name))) return conflict("node " + in_quotes(node.name) + " is named twice");
        for (const auto& address : {node.ipv4, node.ipv6}) {
            if (!address) continue;
            CHECK_OK(check_peer_address(*address));
            if (const auto other = TRY(store_.find_remote_node(*address)); other)
                return conflict("address " + address->to_string() + " belongs to node " + in_quotes(other->name));
        }
        return store_.insert_remote_node(node);
    }

    /// Of the shared networks, each read once.
    Result<const Network*> network_of(const std::string& uid) {
        const auto known = by_uid_.find(uid);
        if (known != by_uid_.end()) return known->second;
        auto found = TRY(store_.find_network_by_uid(uid));
        const Network* const network = found ? TRY(touch(*std::move(found))) : nullptr;
        by_uid_.emplace(uid, network);
        return network;
    }

    Result<const Network*> touch(Network network) {
        const auto [entry, fresh] = effect_.networks.try_emplace(network.id);
        if (fresh) {
            entry->second.network = std::move(network);
            entry->second.family_before = TRY(store_.family_of_peers(entry->first));
        }
        return &entry->second.network;
    }

    /// What the membership was before the first step that may change it.
    Status note(std::uint32_t network_id, std::uint32_t tunnel, const IpAddress& peer) {
        if (!noted_.insert({network_id, tunnel}).second) return ok();
        effect_.memberships.push_back({network_id, tunnel, peer, TRY(store_.is_peer(tunnel, network_id)), false});
        return ok();
    }

    Result<bool> is_same(const RemoteEndpoint& present, const RemoteSpec& spec) {
        const Network* const network = TRY(network_of(spec.network_uid));
        return network != nullptr && present.network_id == network->id && present.peer == spec.peer && present.ipv4 == spec.ipv4 &&
               present.ipv6 == spec.ipv6 && present.mac == spec.mac && present.name == spec.name && present.node == spec.node;
    }

    Status retire(const RemoteEndpoint& present) {
        if (!effect_.networks.contains(present.network_id)) {
            auto network = TRY(store_.find_network(present.network_id));
            if (network) TRY(touch(*std::move(network)));
        }
        CHECK_OK(note(present.network_id, present.tunnel, present.peer));
        CHECK_OK(store_.erase_remote_endpoint(present.id));
        effect_.gone.push_back(present);
        ++outcome_.changed;
        return ok();
    }

    Status admit(const RemoteSpec& spec) {
        if (spec.ref.empty()) return usage_error("it has no key");
        const Network* const network = TRY(network_of(spec.network_uid));
        if (network == nullptr) return not_found("network with uid " + spec.network_uid + " is not on this node");
        if (spec.mac.is_multicast() || spec.mac.is_zero() || spec.mac == kGatewayMac)
            return usage_error("MAC address " + spec.mac.to_string() + " is none of one container");
        CHECK_OK(check_peer(spec.peer));
        if (const auto family = TRY(store_.family_of_peers(network->id)); family && *family != spec.peer.family())
            return conflict("its node's address " + spec.peer.to_string() +
                            " is of another family than those of the network's other nodes");
        RemoteEndpoint remote;
        remote.peer = spec.peer;
        remote.ipv4 = spec.ipv4;
        remote.ipv6 = spec.ipv6;
        remote.mac = spec.mac;
        remote.ref = spec.ref;
        remote.name = spec.name;
        remote.node = spec.node;
        const bool tunnel_is_there = TRY(store_.find_tunnel(spec.peer)).has_value();
        // Before it is a peer; one that has no tunnel yet is none.
        if (tunnel_is_there) CHECK_OK(note(network->id, *TRY(store_.find_tunnel(spec.peer)), spec.peer));
        RemoteEndpoint stored = TRY(store_.put_remote_endpoint(std::move(remote), *network));
        if (!tunnel_is_there) {
            effect_.tunnels_come.emplace(stored.tunnel, stored.peer);
            noted_.insert({network->id, stored.tunnel});
            effect_.memberships.push_back({network->id, stored.tunnel, stored.peer, false, false});
        }
        effect_.come.push_back(std::move(stored));
        ++outcome_.changed;
        return ok();
    }

    /// Once per peer: what is around this node does not change meanwhile.
    Status check_peer(const IpAddress& peer) {
        const auto known = peers_.find(peer);
        if (known != peers_.end()) return known->second;
        Status checked = check_peer_address(peer);
        if (checked && !TRY(store_.find_tunnel(peer))) {
            if (!around_) around_ = TRY(read_surroundings(node_));
            checked = check_is_elsewhere(*around_, peer);
        }
        peers_.emplace(peer, checked);
        return checked;
    }

    /// Peers that nothing needs any more, and what became of the others.
    Status settle() {
        for (Membership& one : effect_.memberships) {
            CHECK_OK(store_.prune_peer(one.tunnel, one.network_id));
            one.after = TRY(store_.is_peer(one.tunnel, one.network_id));
        }
        for (const Membership& one : effect_.memberships)
            if (one.before && !one.after && !TRY(store_.find_tunnel(one.peer))) effect_.tunnels_gone.emplace(one.tunnel, one.peer);
        for (auto& [id, changed] : effect_.networks) {
            changed.family_after = TRY(store_.family_of_peers(id));
            if (changed.family_after != changed.family_before) changed.peers = TRY(store_.peers_of(id));
        }
        return ok();
    }

    Node& node_;
    Store& store_;
    RemoteOutcome& outcome_;
    RemoteEffect effect_{};
    std::map<std::string, const Network*> by_uid_{};
    std::set<std::pair<std::uint32_t, std::uint32_t>> noted_{};  // network and tunnel
    std::map<IpAddress, Status> peers_{};
    std::optional<Surroundings> around_{};
};

// --- what this node has -------------------------------------------------------------------------------------------

Result<OwnNetwork> own_network(Store& store, Network network) {
    OwnNetwork own;
    own.blocks = TRY(store.blocks(network.id));
    own.endpoints = TRY(store.endpoints_of_network(network.id));
    std::erase_if(own.endpoints, [](const Endpoint& endpoint) { return endpoint.state != EndpointState::kReady; });
    own.wants_ipv4_block = TRY(store.wants_block(network.id, Family::kIpv4));
    own.wants_ipv6_block = TRY(store.wants_block(network.id, Family::kIpv6));
    own.network = std::move(network);
    return own;
}

Result<OwnSide> own_side(Store& store) {
    OwnSide own;
    for (Network& network : TRY(store.networks())) {
        if (network.driver != NetworkDriver::kOverlay) continue;
        const bool shared = !network.uid.empty();
        if (!shared && scope_of(network) != NetworkScope::kCluster) continue;
        (shared ? own.shared : own.to_share).push_back(TRY(own_network(store, std::move(network))));
    }
    own.removed = TRY(store.removed_networks());
    return own;
}

Result<Store> open_to_read(const NodePaths& paths) {
    return Store::open(paths.state_dir, Store::OpenMode::kReadOnly);
}

/// Carries out what was just committed, and says so on the record.
Status carry_out(Node& node) {
    CHECK_OK(node.repair());
    return node.mark_clean();
}

}  // namespace

Result<RemoteOutcome> apply_remote_change(const NodePaths& paths, const RemoteChange& change) {
    Node node = TRY(Node::open(paths, Need::kUnchecked));
    RemoteOutcome outcome;
    RemoteRecords records{node, outcome};
    {
        // No disk flush: etcd has it too.
        Transaction transaction = TRY(node.store().begin());
        CHECK_OK(records.run(change));
        if (!records.effect().empty()) CHECK_OK(node.mark_dirty());
        CHECK_OK(transaction.commit());
    }
    if (records.effect().empty()) return outcome;
    // What these steps rest on may be gone since this command began: then all of it is looked at.
    const VtepAddresses vtep = TRY(stored_vtep(node.store()));
    if (!apply_plan(node, plan_remote_change(records.effect(), node.default_mtu(), vtep))) CHECK_OK(node.repair());
    CHECK_OK(node.mark_clean());
    return outcome;
}

Result<SharedState> read_shared(const NodePaths& paths) {
    Store store = TRY(open_to_read(paths));
    const Transaction snapshot = TRY(store.begin_snapshot());
    SharedState state;
    state.own = TRY(own_side(store));
    state.nodes = TRY(store.remote_nodes());
    std::map<std::uint32_t, std::string> uids;
    for (const OwnNetwork& own : state.own.shared) uids.emplace(own.network.id, own.network.uid);
    for (RemoteEndpoint& remote : TRY(store.remote_endpoints())) {
        if (remote.owner != Owner::kEtcd) continue;
        state.remotes.push_back({std::move(remote.ref), std::move(remote.node), std::move(remote.name), uids[remote.network_id],
                                 remote.ipv4, remote.ipv6, remote.mac, remote.peer});
    }
    std::sort(state.remotes.begin(), state.remotes.end(), [](const RemoteSpec& a, const RemoteSpec& b) { return a.ref < b.ref; });
    return state;
}

Result<OwnSide> read_own_side(const NodePaths& paths) {
    Store store = TRY(open_to_read(paths));
    const Transaction snapshot = TRY(store.begin_snapshot());
    return own_side(store);
}

Status share_network(const NodePaths& paths, const std::string& name, const std::string& uid) {
    CHECK_OK(check_network_uid(uid));
    Node node = TRY(Node::open(paths, Need::kExisting));
    const auto network = TRY(node.store().find_network(name));
    if (!network) return not_found("network " + in_quotes(name) + " does not exist");
    if (network->uid == uid) return ok();
    if (!network->uid.empty()) return conflict("network " + in_quotes(name) + " is shared already, under the uid " + network->uid);
    if (network->driver != NetworkDriver::kOverlay || scope_of(*network) != NetworkScope::kCluster)
        return conflict("network " + in_quotes(name) + " is this node's own", "`--opt scope=cluster` makes a network that is shared");
    {
        Transaction transaction = TRY(node.store().begin(Durability::kPowerLoss));
        CHECK_OK(node.store().set_network_uid(network->id, uid));
        CHECK_OK(node.mark_dirty());
        CHECK_OK(transaction.commit());
    }
    return carry_out(node);  // it learns no more
}

Result<Network> join_network(const NodePaths& paths, Network wanted) {
    CHECK_OK(check_network_uid(wanted.uid));
    wanted.driver = NetworkDriver::kOverlay;
    wanted.id = 0;
    wanted.created = 0;
    wanted.bridge.clear();
    wanted.parent.clear();
    wanted.options = TRY(canonical_options(wanted.driver, wanted.options));
    set_scope(wanted, NetworkScope::kCluster);
    CHECK_OK(validate(wanted));
    const std::string what = "join network " + in_quotes(wanted.name);
    Node node = TRY(Node::open(paths, Need::kPrepared));
    for (const RemovedNetwork& removed : TRY(node.store().removed_networks()))
        if (removed.uid == wanted.uid) return conflict(what + ": it was removed on this node, and the cluster does not know yet");
    auto present = TRY(node.store().find_network_by_uid(wanted.uid));
    if (!present) {
        CHECK_OK(check_overlay_fits(node, wanted));
        Network added;
        {
            Transaction transaction = TRY(node.store().begin(Durability::kPowerLoss));
            added = TRY(node.store().add_network(std::move(wanted)));
            CHECK_OK(node.mark_dirty());
            CHECK_OK(transaction.commit());
        }
        if (Status built = node.repair(); !built) {
            (void)node.store().remove_network(added.id);
            if (node.repair()) (void)node.mark_clean();
            return std::move(built).error().in(what);
        }
        CHECK_OK(node.mark_clean());
        return added;
    }
    if (present->name != wanted.name || present->vni != wanted.vni || present->subnets != wanted.subnets ||
        present->gateways != wanted.gateways || present->ip_ranges != wanted.ip_ranges)
        return conflict(what + ": this node knows its uid " + wanted.uid + " with another name, VNI or subnet, as network " +
                        in_quotes(present->name));
    if (present->mtu == wanted.mtu && present->internal == wanted.internal && present->icc == wanted.icc &&
        present->options == wanted.options)
        return *std::move(present);
    present->mtu = wanted.mtu;
    present->internal = wanted.internal;
    present->icc = wanted.icc;
    present->options = std::move(wanted.options);
    {
        Transaction transaction = TRY(node.store().begin(Durability::kPowerLoss));
        CHECK_OK(node.store().update_network(*present));
        CHECK_OK(node.mark_dirty());
        CHECK_OK(transaction.commit());
    }
    CHECK_OK(carry_out(node));
    return *std::move(present);
}

Status leave_network(const NodePaths& paths, const std::string& uid) {
    Node node = TRY(Node::open(paths, Need::kExisting));
    const auto network = TRY(node.store().find_network_by_uid(uid));
    if (!network) return ok();
    {
        Transaction transaction = TRY(node.store().begin(Durability::kPowerLoss));
        CHECK_OK(node.store().remove_network(network->id));
        CHECK_OK(forget_request(node.store(), *network));
        CHECK_OK(node.mark_dirty());
        CHECK_OK(transaction.commit());
    }
    return carry_out(node);
}

Status forget_removed(const NodePaths& paths, const std::string& uid) {
    Records records = TRY(open_records(paths));
    return records.store.forget_removed(uid);
}

Status add_block(const NodePaths& paths, const std::string& uid, const IpPrefix& prefix) {
    Records records = TRY(open_records(paths));
    const Network network = TRY(find_shared(records.store, uid));
    TRY(records.store.add_block(network.id, prefix));
    return ok();
}

Status remove_block(const NodePaths& paths, const std::string& uid, const IpPrefix& prefix) {
    Records records = TRY(open_records(paths));
    const auto network = TRY(records.store.find_network_by_uid(uid));
    if (network) TRY(records.store.remove_block(network->id, prefix));
    return ok();
}

Status lose_block(const NodePaths& paths, const std::string& uid, const IpPrefix& prefix) {
    Records records = TRY(open_records(paths));
    const auto network = TRY(records.store.find_network_by_uid(uid));
    if (network) TRY(records.store.forget_block(network->id, prefix));
    return ok();
}

Status set_cluster_name(const NodePaths& paths, const std::optional<std::string>& node) {
    Records records = TRY(open_records(paths));
    return node ? records.store.set_setting(setting::kClusterName, *node) : records.store.remove_setting(setting::kClusterName);
}

Result<std::optional<std::string>> read_agent_setting(const NodePaths& paths, const std::string& key) {
    Store store = TRY(open_to_read(paths));
    return store.setting(agent_key(key));
}

Status write_agent_setting(const NodePaths& paths, const std::string& key, const std::optional<std::string>& value) {
    Records records = TRY(open_records(paths));
    return value ? records.store.set_setting(agent_key(key), *value) : records.store.remove_setting(agent_key(key));
}

}  // namespace fastnet
