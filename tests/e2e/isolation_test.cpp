// Isolation as users of Docker expect it: default deny, no spoofing, no crossing. Every refusal shows the packet that
// must not arrive AND the verdict that counted it; the near miss that must arrive stands beside it.
#include <gtest/gtest.h>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

class Isolation : public LabTest {
protected:
    /// `e = Ether(...)` towards the gateway as container @p label sees it, plus the names me, gw, my_mac, gw_mac.
    std::string scapy_prelude(const std::string& label) {
        const json row = lab().endpoint(label);
        const std::string gateway = row["gateway"];
        const Netns& netns = lab().at(label);
        netns.run({"ping", "-c1", "-W2", gateway});
        const json neighbours = json::parse(netns.run({"ip", "-j", "neigh", "show", gateway}).out, nullptr, false);
        const std::string gateway_mac = neighbours.is_array() && !neighbours.empty() ? neighbours[0].value("lladdr", "") : "";
        EXPECT_FALSE(gateway_mac.empty()) << "the gateway does not answer ARP";
        return "me = '" + lab().ip(label) + "'\ngw = '" + gateway + "'\nmy_mac = '" + row["mac"].get<std::string>() + "'\ngw_mac = '" +
               gateway_mac + "'\ninternet = '" + kInternetIp + "'\ne = Ether(src=my_mac, dst=gw_mac)\n";
    }

    /// Frames sent before this call have been handled: a ping of @p label through the same queues came back.
    void barrier(const std::string& label) {
        EXPECT_TRUE(lab().at(label).run({"ping", "-c1", "-W2", lab().endpoint(label)["gateway"].get<std::string>()}).ok());
    }

    std::string neighbour(const Netns& netns, const std::string& ip) {
        const json rows = json::parse(netns.run({"ip", "-j", "neigh", "show", ip}).out, nullptr, false);
        return rows.is_array() && !rows.empty() ? rows[0].value("lladdr", "") : "";
    }
};

// ------------------------------------------------------------------------------------------- from outside

TEST_F(Isolation, DirectRoutingToAContainerIsRefusedAndCounted) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web", {80, 8080}};
    lab().client().ip({"route add " + lab().ip("web") + "/32 via " + kNodeIp});
    Capture inside{lab().at("web"), "eth0"};
    const std::uint64_t before = lab().verdict("NOT_PUBLISHED");
    EXPECT_EQ(fetch(lab().client(), url(lab().ip("web"), 8080), 1), "") << "a port that is not published";
    EXPECT_EQ(fetch(lab().client(), url(lab().ip("web"), 80), 1), "") << "a published port, but on the container's own address";
    EXPECT_FALSE(lab().client().run({"ping", "-c1", "-W1", lab().ip("web")}).ok());
    EXPECT_FALSE(udp_answers(lab().client(), {lab().ip("web"), 53}, "x", Millis{300}));
    EXPECT_GT(lab().verdict("NOT_PUBLISHED"), before);
    for (const Frame& frame : inside.take()) EXPECT_NE(frame.source(), kClientIp) << frame.describe();
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
}

TEST_F(Isolation, DirectRoutingIsRefusedAlsoWhenTheAdministratorForwards) {
    lab().node().set_sysctl("net.ipv4.ip_forward", "1");
    lab().rebaseline();
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web", {80, 8080}};
    lab().client().ip({"route add " + lab().ip("web") + "/32 via " + kNodeIp});
    EXPECT_EQ(fetch(lab().client(), url(lab().ip("web"), 8080), 1), "");
    EXPECT_EQ(fetch(lab().client(), url(lab().ip("web"), 80), 1), "");
    EXPECT_FALSE(lab().client().run({"ping", "-c1", "-W1", lab().ip("web")}).ok());
    EXPECT_EQ(lab().node().sysctl("net.ipv4.ip_forward"), "1");
}

/// Another NIC, docker0, wg0: present before the node was prepared, or later.
class AnotherInterface : public Isolation, public ::testing::WithParamInterface<bool> {};

