// The steps in the kernel that follow from a change of what other nodes have: those, and no others. Pure. Whoever changes the records
// says what they were before and are now; diff() would find the same steps, but has to read everything for it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "loader/base/net_types.h"
#include "userspace/control/plan.h"
#include "userspace/model/network.h"
#include "userspace/model/node.h"
#include "userspace/model/peer.h"

namespace fastnet {

/// A peer of a network before a change, and after it, whoever says so.
struct Membership {
    std::uint32_t network_id = 0;
    std::uint32_t tunnel = 0;
    IpAddress peer;
    bool before = false;
    bool after = false;
};

/// An overlay network whose remote side changed.
struct ChangedNetwork {
    Network network{};
    std::optional<Family> family_before{};  ///< of its peers; unset: it had none
    std::vector<Peer> peers{};              ///< now; needed only if the family is another one than before
    std::optional<Family> family_after{};
};

struct RemoteEffect {
    std::map<std::uint32_t, ChangedNetwork> networks{};  ///< by id: every one that is named below
    std::vector<Membership> memberships{};
    std::map<std::uint32_t, IpAddress> tunnels_gone{};  ///< by index; none is used again by the same change
    std::map<std::uint32_t, IpAddress> tunnels_come{};
    std::vector<RemoteEndpoint> gone{};
    std::vector<RemoteEndpoint> come{};

    bool empty() const { return gone.empty() && come.empty() && memberships.empty(); }
};

/// In the order of diff(): what restricts comes first.
Plan plan_remote_change(const RemoteEffect& effect, std::uint32_t default_mtu, const VtepAddresses& vtep);

}  // namespace fastnet
