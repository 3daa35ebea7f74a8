#include "userspace/store/store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>

#include "tests/unit/model/fixed_random.h"
#include "tests/unit/store/store_checks.h"
#include "tests/unit/store/temp_dir.h"
#include "userspace/model/port_plan.h"
#include "userspace/store/schema.h"

namespace fastnet {
namespace {

IpPrefix prefix(const char* text) {
    return *IpPrefix::parse_interface(text);
}
IpAddress address(const char* text) {
    return *IpAddress::parse(text);
}
PortRange range(unsigned first, unsigned last) {
    return {Port{static_cast<std::uint16_t>(first)}, Port{static_cast<std::uint16_t>(last)}};
}

Network network(const std::string& name, const char* subnet, const char* gateway) {
    Network wanted;
    wanted.name = name;
    wanted.subnets = {prefix(subnet)};
    wanted.gateways = {address(gateway)};
    return wanted;
}

PublishedPort published(const char* host_ip, unsigned first, unsigned last, Protocol protocol = Protocol::kTcp) {
    PublishedPort port;
    port.host_ip = address(host_ip);
    port.host_ports = range(first, last);
    port.container_ports = range(first, last);
    port.protocol = protocol;
    port.spec = "spec";
    return port;
}

class StoreTest : public testing::Test {
protected:
    StoreTest() : store_{must(Store::open(root()))} {}
    std::filesystem::path root() const { return dir_.path() / "state"; }

    Network add_default() { return must(store_.add_network(network("default", "172.30.0.0/16", "172.30.0.1"))); }
    static Endpoint draft(const std::string& name, std::uint32_t network_id) {
        Endpoint endpoint;
        endpoint.name = name;
        endpoint.network_id = network_id;
        endpoint.netns = name;
        endpoint.netns_id = "4:" + name;
        endpoint.ifname = "eth0";
        return endpoint;
    }
    Endpoint stage(const std::string& name, std::uint32_t network_id, std::vector<PublishedPort> ports = {}) {
        return must(store_.stage_endpoint(draft(name, network_id), std::move(ports)));
    }

