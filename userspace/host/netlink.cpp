#include "userspace/host/netlink.h"

#include <arpa/inet.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <tuple>

namespace fastnet {
namespace {

using LinkAttributes = Attributes<IFLA_PROTO_DOWN_REASON>;
using RouteAttributes = Attributes<RTA_NH_ID>;
constexpr std::uint8_t kTunnelTtl = 64;

template <typename Header>
const Header& header_of(const nlmsghdr& message) {
    return *static_cast<const Header*>(mnl_nlmsg_get_payload(&message));
}

std::uint8_t address_family(Family family) {
    return family == Family::kIpv4 ? AF_INET : AF_INET6;
}

/// nullopt for families other than IPv4 and IPv6 (a kernel without IPv6 answers such a dump with everything it has).
std::optional<Family> family_of(std::uint8_t address_family) {
    if (address_family == AF_INET) return Family::kIpv4;
    if (address_family == AF_INET6) return Family::kIpv6;
    return std::nullopt;
}

std::optional<IpAddress> address_in(const nlattr* attribute, Family family) {
    const std::size_t size = family == Family::kIpv4 ? 4 : 16;
    if (attribute == nullptr || mnl_attr_get_payload_len(attribute) < size) return std::nullopt;
    return IpAddress::from_wire(family, mnl_attr_get_payload(attribute));
}

std::optional<MacAddress> mac_in(const nlattr* attribute) {
    std::array<std::uint8_t, 6> bytes{};
    if (attribute == nullptr || mnl_attr_get_payload_len(attribute) != bytes.size()) return std::nullopt;
    std::memcpy(bytes.data(), mnl_attr_get_payload(attribute), bytes.size());
    return MacAddress{bytes};
}

std::string named(std::string_view verb, std::string_view name) {
    return std::string{verb} + " '" + std::string{name} + "'";
}
std::string numbered(std::string_view verb, IfIndex index) {
    return std::string{verb} + " of interface " + std::to_string(index);
}

// Links -------------------------------------------------------------------------------------------------------------

LinkInfo parse_link(const nlmsghdr& message) {
    const auto& header = header_of<ifinfomsg>(message);
    const LinkAttributes attributes{message, sizeof(header)};
    const Attributes<IFLA_INFO_SLAVE_DATA> info{attributes.get(IFLA_LINKINFO)};
    LinkInfo link;
    link.index = static_cast<IfIndex>(header.ifi_index);
    link.name = attributes.text(IFLA_IFNAME);
    link.kind = info.text(IFLA_INFO_KIND);
    link.mac = mac_in(attributes.get(IFLA_ADDRESS)).value_or(MacAddress{});
    link.mtu = attributes.value<std::uint32_t>(IFLA_MTU);
    link.master = attributes.value<std::uint32_t>(IFLA_MASTER);
    link.up = (header.ifi_flags & IFF_UP) != 0;
    link.running = (header.ifi_flags & IFF_RUNNING) != 0;
    link.loopback = (header.ifi_flags & IFF_LOOPBACK) != 0;
    link.arp_type = header.ifi_type;
    link.peer_index = attributes.value<std::uint32_t>(IFLA_LINK);
    if (attributes.has(IFLA_LINK_NETNSID)) link.peer_netnsid = attributes.value<std::int32_t>(IFLA_LINK_NETNSID);
    link.group = attributes.value<std::uint32_t>(IFLA_GROUP);
    if (link.kind == "vxlan") {
        const Attributes<IFLA_VXLAN_LOCAL6> vxlan{info.get(IFLA_INFO_DATA)};
        link.vni = vxlan.value<std::uint32_t>(IFLA_VXLAN_ID);
        link.vxlan_port = ntohs(vxlan.value<std::uint16_t>(IFLA_VXLAN_PORT));
        link.vxlan_learns = vxlan.value<std::uint8_t>(IFLA_VXLAN_LEARNING) != 0;
        link.vxlan_local = address_in(vxlan.get(IFLA_VXLAN_LOCAL), Family::kIpv4);
        if (!link.vxlan_local) link.vxlan_local = address_in(vxlan.get(IFLA_VXLAN_LOCAL6), Family::kIpv6);
    }
    if (info.text(IFLA_INFO_SLAVE_KIND) == "bridge") {
        const Attributes<IFLA_BRPORT_ISOLATED> port{info.get(IFLA_INFO_SLAVE_DATA)};
        link.isolated = port.value<std::uint8_t>(IFLA_BRPORT_ISOLATED) != 0;
        link.port_learns = port.value<std::uint8_t>(IFLA_BRPORT_LEARNING) != 0;
    }
    return link;
}

ifinfomsg& add_link_header(NetlinkRequest& request, IfIndex index) {
    auto& header = request.add_header<ifinfomsg>();
    header.ifi_family = AF_UNSPEC;
    header.ifi_index = static_cast<int>(index);
    return header;
}

void put_up(ifinfomsg& header, bool up) {
    header.ifi_change |= IFF_UP;
    if (up) header.ifi_flags |= IFF_UP;
}

// Addresses ---------------------------------------------------------------------------------------------------------

void add_interface_address(NetlinkRequest& request, IfIndex link, const IpPrefix& prefix) {
    auto& header = request.add_header<ifaddrmsg>();
    header.ifa_family = address_family(prefix.family());
    header.ifa_prefixlen = prefix.length();
    header.ifa_scope = prefix.address().is_loopback() ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
    header.ifa_index = link;
    request.put_address(IFA_LOCAL, prefix.address());
    request.put_address(IFA_ADDRESS, prefix.address());
}

std::optional<LinkAddress> parse_address(const nlmsghdr& message) {
    const auto& header = header_of<ifaddrmsg>(message);
    const auto family = family_of(header.ifa_family);
    if (!family) return std::nullopt;
    const Attributes<IFA_TARGET_NETNSID> attributes{message, sizeof(header)};
    // On a point-to-point link IFA_ADDRESS is the other end; IPv6 sends IFA_LOCAL only there.
    const auto address = address_in(attributes.has(IFA_LOCAL) ? attributes.get(IFA_LOCAL) : attributes.get(IFA_ADDRESS), *family);
    if (!address) return std::nullopt;
    const std::uint32_t flags = attributes.value<std::uint32_t>(IFA_FLAGS, header.ifa_flags);
    return LinkAddress{header.ifa_index, IpPrefix{*address, header.ifa_prefixlen}, (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) != 0,
                       (flags & (IFA_F_TEMPORARY | IFA_F_DEPRECATED)) != 0};
}

// Routes ------------------------------------------------------------------------------------------------------------

std::string describe(const Route& route) {
    std::string text = route.destination.length() == 0 ? "default" : route.destination.to_string();
    if (route.gateway) text += " via " + route.gateway->to_string();
    if (route.device != 0) text += " on interface " + std::to_string(route.device);
    if (route.table != kMainTable) text += " table " + std::to_string(route.table);
    return text;
}

std::uint8_t route_scope(const Route& route) {
    if (route.type == RouteType::kLocal) return RT_SCOPE_HOST;
    const bool direct = route.type == RouteType::kUnicast && !route.gateway && route.device != 0;
    return direct && route.destination.family() == Family::kIpv4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
}

void put_gateway(NetlinkRequest& request, Family route_family, const IpAddress& gateway) {
    if (gateway.family() == route_family) {
        request.put_address(RTA_GATEWAY, gateway);
        return;
    }
    std::array<std::uint8_t, sizeof(rtvia) + 16> via{};  // RFC 5549: family, then the address
    const std::uint16_t family = address_family(gateway.family());
    std::memcpy(via.data(), &family, sizeof(family));
    std::memcpy(via.data() + sizeof(rtvia), gateway.wire(), gateway.wire_size());
    request.put(RTA_VIA, via.data(), sizeof(rtvia) + gateway.wire_size());
}

std::optional<IpAddress> gateway_in(const RouteAttributes& attributes, Family route_family) {
    if (attributes.has(RTA_GATEWAY)) return address_in(attributes.get(RTA_GATEWAY), route_family);
    const nlattr* via = attributes.get(RTA_VIA);
    if (via == nullptr || mnl_attr_get_payload_len(via) < sizeof(rtvia)) return std::nullopt;
    const auto* payload = static_cast<const char*>(mnl_attr_get_payload(via));
    std::uint16_t raw_family = 0;
    std::memcpy(&raw_family, payload, sizeof(raw_family));
    const auto family = family_of(static_cast<std::uint8_t>(raw_family));
    const std::size_t size = mnl_attr_get_payload_len(via) - sizeof(rtvia);
    if (!family || size < (*family == Family::kIpv4 ? 4U : 16U)) return std::nullopt;
    return IpAddress::from_wire(*family, payload + sizeof(rtvia));
}

/// Appends one Route per next hop.
void parse_route(const nlmsghdr& message, std::vector<Route>& routes) {
    const auto& header = header_of<rtmsg>(message);
    const auto family = family_of(header.rtm_family);
    if (!family || (header.rtm_flags & RTM_F_CLONED) != 0) return;
    const RouteAttributes attributes{message, sizeof(header)};

    Route route;
    route.destination = IpPrefix{address_in(attributes.get(RTA_DST), *family).value_or(IpAddress::any(*family)), header.rtm_dst_len};
    route.gateway = gateway_in(attributes, *family);
    route.device = attributes.value<std::uint32_t>(RTA_OIF);
    route.metric = attributes.value<std::uint32_t>(RTA_PRIORITY);
    route.table = attributes.value<std::uint32_t>(RTA_TABLE, header.rtm_table);
    route.type = static_cast<RouteType>(header.rtm_type);
    route.preferred_source = address_in(attributes.get(RTA_PREFSRC), *family);
    route.protocol = header.rtm_protocol;
    route.onlink = (header.rtm_flags & RTNH_F_ONLINK) != 0;

    const nlattr* multipath = attributes.get(RTA_MULTIPATH);
    if (multipath == nullptr) {
        routes.push_back(route);
        return;
    }
    const char* next = static_cast<const char*>(mnl_attr_get_payload(multipath));
    const char* const end = next + mnl_attr_get_payload_len(multipath);
    while (end - next >= static_cast<std::ptrdiff_t>(sizeof(rtnexthop))) {
        rtnexthop hop;
        std::memcpy(&hop, next, sizeof(hop));
        if (hop.rtnh_len < sizeof(hop) || hop.rtnh_len > end - next) return;
        route.device = static_cast<IfIndex>(hop.rtnh_ifindex);
        route.gateway = gateway_in(RouteAttributes{next + sizeof(hop), next + hop.rtnh_len}, *family);
        route.onlink = (hop.rtnh_flags & RTNH_F_ONLINK) != 0;
        routes.push_back(route);
        next += MNL_ALIGN(hop.rtnh_len);
    }
}

// Neighbours --------------------------------------------------------------------------------------------------------

ndmsg& add_neighbour_header(NetlinkRequest& request, IfIndex link, std::uint8_t family) {
    auto& header = request.add_header<ndmsg>();
    header.ndm_family = family;
    header.ndm_ifindex = static_cast<int>(link);
    return header;
}

std::optional<Neighbour> parse_neighbour(const nlmsghdr& message) {
    const auto& header = header_of<ndmsg>(message);
    const auto family = family_of(header.ndm_family);
    if (!family) return std::nullopt;
    const Attributes<NDA_LLADDR> attributes{message, sizeof(header)};
    const auto address = address_in(attributes.get(NDA_DST), *family);
    if (!address) return std::nullopt;
    return Neighbour{static_cast<IfIndex>(header.ndm_ifindex), *address, mac_in(attributes.get(NDA_LLADDR)), header.ndm_state};
}

}  // namespace

Status check_interface_name(std::string_view name) {
    const auto bad = [](char c) { return std::isgraph(static_cast<unsigned char>(c)) == 0 || c == '/' || c == ':' || c == '%'; };
    const bool special = name == "." || name == ".." || name == "all" || name == "default";
    if (!name.empty() && name.size() < IFNAMSIZ && !special && std::none_of(name.begin(), name.end(), bad)) return ok();
    return usage_error(named("bad interface name", name), "1 to 15 visible characters without '/', ':' and '%'");
}

bool Neighbour::valid() const {
    return mac && (state & (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY)) != 0;
}

Status unless_exists(Status status) {
    if (!status && status.error().sys_errno == EEXIST) return ok();
    return status;
}

Status unless_missing(Status status) {
    if (!status && status.error().kind == ErrorKind::kNotFound) return ok();
    return status;
}

Result<Netlink> Netlink::open() {
    return Netlink{TRY(NetlinkSocket::open(NETLINK_ROUTE))};
}

Result<Netlink> Netlink::open(const Netns& netns) {
    return run_in(netns, [] { return open(); });
}

// Links -------------------------------------------------------------------------------------------------------------

Result<LinkInfo> Netlink::request_link(NetlinkRequest& request, std::string_view what) {
    std::optional<LinkInfo> link;
    CHECK_OK(socket_.transact(request, what, [&](const nlmsghdr& message) {
        if (message.nlmsg_type == RTM_NEWLINK) link = parse_link(message);
        return ok();
    }));
    if (!link) return failed(std::string{what} + ": the kernel gave no answer");
    return *std::move(link);
}

Result<LinkInfo> Netlink::link(std::string_view name) {
    const std::string what = named("interface", name);
    // No valid name: answer as the kernel would, instead of asking for a truncated one.
    if (!check_interface_name(name)) return not_found(what + ": No such device");
    NetlinkRequest request{RTM_GETLINK, 0};
    add_link_header(request, 0);
    request.put_string(IFLA_IFNAME, name);
    request.put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    return request_link(request, what);
}

Result<LinkInfo> Netlink::link(IfIndex index) {
    NetlinkRequest request{RTM_GETLINK, 0};
    add_link_header(request, index);
    request.put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    return request_link(request, "interface " + std::to_string(index));
}

Result<std::vector<LinkInfo>> Netlink::links() {
    NetlinkRequest request{RTM_GETLINK, NLM_F_DUMP};
    add_link_header(request, 0);
    request.put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    std::vector<LinkInfo> result;
    CHECK_OK(socket_.dump(
        request, "list interfaces", [&] { result.clear(); },
        [&](const nlmsghdr& message) {
            if (message.nlmsg_type == RTM_NEWLINK) result.push_back(parse_link(message));
            return ok();
        }));
    return result;
}

std::string Netlink::link_name(IfIndex index) const {
    ifreq request{};
    request.ifr_ifindex = static_cast<int>(index);
    // A netlink socket serves interface ioctls as any other socket does.
    if (index == 0 || ::ioctl(socket_.fd(), SIOCGIFNAME, &request) != 0) return {};
    return {request.ifr_name, strnlen(request.ifr_name, IFNAMSIZ)};
}

bool Netlink::link_exists(IfIndex index) const {
    ifreq request{};
    request.ifr_ifindex = static_cast<int>(index);
    return index != 0 && ::ioctl(socket_.fd(), SIOCGIFNAME, &request) == 0;
}

Result<IfIndex> Netlink::create_bridge(const BridgeSpec& spec) {
    CHECK_OK(check_interface_name(spec.name));
    const std::string what = named("create bridge", spec.name);
    {
        NetlinkRequest request{RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL};
        add_link_header(request, 0);
        request.put_string(IFLA_IFNAME, spec.name);
        request.put_mac(IFLA_ADDRESS, spec.mac);
        {
            const auto info = request.nest(IFLA_LINKINFO);
            request.put_string(IFLA_INFO_KIND, "bridge");
            const auto data = request.nest(IFLA_INFO_DATA);
            request.put_u32(IFLA_BR_STP_STATE, 0);
            request.put_u32(IFLA_BR_FORWARD_DELAY, 0);
        }
        CHECK_OK(socket_.transact(request, what));
    }
    const auto finish = [&]() -> Result<IfIndex> {
        const LinkInfo link = TRY(this->link(spec.name));
        // Not in the first request: an MTU given at creation is taken for automatic, and the last port that leaves
        // would reset it to 1500. Set on the living bridge it stays.
        LinkChange change;
        if (link.mtu != spec.mtu) change.mtu = spec.mtu;
        if (spec.up) change.up = true;
        CHECK_OK(set_link(link.index, change));
        return link.index;
    };
    auto index = finish();
    if (!index) {
        const auto half_made = link(spec.name);
        if (half_made) static_cast<void>(delete_link(half_made->index));
        return std::move(index).error().in(what);
    }
    return index;
}

Result<VethPair> Netlink::create_veth(const VethSpec& spec, const Netns& peer_netns) {
    CHECK_OK(check_interface_name(spec.host_name));
    CHECK_OK(check_interface_name(spec.peer_name));
    const std::string what = named("create veth", spec.host_name) + named(" with peer", spec.peer_name);

    NetlinkRequest request{RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL};
    add_link_header(request, 0);
    request.put_string(IFLA_IFNAME, spec.host_name);
    request.put_mac(IFLA_ADDRESS, spec.host_mac);
    request.put_u32(IFLA_MTU, spec.mtu);
    if (spec.master != 0) request.put_u32(IFLA_MASTER, spec.master);
    if (spec.group != 0) request.put_u32(IFLA_GROUP, spec.group);
    {
        const auto info = request.nest(IFLA_LINKINFO);
        request.put_string(IFLA_INFO_KIND, "veth");
        const auto data = request.nest(IFLA_INFO_DATA);
        const auto peer = request.nest(VETH_INFO_PEER);
        request.add_header<ifinfomsg>();
        request.put_string(IFLA_IFNAME, spec.peer_name);
        request.put_mac(IFLA_ADDRESS, spec.peer_mac);
        request.put_u32(IFLA_MTU, spec.mtu);
        request.put_u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(peer_netns.fd()));
    }
    if (auto created = socket_.transact(request, what); !created) {
        Error error = std::move(created).error();
        if (error.sys_errno == EEXIST) {
            const bool ours = link(spec.host_name).has_value();
            error.message = ours ? named("interface", spec.host_name) + " exists already"
                                 : named("interface", spec.peer_name) + named(" exists already in netns", peer_netns.display_name());
        }
        if (error.sys_errno == EXFULL) error.hint = "a Linux bridge has at most 1023 ports: use another network";
        return error;
    }
    const LinkInfo host = TRY(link(spec.host_name));
    // Only now up: the creating request has no place for the link-local setting, which must be there first.
    LinkChange change{.link_local = false};
    if (spec.host_up) change.up = true;
    if (auto changed = set_link(host.index, change); !changed) {
        static_cast<void>(delete_link(host.index));
        return std::move(changed).error().in(what);
    }
    return VethPair{host.index, host.peer_index};
}

