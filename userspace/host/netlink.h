// Links, addresses, routes, rules and neighbours of one network namespace, through one rtnetlink socket.
// Knows no networks and no endpoints, only what the kernel calls things. Not thread safe: one object per thread.
//
// Errors of every call: ErrorKind::kConflict when the object exists (sys_errno EEXIST), kNotFound when it, or a link
// named by the call, does not (sys_errno ENODEV, ENOENT, ESRCH or EADDRNOTAVAIL), else kFailed; the kernel's own
// explanation (extended ack) is in the message. unless_exists() and unless_missing() make a call idempotent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/host/netlink_socket.h"
#include "userspace/host/netns.h"

namespace fastnet {

/// Interface index as the kernel counts it, per namespace, from 1; 0 is "none".
using IfIndex = std::uint32_t;

/// Marks fastnet's own routes (rtm_protocol); the kernel does not interpret it.
inline constexpr std::uint8_t kFastnetRouteProtocol = 102;
inline constexpr std::uint32_t kMainTable = 254;

/// Fails for a name that the kernel would refuse or that a shell would misread: 1-15 characters, no '/', ':' or
/// white space, not "." or "..", not "all" or "default" (those are sysctl directories). kUsage.
Status check_interface_name(std::string_view name);

struct LinkInfo {
    IfIndex index = 0;
    std::string name{};
    std::string kind{};  ///< "veth", "bridge", "bond", "vlan", "wireguard", ...; empty for hardware and loopback
    MacAddress mac{};    ///< zero for a link without one, or whose hardware address is not 6 bytes
    std::uint32_t mtu = 0;
    IfIndex master = 0;                                       ///< the bridge or bond above it
    bool up = false;                                          ///< administratively (IFF_UP)
    bool running = false;                                     ///< up and has carrier (IFF_RUNNING)
    bool loopback = false;                                    ///< IFF_LOOPBACK
    std::uint16_t arp_type = 0;                               ///< ARPHRD_*: 1 Ethernet, 772 loopback, 65534 none (L3 device)
    IfIndex peer_index = 0;                                   ///< IFLA_LINK: the veth's peer, the VLAN's parent
    bool isolated = false;                                    ///< as the port of a bridge (BridgePortFlags)
    bool port_learns = false;                                 ///< the same: which MAC addresses are behind it
    std::optional<std::int32_t> peer_netnsid = std::nullopt;  ///< set when the peer is in another namespace
    std::uint32_t group = 0;
    std::uint32_t vni = 0;                   ///< of a vxlan link
    std::uint16_t vxlan_port = 0;            ///< its UDP port, on both sides
    bool vxlan_learns = false;               ///< VxlanSpec::learning
    std::optional<IpAddress> vxlan_local{};  ///< VxlanSpec::local

