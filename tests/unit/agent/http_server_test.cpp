#include "userspace/agent/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "tests/unit/store/temp_dir.h"

namespace fastnet {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Clock = std::chrono::steady_clock;

class HttpServerTest : public ::testing::Test {
protected:
    void serve(HttpLimits limits = {}) {
        HttpPaths paths;
        paths["/ok"] = [this] {
            ++answered_;
            return HttpAnswer{200, "text/plain; charset=utf-8", "good\n"};
        };
        paths["/large"] = [] { return HttpAnswer{200, "text/plain; charset=utf-8", std::string(std::size_t{16} << 20U, 'x')}; };
        paths["/bad"] = [] { return HttpAnswer{503, "text/plain; charset=utf-8", "bad\n"}; };
        auto listener = listen_unix(path());
        ASSERT_TRUE(listener) << listener.error().message;
        auto server = HttpServer::start(*std::move(listener), std::move(paths), heartbeat_, limits);
        ASSERT_TRUE(server) << server.error().message;
        server_ = *std::move(server);
    }

    UniqueFd connect() const {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path().c_str(), sizeof address.sun_path - 1);
        UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        return fd;
    }

    static void send(const UniqueFd& fd, const std::string& text) {
        for (std::size_t done = 0; done < text.size();) {
            const ssize_t sent = ::send(fd.get(), text.data() + done, text.size() - done, MSG_NOSIGNAL);
            if (sent <= 0) return;
            done += static_cast<std::size_t>(sent);
        }
    }

