#include "userspace/control/vxlan.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <sys/socket.h>

#include "tests/unit/host/own_netns.h"
#include "userspace/model/names.h"

namespace fastnet {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Vxlan : public OwnNetns {
protected:
    void SetUp() override {
        OwnNetns::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        ASSERT_OK(netlink().create_bridge({.name = "br0", .mac = mac("02:00:00:00:00:01"), .mtu = 1450}));
        wanted_.name = vxlan_ifname_for(7);
        wanted_.vni = 42;
        wanted_.bridge = "br0";
        wanted_.mtu = 1450;
    }
    VxlanState present() {
        const auto found = read_vxlans(netlink(), netlink().links().value());
        EXPECT_TRUE(found.has_value());
        EXPECT_LE(found->size(), 1U);
        return found->empty() ? VxlanState{} : found->begin()->second;
    }
    void expect_made() {
        ASSERT_OK(make_vxlan(netlink(), wanted_));
        EXPECT_EQ(present(), wanted_);
    }
    IfIndex index() { return netlink().link(wanted_.name).value().index; }
    VxlanState wanted_;
};

TEST_F(Vxlan, IsMadeOnceAndCorrectedWithoutBeingMadeAnew) {
    wanted_.peers = {ip("192.0.2.1"), ip("192.0.2.2")};
    expect_made();
    const IfIndex first = index();
    EXPECT_THAT(netlink().addresses(first).value(), IsEmpty()) << "it would send of its own";
    expect_made();
    wanted_.peers = {ip("192.0.2.2"), ip("192.0.2.3")};
    expect_made();
    wanted_.isolated = true;
    expect_made();
    wanted_.isolated = false;
    wanted_.mtu = 1400;
    expect_made();
    ASSERT_OK(netlink().set_link(first, {.up = false, .master = 0}));
    ASSERT_OK(netlink().add_vxlan_peer(first, ip("203.0.113.9")));
    EXPECT_NE(present(), wanted_);
    expect_made();
    wanted_.up = false;
    expect_made();
    EXPECT_EQ(index(), first);
}

TEST_F(Vxlan, IsolationHoldsFromTheStart) {
    wanted_.isolated = true;
    expect_made();
}

TEST_F(Vxlan, NeitherItNorItsPortLearns) {
    wanted_.peers = {ip("192.0.2.1")};
    expect_made();
    const IfIndex first = index();
    EXPECT_FALSE(netlink().link(first)->vxlan_learns);
    EXPECT_FALSE(netlink().link(first)->port_learns);
    ASSERT_OK(netlink().set_bridge_port(first, {.learning = true}));
    EXPECT_NE(present(), wanted_);
    expect_made();
    EXPECT_EQ(index(), first);
    ASSERT_OK(netlink().delete_link(first));
    ASSERT_OK(netlink().create_vxlan({.name = wanted_.name, .vni = wanted_.vni, .port = Port{4789}, .mtu = 1450, .learning = true}));
    EXPECT_TRUE(present().learns);
    expect_made();
}

TEST_F(Vxlan, IsMadeAnewForAnotherVniPortOrFamily) {
    wanted_.peers = {ip("192.0.2.1")};
    expect_made();
    wanted_.vni = 43;
    expect_made();
    wanted_.peers = {ip("2001:db8::1"), ip("2001:db8::2")};
    expect_made();
    wanted_.peers = {};
    expect_made();
    ASSERT_OK(netlink().delete_link(index()));
    ASSERT_OK(netlink().create_vxlan({.name = wanted_.name, .vni = wanted_.vni, .port = Port{8472}}));
    expect_made();
}

TEST_F(Vxlan, ProgramsAreThereBeforeItComesUp) {
    unsigned calls = 0;
    const auto gate = [&](IfIndex device) -> Status {
        ++calls;
        EXPECT_FALSE(netlink().link(device)->up);
        return ok();
    };
    ASSERT_OK(make_vxlan(netlink(), wanted_, gate));
    EXPECT_EQ(calls, 1U);
    ASSERT_OK(make_vxlan(netlink(), wanted_, gate));
    EXPECT_EQ(calls, 1U);
    wanted_.vni = 43;
    ASSERT_OK(make_vxlan(netlink(), wanted_, gate));
    EXPECT_EQ(calls, 2U);
    wanted_.vni = 44;
    EXPECT_FALSE(make_vxlan(netlink(), wanted_, [](IfIndex) -> Status { return failed("no program"); }).has_value());
    EXPECT_FALSE(netlink().link(wanted_.name)->up);
}

TEST_F(Vxlan, PeersOfTwoFamiliesAreRefused) {
    wanted_.peers = {ip("192.0.2.1"), ip("2001:db8::1")};
    const Status made = make_vxlan(netlink(), wanted_);
    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(made.error().message, HasSubstr("192.0.2.1 and 2001:db8::1"));
    EXPECT_FALSE(netlink().link(wanted_.name).has_value());
}

TEST_F(Vxlan, DeviceOfAnotherKindInItsPlaceIsAConflict) {
    ASSERT_OK(netlink().create_bridge({.name = wanted_.name, .mac = mac("02:00:00:00:00:02")}));
    const Status made = make_vxlan(netlink(), wanted_);
    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().kind, ErrorKind::kConflict);
    EXPECT_THAT(made.error().message, HasSubstr("is no vxlan interface"));
    EXPECT_THAT(read_vxlans(netlink(), netlink().links().value()).value(), IsEmpty());
}

TEST_F(Vxlan, VniOfSomebodyElsesDeviceIsAConflictThatNamesIt) {
    ASSERT_OK(netlink().create_vxlan({.name = "theirs", .vni = 42, .port = Port{4789}}));
    const Status made = make_vxlan(netlink(), wanted_);
    ASSERT_FALSE(made.has_value());
    EXPECT_EQ(made.error().kind, ErrorKind::kConflict);
    EXPECT_THAT(made.error().message, HasSubstr("VNI 42 belongs to vxlan interface 'theirs'"));
}

TEST_F(Vxlan, PortOfSomebodyElsesSocketIsAConflict) {
    const int theirs = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(4789);
    ASSERT_EQ(::bind(theirs, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    const Status taken = make_vxlan(netlink(), wanted_);
    ASSERT_FALSE(taken.has_value());
    EXPECT_EQ(taken.error().kind, ErrorKind::kConflict);
    EXPECT_THAT(taken.error().message, HasSubstr("UDP port 4789 is taken"));
    ::close(theirs);
    expect_made();
}

}  // namespace
}  // namespace fastnet
