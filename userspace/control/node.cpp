#include "userspace/control/node.h"

#include <algorithm>
#include <limits>

#include "userspace/control/cleanup.h"
#include "userspace/control/host_settings.h"
#include "userspace/control/kernel.h"
#include "userspace/control/map_views.h"
#include "userspace/control/networks.h"
#include "userspace/control/uplinks.h"
#include "userspace/host/cgroup.h"
#include "userspace/host/mounts.h"
#include "userspace/host/netns.h"
#include "userspace/model/address_pool.h"
#include "userspace/model/names.h"
#include "userspace/model/network_options.h"
#include "userspace/store/crash_point.h"

namespace fastnet {
namespace {

namespace fs = std::filesystem;

const char* const kNotPreparedHint = "run `fastnet attach --mode bridge` to prepare the node";

bool has_database(const NodePaths& paths) {
    std::error_code ignored;
    return fs::exists(Store::file_in(paths.state_dir), ignored);
}

Result<std::optional<PortRange>> stored_masquerade(Store& store) {
    const auto text = TRY(store.setting(setting::kMasqueradePorts));
    if (!text) return std::optional<PortRange>{};
    return std::optional{TRY(parse_port_range(*text))};
}

/// What can be refused before anything is made.
Status preflight(Netlink& netlink, const PrepareRequest& request) {
    TRY(find_uplinks(netlink, request.uplinks, request.replace_uplinks, {}));
    const PortRange local_ports = TRY(local_port_range());
    TRY(choose_masquerade_ports(request.masquerade, std::nullopt, local_ports));
    return ok();
}

/// Peers answer to it, so it must be this node's.
Status check_vtep(Netlink& netlink, const VtepAddresses& vtep) {
    const std::vector<LinkAddress> present = TRY(netlink.addresses());
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
        const auto& wanted = vtep.of(family);
        if (!wanted) continue;
        const auto found =
            std::find_if(present.begin(), present.end(), [&](const LinkAddress& one) { return one.address.address() == *wanted; });
        if (found == present.end())
            return usage_error("tunnel address " + wanted->to_string() + ": it is no address of this node",
                               "`ip address` lists those; `--vtep auto` takes what the routes prefer");
        if (found->tentative)
            return usage_error(
                "tunnel address " + wanted->to_string() + ": the kernel has not found it to be unique yet, or has found it taken",
                "`ip address` says `tentative` or `dadfailed`; try again later or name another one");
        if (const std::string link = netlink.link_name(found->link); network_id_of_bridge_ifname(link) != 0)
            return usage_error("tunnel address " + wanted->to_string() + ": it is the gateway of a network of containers (" + link + ")",
                               "name an address of an uplink");
    }
    return ok();
}

std::uint32_t number_or(const std::optional<std::string>& text, std::uint32_t fallback) {
    return text ? static_cast<std::uint32_t>(std::strtoul(text->c_str(), nullptr, 10)) : fallback;
}

std::string names_of(const std::vector<Uplink>& uplinks) {
    std::string names;
    for (const Uplink& uplink : uplinks) names += (names.empty() ? "" : ", ") + uplink.name;
    return names.empty() ? "none" : names;
}

}  // namespace

Result<FlowTimeouts> stored_timeouts(Store& store) {
    const auto text = TRY(store.setting(setting::kTimeouts));
    if (!text) return FlowTimeouts{};
    return changed({}, TRY(parse_timeouts(*text)));
}

Result<UdpMapping> stored_udp_mapping(Store& store) {
    const auto text = TRY(store.setting(setting::kUdpMapping));
    return udp_mapping_from(text.value_or("")).value_or(UdpMapping::kEndpointIndependent);
}

Result<VtepAddresses> stored_vtep(Store& store) {
    return parse_vtep_addresses(TRY(store.setting(setting::kVtep)).value_or("auto"));
}

bool is_alive(const Netlink& netlink, const Endpoint& endpoint) {
    if (has_veth(endpoint.mode)) return netlink.link_name(endpoint.host_ifindex) == endpoint.host_ifname;
    if (endpoint.netns.empty()) return true;  // mode host: the node's own namespace
    const auto netns = Netns::open(endpoint.netns);
    return netns && netns->identity() == endpoint.netns_id;
}

