#include "userspace/agent/status.h"

#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

namespace fastnet {
namespace {

using Json = nlohmann::ordered_json;
using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

/// Of the status document: raised when a field changes its meaning or goes.
constexpr int kDocumentVersion = 1;
/// However many ask, the maps are not read more often.
constexpr std::chrono::milliseconds kNodeReadInterval{500};

SteadyTime now() {
    return std::chrono::steady_clock::now();
}

const char* word_for(CheckResult result) {
    switch (result) {
        case CheckResult::kOk: return "ok";
        case CheckResult::kWarn: return "warn";
        case CheckResult::kFail: return "fail";
    }
    return "fail";
}

Json json_of(const CheckView& check) {
    return {{"name", check.name}, {"result", word_for(check.result)}, {"text", check.text}, {"fix", check.fix}};
}

std::string text_of(const PartReport& report) {
    return report.name + ": " + std::string{to_string(report.state)} + (report.reason.empty() ? "" : ": " + report.reason);
}

class MetricRows {
public:
    MetricRows(std::string name, std::string help, MetricType type) : family_{std::move(name), std::move(help), type, {}} {}

    MetricRows& add(double value, std::vector<ClientMetric::Label> labels = {}) {
        ClientMetric metric;
        metric.label = std::move(labels);
        (family_.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
        family_.metric.push_back(std::move(metric));
        return *this;
    }
    template <typename Integer>
    MetricRows& add_number(Integer value, std::vector<ClientMetric::Label> labels = {}) {
        return add(static_cast<double>(value), std::move(labels));
    }
    /// A row for each entry; the key is the label's value.
    MetricRows& add_all(const std::map<std::string, std::uint64_t>& rows, const std::string& label) {
        for (const auto& [key, value] : rows) add_number(value, {{label, key}});
        return *this;
    }
    void into(std::vector<MetricFamily>& families) {
        if (!family_.metric.empty()) families.push_back(std::move(family_));
    }

private:
    MetricFamily family_;
};

MetricRows counter(std::string name, std::string help) {
    return {std::move(name), std::move(help), MetricType::Counter};
}
MetricRows gauge(std::string name, std::string help) {
    return {std::move(name), std::move(help), MetricType::Gauge};
}

double seconds_of(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

/// What Prometheus' own clients export of their process, as far as it costs nothing.
void add_process_families(std::chrono::system_clock::time_point since, std::vector<MetricFamily>& families) {
    rusage usage{};
    if (::getrusage(RUSAGE_SELF, &usage) == 0)
        counter("process_cpu_seconds_total", "CPU time of the agent, user and system.")
            .add(seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime))
            .into(families);
    std::uint64_t size_pages = 0;
    std::uint64_t resident_pages = 0;
    if (std::ifstream statm{"/proc/self/statm"}; statm >> size_pages >> resident_pages)
        gauge("process_resident_memory_bytes", "Memory of the agent that is resident.")
            .add_number(resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)))
            .into(families);
    std::error_code error;
    const auto fds = std::distance(std::filesystem::directory_iterator{"/proc/self/fd", error}, std::filesystem::directory_iterator{});
    if (!error) gauge("process_open_fds", "Open file descriptors of the agent.").add_number(fds).into(families);
    gauge("process_start_time_seconds", "Start of the agent since the epoch.")
        .add(std::chrono::duration<double>(since.time_since_epoch()).count())
        .into(families);
}

void add_packet_families(const NodeMetrics& node, std::vector<MetricFamily>& families) {
    MetricRows packets =
        counter("fastnet_packets_total", "Packets by verdict; path: fast (sent on by BPF), kernel (left to the kernel), drop.");
    MetricRows bytes = counter("fastnet_bytes_total", "Bytes of the packets of fastnet_packets_total.");
    MetricRows drops = counter("fastnet_drops_total", "Packets that were dropped, by reason.");
    for (const VerdictView& verdict : node.verdicts) {
        const std::vector<ClientMetric::Label> labels{{"path", verdict.kind}, {"verdict", verdict.name}};
        packets.add_number(verdict.packets, labels);
        bytes.add_number(verdict.bytes, labels);
        if (verdict.kind == "drop") drops.add_number(verdict.packets, {{"reason", verdict.name}});
    }
    packets.into(families);
    bytes.into(families);
    drops.into(families);
}

void add_map_families(const NodeMetrics& node, std::vector<MetricFamily>& families) {
    MetricRows entries = gauge("fastnet_map_entries", "Entries of a BPF map that are in use.");
    MetricRows limits = gauge("fastnet_map_max_entries", "Entries that a BPF map has room for.");
    MetricRows memory = gauge("fastnet_map_memory_bytes", "Memory of a BPF map, as the kernel accounts it.");
    for (const MapView& map : node.maps) {
        entries.add_number(map.entries, {{"map", map.name}});
        limits.add_number(map.max_entries, {{"map", map.name}});
        memory.add_number(map.memory_bytes, {{"map", map.name}});
    }
    entries.into(families);
    limits.into(families);
    memory.into(families);
}

void add_count_families(const NodeMetrics& node, std::vector<MetricFamily>& families) {
    gauge("fastnet_prepared", "1 if the node's programs and maps are loaded.").add(node.prepared ? 1 : 0).into(families);
    gauge("fastnet_flows", "Connections that the packet path knows.").add_all(node.flows, "state").into(families);
    if (node.prepared) {
        gauge("fastnet_max_flows", "Connections that there is room for.").add_number(node.max_flows).into(families);
        counter("fastnet_flows_expired_total", "Connections that were removed after their time-out.")
            .add_number(node.expired_flows)
            .into(families);
        counter("fastnet_flows_reclaimed_total", "Connections that were removed because room was short.")
            .add_number(node.reclaimed_flows)
            .into(families);
    }
    gauge("fastnet_endpoints", "Containers that are attached.").add_all(node.endpoints, "mode").into(families);
    gauge("fastnet_networks", "Networks of the node.").add_all(node.networks, "driver").into(families);
    gauge("fastnet_published_ports", "Published ports: one per address family, a range is one.").add_number(node.ports).into(families);
    gauge("fastnet_peers", "Other nodes to which there are tunnels.").add_number(node.peers).into(families);
    gauge("fastnet_remote_endpoints", "Containers on other nodes that are known by name.").add_number(node.remote_endpoints).into(families);
}

}  // namespace

