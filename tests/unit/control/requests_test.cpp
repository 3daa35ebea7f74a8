// What can be refused before anything is touched, and what two requests have in common.
#include <gtest/gtest.h>

#include "tests/unit/control/state_builder.h"
#include "userspace/control/attach.h"
#include "userspace/control/networks.h"
#include "userspace/control/paths.h"
#include "userspace/control/ports.h"

namespace fastnet {
namespace {

AttachRequest request(EndpointMode mode, bool netns = true) {
    AttachRequest request;
    request.mode = mode;
    if (netns) request.netns = "web";
    return request;
}

void expect_usage(const Status& status, const std::string& mention) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::kUsage);
    EXPECT_NE(status.error().message.find(mention), std::string::npos) << status.error().message;
    EXPECT_FALSE(status.error().hint.empty());
}

TEST(AttachRequests, PlainOnesAreFine) {
    EXPECT_TRUE(check_request(request(EndpointMode::kBridge)));
    EXPECT_TRUE(check_request(request(EndpointMode::kBridge, false))) << "prepares the node";
    EXPECT_TRUE(check_request(request(EndpointMode::kNone)));
    EXPECT_TRUE(check_request(request(EndpointMode::kHost, false)));
}

TEST(AttachRequests, PublishingNeedsBridgeModeAndSaysWhy) {
    AttachRequest host = request(EndpointMode::kHost);
    host.ports = {*PublishSpec::parse("2000:80")};
    expect_usage(check_request(host), "mode host");
    host.mode = EndpointMode::kNone;
    expect_usage(check_request(host), "mode none");
}

TEST(AttachRequests, PortsOfAnyAddressOfTheHostArePublished) {
    for (const char* const spec : {"2000:80/udp", "0.0.0.0:2000:80", "127.0.0.1:2000:80", "127.8.8.8::80", "[::1]:2000:80/udp"}) {
        SCOPED_TRACE(spec);
        AttachRequest attach = request(EndpointMode::kBridge);
        attach.ports = {*PublishSpec::parse(spec)};
        EXPECT_TRUE(check_request(attach));
    }
}

TEST(AttachRequests, SctpIsPublishedAtItsOwnNumberOnly) {
    const auto answer = [](const char* spec) {
        AttachRequest attach = request(EndpointMode::kBridge);
        attach.ports = {*PublishSpec::parse(spec)};
        return check_request(attach);
    };
    for (const char* const spec : {"2000:80/sctp", "80/sctp", "0:80/sctp", "2000-2009:80/sctp", "2000-2009:80-89/sctp"}) {
        SCOPED_TRACE(spec);
        expect_usage(answer(spec), "checksum");
        EXPECT_NE(answer(spec).error().hint.find(":80"), std::string::npos) << "it says how";
    }
    for (const char* const spec : {"80:80/sctp", "0.0.0.0:80-89:80-89/sctp", "[::2]:80:80/sctp"}) EXPECT_TRUE(answer(spec)) << spec;
}

TEST(AttachRequests, OptionsOfAnEndpointNeedANamespace) {
    AttachRequest bare = request(EndpointMode::kBridge, false);
    bare.network = "blue";
    expect_usage(check_request(bare), "--netns");
    bare = request(EndpointMode::kBridge, false);
    bare.ports = {*PublishSpec::parse("2000:80")};
    expect_usage(check_request(bare), "--netns");
    expect_usage(check_request(request(EndpointMode::kNone, false)), "namespace");
}

TEST(AttachRequests, NetworkDoesNotFitModesWithoutOne) {
    for (const EndpointMode mode : {EndpointMode::kNone, EndpointMode::kHost}) {
        AttachRequest wrong = request(mode);
        wrong.network = "blue";
        expect_usage(check_request(wrong), "no network");
    }
}

TEST(AttachRequests, BadNamesAndAddressesAreRefused) {
    AttachRequest bad = request(EndpointMode::kBridge);
    bad.name = "../up";
    expect_usage(check_request(bad), "../up");
    bad = request(EndpointMode::kBridge);
    bad.ifname = "all";  // a directory of sysctls
    expect_usage(check_request(bad), "all");
    bad = request(EndpointMode::kBridge);
    bad.mac = *MacAddress::parse("01:00:5e:00:00:01");
    expect_usage(check_request(bad), "01:00:5e");
    bad = request(EndpointMode::kBridge);
    bad.ips = {ip("10.0.0.1"), ip("10.0.0.2")};
    expect_usage(check_request(bad), "--ip");
    bad.ips = {ip("10.0.0.1"), ip("fd00::2")};
    EXPECT_TRUE(check_request(bad));
}

