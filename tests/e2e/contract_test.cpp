// The contract of design.md section 4: what scripts rely on. Field names and types, exit statuses, idempotence.
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

class Contract : public LabTest {};

enum class Kind { kText, kNumber, kBool, kArray, kObject, kTextOrNull, kNumberOrNull };

bool is_kind(const json& value, Kind kind) {
    switch (kind) {
        case Kind::kText: return value.is_string();
        case Kind::kNumber: return value.is_number();
        case Kind::kBool: return value.is_boolean();
        case Kind::kArray: return value.is_array();
        case Kind::kObject: return value.is_object();
        case Kind::kTextOrNull: return value.is_string() || value.is_null();
        case Kind::kNumberOrNull: return value.is_number() || value.is_null();
    }
    return false;
}

void expect_fields(const json& object, const std::map<std::string, Kind>& fields) {
    ASSERT_TRUE(object.is_object()) << object.dump();
    for (const auto& [name, kind] : fields) {
        if (!object.contains(name)) {
            ADD_FAILURE() << "no field '" << name << "' in " << object.dump(2);
        } else {
            EXPECT_TRUE(is_kind(object[name], kind)) << "field '" << name << "' has the wrong type: " << object[name].dump();
        }
    }
}

const std::map<std::string, Kind> kEndpointFields{
    {"name", Kind::kText},          {"mode", Kind::kText},           {"network", Kind::kTextOrNull}, {"netns", Kind::kText},
    {"ifname", Kind::kTextOrNull},  {"ipv4", Kind::kTextOrNull},     {"ipv6", Kind::kTextOrNull},    {"mac", Kind::kTextOrNull},
    {"gateway", Kind::kTextOrNull}, {"gateway6", Kind::kTextOrNull}, {"mtu", Kind::kNumberOrNull},   {"published", Kind::kArray}};

/// The row of @p rows whose @p field is @p value; null when there is none.
json row_with(const json& rows, const std::string& field, const json& value) {
    for (const json& row : rows) {
        if (row.is_object() && row.contains(field) && row[field] == value) return row;
    }
    return nullptr;
}

TEST_F(Contract, EveryCommandExplainsItselfWithAnExample) {
    const std::vector<Argv> commands{{},
                                     {"attach"},
                                     {"detach"},
                                     {"publish"},
                                     {"unpublish"},
                                     {"run"},
                                     {"network"},
                                     {"network", "create"},
                                     {"network", "ls"},
                                     {"network", "inspect"},
                                     {"network", "rm"},
                                     {"peer"},
                                     {"peer", "add"},
                                     {"peer", "ls"},
                                     {"peer", "rm"},
                                     {"peer", "endpoint"},
                                     {"peer", "endpoint", "add"},
                                     {"peer", "endpoint", "ls"},
                                     {"peer", "endpoint", "rm"},
                                     {"endpoints"},
                                     {"ports"},
                                     {"flows"},
                                     {"stats"},
                                     {"status"},
                                     {"doctor"},
                                     {"cleanup"}};
    for (const Argv& command : commands) {
        for (const char* const flag : {"--help", "-h"}) {
            Argv args = command;
            args.emplace_back(flag);
            SCOPED_TRACE(::testing::PrintToString(args));
            const CommandResult result = lab().fastnet(args);
            EXPECT_EQ(result.status, 0) << result;
            EXPECT_NE(result.out.find("xample"), std::string::npos) << "no example in the help\n" << result;
        }
    }
}

TEST_F(Contract, UnknownCommandsAndFlagsAreUsageErrors) {
    const std::vector<Argv> calls{{"attatch"},
                                  {"attach", "--mode", "bridge", "--colour"},
                                  {"attach", "--mode", "teleport"},
                                  {"endpoints", "extra"},
                                  {"detach"},
                                  {"publish"},
                                  {"publish", "web"},
                                  {"network", "frobnicate"},
                                  {"network", "create"},
                                  {"run", "--mode", "bridge"}};
    for (const Argv& call : calls) {
        SCOPED_TRACE(::testing::PrintToString(call));
        expect_error(lab().fastnet(call), kUsage);
    }
}

TEST_F(Contract, VersionIsPrinted) {
    const CommandResult result = lab().fastnet({"--version"});
    EXPECT_EQ(result.status, 0) << result;
    EXPECT_FALSE(result.out.empty());
}

TEST_F(Contract, PreparingTheNodeNamesTheUplinkAndIsSafeToRepeat) {
    const CommandResult first = lab().fastnet({"attach", "--mode", "bridge"});
    EXPECT_EQ(first.status, 0) << first;
    EXPECT_NE(first.out.find("eth0"), std::string::npos) << "does not say which uplink it took\n" << first;
    const PinnedObjects objects = lab().root().pinned();
    EXPECT_FALSE(objects.links.empty());
    const json status = lab().json({"attach", "--mode", "bridge"});
    EXPECT_TRUE(status.is_object());
    EXPECT_EQ(lab().json({"attach", "--mode", "bridge"}), status);
    EXPECT_EQ(lab().root().pinned().links, objects.links) << "a repeated attach made new links";
    const json uplinks = lab().json({"status"})["uplinks"];
    ASSERT_EQ(uplinks.size(), 1U) << uplinks.dump();
    EXPECT_EQ(uplinks[0]["name"], "eth0");
}

