#include "userspace/control/ports.h"

#include <algorithm>
#include <map>

#include "userspace/control/kernel.h"
#include "userspace/host/sockets.h"
#include "userspace/host/sysctl.h"
#include "userspace/model/port_plan.h"

namespace fastnet {
namespace {

constexpr PortRange kAllPorts{Port{1}, Port{65535}};

bool in_the_way(const LocalSocket& socket, const std::vector<IpAddress>& addresses) {
    if (socket.connected) return false;  // takes packets of one peer only, and the datapath leaves those to it
    return std::any_of(addresses.begin(), addresses.end(), [&](const IpAddress& address) { return covers(socket, address); });
}

Status check_host_address(Node& node, const PublishSpec& spec) {
    if (!spec.host_ip || spec.host_ip->is_any() || spec.host_ip->is_loopback()) return ok();
    for (const LinkAddress& address : TRY(node.netlink().addresses()))
        if (address.address.address() == *spec.host_ip) return ok();
    const bool ipv4 = spec.host_ip->family() == Family::kIpv4;
    if (read_sysctl(ipv4 ? "ipv4/ip_nonlocal_bind" : "ipv6/ip_nonlocal_bind").value_or("0") == "1") return ok();  // it will come
    return failed("publish '" + spec.to_string() + "': this host has no address " + spec.host_ip->to_string(),
                  "`ip addr` lists the addresses; leave the address out to publish on all of them");
}

class Planner {
public:
    explicit Planner(Node& node) : node_{node} {}

    Status add(const PublishSpec& spec, bool has_ipv4, bool has_ipv6) {
        CHECK_OK(check_host_address(node_, spec));
        const std::vector<IpAddress> addresses = TRY(host_addresses_for(spec, has_ipv4, has_ipv6));
        const PortRange host_ports = TRY(spec.picks_host_port() ? pick(spec, addresses) : check(spec, addresses));
        for (const IpAddress& address : addresses) {
            PublishedPort port;
            port.host_ip = address;
            port.host_ports = host_ports;
            port.container_ports = spec.container_ports;
            port.protocol = spec.protocol;
            port.spec = spec.to_string();
            planned_.push_back(std::move(port));
        }
        return ok();
    }

    std::vector<PublishedPort> take() { return std::move(planned_); }

private:
    Result<PortRange> check(const PublishSpec& spec, const std::vector<IpAddress>& addresses) {
        // Records of ours first: their conflict names the endpoint, which says more than a socket would.
        for (const IpAddress& address : addresses) {
            PublishedPort wanted;
            wanted.host_ip = address;
            wanted.host_ports = *spec.host_ports;
            wanted.container_ports = spec.container_ports;
            wanted.protocol = spec.protocol;
            const auto overlapping = TRY(node_.store().ports_overlapping(address, spec.protocol, *spec.host_ports));
            CHECK_OK(check_port_is_free(wanted, overlapping, [&](std::uint32_t id) {
                const auto endpoint = node_.store().find_endpoint(id);
                return endpoint && *endpoint ? (*endpoint)->name : std::string{"?"};
            }));
        }
        if (spec.protocol == Protocol::kUdp && spec.host_ports->overlaps(kVxlanPorts) && TRY(has_overlay()))
            return conflict("publish '" + spec.to_string() + "': host port 4789/udp belongs to the node's overlay networks (VXLAN)",
                            "choose another host port");
        const std::vector<LocalSocket> holders = TRY(sockets_in_the_way(spec.protocol, *spec.host_ports, addresses));
        if (holders.empty()) return *spec.host_ports;
        const LocalSocket& holder = holders.front();
        return conflict("publish '" + spec.to_string() + "': host port " + std::to_string(holder.port.value()) + "/" +
                            to_string(spec.protocol) + " is held by " + describe_holder(holder),
                        "choose another host port, or stop that process");
    }

