// Overlay networks, peers and remote endpoints on one node, as scripts see them: fields, exit statuses, idempotence, and that
// what is said is what the kernel holds. The traffic between nodes has tests of its own.
#include <gtest/gtest.h>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

const std::string kPeer = "192.0.2.7";
const std::string kOtherPeer = "192.0.2.8";

class OverlayContract : public LabTest {
protected:
    json create(const std::string& name, const Argv& extra = {}) { return lab().json(joined({"network", "create", name}, extra)); }
    json create_blue(const Argv& extra = {}) {
        return create("blue", joined({"--driver", "overlay", "--vni", "7", "--subnet", "10.77.0.0/24"}, extra));
    }
    json attach(const std::string& label, const Argv& extra = {}) {
        lab().container(label);
        return lab().json(
            joined({"attach", "--mode", "overlay", "--network", "blue", "--netns", lab().netns_argument(label), "--name", label}, extra));
    }
    Argv remote(const std::string& ip, const Argv& extra = {}) {
        return joined({"peer", "endpoint", "add", ip, "--peer", kPeer, "--network", "blue"}, extra);
    }
    json inspect(const std::string& name = "blue") { return lab().json({"network", "inspect", name}); }
    CommandResult in_node(const Argv& args) { return lab().node().run(args); }
    void expect_done(const Argv& args) {
        const CommandResult result = lab().fastnet(args);
        EXPECT_EQ(result.status, kDone) << result;
    }
    static Argv joined(Argv words, const Argv& more) {
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }
};

TEST_F(OverlayContract, NetworkHasItsVniItsBridgeAndAVxlanDevice) {
    const json blue = create_blue();
    EXPECT_EQ(blue["driver"], "overlay");
    EXPECT_EQ(blue["vni"], 7);
    EXPECT_EQ(blue["learning"], true);
    EXPECT_EQ(blue["gateway"], "10.77.0.1");
    EXPECT_EQ(blue["mtu"], 1450);
    EXPECT_EQ(create_blue(), blue) << "the same again is the same";
    const json rows = lab().json({"network", "ls"});
    ASSERT_EQ(rows.size(), 2U) << rows.dump();
    EXPECT_EQ(rows[1]["vni"], 7);
    EXPECT_TRUE(rows[0]["vni"].is_null());
    EXPECT_TRUE(rows[0]["learning"].is_null());

    const std::string device = "fnx-" + std::to_string(blue["id"].get<int>());
    const CommandResult link = in_node({"ip", "-d", "link", "show", device});
    ASSERT_EQ(link.status, 0) << link;
    for (const std::string& word : Argv{"vxlan id 7 ", "dstport 4789", "mtu 1450", "master " + blue["bridge"].get<std::string>(), ",UP"})
        EXPECT_NE(link.out.find(word), std::string::npos) << word << " is missing in\n" << link;
    EXPECT_EQ(tcx_program_count(lab().node(), device), 2U);

    expect_done({"network", "rm", "blue"});
    EXPECT_NE(in_node({"ip", "link", "show", device}).status, 0) << "the vxlan device stayed";
    expect_error(lab().fastnet({"network", "inspect", "blue"}), kNotFound);
}

TEST_F(OverlayContract, VniIsChosenWhereNoneIsGivenAndTakenOnce) {
    const json first = create("one", {"--driver", "overlay"});
    EXPECT_EQ(first["vni"], 4096);
    EXPECT_EQ(create("one", {"--driver", "overlay"}), first);
    EXPECT_EQ(create("two", {"--driver", "overlay"})["vni"], 4097);
    const CommandResult said = lab().fastnet({"network", "create", "three", "--driver", "overlay"});
    EXPECT_NE(said.out.find("VNI 4098"), std::string::npos) << said;
    expect_error(lab().fastnet({"network", "create", "four", "--driver", "overlay", "--vni", "4097"}), kConflict, {"4097", "two"});
    expect_error(lab().fastnet({"network", "create", "one", "--driver", "overlay", "--vni", "9"}), kConflict, {"other arguments"});
    for (const char* const vni : {"0", "16777216", "x", "-1"})
        expect_error(lab().fastnet({"network", "create", "four", "--driver", "overlay", "--vni", vni}), kUsage, {"--vni"});
    EXPECT_EQ(create("most", {"--driver", "overlay", "--vni", "16777215"})["vni"], 16777215);
    EXPECT_EQ(lab().json({"network", "ls"}).size(), 5U);
}

