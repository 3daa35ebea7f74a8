#include "userspace/agent/cluster_part.h"

#include <prometheus/registry.h>

#include <algorithm>
#include <utility>

#include "userspace/agent/status.h"

namespace fastnet {
namespace {

using namespace std::chrono_literals;
using cluster::ClusterStatus;
using Json = nlohmann::json;

constexpr auto kShowInterval = 500ms;
constexpr std::chrono::seconds kClockDoubt{5};
constexpr std::chrono::seconds kPasswordLook{5};

Json text_or_null(const std::optional<IpAddress>& address) {
    return address ? Json(address->to_string()) : Json(nullptr);
}

std::int64_t lag_of(const ClusterStatus& status) {
    std::int64_t newest = status.revision;
    for (const MemberHealth& member : status.health.members)
        if (member.cluster_id == status.cluster_id) newest = std::max(newest, member.revision);
    return newest - status.revision;
}

double seconds_left(const ClusterStatus& status) {
    if (!status.lease.expires) return 0;
    return std::max(0.0, std::chrono::duration<double>(*status.lease.expires - std::chrono::steady_clock::now()).count());
}

Json json_of(const MemberHealth& member) {
    Json json{{"url", member.url},
              {"reachable", member.reachable},
              {"quorum", member.quorum},
              {"leader", member.is_leader()},
              {"version", member.version},
              {"revision", member.revision},
              {"error", member.error},
              {"round_trip_seconds", std::chrono::duration<double>(member.round_trip).count()},
              {"clock_offset_seconds", nullptr}};
    if (member.clock_offset) json["clock_offset_seconds"] = member.clock_offset->count();
    return json;
}

Json etcd_json(const ClusterStatus& status) {
    Json members = Json::array();
    for (const MemberHealth& member : status.health.members) members.push_back(json_of(member));
    return {{"connected", status.connected},
            {"since", rfc3339(status.since)},
            {"url", status.url},
            {"cluster_id", std::to_string(status.cluster_id)},
            {"revision", status.revision},
            {"lag", lag_of(status)},
            {"members", std::move(members)}};
}

template <typename Metric>
Metric& plain(prometheus::Family<Metric>& family) {
    return family.Add({});
}

prometheus::Family<prometheus::Gauge>& gauges(prometheus::Registry& registry, const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

prometheus::Counter& counter(prometheus::Registry& registry, const char* name, const char* help) {
    return plain(prometheus::BuildCounter().Name(name).Help(help).Register(registry));
}

}  // namespace

ClusterPart::Metrics::Metrics(prometheus::Registry& registry)
    : connected{plain(gauges(registry, "fastnet_etcd_connected", "1 if what this node knows of the cluster is what etcd has."))},
      revision{plain(gauges(registry, "fastnet_etcd_revision", "Revision of etcd that this node has followed up to."))},
      lag{plain(gauges(registry, "fastnet_etcd_revision_lag", "Revisions of etcd, other applications' too, that this node has not seen."))},
      lease_seconds{plain(gauges(registry, "fastnet_etcd_lease_remaining_seconds",
                                 "Time until the other nodes forget this one, unless its lease is renewed."))},
      nodes{plain(gauges(registry, "fastnet_cluster_nodes", "Other nodes of the cluster."))},
      networks{plain(gauges(registry, "fastnet_cluster_networks", "Networks that this node shares with others."))},
      endpoints{gauges(registry, "fastnet_cluster_endpoints", "Endpoints on shared networks; owner: own (shown to others), remote.")},
      block_addresses{
          gauges(registry, "fastnet_cluster_block_addresses", "Addresses in the blocks that this node owns, by family and state.")},
      rejected{gauges(registry, "fastnet_cluster_rejected_entries", "Entries in etcd that are not taken, by reason.")},
      kept{plain(gauges(registry, "fastnet_cluster_kept_entries", "Entries that vanished from etcd and stay for now."))},
      members{plain(
          gauges(registry, "fastnet_etcd_members_healthy", "Members of etcd, among the configured ones, that answer with a quorum."))},
      rejections{counter(registry, "fastnet_cluster_rejections_total", "Times that an entry in etcd was not taken.")},
      full_reads{counter(registry, "fastnet_etcd_full_reads_total", "Times that all keys were read.")},
      changes{counter(registry, "fastnet_cluster_changes_total", "Changes of nodes and endpoints that were carried out on this node.")},
      transactions{counter(registry, "fastnet_etcd_transactions_total", "Transactions that this node wrote.")},
      failures{counter(registry, "fastnet_cluster_failures_total", "Attempts that failed: to read, to write, to carry out.")} {}

void ClusterPart::Metrics::show(const ClusterStatus& status) {
    connected.Set(status.connected ? 1 : 0);
    revision.Set(static_cast<double>(status.revision));
    lag.Set(static_cast<double>(lag_of(status)));
    lease_seconds.Set(seconds_left(status));
    nodes.Set(static_cast<double>(status.nodes.size()));
    networks.Set(static_cast<double>(status.networks));
    endpoints.Add({{"owner", "own"}}).Set(static_cast<double>(status.own_endpoints));
    endpoints.Add({{"owner", "remote"}}).Set(static_cast<double>(status.remote_endpoints));
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
        double free = 0;
        double used = 0;
        for (const cluster::BlockCount& block : status.blocks) {
            if (block.family != family) continue;
            free += static_cast<double>(block.free);
            used += static_cast<double>(block.addresses - block.free);
        }
        const std::string label = family == Family::kIpv4 ? "ipv4" : "ipv6";
        block_addresses.Add({{"family", label}, {"state", "free"}}).Set(free);
        block_addresses.Add({{"family", label}, {"state", "used"}}).Set(used);
    }
    for (int i = 1; i <= static_cast<int>(cluster::Reason::kNetworkConflict); ++i) {
        const auto reason = static_cast<cluster::Reason>(i);
        const auto found = status.rejected.find(reason);
        rejected.Add({{"reason", to_string(reason)}}).Set(found == status.rejected.end() ? 0 : static_cast<double>(found->second));
    }
    kept.Set(static_cast<double>(status.kept));
    members.Set(static_cast<double>(std::count_if(status.health.members.begin(), status.health.members.end(),
                                                  [](const MemberHealth& member) { return member.quorum; })));
    rejections.follow(status.rejections);
    full_reads.follow(status.range_syncs);
    changes.follow(status.changes);
    transactions.follow(status.transactions);
    failures.follow(status.failures);
}

void ClusterPart::Metrics::begin_anew() {
    for (Total* const total : {&rejections, &full_reads, &changes, &transactions, &failures}) total->seen = 0;
}

void ClusterPart::Total::follow(std::uint64_t value) {
    counter.Increment(static_cast<double>(value - seen));
    seen = value;
}

Result<cluster::WorkerConfig> worker_config(const AgentConfig& config, const std::string& version) {
    cluster::WorkerConfig worker;
    worker.etcd.urls = config.etcd.urls;
    worker.etcd.user = config.etcd.user;
    if (!config.etcd.password_file.empty()) worker.etcd.password = TRY(read_password(config.etcd.password_file));
    worker.etcd.ca_file = config.etcd.ca_file;
    worker.etcd.cert_file = config.etcd.cert_file;
    worker.etcd.key_file = config.etcd.key_file;
    worker.etcd.timeout = config.etcd.timeout;
    worker.prefix = config.etcd.prefix;
    worker.node_name = config.node.name;
    worker.ipv4 = config.node.ipv4;
    worker.ipv6 = config.node.ipv6;
    worker.version = version;
    worker.lease_ttl = config.etcd.lease_ttl;
    return worker;
}

Result<std::size_t> forget_cluster_node(const AgentConfig& config, const std::string& node) {
    const cluster::WorkerConfig worker = TRY(worker_config(config, {}));
    return cluster::forget_node(worker.etcd, worker.prefix, node);
}

ClusterPart::ClusterPart(const PartContext& context) : context_{context}, metrics_{*context.metrics} {}

ClusterPart::~ClusterPart() {
    ClusterPart::stop();
}

bool ClusterPart::concerned(const AgentConfig& before, const AgentConfig& after) const {
    return !(before.etcd == after.etcd) || !(before.node == after.node);
}

Status ClusterPart::start(const AgentConfig& config) {
    cluster::WorkerCallbacks callbacks;
    callbacks.log = [log = context_.log](cluster::Severity severity, const std::string& text) {
        switch (severity) {
            case cluster::Severity::kInfo: log->info("cluster: " + text); break;
            case cluster::Severity::kWarning: log->warn("cluster: " + text); break;
            case cluster::Severity::kError: log->error("cluster: " + text); break;
        }
    };
    callbacks.beat = [this] {
        heartbeat().beat();
        if (std::chrono::steady_clock::now() - shown_ < kShowInterval) return;
        shown_ = std::chrono::steady_clock::now();
        metrics_.show(worker_->status());
        look_at_password();
    };
    cluster::WorkerConfig worker = TRY(worker_config(config, context_.version));
    password_ = worker.etcd.password;
    password_file_ = config.etcd.password_file;
    metrics_.begin_anew();
    worker_ = std::make_unique<cluster::Worker>(context_.paths, std::move(worker), std::move(callbacks));
    {
        const std::lock_guard lock{mutex_};
        ended_ = false;
        error_.clear();
    }
    thread_ = std::thread{[this] { run(); }};
    return ok();
}

/// A rotated password needs neither a restart nor a signal: this part ends, and is started with the new one.
void ClusterPart::look_at_password() {
    if (password_file_.empty() || std::chrono::steady_clock::now() - password_seen_ < kPasswordLook) return;
    password_seen_ = std::chrono::steady_clock::now();
    const auto now = read_password(password_file_);
    if (!now || *now == password_) return;  // one that is being written is read again
    has_new_password_ = true;
    worker_->stop();
}

void ClusterPart::run() {
    const Status status = worker_->run();
    const std::lock_guard lock{mutex_};
    ended_ = true;
    error_ = !status ? status.error().message : has_new_password_.exchange(false) ? "the password was changed" : "the node was made anew";
}

void ClusterPart::stop() {
    if (worker_) worker_->stop();
    if (thread_.joinable()) thread_.join();
    worker_.reset();
}

Condition ClusterPart::condition() const {
    {
        const std::lock_guard lock{mutex_};
        if (ended_) return {Condition::State::kEnded, error_};
    }
    const ClusterStatus status = worker_->status();
    if (status.connected && status.reason.empty()) return {Condition::State::kReady, {}};
    return {Condition::State::kNotReady, status.reason.empty() ? "begins" : status.reason};
}

Json ClusterPart::details() const {
    const ClusterStatus status = worker_->status();
    Json nodes = Json::array();
    for (const RemoteNode& node : status.nodes)
        nodes.push_back({{"name", node.name}, {"uid", node.uid}, {"ipv4", text_or_null(node.ipv4)}, {"ipv6", text_or_null(node.ipv6)}});
    Json blocks = Json::array();
    for (const cluster::BlockCount& block : status.blocks)
        blocks.push_back({{"network", block.network},
                          {"family", block.family == Family::kIpv4 ? "ipv4" : "ipv6"},
                          {"blocks", block.blocks},
                          {"addresses", block.addresses},
                          {"free", block.free}});
    Json rejected = Json::object();
    for (const auto& [reason, count] : status.rejected) rejected[to_string(reason)] = count;
    Json examples = Json::array();
    for (const cluster::Refusal& refusal : status.examples)
        examples.push_back(
            {{"key", refusal.what}, {"revision", refusal.revision}, {"reason", to_string(refusal.reason)}, {"why", refusal.why}});
    Json json{
        {"etcd", etcd_json(status)},
        {"lease", {{"id", std::to_string(status.lease.id)}, {"remaining_seconds", seconds_left(status)}, {"error", status.lease.error}}},
        {"node",
         {{"name", status.self.name},
          {"uid", status.self.uid},
          {"ipv4", text_or_null(status.self.ipv4)},
          {"ipv6", text_or_null(status.self.ipv6)}}},
        {"nodes", std::move(nodes)},
        {"networks", status.networks},
        {"endpoints", {{"own", status.own_endpoints}, {"remote", status.remote_endpoints}}},
        {"blocks", std::move(blocks)},
        {"problems", status.problems},
        {"rejected", std::move(rejected)},
        {"rejected_examples", std::move(examples)},
        {"kept", status.kept},
        {"hold_off_seconds", nullptr},
        {"full_reads", status.range_syncs}};
    if (status.hold_off) json["hold_off_seconds"] = status.hold_off->count();
    return json;
}

std::vector<CheckView> ClusterPart::checks() const {
    const ClusterStatus status = worker_->status();
    std::vector<CheckView> checks;
    if (status.connected)
        checks.push_back({"etcd", CheckResult::kOk, "follows " + status.url + " up to revision " + std::to_string(status.revision), {}});
    else
        checks.push_back({"etcd", CheckResult::kFail, "cut off since " + rfc3339(status.since) + ": " + status.reason,
                          "traffic goes on; look at etcd, and at etcd.urls in the agent's configuration"});
    for (const MemberHealth& member : status.health.members) {
        const std::string what = "etcd member " + member.url;
        if (!member.quorum)
            checks.push_back({what, CheckResult::kWarn, member.error.empty() ? "it does not answer" : member.error,
                              "start it, or take it out of etcd.urls"});
        else if (member.clock_offset && std::chrono::abs(*member.clock_offset) > kClockDoubt)
            checks.push_back({what, CheckResult::kWarn, "its clock differs by " + std::to_string(member.clock_offset->count()) + " s",
                              "synchronize the clocks (chrony, systemd-timesyncd)"});
    }
    for (const auto& [what, why] : status.problems)
        checks.push_back({what, CheckResult::kWarn, why, "the agent's log and `fastnet status --json` tell more"});
    std::size_t rejected = 0;
    for (const auto& [reason, count] : status.rejected) rejected += count;
    if (rejected != 0)
        checks.push_back({"entries in etcd", CheckResult::kWarn,
                          std::to_string(rejected) + " are not taken: " + status.examples.front().what + ": " + status.examples.front().why,
                          "whoever wrote them may be broken or hostile; the agent's log names them all"});
    return checks;
}

}  // namespace fastnet