    bool is_ethernet() const { return arp_type == 1; }
};

struct BridgeSpec {
    std::string name{};
    MacAddress mac{};  ///< fixed, so that it does not follow the ports
    std::uint32_t mtu = 1500;
    bool up = true;
};  // no STP, forward delay 0; ageing and multicast snooping as the kernel has them

/// A vxlan link with any number of peers (add_vxlan_peer()), no group. It sends with TTL 64 and without DF.
struct VxlanSpec {
    std::string name{};
    std::uint32_t vni = 0;
    Port port{};
    Family family = Family::kIpv4;     ///< of its peers: a vxlan link has one UDP socket
    std::optional<IpAddress> local{};  ///< of that family: what it sends from; it receives at every address
    MacAddress mac{};                  ///< zero: the kernel draws one
    std::uint32_t mtu = 1500;
    std::uint32_t group = 0;  ///< for delete_group()
    /// Which MAC address is behind which outer source. The kernel believes it of whatever reaches the UDP port, before any program at
    /// the link sees the frame.
    bool learning = false;
};

struct VethSpec {
    std::string host_name{};
    MacAddress host_mac{};
    std::string peer_name{};  ///< final name inside the container
    MacAddress peer_mac{};
    std::uint32_t mtu = 1500;
    IfIndex master = 0;       ///< bridge that the host end joins, 0 for none
    bool host_up = false;     ///< bring the host end up
    std::uint32_t group = 0;  ///< of the host end, for delete_group()
};

struct VethPair {
    IfIndex host = 0;
    IfIndex peer = 0;  ///< in the peer's namespace
};

/// What set_link() changes; unset fields stay as they are. One request, and one before it for `link_local`.
struct LinkChange {
    std::optional<bool> up = std::nullopt;
    std::optional<std::uint32_t> mtu = std::nullopt;
    std::optional<MacAddress> mac = std::nullopt;
    std::optional<IfIndex> master = std::nullopt;  ///< 0 = leave the bridge
    std::optional<std::string> name = std::nullopt;
    std::optional<std::uint32_t> group = std::nullopt;
    /// False: the link gets no automatic IPv6 link-local address when it comes up, so it sends no duplicate address
    /// detection and router solicitations (on a bridge, each is copied to every port).
    std::optional<bool> link_local = std::nullopt;
};

/// Flags of a bridge port; when set, unset fields stay as they are; when read, all are filled.
struct BridgePortFlags {
    std::optional<bool> isolated = std::nullopt;
    std::optional<bool> learning = std::nullopt;
    std::optional<bool> hairpin = std::nullopt;
    std::optional<bool> neigh_suppress = std::nullopt;
    std::optional<bool> unicast_flood = std::nullopt;
    std::optional<bool> multicast_flood = std::nullopt;
    std::optional<bool> broadcast_flood = std::nullopt;
};

struct LinkAddress {
    IfIndex link = 0;
    IpPrefix address{};  ///< with its host bits: 172.30.0.1/24
    bool tentative = false;
    bool passing = false;  ///< temporary (RFC 8981) or deprecated: no address for long
};

/// Values are the kernel's RTN_*.
enum class RouteType : std::uint8_t {
    kUnicast = 1,
    kLocal = 2,
    kBroadcast = 3,
    kAnycast = 4,
    kMulticast = 5,
    kBlackhole = 6,
    kUnreachable = 7,
    kProhibit = 8,
    kThrow = 9,
};

/// One next hop of one route: a multipath route is as many Routes as it has next hops.
struct Route {
    IpPrefix destination{};                           ///< length 0 = default route; its family is the route's
    std::optional<IpAddress> gateway = std::nullopt;  ///< may be IPv6 for an IPv4 route (RFC 5549) when listed
    IfIndex device = 0;                               ///< 0 for blackhole and the like
    std::uint32_t metric = 0;                         ///< 0 = kernel's default (IPv6: 1024)
    std::uint32_t table = kMainTable;
    RouteType type = RouteType::kUnicast;
    std::optional<IpAddress> preferred_source = std::nullopt;
    std::uint8_t protocol = kFastnetRouteProtocol;
    bool onlink = false;  ///< the gateway need not be in a connected subnet

    friend bool operator==(const Route&, const Route&) = default;
};

/// What comes from one address is routed by a table of its own.
struct Rule {
    IpAddress from{};
    std::uint32_t table = kMainTable;
    std::uint32_t priority = 0;  ///< the lowest is asked first; the main table is at 32766

    friend bool operator==(const Rule&, const Rule&) = default;
};

struct DefaultRoute {
    IfIndex index = 0;
    std::string name{};
    Family family = Family::kIpv4;
    std::optional<IpAddress> gateway = std::nullopt;
    std::uint32_t metric = 0;
};

struct RouteQuery {
    IpAddress destination{};
    std::optional<IpAddress> source = std::nullopt;
    IfIndex input = 0;   ///< 0 = as if sent by this host
    IfIndex output = 0;  ///< 0 = any
    std::uint32_t mark = 0;
};

struct RouteAnswer {
    IfIndex device = 0;
    std::optional<IpAddress> gateway = std::nullopt;
    std::optional<IpAddress> preferred_source = std::nullopt;
    RouteType type = RouteType::kUnicast;
};

struct Neighbour {
    IfIndex link = 0;
    IpAddress address{};
    std::optional<MacAddress> mac = std::nullopt;  ///< unset while incomplete
    std::uint16_t state = 0;                       ///< NUD_* bits
    bool valid() const;                            ///< the kernel would use the MAC
};

class Netlink {
public:
    /// The calling thread's namespace. The socket stays in it, wherever the thread goes later.
    static Result<Netlink> open();
    static Result<Netlink> open(const Netns& netns);

