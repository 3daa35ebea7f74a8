// The kernel's own path of an overlay network: its vxlan device, which takes what the fast path hands over. A port of the
// network's bridge; its forwarding table floods to the network's peers. Neither the device nor its port of the bridge learns: the
// device would believe strangers, the port would believe a peer that sends as one of this node's containers. What the kernel's path
// carries is rare, and is flooded.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/host/netlink.h"

namespace fastnet {

struct VxlanState {
    std::string name{};
    std::uint32_t vni = 0;
    std::string bridge{};  ///< the device that it is a port of; empty: none
    std::uint32_t mtu = 1500;
    bool up = true;
    std::optional<IpAddress> local{};  ///< that it sends from; unset: as the route prefers
    std::set<IpAddress> peers{};       ///< that get what is flooded
    bool isolated = false;             ///< as the port of a bridge: the network has no ICC
    bool learns = false;               ///< never wanted
    bool port_learns = false;          ///< the same

    friend bool operator==(const VxlanState&, const VxlanState&) = default;
};

/// A vxlan device has one socket, so peers of one family: a usage error that names one of each otherwise.
Status check_peer_families(const std::set<IpAddress>& peers);

/// What cannot be changed of a living one differs: it has to be made anew, and is another device then. Pure.
bool must_be_made_anew(const VxlanState& present, const VxlanState& wanted);

/// Makes the device, or corrects what differs. What cannot be changed of a living one makes it anew. @p before_up gets the
/// index of a device that is about to come up: from that moment on it takes what anybody sends it, unless a program does not.
/// kConflict: a device of another kind has the name, somebody else's has the VNI, or the UDP port is taken.
Status make_vxlan(Netlink& netlink, const VxlanState& wanted, const std::function<Status(IfIndex)>& before_up = {});
/// Those of overlay networks among @p links, which are all of the namespace, by name.
Result<std::map<std::string, VxlanState>> read_vxlans(Netlink& netlink, const std::vector<LinkInfo>& links);

}  // namespace fastnet
