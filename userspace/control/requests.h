// What a user can ask for, as plain values: filled in by the command line, the CNI plugin or the agent.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "loader/base/net_types.h"
#include "userspace/control/timeouts.h"
#include "userspace/model/access_list.h"
#include "userspace/model/endpoint.h"
#include "userspace/model/network.h"
#include "userspace/model/node.h"
#include "userspace/model/publish_spec.h"

namespace fastnet {

constexpr std::uint32_t kFewestFlows = 64;
constexpr std::uint32_t kMostFlows = 16'777'216;

struct PrepareRequest {
    std::vector<std::string> uplinks{};
    bool replace_uplinks = false;  ///< `uplinks` is the whole list, not an addition
    std::optional<std::uint32_t> max_flows{};
    std::optional<PortRange> masquerade{};
    std::optional<UdpMapping> udp_mapping{};
    std::optional<VtepAddresses> vtep{};
    std::optional<XdpMode> xdp{};
    std::vector<TimeoutChange> timeouts{};  ///< the others stay as they are
    bool reload = false;                    ///< load the programs anew
};

struct AttachRequest {
    EndpointMode mode = EndpointMode::kBridge;
    std::optional<std::string> netns{};
    std::string network{};  ///< empty: the default one
    std::string name{};     ///< empty: chosen
    std::vector<IpAddress> ips{};
    std::optional<MacAddress> mac{};
    std::string ifname{};  ///< empty: chosen, eth0 first
    std::int32_t gateway_priority = 0;
    std::vector<PublishSpec> ports{};
    AccessList sources{};  ///< of each of `ports`
    PrepareRequest prepare{};
};

struct PublishRequest {
    std::string endpoint{};
    std::vector<PublishSpec> ports{};
    AccessList sources{};  ///< of each of `ports`
};

struct NetworkRequest {
    std::string name{};
    NetworkDriver driver = NetworkDriver::kBridge;
    std::vector<IpPrefix> subnets{};
    std::vector<IpAddress> gateways{};
    std::vector<IpPrefix> ip_ranges{};
    std::uint32_t mtu = 0;
    bool internal = false;
    bool icc = true;
    std::uint32_t vni = 0;
    std::string parent{};
    std::map<std::string, std::string> options{};
};

struct PeerRequest {
    IpAddress address{};
    std::string network{};  ///< empty: of every overlay network, later ones too
};

struct RemoteEndpointRequest {
    std::vector<IpAddress> ips{};  ///< one per family
    IpAddress peer{};
    std::string network{};
    std::optional<MacAddress> mac{};  ///< unset: the one that fastnet gives with that IPv4 address
};

}  // namespace fastnet
