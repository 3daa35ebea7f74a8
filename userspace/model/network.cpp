#include "userspace/model/network.h"

#include <algorithm>

#include "userspace/model/names.h"

namespace fastnet {
namespace {

constexpr std::uint32_t kMinMtuIpv4 = 68;    // RFC 791
constexpr std::uint32_t kMinMtuIpv6 = 1280;  // RFC 8200
constexpr std::uint32_t kMaxMtu = 65535;

constexpr NetworkDriver kDrivers[] = {NetworkDriver::kBridge, NetworkDriver::kOverlay, NetworkDriver::kMacvlan, NetworkDriver::kIpvlan};

IpPrefix prefix_v4(std::uint8_t a, std::uint8_t b, std::uint8_t length) {
    return {IpAddress::v4(a, b, 0, 0), length};
}

IpPrefix prefix_v6(std::uint8_t first, std::uint8_t second, std::uint8_t length) {
    std::array<std::uint8_t, 16> bytes{};
    bytes[0] = first;
    bytes[1] = second;
    return {IpAddress::from_bytes(bytes), length};
}

template <typename T, typename FamilyOf>
std::optional<T> first_of(const std::vector<T>& items, Family family, FamilyOf family_of) {
    const auto found = std::find_if(items.begin(), items.end(), [&](const T& item) { return family_of(item) == family; });
    return found == items.end() ? std::nullopt : std::optional<T>{*found};
}

template <typename T>
bool one_per_family(const std::vector<T>& items) {
    const auto v4 = std::count_if(items.begin(), items.end(), [](const T& item) { return item.family() == Family::kIpv4; });
    return v4 <= 1 && static_cast<std::ptrdiff_t>(items.size()) - v4 <= 1;
}

Status check_gateway(const Network& network, const IpAddress& gateway) {
    const auto subnet = network.subnet(gateway.family());
    if (!subnet || !subnet->contains(gateway)) return usage_error("gateway " + gateway.to_string() + " is outside the subnet");
    const unsigned bits = gateway.family() == Family::kIpv4 ? 32 : 128;
    if (subnet->length() + 1U < bits && (gateway == subnet->address() || (gateway.family() == Family::kIpv4 && gateway == subnet->last())))
        return usage_error("gateway " + gateway.to_string() + " is the network or broadcast address of " + subnet->to_string());
    return ok();
}

Status check_ip_range(const Network& network, const IpPrefix& range) {
    const auto subnet = network.subnet(range.family());
    if (!subnet || !subnet->contains(range.address()) || range.length() < subnet->length())
        return usage_error("ip range " + range.to_string() + " is outside the subnet");
    if (range != range.network())
        return usage_error("ip range " + range.to_string() + " has bits set behind the prefix",
                           "did you mean " + range.network().to_string() + "?");
    return ok();
}

Status check_driver_fields(const Network& network) {
    const bool on_parent = network.driver == NetworkDriver::kMacvlan || network.driver == NetworkDriver::kIpvlan;
    if (network.vni > kMaxVni)
        return usage_error("VNI " + std::to_string(network.vni) + " is above 16777215", "take one from 1 to 16777215");
    if (network.vni != 0 && network.driver != NetworkDriver::kOverlay) return usage_error("only an overlay network has a VNI");
    if (network.vni == 0 && network.driver == NetworkDriver::kOverlay)
        return usage_error("an overlay network needs a VNI from 1 to 16777215");
    if (!on_parent && !network.parent.empty()) return usage_error("a " + to_string(network.driver) + " network has no parent device");
    if (on_parent && network.parent.empty())
        return usage_error("a " + to_string(network.driver) + " network needs a parent device", "add --parent DEV");
    if (!network.parent.empty()) CHECK_OK(check_ifname(network.parent));
    if (!network.bridge.empty()) CHECK_OK(check_ifname(network.bridge));
    return ok();
}

Status check_all(const Network& network) {
    CHECK_OK(check_driver_fields(network));
    if (!one_per_family(network.subnets)) return usage_error("more than one subnet of a family");
    if (!one_per_family(network.gateways)) return usage_error("more than one gateway of a family");
    if (!one_per_family(network.ip_ranges)) return usage_error("more than one ip range of a family");
    for (const IpPrefix& subnet : network.subnets) CHECK_OK(check_subnet(subnet));
    for (const IpAddress& gateway : network.gateways) CHECK_OK(check_gateway(network, gateway));
    for (const IpPrefix& range : network.ip_ranges) CHECK_OK(check_ip_range(network, range));
    if (network.mtu == 0) return ok();
    const bool has_ipv6 = network.subnet(Family::kIpv6).has_value();
    const std::uint32_t least = has_ipv6 ? kMinMtuIpv6 : kMinMtuIpv4;
    if (network.mtu < least || network.mtu > kMaxMtu)
        return usage_error("MTU " + std::to_string(network.mtu) + " is not between " + std::to_string(least) + " and " +
                           std::to_string(kMaxMtu) + (has_ipv6 ? " (IPv6 needs 1280)" : ""));
    return ok();
}

}  // namespace

std::string to_string(NetworkDriver driver) {
    switch (driver) {
        case NetworkDriver::kBridge: return "bridge";
        case NetworkDriver::kOverlay: return "overlay";
        case NetworkDriver::kMacvlan: return "macvlan";
        case NetworkDriver::kIpvlan: return "ipvlan";
    }
    return "driver " + std::to_string(static_cast<unsigned>(driver));
}

std::optional<NetworkDriver> network_driver_from(std::string_view text) {
    for (const NetworkDriver driver : kDrivers)
        if (to_string(driver) == text) return driver;
    return std::nullopt;
}

std::optional<IpPrefix> Network::subnet(Family family) const {
    return first_of(subnets, family, [](const IpPrefix& prefix) { return prefix.family(); });
}

std::optional<IpAddress> Network::gateway(Family family) const {
    return first_of(gateways, family, [](const IpAddress& address) { return address.family(); });
}

std::optional<IpPrefix> Network::ip_range(Family family) const {
    return first_of(ip_ranges, family, [](const IpPrefix& prefix) { return prefix.family(); });
}

Status check_network_uid(std::string_view uid) {
    constexpr std::size_t kLongest = 64;
    const auto is_fit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-'; };
    if (!uid.empty() && uid.size() <= kLongest && std::all_of(uid.begin(), uid.end(), is_fit)) return ok();
    return usage_error("uid of a network: it has to be 1 to 64 letters, digits and dashes");
}

Status validate(const Network& network) {
    CHECK_OK(check_name(network.name, "network"));
    auto checked = check_all(network);
    if (!checked) return std::move(checked).error().in("network '" + network.name + "'");
    return ok();
}

Status check_subnet(const IpPrefix& subnet) {
    const std::string text = "subnet " + subnet.to_string();
    const unsigned bits = subnet.family() == Family::kIpv4 ? 32 : 128;
    if (subnet.length() > bits) return usage_error(text + " has a bad prefix length");
    if (subnet != subnet.network())
        return usage_error(text + " has bits set behind the prefix", "did you mean " + subnet.network().to_string() + "?");
    if (subnet.length() == bits)
        return usage_error(text + " has no room for a gateway and an endpoint", "take /" + std::to_string(bits - 1) + " or shorter");
    static const std::pair<IpPrefix, std::string_view> kUnfit[] = {
        {prefix_v4(127, 0, 8), "loopback"},        {prefix_v4(224, 0, 3), "multicast or reserved"}, {prefix_v4(169, 254, 16), "link-local"},
        {prefix_v4(0, 0, 8), "\"this network\""},  {prefix_v6(0, 0, 8), "loopback or reserved"},    {prefix_v6(0xff, 0, 8), "multicast"},
        {prefix_v6(0xfe, 0x80, 10), "link-local"},
    };
    for (const auto& [prefix, what] : kUnfit)
        if (subnet.overlaps(prefix))
            return usage_error(text + " overlaps " + std::string{what} + " addresses (" + prefix.to_string() + ")",
                               "take a private one such as 10.77.0.0/24 or fd77::/64");
    return ok();
}

IpAddress default_gateway(const IpPrefix& subnet) {
    const unsigned bits = subnet.family() == Family::kIpv4 ? 32 : 128;
    const IpAddress network = subnet.network().address();
    return subnet.length() + 1U >= bits ? network : network.plus(1);
}

}  // namespace fastnet
