// The JSON that scripts rely on, field by field and in order; and that the tables are for people.
#include "userspace/cli/render.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace fastnet {
namespace {

using nlohmann::ordered_json;

EndpointView web() {
    EndpointView view;
    view.endpoint.name = "web";
    view.endpoint.netns = "web";
    view.endpoint.ifname = "eth0";
    view.endpoint.mac = *MacAddress::parse("02:42:ac:1e:00:02");
    view.endpoint.ipv4 = *IpPrefix::parse_interface("172.30.0.2/16");
    view.endpoint.gateway4 = *IpAddress::parse("172.30.0.1");
    view.endpoint.mtu = 1500;
    view.network = "default";
    PublishedPort port;
    port.host_ip = IpAddress::any(Family::kIpv4);
    port.host_ports = {Port{2000}, Port{2000}};
    port.container_ports = {Port{80}, Port{80}};
    view.ports.push_back(port);
    port.host_ip = IpAddress::any(Family::kIpv6);
    port.host_ports = {Port{3000}, Port{3009}};
    port.container_ports = {Port{4000}, Port{4009}};
    port.protocol = Protocol::kUdp;
    view.ports.push_back(port);
    return view;
}

ordered_json json(const std::string& text) {
    EXPECT_EQ(text.back(), '\n');
    return ordered_json::parse(text);
}

TEST(Json, EndpointHasTheFieldsOfTheContract) {
    EXPECT_EQ(json(render(web(), Format::kJson)), ordered_json::parse(R"({
        "name": "web", "mode": "bridge", "network": "default", "netns": "web", "ifname": "eth0", "ipv4": "172.30.0.2/16", "ipv6": null,
        "mac": "02:42:ac:1e:00:02", "gateway": "172.30.0.1", "gateway6": null, "mtu": 1500, "gateway_priority": 0,
        "published": [
            {"host_ip": "0.0.0.0", "host_port": 2000, "host_port_end": null, "container_port": 80, "container_port_end": null, "protocol": "tcp"},
            {"host_ip": "::", "host_port": 3000, "host_port_end": 3009, "container_port": 4000, "container_port_end": 4009, "protocol": "udp"}]
    })"));
}

TEST(Json, EndpointWithoutNetworkHasNulls) {
    EndpointView view;
    view.endpoint.name = "quiet";
    view.endpoint.mode = EndpointMode::kNone;
    view.endpoint.netns = "q";
    const ordered_json value = json(render(view, Format::kJson));
    for (const char* field : {"network", "ifname", "ipv4", "ipv6", "mac", "gateway", "gateway6", "mtu"})
        EXPECT_TRUE(value.at(field).is_null()) << field;
    EXPECT_EQ(value["published"], ordered_json::array());
}

TEST(Json, ListsAreArraysAlsoWhenEmpty) {
    EXPECT_EQ(render(std::vector<EndpointView>{}, Format::kJson), "[]\n");
    EXPECT_EQ(render(std::vector<PortView>{}, Format::kJson), "[]\n");
    EXPECT_EQ(render(std::vector<FlowView>{}, Format::kJson), "[]\n");
    EXPECT_EQ(render(std::vector<NetworkView>{}, Format::kJson), "[]\n");
    EXPECT_EQ(json(render(std::vector<EndpointView>{web(), web()}, Format::kJson)).size(), 2U);
}

TEST(Json, PortRowHasItsEndpointAndCounters) {
    PortView view{"web", web().ports[0], *IpAddress::parse("172.30.0.2"), 7, 700, 2};
    view.port.sources.allow = {*IpPrefix::parse("10.0.0.0/8"), *IpPrefix::parse_interface("2001:db8::1")};
    view.port.sources.deny = {*IpPrefix::parse("10.9.0.0/16")};
    EXPECT_EQ(json(render(std::vector<PortView>{view}, Format::kJson)), ordered_json::parse(R"([{
        "endpoint": "web", "host_ip": "0.0.0.0", "host_port": 2000, "host_port_end": null, "container_ip": "172.30.0.2",
        "container_port": 80, "container_port_end": null, "protocol": "tcp",
        "allow": ["10.0.0.0/8", "2001:db8::1/128"], "deny": ["10.9.0.0/16"], "packets": 7, "bytes": 700, "connections": 2}])"));
}