TEST_F(Contract, AttachAndEndpointsPrintTheSameFields) {
    const json attached = lab().attach("web", {"-p", "2000:80"});
    expect_fields(attached, kEndpointFields);
    EXPECT_EQ(attached["name"], "web");
    EXPECT_EQ(attached["mode"], "bridge");
    EXPECT_EQ(attached["network"], "default");
    EXPECT_EQ(attached["ifname"], "eth0");
    EXPECT_NE(attached["ipv4"].get<std::string>().find('/'), std::string::npos);
    EXPECT_EQ(attached["mac"], lab().at("web").mac("eth0"));
    EXPECT_EQ(std::to_string(attached["mtu"].get<int>()), lab().at("web").link_field("eth0", "mtu"));
    EXPECT_NE(attached["netns"].get<std::string>().find(lab().at("web").name()), std::string::npos);
    ASSERT_GE(attached["published"].size(), 1U);
    const json published = row_with(attached["published"], "host_ip", "0.0.0.0");
    ASSERT_TRUE(published.is_object()) << attached.dump(2);
    expect_fields(published,
                  {{"host_ip", Kind::kText}, {"host_port", Kind::kNumber}, {"container_port", Kind::kNumber}, {"protocol", Kind::kText}});
    EXPECT_EQ(published["host_port"], 2000);
    EXPECT_EQ(published["container_port"], 80);
    EXPECT_EQ(published["protocol"], "tcp");

    const json rows = lab().json({"endpoints"});
    ASSERT_TRUE(rows.is_array());
    ASSERT_EQ(rows.size(), 1U);
    for (const auto& [name, kind] : kEndpointFields) EXPECT_EQ(rows[0][name], attached[name]) << name;
}

TEST_F(Contract, ContainerHasLoUpItsAddressAndADefaultRoute) {
    const json attached = lab().attach("web");
    const Netns& web = lab().at("web");
    EXPECT_TRUE(web.run({"ping", "-c1", "-W2", "127.0.0.1"}).ok() || is_listening(web, Transport::kTcp, 1) ||
                web.link_field("lo", "flags").find("UP") != std::string::npos);
    EXPECT_NE(web.shell("ip -4 -o addr show dev eth0").out.find(attached["ipv4"].get<std::string>()), std::string::npos);
    EXPECT_NE(web.shell("ip route show default").out.find("via " + attached["gateway"].get<std::string>()), std::string::npos);
}

TEST_F(Contract, PortsRowsHaveTheirFieldsAndARangeIsOneRow) {
    lab().attach("web", {"-p", "2000:80", "-p", "3000-3009:4000-4009/udp", "-p", "192.0.2.3:2443:443"});
    const json rows = lab().json({"ports"});
    ASSERT_TRUE(rows.is_array());
    for (const json& row : rows) {
        expect_fields(row, {{"endpoint", Kind::kText},
                            {"host_ip", Kind::kText},
                            {"host_port", Kind::kNumber},
                            {"host_port_end", Kind::kNumberOrNull},
                            {"container_ip", Kind::kText},
                            {"container_port", Kind::kNumber},
                            {"container_port_end", Kind::kNumberOrNull},
                            {"protocol", Kind::kText},
                            {"packets", Kind::kNumber},
                            {"bytes", Kind::kNumber},
                            {"connections", Kind::kNumber}});
        EXPECT_EQ(row["endpoint"], "web");
    }
    const json single = row_with(rows, "host_port", 2000);
    EXPECT_TRUE(single["host_port_end"].is_null()) << single.dump();
    EXPECT_TRUE(single["container_port_end"].is_null());
    EXPECT_EQ(single["container_ip"], lab().ip("web"));
    const json range = row_with(rows, "host_port", 3000);
    EXPECT_EQ(range["host_port_end"], 3009);
    EXPECT_EQ(range["container_port"], 4000);
    EXPECT_EQ(range["container_port_end"], 4009);
    EXPECT_EQ(range["protocol"], "udp");
    EXPECT_EQ(row_with(rows, "host_port", 3001), nullptr) << "a range is one row";
    EXPECT_EQ(row_with(rows, "host_port", 2443)["host_ip"], "192.0.2.3");
}

