#include "userspace/cluster/lease_keeper.h"

#include <algorithm>
#include <utility>

namespace fastnet::cluster {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kHealthInterval{10};
constexpr std::chrono::seconds kRetry{1};

}  // namespace

Result<std::unique_ptr<LeaseKeeper>> LeaseKeeper::start(EtcdConfig config, std::chrono::seconds ttl, std::function<void()> lost) {
    EtcdClient client = TRY(EtcdClient::open(std::move(config)));
    return std::unique_ptr<LeaseKeeper>{new LeaseKeeper{std::move(client), ttl, std::move(lost)}};
}

LeaseKeeper::LeaseKeeper(EtcdClient client, std::chrono::seconds ttl, std::function<void()> lost)
    : client_{std::move(client)}, ttl_{ttl}, lost_{std::move(lost)} {
    thread_ = std::thread{[this] { run(); }};
}

LeaseKeeper::~LeaseKeeper() {
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
    }
    changed_.notify_all();
    client_.interrupt();
    thread_.join();
}

void LeaseKeeper::keep(std::int64_t id) {
    const std::lock_guard lock{mutex_};
    lease_ = {id, Clock::now() + ttl_, {}};
    changed_.notify_all();
}

LeaseState LeaseKeeper::lease() const {
    const std::lock_guard lock{mutex_};
    return lease_;
}

Health LeaseKeeper::health() const {
    const std::lock_guard lock{mutex_};
    return health_;
}

void LeaseKeeper::run() {
    Clock::time_point next_health = Clock::now();
    Clock::time_point retry{};
    std::unique_lock lock{mutex_};
    while (!stopping_) {
        const Clock::time_point now = Clock::now();
        // A third of the time is left for a lease that could not be renewed twice in a row.
        const Clock::time_point due = lease_.expires ? std::max(*lease_.expires - ttl_ + ttl_ / 3, retry) : Clock::time_point::max();
        if (lease_.id != 0 && due <= now) {
            const std::int64_t id = lease_.id;
            lock.unlock();
            renew(id);
            retry = Clock::now() + kRetry;
            lock.lock();
        } else if (next_health <= now) {
            lock.unlock();
            auto health = client_.status();
            lock.lock();
            if (health) health_ = *std::move(health);
            next_health = Clock::now() + kHealthInterval;
        } else {
            changed_.wait_until(lock, lease_.id != 0 ? std::min(due, next_health) : next_health);
        }
    }
}

void LeaseKeeper::renew(std::int64_t id) {
    const Clock::time_point asked = Clock::now();
    const auto left = client_.keep_alive(id);
    bool lost = false;
    {
        const std::lock_guard lock{mutex_};
        if (lease_.id != id || stopping_) return;
        if (left) {
            lease_.expires = asked + *left;
            lease_.error.clear();
        } else if (left.error().kind == ErrorKind::kNotFound) {
            lease_ = {0, std::nullopt, "etcd does not know it any more"};
            lost = true;
        } else {
            lease_.error = left.error().message;
        }
    }
    if (lost) lost_();
}

}  // namespace fastnet::cluster
