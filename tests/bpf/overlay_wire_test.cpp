// The overlay's programs attached for real: an encapsulated frame leaves by the uplink, what comes out of a tunnel arrives in
// the container, and an answer to a question about an address comes back.
#include "tests/bpf/overlay_fixture.h"

namespace fastnet::test {
namespace {

class OverlayWire : public OverlayTest, public ::testing::WithParamInterface<Way> {
protected:
    void SetUp() override {
        OverlayTest::SetUp();
        if (IsSkipped()) return;
        add_peer(peer());
        add_remote(peer());
        attach("tc_uplink", "up0");
        for (const Container* each : {&container(), &neighbour()}) attach("tc_container", each->device);
        outside_ = std::make_unique<FarDevice>(lab(), "wire");
        inside_ = std::make_unique<FarDevice>(lab(), "container");
    }
    const Way& way() const { return GetParam(); }
    const Peer& peer() const { return way().peer; }
    const FarDevice& outside() const { return *outside_; }
    const FarDevice& inside() const { return *inside_; }
    /// The first VXLAN frame to the peer, and with our source port.
    bool arrives(const Packet& inner) {
        return outside()
            .receive([&](const Bytes& frame) {
                const Outer outer{.source_port = source_port(peer(), frame)};
                return outer.source_port >= 49152 && frame == to_peer(peer(), outer, inner).bytes();
            })
            .has_value();
    }

private:
    std::unique_ptr<FarDevice> outside_, inside_;
};
INSTANTIATE_TEST_SUITE_P(Each, OverlayWire, each_way, way_name);

TEST_P(OverlayWire, FrameLeavesByTheUplinkAndItsAnswerComesBack) {
    for (const std::size_t body : {std::size_t{10}, std::size_t{1300}, std::size_t{11}}) {
        const Packet call = to_remote(peer()) / ip(way().container(), way().remote()) / udp(20000, 53) / payload(body);
        inside().send(call);
        EXPECT_TRUE(arrives(call)) << body;
        const Packet answer = from_remote(peer()) / ip(way().remote(), way().container()) / udp(53, 20000) / payload(body);
        outside().send(from_peer(peer(), answer));
        EXPECT_TRUE(inside().receive(answer).has_value()) << body;
    }
    EXPECT_EQ(tunnel(peer()).sent_packets, 3U);
    EXPECT_EQ(tunnel(peer()).received_packets, 3U);
}

TEST_P(OverlayWire, SenderOfWhatIsTooBigIsTold) {
    const std::size_t fits = 1500 - peer().overhead();
    const Packet call =
        to_remote(peer()) / ip(way().container(), way().remote()) / udp(20000, 53) / payload(fits + 1 - (way().v4() ? 20U : 40U) - 8U);
    inside().send(call);
    EXPECT_TRUE(inside()
                    .receive(error_about(call.bytes(), FNET_TOO_BIG, into_container, way().gateway(), static_cast<std::uint32_t>(fits)))
                    .has_value());
}

TEST_P(OverlayWire, QuestionAboutARemoteAddressIsAnswered) {
    if (way().v4()) {
        inside().send(container_broadcast / Packet{Arp{.sender_mac = container_mac, .sender = container_ip, .target = way().remote()}});
        EXPECT_TRUE(inside()
                        .receive(Eth{.src = peer().mac, .dst = container_mac} / Packet{Arp{.operation = 2,
                                                                                           .sender_mac = peer().mac,
                                                                                           .sender = way().remote(),
                                                                                           .target_mac = container_mac,
                                                                                           .target = container_ip}})
                        .has_value());
    } else {
        inside().send(container_multicast6 / ip(container6, address("ff02::1:ff00:50"), 255) /
                      neighbour_message(kNeighbourSolicitation, way().remote(), container_mac));
        EXPECT_TRUE(inside()
                        .receive(Eth{.src = peer().mac, .dst = container_mac} /
                                 Packet{Ipv6{.src = way().remote(), .dst = container6, .hop_limit = 255, .flow_label = 0}} /
                                 neighbour_message(kNeighbourAdvertisement, way().remote(), peer().mac))
                        .has_value());
    }
}

}  // namespace
}  // namespace fastnet::test
