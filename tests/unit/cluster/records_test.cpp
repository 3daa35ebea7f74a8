#include "userspace/cluster/records.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "tests/unit/cluster/cluster_builder.h"

namespace fastnet::cluster {
namespace {

using test::blue;
using test::FakeEtcd;
using test::ip;
using test::prefix;
using test::uid;
using Json = nlohmann::json;

const NodeRecord kNode{uid('a'), "a", ip("192.0.2.1"), ip("2001:db8::1"), "0.1.0"};

TEST(ClusterRecords, AreReadBackAsTheyWereWritten) {
    EXPECT_EQ(*decode_node(encode(kNode)), kNode);
    EXPECT_EQ(*decode_vtep(encode(VtepRecord{uid('a'), "a"})), (VtepRecord{uid('a'), "a"}));
    EXPECT_EQ(*decode_block(encode(BlockRecord{uid('a'), "a"})), (BlockRecord{uid('a'), "a"}));
    EXPECT_EQ(*decode_network(encode(blue())), blue());
    NetworkRecord full = blue();
    full.mtu = 1400;
    full.internal = true;
    full.icc = false;
    full.ip_ranges = {prefix("10.9.8.0/21")};
    full.options = {{"vxlan_guard", "on"}};
    EXPECT_EQ(*decode_network(encode(full)), full);
    NetworkRecord tombstone;
    tombstone.uid = uid('b');
    tombstone.name = "blue";
    tombstone.removed = true;
    EXPECT_EQ(*decode_network(encode(tombstone)), tombstone);
    const EndpointRecord endpoint = FakeEtcd::endpoint('a', "10.9.0.2");
    EXPECT_EQ(*decode_endpoint(encode(endpoint)), endpoint);
}

TEST(ClusterRecords, MembersThatAreNotKnownArePassedOver) {
    Json json = Json::parse(encode(kNode));
    json["later"] = {{"more", 1}};
    EXPECT_EQ(*decode_node(json.dump()), kNode);
}

TEST(ClusterRecords, OfAWrongTypeAreRefused) {
    const auto node = [](std::string_view value) { return decode_node(value).has_value(); };
    const auto network = [](std::string_view value) { return decode_network(value).has_value(); };
    const auto endpoint = [](std::string_view value) { return decode_endpoint(value).has_value(); };
    const std::vector<std::pair<std::string, bool (*)(std::string_view)>> records{
        {encode(kNode), node}, {encode(blue()), network}, {encode(FakeEtcd::endpoint('a', "10.9.0.2")), endpoint}};
    for (const auto& [good, reads] : records) {
        ASSERT_TRUE(reads(good));
        const Json json = Json::parse(good);
        for (const auto& [name, value] : json.items())
            for (const Json& other : {Json{-1}, Json{1e300}, Json{Json::array({1})}, Json{{"a", 1}}, Json{"\x01 nonsense"}, Json{true}}) {
                if (other.type() == value.type() && !value.is_string()) continue;
                Json changed = json;
                changed[name] = other;
                EXPECT_FALSE(reads(changed.dump())) << changed.dump();
            }
    }
}

TEST(ClusterRecords, WithoutWhatTheyNeedAreRefused) {
    for (const char* const name : {"uid", "name", "version"}) {
        Json json = Json::parse(encode(kNode));
        json.erase(name);
        EXPECT_FALSE(decode_node(json.dump())) << name;
    }
    for (const char* const name : {"uid", "name", "network", "mac", "ipv4"}) {
        Json json = Json::parse(encode(FakeEtcd::endpoint('a', "10.9.0.2")));
        json.erase(name);
        EXPECT_FALSE(decode_endpoint(json.dump())) << name;
    }
    for (const char* const name : {"uid", "name", "vni", "subnets"}) {
        Json json = Json::parse(encode(blue()));
        json.erase(name);
        EXPECT_FALSE(decode_network(json.dump())) << name;
    }
}

TEST(ClusterRecords, WithValuesThatMakeNoSenseAreRefused) {
    const auto changed = [](const std::string& good, const char* name, const Json& value) {
        Json json = Json::parse(good);
        json[name] = value;
        return json.dump();
    };
    const std::string node = encode(kNode);
    for (const auto& [name, value] : std::vector<std::pair<const char*, Json>>{{"uid", "short"},
                                                                               {"uid", uid('Z')},
                                                                               {"name", "../etc"},
                                                                               {"name", std::string(64, 'a')},
                                                                               {"ipv4", "2001:db8::1"},
                                                                               {"ipv4", "127.0.0.1"},
                                                                               {"ipv4", "224.0.0.1"},
                                                                               {"ipv4", "0.0.0.0"},
                                                                               {"ipv6", "fe80::1"},
                                                                               {"version", std::string(65, 'x')},
                                                                               {"version", "a b"}})
        EXPECT_FALSE(decode_node(changed(node, name, value))) << name << " " << value;
    const std::string endpoint = encode(FakeEtcd::endpoint('a', "10.9.0.2"));
    for (const auto& [name, value] : std::vector<std::pair<const char*, Json>>{{"mac", "01:00:5e:00:00:01"},
                                                                               {"mac", "00:00:00:00:00:00"},
                                                                               {"mac", "ff:ff:ff:ff:ff:ff"},
                                                                               {"mac", "02:66:6e:00:00:01"},
                                                                               {"mac", "02:42"},
                                                                               {"ipv4", "10.9.0.2/24"}})
        EXPECT_FALSE(decode_endpoint(changed(endpoint, name, value))) << name << " " << value;
    const std::string network = encode(blue());
    for (const auto& [name, value] : std::vector<std::pair<const char*, Json>>{
             {"vni", 0},
             {"vni", 16777216},
             {"mtu", 65536},
             {"options", {{"no_such", "on"}}},
             {"options", {{"vxlan_guard", "maybe"}}},
             {"options", {{"com.docker.network.bridge.vxlan_guard", "on"}}},
             {"subnets", Json::array()},
             {"subnets", Json::array({{{"subnet", "127.0.0.0/8"}, {"gateway", "127.0.0.1"}}})},
             {"subnets", Json::array({{{"subnet", "10.9.0.0/24"}, {"gateway", "10.8.0.1"}}})},
             {"subnets", Json::array({{{"subnet", "10.9.0.1/24"}, {"gateway", "10.9.0.1"}}})},
             {"subnets", Json::array({{{"subnet", "10.9.0.0/24"}}})},
             {"subnets",
              Json::array({{{"subnet", "10.9.0.0/24"}, {"gateway", "10.9.0.1"}}, {{"subnet", "10.8.0.0/24"}, {"gateway", "10.8.0.1"}}})}})
        EXPECT_FALSE(decode_network(changed(network, name, value))) << name << " " << value;
}

TEST(ClusterRecords, ThatCanBeReadInTwoWaysAreRefused) {
    const std::string good = encode(VtepRecord{uid('a'), "a"});
    ASSERT_TRUE(decode_vtep(good));
    EXPECT_FALSE(decode_vtep(good.substr(0, good.size() - 1) + ",\"name\":\"b\"}"));  // a member twice
    EXPECT_FALSE(decode_vtep(good + "x"));
    EXPECT_FALSE(decode_vtep(good + good));
    EXPECT_FALSE(decode_vtep(good.substr(0, good.size() - 1) + ",\"x\":[[[[1]]]]}"));
    EXPECT_TRUE(decode_vtep(good.substr(0, good.size() - 1) + ",\"x\":[[[1]]]}"));
    EXPECT_FALSE(decode_vtep(""));
    EXPECT_FALSE(decode_vtep("[]"));
    EXPECT_FALSE(decode_vtep("null"));
    EXPECT_FALSE(decode_vtep("{\"uid\":\"" + uid('a') + "\",\"name\":\"\xff\"}"));
}

TEST(ClusterRecords, AreAtMost4096BytesLong) {
    Json json = Json::parse(encode(VtepRecord{uid('a'), "a"}));
    const std::size_t rest = kMaxValue - json.dump().size() - std::string{",\"x\":\"\""}.size();
    json["x"] = std::string(rest, 'x');
    ASSERT_EQ(json.dump().size(), kMaxValue);
    EXPECT_TRUE(decode_vtep(json.dump()));
    json["x"] = std::string(rest + 1, 'x');
    EXPECT_FALSE(decode_vtep(json.dump()));
}

TEST(ClusterRecords, DeepNestingIsNoTroubleAtAll) {
    EXPECT_FALSE(decode_node(std::string(kMaxValue, '[')));
    std::string nested;
    for (int i = 0; i < 600; ++i) nested += "{\"a\":";
    EXPECT_FALSE(decode_node(nested));
}

TEST(ClusterRecords, RandomDamageNeverGivesWhatValidationForbids) {
    std::mt19937 random{20261121};
    const std::vector<std::string> values{encode(kNode), encode(blue()), encode(FakeEtcd::endpoint('a', "10.9.0.2")),
                                          encode(VtepRecord{uid('a'), "a"})};
    for (int i = 0; i < 40'000; ++i) {
        std::string value = values[random() % values.size()];
        for (std::size_t count = 1 + random() % 4; count > 0; --count) {
            const std::size_t at = random() % value.size();
            switch (random() % 3) {
                case 0: value[at] = static_cast<char>(random()); break;
                case 1: value.erase(at, 1 + random() % 5); break;
                default: value.insert(at, 1, "{}[]\",:0"[random() % 8]); break;
            }
            if (value.empty()) value = "x";
        }
        if (const auto node = decode_node(value)) {
            EXPECT_TRUE(is_uid(node->uid));
            EXPECT_TRUE(node->ipv4 || node->ipv6);
            EXPECT_EQ(*decode_node(encode(*node)), *node);
        }
        if (const auto network = decode_network(value)) {
            EXPECT_TRUE(network->removed || validate(network_from(*network)));
            EXPECT_EQ(*decode_network(encode(*network)), *network);
        }
        if (const auto endpoint = decode_endpoint(value)) {
            EXPECT_FALSE(endpoint->mac.is_multicast() || endpoint->mac.is_zero());
            EXPECT_EQ(*decode_endpoint(encode(*endpoint)), *endpoint);
        }
    }
}

TEST(ClusterRecords, NetworksAreTheSameWhateverTheOrderOfTheirSubnets) {
    NetworkRecord other = blue();
    other.uid = uid('c');
    std::swap(other.subnets[0], other.subnets[1]);
    std::swap(other.gateways[0], other.gateways[1]);
    EXPECT_TRUE(same_arguments(blue(), other));
    other.icc = false;
    EXPECT_FALSE(same_arguments(blue(), other));
}

}  // namespace
}  // namespace fastnet::cluster
