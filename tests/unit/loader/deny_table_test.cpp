#include "loader/deny_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>

namespace fastnet {
namespace {

/// A table in plain memory, and the lookup of bpf/lib/deny.h, which tests/bpf/deny_test.cpp compares with the real one.
class Memory {
public:
    explicit Memory(unsigned bits, std::array<std::uint64_t, 2> factors = {0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f})
        : bits_{bits},
          factors_{factors},
          rows_(FNET_DENY_BLOCK_ROWS),
          nodes_(DenyTable::places(bits)),
          table_{rows_, nodes_, bits, factors} {}

    DenyTable& table() { return table_; }
    bool denies(const IpAddress& address) const { return address.family() == Family::kIpv4 ? denies_ipv4(address) : denies_ipv6(address); }
    std::size_t used() const {
        return static_cast<std::size_t>(std::count_if(
            nodes_.begin(), nodes_.end(), [](const fnet_deny_node& node) { return node.low != 0 && node.low != FNET_DENY_GONE; }));
    }
    /// Those that a search passes, of a node or of one that is gone.
    std::size_t passed() const {
        return static_cast<std::size_t>(
            std::count_if(nodes_.begin(), nodes_.end(), [](const fnet_deny_node& node) { return node.low != 0; }));
    }
    bool rows_are_empty() const {
        return std::all_of(rows_.begin(), rows_.end(), [](const fnet_deny_blocks& row) {
            return std::all_of(std::begin(row.states), std::end(row.states), [](std::uint64_t word) { return word == 0; });
        });
    }

private:
    const fnet_deny_node* find(std::uint64_t high, std::uint64_t low) const {
        const std::size_t home = (high * factors_[0] + low * factors_[1]) >> (64 - bits_);
        for (std::size_t i = home; i < home + FNET_DENY_PROBES && nodes_[i].low != 0; ++i)
            if (nodes_[i].low == low && nodes_[i].high == high) return &nodes_[i];
        return nullptr;
    }
    static bool bit(const fnet_deny_node& node, std::uint64_t value) { return (node.bits[value >> 6U & 3U] >> (value & 63U) & 1U) != 0; }
    bool denies_ipv4(const IpAddress& address) const {
        const std::uint32_t v4 = address.v4_host_order();
        const std::uint32_t block = v4 >> 8U & 0xffU;
        const std::uint64_t state = rows_[v4 >> 16U].states[block / 32] >> (block % 32 * 2) & 3U;
        if (state != FNET_DENY_SOME) return state == FNET_DENY_ALL;
        const fnet_deny_node* node = find(0, 0xffff00000000 | (v4 & ~0xffU) | 16U);
        return node != nullptr && bit(*node, v4 & 0xffU);
    }
    bool denies_ipv6(const IpAddress& address) const {
        std::uint64_t words[2]{};
        for (std::size_t i = 0; i < 16; ++i) words[i / 8] = words[i / 8] << 8U | address.bytes()[i];
        const auto used = static_cast<unsigned>(table_.tables() >> FNET_DENY_LEVELS_SHIFT & 0xffffU);
        unsigned level = FNET_DENY_ROOT;
        unsigned steps = 0;
        for (; (used & fnet_deny_tree[level].reach) != 0; ++steps) {
            const fnet_deny_turn& turn = fnet_deny_tree[level];
            if ((used & 1U << level) == 0 && (used & fnet_deny_tree[turn.longer].reach) == 0) {
                level = turn.shorter;
                continue;
            }
            if ((used & 1U << level) == 0 && (used & fnet_deny_tree[turn.shorter].reach) == 0) {
                level = turn.longer;
                continue;
            }
            const std::uint64_t kept = ~(~std::uint64_t{0} >> (level % 8 * 8));
            const fnet_deny_node* node = level < 8 ? find(words[0] & kept, level + 1) : find(words[0], (words[1] & kept) | (level + 1));
            if (node != nullptr && bit(*node, address.bytes()[level])) return true;
            level = node != nullptr ? turn.longer : turn.shorter;
        }
        EXPECT_LE(steps, static_cast<unsigned>(FNET_DENY_DEPTH));
        return false;
    }

