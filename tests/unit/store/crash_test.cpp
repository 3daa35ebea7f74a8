// Processes that die at the worst moment, and many that work at once.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <vector>

#include "tests/unit/store/child_process.h"
#include "tests/unit/store/temp_dir.h"
#include "userspace/store/crash_point.h"
#include "userspace/store/node_lock.h"
#include "userspace/store/store.h"

namespace fastnet {
namespace {

constexpr int kFailed = 1;

Network blue_network() {
    Network network;
    network.name = "blue";
    network.subnets = {*IpPrefix::parse("10.0.0.0/24")};
    network.gateways = {*IpAddress::parse("10.0.0.1")};
    return network;
}

PublishedPort published(std::uint16_t port) {
    PublishedPort record;
    record.host_ip = IpAddress::any(Family::kIpv4);
    record.host_ports = record.container_ports = {Port{port}, Port{port}};
    return record;
}

Endpoint draft(const std::string& name, std::uint32_t network_id) {
    Endpoint endpoint;
    endpoint.name = name;
    endpoint.network_id = network_id;
    endpoint.netns = name;
    endpoint.netns_id = "4:" + name;
    endpoint.ifname = "eth0";
    return endpoint;
}

/// Attach as far as the store sees it: intent, then commit.
Status attach(Store& store, const std::string& name, std::uint16_t port) {
    const auto network = TRY(store.find_network("blue"));
    if (!network) return not_found("network");
    const Endpoint staged = TRY(store.stage_endpoint(draft(name, network->id), {published(port)}));
    return store.mark_ready(staged);
}

Status attach_and_detach(const std::filesystem::path& root) {
    Store store = TRY(Store::open(root));
    CHECK_OK(attach(store, "web", 2000));
    const auto web = TRY(store.find_endpoint("web"));
    CHECK_OK(store.mark_deleting(web->id));
    return store.remove_endpoint(web->id);
}

TEST(CrashPoint, WithoutTheVariableNothingHappens) {
    for (int i = 0; i < 10; ++i) crash_point();
}

TEST(CrashPoint, TheCallWithThatNumberIsTheLast) {
    for (const char* text : {"1", "3"})
        EXPECT_EQ(wait_for(start_child([&] {
                      ::setenv("FASTNET_CRASH_AT", text, 1);
                      for (int i = 0; i < 3; ++i) crash_point();
                      return 0;
                  })),
                  -SIGKILL);
    for (const char* text : {"4", "0", "soon", ""})
        EXPECT_EQ(wait_for(start_child([&] {
                      ::setenv("FASTNET_CRASH_AT", text, 1);
                      for (int i = 0; i < 3; ++i) crash_point();
                      return 0;
                  })),
                  0);
}

TEST(Crash, KilledAtEveryPointOfAttachAndDetachTheStateIsWholeAndUsable) {
    bool survived = false;
    std::set<int> states_seen;
    for (int at = 1; at < 100 && !survived; ++at) {
        const TempDir dir;
        {
            auto store = Store::open(dir.path());
            ASSERT_TRUE(store);
            ASSERT_TRUE(store->add_network(blue_network()));
        }
        const int status = wait_for(start_child([&] {
            ::setenv("FASTNET_CRASH_AT", std::to_string(at).c_str(), 1);
            return attach_and_detach(dir.path()) ? 0 : kFailed;
        }));
        survived = status == 0;
        ASSERT_TRUE(survived || status == -SIGKILL) << status;

        auto store = Store::open(dir.path());
        ASSERT_TRUE(store) << store.error().message;
        ASSERT_TRUE(store->check_integrity());
        const auto endpoints = *store->endpoints();
        const auto ports = *store->ports();
        ASSERT_EQ(endpoints.size(), ports.size()) << "an endpoint and its port come and go together";
        states_seen.insert(endpoints.empty() ? 0 : static_cast<int>(endpoints.front().state));
        // What a repair does, and then the same attach works.
        const auto unfinished_endpoints = *store->pending_or_deleting();
        for (const Endpoint& unfinished : unfinished_endpoints) ASSERT_TRUE(store->remove_endpoint(unfinished.id));
        if (const auto ready = *store->find_endpoint("web")) {
            ASSERT_TRUE(store->remove_endpoint(ready->id));
        }
        const auto again = attach(*store, "web", 2000);
        ASSERT_TRUE(again) << again.error().message;
    }
    EXPECT_TRUE(survived);
    EXPECT_EQ(states_seen, (std::set{0, 1, 2, 3})) << "the points lie between all steps";
}

TEST(Crash, KilledAtEveryPointOfTheFirstOpenTheNextOneWorks) {
    bool survived = false;
    for (int at = 1; at < 100 && !survived; ++at) {
        const TempDir dir;
        const int status = wait_for(start_child([&] {
            ::setenv("FASTNET_CRASH_AT", std::to_string(at).c_str(), 1);
            return Store::open(dir.path()) ? 0 : kFailed;
        }));
        survived = status == 0;
        ASSERT_TRUE(survived || status == -SIGKILL) << status;
        auto store = Store::open(dir.path());
        ASSERT_TRUE(store) << store.error().message;
        ASSERT_TRUE(store->add_network(blue_network()));
        ASSERT_TRUE(store->check_integrity());
    }
    EXPECT_TRUE(survived);
}

TEST(Crash, AnOpenTransactionOfAKilledProcessIsGoneAndLocksNobodyOut) {
    const TempDir dir;
    ASSERT_TRUE(Store::open(dir.path())->add_network(blue_network()));
    EXPECT_EQ(wait_for(start_child([&] {
                  auto store = Store::open(dir.path());
                  if (!store) return kFailed;
                  auto transaction = store->begin();
                  if (!transaction || !store->set_setting("half", "done") || !attach(*store, "web", 2000)) return kFailed;
                  (void)::raise(SIGKILL);
                  return 0;
              })),
              -SIGKILL);
    auto store = Store::open(dir.path());
    ASSERT_TRUE(store);
    EXPECT_EQ(*store->setting("half"), std::nullopt);
    EXPECT_TRUE(store->endpoints()->empty());
    EXPECT_TRUE(attach(*store, "web", 2000));
}

TEST(Concurrency, TwentyProcessesThatOpenANewDatabaseAtOnceAllSucceed) {
    const TempDir dir;
    std::vector<pid_t> children;
    for (int i = 0; i < 20; ++i)
        children.push_back(start_child([&, i] {
            auto store = Store::open(dir.path() / "state");
            if (!store) {
                std::fprintf(stderr, "%s\n", store.error().message.c_str());
                return kFailed;
            }
            return store->set_setting("child" + std::to_string(i), "here") ? 0 : kFailed + 1;
        }));
    for (const pid_t child : children) EXPECT_EQ(wait_for(child), 0);
    auto store = Store::open(dir.path() / "state", Store::OpenMode::kExisting);
    ASSERT_TRUE(store);
    for (int i = 0; i < 20; ++i) EXPECT_EQ(*store->setting("child" + std::to_string(i)), "here") << i;
}

TEST(Concurrency, TwentyProcessesThatAttachAtOnceGetDistinctAddresses) {
    const TempDir dir;
    ASSERT_TRUE(Store::open(dir.path())->add_network(blue_network()));
    std::vector<pid_t> children;
    for (int i = 0; i < 20; ++i)
        children.push_back(start_child([&, i] {
            auto store = Store::open(dir.path(), Store::OpenMode::kExisting);
            if (!store) return kFailed;
            for (int round = 0; round < 5; ++round) {
                const std::string name = "ep" + std::to_string(i) + "." + std::to_string(round);
                const auto port = static_cast<std::uint16_t>(3000 + i * 10 + round);
                if (!attach(*store, name, port)) return kFailed + 1;
            }
            return 0;
        }));
    for (const pid_t child : children) EXPECT_EQ(wait_for(child), 0);
    auto store = Store::open(dir.path());
    ASSERT_TRUE(store);
    std::set<IpPrefix> addresses;
    const auto endpoints = *store->endpoints();
    for (const Endpoint& endpoint : endpoints) {
        EXPECT_EQ(endpoint.state, EndpointState::kReady);
        addresses.insert(*endpoint.ipv4);
    }
    EXPECT_EQ(addresses.size(), 100U);
    EXPECT_EQ(store->ports()->size(), 100U);
    EXPECT_TRUE(store->check_integrity());
}

TEST(Concurrency, OfTwentyProcessesThatWantOnePortOneGetsIt) {
    const TempDir dir;
    ASSERT_TRUE(Store::open(dir.path())->add_network(blue_network()));
    std::vector<pid_t> children;
    constexpr int kConflict = 3;
    for (int i = 0; i < 20; ++i)
        children.push_back(start_child([&, i] {
            auto store = Store::open(dir.path());
            if (!store) return kFailed;
            const auto attached = attach(*store, "ep" + std::to_string(i), 2000);
            if (attached) return 0;
            return attached.error().kind == ErrorKind::kConflict ? kConflict : kFailed;
        }));
    int winners = 0;
    for (const pid_t child : children) {
        const int status = wait_for(child);
        EXPECT_TRUE(status == 0 || status == kConflict) << status;
        winners += status == 0 ? 1 : 0;
    }
    EXPECT_EQ(winners, 1);
}

}  // namespace
}  // namespace fastnet
