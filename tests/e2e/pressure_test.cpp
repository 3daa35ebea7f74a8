// Under pressure: forged packets by the million, exhausted ports, a full table, programs that are replaced. Established
// flows lose nothing, new clients pay a retry at most, refusals have a name and end when their cause does.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "tests/harness/flood.h"
#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMillion = 1'000'000;

struct Connection {
    Socket near;
    Socket far;
};

/// Numbered messages there and back over every connection in turn, until it is stopped. Over TCP a byte that is lost, twice
/// there or another's breaks the comparison; over UDP a message that does not arrive is lost.
class Traffic {
public:
    explicit Traffic(const std::vector<Connection>& connections) : thread_{[this, &connections] { work(connections); }} {}
    Traffic(const Traffic&) = delete;
    Traffic& operator=(const Traffic&) = delete;
    ~Traffic() { stop(); }

    void stop() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
    }
    std::uint64_t rounds() const { return rounds_; }
    int failed() const { return failed_; }  ///< the connection that lost a message, -1 if none has

private:
    void work(const std::vector<Connection>& connections) {
        for (std::uint64_t number = 0; !stop_ && failed_ < 0; ++number) {
            const std::size_t turn = number % connections.size();
            if (!ping_pong(connections[turn].near, connections[turn].far, "message " + std::to_string(number)))
                failed_ = static_cast<int>(turn);
            ++rounds_;
        }
    }

    std::atomic<bool> stop_{false};
    std::atomic<std::uint64_t> rounds_{0};
    std::atomic<int> failed_{-1};
    std::thread thread_;
};

class Pressure : public LabTest {
protected:
    /// Through published TCP port 2000 and UDP port 2007 of `web`, and out of `app` under the node's address.
    std::vector<Connection> establish() {
        std::vector<Connection> connections;
        const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 90});
        const Socket outside = Socket::listener(lab().client(), {"0.0.0.0", 90});
        for (int i = 0; i < 8; ++i) {
            Socket near = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2090});
            connections.push_back({std::move(near), listener.accept()});
            near = Socket::connected(lab().at("app"), Transport::kTcp, {kInternetIp, 90});
            connections.push_back({std::move(near), outside.accept()});
        }
        for (std::uint16_t i = 0; i < 8; ++i) {
            const auto inside = static_cast<std::uint16_t>(100 + i);
            connections.push_back(
                datagrams(lab().client(), {kNodeIp, static_cast<std::uint16_t>(2000 + inside)}, lab().at("web"), {"0.0.0.0", inside}));
            connections.push_back(datagrams(lab().at("app"), {kInternetIp, inside}, lab().client(), {kInternetIp, inside}));
        }
        for (const Connection& connection : connections) EXPECT_TRUE(ping_pong(connection.near, connection.far));
        return connections;
    }
    const Argv ports_{"-p", "2000:80", "-p", "2007:7/udp", "-p", "2090:90", "-p", "2100-2107:100-107/udp"};

private:
    static Connection datagrams(const Netns& from, const SocketAddress& to, const Netns& at, const SocketAddress& server) {
        Socket far = Socket::bound(at, Transport::kUdp, server);
        Socket near = Socket::connected(from, Transport::kUdp, to);
        SocketAddress seen;
        EXPECT_TRUE(near.send("first"));
        EXPECT_EQ(far.receive_from(seen), "first");
        far.connect(seen);
        return {std::move(near), std::move(far)};
    }
};

enum class Victim { kListener, kUdpSink, kUdpServer };
struct FloodCase {
    Victim victim;
    const char* max_flows;
};

class FloodOf : public Pressure, public ::testing::WithParamInterface<FloodCase> {};
INSTANTIATE_TEST_SUITE_P(AMillion, FloodOf,
                         ::testing::Values(FloodCase{Victim::kListener, "4096"}, FloodCase{Victim::kListener, "262144"},
                                           FloodCase{Victim::kUdpSink, "4096"}, FloodCase{Victim::kUdpServer, "4096"},
                                           FloodCase{Victim::kUdpServer, "262144"}),
                         [](const auto& test) {
                             const char* const packets = test.param.victim == Victim::kListener  ? "AnsweredSyns"
                                                         : test.param.victim == Victim::kUdpSink ? "DatagramsWithoutAnswer"
                                                                                                 : "AnsweredDatagrams";
                             return std::string{packets} + "AtMost" + test.param.max_flows + "Flows";
                         });