    Result<PortRange> pick(const PublishSpec& spec, const std::vector<IpAddress>& addresses) {
        const bool from_range = spec.host_ports.has_value();
        const PortRange candidates = from_range ? *spec.host_ports : TRY(local_port_range());
        Port start = candidates.first;
        if (!from_range) {
            // Onwards from the last one, so that a client of the port's last owner does not meet the next one at once.
            const auto cursor = TRY(node_.store().setting(setting::kPortCursor));
            if (cursor)
                if (const auto last = Port::parse(*cursor); last && candidates.contains(*last) && *last < candidates.last)
                    start = Port{static_cast<std::uint16_t>(last->value() + 1U)};
        }
        const std::vector<LocalSocket> sockets = TRY(sockets_in_the_way(spec.protocol, candidates, addresses));
        const bool vxlan = spec.protocol == Protocol::kUdp && TRY(has_overlay());
        const auto obstacle = [&](const PortRange& wanted) -> Result<std::optional<PortRange>> {
            for (const PublishedPort& other : planned_)
                if (other.protocol == spec.protocol && other.host_ports.overlaps(wanted)) return std::optional{other.host_ports};
            if (vxlan && wanted.overlaps(kVxlanPorts)) return std::optional{kVxlanPorts};
            for (const LocalSocket& socket : sockets)
                if (wanted.contains(socket.port)) return std::optional{PortRange{socket.port, socket.port}};
            return node_.store().port_obstacle(addresses, spec.protocol, wanted);
        };
        auto chosen = choose_host_ports(candidates, spec.container_ports.size(), start, obstacle);
        if (!chosen) return std::move(chosen).error().in("publish '" + spec.to_string() + "'");
        if (!from_range) CHECK_OK(node_.store().set_setting(setting::kPortCursor, std::to_string(chosen->last.value())));
        return *chosen;
    }

    /// One dump for all specs: each walks every socket of the namespace, whatever it asks for.
    Result<std::vector<LocalSocket>> sockets_in_the_way(Protocol protocol, const PortRange& range,
                                                        const std::vector<IpAddress>& addresses) {
        auto known = sockets_.find(protocol);
        if (known == sockets_.end()) known = sockets_.emplace(protocol, TRY(sockets_in(protocol, kAllPorts))).first;
        std::vector<LocalSocket> found;
        for (const LocalSocket& socket : known->second)
            if (range.contains(socket.port) && in_the_way(socket, addresses)) found.push_back(socket);
        return found;
    }

    Result<bool> has_overlay() { return !overlay_filters(TRY(node_.store().networks())).empty(); }

    Node& node_;
    std::vector<PublishedPort> planned_;
    std::map<Protocol, std::vector<LocalSocket>> sockets_;
};

/// @p spec with the container's ports on both sides.
std::string same_ports(PublishSpec spec) {
    spec.host_ports = spec.container_ports;
    return spec.to_string();
}

}  // namespace

Status check_supported(const std::vector<PublishSpec>& specs) {
    for (const PublishSpec& spec : specs)
        if (spec.protocol == Protocol::kSctp && spec.host_ports != spec.container_ports)
            return usage_error(
                "publish '" + spec.to_string() + "': the host port of SCTP must be the container's, whose checksum covers it",
                "publish it at its own number: " + same_ports(spec));
    return ok();
}

Result<std::vector<PublishedPort>> plan_ports(Node& node, const std::vector<PublishSpec>& specs, const AccessList& sources, bool has_ipv4,
                                              bool has_ipv6) {
    Planner planner{node};
    for (const PublishSpec& spec : specs) CHECK_OK(planner.add(spec, has_ipv4, has_ipv6));
    std::vector<PublishedPort> ports = planner.take();
    for (PublishedPort& port : ports) port.sources = sources;
    return ports;
}

bool means(const PublishSpec& spec, const PublishedPort& port) {
    if (port.spec == spec.to_string()) return true;
    if (!spec.host_ports || port.protocol != spec.protocol || port.host_ports != *spec.host_ports ||
        port.container_ports != spec.container_ports)
        return false;
    return spec.host_ip ? port.host_ip == *spec.host_ip : port.host_ip.is_any();
}

}  // namespace fastnet
