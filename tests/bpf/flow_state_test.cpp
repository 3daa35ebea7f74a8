// What a flow becomes as its packets pass: half open, established, closed, alive again; and how long it may then be idle.
#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

/// A client's connection to the published port: `request` is its direction, `answer` the container's.
class FlowState : public DatapathTest {
protected:
    using DatapathTest::DatapathTest;
    void SetUp() override {
        DatapathTest::SetUp();
        if (IsSkipped()) return;
        publish({.protocol = Protocol::kTcp, .address = host_ip});
        publish({.id = 2, .protocol = Protocol::kUdp, .address = host_ip});
    }
    Outcome request(std::uint8_t flags) { return at_uplink(from_outside / ip(client, host_ip) / tcp(40000, 8080, flags)); }
    Outcome answer(std::uint8_t flags) { return at_container(from_container / ip(container_ip, client) / tcp(80, 40000, flags)); }
    Outcome datagram() { return at_uplink(from_outside / ip(client, host_ip) / udp(40000, 8080)); }
    Outcome datagram_back() { return at_container(from_container / ip(container_ip, client) / udp(80, 40000)); }
    void establish() {
        request(kSyn);
        answer(kSynAck);
        request(kAck);
        ASSERT_EQ(tcp_class(), FNET_CLASS_ESTABLISHED);
    }
    fnet_flow_class tcp_class() const { return class_of(kTcpKey); }
    fnet_flow_class udp_class() const { return class_of(kUdpKey); }

    const fnet_flow_key kTcpKey = key_of(Protocol::kTcp, client, 40000, host_ip, 8080);
    const fnet_flow_key kUdpKey = key_of(Protocol::kUdp, client, 40000, host_ip, 8080);
};

TEST_F(FlowState, ThreeWayHandshakeEstablishes) {
    request(kSyn);
    EXPECT_EQ(tcp_class(), FNET_CLASS_HALF_OPEN);
    request(kSyn);  // retransmitted
    EXPECT_EQ(tcp_class(), FNET_CLASS_HALF_OPEN);
    answer(kSynAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_HALF_OPEN) << "a server answers a forged SYN too";
    request(kAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_ESTABLISHED);
    EXPECT_EQ(flow(kTcpKey)->state, FNET_FLOW_ESTABLISHED);
    EXPECT_EQ(partner_of(kTcpKey)->state, FNET_FLOW_ESTABLISHED);
    EXPECT_EQ(count_of(FNET_CLASS_HALF_OPEN), 0);
    EXPECT_EQ(count_of(FNET_CLASS_ESTABLISHED), 1);
}

TEST_F(FlowState, FloodedSynNeverGetsBeyondHalfOpen) {
    request(kSyn);
    for (int i = 0; i < 3; ++i) answer(kSynAck);
    request(kSyn);
    EXPECT_EQ(tcp_class(), FNET_CLASS_HALF_OPEN) << "the originator has acknowledged nothing";
}

TEST_F(FlowState, AckWithoutAnAnswerIsNoHandshake) {
    request(kSyn);
    request(kAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_HALF_OPEN);
}

// What forged senders can send without having seen an answer, and what servers then say, stays half open.
class ForgedHandshake : public FlowState {
protected:
    static constexpr std::uint32_t kServerNumber = 0x9a000000;
    Outcome segment(std::uint8_t flags, std::uint32_t acknowledgement, std::size_t length = 0) {
        Tcp header = tcp(40000, 8080, flags);
        header.acknowledgement = acknowledgement;
        return at_uplink(from_outside / ip(client, host_ip) / header / payload(length));
    }
    Outcome reply(std::uint8_t flags, std::uint32_t sequence, std::size_t length = 0) {
        Tcp header = tcp(80, 40000, flags);
        header.sequence = sequence;
        return at_container(from_container / ip(container_ip, client) / header / payload(length));
    }
    void open() {
        request(kSyn);
        reply(kSynAck, kServerNumber);
    }
};

TEST_F(ForgedHandshake, IsOneWhoseAckDoesNotKnowTheServersNumber) {
    open();
    for (const std::uint32_t guess : {0U, kServerNumber - 1, kServerNumber, kServerNumber + 2, 0x01020305U}) segment(kAck, guess, 20);
    EXPECT_EQ(tcp_class(), FNET_CLASS_HALF_OPEN);
    reply(kSynAck, kServerNumber);  // retransmitted
    segment(kAck, kServerNumber + 1);
    EXPECT_EQ(tcp_class(), FNET_CLASS_ESTABLISHED);
    EXPECT_EQ(flow(kTcpKey)->state, FNET_FLOW_ESTABLISHED);
    EXPECT_EQ(partner_of(kTcpKey)->state, FNET_FLOW_ESTABLISHED);
}