Result<Node> Node::open(const NodePaths& paths, Need need, const PrepareRequest& request, std::chrono::milliseconds patience,
                        Repairs* repairs) {
    CHECK_OK(require_capabilities({Capability::kNetAdmin, Capability::kSysAdmin}));
    const bool must_exist = need == Need::kExisting || need == Need::kUnchecked || need == Need::kRepaired;
    if (must_exist && !has_database(paths))
        return not_found("open node " + paths.state_dir.string() + ": it was never prepared", kNotPreparedHint);
    Netlink netlink = TRY(Netlink::open());
    if (need == Need::kPrepared && !has_database(paths)) CHECK_OK(preflight(netlink, request));
    const Netns here = TRY(Netns::current());
    const std::uint64_t cookie = TRY(here.cookie());
    std::error_code ignored;
    const bool made_root = paths.own_root && !fs::exists(paths.state_dir, ignored);
    NodeLock lock = TRY(NodeLock::acquire(paths.run_dir, patience));
    // Asked again under the lock: another command may have come first.
    const bool fresh = !has_database(paths);
    const auto leave_nothing = [&](NodeLock& held) {
        held.remove_file();
        if (made_root || !paths.own_root) fs::remove(paths.run_dir, ignored);  // only if it is empty
    };
    auto store = Store::open(paths.state_dir, must_exist ? Store::OpenMode::kExisting : Store::OpenMode::kCreate);
    if (!store) {
        if (fresh) leave_nothing(lock);
        return std::move(store).error();
    }
    crash_point();
    Node node{paths, std::move(lock), *std::move(store), std::move(netlink), cookie, repairs};
    if (fresh && made_root) CHECK_OK(node.store_.set_setting(setting::kMadeRoot, "1"));
    if (Status up = node.bring_up(need, request); !up) {
        // A first preparation that fails leaves nothing behind.
        if (fresh) {
            node.datapath_.reset();
            std::optional<Store> half_made{std::move(node.store_)};
            (void)wipe(node.netlink_, paths, half_made);
            leave_nothing(node.lock_);
        }
        return std::move(up).error();
    }
    return node;
}

Status Node::bring_up(Need need, const PrepareRequest& request) {
    boot_id_ = TRY(boot_id());
    bool full = TRY(store_.setting(setting::kDirty)).has_value();
    CHECK_OK(check_boot_and_netns(full));
    const bool prepared_before = TRY(store_.setting(setting::kPrepared)).has_value();
    if (need == Need::kPrepared || prepared_before) {
        CHECK_OK(write_settings(request, !prepared_before, full));
        CHECK_OK(open_datapath(request.reload, full));
        CHECK_OK(restore_deny_list());
        CHECK_OK(attach_cgroup());
    }
    CHECK_OK(finish_interrupted(full));
    if (need == Need::kUnchecked && !full && !rebooted_) return ok();
    if (rebooted_) {
        CHECK_OK(survive_reboot());
    } else {
        CHECK_OK(collect_dead());
    }
    if (prepared()) {
        std::vector<fs::path> others = pinned_versions(paths_);
        std::erase(others, paths_.pins);
        if (!others.empty()) full = true;
        if (!full && need != Need::kRepaired) full = !TRY(cheap_checks_pass());
        if (full || need == Need::kRepaired) CHECK_OK(repair());
        CHECK_OK(set_xdp(request.xdp));
        CHECK_OK(supersede(others));
    }
    if (!full && !rebooted_) return ok();
    Transaction transaction = TRY(store_.begin());
    CHECK_OK(store_.set_setting(setting::kBootId, boot_id_));
    CHECK_OK(store_.set_setting(setting::kNetnsCookie, std::to_string(netns_cookie_)));
    CHECK_OK(mark_clean());
    return transaction.commit();
}

Status Node::check_boot_and_netns(bool& full) {
    const auto last_boot = TRY(store_.setting(setting::kBootId));
    rebooted_ = last_boot && *last_boot != boot_id_;
    if (!last_boot || rebooted_) full = true;
    if (rebooted_) return forget_void_records(store_);
    const auto last_cookie = TRY(store_.setting(setting::kNetnsCookie));
    if (last_cookie && *last_cookie != std::to_string(netns_cookie_))
        return conflict("open node " + paths_.state_dir.string() + ": it belongs to another network namespace",
                        "enter that one first, give this one a --root of its own, or run `fastnet cleanup` if that one is gone");
    return ok();
}

