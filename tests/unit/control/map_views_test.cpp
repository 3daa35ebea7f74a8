#include "userspace/control/map_views.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "tests/unit/control/state_builder.h"

namespace fastnet {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kNow = 1000 * kSecond;

/// A client's connection to port 2000 of the host, and the half that answers.
std::vector<FlowEntry> connection(std::uint32_t slot = 4) {
    FlowEntry original{};
    original.key.src = to_abi(ip("192.0.2.1"));
    original.key.dst = to_abi(ip("192.0.2.2"));
    original.key.src_port = htons(45678);
    original.key.dst_port = htons(2000);
    original.key.protocol = 6;
    original.flow.new_src = original.key.src;
    original.flow.new_dst = to_abi(ip("172.30.0.2"));
    original.flow.new_src_port = original.key.src_port;
    original.flow.new_dst_port = htons(80);
    original.flow.state = FNET_FLOW_ESTABLISHED;
    original.flow.flags = FNET_FLOW_ORIGINAL;
    original.flow.slot = slot;
    original.flow.endpoint_ifindex = kWebIndex;
    original.flow.packets = 10;
    original.flow.bytes = 1000;
    original.flow.last_seen_ns = kNow - 5 * kSecond;
    FlowEntry reply = original;
    reply.key.src = to_abi(ip("172.30.0.2"));
    reply.key.ifindex = kWebIndex;
    reply.flow.flags = 0;
    reply.flow.packets = 7;
    reply.flow.bytes = 700;
    reply.flow.last_seen_ns = kNow - 2 * kSecond;
    return {reply, original};
}

std::string name_of(std::uint32_t ifindex) {
    return ifindex == kWebIndex ? "web" : "";
}

TEST(RemoteContainers, AreThoseThatWereNamedOrHeardOf) {
    const FlowTimeouts timeouts{};
    const MacAddress mac = mac_for(ip("10.77.0.9"));
    EXPECT_FALSE(is_remote_container(address_value(kWebIndex, mac), kNow, timeouts)) << "on this node";
    fnet_address remote = remote_address_value(1, mac);
    EXPECT_TRUE(is_remote_container(remote, kNow, timeouts));
    remote.flags = FNET_ADDRESS_LEARNED;
    remote.seen_ns = kNow - 300 * kSecond;
    EXPECT_TRUE(is_remote_container(remote, kNow, timeouts));
    remote.seen_ns -= 1;
    EXPECT_FALSE(is_remote_container(remote, kNow, timeouts));
    remote.seen_ns = kNow + 1;
    EXPECT_TRUE(is_remote_container(remote, kNow, timeouts)) << "in this moment";
}

TEST(FlowViews, TwoHalvesAreOneRow) {
    const auto views = flow_views(connection(), FlowTimeouts{}, kNow, name_of);
    ASSERT_EQ(views.size(), 1U);
    const FlowView& view = views[0];
    EXPECT_EQ(view.protocol, "tcp");
    EXPECT_EQ(view.state, "established");
    EXPECT_EQ(view.endpoint, "web");
    EXPECT_EQ(view.original.sport, Port{45678});
    EXPECT_EQ(view.original.dst, ip("192.0.2.2"));
    EXPECT_EQ(view.translated.dst, ip("172.30.0.2"));
    EXPECT_EQ(view.translated.dport, Port{80});
    EXPECT_EQ(view.packets, 17U);
    EXPECT_EQ(view.bytes, 1700U);
    EXPECT_DOUBLE_EQ(view.idle_seconds, 2) << "the newer stamp counts";
    EXPECT_DOUBLE_EQ(view.expires_seconds, 7440 - 2);
}

TEST(MasqueradedFlow, IsCountedOnceWhileItLivesAndOnlyInItsRange) {
    FlowEntry entry = connection()[1];
    entry.flow.flags = FNET_FLOW_ORIGINAL | FNET_FLOW_MASQUERADE;
    entry.flow.new_src_port = htons(20000);
    const PortRange ports{Port{20000}, Port{20009}};
    EXPECT_TRUE(is_masqueraded_from(entry.key, entry.flow, ports));
    EXPECT_FALSE(is_masqueraded_from(entry.key, entry.flow, {Port{20001}, Port{20009}}));
    FlowEntry other = entry;
    other.flow.flags = FNET_FLOW_MASQUERADE;
    EXPECT_FALSE(is_masqueraded_from(other.key, other.flow, ports)) << "the half of the replies";
    other.flow.flags = FNET_FLOW_ORIGINAL;
    EXPECT_FALSE(is_masqueraded_from(other.key, other.flow, ports)) << "of a published port";
    other = entry;
    other.flow.state = FNET_FLOW_CLOSED;
    EXPECT_FALSE(is_masqueraded_from(other.key, other.flow, ports));
    other = entry;
    other.key.protocol = static_cast<std::uint8_t>(Protocol::kIcmp);
    EXPECT_FALSE(is_masqueraded_from(other.key, other.flow, ports)) << "an identifier is no port";
}

TEST(FlowViews, HalfThatIsAloneIsARowOnlyIfItIsTheOriginal) {
    auto entries = connection();
    EXPECT_EQ(flow_views({entries[1]}, FlowTimeouts{}, kNow, name_of).size(), 1U);
    EXPECT_TRUE(flow_views({entries[0]}, FlowTimeouts{}, kNow, name_of).empty());
}

TEST(FlowViews, StampInTheFutureIsNotIdle) {
    auto entries = connection();
    EXPECT_DOUBLE_EQ(flow_views(entries, FlowTimeouts{}, kNow - 10 * kSecond, name_of)[0].idle_seconds, 0);
}

TEST(FlowViews, TimeOutsFollowTheStateAndNeverGoBelowZero) {
    const FlowTimeouts timeouts{
        .tcp_established = 1, .tcp_opening = 2, .tcp_closing = 3, .udp = 4, .udp_unreplied = 5, .dns = 6, .icmp = 7, .other = 8};
    const auto timeout = [&](std::uint8_t protocol, std::uint8_t state, bool fin = false, std::uint16_t port = 443) {
        fnet_flow_key key{};
        key.protocol = protocol;
        key.dst_port = htons(port);
        return flow_timeout(key, state, fin, timeouts);
    };
    EXPECT_EQ(timeout(6, FNET_FLOW_ESTABLISHED), 1U);
    EXPECT_EQ(timeout(6, FNET_FLOW_NEW), 2U);
    EXPECT_EQ(timeout(6, FNET_FLOW_REPLIED), 2U);
    EXPECT_EQ(timeout(6, FNET_FLOW_ESTABLISHED, true), 3U);
    EXPECT_EQ(timeout(6, FNET_FLOW_CLOSED), 3U);
    EXPECT_EQ(timeout(17, FNET_FLOW_ESTABLISHED), 4U);
    EXPECT_EQ(timeout(17, FNET_FLOW_NEW), 5U);
    EXPECT_EQ(timeout(17, FNET_FLOW_REPLIED), 5U) << "answered once, not yet a conversation";
    EXPECT_EQ(timeout(17, FNET_FLOW_ESTABLISHED, false, 53), 6U);
    EXPECT_EQ(timeout(1, FNET_FLOW_REPLIED), 7U);
    EXPECT_EQ(timeout(58, FNET_FLOW_ESTABLISHED), 7U);
    EXPECT_EQ(timeout(132, FNET_FLOW_NEW), 8U);
    EXPECT_EQ(timeout(50, FNET_FLOW_ESTABLISHED), 8U);
    EXPECT_DOUBLE_EQ(flow_views(connection(), FlowTimeouts{}, kNow + 100000 * kSecond, name_of)[0].expires_seconds, 0);
}

TEST(VerdictViews, EveryVerdictHasARowWithItsKind) {
    std::vector<fnet_verdict_count> counts(FNET_VERDICT_COUNT);
    counts[FNET_NOT_PUBLISHED] = {3, 180};
    const auto views = verdict_views(counts);
    ASSERT_EQ(views.size(), static_cast<std::size_t>(FNET_VERDICT_COUNT));
    EXPECT_EQ(views[FNET_NOT_PUBLISHED].name, "NOT_PUBLISHED");
    EXPECT_EQ(views[FNET_NOT_PUBLISHED].kind, "drop");
    EXPECT_EQ(views[FNET_NOT_PUBLISHED].packets, 3U);
    EXPECT_EQ(views[FNET_FLOW_FORWARDED].kind, "fast");
    EXPECT_EQ(views[FNET_TO_HOST].kind, "kernel");
    EXPECT_EQ(verdict_views({}).size(), views.size()) << "a node without datapath has zeros";
}

}  // namespace
}  // namespace fastnet
