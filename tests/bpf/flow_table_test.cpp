// The flow table as a whole: what is given up under pressure and what never is, purges, and that no slot is ever lost,
// freed twice or counted wrong.
#include <random>

#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

class FlowTable : public DatapathTest {
protected:
    using DatapathTest::DatapathTest;
    void SetUp() override {
        DatapathTest::SetUp();
        if (IsSkipped()) return;
        publish({.protocol = Protocol::kTcp, .address = host_ip});
        publish({.id = 2, .protocol = Protocol::kUdp, .address = host_ip, .port = 5353, .container_port = 53}, neighbour());
    }
    Outcome syn(std::uint16_t port) { return to_server(port, kSyn); }
    Outcome to_server(std::uint16_t port, std::uint8_t flags) {
        return at_uplink(from_outside / ip(client, host_ip) / tcp(port, 8080, flags));
    }
    Outcome to_client(std::uint16_t port, std::uint8_t flags) {
        return at_container(from_container / ip(container_ip, client) / tcp(80, port, flags));
    }
    void establish(std::uint16_t port) {
        syn(port);
        to_client(port, kSynAck);
        to_server(port, kAck);
    }
    void close(std::uint16_t port) {
        to_server(port, kFinAck);
        to_client(port, kFinAck);
    }
    Outcome ask(std::uint16_t port) { return at_uplink(from_outside / ip(client, host_ip) / udp(port, 5353)); }
    void converse(std::uint16_t port) {
        ask(port);
        at_container(neighbour(), from_neighbour / ip(neighbour_ip, client) / udp(53, port));
        ask(port);
    }
    static fnet_flow_key tcp_key(std::uint16_t port) { return key_of(Protocol::kTcp, client, port, host_ip, 8080); }
    static fnet_flow_key udp_key(std::uint16_t port) { return key_of(Protocol::kUdp, client, port, host_ip, 5353); }
};

/// With its memory reserved, or not.
class SmallTable : public FlowTable, public ::testing::WithParamInterface<bool> {
protected:
    SmallTable() : FlowTable({.max_flows = 8, .reserved = GetParam()}) {}
};

TEST_P(SmallTable, FullOfEstablishedConnectionsRefusesNewOnesAndDisturbsNone) {
    for (std::uint16_t port = 1; port <= 8; ++port) establish(static_cast<std::uint16_t>(40000 + port));
    ASSERT_EQ(count_of(FNET_CLASS_ESTABLISHED), 8);
    EXPECT_THAT(syn(41000), IsDropped(FNET_FLOW_TABLE_FULL));
    EXPECT_THAT(ask(41000), IsDropped(FNET_FLOW_TABLE_FULL));
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / udp(20000, 53)), IsDropped(FNET_FLOW_TABLE_FULL));
    for (std::uint16_t port = 1; port <= 8; ++port) {
        EXPECT_TRUE(to_server(static_cast<std::uint16_t>(40000 + port), kAck).counted_only(FNET_FLOW_FORWARDED));
        EXPECT_TRUE(to_client(static_cast<std::uint16_t>(40000 + port), kAck).counted_only(FNET_FLOW_FORWARDED));
    }
    EXPECT_EQ(table().reclaimed, 0U);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(SmallTable, ClosedGoesBeforeHalfOpenBeforeIdleDatagramAndEstablishedNever) {
    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{40001, 40002}) establish(port);
    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{40003, 40004}) converse(port);
    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{40005, 40006}) syn(port);
    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{40007, 40008}) {
        establish(port);
        close(port);
    }
    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{40003, 40004}) age(udp_key(port), 11);
    ASSERT_EQ(flows().size(), 16U);

    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{41001, 41002}) {
        establish(port);
        EXPECT_EQ(class_of(tcp_key(port)), FNET_CLASS_ESTABLISHED);
    }
    EXPECT_EQ(count_of(FNET_CLASS_CLOSED), 0);
    EXPECT_EQ(count_of(FNET_CLASS_HALF_OPEN), 2);
    EXPECT_EQ(count_of(FNET_CLASS_DATAGRAM), 2);

    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{41003, 41004}) establish(port);
    EXPECT_FALSE(flow(tcp_key(40005)).has_value());
    EXPECT_FALSE(flow(tcp_key(40006)).has_value());
    EXPECT_EQ(count_of(FNET_CLASS_DATAGRAM), 2);

    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{41005, 41006}) establish(port);
    EXPECT_EQ(count_of(FNET_CLASS_DATAGRAM), 0);
    EXPECT_EQ(count_of(FNET_CLASS_ESTABLISHED), 8);
    EXPECT_EQ(table().reclaimed, 6U);

    EXPECT_THAT(syn(41007), IsDropped(FNET_FLOW_TABLE_FULL));
    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{40001, 40002, 41001, 41002, 41003, 41004, 41005, 41006})
        EXPECT_EQ(class_of(tcp_key(port)), FNET_CLASS_ESTABLISHED);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(SmallTable, BusyDatagramFlowsAreNotGivenUp) {
    for (std::uint16_t port = 40000; port < 40008; ++port) converse(port);
    EXPECT_THAT(ask(41000), IsDropped(FNET_FLOW_TABLE_FULL));
    age(udp_key(40003), 11);
    EXPECT_TRUE(ask(41000).counted_only(FNET_FLOW_FORWARDED));
    EXPECT_FALSE(flow(udp_key(40003)).has_value());
    EXPECT_EQ(flows().size(), 16U);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(SmallTable, FloodOfHalfOpenFlowsTakesTurnsAndLeavesTheEstablished) {
    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{40001, 40002, 40003}) establish(port);
    for (std::uint16_t port = 1; port <= 500; ++port) EXPECT_TRUE(syn(port).counted_only(FNET_FLOW_FORWARDED)) << port;
    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{40001, 40002, 40003})
        EXPECT_EQ(class_of(tcp_key(port)), FNET_CLASS_ESTABLISHED);
    EXPECT_EQ(count_of(FNET_CLASS_HALF_OPEN), 5);
    EXPECT_EQ(table().reclaimed, 495U);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_P(SmallTable, ReclaimedFlowsAreAccountedLikeFinishedOnes) {
    establish(40001);
    close(40001);
    for (std::uint16_t port = 1; port <= 8; ++port) syn(port);
    EXPECT_FALSE(flow(tcp_key(40001)).has_value());
    EXPECT_EQ(service_stats(1).packets, 5U);
    EXPECT_EQ(service_stats(1).connections, 9U);
}

