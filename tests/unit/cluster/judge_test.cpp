#include "userspace/cluster/judge.h"

#include <gtest/gtest.h>

#include "tests/unit/cluster/cluster_builder.h"

namespace fastnet::cluster {
namespace {

using test::FakeEtcd;
using test::here_a;
using test::ip;
using test::uid;

/// Node b at 192.0.2.2, which owns 10.9.0.0/28, as node a judges it.
class Judge : public ::testing::Test {
protected:
    Judge() {
        etcd.add_node("b", '2', "192.0.2.2");
        etcd.add_block("b", '2', "10.9.0.0/28");
    }
    JudgedEndpoint endpoint(std::uint32_t id = 1, const std::string& node = "b") const {
        return judge_endpoint(etcd.mirror, here, {node, id});
    }
    JudgedNode node(const std::string& name = "b") const { return judge_node(etcd.mirror, here, name); }

    FakeEtcd etcd;
    Here here = here_a();
};

TEST_F(Judge, AnEndpointInItsNodesBlockIsTaken) {
    etcd.add_endpoint("b", '2', 1, "10.9.0.2");
    const JudgedEndpoint judged = endpoint();
    EXPECT_TRUE(judged.taken()) << judged.why;
    const RemoteSpec wanted{"endpoints/b/1", "b", "web", uid('b'), ip("10.9.0.2"), std::nullopt, mac_for(ip("10.9.0.2")), ip("192.0.2.2")};
    EXPECT_EQ(judged.spec, wanted);
}

TEST_F(Judge, ANodeIsKnownByItsKeyAndTheClaimOfItsAddress) {
    EXPECT_TRUE(node().taken());
    EXPECT_EQ(node().node, (RemoteNode{"b", uid('2'), ip("192.0.2.2"), std::nullopt}));
    etcd.erase(VtepKey{ip("192.0.2.2")});
    EXPECT_EQ(node().reason, Reason::kUnfitNode);
    EXPECT_TRUE(node().waits);
    etcd.put(VtepKey{ip("192.0.2.2")}, encode(VtepRecord{uid('3'), "c"}));
    EXPECT_EQ(node().reason, Reason::kUnfitNode);
    EXPECT_FALSE(node().waits) << "somebody else has the address";
}

TEST_F(Judge, ANodeWithThisNodesNameUidOrAddressIsNone) {
    etcd.add_node("a", '9', "192.0.2.9");
    EXPECT_FALSE(node("a").taken());
    etcd.add_node("d", 'a', "192.0.2.4");
    EXPECT_EQ(node("d").reason, Reason::kUnfitNode);
    etcd.add_node("e", '5', "192.0.2.1");
    EXPECT_EQ(node("e").reason, Reason::kUnfitNode);
}

TEST_F(Judge, WithoutAnAddressOfThisNodesOwnEndpointsWait) {
    etcd.add_endpoint("b", '2', 1, "10.9.0.2");
    here.ipv4.reset();
    EXPECT_EQ(endpoint().reason, Reason::kUnfitNode);
    EXPECT_TRUE(endpoint().waits) << "nothing contradicts: what is in use may stay";
    here.ipv6 = ip("2001:db8::1");
    EXPECT_EQ(endpoint().reason, Reason::kUnfitNode);
    EXPECT_FALSE(endpoint().waits) << "of another family than the other node's";
}

TEST_F(Judge, ATunnelThroughANetworkThatItCarriesIsNone) {
    etcd.add_node("d", '4', "10.9.3.3");
    EXPECT_EQ(node("d").reason, Reason::kUnfitNode);
    etcd.add_node("e", '5', "10.9.16.3");
    EXPECT_TRUE(node("e").taken()) << "behind the subnet";
}

TEST_F(Judge, AnEndpointOfAnUnknownNodeWaits) {
    etcd.add_endpoint("x", '2', 1, "10.9.0.2");
    EXPECT_EQ(endpoint(1, "x").reason, Reason::kUnknownNode);
    EXPECT_TRUE(endpoint(1, "x").waits);
}

TEST_F(Judge, AnEndpointOfAFormerNodeOfThatNameIsRefused) {
    etcd.add_endpoint("b", '7', 1, "10.9.0.2");
    EXPECT_EQ(endpoint().reason, Reason::kUnknownNode);
    EXPECT_FALSE(endpoint().waits);
}

TEST_F(Judge, TunnelsAreOfTheFamilyThatThisNodeUses) {
    etcd.add_node("d", '4', "2001:db8::4");
    etcd.add_block("d", '4', "10.9.0.32/28");
    etcd.add_endpoint("d", '4', 1, "10.9.0.34");
    EXPECT_EQ(endpoint(1, "d").reason, Reason::kUnfitNode);
    here.ipv4.reset();
    here.ipv6 = ip("2001:db8::1");
    EXPECT_TRUE(endpoint(1, "d").taken());
    EXPECT_EQ(endpoint(1, "d").spec.peer, ip("2001:db8::4"));
}

TEST_F(Judge, AnEndpointOfANetworkThatIsNotHereWaits) {
    etcd.add_endpoint("b", '2', 1, "10.9.0.2");
    here.networks.clear();
    EXPECT_EQ(endpoint().reason, Reason::kUnknownNetwork);
    EXPECT_TRUE(endpoint().waits);
}

TEST_F(Judge, AnAddressThatNoEndpointCanHaveIsRefused) {
    for (const char* const address : {"10.8.0.2", "192.0.2.1", "10.9.16.1", "10.9.0.0", "10.9.0.1", "10.9.15.255", "fd01::1"}) {
        EndpointRecord record = FakeEtcd::endpoint('2', "10.9.0.2");
        const IpAddress one = ip(address);
        record.ipv4.reset();
        (one.family() == Family::kIpv4 ? record.ipv4 : record.ipv6) = one;
        etcd.put(EndpointKey{"b", 1}, encode(record), 1);
        EXPECT_EQ(endpoint().reason, Reason::kOutsideSubnet) << address;
        EXPECT_FALSE(endpoint().waits);
    }
}

TEST_F(Judge, AnAddressInABlockOfNobodyWaitsInSomebodyElsesItIsRefused) {
    etcd.add_endpoint("b", '2', 1, "10.9.0.18");
    EXPECT_EQ(endpoint().reason, Reason::kOutsideBlock);
    EXPECT_TRUE(endpoint().waits);
    etcd.add_block("c", '3', "10.9.0.16/28");
    EXPECT_EQ(endpoint().reason, Reason::kOutsideBlock);
    EXPECT_FALSE(endpoint().waits);
}

TEST_F(Judge, ABlockOfAnotherLengthOwnsNothing) {
    etcd.add_block("b", '2', "10.9.1.0/24");
    etcd.add_endpoint("b", '2', 1, "10.9.1.2");
    EXPECT_EQ(endpoint().reason, Reason::kOutsideBlock);
}

TEST_F(Judge, BothAddressesHaveToFit) {
    EndpointRecord record = FakeEtcd::endpoint('2', "10.9.0.2");
    record.ipv6 = ip("fd00:9::2");
    etcd.put(EndpointKey{"b", 1}, encode(record), 1);
    EXPECT_EQ(endpoint().reason, Reason::kOutsideBlock);
    etcd.add_block("b", '2', "fd00:9::/88");
    EXPECT_TRUE(endpoint().taken()) << endpoint().why;
}

}  // namespace
}  // namespace fastnet::cluster