Status Node::write_settings(const PrepareRequest& request, bool first, bool& full) {
    const std::vector<Uplink> stored = TRY(store_.uplinks());
    auto found = find_uplinks(netlink_, request.uplinks, request.replace_uplinks, stored);
    // A node that is prepared goes on without an uplink, and takes the next one that comes.
    if (!found && (first || !request.uplinks.empty())) return std::move(found).error();
    UplinkChoice choice = found ? *std::move(found) : UplinkChoice{{}, {found.error().message + "; " + found.error().hint}};
    for (std::string& warning : choice.warnings) warnings_.push_back(std::move(warning));
    const auto masquerade_before = TRY(stored_masquerade(store_));
    const PortRange local_ports = TRY(local_port_range());
    const PortRange masquerade = TRY(choose_masquerade_ports(request.masquerade, masquerade_before, local_ports));
    const std::uint32_t max_flows_before = number_or(TRY(store_.setting(setting::kMaxFlows)), 0);
    const std::uint32_t max_flows = request.max_flows       ? *request.max_flows
                                    : max_flows_before != 0 ? max_flows_before
                                                            : DatapathConfig{}.max_flows;
    if (max_flows_before != 0 && max_flows != max_flows_before && Datapath::is_loaded(paths_.pins))
        return conflict(
            "set the flow table to " + std::to_string(max_flows) + " flows: it is in use with " + std::to_string(max_flows_before),
            "`fastnet cleanup` first: the size is fixed while the table exists");

    if (request.vtep) CHECK_OK(check_vtep(netlink_, *request.vtep));
    const VtepAddresses vtep_before = TRY(stored_vtep(store_));
    const VtepAddresses vtep = request.vtep.value_or(vtep_before);
    const FlowTimeouts timeouts_before = TRY(stored_timeouts(store_));
    const UdpMapping mapping_before = TRY(stored_udp_mapping(store_));
    const UdpMapping mapping = request.udp_mapping.value_or(mapping_before);
    const FlowTimeouts timeouts = changed(timeouts_before, request.timeouts);
    for (std::string& warning : warnings_about(request.timeouts)) warnings_.push_back(std::move(warning));

    std::vector<Network> networks = TRY(store_.networks());
    const bool has_default =
        std::any_of(networks.begin(), networks.end(), [](const Network& network) { return network.name == kDefaultNetworkName; });
    const bool same_uplinks = std::is_permutation(stored.begin(), stored.end(), choice.uplinks.begin(), choice.uplinks.end());
    uplinks_ = choice.uplinks;
    if (masquerade_before && *masquerade_before != masquerade) former_masquerade_ = masquerade_before;
    if (!first && has_default && same_uplinks && masquerade_before == masquerade && max_flows_before == max_flows &&
        timeouts_before == timeouts && mapping_before == mapping && vtep_before == vtep)
        return ok();

    full = true;
    if (!same_uplinks) note_repair(RepairKind::kUplink, "uplinks are now " + names_of(uplinks_) + " (were " + names_of(stored) + ")");
    std::optional<Network> network;
    if (!has_default) network = TRY(draft_network(store_, netlink_, {.name = std::string{kDefaultNetworkName}}));
    Transaction transaction = TRY(store_.begin(Durability::kPowerLoss));
    CHECK_OK(mark_dirty());
    CHECK_OK(store_.set_setting(setting::kPrepared, "1"));
    CHECK_OK(store_.set_setting(setting::kMasqueradePorts, to_string(masquerade)));
    CHECK_OK(store_.set_setting(setting::kMaxFlows, std::to_string(max_flows)));
    CHECK_OK(store_.set_setting(setting::kUdpMapping, to_string(mapping)));
    CHECK_OK(store_.set_setting(setting::kVtep, to_string(vtep)));
    CHECK_OK(store_.set_setting(setting::kTimeouts, to_string(timeouts)));
    for (const Uplink& uplink : stored)
        if (std::find(uplinks_.begin(), uplinks_.end(), uplink) == uplinks_.end()) CHECK_OK(store_.remove_uplink(uplink.name));
    for (const Uplink& uplink : uplinks_) CHECK_OK(store_.put_uplink(uplink));
    if (network) TRY(store_.add_network(*std::move(network)));
    return transaction.commit();
}

