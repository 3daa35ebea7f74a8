// Fragments of flows, both ways in both families: a whole datagram and what is expected of it are built, checksums in full,
// and cut up in the same way. And IPv6 extension headers in front of what a flow is known by.
#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

void put16(Bytes& bytes, std::size_t at, std::size_t value) {
    bytes[at] = static_cast<std::uint8_t>(value >> 8U);
    bytes[at + 1] = static_cast<std::uint8_t>(value);
}

/// @p whole cut into fragments with @p size bytes of its payload each, a multiple of 8.
std::vector<Packet> cut(const Packet& whole, std::size_t size = 1024, std::uint16_t id = 0x4711) {
    const Bytes bytes = whole.bytes();
    const bool v4 = bytes[12] == 0x08;
    const std::size_t header = 14 + (v4 ? 20U : 40U);
    std::vector<Packet> fragments;
    for (std::size_t at = header; at < bytes.size(); at += size) {
        const std::size_t length = std::min(size, bytes.size() - at);
        const bool more = at + length < bytes.size();
        Bytes one(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(header));
        if (v4) {
            put16(one, 16, 20 + length);
            put16(one, 18, id);
            put16(one, 20, (more ? 0x2000U : 0U) | (at - header) / 8);
            put16(one, 24, 0);
            put16(one, 24, internet_checksum({std::span{one}.subspan(14)}));
        } else {
            put16(one, 18, 8 + length);
            one.insert(one.end(), {one[20], 0, 0, 0, 0, 0, 0, 0});
            one[20] = kProtocolFragment;
            put16(one, header + 2, (at - header) | (more ? 1U : 0U));
            put16(one, header + 6, id);
        }
        one.insert(one.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.begin() + static_cast<std::ptrdiff_t>(at + length));
        fragments.emplace_back(Payload{one});
    }
    return fragments;
}

class Fragment : public DatapathTest, public ::testing::WithParamInterface<Variant> {
protected:
    const Variant& v() const { return GetParam(); }
    /// A segment or datagram of three fragments.
    Packet large(const Eth& eth, const IpAddress& from, const IpAddress& to, std::uint16_t src, std::uint16_t dst, std::uint8_t flags,
                 std::uint8_t ttl = 64) const {
        return eth / ip(from, to, ttl) / v().l4(src, dst, flags) / payload(3000);
    }
    void expect_redirected(const std::vector<Packet>& in, const std::vector<Packet>& out, bool by_container) {
        ASSERT_EQ(in.size(), out.size());
        for (std::size_t i = 0; i < in.size(); ++i)
            EXPECT_THAT(by_container ? at_container(in[i]) : at_uplink(in[i]), Redirects(out[i])) << "fragment " << i;
    }
};