TEST_P(AnotherInterface, ReachesNoContainerDirectly) {
    const bool is_added_later = GetParam();
    lab().node().set_sysctl("net.ipv4.ip_forward", "1");  // the worst case: the host forwards between all its NICs
    if (!is_added_later) lab().add_other_host("wg0");
    lab().rebaseline();
    lab().attach("web", {"-p", "2000:80"});
    if (is_added_later) lab().add_other_host("wg0");
    const WebServer web{lab().at("web"), "web", {80, 8080}};
    Capture inside{lab().at("web"), "eth0"};
    const std::uint64_t before = lab().verdict("NOT_PUBLISHED");
    EXPECT_EQ(fetch(lab().other_host(), url(lab().ip("web"), 8080), 1), "");
    EXPECT_EQ(fetch(lab().other_host(), url(lab().ip("web"), 80), 1), "");
    EXPECT_FALSE(lab().other_host().run({"ping", "-c1", "-W1", lab().ip("web")}).ok());
    EXPECT_GT(lab().verdict("NOT_PUBLISHED"), before);
    for (const Frame& frame : inside.take()) EXPECT_NE(frame.source(), kOtherHostIp) << frame.describe();
    EXPECT_NE(fetch(lab().node(), url(lab().ip("web"), 80)), "") << "the host itself may";
    if (is_added_later) lab().node().ip({"link del wg0"});
}

INSTANTIATE_TEST_SUITE_P(Host, AnotherInterface, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "AddedLater" : "PresentBefore"; });

TEST_F(Isolation, OtherBridgeOfTheHostReachesNoContainer) {
    // What docker0 or virbr0 is: a bridge of the host with a guest of its own.
    const Netns& guest = lab().container("guest");
    lab().node().ip({"link add docker0 type bridge", "addr add 172.30.0.1/16 dev docker0", "link set docker0 up",
                     "link add docker0-g type veth peer name eth0 netns " + guest.name(), "link set docker0-g master docker0 up"});
    guest.ip({"addr add 172.30.0.2/16 dev eth0", "link set eth0 up", "route add default via 172.30.0.1"});
    lab().node().set_sysctl("net.ipv4.ip_forward", "1");
    lab().rebaseline();
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    EXPECT_EQ(fetch(guest, url(lab().ip("web"), 80), 1), "");
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "") << "while the outside reaches it";
    lab().lose_container("guest");  // and with it its side of the node, which is not fastnet's to restore
    lab().cleanup_and_verify_except("docker0");
}

TEST_F(Isolation, FramesThatAreNotForThisHostAreNotTranslated) {
    lab().node().ip({"link set eth0 promisc on"});
    lab().rebaseline();
    lab().attach("web", {"-p", "2000:80/udp"});
    Capture inside{lab().at("web"), "eth0"};
    inject(lab().client(), "eth0",
           scapy("ip = IP(src='192.0.2.1', dst='192.0.2.2')\n"
                 "frames.append(Ether(src='02:00:00:00:00:01', dst='02:99:99:99:99:99')/ip/UDP(sport=5, dport=2000)/Raw(b'not for you'))\n"
                 "frames.append(Ether(src='02:00:00:00:00:01', dst='" +
                 lab().node().mac("eth0") + "')/ip/UDP(sport=6, dport=2000)/Raw(b'for you'))\n"));
    ASSERT_TRUE(inside.wait_for([](const Frame& frame) {
        EXPECT_FALSE(frame.contains("not for you")) << frame.describe();
        return frame.contains("for you") && !frame.contains("not for you");
    }));
}

TEST_F(Isolation, BroadcastAndMulticastFramesToAPublishedPortAreNotTranslated) {
    lab().attach("web", {"-p", "2000:80/udp"});
    Capture inside{lab().at("web"), "eth0"};
    inject(lab().client(), "eth0",
           scapy("for mac, ip in (('ff:ff:ff:ff:ff:ff', '192.0.2.255'), ('ff:ff:ff:ff:ff:ff', '255.255.255.255'), ('ff:ff:ff:ff:ff:ff', "
                 "'192.0.2.2'), "
                 "('01:00:5e:00:00:fb', '224.0.0.251')):\n"
                 "    frames.append(Ether(src='02:00:00:00:00:01', dst=mac)/IP(src='192.0.2.1', dst=ip)/UDP(sport=5, dport=2000)/Raw(b'to "
                 "many'))\n"
                 "frames.append(Ether(src='02:00:00:00:00:01', dst='" +
                 lab().node().mac("eth0") + "')/IP(src='192.0.2.1', dst='192.0.2.2')/UDP(sport=6, dport=2000)/Raw(b'to one'))\n"));
    ASSERT_TRUE(inside.wait_for([](const Frame& frame) {
        EXPECT_FALSE(frame.contains("to many")) << frame.describe();
        return frame.contains("to one");
    }));
}

