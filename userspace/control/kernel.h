// The hands: one function per thing that fastnet makes or removes in the kernel. No decisions here; each call is
// harmless when repeated. Crash points lie between the steps.
#pragma once

#include <vector>

#include "bpf/abi/tunnel.h"
#include "loader/base/result.h"
#include "loader/datapath.h"
#include "userspace/control/node.h"
#include "userspace/control/plan.h"
#include "userspace/host/netlink.h"
#include "userspace/host/netns.h"

namespace fastnet {

/// Link group of host-side veths and vxlan devices, so that cleanup can remove a thousand of them at once.
constexpr std::uint32_t kVethGroup = 0x666e;

/// What the uplink's program looks at as long as there is an overlay network, and nobody publishes then.
constexpr PortRange kVxlanPorts{Port{FNET_VXLAN_PORT}, Port{FNET_VXLAN_PORT}};
std::vector<FilteredPorts> overlay_filters(const std::vector<Network>& networks);

Result<ActualState> read_actual(Netlink& netlink, const Datapath& datapath);
/// Carries out @p plan, all of it even if a step fails; reports what failed.
Status apply_plan(Node& node, const Plan& plan);

/// veth, map entries, programs, addresses, routes and ports of @p endpoint, which gets its ifindex and MTU. Its namespace
/// is @p netns. What was made stays on failure: whoever owns the record takes it back and knows whether that worked.
Status build_endpoint(Node& node, Endpoint& endpoint, const Network& network, const std::vector<PublishedPort>& ports, const Netns& netns);
/// The reverse, however much of it exists. The database is not touched.
Status tear_down_endpoint(Node& node, const Endpoint& endpoint, const std::vector<PublishedPort>& ports);

/// Services of published ports: last in, first out. What was made stays on failure, as above.
Status install_ports(Node& node, const Endpoint& endpoint, const std::vector<PublishedPort>& ports);
/// The records are still in the database, so that ports which others use as well stay.
Status withdraw_ports(Node& node, const Endpoint& endpoint, const std::vector<PublishedPort>& ports, bool purge_flows);

}  // namespace fastnet
