#include "userspace/control/plan.h"

#include <algorithm>

#include "userspace/model/names.h"

namespace fastnet {
namespace {

constexpr unsigned kUplinkHooks = 1;
constexpr unsigned kBridgeHooks = 2;
constexpr unsigned kVxlanHooks = 2;
constexpr unsigned kEndpointHooks = 1;
constexpr unsigned kLoopbackHooks = 1;

/// What is wrong with a thing, in a list.
class Reasons {
public:
    void add(bool wrong, std::string_view what) {
        if (wrong) text_.append(text_.empty() ? "" : ", ").append(what);
    }
    const std::string& text() const { return text_; }

private:
    std::string text_;
};

/// Of what is there, against what is wanted.
std::string difference(const BridgeState& present, const BridgeState& wanted) {
    Reasons reasons;
    reasons.add(present.up != wanted.up, "it is down");
    for (const IpPrefix& address : wanted.addresses) reasons.add(!present.addresses.contains(address), "it lacks " + address.to_string());
    for (const IpPrefix& address : present.addresses) reasons.add(!wanted.addresses.contains(address), "it has " + address.to_string());
    reasons.add(present.forwards4 != wanted.forwards4 || present.forwards6 != wanted.forwards6, "its forwarding setting");
    reasons.add(present.ipv6 != wanted.ipv6, "its disable_ipv6 setting");
    reasons.add(present.mtu != wanted.mtu, "its MTU");
    reasons.add(present.mac != wanted.mac, "its MAC address");
    return reasons.text();
}

std::string difference(const VxlanState& present, const VxlanState& wanted) {
    Reasons reasons;
    reasons.add(present.vni != wanted.vni, "its VNI or port");
    reasons.add(present.up != wanted.up, "it is down");
    reasons.add(present.bridge != wanted.bridge, "it is no port of " + wanted.bridge);
    for (const IpAddress& peer : wanted.peers) reasons.add(!present.peers.contains(peer), "it lacks peer " + peer.to_string());
    for (const IpAddress& peer : present.peers) reasons.add(!wanted.peers.contains(peer), "it has peer " + peer.to_string());
    reasons.add(present.mtu != wanted.mtu, "its MTU");
    reasons.add(present.isolated != wanted.isolated, wanted.isolated ? "it is not isolated" : "it is isolated");
    reasons.add(present.learns != wanted.learns || present.port_learns != wanted.port_learns, "it learns");
    return reasons.text();
}

class Differ {
public:
    Differ(const DesiredState& desired, const ActualState& actual) : desired_{desired}, actual_{actual}, peers_{desired.peers} {}

    Plan run() {
        collect();
        drop_services();
        drop_sources(FNET_SOURCE_ALLOW);
        drop_vteps();
        narrow_vteps();
        drop_endpoints();
        drop_tunnels();
        make_bridges();
        put_devices_and_subnets();
        serve_loopback();
        put_tunnels_and_vteps();
        install_endpoints();
        put_services();
        drop_sources(FNET_SOURCE_DENY);
        drop_the_rest();
        return std::move(plan_);
    }

private:
    struct Vtep {
        fnet_vtep value{};
        std::string bridge{};  ///< empty in the row that is of no network
    };

    template <typename T>
    void add(T step) {
        plan_.emplace_back(std::move(step));
    }

    /// 0: it is not there, or will be another one.
    std::uint32_t index_of(const std::string& link) const {
        if (made_anew_.contains(link)) return 0;
        const auto found = actual_.links.find(link);
        return found == actual_.links.end() ? 0 : found->second.index;
    }

    unsigned hooks_of(std::uint32_t ifindex) const {
        const auto found = actual_.hooks.find(ifindex);
        return found == actual_.hooks.end() ? 0 : found->second;
    }

    const Network* network_of(const Endpoint& endpoint) const {
        const auto found = networks_.find(endpoint.network_id);
        return found == networks_.end() ? nullptr : found->second;
    }

