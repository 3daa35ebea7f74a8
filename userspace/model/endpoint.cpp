#include "userspace/model/endpoint.h"

#include <algorithm>
#include <cstdio>

#include "userspace/model/names.h"

namespace fastnet {
namespace {

constexpr EndpointMode kModes[] = {EndpointMode::kNone,    EndpointMode::kHost,    EndpointMode::kBridge,
                                   EndpointMode::kOverlay, EndpointMode::kMacvlan, EndpointMode::kIpvlan};
constexpr std::uint8_t kDockerMacFirst = 0x02;  // locally administered, unicast
constexpr std::uint8_t kDockerMacSecond = 0x42;

std::string format(const PortRange& range) {
    const std::string first = std::to_string(range.first.value());
    return range.size() == 1 ? first : first + "-" + std::to_string(range.last.value());
}

/// The name a namespace goes by, or nothing where its reference is only a number.
std::string name_of_netns(std::string_view netns) {
    if (netns.starts_with("pid:") || netns.starts_with("/proc/")) return {};
    const std::size_t slash = netns.rfind('/');
    const std::string name{slash == std::string_view::npos ? netns : netns.substr(slash + 1)};
    return check_name(name, "endpoint") ? name : std::string{};
}

std::string random_name(std::uint64_t random) {
    std::array<char, 16> text{};
    (void)std::snprintf(text.data(), text.size(), "ep-%08x", static_cast<unsigned>(random & 0xffffffffU));
    return text.data();
}

}  // namespace

std::string to_string(EndpointMode mode) {
    switch (mode) {
        case EndpointMode::kNone: return "none";
        case EndpointMode::kHost: return "host";
        case EndpointMode::kBridge: return "bridge";
        case EndpointMode::kOverlay: return "overlay";
        case EndpointMode::kMacvlan: return "macvlan";
        case EndpointMode::kIpvlan: return "ipvlan";
    }
    return "mode " + std::to_string(static_cast<unsigned>(mode));
}

std::optional<EndpointMode> endpoint_mode_from(std::string_view text) {
    for (const EndpointMode mode : kModes)
        if (to_string(mode) == text) return mode;
    return std::nullopt;
}

std::string to_string(EndpointState state) {
    switch (state) {
        case EndpointState::kPending: return "pending";
        case EndpointState::kReady: return "ready";
        case EndpointState::kDeleting: return "deleting";
    }
    return "state " + std::to_string(static_cast<unsigned>(state));
}

std::optional<NetworkDriver> driver_of(EndpointMode mode) {
    switch (mode) {
        case EndpointMode::kBridge: return NetworkDriver::kBridge;
        case EndpointMode::kOverlay: return NetworkDriver::kOverlay;
        case EndpointMode::kMacvlan: return NetworkDriver::kMacvlan;
        case EndpointMode::kIpvlan: return NetworkDriver::kIpvlan;
        case EndpointMode::kNone:
        case EndpointMode::kHost: break;
    }
    return std::nullopt;
}

bool has_veth(EndpointMode mode) {
    const auto driver = driver_of(mode);
    return driver && has_bridge(*driver);
}

EndpointMode mode_of(NetworkDriver driver) {
    switch (driver) {
        case NetworkDriver::kBridge: return EndpointMode::kBridge;
        case NetworkDriver::kOverlay: return EndpointMode::kOverlay;
        case NetworkDriver::kMacvlan: return EndpointMode::kMacvlan;
        case NetworkDriver::kIpvlan: break;
    }
    return EndpointMode::kIpvlan;
}

std::string PublishedPort::to_string() const {
    const std::string address = family() == Family::kIpv6 ? "[" + host_ip.to_string() + "]" : host_ip.to_string();
    return address + ":" + format(host_ports) + "->" + format(container_ports) + "/" + fastnet::to_string(protocol);
}

MacAddress mac_for(const IpAddress& ipv4) {
    const auto& bytes = ipv4.bytes();
    return MacAddress{{kDockerMacFirst, kDockerMacSecond, bytes[12], bytes[13], bytes[14], bytes[15]}};
}

MacAddress mac_from_random(std::array<std::uint8_t, 6> random) {
    random[0] = static_cast<std::uint8_t>((random[0] & 0xfcU) | 0x02U);
    if (random[0] == kDockerMacFirst && random[1] == kDockerMacSecond) random[0] = 0x06;
    return MacAddress{random};
}

std::string default_endpoint_name(std::string_view netns, std::string_view network, std::uint64_t random,
                                  const std::function<bool(const std::string&)>& taken) {
    const std::string own = name_of_netns(netns);
    if (!own.empty()) {
        const std::string with_network = own + "-" + std::string{network};
        for (const std::string& name : {own, with_network})
            if (check_name(name, "endpoint") && !taken(name)) return name;
    }
    while (taken(random_name(random))) ++random;
    return random_name(random);
}

}  // namespace fastnet
