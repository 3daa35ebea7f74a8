#include "userspace/agent/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include <set>
#include <sstream>

#include "tests/unit/model/fixed_random.h"
#include "tests/unit/store/temp_dir.h"

namespace fastnet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Result<AgentConfig> parse(const std::string& text, const ConfigOverrides& overrides = {}) {
    return parse_config(text, "f.toml", overrides, "host-1");
}

AgentConfig parsed(const std::string& text, const ConfigOverrides& overrides = {}) {
    auto config = parse(text, overrides);
    EXPECT_TRUE(config) << text << "\n" << config.error().message;
    return config ? *config : AgentConfig{};
}

std::string error_of(const std::string& text, const ConfigOverrides& overrides = {}) {
    const auto config = parse(text, overrides);
    if (config) return "no error";
    EXPECT_EQ(config.error().kind, ErrorKind::kUsage);
    return config.error().message;
}

AgentConfig defaults() {
    AgentConfig config;
    config.node.name = "host-1";
    return config;
}

std::string contents(const std::string& path) {
    std::ifstream file{path};
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

TEST(AgentConfig, AnEmptyFileIsTheDefaults) {
    EXPECT_EQ(parsed(""), defaults());
}

TEST(AgentConfig, TheSampleFileHasEveryKeyWithItsDefaultAndACommentAboveIt) {
    const std::string sample = contents(FASTNET_SOURCE_DIR "/tools/fastnet.toml");
    EXPECT_EQ(parsed(sample), defaults());
    std::set<std::string> found;
    std::istringstream lines{sample};
    std::string section;
    bool commented = false;
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with('#')) commented = true;
        if (line.empty()) commented = false;
        if (line.starts_with('[')) section = line.substr(1, line.find(']') - 1);
        const std::size_t equals = line.find(" = ");
        if (equals == std::string::npos || line.starts_with('#')) continue;
        EXPECT_TRUE(commented) << line << " has no comment";
        found.insert(section + "." + line.substr(0, equals));
    }
    const std::vector<std::string> keys = config_keys();
    EXPECT_EQ(found, std::set<std::string>(keys.begin(), keys.end()));
}

TEST(AgentConfig, EveryKeyIsRead) {
    const AgentConfig config = parsed(R"(
[node]
name = "n.1"
ipv4 = "192.0.2.7"
ipv6 = "2001:db8::7"
[log]
level = "debug"
[reconcile]
enabled = false
interval = "2m"
debounce = "0s"
[metrics]
address = "[::1]:9464"
[etcd]
urls = ["https://10.0.0.1:2379", "https://[fd00::1]:2379/"]
prefix = "/a/b_c.d-1"
user = "u"
password_file = "/p"
ca_file = "/ca"
cert_file = "/cert"
key_file = "/key"
lease_ttl = "5s"
timeout = "250ms"
)");
    AgentConfig expected;
    expected.node = {"n.1", IpAddress::v4(192, 0, 2, 7), *IpAddress::parse("2001:db8::7")};
    expected.log.level = LogLevel::kDebug;
    expected.reconcile = {false, seconds{120}, milliseconds{0}};
    expected.metrics.address = ListenAddress{*IpAddress::parse("::1"), Port{9464}};
    expected.etcd = {{"https://10.0.0.1:2379", "https://[fd00::1]:2379/"},
                     "/a/b_c.d-1",
                     "u",
                     "/p",
                     "/ca",
                     "/cert",
                     "/key",
                     seconds{5},
                     milliseconds{250}};
    EXPECT_EQ(config, expected);
    const AgentConfig standard = defaults();
    const auto before = nlohmann::json::parse(to_json(standard));
    const auto after = nlohmann::json::parse(to_json(config));
    for (const std::string& key : config_keys()) {  // so that a new key cannot be forgotten above
        const std::string section = key.substr(0, key.find('.'));
        const std::string name = key.substr(key.find('.') + 1);
        EXPECT_NE(before.at(section).at(name), after.at(section).at(name)) << key;
    }
    EXPECT_EQ(parsed(to_toml(config)), config);
    EXPECT_EQ(parsed(to_toml(standard)), standard);
}

