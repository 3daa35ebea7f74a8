#include "userspace/model/node.h"

#include <gtest/gtest.h>

namespace fastnet {
namespace {

TEST(VtepAddresses, AreReadAndWrittenAlike) {
    for (const char* text : {"auto", "192.0.2.1", "2001:db8::1", "192.0.2.1,2001:db8::1"}) {
        const auto parsed = parse_vtep_addresses(text);
        ASSERT_TRUE(parsed) << text;
        EXPECT_EQ(to_string(*parsed), text);
    }
    EXPECT_EQ(to_string(parse_vtep_addresses("2001:db8::1,192.0.2.1").value()), "192.0.2.1,2001:db8::1");
    EXPECT_EQ(parse_vtep_addresses("auto").value(), VtepAddresses{});
    EXPECT_EQ(parse_vtep_addresses("192.0.2.1").value().of(Family::kIpv4), IpAddress::v4(192, 0, 2, 1));
    EXPECT_FALSE(parse_vtep_addresses("192.0.2.1").value().of(Family::kIpv6).has_value());
}

TEST(VtepAddresses, NoOthersThanANodeCanHaveAndOneOfAFamily) {
    for (const char* text : {"", ",", "192.0.2.1,", "auto,192.0.2.1", "192.0.2.1,192.0.2.2", "2001:db8::1,2001:db8::2", "0.0.0.0",
                             "224.0.0.1", "127.0.0.1", "::", "fe80::1", "192.0.2.1/24", "host.example"}) {
        const auto parsed = parse_vtep_addresses(text);
        ASSERT_FALSE(parsed) << text;
        EXPECT_EQ(parsed.error().kind, ErrorKind::kUsage) << text;
    }
}

}  // namespace
}  // namespace fastnet
