// A real etcd in a namespace of the test, and fastnet's client of it called inside that namespace.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/harness/etcd.h"
#include "tests/harness/netns.h"
#include "tests/harness/privileges.h"
#include "tests/harness/wait.h"
#include "userspace/etcd/client.h"
#include "userspace/etcd/watch.h"

namespace fastnet::test {

inline std::string text_of(const Error& error) {
    return error.message + " | " + error.hint;
}

/// What a watch told, from its own thread.
class Told {
public:
    WatchSink sink() {
        return [this](WatchMessage message) {
            const std::lock_guard guard{mutex_};
            messages_.push_back(std::move(message));
        };
    }
    /// All messages of one kind.
    template <typename Kind>
    std::vector<Kind> all() const {
        const std::lock_guard guard{mutex_};
        std::vector<Kind> found;
        for (const WatchMessage& message : messages_) {
            if (const auto* kind = std::get_if<Kind>(&message)) found.push_back(*kind);
        }
        return found;
    }
    /// `key=value` or `-key` of each event, without repetitions of what came before (after a reconnect).
    std::vector<std::string> events() const {
        std::vector<std::string> found;
        std::int64_t newest = 0;
        for (const WatchEvents& some : all<WatchEvents>()) {
            for (const WatchEvent& event : some.events) {
                if (event.kv.mod_revision < newest) continue;
                newest = event.kv.mod_revision;
                found.push_back(event.deleted ? "-" + event.kv.key : event.kv.key + "=" + event.kv.value);
            }
        }
        return found;
    }
    std::string last_why() const {
        const auto whys = all<WatchDisconnected>();
        return whys.empty() ? std::string{} : whys.back().why;
    }

private:
    mutable std::mutex mutex_;
    std::vector<WatchMessage> messages_;
};

class EtcdTest : public ::testing::Test {
protected:
    void SetUp() override {
        FASTNET_SKIP_WITHOUT_PRIVILEGES();
        FASTNET_SKIP_WITHOUT_ETCD();
        netns_.emplace(unique_prefix());
    }

    EtcdCluster& start_etcd(std::size_t members, EtcdOptions options = {}) {
        std::vector<EtcdPlace> places;
        for (std::size_t member = 1; member <= members; ++member) places.push_back({netns_->name(), "127.0.0." + std::to_string(member)});
        cluster_ = std::make_unique<EtcdCluster>(std::move(places), std::move(options));
        return *cluster_;
    }
    /// Three members in namespaces of their own, on a bridge in the client's: each can be cut off, in silence.
    EtcdCluster& start_etcd_apart() {
        std::vector<std::string> commands{"link add br0 type bridge", "link set br0 up", "addr add 10.99.0.254/24 dev br0"};
        std::vector<EtcdPlace> places;
        for (int member = 1; member <= 3; ++member) {
            const Netns& home = homes_.emplace_back(unique_prefix());
            const std::string port = "port" + std::to_string(member);
            const std::string address = "10.99.0." + std::to_string(member);
            commands.push_back("link add " + port + " type veth peer name eth0 netns " + home.name());
            commands.push_back("link set " + port + " master br0 up");
            netns_->ip(std::exchange(commands, {}));
            home.ip({"addr add " + address + "/24 dev eth0", "link set eth0 up"});
            places.push_back({home.name(), address});
        }
        cluster_ = std::make_unique<EtcdCluster>(std::move(places));
        return *cluster_;
    }
    /// From now on packets between @p member and the other members vanish; those of clients too, unless @p clients_pass.
    void cut_off(std::size_t member, bool clients_pass) {
        const std::string others = clients_pass ? " != 10.99.0.254" : " != 127.0.0.1";
        const std::string table =
            "nft add table ip cut; nft 'add chain ip cut in { type filter hook input priority 0; }';"
            "nft 'add chain ip cut out { type filter hook output priority 0; }'";
        const CommandResult cut = homes_.at(member).shell("set -e; " + table + "; nft add rule ip cut in iifname eth0 ip saddr" + others +
                                                          " drop; nft add rule ip cut out oifname eth0 ip daddr" + others + " drop");
        ASSERT_TRUE(cut.ok()) << cut;
    }
    const Netns& netns() const { return *netns_; }
    EtcdCluster& cluster() { return *cluster_; }

    /// Calls @p body in the namespace.
    template <typename Body>
    auto in(Body&& body) {
        std::optional<decltype(body())> result;
        netns_->inside([&] { result.emplace(body()); });
        return std::move(*result);
    }
    EtcdClient client(EtcdConfig config = {}) {
        if (config.urls.empty()) config.urls = cluster_->urls();
        auto opened = EtcdClient::open(std::move(config));
        if (!opened) ADD_FAILURE() << text_of(opened.error());
        return std::move(*opened);
    }
    EtcdWatch watch(Told& told, std::int64_t from, EtcdConfig config = {}, const std::string& prefix = "/fastnet/") {
        if (config.urls.empty()) config.urls = cluster_->urls();
        auto started = in([&] { return EtcdWatch::start(config, prefix, from, 0, told.sink()); });
        if (!started) ADD_FAILURE() << text_of(started.error());
        return std::move(*started);
    }
    TxnResult must(EtcdClient& etcd, const Txn& txn) {
        auto result = in([&] { return etcd.txn(txn); });
        if (!result) {
            ADD_FAILURE() << text_of(result.error());
            return {};
        }
        return std::move(*result);
    }
    std::int64_t put(EtcdClient& etcd, const std::string& key, const std::string& value, std::int64_t lease = 0) {
        return must(etcd, {.then = {TxnOp::put(key, value, lease)}, .harmless_twice = true}).revision;
    }
    RangeResult range(EtcdClient& etcd, const std::string& prefix = "/fastnet/") {
        auto result = in([&] { return etcd.range_prefix(prefix); });
        if (!result) {
            ADD_FAILURE() << text_of(result.error());
            return {};
        }
        return std::move(*result);
    }

private:
    std::optional<Netns> netns_;
    std::deque<Netns> homes_;
    std::unique_ptr<EtcdCluster> cluster_;
};

}  // namespace fastnet::test
