// What was found wrong on a node and put right: a kind to count it by, words for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fastnet {

/// Few and fixed: they become the label of a metric.
enum class RepairKind : std::uint8_t {
    kBridge,         ///< a network's bridge, its addresses and settings
    kVxlan,          ///< an overlay network's vxlan device and its peers
    kLink,           ///< a link of nobody's
    kEndpoint,       ///< an endpoint's bridge port, entry or program
    kProgram,        ///< at an uplink, a bridge, a vxlan device, lo, the cgroup
    kDevice,         ///< the maps, one kind for each below
    kSubnet,         //
    kAddress,        //
    kPeer,           //
    kPort,           //
    kSource,         //
    kFilter,         //
    kReservedPorts,  ///< ip_local_reserved_ports
    kUplink,         ///< the default routes moved
    kDatapath,       ///< all programs: loaded, or replaced by those of this build
    kDeadEndpoint,   ///< its namespace or interface is gone
    kInterrupted,    ///< what a killed command left half done
};
inline constexpr RepairKind kLastRepairKind = RepairKind::kInterrupted;

/// As in `bridge`, `dead_endpoint`.
std::string_view to_string(RepairKind kind);

struct Repair {
    RepairKind kind = RepairKind::kBridge;
    std::string what{};
    std::string subject{};  ///< the link that it is about, as Concern has it; empty: none, or several
    friend bool operator==(const Repair&, const Repair&) = default;
};
using Repairs = std::vector<Repair>;

}  // namespace fastnet