TEST_P(SmallTable, RoomThatTheCollectorMakesIsUsed) {
    for (std::uint16_t port = 40000; port < 40008; ++port) establish(port);
    ASSERT_THAT(syn(41000), IsDropped(FNET_FLOW_TABLE_FULL));
    EXPECT_EQ(purge(0, 1), 8U);
    EXPECT_TRUE(slots_are_accounted_for());
    for (std::uint16_t port = 41000; port < 41008; ++port) EXPECT_TRUE(syn(port).counted_only(FNET_FLOW_FORWARDED));
    EXPECT_TRUE(slots_are_accounted_for());
}

/// A full table is large compared with the window that one new flow looks at.
INSTANTIATE_TEST_SUITE_P(Memory, SmallTable, ::testing::Bool(), [](const auto& test) { return test.param ? "Reserved" : "AsNeeded"; });

class LargeFullTable : public FlowTable {
protected:
    LargeFullTable() : FlowTable({.max_flows = 2048}) {}
};

TEST_F(LargeFullTable, FindsTheFewClosedFlowsAmongTheHalfOpenInTheEnd) {
    Outcome outcome;
    const auto quickly_open = [&](std::uint16_t port) {
        const Bytes frame = (from_outside / ip(client, host_ip) / tcp(port, 8080)).bytes();
        EXPECT_TRUE(run_quickly("tc_uplink", frame, lab().ifindex("up0"), outcome));
        EXPECT_EQ(outcome.action, kRedirected);
    };
    for (std::uint16_t port = 1; port <= 2048; ++port) quickly_open(port);
    for (const std::uint16_t port : std::initializer_list<std::uint16_t>{300, 900, 1500}) {
        to_client(port, kRstAck);
        ASSERT_EQ(class_of(tcp_key(port)), FNET_CLASS_CLOSED);
    }
    // With half-open flows about, a new flow looks at 32 slots for a closed one: 64 of them see the whole table.
    for (std::uint16_t port = 3000; port < 3066; ++port) quickly_open(port);
    EXPECT_EQ(count_of(FNET_CLASS_CLOSED), 0);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(FlowTable, PurgeOfAServiceRemovesItsFlowsOnly) {
    for (std::uint16_t port = 40000; port < 40005; ++port) establish(port);
    for (std::uint16_t port = 40000; port < 40003; ++port) converse(port);
    at_container(from_container / ip(container_ip, client) / tcp(20000, 443));
    EXPECT_EQ(purge(0, 1), 5U);
    EXPECT_FALSE(flow(tcp_key(40000)).has_value());
    EXPECT_TRUE(flow(udp_key(40000)).has_value());
    EXPECT_EQ(flows().size(), 2U * (3 + 1));
    EXPECT_EQ(service_stats(1).packets, 15U);
    EXPECT_EQ(service_stats(1).connections, 5U);
    EXPECT_EQ(service_stats(2).packets, 0U);
    EXPECT_EQ(endpoint(container()).fast_packets, 15U);
    EXPECT_TRUE(slots_are_accounted_for());
    EXPECT_EQ(purge(0, 1), 0U);
}

TEST_F(FlowTable, PurgeOfAnEndpointRemovesWhatItServesAndWhatItOpened) {
    establish(40000);                                                                          // served by container
    at_container(from_container / ip(container_ip, client) / tcp(20000, 443));                 // opened by container
    converse(40000);                                                                           // served by neighbour
    at_container(neighbour(), from_neighbour / ip(neighbour_ip, client) / udp(20001, 53));     // opened by neighbour
    at_container(neighbour(), from_neighbour / ip(neighbour_ip, host_ip) / tcp(20002, 8080));  // neighbour to container
    at_container(from_container / ip(container_ip, host_ip) / udp(20003, 5353));               // container to neighbour
    ASSERT_EQ(flows().size(), 12U);
    EXPECT_EQ(purge(container().ifindex, 0), 4U);
    EXPECT_EQ(flows().size(), 4U);
    EXPECT_TRUE(flow(udp_key(40000)).has_value());
    EXPECT_TRUE(flow(key_of(Protocol::kUdp, neighbour_ip, 20001, client, 53, neighbour().ifindex)).has_value());
    EXPECT_TRUE(slots_are_accounted_for());
    EXPECT_EQ(purge(neighbour().ifindex, 0), 2U);
    EXPECT_TRUE(flows().empty());
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(FlowTable, PurgeOfNobodyRemovesNothing) {
    establish(40000);
    EXPECT_EQ(purge(stranger().ifindex, 0), 0U);
    EXPECT_EQ(purge(0, 77), 0U);
    EXPECT_EQ(flows().size(), 2U);
}

class ManyFlows : public FlowTable {
protected:
    ManyFlows() : FlowTable({.max_flows = 20000}) {}
};

TEST_F(ManyFlows, PurgeGoesThroughMoreSlotsThanOneCallTakes) {
    Outcome outcome;
    for (std::uint32_t i = 0; i < 18000; ++i) {
        const bool first = i % 3 != 0;
        const auto port = static_cast<std::uint16_t>(1024 + i);
        const Bytes frame =
            (first ? from_outside / ip(client, host_ip) / tcp(port, 8080) : from_outside / ip(client, host_ip) / udp(port, 5353)).bytes();
        ASSERT_TRUE(run_quickly("tc_uplink", frame, lab().ifindex("up0"), outcome));
        ASSERT_EQ(outcome.action, kRedirected) << i;
    }
    EXPECT_EQ(purge(0, 1), 12000U);
    EXPECT_EQ(count_of(FNET_CLASS_HALF_OPEN), 6000);
    EXPECT_EQ(service_stats(1).packets, 12000U);
    EXPECT_TRUE(slots_are_accounted_for());
}

/// Connections of every kind open, close, are reset, purged, reclaimed and collected in a random order.
class Churn : public FlowTable {
protected:
    Churn()
        : FlowTable({.max_flows = 128,
                     .tcp_established_s = 60,
                     .tcp_opening_s = 40,
                     .tcp_closing_s = 40,
                     .udp_s = 50,
                     .udp_unreplied_s = 30,
                     .icmp_s = 20}) {}
};

TEST_F(Churn, NeverLosesASlot) {
    std::mt19937 random{20240917};
    ASSERT_EQ(run_maintenance("collector_arm"), 0);
    Outcome outcome;
    const std::uint32_t uplink = lab().ifindex("up0");
    const auto pick = [&](unsigned limit) { return static_cast<std::uint16_t>(random() % limit); };
    for (int i = 0; i < 30000; ++i) {
        const auto port = static_cast<std::uint16_t>(40000 + pick(300));
        const std::uint8_t flags = std::array<std::uint8_t, 8>{kSyn, kSyn, kSyn, kAck, kAck, kFinAck, kRst, kSynAck}.at(pick(8));
        switch (pick(6)) {
            case 0:
            case 1:
                ASSERT_TRUE(
                    run_quickly("tc_uplink", (from_outside / ip(client, host_ip) / tcp(port, 8080, flags)).bytes(), uplink, outcome));
                break;
            case 2:
                ASSERT_TRUE(run_quickly("tc_container", (from_container / ip(container_ip, client) / tcp(80, port, flags)).bytes(),
                                        container().ifindex, outcome));
                break;
            case 3:
                ASSERT_TRUE(run_quickly("tc_uplink", (from_outside / ip(client, host_ip) / udp(port, 5353)).bytes(), uplink, outcome));
                break;
            case 4:
                ASSERT_TRUE(run_quickly("tc_container", (from_neighbour / ip(neighbour_ip, client) / udp(53, port)).bytes(),
                                        neighbour().ifindex, outcome));
                break;
            default:
                ASSERT_TRUE(run_quickly("tc_container", (from_container / ip(container_ip, client) / udp(port, 53)).bytes(),
                                        container().ifindex, outcome));
        }
        if (i % 3000 == 2999) {
            if (i % 2000 == 1999) (void)purge(0, 1);
            for (const auto& [key, value] : flows())
                if (value.flags & FNET_FLOW_ORIGINAL && pick(4) == 0) age(key, 100);
            ASSERT_TRUE(collector_walks());
            ASSERT_TRUE(slots_are_accounted_for()) << "after " << i << " packets";
        }
    }
    EXPECT_GT(table().reclaimed, 100U);
    EXPECT_GT(table().expired, 10U);
    EXPECT_EQ(verdicts().count(FNET_INTERNAL_ERROR), 0U);
    (void)purge(container().ifindex, 0);
    (void)purge(neighbour().ifindex, 0);
    EXPECT_TRUE(flows().empty());
    EXPECT_TRUE(slots_are_accounted_for());
}

}  // namespace
}  // namespace fastnet::test
