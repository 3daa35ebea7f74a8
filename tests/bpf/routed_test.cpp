// Routed networks: containers meet the outside by their own addresses. Nothing but MACs and TTL changes, and still nothing
// comes in that was not published or asked for.
#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

constexpr std::uint64_t kRouted = FNET_ENDPOINT_ROUTED4 | FNET_ENDPOINT_ROUTED6;

class Routed : public DatapathTest, public ::testing::WithParamInterface<Variant> {
protected:
    void SetUp() override {
        DatapathTest::SetUp();
        if (!IsSkipped()) set_flags(container(), kRouted);
    }
    const Variant& v() const { return GetParam(); }
    Packet unreachable() const { return Icmp{.type = static_cast<std::uint8_t>(v().v4() ? 3 : 1), .code = 1}; }
    const IpAddress& some_router() const { return v().v4() ? router : router6; }
    /// As user space does it for a routed network: an entry of the container's own address, no filter bit.
    void publish_directly(const IpAddress& own, std::uint16_t port, const Container& target) {
        publish({.id = 7, .protocol = v().protocol, .address = own, .port = port, .container_port = port}, target);
        set_filter(port_filter(v().protocol, v().family), port, false);
    }
};
INSTANTIATE_TEST_SUITE_P(Each, Routed, all_variants, variant_name);

TEST_P(Routed, GoesOutAndIsAnsweredUntranslated) {
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(50000, 443) / payload(7)),
                Redirects(out_of_uplink / ip(v().container(), v().client(), 63) / v().l4(50000, 443) / payload(7)));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().container()) / v().l4(443, 50000, kSynAck) / payload(3)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(443, 50000, kSynAck) / payload(3)));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(50000, 443, kAck)),
                Redirects(out_of_uplink / ip(v().container(), v().client(), 63) / v().l4(50000, 443, kAck)));
    EXPECT_EQ(class_of(key_of(v().protocol, v().container(), 50000, v().client(), 443, container().ifindex)),
              v().protocol == Protocol::kTcp ? FNET_CLASS_ESTABLISHED : FNET_CLASS_DATAGRAM);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(Routed, NextHopIsLookedUpAgainForTheContainersOwnAddress) {
    const fnet_flow_key key = key_of(v().protocol, v().container(), 50000, v().client(), 443, container().ifindex);
    at_container(from_container / ip(v().container(), v().client()) / v().l4(50000, 443));
    forget_exit(key);
    const Outcome again = at_container(from_container / ip(v().container(), v().client()) / v().l4(50000, 443));
    EXPECT_EQ(again.view().src, v().container());
    EXPECT_TRUE(again.counted_only(FNET_FLOW_FORWARDED));
    EXPECT_EQ(flows().size(), 2U) << "the same flow";
}

TEST_P(Routed, PortIsNeverChanged) {
    for (const std::uint16_t port : {std::uint16_t{1}, std::uint16_t{1023}, std::uint16_t{65535}})
        EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(port, 443)),
                    Redirects(out_of_uplink / ip(v().container(), v().client(), 63) / v().l4(port, 443)));
}

TEST_P(Routed, ThirdPartyIsNotLetInByAFlow) {
    at_container(from_container / ip(v().container(), v().client()) / v().l4(50000, 443));
    EXPECT_THAT(at_uplink(from_outside / ip(v().not_ours(), v().container()) / v().l4(443, 50000)), IsDropped(FNET_NOT_PUBLISHED));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().container()) / v().l4(444, 50000)), IsDropped(FNET_NOT_PUBLISHED));
}

TEST_P(Routed, PublishedPortAnswersAtItsOwnAddressAndAtTheHosts) {
    publish({.protocol = v().protocol, .address = v().host()});
    publish_directly(v().container(), 80, container());
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().container()) / v().l4(40000, 80)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(40000, 80)));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(80, 40000, kSynAck)),
                Redirects(out_of_uplink / ip(v().container(), v().client(), 63) / v().l4(80, 40000, kSynAck)));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40001, 8080)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(40001, 80)));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().container()) / v().l4(40000, 8080)), IsDropped(FNET_NOT_PUBLISHED))
        << "the host's port number means nothing there";
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().container()) / v().l4(40000, 81)), IsDropped(FNET_NOT_PUBLISHED));
}

TEST_P(Routed, OneClientPortMayCallBothAddresses) {
    publish({.protocol = v().protocol, .address = v().host()});
    publish_directly(v().container(), 80, container());
    at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080));
    const Outcome direct = at_uplink(from_outside / ip(v().client(), v().container()) / v().l4(40000, 80));
    ASSERT_TRUE(direct.counted_only(FNET_FLOW_FORWARDED));
    const std::uint16_t seen = direct.view().src_port;
    EXPECT_NE(seen, 40000) << "the container could not tell the two apart";
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(80, seen, kSynAck)),
                Redirects(out_of_uplink / ip(v().container(), v().client(), 63) / v().l4(80, 40000, kSynAck)));
}

