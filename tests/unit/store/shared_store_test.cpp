// What nodes of a cluster share, in the store: blocks of addresses, records of two owners side by side, remembered removals.
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/store/store_checks.h"
#include "tests/unit/store/temp_dir.h"
#include "userspace/store/store.h"

namespace fastnet {
namespace {

IpPrefix prefix(const char* text) {
    return *IpPrefix::parse_interface(text);
}
IpAddress address(const char* text) {
    return *IpAddress::parse(text);
}

class SharedStoreTest : public testing::Test {
protected:
    SharedStoreTest() : store_{must(Store::open(dir_.path() / "state"))}, blue_{add("blue", "10.77.0.0/24", 7, "uid-blue")} {}

    Network add(const std::string& name, const char* subnet, std::uint32_t vni, const std::string& uid) {
        Network wanted;
        wanted.name = name;
        wanted.uid = uid;
        wanted.driver = NetworkDriver::kOverlay;
        wanted.vni = vni;
        wanted.subnets = {prefix(subnet)};
        wanted.gateways = {default_gateway(wanted.subnets.front())};
        return must(store_.add_network(wanted));
    }
    Result<Endpoint> attach(const std::string& name, const char* ip = nullptr) {
        Endpoint endpoint;
        endpoint.name = name;
        endpoint.mode = EndpointMode::kOverlay;
        endpoint.network_id = blue_.id;
        endpoint.netns = name;
        endpoint.netns_id = "4:" + name;
        endpoint.ifname = "eth0";
        if (ip != nullptr) endpoint.ipv4 = prefix(ip);
        return store_.stage_endpoint(endpoint);
    }
    Result<RemoteEndpoint> put(const std::string& ref, const char* peer, const char* ipv4, const std::string& node = "n2") {
        RemoteEndpoint wanted;
        wanted.peer = address(peer);
        wanted.ipv4 = address(ipv4);
        wanted.mac = mac_for(*wanted.ipv4);
        wanted.ref = ref;
        wanted.node = node;
        return store_.put_remote_endpoint(wanted, blue_);
    }

