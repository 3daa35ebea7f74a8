#include "userspace/agent/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <spdlog/sinks/ostream_sink.h>

#include <atomic>
#include <sstream>
#include <thread>

namespace fastnet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// What a test lets a part do, and what the supervisor asked of it.
struct Script {
    bool enabled = true;
    std::string start_error{};
    Condition condition{Condition::State::kReady, {}};
    milliseconds stop_takes{0};
    int starts = 0;
    int stops = 0;
    std::atomic<int> finished{0};
};

class FakePart : public Part {
public:
    FakePart(std::string name, Script& script) : name_{std::move(name)}, script_{script} {}
    std::string_view name() const override { return name_; }
    bool enabled(const AgentConfig& /*config*/) const override { return script_.enabled; }
    bool concerned(const AgentConfig& before, const AgentConfig& after) const override { return !(before.reconcile == after.reconcile); }
    Status start(const AgentConfig& /*config*/) override {
        ++script_.starts;
        if (!script_.start_error.empty()) return failed(script_.start_error);
        return ok();
    }
    void stop() override {
        ++script_.stops;
        std::this_thread::sleep_for(script_.stop_takes);
        ++script_.finished;
    }
    Condition condition() const override { return script_.condition; }
    nlohmann::json details() const override { return {{"asked", true}}; }
    std::vector<CheckView> checks() const override { return {{"etcd", CheckResult::kWarn, "slow", "wait"}}; }
    milliseconds patience() const override { return seconds{10}; }

private:
    std::string name_;
    Script& script_;
};

class SupervisorTest : public ::testing::Test {
protected:
    SupervisorTest() {
        std::vector<std::unique_ptr<Part>> parts;
        parts.push_back(std::make_unique<FakePart>("first", first_));
        parts.push_back(std::make_unique<FakePart>("second", second_));
        first_part_ = parts[0].get();
        auto log = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_));
        supervisor_ = std::make_unique<Supervisor>(std::move(parts), std::move(log));
    }

    void pass(milliseconds time) {
        now_ += time;
        first_part_->heartbeat().beat(now_);
        supervisor_->tick(now_);
    }
    PartReport first() const { return supervisor_->reports(now_).at(0); }

    Script first_;
    Script second_;
    Part* first_part_ = nullptr;
    SteadyTime now_{std::chrono::hours{100}};
    std::ostringstream log_;
    AgentConfig config_;
    std::unique_ptr<Supervisor> supervisor_;
};

TEST_F(SupervisorTest, StartsWhatIsEnabledAndReportsIt) {
    second_.enabled = false;
    EXPECT_THAT(supervisor_->apply(config_, now_), ElementsAre("first"));
    const auto reports = supervisor_->reports(now_);
    EXPECT_EQ(reports[0].state, PartState::kReady);
    EXPECT_EQ(reports[0].details, (nlohmann::json{{"asked", true}}));
    ASSERT_EQ(reports[0].checks.size(), 1U);
    EXPECT_EQ(reports[1].state, PartState::kOff);
    EXPECT_TRUE(reports[1].good());
    EXPECT_THAT(reports[1].checks, IsEmpty());
    EXPECT_EQ(second_.starts, 0);
}

TEST_F(SupervisorTest, APartThatCannotStartIsTriedAgainWithGrowingPausesWhileTheOthersRun) {
    first_.start_error = "listen on x: taken";
    (void)supervisor_->apply(config_, now_);
    EXPECT_EQ(first().state, PartState::kWaiting);
    EXPECT_EQ(first().reason, "listen on x: taken");
    EXPECT_EQ(supervisor_->reports(now_)[1].state, PartState::kReady);
    std::vector<int> pauses;
    int waited = 0;
    for (int tries = first_.starts; pauses.size() < 8;) {
        pass(seconds{1});
        ++waited;
        if (first_.starts == tries) continue;
        tries = first_.starts;
        pauses.push_back(std::exchange(waited, 0));
    }
    EXPECT_THAT(pauses, ElementsAre(1, 2, 4, 8, 16, 30, 30, 30));
    first_.start_error.clear();
    pass(seconds{30});
    EXPECT_EQ(first().state, PartState::kReady);
    EXPECT_EQ(first_.stops, 0) << "what never ran is not stopped";
    EXPECT_EQ(second_.starts, 1);
}

TEST_F(SupervisorTest, APartThatEndedIsStoppedAndStartedAgain) {
    (void)supervisor_->apply(config_, now_);
    first_.condition = {Condition::State::kEnded, "accept: gone"};
    pass(seconds{1});
    EXPECT_EQ(first_.stops, 1);
    EXPECT_EQ(first().state, PartState::kWaiting);
    EXPECT_EQ(first().reason, "accept: gone");
    first_.condition = {Condition::State::kReady, {}};
    pass(milliseconds{999});
    EXPECT_EQ(first_.starts, 1);
    pass(milliseconds{1});
    EXPECT_EQ(first_.starts, 2);
    EXPECT_EQ(first().state, PartState::kReady);
}

