// Which devices are uplinks, and which ports masquerade uses: decisions about the node that are made once and kept.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/host/netlink.h"
#include "userspace/model/node.h"

namespace fastnet {

struct UplinkChoice {
    std::vector<Uplink> uplinks;
    std::vector<std::string> warnings;
};

/// What choose_uplinks() needs to know of a link.
struct UplinkCandidate {
    std::string name;
    bool exists = true;
    bool ethernet = true;
    bool loopback = false;
};

/// Pure. @p asked by --uplink (each looked up), @p replace: they are the whole list; @p stored before; @p routed by
/// default routes. With nothing stored before, no usable uplink is an error.
Result<UplinkChoice> choose_uplinks(const std::vector<UplinkCandidate>& asked, bool replace, const std::vector<Uplink>& stored,
                                    const std::vector<UplinkCandidate>& routed);

/// The same with the lookups done.
Result<UplinkChoice> find_uplinks(Netlink& netlink, const std::vector<std::string>& asked, bool replace, const std::vector<Uplink>& stored);

/// Pure. Ports for masquerade: @p asked, else @p stored, else the larger part of 16384-65535 beside @p local_ports.
Result<PortRange> choose_masquerade_ports(const std::optional<PortRange>& asked, const std::optional<PortRange>& stored,
                                          const PortRange& local_ports);
/// "A-B", 1-65535, A <= B: usage error.
Result<PortRange> parse_port_range(std::string_view text);
std::string to_string(const PortRange& range);  ///< "A-B"

}  // namespace fastnet