TEST_F(OverlayContract, SomebodyElsesVxlanInterfaceIsWarnedOf) {
    const auto make = [&](const std::string& name) {
        return lab().fastnet({"network", "create", name, "--driver", "overlay", "--subnet",
                              name == "blue" ? "10.77.0.0/24" : "10.78.0.0/24", "--ip-range",
                              name == "blue" ? "10.77.0.0/25" : "10.78.0.0/25"});
    };
    const CommandResult alone = make("blue");
    EXPECT_EQ(alone.err, "") << "a range of its own, and nobody else";
    lab().node().ip(
        {"link add name theirs type vxlan id 99 dstport 4789 dev lo", "link add name other type vxlan id 99 dstport 8472 dev lo"});
    const CommandResult beside = make("red");
    EXPECT_EQ(beside.status, kDone) << beside;
    EXPECT_NE(beside.err.find("'theirs'"), std::string::npos) << beside;
    EXPECT_EQ(beside.err.find("'other'"), std::string::npos) << beside;
    EXPECT_EQ(beside.err.find("'fnx-"), std::string::npos) << beside;
    lab().node().ip({"link del theirs", "link del other"});
}

TEST_F(OverlayContract, EndpointsAreAttachedAsToABridge) {
    create_blue({"--opt", "gateway_mode_ipv4=nat"});
    const json web = attach("web", {"-p", "2000:80"});
    EXPECT_EQ(web["mode"], "overlay");
    EXPECT_EQ(web["network"], "blue");
    EXPECT_EQ(web["ipv4"], "10.77.0.2/24");
    EXPECT_EQ(web["mtu"], 1450);
    EXPECT_EQ(web["mac"], lab().at("web").mac("eth0"));
    EXPECT_EQ(web["gateway_priority"], 0);
    const json again = attach("web", {"-p", "2000:80"});
    EXPECT_EQ(again, web);
    expect_error(lab().fastnet({"attach", "--mode", "bridge", "--network", "blue", "--netns", lab().netns_argument("web")}), kUsage,
                 {"driver overlay"});
    expect_error(lab().fastnet({"attach", "--mode", "overlay", "--network", "default", "--netns", lab().netns_argument("web")}), kUsage,
                 {"driver bridge"});
    expect_error(lab().fastnet({"attach", "--mode", "overlay", "--network", "red", "--netns", lab().netns_argument("web")}), kNotFound);
    expect_error(lab().fastnet({"network", "rm", "blue"}), kConflict, {"web"});
    EXPECT_EQ(lab().json({"stats"})["endpoints"].size(), 1U);
    expect_done({"publish", "web", "2001:81"});
    EXPECT_EQ(lab().count("ports"), 2U);

    attach("db");
    EXPECT_EQ(lab().at("db").run({"ping", "-c1", "-W5", "10.77.0.2"}).status, 0) << "on one node an overlay is a bridge network";
    EXPECT_EQ(lab().at("db").run({"ping", "-c1", "-W5", "10.77.0.1"}).status, 0);
    expect_done({"detach", "web"});
    EXPECT_EQ(lab().json({"endpoints"}).size(), 1U);
    lab().lose_container("db");
    EXPECT_TRUE(wait_until([&] { return lab().count("endpoints") == 0; })) << "a lost container of an overlay is collected as any other";
}

TEST_F(OverlayContract, GatewayPriorityIsKeptAndPartOfTheRequest) {
    create_blue();
    EXPECT_EQ(attach("web", {"--gw-priority", "-7"})["gateway_priority"], -7);
    EXPECT_EQ(attach("web", {"--gw-priority", "-7"})["gateway_priority"], -7);
    expect_error(
        lab().fastnet({"attach", "--mode", "overlay", "--network", "blue", "--netns", lab().netns_argument("web"), "--name", "web"}),
        kConflict, {"other arguments"});
    expect_error(lab().fastnet(lab().attach_args("web", {"--gw-priority", "1.5"})), kUsage, {"--gw-priority"});
}

