#include "userspace/control/reconcile.h"

#include <filesystem>

#include "bpf/abi/endpoint.h"
#include "userspace/control/node.h"
#include "userspace/host/sysctl.h"
#include "userspace/model/names.h"

namespace fastnet {
namespace {

using Role = WatchedLinks::Role;

std::optional<Role> role_of(const std::string& name, const std::set<std::string>& uplinks) {
    if (name.empty()) return std::nullopt;
    if (name == "lo") return Role::kLoopback;
    if (network_id_of_bridge_ifname(name) != 0) return Role::kBridge;
    if (network_id_of_vxlan_ifname(name) != 0) return Role::kVxlan;
    if (endpoint_id_of_host_ifname(name) != 0) return Role::kEndpoint;
    if (uplinks.contains(name)) return Role::kUplink;
    return std::nullopt;
}

/// The kernel's own business.
bool is_link_local(const IpAddress& address) {
    return address.family() == Family::kIpv6 && address.bytes()[0] == 0xfe && (address.bytes()[1] & 0xc0U) == 0x80U;
}

std::string words_for(const NetworkChange& change, const std::string& name) {
    const std::string happened = change.gone ? " went" : " changed";
    std::string what;
    switch (change.what) {
        case NetworkChange::What::kLink: what = "link " + name + happened; break;
        case NetworkChange::What::kAddress: what = "address " + change.address.to_string() + " of " + name + happened; break;
        case NetworkChange::What::kRoute: what = "a default route" + happened; break;
        case NetworkChange::What::kForwarding: what = "a forwarding entry of " + name + happened; break;
        case NetworkChange::What::kSetting: what = "a setting of " + name + happened; break;
        case NetworkChange::What::kFilter: what = "a tc filter of " + name + happened; break;
    }
    const std::string sender = name_of_sender(change.sender);
    return sender.empty() ? what : what + ", by " + sender;
}

WatchedLinks links_to_watch(Node& node) {
    WatchedLinks watched;
    for (const Uplink& uplink : node.uplinks()) watched.uplinks.insert(uplink.name);
    const auto links = node.netlink().links();
    if (!links) return watched;
    for (const LinkInfo& link : *links)
        if (const auto role = role_of(link.name, watched.uplinks); role)
            watched.links.emplace(link.index, WatchedLinks::Link{link.name, *role});
    return watched;
}

}  // namespace

std::optional<Concern> concern_of(const NetworkChange& change, const WatchedLinks& watched) {
    if (change.what == NetworkChange::What::kRoute) return Concern{"default route", words_for(change, {})};
    std::string name = change.name;
    std::optional<Role> role = role_of(name, watched.uplinks);  // a link that is new to us
    if (const auto known = watched.links.find(change.link); known != watched.links.end()) {
        name = known->second.name;
        role = known->second.role;
    }
    if (!role) return std::nullopt;
    switch (change.what) {
        case NetworkChange::What::kLink:
        case NetworkChange::What::kFilter: break;
        case NetworkChange::What::kAddress:
            if (*role != Role::kBridge || is_link_local(change.address.address())) return std::nullopt;
            break;
        case NetworkChange::What::kSetting:
            if (*role != Role::kBridge) return std::nullopt;
            break;
        case NetworkChange::What::kForwarding:
            if (*role != Role::kVxlan) return std::nullopt;
            break;
        case NetworkChange::What::kRoute: return std::nullopt;
    }
    return Concern{name, words_for(change, name)};
}

Tripwire Tripwire::set(const NodePaths& paths, const WatchedLinks& watched) {
    Tripwire wire;
    wire.pins_ = paths.pins;
    wire.hooks_ = Datapath::attached_links(paths.pins);
    for (const auto& [index, link] : watched.links)
        if (link.role == Role::kUplink) wire.xdp_.push_back({link.name, static_cast<int>(index), xdp_program_at(static_cast<int>(index))});
    wire.settings_ = read_settings();
    return wire;
}

std::string Tripwire::tripped() const {
    if (pins_.empty()) return {};
    if (read_settings() != settings_) return "a setting of lo, or the reserved ports, changed";
    std::set<std::uint32_t> standing;
    for (const AttachedHook& hook : Datapath::attached_links(pins_))
        if (hook.ours) standing.insert(hook.link_id);
    for (const AttachedHook& hook : hooks_)
        if (!standing.contains(hook.link_id))
            return hook.name + (hook.ifindex != 0 ? " of device " + std::to_string(hook.ifindex) : "") + " was detached or replaced";
    // Without ours, or with another beside it, tc has to ask the deny list. Netlink tells only of what is up.
    for (const Xdp& xdp : xdp_)
        if (xdp_program_at(xdp.ifindex) != xdp.program) return "XDP of " + xdp.uplink + " was detached or replaced";
    return {};
}

Tripwire::Settings Tripwire::read_settings() {
    return {read_sysctl("ipv4/conf/lo/route_localnet").value_or(""), read_sysctl("ipv4/conf/lo/accept_local").value_or(""),
            read_sysctl("ipv4/ip_local_reserved_ports").value_or("")};
}

Reconciliation reconcile(const NodePaths& paths, std::chrono::milliseconds patience) {
    Reconciliation result;
    auto node = Node::open(paths, Need::kRepaired, {}, patience, &result.repairs);
    if (!node) {
        std::error_code ignored;
        const bool known = std::filesystem::exists(Store::file_in(paths.state_dir), ignored);
        if (known || node.error().kind != ErrorKind::kNotFound) result.error = std::move(node).error();
        return result;
    }
    result.prepared = node->prepared();
    result.warnings = node->warnings();
    result.watched = links_to_watch(*node);
    if (result.prepared) result.tripwire = Tripwire::set(paths, result.watched);
    return result;
}

}  // namespace fastnet
