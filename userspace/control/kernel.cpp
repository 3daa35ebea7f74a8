#include "userspace/control/kernel.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <thread>

#include "userspace/control/container_routes.h"
#include "userspace/control/host_settings.h"
#include "userspace/host/sysctl.h"
#include "userspace/model/names.h"
#include "userspace/store/crash_point.h"

namespace fastnet {
namespace {

/// Locally administered, unique per node, never handed to a container.
MacAddress host_mac_for(std::uint32_t endpoint_id) {
    return MacAddress{{0x0a, 0x66, 0x6e, static_cast<std::uint8_t>(endpoint_id >> 16U), static_cast<std::uint8_t>(endpoint_id >> 8U),
                       static_cast<std::uint8_t>(endpoint_id)}};
}

bool is_link_local(const IpAddress& address) {
    return address.family() == Family::kIpv6 && address.bytes()[0] == 0xfe && (address.bytes()[1] & 0xc0U) == 0x80U;
}

bool sysctl_is(const std::string& path, std::string_view value) {
    const auto text = read_sysctl(path);
    return text && *text == value;
}

/// Success also on a kernel without IPv6, where there is nothing to switch off.
Status ensure_ipv6_sysctl(const std::string& path, std::string_view value, bool needed) {
    Status done = ensure_sysctl(path, value);
    if (!done && done.error().kind == ErrorKind::kNotFound && !needed) return ok();
    return done;
}

BridgeState read_bridge(const LinkInfo& link, const std::vector<LinkAddress>& addresses) {
    BridgeState state;
    state.name = link.name;
    state.mac = link.mac;
    state.mtu = link.mtu;
    state.up = link.up;
    bool has_ipv4 = false;
    for (const LinkAddress& address : addresses) {
        if (address.link != link.index || is_link_local(address.address.address())) continue;
        state.addresses.insert(address.address);
        has_ipv4 = has_ipv4 || address.address.family() == Family::kIpv4;
    }
    // Where a family is not used its switch may stand as it likes.
    state.forwards4 = has_ipv4 && sysctl_is("ipv4/conf/" + link.name + "/forwarding", "1");
    state.ipv6 = sysctl_is("ipv6/conf/" + link.name + "/disable_ipv6", "0");
    state.forwards6 = state.ipv6 && sysctl_is("ipv6/conf/" + link.name + "/forwarding", "1");
    return state;
}

/// Switches IPv6 forwarding on for one device, which is all that bpf_fib_lookup asks for. The kernel then forgets every default
/// route that a router advertised, on whatever device (rt6_purge_dflt_routers), unless accept_ra is 2 there: so it is, for the
/// moment of the change. Nothing else tells 2 from 1 on a device that does not forward.
Status enable_ipv6_forwarding(Netlink& netlink, const std::string& device) {
    const std::string path = "ipv6/conf/" + device + "/forwarding";
    if (sysctl_is(path, "1")) return ok();
    std::vector<std::string> held;
    for (const Route& route : TRY(netlink.routes())) {
        if (route.destination.family() != Family::kIpv6 || route.destination.length() != 0) continue;
        const std::string accept_ra = "ipv6/conf/" + netlink.link_name(route.device) + "/accept_ra";
        if (sysctl_is(accept_ra, "1") && ensure_sysctl(accept_ra, "2")) held.push_back(accept_ra);
    }
    Status done = ensure_ipv6_sysctl(path, "1", true);
    for (const std::string& accept_ra : held) CHECK_OK(ensure_sysctl(accept_ra, "1"));
    return done;
}

Status write_bridge_sysctls(Netlink& netlink, const BridgeState& wanted) {
    const std::string v4 = "ipv4/conf/" + wanted.name + "/";
    const std::string v6 = "ipv6/conf/" + wanted.name + "/";
    if (wanted.forwards4) CHECK_OK(ensure_sysctl(v4 + "forwarding", "1"));
    if (!wanted.ipv6) return ensure_ipv6_sysctl(v6 + "disable_ipv6", "1", false);
    CHECK_OK(ensure_ipv6_sysctl(v6 + "accept_ra", "0", true));
    CHECK_OK(enable_ipv6_forwarding(netlink, wanted.name));
    return ensure_ipv6_sysctl(v6 + "disable_ipv6", "0", true);
}

/// @p before_up gets the index of a bridge that is about to come up.
Status make_bridge(Netlink& netlink, const BridgeState& wanted, const std::function<Status(IfIndex)>& before_up) {
    auto link = netlink.link(wanted.name);
    if (!link && link.error().kind != ErrorKind::kNotFound) return link.error();
    if (!link) {
        TRY(netlink.create_bridge({.name = wanted.name, .mac = kGatewayMac, .mtu = wanted.mtu, .up = false}));
        crash_point();
        link = netlink.link(wanted.name);
        if (!link) return link.error();
    }
    if (link->kind != "bridge")
        return conflict("interface '" + wanted.name + "' exists already and is no bridge", "rename or remove it: fastnet needs the name");
    // Before it comes up: IPv6 would send on a network that has none.
    CHECK_OK(write_bridge_sysctls(netlink, wanted));
    const auto present = TRY(netlink.addresses(link->index));
    const auto has = [&](const IpPrefix& address) {
        return std::any_of(present.begin(), present.end(), [&](const LinkAddress& one) { return one.address == address; });
    };
    for (const LinkAddress& address : present)
        if (!wanted.addresses.contains(address.address) && !is_link_local(address.address.address()))
            CHECK_OK(unless_missing(netlink.delete_address(link->index, address.address)));
    for (const IpPrefix& address : wanted.addresses)
        if (!has(address)) CHECK_OK(unless_exists(netlink.add_address(link->index, address)));
    crash_point();
    if (wanted.up && !link->up) CHECK_OK(before_up(link->index));
    LinkChange change;
    if (link->mtu != wanted.mtu) change.mtu = wanted.mtu;
    if (link->mac != kGatewayMac) change.mac = kGatewayMac;
    change.up = wanted.up;
    return netlink.set_link(link->index, change);
}

Status put_service(const Datapath& datapath, const PublishedPort& port, const ServiceRows& rows) {
    if (Status fresh = datapath.service_stats().put(port.id, fnet_service_stats{}, BPF_NOEXIST);
        !fresh && fresh.error().sys_errno != EEXIST)
        return fresh;
    // Before the entry that asks for them: at no moment can somebody call who may not.
    for (const auto& [key, rule] : source_entries(port)) CHECK_OK(datapath.sources().put(key, rule));
    crash_point();
    CHECK_OK(datapath.set_port_filter({port.family(), port.protocol, port.host_ports}, true));
    for (const auto& [key, value] : rows) CHECK_OK(datapath.services().put(key, value));
    return ok();
}

/// Makes @p port a port of the network's bridge. A port that joins has the bridge's defaults, whatever it had before: where they
/// would let it reach the others for a moment it is taken down.
Status join_bridge(Netlink& netlink, const LinkInfo& port, IfIndex bridge, const Network& network) {
    LinkChange change;
    change.master = bridge;
    if (port.up && port.master != bridge && !network.icc) change.up = false;
    CHECK_OK(netlink.set_link(port.index, change));
    // What the programs do, done by the bridge too: they know the addresses that were assigned, not link-local ones.
    return netlink.set_bridge_port(port.index, {.isolated = !network.icc});
}

Status put_endpoint(Node& node, const Endpoint& endpoint, const Network& network, IfIndex bridge) {
    const Datapath& datapath = node.datapath();
    fnet_endpoint value = endpoint_value(endpoint, network, bridge);
    if (const auto present = TRY(datapath.endpoints().get(endpoint.host_ifindex)); present && present->id == value.id)
        value = with_counters_of(value, *present);
    CHECK_OK(datapath.endpoints().put(endpoint.host_ifindex, value));
    for (const auto& address : {endpoint.ipv4, endpoint.ipv6})
        if (address)
            CHECK_OK(
                datapath.addresses().put(address_key(address->address(), network.id), address_value(endpoint.host_ifindex, endpoint.mac)));
    CHECK_OK(datapath.judge_anew());
    crash_point();
    CHECK_OK(node.datapath().attach_endpoint(static_cast<int>(endpoint.host_ifindex)));
    crash_point();
    return ok();
}

struct Apply {
    Node& node;

