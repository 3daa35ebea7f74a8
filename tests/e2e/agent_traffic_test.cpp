// The agent is not on the packets' way: killed, restarted, reloaded or replaced by another build, no packet of a stream is lost.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "tests/harness/agent.h"
#include "tests/harness/lab.h"

#ifndef FASTNET_OTHER_BIN
#define FASTNET_OTHER_BIN "fastnet_other"
#endif

namespace fastnet::test {
namespace {

using Clock = std::chrono::steady_clock;

/// Within its scope `fastnet` is another build, with other programs.
class OtherBuild {
public:
    OtherBuild() {
        if (const char* const given = std::getenv("FASTNET_BIN"); given != nullptr) former_ = given;
        ::setenv("FASTNET_BIN", FASTNET_OTHER_BIN, 1);
    }
    ~OtherBuild() {
        if (former_.empty()) {
            ::unsetenv("FASTNET_BIN");
        } else {
            ::setenv("FASTNET_BIN", former_.c_str(), 1);
        }
    }
    OtherBuild(const OtherBuild&) = delete;
    OtherBuild& operator=(const OtherBuild&) = delete;

private:
    std::string former_;
};

void want_large_buffers(const Socket& socket) {
    const int size = 8 << 20;  // what a busy machine does not read in time is no loss of the network's
    for (const int option : {SO_RCVBUFFORCE, SO_SNDBUFFORCE})
        EXPECT_EQ(::setsockopt(socket.fd(), SOL_SOCKET, option, &size, sizeof size), 0);
}

bool readable(const Socket& socket, Millis bound = Millis{20}) {
    pollfd one{socket.fd(), POLLIN, 0};
    return ::poll(&one, 1, static_cast<int>(bound.count())) == 1;
}

/// Numbered datagrams, 2,000 a second, that come back from the other end.
class UdpStream {
public:
    UdpStream(Socket caller, Socket server) : caller_{std::move(caller)}, server_{std::move(server)} {
        want_large_buffers(caller_);
        want_large_buffers(server_);
        sender_ = std::thread{[this] { send(); }};
        server_thread_ = std::thread{[this] { echo(); }};
        receiver_ = std::thread{[this] { receive(); }};
    }
    ~UdpStream() { finish(); }
    UdpStream(const UdpStream&) = delete;
    UdpStream& operator=(const UdpStream&) = delete;