Result<IfIndex> Netlink::create_vxlan(const VxlanSpec& spec) {
    CHECK_OK(check_interface_name(spec.name));
    const std::string what = named("create vxlan", spec.name);
    NetlinkRequest request{RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL};
    add_link_header(request, 0);
    request.put_string(IFLA_IFNAME, spec.name);
    if (!spec.mac.is_zero()) request.put_mac(IFLA_ADDRESS, spec.mac);
    request.put_u32(IFLA_MTU, spec.mtu);
    if (spec.group != 0) request.put_u32(IFLA_GROUP, spec.group);
    {
        const auto info = request.nest(IFLA_LINKINFO);
        request.put_string(IFLA_INFO_KIND, "vxlan");
        const auto data = request.nest(IFLA_INFO_DATA);
        request.put_u32(IFLA_VXLAN_ID, spec.vni);
        request.put_u16(IFLA_VXLAN_PORT, htons(spec.port.value()));
        request.put_u8(IFLA_VXLAN_TTL, kTunnelTtl);
        request.put_u8(IFLA_VXLAN_LEARNING, spec.learning ? 1 : 0);  // without a word the kernel has it on
        if (spec.local) request.put_address(spec.family == Family::kIpv6 ? IFLA_VXLAN_LOCAL6 : IFLA_VXLAN_LOCAL, *spec.local);
        if (spec.family == Family::kIpv6) {
            // The family comes from the group, also from one that is none. RFC 6935: a tunnel may go without the outer checksum.
            request.put_address(IFLA_VXLAN_GROUP6, IpAddress::any(Family::kIpv6));
            request.put_u8(IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1);
        }
    }
    CHECK_OK(socket_.transact(request, what));
    const LinkInfo made = TRY(link(spec.name));
    if (auto changed = set_link_local(made.index, false); !changed) {
        static_cast<void>(delete_link(made.index));
        return std::move(changed).error().in(what);
    }
    return made.index;
}

