#include "userspace/model/network_options.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

namespace fastnet {
namespace {

constexpr std::string_view kDockerPrefix = "com.docker.network.bridge.";
constexpr std::array kFamilies{Family::kIpv4, Family::kIpv6};
constexpr std::string_view kNat = "nat";
constexpr std::string_view kRouted = "routed";
constexpr std::string_view kLearning = "learning";
constexpr std::string_view kVxlanGuard = "vxlan_guard";
constexpr std::string_view kScope = "scope";
constexpr std::string_view kLocal = "local";
constexpr std::string_view kCluster = "cluster";
constexpr std::string_view kOn = "on";
constexpr std::string_view kOff = "off";

struct KnownOption {
    std::string key;
    std::pair<std::string_view, std::string_view> values;
};

std::vector<KnownOption> known_options(NetworkDriver driver) {
    std::vector<KnownOption> known;
    for (const Family family : kFamilies) known.push_back({gateway_mode_key(family), {kNat, kRouted}});
    if (driver == NetworkDriver::kOverlay) {
        for (const std::string_view key : {kLearning, kVxlanGuard}) known.push_back({std::string{key}, {kOn, kOff}});
        known.push_back({std::string{kScope}, {kLocal, kCluster}});
    }
    return known;
}

std::string names_of(const std::vector<KnownOption>& options) {
    std::string text;
    for (std::size_t i = 0; i < options.size(); ++i) text += (i == 0 ? "" : i + 1 == options.size() ? " and " : ", ") + options[i].key;
    return text;
}

bool is_global(const IpPrefix& subnet) {  // 2000::/3, what is assigned of global unicast (RFC 4291 2.4)
    return subnet.family() == Family::kIpv6 && (subnet.address().bytes()[0] & 0xe0U) == 0x20U;
}

}  // namespace

std::string gateway_mode_key(Family family) {
    return family == Family::kIpv4 ? "gateway_mode_ipv4" : "gateway_mode_ipv6";
}

Result<std::map<std::string, std::string>> canonical_options(NetworkDriver driver, const std::map<std::string, std::string>& given) {
    std::map<std::string, std::string> options;
    for (const auto& [given_key, value] : given) {
        const std::string key = given_key.starts_with(kDockerPrefix) ? given_key.substr(kDockerPrefix.size()) : given_key;
        const std::vector<KnownOption> known = known_options(driver);
        const auto option = std::find_if(known.begin(), known.end(), [&](const KnownOption& one) { return one.key == key; });
        if (option == known.end())
            return usage_error("--opt: '" + given_key + "' is not known to driver " + to_string(driver), "known are " + names_of(known));
        if (value != option->values.first && value != option->values.second)
            return usage_error("--opt: " + key + " cannot be '" + value + "'",
                               "it is " + std::string{option->values.first} + " or " + std::string{option->values.second});
        if (!options.emplace(key, value).second)
            return usage_error("--opt: '" + key + "' is given twice", "give each key once, with or without Docker's prefix");
    }
    return options;
}

GatewayMode gateway_mode(const Network& network, Family family) {
    const auto option = network.options.find(gateway_mode_key(family));
    return option != network.options.end() && option->second == kRouted ? GatewayMode::kRouted : GatewayMode::kNat;
}

std::optional<bool> learning_option(const Network& network) {
    const auto option = network.options.find(std::string{kLearning});
    if (option == network.options.end()) return std::nullopt;
    return option->second == kOn;
}

bool vxlan_guard(const Network& network) {
    const auto option = network.options.find(std::string{kVxlanGuard});
    return option != network.options.end() && option->second == kOn;
}

std::string to_string(NetworkScope scope) {
    return std::string{scope == NetworkScope::kCluster ? kCluster : kLocal};
}

NetworkScope scope_of(const Network& network) {
    const auto option = network.options.find(std::string{kScope});
    return option != network.options.end() && option->second == kCluster ? NetworkScope::kCluster : NetworkScope::kLocal;
}

void set_scope(Network& network, NetworkScope scope) {
    network.options[std::string{kScope}] = to_string(scope);
}

bool has_scope(const Network& network) {
    return network.options.contains(std::string{kScope});
}

void choose_gateway_modes(Network& network) {
    for (const IpPrefix& subnet : network.subnets)
        if (is_global(subnet)) network.options.try_emplace(gateway_mode_key(subnet.family()), kRouted);
}

}  // namespace fastnet