TEST(Json, FlowRowShowsBothTuples) {
    FlowView view;
    view.protocol = "tcp";
    view.state = "established";
    view.original = {*IpAddress::parse("192.0.2.1"), Port{45678}, *IpAddress::parse("192.0.2.2"), Port{2000}};
    view.translated = {*IpAddress::parse("192.0.2.1"), Port{45678}, *IpAddress::parse("172.30.0.2"), Port{80}};
    view.endpoint = "web";
    view.packets = 17;
    view.idle_seconds = 1.23456;
    view.expires_seconds = 7438.76544;
    EXPECT_EQ(json(render(std::vector<FlowView>{view}, Format::kJson)), ordered_json::parse(R"([{
        "protocol": "tcp", "state": "established", "original": {"src": "192.0.2.1", "sport": 45678, "dst": "192.0.2.2", "dport": 2000},
        "translated": {"src": "192.0.2.1", "sport": 45678, "dst": "172.30.0.2", "dport": 80}, "endpoint": "web", "packets": 17, "bytes": 0,
        "idle_seconds": 1.235, "expires_seconds": 7438.765}])"));
    view.endpoint.clear();
    EXPECT_TRUE(json(render(std::vector<FlowView>{view}, Format::kJson))[0]["endpoint"].is_null());
}

TEST(Json, StatsAreObjectsByName) {
    StatsView view;
    view.verdicts = {{"NOT_PUBLISHED", "drop", "text", 3, 180}};
    view.maps = {{"flows", 2, 524288, 8192}};
    view.endpoints = {{"web", 1, 2, 3, 4, 5}};
    const ordered_json value = json(render(view, Format::kJson));
    EXPECT_EQ(value["verdicts"]["NOT_PUBLISHED"]["packets"], 3);
    EXPECT_EQ(value["verdicts"]["NOT_PUBLISHED"]["bytes"], 180);
    EXPECT_EQ(value["maps"]["flows"], ordered_json::parse(R"({"entries": 2, "max_entries": 524288, "memory_bytes": 8192})"));
    EXPECT_EQ(value["endpoints"]["web"],
              ordered_json::parse(R"({"fast_packets": 1, "fast_bytes": 2, "kernel_packets": 3, "kernel_bytes": 4, "connections": 5})"));
    EXPECT_EQ(json(render(StatsView{}, Format::kJson)), ordered_json::parse(R"({"verdicts": {}, "maps": {}, "endpoints": {}})"));
}

TEST(Json, StatusCountsAndNamesItsUplinks) {
    StatusView view;
    view.kernel = "6.18";
    view.prepared = true;
    view.features = {{"tcx", true}};
    view.uplinks = {{"eth0", false, true, {"tcx ingress tc_uplink"}}};
    view.endpoints = 2;
    const ordered_json value = json(render(view, Format::kJson));
    for (const char* field :
         {"version", "kernel", "features", "uplinks", "networks", "endpoints", "ports", "flows", "agent", "memory_bytes"})
        EXPECT_TRUE(value.contains(field)) << field;
    EXPECT_EQ(value["features"]["tcx"], true);
    EXPECT_EQ(value["uplinks"][0]["name"], "eth0");
    EXPECT_EQ(value["uplinks"][0]["hooks"][0], "tcx ingress tc_uplink");
    EXPECT_EQ(value["agent"]["running"], false);
    EXPECT_EQ(value["endpoints"], 2);
}

TEST(Json, NetworkHasNullsForWhatIsNotSet) {
    NetworkView view;
    view.network.name = "blue";
    view.network.subnets = {*IpPrefix::parse("10.99.0.0/24")};
    view.network.gateways = {*IpAddress::parse("10.99.0.1")};
    view.mtu = 1400;
    view.endpoints = {web()};
    const ordered_json value = json(render(view, Format::kJson));
    EXPECT_EQ(value["subnet"], "10.99.0.0/24");
    EXPECT_TRUE(value["subnet6"].is_null());
    EXPECT_EQ(value["gateway"], "10.99.0.1");
    EXPECT_EQ(value["mtu"], 1400);
    EXPECT_EQ(value["icc"], true);
    EXPECT_EQ(value["options"], ordered_json::object());
    EXPECT_EQ(value["endpoints"], ordered_json::parse(R"(["web"])"));
    EXPECT_TRUE(value["vni"].is_null());
    EXPECT_TRUE(value["learning"].is_null());
    EXPECT_EQ(value["peers"], ordered_json::array());
    EXPECT_EQ(value["remote_endpoints"], ordered_json::array());
}

