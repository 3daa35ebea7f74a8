#include "userspace/model/access_list.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/unit/model/fixed_random.h"

namespace fastnet {
namespace {

std::string text_of(const std::vector<IpPrefix>& prefixes) {
    return AccessList{.allow = prefixes}.to_string();
}

TEST(Sources, ArePrefixesAndAddressesOfBothFamilies) {
    const auto sources = parse_sources("10.0.0.0/8,192.0.2.7,2001:db8::/32,::1,0.0.0.0/0,::/0,10.1.2.3/32");
    ASSERT_TRUE(sources) << sources.error().message;
    EXPECT_EQ(text_of(*sources), "allow 10.0.0.0/8,192.0.2.7/32,2001:db8::/32,::1/128,0.0.0.0/0,::/0,10.1.2.3/32");
}

TEST(Sources, ThatMakeNoSenseAreQuotedInAUsageError) {
    const struct {
        const char* text;
        const char* mention;
    } cases[] = {
        {"", "missing"},
        {",", "missing"},
        {"10.0.0.0/8,", "missing"},
        {",10.0.0.0/8", "missing"},
        {"10.0.0.0/8,,10.1.0.0/16", "missing"},
        {"10.0.0.0/8, 10.1.0.0/16", "' 10.1.0.0/16'"},
        {"example.org", "'example.org'"},
        {"10.0.0", "'10.0.0'"},
        {"10.0.0.256", "'10.0.0.256'"},
        {"010.0.0.1", "'010.0.0.1'"},
        {"10.0.0.0/33", "bad prefix length"},
        {"2001:db8::/129", "bad prefix length"},
        {"10.0.0.0/-1", "bad prefix length"},
        {"10.0.0.0/", "bad prefix length"},
        {"10.0.0.0/8/8", "bad prefix length"},
        {"10.0.0.0/255.0.0.0", "bad prefix length"},
        {"10.0.0.0-10.0.0.9", "'10.0.0.0-10.0.0.9'"},
        {"/8", "'/8'"},
        {"fe80::1%eth0", "'fe80::1%eth0'"},
        {"[2001:db8::]/32", "'[2001:db8::]/32'"},
        {"::ffff:10.0.0.1", "IPv4 address written as IPv6"},
        {"::ffff:10.0.0.0/104", "IPv4 address written as IPv6"},
        {"10.0.0.1/8", "'10.0.0.1/8'"},
        {"2001:db8::1/32", "'2001:db8::1/32'"},
        {"\x1b[31mred", "'?[31mred'"},
    };
    for (const auto& one : cases) {
        SCOPED_TRACE(one.text);
        const auto sources = parse_sources(one.text);
        ASSERT_FALSE(sources);
        EXPECT_EQ(sources.error().kind, ErrorKind::kUsage);
        EXPECT_NE(sources.error().message.find(one.mention), std::string::npos) << sources.error().message;
        EXPECT_FALSE(sources.error().hint.empty());
    }
}

TEST(Sources, WithHostBitsNameThePrefixThatMayBeMeant) {
    EXPECT_NE(parse_sources("10.0.0.1/8").error().hint.find("10.0.0.0/8"), std::string::npos);
    EXPECT_NE(parse_sources("2001:db8::1/32").error().hint.find("2001:db8::/32"), std::string::npos);
}

TEST(Sources, OfAFileMayHaveCommentsBlankLinesAndAnySeparator) {
    const auto sources = parse_source_lines("# spammers\r\n10.0.0.0/8\n\n  192.0.2.7 # one of them\n2001:db8::/32, ::1\t10.9.0.0/16");
    ASSERT_TRUE(sources) << sources.error().message;
    EXPECT_EQ(text_of(*sources), "allow 10.0.0.0/8,192.0.2.7/32,2001:db8::/32,::1/128,10.9.0.0/16");
}

TEST(Sources, OfAFileNameTheLineThatMakesNoSense) {
    const auto sources = parse_source_lines("10.0.0.0/8\n# fine\nnonsense\n");
    ASSERT_FALSE(sources);
    EXPECT_EQ(sources.error().kind, ErrorKind::kUsage);
    EXPECT_NE(sources.error().message.find("line 3: 'nonsense'"), std::string::npos) << sources.error().message;
}

TEST(Sources, OfAFileWithoutAnyAreRefused) {
    for (const char* const text : {"", "\n", "# nobody\n", " , ,\n"}) {
        SCOPED_TRACE(text);
        const auto sources = parse_source_lines(text);
        ASSERT_FALSE(sources);
        EXPECT_EQ(sources.error().kind, ErrorKind::kUsage);
    }
}

template <typename Items>
auto one_of(FixedRandom& random, const Items& items) {
    return items[random.below(static_cast<unsigned>(std::size(items)))];
}

std::string random_bytes(FixedRandom& random, unsigned longest, std::string_view alphabet = {}) {
    std::string text(random.below(longest + 1), ' ');
    for (char& c : text) c = alphabet.empty() ? static_cast<char>(random.below(256)) : one_of(random, alphabet);
    return text;
}

IpPrefix random_prefix(FixedRandom& random) {
    if (random.below(2) == 0)
        return IpPrefix{IpAddress::v4_from_host(random.below(UINT32_MAX)), static_cast<std::uint8_t>(random.below(33))}.network();
    std::array<std::uint8_t, 16> bytes{0x20};
    for (std::size_t i = 1; i < bytes.size(); ++i) bytes[i] = random.below(3) == 0 ? 0 : static_cast<std::uint8_t>(random.below(256));
    return IpPrefix{IpAddress::from_bytes(bytes), static_cast<std::uint8_t>(8 + random.below(121))}.network();
}

/// Fit for a terminal, whatever was in the file.
void expect_usage_error(const Error& error, unsigned line, const std::string& of) {
    EXPECT_EQ(error.kind, ErrorKind::kUsage);
    EXPECT_EQ(error.message.find("line " + std::to_string(line) + ": "), 0U) << error.message << "\nof:\n" << of;
    for (const std::string& text : {error.message, error.hint}) {
        EXPECT_LT(text.size(), 200U);
        EXPECT_TRUE(std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 0x7f; })) << text;
    }
}