Status Netlink::set_link_local(IfIndex index, bool automatic) {
    NetlinkRequest request{RTM_NEWLINK, 0};
    add_link_header(request, index);
    {
        const auto families = request.nest(IFLA_AF_SPEC);
        const auto ipv6 = request.nest(AF_INET6);
        request.put_u8(IFLA_INET6_ADDR_GEN_MODE, automatic ? IN6_ADDR_GEN_MODE_EUI64 : IN6_ADDR_GEN_MODE_NONE);
    }
    auto done = socket_.transact(request, numbered("set IPv6 address generation", index));
    // Without IPv6 in the kernel, or on this link, there is nothing to generate.
    if (!done && (done.error().sys_errno == EAFNOSUPPORT || done.error().sys_errno == EOPNOTSUPP)) return ok();
    return done;
}

Status Netlink::set_link(IfIndex index, const LinkChange& change) {
    // In a request of its own: in a common one the kernel would bring the link up first.
    if (change.link_local) CHECK_OK(set_link_local(index, *change.link_local));
    std::string what;
    NetlinkRequest request{RTM_NEWLINK, 0};
    auto& header = add_link_header(request, index);
    if (change.up) {
        put_up(header, *change.up);
        what += *change.up ? ", up" : ", down";
    }
    if (change.mtu) {
        request.put_u32(IFLA_MTU, *change.mtu);
        what += ", MTU " + std::to_string(*change.mtu);
    }
    if (change.mac) {
        request.put_mac(IFLA_ADDRESS, *change.mac);
        what += ", MAC " + change.mac->to_string();
    }
    if (change.master) {
        request.put_u32(IFLA_MASTER, *change.master);
        what += ", master " + std::to_string(*change.master);
    }
    if (change.name) {
        CHECK_OK(check_interface_name(*change.name));
        request.put_string(IFLA_IFNAME, *change.name);
        what += ", name " + *change.name;
    }
    if (change.group) {
        request.put_u32(IFLA_GROUP, *change.group);
        what += ", group " + std::to_string(*change.group);
    }
    if (what.empty()) return ok();
    return socket_.transact(request, "set interface " + std::to_string(index) + ": " + what.substr(2));
}

