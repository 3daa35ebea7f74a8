// Datagrams that do not fit one packet: the sender's kernel cuts them up, the node passes the pieces on, the receiver's
// kernel puts them together.
#include <gtest/gtest.h>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

class Fragments : public LabTest {
protected:
    void SetUp() override {
        LabTest::SetUp();
        lab().add_ipv6();
        lab().attach("web", {"-p", "2000:80/udp"});
    }
    void TearDown() override {
        lab().node().ip({"link set eth0 mtu 1500"});
        LabTest::TearDown();
    }
    const std::string large_ = std::string(4000, 'x') + std::string(4000, 'y');
};

TEST_F(Fragments, LargeDatagramsToAPublishedPortAndBack) {
    const UdpEcho echo{lab().at("web"), 80, true};
    for (const std::string& node : {kNodeIp, kNodeIp6}) EXPECT_TRUE(udp_answers(lab().client(), {node, 2000}, large_)) << node;
    EXPECT_EQ(lab().verdict("FRAGMENT_EARLY"), 0U);
}

TEST_F(Fragments, LargeDatagramsFromInsideAndBack) {
    const UdpEcho echo{lab().client(), 7000, true};
    for (const std::string& host : {kClientIp, kClientIp6}) EXPECT_TRUE(udp_answers(lab().at("web"), {host, 7000}, large_)) << host;
}

TEST_F(Fragments, LargeAnswerToASmallQuestion) {
    const Socket server = Socket::bound(lab().at("web"), Transport::kUdp, {"::", 80});
    for (const auto& [node, client] : {std::pair{kNodeIp, kClientIp}, {kNodeIp6, kClientIp6}}) {
        const Socket caller = Socket::bound(lab().client(), Transport::kUdp, {client, 45000});
        ASSERT_TRUE(caller.send_to("question", {node, 2000}));
        SocketAddress from;
        ASSERT_EQ(server.receive_from(from), "question");
        ASSERT_TRUE(server.send_to(large_, from));
        EXPECT_EQ(caller.receive_from(from), large_);
        EXPECT_EQ(from, (SocketAddress{node, 2000}));
    }
}

TEST_F(Fragments, LargePings) {
    for (const std::string& host : {kInternetIp, kInternetIp6}) {
        const auto ping = lab().at("web").run({"ping", "-s", "8000", "-c2", "-i0.2", "-W2", host});
        EXPECT_EQ(ping.status, 0) << ping;
    }
}

TEST_F(Fragments, LargeDatagramsTakeTheHairpin) {
    lab().attach("app");
    const UdpEcho echo{lab().at("web"), 80, true};
    for (const std::string& node : {kNodeIp, kNodeIp6}) {
        EXPECT_TRUE(udp_answers(lab().at("app"), {node, 2000}, large_)) << node;
        EXPECT_TRUE(udp_answers(lab().at("web"), {node, 2000}, large_)) << node << ", from the server itself";
    }
}

TEST_F(Fragments, LargeDatagramsOfTheHostAreItsOwn) {
    const UdpEcho echo{lab().node(), 7000, true};
    for (const std::string& node : {kNodeIp, kNodeIp6}) EXPECT_TRUE(udp_answers(lab().client(), {node, 7000}, large_)) << node;
    EXPECT_EQ(lab().verdict("FRAGMENT_SHORT"), 0U);
}

// A router would cut them up where they do not say DF. The sender is told instead, and does it itself from then on.
TEST_F(Fragments, ThatAreTooBigForTheUplinkGetSmaller) {
    lab().node().ip({"link set eth0 mtu 1280"});
    const Socket server = Socket::bound(lab().client(), Transport::kUdp, {"::", 7000});
    for (const std::string& host : {kClientIp, kClientIp6}) {
        const Socket caller = Socket::connected(lab().at("web"), Transport::kUdp, {host, 7000});
        std::string received;
        for (int i = 0; i < 5 && received.empty(); ++i) {
            caller.send(large_);
            SocketAddress from;
            received = server.receive_from(from, Millis{500});
        }
        EXPECT_EQ(received, large_) << host;
    }
    EXPECT_GT(lab().verdict("TOO_BIG"), 0U);
}

}  // namespace
}  // namespace fastnet::test
