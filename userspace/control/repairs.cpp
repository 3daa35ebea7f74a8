#include "userspace/control/repairs.h"

namespace fastnet {

std::string_view to_string(RepairKind kind) {
    switch (kind) {
        case RepairKind::kBridge: return "bridge";
        case RepairKind::kVxlan: return "vxlan";
        case RepairKind::kLink: return "link";
        case RepairKind::kEndpoint: return "endpoint";
        case RepairKind::kProgram: return "program";
        case RepairKind::kDevice: return "device";
        case RepairKind::kSubnet: return "subnet";
        case RepairKind::kAddress: return "address";
        case RepairKind::kPeer: return "peer";
        case RepairKind::kPort: return "port";
        case RepairKind::kSource: return "source";
        case RepairKind::kFilter: return "filter";
        case RepairKind::kReservedPorts: return "reserved_ports";
        case RepairKind::kUplink: return "uplink";
        case RepairKind::kDatapath: return "datapath";
        case RepairKind::kDeadEndpoint: return "dead_endpoint";
        case RepairKind::kInterrupted: return "interrupted";
    }
    return "";
}

}  // namespace fastnet
