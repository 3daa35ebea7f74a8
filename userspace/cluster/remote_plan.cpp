#include "userspace/cluster/remote_plan.h"

#include <algorithm>
#include <charconv>

namespace fastnet::cluster {
namespace {

constexpr std::string_view kRefStart = "endpoints/";

/// The key that ref_of() made @p ref of.
std::optional<EndpointKey> key_of(std::string_view ref) {
    if (!ref.starts_with(kRefStart)) return std::nullopt;
    const std::string_view rest = ref.substr(kRefStart.size());
    const std::size_t slash = rest.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    EndpointKey key{std::string{rest.substr(0, slash)}, 0};
    const std::string_view number = rest.substr(slash + 1);
    std::from_chars(number.data(), number.data() + number.size(), key.id);
    return ref_of(key) == ref ? std::optional{key} : std::nullopt;
}

}  // namespace

std::vector<RemotePlan::Claim> RemotePlan::claims_of(const std::string& network, const std::optional<IpAddress>& ipv4,
                                                     const std::optional<IpAddress>& ipv6, const MacAddress& mac) {
    std::vector<Claim> claims;
    for (const auto& address : {ipv4, ipv6})
        if (address) claims.emplace_back(network, *address);
    claims.emplace_back(network, mac);
    return claims;
}

void RemotePlan::start(const Mirror& mirror, const SharedState& state) {
    applied_nodes_.clear();
    applied_.clear();
    applied_claims_.clear();
    foreign_refs_.clear();
    to_put_.clear();
    to_drop_.clear();
    nodes_to_put_.clear();
    nodes_to_drop_.clear();
    refused_here_.clear();
    for (const RemoteNode& node : state.nodes) {
        applied_nodes_.emplace(node.name, node);
        dirty_nodes_.insert(node.name);
    }
    for (const RemoteSpec& spec : state.remotes) {
        const auto key = key_of(spec.ref);
        if (!key) {
            foreign_refs_.insert(spec.ref);
            continue;
        }
        set_applied(*key, spec);
        dirty_.insert(*key);
    }
    for (const auto& [name, entry] : mirror.nodes()) dirty_nodes_.insert(name);
    for (const auto& [key, entry] : mirror.endpoints()) dirty_.insert(key);
}

void RemotePlan::set_here(const Mirror& mirror, Here here) {
    const Here before = std::exchange(here_, std::move(here));
    const bool same_node = before.name == here_.name && before.uid == here_.uid && before.ipv4 == here_.ipv4 && before.ipv6 == here_.ipv6;
    if (!same_node)
        for (const auto& [key, entry] : mirror.endpoints()) dirty_.insert(key);
    if (same_node && before.networks == here_.networks) return;
    for (const auto& [name, entry] : mirror.nodes()) dirty_nodes_.insert(name);
    const auto touch_differing = [&](const Here& one, const Here& other) {
        for (const auto& [uid, local] : one.networks) {
            const auto found = other.networks.find(uid);
            if (found != other.networks.end() && found->second == local) continue;
            for (EndpointKey& key : mirror.endpoints_of_network(uid)) dirty_.insert(std::move(key));
        }
    };
    touch_differing(before, here_);
    touch_differing(here_, before);
    // What others have on a network goes from this node's record together with the network.
    std::vector<EndpointKey> gone;
    for (const auto& [key, spec] : applied_)
        if (before.networks.contains(spec.network_uid) && !here_.networks.contains(spec.network_uid)) gone.push_back(key);
    for (const EndpointKey& key : gone) {
        set_applied(key, std::nullopt);
        kept_.erase(key);
        dirty_.insert(key);
    }
}

void RemotePlan::touch(const Touched& touched) {
    dirty_nodes_.insert(touched.nodes.begin(), touched.nodes.end());
    dirty_.insert(touched.endpoints.begin(), touched.endpoints.end());
}

void RemotePlan::retry_refused() {
    dirty_.merge(std::exchange(refused_here_, {}));
}

RemoteChange RemotePlan::next(const Mirror& mirror, Time now, std::optional<Time> wiped_until, std::size_t most) {
    expire(now);
    judge_nodes(mirror, now, wiped_until);
    judge_endpoints(mirror, now, wiped_until);
    RemoteChange change;
    // Nodes are few. All that goes is gone before anything comes: an address may move from one key to another.
    for (const auto& [name, node] : nodes_to_put_) change.put_nodes.push_back(node);
    change.drop_refs.assign(foreign_refs_.begin(), foreign_refs_.end());
    for (auto it = to_drop_.begin(); it != to_drop_.end() && change.drop_refs.size() < most; ++it) change.drop_refs.push_back(ref_of(*it));
    if (change.drop_refs.size() < foreign_refs_.size() + to_drop_.size()) return change;
    change.drop_nodes.assign(nodes_to_drop_.begin(), nodes_to_drop_.end());
    for (auto it = to_put_.begin(); it != to_put_.end() && change.put.size() + change.drop_refs.size() < most; ++it)
        change.put.push_back(it->second);
    return change;
}

void RemotePlan::done(const Mirror& mirror, const RemoteChange& change, const RemoteOutcome& outcome) {
    for (const RemoteNode& node : change.put_nodes) {
        applied_nodes_.insert_or_assign(node.name, node);
        nodes_to_put_.erase(node.name);
    }
    for (const std::string& name : change.drop_nodes) {
        applied_nodes_.erase(name);
        nodes_to_drop_.erase(name);
    }
    for (const Rejected& rejected : outcome.rejected_nodes) {
        applied_nodes_.erase(rejected.ref);
        refusals_.push_back({"nodes/" + rejected.ref, mirror.mod_revision(NodeKey{rejected.ref}), Reason::kRefusedHere, rejected.why});
    }
    for (const std::string& ref : change.drop_refs) {
        foreign_refs_.erase(ref);
        if (const auto key = key_of(ref)) {
            to_drop_.erase(*key);
            set_applied(*key, std::nullopt);
        }
    }
    for (const RemoteSpec& spec : change.put) {
        const auto key = key_of(spec.ref);
        to_put_.erase(*key);
        set_applied(*key, spec);
    }
    for (const Rejected& rejected : outcome.rejected) {
        const auto key = key_of(rejected.ref);
        if (!key) continue;
        set_applied(*key, std::nullopt);
        refused_here_.insert(*key);
        refusals_.push_back({rejected.ref, mirror.mod_revision(*key), Reason::kRefusedHere, rejected.why});
    }
}

std::optional<Time> RemotePlan::deadline() const {
    std::optional<Time> first;
    for (const auto& [key, kept] : kept_) first = first ? std::min(*first, kept.until) : kept.until;
    for (const auto& [name, until] : kept_nodes_) first = first ? std::min(*first, until) : until;
    return first;
}

/// What was kept long enough is judged a last time, and may not stay for the same reason again.
void RemotePlan::expire(Time now) {
    for (const auto& [key, kept] : kept_)
        if (kept.until <= now) dirty_.insert(key);
    for (const auto& [name, until] : kept_nodes_)
        if (until <= now) dirty_nodes_.insert(name);
}

void RemotePlan::judge_nodes(const Mirror& mirror, Time now, std::optional<Time> wiped_until) {
    for (const std::string& name : std::exchange(dirty_nodes_, {})) {
        if (name == here_.name) continue;
        ++judged_;
        const JudgedNode judged = judge_node(mirror, here_, name);
        const auto applied = applied_nodes_.find(name);
        nodes_to_put_.erase(name);
        nodes_to_drop_.erase(name);
        if (judged.taken()) {
            kept_nodes_.erase(name);
            accepted_.push_back("nodes/" + name);
            if (applied == applied_nodes_.end() || applied->second != judged.node) nodes_to_put_.emplace(name, judged.node);
            continue;
        }
        if (mirror.node(name) != nullptr)
            refusals_.push_back({"nodes/" + name, mirror.mod_revision(NodeKey{name}), judged.reason, judged.why});
        if (applied == applied_nodes_.end()) {
            kept_nodes_.erase(name);
            continue;
        }
        const auto kept = kept_nodes_.find(name);
        if (judged.waits && wiped_until && kept == kept_nodes_.end()) {
            kept_nodes_.emplace(name, *wiped_until);
        } else if (!judged.waits || kept == kept_nodes_.end() || kept->second <= now) {
            kept_nodes_.erase(name);
            nodes_to_drop_.insert(name);
        }
    }
}

void RemotePlan::judge_endpoints(const Mirror& mirror, Time now, std::optional<Time> wiped_until) {
    // settle_claims() may add more: whoever gains or loses an address by what was judged.
    while (!dirty_.empty()) {
        const EndpointKey key = *dirty_.begin();
        dirty_.erase(dirty_.begin());
        if (key.node == here_.name) {
            if (applied_.contains(key)) drop(key);
            continue;
        }
        judge(mirror, key, now, wiped_until);
    }
}

void RemotePlan::judge(const Mirror& mirror, const EndpointKey& key, Time now, std::optional<Time> wiped_until) {
    ++judged_;
    JudgedEndpoint judged = judge_endpoint(mirror, here_, key);
    const Entry<EndpointRecord>* const entry = mirror.endpoint(key);
    settle_claims(key, entry == nullptr ? 0 : entry->create_revision, judged);
    reject_if_taken(key, judged);
    const auto applied = applied_.find(key);
    to_put_.erase(key);
    to_drop_.erase(key);
    refused_here_.erase(key);
    if (judged.taken()) {
        kept_.erase(key);
        accepted_.push_back(judged.spec.ref);
        if (applied != applied_.end() && applied->second == judged.spec) return;
        make_room(key, judged.spec);
        to_put_.emplace(key, judged.spec);
        return;
    }
    const bool there = entry != nullptr;
    if (there) refusals_.push_back({judged.spec.ref, mirror.mod_revision(key), judged.reason, judged.why});
    if (applied == applied_.end()) {
        kept_.erase(key);
        return;
    }
    // A key that is gone is gone, unless all of them are. One that is there and lacks something may stay for a while.
    const auto kept = kept_.find(key);
    const bool goes_now = !judged.waits || (!there && !wiped_until && (kept == kept_.end() || kept->second.there));
    if (goes_now || (kept != kept_.end() && kept->second.until <= now)) {
        drop(key);
    } else if (kept == kept_.end()) {
        kept_.emplace(key, Kept{there ? now + grace_ : *wiped_until, there});
    } else {
        kept->second.there = there;
    }
}

/// Who has what @p key claims, or claimed before, may be somebody else now: both are judged.
void RemotePlan::settle_claims(const EndpointKey& key, std::int64_t created, const JudgedEndpoint& judged) {
    Claimed now{created, {}};
    if (judged.taken()) now.claims = claims_of(judged.spec.network_uid, judged.spec.ipv4, judged.spec.ipv6, judged.spec.mac);
    const auto known = claimed_.find(key);
    Claimed before = known == claimed_.end() ? Claimed{} : std::move(known->second);
    const auto holder = [&](const Claim& claim) {
        const auto found = claimants_.find(claim);
        return found == claimants_.end() ? std::nullopt : std::optional{found->second.begin()->second};
    };
    std::map<Claim, std::optional<EndpointKey>> holders;
    for (const auto* const claims : {&before.claims, &now.claims})
        for (const Claim& claim : *claims) holders.try_emplace(claim, holder(claim));
    for (const Claim& claim : before.claims) {
        const auto found = claimants_.find(claim);
        found->second.erase({before.created, key});
        if (found->second.empty()) claimants_.erase(found);
    }
    for (const Claim& claim : now.claims) claimants_[claim].emplace(created, key);
    for (const auto& [claim, old] : holders)
        if (const auto who = holder(claim); who != old)
            for (const auto& one : {who, old})
                if (one && *one != key) dirty_.insert(*one);
    if (now.claims.empty())
        claimed_.erase(key);
    else
        claimed_.insert_or_assign(key, std::move(now));
}

void RemotePlan::reject_if_taken(const EndpointKey& key, JudgedEndpoint& judged) const {
    if (!judged.taken()) return;
    for (const Claim& claim : claimed_.at(key).claims) {
        const EndpointKey& who = claimants_.at(claim).begin()->second;
        if (who == key) continue;
        const auto* const address = std::get_if<IpAddress>(&claim.second);
        judged.reason = address != nullptr ? Reason::kTakenAddress : Reason::kTakenMac;
        judged.why = (address != nullptr ? "address " + address->to_string() : "MAC address " + judged.spec.mac.to_string()) +
                     " is that of the older " + ref_of(who);
        return;
    }
}

void RemotePlan::drop(const EndpointKey& key) {
    kept_.erase(key);
    to_put_.erase(key);
    to_drop_.insert(key);
}

/// What is only kept goes when somebody has a right to its address.
void RemotePlan::make_room(const EndpointKey& key, const RemoteSpec& spec) {
    for (const Claim& claim : claims_of(spec.network_uid, spec.ipv4, spec.ipv6, spec.mac)) {
        const auto found = applied_claims_.find(claim);
        if (found == applied_claims_.end() || found->second == key) continue;
        if (kept_.contains(found->second)) drop(found->second);
    }
}

void RemotePlan::set_applied(const EndpointKey& key, const std::optional<RemoteSpec>& spec) {
    if (const auto before = applied_.find(key); before != applied_.end()) {
        for (const Claim& claim : claims_of(before->second.network_uid, before->second.ipv4, before->second.ipv6, before->second.mac))
            if (const auto found = applied_claims_.find(claim); found != applied_claims_.end() && found->second == key)
                applied_claims_.erase(found);
        applied_.erase(before);
    }
    if (!spec) return;
    applied_.emplace(key, *spec);
    for (const Claim& claim : claims_of(spec->network_uid, spec->ipv4, spec->ipv6, spec->mac)) applied_claims_.insert_or_assign(claim, key);
}

}  // namespace fastnet::cluster