    TempDir dir_;
    Store store_;
    Network blue_;
};

TEST_F(SharedStoreTest, AddressesComeFromTheBlocksInTurnAndNeverTheGateways) {
    EXPECT_ERROR(attach("early"), ErrorKind::kConflict, "none yet");
    must(store_.add_block(blue_.id, prefix("10.77.0.0/30")));
    must(store_.add_block(blue_.id, prefix("10.77.0.64/30")));
    std::vector<std::string> given;
    for (int i = 0; i < 6; ++i) given.push_back(must(attach("e" + std::to_string(i))).ipv4->address().to_string());
    // .0 is the network's, .1 the gateway's; .64 to .67 are addresses as any.
    EXPECT_EQ(given, (std::vector<std::string>{"10.77.0.2", "10.77.0.3", "10.77.0.64", "10.77.0.65", "10.77.0.66", "10.77.0.67"}));
    EXPECT_ERROR(attach("late"), ErrorKind::kConflict, "10.77.0.0/30, 10.77.0.64/30");
    must(store_.remove_endpoint(must(store_.find_endpoint("e3"))->id));
    EXPECT_EQ(must(attach("late")).ipv4, prefix("10.77.0.65/24"));
}

TEST_F(SharedStoreTest, AnAddressOutsideOfTheBlocksIsRefused) {
    must(store_.add_block(blue_.id, prefix("10.77.0.16/28")));
    EXPECT_ERROR(attach("web", "10.77.0.40/32"), ErrorKind::kConflict, "outside of this node's blocks (10.77.0.16/28)");
    EXPECT_ERROR(attach("web", "10.77.1.1/32"), ErrorKind::kUsage, "outside the subnet");
    EXPECT_EQ(must(attach("web", "10.77.0.20/32")).ipv4, prefix("10.77.0.20/24"));
    const Network own = add("own", "10.78.0.0/24", 8, "");
    EXPECT_TRUE(store_.reserve_address(own.id, address("10.78.0.40"))) << "this node's own network has no blocks";
}

TEST_F(SharedStoreTest, BlocksFitTheNetworkAndDoNotOverlap) {
    EXPECT_TRUE(must(store_.add_block(blue_.id, prefix("10.77.0.16/28"))));
    EXPECT_FALSE(must(store_.add_block(blue_.id, prefix("10.77.0.16/28")))) << "the same again";
    EXPECT_ERROR(store_.add_block(blue_.id, prefix("10.77.0.0/26")), ErrorKind::kConflict, "10.77.0.16/28");
    EXPECT_ERROR(store_.add_block(blue_.id, prefix("10.77.1.0/28")), ErrorKind::kUsage, "outside");
    EXPECT_ERROR(store_.add_block(blue_.id, prefix("10.0.0.0/8")), ErrorKind::kUsage, "outside");
    EXPECT_ERROR(store_.add_block(blue_.id, prefix("10.77.0.33/28")), ErrorKind::kUsage, "host bits");
    EXPECT_ERROR(store_.add_block(blue_.id, prefix("fd77::/120")), ErrorKind::kUsage, "no IPv6 subnet");
    EXPECT_ERROR(store_.add_block(99, prefix("10.77.0.32/28")), ErrorKind::kNotFound, "99");
    must(attach("web"));
    EXPECT_EQ(must(store_.blocks(blue_.id)), (std::vector<OwnBlock>{{prefix("10.77.0.16/28"), 16, 15}}));
    EXPECT_ERROR(store_.remove_block(blue_.id, prefix("10.77.0.16/28")), ErrorKind::kConflict, "'web'");
    must(store_.remove_endpoint(must(store_.find_endpoint("web"))->id));
    EXPECT_TRUE(must(store_.remove_block(blue_.id, prefix("10.77.0.16/28"))));
    EXPECT_FALSE(must(store_.remove_block(blue_.id, prefix("10.77.0.16/28"))));
}

TEST_F(SharedStoreTest, ABlockThatIsWantedIsWantedUntilItComes) {
    EXPECT_FALSE(must(store_.wants_block(blue_.id, Family::kIpv4)));
    ASSERT_TRUE(store_.want_block(blue_.id, Family::kIpv4));
    EXPECT_TRUE(must(store_.wants_block(blue_.id, Family::kIpv4)));
    must(store_.add_block(blue_.id, prefix("10.77.0.16/28")));
    EXPECT_FALSE(must(store_.wants_block(blue_.id, Family::kIpv4)));
}

TEST_F(SharedStoreTest, RecordsOfTwoOwnersStandSideBySide) {
    must(store_.add_peer(address("192.0.2.7"), blue_.id));
    must(put("endpoints/n2/1", "192.0.2.7", "10.77.0.9"));
    const std::vector<Peer> both{{address("192.0.2.7"), blue_.id, 1, Owner::kStatic}, {address("192.0.2.7"), blue_.id, 1, Owner::kEtcd}};
    EXPECT_EQ(must(store_.peers()), both);
    EXPECT_EQ(must(store_.peers_of(blue_.id)).size(), 1U);
    must(store_.remove_peer(address("192.0.2.7"), blue_.id));
    EXPECT_EQ(must(store_.peers()), std::vector{both[1]});
    EXPECT_EQ(must(store_.remote_endpoints()).size(), 1U) << "etcd's is not the administrator's to take";
    EXPECT_ERROR(store_.remove_peer(address("192.0.2.7"), blue_.id), ErrorKind::kConflict, "belongs to the agent");
    EXPECT_ERROR(store_.forget_peer(address("192.0.2.7")), ErrorKind::kConflict, "belongs to the agent");
    EXPECT_ERROR(store_.remove_remote_endpoint(blue_.id, address("10.77.0.9")), ErrorKind::kConflict, "belongs to the agent");
    EXPECT_ERROR(store_.remove_peer(address("192.0.2.7"), std::nullopt), ErrorKind::kNotFound, "no peer");
}

TEST_F(SharedStoreTest, APeerOfTheClusterGoesWithItsLastEndpoint) {
    const RemoteEndpoint first = must(put("endpoints/n2/1", "192.0.2.7", "10.77.0.9"));
    const RemoteEndpoint second = must(put("endpoints/n2/2", "192.0.2.7", "10.77.0.10"));
    EXPECT_EQ(must(store_.nodes_on_network(blue_.id)), std::vector<std::string>{"n2"});
    EXPECT_EQ(must(store_.find_remote_endpoint(Owner::kEtcd, "endpoints/n2/2")), second);
    ASSERT_TRUE(store_.erase_remote_endpoint(first.id));
    ASSERT_TRUE(store_.prune_peer(1, blue_.id));
    EXPECT_EQ(must(store_.peers()).size(), 1U);
    ASSERT_TRUE(store_.erase_remote_endpoint(second.id));
    EXPECT_FALSE(must(store_.family_of_peers(blue_.id))) << "what no endpoint needs does not count";
    ASSERT_TRUE(store_.prune_peer(1, blue_.id));
    EXPECT_TRUE(must(store_.peers()).empty());
    EXPECT_FALSE(must(store_.find_tunnel(address("192.0.2.7"))));
}

TEST_F(SharedStoreTest, WhatTheClusterSaysMustFitThisNode) {
    must(store_.add_block(blue_.id, prefix("10.77.0.16/28")));
    must(attach("web"));
    EXPECT_ERROR(put("a", "192.0.2.7", "10.77.0.16"), ErrorKind::kConflict, "endpoint 'web'");
    EXPECT_ERROR(put("a", "192.0.2.7", "10.77.0.20"), ErrorKind::kConflict, "block of this node");
    EXPECT_ERROR(put("a", "192.0.2.7", "10.77.0.1"), ErrorKind::kConflict, "gateway");
    EXPECT_ERROR(put("a", "192.0.2.7", "10.78.0.9"), ErrorKind::kUsage, "outside the subnet");
    EXPECT_TRUE(must(store_.peers()).empty()) << "what is refused leaves nothing";
    must(put("a", "192.0.2.7", "10.77.0.40"));
    EXPECT_ERROR(put("b", "192.0.2.8", "10.77.0.40"), ErrorKind::kConflict, "behind peer 192.0.2.7");
}

TEST_F(SharedStoreTest, NetworksAreFoundByTheirUidAndRemovalsRemembered) {
    EXPECT_EQ(must(store_.find_network_by_uid("uid-blue")), blue_);
    const Network own = add("own", "10.78.0.0/24", 8, "");
    EXPECT_ERROR(store_.set_network_uid(own.id, "uid-blue"), ErrorKind::kConflict, "'blue'");
    EXPECT_ERROR(store_.set_network_uid(own.id, "a b"), ErrorKind::kUsage, "uid");
    ASSERT_TRUE(store_.set_network_uid(own.id, "uid-own"));
    EXPECT_EQ(must(store_.find_network("own"))->uid, "uid-own");
    ASSERT_TRUE(store_.remember_removed({"u1", "red"}));
    ASSERT_TRUE(store_.remember_removed({"u1", "red"}));
    EXPECT_EQ(must(store_.removed_networks()), (std::vector<RemovedNetwork>{{"u1", "red"}}));
    ASSERT_TRUE(store_.forget_removed("u1"));
    EXPECT_TRUE(must(store_.removed_networks()).empty());
}

TEST_F(SharedStoreTest, ANetworkTakesItsBlocksAndItsRemoteEndpointsWithIt) {
    must(store_.add_block(blue_.id, prefix("10.77.0.16/28")));
    must(put("a", "192.0.2.7", "10.77.0.40"));
    ASSERT_TRUE(store_.remove_network(blue_.id));
    EXPECT_TRUE(must(store_.peers()).empty());
    EXPECT_TRUE(must(store_.remote_endpoints()).empty());
    EXPECT_EQ(must(store_.count_blocks(blue_.id)), 0U);
    EXPECT_TRUE(store_.check_integrity());
}

}  // namespace
}  // namespace fastnet
