#include "userspace/control/xdp.h"

#include <gtest/gtest.h>

#include "loader/xdp.h"

namespace fastnet {
namespace {

const XdpDevice kNic{.hardware = true, .driver = "mlx5_core"};

TEST(XdpWanted, IsWhatTheUserSays) {
    for (const bool empty : {true, false})
        for (const XdpDevice& device : {kNic, XdpDevice{.hardware = true, .driver = "virtio_net"}, XdpDevice{}}) {
            EXPECT_TRUE(xdp_wanted(XdpMode::kOn, empty, device));
            EXPECT_FALSE(xdp_wanted(XdpMode::kOff, empty, device));
        }
}

TEST(XdpWanted, ByItselfOnlyForADenyListAtHardware) {
    EXPECT_TRUE(xdp_wanted(XdpMode::kAuto, false, kNic));
    EXPECT_FALSE(xdp_wanted(XdpMode::kAuto, true, kNic)) << "there is nothing to ask";
    EXPECT_FALSE(xdp_wanted(XdpMode::kAuto, false, {.hardware = false, .driver = "veth"}));
    EXPECT_FALSE(xdp_wanted(XdpMode::kAuto, false, {.hardware = true, .driver = ""})) << "nobody knows what it is";
    for (const char* driver : {"virtio_net", "vif", "xen_netfront", "hv_netvsc", "vmxnet3", "ena", "gve", "mana"})
        EXPECT_FALSE(xdp_wanted(XdpMode::kAuto, false, {.hardware = true, .driver = driver})) << driver;
}

TEST(XdpRefusal, IsOfOneDeviceInOneBoot) {
    const std::string record = xdp_refusal_record(xdp_device_id("boot", 7), "attach XDP to eth0: Operation not supported");
    EXPECT_EQ(xdp_refusal_reason(record, xdp_device_id("boot", 7)), "attach XDP to eth0: Operation not supported");
    EXPECT_EQ(xdp_refusal_reason(record, xdp_device_id("boot", 77)), std::nullopt);
    EXPECT_EQ(xdp_refusal_reason(record, xdp_device_id("another boot", 7)), std::nullopt);
    EXPECT_EQ(xdp_refusal_reason(xdp_refusal_record(xdp_device_id("boot", 77), "why"), xdp_device_id("boot", 7)), std::nullopt);
    EXPECT_EQ(xdp_refusal_reason("boot 7", xdp_device_id("boot", 7)), "") << "as earlier versions wrote it";
}

TEST(XdpHook, IsSettledWithOneProgramOnOurMaps) {
    EXPECT_TRUE((XdpHook{.ours = {5}, .current = true}).settled());
    EXPECT_FALSE((XdpHook{.ours = {4}, .current = false}).settled()) << "another version's";
    EXPECT_FALSE((XdpHook{.ours = {4, 5}, .current = true}).settled()) << "killed before the old one was taken off";
    EXPECT_FALSE(XdpHook{}.settled());
}

TEST(XdpHook, JudgesAllOnlyWhereNobodyElseIsInFrontOrBehind) {
    EXPECT_TRUE((XdpHook{.ours = {5}, .current = true, .alone = true}).judges_all());
    EXPECT_FALSE((XdpHook{.ours = {5}, .current = true, .alone = false}).judges_all())
        << "another one may pass a packet before ours sees it";
    EXPECT_FALSE((XdpHook{.ours = {4}, .current = false, .alone = true}).judges_all()) << "another version's asks another list";
}

}  // namespace
}  // namespace fastnet
