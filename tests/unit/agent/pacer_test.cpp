#include "userspace/agent/pacer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fastnet {
namespace {

using namespace std::chrono_literals;
using Outcome = Pacer::Outcome;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PacerTest : public ::testing::Test {
protected:
    PacerTest() { check(Outcome::kNothing); }  // the first one, that is due at once

    /// A check that takes no time, at the present moment.
    std::vector<std::string> check(Outcome outcome, std::chrono::milliseconds took = 0ms, const std::set<std::string>& repaired = {}) {
        return pacer_.checked(outcome, took, now_, repaired);
    }
    std::chrono::milliseconds due_in() const { return std::chrono::duration_cast<std::chrono::milliseconds>(pacer_.next_check() - now_); }
    /// Somebody undoes what was repaired, which is seen and repaired when that is due. Returns how long it took.
    std::chrono::milliseconds undone(const std::string& subject) {
        pacer_.changed(subject, now_);
        const auto wait = due_in();
        now_ += wait;
        contested_ = check(Outcome::kRepaired);
        return wait;
    }

    /// Nothing happens but the checks of every interval, which find nothing.
    void rest(std::chrono::seconds time) {
        for (const Pacer::Time end = now_ + time; now_ < end; check(Outcome::kNothing)) now_ += settings_.interval;
    }

    ReconcileSettings settings_{true, 10s, 50ms};
    Pacer::Time now_{1000s};
    Pacer pacer_{settings_, now_};
    std::vector<std::string> contested_;
};

TEST_F(PacerTest, FirstCheckIsDueAtOnce) {
    const Pacer fresh{settings_, now_};
    EXPECT_EQ(fresh.next_check(), now_);
}

TEST_F(PacerTest, WithoutChangesEveryIntervalIsOneCheck) {
    EXPECT_EQ(due_in(), 10s);
    now_ += 10s;
    check(Outcome::kNothing);
    EXPECT_EQ(due_in(), 10s);
}

TEST_F(PacerTest, PeriodicCheckTakesNoMoreThanAHundredthOfTheTime) {
    check(Outcome::kNothing, 99ms);
    EXPECT_EQ(due_in(), 10s);
    check(Outcome::kNothing, 300ms);
    EXPECT_EQ(due_in(), 30s);
}

TEST_F(PacerTest, StreamOfChangesIsCheckedAfterOneDebounce) {
    for (int i = 0; i < 40; ++i) {
        pacer_.changed("eth0", now_);
        EXPECT_EQ(due_in(), 50ms - i * 1ms) << "each change delays the check";
        now_ += 1ms;
    }
    now_ += 10ms;
    check(Outcome::kNothing);
    EXPECT_TRUE(pacer_.waits_for_changes());
    EXPECT_EQ(due_in(), 10s);
}

TEST_F(PacerTest, ExpensiveCheckIsFollowedByAPauseInProportionButARepairComesWithinASecond) {
    check(Outcome::kNothing, 10ms);
    pacer_.changed("eth0", now_);
    EXPECT_EQ(due_in(), 200ms);
    check(Outcome::kNothing, 3000ms);
    pacer_.changed("eth0", now_);
    EXPECT_EQ(due_in(), 500ms);
    now_ += 480ms;
    pacer_.changed("eth1", now_);
    EXPECT_EQ(due_in(), 20ms);
    now_ += 20ms;
    check(Outcome::kNothing);
    pacer_.changed("eth0", now_);
    EXPECT_EQ(due_in(), 50ms);
}

TEST_F(PacerTest, WhoKeepsUndoingARepairWaitsLongerEachTimeUpToTheInterval) {
    for (int i = 0; i < 4; ++i) EXPECT_EQ(undone("eth0"), 50ms) << i;
    EXPECT_EQ(undone("eth0"), 1s);
    EXPECT_EQ(undone("eth0"), 2s);
    EXPECT_EQ(undone("eth0"), 4s);
    EXPECT_EQ(undone("eth0"), 8s);
    EXPECT_EQ(undone("eth0"), 10s);
    EXPECT_EQ(undone("eth0"), 10s);
}

TEST_F(PacerTest, ContestIsToldOnce) {
    for (int i = 0; i < 3; ++i) {
        undone("eth0");
        EXPECT_THAT(contested_, IsEmpty());
        EXPECT_FALSE(pacer_.is_contested("eth0"));
    }
    undone("eth0");
    EXPECT_THAT(contested_, ElementsAre("eth0"));
    EXPECT_TRUE(pacer_.is_contested("eth0"));
    undone("eth0");
    EXPECT_THAT(contested_, IsEmpty());
}

TEST_F(PacerTest, WhatOnlyChangedWithTheOthersIsNotContested) {
    std::vector<std::string> contested;
    for (int i = 0; i < 4; ++i) {
        pacer_.changed("fn-1-default", now_);
        pacer_.changed("fnv-3", now_);
        EXPECT_EQ(due_in(), 50ms);
        now_ += due_in();
        contested = check(Outcome::kRepaired, 0ms, {"fn-1-default"});
    }
    EXPECT_THAT(contested, ElementsAre("fn-1-default"));
    EXPECT_FALSE(pacer_.is_contested("fnv-3"));
    pacer_.changed("fnv-3", now_);
    EXPECT_EQ(due_in(), 1s) << "it would bring the other's repair at once";
    pacer_.changed("fnv-9", now_);
    EXPECT_EQ(due_in(), 50ms);
}

TEST_F(PacerTest, ContestOverOneThingDoesNotDelayTheRepairOfAnother) {
    for (int i = 0; i < 8; ++i) undone("eth0");
    pacer_.changed("eth0", now_);
    EXPECT_GT(due_in(), 5s);
    pacer_.changed("fn-1-default", now_);
    EXPECT_EQ(due_in(), 50ms);
}

TEST_F(PacerTest, ChangesThatNeedNoRepairAreNoContest) {
    for (int i = 0; i < 50; ++i) {
        pacer_.changed("eth0", now_);
        EXPECT_EQ(due_in(), 50ms);
        now_ += 50ms;
        EXPECT_THAT(check(Outcome::kNothing), IsEmpty());
    }
    EXPECT_FALSE(pacer_.is_contested("eth0"));
}

TEST_F(PacerTest, ContestIsForgottenAfterAMinuteOfPeace) {
    for (int i = 0; i < 6; ++i) undone("eth0");
    rest(80s);
    EXPECT_FALSE(pacer_.is_contested("eth0"));
    EXPECT_EQ(undone("eth0"), 50ms);
}

TEST_F(PacerTest, RareRepairsOfOneThingAreNoContest) {
    for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(undone("eth0"), 50ms);
        EXPECT_THAT(contested_, IsEmpty());
        rest(70s);
    }
}

TEST_F(PacerTest, FailedCheckIsTriedAgainSoonAndThenLessOften) {
    for (const auto wait : {1s, 2s, 4s, 8s, 10s, 10s}) {
        check(Outcome::kFailed);
        EXPECT_EQ(due_in(), wait);
        now_ += wait;
    }
    pacer_.changed("eth0", now_);
    check(Outcome::kNothing);
    EXPECT_EQ(due_in(), 10s);
    check(Outcome::kFailed);
    EXPECT_EQ(due_in(), 1s);
}

TEST_F(PacerTest, ChangesWithoutASubjectAreNobodysContest) {
    for (int i = 0; i < 20; ++i) EXPECT_EQ(undone(""), 50ms);
}

}  // namespace
}  // namespace fastnet