    /// All until the server closes, or what came within five seconds.
    static std::string receive(const UniqueFd& fd) {
        std::string text;
        std::array<char, 65'536> data{};
        for (pollfd one{fd.get(), POLLIN, 0}; ::poll(&one, 1, 5'000) > 0;) {
            const ssize_t got = ::recv(fd.get(), data.data(), data.size(), 0);
            if (got <= 0) return text;
            text.append(data.data(), static_cast<std::size_t>(got));
        }
        return text + "<nothing more, still open>";
    }

    std::string ask(const std::string& request) const {
        const UniqueFd fd = connect();
        send(fd, request);
        return receive(fd);
    }
    std::string get(const std::string& target, const std::string& headers = {}) const {
        return ask("GET " + target + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n");
    }

    std::filesystem::path path() const { return dir_.path() / "socket"; }

    TempDir dir_;
    Heartbeat heartbeat_;
    std::atomic<int> answered_{0};
    std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, KnownPathsAreAnsweredAndOnlyByGet) {
    serve();
    EXPECT_THAT(get("/ok"), StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(get("/ok"), HasSubstr("\r\n\r\ngood\n"));
    EXPECT_THAT(get("/ok"), HasSubstr("Connection: close"));
    EXPECT_THAT(get("/ok?a=b"), StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(get("/bad"), StartsWith("HTTP/1.1 503"));
    for (const char* const target : {"/", "/ok/", "/../ok", "//ok", "/OK", "/okay", "*"})
        EXPECT_THAT(get(target), StartsWith("HTTP/1.1 404")) << target;
    const int before = answered_;
    for (const char* const method : {"POST", "PUT", "DELETE", "OPTIONS", "HEAD"})
        EXPECT_THAT(ask(std::string{method} + " /ok HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), StartsWith("HTTP/1.1 405"))
            << method;
    EXPECT_THAT(ask("POST /ok HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"), StartsWith("HTTP/1.1 405"));
    EXPECT_THAT(ask("POST /ok HTTP/1.1\r\nHost: x\r\n\r\n"), StartsWith("HTTP/1.1 405")) << "without a length";
    EXPECT_THAT(ask("POST /no HTTP/1.1\r\nHost: x\r\n\r\n"), StartsWith("HTTP/1.1 404"));
    EXPECT_THAT(ask("POST /ok HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz"), StartsWith("HTTP/1.1 405"));
    EXPECT_EQ(answered_, before);
}

TEST_F(HttpServerTest, NonsenseAndTooMuchAreRefusedAndTheServerLives) {
    serve();
    const std::string huge(1 << 20, 'a');
    for (const std::string& request : {std::string{"\r\n\r\n"}, std::string{"GET\r\n\r\n"}, std::string{"GET /ok HTTP/9.9\r\n\r\n"},
                                       "GET /" + huge + " HTTP/1.1\r\n\r\n", "GET /ok HTTP/1.1\r\nX: " + huge + "\r\n\r\n",
                                       std::string(100'000, '\0'), huge, std::string{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"}}) {
        const std::string answer = ask(request + "\r\n\r\n");
        EXPECT_THAT(answer, ::testing::Not(StartsWith("HTTP/1.1 200"))) << request.substr(0, 40);
        EXPECT_THAT(answer, ::testing::Not(HasSubstr("still open"))) << request.substr(0, 40);
    }
    std::string many;
    for (int i = 0; i < 10'000; ++i) many += "X" + std::to_string(i) + ": y\r\n";
    EXPECT_THAT(get("/ok", many), ::testing::Not(StartsWith("HTTP/1.1 200")));
    EXPECT_EQ(answered_, 0);
    EXPECT_THAT(get("/ok"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, RangesDoNotMultiplyTheAnswer) {
    serve();
    std::string ranges = "Range: bytes=0-1";
    while (ranges.size() < 4'000) ranges += ",0-1";
    const std::string answer = get("/ok", ranges + "\r\n");
    EXPECT_LT(answer.size(), 1'000U);
    EXPECT_THAT(answer, HasSubstr("\r\n\r\ngood\n"));
}

TEST_F(HttpServerTest, AConnectionIsBoundedInTimeAsAWholeHoweverItTrickles) {
    serve({.connection = milliseconds{300}});
    const UniqueFd fd = connect();
    const auto begin = Clock::now();
    std::thread trickle{[&] {
        while (Clock::now() - begin < milliseconds{3'000} && ::send(fd.get(), "G", 1, MSG_NOSIGNAL) == 1)
            std::this_thread::sleep_for(milliseconds{20});
    }};
    (void)receive(fd);
    EXPECT_LT(Clock::now() - begin, milliseconds{2'500});
    trickle.join();
    const UniqueFd reader = connect();  // asks for much, and reads nothing
    send(reader, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_THAT(get("/ok"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, SlowClientsDoNotKeepOthersOut) {
    serve({.workers = 2, .waiting = 8, .connection = milliseconds{60'000}});
    std::vector<UniqueFd> slow;
    for (int i = 0; i < 6; ++i) {
        slow.push_back(connect());
        send(slow.back(), i % 2 == 0 ? "GET /ok HTTP/1.1\r\n" : "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
        const auto begin = Clock::now();
        EXPECT_THAT(get("/ok"), StartsWith("HTTP/1.1 200")) << i;
        EXPECT_LT(Clock::now() - begin, milliseconds{2'000}) << i;
    }
}

TEST_F(HttpServerTest, EndsAtOnceWithConnectionsOpenAndBeatsWhileItRuns) {
    serve({.connection = milliseconds{60'000}});
    const UniqueFd idle = connect();
    const UniqueFd half = connect();
    send(half, "GET /ok HT");
    EXPECT_THAT(get("/ok"), StartsWith("HTTP/1.1 200"));
    EXPECT_GT(heartbeat_.last(), SteadyTime{});
    EXPECT_TRUE(server_->accepting());
    const auto begin = Clock::now();
    server_.reset();
    EXPECT_LT(Clock::now() - begin, milliseconds{500});
}

TEST_F(HttpServerTest, TheSocketIsTheOwnersAloneAndReplacesAStaleOne) {
    serve();
    struct stat info {};
    ASSERT_EQ(::stat(path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0600U);
    server_.reset();
    serve();
    EXPECT_THAT(get("/ok"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, ADeepDirectoryIsNoObstacle) {
    const auto deep = dir_.path() / std::string(100, 'a') / std::string(100, 'b');
    std::filesystem::create_directories(deep);
    const auto listener = listen_unix(deep / "agent.sock");
    EXPECT_TRUE(listener) << listener.error().message;
}

TEST(ListenTcp, ATakenAddressIsAnErrorAndBothFamiliesWork) {
    for (const char* const text : {"127.0.0.1:39464", "[::1]:39464"}) {
        const auto first = listen_tcp(*ListenAddress::parse(text));
        if (!first && first.error().sys_errno == EADDRNOTAVAIL) continue;  // no IPv6 here
        ASSERT_TRUE(first) << first.error().message;
        const auto second = listen_tcp(*ListenAddress::parse(text));
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().message, "listen on " + std::string{text} + ": Address already in use");
    }
}

}  // namespace
}  // namespace fastnet
