// Endpoint-independent mapping (RFC 4787 REQ-1 and REQ-3, RFC 5508 REQ-1a): one source of a container has one outside port
// towards everybody, for as long as one of its flows lives, and nobody else has that port.
#include <pthread.h>
#include <sched.h>

#include <set>
#include <thread>

#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/sockets.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

class Mapping : public DatapathTest {
protected:
    using DatapathTest::DatapathTest;
    std::uint16_t port_towards(const IpAddress& peer, std::uint16_t source, std::uint16_t to = 443) {
        const IpAddress& own = peer.family() == Family::kIpv4 ? container_ip : container6;
        return at_container(from_container / ip(own, peer) / udp(source, to)).view().src_port;
    }
    std::uint16_t neighbours_port_towards(const IpAddress& peer, std::uint16_t source) {
        const IpAddress& own = peer.family() == Family::kIpv4 ? neighbour_ip : neighbour6;
        return at_container(neighbour(), from_neighbour / ip(own, peer) / udp(source, 443)).view().src_port;
    }
    fnet_flow_key flow_key(const IpAddress& peer, std::uint16_t source, std::uint16_t to = 443) const {
        return key_of(Protocol::kUdp, container_ip, source, peer, to, container().ifindex);
    }
};

TEST_F(Mapping, OneSourceHasOnePortTowardsEverybody) {
    const std::uint16_t port = port_towards(client, 50000);
    EXPECT_GE(port, options_.masquerade_first);
    EXPECT_LE(port, options_.masquerade_last);
    EXPECT_EQ(port_towards(other_client, 50000), port);
    EXPECT_EQ(port_towards(client, 50000, 444), port);
    EXPECT_THAT(at_uplink(from_outside / ip(other_client, host_ip) / udp(443, port) / payload(5)),
                Redirects(into_container / ip(other_client, container_ip, 63) / udp(443, 50000) / payload(5)));
    EXPECT_NE(port_towards(client, 50001), port) << "another source of the container";
    EXPECT_EQ(mappings().size(), 4U);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Mapping, OneIpv6SourceHasOnePortTowardsEverybody) {
    const std::uint16_t port = port_towards(client6, 50000);
    EXPECT_EQ(port_towards(address("2001:db8:7::8"), 50000), port);
    EXPECT_THAT(at_uplink(from_outside / ip(address("2001:db8:7::8"), host6) / udp(443, port)),
                Redirects(into_container / ip(address("2001:db8:7::8"), container6, 63) / udp(443, 50000)));
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Mapping, PortIsNobodyElsesTowardsAnybody) {
    EXPECT_EQ(port_towards(client, 20000), 20000) << "preserved";
    const std::uint16_t second = neighbours_port_towards(other_client, 20000);
    EXPECT_NE(second, 20000) << "port overloading, RFC 4787 REQ-3";
    EXPECT_EQ(neighbours_port_towards(client, 20000), second);
    EXPECT_EQ(port_towards(other_client, 20000), 20000);
    EXPECT_NE(port_towards(other_client, second), second) << "a source that would be preserved finds it taken";
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Mapping, FamiliesAndProtocolsHaveTheirOwnPorts) {
    EXPECT_EQ(port_towards(client, 20000), 20000);
    EXPECT_EQ(neighbours_port_towards(client6, 20000), 20000);
    EXPECT_EQ(at_container(neighbour(), from_neighbour / ip(neighbour_ip, client) / echo(kEchoRequest, 20000)).view().echo_id, 20000);
    EXPECT_EQ(at_container(neighbour(), from_neighbour / ip(neighbour_ip, client) / tcp(20000, 443)).view().src_port, 20000);
}

TEST_F(Mapping, IdentifierOfAnEchoIsMappedTheSameWay) {
    const auto id_towards = [&](const IpAddress& peer) {
        return at_container(from_container / ip(container_ip, peer) / echo(kEchoRequest, 77)).view().echo_id;
    };
    const std::uint16_t id = id_towards(client);
    EXPECT_NE(id, 77);
    EXPECT_EQ(id_towards(other_client), id);
    EXPECT_THAT(at_uplink(from_outside / ip(other_client, host_ip) / echo(kEchoReply, id)),
                Redirects(into_container / ip(other_client, container_ip, 63) / echo(kEchoReply, 77)));
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Mapping, LetsNobodyInWhoWasNotAsked) {
    const std::uint16_t port = port_towards(client, 50000);
    port_towards(client, 50000, 444);
    EXPECT_THAT(at_uplink(from_outside / ip(other_client, host_ip) / udp(443, port)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(client, host_ip) / udp(445, port)), GoesToTheKernel(FNET_HOST_TRAFFIC));
}

TEST_F(Mapping, LivesAsLongAsAnyFlowOfIt) {
    const std::uint16_t port = port_towards(client, 50000);
    port_towards(other_client, 50000);
    age(flow_key(client, 50000), 121);
    ASSERT_TRUE(collector_walks());
    ASSERT_EQ(flows().size(), 2U) << "the flow that opened it is gone";
    EXPECT_EQ(port_towards(client, 50000, 444), port);
    EXPECT_TRUE(slots_are_accounted_for());
    age(flow_key(other_client, 50000), 121);
    age(flow_key(client, 50000, 444), 121);
    ASSERT_TRUE(collector_walks());
    EXPECT_TRUE(mappings().empty());
    EXPECT_EQ(neighbours_port_towards(client, port), port) << "the port is free again";
}