std::string rfc3339(std::chrono::system_clock::time_point time) {
    const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
    std::tm utc{};
    (void)::gmtime_r(&seconds, &utc);
    std::array<char, 32> text{};
    return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

AgentStatus::AgentStatus(NodePaths paths, std::string version)
    : paths_{std::move(paths)}, version_{std::move(version)}, since_{std::chrono::system_clock::now()} {}

void AgentStatus::set_config(const std::string& node_name, const std::string& error) {
    const std::lock_guard lock{mutex_};
    if (error.empty()) node_name_ = node_name;
    config_error_ = error;
    ++(error.empty() ? reloads_ : failed_reloads_);
}

bool AgentStatus::ready() const {
    const std::vector<PartReport> reports = supervisor_->reports(now());
    return std::all_of(reports.begin(), reports.end(), [](const PartReport& report) { return report.good(); });
}

std::string AgentStatus::summary() const {
    std::string text;
    for (const PartReport& report : supervisor_->reports(now()))
        if (!report.good()) text += (text.empty() ? "" : "; ") + text_of(report);
    return text.empty() ? "ready" : text;
}

std::string AgentStatus::document() const {
    const std::vector<PartReport> reports = supervisor_->reports(now());
    Json checks = Json::array();
    Json json;
    json["document"] = kDocumentVersion;
    json["version"] = version_;
    json["pid"] = ::getpid();
    json["since"] = rfc3339(since_);
    json["ready"] = std::all_of(reports.begin(), reports.end(), [](const PartReport& report) { return report.good(); });
    {
        const std::lock_guard lock{mutex_};
        json["node"] = node_name_;
        json["config_error"] = config_error_.empty() ? Json(nullptr) : Json(config_error_);
        if (!config_error_.empty())
            checks.push_back(json_of({"agent configuration", CheckResult::kWarn, "the last reload was refused: " + config_error_,
                                      "correct the file and reload again; until then the old configuration is in force"}));
    }
    json["parts"] = Json::array();
    json["etcd"] = nullptr;
    for (const PartReport& report : reports) {
        json["parts"].push_back({{"name", report.name},
                                 {"state", to_string(report.state)},
                                 {"reason", report.reason},
                                 {"starts", report.starts},
                                 {"details", report.details}});
        if (report.name == "cluster" && report.state != PartState::kOff) json["etcd"] = report.details;
        for (const CheckView& check : report.checks) checks.push_back(json_of(check));
    }
    json["checks"] = std::move(checks);
    return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

HttpAnswer AgentStatus::health() const {
    const SteadyTime time = now();
    if (supervisor_->alive(time)) return {200, "text/plain; charset=utf-8", "ok\n"};
    std::string text;
    for (const PartReport& report : supervisor_->reports(time))
        if (report.state == PartState::kHung) text += text_of(report) + "\n";
    return {503, "text/plain; charset=utf-8", text};
}

HttpAnswer AgentStatus::readiness() const {
    std::string text;
    bool good = true;
    for (const PartReport& report : supervisor_->reports(now())) {
        good = good && report.good();
        text += text_of(report) + "\n";
    }
    return {good ? 200 : 503, "text/plain; charset=utf-8", text};
}

HttpAnswer AgentStatus::metrics() {
    std::vector<MetricFamily> families = node_families();
    add_part_families(families);
    add_process_families(since_, families);
    std::vector<MetricFamily> of_parts = registry_.Collect();
    std::move(of_parts.begin(), of_parts.end(), std::back_inserter(families));
    return {200, "text/plain; version=0.0.4; charset=utf-8", prometheus::TextSerializer{}.Serialize(families)};
}

std::vector<MetricFamily> AgentStatus::node_families() {
    const std::lock_guard lock{mutex_};
    if (node_read_ == SteadyTime{} || now() - node_read_ >= kNodeReadInterval) {
        auto node = read_node_metrics(paths_);
        node_failures_ += node ? 0 : 1;
        node_ = node ? *std::move(node) : NodeMetrics{};  // rather a gap than figures that stand still
        node_read_ = now();
    }
    std::vector<MetricFamily> families;
    gauge("fastnet_build_info", "1; the agent's version is the label.").add(1, {{"version", version_}}).into(families);
    add_packet_families(node_, families);
    add_map_families(node_, families);
    add_count_families(node_, families);
    counter("fastnet_node_read_failures_total", "Times that the node's database or maps could not be read.")
        .add_number(node_failures_)
        .into(families);
    counter("fastnet_config_reloads_total", "Configurations that were read, by result; the first is that of the start.")
        .add_number(reloads_, {{"result", "applied"}})
        .add_number(failed_reloads_, {{"result", "refused"}})
        .into(families);
    return families;
}

void AgentStatus::add_part_families(std::vector<MetricFamily>& families) const {
    MetricRows enabled = gauge("fastnet_part_enabled", "1 if the configuration switches the part of the agent on.");
    MetricRows ready = gauge("fastnet_part_ready", "1 if the part of the agent is ready; 0 if it is switched off, too.");
    MetricRows starts = counter("fastnet_part_starts_total", "Attempts to start the part of the agent.");
    for (const PartReport& report : supervisor_->reports(now())) {
        const std::vector<ClientMetric::Label> labels{{"part", report.name}};
        enabled.add(report.state == PartState::kOff ? 0 : 1, labels);
        ready.add(report.state == PartState::kReady ? 1 : 0, labels);
        starts.add_number(report.starts, labels);
    }
    enabled.into(families);
    ready.into(families);
    starts.into(families);
}

HttpPaths AgentStatus::paths(bool with_document) {
    HttpPaths paths;
    paths["/metrics"] = [this] { return metrics(); };
    paths["/healthz"] = [this] { return health(); };
    paths["/readyz"] = [this] { return readiness(); };
    if (with_document) paths["/v1/status"] = [this] { return HttpAnswer{200, "application/json", document()}; };
    return paths;
}

}  // namespace fastnet
