// When XDP belongs at an uplink, and what is on record where it could not be had. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "userspace/model/node.h"

namespace fastnet {

struct XdpDevice {
    bool hardware = false;
    std::string driver{};  ///< as ethtool says it; empty if it says nothing
};

/// kAuto: only for a deny list that has something in it, and not where XDP takes from everybody else more than it gives.
bool xdp_wanted(XdpMode mode, bool list_is_empty, const XdpDevice& device);

/// What was tried in vain at a device in this boot is not tried with each command.
std::string xdp_refusal_key(std::string_view uplink);
/// @p device: boot and ifindex.
std::string xdp_refusal_record(std::string_view device, std::string_view reason);
/// The reason; nullopt if the record is of another device or boot.
std::optional<std::string> xdp_refusal_reason(std::string_view record, std::string_view device);
std::string xdp_device_id(std::string_view boot_id, unsigned ifindex);

}  // namespace fastnet