TEST_F(ForgedHandshake, IsNotHelpedByFinOrReset) {
    open();
    segment(kFinAck, 1);
    EXPECT_EQ(tcp_class(), FNET_CLASS_HALF_OPEN) << "a closing flow would be kept longer";
    segment(kRst, 1);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSED);
    segment(kAck, 1);
    reply(kAck, kServerNumber + 1);
    EXPECT_EQ(tcp_class(), FNET_CLASS_HALF_OPEN) << "alive again, but no more than before";
}

TEST_F(ForgedHandshake, IsNotHelpedByTheBareAckOfAnUnfinishedHandshake) {
    open();
    segment(kSyn, 0, 10);            // outside the window, without ACK
    reply(kAck, kServerNumber + 1);  // what the server says to that
    segment(kAck, kServerNumber);
    EXPECT_EQ(tcp_class(), FNET_CLASS_HALF_OPEN);
}

TEST_F(ForgedHandshake, IsNoneWhenTheServerSendsData) {
    open();
    reply(kAck, kServerNumber + 1, 1);
    EXPECT_EQ(tcp_class(), FNET_CLASS_ESTABLISHED) << "whichever ACK it was that we did not see";
}

// Two SYNs met two cookies, the client goes on with the first: the server's next ACK has the number that counts.
TEST_F(ForgedHandshake, IsNoneWhenAnUploadIsAcknowledged) {
    open();
    reply(kSynAck, kServerNumber + 5000);
    segment(kAck, kServerNumber + 1, 100);
    EXPECT_EQ(tcp_class(), FNET_CLASS_HALF_OPEN);
    reply(kAck, kServerNumber + 1);
    segment(kAck, kServerNumber + 1, 100);
    EXPECT_EQ(tcp_class(), FNET_CLASS_ESTABLISHED);
}

TEST_F(FlowState, FinInBothDirectionsCloses) {
    establish();
    request(kFinAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSING) << "a peer that vanishes now holds the slot for minutes, not hours";
    answer(kAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSING);
    answer(kFinAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSED);
    request(kAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSED) << "the last ACK passes and changes nothing";
    EXPECT_EQ(count_of(FNET_CLASS_CLOSED), 1);
    EXPECT_EQ(count_of(FNET_CLASS_ESTABLISHED), 0);
}

TEST_F(FlowState, FinOfTheServerFirstClosesToo) {
    establish();
    answer(kFinAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSING);
    answer(kFinAck);  // retransmitted: still one direction
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSING);
    request(kFinAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSED);
}

TEST_F(FlowState, ResetFromEitherSideCloses) {
    establish();
    request(kRst);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSED);
    request(kAck);
    answer(kAck);
    ASSERT_EQ(tcp_class(), FNET_CLASS_ESTABLISHED);
    answer(kRstAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSED);
}

TEST_F(FlowState, RefusedConnectionIsClosedAtOnce) {
    request(kSyn);
    answer(kRstAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSED);
}

TEST_F(FlowState, ForgedResetIsUndoneByTrafficOfBothSides) {
    establish();
    request(kRst);
    ASSERT_EQ(tcp_class(), FNET_CLASS_CLOSED);
    answer(kAck);
    answer(kAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSED) << "one side alone does not know of the reset yet";
    request(kAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_ESTABLISHED);
    EXPECT_EQ(count_of(FNET_CLASS_ESTABLISHED), 1);
    EXPECT_EQ(count_of(FNET_CLASS_CLOSED), 0);
}

TEST_F(FlowState, SecondResetStartsTheCountAgain) {
    establish();
    request(kRst);
    answer(kAck);
    request(kRst);  // the originator really is gone and says so again
    request(kAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSED);
}

TEST_F(FlowState, ClosedByFinIsNotRevivedByStraySegments) {
    establish();
    request(kFinAck);
    answer(kFinAck);
    request(kAck);
    answer(kAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSED);
}

