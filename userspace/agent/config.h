// What the agent is told: /etc/fastnet/fastnet.toml, with the command line above it. Plain values with defaults, checked as a whole
// when they are read. tools/fastnet.toml documents every key; a test keeps it equal to the defaults here. No secret is ever in here:
// the password stays in its file.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"

namespace fastnet {

struct ListenAddress {
    IpAddress address{};
    Port port{};
    static Result<ListenAddress> parse(std::string_view text);  ///< 127.0.0.1:9100, [::1]:9100
    std::string to_string() const;
    friend bool operator==(const ListenAddress&, const ListenAddress&) = default;
};

enum class LogLevel { kDebug, kInfo, kWarning, kError };

struct NodeSettings {
    std::string name{};               ///< of this node among the others; never empty once read: the host's name by default
    std::optional<IpAddress> ipv4{};  ///< of the node's end of the tunnels; without: found by the routes
    std::optional<IpAddress> ipv6{};
    friend bool operator==(const NodeSettings&, const NodeSettings&) = default;
};

struct LogSettings {
    LogLevel level = LogLevel::kInfo;
    friend bool operator==(const LogSettings&, const LogSettings&) = default;
};

struct ReconcileSettings {
    bool enabled = true;
    std::chrono::milliseconds interval{10'000};  ///< between two checks without a cause
    std::chrono::milliseconds debounce{50};      ///< how long changes are collected before a repair
    friend bool operator==(const ReconcileSettings&, const ReconcileSettings&) = default;
};

struct MetricsSettings {
    std::optional<ListenAddress> address{};  ///< without: no metrics by TCP
    friend bool operator==(const MetricsSettings&, const MetricsSettings&) = default;
};

struct EtcdSettings {
    std::vector<std::string> urls{};  ///< without: the node is on its own
    std::string prefix = "/fastnet";
    std::string user{};
    std::string password_file{};
    std::string ca_file{};
    std::string cert_file{};
    std::string key_file{};
    std::chrono::seconds lease_ttl{30};
    std::chrono::milliseconds timeout{1'000};
    bool enabled() const { return !urls.empty(); }
    friend bool operator==(const EtcdSettings&, const EtcdSettings&) = default;
};

struct AgentConfig {
    NodeSettings node{};
    LogSettings log{};
    ReconcileSettings reconcile{};
    MetricsSettings metrics{};
    EtcdSettings etcd{};
    friend bool operator==(const AgentConfig&, const AgentConfig&) = default;
};

/// What the command line says: above the file.
struct ConfigOverrides {
    std::optional<ListenAddress> metrics{};
    std::vector<std::string> etcd_urls{};  ///< empty: those of the file
};

constexpr std::string_view kDefaultConfigFile = "/etc/fastnet/fastnet.toml";

/// @p text as it stands in the file @p name; @p host_name is the node's name where it is not set. An error (usage) begins with
/// `<name>:<line>: <key>`, or with the option if it is the command line's. Pure.
Result<AgentConfig> parse_config(std::string_view text, const std::string& name, const ConfigOverrides& overrides,
                                 const std::string& host_name);
/// @p file must exist if it is named; otherwise kDefaultConfigFile is read where it exists. Looks at no other file.
Result<AgentConfig> load_config(const std::optional<std::filesystem::path>& file, const ConfigOverrides& overrides);
/// Whether the files that @p config names can be read.
Status check_files(const AgentConfig& config);
/// The password, without the newline at its end. Never part of an error.
Result<std::string> read_password(const std::filesystem::path& file);

/// Every key with the value in force: a file that parse_config() understands.
std::string to_toml(const AgentConfig& config);
/// The same as an object of objects, as text.
std::string to_json(const AgentConfig& config);
/// All keys, as `section.name`, in the order of the file.
std::vector<std::string> config_keys();

}  // namespace fastnet
