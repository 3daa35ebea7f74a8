#include "userspace/cluster/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace fastnet::cluster {
namespace {

using namespace std::chrono_literals;

constexpr auto kLease = 30s;
constexpr auto kHoldOff = kLease + Schedule::kHoldOffMargin;

class ScheduleTest : public ::testing::Test {
protected:
    /// Begun, read, in step: nothing to do.
    void settle() {
        schedule.begun(now);
        schedule.node_read(true);
        schedule.range_read(now);
        publish();
        schedule.remote_read();
    }
    void publish(bool done = true, bool stale = false) {
        schedule.publish_begins();
        schedule.publish_ended(done, stale, now);
    }
    std::chrono::milliseconds wait(std::optional<Schedule::Time> deadline = std::nullopt) const {
        return std::chrono::duration_cast<std::chrono::milliseconds>(schedule.wake_at(now, deadline) - now);
    }

    Schedule schedule{kLease};
    Schedule::Time now{1'000s};
};

// --- order of things ------------------------------------------------------------------------------------------------

TEST_F(ScheduleTest, BeginsFirstThenReadsThenPublishes) {
    EXPECT_TRUE(schedule.must_begin(now));
    EXPECT_FALSE(schedule.must_connect(now));
    schedule.begun(now);
    EXPECT_FALSE(schedule.must_begin(now));
    EXPECT_TRUE(schedule.must_read_node());
    schedule.node_read(true);
    EXPECT_FALSE(schedule.must_read_node());
    EXPECT_TRUE(schedule.must_connect(now));
    EXPECT_FALSE(schedule.must_publish(now)) << "what etcd has is not known";
    EXPECT_FALSE(schedule.must_apply(now));
    schedule.range_read(now);
    EXPECT_FALSE(schedule.must_connect(now));
    EXPECT_TRUE(schedule.must_publish(now));
    EXPECT_TRUE(schedule.must_apply(now));
    EXPECT_TRUE(schedule.must_read_remote());
    publish();
    EXPECT_FALSE(schedule.must_publish(now));
}

TEST_F(ScheduleTest, WhoIsInStepWaitsABeat) {
    settle();
    EXPECT_FALSE(schedule.must_publish(now));
    EXPECT_FALSE(schedule.must_read_node());
    EXPECT_FALSE(schedule.must_connect(now));
    EXPECT_EQ(wait(), Schedule::kBeat);
}

TEST_F(ScheduleTest, ANodeThatIsAsItWasPublishesNothing) {
    settle();
    schedule.node_changed();
    EXPECT_TRUE(schedule.must_read_node());
    EXPECT_FALSE(schedule.must_publish(now));
    schedule.node_read(false);
    EXPECT_FALSE(schedule.must_publish(now));
    schedule.node_changed();
    schedule.node_read(true);
    EXPECT_TRUE(schedule.must_publish(now));
    EXPECT_EQ(wait(), 0ms);
}

TEST_F(ScheduleTest, WhatChangesWhileItIsPublishedIsPublishedOnceMore) {
    settle();
    schedule.own_entries_touched();
    schedule.publish_begins();
    schedule.own_entries_touched();
    schedule.publish_ended(true, false, now);
    EXPECT_TRUE(schedule.must_publish(now));
    publish();
    EXPECT_FALSE(schedule.must_publish(now));
}

TEST_F(ScheduleTest, ALostLeaseOrANewAddressIsPublished) {
    settle();
    schedule.lease_lost();
    EXPECT_TRUE(schedule.must_publish(now));
    publish();
    schedule.self_changed();
    EXPECT_TRUE(schedule.must_publish(now));
}

TEST_F(ScheduleTest, EveryPeriodTheNodeIsReadAndPublished) {
    settle();
    now += Schedule::kPeriod - 1ms;
    EXPECT_FALSE(schedule.take_period(now));
    now += 1ms;
    EXPECT_TRUE(schedule.take_period(now));
    EXPECT_FALSE(schedule.take_period(now)) << "once";
    EXPECT_TRUE(schedule.must_read_node());
    EXPECT_FALSE(schedule.must_publish(now)) << "the node first";
    schedule.node_read(false);
    EXPECT_TRUE(schedule.must_publish(now));
}

TEST_F(ScheduleTest, AddressesAreLookedForEveryPeriodAndSoonerAfterAFailure) {
    settle();
    EXPECT_FALSE(schedule.must_find_ends(now));
    now += Schedule::kPeriod;
    EXPECT_TRUE(schedule.take_period(now));
    EXPECT_TRUE(schedule.must_find_ends(now));
    schedule.ends_found();
    EXPECT_FALSE(schedule.must_find_ends(now));
    schedule.ends_failed(now);
    EXPECT_FALSE(schedule.must_find_ends(now));
    EXPECT_TRUE(schedule.must_find_ends(now + Schedule::kLongestPause));
    schedule.node_read(false);
    EXPECT_TRUE(schedule.must_publish(now)) << "which shows why";
}

// --- the watch ------------------------------------------------------------------------------------------------------

TEST_F(ScheduleTest, CutOffNothingIsPublishedAndNothingApplied) {
    settle();
    schedule.watch_fell();
    schedule.own_entries_touched();
    EXPECT_FALSE(schedule.is_connected());
    EXPECT_FALSE(schedule.must_publish(now));
    EXPECT_FALSE(schedule.must_apply(now));
    EXPECT_FALSE(schedule.must_connect(now)) << "the watch tries by itself";
    EXPECT_EQ(wait(), Schedule::kBeat);
    schedule.watch_stands(now);
    EXPECT_TRUE(schedule.must_publish(now));
    EXPECT_TRUE(schedule.must_apply(now));
}

TEST_F(ScheduleTest, AWatchThatStandsAgainPublishesAtOnceWhateverFailedBefore) {
    settle();
    schedule.own_entries_touched();
    schedule.failed(now);
    EXPECT_FALSE(schedule.must_publish(now));
    schedule.watch_stands(now);
    EXPECT_TRUE(schedule.must_publish(now));
}

TEST_F(ScheduleTest, AWatchThatEndedIsFollowedByAFullReadAtOnce) {
    settle();
    now += Schedule::kReadSeldom;
    schedule.failed(now);
    schedule.watch_ended(now);
    EXPECT_TRUE(schedule.must_connect(now));
    EXPECT_FALSE(schedule.must_publish(now));
    EXPECT_FALSE(schedule.must_apply(now));
}

TEST_F(ScheduleTest, WatchesThatEndOneAfterTheOtherAreNotFollowedByReadsWithoutAPause) {
    settle();
    for (const auto pause : {500ms, 1'000ms, 2'000ms, 4'000ms, 8'000ms, 16'000ms, 30'000ms, 30'000ms}) {
        schedule.watch_ended(now);
        EXPECT_FALSE(schedule.must_connect(now + pause - 1ms)) << pause.count();
        now += pause;
        EXPECT_TRUE(schedule.must_connect(now)) << pause.count();
        schedule.range_read(now);
        schedule.succeeded();
    }
    now += Schedule::kReadSeldom;
    schedule.watch_ended(now);
    EXPECT_TRUE(schedule.must_connect(now)) << "it went well for long enough";
}

TEST_F(ScheduleTest, AfterAnOverflowEverythingIsReadAgainOnlyMuchLater) {
    settle();
    schedule.watch_ended(now);
    schedule.overflowed(now);
    schedule.failed(now);
    EXPECT_FALSE(schedule.must_connect(now + Schedule::kOverflowPause - 1ms));
    EXPECT_TRUE(schedule.must_connect(now + Schedule::kOverflowPause));
}

TEST_F(ScheduleTest, NothingIsPublishedAsLongAsTheNodeIsNotKnown) {
    settle();
    schedule.own_entries_touched();
    schedule.node_changed();
    EXPECT_FALSE(schedule.must_publish(now)) << "what it does not have any more would seem to be missing in etcd";
    schedule.node_read(false);
    EXPECT_TRUE(schedule.must_publish(now));
}

// --- failures -------------------------------------------------------------------------------------------------------

TEST_F(ScheduleTest, EachFailureWaitsTwiceAsLongUpToABound) {
    for (const auto pause : {100ms, 200ms, 400ms, 800ms, 1'600ms, 2'000ms, 2'000ms}) {
        schedule.failed(now);
        EXPECT_EQ(wait(), std::min<std::chrono::milliseconds>(pause, Schedule::kBeat));
        now += pause;
        EXPECT_FALSE(schedule.must_begin(now - 1ms)) << pause.count();
        EXPECT_TRUE(schedule.must_begin(now)) << pause.count();
    }
}

TEST_F(ScheduleTest, ASuccessEndsTheBackOff) {
    for (int i = 0; i < 4; ++i) schedule.failed(now);
    schedule.succeeded();
    EXPECT_TRUE(schedule.must_begin(now));
    schedule.failed(now);
    EXPECT_EQ(wait(), Schedule::kFirstPause);
}

TEST_F(ScheduleTest, WhatCouldNotBePublishedStaysToBeDone) {
    settle();
    schedule.own_entries_touched();
    publish(false);
    schedule.failed(now);
    EXPECT_FALSE(schedule.must_publish(now));
    EXPECT_TRUE(schedule.must_publish(now + Schedule::kFirstPause));
    EXPECT_EQ(wait(), Schedule::kFirstPause);
}

TEST_F(ScheduleTest, WhoMetSomebodyElsesChangeLetsItComeFirst) {
    settle();
    schedule.own_entries_touched();
    publish(true, true);
    EXPECT_FALSE(schedule.must_publish(now));
    EXPECT_EQ(wait(), Schedule::kSettle);
    EXPECT_TRUE(schedule.must_publish(now + Schedule::kSettle)) << "also when the watch brings nothing";
    schedule.own_entries_touched();
    EXPECT_TRUE(schedule.must_publish(now)) << "it came";
}

TEST_F(ScheduleTest, ARefusedChangeOfOthersEntriesIsReadAnewAfterAPause) {
    settle();
    schedule.remote_begins();
    schedule.remote_failed(now);
    EXPECT_TRUE(schedule.must_read_remote());
    EXPECT_FALSE(schedule.must_apply(now));
    EXPECT_FALSE(schedule.must_publish(now));
    EXPECT_TRUE(schedule.must_apply(now + Schedule::kLongestPause));
    schedule.remote_begins();
    EXPECT_TRUE(schedule.must_apply(now));
}

TEST_F(ScheduleTest, WhoKeepsQuietPublishesNothingWhateverComes) {
    settle();
    schedule.keep_quiet(now + 700ms);
    schedule.own_entries_touched();
    schedule.watch_stands(now);
    EXPECT_FALSE(schedule.must_publish(now));
    EXPECT_EQ(wait(), 700ms);
    EXPECT_TRUE(schedule.must_publish(now + 700ms));
}

TEST_F(ScheduleTest, WhoFindsTheNodeBusyTriesAgainSoonAndReadsNothingAnew) {
    settle();
    schedule.remote_begins();
    schedule.remote_busy(now);
    EXPECT_FALSE(schedule.must_apply(now));
    EXPECT_FALSE(schedule.must_read_remote());
    EXPECT_EQ(wait(), Schedule::kFirstPause);
    EXPECT_TRUE(schedule.must_apply(now + Schedule::kFirstPause));
}

// --- wipes ----------------------------------------------------------------------------------------------------------

TEST_F(ScheduleTest, AWipeHoldsUpForTheLeaseAndAMargin) {
    settle();
    EXPECT_FALSE(schedule.wiped_until(now));
    schedule.wiped(now);
    EXPECT_EQ(schedule.wiped_until(now), now + kHoldOff);
    EXPECT_EQ(schedule.kept_until(now), now + kHoldOff);
    EXPECT_TRUE(schedule.must_publish(now)) << "this node's own are written again";
    publish();
    EXPECT_FALSE(schedule.take_end_of_hold_off(now + kHoldOff - 1ms));
    now += kHoldOff;
    EXPECT_FALSE(schedule.wiped_until(now));
    EXPECT_FALSE(schedule.must_publish(now));
    EXPECT_TRUE(schedule.take_end_of_hold_off(now));
    EXPECT_TRUE(schedule.must_publish(now)) << "new blocks may be taken";
    EXPECT_FALSE(schedule.take_end_of_hold_off(now)) << "once";
}

TEST_F(ScheduleTest, WhatGoesOnMissingDoesNotBeginTheHoldOffAnew) {
    settle();
    EXPECT_FALSE(schedule.missing_blocks({}, now));
    EXPECT_TRUE(schedule.missing_blocks({"block 1"}, now));
    const auto end = now + kHoldOff;
    // It cannot be written (the name is another node's), and events go on.
    for (; now < end + 10s; now += 1s) {
        EXPECT_FALSE(schedule.missing_blocks({"block 1"}, now));
        EXPECT_EQ(schedule.wiped_until(now).has_value(), now < end);
    }
}

TEST_F(ScheduleTest, WhatIsMissingInAdditionBeginsItAnew) {
    settle();
    EXPECT_TRUE(schedule.missing_blocks({"block 1", "block 2"}, now));
    now += 10s;
    EXPECT_FALSE(schedule.missing_blocks({"block 1"}, now)) << "one of them was written";
    EXPECT_TRUE(schedule.missing_blocks({"block 1", "networks"}, now));
    EXPECT_EQ(schedule.wiped_until(now), now + kHoldOff);
    now += 10s;
    EXPECT_FALSE(schedule.missing_blocks({}, now));
    EXPECT_TRUE(schedule.missing_blocks({"block 1"}, now)) << "wiped again";
    EXPECT_EQ(schedule.wiped_until(now), now + kHoldOff);
}

TEST_F(ScheduleTest, AHoldOffDoesNotEndWithoutEtcd) {
    settle();
    schedule.wiped(now);
    schedule.watch_fell();
    now += 10 * kHoldOff;
    EXPECT_TRUE(schedule.wiped_until(now)) << "nobody could write";
    EXPECT_FALSE(schedule.take_end_of_hold_off(now));
    EXPECT_EQ(wait(), Schedule::kBeat);
    schedule.watch_stands(now);
    EXPECT_EQ(schedule.wiped_until(now), now + kHoldOff);
    EXPECT_TRUE(schedule.take_end_of_hold_off(now + kHoldOff));
}

TEST_F(ScheduleTest, NetworksArePutBackInAHoldOffAndWhileTheGenerationIsMissing) {
    settle();
    EXPECT_FALSE(schedule.may_restore(now)) << "somebody removed them";
    schedule.wiped(now);
    EXPECT_TRUE(schedule.may_restore(now));
    EXPECT_FALSE(schedule.may_restore(now + kHoldOff));
    EXPECT_TRUE(schedule.missing_networks(true, now));
    EXPECT_FALSE(schedule.missing_networks(true, now)) << "once";
    EXPECT_TRUE(schedule.may_restore(now + kHoldOff)) << "etcd refused all of it until now";
    schedule.missing_networks(false, now);
    EXPECT_TRUE(schedule.may_restore(now)) << "others' networks are on their way";
    EXPECT_FALSE(schedule.may_restore(now + kHoldOff));
    schedule.was_away(now);
    EXPECT_FALSE(schedule.may_restore(now + kHoldOff)) << "away is no wipe";
}

TEST_F(ScheduleTest, MissingBlocksHoldUpButBringNoNetworkBack) {
    settle();
    EXPECT_TRUE(schedule.missing_blocks({"block 1"}, now));
    EXPECT_TRUE(schedule.wiped_until(now));
    EXPECT_FALSE(schedule.may_restore(now)) << "`--forget` freed them while this node was off";
    schedule.wiped(now);
    EXPECT_TRUE(schedule.may_restore(now));
    EXPECT_TRUE(schedule.missing_blocks({"block 2"}, now));
    EXPECT_TRUE(schedule.may_restore(now)) << "less is missing, and all was";
    now += kHoldOff;
    EXPECT_TRUE(schedule.take_end_of_hold_off(now));
    EXPECT_TRUE(schedule.missing_blocks({"block 3"}, now));
    EXPECT_FALSE(schedule.may_restore(now));
}

TEST_F(ScheduleTest, AHoldOffIsKnownUntilItsEndAndGoesOnAfterARestart) {
    settle();
    EXPECT_EQ(schedule.wiped_parts(), WipedParts::kNone);
    schedule.missing_blocks({"block 1"}, now);
    EXPECT_EQ(schedule.wiped_parts(), WipedParts::kBlocks);
    schedule.wiped(now);
    EXPECT_EQ(schedule.wiped_parts(), WipedParts::kEverything);
    schedule.take_end_of_hold_off(now + kHoldOff);
    EXPECT_EQ(schedule.wiped_parts(), WipedParts::kNone);

    Schedule restarted{kLease};
    restarted.hold_up(WipedParts::kNone, now);
    EXPECT_FALSE(restarted.wiped_until(now));
    restarted.hold_up(WipedParts::kBlocks, now);
    restarted.begun(now);
    EXPECT_TRUE(restarted.wiped_until(now + kHoldOff)) << "not before etcd was there that long";
    restarted.range_read(now + kHoldOff);
    EXPECT_EQ(restarted.wiped_until(now + kHoldOff), now + 2 * kHoldOff);
    EXPECT_FALSE(restarted.may_restore(now + kHoldOff));
}

TEST_F(ScheduleTest, WhoWasAwayKeepsWhatVanishedButMayTakeBlocks) {
    settle();
    schedule.was_away(now);
    EXPECT_FALSE(schedule.wiped_until(now));
    EXPECT_EQ(schedule.kept_until(now), now + kHoldOff);
    schedule.wiped(now + 5s);
    EXPECT_EQ(schedule.kept_until(now), now + kHoldOff + 5s) << "the later one";
    EXPECT_FALSE(schedule.kept_until(now + kHoldOff + 5s));
}

TEST_F(ScheduleTest, WakesForWhateverComesFirst) {
    settle();
    schedule.wiped(now);
    publish();
    now += kHoldOff - 300ms;
    EXPECT_EQ(wait(), 300ms) << "the end of the hold-off";
    EXPECT_EQ(wait(now + 200ms), 200ms) << "something that is kept has to go";
    EXPECT_EQ(wait(now - 1ms), 300ms) << "what is over wakes nobody";
    schedule.failed(now);
    EXPECT_EQ(wait(now + 200ms), Schedule::kFirstPause);
}

}  // namespace
}  // namespace fastnet::cluster