TEST_F(SupervisorTest, APartThatEndsAgainAndAgainWaitsLongerUntilItProvedItself) {
    (void)supervisor_->apply(config_, now_);
    const auto end_and_return = [&] {
        first_.condition = {Condition::State::kEnded, "x"};
        pass(milliseconds{1});
        first_.condition = {Condition::State::kReady, {}};
        const int before = first_.starts;
        int waited = 0;
        for (; first_.starts == before && waited < 100; ++waited) pass(seconds{1});
        return waited;
    };
    EXPECT_EQ(end_and_return(), 1);
    EXPECT_EQ(end_and_return(), 2);
    EXPECT_EQ(end_and_return(), 4);
    pass(Supervisor::kProven);
    EXPECT_EQ(end_and_return(), 1);
}

TEST_F(SupervisorTest, NotReadyIsReportedAndLeftAlone) {
    first_.condition = {Condition::State::kNotReady, "etcd: no member answers"};
    (void)supervisor_->apply(config_, now_);
    for (int i = 0; i < 100; ++i) pass(seconds{1});
    EXPECT_EQ(first().state, PartState::kNotReady);
    EXPECT_EQ(first_.starts, 1);
    EXPECT_EQ(first_.stops, 0);
    const std::string log = log_.str();
    EXPECT_EQ(log.find("etcd: no member answers"), log.rfind("etcd: no member answers")) << "said once, not every second\n" << log;
}

TEST_F(SupervisorTest, APartWithoutHeartbeatIsHungAndTheAgentNotAlive) {
    second_.enabled = false;
    (void)supervisor_->apply(config_, now_);
    EXPECT_TRUE(supervisor_->alive(now_ + seconds{10}));
    EXPECT_FALSE(supervisor_->alive(now_ + seconds{10} + milliseconds{1}));
    now_ += seconds{11};
    supervisor_->tick(now_);
    EXPECT_EQ(first().state, PartState::kHung);
    EXPECT_EQ(first().details, nlohmann::json::object()) << "a hung part is asked nothing";
    EXPECT_THAT(log_.str(), HasSubstr("first: hung: gave no sign of life for 11 s"));
    first_part_->heartbeat().beat(now_);
    EXPECT_TRUE(supervisor_->alive(now_));
    EXPECT_EQ(first().state, PartState::kReady);
}

TEST_F(SupervisorTest, ANewConfigurationRestartsOnlyWhatItConcerns) {
    (void)supervisor_->apply(config_, now_);
    config_.log.level = LogLevel::kDebug;
    EXPECT_THAT(supervisor_->apply(config_, now_), IsEmpty());
    EXPECT_EQ(first_.starts, 1);
    config_.reconcile.interval = seconds{5};
    EXPECT_THAT(supervisor_->apply(config_, now_), ElementsAre("first", "second"));
    EXPECT_EQ(first_.starts, 2);
    EXPECT_EQ(first_.stops, 1);
    first_.enabled = false;
    EXPECT_THAT(supervisor_->apply(config_, now_), ElementsAre("first"));
    EXPECT_EQ(first_.stops, 2);
    EXPECT_EQ(first().state, PartState::kOff);
    EXPECT_EQ(second_.starts, 2);
    EXPECT_THAT(supervisor_->apply(config_, now_), IsEmpty());
    config_.reconcile.interval = seconds{6};
    EXPECT_THAT(supervisor_->apply(config_, now_), ElementsAre("second")) << "what is off is not concerned";
}

TEST_F(SupervisorTest, ANewConfigurationIsTriedAtOnceWhateverThePause) {
    first_.start_error = "no";
    (void)supervisor_->apply(config_, now_);
    for (int i = 0; i < 20; ++i) pass(seconds{1});
    const int before = first_.starts;
    first_.start_error.clear();
    config_.reconcile.interval = seconds{5};
    (void)supervisor_->apply(config_, now_);
    EXPECT_EQ(first_.starts, before + 1);
    EXPECT_EQ(first().state, PartState::kReady);
}

TEST_F(SupervisorTest, PartsAreStoppedAllAtOnceAndOneThatTakesTooLongIsNotWaitedFor) {
    first_.stop_takes = milliseconds{300};
    second_.stop_takes = milliseconds{300};
    (void)supervisor_->apply(config_, now_);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(supervisor_->stop(seconds{10}));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds{590}) << "one after the other";
    EXPECT_EQ(first_.stops, 1);
    first_.stop_takes = milliseconds{400};
    (void)supervisor_->apply(config_, now_);
    EXPECT_FALSE(supervisor_->stop(milliseconds{20}));
    while (first_.finished < 2 || second_.finished < 2) std::this_thread::yield();  // threads still use the parts
}

}  // namespace
}  // namespace fastnet
