#include "userspace/cluster/records.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "userspace/cluster/keys.h"
#include "userspace/control/translate.h"
#include "userspace/model/names.h"
#include "userspace/model/network_options.h"
#include "userspace/model/peer.h"

namespace fastnet::cluster {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 4;  // the record, `subnets`, one of them, and its members
constexpr std::size_t kMaxVersion = 64;
constexpr std::size_t kMaxOptions = 32;
constexpr std::string_view kScope = "scope";

/// An object without anything that two readers could read in two ways: too deep, or a member twice.
Result<Json> parse_object(std::string_view text) {
    if (text.size() > kMaxValue) return usage_error("value of " + std::to_string(text.size()) + " bytes: at most 4096 are read");
    std::vector<std::set<std::string>> members;
    bool too_deep = false;
    bool twice = false;
    const auto look = [&](int depth, Json::parse_event_t event, Json& parsed) {
        too_deep |= depth > kMaxDepth;
        if (event == Json::parse_event_t::object_start) members.emplace_back();
        if (event == Json::parse_event_t::object_end && !members.empty()) members.pop_back();
        if (event == Json::parse_event_t::key && !members.empty())
            twice |= !members.back().insert(parsed.get_ref<const std::string&>()).second;
        return true;
    };
    Json json = Json::parse(text.begin(), text.end(), look, false);
    if (json.is_discarded()) return usage_error("value is no JSON");
    if (!json.is_object()) return usage_error("value is no JSON object");
    if (too_deep) return usage_error("value is nested too deeply");
    if (twice) return usage_error("value has a member twice");
    return json;
}

Error bad_member(const char* name, std::string_view why) {
    return usage_error(std::string{"'"} + name + "' " + std::string{why});
}

/// Null means the same as absent.
const Json* member(const Json& json, const char* name) {
    const auto found = json.find(name);
    return found == json.end() || found->is_null() ? nullptr : &*found;
}

Result<std::string> text_of(const Json& json, const char* name) {
    const Json* const value = member(json, name);
    if (value == nullptr) return bad_member(name, "is missing");
    if (!value->is_string()) return bad_member(name, "is no string");
    return value->get<std::string>();
}

Result<std::string> uid_of(const Json& json, const char* name) {
    std::string uid = TRY(text_of(json, name));
    if (!is_uid(uid)) return bad_member(name, "is not 32 lower-case hex digits");
    return uid;
}

Result<std::string> name_of(const Json& json, const char* what) {
    std::string name = TRY(text_of(json, "name"));
    CHECK_OK(check_name(name, what));
    return name;
}

Result<bool> flag_of(const Json& json, const char* name, bool otherwise) {
    const Json* const value = member(json, name);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) return bad_member(name, "is neither true nor false");
    return value->get<bool>();
}

Result<std::uint32_t> number_of(const Json& json, const char* name, std::uint32_t highest) {
    const Json* const value = member(json, name);
    if (value == nullptr) return std::uint32_t{0};
    if (!value->is_number_unsigned()) return bad_member(name, "is no number from 0 on");
    const auto number = value->get<std::uint64_t>();
    if (number > highest) return bad_member(name, "is above " + std::to_string(highest));
    return static_cast<std::uint32_t>(number);
}

Result<std::optional<IpAddress>> address_of(const Json& json, const char* name, std::optional<Family> family) {
    if (member(json, name) == nullptr) return std::optional<IpAddress>{};
    const std::string text = TRY(text_of(json, name));
    const auto address = IpAddress::parse(text);
    if (!address) return bad_member(name, "is no address");
    if (family && address->family() != *family) return bad_member(name, "is an address of the other family");
    return std::optional<IpAddress>{*address};
}

Result<std::optional<IpPrefix>> prefix_of(const Json& json, const char* name) {
    if (member(json, name) == nullptr) return std::optional<IpPrefix>{};
    const std::string text = TRY(text_of(json, name));
    const auto prefix = IpPrefix::parse(text);
    if (!prefix) return bad_member(name, "is no prefix");
    return std::optional<IpPrefix>{*prefix};
}