    void collect() {
        for (const Network& network : desired_.networks) networks_.emplace(network.id, &network);
        for (const Network& network : desired_.networks) {
            if (network.driver != NetworkDriver::kOverlay) continue;
            const VxlanState wanted = vxlan_wanted(network, desired_.default_mtu, peers_.of(network), desired_.vtep);
            const auto present = actual_.vxlans.find(wanted.name);
            if (present != actual_.vxlans.end() && must_be_made_anew(present->second, wanted)) made_anew_.insert(wanted.name);
        }
        for (const Endpoint& endpoint : desired_.endpoints) {
            endpoints_.emplace(endpoint.id, &endpoint);
            for (const auto& address : {endpoint.ipv4, endpoint.ipv6})
                if (address)
                    addresses_.emplace(address_key(address->address(), endpoint.network_id),
                                       address_value(endpoint.host_ifindex, endpoint.mac));
        }
        std::map<std::uint32_t, std::vector<PublishedPort>> ports;  // by endpoint
        for (const PublishedPort& port : desired_.ports) ports[port.endpoint_id].push_back(port);
        for (const Endpoint& endpoint : desired_.endpoints)
            if (const Network* network = network_of(endpoint); network != nullptr)
                services_.merge(service_rows(ports[endpoint.id], endpoint, *network));
        for (const PublishedPort& port : desired_.ports)
            if (endpoints_.contains(port.endpoint_id))
                for (const auto& [key, rule] : source_entries(port)) sources_.emplace(key, rule);
        for (const Network& network : desired_.networks)
            for (const IpPrefix& subnet : network.subnets) subnets_.emplace(subnet, network.id);
        for (const Peer& peer : desired_.peers) {
            tunnels_.emplace(peer.tunnel, peer.address);
            add_vtep(peer, nullptr, false);
        }
        std::set<std::uint32_t> with_remotes;
        for (const RemoteEndpoint& remote : desired_.remotes) with_remotes.insert(remote.network_id);
        for (const Network& network : desired_.networks) {
            const bool learning = learns(network, with_remotes.contains(network.id));
            for (const Peer& peer : peers_.of(network)) add_vtep(peer, &network, learning);
        }
        const auto overlay = std::find_if(desired_.networks.begin(), desired_.networks.end(),
                                          [](const Network& network) { return network.driver == NetworkDriver::kOverlay; });
        if (overlay != desired_.networks.end()) {
            Vtep vtep;
            vtep.value.bridge_ifindex = index_of(overlay->bridge);
            vtep.bridge = overlay->bridge;
            vteps_.emplace(fnet_vtep_key{}, std::move(vtep));
        }
        for (const RemoteEndpoint& remote : desired_.remotes)
            for (const auto& address : {remote.ipv4, remote.ipv6})
                if (address) addresses_.emplace(address_key(*address, remote.network_id), remote_address_value(remote.tunnel, remote.mac));
        for (const auto& [key, value] : actual_.addresses)
            if (stays_learned(key, value)) ++learned_[{value.tunnel, key.network}];
    }

    /// @p network nullptr: the row that is of no network.
    void add_vtep(const Peer& peer, const Network* network, bool learning) {
        Vtep vtep;
        if (network == nullptr) {
            vtep.value.tunnel = peer.tunnel;
        } else {
            vtep.value = vtep_value(*network, peer.tunnel, learning);
            if (learning) teachers_.emplace(peer.tunnel, network->id);
            vtep.value.bridge_ifindex = index_of(network->bridge);
            vtep.bridge = network->bridge;
        }
        vteps_.emplace(vtep_key(peer.address, network == nullptr ? 0 : network->vni), std::move(vtep));
    }

    bool is_tunnel_right(std::uint32_t tunnel) const {
        const auto present = actual_.tunnels.find(tunnel);
        const auto wanted = tunnels_.find(tunnel);
        return present != actual_.tunnels.end() && wanted != tunnels_.end() && present->second == wanted->second;
    }

    /// What the packet path learned is its own as long as its peer may still teach the network.
    bool stays_learned(const fnet_address_key& key, const fnet_address& value) const {
        return is_learned(value) && !addresses_.contains(key) && is_tunnel_right(value.tunnel) &&
               teachers_.contains({value.tunnel, key.network});
    }

    void drop_services() {
        for (const auto& [key, value] : actual_.services)
            if (!services_.contains(key)) add(DropService{key, value.id});
    }

    /// Those that nobody wants and that say @p rule.
    void drop_sources(fnet_source_rule rule) {
        DropSources step;
        for (const auto& [key, present] : actual_.sources)
            if (present == rule && !sources_.contains(key)) step.keys.push_back(key);
        if (!step.keys.empty()) add(std::move(step));
    }

    bool stays(const fnet_vtep_key& key, const fnet_vtep& present) const {
        const auto wanted = vteps_.find(key);
        return wanted != vteps_.end() && wanted->second.value.tunnel == present.tunnel && wanted->second.value.network == present.network &&
               (present.tunnel == 0 || is_tunnel_right(present.tunnel));
    }

