// What the worker has to do, and when: what is dirty, how long after a failure it is tried again, what a wipe holds up. Pure: every
// time is given. Invariants: a failure is never repeated at once; what etcd loses holds things up once, however many events follow.
#pragma once

#include <chrono>
#include <optional>
#include <set>
#include <string>

namespace fastnet::cluster {

/// What etcd lost; each includes the ones before.
enum class WipedParts { kNone, kBlocks, kEverything };

class Schedule {
public:
    using Time = std::chrono::steady_clock::time_point;
    using Duration = std::chrono::steady_clock::duration;

    static constexpr std::chrono::milliseconds kBeat{1'000};  ///< the longest wait
    /// What no event tells of: addresses of uplinks, conflicts that went away.
    static constexpr std::chrono::seconds kPeriod{30};
    static constexpr std::chrono::milliseconds kFirstPause{100};  ///< between two attempts, doubled each time
    static constexpr std::chrono::milliseconds kLongestPause{2'000};
    /// After a transaction that was planned on what is not so any more: what others wrote is on its way.
    static constexpr std::chrono::milliseconds kSettle{500};
    static constexpr std::chrono::seconds kOverflowPause{60};
    static constexpr std::chrono::seconds kReadSeldom{30};         ///< full reads further apart than that are no burden
    static constexpr std::chrono::milliseconds kFirstReread{500};  ///< else the pause before the next, doubled each time
    static constexpr std::chrono::seconds kHoldOffMargin{5};       ///< above the lease's time

    explicit Schedule(std::chrono::seconds lease_ttl) : hold_off_time_{lease_ttl + kHoldOffMargin} {}

    // --- what happened ---
    void begun(Time now);
    void node_changed() { own_dirty_ = true; }
    /// The node's side was read; @p differs from what it was. A failure leaves it to the next look.
    void node_read(bool differs);
    void lease_lost() { publish_dirty_ = true; }
    void self_changed() { publish_dirty_ = true; }
    /// This node's addresses for tunnels were looked for; a failure is not left to the next period.
    void ends_found() { ends_at_.reset(); }
    void ends_failed(Time now) {
        ends_at_ = now + kLongestPause;
        publish_dirty_ = true;  // which shows why
    }
    /// Everything in etcd was read, and a watch goes on from there.
    void range_read(Time now);
    void watch_stands(Time now);
    void watch_fell() { connected_ = false; }
    /// What follows cannot be had: everything is to be read again. At once, but for a node that just did: whoever writes faster than this
    /// node reads must not have it do nothing else.
    void watch_ended(Time now);
    /// There is more than a node follows: reading so much again costs as much as it did, and people have to act first.
    void overflowed(Time now) { retry_ = now + kOverflowPause; }
    /// Something in etcd that this node's own entries depend on is other than before.
    void own_entries_touched();
    /// etcd was replaced or restored: certain.
    void wiped(Time now) { hold_up(WipedParts::kEverything, now); }
    /// Blocks that are missing in etcd though nobody may have deleted them. Whatever is missing for the first time begins a hold-off; what
    /// goes on missing does not begin it anew. True if one began, or began anew.
    bool missing_blocks(std::set<std::string> what, Time now);
    /// The same for the networks' generation.
    bool missing_networks(bool are_missing, Time now);
    /// A hold-off was not over when the agent died.
    void hold_up(WipedParts parts, Time now);
    /// This node was away for longer than its lease, and so may be the others.
    void was_away(Time now) { away_until_ = now + hold_off_time_; }

    /// An attempt to begin, to read or to publish.
    void failed(Time now);
    void succeeded();

    /// Until @p until nothing is published, whatever happens.
    void keep_quiet(Time until);
    void publish_begins();
    /// @p stale: somebody else wrote meanwhile.
    void publish_ended(bool done, bool stale, Time now);

    void remote_begins() { remote_at_.reset(); }
    void remote_read() { remote_stale_ = false; }
    void remote_failed(Time now);
    void remote_busy(Time now) { remote_at_ = now + kFirstPause; }

    // --- what is to be done ---
    bool must_begin(Time now) const { return !begun_ && is_due(retry_, now); }
    bool has_begun() const { return begun_; }
    /// Once every period: then the node is to be looked at and published whatever is known.
    bool take_period(Time now);
    bool must_find_ends(Time now) const { return ends_at_ && *ends_at_ <= now; }
    bool must_read_node() const { return own_dirty_; }
    bool must_connect(Time now) const { return begun_ && !synced_ && is_due(retry_, now); }
    bool must_publish(Time now) const {
        return synced_ && connected_ && publish_dirty_ && !own_dirty_ && is_due(retry_, now) && is_due(publish_at_, now) &&
               is_due(quiet_until_, now);
    }
    bool must_apply(Time now) const { return synced_ && connected_ && is_due(remote_at_, now); }
    bool must_read_remote() const { return remote_stale_; }
    bool is_connected() const { return connected_; }
    bool is_synced() const { return synced_; }
    /// Whether networks that etcd does not have are written again, since it lost them. Otherwise somebody removed them; blocks that are
    /// missing prove nothing, since `--forget` may have freed them.
    bool may_restore(Time now) const { return (wiped_ == WipedParts::kEverything && wiped_until(now).has_value()) || networks_missing_; }
    /// What a hold-off is for; it is over when take_end_of_hold_off() said so.
    WipedParts wiped_parts() const { return wiped_; }
    /// Until when no new block is taken; unset: nothing is held up. A hold-off does not end without etcd: nobody could write.
    std::optional<Time> wiped_until(Time now) const;
    /// Until when what vanished stays.
    std::optional<Time> kept_until(Time now) const;
    /// Ends a hold-off that is over; true once.
    bool take_end_of_hold_off(Time now);
    /// When to look again, at the latest; @p deadline is that of what is kept.
    Time wake_at(Time now, std::optional<Time> deadline) const;

private:
    static bool is_due(const std::optional<Time>& when, Time now) { return !when || *when <= now; }

    Duration hold_off_time_;
    bool begun_ = false;
    bool synced_ = false;     ///< the mirror is complete, and the watch goes on from there
    bool connected_ = false;  ///< and the watch stands
    bool own_dirty_ = true;
    bool publish_dirty_ = true;
    bool remote_stale_ = true;  ///< what this node has of others has to be read
    Duration pause_{};
    Duration reread_pause_{};
    std::optional<Time> range_at_;    ///< when everything was read
    std::optional<Time> retry_;       ///< after a failure
    std::optional<Time> publish_at_;  ///< not before, unless something comes
    std::optional<Time> quiet_until_;
    std::optional<Time> remote_at_;
    std::optional<Time> ends_at_;  ///< when this node's addresses are to be looked for
    std::optional<Time> hold_off_;
    std::optional<Time> away_until_;
    WipedParts wiped_ = WipedParts::kNone;
    std::set<std::string> missing_blocks_;
    bool networks_missing_ = false;
    Time periodic_{};
};

}  // namespace fastnet::cluster