Status Netlink::set_bridge_port(IfIndex port, const BridgePortFlags& change) {
    NetlinkRequest request{RTM_SETLINK, 0};
    add_link_header(request, port).ifi_family = AF_BRIDGE;
    {
        const auto flags = request.nest(IFLA_PROTINFO);
        const auto put = [&](std::uint16_t type, const std::optional<bool>& value) {
            if (value) request.put_u8(type, *value ? 1 : 0);
        };
        put(IFLA_BRPORT_ISOLATED, change.isolated);
        put(IFLA_BRPORT_LEARNING, change.learning);
        put(IFLA_BRPORT_MODE, change.hairpin);
        put(IFLA_BRPORT_NEIGH_SUPPRESS, change.neigh_suppress);
        put(IFLA_BRPORT_UNICAST_FLOOD, change.unicast_flood);
        put(IFLA_BRPORT_MCAST_FLOOD, change.multicast_flood);
        put(IFLA_BRPORT_BCAST_FLOOD, change.broadcast_flood);
    }
    return socket_.transact(request, numbered("set bridge port flags", port));
}

Result<BridgePortFlags> Netlink::bridge_port(IfIndex port) {
    NetlinkRequest request{RTM_GETLINK, 0};
    add_link_header(request, port);
    request.put_u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    std::optional<BridgePortFlags> result;
    const std::string what = numbered("bridge port flags", port);
    CHECK_OK(socket_.transact(request, what, [&](const nlmsghdr& message) {
        const Attributes<IFLA_INFO_SLAVE_DATA> info{LinkAttributes{message, sizeof(ifinfomsg)}.get(IFLA_LINKINFO)};
        if (message.nlmsg_type != RTM_NEWLINK || info.text(IFLA_INFO_SLAVE_KIND) != "bridge") return ok();
        const Attributes<IFLA_BRPORT_ISOLATED> flags{info.get(IFLA_INFO_SLAVE_DATA)};
        const auto flag = [&](std::size_t type) { return flags.value<std::uint8_t>(type) != 0; };
        result = BridgePortFlags{.isolated = flag(IFLA_BRPORT_ISOLATED),
                                 .learning = flag(IFLA_BRPORT_LEARNING),
                                 .hairpin = flag(IFLA_BRPORT_MODE),
                                 .neigh_suppress = flag(IFLA_BRPORT_NEIGH_SUPPRESS),
                                 .unicast_flood = flag(IFLA_BRPORT_UNICAST_FLOOD),
                                 .multicast_flood = flag(IFLA_BRPORT_MCAST_FLOOD),
                                 .broadcast_flood = flag(IFLA_BRPORT_BCAST_FLOOD)};
        return ok();
    }));
    if (!result) return not_found(what + ": it is no port of a bridge");
    return *result;
}

