#include "userspace/cluster/identity.h"

#include <gtest/gtest.h>

namespace fastnet::cluster {
namespace {

const Remembered kKnown{std::string(32, 'a'), "machine 1", "a"};

TEST(Identity, ANewNodeGetsAUid) {
    for (const char* const uid : {"", "nonsense"}) {
        const Identity identity = identify({uid, "", ""}, "machine 1", "a", false);
        EXPECT_TRUE(identity.new_uid);
        EXPECT_FALSE(identity.ends_lease || identity.forgets_lease);
        EXPECT_TRUE(identity.remembers_machine);
        EXPECT_EQ(identity.notice, "");
    }
}

TEST(Identity, ARestartChangesNothing) {
    for (const Remembered& before : {kKnown, Remembered{kKnown.uid, "", "a"}, Remembered{kKnown.uid, "machine 1", ""}}) {
        const Identity identity = identify(before, "machine 1", "a", true);
        EXPECT_FALSE(identity.new_uid || identity.ends_lease || identity.forgets_lease);
        EXPECT_TRUE(identity.remembers_machine);
        EXPECT_EQ(identity.notice, "");
    }
}

TEST(Identity, AMachineThatCannotTellItsIdIsTheSame) {
    const Identity identity = identify(kKnown, "", "a", false);
    EXPECT_FALSE(identity.new_uid || identity.ends_lease || identity.forgets_lease);
    EXPECT_FALSE(identity.remembers_machine);
}

TEST(Identity, ACopiedDiskIsAnotherNodeAndLeavesTheLeaseToTheFirst) {
    const Identity identity = identify(kKnown, "machine 2", "b", false);
    EXPECT_TRUE(identity.new_uid);
    EXPECT_TRUE(identity.forgets_lease);
    EXPECT_FALSE(identity.ends_lease) << "the first one lives on it";
    EXPECT_TRUE(identity.remembers_machine);
    EXPECT_NE(identity.notice.find("copy"), std::string::npos);
}

TEST(Identity, WithEndpointsItStaysWhoItIs) {
    const Identity identity = identify(kKnown, "machine 2", "a", true);
    EXPECT_FALSE(identity.new_uid || identity.ends_lease || identity.forgets_lease);
    EXPECT_FALSE(identity.remembers_machine) << "the next start looks again";
    EXPECT_NE(identity.notice, "");
}

TEST(Identity, ARenamedNodeEndsItsOldLease) {
    const Identity identity = identify(kKnown, "machine 1", "b", true);
    EXPECT_FALSE(identity.new_uid || identity.forgets_lease);
    EXPECT_TRUE(identity.ends_lease);
    EXPECT_NE(identity.notice.find("'a'"), std::string::npos) << identity.notice;
}

}  // namespace
}  // namespace fastnet::cluster
