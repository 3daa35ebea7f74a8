#include "userspace/control/reconcile.h"

#include <gtest/gtest.h>

#include <set>

namespace fastnet {
namespace {

using What = NetworkChange::What;

class ConcernTest : public ::testing::Test {
protected:
    WatchedLinks watched_{{{2, {"eth0", WatchedLinks::Role::kUplink}},
                           {5, {"fn-1-default", WatchedLinks::Role::kBridge}},
                           {6, {"fnx-2", WatchedLinks::Role::kVxlan}},
                           {7, {"fnv-3", WatchedLinks::Role::kEndpoint}},
                           {1, {"lo", WatchedLinks::Role::kLoopback}}},
                          {"eth0", "eth7"}};

    std::string subject_of(What what, IfIndex link, const std::string& name = {}) {
        NetworkChange change;
        change.what = what;
        change.link = link;
        change.name = name;
        const auto concern = concern_of(change, watched_);
        return concern ? concern->subject : "";
    }
};

TEST_F(ConcernTest, LinksOfTheNodeConcernItAndOthersDoNot) {
    EXPECT_EQ(subject_of(What::kLink, 2, "eth0"), "eth0");
    EXPECT_EQ(subject_of(What::kLink, 5, "fn-1-default"), "fn-1-default");
    EXPECT_EQ(subject_of(What::kLink, 7, "fnv-3"), "fnv-3");
    EXPECT_EQ(subject_of(What::kLink, 9, "docker0"), "");
    EXPECT_EQ(subject_of(What::kLink, 10, "veth1a2b"), "");
}

TEST_F(ConcernTest, RenamedLinkIsKnownByItsIndexAndAFreshOneByItsName) {
    EXPECT_EQ(subject_of(What::kLink, 5, "renamed"), "fn-1-default");
    EXPECT_EQ(subject_of(What::kLink, 40, "fn-2-blue"), "fn-2-blue");
    EXPECT_EQ(subject_of(What::kLink, 41, "fnx-9"), "fnx-9");
    EXPECT_EQ(subject_of(What::kLink, 42, "eth7"), "eth7") << "an uplink that comes back";
}

TEST_F(ConcernTest, AddressesAndSettingsConcernBridgesOnly) {
    for (const What what : {What::kAddress, What::kSetting}) {
        EXPECT_EQ(subject_of(what, 5), "fn-1-default");
        EXPECT_EQ(subject_of(what, 2), "") << "an uplink's addresses come and go";
        EXPECT_EQ(subject_of(what, 7), "");
        EXPECT_EQ(subject_of(what, 0), "");
    }
}

TEST_F(ConcernTest, LinkLocalAddressesConcernNobody) {
    NetworkChange change;
    change.what = What::kAddress;
    change.link = 5;
    change.address = *IpPrefix::parse_interface("fe80::66:6eff:fe00:1/64");
    EXPECT_FALSE(concern_of(change, watched_).has_value());
    change.address = *IpPrefix::parse_interface("fd00::1/64");
    EXPECT_TRUE(concern_of(change, watched_).has_value());
}

TEST_F(ConcernTest, ForwardingEntriesConcernVxlanDevicesOnly) {
    EXPECT_EQ(subject_of(What::kForwarding, 6), "fnx-2");
    EXPECT_EQ(subject_of(What::kForwarding, 5), "") << "a bridge learns all day";
    EXPECT_EQ(subject_of(What::kForwarding, 9), "");
}

TEST_F(ConcernTest, FiltersConcernEveryLinkOfTheNode) {
    EXPECT_EQ(subject_of(What::kFilter, 1), "lo");
    EXPECT_EQ(subject_of(What::kFilter, 2), "eth0");
    EXPECT_EQ(subject_of(What::kFilter, 9), "");
}

TEST_F(ConcernTest, DefaultRoutesAreOneSubjectWhateverTheirLink) {
    EXPECT_EQ(subject_of(What::kRoute, 2), "default route");
    EXPECT_EQ(subject_of(What::kRoute, 99), "default route");
}

TEST_F(ConcernTest, WordsSayWhatHappened) {
    NetworkChange change;
    change.what = What::kAddress;
    change.gone = true;
    change.link = 5;
    change.address = *IpPrefix::parse_interface("172.30.0.1/16");
    EXPECT_EQ(concern_of(change, watched_)->what, "address 172.30.0.1/16 of fn-1-default went");
    change.what = What::kLink;
    EXPECT_EQ(concern_of(change, watched_)->what, "link fn-1-default went");
    change.sender = 1;  // there is always one
    EXPECT_NE(concern_of(change, watched_)->what.find(", by pid 1 ("), std::string::npos);
}

TEST(RepairKindTest, EveryKindHasAWordOfItsOwn) {
    std::set<std::string_view> words;
    for (int kind = 0; kind <= static_cast<int>(kLastRepairKind); ++kind) words.insert(to_string(static_cast<RepairKind>(kind)));
    EXPECT_EQ(words.size(), static_cast<std::size_t>(kLastRepairKind) + 1);
    EXPECT_FALSE(words.contains(""));
}

}  // namespace
}  // namespace fastnet