Status Node::open_datapath(bool reload, bool& full) {
    default_mtu_ = std::numeric_limits<std::uint32_t>::max();
    for (const Uplink& uplink : uplinks_)
        if (const auto link = netlink_.link(uplink.name); link) default_mtu_ = std::min(default_mtu_, link->mtu);
    if (default_mtu_ == std::numeric_limits<std::uint32_t>::max()) default_mtu_ = DesiredState{}.default_mtu;

    if (!is_bpffs(paths_.bpffs.string())) {
        CHECK_OK(mount_bpffs(paths_.bpffs.string()));
        CHECK_OK(store_.set_setting(setting::kMountedBpffs, "1"));
        crash_point();
    }
    if (paths_.yields_to_other_builds) CHECK_OK(yield_to_other_builds());
    DatapathConfig config;
    config.max_flows = number_or(TRY(store_.setting(setting::kMaxFlows)), config.max_flows);
    config.masquerade = TRY(stored_masquerade(store_)).value_or(config.masquerade);
    config.timeouts = TRY(stored_timeouts(store_));
    const UdpMapping mapping = TRY(stored_udp_mapping(store_));
    config.endpoint_mapping = mapping == UdpMapping::kEndpointIndependent;
    const VtepAddresses vtep = TRY(stored_vtep(store_));
    config.vtep4 = vtep.ipv4;
    config.vtep6 = vtep.ipv6;
    config.gateway_mac = kGatewayMac;
    config.netns_cookie = netns_cookie_;
    const std::string wanted = "flows " + std::to_string(config.max_flows) + " masquerade " + to_string(config.masquerade) + " udp " +
                               to_string(mapping) + " timeouts " + to_string(config.timeouts) + " cookie " +
                               std::to_string(config.netns_cookie) + " vtep " + to_string(vtep) + " build " + Datapath::build_id();
    const bool loaded = Datapath::is_loaded(paths_.pins);
    if (!loaded) {
        CHECK_OK(make_directories(paths_.pins_parent.string(), 0700));
        const Features features = TRY(probe_features());
        datapath_ = TRY(Datapath::load(paths_.pins, config, features));
        note_repair(RepairKind::kDatapath, "load programs and maps");
        full = true;
    } else {
        datapath_ = TRY(Datapath::open(paths_.pins));
        if (!reload && TRY(store_.setting(setting::kLoaded)) == wanted) return ok();
        full = true;
        if (former_masquerade_) CHECK_OK(warn_of_lost_flows(*former_masquerade_, config.masquerade));
        CHECK_OK(datapath_->replace_programs(config, TRY(probe_features())));
        note_repair(RepairKind::kDatapath, "replace the programs by those of this build and configuration");
    }
    crash_point();
    return store_.set_setting(setting::kLoaded, wanted);
}

Status Node::yield_to_other_builds() {
    std::vector<fs::path> others = pinned_versions(paths_);
    std::erase(others, paths_.pins);
    const auto loaded = TRY(store_.setting(setting::kLoaded));
    const bool other_build = loaded && !loaded->ends_with(" build " + Datapath::build_id());
    if (others.empty() && !other_build) return ok();
    return conflict("open node " + paths_.state_dir.string() + ": another build of fastnet has taken it over",
                    "restart this process, so that it is of the same build");
}

Status Node::warn_of_lost_flows(const PortRange& former, const PortRange& masquerade) {
    std::uint64_t lost = 0;
    CHECK_OK(datapath_->flows().for_each([&](const fnet_flow_key& key, const fnet_flow& flow) {
        if (is_masqueraded_from(key, flow, former) && !is_masqueraded_from(key, flow, masquerade)) ++lost;
    }));
    if (lost != 0)
        warn("the masquerade ports change from " + to_string(former) + " to " + to_string(masquerade) + ": " + std::to_string(lost) +
             (lost == 1 ? " connection from the old range ends" : " connections from the old range end"));
    return ok();
}

