#include "userspace/cluster/inbox.h"

#include <utility>

namespace fastnet::cluster {

void Inbox::expect(std::uint64_t number) {
    const std::lock_guard lock{mutex_};
    number_ = number;
    closed_ = false;
    events_ = bytes_ = 0;
    messages_.clear();
}

void Inbox::push(std::uint64_t number, WatchMessage message) {
    const std::lock_guard lock{mutex_};
    if (number != number_ || closed_) return;
    ++events_;  // also one that only says that the stream is gone
    if (const auto* const events = std::get_if<WatchEvents>(&message)) {
        events_ += events->events.size();
        for (const WatchEvent& event : events->events) bytes_ += event.kv.key.size() + event.kv.value.size();
    }
    if (events_ > kMostEvents || bytes_ > kMostBytes) {
        closed_ = true;
        messages_.clear();
        messages_.emplace_back(WatchCompacted{0, "more changes than could be taken in"});
        return;
    }
    messages_.push_back(std::move(message));
}

std::vector<WatchMessage> Inbox::take() {
    const std::lock_guard lock{mutex_};
    events_ = bytes_ = 0;
    return std::exchange(messages_, {});
}

}  // namespace fastnet::cluster