    unsigned bits_;
    std::array<std::uint64_t, 2> factors_;
    std::vector<fnet_deny_blocks> rows_;
    std::vector<fnet_deny_node> nodes_;
    DenyTable table_;
};

IpAddress address(const char* text) {
    return *IpAddress::parse(text);
}
IpPrefix prefix(const char* text) {
    return *IpPrefix::parse(text);
}

/// Addresses that share many leading bits, so that prefixes fall into one another.
class Dice {
public:
    explicit Dice(unsigned seed) : random_{seed} {}
    unsigned below(unsigned bound) { return std::uniform_int_distribution<unsigned>{0, bound - 1}(random_); }
    IpAddress address(Family family) {
        if (family == Family::kIpv4) {
            std::uint32_t v4 = 0x0a000000;
            for (unsigned shift = 0; shift < 24; shift += 8) v4 |= few() << shift;
            return IpAddress::v4_from_host(below(20) == 0 ? static_cast<std::uint32_t>(random_()) : v4);
        }
        std::array<std::uint8_t, 16> bytes{0x20, 0x01, 0x0d, 0xb8};
        for (std::size_t i = below(20) == 0 ? 0 : 4; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(few());
        return IpAddress::from_bytes(bytes);
    }
    IpPrefix prefix(Family family) {
        const unsigned most = family == Family::kIpv4 ? 32 : 128;
        const unsigned usual = family == Family::kIpv4 ? 24 : 64;
        const unsigned length = below(3) == 0 ? usual : below(3) == 0 ? most : below(10) == 0 ? below(most + 1) : 20 + below(most - 19);
        return IpPrefix{address(family), static_cast<std::uint8_t>(length)}.network();
    }

private:
    unsigned few() { return below(4) == 0 ? below(256) : below(3); }
    std::mt19937 random_;
};

bool covered(const std::vector<IpPrefix>& prefixes, const IpAddress& address) {
    return std::any_of(prefixes.begin(), prefixes.end(), [&](const IpPrefix& one) { return one.contains(address); });
}

void expect_agreement(const Memory& memory, const std::vector<IpPrefix>& prefixes, Dice& dice) {
    const auto check = [&](const IpAddress& one) {
        ASSERT_EQ(memory.denies(one), covered(prefixes, one)) << one.to_string() << " of " << prefixes.size() << " prefixes";
    };
    for (int i = 0; i < 60; ++i)
        for (const Family family : {Family::kIpv4, Family::kIpv6}) check(dice.address(family));
    for (const IpPrefix& one : prefixes) {  // its ends, and what lies right beside them
        check(one.address());
        check(one.last());
        if (one.family() == Family::kIpv6) check(one.last().plus(1));
    }
}

TEST(Outermost, LeavesOutWhatAnotherOneCoversAndWhatIsThereTwice) {
    EXPECT_EQ(outermost({prefix("10.0.0.0/8"), prefix("10.1.0.0/16"), prefix("2001:db8::/32"), prefix("2001:db8:1::/48"),
                         prefix("11.0.0.0/8"), prefix("10.0.0.0/8")}),
              (std::vector{prefix("10.0.0.0/8"), prefix("11.0.0.0/8"), prefix("2001:db8::/32")}));
}

TEST(Outermost, KeepsTheFamiliesApart) {
    const std::vector both{prefix("::/0"), prefix("192.0.2.0/24")};
    EXPECT_EQ(outermost(both).size(), 2U) << "IPv4 addresses are no IPv6 addresses, although they are written like some";
}

TEST(DenyTable, DeniesWholeBlocksAndPartsOfThem) {
    Memory memory{10};
    for (const char* one : {"198.51.100.0/24", "10.0.0.0/8", "192.0.2.7/32", "192.0.2.128/25"})
        ASSERT_TRUE(memory.table().add(prefix(one)));
    for (const char* one : {"198.51.100.0", "198.51.100.255", "10.0.0.0", "10.255.255.255", "192.0.2.7", "192.0.2.128", "192.0.2.255"})
        EXPECT_TRUE(memory.denies(address(one))) << one;
    for (const char* one : {"198.51.99.255", "198.51.101.0", "9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "192.0.2.127"})
        EXPECT_FALSE(memory.denies(address(one))) << one;
}

TEST(DenyTable, KnowsEveryLengthOfIpv6AloneAndAmongTheOthers) {
    Memory all{12};
    std::vector<IpPrefix> prefixes;
    for (unsigned length = 0; length <= 128; ++length) {
        const IpPrefix one = IpPrefix{address("2001:db8:aaaa:5555:aaaa:5555:aaaa:5555"), static_cast<std::uint8_t>(length)}.network();
        Memory alone{10};
        ASSERT_TRUE(alone.table().add(one));
        EXPECT_TRUE(alone.denies(one.address())) << length;
        EXPECT_TRUE(alone.denies(one.last())) << length;
        if (length == 0) continue;
        EXPECT_FALSE(alone.denies(one.last().plus(1))) << length;
        // Beside each other: each bit of the address turned in its turn.
        std::array<std::uint8_t, 16> bytes = address("2001:db8:aaaa:5555:aaaa:5555:aaaa:5555").bytes();
        bytes[(length - 1) / 8] ^= static_cast<std::uint8_t>(0x80U >> ((length - 1) % 8));
        prefixes.push_back(IpPrefix{IpAddress::from_bytes(bytes), static_cast<std::uint8_t>(length)}.network());
        ASSERT_TRUE(all.table().add(prefixes.back()));
    }
    EXPECT_FALSE(all.denies(address("2001:db8:aaaa:5555:aaaa:5555:aaaa:5555"))) << "what all of them leave";
    Dice dice{1};
    expect_agreement(all, prefixes, dice);
}

TEST(DenyTable, OfRandomListsDeniesWhatOneOfTheirPrefixesCovers) {
    for (unsigned seed = 0; seed < 40; ++seed) {
        Dice dice{seed};
        std::vector<IpPrefix> prefixes;
        for (unsigned i = 0; i < 300; ++i) prefixes.push_back(dice.prefix(dice.below(2) == 0 ? Family::kIpv4 : Family::kIpv6));
        const std::vector<IpPrefix> kept = outermost(prefixes);
        Memory memory{DenyTable::bits_for(kept)};
        for (const IpPrefix& one : kept) ASSERT_TRUE(memory.table().add(one));
        expect_agreement(memory, prefixes, dice);
    }
}

TEST(DenyTable, FollowsEveryChange) {
    for (unsigned seed = 0; seed < 20; ++seed) {
        Dice dice{seed};
        Memory memory{12};
        std::vector<IpPrefix> present;
        for (unsigned i = 0; i < 400; ++i) {
            const IpPrefix one = dice.prefix(dice.below(2) == 0 ? Family::kIpv4 : Family::kIpv6);
            const auto related = std::find_if(present.begin(), present.end(), [&](const IpPrefix& other) { return other.overlaps(one); });
            if (related == present.end()) {
                ASSERT_TRUE(memory.table().add(one));
                present.push_back(one);
            } else {
                memory.table().remove(*related);
                present.erase(related);
            }
            if (i % 40 == 0) expect_agreement(memory, present, dice);
        }
        while (!present.empty()) {
            memory.table().remove(present.back());
            present.pop_back();
        }
        EXPECT_EQ(memory.used(), 0U) << "nodes that nobody needs are left";
        EXPECT_TRUE(memory.rows_are_empty());
    }
}

TEST(DenyTable, StaysShortToSearchHoweverMuchComesAndGoes) {
    Memory memory{12};
    std::mt19937_64 random{3};
    const auto draw = [&] {
        std::array<std::uint8_t, 16> bytes{0x20, 0x01};
        for (std::size_t i = 2; i < 16; ++i) bytes[i] = static_cast<std::uint8_t>(random());
        return IpPrefix{IpAddress::from_bytes(bytes), 128};
    };
    std::vector<IpPrefix> present;
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(memory.table().add(present.emplace_back(draw())));
    const std::size_t before = memory.passed();
    for (int i = 0; i < 100'000; ++i) {
        const IpPrefix one = draw();
        ASSERT_TRUE(memory.table().add(one)) << "after " << i;
        memory.table().remove(one);
    }
    EXPECT_LT(memory.passed(), 2 * before);
    for (const IpPrefix& one : present) {
        EXPECT_TRUE(memory.denies(one.address()));
        memory.table().remove(one);
    }
    EXPECT_EQ(memory.passed(), 0U);
}

TEST(DenyTable, ThatIsFullRefusesAndStaysAsItWas) {
    Memory memory{DenyTable::kFewestBits};
    std::vector<IpPrefix> present;
    std::mt19937_64 random{7};
    for (;;) {
        std::array<std::uint8_t, 16> bytes{0x20, 0x01};
        for (std::size_t i = 2; i < 16; ++i) bytes[i] = static_cast<std::uint8_t>(random());
        const IpPrefix one{IpAddress::from_bytes(bytes), 128};
        const std::size_t before = memory.used();
        if (!memory.table().add(one)) {
            EXPECT_EQ(memory.used(), before) << "signposts of a prefix that found no place are left";
            EXPECT_FALSE(memory.denies(one.address()));
            break;
        }
        present.push_back(one);
    }
    EXPECT_GT(present.size(), 150U);
    for (const IpPrefix& one : present) EXPECT_TRUE(memory.denies(one.address()));
    memory.table().remove(present.front());
    EXPECT_FALSE(memory.denies(present.front().address()));
    EXPECT_TRUE(memory.table().add(present.front())) << "its place is free again";
}

}  // namespace
}  // namespace fastnet
