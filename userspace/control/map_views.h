// What the maps of the datapath say, as views. Pure: whoever calls has read the maps.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bpf/abi/flow.h"
#include "bpf/abi/verdict.h"
#include "loader/base/net_types.h"
#include "userspace/control/views.h"

namespace fastnet {

struct DatapathConfig;

struct FlowEntry {
    fnet_flow_key key;
    fnet_flow flow;
};
/// One row per flow. @p now in nanoseconds of CLOCK_MONOTONIC, @p name_of by ifindex of the endpoint's host side.
std::vector<FlowView> flow_views(const std::vector<FlowEntry>& entries, std::uint64_t now,
                                 const std::function<std::string(std::uint32_t)>& name_of);
/// How long a flow in this state may be silent, in seconds; the times are those of @p config.
std::uint64_t flow_timeout(std::uint8_t protocol, std::uint8_t state, const DatapathConfig& config);
/// Whether the flow that @p flow opened is alive and has a masquerade port of @p ports. Once per flow: its other half says
/// no, and so does ICMP, which has no ports.
bool is_masqueraded_from(const fnet_flow_key& key, const fnet_flow& flow, const PortRange& ports);
std::string flow_state_name(std::uint8_t state);
/// By enum fnet_verdict; a count that is missing is zero.
std::vector<VerdictView> verdict_views(const std::vector<fnet_verdict_count>& counts);

}  // namespace fastnet
