// Small clusters for the tests of pure decisions: who is there, in etcd's words.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "userspace/cluster/own_plan.h"
#include "userspace/cluster/remote_plan.h"

namespace fastnet::cluster::test {

inline IpAddress ip(const char* text) {
    return *IpAddress::parse(text);
}
inline IpPrefix prefix(const char* text) {
    return *IpPrefix::parse(text);
}
inline std::string uid(char c) {
    return std::string(32, c);
}
inline const KeySpace& keys() {
    static const KeySpace space = *KeySpace::make("/test");
    return space;
}

/// blue, 10.9.0.0/20 and fd00:9::/64: blocks of /28 and /88.
inline NetworkRecord blue() {
    NetworkRecord record;
    record.uid = uid('b');
    record.name = "blue";
    record.vni = 42;
    record.subnets = {prefix("10.9.0.0/20"), prefix("fd00:9::/64")};
    record.gateways = {ip("10.9.0.1"), ip("fd00:9::1")};
    return record;
}

inline Network joined(const NetworkRecord& record, std::uint32_t id = 7) {
    Network network = network_from(record);
    network.uid = record.uid;
    network.id = id;
    return network;
}

/// etcd as the mirror sees it, one revision per change.
class FakeEtcd {
public:
    Mirror mirror{keys()};

    Touched put(const Key& key, std::string value, std::int64_t lease = 0) { return put_path(keys().path(key), std::move(value), lease); }
    Touched put_path(const std::string& path, std::string value, std::int64_t lease = 0) {
        ++revision;
        const auto found = std::find_if(kvs.begin(), kvs.end(), [&](const KeyValue& kv) { return kv.key == path; });
        KeyValue kv{path, std::move(value), found == kvs.end() ? revision : found->create_revision, revision, 1, lease, false};
        if (found == kvs.end())
            kvs.push_back(kv);
        else
            *found = kv;
        return mirror.apply({{false, kv}}, revision);
    }
    Touched erase(const Key& key) { return erase(std::vector<Key>{key}); }
    Touched erase(const std::vector<Key>& gone) {  // one transaction
        ++revision;
        std::vector<WatchEvent> events;
        for (const Key& key : gone) {
            const std::string path = keys().path(key);
            std::erase_if(kvs, [&](const KeyValue& kv) { return kv.key == path; });
            events.push_back({true, KeyValue{path, "", 0, revision, 0, 0, false}});
        }
        return mirror.apply(events, revision);
    }
    Touched wipe() {
        kvs.clear();
        return mirror.reset(kvs, ++revision);
    }
    /// Does what etcd would: nothing if a compare fails.
    bool run(const Txn& txn) {
        for (const Compare& compare : txn.compares) {
            const auto found = std::find_if(kvs.begin(), kvs.end(), [&](const KeyValue& kv) { return kv.key == compare.key; });
            if ((found == kvs.end() ? 0 : found->mod_revision) != compare.number) return false;
        }
        for (const TxnOp& op : txn.then) {
            if (op.kind == TxnOp::Kind::kPut)
                put_path(op.key, op.value, op.lease);
            else
                erase(*keys().parse(op.key));
        }
        return true;
    }

    /// A node with its VTEP.
    void add_node(const std::string& name, char id, const char* address, std::int64_t lease = 1) {
        const IpAddress vtep = ip(address);
        NodeRecord record{uid(id), name, std::nullopt, std::nullopt, "1"};
        (vtep.family() == Family::kIpv4 ? record.ipv4 : record.ipv6) = vtep;
        put(VtepKey{vtep}, encode(VtepRecord{uid(id), name}), lease);
        put(NodeKey{name}, encode(record), lease);
    }
    Touched add_block(const std::string& name, char id, const char* block, const std::string& network = uid('b')) {
        return put(BlockKey{network, prefix(block)}, encode(BlockRecord{uid(id), name}));
    }
    Touched add_endpoint(const std::string& node, char id, std::uint32_t number, const char* address, const char* mac = nullptr) {
        return put(EndpointKey{node, number}, encode(endpoint(id, address, mac)), 1);
    }
    static EndpointRecord endpoint(char id, const char* address, const char* mac = nullptr) {
        return {uid(id), uid('b'), "web", ip(address), std::nullopt, mac != nullptr ? *MacAddress::parse(mac) : mac_for(ip(address))};
    }

    std::vector<KeyValue> kvs;
    std::int64_t revision = 100;
};

inline Self self_a() {
    return {"a", uid('a'), ip("192.0.2.1"), std::nullopt, "1"};
}
inline Here here_a() {
    Here here{"a", uid('a'), ip("192.0.2.1"), std::nullopt, {}};
    here.networks.emplace(uid('b'), local_network(joined(blue())));
    return here;
}

}  // namespace fastnet::cluster::test
