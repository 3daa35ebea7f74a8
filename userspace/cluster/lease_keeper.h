// Keeps the node's lease alive on a thread of its own, whatever the worker waits for, and looks after etcd's health. Invariant: a lease
// is reported as lost only if etcd says so; that etcd does not answer is no news about the lease.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "loader/base/result.h"
#include "userspace/etcd/client.h"

namespace fastnet::cluster {

struct LeaseState {
    std::int64_t id = 0;                                             ///< 0: none, or lost
    std::optional<std::chrono::steady_clock::time_point> expires{};  ///< unless it is renewed
    std::string error{};                                             ///< of the last renewal
};

class LeaseKeeper {
public:
    /// @p lost is called on the keeper's thread when etcd does not know the lease any more.
    static Result<std::unique_ptr<LeaseKeeper>> start(EtcdConfig config, std::chrono::seconds ttl, std::function<void()> lost);
    LeaseKeeper(const LeaseKeeper&) = delete;
    LeaseKeeper& operator=(const LeaseKeeper&) = delete;
    ~LeaseKeeper();  ///< ends soon: calls that run are interrupted

    /// From now on that one, just renewed or granted.
    void keep(std::int64_t id);
    LeaseState lease() const;
    /// As seen last; empty at first.
    Health health() const;

private:
    LeaseKeeper(EtcdClient client, std::chrono::seconds ttl, std::function<void()> lost);
    void run();
    void renew(std::int64_t id);

    EtcdClient client_;
    std::chrono::seconds ttl_;
    std::function<void()> lost_;
    mutable std::mutex mutex_;  ///< of the rest; never held during a call
    std::condition_variable changed_;
    bool stopping_ = false;
    LeaseState lease_;
    Health health_;
    std::thread thread_;
};

}  // namespace fastnet::cluster
