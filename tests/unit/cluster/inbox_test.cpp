#include "userspace/cluster/inbox.h"

#include <gtest/gtest.h>

namespace fastnet::cluster {
namespace {

WatchMessage changes(std::size_t count, std::size_t bytes = 10) {
    WatchEvents events;
    events.events.resize(count);
    for (WatchEvent& event : events.events) event.kv.value.assign(bytes, 'x');
    return events;
}

TEST(ClusterInbox, KeepsTheOrder) {
    Inbox inbox;
    inbox.expect(1);
    inbox.push(1, WatchConnected{"url", 7});
    inbox.push(1, changes(2));
    const auto messages = inbox.take();
    ASSERT_EQ(messages.size(), 2U);
    EXPECT_TRUE(std::holds_alternative<WatchConnected>(messages[0]));
    EXPECT_TRUE(std::holds_alternative<WatchEvents>(messages[1]));
    EXPECT_TRUE(inbox.take().empty());
}

TEST(ClusterInbox, TakesNothingOfAFormerWatch) {
    Inbox inbox;
    inbox.expect(1);
    inbox.push(1, changes(1));
    inbox.expect(2);
    inbox.push(1, changes(1));
    EXPECT_TRUE(inbox.take().empty());
    inbox.push(2, changes(1));
    EXPECT_EQ(inbox.take().size(), 1U);
}

TEST(ClusterInbox, BeyondItsBoundsEverythingIsReadAnew) {
    const std::size_t large = 1024 * 1024;
    for (const auto& [count, bytes] : {std::pair{std::size_t{1'000}, std::size_t{10}}, std::pair{std::size_t{1}, large}}) {
        Inbox inbox;
        inbox.expect(1);
        for (int i = 0; i < 300; ++i) inbox.push(1, changes(count, bytes));
        const auto messages = inbox.take();
        ASSERT_EQ(messages.size(), 1U) << count;
        EXPECT_TRUE(std::holds_alternative<WatchCompacted>(messages[0]));
        inbox.push(1, changes(1));
        EXPECT_TRUE(inbox.take().empty()) << "there is a gap";
        inbox.expect(2);
        inbox.push(2, changes(1));
        EXPECT_EQ(inbox.take().size(), 1U);
    }
}

TEST(ClusterInbox, WhatIsTakenInTimeIsNoTrouble) {
    Inbox inbox;
    inbox.expect(1);
    for (int i = 0; i < 300; ++i) {
        inbox.push(1, changes(1'000));
        EXPECT_EQ(inbox.take().size(), 1U);
    }
}

}  // namespace
}  // namespace fastnet::cluster