Status Netlink::delete_link(IfIndex index) {
    if (index == 0) return not_found("delete interface 0: No such device");  // 0 would mean "by name", without a name
    NetlinkRequest request{RTM_DELLINK, 0};
    add_link_header(request, index);
    return socket_.transact(request, "delete interface " + std::to_string(index));
}

Status Netlink::delete_group(std::uint32_t group) {
    if (group == 0) return usage_error("delete interface group 0: that is every interface without a group");
    NetlinkRequest request{RTM_DELLINK, 0};
    add_link_header(request, 0);
    request.put_u32(IFLA_GROUP, group);
    return socket_.transact(request, "delete interface group " + std::to_string(group));
}

// Addresses ---------------------------------------------------------------------------------------------------------

Status Netlink::add_address(IfIndex link, const IpPrefix& address) {
    NetlinkRequest request{RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL};
    add_interface_address(request, link, address);
    if (address.family() == Family::kIpv6) {
        request.put_u32(IFA_FLAGS, IFA_F_NODAD);
    } else if (address.length() < 31) {
        request.put_address(IFA_BROADCAST,
                            address.last());  // programs that ask the interface expect it; the route is there anyway
    }
    return socket_.transact(request, numbered("add address " + address.to_string(), link));
}

Status Netlink::delete_address(IfIndex link, const IpPrefix& address) {
    NetlinkRequest request{RTM_DELADDR, 0};
    add_interface_address(request, link, address);
    return socket_.transact(request, numbered("delete address " + address.to_string(), link));
}