TEST_F(OverlayContract, AddressesArePickedFromTheRangeAndOnlyAskedForOutsideOfIt) {
    create_blue({"--ip-range", "10.77.0.0/30"});  // the gateway is in it
    EXPECT_EQ(attach("a")["ipv4"], "10.77.0.2/24");
    EXPECT_EQ(attach("b")["ipv4"], "10.77.0.3/24");
    lab().container("c");
    const Argv third{"attach", "--mode", "overlay", "--network", "blue", "--netns", lab().netns_argument("c")};
    expect_error(lab().fastnet(third), kConflict, {"blue"});
    EXPECT_EQ(attach("c", {"--ip", "10.77.0.77"})["ipv4"], "10.77.0.77/24") << "as Docker does";
    EXPECT_EQ(create("upper", {"--driver", "overlay", "--subnet", "10.78.0.0/24", "--ip-range", "10.78.0.128/25"})["ip_range"],
              "10.78.0.128/25");
    expect_error(
        lab().fastnet({"network", "create", "bad", "--driver", "overlay", "--subnet", "10.79.0.0/24", "--ip-range", "10.80.0.0/25"}),
        kUsage, {"10.80.0.0/25"});
}

TEST_F(OverlayContract, PeerIsAddedListedAndRemoved) {
    EXPECT_EQ(lab().json({"peer", "ls"}), json::array());
    create_blue();
    const json all = lab().json({"peer", "add", kPeer});
    EXPECT_EQ(all["address"], kPeer);
    EXPECT_TRUE(all["network"].is_null());
    for (const char* const count :
         {"endpoints", "learned", "sent_packets", "sent_bytes", "received_packets", "received_bytes", "dropped_packets"})
        EXPECT_EQ(all[count], 0) << count;
    EXPECT_TRUE(all["mtu"].is_number() || all["mtu"].is_null());
    EXPECT_TRUE(all["uplink"].is_string() || all["uplink"].is_null());
    expect_done({"peer", "add", kPeer});
    EXPECT_EQ(lab().json({"peer", "add", kOtherPeer, "--network", "blue"})["network"], "blue");
    expect_done({"peer", "add", kOtherPeer, "--network", "blue"});
    const json rows = lab().json({"peer", "ls"});
    ASSERT_EQ(rows.size(), 2U) << rows.dump(2);
    EXPECT_EQ(rows[0]["address"], kPeer);
    EXPECT_EQ(rows[1]["network"], "blue");
    EXPECT_EQ(inspect()["peers"].size(), 2U);

    const std::string device = "fnx-" + std::to_string(inspect()["id"].get<int>());
    CommandResult fdb = in_node({"bridge", "fdb", "show", "dev", device});
    for (const std::string& peer : {kPeer, kOtherPeer}) EXPECT_NE(fdb.out.find("00:00:00:00:00:00 dst " + peer), std::string::npos) << fdb;

    expect_error(lab().fastnet({"peer", "rm", kPeer, "--network", "blue"}), kNotFound, {kPeer, "blue"});
    expect_done({"peer", "rm", kPeer});
    expect_error(lab().fastnet({"peer", "rm", kPeer}), kNotFound, {kPeer});
    expect_done({"peer", "rm", kOtherPeer, "--network", "blue"});
    EXPECT_EQ(lab().json({"peer", "ls"}), json::array());
    fdb = in_node({"bridge", "fdb", "show", "dev", device});
    EXPECT_EQ(fdb.out.find("192.0.2."), std::string::npos) << fdb;
}

TEST_F(OverlayContract, PeersOfAllNetworksAreThoseOfLaterOnesToo) {
    expect_done({"peer", "add", kPeer});
    const json blue = create_blue();
    EXPECT_EQ(inspect()["peers"].size(), 1U);
    const CommandResult fdb = in_node({"bridge", "fdb", "show", "dev", "fnx-" + std::to_string(blue["id"].get<int>())});
    EXPECT_NE(fdb.out.find("dst " + kPeer), std::string::npos) << fdb;
    expect_done({"peer", "add", kPeer, "--network", "blue"});
    EXPECT_EQ(inspect()["peers"].size(), 1U) << "once, whatever it is by";
    expect_done({"network", "rm", "blue"});
    const json rows = lab().json({"peer", "ls"});
    ASSERT_EQ(rows.size(), 1U) << rows.dump();
    EXPECT_TRUE(rows[0]["network"].is_null());
}