Status read_subnets(const Json& json, NetworkRecord& record) {
    const Json* const subnets = member(json, "subnets");
    if (subnets == nullptr) return ok();
    if (!subnets->is_array() || subnets->size() > 2) return bad_member("subnets", "is no list of at most two");
    for (const Json& one : *subnets) {
        if (!one.is_object()) return bad_member("subnets", "has an entry that is no object");
        const auto subnet = TRY(prefix_of(one, "subnet"));
        if (!subnet) return bad_member("subnets", "has an entry without 'subnet'");
        const auto gateway = TRY(address_of(one, "gateway", subnet->family()));
        if (!gateway) return bad_member("subnets", "has an entry without 'gateway'");
        record.subnets.push_back(*subnet);
        record.gateways.push_back(*gateway);
        if (const auto range = TRY(prefix_of(one, "ip_range"))) record.ip_ranges.push_back(*range);
    }
    return ok();
}

Status read_options(const Json& json, NetworkRecord& record) {
    const Json* const options = member(json, "options");
    if (options == nullptr) return ok();
    if (!options->is_object() || options->size() > kMaxOptions) return bad_member("options", "is no object of at most 32");
    for (const auto& [key, value] : options->items()) {
        if (!value.is_string()) return bad_member("options", "has a value that is no string");
        record.options.emplace(key, value.get<std::string>());
    }
    auto canonical = canonical_options(NetworkDriver::kOverlay, record.options);
    if (!canonical) return std::move(canonical).error();
    if (*canonical != record.options || record.options.contains(std::string{kScope}))
        return bad_member("options", "has a key that is not spelled as fastnet does");
    return ok();
}

template <typename T>
void set(Json& json, const char* name, const std::optional<T>& value) {
    if (value) json[name] = value->to_string();
}

}  // namespace

Network network_from(const NetworkRecord& record) {
    Network network;
    network.name = record.name;
    network.driver = NetworkDriver::kOverlay;
    network.subnets = record.subnets;
    network.gateways = record.gateways;
    network.ip_ranges = record.ip_ranges;
    network.mtu = record.mtu;
    network.internal = record.internal;
    network.icc = record.icc;
    network.vni = record.vni;
    network.options = record.options;
    return network;
}

NetworkRecord record_of(const Network& network, std::string uid) {
    NetworkRecord record;
    record.uid = std::move(uid);
    record.name = network.name;
    record.vni = network.vni;
    record.mtu = network.mtu;
    record.internal = network.internal;
    record.icc = network.icc;
    record.options = network.options;
    record.options.erase(std::string{kScope});
    // Family by family, so that the order in which somebody named them makes no difference.
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
        if (const auto subnet = network.subnet(family)) record.subnets.push_back(*subnet);
        if (const auto gateway = network.gateway(family)) record.gateways.push_back(*gateway);
        if (const auto range = network.ip_range(family)) record.ip_ranges.push_back(*range);
    }
    return record;
}

bool same_arguments(const NetworkRecord& a, const NetworkRecord& b) {
    return record_of(network_from(a), {}) == record_of(network_from(b), {});
}

std::string encode(const NodeRecord& record) {
    Json json{{"uid", record.uid}, {"name", record.name}, {"version", record.version}};
    set(json, "ipv4", record.ipv4);
    set(json, "ipv6", record.ipv6);
    return json.dump();
}

std::string encode(const VtepRecord& record) {
    return Json{{"uid", record.uid}, {"name", record.name}}.dump();
}

std::string encode(const NetworkRecord& record) {
    if (record.removed) return Json{{"uid", record.uid}, {"name", record.name}, {"removed", true}}.dump();
    const Network network = network_from(record);
    Json subnets = Json::array();
    for (const IpPrefix& subnet : record.subnets) {
        Json one{{"subnet", subnet.to_string()}};
        set(one, "gateway", network.gateway(subnet.family()));
        set(one, "ip_range", network.ip_range(subnet.family()));
        subnets.push_back(std::move(one));
    }
    const Json json{{"uid", record.uid}, {"name", record.name},         {"vni", record.vni}, {"subnets", std::move(subnets)},
                    {"mtu", record.mtu}, {"internal", record.internal}, {"icc", record.icc}, {"options", record.options}};
    return json.dump();
}