Status Node::supersede(const std::vector<fs::path>& others) {
    for (const fs::path& other : others) {
        if (Datapath::is_loaded(other))
            warn("the datapath of another version of fastnet was replaced: connections that it forwarded or translated have ended");
        CHECK_OK(datapath_->supersede(other));
        note_repair(RepairKind::kDatapath, "unload the datapath of another version of fastnet");
        crash_point();
    }
    return ok();
}

Status Node::attach_cgroup() {
    const std::vector<Network> networks = TRY(store_.networks());
    const bool guard = std::any_of(networks.begin(), networks.end(), vxlan_guard);
    if (datapath_->cgroup_attached(guard)) return ok();
    const auto mount = TRY(cgroup2_mount_point());
    if (!mount) {
        warn("no cgroup v2 hierarchy is mounted: published ports are reserved, but a process of the host can still bind one on purpose");
        if (guard)
            warn(
                "no cgroup v2 hierarchy is mounted, so vxlan_guard has no effect: any process of the host can send into the overlay "
                "networks of its peers");
        return ok();
    }
    if (Status attached = datapath_->attach_cgroup(*mount, guard); attached)
        note_repair(RepairKind::kProgram, "hold published ports by the cgroup hooks");
    else
        warn("published ports are reserved but not held, since the cgroup hooks at " + *mount + " failed: " + attached.error().message);
    crash_point();
    return ok();
}

Status Node::remove(const Endpoint& endpoint) {
    if (endpoint.state != EndpointState::kDeleting) CHECK_OK(store_.mark_deleting(endpoint.id));
    const std::vector<PublishedPort> ports = TRY(store_.ports_of(endpoint.id));
    CHECK_OK(tear_down_endpoint(*this, endpoint, ports));
    Transaction transaction = TRY(store_.begin());
    CHECK_OK(store_.remove_endpoint(endpoint.id));
    CHECK_OK(store_.remove_setting(request_key(endpoint)));
    return transaction.commit();
}

Status Node::finish_interrupted(bool& full) {
    const std::vector<Endpoint> interrupted = TRY(store_.pending_or_deleting());
    if (interrupted.empty()) return ok();
    full = true;
    // Ifindexes of another boot would name other devices.
    for (Endpoint endpoint : interrupted) {
        if (rebooted_) endpoint.host_ifindex = 0;
        CHECK_OK(remove(endpoint));
        note_repair(RepairKind::kInterrupted, "remove endpoint '" + endpoint.name + "', which a command left half done");
    }
    return ok();
}

Status Node::collect_dead() {
    for (Endpoint& endpoint : TRY(store_.endpoints())) {
        if (!is_alive(netlink_, endpoint)) {
            CHECK_OK(remove(endpoint));
            note_repair(RepairKind::kDeadEndpoint, "remove endpoint '" + endpoint.name + "', whose namespace or interface is gone");
            collected_.push_back(std::move(endpoint));
        } else {
            living_.push_back(std::move(endpoint));
        }
    }
    return ok();
}

Status Node::survive_reboot() {
    for (Endpoint endpoint : TRY(store_.endpoints())) {
        const auto netns = Netns::open(endpoint.netns);
        const bool same = netns && netns->identity() == endpoint.netns_id && netns->cookie().value_or(0) == endpoint.netns_cookie;
        const auto link = endpoint.host_ifname.empty() ? Result<LinkInfo>{not_found("")} : netlink_.link(endpoint.host_ifname);
        endpoint.host_ifindex = link ? link->index : 0;
        if (same && has_veth(endpoint.mode) && prepared() && !link) {
            const auto network = TRY(store_.find_network(endpoint.network_id));
            const auto ports = TRY(store_.ports_of(endpoint.id));
            CHECK_OK(repair());  // its bridge may be gone as well
            if (network && build_endpoint(*this, endpoint, *network, ports, *netns)) {
                CHECK_OK(store_.mark_ready(endpoint));
                continue;
            }
        }
        const bool keep = same && (!has_veth(endpoint.mode) || link);
        CHECK_OK(keep ? store_.mark_ready(endpoint) : remove(endpoint));
    }
    living_ = TRY(store_.endpoints());
    return ok();
}