TEST_F(OverlayContract, WhatIsNoPeerIsRefusedAndLeavesNothing) {
    create_blue();
    create("plain", {"--subnet", "10.88.0.0/24"});
    for (const std::string& address :
         {std::string{"nonsense"}, std::string{"192.0.2.7/24"}, std::string{"127.0.0.1"}, std::string{"::1"}, std::string{"0.0.0.0"},
          std::string{"224.1.2.3"}, std::string{"fe80::7"}, std::string{"255.255.255.255"}, kNodeIp, kNodeIp2, std::string{"10.77.0.1"},
          std::string{"10.77.0.200"}, std::string{"10.88.0.9"}})
        expect_error(lab().fastnet({"peer", "add", address}), kUsage, {address});
    expect_error(lab().fastnet({"peer", "add", kPeer, "--network", "red"}), kNotFound, {"'red'"});
    expect_error(lab().fastnet({"peer", "add", kPeer, "--network", "plain"}), kUsage, {"driver bridge"});
    expect_error(lab().fastnet({"peer", "add", kPeer, "--network", ""}), kUsage, {"--network"});
    expect_done({"peer", "add", kPeer});
    expect_error(lab().fastnet({"peer", "add", "2001:db8::7", "--network", "blue"}), kUsage, {kPeer, "2001:db8::7"});
    expect_error(lab().fastnet({"peer", "rm", "192.0.2.99"}), kNotFound, {"192.0.2.99"});
    EXPECT_EQ(lab().json({"peer", "ls"}).size(), 1U);
    expect_error(lab().fastnet({"network", "create", "round", "--driver", "overlay", "--subnet", "192.0.2.0/28"}), kConflict);
    expect_error(lab().fastnet({"network", "create", "self", "--subnet", "10.99.7.0/24", "--driver", "overlay", "--vni", "7"}), kConflict);
}

TEST_F(OverlayContract, NetworkMayNotCoverAPeer) {
    expect_done({"peer", "add", "10.66.0.7"});
    expect_error(lab().fastnet({"network", "create", "blue", "--driver", "overlay", "--subnet", "10.66.0.0/24"}), kConflict,
                 {"peer 10.66.0.7"});
}

TEST_F(OverlayContract, RemoteEndpointIsAddedListedAndRemoved) {
    create_blue();
    expect_done({"peer", "add", kPeer});
    const json added = lab().json(remote("10.77.0.9"));
    const json wanted{{"network", "blue"}, {"source", "static"},  {"name", nullptr}, {"node", nullptr},
                      {"peer", kPeer},     {"ipv4", "10.77.0.9"}, {"ipv6", nullptr}, {"mac", "02:42:0a:4d:00:09"}};
    EXPECT_EQ(added, wanted);
    EXPECT_EQ(lab().json(remote("10.77.0.9")), wanted) << "the same again";
    EXPECT_EQ(lab().json({"peer", "endpoint", "ls"}), json::array({wanted}));
    EXPECT_EQ(lab().json({"peer", "ls"})[0]["endpoints"], 1);
    const json blue = inspect();
    EXPECT_EQ(blue["learning"], false) << "with a named endpoint nothing is learned";
    EXPECT_EQ(
        blue["remote_endpoints"],
        json::array(
            {{{"address", "10.77.0.9"}, {"mac", "02:42:0a:4d:00:09"}, {"peer", kPeer}, {"learned", false}, {"silent_seconds", nullptr}}}));
    expect_error(lab().fastnet(remote("10.77.0.9", {"--mac", "02:00:00:00:00:09"})), kConflict, {"10.77.0.9", kPeer});
    expect_done({"peer", "endpoint", "rm", "10.77.0.9", "--network", "blue"});
    expect_error(lab().fastnet({"peer", "endpoint", "rm", "10.77.0.9", "--network", "blue"}), kNotFound, {"10.77.0.9"});
    EXPECT_EQ(inspect()["remote_endpoints"], json::array());
    EXPECT_EQ(inspect()["learning"], true);

    expect_done(remote("10.77.0.9", {"--mac", "02:00:00:00:00:09"}));
    expect_done({"peer", "rm", kPeer});
    EXPECT_EQ(lab().json({"peer", "endpoint", "ls"}), json::array()) << "they go with their peer";
    EXPECT_EQ(inspect()["remote_endpoints"], json::array());
}