TEST_F(Contract, FlowsRowsShowBothSidesOfTheTranslation) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    const Socket caller = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000}, {kClientIp, 45678});
    ASSERT_TRUE(caller.ok()) << caller.error();
    const json rows = lab().json({"flows"});
    ASSERT_TRUE(rows.is_array());
    json flow;
    for (const json& row : rows) {
        expect_fields(row, {{"protocol", Kind::kText},
                            {"state", Kind::kText},
                            {"original", Kind::kObject},
                            {"translated", Kind::kObject},
                            {"endpoint", Kind::kTextOrNull},
                            {"packets", Kind::kNumber},
                            {"bytes", Kind::kNumber},
                            {"idle_seconds", Kind::kNumber},
                            {"expires_seconds", Kind::kNumber}});
        for (const char* const side : {"original", "translated"}) {
            expect_fields(row[side], {{"src", Kind::kText}, {"sport", Kind::kNumber}, {"dst", Kind::kText}, {"dport", Kind::kNumber}});
        }
        if (row["original"]["sport"] == 45678) flow = row;
    }
    ASSERT_TRUE(flow.is_object()) << "no row for the connection in " << rows.dump(2);
    EXPECT_EQ(flow["protocol"], "tcp");
    EXPECT_EQ(flow["endpoint"], "web");
    EXPECT_EQ(flow["original"], (json{{"src", kClientIp}, {"sport", 45678}, {"dst", kNodeIp}, {"dport", 2000}}));
    EXPECT_EQ(flow["translated"]["src"], kClientIp);
    EXPECT_EQ(flow["translated"]["dst"], lab().ip("web"));
    EXPECT_EQ(flow["translated"]["dport"], 80);
    EXPECT_GE(flow["expires_seconds"].get<double>(), 7200) << "an established connection lives 2 h 4 min (RFC 5382 REQ-5)";
}

TEST_F(Contract, UdpFlowsLiveAtLeastTwoMinutes) {
    lab().attach("echo", {"-p", "2000:7/udp"});
    const UdpEcho echo{lab().at("echo"), 7};
    ASSERT_TRUE(udp_answers(lab().client(), {kNodeIp, 2000}));
    const json rows = lab().json({"flows"});
    const json flow = row_with(rows, "protocol", "udp");
    ASSERT_TRUE(flow.is_object()) << rows.dump(2);
    EXPECT_GT(flow["expires_seconds"].get<double>() + flow["idle_seconds"].get<double>(), 100) << "RFC 4787 REQ-5 asks for two minutes";
}

TEST_F(Contract, StatsCountVerdictsAndMapEntries) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    ASSERT_FALSE(fetch(lab().client(), url(kNodeIp, 2000)).empty());
    const json stats = lab().json({"stats"});
    expect_fields(stats, {{"verdicts", Kind::kObject}, {"maps", Kind::kObject}});
    for (const char* const name : {"SPOOFED_SOURCE", "NOT_PUBLISHED", "FLOW_TABLE_FULL", "PORTS_EXHAUSTED", "SOURCE_DENIED",
                                   "TUNNEL_UNKNOWN_PEER", "TUNNEL_UNKNOWN_NETWORK", "TUNNEL_BAD_INNER", "NETWORK_ISOLATED", "MALFORMED"}) {
        expect_fields(stats["verdicts"], {{name, Kind::kObject}});
    }
    for (const auto& [name, verdict] : stats["verdicts"].items()) {
        SCOPED_TRACE(name);
        expect_fields(verdict, {{"packets", Kind::kNumber}, {"bytes", Kind::kNumber}});
    }
    EXPECT_FALSE(stats["maps"].empty());
    for (const auto& [name, map] : stats["maps"].items()) {
        SCOPED_TRACE(name);
        expect_fields(map, {{"entries", Kind::kNumber}, {"max_entries", Kind::kNumber}});
        EXPECT_LE(map["entries"].get<std::uint64_t>(), map["max_entries"].get<std::uint64_t>());
    }
    EXPECT_NE(stats.dump().find("\"web\""), std::string::npos) << "stats says nothing per endpoint";
}

TEST_F(Contract, StatusCountsWhatThereIs) {
    lab().attach("web", {"-p", "2000:80"});
    const json status = lab().json({"status"});
    expect_fields(status, {{"version", Kind::kText},
                           {"kernel", Kind::kText},
                           {"features", Kind::kObject},
                           {"uplinks", Kind::kArray},
                           {"networks", Kind::kNumber},
                           {"endpoints", Kind::kNumber},
                           {"ports", Kind::kNumber},
                           {"flows", Kind::kNumber},
                           {"agent", Kind::kObject}});
    EXPECT_EQ(status["networks"], 1);
    EXPECT_EQ(status["endpoints"], 1);
    EXPECT_EQ(status["ports"].get<std::size_t>(), lab().count("ports"));
    EXPECT_EQ(status["agent"]["running"], false);
    ASSERT_FALSE(status["uplinks"].empty());
    EXPECT_EQ(status["uplinks"][0]["name"], "eth0");
    EXPECT_FALSE(status["uplinks"][0]["hooks"].empty());
    EXPECT_NE(status.dump().find("memory"), std::string::npos) << "the size of the maps is not shown";
    EXPECT_EQ(lab().fastnet({"status"}).status, 0);
}

TEST_F(Contract, DoctorFindsNothingToFailOnAHealthyNode) {
    lab().attach("web");
    EXPECT_TRUE(lab().json({"doctor"}).is_object());
    EXPECT_EQ(lab().fastnet({"doctor"}).status, 0);
}

