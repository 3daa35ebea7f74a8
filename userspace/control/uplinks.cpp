#include "userspace/control/uplinks.h"

#include <algorithm>

#include "userspace/model/names.h"

namespace fastnet {
namespace {

const char* const kL3Reason = "it has no Ethernet header (wireguard, ppp, tun), and replies could not be addressed";
constexpr std::uint16_t kLowestMasqueradePort = 16384;
constexpr std::uint32_t kFewestMasqueradePorts = 256;

bool contains(const std::vector<Uplink>& uplinks, const std::string& name) {
    return std::any_of(uplinks.begin(), uplinks.end(), [&](const Uplink& uplink) { return uplink.name == name; });
}

UplinkCandidate candidate_from(const LinkInfo& link) {
    return {link.name, true, link.is_ethernet(), link.loopback};
}

}  // namespace

Result<UplinkChoice> choose_uplinks(const std::vector<UplinkCandidate>& asked, bool replace, const std::vector<Uplink>& stored,
                                    const std::vector<UplinkCandidate>& routed) {
    UplinkChoice choice;
    for (const UplinkCandidate& candidate : asked) {
        const std::string what = "uplink '" + candidate.name + "'";
        if (!candidate.exists) return not_found(what + ": there is no such interface", "`ip link` lists the interfaces of this namespace");
        if (candidate.loopback) return failed(what + ": it is the loopback interface", "name the interface that leads outside");
        if (network_id_of_bridge_ifname(candidate.name) != 0 || network_id_of_vxlan_ifname(candidate.name) != 0 ||
            endpoint_id_of_host_ifname(candidate.name) != 0)
            return failed(what + ": it is fastnet's own", "name the interface that leads outside");
        if (!candidate.ethernet) return failed(what + ": " + kL3Reason, "use an Ethernet, VLAN, bond or bridge interface");
        if (!contains(choice.uplinks, candidate.name)) choice.uplinks.push_back({candidate.name, true});
    }
    const bool chosen_before = std::any_of(stored.begin(), stored.end(), [](const Uplink& uplink) { return uplink.chosen_by_user; });
    if (!asked.empty()) {
        if (!replace)
            for (const Uplink& uplink : stored)
                if (!contains(choice.uplinks, uplink.name)) choice.uplinks.push_back(uplink);
        return choice;
    }
    choice.uplinks = stored;
    if (chosen_before) return choice;

    std::string refused;
    for (const UplinkCandidate& candidate : routed) {
        if (contains(choice.uplinks, candidate.name) || candidate.loopback || !candidate.exists) continue;
        if (candidate.ethernet) {
            choice.uplinks.push_back({candidate.name, false});
        } else {
            refused = candidate.name;
            choice.warnings.push_back("the default route's interface '" + candidate.name + "' is not used as an uplink: " + kL3Reason);
        }
    }
    if (!choice.uplinks.empty()) return choice;
    if (!refused.empty()) return failed("uplink '" + refused + "': " + kL3Reason, "name an Ethernet interface with --uplink DEV");
    return failed("find an uplink: this namespace has no default route", "name the interface that leads outside with --uplink DEV");
}

Result<UplinkChoice> find_uplinks(Netlink& netlink, const std::vector<std::string>& asked, bool replace,
                                  const std::vector<Uplink>& stored) {
    std::vector<UplinkCandidate> asked_links;
    for (const std::string& name : asked) {
        const auto link = netlink.link(name);
        if (!link && link.error().kind != ErrorKind::kNotFound && link.error().kind != ErrorKind::kUsage) return link.error();
        asked_links.push_back(link ? candidate_from(*link) : UplinkCandidate{name, false});
    }
    std::vector<UplinkCandidate> routed;
    if (asked.empty()) {
        for (const DefaultRoute& route : TRY(netlink.default_uplinks())) {
            const auto link = netlink.link(route.index);
            if (link) routed.push_back(candidate_from(*link));
        }
    }
    std::vector<Uplink> known;
    for (const Uplink& uplink : stored)  // one that was found by itself may vanish by itself
        if (uplink.chosen_by_user || netlink.link(uplink.name)) known.push_back(uplink);
    auto choice = choose_uplinks(asked_links, replace, known, routed);
    if (!choice && asked.empty() && !stored.empty()) {
        UplinkChoice nothing;
        nothing.warnings.push_back(choice.error().message + "; " + choice.error().hint);
        return nothing;
    }
    if (!choice) return choice;
    for (const Uplink& uplink : choice->uplinks)
        if (uplink.chosen_by_user && !netlink.link(uplink.name))
            choice->warnings.push_back("uplink '" + uplink.name + "' does not exist at present");
    return choice;
}

std::string to_string(const PortRange& range) {
    return std::to_string(range.first.value()) + "-" + std::to_string(range.last.value());
}

Result<PortRange> parse_port_range(std::string_view text) {
    const std::string hint = "write it like 16384-32767";
    const std::string what = "port range '" + std::string{text} + "'";
    const std::size_t dash = text.find('-');
    if (dash == std::string_view::npos) return usage_error(what + ": it is not of the form FIRST-LAST", hint);
    const auto first = Port::parse(text.substr(0, dash));
    const auto last = Port::parse(text.substr(dash + 1));
    if (!first || !last) return usage_error(what + ": a port is a number from 1 to 65535", hint);
    if (first->value() == 0) return usage_error(what + ": there is no port 0", hint);
    if (*last < *first) return usage_error(what + ": it ends before it starts", hint);
    return PortRange{*first, *last};
}

Result<PortRange> choose_masquerade_ports(const std::optional<PortRange>& asked, const std::optional<PortRange>& stored,
                                          const PortRange& local_ports) {
    if (asked) {
        if (asked->overlaps(local_ports))
            return conflict(
                "masquerade ports " + to_string(*asked) + ": they overlap net.ipv4.ip_local_port_range, which is " + to_string(local_ports),
                "connections of the host take their ports there: choose a range outside it");
        return *asked;
    }
    if (stored) return *stored;
    const std::uint32_t below_first = kLowestMasqueradePort;
    const std::uint32_t below = local_ports.first.value() > below_first ? local_ports.first.value() - below_first : 0;
    const std::uint32_t above = 65535U - local_ports.last.value();
    if (std::max(below, above) < kFewestMasqueradePorts)
        return failed("find masquerade ports: net.ipv4.ip_local_port_range (" + to_string(local_ports) + ") leaves no room in 16384-65535",
                      "narrow it, or name a range with --masquerade-ports A-B");
    if (below >= above) return PortRange{Port{kLowestMasqueradePort}, Port{static_cast<std::uint16_t>(local_ports.first.value() - 1U)}};
    return PortRange{Port{static_cast<std::uint16_t>(local_ports.last.value() + 1U)}, Port{65535}};
}

}  // namespace fastnet
