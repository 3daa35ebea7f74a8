// What the maps of the datapath say, as views. Pure: whoever calls has read the maps.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bpf/abi/endpoint.h"
#include "bpf/abi/flow.h"
#include "bpf/abi/verdict.h"
#include "loader/base/net_types.h"
#include "loader/flow_timeouts.h"
#include "userspace/control/views.h"

namespace fastnet {

/// The clock of the packet path's stamps: nanoseconds of CLOCK_MONOTONIC.
std::uint64_t monotonic_now();

struct FlowEntry {
    fnet_flow_key key;
    fnet_flow flow;
};
/// One row per flow; @p timeouts are those in force. @p now in nanoseconds of CLOCK_MONOTONIC, @p name_of by ifindex of the endpoint's host
/// side.
std::vector<FlowView> flow_views(const std::vector<FlowEntry>& entries, const FlowTimeouts& timeouts, std::uint64_t now,
                                 const std::function<std::string(std::uint32_t)>& name_of);
/// How long the flow may be silent, in seconds: what flow_timeout() of bpf/lib/flow.h makes of its class. @p fin: a direction
/// has sent FIN.
std::uint32_t flow_timeout(const fnet_flow_key& key, std::uint8_t state, bool fin, const FlowTimeouts& timeouts);
/// Whether the flow that @p flow opened is alive and has a masquerade port of @p ports. Once per flow: its other half says
/// no, and so does ICMP, which has no ports.
bool is_masqueraded_from(const fnet_flow_key& key, const fnet_flow& flow, const PortRange& ports);
/// Whether a container on another node has the address: one that was named, or learned and heard of since. What remote_is_silent() of
/// bpf/lib/remote.h says.
bool is_remote_container(const fnet_address& address, std::uint64_t now, const FlowTimeouts& timeouts);
std::string flow_state_name(std::uint8_t state);
/// By enum fnet_verdict; a count that is missing is zero.
std::vector<VerdictView> verdict_views(const std::vector<fnet_verdict_count>& counts);

}  // namespace fastnet
