#include "userspace/cli/app.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

namespace fastnet {
namespace {

using Args = std::vector<std::string>;

/// What main() would do with @p args, without doing it.
struct Parsed {
    Context context{};
    Result<std::optional<Answer>> answer{std::optional<Answer>{}};
};

Parsed parse(const Args& args) {
    ::unsetenv("FASTNET_ROOT");
    Parsed parsed;
    parsed.answer = parse_command_line(args, parsed.context);
    return parsed;
}

class GoodCommands : public ::testing::TestWithParam<Args> {};

TEST_P(GoodCommands, HaveAnAction) {
    Context context;
    const auto answer = parse_command_line(GetParam(), context);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_FALSE(*answer);
    EXPECT_TRUE(context.action);
}

INSTANTIATE_TEST_SUITE_P(
    CommandLine, GoodCommands,
    ::testing::Values(
        Args{"attach"}, Args{"attach", "--mode", "bridge"}, Args{"attach", "--mode=bridge", "--netns", "web", "-p", "2000:80"},
        Args{"attach", "--netns",           "pid:4711", "-p",   "80",     "-p",  "[::1]:53:53/udp", "--ip", "10.0.0.2", "--ip", "fd00::2",
             "--mac",  "02:00:00:00:00:01", "--ifname", "net1", "--name", "web", "--network",       "blue", "--uplink", "eth0", "--uplink",
             "eth1"},
        Args{"attach", "--max-flows", "1000", "--masquerade-ports", "20000-20999", "--reload", "--json"},
        Args{"attach", "--timeout", "udp=5m,icmp=default", "--timeout", "dns=10", "--udp-mapping", "endpoint-independent"},
        Args{"attach", "--udp-mapping", "address-and-port-dependent"}, Args{"detach", "web"}, Args{"detach", "--netns", "/run/netns/web"},
        Args{"publish", "web", "2000:80", "3000:81/udp"},
        Args{"publish", "web", "2000:80", "--allow", "10.0.0.0/8,::1", "--allow", "192.0.2.7", "--deny", "10.9.0.0/16", "3000:81"},
        Args{"attach", "--netns", "web", "-p", "2000:80", "--deny", "::/0", "--deny-file", "/dev/stdin"},
        Args{"publish", "web", "--", "2000:80"}, Args{"unpublish", "web", "2000:80"}, Args{"run", "--", "true"},
        Args{"run", "-p", "2000:80", "--", "sh", "-c", "exit 3", "--json"}, Args{"run", "--json", "--mode", "host", "--", "status"},
        Args{"network", "create", "blue"},
        Args{"network", "create", "blue", "--subnet", "10.0.0.0/24", "--subnet", "fd00::/64", "--gateway", "10.0.0.1", "--mtu", "1400",
             "--internal", "--no-icc", "--ip-range", "10.0.0.0/25", "--opt", "a=b", "--opt", "c=d=e"},
        Args{"network", "create", "blue", "--driver", "overlay", "--vni", "7", "--opt", "learning=off"},
        Args{"attach", "--mode", "overlay", "--network", "blue", "--netns", "web", "--gw-priority", "-5"},
        Args{"run", "--mode", "overlay", "--network", "blue", "--gw-priority=7", "--", "true"}, Args{"peer", "add", "192.0.2.7"},
        Args{"peer", "add", "2001:db8::7", "--network", "blue", "--json"}, Args{"peer", "ls"}, Args{"peer", "rm", "192.0.2.7"},
        Args{"peer", "endpoint", "add", "10.77.0.9", "fd77::9", "--peer", "192.0.2.7", "--network", "blue", "--mac", "02:00:00:00:00:09"},
        Args{"peer", "endpoint", "ls", "--json"}, Args{"peer", "endpoint", "rm", "10.77.0.9", "--network", "blue"},
        Args{"network", "ls", "--json"}, Args{"network", "inspect", "blue"}, Args{"network", "rm", "blue"}, Args{"endpoints"},
        Args{"ports", "--json"}, Args{"flows"}, Args{"stats"}, Args{"status"}, Args{"doctor"}, Args{"cleanup"}));

class BadCommands : public ::testing::TestWithParam<Args> {};

/// The error of parsing, or of the action's own look at its words; nothing here gets as far as the node.
TEST_P(BadCommands, AreUsageErrorsWithAHint) {
    Context context;
    context.root = "/proc/no-such-place";
    const auto answer = parse_command_line(GetParam(), context);
    const auto output = answer ? context.action() : Result<Output>{answer.error()};
    ASSERT_FALSE(output) << ::testing::PrintToString(GetParam());
    EXPECT_EQ(output.error().kind, ErrorKind::kUsage) << output.error().message;
    const std::string text = error_text(output.error());
    EXPECT_EQ(text.rfind("fastnet: ", 0), 0U);
    EXPECT_NE(text.find(": ", 9), std::string::npos) << text;
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
}

INSTANTIATE_TEST_SUITE_P(
    CommandLine, BadCommands,
    ::testing::Values(
        Args{}, Args{"attatch"}, Args{""}, Args{"network"}, Args{"network", "frobnicate"}, Args{"attach", "--colour"},
        Args{"attach", "extra"}, Args{"attach", "--mode"}, Args{"attach", "--mode", "teleport"}, Args{"attach", "--mode", "overlay"},
        Args{"attach", "--mode", "none"}, Args{"attach", "--network", "blue"}, Args{"attach", "-p", "2000:80"},
        Args{"attach", "--netns", "web", "-p", ""}, Args{"attach", "--netns", "web", "-p", "2000:0"},
        Args{"attach", "--netns", "web", "-p", "65536:80"}, Args{"attach", "--netns", "web", "-p", "[::1:2000:80"},
        Args{"attach", "--netns", "web", "--ip", "10.0.0.300"}, Args{"attach", "--netns", "web", "--mac", "nonsense"},
        Args{"attach", "--netns", "web", "--ifname", "a/b"}, Args{"attach", "--netns", "web", "--ifname", "much-too-long-a-name"},
        Args{"attach", "--netns", "web", "--name", "a b"}, Args{"attach", "--max-flows", "0"}, Args{"attach", "--max-flows", "x"},
        Args{"attach", "--max-flows", "99999999999"}, Args{"attach", "--max-flows", "-1"}, Args{"attach", "--masquerade-ports", "20000"},
        Args{"attach", "--masquerade-ports", "2-1"}, Args{"attach", "--udp-mapping", "cone"}, Args{"attach", "--timeout", "udp"},
        Args{"attach", "--timeout", "udp=0"}, Args{"attach", "--timeout", "udp=1", "--timeout", "udp=2"}, Args{"attach", "--timeout", ""},
        Args{"attach", "--mode", "host", "-p", "2000:80"}, Args{"detach"}, Args{"detach", "a", "b"}, Args{"detach", "a", "--netns", "b"},
        Args{"publish"}, Args{"publish", "web"}, Args{"publish", "web", "2000:80:90:91"}, Args{"unpublish", "web", "x"}, Args{"run"},
        Args{"run", "--mode", "bridge"}, Args{"run", "--mode", "host", "-p", "2000:80", "--", "true"}, Args{"network", "create"},
        Args{"network", "create", "--", ""}, Args{"network", "create", "--", "-dash"}, Args{"network", "create", "blue", "--mtu", "67"},
        Args{"network", "create", "blue", "--mtu", "x"}, Args{"network", "create", "blue", "--subnet", "10.0.0.1/24"},
        Args{"network", "create", "blue", "--subnet", "banana"}, Args{"network", "create", "blue", "--driver", "carrier-pigeon"},
        Args{"network", "create", "blue", "--driver", "macvlan"}, Args{"network", "create", "blue", "--opt", "novalue"},
        Args{"network", "create", "blue", "--opt", "a=1", "--opt", "a=2"}, Args{"network", "create", "blue", "--vni", "5"},
        Args{"network", "inspect"}, Args{"network", "rm", "a", "b"}, Args{"endpoints", "extra"}, Args{"status", "--mode", "x"}));

INSTANTIATE_TEST_SUITE_P(
    Overlay, BadCommands,
    ::testing::Values(
        Args{"network", "create", "blue", "--driver", "overlay", "--vni", "0"},
        Args{"network", "create", "blue", "--driver", "overlay", "--vni", "16777216"},
        Args{"network", "create", "blue", "--driver", "overlay", "--parent", "eth0"},
        Args{"network", "create", "blue", "--driver", "overlay", "--opt", "learning=maybe"},
        Args{"network", "create", "blue", "--opt", "learning=on"}, Args{"attach", "--mode", "overlay", "--network", "blue"},
        Args{"attach", "--mode", "overlay", "--netns", "web"}, Args{"run", "--mode", "overlay", "--", "true"},
        Args{"attach", "--netns", "web", "--gw-priority", "high"}, Args{"attach", "--netns", "web", "--gw-priority", "2147483648"},
        Args{"attach", "--gw-priority", "1"}, Args{"run", "--mode", "none", "--gw-priority", "1", "--", "true"}, Args{"peer"},
        Args{"peer", "add"}, Args{"peer", "frob"}, Args{"peer", "add", "node2"}, Args{"peer", "add", "192.0.2.7/24"},
        Args{"peer", "add", "127.0.0.1"}, Args{"peer", "add", "0.0.0.0"}, Args{"peer", "add", "::"}, Args{"peer", "add", "224.0.0.1"},
        Args{"peer", "add", "fe80::1"}, Args{"peer", "add", "169.254.0.1"}, Args{"peer", "add", "192.0.2.7", "--network", ""},
        Args{"peer", "add", "192.0.2.7", "192.0.2.8"}, Args{"peer", "rm"}, Args{"peer", "rm", "x"}, Args{"peer", "endpoint"},
        Args{"peer", "endpoint", "add", "10.77.0.9"}, Args{"peer", "endpoint", "add", "10.77.0.9", "--network", "blue"},
        Args{"peer", "endpoint", "add", "10.77.0.9", "--peer", "192.0.2.7"},
        Args{"peer", "endpoint", "add", "fd77::9", "--peer", "192.0.2.7", "--network", "blue"},
        Args{"peer", "endpoint", "add", "10.77.0.9", "10.77.0.8", "--peer", "192.0.2.7", "--network", "blue"},
        Args{"peer", "endpoint", "add", "10.77.0.9", "--peer", "127.0.0.1", "--network", "blue"},
        Args{"peer", "endpoint", "add", "10.77.0.9", "--peer", "192.0.2.7", "--network", "blue", "--mac", "red"},
        Args{"peer", "endpoint", "add", "10.77.0.9", "--peer", "192.0.2.7", "--network", "blue", "--mac", "01:00:00:00:00:01"},
        Args{"peer", "endpoint", "add", "10.77.0.9", "--peer", "192.0.2.7", "--network", "blue", "--mac", "02:66:6e:00:00:01"},
        Args{"peer", "endpoint", "rm", "10.77.0.9"}));

INSTANTIATE_TEST_SUITE_P(Sources, BadCommands,
                         ::testing::Values(Args{"publish", "web", "2000:80", "--allow"}, Args{"publish", "web", "2000:80", "--allow", ""},
                                           Args{"publish", "web", "2000:80", "--allow", "10.0.0.1/8"},
                                           Args{"publish", "web", "2000:80", "--deny", "::ffff:10.0.0.1"},
                                           Args{"publish", "web", "2000:80", "--deny", "localhost"},
                                           Args{"publish", "web", "2000:80", "--allow-file", "/dev/null"},
                                           Args{"attach", "--netns", "web", "--allow", "10.0.0.0/8"},
                                           Args{"run", "--deny", "10.0.0.0/8", "--", "true"}));

TEST(CommandLine, UnknownCommandIsNamed) {
    const Parsed parsed = parse({"attatch", "--mode", "bridge"});
    ASSERT_FALSE(parsed.answer);
    EXPECT_NE(parsed.answer.error().message.find("'attatch'"), std::string::npos) << parsed.answer.error().message;
    const Parsed below = parse({"--root", "x", "network", "frobnicate"});
    ASSERT_FALSE(below.answer);
    EXPECT_NE(below.answer.error().message.find("'frobnicate'"), std::string::npos) << below.answer.error().message;
    EXPECT_EQ(below.answer.error().hint, "see `fastnet network --help`");
}

TEST(CommandLine, RootIsAcceptedBeforeAndBehindTheCommandAndFromTheEnvironment) {
    EXPECT_EQ(parse({"--root", "/a", "status"}).context.root, "/a");
    EXPECT_EQ(parse({"status", "--root", "/b"}).context.root, "/b");
    EXPECT_EQ(parse({"network", "ls", "--root=/c"}).context.root, "/c");
    EXPECT_EQ(parse({"status"}).context.root, "");
    ::setenv("FASTNET_ROOT", "/env", 1);
    Context context;
    EXPECT_TRUE(parse_command_line({"status"}, context));
    EXPECT_EQ(context.root, "/env");
    EXPECT_TRUE(parse_command_line({"status", "--root", "/flag"}, context));
    EXPECT_EQ(context.root, "/flag");
    ::unsetenv("FASTNET_ROOT");
}

TEST(CommandLine, JsonIsAFlagOfTheCommandAndNotOfWhatItRuns) {
    EXPECT_TRUE(parse({"endpoints", "--json"}).context.json);
    EXPECT_FALSE(parse({"endpoints"}).context.json);
    EXPECT_FALSE(parse({"run", "--", "true", "--json"}).context.json);
}

TEST(CommandLine, EveryHelpHasAnExample) {
    for (const Args& command : std::vector<Args>{{},
                                                 {"attach"},
                                                 {"detach"},
                                                 {"publish"},
                                                 {"unpublish"},
                                                 {"run"},
                                                 {"network"},
                                                 {"ports"},
                                                 {"flows"},
                                                 {"stats"},
                                                 {"network", "create"},
                                                 {"network", "ls"},
                                                 {"status"},
                                                 {"doctor"},
                                                 {"cleanup"},
                                                 {"endpoints"},
                                                 {"network", "inspect"},
                                                 {"network", "rm"},
                                                 {"peer"},
                                                 {"peer", "add"},
                                                 {"peer", "ls"},
                                                 {"peer", "rm"},
                                                 {"peer", "endpoint"},
                                                 {"peer", "endpoint", "add"},
                                                 {"peer", "endpoint", "ls"},
                                                 {"peer", "endpoint", "rm"}}) {
        for (const char* flag : {"-h", "--help"}) {
            Args args = command;
            args.emplace_back(flag);
            SCOPED_TRACE(::testing::PrintToString(args));
            const Parsed parsed = parse(args);
            ASSERT_TRUE(parsed.answer);
            ASSERT_TRUE(*parsed.answer);
            EXPECT_NE((*parsed.answer)->text.find("Example:"), std::string::npos);
            if (!command.empty()) {
                EXPECT_NE((*parsed.answer)->text.find(command.back()), std::string::npos);
            }
        }
    }
}

TEST(CommandLine, VersionIsOneLine) {
    const Parsed parsed = parse({"--version"});
    ASSERT_TRUE(parsed.answer);
    ASSERT_TRUE(*parsed.answer);
    EXPECT_EQ((*parsed.answer)->text.rfind("fastnet ", 0), 0U);
    EXPECT_EQ((*parsed.answer)->text.back(), '\n');
}

TEST(ErrorText, AlwaysHasWhatWhyAndAHint) {
    EXPECT_EQ(error_text(failed("open x: denied", "be root")), "fastnet: open x: denied\nbe root\n");
    EXPECT_EQ(error_text(failed("it broke")), "fastnet: command failed: it broke\n`fastnet doctor` looks for the reason\n");
    for (const Error& error : {failed("a: b"), usage_error("a: b"), conflict("a: b"), not_found("a: b")}) {
        const std::string text = error_text(error);
        EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
    }
}

}  // namespace
}  // namespace fastnet
