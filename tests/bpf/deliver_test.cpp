// tc_deliver: the gate before a container for what the kernel delivers. Who may pass depends on the device by which the
// packet came into this host, never on an address. wire_test.cpp does the same with real frames.
#include "tests/bpf/datapath_fixture.h"

namespace fastnet::test {
namespace {

class Deliver : public DatapathTest {
protected:
    const Packet segment = into_container / ip(client, container_ip) / tcp(40000, 80);
};

TEST_F(Deliver, HostsOwnPacketsPass) {
    EXPECT_THAT(at_delivery(container(), 0, segment), GoesToTheKernel(FNET_FROM_HOST));
    EXPECT_EQ(endpoint(container()).kernel_packets, 1U);
    EXPECT_EQ(endpoint(container()).kernel_bytes, segment.bytes().size());
}

TEST_F(Deliver, MembersOfTheNetworkPassByTheBridge) {
    EXPECT_THAT(at_delivery(container(), neighbour().ifindex, segment), GoesToTheKernel(FNET_FROM_BRIDGE));
    EXPECT_THAT(at_delivery(neighbour(), container().ifindex, segment), GoesToTheKernel(FNET_FROM_BRIDGE));
}

TEST_F(Deliver, MembersOfAnotherNetworkDoNot) {
    EXPECT_THAT(at_delivery(container(), stranger().ifindex, segment), IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_THAT(at_delivery(stranger(), container().ifindex, segment), IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_THAT(at_delivery(container(), stranger().bridge, segment), IsDropped(FNET_NETWORK_ISOLATED)) << "routed";
    EXPECT_THAT(at_delivery(container(), container().bridge, segment), IsDropped(FNET_NETWORK_ISOLATED))
        << "routed back into its own network";
}

TEST_F(Deliver, EveryOtherDeviceIsOutside) {
    EXPECT_THAT(at_delivery(container(), lab().ifindex("up0"), segment), IsDropped(FNET_NOT_PUBLISHED));
    EXPECT_THAT(at_delivery(container(), lab().ifindex("side0"), segment), IsDropped(FNET_NOT_PUBLISHED));
    EXPECT_THAT(at_delivery(container(), 424242, segment), IsDropped(FNET_NOT_PUBLISHED)) << "a device that came later";
    EXPECT_EQ(endpoint(container()).kernel_packets, 0U);
}

TEST_F(Deliver, WithoutInterContainerTrafficOnlyTheHostPasses) {
    set_flags(container(), FNET_ENDPOINT_NO_ICC);
    EXPECT_THAT(at_delivery(container(), neighbour().ifindex, segment), IsDropped(FNET_NETWORK_ISOLATED));
    EXPECT_THAT(at_delivery(container(), 0, segment), GoesToTheKernel(FNET_FROM_HOST));
}

TEST_F(Deliver, UnknownEndpointGetsNothing) {
    ASSERT_TRUE(forget_container(container()));
    EXPECT_THAT(at_delivery(container(), 0, segment), IsDropped(FNET_UNKNOWN_ENDPOINT));
    EXPECT_THAT(at_delivery(neighbour(), container().ifindex, segment), IsDropped(FNET_NOT_PUBLISHED)) << "its veth is a stranger now";
}

}  // namespace
}  // namespace fastnet::test