TEST(AgentConfig, UnknownKeysAndSectionsAreErrorsWithTheirLine) {
    EXPECT_EQ(error_of("[etcd]\n\nurl = 1\n"), "f.toml:3: etcd.url: unknown key");
    EXPECT_EQ(error_of("\n[etc]\n"), "f.toml:2: etc: unknown key");
    EXPECT_EQ(error_of("interval = \"1s\"\n"), "f.toml:1: interval: unknown key");
    EXPECT_EQ(error_of("etcd = 1\n"), "f.toml:1: etcd: must be a section, [etcd]");
    EXPECT_EQ(error_of("[etcd.urls]\nx = 1\n"), "f.toml:1: etcd.urls: must be an array of strings");
    EXPECT_EQ(error_of("[[etcd]]\n"), "f.toml:1: etcd: must be a section, [etcd]");
    EXPECT_THAT(parse("[etcd]\nurl = 1\n").error().hint, HasSubstr("urls, prefix, user"));
    EXPECT_THAT(parse("[etc]\n").error().hint, HasSubstr("node, log, reconcile, metrics and etcd"));
}

TEST(AgentConfig, WhatIsNoTomlIsAnErrorWithItsLine) {
    EXPECT_THAT(error_of("[etcd]\nurls = [\n"), StartsWith("f.toml:"));
    EXPECT_THAT(error_of("[node]\nname = \"a\"\nname = \"b\"\n"), StartsWith("f.toml:3: "));
    EXPECT_THAT(error_of("[node]\nname = \"a\xff\"\n"), StartsWith("f.toml:2: "));
    EXPECT_EQ(error_of(std::string{"[node]\0", 7}), "f.toml: is no text file");
    EXPECT_THAT(error_of(std::string(10'000, '[')), StartsWith("f.toml:1: "));
    EXPECT_THAT(error_of("x = " + std::string(10'000, '[')), StartsWith("f.toml:1: "));
    EXPECT_THAT(error_of("\"a\\nb\" = 1\n"), StartsWith("f.toml:1: a?b: "));
}

struct BadValue {
    std::string line;  ///< `section.key = value`
    std::string why;
};

TEST(AgentConfig, BadValuesAreErrorsWithKeyAndLine) {
    const std::vector<BadValue> bad{
        {"node.name = 1", "must be a string"},
        {"node.name = \"a/b\"", "node name"},
        {"node.name = \"a\\u0000\"", "has control characters"},
        {"node.ipv4 = \"::1\"", "must be an IPv4 address"},
        {"node.ipv4 = \"127.0.0.1\"", "no address that other nodes can reach"},
        {"node.ipv4 = \"0.0.0.0\"", "no address that other nodes can reach"},
        {"node.ipv4 = \"192.0.2.1/24\"", "must be an IPv4 address"},
        {"node.ipv6 = \"192.0.2.1\"", "must be an IPv6 address"},
        {"node.ipv6 = \"ff02::1\"", "no address that other nodes can reach"},
        {"log.level = \"loud\"", "must be \"debug\", \"info\", \"warning\" or \"error\""},
        {"log.level = 1", "must be \"debug\""},
        {"reconcile.enabled = 1", "must be true or false"},
        {"reconcile.enabled = \"true\"", "must be true or false"},
        {"reconcile.interval = 30", "must be a duration from 1s to 1h"},
        {"reconcile.interval = \"30\"", "must be a duration"},
        {"reconcile.interval = \"0s\"", "must be a duration"},
        {"reconcile.interval = \"2h\"", "must be a duration"},
        {"reconcile.interval = \"-1s\"", "must be a duration"},
        {"reconcile.interval = \"1 s\"", "must be a duration"},
        {"reconcile.interval = \"99999999999999999999h\"", "must be a duration"},
        {"reconcile.interval = \"9223372036854775807h\"", "must be a duration"},
        {"reconcile.debounce = \"1001ms\"", "must be a duration from 0s to 1s"},
        {"metrics.address = \"9464\"", "must be ADDRESS:PORT"},
        {"metrics.address = \":9464\"", "must be ADDRESS:PORT"},
        {"metrics.address = \"::1:9464\"", "must be ADDRESS:PORT"},
        {"metrics.address = \"[127.0.0.1]:9464\"", "must be ADDRESS:PORT"},
        {"metrics.address = \"localhost:9464\"", "must be ADDRESS:PORT"},
        {"metrics.address = \"127.0.0.1:0\"", "must be ADDRESS:PORT"},
        {"metrics.address = \"127.0.0.1:65536\"", "must be ADDRESS:PORT"},
        {"etcd.urls = \"http://a:1\"", "must be an array of strings"},
        {"etcd.urls = [1]", "must be an array of strings"},
        {"etcd.urls = [\"a:2379\"]", "must begin with http:// or https://"},
        {"etcd.urls = [\"http://\"]", "has no host"},
        {"etcd.urls = [\"http://a:1/v3\"]", "without a path"},
        {"etcd.urls = [\"http://a:1?x\"]", "without a path"},
        {"etcd.urls = [\"http://a:1\", \"http://a:1\"]", "twice"},
        {"etcd.prefix = \"fastnet\"", "must be like"},
        {"etcd.prefix = \"/\"", "must be like"},
        {"etcd.prefix = \"/a/\"", "must be like"},
        {"etcd.prefix = \"/a//b\"", "must be like"},
        {"etcd.prefix = \"/a b\"", "must be like"},
        {"etcd.user = true", "must be a string"},
        {"etcd.user = \"u\"", "needs etcd.password_file beside it"},
        {"etcd.password_file = \"/p\"", "needs etcd.user beside it"},
        {"etcd.password_file = \"p\"", "must be an absolute path"},
        {"etcd.ca_file = \"ca.pem\"", "must be an absolute path"},
        {"etcd.cert_file = \"/c\"", "needs etcd.key_file beside it"},
        {"etcd.key_file = \"/k\"", "needs etcd.cert_file beside it"},
        {"etcd.lease_ttl = \"4s\"", "must be a duration from 5s"},
        {"etcd.lease_ttl = \"5500ms\"", "must be whole seconds"},
        {"etcd.timeout = \"99ms\"", "must be a duration from 100ms to 30s"},
    };
    std::set<std::string> keys_with_errors;
    for (const BadValue& one : bad) {
        const std::string key = one.line.substr(0, one.line.find(' '));
        keys_with_errors.insert(key);
        const std::string message = error_of("# first\n" + one.line + "\n");
        EXPECT_THAT(message, StartsWith("f.toml:2: " + key + ": ")) << one.line;
        EXPECT_THAT(message, HasSubstr(one.why)) << one.line;
    }
    for (const std::string& key : config_keys()) EXPECT_TRUE(keys_with_errors.contains(key)) << key << " has no bad value above";
}

TEST(AgentConfig, FilesForTlsWithoutAnHttpsUrlHaveNoEffectAndAreRefused) {
    EXPECT_EQ(error_of("[etcd]\nurls = [\"http://a:1\"]\nca_file = \"/ca\"\n"),
              "f.toml:3: etcd.ca_file: has no effect: no URL in etcd.urls is https");
    EXPECT_TRUE(parse("[etcd]\nurls = [\"http://a:1\", \"https://b:1\"]\nca_file = \"/ca\"\n"));
}

TEST(AgentConfig, APasswordInAUrlIsRefusedAndNotRepeated) {
    const auto config = parse("[etcd]\nurls = [\"http://root:geheim@a:1\"]\n");
    ASSERT_FALSE(config);
    EXPECT_EQ(config.error().message, "f.toml:2: etcd.urls: must not hold a user or password");
    EXPECT_EQ(config.error().hint, "use etcd.user and etcd.password_file");
}

TEST(AgentConfig, TheCommandLineIsAboveTheFile) {
    ConfigOverrides overrides;
    overrides.metrics = *ListenAddress::parse("127.0.0.1:1");
    overrides.etcd_urls = {"http://b:2"};
    const AgentConfig config = parsed("[metrics]\naddress = \"127.0.0.1:2\"\n[etcd]\nurls = [\"http://a:1\"]\n", overrides);
    EXPECT_EQ(config.metrics.address->to_string(), "127.0.0.1:1");
    EXPECT_EQ(config.etcd.urls, std::vector<std::string>{"http://b:2"});
    overrides.etcd_urls = {"b:2"};
    EXPECT_EQ(error_of("", overrides), "--etcd: must begin with http:// or https://");
}

TEST(AgentConfig, TheHostsNameMustDoOnlyWhereNodesAreShared) {
    EXPECT_TRUE(parse_config("", "f", {}, "(none)"));
    const auto config = parse_config("[etcd]\nurls = [\"http://a:1\"]\n", "f", {}, "(none)");
    ASSERT_FALSE(config);
    EXPECT_THAT(config.error().message, StartsWith("node.name: "));
    EXPECT_THAT(config.error().message, HasSubstr("(the host's); set one"));
}

TEST(AgentConfig, AnyBytesAreReadOrRefused) {
    FixedRandom random{5};
    const std::string sample = contents(FASTNET_SOURCE_DIR "/tools/fastnet.toml");
    const std::string letters = "[]{}=\"'\\,.#\n\r\t \x01\x7f\xc3\xff" + std::string(1, '\0') + "abcxyz0159_-:u";
    std::size_t accepted = 0;
    for (int round = 0; round < 4'000; ++round) {
        std::string text = round % 2 == 0 ? sample : std::string{};
        for (std::size_t edits = random.below(40); edits > 0; --edits) {
            const std::size_t at = text.empty() ? 0 : random.below(static_cast<unsigned>(text.size()) + 1);
            switch (random.below(3)) {
                case 0: text.insert(at, 1, letters[random.below(static_cast<unsigned>(letters.size()))]); break;
                case 1: text.insert(at, 1, static_cast<char>(random.below(256))); break;
                default: text.erase(at, random.below(5)); break;
            }
        }
        const auto config = parse(text);
        if (!config) {
            EXPECT_THAT(config.error().message, StartsWith("f.toml")) << text;
            EXPECT_EQ(config.error().message.find('\n'), std::string::npos) << config.error().message;
            continue;
        }
        ++accepted;
        EXPECT_EQ(parsed(to_toml(*config)), *config) << text;
    }
    EXPECT_GT(accepted, 50U);
}

class AgentConfigFile : public ::testing::Test {
protected:
    std::string write(const std::string& name, const std::string& text) const {
        const auto path = dir_.path() / name;
        std::ofstream{path} << text;
        return path.string();
    }
    TempDir dir_;
};

TEST_F(AgentConfigFile, ANamedFileMustExistAndBeAFile) {
    const auto missing = load_config(dir_.path() / "none.toml", {});
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(missing.error().message, HasSubstr("none.toml: No such file"));
    EXPECT_FALSE(load_config(dir_.path(), {}));
    EXPECT_FALSE(load_config("/dev/zero", {}));
    const auto large = load_config(write("large.toml", std::string(65'537, '#')), {});
    ASSERT_FALSE(large);
    EXPECT_THAT(large.error().message, HasSubstr("is larger than 65536 bytes"));
    const auto good = load_config(write("good.toml", "[log]\nlevel = \"error\"\n"), {});
    ASSERT_TRUE(good) << good.error().message;
    EXPECT_EQ(good->log.level, LogLevel::kError);
    EXPECT_FALSE(good->node.name.empty());
}

TEST_F(AgentConfigFile, FilesThatItNamesAreLookedAt) {
    AgentConfig config;
    EXPECT_TRUE(check_files(config));
    config.etcd.ca_file = (dir_.path() / "ca").string();
    ASSERT_FALSE(check_files(config));
    EXPECT_THAT(check_files(config).error().message, HasSubstr("ca: No such file"));
    (void)write("ca", "x");
    EXPECT_TRUE(check_files(config));
    config.etcd.password_file = write("password", "\n");
    EXPECT_FALSE(check_files(config));
    (void)write("password", "geheim\n");
    EXPECT_TRUE(check_files(config));
    EXPECT_EQ(*read_password(config.etcd.password_file), "geheim");
    EXPECT_EQ(to_json(config).find("geheim"), std::string::npos);
}

}  // namespace
}  // namespace fastnet
