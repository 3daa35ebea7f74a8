// What the kernel should hold, what it holds, and the steps between the two. Pure: diff() decides, apply_plan() (kernel.h)
// only does. Endpoints that are gone, and namespaces, are settled before: a DesiredState names living endpoints only.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bpf/abi/endpoint.h"
#include "bpf/abi/service.h"
#include "bpf/abi/tunnel.h"
#include "loader/base/net_types.h"
#include "userspace/control/repairs.h"
#include "userspace/control/translate.h"
#include "userspace/control/vxlan.h"
#include "userspace/host/netlink.h"
#include "userspace/model/endpoint.h"
#include "userspace/model/network.h"
#include "userspace/model/node.h"
#include "userspace/model/peer.h"

namespace fastnet {

struct BridgeState {
    std::string name{};
    MacAddress mac = kGatewayMac;
    std::uint32_t mtu = 1500;
    std::set<IpPrefix> addresses{};  ///< gateways with the subnet's length; link-local ones are left out
    bool up = true;
    bool forwards4 = false;
    bool forwards6 = false;
    bool ipv6 = false;  ///< not switched off by disable_ipv6

    friend bool operator==(const BridgeState&, const BridgeState&) = default;
};

struct DesiredState {
    std::vector<std::string> uplinks{};
    std::vector<Network> networks{};  ///< that have a bridge
    std::uint32_t default_mtu = 1500;
    VtepAddresses vtep{};
    std::vector<Endpoint> endpoints{};  ///< whose host-side veth exists
    std::vector<PublishedPort> ports{};
    std::vector<Peer> peers{};
    std::vector<RemoteEndpoint> remotes{};
};

struct ActualLink {
    IfIndex index = 0;
    IfIndex master = 0;
    bool up = false;
    bool isolated = false;  ///< as the port of a bridge
};

struct ActualState {
    std::map<std::string, ActualLink> links{};  ///< of the node's namespace, by name
    std::map<std::string, BridgeState> bridges{};
    std::map<std::string, VxlanState> vxlans{};
    std::map<std::uint32_t, fnet_device> devices{};
    std::map<IpPrefix, std::uint32_t> subnets{};
    std::map<std::uint32_t, fnet_endpoint> endpoints{};
    std::map<fnet_address_key, fnet_address, AbiLess<fnet_address_key>> addresses{};
    std::map<std::uint32_t, IpAddress> tunnels{};  ///< the peers, by index; free places are left out
    VtepRows vteps{};                              ///< read before `addresses`
    ServiceRows services{};
    std::map<fnet_source_key, std::uint32_t, AbiLess<fnet_source_key>> sources{};
    /// Programs of ours by ifindex: one on lo, an uplink or an endpoint's veth, two on a bridge or a vxlan device.
    std::map<std::uint32_t, unsigned> hooks{};
    bool loopback_sysctls = false;  ///< route_localnet and accept_local of lo
};

// --- steps --------------------------------------------------------------------------------------------------------
/// Makes the bridge, or corrects what differs. It does not come up before its gates stand.
struct MakeBridge {
    BridgeState wanted;
    std::string why{};  ///< for people: what is wrong with it
};
/// Makes the vxlan device of an overlay network, or corrects what differs. It does not come up before its gates stand.
struct MakeVxlan {
    VxlanState wanted;
    std::string why{};
};
/// One peer more or less of a vxlan device that is as it should be otherwise. diff() has MakeVxlan for it.
struct FloodTo {
    std::string vxlan;
    IpAddress peer;
};
struct StopFloodTo {
    std::string vxlan;
    IpAddress peer;
};
struct RemoveLink {
    std::string name;
};
struct PutDevice {
    std::string link;
    fnet_device device;
};
struct DropDevice {
    std::uint32_t ifindex;
};
struct PutSubnet {
    IpPrefix subnet;
    std::uint32_t network_id;
};
struct DropSubnet {
    IpPrefix subnet;
};
struct AttachUplink {
    std::string link;
};
struct AttachBridge {
    std::string link;
};
struct AttachVxlan {
    std::string link;
};
/// Program, device entry and settings of lo.
struct ServeLoopback {};
struct DetachHooks {
    std::uint32_t ifindex;
};
/// Bridge port, map entries and programs of an endpoint whose veth is there.
struct InstallEndpoint {
    Endpoint endpoint;
    Network network;
    std::string why{};
};
struct DropEndpoint {
    std::uint32_t ifindex;
};
struct PutAddress {
    fnet_address_key key;
    fnet_address value;
};
struct DropAddress {
    fnet_address_key key;
};
/// The peer at an index; what the packet path knows of the way there is forgotten.
struct PutTunnel {
    std::uint32_t index;
    IpAddress peer;
};
struct DropTunnel {
    std::uint32_t index;
};
/// The index of @p bridge is filled in by whoever carries it out, and the count of learned addresses kept but for `unlearned`.
struct PutVtep {
    fnet_vtep_key key;
    fnet_vtep value;
    std::string bridge{};  ///< empty: none
    std::uint32_t unlearned = 0;
};
struct DropVtep {
    fnet_vtep_key key;
};
/// With its lists of sources.
struct PutService {
    PublishedPort port;
    ServiceRows rows;
};
struct DropService {
    fnet_service_key key;
    std::uint32_t service_id;
};
struct DropSources {
    std::vector<fnet_source_key> keys;
};

using Step = std::variant<MakeBridge, MakeVxlan, FloodTo, StopFloodTo, RemoveLink, PutDevice, DropDevice, PutSubnet, DropSubnet,
                          AttachUplink, AttachBridge, AttachVxlan, ServeLoopback, DetachHooks, InstallEndpoint, DropEndpoint, PutAddress,
                          DropAddress, PutTunnel, DropTunnel, PutVtep, DropVtep, PutService, DropService, DropSources>;
using Plan = std::vector<Step>;

/// One line, for people.
std::string describe(const Step& step);
std::string explain(const Step& step);  ///< with the reason, where one is known
RepairKind kind_of(const Step& step);
std::string subject_of(const Step& step);  ///< the name of the link that it is about; empty: none

/// The order is safe at every cut: what restricts comes before what permits, what permits goes first.
Plan diff(const DesiredState& desired, const ActualState& actual);

/// Parts of diff() that are useful alone.
/// Of @p peers those that are the network's count.
BridgeState bridge_wanted(const Network& network, std::uint32_t default_mtu, const std::vector<Peer>& peers);
VxlanState vxlan_wanted(const Network& network, std::uint32_t default_mtu, const std::vector<Peer>& peers, const VtepAddresses& vtep);

}  // namespace fastnet