TEST_F(Isolation, LoopbackAddressesFromTheWireReachNobody) {
    lab().attach("web", {"-p", "2000:80/udp"});
    const Socket own = Socket::bound(lab().node(), Transport::kUdp, {"0.0.0.0", 5353});
    Capture inside{lab().at("web"), "eth0"};
    inject(lab().client(), "eth0",
           scapy("e = Ether(src='02:00:00:00:00:01', dst='" + lab().node().mac("eth0") +
                 "')\n"
                 "for port in (2000, 5353):\n"
                 "    frames.append(e/IP(src='192.0.2.1', dst='127.0.0.1')/UDP(sport=5, dport=port)/Raw(b'martian'))\n"
                 "    frames.append(e/IP(src='127.0.0.1', dst='192.0.2.2')/UDP(sport=5, dport=port)/Raw(b'martian'))\n"
                 "    frames.append(e/IP(src='224.0.0.5', dst='192.0.2.2')/UDP(sport=5, dport=port)/Raw(b'martian'))\n"
                 "    frames.append(e/IP(src='0.0.0.0', dst='192.0.2.2')/UDP(sport=5, dport=port)/Raw(b'martian'))\n"
                 "frames.append(e/IP(src='192.0.2.1', dst='192.0.2.2')/UDP(sport=6, dport=2000)/Raw(b'honest'))\n"));
    ASSERT_TRUE(inside.wait_for([](const Frame& frame) {
        EXPECT_FALSE(frame.contains("martian")) << frame.describe();
        return frame.contains("honest");
    }));
    EXPECT_EQ(own.receive(Millis{200}), "");
}

TEST_F(Isolation, TransitTrafficToAnotherAddressOfTheSamePortIsUntouched) {  // CVE-2025-67499
    const Netns& other = lab().add_other_host("eth1");
    lab().node().set_sysctl("net.ipv4.ip_forward", "1");
    lab().rebaseline();
    lab().attach("web", {"--uplink", "eth0", "--uplink", "eth1", "-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    const WebServer elsewhere{other, "elsewhere", {2000}};
    lab().client().ip({"route add 203.0.113.0/24 via " + kNodeIp});
    EXPECT_EQ(fetch(lab().client(), url(kOtherHostIp, 2000)), "elsewhere " + kClientIp + " " + kOtherHostIp + ":2000\n");
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2000)).substr(0, 4), "web ");
    EXPECT_EQ(fetch(lab().at("web"), url(kOtherHostIp, 2000)).substr(0, 9), "elsewhere") << "from a container as well";
}

TEST_F(Isolation, HostDoesNotBecomeAnOpenRouter) {
    const Netns& other = lab().add_other_host("eth1");
    lab().rebaseline();
    lab().attach("web", {"-p", "2000:80"});
    EXPECT_EQ(lab().node().sysctl("net.ipv4.ip_forward"), "0");
    const WebServer web{lab().at("web"), "web"};
    const WebServer outside{lab().client(), "outside"};
    const WebServer elsewhere{other, "elsewhere"};
    lab().client().ip({"route add 203.0.113.0/24 via " + kNodeIp});
    EXPECT_EQ(fetch(lab().client(), url(kOtherHostIp, 80), 1), "") << "the node forwards between two NICs";
    EXPECT_EQ(fetch(other, url(kClientIp, 80), 1), "");
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
    EXPECT_NE(fetch(lab().at("web"), url(kInternetIp, 80)), "");
}

// ------------------------------------------------------------------------------------------- between networks

TEST_F(Isolation, ContainersOnDifferentNetworksDoNotReachEachOther) {
    lab().json({"network", "create", "blue"});
    lab().json({"network", "create", "red"});
    lab().attach("a", {"--network", "blue"});
    lab().attach("b", {"--network", "red"});
    lab().attach("c", {"--network", "blue"});
    const WebServer web_b{lab().at("b"), "b"};
    const WebServer web_c{lab().at("c"), "c"};
    Capture inside{lab().at("b"), "eth0"};
    const std::uint64_t before = lab().verdict("NETWORK_ISOLATED");
    EXPECT_EQ(fetch(lab().at("a"), url(lab().ip("b"), 80), 1), "");
    EXPECT_FALSE(udp_answers(lab().at("a"), {lab().ip("b"), 53}, "x", Millis{300}));
    EXPECT_FALSE(lab().at("a").run({"ping", "-c1", "-W1", lab().ip("b")}).ok());
    EXPECT_GT(lab().verdict("NETWORK_ISOLATED"), before);
    for (const Frame& frame : inside.take()) EXPECT_NE(frame.source(), lab().ip("a")) << frame.describe();
    EXPECT_NE(fetch(lab().at("a"), url(lab().ip("c"), 80)), "");
}

