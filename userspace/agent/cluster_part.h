// The agent's part in the cluster: runs the worker that keeps etcd and the node equal, and tells of it.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "userspace/agent/part.h"
#include "userspace/cluster/worker.h"

namespace fastnet {

class ClusterPart : public Part {
public:
    explicit ClusterPart(const PartContext& context);
    ~ClusterPart() override;

    std::string_view name() const override { return "cluster"; }
    bool enabled(const AgentConfig& config) const override { return config.etcd.enabled(); }
    bool concerned(const AgentConfig& before, const AgentConfig& after) const override;
    Status start(const AgentConfig& config) override;
    void stop() override;
    Condition condition() const override;
    nlohmann::json details() const override;
    std::vector<CheckView> checks() const override;
    /// A command may hold the node's lock for a minute, and a call to etcd takes its time.
    std::chrono::milliseconds patience() const override { return std::chrono::seconds{90}; }

private:
    /// A counter that goes on when the worker, which counts from 0, is another one.
    struct Total {
        prometheus::Counter& counter;
        std::uint64_t seen = 0;  ///< of this worker
        void follow(std::uint64_t value);
    };
    /// Without labels of the user's: what has names is in details().
    struct Metrics {
        explicit Metrics(prometheus::Registry& registry);
        void show(const cluster::ClusterStatus& status);
        void begin_anew();  ///< what comes next is another worker's

        prometheus::Gauge& connected;
        prometheus::Gauge& revision;
        prometheus::Gauge& lag;
        prometheus::Gauge& lease_seconds;
        prometheus::Gauge& nodes;
        prometheus::Gauge& networks;
        prometheus::Family<prometheus::Gauge>& endpoints;
        prometheus::Family<prometheus::Gauge>& block_addresses;
        prometheus::Family<prometheus::Gauge>& rejected;
        prometheus::Gauge& kept;
        prometheus::Gauge& members;
        Total rejections;
        Total full_reads;
        Total changes;
        Total transactions;
        Total failures;
    };

    void look_at_password();
    void run();

    PartContext context_;
    Metrics metrics_;
    std::unique_ptr<cluster::Worker> worker_;
    std::thread thread_;
    // The worker's thread alone, once it runs.
    SteadyTime shown_{};
    SteadyTime password_seen_{};
    std::string password_file_;
    std::string password_;
    std::atomic<bool> has_new_password_{false};
    mutable std::mutex mutex_;
    bool ended_ = false;
    std::string error_{};
};

/// What of @p config the worker takes; the password is read from its file.
Result<cluster::WorkerConfig> worker_config(const AgentConfig& config, const std::string& version);

/// `fastnet agent --forget NODE`: how many blocks of addresses are free now. Conflict: the node is alive. Not found: it has none.
Result<std::size_t> forget_cluster_node(const AgentConfig& config, const std::string& node);

}  // namespace fastnet