    void drop_vteps() {
        for (const auto& [key, value] : actual_.vteps)
            if (!stays(key, value)) add(DropVtep{key});
    }

    /// Rows that stay with another value, before the addresses go: with a row that lets its peer teach they would come back.
    void narrow_vteps() {
        for (const auto& [key, value] : actual_.vteps)
            if (stays(key, value)) put_vtep(key, vteps_.find(key)->second, &value);
    }

    void put_vtep(const fnet_vtep_key& key, const Vtep& wanted, const fnet_vtep* present) {
        const auto learned = learned_.find({wanted.value.tunnel, wanted.value.network});
        const std::uint32_t rows = learned == learned_.end() ? 0 : learned->second;
        const std::uint32_t unlearned = present == nullptr ? 0 : present->learned - std::min(present->learned, rows);
        if (present != nullptr && same_vtep(*present, wanted.value) && unlearned == 0) return;
        // The bridge that is not there yet is made further on.
        if (present != nullptr && !wanted.bridge.empty() && wanted.value.bridge_ifindex == 0) return;
        add(PutVtep{key, wanted.value, wanted.bridge, unlearned});
    }

    void drop_tunnels() {
        for (const auto& [index, peer] : actual_.tunnels)
            if (!is_tunnel_right(index)) add(DropTunnel{index});
    }

    void put_tunnels_and_vteps() {
        for (const auto& [index, peer] : tunnels_)
            if (!is_tunnel_right(index)) add(PutTunnel{index, peer});
        for (const auto& [key, wanted] : vteps_) {
            const auto present = actual_.vteps.find(key);
            const bool there = present != actual_.vteps.end() && stays(key, present->second);
            const bool bridge_was_missing = !wanted.bridge.empty() && wanted.value.bridge_ifindex == 0;
            if (!there || bridge_was_missing) put_vtep(key, wanted, nullptr);
        }
    }

    void drop_endpoints() {
        for (const auto& [key, value] : actual_.addresses)
            if (!addresses_.contains(key) && !stays_learned(key, value)) add(DropAddress{key});
        for (const auto& [ifindex, value] : actual_.endpoints) {
            const auto wanted = endpoints_.find(value.id);
            if (wanted == endpoints_.end() || wanted->second->host_ifindex != ifindex) add(DropEndpoint{ifindex});
        }
    }

    void make_bridges() {
        for (const Network& network : desired_.networks) {
            const BridgeState wanted = bridge_wanted(network, desired_.default_mtu, peers_.of(network));
            const auto present = actual_.bridges.find(wanted.name);
            if (present == actual_.bridges.end()) {
                add(MakeBridge{wanted, "it is missing"});
            } else if (present->second != wanted) {
                add(MakeBridge{wanted, difference(present->second, wanted)});
            }
        }
        for (const Network& network : desired_.networks) {
            if (network.driver != NetworkDriver::kOverlay) continue;
            const VxlanState wanted = vxlan_wanted(network, desired_.default_mtu, peers_.of(network), desired_.vtep);
            const auto present = actual_.vxlans.find(wanted.name);
            if (present == actual_.vxlans.end()) {
                add(MakeVxlan{wanted, "it is missing"});
            } else if (present->second != wanted) {
                add(MakeVxlan{wanted, difference(present->second, wanted)});
            }
        }
    }

    void put_devices_and_subnets() {
        const auto put_device = [&](const std::string& link, const fnet_device& device) {
            const std::uint32_t index = index_of(link);
            const auto present = actual_.devices.find(index);
            if (index == 0 || present == actual_.devices.end() || !same_bytes(present->second, device)) add(PutDevice{link, device});
        };
        // A bridge that has no programs yet has no endpoints either: they come after this.
        for (const Network& network : desired_.networks) {
            put_device(network.bridge, {FNET_DEVICE_BRIDGE, network.id});
            if (hooks_of(index_of(network.bridge)) < kBridgeHooks) add(AttachBridge{network.bridge});
            if (network.driver != NetworkDriver::kOverlay) continue;
            const std::string vxlan = vxlan_ifname_for(network.id);
            put_device(vxlan, {FNET_DEVICE_VXLAN, network.id});
            if (hooks_of(index_of(vxlan)) < kVxlanHooks) add(AttachVxlan{vxlan});
        }
        for (const auto& [subnet, id] : subnets_) {
            const auto present = actual_.subnets.find(subnet);
            if (present == actual_.subnets.end() || present->second != id) add(PutSubnet{subnet, id});
        }
        for (const std::string& uplink : desired_.uplinks) {
            if (index_of(uplink) == 0) continue;  // comes back when the link does
            put_device(uplink, {FNET_DEVICE_UPLINK, 0});
            if (hooks_of(index_of(uplink)) < kUplinkHooks) add(AttachUplink{uplink});
        }
    }

