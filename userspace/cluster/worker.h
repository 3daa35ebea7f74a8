// Keeps etcd and the node equal: one thread that takes what the watch brings and what commands did, asks the pure decisions, and carries
// out their steps by etcd's transactions and by control. Nothing that it knows is lost with it: a new one ranges, reads the node and
// goes on with the differences. Invariants: without etcd nothing is removed; what others wrote reaches the node only as judged.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "loader/base/handle.h"
#include "loader/base/result.h"
#include "userspace/cluster/identity.h"
#include "userspace/cluster/inbox.h"
#include "userspace/cluster/lease_keeper.h"
#include "userspace/cluster/node_changes.h"
#include "userspace/cluster/own_plan.h"
#include "userspace/cluster/rejections.h"
#include "userspace/cluster/remote_plan.h"
#include "userspace/cluster/schedule.h"
#include "userspace/control/paths.h"
#include "userspace/etcd/watch.h"

namespace fastnet::cluster {

struct WorkerConfig {
    EtcdConfig etcd{};
    std::string prefix = "/fastnet";
    std::string node_name{};
    std::optional<IpAddress> ipv4{};  ///< VTEP addresses; without both: those of the uplinks
    std::optional<IpAddress> ipv6{};
    std::string version{};
    std::chrono::seconds lease_ttl{30};
};

enum class Severity { kInfo, kWarning, kError };

/// What the worker tells its surroundings; called on its thread.
struct WorkerCallbacks {
    std::function<void(Severity, const std::string&)> log;
    std::function<void()> beat;  ///< at least every second while it waits, and between two steps
};

struct BlockCount {
    std::string network;  ///< name
    Family family = Family::kIpv4;
    std::size_t blocks = 0;
    std::uint64_t addresses = 0;
    std::uint64_t free = 0;
};

struct ClusterStatus {
    bool connected = false;                         ///< what is known is what etcd has, up to `revision`
    std::string reason{};                           ///< why this node is not fully part of the cluster; empty if it is
    std::chrono::system_clock::time_point since{};  ///< of the last change of `connected`
    std::string url{};
    std::uint64_t cluster_id = 0;
    std::int64_t revision = 0;
    Health health{};
    LeaseState lease{};
    Self self{};
    std::vector<RemoteNode> nodes{};
    std::size_t remote_endpoints = 0;
    std::size_t own_endpoints = 0;                   ///< shown to others
    std::size_t networks = 0;                        ///< shared ones here
    std::size_t kept = 0;                            ///< entries that vanished and stay for now
    std::optional<std::chrono::seconds> hold_off{};  ///< left, after a wipe
    std::vector<BlockCount> blocks{};
    std::map<std::string, std::string> problems{};  ///< "network blue" -> why
    std::map<Reason, std::size_t> rejected{};
    std::vector<Refusal> examples{};
    std::uint64_t rejections = 0;   ///< since the start, as the rest
    std::uint64_t range_syncs = 0;  ///< times that everything was read
    std::uint64_t changes = 0;      ///< changes of remote endpoints that were carried out
    std::uint64_t transactions = 0;
    std::uint64_t failures = 0;
};

class Worker {
public:
    Worker(NodePaths paths, WorkerConfig config, WorkerCallbacks callbacks);
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    ~Worker();

    /// On the caller's thread until stop(), or until the node is another one than it was. An error: it cannot begin.
    Status run();
    /// From any thread; calls to etcd that run are interrupted.
    void stop();
    ClusterStatus status() const;

private:
    using Clock = std::chrono::steady_clock;

    // One round.
    Status begin();
    Status connect();
    void take_inbox();
    void take_events(const WatchEvents& events);
    bool take_overflow();
    Status read_node();
    void forget_node();
    Status publish();
    bool apply_remote();
    void wait();

    Status take_identity();
    bool is_busy(const Error& error);

    // Steps of publish().
    Status publish_all();
    Status withdraw();
    Status end_old_lease();
    Status ensure_lease();
    Result<bool> register_node();
    Status publish_networks();
    Status publish_blocks(bool restore);
    Status publish_endpoints();
    template <typename Plan>
    Status settle(Plan plan);
    Result<bool> write(const Txn& txn);
    Result<bool> carry_out(const NetworkStep& step);
    Result<bool> carry_out(const BlockStep& step);

    void find_vteps();
    void look_for_wipe();
    void log_hold_off(const std::string& why);
    Status remember_hold_off();
    void absorb(const Touched& touched);
    void reject(const Refusal& refusal);
    void set_connected();
    void disconnect(const std::string& why);
    void fail(const std::string& why);
    void problem(const std::string& what, const std::string& why);
    void show();
    void log(Severity severity, const std::string& text) const { callbacks_.log(severity, text); }
    bool stopping() const;
    void wake() const;

    NodePaths paths_;
    WorkerConfig config_;
    WorkerCallbacks callbacks_;
    UniqueFd wake_fd_;
    NodeChanges node_changes_;

    Inbox inbox_;
    mutable std::mutex mutex_;  ///< of status and stopping
    ClusterStatus status_;
    bool stopping_ = false;

    // The worker's thread alone.
    std::optional<EtcdClient> client_;
    std::unique_ptr<LeaseKeeper> keeper_;
    std::optional<EtcdWatch> watch_;
    std::uint64_t watch_number_ = 0;
    std::int64_t lease_ = 0;
    bool lease_is_old_ = false;  ///< of the name that this node had before
    std::chrono::seconds lease_asked_{0};
    std::optional<Clock::time_point> busy_since_;  ///< the node's lock is held by somebody
    bool lease_sure_ = false;                      ///< nothing happened that may mean its end
    std::int64_t tombstone_lease_ = 0;             ///< granted, and no tombstone was written on it
    std::optional<Mirror> mirror_;
    RemotePlan remote_;
    Rejections rejections_;
    Self self_;
    OwnSide own_;
    std::string vtep_trouble_;  ///< why this node has no address for tunnels, or not the one that it should have
    std::map<std::string, std::string> problems_;
    std::set<std::string> problems_now_;  ///< met by the publish() that runs
    std::set<std::string> attempted_;     ///< steps of the publish() that runs: none twice

    Schedule schedule_;
    WipedParts hold_off_on_record_ = WipedParts::kNone;
    bool stale_ = false;  ///< the publish() that runs met somebody else's changes
    bool node_gone_ = false;
    bool ended_ = false;
    std::string reason_ = "begins";
    std::chrono::system_clock::time_point since_ = std::chrono::system_clock::now();
    std::string url_;
    std::uint64_t cluster_id_ = 0;
    ClusterStatus counters_;
};

/// `fastnet agent --forget NODE`: frees the blocks of a node that will not come back. How many there were. Conflict: it is alive.
Result<std::size_t> forget_node(const EtcdConfig& etcd, const std::string& prefix, const std::string& name);

}  // namespace fastnet::cluster
