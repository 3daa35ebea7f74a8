// The agent as a process: start, readiness, signals, its socket, its metrics, and what commands see of it.
#include "tests/harness/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>
#include <set>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class AgentTest : public LabTest {
protected:
    std::string write(const std::string& name, const std::string& text) {
        const auto directory = std::filesystem::path{lab().root().string() + "-files"};
        std::filesystem::create_directories(directory);
        const auto path = directory / name;
        std::ofstream{path} << text;
        directory_ = directory;
        return path.string();
    }
    void TearDown() override {
        LabTest::TearDown();
        std::error_code ignored;
        if (!directory_.empty()) std::filesystem::remove_all(directory_, ignored);
    }
    std::string curl(const std::string& path, const std::string& address = "127.0.0.1:9464") {
        return lab().node().run({"curl", "-s", "-m", "3", "http://" + address + path}).out;
    }
    std::string curl_status(const std::string& path, const Argv& extra = {}) {
        Argv argv{"curl", "-s", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:9464" + path};
        argv.insert(argv.end(), extra.begin(), extra.end());
        return lab().node().run(argv).out;
    }
    std::string socket_path() { return (lab().root().path() / "agent.sock").string(); }

private:
    std::filesystem::path directory_;
};

TEST_F(AgentTest, StartsIsSeenByStatusAndEndsWithinASecondWithoutATrace) {
    Agent agent{lab()};
    agent.wait_ready();
    const auto status = lab().json({"status"});
    EXPECT_EQ(status["agent"]["running"], true);
    EXPECT_EQ(status["agent"]["pid"], agent.pid());
    EXPECT_EQ(status["agent"]["ready"], true);
    EXPECT_EQ(status["agent"]["version"], status["version"]);
    EXPECT_THAT(status["agent"]["since"].get<std::string>(), ::testing::MatchesRegex("20..-..-..T..:..:..Z"));
    EXPECT_THAT(lab().fastnet({"status"}).out, HasSubstr("agent: pid " + std::to_string(agent.pid())));
    struct stat info {};
    ASSERT_EQ(::stat(socket_path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0600U);
    agent.stop();
    EXPECT_FALSE(std::filesystem::exists(socket_path()));
    EXPECT_FALSE(std::filesystem::exists(lab().root().path() / "agent.lock"));
    EXPECT_EQ(lab().json({"status"})["agent"]["running"], false);
}

TEST_F(AgentTest, ASecondAgentIsAConflictThatNamesTheFirst) {
    Agent agent{lab()};
    agent.wait_ready();
    const CommandResult second = lab().fastnet({"agent", "--config", "/dev/null"});
    expect_error(second, kConflict, {"pid " + std::to_string(agent.pid())});
    EXPECT_TRUE(agent.document().is_object()) << "the second one took the socket of the first";
    agent.kill();
    agent.restart();  // the lock of a killed one is nobody's
    agent.wait_ready();
    agent.stop();
}

TEST_F(AgentTest, WhatAKilledAgentLeavesIsNoAgentAndIsCleanedUp) {
    Agent agent{lab()};
    agent.wait_ready();
    agent.kill();
    EXPECT_TRUE(std::filesystem::exists(socket_path()));
    EXPECT_EQ(lab().json({"status"})["agent"]["running"], false);
    lab().attach("web");
    lab().cleanup_and_verify();
    EXPECT_FALSE(std::filesystem::exists(socket_path()));
}

TEST_F(AgentTest, CleanupBesideARunningAgentLeavesItItsFilesAndWarns) {
    Agent agent{lab()};
    agent.wait_ready();
    lab().attach("web");
    const CommandResult cleanup = lab().fastnet({"cleanup"});
    EXPECT_TRUE(cleanup.ok()) << cleanup;
    EXPECT_THAT(cleanup.err, HasSubstr("the agent (pid " + std::to_string(agent.pid()) + ") still runs"));
    EXPECT_TRUE(agent.document().is_object());
    agent.stop();
}

TEST_F(AgentTest, ReloadAppliesWhatChangedAndKeepsTheOldConfigurationWhenTheFileIsBroken) {
    const std::string file = write("fastnet.toml", "[metrics]\naddress = \"127.0.0.1:9464\"\n");
    Agent agent{lab(), {"--config", file}};
    agent.wait_ready();
    EXPECT_EQ(curl("/healthz"), "ok\n");
    write("fastnet.toml", "[metrics]\naddress = \"127.0.0.1:9465\"\n[log]\nlevel = \"debug\"\n");
    agent.reload();
    EXPECT_TRUE(wait_until([&] { return curl("/healthz", "127.0.0.1:9465") == "ok\n"; })) << agent.log();
    EXPECT_EQ(curl("/healthz"), "");
    EXPECT_EQ(agent.part("socket")["starts"], 1) << "what did not change was restarted";
    EXPECT_EQ(agent.part("metrics")["starts"], 2);

    write("fastnet.toml", "[metrics]\nadress = \"127.0.0.1:9466\"\n");
    agent.reload();
    EXPECT_TRUE(wait_until([&] { return agent.document()["config_error"].is_string(); }));
    EXPECT_THAT(agent.document()["config_error"].get<std::string>(), HasSubstr("fastnet.toml:2: metrics.adress: unknown key"));
    EXPECT_THAT(agent.log(), HasSubstr("configuration not reloaded, the old one stays in force"));
    EXPECT_EQ(curl("/healthz", "127.0.0.1:9465"), "ok\n");
    EXPECT_THAT(lab().fastnet({"doctor"}).out, HasSubstr("the last reload was refused"));

    write("fastnet.toml", "");
    agent.reload();
    EXPECT_TRUE(wait_until([&] { return agent.document()["config_error"].is_null(); }));
    EXPECT_EQ(agent.part("metrics")["state"], "off");
    EXPECT_EQ(curl("/healthz", "127.0.0.1:9465"), "");
    agent.stop();
}

TEST_F(AgentTest, APartThatCannotStartIsReportedAndTriedAgain) {
    const Background taken = lab().node().background({"socat", "TCP-LISTEN:9464,bind=127.0.0.1,reuseaddr,fork", "SYSTEM:true"});
    ASSERT_TRUE(wait_until([&] { return is_listening(lab().node(), Transport::kTcp, 9464); }));
    Agent agent{lab(), {"--metrics", "127.0.0.1:9464"}};
    agent.wait_running();
    EXPECT_EQ(agent.document()["ready"], false);
    EXPECT_EQ(agent.part("metrics")["reason"], "listen on 127.0.0.1:9464: Address already in use");
    EXPECT_THAT(agent.get("/readyz"), HasSubstr("metrics: waiting: listen on"));
    EXPECT_THAT(lab().fastnet({"status"}).out, HasSubstr("metrics: waiting: listen on"));
    EXPECT_THAT(lab().fastnet({"doctor"}).out, HasSubstr("agent metrics"));
    taken.signal(SIGKILL);
    agent.wait_ready();
    EXPECT_THAT(curl("/readyz"), HasSubstr("metrics: ready"));
    agent.stop();
}

TEST_F(AgentTest, MetricsArePrometheusTextWithBoundedLabels) {
    lab().attach("web", {"-p", "2000:80"});
    Agent agent{lab(), {"--metrics", "127.0.0.1:9464"}};
    agent.wait_ready();
    lab().client().run({"curl", "-s", "-m", "1", "http://" + kNodeIp + ":2001/"});
    const std::string text = curl("/metrics");
    const CommandResult lint = run({"promtool", "check", "metrics"}, {.input = text});
    EXPECT_TRUE(lint.ok()) << lint;
    EXPECT_EQ(lint.out + lint.err, "") << text;
    const std::uint64_t dropped = lab().verdict("NOT_PUBLISHED");
    for (const std::string& line :
         {std::string{"fastnet_endpoints{mode=\"bridge\"} 1\n"}, std::string{"fastnet_networks{driver=\"bridge\"} 1\n"},
          std::string{"fastnet_published_ports 2\n"}, std::string{"fastnet_prepared 1\n"}, std::string{"fastnet_peers 0\n"},
          std::string{"fastnet_flows{state=\"established\"} "}, std::string{"fastnet_map_entries{map=\"flows\"} "},
          std::string{"fastnet_map_max_entries{map=\"flows\"} "}, std::string{"fastnet_build_info{version=\"0"},
          std::string{"fastnet_part_ready{part=\"metrics\"} 1\n"}, std::string{"process_resident_memory_bytes "},
          "fastnet_drops_total{reason=\"NOT_PUBLISHED\"} " + std::to_string(dropped) + "\n",
          "fastnet_packets_total{path=\"drop\",verdict=\"NOT_PUBLISHED\"} " + std::to_string(dropped) + "\n"})
        EXPECT_THAT(text, HasSubstr(line));
    const std::set<std::string> allowed{"verdict", "path",    "reason", "map",    "state", "mode",
                                        "driver",  "version", "part",   "result", "kind",  "le"};
    const std::regex label{"[{,]([a-z_]+)=\""};
    std::istringstream lines{text};
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with('#')) continue;
        for (std::sregex_iterator at{line.begin(), line.end(), label}, end; at != end; ++at)
            EXPECT_TRUE(allowed.contains((*at)[1])) << line;
    }
    EXPECT_EQ(text.find("web"), std::string::npos) << "the name of an endpoint";
    EXPECT_EQ(text.find(lab().ip("web")), std::string::npos) << "an address";
    agent.stop();
}