TEST_P(Fragment, GoOutAndTheAnswersComeBack) {
    expect_redirected(cut(large(from_container, v().container(), v().client(), 20000, 443, kSyn)),
                      cut(large(out_of_uplink, v().host(), v().client(), 20000, 443, kSyn, 63)), true);
    expect_redirected(cut(large(from_outside, v().client(), v().host(), 443, 20000, kAck)),
                      cut(large(into_container, v().client(), v().container(), 443, 20000, kAck, 63)), false);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(Fragment, ComeInByAPublishedPortAndGoBack) {
    publish({.protocol = v().protocol, .address = v().host()});
    expect_redirected(cut(large(from_outside, v().client(), v().host(), 40000, 8080, kSyn)),
                      cut(large(into_container, v().client(), v().container(), 40000, 80, kSyn, 63)), false);
    expect_redirected(cut(large(from_container, v().container(), v().client(), 80, 40000, kAck)),
                      cut(large(out_of_uplink, v().host(), v().client(), 8080, 40000, kAck, 63)), true);
}

TEST_P(Fragment, TakeTheHairpin) {
    publish({.protocol = v().protocol, .address = v().host()}, neighbour());
    expect_redirected(cut(large(from_container, v().container(), v().host(), 20000, 8080, kSyn)),
                      cut(large(into_neighbour, v().container(), v().neighbour(), 20000, 80, kSyn, 63)), true);
    // On one network the answer is sent to the caller itself.
    const Eth to_caller{.src = neighbour_mac, .dst = container_mac};
    const auto answers = cut(large(to_caller, v().neighbour(), v().container(), 80, 20000, kAck));
    const auto expected = cut(large(into_container, v().host(), v().container(), 8080, 20000, kAck, 63));
    for (std::size_t i = 0; i < answers.size(); ++i) EXPECT_THAT(at_container(neighbour(), answers[i]), Redirects(expected[i])) << i;
}

TEST_P(Fragment, CountForTheirFlow) {
    for (const Packet& each : cut(large(from_container, v().container(), v().client(), 20000, 443, kSyn))) at_container(each);
    EXPECT_EQ(flow(key_of(v().protocol, v().container(), 20000, v().client(), 443, container().ifindex))->packets, 3U);
}

TEST_P(Fragment, WithoutItsFirstIsTheKernelsOrWaits) {
    publish({.protocol = v().protocol, .address = v().host()});
    EXPECT_THAT(at_uplink(cut(large(from_outside, v().client(), v().host(), 40000, 8080, kSyn))[1]),
                GoesToTheKernel(FNET_FRAGMENT_TO_KERNEL));
    EXPECT_THAT(at_container(cut(large(from_container, v().container(), v().client(), 20000, 443, kSyn))[1]),
                IsDropped(FNET_FRAGMENT_EARLY));
}

// A run sends the copies that waited, and returns the first.
TEST_P(Fragment, ThatComesBeforeItsFirstIsSentAfterIt) {
    publish({.protocol = v().protocol, .address = v().host()});
    const FarDevice inside{lab(), "container"}, outside{lab(), "wire"};
    const auto in = cut(large(from_outside, v().client(), v().host(), 40000, 8080, kSyn)),
               arrives = cut(large(into_container, v().client(), v().container(), 40000, 80, kSyn, 63)),
               answer = cut(large(from_container, v().container(), v().client(), 80, 40000, kAck)),
               leaves = cut(large(out_of_uplink, v().host(), v().client(), 8080, 40000, kAck, 63));
    const auto expect_both = [](const FarDevice& device, const std::vector<Packet>& fragments) {
        std::vector<Bytes> seen;  // in any order
        for (int i = 0; i < 2; ++i)
            seen.push_back(
                device.receive([&](const Bytes& frame) { return frame == fragments[1].bytes() || frame == fragments[2].bytes(); })
                    .value_or(Bytes{}));
        EXPECT_THAT(seen, ::testing::UnorderedElementsAre(fragments[1].bytes(), fragments[2].bytes()));
    };
    for (const std::size_t each : {2U, 1U}) EXPECT_THAT(at_uplink(in[each]), GoesToTheKernel(FNET_FRAGMENT_TO_KERNEL));
    const Outcome first = at_uplink(in[0]);
    EXPECT_EQ(first.action, kRedirected);
    EXPECT_EQ(first.out, arrives[0].bytes());
    EXPECT_EQ(first.verdicts, (Verdicts{{FNET_FLOW_FORWARDED, 3}}));
    expect_both(inside, arrives);
    for (const std::size_t each : {2U, 1U}) EXPECT_THAT(at_container(answer[each]), IsDropped(FNET_FRAGMENT_EARLY));
    EXPECT_EQ(at_container(answer[0]).out, leaves[0].bytes());
    expect_both(outside, leaves);
    EXPECT_THAT(at_uplink(in[0]), Redirects(arrives[0])) << "they are sent once";
}

TEST_P(Fragment, ThatWaitsIsSentForItsOwnFirstOnly) {
    publish({.protocol = v().protocol, .address = v().host()});
    const auto packet = [&](std::size_t which, std::uint16_t id, const IpAddress& from) {
        return cut(large(from_outside, from, v().host(), 40000, 8080, kSyn), 1024, id)[which];
    };
    at_uplink(packet(1, 1, v().client()));
    EXPECT_TRUE(at_uplink(packet(0, 2, v().client())).counted_only(FNET_FLOW_FORWARDED)) << "another datagram";
    EXPECT_TRUE(at_uplink(packet(0, 1, v().not_ours())).counted_only(FNET_FLOW_FORWARDED)) << "another sender's";
    EXPECT_TRUE(at_container(cut(large(from_container, v().container(), v().client(), 20000, 443, kSyn), 1024, 1)[0])
                    .counted_only(FNET_FLOW_FORWARDED))
        << "the other way";
    EXPECT_EQ(at_uplink(packet(0, 1, v().client())).verdicts, (Verdicts{{FNET_FLOW_FORWARDED, 2}}));
}

// Places are drawn at random: no draw may push out what waits while others are free.
TEST_P(Fragment, SevenThatWaitAreAllSent) {
    publish({.protocol = v().protocol, .address = v().host()});
    for (std::uint16_t id = 0; id < 20; ++id) {
        const auto pieces = cut(large(from_outside, v().client(), v().host(), 40000, 8080, kSyn), 400, id);
        ASSERT_EQ(pieces.size(), 8U);
        for (std::size_t later = 1; later < pieces.size(); ++later) at_uplink(pieces[later]);
        ASSERT_EQ(at_uplink(pieces[0]).verdicts, (Verdicts{{FNET_FLOW_FORWARDED, 8}})) << "datagram " << id;
    }
}

TEST_P(Fragment, FloodOfEarlyOnesLeavesThoseInOrderAlone) {
    publish({.protocol = v().protocol, .address = v().host()});
    for (std::uint16_t id = 0; id < 500; ++id) at_uplink(cut(large(from_outside, v().client(), v().host(), 1, 2, kSyn), 1024, id)[1]);
    expect_redirected(cut(large(from_outside, v().client(), v().host(), 40000, 8080, kSyn)),
                      cut(large(into_container, v().client(), v().container(), 40000, 80, kSyn, 63)), false);
}

TEST_P(Fragment, OfTheHostItselfIsLeftAlone) {
    const auto fragments = cut(large(from_outside, v().client(), v().host(), 40000, 9999, kAck));
    EXPECT_THAT(at_uplink(fragments[0]), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(fragments[1]), GoesToTheKernel(FNET_FRAGMENT_TO_KERNEL));
    EXPECT_THAT(at_uplink(fragments[2]), GoesToTheKernel(FNET_FRAGMENT_TO_KERNEL));
    EXPECT_THAT(at_container(cut(large(from_container, v().container(), v().gateway(), 40000, 9999, kAck))[1]),
                GoesToTheKernel(FNET_TO_HOST));
}

TEST_P(Fragment, TooSmallForItsPortsIsDroppedByName) {
    publish({.protocol = v().protocol, .address = v().host()});
    const std::size_t before = v().v4() ? 34 : 62, needed = v().protocol == Protocol::kTcp ? 20 : 8;
    const auto kept = [&](const Eth& eth, const IpAddress& from, const IpAddress& to, std::uint16_t src, std::uint16_t dst,
                          std::size_t length) {
        Bytes first = cut(large(eth, from, to, src, dst, kSyn))[0].bytes();
        first.resize(before + length);
        if (v().v4()) {
            put16(first, 16, 20 + length);
            put16(first, 24, 0);
            put16(first, 24, internet_checksum({std::span{first}.subspan(14, 20)}));
        } else {
            put16(first, 18, 8 + length);
        }
        return Packet{Payload{first}};
    };
    // The source guard of a container looks at the first two bytes of a datagram.
    for (std::size_t length = 2; length < needed; ++length) {
        EXPECT_THAT(at_container(kept(from_container, v().container(), v().client(), 20000, 443, length)), IsDropped(FNET_FRAGMENT_SHORT));
        EXPECT_THAT(at_uplink(kept(from_outside, v().client(), v().host(), 40000, 8080, length)), IsDropped(FNET_FRAGMENT_SHORT));
    }
    EXPECT_TRUE(flows().empty());
    EXPECT_TRUE(at_uplink(kept(from_outside, v().client(), v().host(), 40000, 8080, needed)).counted_only(FNET_FLOW_FORWARDED));
}

// What keeps one from drawing the end of another's datagram into his own flow.
TEST_P(Fragment, ThatTwoFlowsClaimGoesToNeither) {
    publish({.protocol = v().protocol, .address = v().host()});
    publish({.id = 2, .protocol = v().protocol, .address = v().host(), .port = 8081}, neighbour());
    const auto victim = cut(large(from_outside, v().client(), v().host(), 40000, 8080, kSyn));
    const auto forged = cut(large(from_outside, v().client(), v().host(), 40000, 8081, kSyn));
    EXPECT_TRUE(at_uplink(victim[0]).counted_only(FNET_FLOW_FORWARDED));
    EXPECT_TRUE(at_uplink(forged[0]).counted_only(FNET_FLOW_FORWARDED));
    EXPECT_THAT(at_uplink(victim[1]), IsDropped(FNET_FRAGMENT));
    EXPECT_TRUE(at_uplink(victim[0]).counted_only(FNET_FLOW_FORWARDED));
    EXPECT_THAT(at_uplink(victim[2]), IsDropped(FNET_FRAGMENT)) << "nor does saying it again help";
    const auto other_id = cut(large(from_outside, v().client(), v().host(), 40000, 8080, kAck), 1024, 0x4712);
    EXPECT_TRUE(at_uplink(other_id[0]).counted_only(FNET_FLOW_FORWARDED));
    EXPECT_TRUE(at_uplink(other_id[1]).counted_only(FNET_FLOW_FORWARDED));
}

TEST_P(Fragment, OfAnotherEndpointIsAnotherDatagram) {
    EXPECT_TRUE(
        at_container(cut(large(from_container, v().container(), v().client(), 20000, 443, kSyn))[0]).counted_only(FNET_FLOW_FORWARDED));
    EXPECT_THAT(at_container(neighbour(), cut(large(from_neighbour, v().container(), v().client(), 20000, 443, kSyn))[1]),
                IsDropped(FNET_SPOOFED_SOURCE));
    EXPECT_THAT(at_container(neighbour(), cut(large(from_neighbour, v().neighbour(), v().client(), 20000, 443, kSyn))[1]),
                IsDropped(FNET_FRAGMENT_EARLY));
    EXPECT_THAT(at_uplink(cut(large(from_outside, v().container(), v().client(), 20000, 443, kSyn))[1]),
                GoesToTheKernel(FNET_FRAGMENT_TO_KERNEL));
}

TEST_P(Fragment, WhoseFlowEndedIsDropped) {
    const auto fragments = cut(large(from_container, v().container(), v().client(), 20000, 443, kSyn));
    at_container(fragments[0]);
    purge(container().ifindex, 0);
    EXPECT_THAT(at_container(fragments[1]), IsDropped(FNET_FRAGMENT_EARLY));
}

TEST_P(Fragment, ThatIsTooBigOrExpiresIsAnsweredForTheFirstOnly) {
    lab().ip("link set up0 mtu 1280\n");
    const auto fragments = cut(large(from_container, v().container(), v().client(), 20000, 443, kSyn), 1280);
    EXPECT_THAT(at_container(fragments[0]), IsAnsweredTooBig(1280U, into_container, v().gateway()));
    EXPECT_THAT(at_container(fragments[1]), IsDropped(FNET_TOO_BIG));
    EXPECT_TRUE(at_container(fragments[2]).counted_only(FNET_FLOW_FORWARDED)) << "the last one is small";
    const auto expiring = cut(large(from_container, v().container(), v().client(), 20000, 443, kSyn, 1), 1024, 0x4712);
    EXPECT_THAT(at_container(expiring[0]), IsAnswered(FNET_TTL_EXCEEDED, into_container, v().gateway()));
    EXPECT_THAT(at_container(expiring[1]), IsDropped(FNET_TTL_EXCEEDED));
}

// As path MTU discovery for large datagrams needs it: the quote is of the first fragment.
TEST_P(Fragment, ThatAnErrorQuotesFindsItsFlow) {
    at_container(from_container / ip(v().container(), v().client()) / v().l4(20000, 443));
    const Icmp too_big{.type = std::uint8_t(v().v4() ? 3 : 2), .code = std::uint8_t(v().v4() ? 4 : 0), .rest = 1280};
    const auto quote_of = [&](const IpAddress& from, std::size_t which) {
        const Bytes whole = cut(large(out_of_uplink, from, v().client(), 20000, 443, kSyn))[which].bytes();
        return Payload{Bytes(whole.begin() + 14, whole.begin() + 14 + 512)};
    };
    const IpAddress from = v().v4() ? router : router6;
    EXPECT_THAT(at_uplink(from_outside / ip(from, v().host()) / too_big / quote_of(v().host(), 0)),
                RedirectsError(into_container / ip(from, v().container(), 63) / too_big / quote_of(v().container(), 0)));
    EXPECT_THAT(at_uplink(from_outside / ip(from, v().host()) / too_big / quote_of(v().host(), 1)), GoesToTheKernel(FNET_ICMP_TO_KERNEL));
}

TEST_P(Fragment, FloodOfIdentificationsHarmsFragmentsOnly) {
    publish({.protocol = v().protocol, .address = v().host()});
    const Packet open = from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080);
    at_uplink(open);
    Outcome outcome;
    for (unsigned id = 0; id < 20'000; ++id) {
        const Bytes first =
            cut(from_outside / ip(v().client(), v().host()) / v().l4(1, 9999) / payload(32), 32, static_cast<std::uint16_t>(id))[0].bytes();
        ASSERT_TRUE(run_quickly("tc_uplink", first, lab().ifindex("up0"), outcome));
        ASSERT_EQ(outcome.action, kToKernel);
    }
    EXPECT_THAT(at_uplink(from_outside / ip(v().client(), v().host()) / v().l4(40000, 8080, kAck)),
                Redirects(into_container / ip(v().client(), v().container(), 63) / v().l4(40000, 80, kAck)));
    const auto fragments = cut(large(from_outside, v().client(), v().host(), 40000, 8080, kAck), 1024, 20'000);
    at_uplink(fragments[0]);
    EXPECT_TRUE(at_uplink(fragments[1]).counted_only(FNET_FLOW_FORWARDED)) << "and new ones find room";
}

INSTANTIATE_TEST_SUITE_P(Each, Fragment, all_variants, variant_name);

class Fragments : public DatapathTest {};

TEST_F(Fragments, OfAPingTravelBothWays) {
    for (const bool v4 : {true, false}) {
        const IpAddress inside = v4 ? container_ip : container6, host = v4 ? host_ip : host6, far = v4 ? client : client6;
        const Packet request = echo(v4 ? kEchoRequest : kEchoRequest6, 20007), reply = echo(v4 ? kEchoReply : kEchoReply6, 20007);
        const auto sent = cut(from_container / ip(inside, far) / request / payload(3000)),
                   seen = cut(out_of_uplink / ip(host, far, 63) / request / payload(3000)),
                   back = cut(from_outside / ip(far, host) / reply / payload(3000)),
                   home = cut(into_container / ip(far, inside, 63) / reply / payload(3000));
        for (std::size_t i = 0; i < sent.size(); ++i) EXPECT_THAT(at_container(sent[i]), Redirects(seen[i])) << i;
        for (std::size_t i = 0; i < back.size(); ++i) EXPECT_THAT(at_uplink(back[i]), Redirects(home[i])) << i;
    }
}

TEST_F(Fragments, KeepTheMissingChecksumOfAnIpv4Datagram) {
    const auto no_checksum = Udp{.src = Port{20000}, .dst = Port{443}, .checksum = 0};
    const auto sent = cut(from_container / ip(container_ip, client) / no_checksum / payload(3000)),
               seen = cut(out_of_uplink / ip(host_ip, client, 63) / no_checksum / payload(3000));
    for (std::size_t i = 0; i < sent.size(); ++i) EXPECT_THAT(at_container(sent[i]), Redirects(seen[i])) << i;
}

TEST_F(Fragments, OfWhatCannotBeTranslatedAreDropped) {
    EXPECT_THAT(
        at_container(from_container / Ipv4{.src = container_ip, .dst = client, .more_fragments = true, .protocol = 51} / payload(64)),
        IsDropped(FNET_UNSUPPORTED_PROTOCOL));
    EXPECT_THAT(at_container(from_container / Ipv4{.src = container_ip, .dst = client, .more_fragments = true} /
                             Icmp{.type = 3, .code = 3} / ip(client, container_ip) / udp(1, 2)),
                IsDropped(FNET_UNSUPPORTED_PROTOCOL));
    EXPECT_TRUE(flows().empty());
}

/// A header of @p type whose @p body is padded.
Packet extension(std::uint8_t type, std::size_t size = 8) {
    Bytes body(size - 2);
    body[0] = 1;  // PadN
    body[1] = static_cast<std::uint8_t>(std::min<std::size_t>(size - 4, 255));
    return Ipv6Extension{.type = type, .body = body};
}
Packet routing(std::uint8_t type, std::uint8_t segments_left) {
    return Ipv6Extension{.type = kProtocolRouting, .body = {type, segments_left, 0, 0, 0, 0}};
}

class Extension : public DatapathTest {
protected:
    /// @p headers in front of a published port's packet, its answer and a masqueraded one; they stay as they are.
    void expect_translated(const Packet& headers) {
        for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
            const auto l4 = [&](std::uint16_t src, std::uint16_t dst, std::uint8_t flags) {
                return headers / Variant::l4_of(protocol, src, dst, flags) / payload(40);
            };
            publish({.protocol = protocol, .address = host6});
            EXPECT_THAT(at_uplink(from_outside / ip(client6, host6) / l4(40000, 8080, kSyn)),
                        Redirects(into_container / ip(client6, container6, 63) / l4(40000, 80, kSyn)));
            EXPECT_THAT(at_container(from_container / ip(container6, client6) / l4(80, 40000, kSynAck)),
                        Redirects(out_of_uplink / ip(host6, client6, 63) / l4(8080, 40000, kSynAck)));
            EXPECT_THAT(at_container(from_container / ip(container6, client6) / l4(50000, 443, kSyn)),
                        ::testing::Field(&Outcome::action, kRedirected));
            EXPECT_THAT(at_container(from_container / ip(container6, client6) / l4(20000, 443, kSyn)),
                        Redirects(out_of_uplink / ip(host6, client6, 63) / l4(20000, 443, kSyn)));
            EXPECT_THAT(at_uplink(from_outside / ip(client6, host6) / l4(443, 20000, kSynAck)),
                        Redirects(into_container / ip(client6, container6, 63) / l4(443, 20000, kSynAck)));
        }
        EXPECT_THAT(at_container(from_container / ip(container6, client6) / headers / echo(kEchoRequest6, 20007)),
                    Redirects(out_of_uplink / ip(host6, client6, 63) / headers / echo(kEchoRequest6, 20007)));
        EXPECT_THAT(at_uplink(from_outside / ip(client6, host6) / headers / echo(kEchoReply6, 20007)),
                    Redirects(into_container / ip(client6, container6, 63) / headers / echo(kEchoReply6, 20007)));
    }
};

