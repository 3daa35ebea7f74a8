// The fixture of tests with several nodes and one etcd, and a stream of pings that knows what it lost.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "tests/harness/agent.h"
#include "tests/harness/etcd.h"
#include "tests/harness/overlay_lab.h"
#include "tests/harness/privileges.h"
#include "tests/harness/wait.h"

namespace fastnet::test {

/// etcd's members on the router, an agent on each node that a test starts one on.
class Cluster : public OverlayLabTest {
protected:
    explicit Cluster(std::size_t members = 1) : members_{members} {}

    void SetUp() override {
        FASTNET_SKIP_WITHOUT_ETCD();
        OverlayLabTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        files_ = std::make_unique<RootDir>(unique_prefix() + "-conf");
        std::vector<EtcdPlace> places;
        for (std::size_t member = 1; member <= members_; ++member) {
            const std::string address = "198.51.100." + std::to_string(member);
            if (address != kInternetIp) lab().router().ip({"addr add " + address + "/32 dev lo"});
            places.push_back({lab().router().name(), address});
        }
        etcd_.emplace(std::move(places));
    }
    void TearDown() override {
        if (HasFailure())
            for (const auto& agent : agents_)
                if (agent) std::cerr << agent->log();
        for (auto& agent : agents_) agent.reset();
        etcd_.reset();
        OverlayLabTest::TearDown();
        files_.reset();
    }

    EtcdCluster& etcd() { return *etcd_; }

    std::string config(std::size_t number, const std::string& prefix = "/fastnet", const std::string& name = "") {
        const auto path = files_->path() / ("node" + std::to_string(number) + ".toml");
        std::ofstream file{path};
        file << "[node]\nname = \"" << (name.empty() ? "n" + std::to_string(number) : name)
             << "\"\n[etcd]\nurls = " << nlohmann::json(etcd().urls()) << "\nprefix = \"" << prefix << "\"\nlease_ttl = \"5s\"\n";
        return path.string();
    }
    Agent& start(std::size_t number, const std::string& prefix = "/fastnet", const std::string& name = "") {
        agents_.at(number - 1) = std::make_unique<Agent>(lab().node(number), Argv{"--config", config(number, prefix, name)});
        return agent(number);
    }
    void start_all() {
        for (std::size_t number = 1; number <= kOverlayNodes; ++number) start(number);
        for (std::size_t number = 1; number <= kOverlayNodes; ++number) agent(number).wait_ready();
    }
    Agent& agent(std::size_t number) { return *agents_.at(number - 1); }
    nlohmann::json details(std::size_t number) {
        const nlohmann::json part = agent(number).part("cluster");
        return part.is_object() ? part["details"] : nlohmann::json::object();
    }
    std::string state(std::size_t number) {
        const nlohmann::json part = agent(number).part("cluster");
        return part.is_object() ? part["state"].get<std::string>() + " " + part["reason"].get<std::string>() : std::string{};
    }

    bool is_cut_off(std::size_t number) { return state(number).find("not ready") == 0; }

    void create(std::size_t number, const std::string& name = "blue", const Argv& extra = {"--subnet", "10.99.0.0/20"}) {
        Argv args{"network", "create", name, "--driver", "overlay"};
        args.insert(args.end(), extra.begin(), extra.end());
        lab().node(number).json(args);
    }
    bool has_network(std::size_t number, const std::string& name = "blue") {
        const nlohmann::json rows = lab().node(number).json({"network", "ls"});
        return std::any_of(rows.begin(), rows.end(), [&](const nlohmann::json& row) { return row["name"] == name; });
    }
    void wait_network(const std::string& name = "blue") {
        for (std::size_t number = 1; number <= kOverlayNodes; ++number)
            if (agents_.at(number - 1)) {
                ASSERT_TRUE(wait_until([&] { return has_network(number, name); })) << "node " << number << "\n" << agent(number).log();
            }
    }
    std::string attach(std::size_t number, const std::string& label, const Argv& extra = {}, const std::string& network = "blue") {
        Argv args{"--network", network};
        args.insert(args.end(), extra.begin(), extra.end());
        lab().node(number).attach(label, args, "overlay");
        return lab().node(number).ip(label);
    }
    std::size_t remote_endpoints(std::size_t number) {
        const nlohmann::json found = details(number);
        return found.contains("endpoints") ? found["endpoints"]["remote"].get<std::size_t>() : 999;
    }
    bool pings(std::size_t number, const std::string& label, const std::string& ip, const char* patience = "1") {
        return lab().node(number).at(label).run({"ping", "-c", "1", "-W", patience, ip}).ok();
    }
    void expect_reach(std::size_t number, const std::string& label, const std::string& ip) {
        EXPECT_TRUE(wait_until([&] { return pings(number, label, ip); })) << "node " << number << " " << label << " -> " << ip;
    }
    CommandResult put(const std::string& path, const nlohmann::json& value) {
        return etcd().etcdctl({"put", path, value.is_string() ? value.get<std::string>() : value.dump()});
    }
    std::string dump() { return etcd().etcdctl({"get", "--prefix", "/"}).out; }

    std::array<std::unique_ptr<Agent>, kOverlayNodes> agents_;

private:
    std::size_t members_;
    std::unique_ptr<RootDir> files_;
    std::optional<EtcdCluster> etcd_;
};

/// Pings beside the test, numbered; what was lost is known at the end.
class Stream {
public:
    Stream(const Netns& from, const std::string& to) : ping_{from.background({"ping", "-q", "-i", "0.01", to})} {}
    /// Answered and sent, for two seconds at least.
    std::pair<long, long> end() {
        EXPECT_TRUE(wait_until([&] { return std::chrono::steady_clock::now() - begun_ > std::chrono::seconds{2}; }));
        ping_.signal(SIGINT);
        (void)ping_.wait(Millis{5000});
        std::smatch match;
        const std::string text = ping_.output();
        if (!std::regex_search(text, match, std::regex{"([0-9]+) packets transmitted, ([0-9]+) received"})) return {-1, -2};
        return {std::stol(match[2]), std::stol(match[1])};
    }

private:
    Background ping_;
    std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

/// The last one may be on its way when it ends.
#define EXPECT_NO_LOSS(stream)                        \
    do {                                              \
        const auto [answered, sent] = (stream).end(); \
        EXPECT_GT(sent, 50);                          \
        EXPECT_GE(answered, sent - 1);                \
    } while (false)

}  // namespace fastnet::test