    // Links.
    Result<LinkInfo> link(std::string_view name);
    Result<LinkInfo> link(IfIndex index);
    Result<std::vector<LinkInfo>> links();
    /// About 1 us: an ioctl, no netlink round trip.
    bool link_exists(IfIndex index) const;
    /// The name of a link, by ioctl; empty if there is none.
    std::string link_name(IfIndex index) const;
    Result<IfIndex> create_bridge(const BridgeSpec& spec);
    /// Creates the pair with one request, the peer in @p peer_netns under its final name, both ends or neither. The
    /// host end has no IPv6 link-local address: it is a port, not an interface that the host talks through. kConflict
    /// names the end whose name is taken.
    Result<VethPair> create_veth(const VethSpec& spec, const Netns& peer_netns);
    /// Down, without an IPv6 link-local address and without peers. The UDP socket is opened when the link comes up.
    /// kConflict when the name is taken (sys_errno EEXIST, link(name) finds it), or another vxlan link has VNI and port.
    Result<IfIndex> create_vxlan(const VxlanSpec& spec);
    Status set_link(IfIndex index, const LinkChange& change);
    Status set_up(IfIndex index, bool up = true) { return set_link(index, {.up = up}); }
    Status set_bridge_port(IfIndex port, const BridgePortFlags& change);
    /// kNotFound if the link is no port of a bridge.
    Result<BridgePortFlags> bridge_port(IfIndex port);
    /// Takes 15 to 30 ms, which the kernel spends in waiting.
    Status delete_link(IfIndex index);
    /// All links of a group at once: 140 ms for 500 of them. kNotFound if it has none; group 0 is refused.
    Status delete_group(std::uint32_t group);

    // Addresses. IPv6 ones skip duplicate address detection: fastnet hands each out once. The address can be used at
    // once; its IPv6 local route (type kLocal in route_get()) comes from a kernel worker, a millisecond later.
    Status add_address(IfIndex link, const IpPrefix& address);
    Status delete_address(IfIndex link, const IpPrefix& address);
    /// Of one link, or of all with link 0; both families.
    Result<std::vector<LinkAddress>> addresses(IfIndex link = 0);

    // Routes.
    Status add_route(const Route& route);
    /// Creates it or changes the one with the same destination, metric and table.
    Status replace_route(const Route& route);
    Status delete_route(const Route& route);
    Status add_default_route(const IpAddress& gateway, IfIndex device);
    /// All routes of a table, both families, without the kernel's per-destination exceptions.
    Result<std::vector<Route>> routes(std::uint32_t table = kMainTable);
    /// Interfaces of the main table's default routes, best metric first, each interface once per family.
    Result<std::vector<DefaultRoute>> default_uplinks();
    /// What the kernel would do with a packet. "No route" is kNotFound (ENETUNREACH, EHOSTUNREACH).
    Result<RouteAnswer> route_get(const RouteQuery& query);

    // Rules: fastnet's own, by their protocol.
    Status add_rule(const Rule& rule);
    Status delete_rule(const Rule& rule);
    Result<std::vector<Rule>> rules();  ///< both families

    // Neighbours and the bridge's forwarding table.
    /// Permanent; replaces whatever is known of that address.
    Status set_neighbour(IfIndex link, const IpAddress& address, const MacAddress& mac);
    Status delete_neighbour(IfIndex link, const IpAddress& address);
    Result<Neighbour> neighbour(IfIndex link, const IpAddress& address);
    Result<std::vector<Neighbour>> neighbours(IfIndex link);
    /// A static entry of the bridge above @p port; replaces one on another port.
    Status set_forwarding(IfIndex port, const MacAddress& mac);
    Status delete_forwarding(IfIndex port, const MacAddress& mac);

    // Peers of a vxlan link: each gets a copy of what has no known receiver (entries of the MAC address zero).
    /// Success too if it is there already. sys_errno EAFNOSUPPORT: the link was made for the other family.
    Status add_vxlan_peer(IfIndex link, const IpAddress& peer);
    /// A link that has other peers may report success for one that is gone already.
    Status delete_vxlan_peer(IfIndex link, const IpAddress& peer);
    Result<std::vector<IpAddress>> vxlan_peers(IfIndex link);

private:
    explicit Netlink(NetlinkSocket socket) : socket_{std::move(socket)} {}
    Result<LinkInfo> request_link(NetlinkRequest& request, std::string_view what);
    Status set_link_local(IfIndex index, bool automatic);
    Result<std::vector<Route>> routes_of(Family family, std::uint32_t table);
    Status rules_of(Family family, std::vector<Rule>& rules);
    Status change_rule(std::uint16_t type, std::uint16_t flags, const Rule& rule, std::string_view verb);
    Status change_vxlan_peer(std::uint16_t type, std::uint16_t flags, IfIndex link, const IpAddress& peer, std::string_view verb);
    Status change_route(std::uint16_t type, std::uint16_t flags, const Route& route, std::string_view verb);

    NetlinkSocket socket_;
};

/// The call's success, or success where the object was there already (EEXIST).
Status unless_exists(Status status);
/// The call's success, or success where the object was gone already.
Status unless_missing(Status status);

}  // namespace fastnet