TEST_F(Mapping, GoesWithItsEndpoint) {
    port_towards(client, 50000);
    port_towards(other_client, 50000);
    neighbours_port_towards(client, 50000);
    EXPECT_EQ(purge(container().ifindex, 0), 2U);
    EXPECT_EQ(mappings().size(), 2U) << "the neighbour's";
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Mapping, FollowsTheAddressOfTheHost) {
    const std::uint16_t port = port_towards(client, 20000);
    port_towards(other_client, 20000);
    lab().ip("route replace default via 192.0.2.1 dev up0 src 192.0.2.3\n");
    forget_exit(flow_key(client, 20000));
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / udp(20000, 443)),
                Redirects(out_of_uplink / ip(second_host_ip, client, 63) / udp(port, 443)));
    EXPECT_EQ(mappings().size(), 4U) << "one at each address, the other flow has not looked yet";
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Mapping, HostThatTakesThePortKeepsItTowardsNewPeers) {
    EXPECT_EQ(port_towards(client, 20000), 20000);
    const HostSocket later{SOCK_DGRAM, any4, 20000};
    ASSERT_EQ(later.error(), 0);
    EXPECT_NE(port_towards(other_client, 20000), 20000);
    EXPECT_EQ(port_towards(client, 20000), 20000) << "the flow that is there goes on";
    EXPECT_TRUE(slots_are_accounted_for());
}

class FewPorts : public Mapping {
protected:
    explicit FewPorts(bool endpoint_mapping = true)
        : Mapping({.masquerade_first = 20000, .masquerade_last = 20007, .endpoint_mapping = endpoint_mapping}) {}
};

TEST_F(FewPorts, EachIsOneSourcesAndTheNextOneSharesOrIsRefusedByName) {
    std::set<std::uint16_t> ports;
    for (std::uint16_t source = 40000; source < 40008; ++source) ports.insert(port_towards(client, source));
    EXPECT_EQ(ports.size(), 8U);
    EXPECT_THAT(at_container(from_container / ip(container_ip, client) / udp(40008, 443)),
                IsAnswered(FNET_PORTS_EXHAUSTED, into_container, gateway));
    EXPECT_TRUE(ports.contains(port_towards(other_client, 40008))) << "shared by destination, so that no source takes them from all others";
    EXPECT_EQ(mappings().size(), 16U) << "eight, and the claims of their ports";
    EXPECT_TRUE(ports.contains(port_towards(other_client, 40003))) << "those that have one reach everybody";
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(FewPorts, TcpSharesThemByDestination) {
    std::set<std::uint16_t> ports;
    for (const IpAddress& peer : {client, other_client})
        for (std::uint16_t source = 40000; source < 40008; ++source)
            ports.insert(at_container(from_container / ip(container_ip, peer) / tcp(source, 443)).view().src_port);
    EXPECT_EQ(ports.size(), 8U);
    EXPECT_TRUE(mappings().empty());
}

class MappingPerDestination : public FewPorts {
protected:
    MappingPerDestination() : FewPorts(false) {}
};

TEST_F(MappingPerDestination, SharesPortsByDestination) {
    for (const IpAddress& peer : {client, other_client})
        for (std::uint16_t source = 40000; source < 40008; ++source) EXPECT_NE(port_towards(peer, source), source);
    EXPECT_EQ(flows().size(), 32U);
    EXPECT_TRUE(mappings().empty());
    EXPECT_TRUE(slots_are_accounted_for());
}

/// A flow table with fewer slots than there are flows: reclaim takes mappings along.
class MappingUnderPressure : public Mapping {
protected:
    MappingUnderPressure() : Mapping({.max_flows = 16}) {}
};

TEST_F(MappingUnderPressure, GoesWithTheFlowsThatAreGivenUp) {
    for (std::uint16_t source = 40000; source < 40200; ++source) {
        const std::uint16_t port = port_towards(client, source);
        EXPECT_EQ(port_towards(other_client, source), port);
    }
    EXPECT_EQ(flows().size(), 32U);
    EXPECT_TRUE(slots_are_accounted_for());
}

TEST_F(Mapping, TwoCpusAgreeOnThePortOfANewSource) {
    if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "one CPU";
    for (std::uint16_t source = 50000; source < 50200; ++source) {
        std::array<Outcome, 2> outcomes;
        const auto send = [&](std::size_t cpu) {
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET(cpu, &set);
            (void)pthread_setaffinity_np(pthread_self(), sizeof set, &set);
            const Packet packet = from_container / ip(container_ip, cpu == 0 ? client : other_client) / udp(source, 443);
            run_quickly("tc_container", packet.bytes(), container().ifindex, outcomes.at(cpu));
        };
        std::thread first{send, 0}, second{send, 1};
        first.join();
        second.join();
        ASSERT_EQ(PacketView{outcomes[0].out}.src_port, PacketView{outcomes[1].out}.src_port);
    }
    EXPECT_TRUE(slots_are_accounted_for());
}

}  // namespace
}  // namespace fastnet::test
