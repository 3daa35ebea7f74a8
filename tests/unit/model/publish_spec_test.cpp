#include "userspace/model/publish_spec.h"

#include <gtest/gtest.h>

#include "tests/unit/model/fixed_random.h"

namespace fastnet {
namespace {

PortRange range(std::uint16_t first, std::uint16_t last) {
    return {Port{first}, Port{last}};
}
PortRange one(std::uint16_t port) {
    return range(port, port);
}
IpAddress address(const char* text) {
    return *IpAddress::parse(text);
}

PublishSpec spec(std::optional<IpAddress> host_ip, std::optional<PortRange> host, PortRange container, Protocol protocol = Protocol::kTcp) {
    return {host_ip, host, container, protocol};
}

struct Good {
    const char* text;
    PublishSpec expected;
    const char* canonical;
    bool picks;
};

class GoodPublishSpec : public testing::TestWithParam<Good> {};

TEST_P(GoodPublishSpec, IsReadAndWrittenCanonically) {
    const auto parsed = PublishSpec::parse(GetParam().text);
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(*parsed, GetParam().expected);
    EXPECT_EQ(parsed->to_string(), GetParam().canonical);
    EXPECT_EQ(parsed->picks_host_port(), GetParam().picks);
}

INSTANTIATE_TEST_SUITE_P(
    Docker, GoodPublishSpec,
    testing::Values(Good{"2000:80", spec({}, one(2000), one(80)), "2000:80/tcp", false}, Good{"80", spec({}, {}, one(80)), "80/tcp", true},
                    Good{"0:80", spec({}, {}, one(80)), "80/tcp", true}, Good{":80", spec({}, {}, one(80)), "80/tcp", true},
                    Good{"80/udp", spec({}, {}, one(80), Protocol::kUdp), "80/udp", true},
                    Good{"53:53/UDP", spec({}, one(53), one(53), Protocol::kUdp), "53:53/udp", false},
                    Good{"7:7/sctp", spec({}, one(7), one(7), Protocol::kSctp), "7:7/sctp", false},
                    Good{"8000-8010:80", spec({}, range(8000, 8010), one(80)), "8000-8010:80/tcp", true},
                    Good{"8000-8000:80", spec({}, one(8000), one(80)), "8000:80/tcp", false},
                    Good{"8000-8010:90-100", spec({}, range(8000, 8010), range(90, 100)), "8000-8010:90-100/tcp", false},
                    Good{"90-100", spec({}, {}, range(90, 100)), "90-100/tcp", true},
                    Good{"0:90-100", spec({}, {}, range(90, 100)), "90-100/tcp", true},
                    Good{"20000-29999:20000-29999/udp", spec({}, range(20000, 29999), range(20000, 29999), Protocol::kUdp),
                         "20000-29999:20000-29999/udp", false},
                    Good{"1-65535:1-65535", spec({}, range(1, 65535), range(1, 65535)), "1-65535:1-65535/tcp", false},
                    Good{"127.0.0.1:2000:80", spec(address("127.0.0.1"), one(2000), one(80)), "127.0.0.1:2000:80/tcp", false},
                    Good{"127.0.0.1::80", spec(address("127.0.0.1"), {}, one(80)), "127.0.0.1::80/tcp", true},
                    Good{"127.0.0.1:0:80", spec(address("127.0.0.1"), {}, one(80)), "127.0.0.1::80/tcp", true},
                    Good{"0.0.0.0:2000:80", spec(address("0.0.0.0"), one(2000), one(80)), "0.0.0.0:2000:80/tcp", false},
                    Good{"[::1]:2000:80", spec(address("::1"), one(2000), one(80)), "[::1]:2000:80/tcp", false},
                    Good{"[::]:2000:80/udp", spec(address("::"), one(2000), one(80), Protocol::kUdp), "[::]:2000:80/udp", false},
                    Good{"[fd00::1]::80", spec(address("fd00::1"), {}, one(80)), "[fd00::1]::80/tcp", true},
                    Good{"[2001:DB8::1]:8000-8010:80", spec(address("2001:db8::1"), range(8000, 8010), one(80)),
                         "[2001:db8::1]:8000-8010:80/tcp", true},
                    Good{"[::ffff:192.0.2.1]:2000:80", spec(address("192.0.2.1"), one(2000), one(80)), "192.0.2.1:2000:80/tcp", false},
                    Good{"02000:0080", spec({}, one(2000), one(80)), "2000:80/tcp", false}));

struct Bad {
    const char* text;
    const char* why;  // part of the message
};

class BadPublishSpec : public testing::TestWithParam<Bad> {};

TEST_P(BadPublishSpec, IsAUsageErrorThatSaysWhatIsWrong) {
    const auto parsed = PublishSpec::parse(GetParam().text);
    ASSERT_FALSE(parsed) << parsed->to_string();
    EXPECT_EQ(parsed.error().kind, ErrorKind::kUsage);
    EXPECT_NE(parsed.error().message.find(GetParam().why), std::string::npos) << parsed.error().message;
    EXPECT_EQ(parsed.error().message.rfind("publish '", 0), 0U) << parsed.error().message;
    EXPECT_FALSE(parsed.error().hint.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Malformed, BadPublishSpec,
    testing::Values(Bad{"", "is empty"}, Bad{"2000:0", "container port is 0"}, Bad{"0", "container port is 0"},
                    Bad{"0-5", "container port range starts at 0"}, Bad{"0-5:80-85", "host port range starts at 0"},
                    Bad{"0-0:80", "host port range starts at 0"}, Bad{"65536:80", "above 65535"}, Bad{"80:65536", "above 65535"},
                    Bad{"99999999999999999999:80", "above 65535"}, Bad{"80:65530-65536", "above 65535"}, Bad{"8010-8000:80", "reversed"},
                    Bad{"8000:90-80", "reversed"}, Bad{"8000-8010:80-81", "11 host port(s) for 2 container ports"},
                    Bad{"8000:80-85", "1 host port(s) for 6 container ports"}, Bad{"80/icmp", "protocol 'icmp'"}, Bad{"80/", "protocol ''"},
                    Bad{"80/tcp/udp", "protocol 'tcp/udp'"}, Bad{"80/6", "protocol '6'"}, Bad{"80/tcp,udp", "protocol"},
                    Bad{"80:", "container port is missing"}, Bad{":", "container port is missing"}, Bad{"::", "host address is empty"},
                    Bad{"::80", "host address is empty"}, Bad{":2000:80", "host address is empty"},
                    Bad{"/tcp", "container port is missing"}, Bad{"abc", "'abc' is not a number"}, Bad{"http:80", "'http' is not a number"},
                    Bad{"-80", "container port is missing"}, Bad{"80-", "container port is missing"}, Bad{"-", "container port is missing"},
                    Bad{"80--90", "is not a number"}, Bad{"80-90-100", "is not a number"}, Bad{"8000-:80", "host port is missing"},
                    Bad{"+80", "not a number"}, Bad{"0x50", "not a number"}, Bad{"80.5", "not a number"}, Bad{"8 0", "white space"},
                    Bad{" 80", "white space"}, Bad{"80\n", "white space"}, Bad{"80\t:80", "white space"},
                    Bad{"localhost:2000:80", "'localhost' is not an IP address"}, Bad{"eth0::80", "'eth0' is not an IP address"},
                    Bad{"256.0.0.1:2000:80", "is not an IP address"}, Bad{"127.0.0.1:80", "ADDRESS::PORT"},
                    Bad{"127.1:2000:80", "is not an IP address"}, Bad{"::1:2000:80", "in brackets"}, Bad{"fd00::1:2000:80", "in brackets"},
                    Bad{"[::1]", "no ':' behind the host address"}, Bad{"[::1]80", "no ':' behind"}, Bad{"[::1]:80", "[ADDRESS]::PORT"},
                    Bad{"[::1:80", "never closed"}, Bad{"[]:1:2", "is not an IP address"},
                    Bad{"[127.0.0.1]:2000:80", "only IPv6 goes in brackets"}, Bad{"[fe80::1%eth0]:2000:80", "is not an IP address"},
                    Bad{"[::1]:1:2:3", "not a number"}, Bad{"1:2:3:4", "too many ':'"}, Bad{"224.0.0.1:2000:80", "multicast"},
                    Bad{"[ff02::1]:2000:80", "multicast"}, Bad{"255.255.255.255:2000:80", "broadcast"},
                    Bad{"127.0.0.1/8:2000:80", "protocol"}, Bad{"\xff\xfe", "is not a number"}));

TEST(PublishSpec, NulBytesInTheTextAreRefused) {
    EXPECT_FALSE(PublishSpec::parse(std::string_view{"80\0:80", 6}));
}

TEST(PublishSpec, LongJunkIsQuotedInPartAndWithoutControlCharacters) {
    const auto parsed = PublishSpec::parse(std::string(100'000, '\x1b'));
    ASSERT_FALSE(parsed);
    EXPECT_LT(parsed.error().message.size(), 400U);
    EXPECT_EQ(parsed.error().message.find('\x1b'), std::string::npos);
}

/// What must hold for whatever text: it is refused with a usage error, or read into a sound spec that survives its own text.
void expect_sound(std::string_view text) {
    const auto parsed = PublishSpec::parse(text);
    if (!parsed) {
        ASSERT_EQ(parsed.error().kind, ErrorKind::kUsage);
        return;
    }
    ASSERT_GE(parsed->container_ports.first.value(), 1);
    ASSERT_LE(parsed->container_ports.first, parsed->container_ports.last);
    if (parsed->host_ports) {
        ASSERT_GE(parsed->host_ports->first.value(), 1);
        ASSERT_LE(parsed->host_ports->first, parsed->host_ports->last);
        ASSERT_TRUE(parsed->container_ports.size() == 1 || parsed->host_ports->size() == parsed->container_ports.size());
    }
    const std::string canonical = parsed->to_string();
    const auto again = PublishSpec::parse(canonical);
    ASSERT_TRUE(again) << "'" << text << "' became '" << canonical << "': " << again.error().message;
    ASSERT_EQ(*again, *parsed) << canonical;
    ASSERT_EQ(again->to_string(), canonical);
}

TEST(PublishSpec, RandomBytesNeverCrashTheParser) {
    FixedRandom random{20240601};
    for (int i = 0; i < 200'000; ++i) {
        std::string text(random.below(24), '\0');
        for (char& c : text) c = static_cast<char>(random.below(256));
        expect_sound(text);
    }
}

TEST(PublishSpec, RandomTextOfTheGrammarsOwnLettersStaysStable) {
    constexpr std::string_view kLetters = "0123456789:::---//[].tcpudsf ";
    FixedRandom random{7};
    for (int i = 0; i < 400'000; ++i) {
        std::string text(random.below(16), '\0');
        for (char& c : text) c = kLetters[random.below(static_cast<unsigned>(kLetters.size()))];
        expect_sound(text);
    }
}

TEST(PublishSpec, MutationsOfGoodSpecsStayStable) {
    constexpr std::string_view kSeeds[] = {"2000:80/tcp", "127.0.0.1:8000-8010:80-90/udp", "[fd00::1]:1-65535:1-65535/sctp", "[::1]::80",
                                           "80-90"};
    FixedRandom random{11};
    for (int i = 0; i < 200'000; ++i) {
        std::string text{kSeeds[random.below(static_cast<unsigned>(std::size(kSeeds)))]};
        for (unsigned change = random.below(3) + 1; change-- > 0 && !text.empty();) {
            const std::size_t at = random.below(static_cast<unsigned>(text.size()));
            switch (random.below(3)) {
                case 0: text[at] = "0159:-/[]."[random.below(10)]; break;
                case 1: text.erase(at, 1); break;
                default: text.insert(at, 1, "0159:-/[]."[random.below(10)]); break;
            }
        }
        expect_sound(text);
    }
}

}  // namespace
}  // namespace fastnet
