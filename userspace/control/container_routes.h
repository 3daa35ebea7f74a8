// Routes inside a container that is on one or several networks: which of them gives the default route, and that answers leave
// by the network that the question came by. container_routes() decides, the others do; all of it can be repeated.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "loader/base/result.h"
#include "userspace/host/netlink.h"
#include "userspace/model/endpoint.h"

namespace fastnet {

struct ContainerInterface {
    Endpoint endpoint;
    IfIndex device = 0;  ///< in the container's namespace
};

struct ContainerRoutes {
    std::vector<Route> defaults{};  ///< of the main table: per family the best first
    std::vector<Route> tables{};    ///< of the endpoints' own tables, in the order in which they can be added
    std::vector<Rule> rules{};      ///< that lead there

    friend bool operator==(const ContainerRoutes&, const ContainerRoutes&) = default;
};

/// The default route is that of the highest gateway_priority, then that of the earliest endpoint; the others stand by behind it.
/// An endpoint without a gateway (of an internal network) has none. One that is alone needs no table of its own.
ContainerRoutes container_routes(const std::vector<ContainerInterface>& interfaces);

/// Gives the namespace that @p inside is in the routes of @p endpoints, all that are in it; @p gone has just left it.
Status arrange_routes(Netlink& inside, const std::vector<Endpoint>& endpoints, const std::optional<Endpoint>& gone = std::nullopt);

/// Takes away what does not go with the endpoints' interfaces.
Status forget_rules(Netlink& inside, const std::vector<Endpoint>& endpoints);

}  // namespace fastnet