std::string encode(const BlockRecord& record) {
    return Json{{"uid", record.uid}, {"name", record.name}}.dump();
}

std::string encode(const EndpointRecord& record) {
    Json json{{"uid", record.uid}, {"network", record.network}, {"name", record.name}, {"mac", record.mac.to_string()}};
    set(json, "ipv4", record.ipv4);
    set(json, "ipv6", record.ipv6);
    return json.dump();
}

Result<NodeRecord> decode_node(std::string_view value) {
    const Json json = TRY(parse_object(value));
    NodeRecord record;
    record.uid = TRY(uid_of(json, "uid"));
    record.name = TRY(name_of(json, "node"));
    record.ipv4 = TRY(address_of(json, "ipv4", Family::kIpv4));
    record.ipv6 = TRY(address_of(json, "ipv6", Family::kIpv6));
    if (!record.ipv4 && !record.ipv6) return usage_error("neither 'ipv4' nor 'ipv6' is there");
    for (const auto& address : {record.ipv4, record.ipv6})
        if (address) CHECK_OK(check_peer_address(*address));
    record.version = TRY(text_of(json, "version"));
    const bool printable = std::all_of(record.version.begin(), record.version.end(), [](char c) { return c > ' ' && c < 0x7f; });
    if (record.version.size() > kMaxVersion || !printable) return bad_member("version", "is not at most 64 printable characters");
    return record;
}

Result<VtepRecord> decode_vtep(std::string_view value) {
    const Json json = TRY(parse_object(value));
    VtepRecord record;
    record.uid = TRY(uid_of(json, "uid"));
    record.name = TRY(name_of(json, "node"));
    return record;
}

Result<NetworkRecord> decode_network(std::string_view value) {
    const Json json = TRY(parse_object(value));
    NetworkRecord record;
    record.uid = TRY(uid_of(json, "uid"));
    record.name = TRY(name_of(json, "network"));
    record.removed = TRY(flag_of(json, "removed", false));
    if (record.removed) return record;
    record.vni = TRY(number_of(json, "vni", kMaxVni));
    record.mtu = TRY(number_of(json, "mtu", UINT32_MAX));
    record.internal = TRY(flag_of(json, "internal", false));
    record.icc = TRY(flag_of(json, "icc", true));
    CHECK_OK(read_subnets(json, record));
    if (record.subnets.empty()) return bad_member("subnets", "is empty");
    CHECK_OK(read_options(json, record));
    CHECK_OK(validate(network_from(record)));
    return record;
}

Result<BlockRecord> decode_block(std::string_view value) {
    const Json json = TRY(parse_object(value));
    BlockRecord record;
    record.uid = TRY(uid_of(json, "uid"));
    record.name = TRY(name_of(json, "node"));
    return record;
}

Result<EndpointRecord> decode_endpoint(std::string_view value) {
    const Json json = TRY(parse_object(value));
    EndpointRecord record;
    record.uid = TRY(uid_of(json, "uid"));
    record.network = TRY(uid_of(json, "network"));
    record.name = TRY(name_of(json, "endpoint"));
    record.ipv4 = TRY(address_of(json, "ipv4", Family::kIpv4));
    record.ipv6 = TRY(address_of(json, "ipv6", Family::kIpv6));
    if (!record.ipv4 && !record.ipv6) return usage_error("neither 'ipv4' nor 'ipv6' is there");
    const std::string mac = TRY(text_of(json, "mac"));
    const auto parsed = MacAddress::parse(mac);
    if (!parsed) return bad_member("mac", "is no MAC address");
    if (parsed->is_multicast() || parsed->is_zero() || *parsed == kGatewayMac)
        return bad_member("mac", "is no address of one container: " + parsed->to_string());
    record.mac = *parsed;
    return record;
}

}  // namespace fastnet::cluster
