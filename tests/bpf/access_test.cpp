// Who may call a published port: judged before a flow exists, for callers from outside and for containers of the node.
#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

constexpr std::uint32_t kAllowOnly = FNET_SERVICE_RESTRICTED | FNET_SERVICE_ALLOW_ONLY;

class Access : public DatapathTest, public ::testing::WithParamInterface<Variant> {
protected:
    const Variant& v() const { return GetParam(); }
    void publish_8080(std::uint32_t flags) {
        publish({.id = 7, .protocol = v().protocol, .address = v().any(), .port = 8080, .container_port = 80, .flags = flags});
    }
    void allow(const char* prefix4, const char* prefix6) { set_source(7, v().v4() ? prefix4 : prefix6, FNET_SOURCE_ALLOW); }
    void deny(const char* prefix4, const char* prefix6) { set_source(7, v().v4() ? prefix4 : prefix6, FNET_SOURCE_DENY); }
    Outcome call(std::uint16_t from_port = 40000) {
        return at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(from_port, 8080));
    }
    auto reaches_the_container(std::uint16_t from_port = 40000) {
        return Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(from_port, 80));
    }
};
INSTANTIATE_TEST_SUITE_P(Each, Access, all_variants, variant_name);

TEST_P(Access, WithoutListsIsEverybodys) {
    publish_8080(0);
    deny("198.51.100.0/24", "2001:db8:7::/48");
    EXPECT_THAT(call(), reaches_the_container()) << "a port without the flag does not even look";
}

TEST_P(Access, OfAnAllowListIsItsMembersAlone) {
    publish_8080(kAllowOnly);
    EXPECT_THAT(call(), IsDropped(FNET_SOURCE_DENIED)) << "an empty list allows nobody";
    allow("198.51.101.0/24", "2001:db8:8::/48");
    EXPECT_THAT(call(), IsDropped(FNET_SOURCE_DENIED)) << "the network beside it";
    EXPECT_TRUE(flows().empty());
    EXPECT_EQ(count_of(FNET_CLASS_HALF_OPEN), 0);
    EXPECT_EQ(service_stats(7).connections, 0U);
    allow("198.51.100.0/24", "2001:db8:7::/48");
    EXPECT_THAT(call(), reaches_the_container());
    EXPECT_EQ(flows().size(), 2U);
}

TEST_P(Access, OfADenyListIsEverybodyElses) {
    publish_8080(FNET_SERVICE_RESTRICTED);
    deny("198.51.101.0/24", "2001:db8:8::/48");
    EXPECT_THAT(call(), reaches_the_container());
    deny("198.51.100.0/24", "2001:db8:7::/48");
    EXPECT_THAT(call(40001), IsDropped(FNET_SOURCE_DENIED));
    EXPECT_EQ(flows().size(), 2U);
}

TEST_P(Access, IsDecidedByTheLongestPrefix) {
    publish_8080(kAllowOnly);
    allow("198.51.0.0/16", "2001:db8::/32");
    deny("198.51.100.0/24", "2001:db8:7::/48");
    EXPECT_THAT(call(), IsDropped(FNET_SOURCE_DENIED));
    allow("198.51.100.7/32", "2001:db8:7::7/128");
    EXPECT_THAT(call(), reaches_the_container());
    deny("0.0.0.0/0", "::/0");
    EXPECT_THAT(call(40001), reaches_the_container(40001));
}

TEST_P(Access, OfOnePortSaysNothingAboutAnother) {
    publish_8080(FNET_SERVICE_RESTRICTED);
    publish(
        {.id = 8, .protocol = v().protocol, .address = v().any(), .port = 9090, .container_port = 81, .flags = FNET_SERVICE_RESTRICTED});
    deny("0.0.0.0/0", "::/0");
    EXPECT_THAT(call(), IsDropped(FNET_SOURCE_DENIED));
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 9090)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(40000, 81)));
}

TEST_P(Access, IsJudgedWhenAFlowOpensAndNotAgain) {
    publish_8080(kAllowOnly);
    allow("198.51.100.0/24", "2001:db8:7::/48");
    call();
    EXPECT_THAT(at_container(from_container / ip(v().container(), v().client()) / v().l4(80, 40000, kSynAck)),
                Redirects(out_of_uplink / ip(v().host(), v().client(), 63) / v().l4(8080, 40000, kSynAck)));
    deny("198.51.100.0/24", "2001:db8:7::/48");
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080, kAck)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(40000, 80, kAck)));
    EXPECT_THAT(call(40001), IsDropped(FNET_SOURCE_DENIED));
}

// Replies to what the container itself began are no calls.
TEST_P(Access, OfAPublishedPortDoesNotConcernWhatTheContainerOpens) {
    publish_8080(kAllowOnly);
    const Outcome out = at_container(from_container / ip(v().container(), v().client()) / v().l4(30000, 443));
    ASSERT_TRUE(out.counted_only(FNET_FLOW_FORWARDED)) << ::testing::PrintToString(out);
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(443, out.view().src_port, kSynAck)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(443, 30000, kSynAck)));
}

TEST_P(Access, OfAContainerThroughTheHostIsJudgedByItsOwnAddress) {
    publish_8080(kAllowOnly);
    const auto hairpin = [&] { return at_container(neighbour(), from_neighbour / ip(v().neighbour(), v().host()) / v().l4(40000, 8080)); };
    EXPECT_THAT(hairpin(), IsDropped(FNET_SOURCE_DENIED));
    EXPECT_TRUE(flows().empty());
    allow("10.10.0.3/32", "fd00:10::3/128");
    EXPECT_THAT(hairpin(), Redirects(into_container / ip(v().neighbour(), v().container(), 63) / v().l4(40000, 80)));
    // To itself: it is seen as the gateway, and judged as what it is.
    const auto to_itself = [&] { return at_container(from_container / ip(v().container(), v().host()) / v().l4(20000, 8080)); };
    EXPECT_THAT(to_itself(), IsDropped(FNET_SOURCE_DENIED));
    allow("10.10.0.2/32", "fd00:10::2/128");
    EXPECT_THAT(to_itself(), Redirects(into_container / ip(v().gateway(), v().container(), 63) / v().l4(20000, 80)));
}

TEST_P(Access, OfAHostsOwnSocketsOrInTransitIsNotOurs) {
    publish_8080(kAllowOnly);
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().not_ours()) / v().l4(40000, 8080)), GoesToTheKernel(FNET_HOST_TRAFFIC));
}

TEST_P(Access, OfThousandsOfPrefixesFindsTheOne) {
    publish_8080(FNET_SERVICE_RESTRICTED);
    for (unsigned i = 0; i < 4096; ++i)
        set_source(7,
                   v().v4() ? ("10." + std::to_string(i / 256) + "." + std::to_string(i % 256) + ".0/24").c_str()
                            : (IpAddress{address("2001:db9::")}.plus(static_cast<std::uint64_t>(i) << 16U).to_string() + "/112").c_str(),
                   FNET_SOURCE_DENY);
    EXPECT_THAT(call(), reaches_the_container());
    deny("198.51.100.7/32", "2001:db8:7::7/128");
    EXPECT_THAT(call(40001), IsDropped(FNET_SOURCE_DENIED));
}

}  // namespace
}  // namespace fastnet::test