    void serve_loopback() {
        const fnet_device wanted{FNET_DEVICE_LOOPBACK, 0};
        const auto present = actual_.devices.find(FNET_LOOPBACK_IFINDEX);
        const bool known = present != actual_.devices.end() && same_bytes(present->second, wanted);
        if (!known || hooks_of(FNET_LOOPBACK_IFINDEX) < kLoopbackHooks || !actual_.loopback_sysctls) add(ServeLoopback{});
    }

    void install_endpoints() {
        for (const Endpoint& endpoint : desired_.endpoints) {
            const Network* network = network_of(endpoint);
            if (network == nullptr) continue;
            if (std::string why = reason_to_install(endpoint, *network); !why.empty())
                add(InstallEndpoint{endpoint, *network, std::move(why)});
        }
        for (const auto& [key, value] : addresses_) {
            const auto present = actual_.addresses.find(key);
            if (present == actual_.addresses.end() || !same_address(present->second, value)) add(PutAddress{key, value});
        }
    }

    /// Empty: all of it is there.
    std::string reason_to_install(const Endpoint& endpoint, const Network& network) const {
        const auto link = actual_.links.find(endpoint.host_ifname);
        const std::uint32_t bridge = index_of(network.bridge);
        Reasons reasons;
        reasons.add(bridge == 0 || link == actual_.links.end() || link->second.master != bridge, "no port of " + network.bridge);
        if (link != actual_.links.end()) {
            reasons.add(!link->second.up, "down");
            reasons.add(link->second.isolated == network.icc, network.icc ? "isolated from the other ports" : "not isolated");
        }
        const auto present = actual_.endpoints.find(endpoint.host_ifindex);
        const bool known = present != actual_.endpoints.end() && same_endpoint(endpoint_value(endpoint, network, bridge), present->second);
        reasons.add(!known, "not on record in the packet path");
        reasons.add(hooks_of(endpoint.host_ifindex) < kEndpointHooks, "without its program");
        return reasons.text();
    }

    void put_services() {
        const std::map<std::uint32_t, ServiceRows> rows = by_port(services_);
        for (const PublishedPort& port : desired_.ports)
            if (const auto own = rows.find(port.id); own != rows.end() && !is_installed(port, own->second))
                add(PutService{port, own->second});
    }

    bool is_installed(const PublishedPort& port, const ServiceRows& rows) const {
        for (const auto& [key, wanted] : rows) {
            const auto present = actual_.services.find(key);
            if (present == actual_.services.end() || !same_bytes(present->second, wanted)) return false;
        }
        for (const auto& [key, rule] : source_entries(port)) {
            const auto present = actual_.sources.find(key);
            if (present == actual_.sources.end() || present->second != rule) return false;
        }
        return true;
    }

    void drop_the_rest() {
        std::set<std::uint32_t> devices{FNET_LOOPBACK_IFINDEX};
        for (const std::string& uplink : desired_.uplinks) devices.insert(index_of(uplink));
        for (const Network& network : desired_.networks) {
            devices.insert(index_of(network.bridge));
            if (network.driver == NetworkDriver::kOverlay) devices.insert(index_of(vxlan_ifname_for(network.id)));
        }
        for (const auto& [ifindex, device] : actual_.devices)
            if (!devices.contains(ifindex)) add(DropDevice{ifindex});
        for (const Endpoint& endpoint : desired_.endpoints) devices.insert(endpoint.host_ifindex);
        for (const auto& [ifindex, count] : actual_.hooks)
            if (!devices.contains(ifindex)) add(DetachHooks{ifindex});
        for (const auto& [subnet, id] : actual_.subnets)
            if (!subnets_.contains(subnet)) add(DropSubnet{subnet});
        drop_links();
    }