TEST_F(Contract, ReadersWorkOnANodeThatWasNeverPrepared) {
    for (const char* const reader : {"endpoints", "ports", "flows"}) EXPECT_EQ(lab().json({reader}), json::array()) << reader;
    EXPECT_TRUE(lab().json({"network", "ls"}).is_array());
    for (const char* const reader : {"stats", "status", "doctor"}) EXPECT_TRUE(lab().json({reader}).is_object()) << reader;
    EXPECT_EQ(lab().root().pinned().links.size(), 0U) << "a reader attached something";
}

TEST_F(Contract, NetworksAreMadeListedInspectedAndRemoved) {
    const json made = lab().json({"network", "create", "blue", "--subnet", "10.99.0.0/24", "--gateway", "10.99.0.254", "--mtu", "1400"});
    EXPECT_TRUE(made.is_object());
    const json listed = row_with(lab().json({"network", "ls"}), "name", "blue");
    ASSERT_TRUE(listed.is_object());
    EXPECT_TRUE(lab().json({"network", "inspect", "blue"}).is_object());
    EXPECT_NE(lab().json({"network", "inspect", "blue"}).dump().find("10.99.0.0/24"), std::string::npos);
    const json web = lab().attach("web", {"--network", "blue"});
    EXPECT_EQ(web["gateway"], "10.99.0.254");
    EXPECT_EQ(web["network"], "blue");
    EXPECT_EQ(web["mtu"], 1400);
    EXPECT_EQ(web["ipv4"].get<std::string>().substr(0, 8), "10.99.0.");
    expect_error(lab().fastnet({"network", "rm", "blue"}), kConflict, {"web"});
    EXPECT_EQ(lab().fastnet({"detach", "web"}).status, 0);
    EXPECT_EQ(lab().fastnet({"network", "rm", "blue"}).status, 0);
    EXPECT_EQ(row_with(lab().json({"network", "ls"}), "name", "blue"), nullptr);
}

TEST_F(Contract, NetworkWithoutFlagsGetsAFreeSubnet) {
    lab().json({"network", "create", "one"});
    lab().json({"network", "create", "two"});
    lab().attach("a", {"--network", "one"});
    lab().attach("b", {"--network", "two"});
    lab().attach("c");
    EXPECT_NE(lab().endpoint("a")["gateway"], lab().endpoint("b")["gateway"]);
    EXPECT_NE(lab().endpoint("a")["gateway"], lab().endpoint("c")["gateway"]);
}

TEST_F(Contract, NetworkThatExistsCannotBeMadeAgainWithOtherArguments) {
    lab().json({"network", "create", "blue", "--subnet", "10.99.0.0/24"});
    expect_error(lab().fastnet({"network", "create", "blue", "--subnet", "10.98.0.0/24"}), kConflict, {"blue"});
}

TEST_F(Contract, OverlappingSubnetIsAConflict) {
    lab().json({"network", "create", "blue", "--subnet", "10.99.0.0/16"});
    expect_error(lab().fastnet({"network", "create", "red", "--subnet", "10.99.5.0/24"}), kConflict, {"10.99"});
    EXPECT_EQ(row_with(lab().json({"network", "ls"}), "name", "red"), nullptr);
}

TEST_F(Contract, SubnetOfAnExistingRouteIsAConflict) {
    lab().node().ip({"route add 10.97.0.0/16 via 192.0.2.1"});
    lab().rebaseline();
    expect_error(lab().fastnet({"network", "create", "red", "--subnet", "10.97.5.0/24"}), kConflict, {"10.97"});
}

TEST_F(Contract, MalformedNetworkArgumentsAreUsageErrors) {
    const std::vector<Argv> calls{{"--subnet", "10.99.0.0"},
                                  {"--subnet", "10.99.0.0/33"},
                                  {"--subnet", "banana"},
                                  {"--subnet", "10.99.0.1/24"},
                                  {"--subnet", "10.99.0.0/24", "--gateway", "10.98.0.1"},
                                  {"--mtu", "67"},
                                  {"--mtu", "x"},
                                  {"--driver", "carrier-pigeon"},
                                  {"--subnet", "127.5.0.0/16"},
                                  {"--subnet", "224.0.0.0/8"}};
    for (const Argv& call : calls) {
        Argv args{"network", "create", "blue"};
        args.insert(args.end(), call.begin(), call.end());
        SCOPED_TRACE(::testing::PrintToString(args));
        expect_error(lab().fastnet(args), kUsage);
    }
    for (const char* const name : {"", "../up", "a/b", "with space", "-dash"}) {
        SCOPED_TRACE(name);
        expect_error(lab().fastnet({"network", "create", "--", name}), kUsage);
    }
}

