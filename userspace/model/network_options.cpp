#include "userspace/model/network_options.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace fastnet {
namespace {

constexpr std::string_view kDockerPrefix = "com.docker.network.bridge.";
constexpr std::array kFamilies{Family::kIpv4, Family::kIpv6};
constexpr std::string_view kNat = "nat";
constexpr std::string_view kRouted = "routed";

bool is_global(const IpPrefix& subnet) {  // 2000::/3, what is assigned of global unicast (RFC 4291 2.4)
    return subnet.family() == Family::kIpv6 && (subnet.address().bytes()[0] & 0xe0U) == 0x20U;
}

}  // namespace

std::string gateway_mode_key(Family family) {
    return family == Family::kIpv4 ? "gateway_mode_ipv4" : "gateway_mode_ipv6";
}

Result<std::map<std::string, std::string>> canonical_options(const std::map<std::string, std::string>& given) {
    std::map<std::string, std::string> options;
    for (const auto& [given_key, value] : given) {
        const std::string key = given_key.starts_with(kDockerPrefix) ? given_key.substr(kDockerPrefix.size()) : given_key;
        if (std::none_of(kFamilies.begin(), kFamilies.end(), [&](Family family) { return gateway_mode_key(family) == key; }))
            return usage_error("--opt: '" + given_key + "' is not known",
                               "known are " + gateway_mode_key(Family::kIpv4) + " and " + gateway_mode_key(Family::kIpv6));
        if (value != kNat && value != kRouted) return usage_error("--opt: " + key + " cannot be '" + value + "'", "it is nat or routed");
        if (!options.emplace(key, value).second)
            return usage_error("--opt: '" + key + "' is given twice", "give each key once, with or without Docker's prefix");
    }
    return options;
}

GatewayMode gateway_mode(const Network& network, Family family) {
    const auto option = network.options.find(gateway_mode_key(family));
    return option != network.options.end() && option->second == kRouted ? GatewayMode::kRouted : GatewayMode::kNat;
}

void choose_gateway_modes(Network& network) {
    for (const IpPrefix& subnet : network.subnets)
        if (is_global(subnet)) network.options.try_emplace(gateway_mode_key(subnet.family()), kRouted);
}

}  // namespace fastnet
