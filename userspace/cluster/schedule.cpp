#include "userspace/cluster/schedule.h"

#include <algorithm>
#include <utility>

namespace fastnet::cluster {

void Schedule::begun(Time now) {
    begun_ = true;
    periodic_ = now;
}

void Schedule::node_read(bool differs) {
    own_dirty_ = false;
    publish_dirty_ |= differs;
}

void Schedule::range_read(Time now) {
    synced_ = true;
    range_at_ = now;
    watch_stands(now);
}

void Schedule::watch_stands(Time now) {
    if (!connected_ && hold_off_) hold_off_ = now + hold_off_time_;
    connected_ = true;
    publish_dirty_ = true;
    publish_at_.reset();
    retry_.reset();
}

void Schedule::watch_ended(Time now) {
    synced_ = false;
    retry_.reset();
    if (!range_at_ || now - *range_at_ >= kReadSeldom) {
        reread_pause_ = {};
        return;
    }
    reread_pause_ = std::clamp<Duration>(reread_pause_ * 2, kFirstReread, kReadSeldom);
    retry_ = now + reread_pause_;
}

void Schedule::own_entries_touched() {
    publish_dirty_ = true;
    publish_at_.reset();
}

void Schedule::hold_up(WipedParts parts, Time now) {
    if (parts == WipedParts::kNone) return;
    wiped_ = std::max(wiped_, parts);
    hold_off_ = now + hold_off_time_;
    publish_dirty_ = true;
}

bool Schedule::missing_blocks(std::set<std::string> what, Time now) {
    const bool is_news = !std::includes(missing_blocks_.begin(), missing_blocks_.end(), what.begin(), what.end());
    missing_blocks_ = std::move(what);
    if (is_news) hold_up(WipedParts::kBlocks, now);
    return is_news;
}

bool Schedule::missing_networks(bool are_missing, Time now) {
    const bool is_news = are_missing && !networks_missing_;
    networks_missing_ = are_missing;
    if (is_news) wiped(now);
    return is_news;
}

void Schedule::failed(Time now) {
    pause_ = std::clamp<Duration>(pause_ * 2, kFirstPause, kLongestPause);
    retry_ = std::max(retry_.value_or(now), now + pause_);  // that of an overflow is longer
}

void Schedule::succeeded() {
    pause_ = {};
    retry_.reset();
}

void Schedule::keep_quiet(Time until) {
    quiet_until_ = until;
    publish_dirty_ = true;
}

void Schedule::publish_begins() {
    publish_at_.reset();
    // What happens from here on is one more round's.
    publish_dirty_ = false;
}

void Schedule::publish_ended(bool done, bool stale, Time now) {
    // The watch brings what others wrote; if it does not, the next attempt shows what is wrong.
    if (!done || stale) publish_dirty_ = true;
    if (done && stale) publish_at_ = now + kSettle;
}

void Schedule::remote_failed(Time now) {
    remote_stale_ = true;
    remote_at_ = now + kLongestPause;
}

bool Schedule::take_period(Time now) {
    if (now - periodic_ < kPeriod) return false;
    periodic_ = now;
    own_dirty_ = publish_dirty_ = true;
    ends_at_ = now;
    return true;
}

std::optional<Schedule::Time> Schedule::wiped_until(Time now) const {
    if (!hold_off_ || (*hold_off_ <= now && connected_)) return std::nullopt;
    return std::max(*hold_off_, now);
}

std::optional<Schedule::Time> Schedule::kept_until(Time now) const {
    const auto wiped = wiped_until(now);
    if (!away_until_ || *away_until_ <= now) return wiped;
    return wiped ? std::max(*wiped, *away_until_) : away_until_;
}

bool Schedule::take_end_of_hold_off(Time now) {
    if (!hold_off_ || *hold_off_ > now || !connected_) return false;
    hold_off_.reset();
    wiped_ = WipedParts::kNone;
    publish_dirty_ = true;  // new blocks may be taken again
    return true;
}

Schedule::Time Schedule::wake_at(Time now, std::optional<Time> deadline) const {
    if (must_publish(now)) return now;
    Time until = now + kBeat;
    for (const auto& when : {retry_, publish_at_, quiet_until_, remote_at_, ends_at_, hold_off_, deadline})
        if (when && *when > now) until = std::min(until, *when);
    return until;
}

}  // namespace fastnet::cluster
