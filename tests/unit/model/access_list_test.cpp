#include "userspace/model/access_list.h"

#include <gtest/gtest.h>

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
