// ICMP errors travel with the flow whose packet they quote, in both directions and families; every checksum of the error
// and of the quote is recomputed by the expectation.
#include <algorithm>
#include <cstring>

#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

constexpr std::uint8_t kUnreachable4 = 3, kUnreachable6 = 1, kTimeExceeded4 = 11, kTooBig6 = 2;

class IcmpError : public DatapathTest, public ::testing::WithParamInterface<Variant> {
protected:
    const Variant& v() const { return GetParam(); }
    Packet unreachable(std::uint8_t code) const { return Icmp{.type = v().v4() ? kUnreachable4 : kUnreachable6, .code = code}; }
    const IpAddress& some_router() const { return v().v4() ? router : router6; }
    /// A masqueraded flow from port 20000, which is kept.
    void go_out() {
        ASSERT_TRUE(
            at_container(from_container / ip(v().container(), v().client()) / v().l4(20000, 443)).counted_only(FNET_FLOW_FORWARDED));
    }
    void come_in() {
        publish({.protocol = v().protocol, .address = v().host()});
        ASSERT_TRUE(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080)).counted_only(FNET_FLOW_FORWARDED));
    }
};

TEST_P(IcmpError, OfARouterReachesTheContainerThatWentOut) {
    go_out();
    const Outcome error =
        at_uplink(from_outside / ip(some_router(), v().host()) / unreachable(1) / ip(v().host(), v().client(), 61) / v().l4(20000, 443));
    EXPECT_THAT(error, RedirectsError(into_container / ip(some_router(), v().container(), 63) / unreachable(1) /
                                      ip(v().container(), v().client(), 61) / v().l4(20000, 443)));
}

// The builder rebuilds the inner checksums too: an error that is not translated in full is not equal.

TEST_P(IcmpError, OfTheCalledHostItselfComesFromIt) {
    go_out();
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / unreachable(3) / ip(v().host(), v().client()) / v().l4(20000, 443)),
                RedirectsError(into_container / ip(v().client(), v().container(), 63) / unreachable(3) / ip(v().container(), v().client()) /
                               v().l4(20000, 443)));
}

TEST_P(IcmpError, AboutAReplyOfAPublishedPortReachesTheServer) {
    come_in();
    EXPECT_THAT(
        at_uplink(from_outside / ip(some_router(), v().host()) / unreachable(1) / ip(v().host(), v().client(), 60) / v().l4(8080, 40000)),
        RedirectsError(into_container / ip(some_router(), v().container(), 63) / unreachable(1) / ip(v().container(), v().client(), 60) /
                       v().l4(80, 40000)));
}

TEST_P(IcmpError, OfTheServerGoesToTheClientUnderThePublishedAddress) {
    come_in();
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / unreachable(3) / ip(v().client(), v().container(), 63) /
                             v().l4(40000, 80)),
                RedirectsError(from_container / ip(v().host(), v().client(), 63) / unreachable(3) / ip(v().client(), v().host(), 63) /
                               v().l4(40000, 8080)))
        << "the MACs are the neighbour code's";
}

TEST_P(IcmpError, AboutNoFlowIsTheHostsOwn) {
    go_out();
    const Packet error = from_outside / ip(some_router(), v().host()) / unreachable(1) / ip(v().host(), v().client()) / v().l4(20001, 443);
    EXPECT_THAT(at_uplink(error), GoesToTheKernel(FNET_ICMP_TO_KERNEL));
    EXPECT_THAT(
        at_uplink(from_outside / ip(some_router(), v().host()) / unreachable(1) / ip(v().client(), v().host()) / v().l4(20000, 443)),
        GoesToTheKernel(FNET_ICMP_TO_KERNEL))
        << "a quote of what the host received";
}

TEST_P(IcmpError, NeitherEndsNorKeepsAFlow) {
    go_out();
    const auto before = flows();
    at_uplink(from_outside / ip(some_router(), v().host()) / unreachable(1) / ip(v().host(), v().client()) / v().l4(20000, 443));
    const auto after = flows();
    ASSERT_EQ(after.size(), before.size());
    for (const auto& [key, flow] : after) {
        const auto same = std::find_if(before.begin(), before.end(), [&, &wanted = key](const auto& one) {
            return std::memcmp(&one.first, &wanted, sizeof wanted) == 0;
        });
        ASSERT_NE(same, before.end());
        EXPECT_EQ(std::memcmp(&same->second, &flow, sizeof flow), 0);
    }
}

TEST_P(IcmpError, QuoteThatIsCutOffIsTheHostsOwn) {
    go_out();
    const Bytes whole =
        (from_outside / ip(some_router(), v().host()) / unreachable(1) / ip(v().host(), v().client()) / v().l4(20000, 443)).bytes();
    const std::size_t quote = v().v4() ? 14 + 20 + 8 : 14 + 40 + 8;
    for (const std::size_t kept : {std::size_t{0}, std::size_t{4}, v().v4() ? std::size_t{27} : std::size_t{47}}) {
        Bytes cut{whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(quote + kept)};
        const std::size_t ip_length = cut.size() - 14;  // the header says so too
        const std::size_t field = v().v4() ? 16 : 18;
        const std::size_t value = v().v4() ? ip_length : ip_length - 40;
        cut[field] = static_cast<std::uint8_t>(value >> 8U);
        cut[field + 1] = static_cast<std::uint8_t>(value);
        EXPECT_THAT(run("tc_uplink", cut, lab().ifindex("up0")), GoesToTheKernel(FNET_ICMP_TO_KERNEL)) << kept;
    }
}