TEST_F(Isolation, OtherNetworkIsNotReachedByALinkRouteOrItsMacEither) {
    lab().json({"network", "create", "blue"});
    lab().json({"network", "create", "red"});
    lab().attach("a", {"--network", "blue"});
    lab().attach("b", {"--network", "red"});
    Capture inside{lab().at("b"), "eth0"};
    inject(lab().at("a"), "eth0",
           scapy(scapy_prelude("a") + "b = '" + lab().ip("b") +
                 "'\n"
                 "for mac in (gw_mac, '" +
                 lab().at("b").mac("eth0") +
                 "', 'ff:ff:ff:ff:ff:ff'):\n"
                 "    frames.append(Ether(src=my_mac, dst=mac)/IP(src=me, dst=b)/UDP(sport=5, dport=53)/Raw(b'crossing'))\n"));
    barrier("a");
    barrier("b");
    for (const Frame& frame : inside.take()) EXPECT_FALSE(frame.contains("crossing")) << frame.describe();
}

TEST_F(Isolation, GatewayOfAnotherNetworkDoesNotLeadIntoIt) {
    lab().json({"network", "create", "blue"});
    lab().json({"network", "create", "red"});
    lab().attach("a", {"--network", "blue"});
    lab().attach("b", {"--network", "red"});
    lab().node().set_sysctl("net.ipv4.ip_forward", "1");
    const WebServer web{lab().at("b"), "b"};
    EXPECT_EQ(fetch(lab().at("a"), url(lab().ip("b"), 80), 1), "");
    lab().node().set_sysctl("net.ipv4.ip_forward", "0");
}

// ------------------------------------------------------------------------------------------- the source guard

TEST_F(Isolation, ForgedSourceAddressIsDroppedAndCounted) {
    lab().attach("bad");
    lab().attach("peer");
    lab().attach("owner");
    Capture peer{lab().at("peer"), "eth0"};
    Capture outside{lab().client(), "eth0"};
    const std::string prelude = scapy_prelude("bad");
    const std::uint64_t before = lab().verdict("SPOOFED_SOURCE");
    inject(lab().at("bad"), "eth0",
           scapy(prelude + "peer = '" + lab().ip("peer") + "'\npeer_mac = '" + lab().at("peer").mac("eth0") +
                 "'\n"
                 "for src in ('" +
                 lab().ip("owner") +
                 "', gw, '8.8.8.8', '192.0.2.2', '127.0.0.1', '224.0.0.1', '255.255.255.255', peer):\n"
                 "    frames.append(Ether(src=my_mac, dst=peer_mac)/IP(src=src, dst=peer)/UDP(sport=5, dport=53)/Raw(b'forged'))\n"
                 "    frames.append(Ether(src=my_mac, dst=gw_mac)/IP(src=src, dst=internet)/UDP(sport=5, dport=53)/Raw(b'forged'))\n"));
    barrier("bad");
    EXPECT_GE(lab().verdict("SPOOFED_SOURCE"), before + 16);
    for (const Frame& frame : peer.take()) EXPECT_FALSE(frame.contains("forged")) << frame.describe();
    for (const Frame& frame : outside.take()) EXPECT_FALSE(frame.contains("forged")) << frame.describe();
}

TEST_F(Isolation, ForgedSourceMacIsDroppedAndCounted) {
    lab().attach("bad");
    lab().attach("peer");
    Capture peer{lab().at("peer"), "eth0"};
    Capture outside{lab().client(), "eth0"};
    const std::string prelude = scapy_prelude("bad");
    const std::uint64_t before = lab().verdict("SPOOFED_SOURCE");
    inject(lab().at("bad"), "eth0",
           scapy(prelude + "peer = '" + lab().ip("peer") + "'\npeer_mac = '" + lab().at("peer").mac("eth0") +
                 "'\n"
                 "for src in (peer_mac, gw_mac, '02:66:66:66:66:66'):\n"
                 "    frames.append(Ether(src=src, dst=peer_mac)/IP(src=me, dst=peer)/UDP(sport=5, dport=53)/Raw(b'forged'))\n"
                 "    frames.append(Ether(src=src, dst=gw_mac)/IP(src=me, dst=internet)/UDP(sport=5, dport=53)/Raw(b'forged'))\n"));
    barrier("bad");
    EXPECT_GE(lab().verdict("SPOOFED_SOURCE"), before + 6);
    for (const Frame& frame : peer.take()) EXPECT_FALSE(frame.contains("forged")) << frame.describe();
    for (const Frame& frame : outside.take()) EXPECT_FALSE(frame.contains("forged")) << frame.describe();
    EXPECT_TRUE(lab().at("peer").run({"ping", "-c1", "-W2", lab().ip("bad")}).ok()) << "the bridge has learnt a forged MAC";
}