TEST(AttachRequests, ModesOfLaterVersionsSayWhatThereIs) {
    for (const EndpointMode mode : {EndpointMode::kMacvlan, EndpointMode::kIpvlan})
        expect_usage(check_request(request(mode)), "not part of this version");
}

TEST(AttachRequests, OverlayNeedsANamespaceAndANetwork) {
    expect_usage(check_request(request(EndpointMode::kOverlay)), "no network is named");
    AttachRequest overlay = request(EndpointMode::kOverlay, false);
    overlay.network = "blue";
    expect_usage(check_request(overlay), "no namespace is named");
    overlay.netns = "web";
    EXPECT_TRUE(check_request(overlay));
}

TEST(NetworkRequests, AreCheckedWithoutANode) {
    NetworkRequest network;
    network.name = "blue";
    EXPECT_TRUE(check_request(network));
    network.subnets = {prefix("10.99.0.0/24")};
    EXPECT_TRUE(check_request(network));
    network.gateways = {ip("10.98.0.1")};
    EXPECT_FALSE(check_request(network));
    network.gateways = {};
    network.subnets = {prefix("127.5.0.0/16")};
    expect_usage(check_request(network), "127.5.0.0/16");
    network.subnets = {};
    network.gateways = {ip("10.99.0.1")};
    expect_usage(check_request(network), "--subnet");
    network.gateways = {};
    network.vni = 7;
    expect_usage(check_request(network), "--vni");
    network.driver = NetworkDriver::kOverlay;
    EXPECT_TRUE(check_request(network));
    network.vni = 0;
    EXPECT_TRUE(check_request(network)) << "one is chosen";
    network.vni = kMaxVni + 1;
    expect_usage(check_request(network), "VNI");
    network.vni = 7;
    network.options = {{"learning", "off"}};
    EXPECT_TRUE(check_request(network));
    network.driver = NetworkDriver::kBridge;
    network.vni = 0;
    expect_usage(check_request(network), "learning");
    network.options = {};
    network.driver = NetworkDriver::kMacvlan;
    expect_usage(check_request(network), "macvlan");
}

TEST(PublishedPorts, AreNamedAsTheyWerePublishedOrAsTheyAreShown) {
    PublishedPort port = web_port();
    EXPECT_TRUE(means(*PublishSpec::parse("2000:80"), port));
    EXPECT_FALSE(means(*PublishSpec::parse("2000:80/udp"), port));
    EXPECT_FALSE(means(*PublishSpec::parse("2001:80"), port));
    EXPECT_FALSE(means(*PublishSpec::parse("192.0.2.2:2000:80"), port));
    port.spec = "80/tcp";  // the host port was picked
    EXPECT_TRUE(means(*PublishSpec::parse("80"), port));
    EXPECT_TRUE(means(*PublishSpec::parse("2000:80"), port));
    EXPECT_TRUE(means(*PublishSpec::parse("0.0.0.0:2000:80"), port));
    EXPECT_FALSE(means(*PublishSpec::parse("81"), port));
}

TEST(Paths, RootHoldsEverything) {
    const NodePaths machine = paths_for(std::nullopt);
    EXPECT_EQ(machine.state_dir, "/var/lib/fastnet");
    EXPECT_EQ(machine.run_dir, "/run/fastnet");
    EXPECT_EQ(machine.pins.parent_path(), "/sys/fs/bpf/fastnet");
    EXPECT_FALSE(machine.own_root);
    const NodePaths own = paths_for("/srv/node1/");
    EXPECT_TRUE(own.own_root);
    EXPECT_EQ(own.run_dir, own.state_dir);
    EXPECT_EQ(own.pins.parent_path(), "/srv/node1/bpf");
    EXPECT_TRUE(paths_for("relative").state_dir.is_absolute());
}

}  // namespace
}  // namespace fastnet