TEST_F(Contract, SameAttachAgainGivesTheSameOutput) {
    const json first = lab().attach("web", {"-p", "2000:80", "-p", "53:53/udp"});
    EXPECT_EQ(lab().attach("web", {"-p", "2000:80", "-p", "53:53/udp"}), first);
    EXPECT_EQ(lab().count("endpoints"), 1U);
    const std::vector<std::string> both{"eth0", "lo"};
    EXPECT_EQ(lab().at("web").links(), both);
}

TEST_F(Contract, AttachAgainWithOtherArgumentsIsAConflict) {
    lab().attach("web", {"-p", "2000:80"});
    const json before = lab().json({"endpoints"});
    for (const Argv& other : std::vector<Argv>{{"-p", "2001:80"}, {}, {"-p", "2000:81"}, {"-p", "2000:80", "--mac", "02:00:00:00:00:77"}}) {
        SCOPED_TRACE(::testing::PrintToString(other));
        expect_error(lab().fastnet(lab().attach_args("web", other)), kConflict, {"web"});
    }
    EXPECT_EQ(lab().json({"endpoints"}), before);
}

TEST_F(Contract, EndpointNameTakenByAnotherNamespaceIsAConflict) {
    lab().attach("web");
    const Netns& other = lab().container("other");
    expect_error(lab().fastnet({"attach", "--mode", "bridge", "--netns", other.name(), "--name", "web"}), kConflict, {"web"});
    EXPECT_EQ(other.links(), std::vector<std::string>{"lo"});
}

TEST_F(Contract, UnknownThingsAreNotFound) {
    const std::vector<Argv> calls{
        {"detach", "ghost"},        {"detach", "--netns", "ghost"}, {"publish", "ghost", "2000:80"}, {"unpublish", "ghost", "2000:80"},
        {"network", "rm", "ghost"}, {"network", "inspect", "ghost"}};
    for (const Argv& call : calls) {
        SCOPED_TRACE(::testing::PrintToString(call));
        expect_error(lab().fastnet(call), kNotFound, {"ghost"});
    }
    lab().attach("web", {"-p", "2000:80"});
    expect_error(lab().fastnet({"unpublish", "web", "2001:80"}), kNotFound, {"2001"});
    expect_error(lab().fastnet({"unpublish", "web", "2000:80/udp"}), kNotFound);
    expect_error(lab().fastnet(lab().attach_args("web", {"--network", "ghost"})), kNotFound, {"ghost"});
}

TEST_F(Contract, EndpointIsDetachedByNameOrByNamespace) {
    lab().attach("a");
    lab().attach("b");
    EXPECT_EQ(lab().fastnet({"detach", "a"}).status, 0);
    EXPECT_EQ(lab().fastnet({"detach", "--netns", lab().netns_argument("b")}).status, 0);
    EXPECT_EQ(lab().json({"endpoints"}), json::array());
    EXPECT_EQ(lab().at("a").links(), std::vector<std::string>{"lo"});
    EXPECT_EQ(lab().at("b").links(), std::vector<std::string>{"lo"});
    expect_error(lab().fastnet({"detach", "a"}), kNotFound, {"a"});
}

TEST_F(Contract, NamespaceIsNamedByNamePathOrPid) {
    lab().container("path");
    lab().container("pid");
    const Background sleeper = lab().at("pid").background({"sleep", "600"});
    ASSERT_TRUE(wait_until([&] {
        return run({"sh", "-c", "test $(readlink /proc/" + std::to_string(sleeper.pid()) + "/ns/net) != $(readlink /proc/self/ns/net)"})
            .ok();
    }));
    EXPECT_EQ(lab().fastnet({"attach", "--mode", "bridge", "--netns", lab().at("path").path(), "--name", "path"}).status, 0);
    EXPECT_EQ(lab().fastnet({"attach", "--mode", "bridge", "--netns", "pid:" + std::to_string(sleeper.pid()), "--name", "pid"}).status, 0);
    EXPECT_TRUE(lab().at("path").has_link("eth0"));
    EXPECT_TRUE(lab().at("pid").has_link("eth0"));
    EXPECT_EQ(lab().fastnet({"detach", "--netns", lab().at("path").path()}).status, 0);
}

TEST_F(Contract, NamespaceThatIsNoneIsRefused) {
    expect_error(lab().fastnet({"attach", "--mode", "bridge", "--netns", "no-such-netns"}), kNotFound, {"no-such-netns"});
    expect_error(lab().fastnet({"attach", "--mode", "bridge", "--netns", "pid:4194304"}), kNotFound, {"4194304"});
    expect_error_in(lab().fastnet({"attach", "--mode", "bridge", "--netns", "/etc/passwd"}), {kUsage, kNotFound, kFailed}, {"/etc/passwd"});
    expect_error_in(lab().fastnet({"attach", "--mode", "bridge", "--netns", "../../proc/self/ns/net"}), {kUsage, kNotFound});
    expect_error(lab().fastnet({"attach", "--mode", "bridge", "--netns", "pid:abc"}), kUsage, {"abc"});
    EXPECT_EQ(lab().json({"endpoints"}), json::array());
}