TEST_F(Isolation, ForgedArpChangesNobodysNeighbours) {
    lab().attach("bad");
    lab().attach("peer");
    lab().attach("owner");
    ASSERT_TRUE(lab().at("peer").run({"ping", "-c1", "-W2", lab().ip("owner")}).ok());
    const std::string gateway = lab().endpoint("peer")["gateway"];
    ASSERT_TRUE(lab().at("peer").run({"ping", "-c1", "-W2", gateway}).ok());
    const std::string gateway_mac = neighbour(lab().at("peer"), gateway);
    const std::string owner_mac = lab().at("owner").mac("eth0");
    lab().at("peer").set_sysctl("net.ipv4.conf.eth0.arp_accept", "1");
    const std::string prelude = scapy_prelude("bad");
    const std::uint64_t before = lab().verdict("SPOOFED_SOURCE");
    inject(
        lab().at("bad"), "eth0",
        scapy(prelude + "owner = '" + lab().ip("owner") + "'\npeer = '" + lab().ip("peer") + "'\npeer_mac = '" +
              lab().at("peer").mac("eth0") +
              "'\n"
              "for ip in (owner, gw):\n"
              "    for dst in (peer_mac, 'ff:ff:ff:ff:ff:ff', gw_mac):\n"
              "        frames.append(Ether(src=my_mac, dst=dst)/ARP(op=2, hwsrc=my_mac, psrc=ip, hwdst=peer_mac, pdst=peer))\n"
              "        frames.append(Ether(src=my_mac, dst=dst)/ARP(op=1, hwsrc=my_mac, psrc=ip, pdst=ip))\n"
              "frames.append(Ether(src=my_mac, dst=peer_mac)/ARP(op=2, hwsrc='02:66:66:66:66:66', psrc=me, hwdst=peer_mac, pdst=peer))\n"));
    barrier("bad");
    EXPECT_GE(lab().verdict("SPOOFED_SOURCE"), before + 13);
    EXPECT_EQ(neighbour(lab().at("peer"), lab().ip("owner")), owner_mac);
    EXPECT_EQ(neighbour(lab().at("peer"), gateway), gateway_mac);
    EXPECT_EQ(neighbour(lab().node(), lab().ip("owner")) == lab().at("bad").mac("eth0"), false);
    EXPECT_TRUE(lab().at("peer").run({"ping", "-c1", "-W2", lab().ip("owner")}).ok());
}

TEST_F(Isolation, ArpProbesAndDhcpFromNoAddressAreNotForgeries) {
    lab().attach("new");
    lab().attach("peer");
    const std::string prelude = scapy_prelude("new");
    const std::uint64_t before = lab().verdict("SPOOFED_SOURCE");
    inject(lab().at("new"), "eth0",
           scapy(prelude + "frames.append(Ether(src=my_mac, dst='ff:ff:ff:ff:ff:ff')/ARP(op=1, hwsrc=my_mac, psrc='0.0.0.0', pdst=me))\n"
                           "frames.append(Ether(src=my_mac, dst='ff:ff:ff:ff:ff:ff')/ARP(op=1, hwsrc=my_mac, psrc=me, pdst=me))\n"
                           "frames.append(Ether(src=my_mac, dst='ff:ff:ff:ff:ff:ff')/IP(src='0.0.0.0', "
                           "dst='255.255.255.255')/UDP(sport=68, dport=67)/Raw(b'discover'))\n"));
    barrier("new");
    EXPECT_EQ(lab().verdict("SPOOFED_SOURCE"), before);
}