    TempDir dir_;
    Store store_;
};

// --- file -------------------------------------------------------------------------------------------------------

TEST_F(StoreTest, TheDirectoryIsMadeForItsOwnerAlone) {
    struct stat info {};
    ASSERT_EQ(::stat(root().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0700U);
    EXPECT_TRUE(std::filesystem::exists(Store::file_in(root())));
}

TEST_F(StoreTest, WhatWasStoredIsThereAfterReopening) {
    const Network blue = add_default();
    ASSERT_TRUE(store_.set_setting(setting::kMaxFlows, "1000"));
    for (const Store::OpenMode mode : {Store::OpenMode::kExisting, Store::OpenMode::kReadOnly, Store::OpenMode::kCreate}) {
        Store again = must(Store::open(root(), mode));
        EXPECT_EQ(must(again.find_network("default")), blue);
        EXPECT_EQ(must(again.setting(setting::kMaxFlows)), "1000");
    }
}

TEST_F(StoreTest, AReaderCannotWrite) {
    Store reader = must(Store::open(root(), Store::OpenMode::kReadOnly));
    EXPECT_FALSE(reader.set_setting("a", "b"));
}

TEST_F(StoreTest, AMissingDatabaseIsNotFoundAndNotMade) {
    const auto empty = dir_.path() / "empty";
    for (const Store::OpenMode mode : {Store::OpenMode::kExisting, Store::OpenMode::kReadOnly})
        EXPECT_ERROR(Store::open(empty, mode), ErrorKind::kNotFound, "open database " + (empty / "fastnet.db").string());
    EXPECT_FALSE(std::filesystem::exists(empty));
}

TEST_F(StoreTest, AnEmptyFileIsNotFoundForAReaderAndFilledByAWriter) {
    const auto other = dir_.path() / "other";
    std::filesystem::create_directory(other);
    std::ofstream{Store::file_in(other)}.flush();
    EXPECT_ERROR(Store::open(other, Store::OpenMode::kReadOnly), ErrorKind::kNotFound, "nothing in it");
    EXPECT_TRUE(Store::open(other));
    EXPECT_TRUE(Store::open(other, Store::OpenMode::kReadOnly));
}

TEST_F(StoreTest, ANewerSchemaIsRefusedAndKept) {
    {
        Database db = must(Database::open(Store::file_in(root()), Database::OpenMode::kExisting));
        ASSERT_TRUE(db.exec("PRAGMA user_version = 99"));
    }
    for (const Store::OpenMode mode : {Store::OpenMode::kCreate, Store::OpenMode::kReadOnly})
        EXPECT_ERROR(Store::open(root(), mode), ErrorKind::kFailed, "its schema has version 99");
}

TEST_F(StoreTest, ACorruptFileCanBeMovedAside) {
    const auto other = dir_.path() / "other";
    std::filesystem::create_directory(other);
    std::ofstream{Store::file_in(other)} << "not a database, but somebody may want to look at it";
    EXPECT_ERROR(Store::open(other), ErrorKind::kFailed, "file is not a database");
    const auto first = must(Store::move_aside(other));
    std::ofstream{Store::file_in(other)} << "again";
    const auto second = must(Store::move_aside(other));
    EXPECT_NE(first, second);
    EXPECT_EQ(std::filesystem::file_size(first), 51U);
    EXPECT_EQ(std::filesystem::file_size(second), 5U);
    EXPECT_TRUE(Store::open(other));
}

TEST_F(StoreTest, RemovingTheFilesLeavesTheDirectoryEmpty) {
    const auto other = dir_.path() / "other";
    { ASSERT_TRUE(must(Store::open(other)).set_setting("a", "b")); }
    ASSERT_TRUE(Store::remove_files(other));
    EXPECT_TRUE(std::filesystem::is_empty(other));
    EXPECT_TRUE(Store::remove_files(other)) << "nothing left to remove is fine";
}

// --- settings, uplinks, sysctls ---------------------------------------------------------------------------------

TEST_F(StoreTest, SettingsAreSetReplacedAndRemoved) {
    EXPECT_EQ(must(store_.setting("a")), std::nullopt);
    ASSERT_TRUE(store_.set_setting("a", "1"));
    ASSERT_TRUE(store_.set_setting("a", "it's \"2\"; --"));
    ASSERT_TRUE(store_.set_setting("b", ""));
    EXPECT_EQ(must(store_.setting("a")), "it's \"2\"; --");
    EXPECT_EQ(must(store_.setting("b")), "");
    ASSERT_TRUE(store_.remove_setting("a"));
    ASSERT_TRUE(store_.remove_setting("a"));
    EXPECT_EQ(must(store_.setting("a")), std::nullopt);
}

TEST_F(StoreTest, UplinksAreListedByName) {
    ASSERT_TRUE(store_.put_uplink({"eth1", true}));
    ASSERT_TRUE(store_.put_uplink({"eth0", false}));
    ASSERT_TRUE(store_.put_uplink({"eth0", true}));
    EXPECT_EQ(must(store_.uplinks()), (std::vector<Uplink>{{"eth0", true}, {"eth1", true}}));
    ASSERT_TRUE(store_.remove_uplink("eth1"));
    EXPECT_ERROR(store_.remove_uplink("eth1"), ErrorKind::kNotFound, "'eth1'");
    EXPECT_ERROR(store_.put_uplink({"no/such", true}), ErrorKind::kUsage, "interface name");
}

TEST_F(StoreTest, TheFirstOriginalValueOfASysctlIsKept) {
    ASSERT_TRUE(store_.save_sysctl({"net/ipv4/ip_local_reserved_ports", "", "2000"}));
    ASSERT_TRUE(store_.save_sysctl({"net/ipv4/ip_local_reserved_ports", "2000", "2000,3000"}));
    ASSERT_TRUE(store_.save_sysctl({"net/ipv4/conf/eth0/forwarding", "0", "1"}));
    EXPECT_EQ(must(store_.sysctls()), (std::vector<SavedSysctl>{{"net/ipv4/conf/eth0/forwarding", "0", "1"},
                                                                {"net/ipv4/ip_local_reserved_ports", "", "2000,3000"}}));
    ASSERT_TRUE(store_.remove_sysctl("net/ipv4/conf/eth0/forwarding"));
    ASSERT_TRUE(store_.remove_sysctl("net/ipv4/conf/eth0/forwarding"));
    EXPECT_EQ(must(store_.sysctls()).size(), 1U);
}

// --- networks ---------------------------------------------------------------------------------------------------

TEST_F(StoreTest, ANetworkComesBackWhole) {
    Network wanted = network("blue", "172.30.0.0/16", "172.30.0.1");
    wanted.subnets.insert(wanted.subnets.begin(), prefix("fd00:1::/64"));  // stored IPv4 first
    wanted.gateways.push_back(address("fd00:1::1"));
    wanted.ip_ranges = {prefix("172.30.4.0/24")};
    wanted.mtu = 1400;
    wanted.internal = true;
    wanted.icc = false;
    wanted.options = {{"com.docker.network.bridge.name", "it's"}, {"b", ""}};
    const Network stored = must(store_.add_network(wanted));
    EXPECT_GT(stored.id, 0U);
    EXPECT_GT(stored.created, 0);
    EXPECT_EQ(stored.bridge, "fn-1-blue");
    EXPECT_EQ(stored.subnets.front(), prefix("172.30.0.0/16"));
    EXPECT_EQ(must(store_.find_network("blue")), stored);
    EXPECT_EQ(must(store_.find_network(stored.id)), stored);
    EXPECT_EQ(must(store_.networks()), std::vector{stored});
    EXPECT_EQ(must(store_.find_network("Blue")), std::nullopt);
    EXPECT_EQ(must(store_.find_network(stored.id + 1)), std::nullopt);
}

TEST_F(StoreTest, EveryDriverCanBeStored) {
    Network overlay = network("o", "10.1.0.0/24", "10.1.0.1");
    overlay.driver = NetworkDriver::kOverlay;
    overlay.vni = 4096;
    Network macvlan = network("m", "10.2.0.0/24", "10.2.0.1");
    macvlan.driver = NetworkDriver::kMacvlan;
    macvlan.parent = "eth0";
    Network ipvlan = network("i", "10.3.0.0/24", "10.3.0.1");
    ipvlan.driver = NetworkDriver::kIpvlan;
    ipvlan.parent = "eth0";
    EXPECT_EQ(must(store_.add_network(overlay)).bridge, "fn-1-o");
    EXPECT_EQ(must(store_.add_network(macvlan)).bridge, "");
    EXPECT_EQ(must(store_.add_network(ipvlan)).bridge, "");
    EXPECT_EQ(must(store_.networks()).at(0).vni, 4096U);
    Network same_vni = network("p", "10.4.0.0/24", "10.4.0.1");
    same_vni.driver = NetworkDriver::kOverlay;
    same_vni.vni = 4096;
    EXPECT_ERROR(store_.add_network(same_vni), ErrorKind::kConflict, "VNI 4096 belongs to network o");
}

TEST_F(StoreTest, NameBridgeAndSubnetOfANetworkAreItsOwn) {
    add_default();
    EXPECT_ERROR(store_.add_network(network("default", "10.0.0.0/24", "10.0.0.1")), ErrorKind::kConflict,
                 "network 'default' exists already");
    EXPECT_ERROR(store_.add_network(network("blue", "172.30.4.0/24", "172.30.4.1")), ErrorKind::kConflict,
                 "overlaps 172.30.0.0/16 of network 'default'");
    Network same_bridge = network("blue", "10.0.0.0/24", "10.0.0.1");
    same_bridge.bridge = "fn-1-default";
    EXPECT_ERROR(store_.add_network(same_bridge), ErrorKind::kConflict, "belongs to network default");
    EXPECT_ERROR(store_.add_network(network("a b", "10.0.0.0/24", "10.0.0.1")), ErrorKind::kUsage, "network name");
    EXPECT_EQ(must(store_.networks()).size(), 1U);
}

TEST_F(StoreTest, UpdatingANetworkChangesWhatMayChange) {
    Network blue = add_default();
    blue.mtu = 9000;
    blue.icc = false;
    blue.internal = true;
    blue.options = {{"k", "v"}};
    ASSERT_TRUE(store_.update_network(blue));
    EXPECT_EQ(must(store_.find_network("default")), blue);
    blue.id = 77;
    EXPECT_ERROR(store_.update_network(blue), ErrorKind::kNotFound, "77");
}

TEST_F(StoreTest, ANetworkWithEndpointsCannotBeRemoved) {
    const Network blue = add_default();
    for (const char* name : {"a", "b", "c", "d", "e"}) stage(name, blue.id);
    EXPECT_ERROR(store_.remove_network(blue.id), ErrorKind::kConflict, "network 'default' has endpoints: a, b, c and 2 more");
    for (const Endpoint& endpoint : must(store_.endpoints())) ASSERT_TRUE(store_.remove_endpoint(endpoint.id));
    ASSERT_TRUE(store_.remove_network(blue.id));
    EXPECT_ERROR(store_.remove_network(blue.id), ErrorKind::kNotFound, "does not exist");
    EXPECT_EQ(must(store_.networks()).size(), 0U);
}

TEST_F(StoreTest, IdsAreNeverUsedAgain) {
    const Network first = add_default();
    const Endpoint a = stage("a", first.id, {published("0.0.0.0", 80, 80)});
    const std::uint32_t port_id = must(store_.ports()).front().id;
    ASSERT_TRUE(store_.remove_endpoint(a.id));
    ASSERT_TRUE(store_.remove_network(first.id));
    const Network second = add_default();
    EXPECT_GT(second.id, first.id);
    EXPECT_GT(stage("a", second.id, {published("0.0.0.0", 80, 80)}).id, a.id);
    EXPECT_GT(must(store_.ports()).front().id, port_id);
}

// --- endpoints --------------------------------------------------------------------------------------------------

TEST_F(StoreTest, AStagedEndpointHasAllThatTheKernelNeeds) {
    const Network blue = add_default();
    Endpoint wanted = draft("web", blue.id);
    wanted.netns_cookie = 0xffff'ffff'ffff'fff1;
    wanted.gateway_priority = -3;
    wanted.mtu = 1500;
    const Endpoint web = must(store_.stage_endpoint(wanted));
    EXPECT_EQ(web.state, EndpointState::kPending);
    EXPECT_EQ(web.ipv4, prefix("172.30.0.2/16"));
    EXPECT_EQ(web.ipv6, std::nullopt);
    EXPECT_EQ(web.gateway4, address("172.30.0.1"));
    EXPECT_EQ(web.mac.to_string(), "02:42:ac:1e:00:02");
    EXPECT_EQ(web.host_ifname, "fnv-1");
    EXPECT_EQ(must(store_.find_endpoint("web")), web);
    EXPECT_EQ(must(store_.find_endpoint(web.id)), web);
    EXPECT_EQ(must(store_.find_endpoint("4:web", "eth0")), web);
    EXPECT_EQ(must(store_.find_endpoint_by_address(blue.id, address("172.30.0.2"))), web);
    EXPECT_EQ(must(store_.endpoints_with_address(address("172.30.0.2"))), std::vector{web});
    EXPECT_EQ(must(store_.endpoints_in_netns("4:web")), std::vector{web});
    EXPECT_EQ(must(store_.endpoints_with_cookie(0xffff'ffff'ffff'fff1)), std::vector{web});
    EXPECT_EQ(must(store_.endpoints_of_network(blue.id)), std::vector{web});
    EXPECT_EQ(must(store_.endpoints()), std::vector{web});
    EXPECT_EQ(must(store_.count_endpoints()), 1);
    EXPECT_EQ(must(store_.find_endpoint("nobody")), std::nullopt);
    EXPECT_EQ(must(store_.find_endpoint("4:web", "eth1")), std::nullopt);
    EXPECT_EQ(must(store_.find_endpoint_by_address(blue.id, address("172.30.0.1"))), std::nullopt) << "the gateway is nobody's endpoint";
}

TEST_F(StoreTest, ADualStackEndpointGetsBothAddresses) {
    Network both = network("both", "10.0.0.0/24", "10.0.0.1");
    both.subnets.push_back(prefix("fd00::/64"));
    both.gateways.push_back(address("fd00::1"));
    const Endpoint web = stage("web", must(store_.add_network(both)).id);
    EXPECT_EQ(web.ipv4, prefix("10.0.0.2/24"));
    EXPECT_EQ(web.ipv6, prefix("fd00::2/64"));
    EXPECT_EQ(web.gateway6, address("fd00::1"));
    EXPECT_EQ(must(store_.find_endpoint("web")), web);
}

TEST_F(StoreTest, AnIpv6OnlyEndpointGetsARandomMac) {
    const Network six = must(store_.add_network(network("six", "fd00::/64", "fd00::1")));
    const Endpoint a = stage("a", six.id);
    const Endpoint b = stage("b", six.id);
    EXPECT_FALSE(a.mac.is_zero());
    EXPECT_NE(a.mac, b.mac);
    EXPECT_EQ(b.ipv6, prefix("fd00::3/64"));
}

TEST_F(StoreTest, AnInternalNetworkGivesNoGateway) {
    Network inside = network("inside", "10.0.0.0/24", "10.0.0.1");
    inside.internal = true;
    EXPECT_EQ(stage("web", must(store_.add_network(inside)).id).gateway4, std::nullopt);
}

TEST_F(StoreTest, ModesWithoutNetworkAreStoredToo) {
    Endpoint host = draft("h", 0);
    host.mode = EndpointMode::kHost;
    host.ifname.clear();
    host.netns_cookie = 1;
    const Endpoint stored = must(store_.stage_endpoint(host));
    EXPECT_EQ(stored.host_ifname, "");
    EXPECT_EQ(must(store_.find_endpoint("h")), stored);
    host.name = "h2";  // several may share the host's namespace
    EXPECT_TRUE(store_.stage_endpoint(host));
    host.name = "h3";
    EXPECT_ERROR(store_.stage_endpoint(host, {published("0.0.0.0", 80, 80)}), ErrorKind::kUsage, "mode host has no published ports");
    host.mode = EndpointMode::kBridge;
    EXPECT_ERROR(store_.stage_endpoint(host), ErrorKind::kNotFound, "network");
}

TEST_F(StoreTest, AModeThatDoesNotFitTheNetworkIsAUsageError) {
    Endpoint wrong = draft("web", add_default().id);
    wrong.mode = EndpointMode::kOverlay;
    EXPECT_ERROR(store_.stage_endpoint(wrong), ErrorKind::kUsage, "mode overlay does not fit network 'default', whose driver is bridge");
    wrong.mode = EndpointMode::kHost;
    EXPECT_ERROR(store_.stage_endpoint(wrong), ErrorKind::kUsage, "mode host has no network");
}

TEST_F(StoreTest, RequestedAddressesAndMacsAreGivenOrRefused) {
    const Network blue = add_default();
    Endpoint wanted = draft("web", blue.id);
    wanted.ipv4 = prefix("172.30.9.9/32");
    wanted.mac = *MacAddress::parse("02:00:00:00:00:07");
    const Endpoint web = must(store_.stage_endpoint(wanted));
    EXPECT_EQ(web.ipv4, prefix("172.30.9.9/16"));
    EXPECT_EQ(web.mac, wanted.mac);

    wanted = draft("db", blue.id);
    wanted.ipv4 = prefix("172.30.9.9/16");
    EXPECT_ERROR(store_.stage_endpoint(wanted), ErrorKind::kConflict,
                 "endpoint 'db': address 172.30.9.9 of network 'default' is taken by endpoint 'web'");
    wanted.ipv4 = prefix("172.30.0.1/16");
    EXPECT_ERROR(store_.stage_endpoint(wanted), ErrorKind::kConflict, "is its gateway");
    wanted.ipv4 = prefix("10.0.0.9/16");
    EXPECT_ERROR(store_.stage_endpoint(wanted), ErrorKind::kUsage, "outside the subnet 172.30.0.0/16");
    wanted.ipv4 = prefix("172.30.255.255/16");
    EXPECT_ERROR(store_.stage_endpoint(wanted), ErrorKind::kUsage, "broadcast");
    wanted.ipv4.reset();
    wanted.ipv6 = prefix("fd00::2/128");
    EXPECT_ERROR(store_.stage_endpoint(wanted), ErrorKind::kUsage, "no IPv6 subnet");
    wanted.ipv6.reset();
    wanted.mac = web.mac;
    EXPECT_ERROR(store_.stage_endpoint(wanted), ErrorKind::kConflict, "MAC 02:00:00:00:00:07 is taken");
    wanted.mac = *MacAddress::parse("01:00:00:00:00:07");
    EXPECT_ERROR(store_.stage_endpoint(wanted), ErrorKind::kUsage, "multicast");
    EXPECT_EQ(must(store_.count_endpoints()), 1);
}

TEST_F(StoreTest, ADerivedMacThatSomebodyAskedForIsReplaced) {
    const Network blue = add_default();
    Endpoint wanted = draft("a", blue.id);
    wanted.ipv4 = prefix("172.30.0.9/16");
    wanted.mac = mac_for(address("172.30.0.2"));
    ASSERT_TRUE(store_.stage_endpoint(wanted));
    const Endpoint b = stage("b", blue.id);
    EXPECT_EQ(b.ipv4, prefix("172.30.0.2/16"));
    EXPECT_NE(b.mac, wanted.mac);
}

TEST_F(StoreTest, AnEndpointNameIsTakenOnce) {
    const Network blue = add_default();
    stage("web", blue.id);
    EXPECT_ERROR(store_.stage_endpoint(draft("web", blue.id)), ErrorKind::kConflict, "endpoint 'web' exists already");
    EXPECT_ERROR(store_.stage_endpoint(draft("it's", blue.id)), ErrorKind::kUsage, "not allowed");
}

TEST_F(StoreTest, AnInterfaceOfANamespaceBelongsToOneEndpoint) {
    const Network blue = add_default();
    Endpoint first = draft("a", blue.id);
    first.netns_cookie = 5;
    ASSERT_TRUE(store_.stage_endpoint(first));
    first.name = "b";
    EXPECT_ERROR(store_.stage_endpoint(first), ErrorKind::kConflict, "interface 'eth0' of namespace 'a' belongs to endpoint 'a'");
    first.ifname = "eth1";
    EXPECT_TRUE(store_.stage_endpoint(first));
}

TEST_F(StoreTest, AnEndpointGoesThroughItsStates) {
    const Network blue = add_default();
    Endpoint web = stage("web", blue.id);
    EXPECT_EQ(must(store_.pending_or_deleting()), std::vector{web});
    web.host_ifindex = 42;
    web.netns_id = "4:4026532000";
    web.netns_cookie = 9;
    web.mtu = 1450;
    ASSERT_TRUE(store_.mark_ready(web));
    web.state = EndpointState::kReady;
    EXPECT_EQ(must(store_.find_endpoint("web")), web);
    EXPECT_TRUE(must(store_.pending_or_deleting()).empty());
    ASSERT_TRUE(store_.mark_deleting(web.id));
    ASSERT_TRUE(store_.mark_deleting(web.id));
    EXPECT_EQ(must(store_.pending_or_deleting()).size(), 1U);
    ASSERT_TRUE(store_.remove_endpoint(web.id));
    EXPECT_ERROR(store_.remove_endpoint(web.id), ErrorKind::kNotFound, "does not exist");
    EXPECT_ERROR(store_.mark_deleting(web.id), ErrorKind::kNotFound, "does not exist");
    EXPECT_ERROR(store_.mark_ready(web), ErrorKind::kNotFound, "does not exist");
}

TEST_F(StoreTest, AFailedStageLeavesNothingBehind) {
    const Network blue = add_default();
    stage("web", blue.id, {published("0.0.0.0", 2000, 2000)});
    EXPECT_ERROR(store_.stage_endpoint(draft("db", blue.id), {published("0.0.0.0", 3000, 3000), published("127.0.0.1", 2000, 2000)}),
                 ErrorKind::kConflict, "endpoint 'web' has 0.0.0.0:2000->2000/tcp");
    EXPECT_EQ(must(store_.count_endpoints()), 1);
    EXPECT_EQ(must(store_.ports()).size(), 1U);
    EXPECT_EQ(stage("db", blue.id).ipv4, prefix("172.30.0.3/16")) << "the address came back";
}

// --- addresses --------------------------------------------------------------------------------------------------

TEST_F(StoreTest, AddressesRestBeforeTheyAreGivenAgain) {
    const Network blue = add_default();
    const Endpoint a = stage("a", blue.id);
    ASSERT_TRUE(store_.remove_endpoint(a.id));
    EXPECT_EQ(stage("b", blue.id).ipv4, prefix("172.30.0.3/16"));
}

TEST_F(StoreTest, ASmallNetworkIsUsedUpAndAddressesComeBack) {
    const Network small = must(store_.add_network(network("small", "10.0.0.0/29", "10.0.0.1")));
    std::vector<Endpoint> all;
    for (const char* name : {"a", "b", "c", "d", "e"}) all.push_back(stage(name, small.id));
    EXPECT_ERROR(store_.stage_endpoint(draft("f", small.id)), ErrorKind::kConflict,
                 "endpoint 'f': network 'small' (10.0.0.0/29): no free address");
    ASSERT_TRUE(store_.remove_endpoint(all[2].id));
    EXPECT_EQ(stage("f", small.id).ipv4, all[2].ipv4);
}

TEST_F(StoreTest, AddressesAreReservedForCallersWithoutEndpoint) {
    const Network blue = add_default();
    EXPECT_EQ(must(store_.allocate_address(blue.id, Family::kIpv4)), prefix("172.30.0.2/16"));
    EXPECT_EQ(must(store_.reserve_address(blue.id, address("172.30.0.3"))), prefix("172.30.0.3/16"));
    EXPECT_ERROR(store_.reserve_address(blue.id, address("172.30.0.3")), ErrorKind::kConflict, "is reserved");
    const Endpoint web = stage("web", blue.id);
    EXPECT_EQ(web.ipv4, prefix("172.30.0.4/16"));
    ASSERT_TRUE(store_.release_address(blue.id, address("172.30.0.3")));
    EXPECT_ERROR(store_.release_address(blue.id, address("172.30.0.3")), ErrorKind::kNotFound, "not reserved");
    EXPECT_ERROR(store_.release_address(blue.id, address("172.30.0.4")), ErrorKind::kNotFound, "not reserved");
    EXPECT_ERROR(store_.release_address(blue.id, address("172.30.0.1")), ErrorKind::kNotFound, "not reserved");
    EXPECT_ERROR(store_.allocate_address(blue.id, Family::kIpv6), ErrorKind::kUsage, "no IPv6 subnet");
    EXPECT_ERROR(store_.allocate_address(99, Family::kIpv4), ErrorKind::kNotFound, "99");
}

TEST_F(StoreTest, AThousandEndpointsHaveAThousandAddresses) {
    const Network blue = add_default();
    std::set<IpAddress> addresses;
    Transaction transaction = must(store_.begin());
    for (int i = 0; i < 1100; ++i) addresses.insert(stage("ep" + std::to_string(i), blue.id).ipv4->address());
    ASSERT_TRUE(transaction.commit());
    EXPECT_EQ(addresses.size(), 1100U);
    EXPECT_EQ(must(store_.count_endpoints()), 1100);
    EXPECT_EQ(addresses.count(address("172.30.0.1")), 0U);
}

TEST_F(StoreTest, RandomAttachAndDetachNeverGivesAnAddressTwice) {
    const Network small = must(store_.add_network(network("small", "10.0.0.0/27", "10.0.0.1")));
    FixedRandom random{31};
    std::vector<Endpoint> live;
    Transaction transaction = must(store_.begin());
    for (int i = 0; i < 1500; ++i) {
        if (!live.empty() && (random.below(2) == 0 || live.size() == 29)) {
            const auto victim = live.begin() + random.below(static_cast<unsigned>(live.size()));
            ASSERT_TRUE(store_.remove_endpoint(victim->id));
            live.erase(victim);
            continue;
        }
        const Endpoint added = stage("ep" + std::to_string(i), small.id);
        for (const Endpoint& other : live) ASSERT_NE(other.ipv4, added.ipv4);
        live.push_back(added);
    }
}

TEST_F(StoreTest, TheSchemaItselfRefusesADoubleAddressNameOrMac) {
    const Network blue = add_default();
    const Endpoint a = stage("a", blue.id);
    const Endpoint b = stage("b", blue.id);
    Database db = must(Database::open(Store::file_in(root()), Database::OpenMode::kExisting));
    const std::string id = std::to_string(b.id);
    for (const std::string& sql :
         {"UPDATE endpoints SET name = 'a' WHERE id = " + id,
          std::string{"UPDATE networks SET name = 'a'; INSERT INTO networks SELECT 9, name, driver, mtu, internal, icc, vni, parent, 'x', "
                      "created, NULL FROM networks"},
          "UPDATE addresses SET address = (SELECT address FROM addresses WHERE endpoint_id = 1) WHERE endpoint_id = " + id,
          "UPDATE endpoints SET mac = (SELECT mac FROM endpoints WHERE id = 1) WHERE id = " + id}) {
        const auto changed = db.exec(sql);
        ASSERT_FALSE(changed) << sql;
        EXPECT_EQ(changed.error().kind, ErrorKind::kConflict) << changed.error().message;
    }
    EXPECT_FALSE(db.exec("DELETE FROM networks WHERE id = " + std::to_string(blue.id))) << "endpoints hold it";
}

// --- published ports --------------------------------------------------------------------------------------------

TEST_F(StoreTest, PublishedPortsComeBackWholeAndGoWithTheirEndpoint) {
    const Network blue = add_default();
    const Endpoint web = stage("web", blue.id);
    PublishedPort wide = published("0.0.0.0", 20000, 29999, Protocol::kUdp);
    wide.sources.allow = {prefix("10.0.0.0/8"), prefix("2001:db8::/32"), prefix("10.0.0.0/8")};
    wide.sources.deny = {prefix("10.9.0.0/16")};
    const auto added = must(store_.add_ports(web.id, {published("::", 2000, 2000), wide}));
    ASSERT_EQ(added.size(), 2U);
    EXPECT_EQ(added[1].endpoint_id, web.id);
    EXPECT_EQ(added[1].sources.allow.size(), 2U);
    EXPECT_EQ(must(store_.ports()), added);
    EXPECT_EQ(must(store_.ports_of(web.id)), added);
    EXPECT_TRUE(must(store_.ports_of(web.id + 1)).empty());
    ASSERT_TRUE(store_.remove_port(added[0].id));
    EXPECT_ERROR(store_.remove_port(added[0].id), ErrorKind::kNotFound, "does not exist");
    EXPECT_ERROR(store_.add_ports(99, {published("0.0.0.0", 1, 1)}), ErrorKind::kNotFound, "99");
    ASSERT_TRUE(store_.remove_endpoint(web.id));
    EXPECT_TRUE(must(store_.ports()).empty());
    EXPECT_TRUE(store_.check_integrity());
}

TEST_F(StoreTest, SeveralPortsArePublishedTogetherOrNotAtAll) {
    const Endpoint web = stage("web", add_default().id);
    EXPECT_ERROR(store_.add_ports(web.id, {published("0.0.0.0", 80, 80), published("0.0.0.0", 70, 90)}), ErrorKind::kConflict,
                 "endpoint 'web' has");
    EXPECT_TRUE(must(store_.ports()).empty());
}

TEST_F(StoreTest, PortZeroAndUnequalRangesNeverGetIn) {
    const Endpoint web = stage("web", add_default().id);
    EXPECT_FALSE(store_.add_ports(web.id, {published("0.0.0.0", 0, 80)}));
    PublishedPort unequal = published("0.0.0.0", 80, 90);
    unequal.container_ports = range(80, 85);
    EXPECT_FALSE(store_.add_ports(web.id, {unequal}));
    EXPECT_TRUE(must(store_.ports()).empty());
}

TEST_F(StoreTest, TheOverlapQueryAgreesWithTheModelsRule) {
    const Endpoint web = stage("web", add_default().id);
    constexpr const char* kHosts[] = {"0.0.0.0", "127.0.0.1", "127.0.0.2", "::", "::1"};
    constexpr Protocol kProtocols[] = {Protocol::kTcp, Protocol::kUdp};
    FixedRandom random{41};
    const auto random_port = [&] {
        const unsigned first = 1 + random.below(400);
        return published(kHosts[random.below(5)], first, first + random.below(12), kProtocols[random.below(2)]);
    };
    Transaction transaction = must(store_.begin());
    std::vector<PublishedPort> all;
    for (int i = 0; i < 3000; ++i) {
        const PublishedPort probe = random_port();
        std::vector<std::uint32_t> expected;
        for (const PublishedPort& other : all)
            if (ports_collide(probe, other)) expected.push_back(other.id);
        std::vector<std::uint32_t> found;
        for (const PublishedPort& other : must(store_.ports_overlapping(probe.host_ip, probe.protocol, probe.host_ports)))
            found.push_back(other.id);
        std::sort(expected.begin(), expected.end());
        std::sort(found.begin(), found.end());
        ASSERT_EQ(found, expected) << probe.to_string();

        const auto obstacle = must(store_.port_obstacle(std::vector{probe.host_ip}, probe.protocol, probe.host_ports));
        ASSERT_EQ(obstacle.has_value(), !expected.empty());
        if (obstacle) {
            ASSERT_TRUE(obstacle->overlaps(probe.host_ports));
        }
        auto added = store_.add_ports(web.id, {probe});
        ASSERT_EQ(added.has_value(), expected.empty());
        if (added) all.push_back(added->front());
        if (all.size() > 60) {  // keep it half full
            const auto victim = all.begin() + random.below(static_cast<unsigned>(all.size()));
            ASSERT_TRUE(store_.remove_port(victim->id));
            all.erase(victim);
        }
    }
}

TEST_F(StoreTest, AFreeHostPortIsChosenThroughTheStore) {
    const Endpoint web = stage("web", add_default().id);
    must(store_.add_ports(web.id, {published("0.0.0.0", 8000, 8003), published("::", 8004, 8004)}));
    const std::vector<IpAddress> both{IpAddress::any(Family::kIpv4), IpAddress::any(Family::kIpv6)};
    const PortObstacle obstacle = [&](const PortRange& wanted) { return store_.port_obstacle(both, Protocol::kTcp, wanted); };
    EXPECT_EQ(*choose_host_ports(range(8000, 8010), 1, Port{8000}, obstacle), range(8005, 8005));
}

// --- boots ------------------------------------------------------------------------------------------------------

class PeerTest : public StoreTest {
protected:
    PeerTest() : blue_{add_overlay("blue", "10.77.0.0/24", "10.77.0.1", 7)}, red_{add_overlay("red", "10.78.0.0/24", "10.78.0.1", 8)} {}
    Network add_overlay(const std::string& name, const char* subnet, const char* gateway, std::uint32_t vni) {
        Network wanted = network(name, subnet, gateway);
        wanted.driver = NetworkDriver::kOverlay;
        wanted.vni = vni;
        return must(store_.add_network(wanted));
    }
    static RemoteEndpoint remote(std::uint32_t network_id, const char* peer, const char* ipv4, const char* mac = "02:42:0a:4d:00:09") {
        RemoteEndpoint wanted;
        wanted.network_id = network_id;
        wanted.peer = address(peer);
        wanted.ipv4 = address(ipv4);
        wanted.mac = *MacAddress::parse(mac);
        return wanted;
    }
    Endpoint attach(const std::string& name, const char* ip = nullptr) {
        Endpoint endpoint = draft(name, blue_.id);
        endpoint.mode = EndpointMode::kOverlay;
        if (ip != nullptr) endpoint.ipv4 = prefix(ip);
        return must(store_.stage_endpoint(endpoint));
    }
    std::vector<std::uint32_t> tunnels() {
        std::vector<std::uint32_t> found;
        for (const Peer& peer : must(store_.peers())) found.push_back(peer.tunnel);
        return found;
    }
    Network blue_, red_;
};

TEST_F(PeerTest, IsStoredOnceForEachNetworkAndForAll) {
    EXPECT_TRUE(must(store_.add_peer(address("192.0.2.7"), blue_.id)));
    EXPECT_FALSE(must(store_.add_peer(address("192.0.2.7"), blue_.id)));
    EXPECT_TRUE(must(store_.add_peer(address("192.0.2.7"), std::nullopt)));
    EXPECT_FALSE(must(store_.add_peer(address("192.0.2.7"), std::nullopt)));
    EXPECT_TRUE(must(store_.add_peer(address("2001:db8::8"), red_.id)));
    const std::vector<Peer> wanted{
        {address("192.0.2.7"), std::nullopt, 1}, {address("192.0.2.7"), blue_.id, 1}, {address("2001:db8::8"), red_.id, 2}};
    EXPECT_EQ(must(store_.peers()), wanted);
}

TEST_F(PeerTest, OfNoNetworkOrABridgeOrWithAnUnfitAddressIsRefused) {
    EXPECT_ERROR(store_.add_peer(address("192.0.2.7"), 99), ErrorKind::kNotFound, "99");
    const Network bridge = add_default();
    EXPECT_ERROR(store_.add_peer(address("192.0.2.7"), bridge.id), ErrorKind::kUsage, "driver bridge");
    EXPECT_ERROR(store_.add_peer(address("127.0.0.1"), blue_.id), ErrorKind::kUsage, "loopback");
    EXPECT_TRUE(must(store_.peers()).empty());
}

TEST_F(PeerTest, KeepsItsTunnelAndGivesItBack) {
    for (const char* const peer : {"192.0.2.1", "192.0.2.2", "192.0.2.3"}) must(store_.add_peer(address(peer), blue_.id));
    EXPECT_EQ(tunnels(), (std::vector<std::uint32_t>{1, 2, 3}));
    must(store_.remove_peer(address("192.0.2.2"), blue_.id));
    EXPECT_EQ(tunnels(), (std::vector<std::uint32_t>{1, 3}));
    must(store_.add_peer(address("192.0.2.4"), std::nullopt));
    EXPECT_EQ(tunnels(), (std::vector<std::uint32_t>{1, 2, 3})) << "the smallest that is free";
    must(store_.forget_peer(address("192.0.2.1")));
    must(store_.add_peer(address("192.0.2.5"), red_.id));
    EXPECT_EQ(tunnels(), (std::vector<std::uint32_t>{1, 2, 3}));
}

TEST_F(PeerTest, GoesFromOneNetworkOrFromAll) {
    for (const auto network_id : {std::optional<std::uint32_t>{}, std::optional{blue_.id}, std::optional{red_.id}})
        must(store_.add_peer(address("192.0.2.7"), network_id));
    must(store_.remove_peer(address("192.0.2.7"), blue_.id));
    EXPECT_EQ(must(store_.peers()).size(), 2U);
    EXPECT_ERROR(store_.remove_peer(address("192.0.2.7"), blue_.id), ErrorKind::kNotFound, "network 'blue'");
    must(store_.remove_peer(address("192.0.2.7"), std::nullopt));
    EXPECT_EQ(must(store_.peers()), (std::vector<Peer>{{address("192.0.2.7"), red_.id, 1}}));
    EXPECT_ERROR(store_.remove_peer(address("192.0.2.7"), std::nullopt), ErrorKind::kNotFound, "all networks");
    must(store_.add_peer(address("192.0.2.7"), std::nullopt));
    must(store_.forget_peer(address("192.0.2.7")));
    EXPECT_TRUE(must(store_.peers()).empty());
    EXPECT_ERROR(store_.forget_peer(address("192.0.2.7")), ErrorKind::kNotFound, "192.0.2.7");
}

TEST_F(PeerTest, RemoteEndpointComesBackWholeAndTheSameAgainIsTheSame) {
    must(store_.add_peer(address("192.0.2.7"), std::nullopt));
    const RemoteEndpoint stored = must(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.77.0.9")));
    EXPECT_NE(stored.id, 0U);
    EXPECT_EQ(stored.tunnel, 1U);
    EXPECT_EQ(must(store_.remote_endpoints()), std::vector{stored});
    EXPECT_EQ(must(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.77.0.9"))), stored);
    EXPECT_EQ(must(store_.remote_endpoints()).size(), 1U);
    EXPECT_ERROR(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.77.0.9", "02:00:00:00:00:09")), ErrorKind::kConflict,
                 "behind peer 192.0.2.7");
    must(store_.remove_remote_endpoint(blue_.id, address("10.77.0.9")));
    EXPECT_ERROR(store_.remove_remote_endpoint(blue_.id, address("10.77.0.9")), ErrorKind::kNotFound, "10.77.0.9");
}

TEST_F(PeerTest, RemoteEndpointNeedsAPeerAndAnAddressOfTheNetwork) {
    EXPECT_ERROR(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.77.0.9")), ErrorKind::kNotFound, "no peer");
    must(store_.add_peer(address("192.0.2.7"), red_.id));
    EXPECT_ERROR(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.77.0.9")), ErrorKind::kNotFound, "network 'blue'");
    must(store_.add_peer(address("192.0.2.7"), blue_.id));
    EXPECT_ERROR(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.79.0.9")), ErrorKind::kUsage, "outside");
    EXPECT_ERROR(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.77.0.255")), ErrorKind::kUsage, "broadcast");
    EXPECT_ERROR(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "fd00::9")), ErrorKind::kUsage, "no IPv6 subnet");
    EXPECT_ERROR(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.77.0.1")), ErrorKind::kConflict, "gateway");
    EXPECT_TRUE(must(store_.remote_endpoints()).empty());
}

TEST_F(PeerTest, LocalAndRemoteEndpointsHaveDifferentAddressesAndMacs) {
    must(store_.add_peer(address("192.0.2.7"), std::nullopt));
    const Endpoint web = attach("web", "10.77.0.2/32");
    EXPECT_ERROR(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.77.0.2")), ErrorKind::kConflict, "endpoint 'web'");
    EXPECT_ERROR(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.77.0.9", web.mac.to_string().c_str())), ErrorKind::kConflict,
                 "endpoint 'web'");
    must(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.77.0.3", "02:42:0a:4d:00:04")));
    EXPECT_EQ(attach("next").ipv4, prefix("10.77.0.4/24")) << "10.77.0.3 is not picked";
    EXPECT_NE(must(store_.find_endpoint("next"))->mac, *MacAddress::parse("02:42:0a:4d:00:04"));
    Endpoint wanted = draft("wanted", blue_.id);
    wanted.mode = EndpointMode::kOverlay;
    wanted.ipv4 = prefix("10.77.0.3/32");
    EXPECT_ERROR(store_.stage_endpoint(wanted), ErrorKind::kConflict, "remote endpoint behind peer 192.0.2.7");
    wanted.ipv4 = prefix("10.77.0.30/32");
    wanted.mac = *MacAddress::parse("02:42:0a:4d:00:04");
    EXPECT_ERROR(store_.stage_endpoint(wanted), ErrorKind::kConflict, "MAC");
    must(store_.add_peer(address("192.0.2.8"), std::nullopt));
    EXPECT_ERROR(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.8", "10.77.0.9", "02:42:0a:4d:00:04")), ErrorKind::kConflict,
                 "behind peer 192.0.2.7");
    must(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.77.0.9", "02:42:0a:4d:00:04")));
}

TEST_F(PeerTest, RemoteEndpointsGoWithTheLastRecordThatCoversThem) {
    must(store_.add_peer(address("192.0.2.7"), std::nullopt));
    must(store_.add_peer(address("192.0.2.7"), blue_.id));
    must(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.77.0.9")));
    must(store_.add_remote_endpoint(remote(red_.id, "192.0.2.7", "10.78.0.9")));
    must(store_.remove_peer(address("192.0.2.7"), blue_.id));
    EXPECT_EQ(must(store_.remote_endpoints()).size(), 2U) << "the record of all networks covers both";
    must(store_.add_peer(address("192.0.2.7"), red_.id));
    must(store_.remove_peer(address("192.0.2.7"), std::nullopt));
    ASSERT_EQ(must(store_.remote_endpoints()).size(), 1U) << "that of blue is gone";
    must(store_.forget_peer(address("192.0.2.7")));
    EXPECT_TRUE(must(store_.remote_endpoints()).empty());
    EXPECT_EQ(attach("web", "10.77.0.9/32").ipv4, prefix("10.77.0.9/24")) << "the address is free";
}

TEST_F(PeerTest, NetworkTakesItsPeersAndRemoteEndpointsWithIt) {
    must(store_.add_peer(address("192.0.2.7"), blue_.id));
    must(store_.add_peer(address("192.0.2.8"), std::nullopt));
    must(store_.add_remote_endpoint(remote(blue_.id, "192.0.2.7", "10.77.0.9")));
    must(store_.add_remote_endpoint(remote(red_.id, "192.0.2.8", "10.78.0.9")));
    must(store_.remove_network(blue_.id));
    EXPECT_EQ(must(store_.peers()), (std::vector<Peer>{{address("192.0.2.8"), std::nullopt, 2}}));
    ASSERT_EQ(must(store_.remote_endpoints()).size(), 1U);
    must(store_.add_peer(address("192.0.2.9"), red_.id));
    EXPECT_EQ(tunnels(), (std::vector<std::uint32_t>{1, 2}));
}

TEST_F(PeerTest, RandomChangesNeverGiveAnAddressOrATunnelTwice) {
    FixedRandom random{57};
    const auto some_ip = [&] { return address("10.77.0.0").plus(random.below(12)); };
    const auto some_peer = [&] { return address("192.0.2.1").plus(random.below(6)); };
    const auto some_network = [&] {
        return random.below(2) == 0 ? std::optional<std::uint32_t>{} : std::optional{random.below(2) == 0 ? blue_.id : red_.id};
    };
    unsigned ordinal = 0;
    for (int round = 0; round < 1500; ++round) {
        switch (random.below(6)) {
            case 0: (void)store_.add_peer(some_peer(), some_network()); break;
            case 1: (void)store_.remove_peer(some_peer(), some_network()); break;
            case 2:
            case 3: {
                RemoteEndpoint wanted = remote(blue_.id, "192.0.2.1", "10.77.0.2");
                wanted.peer = some_peer();
                wanted.ipv4 = some_ip();
                wanted.mac = mac_for(some_ip());
                (void)store_.add_remote_endpoint(wanted);
                break;
            }
            case 4: (void)store_.remove_remote_endpoint(blue_.id, some_ip()); break;
            default: {
                const auto present = must(store_.endpoints());
                if (present.size() > 4) {
                    must(store_.remove_endpoint(present.front().id));
                    break;
                }
                Endpoint wanted = draft("e" + std::to_string(++ordinal), blue_.id);
                wanted.mode = EndpointMode::kOverlay;
                if (random.below(2) == 0) wanted.ipv4 = IpPrefix{some_ip(), 32};
                (void)store_.stage_endpoint(wanted);
            }
        }
        std::set<IpAddress> used{address("10.77.0.1")};
        std::set<MacAddress> local_macs;
        for (const Endpoint& endpoint : must(store_.endpoints())) {
            ASSERT_TRUE(used.insert(endpoint.ipv4->address()).second) << round;
            local_macs.insert(endpoint.mac);
        }
        const std::vector<Peer> peers = must(store_.peers());
        for (const RemoteEndpoint& one : must(store_.remote_endpoints())) {
            ASSERT_TRUE(used.insert(*one.ipv4).second) << round;
            ASSERT_FALSE(local_macs.contains(one.mac)) << round;
            ASSERT_TRUE(std::any_of(peers.begin(), peers.end(), [&](const Peer& peer) {
                return peer.tunnel == one.tunnel && peer.address == one.peer && (!peer.network_id || *peer.network_id == blue_.id);
            })) << round;
        }
        std::map<std::uint32_t, IpAddress> by_tunnel;
        for (const Peer& peer : peers) ASSERT_EQ(by_tunnel.emplace(peer.tunnel, peer.address).first->second, peer.address) << round;
        ASSERT_LE(by_tunnel.size(), 6U);
        ASSERT_TRUE(by_tunnel.empty() || by_tunnel.rbegin()->first <= 6) << "small indexes are used again";
    }
}

TEST_F(StoreTest, TheDenyListHasEachPrefixOnceAndKnowsWhatCoversWhat) {
    EXPECT_FALSE(must(store_.has_denied()));
    for (const char* text : {"2001:db8::/32", "10.0.0.0/8", "10.1.0.0/16"}) EXPECT_TRUE(must(store_.add_denied(prefix(text)))) << text;
    EXPECT_FALSE(must(store_.add_denied(prefix("10.0.0.0/8")))) << "it is there";
    EXPECT_TRUE(must(store_.has_denied()));
    EXPECT_EQ(must(store_.count_denied()), 3U);
    EXPECT_EQ(must(store_.denied()), (std::vector{prefix("10.0.0.0/8"), prefix("10.1.0.0/16"), prefix("2001:db8::/32")}));
    EXPECT_TRUE(must(store_.denies_around(prefix("10.1.0.0/16"))));
    EXPECT_FALSE(must(store_.denies_around(prefix("10.0.0.0/8")))) << "not by itself";
    EXPECT_TRUE(must(store_.denies_within(prefix("10.0.0.0/8"))));
    EXPECT_FALSE(must(store_.denies_within(prefix("10.1.0.0/16"))));
    EXPECT_FALSE(must(store_.denies_within(prefix("11.0.0.0/8"))));
    for (const IpPrefix& one : must(store_.denied())) EXPECT_TRUE(must(store_.remove_denied(one)));
    EXPECT_FALSE(must(store_.remove_denied(prefix("10.0.0.0/8")))) << "it is not there";
    EXPECT_FALSE(must(store_.has_denied()));
}

TEST_F(StoreTest, ANewBootForgetsWhatTheKernelForgot) {
    const Network blue = add_default();
    stage("web", blue.id, {published("0.0.0.0", 80, 80)});
    ASSERT_TRUE(store_.save_sysctl({"a", "0", "1"}));
    ASSERT_TRUE(store_.put_uplink({"eth0", true}));
    must(store_.reserve_address(blue.id, address("172.30.7.7")));
    ASSERT_TRUE(store_.start_boot("boot-2"));
    EXPECT_EQ(must(store_.setting(setting::kBootId)), "boot-2");
    EXPECT_TRUE(must(store_.endpoints()).empty());
    EXPECT_TRUE(must(store_.ports()).empty());
    EXPECT_TRUE(must(store_.sysctls()).empty());
    EXPECT_EQ(must(store_.uplinks()).size(), 1U);
    EXPECT_EQ(must(store_.networks()), std::vector{blue});
    EXPECT_FALSE(store_.reserve_address(blue.id, address("172.30.7.7"))) << "a caller's reservation is not of this boot";
    EXPECT_FALSE(store_.reserve_address(blue.id, address("172.30.0.1"))) << "the gateway's stays";
    EXPECT_TRUE(store_.check_integrity());
}

}  // namespace
}  // namespace fastnet