Result<std::vector<LinkAddress>> Netlink::addresses(IfIndex link) {
    NetlinkRequest request{RTM_GETADDR, NLM_F_DUMP};
    request.add_header<ifaddrmsg>().ifa_index = link;
    std::vector<LinkAddress> result;
    CHECK_OK(socket_.dump(
        request, "list addresses", [&] { result.clear(); },
        [&](const nlmsghdr& message) {
            const auto address = message.nlmsg_type == RTM_NEWADDR ? parse_address(message) : std::nullopt;
            if (address && (link == 0 || address->link == link)) result.push_back(*address);
            return ok();
        }));
    return result;
}

// Routes ------------------------------------------------------------------------------------------------------------

Status Netlink::change_route(std::uint16_t type, std::uint16_t flags, const Route& route, std::string_view verb) {
    const Family family = route.destination.family();
    NetlinkRequest request{type, flags};
    auto& header = request.add_header<rtmsg>();
    header.rtm_family = address_family(family);
    header.rtm_dst_len = route.destination.length();
    header.rtm_table = route.table < 256 ? static_cast<std::uint8_t>(route.table) : std::uint8_t{RT_TABLE_UNSPEC};
    header.rtm_type = static_cast<std::uint8_t>(route.type);
    header.rtm_scope = route_scope(route);
    header.rtm_protocol = route.protocol;
    if (route.onlink) header.rtm_flags |= RTNH_F_ONLINK;
    if (route.destination.length() != 0) request.put_address(RTA_DST, route.destination.address());
    if (route.gateway) put_gateway(request, family, *route.gateway);
    if (route.device != 0) request.put_u32(RTA_OIF, route.device);
    if (route.metric != 0) request.put_u32(RTA_PRIORITY, route.metric);
    if (route.preferred_source) request.put_address(RTA_PREFSRC, *route.preferred_source);
    request.put_u32(RTA_TABLE, route.table);
    return socket_.transact(request, std::string{verb} + " route " + describe(route));
}

Status Netlink::add_route(const Route& route) {
    return change_route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, route, "add");
}

Status Netlink::replace_route(const Route& route) {
    return change_route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route, "replace");
}

Status Netlink::delete_route(const Route& route) {
    return change_route(RTM_DELROUTE, 0, route, "delete");
}

Status Netlink::add_default_route(const IpAddress& gateway, IfIndex device) {
    return add_route({.destination = IpPrefix{IpAddress::any(gateway.family()), 0}, .gateway = gateway, .device = device});
}

Result<std::vector<Route>> Netlink::routes_of(Family family, std::uint32_t table) {
    NetlinkRequest request{RTM_GETROUTE, NLM_F_DUMP};
    auto& header = request.add_header<rtmsg>();
    header.rtm_family = address_family(family);
    request.put_u32(RTA_TABLE, table);
    std::vector<Route> result;
    auto listed = socket_.dump(
        request, "list routes", [&] { result.clear(); },
        [&](const nlmsghdr& message) {
            if (message.nlmsg_type == RTM_NEWROUTE && header_of<rtmsg>(message).rtm_family == header.rtm_family)
                parse_route(message, result);
            return ok();
        });
    // A table without routes does not exist; without IPv6 in the kernel there is none of that family.
    if (!listed && (listed.error().kind == ErrorKind::kNotFound || listed.error().sys_errno == EOPNOTSUPP)) return std::vector<Route>{};
    CHECK_OK(std::move(listed));
    std::erase_if(result, [&](const Route& route) { return route.table != table; });
    return result;
}

Result<std::vector<Route>> Netlink::routes(std::uint32_t table) {
    std::vector<Route> result = TRY(routes_of(Family::kIpv4, table));
    const std::vector<Route> more = TRY(routes_of(Family::kIpv6, table));
    result.insert(result.end(), more.begin(), more.end());
    return result;
}

Result<std::vector<DefaultRoute>> Netlink::default_uplinks() {
    std::vector<DefaultRoute> result;
    for (const Route& route : TRY(routes())) {
        if (route.destination.length() != 0 || route.type != RouteType::kUnicast || route.device == 0) continue;
        std::string name = link_name(route.device);
        if (name.empty()) continue;  // went away since
        result.push_back({route.device, std::move(name), route.destination.family(), route.gateway, route.metric});
    }
    std::stable_sort(result.begin(), result.end(), [](const DefaultRoute& a, const DefaultRoute& b) {
        return std::tuple{a.family, a.metric} < std::tuple{b.family, b.metric};
    });
    std::vector<DefaultRoute> unique;
    for (DefaultRoute& uplink : result) {
        const auto same = [&](const DefaultRoute& other) { return other.index == uplink.index && other.family == uplink.family; };
        if (std::none_of(unique.begin(), unique.end(), same)) unique.push_back(std::move(uplink));
    }
    return unique;
}