TEST_F(Extension, HeadersDoNotKeepAPacketFromItsFlow) {
    expect_translated(extension(kProtocolHopByHop));
    expect_translated(extension(kProtocolDestination, 24));
    expect_translated(extension(kProtocolHopByHop) / extension(kProtocolDestination) / routing(4, 0) / extension(kProtocolDestination, 16));
    expect_translated(extension(kProtocolDestination, 264));
    expect_translated(Ipv6Fragment{.offset = 0, .more = false});  // atomic (RFC 6946)
    expect_translated(extension(kProtocolHopByHop) / Packet{Ipv6Fragment{.offset = 0, .more = false}} / extension(kProtocolDestination));
}

TEST_F(Extension, PacketWithAndWithoutIsOfOneFlow) {
    at_container(from_container / ip(container6, client6) / udp(20000, 443));
    at_container(from_container / ip(container6, client6) / extension(kProtocolDestination) / udp(20000, 443));
    EXPECT_EQ(flows().size(), 2U);
}

TEST_F(Extension, RoutingHeaderThatIsNotUsedUpCannotBeTranslated) {
    publish({.protocol = Protocol::kUdp, .address = host6});
    EXPECT_THAT(at_container(from_container / ip(container6, client6) / routing(4, 1) / udp(20000, 443)),
                IsDropped(FNET_UNSUPPORTED_PROTOCOL));
    EXPECT_THAT(at_uplink(from_outside / ip(client6, host6) / routing(4, 1) / udp(40000, 8080)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    // RFC 5095
    EXPECT_THAT(at_container(from_container / ip(container6, client6) / routing(0, 0) / udp(20000, 443)),
                IsDropped(FNET_UNSUPPORTED_PROTOCOL));
    EXPECT_THAT(at_uplink(from_outside / ip(client6, host6) / routing(0, 1) / udp(40000, 8080)), IsDropped(FNET_UNSUPPORTED_PROTOCOL));
    EXPECT_TRUE(flows().empty());
}

TEST_F(Extension, MoreThanAnybodyNeedsAreDropped) {
    Packet headers = extension(kProtocolHopByHop);
    for (int i = 1; i < 6; ++i) headers.append(extension(kProtocolDestination));
    expect_translated(headers);
    headers.append(extension(kProtocolDestination));
    EXPECT_THAT(at_container(from_container / ip(container6, client6) / headers / udp(20001, 443)), IsDropped(FNET_UNSUPPORTED_PROTOCOL));
    EXPECT_THAT(at_uplink(from_outside / ip(client6, host6) / headers / udp(40000, 8080)), IsDropped(FNET_UNSUPPORTED_PROTOCOL));
}

TEST_F(Extension, HeaderThatReachesBeyondThePacketIsMalformed) {
    Bytes lying = (from_container / ip(container6, client6) / extension(kProtocolDestination) / udp(20000, 443)).bytes();
    for (const auto length : {std::uint8_t{1}, std::uint8_t{2}, std::uint8_t{255}}) {
        lying[14 + 40 + 1] = length;
        EXPECT_EQ(run("tc_container", lying, container().ifindex).action, kDropped) << int{length};
    }
    EXPECT_TRUE(flows().empty());
}

TEST_F(Extension, FragmentsBehindThemTravelToo) {
    // The hop-by-hop header is in every fragment, the destination options are in the first only (RFC 8200 4.5).
    const auto first = [](const Packet& l2_and_l3) {
        return l2_and_l3 / extension(kProtocolHopByHop) / Packet{Ipv6Fragment{.offset = 0, .more = true}} /
               extension(kProtocolDestination) / udp(20000, 443) / payload(32);
    };
    EXPECT_THAT(at_container(first(from_container / ip(container6, client6))), Redirects(first(out_of_uplink / ip(host6, client6, 63))));
    const auto later = [](const Packet& l2_and_l3) {
        return l2_and_l3 / extension(kProtocolHopByHop) / Packet{Ipv6Fragment{.offset = 48, .more = false}} / payload(64);
    };
    EXPECT_THAT(at_container(later(from_container / ip(container6, client6))), Redirects(later(out_of_uplink / ip(host6, client6, 63))));
}

}  // namespace
}  // namespace fastnet::test