TEST_F(AgentTest, HttpByTcpKnowsThreePathsAndOnlyGet) {
    Agent agent{lab(), {"--metrics", "127.0.0.1:9464"}};
    agent.wait_ready();
    for (const char* const path : {"/metrics", "/healthz", "/readyz"}) {
        EXPECT_EQ(curl_status(path), "200") << path;
        EXPECT_EQ(curl_status(path, {"-X", "POST"}), "405") << path;
        EXPECT_EQ(curl_status(path, {"-d", std::string(4000, 'x')}), "405") << path;
    }
    for (const char* const path : {"/", "/v1/status", "/metrics/", "/../etc/passwd"}) EXPECT_EQ(curl_status(path), "404") << path;
    agent.stop();
}

TEST_F(AgentTest, MetricsByIpv6) {
    Agent agent{lab(), {"--metrics", "[::1]:9464"}};
    agent.wait_ready();
    EXPECT_EQ(curl("/healthz", "[::1]:9464"), "ok\n");
    EXPECT_EQ(curl("/healthz"), "") << "nobody asked for IPv4";
    agent.stop();
}

TEST_F(AgentTest, AHungAgentCostsStatusHalfASecondAtMost) {
    Agent agent{lab()};
    agent.wait_ready();
    agent.signal(SIGSTOP);
    const auto begin = std::chrono::steady_clock::now();
    const auto status = lab().json({"status"});
    EXPECT_LT(std::chrono::steady_clock::now() - begin, Millis{1'500});  // 500 ms, and the command itself on a busy machine
    EXPECT_EQ(status["agent"]["running"], true);
    EXPECT_EQ(status["agent"]["pid"], agent.pid());
    EXPECT_THAT(status["agent"]["trouble"].get<std::string>(), HasSubstr("does not answer"));
    const CommandResult doctor = lab().fastnet({"doctor"});
    EXPECT_EQ(doctor.status, 1);
    EXPECT_THAT(doctor.out, HasSubstr("gives no answer"));
    agent.signal(SIGCONT);
    agent.stop();
}

TEST_F(AgentTest, CheckPrintsWhatIsInForceOrWhatIsWrong) {
    const CommandResult standard = lab().fastnet({"agent", "--check", "--config", "/dev/null"});
    EXPECT_TRUE(standard.ok()) << standard;
    EXPECT_THAT(standard.out, HasSubstr("[reconcile]\nenabled = true\n"));
    const std::string file = write("fastnet.toml", "[etcd]\nurls = [\"http://10.0.0.1:2379\"]\n");
    const auto json =
        lab().json({"agent", "--check", "--config", file, "--metrics", "[::1]:1", "--etcd", "http://a:1", "--etcd", "http://b:2"});
    EXPECT_EQ(json["etcd"]["urls"], (nlohmann::json{"http://a:1", "http://b:2"}));
    EXPECT_EQ(json["metrics"]["address"], "[::1]:1");
    expect_error(lab().fastnet({"agent", "--check", "--config", write("bad.toml", "[etcd]\n\nurl = 1\n")}), kUsage,
                 {"bad.toml:3: etcd.url: unknown key"});
    expect_error(lab().fastnet({"agent", "--config", write("bad.toml", "[log]\nlevel = 7\n")}), kUsage, {"bad.toml:2: log.level: must be"});
    expect_error(lab().fastnet({"agent", "--check", "--config", "/nowhere.toml"}), kUsage, {"/nowhere.toml"});
    expect_error(lab().fastnet({"agent", "--check", "--config", "/dev/null", "--metrics", "9464"}), kUsage,
                 {"--metrics: must be ADDRESS:PORT"});
    expect_error(lab().fastnet({"agent", "--check", "--config", "/dev/null", "--etcd", "ftp://x"}), kUsage, {"--etcd: must begin with"});
    expect_error(lab().fastnet({"agent", "--check", "--config",
                                write("files.toml", "[etcd]\nurls = [\"https://a:1\"]\nca_file = \"/nowhere.pem\"\n")}),
                 kUsage, {"/nowhere.pem"});
    const std::string secret = write("password", "geheim\n");
    const std::string with_password = write("password.toml", "[etcd]\nuser = \"u\"\npassword_file = \"" + secret + "\"\n");
    const CommandResult shown = lab().fastnet({"agent", "--check", "--config", with_password});
    EXPECT_TRUE(shown.ok()) << shown;
    EXPECT_EQ(shown.out.find("geheim"), std::string::npos);
    EXPECT_EQ(lab().json({"status"})["agent"]["running"], false);
}

TEST_F(AgentTest, TheUnitIsWhatSystemdUnderstands) {
    if (!run({"systemd-analyze", "--version"}).ok()) GTEST_SKIP() << "systemd-analyze is not installed";
    std::ifstream unit{FASTNET_SOURCE_DIR "/tools/systemd/fastnet-agent.service"};
    std::stringstream text;
    text << unit.rdbuf();
    const std::string copy =
        write("fastnet-agent.service", std::regex_replace(text.str(), std::regex{"/usr/bin/fastnet"}, fastnet_binary()));
    const CommandResult verified = run({"systemd-analyze", "verify", "--man=no", copy});
    EXPECT_TRUE(verified.ok()) << verified;
    EXPECT_EQ(verified.err.find("fastnet-agent.service:"), std::string::npos) << verified.err;
    const CommandResult security = run({"systemd-analyze", "security", "--offline=true", "--threshold=55", "--no-pager", copy});
    EXPECT_TRUE(security.ok()) << security.out.substr(security.out.size() > 400 ? security.out.size() - 400 : 0) << security.err;
}

}  // namespace
}  // namespace fastnet::test