Result<RouteAnswer> Netlink::route_get(const RouteQuery& query) {
    const Family family = query.destination.family();
    NetlinkRequest request{RTM_GETROUTE, 0};
    auto& header = request.add_header<rtmsg>();
    header.rtm_family = address_family(family);
    header.rtm_dst_len = static_cast<std::uint8_t>(query.destination.wire_size() * 8);
    request.put_address(RTA_DST, query.destination);
    if (query.source) {
        header.rtm_src_len = header.rtm_dst_len;
        request.put_address(RTA_SRC, *query.source);
    }
    if (query.input != 0) request.put_u32(RTA_IIF, query.input);
    if (query.output != 0) request.put_u32(RTA_OIF, query.output);
    if (query.mark != 0) request.put_u32(RTA_MARK, query.mark);

    std::optional<RouteAnswer> answer;
    auto done = socket_.transact(request, "route to " + query.destination.to_string(), [&](const nlmsghdr& message) {
        if (message.nlmsg_type != RTM_NEWROUTE) return ok();
        const auto& reply = header_of<rtmsg>(message);
        const RouteAttributes attributes{message, sizeof(reply)};
        answer = RouteAnswer{attributes.value<std::uint32_t>(RTA_OIF), gateway_in(attributes, family),
                             address_in(attributes.get(RTA_PREFSRC), family), static_cast<RouteType>(reply.rtm_type)};
        return ok();
    });
    if (!done) {
        Error error = std::move(done).error();
        // Rejecting routes and rules are answered by the errno that a sender would see.
        if (error.sys_errno == EACCES) return RouteAnswer{0, std::nullopt, std::nullopt, RouteType::kProhibit};
        if (error.sys_errno == ENETUNREACH || error.sys_errno == EHOSTUNREACH) error.kind = ErrorKind::kNotFound;
        return error;
    }
    if (!answer) return failed("route to " + query.destination.to_string() + ": the kernel gave no answer");
    return *answer;
}

// Rules -------------------------------------------------------------------------------------------------------------

Status Netlink::change_rule(std::uint16_t type, std::uint16_t flags, const Rule& rule, std::string_view verb) {
    NetlinkRequest request{type, flags};
    auto& header = request.add_header<fib_rule_hdr>();
    header.family = address_family(rule.from.family());
    header.src_len = static_cast<std::uint8_t>(rule.from.wire_size() * 8);
    header.table = rule.table < 256 ? static_cast<std::uint8_t>(rule.table) : std::uint8_t{RT_TABLE_UNSPEC};
    header.action = FR_ACT_TO_TBL;
    request.put_address(FRA_SRC, rule.from);
    request.put_u32(FRA_TABLE, rule.table);
    request.put_u32(FRA_PRIORITY, rule.priority);
    request.put_u8(FRA_PROTOCOL, kFastnetRouteProtocol);
    return socket_.transact(request, std::string{verb} + " rule from " + rule.from.to_string() + " table " + std::to_string(rule.table));
}

Status Netlink::add_rule(const Rule& rule) {
    return change_rule(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule, "add");
}

Status Netlink::delete_rule(const Rule& rule) {
    return change_rule(RTM_DELRULE, 0, rule, "delete");
}

Status Netlink::rules_of(Family family, std::vector<Rule>& rules) {
    NetlinkRequest request{RTM_GETRULE, NLM_F_DUMP};
    request.add_header<fib_rule_hdr>().family = address_family(family);
    std::vector<Rule> found;
    auto listed = socket_.dump(
        request, "list rules", [&] { found.clear(); },
        [&](const nlmsghdr& message) {
            if (message.nlmsg_type != RTM_NEWRULE) return ok();
            const auto& header = header_of<fib_rule_hdr>(message);
            const Attributes<FRA_PROTOCOL> attributes{message, sizeof(header)};
            const auto from = address_in(attributes.get(FRA_SRC), family);
            if (header.family != address_family(family) || !from || attributes.value<std::uint8_t>(FRA_PROTOCOL) != kFastnetRouteProtocol)
                return ok();
            found.push_back(
                {*from, attributes.value<std::uint32_t>(FRA_TABLE, header.table), attributes.value<std::uint32_t>(FRA_PRIORITY)});
            return ok();
        });
    // Without IPv6 in the kernel there are none of that family.
    if (!listed && (listed.error().sys_errno == EAFNOSUPPORT || listed.error().sys_errno == EOPNOTSUPP)) return ok();
    CHECK_OK(std::move(listed));
    rules.insert(rules.end(), found.begin(), found.end());
    return ok();
}

Result<std::vector<Rule>> Netlink::rules() {
    std::vector<Rule> result;
    for (const Family family : {Family::kIpv4, Family::kIpv6}) CHECK_OK(rules_of(family, result));
    return result;
}

// Neighbours and the bridge's forwarding table ------------------------------------------------------------------------

