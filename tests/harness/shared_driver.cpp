// Calls what the agent calls of control (shared.h), for tests without an agent and without etcd: reads one JSON object from standard
// input, `{"do": "apply", ...}`, prints one, and exits with the contract's status. Started inside a node's namespace.
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "userspace/control/kernel.h"
#include "userspace/control/node.h"
#include "userspace/control/shared.h"

namespace fastnet {
namespace {

using nlohmann::json;

template <typename T>
std::optional<T> maybe(const json& value, const char* field) {
    if (!value.contains(field)) return std::nullopt;
    return T::parse(value[field].get<std::string>()).value();
}

std::vector<std::string> words(const json& value, const char* field) {
    return value.contains(field) ? value[field].get<std::vector<std::string>>() : std::vector<std::string>{};
}

RemoteChange change_from(const json& request) {
    RemoteChange change;
    change.drop_nodes = words(request, "drop_nodes");
    change.drop_refs = words(request, "drop_refs");
    for (const json& node : request.value("put_nodes", json::array()))
        change.put_nodes.push_back({node["name"], node["uid"], maybe<IpAddress>(node, "ipv4"), maybe<IpAddress>(node, "ipv6")});
    for (const json& spec : request.value("put", json::array()))
        change.put.push_back({spec["ref"], spec["node"], spec["name"], spec["uid"], maybe<IpAddress>(spec, "ipv4"),
                              maybe<IpAddress>(spec, "ipv6"), MacAddress::parse(spec["mac"].get<std::string>()).value(),
                              IpAddress::parse(spec["peer"].get<std::string>()).value()});
    return change;
}

json json_of(const std::vector<Rejected>& rejected) {
    json list = json::object();
    for (const Rejected& one : rejected) list[one.ref] = one.why;
    return list;
}

json json_of(const OwnNetwork& own) {
    json value{{"name", own.network.name}, {"uid", own.network.uid}, {"blocks", json::object()}, {"endpoints", json::object()}};
    for (const OwnBlock& block : own.blocks) value["blocks"][block.prefix.to_string()] = block.free;
    for (const Endpoint& endpoint : own.endpoints)
        value["endpoints"][endpoint.name] = endpoint.ipv4 ? endpoint.ipv4->address().to_string() : "";
    value["wants"] = json::array();
    if (own.wants_ipv4_block) value["wants"].push_back("ipv4");
    if (own.wants_ipv6_block) value["wants"].push_back("ipv6");
    return value;
}

json json_of(const SharedState& state) {
    json value{{"shared", json::array()},
               {"to_share", json::array()},
               {"removed", json::object()},
               {"nodes", json::object()},
               {"remotes", json::object()}};
    for (const OwnNetwork& own : state.own.shared) value["shared"].push_back(json_of(own));
    for (const OwnNetwork& own : state.own.to_share) value["to_share"].push_back(json_of(own));
    for (const RemovedNetwork& removed : state.own.removed) value["removed"][removed.uid] = removed.name;
    for (const RemoteNode& node : state.nodes) value["nodes"][node.name] = node.ipv4 ? node.ipv4->to_string() : "";
    for (const RemoteSpec& spec : state.remotes) value["remotes"][spec.ref] = spec.peer.to_string();
    return value;
}

Network network_from(const json& request) {
    Network network;
    network.name = request["name"];
    network.uid = request["uid"];
    network.vni = request["vni"];
    for (const std::string& subnet : words(request, "subnets")) network.subnets.push_back(IpPrefix::parse(subnet).value());
    for (const IpPrefix& subnet : network.subnets) network.gateways.push_back(default_gateway(subnet));
    network.mtu = request.value("mtu", 0U);
    return network;
}

/// What repair() would do, by the database and the kernel as they are.
Result<json> differences(const NodePaths& paths) {
    Node node = TRY(Node::open(paths, Need::kExisting));
    DesiredState desired;
    desired.default_mtu = node.default_mtu();
    desired.vtep = TRY(stored_vtep(node.store()));
    for (const Uplink& uplink : node.uplinks()) desired.uplinks.push_back(uplink.name);
    for (Network& network : TRY(node.store().networks()))
        if (has_bridge(network.driver)) desired.networks.push_back(std::move(network));
    for (Endpoint& endpoint : TRY(node.store().endpoints()))
        if (has_veth(endpoint.mode)) desired.endpoints.push_back(std::move(endpoint));
    desired.ports = TRY(node.store().ports());
    desired.peers = TRY(node.store().peers());
    desired.remotes = TRY(node.store().remote_endpoints());
    const ActualState actual = TRY(read_actual(node.netlink(), node.datapath()));
    json steps = json::array();
    for (const Step& step : diff(desired, actual)) steps.push_back(describe(step));
    return steps;
}

Result<json> act(const NodePaths& paths, const json& request) {
    const std::string verb = request["do"];
    const auto uid = [&] { return request["uid"].get<std::string>(); };
    const auto block = [&] { return IpPrefix::parse(request["block"].get<std::string>()); };
    if (verb == "apply") {
        const RemoteChange change = change_from(request);
        const auto start = std::chrono::steady_clock::now();
        const RemoteOutcome outcome = TRY(apply_remote_change(paths, change));
        const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
        return json{{"changed", outcome.changed},
                    {"rejected", json_of(outcome.rejected)},
                    {"rejected_nodes", json_of(outcome.rejected_nodes)},
                    {"ms", took.count()}};
    }
    if (verb == "state") return json_of(TRY(read_shared(paths)));
    if (verb == "differences") return differences(paths);
    if (verb == "join") return json{{"bridge", TRY(join_network(paths, network_from(request))).bridge}};
    if (verb == "share") CHECK_OK(share_network(paths, request["name"], uid()));
    if (verb == "leave") CHECK_OK(leave_network(paths, uid()));
    if (verb == "forget") CHECK_OK(forget_removed(paths, uid()));
    if (verb == "add_block") {
        const IpPrefix prefix = TRY(block());
        CHECK_OK(add_block(paths, uid(), prefix));
    }
    if (verb == "remove_block") {
        const IpPrefix prefix = TRY(block());
        CHECK_OK(remove_block(paths, uid(), prefix));
    }
    if (verb == "cluster")
        CHECK_OK(set_cluster_name(paths, request.contains("node") ? std::optional{request["node"].get<std::string>()} : std::nullopt));
    return json{{"done", verb}};
}

}  // namespace
}  // namespace fastnet

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    const auto request = nlohmann::json::parse(std::cin);
    const auto answer = fastnet::act(fastnet::paths_for(argv[1]), request);
    if (!answer) {
        std::cerr << answer.error().message << "\n" << answer.error().hint << "\n";
        return static_cast<int>(answer.error().kind);
    }
    std::cout << answer->dump() << "\n";
    return 0;
}