TEST_P(Routed, ContainerBehindNatStaysOutOfReach) {
    publish_directly(v().neighbour(), 80, neighbour());  // must not count: its endpoint is not routed
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().neighbour()) / v().l4(40000, 80)), IsDropped(FNET_NOT_PUBLISHED));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().neighbour()) / v().l4(40000, 81)), IsDropped(FNET_NOT_PUBLISHED));
}

TEST_P(Routed, OtherFamilyKeepsItsNat) {
    set_flags(container(), v().v4() ? FNET_ENDPOINT_ROUTED6 : FNET_ENDPOINT_ROUTED4);
    EXPECT_EQ(at_container(from_container / ip(v().container(), v().client()) / v().l4(50000, 443)).view().src, v().host());
    publish_directly(v().container(), 80, container());
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().container()) / v().l4(40000, 80)), IsDropped(FNET_NOT_PUBLISHED));
}

TEST_P(Routed, ForgedSourcesOpenNothing) {
    publish_directly(v().container(), 80, container());
    EXPECT_THAT(at_uplink(from_outside / ip(v().neighbour(), v().container()) / v().l4(40000, 80)), IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_TRUE(flows().empty());
}

TEST_P(Routed, AnotherNetworkReachesWhatIsPublishedAndNothingElse) {
    const IpAddress& caller = v().stranger();
    const Eth into_stranger{.src = gateway_mac, .dst = stranger_mac};
    publish_directly(v().container(), 80, container());
    EXPECT_THAT(at_container(stranger(), from_stranger / ip(caller, v().container()) / v().l4(40000, 80)),
                Redirects(into_container / ip(caller, v().container(), 63) / v().l4(40000, 80)));
    EXPECT_THAT(at_container(from_container / ip(v().container(), caller) / v().l4(80, 40000, kSynAck)),
                Redirects(into_stranger / ip(v().container(), caller, 63) / v().l4(80, 40000, kSynAck)));
    EXPECT_THAT(at_container(stranger(), from_stranger / ip(caller, v().container()) / v().l4(40000, 81)),
                IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_THAT(at_container(from_container / ip(v().container(), caller) / v().l4(50000, 80)), IsDropped(FNET_NETWORK_ISOLATED));
    set_flags(stranger(), FNET_ENDPOINT_INTERNAL);
    EXPECT_THAT(at_container(stranger(), from_stranger / ip(caller, v().container()) / v().l4(40001, 80)),
                IsDropped(FNET_NETWORK_INTERNAL));
}

TEST_P(Routed, IcmpErrorsTravelBothWays) {
    at_container(from_container / ip(v().container(), v().client()) / v().l4(20000, 443));
    EXPECT_THAT(at_uplink(from_outside / ip(some_router(), v().container()) / unreachable() / ip(v().container(), v().client(), 61) /
                          v().l4(20000, 443)),
                RedirectsError(into_container / ip(some_router(), v().container(), 63) / unreachable() /
                               ip(v().container(), v().client(), 61) / v().l4(20000, 443)));
    EXPECT_THAT(at_uplink(from_outside / ip(some_router(), v().container()) / unreachable() / ip(v().container(), v().client(), 61) /
                          v().l4(20001, 443)),
                IsDropped(FNET_NOT_PUBLISHED))
        << "about no flow";
    publish_directly(v().container(), 80, container());
    at_uplink(from_outside / ip(v().client(), v().container()) / v().l4(40000, 80));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / unreachable() / ip(v().client(), v().container(), 63) /
                             v().l4(40000, 80)),
                RedirectsError(from_container / ip(v().container(), v().client(), 63) / unreachable() /
                               ip(v().client(), v().container(), 63) / v().l4(40000, 80)));
}

TEST_P(Routed, PingPassesBothWaysAndAnAnswerToNothingDoesNot) {
    const std::uint8_t request = v().v4() ? kEchoRequest : kEchoRequest6, reply = v().v4() ? kEchoReply : kEchoReply6;
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().container()) / echo(reply, 9)), IsDropped(FNET_NOT_PUBLISHED));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().container()) / echo(request, 9)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / echo(request, 9)));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / echo(reply, 9)),
                Redirects(out_of_uplink / ip(v().container(), v().client(), 63) / echo(reply, 9)));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / echo(request, 5)),
                Redirects(out_of_uplink / ip(v().container(), v().client(), 63) / echo(request, 5)));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().container()) / echo(reply, 5)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / echo(reply, 5)));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().v4() ? nobody_ip : neighbour6) / echo(request, 9)),
                IsDropped(FNET_NOT_PUBLISHED));
    set_flags(container(), kRouted | FNET_ENDPOINT_INTERNAL);
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().container()) / echo(request, 10)), IsDropped(FNET_NOT_PUBLISHED))
        << "an internal network has no way out";
}

}  // namespace
}  // namespace fastnet::test