    Status operator()(const MakeBridge& step) const {
        return make_bridge(node.netlink(), step.wanted, [&](IfIndex device) -> Status {
            CHECK_OK(node.datapath().devices().put(device, {FNET_DEVICE_BRIDGE, network_id_of_bridge_ifname(step.wanted.name)}));
            return node.datapath().attach_bridge(static_cast<int>(device));
        });
    }
    Status operator()(const MakeVxlan& step) const {
        return make_vxlan(node.netlink(), step.wanted,
                          [&](IfIndex device) { return node.datapath().attach_vxlan(static_cast<int>(device)); });
    }
    Status operator()(const FloodTo& step) const {
        const LinkInfo vxlan = TRY(node.netlink().link(step.vxlan));
        return unless_exists(node.netlink().add_vxlan_peer(vxlan.index, step.peer));
    }
    Status operator()(const StopFloodTo& step) const {
        const LinkInfo vxlan = TRY(node.netlink().link(step.vxlan));
        return unless_missing(node.netlink().delete_vxlan_peer(vxlan.index, step.peer));
    }
    Status operator()(const RemoveLink& step) const {
        const auto link = node.netlink().link(step.name);
        return link ? unless_missing(node.netlink().delete_link(link->index)) : ok();
    }
    Status operator()(const PutDevice& step) const {
        const LinkInfo link = TRY(node.netlink().link(step.link));
        return node.datapath().devices().put(link.index, step.device);
    }
    Status operator()(const DropDevice& step) const {
        TRY(node.datapath().devices().erase(step.ifindex));
        return ok();
    }
    Status operator()(const PutSubnet& step) const {
        // The filter last: it must not send a packet to a trie that does not know the answer yet.
        CHECK_OK(node.datapath().subnets().put(subnet_key(step.subnet), step.network_id));
        return node.datapath().set_subnet_filter(step.subnet, true);
    }
    Status operator()(const DropSubnet& step) const {
        CHECK_OK(node.datapath().set_subnet_filter(step.subnet, false));
        TRY(node.datapath().subnets().erase(subnet_key(step.subnet)));
        return ok();
    }
    Status operator()(const AttachUplink& step) const {
        const LinkInfo link = TRY(node.netlink().link(step.link));
        return node.datapath().attach_uplink(static_cast<int>(link.index));
    }
    Status operator()(const AttachBridge& step) const {
        const LinkInfo link = TRY(node.netlink().link(step.link));
        return node.datapath().attach_bridge(static_cast<int>(link.index));
    }
    Status operator()(const AttachVxlan& step) const {
        const LinkInfo link = TRY(node.netlink().link(step.link));
        return node.datapath().attach_vxlan(static_cast<int>(link.index));
    }
    Status operator()(const ServeLoopback&) const {
        // The program first: what the settings permit is then already looked at.
        CHECK_OK(node.datapath().devices().put(FNET_LOOPBACK_IFINDEX, {FNET_DEVICE_LOOPBACK, 0}));
        CHECK_OK(node.datapath().attach_loopback());
        return set_loopback_sysctls(node.store());
    }
    Status operator()(const DetachHooks& step) const {
        CHECK_OK(node.datapath().detach_xdp(static_cast<int>(step.ifindex)));
        return node.datapath().detach_device(static_cast<int>(step.ifindex));
    }
    Status operator()(const InstallEndpoint& step) const {
        const LinkInfo bridge = TRY(node.netlink().link(step.network.bridge));
        CHECK_OK(put_endpoint(node, step.endpoint, step.network, bridge.index));
        CHECK_OK(join_bridge(node.netlink(), TRY(node.netlink().link(step.endpoint.host_ifindex)), bridge.index, step.network));
        return node.netlink().set_up(step.endpoint.host_ifindex);
    }
    Status operator()(const DropEndpoint& step) const {
        TRY(node.datapath().endpoints().erase(step.ifindex));
        CHECK_OK(node.datapath().judge_anew());
        TRY(node.datapath().purge_endpoint_flows(step.ifindex));
        return ok();
    }
    Status operator()(const PutAddress& step) const { return node.datapath().addresses().put(step.key, step.value); }
    Status operator()(const DropAddress& step) const {
        TRY(node.datapath().addresses().erase(step.key));
        return ok();
    }
    Status operator()(const PutTunnel& step) const { return node.datapath().tunnels().put(step.index, tunnel_value(step.peer)); }
    Status operator()(const DropTunnel& step) const { return node.datapath().tunnels().put(step.index, fnet_tunnel{}); }
    Status operator()(const PutVtep& step) const {
        fnet_vtep value = step.value;
        if (!step.bridge.empty()) value.bridge_ifindex = TRY(node.netlink().link(step.bridge)).index;
        // What is learned between these two calls is not counted: the limit is that much higher, until the next repair.
        if (const auto present = TRY(node.datapath().vteps().get(step.key)); present && present->network == value.network)
            value.learned = present->learned - std::min(present->learned, step.unlearned);
        return node.datapath().vteps().put(step.key, value);
    }
    Status operator()(const DropVtep& step) const {
        TRY(node.datapath().vteps().erase(step.key));
        return ok();
    }
    Status operator()(const PutService& step) const { return put_service(node.datapath(), step.port, step.rows); }
    Status operator()(const DropService& step) const {
        TRY(node.datapath().services().erase(step.key));
        TRY(node.datapath().purge_service_flows(step.service_id));
        TRY(node.datapath().service_stats().erase(step.service_id));
        return ok();
    }
    Status operator()(const DropSources& step) const {
        for (const fnet_source_key& key : step.keys) TRY(node.datapath().sources().erase(key));
        return ok();
    }
};

/// Steps after which the packet path must not believe any more what it judged before.
bool is_judged_by(const Step& step) {
    return std::holds_alternative<PutAddress>(step) || std::holds_alternative<DropAddress>(step) ||
           std::holds_alternative<PutTunnel>(step) || std::holds_alternative<DropTunnel>(step) || std::holds_alternative<PutVtep>(step) ||
           std::holds_alternative<DropVtep>(step);
}

/// Every ifindex under which the kernel may know @p endpoint: a command may have died before it wrote it down.
std::vector<std::uint32_t> ifindexes_of(Node& node, const Endpoint& endpoint) {
    std::vector<std::uint32_t> found;
    if (endpoint.host_ifindex != 0) found.push_back(endpoint.host_ifindex);
    if (endpoint.state != EndpointState::kReady || endpoint.host_ifindex == 0) {
        if (const auto link = node.netlink().link(endpoint.host_ifname); link) found.push_back(link->index);
        if (node.prepared())
            (void)node.datapath().endpoints().for_each([&](const std::uint32_t ifindex, const fnet_endpoint& value) {
                if (value.id == endpoint.id) found.push_back(ifindex);
            });
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

/// For what the kernel does in a work item a moment after a link came up, later on a busy machine. Bounded: it happens without us too.
template <typename Condition>
void wait_for_link(const Condition& settled) {
    constexpr auto kBound = std::chrono::seconds{1};
    const auto deadline = std::chrono::steady_clock::now() + kBound;
    while (!settled() && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds{1});
}

/// Until the IPv6 address is in the routes: a packet that arrives earlier is lost.
void wait_until_local(Netlink& inside, const IpAddress& own) {
    wait_for_link([&] {
        const auto answer = inside.route_get({.destination = own});
        return answer && answer->type == RouteType::kLocal;
    });
}

/// Until the link has its queue, and the bridge forwards to and from it as a port: both come with the operational state (RFC 2863), and
/// what is sent before is lost without a word.
void wait_until_running(Netlink& netlink, IfIndex index) {
    wait_for_link([&] {
        const auto link = netlink.link(index);
        return !link || link->running;
    });
}

/// All endpoints that are in the namespace of @p endpoint, it among them, as far as they have an interface there.
Result<std::vector<Endpoint>> endpoints_beside(Store& store, const Endpoint& endpoint) {
    std::vector<Endpoint> found = TRY(store.endpoints_with_cookie(endpoint.netns_cookie));
    std::erase_if(found, [](const Endpoint& other) { return other.host_ifname.empty(); });
    return found;
}

/// The other networks of the namespace take over what @p gone was for.
Status leave_namespace(Node& node, const Endpoint& gone) {
    std::vector<Endpoint> others = TRY(endpoints_beside(node.store(), gone));
    std::erase_if(others, [&](const Endpoint& other) { return other.id == gone.id; });
    if (others.empty()) return ok();
    const auto netns = Netns::open(gone.netns);
    if (!netns || netns->cookie().value_or(0) != gone.netns_cookie) return ok();  // gone too, or out of reach
    Netlink inside = TRY(Netlink::open(*netns));
    return arrange_routes(inside, others, gone);
}

/// Runs inside the container's namespace, whose endpoints are @p all.
Status configure_container(const Endpoint& endpoint, IfIndex device, const std::vector<Endpoint>& all) {
    Netlink inside = TRY(Netlink::open());
    CHECK_OK(inside.set_up(TRY(inside.link("lo")).index));
    const std::string ipv6 = "ipv6/conf/" + endpoint.ifname + "/";
    // Neighbours learn at once who has the address now. The kernel says so itself when the link comes up: closing a
    // packet socket of our own would cost a grace period, several milliseconds.
    if (endpoint.ipv4) CHECK_OK(ensure_sysctl("ipv4/conf/" + endpoint.ifname + "/arp_notify", "1"));
    if (endpoint.ipv6) {
        CHECK_OK(ensure_ipv6_sysctl(ipv6 + "ndisc_notify", "1", true));
        CHECK_OK(ensure_ipv6_sysctl(ipv6 + "accept_ra", "0", true));  // nobody on this network is a router but the gateway
    } else {
        CHECK_OK(ensure_ipv6_sysctl(ipv6 + "disable_ipv6", "1", false));  // would only send solicitations that nobody answers
    }
    for (const auto& address : {endpoint.ipv4, endpoint.ipv6})
        if (address) CHECK_OK(inside.add_address(device, *address));
    crash_point();
    CHECK_OK(inside.set_up(device));
    CHECK_OK(arrange_routes(inside, all));
    crash_point();
    wait_until_running(inside, device);
    if (endpoint.ipv6) wait_until_local(inside, endpoint.ipv6->address());
    return ok();
}

ReservedPorts set_of(const std::vector<PublishedPort>& ports) {
    ReservedPorts set;
    for (const PublishedPort& port : ports) set.add(port.host_ports);
    return set;
}

std::set<std::uint32_t> ids_of(const std::vector<PublishedPort>& ports) {
    std::set<std::uint32_t> ids;
    for (const PublishedPort& port : ports) ids.insert(port.id);
    return ids;
}

/// The entries of everything that an endpoint publishes, but for the ports in @p without.
Result<ServiceRows> rows_on_record(Store& store, const Endpoint& endpoint, const std::vector<PublishedPort>& without = {}) {
    const auto network = TRY(store.find_network(endpoint.network_id));
    std::vector<PublishedPort> ports = TRY(store.ports_of(endpoint.id));
    std::erase_if(ports, [gone = ids_of(without)](const PublishedPort& port) { return gone.contains(port.id); });
    return network ? service_rows(ports, endpoint, *network) : ServiceRows{};
}

/// Of the host ports of @p ports, those that another record, or the overlay networks, have with this family and protocol.
Result<ReservedPorts> shared_with_others(Store& store, const std::vector<PublishedPort>& ports, Family family, Protocol protocol) {
    ReservedPorts shared;
    for (const FilteredPorts& filtered : overlay_filters(TRY(store.networks())))
        if (filtered.family == family && filtered.protocol == protocol) shared.add(filtered.ports);
    const std::set<std::uint32_t> gone = ids_of(ports);
    for (const PublishedPort& port : ports)
        for (const PublishedPort& other : TRY(store.ports_overlapping(IpAddress::any(family), protocol, port.host_ports)))
            if (!gone.contains(other.id)) shared.add(other.host_ports);
    return shared;
}

/// Clears the filter of @p ports where no other record needs it. Returns the ports that no record has at all any more.
Result<ReservedPorts> clear_filters(Node& node, const std::vector<PublishedPort>& ports) {
    ReservedPorts free = set_of(ports);
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
        for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
            const ReservedPorts shared = TRY(shared_with_others(node.store(), ports, family, protocol));
            free = free.without(shared);
            ReservedPorts unused;
            for (const PublishedPort& port : ports)
                if (port.family() == family && port.protocol == protocol) unused.add(port.host_ports);
            const ReservedPorts cleared = unused.without(shared);
            for (const PortRange& range : cleared.ranges()) CHECK_OK(node.datapath().set_port_filter({family, protocol, range}, false));
        }
    }
    return free;
}

}  // namespace

Result<ActualState> read_actual(Netlink& netlink, const Datapath& datapath) {
    ActualState actual;
    const std::vector<LinkAddress> addresses = TRY(netlink.addresses());
    const std::vector<LinkInfo> links = TRY(netlink.links());
    actual.vxlans = TRY(read_vxlans(netlink, links));
    for (const LinkInfo& link : links) {
        actual.links.emplace(link.name, ActualLink{link.index, link.master, link.up, link.isolated});
        if (network_id_of_bridge_ifname(link.name) != 0 && link.kind == "bridge")
            actual.bridges.emplace(link.name, read_bridge(link, addresses));
    }
    CHECK_OK(datapath.devices().for_each([&](const auto& key, const auto& value) { actual.devices.emplace(key, value); }));
    CHECK_OK(datapath.subnets().for_each([&](const auto& key, const auto& value) { actual.subnets.emplace(subnet_from(key), value); }));
    CHECK_OK(datapath.endpoints().for_each([&](const auto& key, const auto& value) { actual.endpoints.emplace(key, value); }));
    CHECK_OK(datapath.tunnels().for_each([&](const auto& key, const fnet_tunnel& value) {
        if (!same_bytes(value.peer, fnet_addr{})) actual.tunnels.emplace(key, from_abi(value.peer));
    }));
    // Before the addresses: an address that is learned meanwhile is then one too many, not one too few.
    CHECK_OK(datapath.vteps().for_each([&](const auto& key, const auto& value) { actual.vteps.emplace(key, value); }));
    CHECK_OK(datapath.addresses().for_each([&](const auto& key, const auto& value) { actual.addresses.emplace(key, value); }));
    CHECK_OK(datapath.services().for_each([&](const auto& key, const auto& value) { actual.services.emplace(key, value); }));
    CHECK_OK(datapath.sources().for_each([&](const auto& key, const auto& value) { actual.sources.emplace(key, value); }));
    for (const AttachedHook& hook : datapath.attached())
        if (hook.ifindex > 0 && hook.ours) ++actual.hooks[static_cast<std::uint32_t>(hook.ifindex)];
    actual.loopback_sysctls = loopback_sysctls_in_force();
    return actual;
}

std::vector<FilteredPorts> overlay_filters(const std::vector<Network>& networks) {
    std::vector<FilteredPorts> filters;
    if (std::none_of(networks.begin(), networks.end(), [](const Network& one) { return one.driver == NetworkDriver::kOverlay; }))
        return filters;
    for (const Family family : {Family::kIpv4, Family::kIpv6}) filters.push_back({family, Protocol::kUdp, kVxlanPorts});
    return filters;
}

Status apply_plan(Node& node, const Plan& plan) {
    std::optional<Error> first;
    for (std::size_t i = 0; i < plan.size(); ++i) {
        const Step& step = plan[i];
        Status done = std::visit(Apply{node}, step);
        crash_point();
        // Once for all steps of one kind in a row: there may be thousands. What was judged lapses after a second in any case.
        const bool ends_run = i + 1 == plan.size() || plan[i + 1].index() != step.index();
        if (is_judged_by(step) && ends_run)
            if (Status judged = node.datapath().judge_anew(); done && !judged) done = std::move(judged);
        if (done) {
            if (node.notes_repairs()) node.note_repair(kind_of(step), explain(step), subject_of(step));
            continue;
        }
        // The other steps do not depend on this one, and a node that mostly works is better than one that does not.
        Error error = std::move(done).error().in(describe(step));
        if (first) {
            first->message += "; " + error.message;
        } else {
            first = std::move(error);
        }
    }
    if (first) return *std::move(first);
    return ok();
}

Status build_endpoint(Node& node, Endpoint& endpoint, const Network& network, const std::vector<PublishedPort>& ports, const Netns& netns) {
    const LinkInfo bridge = TRY(node.netlink().link(network.bridge));
    endpoint.mtu = TRY(node.mtu_of(network));
    VethSpec spec;
    spec.host_name = endpoint.host_ifname;
    spec.host_mac = host_mac_for(endpoint.id);
    spec.peer_name = endpoint.ifname;
    spec.peer_mac = endpoint.mac;
    spec.mtu = endpoint.mtu;
    spec.group = kVethGroup;
    const VethPair pair = TRY(node.netlink().create_veth(spec, netns));
    endpoint.host_ifindex = pair.host;
    LinkInfo fresh;
    fresh.index = pair.host;
    crash_point();
    CHECK_OK(join_bridge(node.netlink(), fresh, bridge.index, network));
    // Map entries and programs before the first packet can come.
    CHECK_OK(put_endpoint(node, endpoint, network, bridge.index));
    CHECK_OK(node.netlink().set_up(pair.host));
    crash_point();
    const std::vector<Endpoint> all = TRY(endpoints_beside(node.store(), endpoint));
    if (Status inside = run_in(netns, [&] { return configure_container(endpoint, pair.peer, all); }); !inside)
        return std::move(inside).error().in("configure netns '" + netns.display_name() + "'");
    wait_until_running(node.netlink(), pair.host);
    return install_ports(node, endpoint, ports);
}

Status tear_down_endpoint(Node& node, const Endpoint& endpoint, const std::vector<PublishedPort>& ports) {
    std::optional<Error> first;
    const auto note = [&](Status status) {
        if (!status && !first) first = std::move(status).error();
        crash_point();
    };
    const bool in_datapath = node.prepared() && has_veth(endpoint.mode);
    std::vector<std::uint32_t> ifindexes;
    if (in_datapath) {
        const Datapath& datapath = node.datapath();
        ifindexes = ifindexes_of(node, endpoint);
        note(withdraw_ports(node, endpoint, ports, false));
        for (const auto& address : {endpoint.ipv4, endpoint.ipv6}) {
            if (!address) continue;
            const auto gone = datapath.addresses().erase(address_key(address->address(), endpoint.network_id));
            if (!gone) note(gone.error());
        }
        for (const std::uint32_t ifindex : ifindexes) {
            if (const auto gone = datapath.endpoints().erase(ifindex); !gone) note(gone.error());
            note(datapath.judge_anew());
            crash_point();
            // After the entry: without it no new flow begins.
            if (const auto gone = datapath.purge_endpoint_flows(ifindex); !gone) note(gone.error());
        }
    }
    if (!endpoint.host_ifname.empty())
        if (const auto link = node.netlink().link(endpoint.host_ifname); link)
            note(unless_missing(node.netlink().delete_link(link->index)));
    if (!endpoint.host_ifname.empty()) note(leave_namespace(node, endpoint));
    // After the device: taking programs off a living one costs a grace period each.
    if (in_datapath)
        for (const std::uint32_t ifindex : ifindexes) note(node.datapath().detach_device(static_cast<int>(ifindex)));
    if (first) return *std::move(first);
    return ok();
}

Status install_ports(Node& node, const Endpoint& endpoint, const std::vector<PublishedPort>& ports) {
    if (ports.empty()) return ok();
    CHECK_OK(reserve_ports(node.store(), set_of(ports)));
    crash_point();
    std::map<std::uint32_t, ServiceRows> rows = by_port(TRY(rows_on_record(node.store(), endpoint)));
    for (const PublishedPort& port : ports) {
        CHECK_OK(put_service(node.datapath(), port, rows[port.id]));
        crash_point();
    }
    return ok();
}

Status withdraw_ports(Node& node, const Endpoint& endpoint, const std::vector<PublishedPort>& ports, bool purge_flows) {
    if (ports.empty()) return ok();
    const Datapath& datapath = node.datapath();
    const ServiceRows before = TRY(rows_on_record(node.store(), endpoint));
    const ServiceRows after = TRY(rows_on_record(node.store(), endpoint, ports));
    for (const auto& [key, value] : before) {
        const auto left = after.find(key);
        if (left == after.end()) {
            TRY(datapath.services().erase(key));
        } else if (!same_bytes(left->second, value)) {  // another port leads there as well
            CHECK_OK(datapath.services().put(key, left->second));
        }
    }
    crash_point();
    for (const PublishedPort& port : ports) {
        if (purge_flows) TRY(datapath.purge_service_flows(port.id));
        TRY(datapath.service_stats().erase(port.id));
        for (const auto& [key, rule] : source_entries(port)) TRY(datapath.sources().erase(key));
    }
    const ReservedPorts free = TRY(clear_filters(node, ports));
    crash_point();
    return release_ports(node.store(), free);
}

}  // namespace fastnet