TEST_F(Contract, InterfaceNameThatTheContainerHasAlreadyIsAConflict) {
    const Netns& web = lab().container("web");
    web.ip({"link add eth0 type bridge"});
    expect_error(lab().fastnet(lab().attach_args("web")), kConflict, {"eth0"});
    EXPECT_EQ(lab().json({"endpoints"}), json::array());
    EXPECT_EQ(web.link_field("eth0", "ifname"), "eth0") << "the container's own interface was touched";
    const json attached = lab().attach("web", {"--ifname", "net1"});
    EXPECT_EQ(attached["ifname"], "net1");
    EXPECT_TRUE(web.has_link("net1"));
    ASSERT_EQ(lab().fastnet({"detach", "web"}).status, 0);
    EXPECT_TRUE(web.has_link("eth0"));
    web.ip({"link del eth0"});
}

TEST_F(Contract, ChosenAddressMacAndInterfaceNameAreUsed) {
    lab().json({"network", "create", "blue", "--subnet", "10.99.0.0/24"});
    const json web = lab().attach("web", {"--network", "blue", "--ip", "10.99.0.77", "--mac", "02:12:34:56:78:9a", "--ifname", "uplink0"});
    EXPECT_EQ(web["ipv4"], "10.99.0.77/24");
    EXPECT_EQ(web["mac"], "02:12:34:56:78:9a");
    EXPECT_EQ(web["ifname"], "uplink0");
    EXPECT_EQ(lab().at("web").mac("uplink0"), "02:12:34:56:78:9a");
}

TEST_F(Contract, AddressOutsideTheSubnetOrTakenIsRefused) {
    lab().json({"network", "create", "blue", "--subnet", "10.99.0.0/24"});
    lab().attach("web", {"--network", "blue", "--ip", "10.99.0.77"});
    lab().container("b");
    const auto attach_b = [&](const std::string& ip) { return lab().fastnet(lab().attach_args("b", {"--network", "blue", "--ip", ip})); };
    expect_error(attach_b("10.98.0.5"), kUsage, {"10.98.0.5"});
    expect_error_in(attach_b("10.99.0.0"), {kUsage, kConflict}, {"10.99.0.0"});
    expect_error_in(attach_b("10.99.0.255"), {kUsage, kConflict}, {"10.99.0.255"});
    expect_error(attach_b("10.99.0.77"), kConflict, {"10.99.0.77"});
    expect_error(attach_b("10.99.0.1"), kConflict, {"10.99.0.1"});
    expect_error(attach_b("10.99.0.300"), kUsage, {"10.99.0.300"});
    expect_error(lab().fastnet(lab().attach_args("b", {"--network", "blue", "--mac", "01:00:5e:00:00:01"})), kUsage);
    expect_error(lab().fastnet(lab().attach_args("b", {"--network", "blue", "--mac", "nonsense"})), kUsage);
    expect_error(lab().fastnet(lab().attach_args("b", {"--network", "blue", "--ifname", "much-too-long-a-name"})), kUsage);
    expect_error(lab().fastnet(lab().attach_args("b", {"--network", "blue", "--ifname", "a/b"})), kUsage);
    EXPECT_EQ(lab().count("endpoints"), 1U);
    EXPECT_EQ(lab().at("b").links(), std::vector<std::string>{"lo"});
}

TEST_F(Contract, MalformedPublishSpecsAreUsageErrors) {
    lab().attach("live");
    lab().container("web");
    const std::vector<std::string> specs{"",
                                         ":",
                                         "abc",
                                         "2000:",
                                         ":80:",
                                         "2000:80:90:91",
                                         "2000:abc",
                                         "x:80",
                                         "2000:0",
                                         "0",
                                         "0:0",
                                         "65536:80",
                                         "2000:65536",
                                         "70000:80",
                                         "2000:70000",
                                         "-1:80",
                                         "2000:-1",
                                         "+80",
                                         " 80",
                                         "80 ",
                                         "2010-2000:80",
                                         "2000-2010:90-80",
                                         "2000-2010:80-85",
                                         "2000:80-85",
                                         "2000-2001:80-82",
                                         "2000-:80",
                                         "-2000:80",
                                         "2000:80/",
                                         "2000:80/icmp",
                                         "2000:80/tcpp",
                                         "2000:80/tcp/udp",
                                         "2000:80/6",
                                         "1.2.3:2000:80",
                                         "1.2.3.4.5:2000:80",
                                         "256.1.1.1:2000:80",
                                         "host:2000:80",
                                         "[::1:2000:80",
                                         "::1:2000:80",
                                         "[::1]2000:80",
                                         "[1.2.3.4]:2000:80",
                                         "192.0.2.2:",
                                         "192.0.2.2:2000:",
                                         "0x50:80",
                                         "2000:8e1",
                                         "0-5:80-85",
                                         "65530-65536:80-86",
                                         "99999999999999999999:80",
                                         "2000;80",
                                         "2000:80\n",
                                         "20 00:80",
                                         "/tcp",
                                         "80-80-80",
                                         "2000:80-",
                                         "[]:2000:80"};
    for (const std::string& spec : specs) {
        SCOPED_TRACE("'" + spec + "'");
        expect_error(lab().fastnet(lab().attach_args("web", {"-p", spec})), kUsage);
        expect_error(lab().fastnet({"publish", "live", "--", spec}), kUsage);
    }
    EXPECT_EQ(lab().count("endpoints"), 1U) << "a refused attach left an endpoint";
    EXPECT_EQ(lab().json({"ports"}), json::array());
    EXPECT_EQ(lab().at("web").links(), std::vector<std::string>{"lo"});
}

