#include "userspace/control/vxlan.h"

#include <algorithm>
#include <cerrno>

#include "bpf/abi/tunnel.h"
#include "userspace/control/kernel.h"
#include "userspace/model/names.h"

namespace fastnet {
namespace {

std::string what_of(const VxlanState& wanted) {
    return "vxlan interface '" + wanted.name + "'";
}

/// The first of somebody else's vxlan links in this namespace that @p matches.
template <typename Matches>
std::string other_vxlan(Netlink& netlink, const VxlanState& wanted, Matches&& matches) {
    const auto links = netlink.links();
    if (!links) return {};
    for (const LinkInfo& link : *links)
        if (link.kind == "vxlan" && link.name != wanted.name && link.vxlan_port == FNET_VXLAN_PORT && matches(link)) return link.name;
    return {};
}

Error vni_is_taken(Netlink& netlink, const VxlanState& wanted) {
    const std::string other = other_vxlan(netlink, wanted, [&](const LinkInfo& link) { return link.vni == wanted.vni; });
    return conflict("make " + what_of(wanted) + ": VNI " + std::to_string(wanted.vni) + " belongs to " +
                        (other.empty() ? "a vxlan interface that was moved to another namespace (as Docker Swarm does)"
                                       : "vxlan interface '" + other + "'"),
                    "create the network with another --vni, the same on all nodes, or remove that interface");
}

Error port_is_taken(Netlink& netlink, const VxlanState& wanted) {
    const std::string other = other_vxlan(netlink, wanted, [](const LinkInfo& link) { return link.up; });
    return conflict("bring up " + what_of(wanted) + ": UDP port 4789 is taken" +
                        (other.empty() ? "" : ", maybe by vxlan interface '" + other + "', whose settings do not let it be shared"),
                    "`ss -lunp sport = 4789` and `ip -d link show type vxlan` show by whom");
}

Result<LinkInfo> create(Netlink& netlink, const VxlanState& wanted) {
    VxlanSpec spec;
    spec.name = wanted.name;
    spec.vni = wanted.vni;
    spec.port = Port{FNET_VXLAN_PORT};
    spec.family = wanted.peers.empty() ? Family::kIpv4 : wanted.peers.begin()->family();
    spec.local = wanted.local;
    spec.mtu = wanted.mtu;
    spec.group = kVethGroup;
    spec.learning = wanted.learns;
    const auto made = netlink.create_vxlan(spec);
    if (!made && made.error().sys_errno == EEXIST) return vni_is_taken(netlink, wanted);
    if (!made) return made.error();
    return netlink.link(*made);
}

/// Success if the device has exactly the wanted peers; false if its family is the other one.
Result<bool> set_peers(Netlink& netlink, IfIndex device, const std::set<IpAddress>& wanted) {
    const std::vector<IpAddress> present = TRY(netlink.vxlan_peers(device));
    for (const IpAddress& peer : present)
        if (!wanted.contains(peer)) CHECK_OK(unless_missing(netlink.delete_vxlan_peer(device, peer)));
    for (const IpAddress& peer : wanted) {
        if (std::find(present.begin(), present.end(), peer) != present.end()) continue;
        const Status added = netlink.add_vxlan_peer(device, peer);
        if (!added && added.error().sys_errno == EAFNOSUPPORT) return false;
        CHECK_OK(added);
    }
    return true;
}

Status join(Netlink& netlink, const LinkInfo& link, const VxlanState& wanted) {
    const IfIndex bridge = wanted.bridge.empty() ? 0 : TRY(netlink.link(wanted.bridge)).index;
    LinkChange change;
    if (link.master != bridge) change.master = bridge;
    if (link.mtu != wanted.mtu) change.mtu = wanted.mtu;
    if (link.group != kVethGroup) change.group = kVethGroup;
    CHECK_OK(netlink.set_link(link.index, change));
    // A port that joins has the bridge's defaults, whatever it had before.
    const bool isolated = link.master == bridge && link.isolated;
    const bool learns = link.master != bridge || link.port_learns;
    if (bridge == 0 || (isolated == wanted.isolated && learns == wanted.port_learns)) return ok();
    return netlink.set_bridge_port(link.index, {.isolated = wanted.isolated, .learning = wanted.port_learns});
}

VxlanState state_of(Netlink& netlink, const LinkInfo& link) {
    VxlanState state;
    state.name = link.name;
    state.vni = link.vxlan_port == FNET_VXLAN_PORT ? link.vni : 0;  // with another port it is none of ours
    state.bridge = link.master == 0 ? std::string{} : netlink.link_name(link.master);
    state.mtu = link.mtu;
    state.up = link.up;
    state.local = link.vxlan_local;
    state.isolated = link.isolated;
    state.learns = link.vxlan_learns;
    state.port_learns = link.port_learns;
    return state;
}

}  // namespace

bool must_be_made_anew(const VxlanState& present, const VxlanState& wanted) {
    const bool other_family = !present.peers.empty() && !wanted.peers.empty() &&
                              present.peers.begin()->family() != wanted.peers.begin()->family();  // it has one socket
    // One that learned is not only told to stop: what it learned goes with it.
    return present.vni != wanted.vni || present.learns != wanted.learns || present.local != wanted.local || other_family;
}

Status check_peer_families(const std::set<IpAddress>& peers) {
    const auto of = [&](Family family) {
        return std::find_if(peers.begin(), peers.end(), [&](const IpAddress& peer) { return peer.family() == family; });
    };
    const auto ipv4 = of(Family::kIpv4);
    const auto ipv6 = of(Family::kIpv6);
    if (ipv4 == peers.end() || ipv6 == peers.end()) return ok();
    return usage_error("peers " + ipv4->to_string() + " and " + ipv6->to_string() + ": they are of two address families",
                       "name all peers of one network by IPv4, or all by IPv6 addresses");
}

Status make_vxlan(Netlink& netlink, const VxlanState& wanted, const std::function<Status(IfIndex)>& before_up) {
    CHECK_OK(check_peer_families(wanted.peers));
    auto link = netlink.link(wanted.name);
    if (!link && link.error().kind != ErrorKind::kNotFound) return link.error();
    if (link && link->kind != "vxlan")
        return conflict("interface '" + wanted.name + "' exists already and is no vxlan interface",
                        "rename or remove it: fastnet needs the name");
    if (link && must_be_made_anew(state_of(netlink, *link), wanted)) {
        CHECK_OK(unless_missing(netlink.delete_link(link->index)));
        link = not_found(wanted.name);
    }
    if (!link) link = create(netlink, wanted);
    if (!link) return link.error();
    if (const bool same_family = TRY(set_peers(netlink, link->index, wanted.peers)); !same_family) {
        CHECK_OK(unless_missing(netlink.delete_link(link->index)));
        link = create(netlink, wanted);
        if (!link) return link.error();
        if (!TRY(set_peers(netlink, link->index, wanted.peers)))
            return failed("make " + what_of(wanted) + ": the kernel takes no peers of this address family");
    }
    // A port that joins learns and reaches the others at first.
    if (link->up && !wanted.bridge.empty() && link->master != TRY(netlink.link(wanted.bridge)).index) {
        CHECK_OK(netlink.set_up(link->index, false));
        link->up = false;
    }
    CHECK_OK(join(netlink, *link, wanted));
    if (link->up == wanted.up) return ok();
    if (wanted.up && before_up) CHECK_OK(before_up(link->index));
    Status set = netlink.set_up(link->index, wanted.up);
    if (!set && set.error().sys_errno == EADDRINUSE) return port_is_taken(netlink, wanted);
    return set;
}

Result<std::map<std::string, VxlanState>> read_vxlans(Netlink& netlink, const std::vector<LinkInfo>& links) {
    std::map<std::string, VxlanState> found;
    for (const LinkInfo& link : links) {
        if (network_id_of_vxlan_ifname(link.name) == 0 || link.kind != "vxlan") continue;
        VxlanState state = state_of(netlink, link);
        for (const IpAddress& peer : TRY(netlink.vxlan_peers(link.index))) state.peers.insert(peer);
        found.emplace(link.name, std::move(state));
    }
    return found;
}

}  // namespace fastnet
