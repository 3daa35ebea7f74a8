// The kernel's own path of an overlay network: its vxlan device, which takes what the fast path hands over. A port of the
// network's bridge; its forwarding table floods to the network's peers.
#pragma once

#include <cstdint>
#include <map>
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
    std::set<IpAddress> peers{};  ///< that get what is flooded
    bool isolated = false;        ///< as the port of a bridge: the network has no ICC

    friend bool operator==(const VxlanState&, const VxlanState&) = default;
};

/// Makes the device, or corrects what differs. What cannot be changed of a living one makes it anew.
Status make_vxlan(Netlink& netlink, const VxlanState& wanted);
/// Those of overlay networks among @p links, which are all of the namespace, by name.
Result<std::map<std::string, VxlanState>> read_vxlans(Netlink& netlink, const std::vector<LinkInfo>& links);

}  // namespace fastnet