INSTANTIATE_TEST_SUITE_P(Each, IcmpError, all_variants, variant_name);

class IcmpErrors : public DatapathTest {};

TEST_F(IcmpErrors, AboutAPingFindsItsIdentifier) {
    at_container(from_container / ip(container_ip, client) / echo(kEchoRequest, 20007));
    EXPECT_THAT(at_uplink(from_outside / ip(router, host_ip) / Icmp{.type = kTimeExceeded4, .code = 0} / ip(host_ip, client, 1) /
                          echo(kEchoRequest, 20007)),
                RedirectsError(into_container / ip(router, container_ip, 63) / Icmp{.type = kTimeExceeded4, .code = 0} /
                               ip(container_ip, client, 1) / echo(kEchoRequest, 20007)));
    at_container(from_container / ip(container6, client6) / echo(kEchoRequest6, 20008));
    EXPECT_THAT(
        at_uplink(from_outside / ip(router6, host6) / Icmp{.type = kTooBig6, .code = 0} / ip(host6, client6) / echo(kEchoRequest6, 20008)),
        RedirectsError(into_container / ip(router6, container6, 63) / Icmp{.type = kTooBig6, .code = 0} / ip(container6, client6) /
                       echo(kEchoRequest6, 20008)));
}

TEST_F(IcmpErrors, QuoteWithOptionsIsTranslated) {
    const Bytes options{1, 1, 1, 1, 0x94, 4, 0, 0};
    at_container(from_container / ip(container_ip, client) / udp(20000, 53));
    EXPECT_THAT(at_uplink(from_outside / ip(router, host_ip) / Icmp{.type = kTimeExceeded4, .code = 0} /
                          Ipv4{.src = host_ip, .dst = client, .ttl = 1, .options = options} / Packet{udp(20000, 53)}),
                RedirectsError(into_container / ip(router, container_ip, 63) / Icmp{.type = kTimeExceeded4, .code = 0} /
                               Ipv4{.src = container_ip, .dst = client, .ttl = 1, .options = options} / Packet{udp(20000, 53)}));
}

TEST_F(IcmpErrors, TravelThroughAHairpin) {
    // Both are on one network: the server answers to the caller's own MAC, not to the gateway's.
    publish({.protocol = Protocol::kUdp, .address = host_ip}, neighbour());
    at_container(from_container / ip(container_ip, host_ip) / udp(20000, 8080));
    const Eth direct{.src = neighbour_mac, .dst = container_mac};
    EXPECT_THAT(at_container(neighbour(), direct / ip(neighbour_ip, container_ip) / Icmp{.type = kUnreachable4, .code = 3} /
                                              ip(container_ip, neighbour_ip, 63) / udp(20000, 80)),
                RedirectsError(into_container / ip(host_ip, container_ip, 63) / Icmp{.type = kUnreachable4, .code = 3} /
                               ip(container_ip, host_ip, 63) / udp(20000, 8080)));
}

TEST_F(IcmpErrors, RedirectsAndInformationAreNotForwarded) {
    at_container(from_container / ip(container_ip, client) / udp(20000, 53));
    for (const std::uint8_t type : {std::uint8_t{4}, std::uint8_t{5}, std::uint8_t{13}})
        EXPECT_THAT(at_uplink(from_outside / ip(router, host_ip) / Icmp{.type = type, .code = 0} / ip(host_ip, client) / udp(20000, 53)),
                    GoesToTheKernel(FNET_ICMP_TO_KERNEL));
}

TEST_F(IcmpErrors, WithoutAWayBackIsDroppedByName) {
    publish({.protocol = Protocol::kUdp, .address = host_ip});
    at_uplink(from_outside / ip(unroutable, host_ip) / udp(40000, 8080));
    EXPECT_THAT(at_container(from_container / ip(container_ip, unroutable) / Icmp{.type = kUnreachable4, .code = 3} /
                             ip(unroutable, container_ip, 63) / udp(40000, 80)),
                IsDropped(FNET_NO_ROUTE));
}

TEST_F(IcmpErrors, AnotherContainersFlowIsOutOfReach) {
    at_container(from_container / ip(container_ip, client) / udp(20000, 53));
    EXPECT_THAT(at_container(neighbour(), from_neighbour / ip(neighbour_ip, client) / Icmp{.type = kUnreachable4, .code = 3} /
                                              ip(client, container_ip) / udp(53, 20000)),
                IsDropped(FNET_UNSUPPORTED_PROTOCOL));
}

TEST_F(IcmpErrors, OfAContainerNeverShowsItsLinkLocalAddress) {
    publish({.address = host6});
    ASSERT_EQ(at_uplink(from_outside / ip(client6, host6) / tcp(40000, 8080)).action, kRedirected);
    const Packet unreachable = Icmp{.type = kUnreachable6, .code = 4};
    EXPECT_THAT(
        at_container(from_container / ip(container_link_local, client6) / unreachable / ip(client6, container6, 63) / tcp(40000, 80)),
        RedirectsError(from_container / ip(host6, client6, 63) / unreachable / ip(client6, host6, 63) / tcp(40000, 8080)));
}

}  // namespace
}  // namespace fastnet::test