    void drop_links() {
        for (const auto& [name, link] : actual_.links) {
            const std::uint32_t endpoint_id = endpoint_id_of_host_ifname(name);
            if (endpoint_id != 0 && !endpoints_.contains(endpoint_id)) add(RemoveLink{name});
        }
        std::set<std::string> wanted;
        for (const Network& network : desired_.networks) {
            wanted.insert(network.bridge);
            if (network.driver == NetworkDriver::kOverlay) wanted.insert(vxlan_ifname_for(network.id));
        }
        for (const auto& [name, vxlan] : actual_.vxlans)
            if (!wanted.contains(name)) add(RemoveLink{name});
        for (const auto& [name, bridge] : actual_.bridges)
            if (!wanted.contains(name)) add(RemoveLink{name});
    }

    const DesiredState& desired_;
    const ActualState& actual_;
    const PeerTable peers_;
    Plan plan_;
    std::map<std::uint32_t, const Network*> networks_;    // by id
    std::set<std::string> made_anew_;                     // vxlan devices that will have another index
    std::map<std::uint32_t, const Endpoint*> endpoints_;  // by id
    std::map<fnet_address_key, fnet_address, AbiLess<fnet_address_key>> addresses_;
    ServiceRows services_;
    std::map<fnet_source_key, std::uint32_t, AbiLess<fnet_source_key>> sources_;
    std::map<IpPrefix, std::uint32_t> subnets_;
    std::map<std::uint32_t, IpAddress> tunnels_;
    std::map<fnet_vtep_key, Vtep, AbiLess<fnet_vtep_key>> vteps_;
    std::set<std::pair<std::uint32_t, std::uint32_t>> teachers_;                // tunnel and network whose addresses are learned
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> learned_;  // addresses that stay, by tunnel and network
};

struct Describe {
    std::string operator()(const MakeBridge& step) const { return "set up bridge " + step.wanted.name; }
    std::string operator()(const MakeVxlan& step) const { return "set up vxlan interface " + step.wanted.name; }
    std::string operator()(const FloodTo& step) const { return "flood to " + step.peer.to_string() + " by " + step.vxlan; }
    std::string operator()(const StopFloodTo& step) const { return "flood no more to " + step.peer.to_string() + " by " + step.vxlan; }
    std::string operator()(const RemoveLink& step) const { return "remove link " + step.name; }
    std::string operator()(const PutDevice& step) const { return "register device " + step.link; }
    std::string operator()(const DropDevice& step) const { return "forget device with index " + std::to_string(step.ifindex); }
    std::string operator()(const PutSubnet& step) const { return "register subnet " + step.subnet.to_string(); }
    std::string operator()(const DropSubnet& step) const { return "forget subnet " + step.subnet.to_string(); }
    std::string operator()(const AttachUplink& step) const { return "attach to uplink " + step.link; }
    std::string operator()(const AttachBridge& step) const { return "attach to bridge " + step.link; }
    std::string operator()(const AttachVxlan& step) const { return "attach to vxlan interface " + step.link; }
    std::string operator()(const ServeLoopback&) const { return "serve published ports on lo"; }
    std::string operator()(const DetachHooks& step) const { return "detach from device with index " + std::to_string(step.ifindex); }
    std::string operator()(const InstallEndpoint& step) const { return "install endpoint '" + step.endpoint.name + "'"; }
    std::string operator()(const DropEndpoint& step) const {
        return "forget endpoint behind device with index " + std::to_string(step.ifindex);
    }
    std::string operator()(const PutAddress& step) const { return "register address " + from_abi(step.key.addr).to_string(); }
    std::string operator()(const DropAddress& step) const { return "forget address " + from_abi(step.key.addr).to_string(); }
    std::string operator()(const PutTunnel& step) const { return "open tunnel to " + step.peer.to_string(); }
    std::string operator()(const DropTunnel& step) const { return "close tunnel " + std::to_string(step.index); }
    std::string operator()(const PutVtep& step) const { return "admit " + words_for(step.key); }
    std::string operator()(const DropVtep& step) const { return "refuse " + words_for(step.key); }
    std::string operator()(const PutService& step) const { return "publish " + step.port.to_string(); }
    std::string operator()(const DropService& step) const {
        const PortRange ports = ports_of(step.key);
        return "withdraw host ports " + std::to_string(ports.first.value()) + "-" + std::to_string(ports.last.value());
    }
    std::string operator()(const DropSources& step) const { return "forget " + std::to_string(step.keys.size()) + " sources"; }

