#include "userspace/host/path_probe.h"

#include <chrono>
#include <string>

#include "tests/unit/host/own_netns.h"
#include "userspace/host/sysctl.h"

namespace fastnet {
namespace {

using std::chrono::milliseconds;

constexpr std::uint32_t kNarrow = 1400;

MacAddress mac_of(unsigned last) {
    return MacAddress{{2, 0, 0, 0, 0, static_cast<std::uint8_t>(last)}};
}

/// This namespace, a router, and behind a narrower link a host: 192.0.2.1 and 2001:db8:1::1, 198.51.100.1 and 2001:db8:2::1.
class PathProbe : public OwnNetns {
protected:
    void SetUp() override {
        OwnNetns::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        router_.emplace(fresh_netns());
        far_.emplace(fresh_netns());
        // Its link-local addresses are its own at once.
        ASSERT_OK(run_in(*router_, [] { return write_sysctl("ipv6/conf/default/accept_dad", "0"); }));
        Netlink in_router = Netlink::open(*router_).value();
        Netlink in_far = Netlink::open(*far_).value();
        const VethPair near =
            netlink()
                .create_veth({.host_name = "eth0", .host_mac = mac_of(1), .peer_name = "near", .peer_mac = mac_of(2)}, *router_)
                .value();
        // The end in the router is the peer's, which has a link-local address: a router asks for its neighbours with that.
        const VethPair behind =
            in_far
                .create_veth({.host_name = "eth0", .host_mac = mac_of(3), .peer_name = "behind", .peer_mac = mac_of(4), .mtu = kNarrow},
                             *router_)
                .value();
        for (const auto& [links, index, ipv4, ipv6] : {std::tuple{&netlink(), near.host, "192.0.2.1/24", "2001:db8:1::1/64"},
                                                       {&in_router, near.peer, "192.0.2.254/24", "2001:db8:1::ff/64"},
                                                       {&in_router, behind.peer, "198.51.100.254/24", "2001:db8:2::ff/64"},
                                                       {&in_far, behind.host, "198.51.100.1/24", "2001:db8:2::1/64"}}) {
            ASSERT_OK(links->add_address(index, prefix(ipv4)));
            ASSERT_OK(links->add_address(index, prefix(ipv6)));
            ASSERT_OK(links->set_up(index));
        }
        ASSERT_OK(netlink().add_default_route(ip("192.0.2.254"), near.host));
        ASSERT_OK(netlink().add_default_route(ip("2001:db8:1::ff"), near.host));
        ASSERT_OK(in_far.add_default_route(ip("198.51.100.254"), behind.host));
        ASSERT_OK(in_far.add_default_route(ip("2001:db8:2::ff"), behind.host));
        ASSERT_OK(run_in(*router_, [] { return write_sysctl("ipv4/ip_forward", "1"); }));
        ASSERT_OK(run_in(*router_, [] { return write_sysctl("ipv6/conf/all/forwarding", "1"); }));
        // The local routes of IPv6 addresses follow from a kernel worker.
        const auto there = [] { return probe_paths({ip("2001:db8:2::1")}, milliseconds{100}).value()[0].answers; };
        for (int i = 0; i < 50 && !there(); ++i) {
        }
    }
    std::optional<Netns> router_;
    std::optional<Netns> far_;
};

TEST_F(PathProbe, LargestPacketIsFoundBehindARouterOfASmallerMtu) {
    const auto reports =
        probe_paths({ip("192.0.2.254"), ip("198.51.100.1"), ip("2001:db8:1::ff"), ip("2001:db8:2::1")}, milliseconds{5000});
    ASSERT_TRUE(reports.has_value()) << reports.error().message;
    ASSERT_EQ(reports->size(), 4U);
    for (const PathReport& report : *reports) {
        EXPECT_TRUE(report.answers) << report.host.to_string();
        EXPECT_EQ(report.trouble, "");
    }
    EXPECT_EQ((*reports)[0].mtu, 1500U);
    EXPECT_EQ((*reports)[1].mtu, kNarrow);
    EXPECT_EQ((*reports)[1].route_mtu, kNarrow);
    EXPECT_EQ((*reports)[2].mtu, 1500U);
    EXPECT_EQ((*reports)[3].mtu, kNarrow);
}

TEST_F(PathProbe, SilenceIsBoundedAndSaysNothingOfOthers) {
    const auto start = std::chrono::steady_clock::now();
    const auto reports = probe_paths({ip("198.51.100.77"), ip("198.51.100.1"), ip("2001:db8:2::77")}, milliseconds{300}).value();
    EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds{3000});
    EXPECT_FALSE(reports[0].answers);
    EXPECT_TRUE(reports[1].answers);
    EXPECT_FALSE(reports[2].answers);
}

TEST_F(PathProbe, HoleThatSwallowsLargePacketsIsSeen) {
    // The router's end is narrower than its neighbour knows, and says nothing: it drops on arrival.
    Netlink in_far = Netlink::open(*far_).value();
    ASSERT_OK(in_far.set_link(in_far.link("eth0")->index, {.mtu = 1300}));
    const PathReport report = probe_paths({ip("198.51.100.1")}, milliseconds{500}).value()[0];
    EXPECT_TRUE(report.answers);
    EXPECT_EQ(report.mtu, 0U);
    EXPECT_EQ(report.route_mtu, kNarrow);
}

TEST_F(PathProbe, MissingRouteIsReported) {
    ASSERT_OK(netlink().delete_route(
        {.destination = prefix("0.0.0.0/0"), .gateway = ip("192.0.2.254"), .device = netlink().link("eth0")->index}));
    const PathReport report = probe_paths({ip("203.0.113.1")}, milliseconds{5000}).value()[0];
    EXPECT_FALSE(report.answers);
    EXPECT_EQ(report.trouble, "Network is unreachable");
}

TEST_F(PathProbe, NobodyToAskTakesNoTime) {
    EXPECT_TRUE(probe_paths({}, milliseconds{5000}).value().empty());
}

}  // namespace
}  // namespace fastnet