Status Netlink::set_neighbour(IfIndex link, const IpAddress& address, const MacAddress& mac) {
    NetlinkRequest request{RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE};
    add_neighbour_header(request, link, address_family(address.family())).ndm_state = NUD_PERMANENT;
    request.put_address(NDA_DST, address);
    request.put_mac(NDA_LLADDR, mac);
    return socket_.transact(request, numbered("set neighbour " + address.to_string(), link));
}

Status Netlink::delete_neighbour(IfIndex link, const IpAddress& address) {
    NetlinkRequest request{RTM_DELNEIGH, 0};
    add_neighbour_header(request, link, address_family(address.family()));
    request.put_address(NDA_DST, address);
    return socket_.transact(request, numbered("delete neighbour " + address.to_string(), link));
}

Result<Neighbour> Netlink::neighbour(IfIndex link, const IpAddress& address) {
    NetlinkRequest request{RTM_GETNEIGH, 0};
    add_neighbour_header(request, link, address_family(address.family()));
    request.put_address(NDA_DST, address);
    const std::string what = numbered("neighbour " + address.to_string(), link);
    std::optional<Neighbour> answer;
    CHECK_OK(socket_.transact(request, what, [&](const nlmsghdr& message) {
        if (message.nlmsg_type == RTM_NEWNEIGH) answer = parse_neighbour(message);
        return ok();
    }));
    if (!answer) return failed(what + ": the kernel gave no answer");
    return *answer;
}

Result<std::vector<Neighbour>> Netlink::neighbours(IfIndex link) {
    NetlinkRequest request{RTM_GETNEIGH, NLM_F_DUMP};
    add_neighbour_header(request, 0, AF_UNSPEC);
    request.put_u32(NDA_IFINDEX, link);
    std::vector<Neighbour> result;
    CHECK_OK(socket_.dump(
        request, numbered("list neighbours", link), [&] { result.clear(); },
        [&](const nlmsghdr& message) {
            const auto neighbour = message.nlmsg_type == RTM_NEWNEIGH ? parse_neighbour(message) : std::nullopt;
            if (neighbour && neighbour->link == link) result.push_back(*neighbour);
            return ok();
        }));
    return result;
}

Status Netlink::set_forwarding(IfIndex port, const MacAddress& mac) {
    NetlinkRequest request{RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE};
    auto& header = add_neighbour_header(request, port, AF_BRIDGE);
    header.ndm_state = NUD_NOARP;  // static; NUD_PERMANENT would mean the bridge's own address, delivered to the host
    header.ndm_flags = NTF_MASTER;
    request.put_mac(NDA_LLADDR, mac);
    return socket_.transact(request, numbered("set forwarding entry " + mac.to_string(), port));
}

Status Netlink::delete_forwarding(IfIndex port, const MacAddress& mac) {
    NetlinkRequest request{RTM_DELNEIGH, 0};
    add_neighbour_header(request, port, AF_BRIDGE).ndm_flags = NTF_MASTER;
    request.put_mac(NDA_LLADDR, mac);
    return socket_.transact(request, numbered("delete forwarding entry " + mac.to_string(), port));
}

// Peers of a vxlan link ---------------------------------------------------------------------------------------------

Status Netlink::change_vxlan_peer(std::uint16_t type, std::uint16_t flags, IfIndex link, const IpAddress& peer, std::string_view verb) {
    NetlinkRequest request{type, flags};
    auto& header = add_neighbour_header(request, link, AF_BRIDGE);
    header.ndm_flags = NTF_SELF;
    header.ndm_state = NUD_NOARP | NUD_PERMANENT;
    request.put_mac(NDA_LLADDR, MacAddress{});
    request.put_address(NDA_DST, peer);
    return socket_.transact(request, numbered(std::string{verb} + " peer " + peer.to_string(), link));
}

Status Netlink::add_vxlan_peer(IfIndex link, const IpAddress& peer) {
    return change_vxlan_peer(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_APPEND, link, peer, "add");
}

Status Netlink::delete_vxlan_peer(IfIndex link, const IpAddress& peer) {
    return change_vxlan_peer(RTM_DELNEIGH, 0, link, peer, "delete");
}

Result<std::vector<IpAddress>> Netlink::vxlan_peers(IfIndex link) {
    NetlinkRequest request{RTM_GETNEIGH, NLM_F_DUMP};
    add_neighbour_header(request, link, AF_BRIDGE);
    std::vector<IpAddress> result;
    CHECK_OK(socket_.dump(
        request, numbered("list peers", link), [&] { result.clear(); },
        [&](const nlmsghdr& message) {
            const auto& header = header_of<ndmsg>(message);
            if (message.nlmsg_type != RTM_NEWNEIGH || header.ndm_ifindex != static_cast<int>(link)) return ok();
            const Attributes<NDA_LLADDR> attributes{message, sizeof(header)};
            const nlattr* peer = attributes.get(NDA_DST);
            const auto mac = mac_in(attributes.get(NDA_LLADDR));
            // The bridge above has entries of its own here, and the link those that it learned.
            if ((header.ndm_flags & NTF_SELF) == 0 || !mac || !mac->is_zero() || peer == nullptr) return ok();
            const Family family = mnl_attr_get_payload_len(peer) == 4 ? Family::kIpv4 : Family::kIpv6;
            if (const auto address = address_in(peer, family); address) result.push_back(*address);
            return ok();
        }));
    return result;
}

}  // namespace fastnet
