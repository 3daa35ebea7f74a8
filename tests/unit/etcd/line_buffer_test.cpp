#include "userspace/etcd/line_buffer.h"

#include <gtest/gtest.h>

namespace fastnet {
namespace {

using Lines = std::vector<std::string>;

TEST(LineBuffer, LinesAreTheSameHoweverTheStreamIsCut) {
    const std::string stream = "one\n\ntwo\nthree\nrest";
    for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
        LineBuffer buffer{5};
        Lines lines;
        for (std::size_t at = 0; at < stream.size(); at += piece) {
            ASSERT_TRUE(buffer.append(std::string_view{stream}.substr(at, piece)));
            for (std::string& line : buffer.take()) lines.push_back(std::move(line));
        }
        EXPECT_EQ(lines, (Lines{"one", "two", "three"}));
    }
}

TEST(LineBuffer, LineOfTheLongestKindPassesAndOneByteMoreEndsIt) {
    LineBuffer fits{4};
    EXPECT_TRUE(fits.append("abcd"));
    EXPECT_TRUE(fits.append("\nabcd\n"));
    EXPECT_EQ(fits.take(), (Lines{"abcd", "abcd"}));
    LineBuffer longer{4};
    EXPECT_TRUE(longer.append("ok\nabcd"));
    EXPECT_FALSE(longer.append("e"));
    EXPECT_FALSE(longer.append("\nok\n"));
    EXPECT_TRUE(longer.overflown());
    EXPECT_EQ(longer.take(), (Lines{"ok"}));
}

}  // namespace
}  // namespace fastnet
