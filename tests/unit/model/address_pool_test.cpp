#include "userspace/model/address_pool.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

#include "tests/unit/model/fixed_random.h"

namespace fastnet {
namespace {

IpPrefix prefix(const char* text) {
    return *IpPrefix::parse_interface(text);
}
IpAddress address(const char* text) {
    return *IpAddress::parse(text);
}

/// The used addresses of a network, with a count of the questions asked.
struct Used {
    std::set<IpAddress> addresses;
    int questions = 0;

    NextUsedAddress lookup() {
        return [this](const IpAddress& from, const IpAddress& last) -> Result<std::optional<IpAddress>> {
            ++questions;
            const auto found = addresses.lower_bound(from);
            return found == addresses.end() || *found > last ? std::nullopt : std::optional{*found};
        };
    }
};

Result<IpAddress> pick(const char* subnet, Used& used, std::optional<IpAddress> cursor = {}, std::optional<IpPrefix> ip_range = {}) {
    const std::array ranges{TRY(usable_addresses(prefix(subnet), ip_range))};
    return pick_address(ranges, cursor, used.lookup());
}

TEST(AddressPool, NetworkBroadcastAndGatewayAreNeverPicked) {
    Used used{{address("10.0.0.1")}};  // the gateway
    std::set<IpAddress> picked;
    for (int i = 0; i < 5; ++i) {
        const auto next = pick("10.0.0.0/29", used);
        ASSERT_TRUE(next) << next.error().message;
        used.addresses.insert(*next);
        picked.insert(*next);
    }
    EXPECT_EQ(picked, (std::set{address("10.0.0.2"), address("10.0.0.3"), address("10.0.0.4"), address("10.0.0.5"), address("10.0.0.6")}));
    const auto full = pick("10.0.0.0/29", used);
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().kind, ErrorKind::kConflict);
    EXPECT_NE(full.error().message.find("no free address"), std::string::npos);
}

TEST(AddressPool, AReleasedAddressRestsUntilTheRangeHasGoneRound) {
    Used used{{address("10.0.0.1")}};
    EXPECT_EQ(*pick("10.0.0.0/29", used, address("10.0.0.2")), address("10.0.0.3"));
    EXPECT_EQ(*pick("10.0.0.0/29", used, address("10.0.0.6")), address("10.0.0.2"));
}

TEST(AddressPool, AFullRangeIsFullWhereverTheCursorStands) {
    Used used;
    for (unsigned i = 1; i <= 6; ++i) used.addresses.insert(IpAddress::v4(10, 0, 0, static_cast<std::uint8_t>(i)));
    for (unsigned i = 0; i <= 7; ++i) EXPECT_FALSE(pick("10.0.0.0/29", used, IpAddress::v4(10, 0, 0, static_cast<std::uint8_t>(i))));
}

TEST(AddressPool, TheOnlyFreeAddressIsFoundWhereverTheCursorStands) {
    for (unsigned free = 1; free <= 6; ++free) {
        Used used;
        for (unsigned i = 1; i <= 6; ++i)
            if (i != free) used.addresses.insert(IpAddress::v4(10, 0, 0, static_cast<std::uint8_t>(i)));
        for (unsigned cursor = 0; cursor <= 8; ++cursor)
            EXPECT_EQ(*pick("10.0.0.0/29", used, IpAddress::v4(10, 0, 0, static_cast<std::uint8_t>(cursor))),
                      IpAddress::v4(10, 0, 0, static_cast<std::uint8_t>(free)));
    }
}

TEST(AddressPool, APointToPointSubnetHasTwoHosts) {
    Used used{{address("10.0.0.4")}};
    EXPECT_EQ(*pick("10.0.0.4/31", used), address("10.0.0.5"));
    Used used6{{address("fd00::2")}};
    EXPECT_EQ(*pick("fd00::2/127", used6), address("fd00::3"));
}

TEST(AddressPool, ASingleAddressIsNoSubnet) {
    Used used;
    for (const char* subnet : {"10.0.0.4/32", "fd00::1/128"}) {
        const auto picked = pick(subnet, used);
        ASSERT_FALSE(picked);
        EXPECT_EQ(picked.error().kind, ErrorKind::kUsage);
    }
}

TEST(AddressPool, AnIpRangeIsHonoured) {
    Used used;
    EXPECT_EQ(*pick("10.0.0.0/16", used, {}, prefix("10.0.4.0/24")), address("10.0.4.0"));
    EXPECT_EQ(*pick("10.0.0.0/16", used, address("10.0.4.255"), prefix("10.0.4.0/24")), address("10.0.4.0"));
    EXPECT_EQ(*pick("10.0.0.0/16", used, {}, prefix("10.0.0.0/24")), address("10.0.0.1"));
    EXPECT_FALSE(pick("10.0.0.0/16", used, {}, prefix("10.1.4.0/24")));
    EXPECT_FALSE(pick("10.0.0.0/16", used, {}, prefix("10.0.0.0/8")));
    EXPECT_FALSE(pick("10.0.0.0/16", used, {}, prefix("10.0.0.0/32")));  // the network address alone
    EXPECT_FALSE(pick("10.0.0.0/16", used, {}, prefix("fd00::/64")));
}

TEST(AddressPool, AnIpv6SubnetIsNotWalked) {
    Used used{{address("fd00::1")}};
    for (std::uint64_t i = 2; i < 1002; ++i) used.addresses.insert(address("fd00::").plus(i));
    used.questions = 0;
    EXPECT_EQ(*pick("fd00::/64", used, address("fd00::3e9")), address("fd00::3ea"));
    EXPECT_EQ(used.questions, 1);
    EXPECT_EQ(*pick("fd00::/64", used, address("fd00::ffff:ffff:ffff:ffff")), address("fd00::3ea"));
}

TEST(AddressPool, TheEndOfTheAddressSpaceDoesNotWrapOut) {
    Used used;
    EXPECT_EQ(*pick("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0/124", used, address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
              address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1"));
    EXPECT_EQ(*pick("255.255.255.252/30", used, address("255.255.255.253")), address("255.255.255.254"));
    EXPECT_EQ(*pick("255.255.255.252/30", used, address("255.255.255.254")), address("255.255.255.253"));
}

TEST(AddressPool, SeveralRangesAreWalkedInTurn) {
    const std::array ranges{AddressRange{address("10.0.0.17"), address("10.0.0.18")},
                            AddressRange{address("10.0.0.32"), address("10.0.0.33")},
                            AddressRange{address("10.0.0.64"), address("10.0.0.64")}};
    Used used;
    std::optional<IpAddress> cursor;
    std::vector<std::string> picked;
    for (int i = 0; i < 7; ++i) {
        cursor = *pick_address(ranges, cursor, used.lookup());
        picked.push_back(cursor->to_string());
    }
    EXPECT_EQ(picked,
              (std::vector<std::string>{"10.0.0.17", "10.0.0.18", "10.0.0.32", "10.0.0.33", "10.0.0.64", "10.0.0.17", "10.0.0.18"}));
    EXPECT_EQ(*pick_address(ranges, address("10.0.0.40"), used.lookup()), address("10.0.0.64")) << "a block that went: the next one";
    EXPECT_EQ(*pick_address(ranges, address("10.0.0.99"), used.lookup()), address("10.0.0.17"));
    for (const char* const one : {"10.0.0.32", "10.0.0.33", "10.0.0.64", "10.0.0.17"}) used.addresses.insert(address(one));
    EXPECT_EQ(*pick_address(ranges, address("10.0.0.32"), used.lookup()), address("10.0.0.18"));
    used.addresses.insert(address("10.0.0.18"));
    const auto none = pick_address(ranges, address("10.0.0.32"), used.lookup());
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().kind, ErrorKind::kConflict);
    EXPECT_FALSE(pick_address({}, {}, used.lookup()));
}

TEST(AddressPool, ARangeCountsItsAddresses) {
    EXPECT_EQ((AddressRange{address("10.0.0.1"), address("10.0.0.14")}.size()), 14U);
    EXPECT_EQ((AddressRange{address("fd00::1"), address("fd00::ffff:ffff:ffff")}.size()), 0xffff'ffff'ffffU);
    EXPECT_EQ((AddressRange{address("fd00::"), address("fd01::")}.size()), std::uint64_t{1} << 63U);
}

TEST(AddressPool, AnErrorOfTheLookupComesThrough) {
    const std::array ranges{AddressRange{address("10.0.0.1"), address("10.0.0.6")}};
    const auto picked =
        pick_address(ranges, {}, [](const IpAddress&, const IpAddress&) -> Result<std::optional<IpAddress>> { return failed("disk"); });
    ASSERT_FALSE(picked);
    EXPECT_EQ(picked.error().message, "disk");
}

TEST(SubnetPool, TheFirstFreeSubnetIsPicked) {
    EXPECT_EQ(*pick_subnet(default_ipv4_pools(), {}), prefix("172.30.0.0/16"));
    const std::vector<TakenPrefix> taken{
        {prefix("172.30.4.0/24"), "network 'a'"}, {prefix("0.0.0.0/0"), "default route"}, {prefix("fd00::/8"), "x"}};
    EXPECT_EQ(*pick_subnet(default_ipv4_pools(), taken), prefix("172.29.0.0/16"));
}

TEST(SubnetPool, AHostWithAll172TakenGetsAPieceOf10) {
    std::vector<TakenPrefix> taken{
        {prefix("172.16.0.0/12"), "vpn"}, {prefix("10.201.0.0/24"), "network 'a'"}, {prefix("10.201.1.128/25"), "network 'b'"}};
    EXPECT_EQ(*pick_subnet(default_ipv4_pools(), taken), prefix("10.201.2.0/24"));
    taken.push_back({prefix("10.201.0.0/16"), "vpn"});
    EXPECT_EQ(*pick_subnet(default_ipv4_pools(), taken), prefix("10.202.0.0/24"));
    taken.push_back({prefix("10.0.0.0/8"), "vpn"});
    const auto none = pick_subnet(default_ipv4_pools(), taken);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().kind, ErrorKind::kConflict);
}

TEST(SubnetPool, UlaSubnetsComeFromTheNodesOwnPrefix) {
    const SubnetPool pool = ula_pool({0x12, 0x34, 0x56, 0x78, 0x9a});
    const std::vector<SubnetPool> pools{pool};
    EXPECT_EQ(*pick_subnet(pools, {}), prefix("fd12:3456:789a::/64"));
    std::vector<TakenPrefix> taken{{prefix("fd12:3456:789a::/64"), "network 'a'"}, {prefix("::/0"), "default route"}};
    EXPECT_EQ(*pick_subnet(pools, taken), prefix("fd12:3456:789a:1::/64"));
}

TEST(SubnetPool, PoolsAtTheEndOfTheAddressSpaceRunOut) {
    const std::vector<SubnetPool> pools{{prefix("255.255.255.0/24"), 25}, {prefix("ffff:ffff:ffff::/48"), 64}};
    const std::vector<TakenPrefix> taken{{prefix("255.255.255.0/24"), "a"}, {prefix("ffff:ffff:ffff::/48"), "b"}};
    EXPECT_FALSE(pick_subnet(pools, taken));
}

TEST(SubnetPool, RandomPicksNeverOverlapAndUseThePoolUp) {
    const std::vector<SubnetPool> pools{{prefix("10.9.0.0/20"), 24}};
    FixedRandom random{5};
    for (int round = 0; round < 200; ++round) {
        std::vector<TakenPrefix> taken;
        for (unsigned i = random.below(6); i-- > 0;)
            taken.push_back(
                {IpPrefix{prefix("10.9.0.0/16").address().plus(random.below(8192)), static_cast<std::uint8_t>(20 + random.below(13))}
                     .network(),
                 "x"});
        std::size_t free_blocks = 0;
        for (unsigned block = 0; block < 16; ++block)
            free_blocks += check_subnet_is_free({prefix("10.9.0.0/16").address().plus(block * 256U), 24}, taken) ? 1U : 0U;
        for (std::size_t i = 0; i < free_blocks; ++i) {
            const auto subnet = pick_subnet(pools, taken);
            ASSERT_TRUE(subnet);
            ASSERT_TRUE(check_subnet_is_free(*subnet, taken));
            ASSERT_EQ(*subnet, subnet->network());
            taken.push_back({*subnet, "picked"});
        }
        ASSERT_FALSE(pick_subnet(pools, taken));
    }
}

TEST(SubnetPool, AnExplicitOverlapNamesTheOther) {
    const std::vector<TakenPrefix> taken{{prefix("0.0.0.0/0"), "the default route"}, {prefix("10.1.0.0/16"), "network 'blue'"}};
    const auto inside = check_subnet_is_free(prefix("10.1.2.0/24"), taken);
    ASSERT_FALSE(inside);
    EXPECT_EQ(inside.error().kind, ErrorKind::kConflict);
    EXPECT_EQ(inside.error().message, "subnet 10.1.2.0/24 overlaps 10.1.0.0/16 of network 'blue'");
    EXPECT_FALSE(check_subnet_is_free(prefix("10.0.0.0/8"), taken));
    EXPECT_TRUE(check_subnet_is_free(prefix("10.2.0.0/16"), taken));
    EXPECT_TRUE(check_subnet_is_free(prefix("fd00::/64"), taken));
}

}  // namespace
}  // namespace fastnet