TEST_F(Contract, WellFormedPublishSpecsAreAccepted) {
    lab().attach("live");
    for (const char* const spec : {"2000:80", "2001:80/tcp", "2002:80/udp", "2003:80/UDP", "192.0.2.2:2004:80", "2010-2019:80-89",
                                   "2020-2029:80", "80", "0:81", "65535:65535", "1:1/udp", "2030-2030:80-80", "0.0.0.0:2031:80"}) {
        SCOPED_TRACE(spec);
        const CommandResult result = lab().fastnet({"publish", "live", spec});
        EXPECT_EQ(result.status, 0) << result;
    }
}

TEST_F(Contract, AnswerThatCannotBeWrittenIsAFailure) {
    lab().attach("web", {"-p", "2000:80"});
    for (const Argv& command : std::vector<Argv>{{"ports", "--json"}, {"endpoints"}, {"--help"}, {"--version"}}) {
        SCOPED_TRACE(::testing::PrintToString(command));
        Argv argv{"sh", "-c", "exec \"$@\" >/dev/full", "sh"};
        for (const std::string& word : lab().fastnet_argv(command)) argv.push_back(word);
        expect_error(lab().node().run(argv), kFailed, {"standard output"});
    }
}

TEST_F(Contract, SctpIsPublishedAtItsOwnNumberOnly) {
    lab().attach("web", {"-p", "5000-5001:5000-5001/sctp"});
    EXPECT_EQ(lab().json({"ports"})[0]["protocol"], "sctp");
    expect_error(lab().fastnet({"publish", "web", "2000:80/sctp"}), kUsage, {"checksum", "80:80/sctp"});
    expect_error(lab().fastnet({"publish", "web", "80/sctp"}), kUsage, {"80:80/sctp"});
    EXPECT_EQ(lab().fastnet({"unpublish", "web", "5000-5001:5000-5001/sctp"}).status, 0);
}

TEST_F(Contract, PublishTwiceIsTheSameAndUnpublishTwiceIsNotFound) {
    lab().attach("web");
    EXPECT_EQ(lab().fastnet({"publish", "web", "2000:80"}).status, 0);
    const std::size_t ports = lab().count("ports");
    EXPECT_EQ(lab().fastnet({"publish", "web", "2000:80"}).status, 0);
    EXPECT_EQ(lab().count("ports"), ports);
    EXPECT_EQ(lab().fastnet({"unpublish", "web", "2000:80"}).status, 0);
    EXPECT_EQ(lab().count("ports"), 0U);
    expect_error(lab().fastnet({"unpublish", "web", "2000:80"}), kNotFound);
}

TEST_F(Contract, HostModeRefusesPublishedPortsWithTheReason) {
    lab().container("web");
    expect_error(lab().fastnet({"run", "--mode", "host", "-p", "2000:80", "--", "true"}), kUsage, {"host"});
    expect_error(lab().fastnet({"attach", "--mode", "host", "--netns", lab().netns_argument("web"), "-p", "2000:80"}), kUsage, {"host"});
}

TEST_F(Contract, NetworkWithoutANamespaceIsAUsageError) {
    lab().json({"network", "create", "blue"});
    expect_error(lab().fastnet({"attach", "--mode", "bridge", "--network", "blue"}), kUsage, {"--netns"});
}

TEST_F(Contract, DriverThatDoesNotMatchTheModeIsAUsageError) {
    lab().json({"network", "create", "blue"});
    lab().container("web");
    for (const char* const mode : {"none", "host"}) {
        SCOPED_TRACE(mode);
        expect_error(lab().fastnet({"attach", "--mode", mode, "--netns", lab().netns_argument("web"), "--network", "blue"}), kUsage);
    }
}

TEST_F(Contract, ModeNoneBringsUpLoAndNothingElse) {
    const Netns& quiet = lab().container("quiet");
    quiet.ip({"link set lo down"});
    const json attached = lab().json({"attach", "--mode", "none", "--netns", quiet.name(), "--name", "quiet"});
    EXPECT_EQ(attached["mode"], "none");
    EXPECT_TRUE(attached["ipv4"].is_null()) << attached.dump();
    EXPECT_TRUE(attached["gateway"].is_null());
    EXPECT_EQ(quiet.links(), std::vector<std::string>{"lo"});
    EXPECT_NE(quiet.link_field("lo", "flags").find("UP"), std::string::npos);
    EXPECT_EQ(lab().json({"attach", "--mode", "none", "--netns", quiet.name(), "--name", "quiet"}), attached);
    EXPECT_EQ(lab().fastnet({"detach", "quiet"}).status, 0);
}