    /// A thousand more have come back since the call.
    void flow_on() {
        const std::uint32_t goal = back_ + 1'000;
        EXPECT_TRUE(wait_until([&] { return back_ >= goal; }, Millis{10'000})) << "the stream stands still";
    }
    /// Ends it; the numbers that never came back.
    std::vector<std::uint32_t> lost() {
        sending_ = false;
        sender_.join();
        (void)wait_until([&] { return back_ == seen_.size(); }, Millis{3'000});
        finish();
        std::vector<std::uint32_t> missing;
        for (std::uint32_t i = 0; i < seen_.size(); ++i)
            if (!seen_[i]) missing.push_back(i);
        return missing;
    }
    std::size_t sent() const { return seen_.size(); }

private:
    void send() {
        auto next = Clock::now();
        for (std::uint32_t number = 0; sending_ && number < kMost; ++number) {
            while (::send(caller_.fd(), &number, sizeof number, 0) != sizeof number && sending_) std::this_thread::yield();
            count_ = number + 1;
            next += std::chrono::microseconds{500};
            std::this_thread::sleep_until(next);
        }
        seen_.resize(count_);
    }
    void echo() {
        while (!over_) {
            if (!readable(server_)) continue;
            std::uint32_t number = 0;
            sockaddr_storage from{};
            socklen_t length = sizeof from;
            if (::recvfrom(server_.fd(), &number, sizeof number, 0, reinterpret_cast<sockaddr*>(&from), &length) == sizeof number)
                (void)::sendto(server_.fd(), &number, sizeof number, 0, reinterpret_cast<const sockaddr*>(&from), length);
        }
    }
    void receive() {
        while (!over_) {
            if (!readable(caller_)) continue;
            std::uint32_t number = 0;
            if (::recv(caller_.fd(), &number, sizeof number, 0) != sizeof number || number >= kMost) continue;
            if (!arrived_[number]) ++back_;
            arrived_[number] = true;
        }
    }
    void finish() {
        sending_ = false;
        over_ = true;
        for (std::thread* thread : {&sender_, &server_thread_, &receiver_})
            if (thread->joinable()) thread->join();
        for (std::size_t i = 0; i < seen_.size(); ++i) seen_[i] = arrived_[i];
    }

    static constexpr std::uint32_t kMost = 200'000;
    Socket caller_;
    Socket server_;
    std::atomic<bool> sending_{true};
    std::atomic<bool> over_{false};
    std::atomic<std::uint32_t> count_{0};
    std::atomic<std::uint32_t> back_{0};
    std::vector<bool> arrived_ = std::vector<bool>(kMost);
    std::vector<bool> seen_;
    std::thread sender_, server_thread_, receiver_;
};

/// Numbers without a gap over one connection.
class TcpStream {
public:
    TcpStream(Socket caller, Socket served) : caller_{std::move(caller)}, served_{std::move(served)} {
        sender_ = std::thread{[this] {
            for (std::uint64_t number = 0; sending_; ++number) {
                if (::send(caller_.fd(), &number, sizeof number, MSG_NOSIGNAL) != sizeof number) break;
                sent_ = number + 1;
                std::this_thread::sleep_for(Millis{1});
            }
        }};
        receiver_ = std::thread{[this] {
            std::uint64_t expected = 0;
            while (!over_) {
                if (!readable(served_)) continue;
                std::uint64_t number = 0;
                if (::recv(served_.fd(), &number, sizeof number, MSG_WAITALL) != sizeof number || number != expected++) break;
                received_ = expected;
            }
        }};
    }
    ~TcpStream() { end(); }
    TcpStream(const TcpStream&) = delete;
    TcpStream& operator=(const TcpStream&) = delete;

    /// Ends it; whether everything arrived, in order.
    bool whole() {
        sending_ = false;
        sender_.join();
        const bool all = wait_until([this] { return received_ == sent_; }, Millis{5'000});
        end();
        return all && sent_ > 0;
    }

private:
    void end() {
        sending_ = false;
        over_ = true;
        for (std::thread* thread : {&sender_, &receiver_})
            if (thread->joinable()) thread->join();
    }

    Socket caller_;
    Socket served_;
    std::atomic<bool> sending_{true};
    std::atomic<bool> over_{false};
    std::atomic<std::uint64_t> sent_{0};
    std::atomic<std::uint64_t> received_{0};
    std::thread sender_, receiver_;
};

class AgentTraffic : public LabTest {
protected:
    std::set<std::uint32_t> programs() { return lab().root().pinned().programs; }
    static bool disjoint(const std::set<std::uint32_t>& a, const std::set<std::uint32_t>& b) {
        return std::none_of(a.begin(), a.end(), [&](std::uint32_t id) { return b.contains(id); });
    }
};

TEST_F(AgentTraffic, NoPacketIsLostWhileTheAgentIsKilledRestartedReloadedOrReplaced) {
    lab().attach("web", {"-p", "2000:7/udp", "-p", "2001:9000"});
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 9000});
    Socket server = Socket::bound(lab().at("web"), Transport::kUdp, {"0.0.0.0", 7});
    ASSERT_TRUE(server.ok());
    Agent agent{lab()};
    agent.wait_ready();
    Socket caller = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2001});
    ASSERT_TRUE(caller.ok());
    TcpStream tcp{std::move(caller), listener.accept()};
    UdpStream udp{Socket::connected(lab().client(), Transport::kUdp, {kNodeIp, 2000}), std::move(server)};
    udp.flow_on();
    const auto before = programs();

    agent.kill();
    udp.flow_on();
    agent.restart();
    agent.wait_ready();
    udp.flow_on();
    agent.reload();
    udp.flow_on();
    agent.stop();
    EXPECT_EQ(programs(), before) << "the same build has nothing to replace";
    {
        const OtherBuild upgraded;
        agent.restart();
        agent.wait_ready(Millis{30'000});
        udp.flow_on();
        EXPECT_TRUE(disjoint(programs(), before)) << "no program was replaced";
        agent.kill();
    }
    agent.restart();
    agent.wait_ready(Millis{30'000});
    udp.flow_on();
    agent.stop();

    EXPECT_TRUE(tcp.whole());
    const auto lost = udp.lost();
    EXPECT_TRUE(lost.empty()) << lost.size() << " of " << udp.sent() << " datagrams are lost, the first is number " << lost.front();
    EXPECT_GT(udp.sent(), 6'000U);
}

TEST_F(AgentTraffic, AgentLeavesTheNodeToAnotherBuildThatTookItOver) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    Agent agent{lab()};
    agent.wait_ready();
    {
        const OtherBuild upgraded;
        ASSERT_TRUE(lab().fastnet({"attach", "--mode", "bridge"}).ok());
    }
    const auto upgraded = programs();
    EXPECT_TRUE(wait_until([&] {
        // Whatever makes it look.
        lab().node().ip({"link set eth0 promisc on", "link set eth0 promisc off"});
        return agent.part("reconcile").value("reason", "").find("another build") != std::string::npos;
    })) << agent.log();
    EXPECT_EQ(programs(), upgraded) << "the older agent put its own programs back";
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
    agent.stop();
    agent.restart();
    agent.wait_ready(Millis{30'000});
    EXPECT_TRUE(disjoint(programs(), upgraded)) << "once it is started anew it is the newest";
    agent.stop();
}

}  // namespace
}  // namespace fastnet::test
