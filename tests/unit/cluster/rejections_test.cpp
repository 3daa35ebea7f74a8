#include "userspace/cluster/rejections.h"

#include <gtest/gtest.h>

namespace fastnet::cluster {
namespace {

using namespace std::chrono_literals;

Refusal refusal(const std::string& what, std::int64_t revision = 7, Reason reason = Reason::kUnreadable) {
    return {what, revision, reason, "because"};
}

TEST(ClusterRejections, AreLoggedOncePerKeyAndRevision) {
    Rejections rejections;
    const Time now{1000s};
    EXPECT_EQ(rejections.add(refusal("nodes/a"), now), "rejected nodes/a (revision 7, unreadable): because");
    EXPECT_EQ(rejections.add(refusal("nodes/a"), now), "");
    EXPECT_NE(rejections.add(refusal("nodes/a", 8), now), "");
    EXPECT_NE(rejections.add(refusal("nodes/a", 8, Reason::kUnfitNode), now), "");
    EXPECT_EQ(rejections.total(), 3U);
    EXPECT_EQ(rejections.counts(), (std::map<Reason, std::size_t>{{Reason::kUnfitNode, 1}}));
    rejections.remove("nodes/a");
    EXPECT_TRUE(rejections.counts().empty());
    EXPECT_NE(rejections.add(refusal("nodes/a", 8), now), "") << "taken in between";
}

TEST(ClusterRejections, AreBoundedHoweverManyThereAre) {
    Rejections rejections;
    Time now{1000s};
    std::size_t lines = 0;
    for (std::size_t i = 0; i < Rejections::kMostKept + 500; ++i)
        lines += rejections.add(refusal("k" + std::to_string(i)), now).empty() ? 0 : 1;
    EXPECT_EQ(lines, Rejections::kMostLines);
    EXPECT_EQ(rejections.counts().at(Reason::kUnreadable), Rejections::kMostKept);
    EXPECT_EQ(rejections.first(20).size(), 20U);
    now += 61s;
    EXPECT_NE(rejections.add(refusal("later"), now).find("others before it"), std::string::npos);
}

TEST(ClusterRejections, WriteNothingIntoTheLogThatATerminalObeys) {
    Rejections rejections;
    const std::string line = rejections.add({"nodes/\x1b[2J\n" + std::string(400, 'x'), 1, Reason::kUnreadable, "a\nb"}, Time{1000s});
    EXPECT_EQ(line.find('\n'), std::string::npos);
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
    EXPECT_LT(line.size(), 300U);
}

}  // namespace
}  // namespace fastnet::cluster
