// A network namespace of its own for each test, gone when the test ends; skips without the privilege to make one.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "userspace/host/mounts.h"
#include "userspace/host/netlink.h"
#include "userspace/host/netns.h"

namespace fastnet {

/// EXPECT that a Result holds a value, and show its error if not.
#define EXPECT_OK(...)                                                                                  \
    do {                                                                                                \
        const auto expect_result = (__VA_ARGS__);                                                       \
        EXPECT_TRUE(expect_result.has_value()) << (expect_result ? "" : expect_result.error().message); \
    } while (0)
#define ASSERT_OK(...)                                                                                  \
    do {                                                                                                \
        const auto assert_result = (__VA_ARGS__);                                                       \
        ASSERT_TRUE(assert_result.has_value()) << (assert_result ? "" : assert_result.error().message); \
    } while (0)

inline IpAddress ip(const char* text) {
    return IpAddress::parse(text).value();
}
inline IpPrefix prefix(const char* text) {
    return IpPrefix::parse_interface(text).value();
}
inline MacAddress mac(const char* text) {
    return MacAddress::parse(text).value();
}

/// A second namespace: a container, as far as the test is concerned.
inline Netns fresh_netns() {
    const auto guard = NetnsGuard::enter_new();
    if (!guard) std::abort();
    return Netns::current().value();
}

class OwnNetns : public ::testing::Test {
protected:
    void SetUp() override {
        for (const Capability needed : {Capability::kSysAdmin, Capability::kNetAdmin}) {
            if (!has_capability(needed)) GTEST_SKIP() << "needs " << to_string(needed);
        }
        auto guard = NetnsGuard::enter_new();
        ASSERT_TRUE(guard.has_value()) << guard.error().message;
        guard_.emplace(std::move(*guard));
        netlink_.emplace(Netlink::open().value());
        ASSERT_OK(netlink_->set_up(1));  // lo
    }
    Netlink& netlink() { return *netlink_; }

private:
    std::optional<NetnsGuard> guard_;
    std::optional<Netlink> netlink_;
};

}  // namespace fastnet
