// What the watch brought and the worker has not taken yet. Bounded: who cannot follow reads everything anew instead. Safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "userspace/etcd/watch.h"

namespace fastnet::cluster {

class Inbox {
public:
    static constexpr std::size_t kMostEvents = 200'000;
    static constexpr std::size_t kMostBytes = std::size_t{64} * 1024 * 1024;

    /// Messages of the watch with this number are taken from now on, and no others.
    void expect(std::uint64_t number);
    /// Beyond the bounds all that waits goes, and a WatchCompacted comes instead; nothing more of that watch.
    void push(std::uint64_t number, WatchMessage message);
    std::vector<WatchMessage> take();

private:
    std::mutex mutex_;
    std::uint64_t number_ = 0;
    bool closed_ = false;
    std::size_t events_ = 0;
    std::size_t bytes_ = 0;
    std::vector<WatchMessage> messages_;
};

}  // namespace fastnet::cluster
