#include "userspace/host/ethtool.h"

#include <gtest/gtest.h>

#include "tests/unit/host/own_netns.h"

namespace fastnet {
namespace {

class EthtoolTest : public OwnNetns {};

TEST_F(EthtoolTest, MissingLinkIsNotFound) {
    EXPECT_EQ(link_driver("nope").error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(link_driver("a-name-that-is-far-too-long").error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(set_offload("nope", Offload::kGro, true).error().kind, ErrorKind::kNotFound);
}

TEST_F(EthtoolTest, OffloadsOfAVethAreSwitched) {
    ASSERT_OK(netlink().create_veth(
        {.host_name = "vh0", .host_mac = mac("02:00:00:00:00:02"), .peer_name = "vp0", .peer_mac = mac("02:00:00:00:00:03")},
        Netns::current().value()));
    EXPECT_EQ(link_driver("vh0").value(), "veth");
    for (const Offload which : {Offload::kGro, Offload::kGso, Offload::kTso, Offload::kTxChecksum}) {
        for (const bool on : {true, true, false}) {
            ASSERT_OK(set_offload("vh0", which, on));
            EXPECT_EQ(offload("vh0", which).value(), on) << static_cast<int>(which);
        }
        ASSERT_OK(set_offload("vh0", which, true));
    }
}

}  // namespace
}  // namespace fastnet