PeerView peer() {
    PeerView view;
    view.address = *IpAddress::parse("192.0.2.7");
    view.endpoints = 2;
    view.learned = 3;
    view.mtu = 1450;
    view.path_mtu = 1500;
    view.uplink = "eth0";
    view.sent_packets = 4;
    view.sent_bytes = 5;
    view.received_packets = 6;
    view.received_bytes = 7;
    view.dropped_packets = 8;
    return view;
}

TEST(Json, PeerRowSaysWhereItIsAndWhatWentThere) {
    EXPECT_EQ(json(render(peer(), Format::kJson)), ordered_json::parse(R"({"address": "192.0.2.7", "network": null,
        "source": "static", "node": null, "endpoints": 2, "learned": 3, "last_seen_seconds": null, "path_mtu": 1500, "mtu": 1450, "uplink": "eth0", "sent_packets": 4, "sent_bytes": 5, "received_packets": 6, "received_bytes": 7,
        "dropped_packets": 8})"));
    PeerView fresh;
    fresh.address = *IpAddress::parse("2001:db8::7");
    fresh.network = "blue";
    fresh.source = Owner::kEtcd;
    fresh.node = "n2";
    fresh.silent_seconds = 1.5;
    const ordered_json value = json(render(std::vector{fresh}, Format::kJson))[0];
    EXPECT_EQ(value["network"], "blue");
    EXPECT_EQ(value["source"], "etcd");
    EXPECT_EQ(value["node"], "n2");
    EXPECT_EQ(value["last_seen_seconds"], 1.5);
    EXPECT_TRUE(value["path_mtu"].is_null());
    EXPECT_TRUE(value["mtu"].is_null());
    EXPECT_TRUE(value["uplink"].is_null());
}

TEST(Json, EndpointsOfAllNodesSayWhereTheyAre) {
    EndpointView here, there;
    here.endpoint.id = 3;
    here.endpoint.name = "web";
    here.endpoint.netns = "web";
    there.endpoint.name = "db";
    there.endpoint.mode = EndpointMode::kOverlay;
    there.endpoint.ipv4 = *IpPrefix::parse_interface("10.77.0.9/24");
    there.network = "blue";
    there.node = "n2";
    const ordered_json rows = json(render_with_nodes({here, there}, Format::kJson));
    EXPECT_TRUE(rows[0]["node"].is_null());
    EXPECT_EQ(rows[0]["netns"], "web");
    EXPECT_EQ(rows[1]["node"], "n2");
    EXPECT_EQ(rows[1]["name"], "db");
    EXPECT_EQ(rows[1]["ipv4"], "10.77.0.9/24");
    EXPECT_TRUE(rows[1]["netns"].is_null());
    EXPECT_NE(render_with_nodes({there}, Format::kText).find("n2"), std::string::npos);
}

TEST(Json, RemoteEndpointRowHasItsAddressesAndItsPeer) {
    RemoteEndpointView view;
    view.network = "blue";
    view.remote.peer = *IpAddress::parse("192.0.2.7");
    view.remote.ipv4 = *IpAddress::parse("10.77.0.9");
    view.remote.mac = *MacAddress::parse("02:42:0a:4d:00:09");
    EXPECT_EQ(json(render(view, Format::kJson)), ordered_json::parse(R"({"network": "blue", "source": "static", "name": null,
        "node": null, "peer": "192.0.2.7", "ipv4": "10.77.0.9",
        "ipv6": null, "mac": "02:42:0a:4d:00:09"})"));
}

