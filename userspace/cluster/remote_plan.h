// The way from what etcd says of other nodes to what this node has of them: the smallest change, judged key by key. Pure, with the
// clock given. Invariants: one changed key costs the judgement of what depends on it, whatever else there is; what was rejected is
// never put; what vanished while etcd was being wiped stays until the others had time to write theirs again.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "userspace/cluster/judge.h"

namespace fastnet::cluster {

using Time = std::chrono::steady_clock::time_point;

/// An entry that is not taken, for the log and the counters.
struct Refusal {
    std::string what;  ///< its key, without the prefix
    std::int64_t revision = 0;
    Reason reason = Reason::kNone;
    std::string why;
};

class RemotePlan {
public:
    /// @p grace: how long something in use may stay that cannot be explained at the moment.
    explicit RemotePlan(std::chrono::seconds grace) : grace_{grace} {}

    /// What this node has. Everything is judged again.
    void start(const Mirror& mirror, const SharedState& state);
    /// Shared networks or addresses of this node changed: what they decide is judged again.
    void set_here(const Mirror& mirror, Here here);
    const Here& here() const { return here_; }

    void touch(const Touched& touched);
    /// What this node refused is tried again.
    void retry_refused();

    /// The next change, of at most @p most entries; empty when nothing is left to do. Until @p wiped_until (unset: etcd was not wiped)
    /// what has vanished is kept.
    RemoteChange next(const Mirror& mirror, Time now, std::optional<Time> wiped_until, std::size_t most);
    /// @p change was carried out.
    void done(const Mirror& mirror, const RemoteChange& change, const RemoteOutcome& outcome);

    /// When something that is kept has to go; call next() then.
    std::optional<Time> deadline() const;

    std::vector<Refusal> take_refusals() { return std::exchange(refusals_, {}); }
    std::vector<std::string> take_accepted() { return std::exchange(accepted_, {}); }
    std::size_t judged() const { return judged_; }  ///< entries so far
    const std::map<std::string, RemoteNode>& nodes() const { return applied_nodes_; }
    std::size_t endpoints() const { return applied_.size(); }
    std::size_t kept() const { return kept_.size() + kept_nodes_.size(); }

private:
    /// What a key claims on a network: an address, or its MAC.
    using Claim = std::pair<std::string, std::variant<IpAddress, MacAddress>>;

    static std::vector<Claim> claims_of(const std::string& network, const std::optional<IpAddress>& ipv4,
                                        const std::optional<IpAddress>& ipv6, const MacAddress& mac);
    void judge_nodes(const Mirror& mirror, Time now, std::optional<Time> wiped_until);
    void judge_endpoints(const Mirror& mirror, Time now, std::optional<Time> wiped_until);
    void judge(const Mirror& mirror, const EndpointKey& key, Time now, std::optional<Time> wiped_until);
    void settle_claims(const EndpointKey& key, std::int64_t created, const JudgedEndpoint& judged);
    void reject_if_taken(const EndpointKey& key, JudgedEndpoint& judged) const;
    void expire(Time now);
    void drop(const EndpointKey& key);
    void make_room(const EndpointKey& key, const RemoteSpec& spec);
    void set_applied(const EndpointKey& key, const std::optional<RemoteSpec>& spec);

    std::chrono::seconds grace_;
    Here here_;
    std::set<std::string> dirty_nodes_;
    std::set<EndpointKey> dirty_;

    /// Who would be taken if nobody else claimed the same: the oldest key first, and that one has it, so that nobody takes over what
    /// another has.
    using Claimants = std::set<std::pair<std::int64_t, EndpointKey>>;
    std::map<Claim, Claimants> claimants_;
    struct Claimed {
        std::int64_t created = 0;
        std::vector<Claim> claims{};
    };
    std::map<EndpointKey, Claimed> claimed_;  ///< what each key stands for in claimants_

    std::map<std::string, RemoteNode> applied_nodes_;
    std::map<EndpointKey, RemoteSpec> applied_;
    std::map<Claim, EndpointKey> applied_claims_;
    std::set<std::string> foreign_refs_;  ///< on this node's record, but no key: to be dropped

    std::map<EndpointKey, RemoteSpec> to_put_;
    std::set<EndpointKey> to_drop_;
    std::map<std::string, RemoteNode> nodes_to_put_;
    std::set<std::string> nodes_to_drop_;
    struct Kept {
        Time until;
        bool there = false;  ///< its key is; else it vanished with others
    };
    std::map<EndpointKey, Kept> kept_;
    std::map<std::string, Time> kept_nodes_;
    std::set<EndpointKey> refused_here_;

    std::vector<Refusal> refusals_;
    std::vector<std::string> accepted_;
    std::size_t judged_ = 0;
};

}  // namespace fastnet::cluster
