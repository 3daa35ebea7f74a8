#include "userspace/control/host_settings.h"

#include <gtest/gtest.h>

namespace fastnet {
namespace {

ReservedPorts ports(const char* text) {
    return *ReservedPorts::parse(text);
}

/// One node's sysctl and record, changed as the functions of host_settings.h do.
class Reserved : public ::testing::Test {
protected:
    void want(const char* text) {
        const ReservedPlan plan = plan_reserved(current_, saved_, ports(text));
        current_ = plan.value;
        saved_ = plan.record;
    }
    std::string value() const { return current_.to_string(); }

    ReservedPorts current_;
    std::optional<SavedSysctl> saved_;
};

TEST_F(Reserved, PortsAreMergedAndGivenBack) {
    current_ = ports("1234,40000-40002");
    want("33000,40002-40004");
    EXPECT_EQ(value(), "1234,33000,40000-40004");
    want("40002-40004");
    EXPECT_EQ(value(), "1234,40000-40004");
    want("");
    EXPECT_EQ(value(), "1234,40000-40002");
    EXPECT_FALSE(saved_);
}

TEST_F(Reserved, NothingOfOursIsNoRecord) {
    current_ = ports("80");
    want("80");
    EXPECT_EQ(value(), "80");
    EXPECT_FALSE(saved_) << "the administrator's own reservation covers it";
    want("");
    EXPECT_EQ(value(), "80");
}

TEST_F(Reserved, WhatTheAdministratorAddsMeanwhileStays) {
    want("33000");
    current_ = ports("33000,50000");
    want("33000-33001");
    EXPECT_EQ(value(), "33000-33001,50000");
    want("");
    EXPECT_EQ(value(), "50000");
}

TEST_F(Reserved, WhatTheAdministratorTakesAwayIsPutBackWhileItIsPublished) {
    want("33000");
    current_ = ports("");
    want("33000");
    EXPECT_EQ(value(), "33000");
    want("");
    EXPECT_EQ(value(), "");
}

TEST_F(Reserved, RecordThatIsWiderThanWhatIsInForceTakesNothingOfOthers) {
    // A crash between the record and the write.
    saved_ = SavedSysctl{"net/ipv4/ip_local_reserved_ports", "1234", "1234,33000"};
    current_ = ports("1234");
    want("");
    EXPECT_EQ(value(), "1234");
    EXPECT_FALSE(saved_);
}

TEST_F(Reserved, OursIsWhatWasAdded) {
    EXPECT_TRUE(ours_of(std::nullopt).empty());
    EXPECT_EQ(ours_of(SavedSysctl{"", "1-10", "1-20"}).to_string(), "11-20");
    EXPECT_TRUE(ours_of(SavedSysctl{"", "nonsense", "1-20"}).empty());
}

}  // namespace
}  // namespace fastnet