TEST(Json, OverlayNetworkShowsItsPeersAndWhatIsBehindThem) {
    NetworkView view;
    view.network.name = "blue";
    view.network.driver = NetworkDriver::kOverlay;
    view.network.vni = 7;
    view.learning = true;
    view.peers = {peer()};
    view.remotes = {{*IpAddress::parse("10.77.0.8"), *MacAddress::parse("02:42:0a:4d:00:08"), *IpAddress::parse("192.0.2.7"), true, 1.5},
                    {*IpAddress::parse("10.77.0.9"), *MacAddress::parse("02:42:0a:4d:00:09"), *IpAddress::parse("192.0.2.7"), false, 0}};
    const ordered_json value = json(render(view, Format::kJson));
    EXPECT_EQ(value["vni"], 7);
    EXPECT_EQ(value["learning"], true);
    EXPECT_EQ(value["peers"][0]["address"], "192.0.2.7");
    EXPECT_EQ(value["remote_endpoints"], ordered_json::parse(R"([
        {"address": "10.77.0.8", "mac": "02:42:0a:4d:00:08", "peer": "192.0.2.7", "learned": true, "silent_seconds": 1.5},
        {"address": "10.77.0.9", "mac": "02:42:0a:4d:00:09", "peer": "192.0.2.7", "learned": false, "silent_seconds": null}])"));
    EXPECT_FALSE(json(render(std::vector{view}, Format::kJson))[0].contains("peers")) << "a list shows networks";
    const std::string text = render(view, Format::kText);
    EXPECT_NE(text.find("overlay with VNI 7"), std::string::npos) << text;
    EXPECT_NE(text.find("remote 10.77.0.8: 02:42:0a:4d:00:08 behind 192.0.2.7, learned, silent for 1s"), std::string::npos) << text;
}

TEST(Json, DoctorSaysWhetherItIsHealthy) {
    const std::vector<CheckView> warned{{"a", CheckResult::kOk, "fine", ""}, {"b", CheckResult::kWarn, "hm", "do c"}};
    EXPECT_EQ(json(render(warned, Format::kJson))["healthy"], true);
    EXPECT_EQ(json(render(warned, Format::kJson))["checks"][1]["fix"], "do c");
    EXPECT_TRUE(json(render(warned, Format::kJson))["checks"][0]["fix"].is_null());
    const std::vector<CheckView> failed{{"a", CheckResult::kFail, "broken", "do c"}};
    EXPECT_EQ(json(render(failed, Format::kJson))["healthy"], false);
}

TEST(Json, BytesThatAreNoTextDoNotThrow) {
    EndpointView view = web();
    view.endpoint.netns = "/tmp/\xff\xfe";
    EXPECT_EQ(json(render(view, Format::kJson))["name"], "web");
}

TEST(Tables, SaySoWhenThereIsNothing) {
    EXPECT_EQ(render(std::vector<EndpointView>{}, Format::kText), "no endpoints\n");
    EXPECT_EQ(render(std::vector<PortView>{}, Format::kText), "no published ports\n");
    PortView port{"web", web().ports[0], *IpAddress::parse("172.30.0.2"), 0, 0, 0};
    EXPECT_NE(render(std::vector<PortView>{port}, Format::kText).find("web       any"), std::string::npos);
    port.port.sources.deny = {*IpPrefix::parse("10.9.0.0/16")};
    EXPECT_NE(render(std::vector<PortView>{port}, Format::kText).find("deny 10.9.0.0/16"), std::string::npos);
    port.port.sources.allow.assign(5000, *IpPrefix::parse("10.0.0.0/8"));
    EXPECT_NE(render(std::vector<PortView>{port}, Format::kText).find("allow 5000 deny 1 prefixes"), std::string::npos);
    EXPECT_EQ(render(CleanupView{}, Format::kText), "nothing to remove\n");
    EXPECT_EQ(render(std::vector<PeerView>{}, Format::kText), "no peers\n");
    EXPECT_EQ(render(std::vector<RemoteEndpointView>{}, Format::kText), "no remote endpoints\n");
}

TEST(Tables, AlignTheirColumns) {
    const std::string text = render(std::vector<EndpointView>{web()}, Format::kText);
    const std::size_t line = text.find('\n') + 1;
    EXPECT_EQ(text.find("ADDRESS"), text.find("172.30.0.2/16") - line);
    EXPECT_NE(text.find("0.0.0.0:2000->80/tcp, [::]:3000-3009->4000-4009/udp"), std::string::npos) << text;
}

TEST(Tables, StatsShowOnlyWhatHappened) {
    StatsView view;
    view.verdicts = {{"QUIET", "drop", "never", 0, 0}, {"NOISY", "drop", "often", 9, 900}};
    const std::string text = render(view, Format::kText);
    EXPECT_EQ(text.find("QUIET"), std::string::npos);
    EXPECT_NE(text.find("NOISY"), std::string::npos);
}

}  // namespace
}  // namespace fastnet
