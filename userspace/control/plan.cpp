#include "userspace/control/plan.h"

#include <algorithm>

#include "userspace/model/names.h"

namespace fastnet {
namespace {

constexpr unsigned kUplinkHooks = 1;
constexpr unsigned kBridgeHooks = 2;
constexpr unsigned kEndpointHooks = 1;
constexpr unsigned kLoopbackHooks = 1;

class Differ {
public:
    Differ(const DesiredState& desired, const ActualState& actual) : desired_{desired}, actual_{actual} {}

    Plan run() {
        collect();
        drop_services();
        drop_sources(FNET_SOURCE_ALLOW);
        drop_endpoints();
        make_bridges();
        put_devices_and_subnets();
        serve_loopback();
        install_endpoints();
        put_services();
        drop_sources(FNET_SOURCE_DENY);
        drop_the_rest();
        return std::move(plan_);
    }

private:
    template <typename T>
    void add(T step) {
        plan_.emplace_back(std::move(step));
    }

    std::uint32_t index_of(const std::string& link) const {
        const auto found = actual_.links.find(link);
        return found == actual_.links.end() ? 0 : found->second.index;
    }

    unsigned hooks_of(std::uint32_t ifindex) const {
        const auto found = actual_.hooks.find(ifindex);
        return found == actual_.hooks.end() ? 0 : found->second;
    }

    const Network* network_of(const Endpoint& endpoint) const {
        const auto found = std::find_if(desired_.networks.begin(), desired_.networks.end(),
                                        [&](const Network& network) { return network.id == endpoint.network_id; });
        return found == desired_.networks.end() ? nullptr : &*found;
    }

    void collect() {
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

    void drop_endpoints() {
        for (const auto& [key, value] : actual_.addresses)
            if (!addresses_.contains(key)) add(DropAddress{key});
        for (const auto& [ifindex, value] : actual_.endpoints) {
            const auto wanted = endpoints_.find(value.id);
            if (wanted == endpoints_.end() || wanted->second->host_ifindex != ifindex) add(DropEndpoint{ifindex});
        }
    }

    void make_bridges() {
        for (const Network& network : desired_.networks) {
            const BridgeState wanted = bridge_wanted(network, desired_.default_mtu);
            const auto present = actual_.bridges.find(wanted.name);
            if (present == actual_.bridges.end() || present->second != wanted) add(MakeBridge{wanted});
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
            if (needs_install(endpoint, *network)) add(InstallEndpoint{endpoint, *network});
        }
        for (const auto& [key, value] : addresses_) {
            const auto present = actual_.addresses.find(key);
            if (present == actual_.addresses.end() || !same_bytes(present->second, value)) add(PutAddress{key, value});
        }
    }

    bool needs_install(const Endpoint& endpoint, const Network& network) const {
        const auto link = actual_.links.find(endpoint.host_ifname);
        const std::uint32_t bridge = index_of(network.bridge);
        if (bridge == 0 || link == actual_.links.end() || link->second.master != bridge || !link->second.up ||
            link->second.isolated == network.icc)
            return true;
        const auto present = actual_.endpoints.find(endpoint.host_ifindex);
        return present == actual_.endpoints.end() || !same_endpoint(endpoint_value(endpoint, network, bridge), present->second) ||
               hooks_of(endpoint.host_ifindex) < kEndpointHooks;
    }

    void put_services() {
        for (const PublishedPort& port : desired_.ports) {
            const ServiceRows rows = rows_of(port, services_);
            if (!rows.empty() && !is_installed(port, rows)) add(PutService{port, rows});
        }
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
        for (const Network& network : desired_.networks) devices.insert(index_of(network.bridge));
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
        for (const auto& [name, bridge] : actual_.bridges) {
            const bool wanted = std::any_of(desired_.networks.begin(), desired_.networks.end(),
                                            [&, &ifname = name](const Network& network) { return network.bridge == ifname; });
            if (!wanted) add(RemoveLink{name});
        }
    }

    const DesiredState& desired_;
    const ActualState& actual_;
    Plan plan_;
    std::map<std::uint32_t, const Endpoint*> endpoints_;  // by id
    std::map<fnet_address_key, fnet_address, AbiLess<fnet_address_key>> addresses_;
    ServiceRows services_;
    std::map<fnet_source_key, std::uint32_t, AbiLess<fnet_source_key>> sources_;
    std::map<IpPrefix, std::uint32_t> subnets_;
};

struct Describe {
    std::string operator()(const MakeBridge& step) const { return "set up bridge " + step.wanted.name; }
    std::string operator()(const RemoveLink& step) const { return "remove link " + step.name; }
    std::string operator()(const PutDevice& step) const { return "register device " + step.link; }
    std::string operator()(const DropDevice& step) const { return "forget device with index " + std::to_string(step.ifindex); }
    std::string operator()(const PutSubnet& step) const { return "register subnet " + step.subnet.to_string(); }
    std::string operator()(const DropSubnet& step) const { return "forget subnet " + step.subnet.to_string(); }
    std::string operator()(const AttachUplink& step) const { return "attach to uplink " + step.link; }
    std::string operator()(const AttachBridge& step) const { return "attach to bridge " + step.link; }
    std::string operator()(const ServeLoopback&) const { return "serve published ports on lo"; }
    std::string operator()(const DetachHooks& step) const { return "detach from device with index " + std::to_string(step.ifindex); }
    std::string operator()(const InstallEndpoint& step) const { return "install endpoint '" + step.endpoint.name + "'"; }
    std::string operator()(const DropEndpoint& step) const {
        return "forget endpoint behind device with index " + std::to_string(step.ifindex);
    }
    std::string operator()(const PutAddress& step) const { return "register address " + from_abi(step.key.addr).to_string(); }
    std::string operator()(const DropAddress& step) const { return "forget address " + from_abi(step.key.addr).to_string(); }
    std::string operator()(const PutService& step) const { return "publish " + step.port.to_string(); }
    std::string operator()(const DropService& step) const {
        const PortRange ports = ports_of(step.key);
        return "withdraw host ports " + std::to_string(ports.first.value()) + "-" + std::to_string(ports.last.value());
    }
    std::string operator()(const DropSources& step) const { return "forget " + std::to_string(step.keys.size()) + " sources"; }
};

}  // namespace

std::string describe(const Step& step) {
    return std::visit(Describe{}, step);
}

BridgeState bridge_wanted(const Network& network, std::uint32_t default_mtu) {
    BridgeState wanted;
    wanted.name = network.bridge;
    wanted.mtu = network.mtu != 0 ? network.mtu : default_mtu;
    for (const IpPrefix& subnet : network.subnets)
        if (const auto gateway = network.gateway(subnet.family()); gateway) wanted.addresses.emplace(*gateway, subnet.length());
    wanted.forwards4 = network.subnet(Family::kIpv4).has_value();
    wanted.forwards6 = wanted.ipv6 = network.subnet(Family::kIpv6).has_value();
    return wanted;
}

Plan diff(const DesiredState& desired, const ActualState& actual) {
    return Differ{desired, actual}.run();
}

}  // namespace fastnet