TEST_F(Contract, NodeWithoutADefaultRouteAsksForAnUplink) {
    lab().node().ip({"route del default"});
    lab().rebaseline();
    expect_error_in(lab().fastnet({"attach", "--mode", "bridge"}), {kFailed, kNotFound, kUsage}, {"--uplink"});
    EXPECT_TRUE(lab().root().pinned().links.empty()) << "half prepared";
    EXPECT_EQ(lab().fastnet({"attach", "--mode", "bridge", "--uplink", "eth0"}).status, 0);
    EXPECT_EQ(lab().json({"status"})["uplinks"][0]["name"], "eth0");
}

TEST_F(Contract, UplinkThatDoesNotExistIsNotFound) {
    expect_error(lab().fastnet({"attach", "--mode", "bridge", "--uplink", "eth9"}), kNotFound, {"eth9"});
    EXPECT_TRUE(lab().root().pinned().links.empty());
}

TEST_F(Contract, SeveralUplinksAreAllowed) {
    lab().add_other_host("eth1");
    lab().rebaseline();
    EXPECT_EQ(lab().fastnet({"attach", "--mode", "bridge", "--uplink", "eth0", "--uplink", "eth1"}).status, 0);
    EXPECT_EQ(lab().json({"status"})["uplinks"].size(), 2U);
}

TEST_F(Contract, OrdinaryUserIsToldWhatIsMissing) {
    lab().container("web");
    Argv argv{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"};
    for (const std::string& word : lab().fastnet_argv(lab().attach_args("web"))) argv.push_back(word);
    expect_error(lab().node().run(argv), kFailed, {"root"});
}

TEST_F(Contract, RootWithoutTheNetworkCapabilitiesIsToldWhichOnesAreMissing) {
    lab().container("web");
    Argv argv{"setpriv", "--inh-caps=-all", "--bounding-set=-net_admin,-bpf,-sys_admin", "--"};
    for (const std::string& word : lab().fastnet_argv(lab().attach_args("web"))) argv.push_back(word);
    const CommandResult result = lab().node().run(argv);
    expect_error(result, kFailed, {"CAP_"});
    EXPECT_EQ(lab().at("web").links(), std::vector<std::string>{"lo"});
}

TEST_F(Contract, ErrorsGoToStderrOnlyEvenWithJson) {
    const CommandResult result = lab().fastnet({"detach", "ghost", "--json"});
    expect_error(result, kNotFound);
    EXPECT_EQ(result.out, "");
}

TEST_F(Contract, RootDirectoryIsTakenFromTheEnvironmentToo) {
    lab().attach("web");
    RunOptions options;
    options.env = {{"FASTNET_ROOT", lab().root().string()}};
    const CommandResult result = lab().node().run({fastnet_binary(), "endpoints", "--json"}, options);
    EXPECT_EQ(result.status, 0) << result;
    EXPECT_EQ(json::parse(result.out, nullptr, false), lab().json({"endpoints"}));
}

TEST_F(Contract, RunGivesACommandANamespaceAndItsExitStatus) {
    const CommandResult result =
        lab().fastnet({"run", "--mode", "bridge", "--name", "job", "--", "sh", "-c", "ip -o -4 addr show dev eth0; exit 23"});
    EXPECT_EQ(result.status, 23) << result;
    EXPECT_NE(result.out.find("eth0"), std::string::npos) << result;
    EXPECT_EQ(lab().json({"endpoints"}), json::array()) << "the endpoint outlived its command";
    const CommandResult none = lab().fastnet({"run", "--mode", "none", "--", "ip", "-o", "link"});
    EXPECT_EQ(none.status, 0) << none;
    EXPECT_NE(none.out.find("lo:"), std::string::npos);
    EXPECT_EQ(none.out.find("eth0"), std::string::npos) << none;
    const CommandResult host = lab().fastnet({"run", "--mode", "host", "--", "ip", "-o", "-4", "addr", "show", "dev", "eth0"});
    EXPECT_EQ(host.status, 0) << host;
    EXPECT_NE(host.out.find(kNodeIp), std::string::npos) << host;
}

TEST_F(Contract, RunOfACommandThatDoesNotExistFailsAndLeavesNothing) {
    const CommandResult result = lab().fastnet({"run", "--mode", "bridge", "--", "/no/such/program"});
    EXPECT_NE(result.status, 0);
    EXPECT_NE(result.err.find("/no/such/program"), std::string::npos) << result;
    EXPECT_EQ(lab().json({"endpoints"}), json::array());
}

TEST_F(Contract, CleanupOfANodeThatWasNeverPreparedIsFine) {
    EXPECT_EQ(lab().fastnet({"cleanup"}).status, 0);
    EXPECT_EQ(lab().fastnet({"cleanup"}).status, 0);
}

}  // namespace
}  // namespace fastnet::test
