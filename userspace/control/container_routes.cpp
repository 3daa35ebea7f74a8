#include "userspace/control/container_routes.h"

#include <algorithm>
#include <utility>

#include "userspace/store/crash_point.h"

namespace fastnet {
namespace {

constexpr std::uint32_t kStandbyMetric = 2000;          // plus the endpoint's id: behind the one in use
constexpr std::uint32_t kFirstTable = 0x666e0000;       // plus the endpoint's id
constexpr std::uint32_t kReplyRulePriority = 32000;     // before the main table's rule, behind what people write themselves
constexpr std::uint32_t kKernelsDefaultMetric6 = 1024;  // of an IPv6 route whose metric is not given

std::uint32_t table_of(const Endpoint& endpoint) {
    return kFirstTable + endpoint.id;
}
std::uint32_t standby_metric(const Endpoint& endpoint) {
    return kStandbyMetric + endpoint.id;
}
std::uint32_t best_metric(Family family) {
    return family == Family::kIpv4 ? 0 : kKernelsDefaultMetric6;
}

const std::optional<IpPrefix>& address_of(const Endpoint& endpoint, Family family) {
    return family == Family::kIpv4 ? endpoint.ipv4 : endpoint.ipv6;
}
const std::optional<IpAddress>& gateway_of(const Endpoint& endpoint, Family family) {
    return family == Family::kIpv4 ? endpoint.gateway4 : endpoint.gateway6;
}

Route default_route(const IpAddress& gateway, IfIndex device, std::uint32_t metric, std::uint32_t table = kMainTable) {
    Route route;
    route.destination = IpPrefix{IpAddress::any(gateway.family()), 0};
    route.gateway = gateway;
    route.device = device;
    route.metric = metric;
    route.table = table;
    return route;
}

void add_defaults(std::vector<ContainerInterface> interfaces, Family family, std::vector<Route>& defaults) {
    std::erase_if(interfaces, [&](const ContainerInterface& one) { return !gateway_of(one.endpoint, family); });
    std::stable_sort(interfaces.begin(), interfaces.end(), [](const ContainerInterface& a, const ContainerInterface& b) {
        return std::pair{b.endpoint.gateway_priority, a.endpoint.id} < std::pair{a.endpoint.gateway_priority, b.endpoint.id};
    });
    for (const auto& [endpoint, device] : interfaces)
        defaults.push_back(default_route(*gateway_of(endpoint, family), device,
                                         device == interfaces.front().device ? best_metric(family) : standby_metric(endpoint)));
}

void add_table(const ContainerInterface& interface, Family family, ContainerRoutes& routes) {
    const auto& [endpoint, device] = interface;
    const auto& address = address_of(endpoint, family);
    if (!address) return;
    Route subnet;
    subnet.destination = address->network();
    subnet.device = device;
    subnet.table = table_of(endpoint);
    if (family == Family::kIpv6) subnet.metric = kKernelsDefaultMetric6;
    routes.tables.push_back(subnet);
    if (const auto& gateway = gateway_of(endpoint, family); gateway)
        routes.tables.push_back(default_route(*gateway, device, best_metric(family), subnet.table));
    routes.rules.push_back({address->address(), subnet.table, kReplyRulePriority});
}

bool contains(const std::vector<Route>& routes, const Route& route) {
    return std::find(routes.begin(), routes.end(), route) != routes.end();
}

/// What fastnet set of the main table's default routes, by this endpoint or another.
Result<std::vector<Route>> present_defaults(Netlink& inside) {
    std::vector<Route> routes = TRY(inside.routes());
    std::erase_if(routes, [](const Route& route) { return route.protocol != kFastnetRouteProtocol || route.destination.length() != 0; });
    return routes;
}

/// The best of its family. Somebody else's default route in its place is the container's own business: then it stands by, and
/// @p route says so.
Status set_best(Netlink& inside, Route& route, std::uint32_t standby, std::vector<Route>& present) {
    const auto in_its_place = std::find_if(present.begin(), present.end(), [&](const Route& other) {
        return other.metric == route.metric && other.destination.family() == route.destination.family();
    });
    if (in_its_place != present.end()) {
        // The former one is gone with this. To delete it by name would hit the one that stands by, which is like it.
        present.erase(in_its_place);
        return inside.replace_route(route);
    }
    const Status added = inside.add_route(route);
    if (added || added.error().kind != ErrorKind::kConflict) return added;
    route.metric = standby;
    return unless_exists(inside.add_route(route));
}

/// At no moment there is no default route: those that stand by come first.
Status set_defaults(Netlink& inside, const std::vector<ContainerInterface>& interfaces, std::vector<Route> wanted,
                    std::vector<Route> present) {
    const auto stands_by = [](const Route& route) { return route.metric >= kStandbyMetric; };
    for (const Route& route : wanted)
        if (stands_by(route) && !contains(present, route)) CHECK_OK(unless_exists(inside.add_route(route)));
    crash_point();
    for (Route& route : wanted) {
        if (stands_by(route) || contains(present, route)) continue;
        const auto owner =
            std::find_if(interfaces.begin(), interfaces.end(), [&](const ContainerInterface& one) { return one.device == route.device; });
        CHECK_OK(set_best(inside, route, standby_metric(owner->endpoint), present));
    }
    crash_point();
    for (const Route& route : present)
        if (!contains(wanted, route)) CHECK_OK(unless_missing(inside.delete_route(route)));
    return ok();
}

Status set_tables(Netlink& inside, const ContainerRoutes& wanted, const std::vector<Endpoint>& known) {
    for (const Route& route : wanted.tables) CHECK_OK(unless_exists(inside.add_route(route)));
    crash_point();
    for (const Rule& rule : wanted.rules) CHECK_OK(unless_exists(inside.add_rule(rule)));
    for (const Rule& rule : TRY(inside.rules())) {
        const auto has_table = [&](const Endpoint& endpoint) { return table_of(endpoint) == rule.table; };
        const bool is_wanted = std::find(wanted.rules.begin(), wanted.rules.end(), rule) != wanted.rules.end();
        if (is_wanted || std::none_of(known.begin(), known.end(), has_table)) continue;
        CHECK_OK(unless_missing(inside.delete_rule(rule)));
        crash_point();
        for (const Route& route : TRY(inside.routes(rule.table))) CHECK_OK(unless_missing(inside.delete_route(route)));
    }
    return ok();
}

}  // namespace

ContainerRoutes container_routes(const std::vector<ContainerInterface>& interfaces) {
    ContainerRoutes routes;
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
        add_defaults(interfaces, family, routes.defaults);
        if (interfaces.size() > 1)
            for (const ContainerInterface& interface : interfaces) add_table(interface, family, routes);
    }
    return routes;
}

Status arrange_routes(Netlink& inside, const std::vector<Endpoint>& endpoints, const std::optional<Endpoint>& gone) {
    std::vector<ContainerInterface> interfaces;
    for (const Endpoint& endpoint : endpoints) {
        const auto link = inside.link(endpoint.ifname);
        if (link && link->up) interfaces.push_back({endpoint, link->index});
    }
    const ContainerRoutes wanted = container_routes(interfaces);
    CHECK_OK(set_defaults(inside, interfaces, wanted.defaults, TRY(present_defaults(inside))));
    crash_point();
    if (endpoints.size() == 1 && !gone) return ok();  // alone it never had rules
    std::vector<Endpoint> known = endpoints;
    if (gone) known.push_back(*gone);
    return set_tables(inside, wanted, known);
}

Status forget_rules(Netlink& inside, const std::vector<Endpoint>& endpoints) {
    for (const Rule& rule : TRY(inside.rules())) {
        const bool ours =
            std::any_of(endpoints.begin(), endpoints.end(), [&](const Endpoint& endpoint) { return table_of(endpoint) == rule.table; });
        if (ours) CHECK_OK(unless_missing(inside.delete_rule(rule)));
    }
    return ok();
}

}  // namespace fastnet
