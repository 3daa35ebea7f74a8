#include "userspace/control/timeouts.h"

#include <gtest/gtest.h>

namespace fastnet {
namespace {

FlowTimeouts changed(const std::string& text, const FlowTimeouts& before = {}) {
    const auto changes = parse_timeouts(text);
    EXPECT_TRUE(changes) << text;
    return changes ? changed(before, *changes) : before;
}

TEST(Timeouts, AreSecondsOrWhatTheLetterSays) {
    EXPECT_EQ(changed("udp=7").udp, 7U);
    EXPECT_EQ(changed("udp=7s").udp, 7U);
    EXPECT_EQ(changed("tcp-opening=4m").tcp_opening, 240U);
    EXPECT_EQ(changed("tcp-established=5h").tcp_established, 18000U);
    EXPECT_EQ(changed("tcp-established=365d").tcp_established, 31536000U);
}

TEST(Timeouts, SeveralChangeAndTheOthersStay) {
    EXPECT_EQ(changed("udp=400,icmp=61,tcp-closing=241", {.dns = 11}),
              (FlowTimeouts{.tcp_closing = 241, .udp = 400, .dns = 11, .icmp = 61}));
}

TEST(Timeouts, DefaultUndoesAChange) {
    EXPECT_EQ(changed("udp=default", {.udp = 1, .other = 2}), (FlowTimeouts{.other = 2}));
}

TEST(Timeouts, AreStoredAsTheyAreRead) {
    const FlowTimeouts odd{
        .tcp_established = 1, .tcp_opening = 2, .tcp_closing = 3, .udp = 4, .udp_unreplied = 5, .dns = 6, .icmp = 7, .other = 8};
    EXPECT_EQ(changed(to_string(odd)), odd) << "every one of them has a name";
    EXPECT_EQ(changed(to_string(FlowTimeouts{})), FlowTimeouts{});
}

TEST(Timeouts, NonsenseIsAUsageErrorThatQuotesIt) {
    for (const char* const text :
         {"",        "udp",      "udp=",        "=5",           "udp=0",      "udp=0h",   "udp=-1",         "udp=1x",
          "udp=1ms", "udp=1.5h", "udp= 5",      "UDP=5",        "tcp=5",      "udp=366d", "udp=4294967296", "udp=4294967295d",
          "udp=5,",  ",udp=5",   "udp=5,udp=6", "udp=5;icmp=6", "udp=DEFAULT"}) {
        SCOPED_TRACE(text);
        const auto changes = parse_timeouts(text);
        ASSERT_FALSE(changes);
        EXPECT_EQ(changes.error().kind, ErrorKind::kUsage);
        EXPECT_FALSE(changes.error().hint.empty());
    }
}

TEST(Timeouts, WhatGoesBelowItsRfcIsAllowedAndSaid) {
    EXPECT_TRUE(warnings_about(
                    *parse_timeouts("tcp-established=7440,tcp-opening=240,tcp-closing=4m,udp=2m,udp-unreplied=120,icmp=60,dns=1,other=1"))
                    .empty());
    const auto warnings =
        warnings_about(*parse_timeouts("tcp-established=7439,tcp-opening=239,tcp-closing=239,udp=119,udp-unreplied=119,icmp=59"));
    ASSERT_EQ(warnings.size(), 6U);
    EXPECT_EQ(warnings[0],
              "time-out tcp-established=7439: RFC 5382 REQ-5 asks for 7440 s at least; peers that rely on it find their connections gone");
    EXPECT_NE(warnings[3].find("RFC 4787 REQ-5"), std::string::npos);
    EXPECT_NE(warnings[5].find("RFC 5508 REQ-2"), std::string::npos);
}

TEST(Timeouts, DefaultsAreWhatTheRfcsAskFor) {
    const FlowTimeouts defaults;
    for (const TimeoutKnob& knob : timeout_knobs()) EXPECT_GE(defaults.*knob.value, knob.least) << knob.name;
    EXPECT_GE(defaults.udp, 300U) << "recommended by RFC 4787 REQ-5c";
}

}  // namespace
}  // namespace fastnet