TEST_F(OverlayContract, RemoteEndpointOfBothFamiliesIsOneRecord) {
    create("blue", {"--driver", "overlay", "--vni", "7", "--subnet", "10.77.0.0/24", "--subnet", "fd77::/64"});
    expect_done({"peer", "add", kPeer});
    expect_done({"peer", "endpoint", "add", "10.77.0.9", "fd77::9", "--peer", kPeer, "--network", "blue"});
    expect_done({"peer", "endpoint", "add", "fd77::a", "--peer", kPeer, "--network", "blue", "--mac", "02:00:00:00:00:0a"});
    EXPECT_EQ(inspect()["remote_endpoints"].size(), 3U);
    ASSERT_EQ(lab().json({"peer", "endpoint", "ls"}).size(), 2U);
    expect_done({"peer", "endpoint", "rm", "fd77::9", "--network", "blue"});
    EXPECT_EQ(inspect()["remote_endpoints"].size(), 1U);
}

TEST_F(OverlayContract, WhatIsNoRemoteEndpointIsRefused) {
    create_blue();
    create("plain", {"--subnet", "10.88.0.0/24"});
    expect_error(lab().fastnet(remote("10.77.0.9")), kNotFound, {kPeer, "no peer"});
    expect_done({"peer", "add", kPeer});
    const json web = attach("web");
    expect_error(lab().fastnet(remote("10.77.0.2")), kConflict, {"endpoint 'web'"});
    expect_error(lab().fastnet(remote("10.77.0.1")), kConflict, {"gateway"});
    expect_error(lab().fastnet(remote("10.77.0.9", {"--mac", web["mac"].get<std::string>()})), kConflict, {"endpoint 'web'"});
    expect_error(lab().fastnet(remote("10.77.0.255")), kUsage, {"broadcast"});
    expect_error(lab().fastnet(remote("10.78.0.9")), kUsage, {"outside"});
    expect_error(lab().fastnet(remote("banana")), kUsage, {"banana"});
    expect_error(lab().fastnet(remote("fd77::9", {"--mac", "02:00:00:00:00:09"})), kUsage, {"IPv6"});
    for (const char* const mac : {"02:00:00:00:00", "01:00:5e:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "02:66:6e:00:00:01"})
        expect_error(lab().fastnet(remote("10.77.0.9", {"--mac", mac})), kUsage, {mac});
    expect_error(lab().fastnet({"peer", "endpoint", "add", "10.88.0.9", "--peer", kPeer, "--network", "plain"}), kUsage, {"driver bridge"});
    expect_error(lab().fastnet({"peer", "endpoint", "add", "10.88.0.9", "--peer", kPeer, "--network", "red"}), kNotFound, {"red"});
    expect_error(lab().fastnet({"peer", "endpoint", "add", "10.77.0.9", "--peer", kOtherPeer, "--network", "blue"}), kNotFound,
                 {kOtherPeer});
    EXPECT_EQ(lab().json({"peer", "endpoint", "ls"}), json::array());
    expect_error(lab().fastnet({"peer", "endpoint", "rm", "10.77.0.9", "--network", "red"}), kNotFound, {"red"});
}

TEST_F(OverlayContract, AddressOfARemoteEndpointIsNotGivenToAContainer) {
    create_blue();
    expect_done({"peer", "add", kPeer});
    expect_done(remote("10.77.0.2"));
    EXPECT_EQ(attach("web")["ipv4"], "10.77.0.3/24");
    lab().container("db");
    expect_error(
        lab().fastnet({"attach", "--mode", "overlay", "--network", "blue", "--netns", lab().netns_argument("db"), "--ip", "10.77.0.2"}),
        kConflict, {"10.77.0.2", kPeer});
}

TEST_F(OverlayContract, LearningIsSetByHand) {
    EXPECT_EQ(create_blue({"--opt", "learning=on"})["learning"], true);
    expect_done({"peer", "add", kPeer});
    expect_done(remote("10.77.0.9"));
    EXPECT_EQ(inspect()["learning"], true);
    EXPECT_EQ(create("red", {"--driver", "overlay", "--opt", "learning=off"})["learning"], false);
    expect_error(lab().fastnet({"network", "create", "green", "--driver", "overlay", "--opt", "learning=1"}), kUsage, {"learning"});
    expect_error(lab().fastnet({"network", "create", "green", "--opt", "learning=on"}), kUsage, {"learning"});
}

TEST_F(OverlayContract, VxlansPortIsNotPublishedAsLongAsThereIsAnOverlay) {
    lab().attach("web", {"-p", "4789:80/udp"});
    expect_error(lab().fastnet({"network", "create", "blue", "--driver", "overlay"}), kConflict, {"4789", "'web'"});
    EXPECT_EQ(lab().json({"network", "ls"}).size(), 1U);
    expect_done({"unpublish", "web", "4789:80/udp"});
    create_blue();
    expect_error(lab().fastnet({"publish", "web", "4789:80/udp"}), kConflict, {"4789"});
    expect_error(lab().fastnet({"publish", "web", "4780-4790:4780-4790/udp"}), kConflict, {"4789"});
    expect_error(lab().fastnet({"publish", "web", kNodeIp + ":4789:80/udp"}), kConflict, {"4789"});
    expect_done({"publish", "web", "4789:80/tcp"});
    lab().container("db");
    const json db = lab().attach("db", {"-p", "4789-4790:53/udp"});
    EXPECT_EQ(db["published"][0]["host_port"], 4790) << "the first that is free";
    expect_done({"network", "rm", "blue"});
    expect_done({"publish", "web", "4789:80/udp"});
}

TEST_F(OverlayContract, MtuLeavesRoomForTheOutside) {
    EXPECT_EQ(create_blue()["mtu"], 1450);
    EXPECT_EQ(create("own", {"--driver", "overlay", "--mtu", "1400"})["mtu"], 1400);
    expect_done({"peer", "add", "2001:db8::7", "--network", "blue"});
    EXPECT_EQ(inspect()["mtu"], 1430) << "IPv6 outside costs 20 bytes more";
    EXPECT_EQ(attach("web")["mtu"], 1430);
    expect_done({"peer", "rm", "2001:db8::7"});
    EXPECT_EQ(inspect()["mtu"], 1450);
}

TEST_F(OverlayContract, SurvivesARebootWithItsPeersAndRemoteEndpoints) {
    create_blue();
    expect_done({"peer", "add", kPeer});
    expect_done(remote("10.77.0.9"));
    const json peers = lab().json({"peer", "ls"});
    lab().reboot();
    expect_done({"attach", "--mode", "bridge"});
    EXPECT_EQ(lab().json({"peer", "ls"})[0]["endpoints"], 1);
    EXPECT_EQ(inspect()["remote_endpoints"].size(), 1U);
    EXPECT_EQ(tcx_program_count(lab().node(), "fnx-" + std::to_string(inspect()["id"].get<int>())), 2U);
}

TEST_F(OverlayContract, WhatSomebodyTookAwayComesBackWithTheNextCommand) {
    const json blue = create_blue();
    expect_done({"peer", "add", kPeer});
    const std::string device = "fnx-" + std::to_string(blue["id"].get<int>());
    ASSERT_EQ(in_node({"ip", "link", "del", device}).status, 0);
    expect_done({"attach", "--mode", "bridge"});
    EXPECT_EQ(tcx_program_count(lab().node(), device), 2U);
    CommandResult fdb = in_node({"bridge", "fdb", "show", "dev", device});
    EXPECT_NE(fdb.out.find("dst " + kPeer), std::string::npos) << fdb;
    ASSERT_EQ(in_node({"ip", "link", "set", device, "down"}).status, 0);
    attach("web");
    EXPECT_NE(in_node({"ip", "link", "show", device}).out.find(",UP"), std::string::npos) << "any verb sees that it is down";
    ASSERT_EQ(in_node({"bridge", "fdb", "del", "00:00:00:00:00:00", "dev", device, "dst", kPeer}).status, 0);
    expect_done({"attach", "--mode", "bridge"});
    fdb = in_node({"bridge", "fdb", "show", "dev", device});
    EXPECT_NE(fdb.out.find("dst " + kPeer), std::string::npos) << fdb;
}

/// Kills @p command at each of its steps in turn; the next command repairs, and what is on record is what the kernel has.
class OverlayCrash : public OverlayContract {
protected:
    void kill_at_every_step(const Argv& command, const Argv& undo) {
        unsigned step = 1;
        for (; step < 100; ++step) {
            const CommandResult result = lab().fastnet(command, {.env = {{"FASTNET_CRASH_AT", std::to_string(step)}}});
            if (result.ok()) break;
            SCOPED_TRACE("killed at step " + std::to_string(step));
            expect_done({"peer", "add", "192.0.2.250"});  // any command that changes something
            expect_agreement();
            expect_done(command);
            expect_agreement();
            expect_done(undo);
            if (HasFailure()) return;
        }
        EXPECT_GT(step, 3U) << "FASTNET_CRASH_AT has no effect";
        expect_done(undo);
        expect_agreement();
    }
    void expect_agreement() {
        for (const json& network : lab().json({"network", "ls"})) {
            if (network["driver"] != "overlay") continue;
            const json shown = inspect(network["name"]);
            std::size_t named = 0;
            for (const json& remote : lab().json({"peer", "endpoint", "ls"})) named += remote["network"] == network["name"] ? 1 : 0;
            EXPECT_EQ(shown["remote_endpoints"].size(), named) << shown.dump(2);
            const std::string link = in_node({"ip", "-br", "link", "show", "type", "vxlan", "master", network["bridge"]}).out;
            const std::string device = link.substr(0, link.find(' '));  // the id in its name is in base 36
            EXPECT_EQ(tcx_program_count(lab().node(), device), 2U);
            const std::string fdb = in_node({"bridge", "fdb", "show", "dev", device}).out;
            std::size_t flooded_to = 0;
            for (std::size_t at = fdb.find("00:00:00:00:00:00 dst"); at != std::string::npos;
                 at = fdb.find("00:00:00:00:00:00 dst", at + 1))
                ++flooded_to;
            EXPECT_EQ(flooded_to, shown["peers"].size()) << fdb;
        }
    }
};

TEST_F(OverlayCrash, OfNetworkCreate) {
    expect_done({"peer", "add", kPeer});
    kill_at_every_step({"network", "create", "blue", "--driver", "overlay", "--vni", "7", "--subnet", "10.77.0.0/24"},
                       {"network", "rm", "blue"});
}

TEST_F(OverlayCrash, OfPeerAddAndRemove) {
    create_blue();
    kill_at_every_step({"peer", "add", kPeer}, {"peer", "rm", kPeer});
}

TEST_F(OverlayCrash, OfPeerEndpointAdd) {
    create_blue();
    expect_done({"peer", "add", kPeer});
    kill_at_every_step(remote("10.77.0.9"), {"peer", "endpoint", "rm", "10.77.0.9", "--network", "blue"});
}

TEST_F(OverlayContract, CommandsOfAnUnpreparedNodeListNothingAndRemoveNothing) {
    EXPECT_EQ(lab().json({"peer", "ls"}), json::array());
    EXPECT_EQ(lab().json({"peer", "endpoint", "ls"}), json::array());
    expect_error(lab().fastnet({"peer", "rm", kPeer}), kNotFound, {kPeer});
    expect_error(lab().fastnet({"peer", "endpoint", "rm", "10.77.0.9", "--network", "blue"}), kNotFound, {"blue"});
}

}  // namespace
}  // namespace fastnet::test
