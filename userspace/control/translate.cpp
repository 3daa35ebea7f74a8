#include "userspace/control/translate.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "userspace/model/network_options.h"
#include "userspace/model/port_plan.h"

namespace fastnet {
namespace {

/// fnet_addr.words without the type.
template <typename Words>
void copy_address(const IpAddress& address, Words& words) {
    static_assert(sizeof words == sizeof address.bytes());
    std::memcpy(&words, address.bytes().data(), sizeof words);
}

void copy_mac(const MacAddress& mac, unsigned char (&out)[FNET_MAC_LEN]) {
    std::copy(mac.bytes().begin(), mac.bytes().end(), out);
}

constexpr unsigned kV4PrefixBits = 96;  // of ::ffff:0:0/96

std::uint32_t abi_prefix_len(const IpPrefix& prefix) {
    return prefix.length() + (prefix.family() == Family::kIpv4 ? kV4PrefixBits : 0U);
}

fnet_service service_value(const PublishedPort& port, const Endpoint& endpoint) {
    fnet_service value{};
    const auto& address = port.family() == Family::kIpv4 ? endpoint.ipv4 : endpoint.ipv6;
    if (address) value.container_addr = to_abi(address->address());
    value.id = port.id;
    value.network = endpoint.network_id;
    value.endpoint_ifindex = endpoint.host_ifindex;
    value.host_first = port.host_ports.first.value();
    value.container_first = port.container_ports.first.value();
    copy_mac(endpoint.mac, value.container_mac);
    // Kept-out sources of the other family cost the callers of this one nothing.
    const auto& deny = port.sources.deny;
    if (!port.sources.allow.empty())
        value.flags = FNET_SERVICE_RESTRICTED | FNET_SERVICE_ALLOW_ONLY;
    else if (std::any_of(deny.begin(), deny.end(), [&](const IpPrefix& prefix) { return prefix.family() == port.family(); }))
        value.flags = FNET_SERVICE_RESTRICTED;
    return value;
}

void add_rows(ServiceRows& rows, const IpAddress& address, Protocol protocol, const PortRange& ports, const fnet_service& value) {
    for (const PortBlock& block : port_blocks(ports)) {
        fnet_service_key key{};
        key.prefix_len = FNET_SERVICE_PREFIX_BASE + block.prefix_bits;
        copy_address(address, key.addr);
        key.protocol = static_cast<std::uint8_t>(protocol);
        key.port = block.first.wire();
        rows.emplace(key, value);
    }
}

}  // namespace

fnet_addr to_abi(const IpAddress& address) {
    fnet_addr abi{};
    copy_address(address, abi.bytes);
    return abi;
}

IpAddress from_abi(const fnet_addr& address) {
    return IpAddress::from_wire(Family::kIpv6, address.bytes);
}

Port port_from_abi(__be16 port) {
    return Port{ntohs(port)};
}

MacAddress mac_from_abi(const __u8 (&mac)[FNET_MAC_LEN]) {
    std::array<std::uint8_t, FNET_MAC_LEN> bytes{};
    std::copy(std::begin(mac), std::end(mac), bytes.begin());
    return MacAddress{bytes};
}

fnet_subnet_key subnet_key(const IpPrefix& subnet) {
    fnet_subnet_key key{};
    key.prefix_len = abi_prefix_len(subnet);
    copy_address(subnet.network().address(), key.addr);
    return key;
}

IpPrefix subnet_from(const fnet_subnet_key& key) {
    const IpAddress address = IpAddress::from_wire(Family::kIpv6, key.addr);
    const unsigned extra = address.family() == Family::kIpv4 ? kV4PrefixBits : 0U;
    return {address, static_cast<std::uint8_t>(key.prefix_len - std::min(key.prefix_len, extra))};
}

fnet_address_key address_key(const IpAddress& address, std::uint32_t network_id) {
    fnet_address_key key{};
    key.addr = to_abi(address);
    key.network = network_id;
    return key;
}

fnet_address address_value(std::uint32_t host_ifindex, const MacAddress& mac) {
    fnet_address value{};
    value.ifindex = host_ifindex;
    copy_mac(mac, value.mac);
    return value;
}

fnet_address remote_address_value(std::uint32_t tunnel, const MacAddress& mac) {
    fnet_address value{};
    value.tunnel = tunnel;
    copy_mac(mac, value.mac);
    return value;
}

bool is_learned(const fnet_address& address) {
    return (address.flags & FNET_ADDRESS_LEARNED) != 0;
}

bool same_address(const fnet_address& a, const fnet_address& b) {
    fnet_address seen_alike = a;
    seen_alike.slot = b.slot;
    seen_alike.seen_ns = b.seen_ns;
    return same_bytes(seen_alike, b);
}

fnet_vtep_key vtep_key(const IpAddress& peer, std::uint32_t vni) {
    fnet_vtep_key key{};
    key.peer = to_abi(peer);
    key.vni = vni;
    return key;
}

fnet_vtep vtep_value(const Network& network, std::uint32_t tunnel, bool learning) {
    fnet_vtep value{};
    value.network = network.id;
    value.tunnel = tunnel;
    if (learning) value.flags |= FNET_VTEP_LEARN;
    if (!network.icc) value.flags |= FNET_VTEP_NO_ICC;
    return value;
}

bool same_vtep(const fnet_vtep& a, const fnet_vtep& b) {
    fnet_vtep counted_alike = a;
    counted_alike.learned = b.learned;
    return same_bytes(counted_alike, b);
}

fnet_tunnel tunnel_value(const IpAddress& peer) {
    fnet_tunnel value{};
    value.peer = to_abi(peer);
    return value;
}

fnet_endpoint endpoint_value(const Endpoint& endpoint, const Network& network, std::uint32_t bridge_ifindex) {
    fnet_endpoint value{};
    value.id = endpoint.id;
    value.network = network.id;
    value.ifindex = endpoint.host_ifindex;
    value.bridge_ifindex = bridge_ifindex;
    if (endpoint.ipv4) value.ipv4 = to_abi(endpoint.ipv4->address());
    if (endpoint.ipv6) value.ipv6 = to_abi(endpoint.ipv6->address());
    // The network's gateways, also where the endpoint has no route to them: hairpin and the guard need them.
    if (const auto gateway = network.gateway(Family::kIpv4); gateway) value.gateway4 = to_abi(*gateway);
    if (const auto gateway = network.gateway(Family::kIpv6); gateway) value.gateway6 = to_abi(*gateway);
    copy_mac(endpoint.mac, value.mac);
    value.vni = network.vni;
    if (network.internal) value.flags |= FNET_ENDPOINT_INTERNAL;
    if (!network.icc) value.flags |= FNET_ENDPOINT_NO_ICC;
    if (gateway_mode(network, Family::kIpv4) == GatewayMode::kRouted) value.flags |= FNET_ENDPOINT_ROUTED4;
    if (gateway_mode(network, Family::kIpv6) == GatewayMode::kRouted) value.flags |= FNET_ENDPOINT_ROUTED6;
    return value;
}

bool same_endpoint(const fnet_endpoint& a, const fnet_endpoint& b) {
    return same_bytes(with_counters_of(a, b), b);
}

fnet_endpoint with_counters_of(fnet_endpoint wanted, const fnet_endpoint& present) {
    wanted.flags |= present.flags & FNET_ENDPOINT_HAIRPIN;
    wanted.fast_packets = present.fast_packets;
    wanted.fast_bytes = present.fast_bytes;
    wanted.kernel_packets = present.kernel_packets;
    wanted.kernel_bytes = present.kernel_bytes;
    wanted.connections = present.connections;
    return wanted;
}

ServiceRows service_rows(const std::vector<PublishedPort>& ports, const Endpoint& endpoint, const Network& network) {
    ServiceRows rows;
    for (const PublishedPort& port : ports) {
        const auto& own = port.family() == Family::kIpv4 ? endpoint.ipv4 : endpoint.ipv6;
        fnet_service value = service_value(port, endpoint);
        add_rows(rows, port.host_ip, port.protocol, port.host_ports, value);
        if (!own || gateway_mode(network, port.family()) != GatewayMode::kRouted) continue;
        value.host_first = value.container_first;
        add_rows(rows, own->address(), port.protocol, port.container_ports, value);
    }
    return rows;
}

std::map<std::uint32_t, ServiceRows> by_port(const ServiceRows& rows) {
    std::map<std::uint32_t, ServiceRows> ports;
    for (const auto& row : rows) ports[row.second.id].insert(row);
    return ports;
}

std::vector<std::pair<fnet_source_key, std::uint32_t>> source_entries(const PublishedPort& port) {
    std::vector<std::pair<fnet_source_key, std::uint32_t>> entries;
    const auto add = [&](const IpPrefix& prefix, fnet_source_rule rule) {
        if (prefix.family() != port.family()) return;
        fnet_source_key key{};
        key.prefix_len = FNET_SOURCE_PREFIX_BASE + abi_prefix_len(prefix);
        key.service = port.id;
        copy_address(prefix.network().address(), key.addr);
        entries.emplace_back(key, rule);
    };
    for (const IpPrefix& prefix : port.sources.deny) add(prefix, FNET_SOURCE_DENY);
    for (const IpPrefix& prefix : port.sources.allow)  // sorted, as are those of deny: whoever is in both stays out
        if (!std::binary_search(port.sources.deny.begin(), port.sources.deny.end(), prefix)) add(prefix, FNET_SOURCE_ALLOW);
    return entries;
}

PortRange ports_of(const fnet_service_key& key) {
    const unsigned prefix_bits = std::min(16U, key.prefix_len - std::min<unsigned>(key.prefix_len, FNET_SERVICE_PREFIX_BASE));
    const unsigned first = port_from_abi(key.port).value();
    const unsigned last = first + (1U << (16U - prefix_bits)) - 1U;
    return {Port{static_cast<std::uint16_t>(first)}, Port{static_cast<std::uint16_t>(std::min(last, 65535U))}};
}

}  // namespace fastnet