    static std::string words_for(const fnet_vtep_key& key) {
        if (same_bytes(key, fnet_vtep_key{})) return "VXLAN";
        return "peer " + from_abi(key.peer).to_string() + (key.vni == 0 ? "" : " to VNI " + std::to_string(key.vni));
    }
};

struct KindOf {
    RepairKind operator()(const MakeBridge&) const { return RepairKind::kBridge; }
    RepairKind operator()(const MakeVxlan&) const { return RepairKind::kVxlan; }
    RepairKind operator()(const FloodTo&) const { return RepairKind::kVxlan; }
    RepairKind operator()(const StopFloodTo&) const { return RepairKind::kVxlan; }
    RepairKind operator()(const RemoveLink&) const { return RepairKind::kLink; }
    RepairKind operator()(const PutDevice&) const { return RepairKind::kDevice; }
    RepairKind operator()(const DropDevice&) const { return RepairKind::kDevice; }
    RepairKind operator()(const PutSubnet&) const { return RepairKind::kSubnet; }
    RepairKind operator()(const DropSubnet&) const { return RepairKind::kSubnet; }
    RepairKind operator()(const AttachUplink&) const { return RepairKind::kProgram; }
    RepairKind operator()(const AttachBridge&) const { return RepairKind::kProgram; }
    RepairKind operator()(const AttachVxlan&) const { return RepairKind::kProgram; }
    RepairKind operator()(const ServeLoopback&) const { return RepairKind::kProgram; }
    RepairKind operator()(const DetachHooks&) const { return RepairKind::kProgram; }
    RepairKind operator()(const InstallEndpoint&) const { return RepairKind::kEndpoint; }
    RepairKind operator()(const DropEndpoint&) const { return RepairKind::kEndpoint; }
    RepairKind operator()(const PutAddress&) const { return RepairKind::kAddress; }
    RepairKind operator()(const DropAddress&) const { return RepairKind::kAddress; }
    RepairKind operator()(const PutTunnel&) const { return RepairKind::kPeer; }
    RepairKind operator()(const DropTunnel&) const { return RepairKind::kPeer; }
    RepairKind operator()(const PutVtep&) const { return RepairKind::kPeer; }
    RepairKind operator()(const DropVtep&) const { return RepairKind::kPeer; }
    RepairKind operator()(const PutService&) const { return RepairKind::kPort; }
    RepairKind operator()(const DropService&) const { return RepairKind::kPort; }
    RepairKind operator()(const DropSources&) const { return RepairKind::kSource; }
};

}  // namespace

std::string describe(const Step& step) {
    return std::visit(Describe{}, step);
}

std::string explain(const Step& step) {
    const std::string why = std::visit(
        [](const auto& one) {
            if constexpr (requires { one.why; }) return one.why;
            return std::string{};
        },
        step);
    return describe(step) + (why.empty() ? "" : " (" + why + ")");
}

std::string subject_of(const Step& step) {
    return std::visit(
        [](const auto& one) -> std::string {
            if constexpr (requires { one.wanted.name; }) return one.wanted.name;
            if constexpr (requires { one.link; }) return one.link;
            if constexpr (requires { one.endpoint; }) return one.endpoint.host_ifname;
            return {};
        },
        step);
}

RepairKind kind_of(const Step& step) {
    return std::visit(KindOf{}, step);
}

BridgeState bridge_wanted(const Network& network, std::uint32_t default_mtu, const std::vector<Peer>& peers) {
    BridgeState wanted;
    wanted.name = network.bridge;
    wanted.mtu = mtu_of(network, default_mtu, peers);
    for (const IpPrefix& subnet : network.subnets)
        if (const auto gateway = network.gateway(subnet.family()); gateway) wanted.addresses.emplace(*gateway, subnet.length());
    wanted.forwards4 = network.subnet(Family::kIpv4).has_value();
    wanted.forwards6 = wanted.ipv6 = network.subnet(Family::kIpv6).has_value();
    return wanted;
}

VxlanState vxlan_wanted(const Network& network, std::uint32_t default_mtu, const std::vector<Peer>& peers, const VtepAddresses& vtep) {
    VxlanState wanted;
    wanted.name = vxlan_ifname_for(network.id);
    wanted.vni = network.vni;
    wanted.bridge = network.bridge;
    wanted.mtu = mtu_of(network, default_mtu, peers);
    wanted.isolated = !network.icc;
    for (const Peer& peer : peers_of(network, peers)) wanted.peers.insert(peer.address);
    wanted.local = vtep.of(wanted.peers.empty() ? Family::kIpv4 : wanted.peers.begin()->family());
    return wanted;
}

Plan diff(const DesiredState& desired, const ActualState& actual) {
    return Differ{desired, actual}.run();
}

}  // namespace fastnet