TEST_F(Isolation, TaggedFramesPassTheSameGuardOrAreDropped) {
    lab().attach("bad");
    lab().attach("peer");
    Capture peer{lab().at("peer"), "eth0"};
    Capture outside{lab().client(), "eth0"};
    const std::string prelude = scapy_prelude("bad");
    const auto dropped = [&] {
        std::uint64_t sum = 0;
        const json stats = lab().json({"stats"});
        for (const auto& [name, verdict] : stats["verdicts"].items()) sum += verdict["packets"].get<std::uint64_t>();
        return sum;
    };
    const std::uint64_t before = dropped();
    inject(
        lab().at("bad"), "eth0",
        scapy(
            prelude + "peer = '" + lab().ip("peer") + "'\npeer_mac = '" + lab().at("peer").mac("eth0") +
            "'\n"
            "tags = [lambda p: Dot1Q(vlan=0)/p, lambda p: Dot1Q(vlan=1)/p, lambda p: Dot1Q(vlan=100, prio=5)/p, lambda p: "
            "Dot1Q(vlan=4095)/p,\n"
            "        lambda p: Dot1AD(vlan=10)/Dot1Q(vlan=20)/p, lambda p: Dot1Q(vlan=10)/Dot1Q(vlan=20)/p, lambda p: "
            "Dot1Q(vlan=0)/Dot1Q(vlan=0)/p]\n"
            "for tag in tags:\n"
            "    frames.append(Ether(src=my_mac, dst=peer_mac)/tag(IP(src='8.8.8.8', dst=peer)/UDP(sport=5, dport=53)/Raw(b'forged')))\n"
            "    frames.append(Ether(src=my_mac, dst=gw_mac)/tag(IP(src='8.8.8.8', dst=internet)/UDP(sport=5, dport=53)/Raw(b'forged')))\n"
            "    frames.append(Ether(src='02:66:66:66:66:66', dst=peer_mac)/tag(IP(src=me, dst=peer)/UDP(sport=5, "
            "dport=53)/Raw(b'forged')))\n"
            "    frames.append(Ether(src=my_mac, dst=peer_mac)/tag(ARP(op=2, hwsrc=my_mac, psrc=gw, hwdst=peer_mac, "
            "pdst=peer)/Raw(b'forged')))\n"));
    barrier("bad");
    EXPECT_GE(dropped(), before + 28) << "a tagged frame ended without a name";
    for (const Frame& frame : peer.take()) EXPECT_FALSE(frame.contains("forged")) << frame.describe();
    for (const Frame& frame : outside.take()) EXPECT_FALSE(frame.contains("forged")) << frame.describe();
    EXPECT_EQ(neighbour(lab().at("peer"), lab().endpoint("peer")["gateway"]) == lab().at("bad").mac("eth0"), false);
}

TEST_F(Isolation, TaggedFramesOnTheUplinkAreNotTakenForUntaggedOnes) {
    lab().attach("web", {"-p", "2000:80/udp"});
    Capture inside{lab().at("web"), "eth0"};
    const std::string prelude =
        "e = Ether(src='02:00:00:00:00:01', dst='" + lab().node().mac("eth0") + "')\nip = IP(src='192.0.2.1', dst='192.0.2.2')\n";
    inject(lab().client(), "eth0",
           scapy(prelude + "frames.append(e/Dot1Q(vlan=100)/ip/UDP(sport=5, dport=2000)/Raw(b'another vlan'))\n"
                           "frames.append(e/Dot1AD(vlan=100)/Dot1Q(vlan=7)/ip/UDP(sport=5, dport=2000)/Raw(b'another vlan'))\n"
                           "frames.append(e/ip/UDP(sport=6, dport=2000)/Raw(b'this one'))\n"));
    ASSERT_TRUE(inside.wait_for([](const Frame& frame) {
        EXPECT_FALSE(frame.contains("another vlan")) << frame.describe();
        return frame.contains("this one");
    }));
}

TEST_F(Isolation, ContainerCannotReachTheBridgeProtocols) {
    lab().attach("bad");
    lab().attach("peer");
    Capture peer{lab().at("peer"), "eth0"};
    inject(lab().at("bad"), "eth0",
           scapy(scapy_prelude("bad") + "frames.append(Dot3(src=my_mac, dst='01:80:c2:00:00:00')/LLC()/Raw(b'spanning tree'))\n"
                                        "frames.append(Ether(src=my_mac, dst='01:80:c2:00:00:0e', type=0x88cc)/Raw(b'spanning tree'))\n"));
    barrier("bad");
    for (const Frame& frame : peer.take()) EXPECT_FALSE(frame.contains("spanning tree")) << frame.describe();
    EXPECT_TRUE(lab().at("peer").run({"ping", "-c1", "-W2", lab().ip("bad")}).ok());
}

}  // namespace
}  // namespace fastnet::test
