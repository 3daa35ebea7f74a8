#include "userspace/model/names.h"

#include <gtest/gtest.h>

#include <set>

namespace fastnet {
namespace {

constexpr std::uint32_t kLargestId = 0xffffffff;

TEST(Names, LettersDigitsAndPunctuationBehindTheFirstAreAccepted) {
    for (const char* name : {"a", "web", "Web_1", "0", "a.b-c_d", "9front"}) EXPECT_TRUE(check_name(name, "endpoint")) << name;
    EXPECT_TRUE(check_name(std::string(63, 'x'), "endpoint"));
}

TEST(Names, EverythingElseIsAUsageErrorThatNamesTheKind) {
    for (const std::string& name : {std::string{}, std::string{"-a"}, std::string{".a"}, std::string{"_a"}, std::string{"a b"},
                                    std::string{"a/b"}, std::string{"../x"}, std::string{"a'b"}, std::string{"a\nb"},
                                    std::string{"\xc3\xa4"}, std::string("a\0b", 3), std::string(64, 'x')}) {
        const auto checked = check_name(name, "network");
        ASSERT_FALSE(checked) << name;
        EXPECT_EQ(checked.error().kind, ErrorKind::kUsage);
        EXPECT_EQ(checked.error().message.rfind("network name", 0), 0U) << checked.error().message;
        EXPECT_FALSE(checked.error().hint.empty());
    }
}

TEST(Names, InterfaceNamesFollowTheKernelsRules) {
    for (const char* name : {"eth0", "fn-1-default", "a.b", "123456789012345"}) EXPECT_TRUE(check_ifname(name)) << name;
    for (const char* name : {"", ".", "..", "a/b", "a:b", "a b", "eth%d", "1234567890123456", "\x7f"})
        EXPECT_FALSE(check_ifname(name)) << name;
}

TEST(Names, BridgeNamesFitAnInterfaceAndCarryIdAndName) {
    EXPECT_EQ(bridge_ifname_for(1, "default"), "fn-1-default");
    EXPECT_EQ(bridge_ifname_for(36, "my.net"), "fn-10-my_net");
    EXPECT_EQ(bridge_ifname_for(kLargestId, std::string(63, 'x')).size(), kMaxIfnameLength);
    EXPECT_TRUE(check_ifname(bridge_ifname_for(kLargestId, std::string(63, 'x'))));
}

TEST(Names, BridgeNamesDifferWheneverTheIdDiffers) {
    std::set<std::string> seen;
    for (std::uint32_t id = 1; id <= 3000; ++id)
        for (const char* name : {"a", "1", "0-a", "a-0", "default-network"}) seen.insert(bridge_ifname_for(id, name));
    EXPECT_EQ(seen.size(), 3000U * 5U);
}

TEST(Names, IdsComeBackOutOfDerivedNames) {
    for (const std::uint32_t id : {1U, 35U, 36U, 1024U, kLargestId}) {
        EXPECT_EQ(endpoint_id_of_host_ifname(host_ifname_for(id)), id);
        EXPECT_EQ(network_id_of_bridge_ifname(bridge_ifname_for(id, "blue")), id);
        EXPECT_TRUE(check_ifname(host_ifname_for(id)));
    }
}

TEST(Names, ForeignInterfaceNamesHaveNoId) {
    for (const char* name : {"eth0", "fnv-", "fnv-A", "fnv-01", "fnv-1-2", "fnv-zzzzzzzz", "fnv", "veth1"})
        EXPECT_EQ(endpoint_id_of_host_ifname(name), 0U) << name;
    for (const char* name : {"fn-", "fn-1", "fn--x", "fn-01-x", "fnv-1-x", "br-1-x"})
        EXPECT_EQ(network_id_of_bridge_ifname(name), 0U) << name;
}

}  // namespace
}  // namespace fastnet