TEST(Sources, OfAnyFileAreAllOfThemOrTheFirstLineThatMakesNoSense) {
    FixedRandom random{1};
    const std::vector<std::string> nonsense{"10.0.0.1/8",
                                            "2001:db8::1/32",
                                            "10.0.0.0/33",
                                            "example.org",
                                            std::string{"10.0.0.1\0", 9},
                                            std::string{"10.0.0.0\0/8", 11},
                                            "10.0.0.0/\x1b[31m",
                                            "\xef\xbb\xbf"
                                            "10.0.0.0/8",
                                            "::ffff:10.0.0.1",
                                            "10.0.0.0/" + std::string(100'000, '0') + "8",
                                            std::string(100'000, '1')};
    const std::string gaps[]{" ", ",", "\t", ", ", " ,, ", "\r"}, ends[]{"\n", "\r\n", " \n", ",\n", "\n\n"};
    unsigned refused = 0;
    for (int round = 0; round < 2000; ++round) {
        std::string text;
        std::vector<IpPrefix> expected;
        unsigned line = 1, bad_line = 0;
        for (unsigned lines = 1 + random.below(8); lines > 0; --lines) {
            for (unsigned words = random.below(4); words > 0; --words) {
                const IpPrefix prefix = random_prefix(random);
                const bool alone =
                    prefix == IpPrefix{prefix.address(), static_cast<std::uint8_t>(prefix.family() == Family::kIpv4 ? 32 : 128)};
                if (random.below(40) == 0) {
                    text += one_of(random, nonsense);
                    if (bad_line == 0) bad_line = line;
                } else {
                    text += alone && random.below(2) == 0 ? prefix.address().to_string() : prefix.to_string();
                    expected.push_back(prefix);
                }
                text += one_of(random, gaps);
            }
            if (random.below(4) == 0) {
                std::string comment = random_bytes(random, 40);
                std::replace(comment.begin(), comment.end(), '\n', ' ');
                text += "#" + comment;
            }
            if (random.below(200) == 0) text += std::string(100'000, ' ');
            if (lines == 1 && random.below(2) == 0) break;  // without an end
            const std::string end = one_of(random, ends);
            line += static_cast<unsigned>(std::count(end.begin(), end.end(), '\n'));
            text += end;
        }
        const auto sources = parse_source_lines(text);
        if (bad_line != 0) {
            ASSERT_FALSE(sources) << text;
            expect_usage_error(sources.error(), bad_line, text);
            ++refused;
        } else if (expected.empty()) {
            ASSERT_FALSE(sources) << text;
            EXPECT_EQ(sources.error().kind, ErrorKind::kUsage);
        } else {
            ASSERT_TRUE(sources) << sources.error().message << "\nof:\n" << text;
            ASSERT_EQ(*sources, expected) << text;
        }
    }
    EXPECT_GT(refused, 200U);
}

TEST(Sources, OfAFileOfNoiseAreReadOrRefusedByALine) {
    using namespace std::string_view_literals;
    FixedRandom random{2};
    unsigned read = 0, refused = 0;
    for (int round = 0; round < 20'000; ++round) {
        std::string text = random.below(4) == 0 ? random_bytes(random, 60) : random_bytes(random, 12, "01:/.#, \t\r\n\0"sv);
        if (random.below(2) == 0) text.insert(random.below(static_cast<unsigned>(text.size()) + 1), "\n10.0.0.0/8 ::1\n");
        for (unsigned damage = random.below(3); damage > 0 && !text.empty(); --damage)
            text[random.below(static_cast<unsigned>(text.size()))] = static_cast<char>(random.below(256));
        const auto sources = parse_source_lines(text);
        if (sources) {
            ASSERT_FALSE(sources->empty());
            for (const IpPrefix& prefix : *sources) ASSERT_EQ(prefix, prefix.network()) << text;
            const std::string again = text_of(*sources);
            const auto same = parse_sources(std::string_view{again}.substr("allow "sv.size()));
            ASSERT_TRUE(same) << same.error().message;
            ASSERT_EQ(*same, *sources);
            ++read;
        } else if (sources.error().message.starts_with("line ")) {
            // Lines before that one are fine, and it alone is not.
            const unsigned line = static_cast<unsigned>(std::strtoul(sources.error().message.c_str() + "line "sv.size(), nullptr, 10));
            ASSERT_GE(line, 1U);
            std::size_t start = 0;
            for (unsigned i = 1; i < line; ++i) {
                start = text.find('\n', start) + 1;
                ASSERT_NE(start, 0U) << "there is no such line in:\n" << text;
            }
            const auto before = parse_source_lines(text.substr(0, start));
            ASSERT_TRUE(before || !before.error().message.starts_with("line ")) << before.error().message;
            const auto alone = parse_source_lines(text.substr(start, text.find('\n', start) - start));
            ASSERT_FALSE(alone) << text;
            expect_usage_error(sources.error(), line, text);
            expect_usage_error(alone.error(), 1, text);
            ++refused;
        }
    }
    EXPECT_GT(read, 300U);
    EXPECT_GT(refused, 1000U);
}

TEST(AccessLists, ThatNameTheSameAreEqualOnceNormalized) {
    AccessList a{.allow = *parse_sources("10.0.0.0/8,192.0.2.7,10.0.0.0/8"), .deny = *parse_sources("::1")};
    AccessList b{.allow = *parse_sources("192.0.2.7/32,10.0.0.0/8"), .deny = *parse_sources("::1/128")};
    EXPECT_NE(a, b);
    a.normalize();
    b.normalize();
    EXPECT_EQ(a, b);
    EXPECT_EQ(a.to_string(), "allow 10.0.0.0/8,192.0.2.7/32 deny ::1/128");
    EXPECT_TRUE(AccessList{}.empty());
    EXPECT_EQ(AccessList{}.to_string(), "");
    EXPECT_EQ((AccessList{.deny = b.deny}.to_string()), "deny ::1/128");
}

}  // namespace
}  // namespace fastnet
