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
    actual.bridges = {{"fn-1-default", bridge_wanted(default_network(), 1500)}};
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

}  // namespace fastnet
