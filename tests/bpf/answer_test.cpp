// The ICMP errors that the datapath sends itself: the builder makes each anew from the dropped packet, checksums in full.
#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

constexpr unsigned kBurst = 50;

class Answer : public DatapathTest, public ::testing::WithParamInterface<Variant> {
protected:
    const Variant& v() const { return GetParam(); }
    std::size_t headers() const { return (v().v4() ? 20U : 40U) + (v().protocol == Protocol::kTcp ? 20U : 8U); }
    Packet expiring(std::size_t body) const {
        return from_container / ip(v().container(), v().client(), 1) / v().l4(20000, 443) / payload(body);
    }
};

TEST_P(Answer, QuotesTheWholePacketIfItFitsAndElseItsStart) {
    const std::size_t room = v().v4() ? 576 - 28 : 1280 - 48;  // RFC 1812 4.3.2.3, RFC 4443 3.2
    for (const std::size_t length : {headers(), headers() + 1, headers() + 2, headers() + 3, room - 1, room, room + 1, std::size_t{1400}})
        EXPECT_THAT(at_container(expiring(length - headers())), IsAnswered(FNET_TTL_EXCEEDED, into_container, v().gateway())) << length;
}

TEST_P(Answer, LeavesOutThePaddingOfAFrame) {
    Bytes padded = expiring(1).bytes();
    padded.resize(padded.size() + 20, 0xee);
    EXPECT_THAT(run("tc_container", padded, container().ifindex), IsAnswered(FNET_TTL_EXCEEDED, into_container, v().gateway()));
}

TEST_P(Answer, ByTheUplinkIsOfTheAddressThatWasCalled) {
    publish({.protocol = v().protocol, .address = v().host()});
    at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080));
    for (const std::size_t body : {0U, 7U, 1400U})
        EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host(), 1) / v().l4(40000, 8080, kAck) / payload(body)),
                    IsAnswered(FNET_TTL_EXCEEDED, from_outside, v().host()));
}

TEST_P(Answer, ToAnAnswerOfAPublishedPortIsOfTheGateway) {
    publish({.protocol = v().protocol, .address = v().host()});
    at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(80, 40000, kAck) / payload(1500)),
                IsAnsweredTooBig(1500U, into_container, v().gateway()));
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client(), 1) / v().l4(80, 40000, kAck)),
                IsAnswered(FNET_TTL_EXCEEDED, into_container, v().gateway()));
}

TEST_P(Answer, IsLimitedForEachDeviceAndTheDropIsCountedAllTheSame) {
    unsigned answered = 0;
    for (unsigned i = 0; i < 4 * kBurst; ++i) {
        const Outcome outcome = at_container(expiring(0));
        ASSERT_TRUE(outcome.counted_only(FNET_TTL_EXCEEDED));
        answered += outcome.action == kRedirected ? 1 : 0;
        if (outcome.action != kRedirected) {
            EXPECT_THAT(outcome, IsDropped(FNET_TTL_EXCEEDED));
        }
    }
    EXPECT_GE(answered, kBurst);
    EXPECT_LT(answered, 4 * kBurst);
    EXPECT_THAT(at_container(neighbour(), from_neighbour / ip(v().neighbour(), v().client(), 1) / v().l4(20000, 443)),
                IsAnswered(FNET_TTL_EXCEEDED, into_neighbour, v().gateway()));
}

INSTANTIATE_TEST_SUITE_P(Each, Answer, all_variants, variant_name);

class Answers : public DatapathTest {};

TEST_F(Answers, GoToAPingToo) {
    EXPECT_THAT(at_container(from_container / ip(container_ip, client, 1) / echo(kEchoRequest, 7) / payload(56)),
                IsAnswered(FNET_TTL_EXCEEDED, into_container, gateway));
    EXPECT_THAT(at_container(from_container / ip(container6, client6, 1) / echo(kEchoRequest6, 7) / payload(56)),
                IsAnswered(FNET_TTL_EXCEEDED, into_container, gateway6));
}

TEST_F(Answers, QuoteOptionsAsTheyAre) {
    const Bytes options{1, 1, 1, 1, 0x94, 4, 0, 0};
    EXPECT_THAT(at_container(from_container / Ipv4{.src = container_ip, .dst = client, .ttl = 1, .options = options} / Packet{udp(1, 2)} /
                             payload(600)),
                IsAnswered(FNET_TTL_EXCEEDED, into_container, gateway));
}

// RFC 1122 3.2.2: no errors about errors.
TEST_F(Answers, NeverGoToAnError) {
    at_container(from_container / ip(container_ip, client) / udp(20000, 53));
    EXPECT_THAT(at_uplink(from_outside / ip(router, host_ip, 1) / Icmp{.type = 3, .code = 1} / ip(host_ip, client) / udp(20000, 53)),
                IsDropped(FNET_TTL_EXCEEDED));
    publish({.protocol = Protocol::kUdp, .address = host_ip});
    at_uplink(from_outside / ip(client, host_ip) / udp(40000, 8080));
    EXPECT_THAT(
        at_container(from_container / ip(container_ip, client, 1) / Icmp{.type = 3, .code = 3} / ip(client, container_ip) / udp(40000, 80)),
        IsDropped(FNET_TTL_EXCEEDED));
}

class OnePort : public DatapathTest {
protected:
    OnePort() : DatapathTest({.masquerade_first = 20000, .masquerade_last = 20000}) {}
};

TEST_F(OnePort, TakenIsSaidInBothFamilies) {
    at_container(from_container / ip(container_ip, client) / udp(20000, 443));
    at_container(from_container / ip(container6, client6) / udp(20000, 443));
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / udp(20001, 443) / payload(9)),
                IsAnswered(FNET_PORTS_EXHAUSTED, into_container, gateway));
    EXPECT_THAT(at_container(from_container / ip(container6, client6) / udp(20001, 443) / payload(9)),
                IsAnswered(FNET_PORTS_EXHAUSTED, into_container, gateway6));
}

}  // namespace
}  // namespace fastnet::test