TEST_P(FloodOf, ForgedSendersTakesNothingFromAnybody) {
    lab().json({"attach", "--mode", "bridge", "--max-flows", GetParam().max_flows});
    lab().attach("web", ports_);
    lab().attach("app");
    // The kernel answers each SYN, by cookies when its queue is full.
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    std::optional<UdpReflector> reflector;
    Socket sink;
    if (GetParam().victim == Victim::kUdpServer) reflector.emplace(lab().at("web"), 7);
    if (GetParam().victim == Victim::kUdpSink) sink = Socket::bound(lab().at("web"), Transport::kUdp, {"0.0.0.0", 7});
    const std::vector<Connection> established = establish();
    const bool syns = GetParam().victim == Victim::kListener;
    Flood flood{
        lab().client(),
        "eth0",
        {syns ? Transport::kTcp : Transport::kUdp, lab().node().mac("eth0"), kNodeIp, static_cast<std::uint16_t>(syns ? 2000 : 2007)}};
    const std::uint64_t forwarded = lab().verdict("FLOW_FORWARDED");

    Traffic traffic{established};
    std::atomic<bool> over{false};
    std::thread attacker{[&] {
        EXPECT_EQ(flood.send(kMillion), kMillion);
        over = true;
    }};
    // One SYN that is lost costs a second (RFC 6298).
    Millis slowest{0};
    int clients = 0;
    for (; !over || clients == 0; ++clients) {
        const auto began = std::chrono::steady_clock::now();
        const Socket client = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000}, {}, Millis{5000});
        EXPECT_TRUE(client.ok()) << "client " << clients << ": errno " << client.error();
        if (!client.ok()) break;
        EXPECT_TRUE(ping_pong(client, listener.accept())) << clients;
        slowest = std::max(slowest, std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - began));
        client.reset_on_close();
    }
    attacker.join();
    traffic.stop();
    RecordProperty("new_clients", clients);
    RecordProperty("slowest_ms", static_cast<int>(slowest.count()));
    RecordProperty("rounds", static_cast<int>(traffic.rounds()));
    if (reflector) RecordProperty("answered", std::to_string(reflector->answered()));
    EXPECT_LT(slowest, Millis{1900}) << "of " << clients << " new clients one lost more than a SYN";
    EXPECT_EQ(traffic.failed(), -1) << "a message of an established flow was lost, after " << traffic.rounds();
    EXPECT_GT(traffic.rounds(), established.size());
    EXPECT_GT(lab().verdict("FLOW_FORWARDED") - forwarded, kMillion * 9 / 10) << "the flood did not reach the container";
    EXPECT_EQ(lab().verdict("FLOW_TABLE_FULL"), 0U);
    EXPECT_EQ(lab().verdict("PORTS_EXHAUSTED"), 0U);
    EXPECT_EQ(lab().verdict("INTERNAL_ERROR"), 0U);
    for (const Connection& connection : established) ASSERT_TRUE(ping_pong(connection.near, connection.far, "after the flood"));
}

TEST_F(Pressure, ProgramsAreReplacedUnderNumberedTrafficOfEveryKindWithoutALoss) {
    lab().attach("web", ports_);
    lab().attach("app");
    const std::vector<Connection> established = establish();
    const PinnedObjects before = lab().root().pinned();
    Traffic traffic{established};
    for (int i = 0; i < 5; ++i) {
        // As an upgrade does, and by a changed configuration.
        ASSERT_EQ(lab().fastnet({"attach", "--mode", "bridge", "--reload"}).status, 0);
        ASSERT_EQ(lab().fastnet({"attach", "--mode", "bridge", "--timeout", "icmp=" + std::to_string(60 + i)}).status, 0);
        const std::uint64_t rounds = traffic.rounds();
        EXPECT_TRUE(wait_until([&] { return traffic.rounds() > rounds + established.size() || traffic.failed() >= 0; }));
    }
    traffic.stop();
    EXPECT_EQ(traffic.failed(), -1) << "a message was lost, after " << traffic.rounds();
    EXPECT_NE(lab().root().pinned().programs, before.programs) << "no program was replaced";
}

TEST_F(Pressure, ExhaustedPortsAreFreeAgainWhenAConnectionCloses) {
    lab().json({"attach", "--mode", "bridge", "--masquerade-ports", "20000-20003"});
    lab().attach("app");
    const Socket listener = Socket::listener(lab().client(), {"0.0.0.0", 80});
    const Socket elsewhere = Socket::listener(lab().client(), {"0.0.0.0", 81});
    const auto call = [&](const Socket& server, std::uint16_t port, Millis bound = Millis{3000}) {
        Connection connection;
        connection.near = Socket::connected(lab().at("app"), Transport::kTcp, {kInternetIp, port}, {}, bound);
        if (connection.near.ok()) connection.far = server.accept();
        return connection;
    };
    std::vector<Connection> held;
    for (int i = 0; i < 4; ++i) {
        held.push_back(call(listener, 80));
        ASSERT_TRUE(ping_pong(held.back().near, held.back().far)) << i;
    }
    EXPECT_FALSE(call(listener, 80, Millis{500}).near.ok());
    EXPECT_GT(lab().verdict("PORTS_EXHAUSTED"), 0U);
    const Connection other = call(elsewhere, 81);
    EXPECT_TRUE(ping_pong(other.near, other.far)) << "the same ports lead to other destinations";
    held.back().far.close();
    held.back().near.close();
    EXPECT_TRUE(wait_until([&] {
        const Connection next = call(listener, 80, Millis{500});
        return next.near.ok() && ping_pong(next.near, next.far);
    })) << "the port of a closed connection is not taken over";
    for (std::size_t i = 0; i + 1 < held.size(); ++i) EXPECT_TRUE(ping_pong(held[i].near, held[i].far)) << i;
}

}  // namespace
}  // namespace fastnet::test
