// An endpoint: one interface of one network namespace on one network (or the record of a namespace in mode none/host),
// and the ports published for it. Pure values; the store gives ids, the host layer fills in what the kernel says.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/model/access_list.h"
#include "userspace/model/network.h"

namespace fastnet {

enum class EndpointMode : std::uint8_t {
    kNone = 1,
    kHost = 2,
    kBridge = 3,
    kOverlay = 4,
    kMacvlan = 5,
    kIpvlan = 6
};  // stored: never renumber
enum class EndpointState : std::uint8_t {
    kPending = 1,   ///< the intent is on disk, the kernel may hold any part of it
    kReady = 2,     ///< the kernel holds all of it
    kDeleting = 3,  ///< on its way out, the kernel may hold any part of it
};

std::string to_string(EndpointMode mode);                               ///< "none", "host", "bridge"...
std::optional<EndpointMode> endpoint_mode_from(std::string_view text);  ///< exactly the words above
std::string to_string(EndpointState state);                             ///< "pending", "ready", "deleting"
/// The driver that a network must have for this mode; none and host have no network.
std::optional<NetworkDriver> driver_of(EndpointMode mode);
EndpointMode mode_of(NetworkDriver driver);
/// The endpoint is a veth pair whose host side carries our program: those of networks that have a bridge.
bool has_veth(EndpointMode mode);

struct Endpoint {
    std::uint32_t id = 0;  ///< given by the store, > 0, never used again after the endpoint is gone
    std::string name;
    EndpointMode mode = EndpointMode::kBridge;
    EndpointState state = EndpointState::kPending;
    std::uint32_t network_id = 0;    ///< 0 in modes none and host
    std::string netns;               ///< as the user gave it: name, path or pid:N
    std::string netns_id;            ///< "dev:inode" of the nsfs file; the kernel uses an inode again soon after
    std::uint64_t netns_cookie = 0;  ///< SO_NETNS_COOKIE: never used again during one boot; 0 = not known
    std::string ifname;              ///< container side; empty in modes none and host
    std::string host_ifname;         ///< host side; empty where there is none; the store derives it from the id in modes bridge and overlay
    std::uint32_t host_ifindex = 0;  ///< 0 until the link exists
    MacAddress mac;                  ///< of the container side; zero where there is none
    std::optional<IpPrefix> ipv4;    ///< address and the subnet's prefix length
    std::optional<IpPrefix> ipv6;
    std::optional<IpAddress> gateway4;
    std::optional<IpAddress> gateway6;
    std::int32_t gateway_priority = 0;  ///< of several networks the highest gives the default route
    std::uint32_t mtu = 0;              ///< bytes, as set on the link
    std::int64_t created = 0;           ///< seconds since the epoch

    friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

/// Host ports of one address family that lead to an endpoint. One record however wide the range is.
struct PublishedPort {
    std::uint32_t id = 0;  ///< the service id in the BPF maps; given by the store, > 0, never used again
    std::uint32_t endpoint_id = 0;
    IpAddress host_ip;          ///< 0.0.0.0 or :: for every address of that family
    PortRange host_ports;       ///< chosen: never contains 0
    PortRange container_ports;  ///< of the same size
    Protocol protocol = Protocol::kTcp;
    std::string spec;    ///< canonical PublishSpec that asked for this record; equal for the records of both families
    AccessList sources;  ///< who may call; of both families, equal for the records of both

    Family family() const { return host_ip.family(); }
    /// `0.0.0.0:2000->80/tcp`, for messages.
    std::string to_string() const;

    friend bool operator==(const PublishedPort&, const PublishedPort&) = default;
};

/// Docker's 02:42:a.b.c.d of an IPv4 address: a replaced container that gets the same address needs no new ARP entry.
MacAddress mac_for(const IpAddress& ipv4);
/// A locally administered unicast MAC out of random bytes, for endpoints without IPv4; never in mac_for()'s range.
MacAddress mac_from_random(std::array<std::uint8_t, 6> random);

/// The name of an endpoint whose user gave none: the namespace's own name, else that with the network's name, else
/// `ep-<hex>` of @p random. @p taken says which names exist. Paths below /proc and pid:N carry no name.
std::string default_endpoint_name(std::string_view netns, std::string_view network, std::uint64_t random,
                                  const std::function<bool(const std::string&)>& taken);

}  // namespace fastnet