TEST_F(FlowState, ClosedTupleIsUsedAgainByASyn) {
    establish();
    request(kFinAck);
    answer(kFinAck);
    ASSERT_EQ(tcp_class(), FNET_CLASS_CLOSED);
    EXPECT_THAT(request(kSyn), Redirects(into_container / ip(client, container_ip, 63) / tcp(40000, 80, kSyn)));
    EXPECT_EQ(tcp_class(), FNET_CLASS_HALF_OPEN);
    answer(kSynAck);
    request(kAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_ESTABLISHED);
    request(kFinAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSING) << "the FIN of the earlier connection is forgotten";
    EXPECT_EQ(flows().size(), 2U);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(FlowState, ResetTupleIsUsedAgainByASyn) {
    establish();
    request(kRst);
    request(kSyn);
    EXPECT_EQ(tcp_class(), FNET_CLASS_HALF_OPEN);
    answer(kSynAck);
    request(kAck);
    EXPECT_EQ(tcp_class(), FNET_CLASS_ESTABLISHED);
}

TEST_F(FlowState, SynOfTheServerSideDoesNotReopen) {
    establish();
    request(kFinAck);
    answer(kFinAck);
    answer(kSyn);
    EXPECT_EQ(tcp_class(), FNET_CLASS_CLOSED);
}

TEST_F(FlowState, SimultaneousOpenEstablishes) {
    // RFC 9293 3.5, figure 8: both send SYN, both send SYN-ACK.
    const auto out = [&](std::uint8_t flags) { return at_container(from_container / ip(container_ip, client) / tcp(20000, 443, flags)); };
    const auto in = [&](std::uint8_t flags) { return at_uplink(from_outside / ip(client, host_ip) / tcp(443, 20000, flags)); };
    const auto key = key_of(Protocol::kTcp, container_ip, 20000, client, 443, container().ifindex);
    out(kSyn);
    EXPECT_THAT(in(kSyn), Redirects(into_container / ip(client, container_ip, 63) / tcp(443, 20000, kSyn)));
    out(kSynAck);
    EXPECT_TRUE(in(kSynAck).counted_only(FNET_FLOW_FORWARDED));
    EXPECT_EQ(class_of(key), FNET_CLASS_ESTABLISHED);
}

TEST_F(FlowState, DatagramsAreAnsweredOnlyWhenTheOriginatorSendsOnceMore) {
    datagram();
    datagram();
    EXPECT_EQ(udp_class(), FNET_CLASS_HALF_OPEN);
    datagram_back();
    datagram_back();
    EXPECT_EQ(udp_class(), FNET_CLASS_HALF_OPEN) << "the first reply alone proves nothing";
    datagram();
    EXPECT_EQ(udp_class(), FNET_CLASS_DATAGRAM);
    EXPECT_EQ(count_of(FNET_CLASS_DATAGRAM), 1);
    EXPECT_EQ(count_of(FNET_CLASS_HALF_OPEN), 0);
}

TEST_F(FlowState, PingIsADatagramToo) {
    const auto key = key_of(Protocol::kIcmp, container_ip, 20007, client, 0, container().ifindex);
    const Packet ask = from_container / ip(container_ip, client) / echo(kEchoRequest, 20007);
    at_container(ask);
    at_uplink(from_outside / ip(client, host_ip) / echo(kEchoReply, 20007));
    EXPECT_EQ(class_of(key), FNET_CLASS_HALF_OPEN);
    at_container(ask);
    EXPECT_EQ(class_of(key), FNET_CLASS_DATAGRAM);
}

TEST_F(FlowState, MidStreamSegmentOfAMasqueradedConnectionOpensAFlowAgain) {
    // After a restart of the node: the container goes on sending, the peer answers.
    const auto key = key_of(Protocol::kTcp, container_ip, 20000, client, 443, container().ifindex);
    const Packet segment = from_container / ip(container_ip, client) / tcp(20000, 443, kAck);
    at_container(segment);
    EXPECT_EQ(class_of(key), FNET_CLASS_HALF_OPEN);
    Tcp answer = tcp(443, 20000, kAck);
    answer.sequence = 0x01020305;  // which the container has acknowledged
    at_uplink(from_outside / ip(client, host_ip) / answer);
    at_container(segment);
    EXPECT_EQ(class_of(key), FNET_CLASS_ESTABLISHED);
}

/// Time-outs that differ from one another by much more than a stalled machine could take.
class FlowTimeouts : public FlowState {
protected:
    FlowTimeouts()
        : FlowState({.tcp_established_s = 60,
                     .tcp_opening_s = 40,
                     .tcp_closing_s = 70,
                     .udp_s = 50,
                     .udp_unreplied_s = 30,
                     .dns_s = 90,
                     .icmp_s = 20,
                     .other_s = 80}) {}
    /// The flow survives the collector 5 s before its time-out and does not 1 s after.
    void expect_timeout(const fnet_flow_key& key, std::uint64_t seconds) {
        age(key, seconds - 5);
        ASSERT_TRUE(collector_walks());
        EXPECT_TRUE(flow(key).has_value()) << "gone too early";
        age(key, seconds + 1);
        const std::uint64_t expired = table().expired;
        ASSERT_TRUE(collector_walks());
        EXPECT_FALSE(flow(key).has_value()) << "still there";
        EXPECT_EQ(table().expired, expired + 1);
        EXPECT_TRUE(flows().empty());
        EXPECT_TRUE(slots_are_accounted_for());
    }
};

TEST_F(FlowTimeouts, EstablishedTcp) {
    establish();
    expect_timeout(kTcpKey, 60);
}

TEST_F(FlowTimeouts, HalfOpenTcp) {
    request(kSyn);
    answer(kSynAck);
    expect_timeout(kTcpKey, 40);
}

TEST_F(FlowTimeouts, ClosedTcp) {
    establish();
    request(kFinAck);
    answer(kFinAck);
    expect_timeout(kTcpKey, 70);
}

TEST_F(FlowTimeouts, ResetTcp) {
    establish();
    request(kRst);
    expect_timeout(kTcpKey, 70);
}

TEST_F(FlowTimeouts, HalfClosedTcp) {
    establish();
    answer(kFinAck);
    expect_timeout(kTcpKey, 70);
}

TEST_F(FlowTimeouts, DnsAnsweredOrNot) {
    const auto key = key_of(Protocol::kUdp, container_ip, 20000, client, 53, container().ifindex);
    at_container(from_container / ip(container_ip, client) / udp(20000, 53));
    expect_timeout(key, 90);
    for (int i = 0; i < 2; ++i) {
        at_container(from_container / ip(container_ip, client) / udp(20000, 53));
        at_uplink(from_outside / ip(client, host_ip) / udp(53, 20000));
    }
    EXPECT_EQ(class_of(key), FNET_CLASS_DATAGRAM);
    expect_timeout(key, 90);
}

TEST_F(FlowTimeouts, UnansweredUdp) {
    datagram();
    expect_timeout(kUdpKey, 30);
}

TEST_F(FlowTimeouts, AnsweredUdp) {
    datagram();
    datagram_back();
    datagram();
    expect_timeout(kUdpKey, 50);
}

TEST_F(FlowTimeouts, IcmpEcho) {
    const auto key = key_of(Protocol::kIcmp, container_ip, 7, client, 0, container().ifindex);
    for (int i = 0; i < 2; ++i) {
        at_container(from_container / ip(container_ip, client) / echo(kEchoRequest, 7));
        at_uplink(from_outside / ip(client, host_ip) / echo(kEchoReply, 7));
    }
    expect_timeout(key, 20);
}

TEST_F(FlowTimeouts, EitherDirectionKeepsAFlowAlive) {
    establish();
    age(kTcpKey, 65);
    answer(kAck);
    ASSERT_TRUE(collector_walks());
    EXPECT_TRUE(flow(kTcpKey).has_value());
    age(kTcpKey, 65);
    request(kAck);
    ASSERT_TRUE(collector_walks());
    EXPECT_TRUE(flow(kTcpKey).has_value());
}

TEST_F(FlowTimeouts, FinishedFlowsCountersOutliveIt) {
    establish();
    const std::uint64_t bytes = flow(kTcpKey)->bytes + partner_of(kTcpKey)->bytes;
    EXPECT_EQ(service_stats(1).packets, 0U) << "of a live flow the reader adds them";
    age(kTcpKey, 61);
    ASSERT_TRUE(collector_walks());
    EXPECT_EQ(service_stats(1).packets, 3U);
    EXPECT_EQ(service_stats(1).bytes, bytes);
    EXPECT_EQ(service_stats(1).connections, 1U);
    EXPECT_EQ(service_stats(2).packets, 0U);
    EXPECT_EQ(endpoint(container()).fast_packets, 3U);
    EXPECT_EQ(endpoint(container()).fast_bytes, bytes);
    EXPECT_EQ(endpoint(neighbour()).fast_packets, 0U);
}

TEST_F(FlowTimeouts, CollectorTicksByItselfAndIsArmedAgainWithoutHarm) {
    ASSERT_EQ(run_maintenance("collector_arm"), 0);
    ASSERT_TRUE(collector_walks());
    ASSERT_EQ(run_maintenance("collector_arm"), 0) << "as after a replacement of the programs";
    EXPECT_TRUE(collector_walks());
}

}  // namespace
}  // namespace fastnet::test
