// Processes of a node cannot send what its peers would take for a tunnel's: they know a tunnel by the node's address alone.
#include <gtest/gtest.h>

#include <cerrno>

#include "tests/harness/overlay_lab.h"
#include "tests/harness/sockets.h"

namespace fastnet::test {
namespace {

constexpr std::uint16_t kVxlanPort = 4789;

class OverlayGuard : public OverlayLabTest {
protected:
    const Netns& node() { return lab().node(1).node(); }
    /// errno of a datagram to @p to, 0 if it went.
    static int send_error(const Netns& from, const SocketAddress& to) {
        const bool ipv6 = to.ip.find(':') != std::string::npos;
        const Socket socket = Socket::bound(from, Transport::kUdp, {ipv6 ? "::" : "0.0.0.0", 0});
        return socket.send_to("forged", to) ? 0 : errno;
    }
};

TEST_F(OverlayGuard, IsNotThereUnlessItIsAskedFor) {
    lab().connect();
    EXPECT_EQ(send_error(node(), {OverlayLab::ip(2), kVxlanPort}), 0);
}

TEST_F(OverlayGuard, ProcessesOfTheNodeSendNoVxlan) {
    EXPECT_EQ(send_error(node(), {OverlayLab::ip(2), kVxlanPort}), 0) << "a node without such a network";
    lab().connect({}, {"--opt", "vxlan_guard=on"});
    for (const std::string& peer : {OverlayLab::ip(2), OverlayLab::ip6(2), std::string{"127.0.0.1"}, "::ffff:" + OverlayLab::ip(2)}) {
        SCOPED_TRACE(peer);
        EXPECT_EQ(send_error(node(), {peer, kVxlanPort}), EPERM);
        EXPECT_EQ(Socket::connected(node(), Transport::kUdp, {peer, kVxlanPort}).error(), EPERM);
        EXPECT_EQ(send_error(node(), {peer, kVxlanPort + 1}), 0);
    }
    EXPECT_NE(Socket::connected(node(), Transport::kTcp, {OverlayLab::ip(2), kVxlanPort}).error(), EPERM) << "TCP is no tunnel";
    EXPECT_EQ(send_error(lab().router(), {OverlayLab::ip(1), kVxlanPort}), 0) << "another namespace";
    lab().attach(1, "c1");
    EXPECT_EQ(send_error(lab().node(1).at("c1"), {OverlayLab::ip(2), kVxlanPort}), 0) << "dropped at its veth, not here";
    ASSERT_TRUE(lab().node(1).fastnet({"detach", "c1"}).ok());
    ASSERT_TRUE(lab().node(1).fastnet({"network", "rm", "blue"}).ok());
    EXPECT_EQ(send_error(node(), {OverlayLab::ip(2), kVxlanPort}), 0) << "the network is gone";
}

}  // namespace
}  // namespace fastnet::test
