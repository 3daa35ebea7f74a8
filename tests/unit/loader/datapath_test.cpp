#include "loader/datapath.h"

#include <gtest/gtest.h>

namespace fastnet {
namespace {

constexpr std::uint64_t kGiB = 1ULL << 30U;

TEST(FlowTableMemory, IsReservedWhereItIsAHundredthOfTheMachineAtMost) {
    EXPECT_TRUE(reserves_flow_table(262144, 16 * kGiB));
    EXPECT_FALSE(reserves_flow_table(262144, 8 * kGiB));
    EXPECT_TRUE(reserves_flow_table(65536, 4 * kGiB));
    EXPECT_FALSE(reserves_flow_table(4'000'000, 64 * kGiB));
}

TEST(FlowTableMemory, IsNotReservedBeyondWhatTheAgentsUnitMayTake) {
    EXPECT_TRUE(reserves_flow_table(500'000, 512 * kGiB));
    EXPECT_FALSE(reserves_flow_table(10'000'000, 512 * kGiB));
}

TEST(FlowTableMemory, IsNotReservedWhereTheMachinesIsNotKnown) {
    EXPECT_FALSE(reserves_flow_table(1024, 0));
}

}  // namespace
}  // namespace fastnet