Result<bool> Node::cheap_checks_pass() {
    const std::vector<Network> networks = TRY(store_.networks());
    for (const Network& network : networks) {
        if (!has_bridge(network.driver)) continue;
        const auto link = netlink_.link(network.bridge);
        if (!link || !link->up) return false;
        for (const auto& [family, directory] : {std::pair{Family::kIpv4, "ipv4/conf/"}, {Family::kIpv6, "ipv6/conf/"}})
            if (network.subnet(family) && read_sysctl(directory + network.bridge + "/forwarding").value_or("0") != "1") return false;
        const auto device = TRY(datapath_->devices().get(link->index));
        if (!device || device->kind != FNET_DEVICE_BRIDGE) return false;
        CHECK_OK(datapath_->attach_bridge(static_cast<int>(link->index)));
        if (network.driver != NetworkDriver::kOverlay) continue;
        const auto vxlan = netlink_.link(vxlan_ifname_for(network.id));
        if (!vxlan || !vxlan->up || vxlan->master != link->index) return false;
        const auto port = TRY(datapath_->devices().get(vxlan->index));
        if (!port || port->kind != FNET_DEVICE_VXLAN) return false;
        CHECK_OK(datapath_->attach_vxlan(static_cast<int>(vxlan->index)));
    }
    for (const Uplink& uplink : uplinks_) {
        const auto link = netlink_.link(uplink.name);
        if (!link) continue;
        const auto device = TRY(datapath_->devices().get(link->index));
        if (!device || device->kind != FNET_DEVICE_UPLINK) return false;
        CHECK_OK(datapath_->attach_uplink(static_cast<int>(link->index)));
    }
    const auto loopback = TRY(datapath_->devices().get(FNET_LOOPBACK_IFINDEX));
    if (!loopback || !loopback_sysctls_in_force()) return false;
    CHECK_OK(datapath_->attach_loopback());
    return reserved_ports_in_force(store_);
}

Result<DesiredState> Node::read_desired() {
    DesiredState desired;
    desired.default_mtu = default_mtu_;
    desired.vtep = TRY(stored_vtep(store_));
    for (const Uplink& uplink : uplinks_) desired.uplinks.push_back(uplink.name);
    for (Network& network : TRY(store_.networks()))
        if (has_bridge(network.driver)) desired.networks.push_back(std::move(network));
    for (Endpoint& endpoint : TRY(store_.endpoints()))
        if (has_veth(endpoint.mode) && endpoint.state == EndpointState::kReady && is_alive(netlink_, endpoint))
            desired.endpoints.push_back(std::move(endpoint));
    desired.ports = TRY(store_.ports());
    desired.peers = TRY(store_.peers());
    desired.remotes = TRY(store_.remote_endpoints());
    return desired;
}

Result<std::uint32_t> Node::mtu_of(const Network& network) {
    return fastnet::mtu_of(network, default_mtu_, TRY(store_.peers_of(network.id, 1)));  // all are of one family
}

Status Node::repair() {
    CHECK_OK(attach_cgroup());  // a network with vxlan_guard may have come or gone
    const DesiredState desired = TRY(read_desired());
    datapath_->drop_dead_links();
    CHECK_OK(apply_plan(*this, diff(desired, TRY(read_actual(netlink_, *datapath_)))));
    ReservedPorts reserved;
    std::vector<FilteredPorts> published = overlay_filters(desired.networks);
    for (const PublishedPort& port : desired.ports) {
        reserved.add(port.host_ports);
        published.push_back({port.family(), port.protocol, port.host_ports});
    }
    std::vector<IpPrefix> subnets;
    for (const Network& network : desired.networks) subnets.insert(subnets.end(), network.subnets.begin(), network.subnets.end());
    if (TRY(datapath_->reset_filters(published, subnets)))
        note_repair(RepairKind::kFilter, "correct the filters of published ports and container subnets");
    if (TRY(sync_reserved_ports(store_, reserved))) note_repair(RepairKind::kReservedPorts, "reserve the published ports");
    return ok();
}

}  // namespace fastnet
