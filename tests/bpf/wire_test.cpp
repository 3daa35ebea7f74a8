// The programs attached for real: frames put on one far device arrive, or do not, on another. Here is what a single run
// cannot show: where a redirect ends, tags that the kernel takes out of a frame, runts, the device a packet came in by.
#include "loader/deny_list.h"
#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/sockets.h"

namespace fastnet::test {
namespace {

constexpr std::chrono::milliseconds kSilence{150};  // how long nothing must come, after the verdict was counted

class Wire : public DatapathTest {
protected:
    void SetUp() override {
        DatapathTest::SetUp();
        if (IsSkipped()) return;
        attach("tc_uplink", "up0");
        for (const Container* each : {&container(), &neighbour(), &stranger()}) attach("tc_container", each->device);
        for (const char* bridge : {"br1", "br2"}) {
            attach("tc_gateway_in", bridge);
            attach("tc_gateway_out", bridge);
        }
        outside_ = std::make_unique<FarDevice>(lab(), "wire");
        side_ = std::make_unique<FarDevice>(lab(), "side");
        inside_ = std::make_unique<FarDevice>(lab(), "container");
        next_door_ = std::make_unique<FarDevice>(lab(), "neighbour");
        other_network_ = std::make_unique<FarDevice>(lab(), "stranger");
        // The bridges learn where each container is, as from its first ARP; else they would flood.
        const Verdicts before = verdicts();
        for (const auto& [device, of] :
             {std::pair{inside_.get(), &container()}, {next_door_.get(), &neighbour()}, {other_network_.get(), &stranger()}})
            device->send(Eth{.src = of->mac, .dst = broadcast_mac} /
                         Packet{Arp{.sender_mac = of->mac, .sender = of->ipv4, .target = of->ipv4}});
        ASSERT_TRUE(counts(FNET_TO_BRIDGE, 3, before));
    }
    /// Waits until @p verdict was counted @p packets times more than in @p before.
    ::testing::AssertionResult counts(fnet_verdict verdict, std::uint64_t packets, const Verdicts& before) {
        const auto count = [&](const Verdicts& all) { return all.count(verdict) != 0 ? all.at(verdict) : 0; };
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{3};
        std::uint64_t added = 0;
        do {
            added = count(verdicts()) - count(before);
            if (added == packets) return ::testing::AssertionSuccess();
            timespec pause{0, 2'000'000};
            nanosleep(&pause, nullptr);
        } while (added < packets && std::chrono::steady_clock::now() < deadline);
        return ::testing::AssertionFailure() << name_of(verdict) << " was counted " << added << " times";
    }
    /// What the tests send; the bridges' own IGMP and MLD is not.
    static bool is_ours(const Bytes& frame) { return PacketView{frame}.protocol == 6 || PacketView{frame}.protocol == 17; }
    const FarDevice& outside() const { return *outside_; }
    const FarDevice& side() const { return *side_; }
    const FarDevice& inside() const { return *inside_; }
    const FarDevice& next_door() const { return *next_door_; }
    const FarDevice& other_network() const { return *other_network_; }

private:
    std::unique_ptr<FarDevice> outside_, side_, inside_, next_door_, other_network_;
};

TEST_F(Wire, PublishedPortArrivesInTheContainerAndTheAnswerOutside) {
    publish({.address = host_ip});
    outside().send(from_outside / ip(client, host_ip) / tcp(40000, 8080) / payload(20));
    EXPECT_TRUE(inside().receive(into_container / ip(client, container_ip, 63) / tcp(40000, 80) / payload(20)).has_value());
    inside().send(from_container / ip(container_ip, client) / tcp(80, 40000, kSynAck));
    EXPECT_TRUE(outside().receive(out_of_uplink / ip(host_ip, client, 63) / tcp(8080, 40000, kSynAck)).has_value());
    EXPECT_FALSE(next_door().receive(is_ours, kSilence).has_value());
}

TEST_F(Wire, MasqueradedPacketLeavesByTheUplinkAndItsAnswerComesBack) {
    inside().send(from_container / ip(container_ip, client) / udp(20000, 53) / payload(30));
    EXPECT_TRUE(outside().receive(out_of_uplink / ip(host_ip, client, 63) / udp(20000, 53) / payload(30)).has_value());
    outside().send(from_outside / ip(client, host_ip) / udp(53, 20000) / payload(40));
    EXPECT_TRUE(inside().receive(into_container / ip(client, container_ip, 63) / udp(53, 20000) / payload(40)).has_value());
}

TEST_F(Wire, Ipv6TravelsTheSameWays) {
    publish({.address = host6});
    outside().send(from_outside / ip(client6, host6) / tcp(40000, 8080));
    EXPECT_TRUE(inside().receive(into_container / ip(client6, container6, 63) / tcp(40000, 80)).has_value());
    inside().send(from_container / ip(container6, client6) / echo(kEchoRequest6, 20009));
    EXPECT_TRUE(outside().receive(out_of_uplink / ip(host6, client6, 63) / echo(kEchoRequest6, 20009)).has_value());
}

TEST_F(Wire, UnknownNextHopIsAskedForAndThePacketFollows) {
    const MacAddress found = mac(7, 7);
    inside().send(from_container / ip(container_ip, not_our_ip) / udp(20000, 53));
    const auto is_arp_request = [](const Bytes& frame) { return PacketView{frame}.ether_type == 0x0806; };
    ASSERT_TRUE(outside().receive(is_arp_request).has_value());
    outside().send(Eth{.src = found, .dst = uplink_mac} /
                   Packet{Arp{.operation = 2, .sender_mac = found, .sender = not_our_ip, .target_mac = uplink_mac, .target = host_ip}});
    EXPECT_TRUE(outside().receive(Eth{.src = uplink_mac, .dst = found} / ip(host_ip, not_our_ip, 63) / udp(20000, 53)).has_value())
        << "the packet that waited for the answer";
    inside().send(from_container / ip(container_ip, not_our_ip) / udp(20000, 53) / payload(3));
    EXPECT_TRUE(
        outside().receive(Eth{.src = uplink_mac, .dst = found} / ip(host_ip, not_our_ip, 63) / udp(20000, 53) / payload(3)).has_value());
}

TEST_F(Wire, NeighbourGetsTheFrameWithoutTheBridge) {
    const Packet frame = container_to_neighbour / ip(container_ip, neighbour_ip) / tcp(20000, 80);
    const Verdicts before = verdicts();
    inside().send(frame);
    EXPECT_TRUE(next_door().receive(frame).has_value());
    EXPECT_TRUE(counts(FNET_LOCAL_FORWARDED, 1, before));
}

TEST_F(Wire, BroadcastReachesTheNetworkByTheBridgeAndNobodyElse) {
    const Packet frame = container_broadcast / Packet{Arp{.sender_mac = container_mac, .sender = container_ip, .target = neighbour_ip}};
    const Verdicts before = verdicts();
    inside().send(frame);
    EXPECT_TRUE(next_door().receive(frame).has_value());
    EXPECT_TRUE(counts(FNET_TO_BRIDGE, 1, before));
    EXPECT_FALSE(other_network().receive([&](const Bytes& seen) { return seen == frame.bytes(); }, kSilence).has_value());
    EXPECT_FALSE(outside().receive([&](const Bytes& seen) { return seen == frame.bytes(); }, kSilence).has_value());
}

TEST_F(Wire, TaggedFramesOfAContainerAreDropped) {
    const Verdicts before = verdicts();
    const Packet inner = ip(container_ip, neighbour_ip) / tcp(20000, 80);
    inside().send(container_to_neighbour / Packet{Vlan{.id = 5}} / inner);
    inside().send(container_to_neighbour / Packet{Vlan{.id = 0}} / inner);  // priority tag
    inside().send(container_to_neighbour / Packet{Vlan{.id = 7, .tag_protocol = 0x88a8}} / inner);
    inside().send(container_to_neighbour / Packet{Vlan{.id = 7, .tag_protocol = 0x88a8}} / Vlan{.id = 5} / inner);
    inside().send(Eth{.src = forged_mac, .dst = neighbour_mac} / Packet{Vlan{.id = 5}} / inner);
    EXPECT_TRUE(counts(FNET_VLAN_TAGGED, 5, before));
    EXPECT_FALSE(next_door().receive(is_ours, kSilence).has_value());
}

TEST_F(Wire, TaggedFramesOnTheUplinkAreTheHosts) {
    publish({.address = host_ip});
    const Verdicts before = verdicts();
    outside().send(from_outside / Packet{Vlan{.id = 5}} / ip(client, host_ip) / tcp(40000, 8080));
    EXPECT_TRUE(counts(FNET_HOST_TRAFFIC, 1, before));
    EXPECT_FALSE(inside().receive(is_ours, kSilence).has_value());
}

TEST_F(Wire, APriorityTagHidesNobodyFromTheDenyList) {
    auto list = DenyList::of_maps(map_fd(".data.deny"), map_fd("deny_blocks"), map_fd("deny_nodes"));
    ASSERT_TRUE(list) << list.error().message;
    ASSERT_TRUE(list->replace(std::vector{IpPrefix{client, 32}}, 1));
    list->set_asked_by_xdp(lab().ifindex("up0"), true);
    const Verdicts before = verdicts();
    const Packet inner = ip(client, host_ip) / tcp(40000, 8080);
    outside().send(from_outside / Packet{Vlan{.id = 0}} / inner);
    outside().send(from_outside / Packet{Vlan{.id = 0}} / Vlan{.id = 0} / inner);
    EXPECT_TRUE(counts(FNET_SOURCE_DENY_LISTED, 2, before));
    outside().send(from_outside / Packet{Vlan{.id = 5}} / inner);
    EXPECT_TRUE(counts(FNET_HOST_TRAFFIC, 1, before));
}

TEST_F(Wire, FrameForAnotherMacIsNotTranslated) {
    publish({.address = host_ip});
    const Verdicts before = verdicts();
    outside().send(Eth{.src = router_mac, .dst = mac(7, 7)} / ip(client, host_ip) / tcp(40000, 8080));
    EXPECT_TRUE(counts(FNET_NOT_FOR_HOST, 1, before));
    EXPECT_FALSE(inside().receive(is_ours, kSilence).has_value());
}

TEST_F(Wire, RuntsOfEveryLengthAreDropped) {
    publish({.address = host_ip});
    publish({.address = host6});  // else they were the host's own
    const Bytes outer = (from_outside / ip(client, host_ip) / tcp(40000, 8080)).bytes();
    const Bytes outer6 = (from_outside / ip(client6, host6) / tcp(40000, 8080)).bytes();
    const Bytes inner = (from_container / ip(container_ip, client) / tcp(20000, 443)).bytes();
    const Verdicts before = verdicts();
    std::uint64_t sent = 0;
    const auto send_cuts = [&](const FarDevice& device, const Bytes& whole) {
        for (std::size_t size = 15; size < whole.size(); ++size, ++sent)
            device.send(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
    };
    send_cuts(outside(), outer);
    send_cuts(outside(), outer6);
    send_cuts(inside(), inner);
    EXPECT_TRUE(counts(FNET_MALFORMED, sent, before));
    EXPECT_TRUE(flows().empty());
}

TEST_F(Wire, HostReachesTheContainerByTheKernel) {
    lab().ip("neigh add 10.10.0.2 lladdr " + container_mac.to_string() + " dev br1 nud permanent\n");
    const HostSocket sender{SOCK_DGRAM, gateway, 5000};
    const SocketName to{container_ip, 53};
    const std::uint64_t delivered_by_kernel = endpoint(container()).kernel_packets;
    ASSERT_EQ(sendto(sender.fd(), "x", 1, 0, to.get(), to.length), 1);
    EXPECT_TRUE(inside()
                    .receive([](const Bytes& frame) { return PacketView{frame}.src == gateway && PacketView{frame}.dst == container_ip; })
                    .has_value());
    EXPECT_GT(endpoint(container()).kernel_packets, delivered_by_kernel);
}

/// The host forwards everything it can, as with Docker's ip_forward=1 and an empty FORWARD chain.
class OpenRouter : public Wire {
protected:
    void SetUp() override {
        Wire::SetUp();
        if (IsSkipped()) return;
        lab().sysctl("ipv4/ip_forward", "1");
        lab().ip("neigh add 10.10.0.2 lladdr " + container_mac.to_string() +
                 " dev br1 nud permanent\n"
                 "neigh add 10.10.0.3 lladdr " +
                 neighbour_mac.to_string() + " dev br1 nud permanent\n");
    }
};

TEST_F(OpenRouter, AnotherDeviceOfTheHostIsStoppedBeforeTheContainer) {
    const Verdicts before = verdicts();
    side().send(Eth{.src = mac(8, 2), .dst = mac(8, 1)} / ip(side_peer, container_ip) / tcp(40000, 80));
    EXPECT_TRUE(counts(FNET_NOT_PUBLISHED, 1, before));
    EXPECT_FALSE(inside().receive(is_ours, kSilence).has_value());
}

TEST_F(OpenRouter, UplinkIsStoppedAtTheUplink) {
    const Verdicts before = verdicts();
    outside().send(from_outside / ip(client, container_ip) / tcp(40000, 80));
    EXPECT_TRUE(counts(FNET_NOT_PUBLISHED, 1, before));
    EXPECT_FALSE(inside().receive(is_ours, kSilence).has_value());
}

TEST_F(OpenRouter, ContainerOfAnotherNetworkIsStopped) {
    const Verdicts before = verdicts();
    other_network().send(from_stranger / ip(stranger_ip, container_ip) / tcp(20000, 80));
    EXPECT_TRUE(counts(FNET_NETWORK_ISOLATED, 1, before));
    EXPECT_FALSE(inside().receive(is_ours, kSilence).has_value());
}

TEST_F(OpenRouter, RoutedFromAnotherBridgeIsStoppedAtItsOwnGate) {
    detach("tc_container", stranger().device);
    const Verdicts before = verdicts();
    other_network().send(from_stranger / ip(stranger_ip, container_ip) / tcp(20000, 80));
    EXPECT_TRUE(counts(FNET_UNTRANSLATED, 1, before));
    EXPECT_FALSE(inside().receive(is_ours, kSilence).has_value());
}

TEST_F(OpenRouter, RoutedFromAnotherBridgeIsStoppedAtTheLastGateToo) {
    detach("tc_container", stranger().device);
    detach("tc_gateway_in", "br2");
    const Verdicts before = verdicts();
    other_network().send(from_stranger / ip(stranger_ip, container_ip) / tcp(20000, 80));
    EXPECT_TRUE(counts(FNET_NETWORK_ISOLATED, 1, before));
    EXPECT_FALSE(inside().receive(is_ours, kSilence).has_value());
}

TEST_F(OpenRouter, UntranslatedSourceNeverLeavesEvenWhenTheProgramIsGone) {
    detach("tc_container", container().device);
    const Verdicts before = verdicts();
    inside().send(from_container / ip(container_ip, client) / tcp(20000, 443));
    EXPECT_TRUE(counts(FNET_UNTRANSLATED, 1, before));
    EXPECT_FALSE(outside().receive(is_ours, kSilence).has_value());
}

}  // namespace
}  // namespace fastnet::test
