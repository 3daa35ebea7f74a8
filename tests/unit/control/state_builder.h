// A small node for plan tests: what it should be, and a kernel that holds exactly that.
#pragma once

#include "userspace/control/plan.h"

namespace fastnet {

constexpr std::uint32_t kUplinkIndex = 2;
constexpr std::uint32_t kBridgeIndex = 5;
constexpr std::uint32_t kWebIndex = 7;

inline IpAddress ip(const char* text) {
    return *IpAddress::parse(text);
}
inline IpPrefix prefix(const char* text) {
    return *IpPrefix::parse_interface(text);
}

inline Network default_network() {
    Network network;
    network.id = 1;
    network.name = "default";
    network.subnets = {prefix("172.30.0.0/16")};
    network.gateways = {ip("172.30.0.1")};
    network.bridge = "fn-1-default";
    return network;
}

inline Endpoint web() {
    Endpoint endpoint;
    endpoint.id = 3;
    endpoint.name = "web";
    endpoint.state = EndpointState::kReady;
    endpoint.network_id = 1;
    endpoint.ifname = "eth0";
    endpoint.host_ifname = "fnv-3";
    endpoint.host_ifindex = kWebIndex;
    endpoint.mac = *MacAddress::parse("02:42:ac:1e:00:02");
    endpoint.ipv4 = prefix("172.30.0.2/16");
    return endpoint;
}

inline PublishedPort web_port() {
    PublishedPort port;
    port.id = 11;
    port.endpoint_id = 3;
    port.host_ip = IpAddress::any(Family::kIpv4);
    port.host_ports = {Port{2000}, Port{2000}};
    port.container_ports = {Port{80}, Port{80}};
    port.spec = "2000:80/tcp";
    return port;
}

inline DesiredState desired_node() {
    DesiredState desired;
    desired.uplinks = {"eth0"};
    desired.networks = {default_network()};
    desired.endpoints = {web()};
    desired.ports = {web_port()};
    return desired;
}

/// The kernel of a healthy node.
inline ActualState actual_node() {
    ActualState actual;
    actual.links = {
        {"eth0", {kUplinkIndex, 0, true}}, {"fn-1-default", {kBridgeIndex, 0, true}}, {"fnv-3", {kWebIndex, kBridgeIndex, true}}};
    actual.bridges = {{"fn-1-default", bridge_wanted(default_network(), DesiredState{}.default_mtu, {})}};
    actual.devices = {{kUplinkIndex, {FNET_DEVICE_UPLINK, 0}},
                      {kBridgeIndex, {FNET_DEVICE_BRIDGE, 1}},
                      {FNET_LOOPBACK_IFINDEX, {FNET_DEVICE_LOOPBACK, 0}}};
    actual.subnets = {{prefix("172.30.0.0/16"), 1}};
    actual.endpoints = {{kWebIndex, endpoint_value(web(), default_network(), kBridgeIndex)}};
    actual.addresses = {{address_key(ip("172.30.0.2"), 1), address_value(kWebIndex, web().mac)}};
    actual.services = service_rows({web_port()}, web(), default_network());
    actual.hooks = {{kUplinkIndex, 1}, {kBridgeIndex, 2}, {kWebIndex, 1}, {FNET_LOOPBACK_IFINDEX, 1}};
    actual.loopback_sysctls = true;
    return actual;
}

// --- an overlay network beside it ---------------------------------------------------------------------------------

constexpr std::uint32_t kOverlayBridgeIndex = 15;
constexpr std::uint32_t kVxlanIndex = 16;
constexpr std::uint32_t kOverlayId = 2;

inline Network overlay_network() {
    Network network;
    network.id = kOverlayId;
    network.name = "blue";
    network.driver = NetworkDriver::kOverlay;
    network.vni = 7;
    network.subnets = {prefix("10.77.0.0/24")};
    network.gateways = {ip("10.77.0.1")};
    network.bridge = "fn-2-blue";
    return network;
}

inline RemoteEndpoint remote_endpoint() {
    RemoteEndpoint remote;
    remote.id = 1;
    remote.network_id = kOverlayId;
    remote.peer = ip("192.0.2.7");
    remote.tunnel = 1;
    remote.ipv4 = ip("10.77.0.9");
    remote.mac = *MacAddress::parse("02:42:0a:4d:00:09");
    return remote;
}

/// Peer 192.0.2.7 of all networks.
inline DesiredState desired_overlay_node() {
    DesiredState desired = desired_node();
    desired.networks.push_back(overlay_network());
    desired.peers = {{ip("192.0.2.7"), std::nullopt, 1}};
    return desired;
}

inline fnet_vtep overlay_vtep(std::uint32_t tunnel, bool learning) {
    fnet_vtep value = vtep_value(overlay_network(), tunnel, learning);
    value.bridge_ifindex = kOverlayBridgeIndex;
    return value;
}

inline ActualState actual_overlay_node() {
    ActualState actual = actual_node();
    const DesiredState desired = desired_overlay_node();
    actual.links.emplace("fn-2-blue", ActualLink{kOverlayBridgeIndex, 0, true});
    actual.links.emplace("fnx-2", ActualLink{kVxlanIndex, kOverlayBridgeIndex, true});
    actual.bridges.emplace("fn-2-blue", bridge_wanted(overlay_network(), desired.default_mtu, desired.peers));
    actual.vxlans.emplace("fnx-2", vxlan_wanted(overlay_network(), desired.default_mtu, desired.peers, {}));
    actual.devices.emplace(kOverlayBridgeIndex, fnet_device{FNET_DEVICE_BRIDGE, kOverlayId});
    actual.devices.emplace(kVxlanIndex, fnet_device{FNET_DEVICE_VXLAN, kOverlayId});
    actual.subnets.emplace(prefix("10.77.0.0/24"), kOverlayId);
    actual.hooks.emplace(kOverlayBridgeIndex, 2);
    actual.hooks.emplace(kVxlanIndex, 2);
    actual.tunnels = {{1, ip("192.0.2.7")}};
    fnet_vtep peer{};
    peer.tunnel = 1;
    fnet_vtep any{};
    any.bridge_ifindex = kOverlayBridgeIndex;
    actual.vteps = {{fnet_vtep_key{}, any}, {vtep_key(ip("192.0.2.7"), 0), peer}, {vtep_key(ip("192.0.2.7"), 7), overlay_vtep(1, true)}};
    return actual;
}

/// As the packet path writes it.
inline fnet_address learned_address(std::uint32_t tunnel) {
    fnet_address value = remote_address_value(tunnel, *MacAddress::parse("02:42:0a:4d:00:08"));
    value.flags = FNET_ADDRESS_LEARNED;
    value.slot = 5;
    value.seen_ns = 123;
    return value;
}

}  // namespace fastnet
