#include "userspace/cluster/judge.h"

#include <utility>

#include "userspace/model/address_pool.h"

namespace fastnet::cluster {
namespace {

template <typename Judged>
Judged reject(Judged judged, Reason reason, std::string why) {
    judged.reason = reason;
    judged.why = std::move(why);
    judged.waits = false;
    return judged;
}

template <typename Judged>
Judged wait(Judged judged, Reason reason, std::string why) {
    judged = reject(std::move(judged), reason, std::move(why));
    judged.waits = true;
    return judged;
}

/// Of one family on both sides: a vxlan device has one socket. IPv4 if this node has it, so that all its peers are of one family.
std::optional<IpAddress> tunnel_end(const Here& here, const RemoteNode& node) {
    return here.ipv4 ? node.ipv4 : here.ipv6 ? node.ipv6 : std::nullopt;
}

JudgedNode judge_address(const Mirror& mirror, const Here& here, const IpAddress& address, JudgedNode judged) {
    const std::string what = "address " + address.to_string();
    const Entry<VtepRecord>* const vtep = mirror.vtep(address);
    if (vtep == nullptr) return wait(std::move(judged), Reason::kUnfitNode, what + " is not claimed below vteps/");
    if (vtep->record.uid != judged.node.uid || vtep->record.name != judged.node.name)
        return reject(std::move(judged), Reason::kUnfitNode, what + " is that of node '" + vtep->record.name + "'");
    if (address == here.ipv4 || address == here.ipv6) return reject(std::move(judged), Reason::kUnfitNode, what + " is this node's");
    for (const auto& [uid, local] : here.networks)
        for (const IpPrefix& subnet : local.network.subnets)
            if (subnet.contains(address))
                return reject(std::move(judged), Reason::kUnfitNode,
                              what + " is inside the subnet of network '" + local.network.name + "'");
    return judged;
}

JudgedEndpoint judge_place(const Mirror& mirror, const LocalNetwork& local, const std::string& uid, const IpAddress& address,
                           JudgedEndpoint judged) {
    const std::string what = "address " + address.to_string();
    const auto subnet = local.network.subnet(address.family());
    if (!subnet || !subnet->contains(address))
        return reject(std::move(judged), Reason::kOutsideSubnet, what + " is outside the subnets of network '" + local.network.name + "'");
    const auto usable = usable_addresses(*subnet, std::nullopt);
    if (!usable || !usable->contains(address) || address == local.network.gateway(address.family()))
        return reject(std::move(judged), Reason::kOutsideSubnet,
                      what + " is the gateway, network or broadcast address of network '" + local.network.name + "'");
    const auto& layout = local.layout(address.family());
    const auto prefix = layout ? layout->block_of(address) : std::nullopt;
    if (!prefix)
        return reject(std::move(judged), Reason::kOutsideBlock, what + " is outside the range of network '" + local.network.name + "'");
    const Entry<BlockRecord>* const block = mirror.block({local.network.uid, *prefix});
    if (block == nullptr)
        return wait(std::move(judged), Reason::kOutsideBlock, what + " is in a block that nobody owns: " + prefix->to_string());
    if (block->record.uid != uid)
        return reject(std::move(judged), Reason::kOutsideBlock,
                      what + " is in block " + prefix->to_string() + " of node '" + block->record.name + "'");
    return judged;
}

}  // namespace

std::string to_string(Reason reason) {
    switch (reason) {
        case Reason::kNone: return "none";
        case Reason::kUnreadable: return "unreadable";
        case Reason::kUnknownNode: return "unknown_node";
        case Reason::kUnfitNode: return "unfit_node";
        case Reason::kUnknownNetwork: return "unknown_network";
        case Reason::kOutsideSubnet: return "outside_subnet";
        case Reason::kOutsideBlock: return "outside_block";
        case Reason::kTakenAddress: return "taken_address";
        case Reason::kTakenMac: return "taken_mac";
        case Reason::kRefusedHere: return "refused_here";
        case Reason::kNetworkConflict: return "network_conflict";
    }
    return "unknown";
}

LocalNetwork local_network(const Network& network) {
    return {network, block_layout(network, Family::kIpv4), block_layout(network, Family::kIpv6)};
}

JudgedNode judge_node(const Mirror& mirror, const Here& here, const std::string& name) {
    JudgedNode judged;
    judged.node.name = name;
    const Entry<NodeRecord>* const entry = mirror.node(name);
    if (entry == nullptr) return wait(std::move(judged), Reason::kUnknownNode, "is not in the cluster");
    const NodeRecord& record = entry->record;
    judged.node.uid = record.uid;
    judged.node.ipv4 = record.ipv4;
    judged.node.ipv6 = record.ipv6;
    if (name == here.name) return reject(std::move(judged), Reason::kUnknownNode, "is this node");
    if (record.uid == here.uid) return reject(std::move(judged), Reason::kUnfitNode, "has this node's uid");
    for (const auto& address : {record.ipv4, record.ipv6}) {
        if (!address) continue;
        judged = judge_address(mirror, here, *address, std::move(judged));
        if (!judged.taken()) return judged;
    }
    return judged;
}

JudgedEndpoint judge_endpoint(const Mirror& mirror, const Here& here, const EndpointKey& key) {
    JudgedEndpoint judged;
    judged.spec.ref = ref_of(key);
    judged.spec.node = key.node;
    const Entry<EndpointRecord>* const entry = mirror.endpoint(key);
    if (entry == nullptr) return wait(std::move(judged), Reason::kUnreadable, "is not there");
    const EndpointRecord& record = entry->record;
    judged.spec.name = record.name;
    judged.spec.network_uid = record.network;
    judged.spec.ipv4 = record.ipv4;
    judged.spec.ipv6 = record.ipv6;
    judged.spec.mac = record.mac;
    const JudgedNode node = judge_node(mirror, here, key.node);
    if (!node.taken()) {
        judged = reject(std::move(judged), node.reason, "node '" + key.node + "': " + node.why);
        judged.waits = node.waits;
        return judged;
    }
    if (node.node.uid != record.uid) return reject(std::move(judged), Reason::kUnknownNode, "'uid' is not that of node '" + key.node + "'");
    if (!here.ipv4 && !here.ipv6) return wait(std::move(judged), Reason::kUnfitNode, "this node has no address for tunnels yet");
    const auto peer = tunnel_end(here, node.node);
    if (!peer)
        return reject(std::move(judged), Reason::kUnfitNode,
                      "node '" + key.node + "' has no " + (here.ipv4 ? "IPv4" : "IPv6") + " address for tunnels, which this node uses");
    judged.spec.peer = *peer;
    const auto local = here.networks.find(record.network);
    if (local == here.networks.end())
        return wait(std::move(judged), Reason::kUnknownNetwork, "network " + record.network + " is not shared with this node");
    for (const auto& address : {record.ipv4, record.ipv6}) {
        if (!address) continue;
        judged = judge_place(mirror, local->second, record.uid, *address, std::move(judged));
        if (!judged.taken()) return judged;
    }
    return judged;
}

}  // namespace fastnet::cluster
