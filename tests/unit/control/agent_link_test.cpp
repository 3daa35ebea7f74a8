#include "userspace/control/agent_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <thread>

#include "tests/unit/model/fixed_random.h"
#include "tests/unit/store/temp_dir.h"

namespace fastnet {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

class AgentLinkTest : public ::testing::Test {
protected:
    AgentLinkTest() : paths_{paths_for(dir_.path())} {}

    /// Listens where the agent would and treats each connection by @p body.
    void pretend(const std::function<void(int)>& body) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, agent_socket(paths_).c_str(), sizeof address.sun_path - 1);
        listener_ = UniqueFd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        ASSERT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        ASSERT_EQ(::listen(listener_.get(), 1), 0);
        thread_ = std::thread{[this, body] {
            const UniqueFd fd{::accept(listener_.get(), nullptr, nullptr)};
            if (fd) body(fd.get());
        }};
    }
    void TearDown() override {
        if (listener_) ::shutdown(listener_.get(), SHUT_RDWR);
        if (thread_.joinable()) thread_.join();
    }
    AgentView read_within(milliseconds bound) {
        const auto begin = Clock::now();
        AgentView view = read_agent(paths_, milliseconds{200});
        EXPECT_LT(Clock::now() - begin, bound);
        return view;
    }

    TempDir dir_;
    NodePaths paths_;
    UniqueFd listener_;
    std::thread thread_;
};

TEST_F(AgentLinkTest, WithoutAnAgentThereIsNone) {
    EXPECT_FALSE(read_agent(paths_).running);
    std::ofstream{agent_socket(paths_)} << "a file";
    std::ofstream{dir_.path() / "agent.lock"} << "1";
    EXPECT_FALSE(read_agent(paths_).running) << "a lock file that nobody holds";
}

TEST_F(AgentLinkTest, OneAgentAtATimeAndItsFilesGoWithIt) {
    {
        const auto lock = AgentLock::acquire(paths_);
        ASSERT_TRUE(lock) << lock.error().message;
        EXPECT_EQ(running_agent(paths_), ::getpid());
        const auto second = AgentLock::acquire(paths_);
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().kind, ErrorKind::kConflict);
        EXPECT_THAT(second.error().message, HasSubstr("pid " + std::to_string(::getpid())));
        EXPECT_EQ(running_agent(paths_), ::getpid());
        remove_agent_leftovers(paths_);
        EXPECT_TRUE(std::filesystem::exists(dir_.path() / "agent.lock"));
    }
    EXPECT_FALSE(std::filesystem::exists(dir_.path() / "agent.lock"));
    EXPECT_EQ(running_agent(paths_), std::nullopt);
}

TEST_F(AgentLinkTest, AnAgentThatDoesNotAnswerIsRunningWithTroubleAndCostsABoundedTime) {
    const auto lock = AgentLock::acquire(paths_);
    ASSERT_TRUE(lock);
    EXPECT_THAT(read_within(milliseconds{400}).trouble, HasSubstr("connect"));  // no socket
    std::ofstream{agent_socket(paths_)} << "a file";
    EXPECT_NE(read_within(milliseconds{400}).trouble, "");
    std::filesystem::remove(agent_socket(paths_));
    pretend([](int fd) {  // takes the connection, and trickles for ever
        while (::send(fd, "HTTP/1.1 200 OK\r\nX: y\r\n", 23, MSG_NOSIGNAL) > 0) std::this_thread::sleep_for(milliseconds{30});
    });
    const AgentView view = read_within(milliseconds{600});
    EXPECT_TRUE(view.running);
    EXPECT_NE(view.trouble, "");
    EXPECT_EQ(view.pid, static_cast<std::uint64_t>(::getpid()));
}

TEST_F(AgentLinkTest, AFullBacklogIsBoundedAsWell) {
    const auto lock = AgentLock::acquire(paths_);
    ASSERT_TRUE(lock);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, agent_socket(paths_).c_str(), sizeof address.sun_path - 1);
    const UniqueFd listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(listener.get(), 0), 0);
    std::vector<UniqueFd> fill;
    for (int i = 0; i < 4; ++i) {
        fill.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        (void)::connect(fill.back().get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    }
    const AgentView view = read_within(milliseconds{600});
    EXPECT_TRUE(view.running);
    EXPECT_NE(view.trouble, "");
}

TEST_F(AgentLinkTest, AnEndlessAnswerIsCut) {
    const auto lock = AgentLock::acquire(paths_);
    ASSERT_TRUE(lock);
    pretend([](int fd) {
        const std::string head = "HTTP/1.1 200 OK\r\n\r\n";
        (void)::send(fd, head.data(), head.size(), MSG_NOSIGNAL);
        const std::string block(65'536, ' ');
        while (::send(fd, block.data(), block.size(), MSG_NOSIGNAL) > 0) {
        }
    });
    EXPECT_NE(read_within(milliseconds{600}).trouble, "");
}

const char* const kDocument = R"({"document":1,"version":"1.2","pid":7,"since":"2026-01-01T00:00:00Z","ready":false,
  "parts":[{"name":"cluster","state":"not ready","reason":"etcd: down\u001b[2J"}, 5],
  "checks":[{"name":"etcd","result":"warn","text":"slow","fix":"wait"},{"name":"x","result":"?","text":"","fix":""}]})";

TEST(AgentDocument, IsRead) {
    const AgentView view = agent_view(kDocument);
    EXPECT_EQ(view.trouble, "");
    EXPECT_EQ(view.pid, 7U);
    EXPECT_EQ(view.version, "1.2");
    EXPECT_FALSE(view.ready);
    ASSERT_EQ(view.parts.size(), 1U);
    EXPECT_EQ(view.parts[0].reason, "etcd: down [2J") << "control characters do not reach the terminal";
    ASSERT_EQ(view.checks.size(), 2U);
    EXPECT_EQ(view.checks[0].result, CheckResult::kWarn);
    EXPECT_EQ(view.checks[1].result, CheckResult::kFail);
}

TEST(AgentDocument, AnythingElseIsTrouble) {
    for (const char* const text :
         {"", "{", "[]", "null", "7", "{}", R"({"pid":-1,"ready":true})", R"({"pid":"1","ready":true})", R"({"pid":1})"})
        EXPECT_NE(agent_view(text).trouble, "") << text;
    EXPECT_NE(agent_view(std::string(1'000'000, '[')).trouble, "");
}

TEST(AgentDocument, AnyBytesAreTroubleOrADocument) {
    FixedRandom random{11};
    for (int round = 0; round < 3'000; ++round) {
        std::string text = kDocument;
        for (unsigned edits = 1 + random.below(20); edits > 0; --edits) {
            const std::size_t at = random.below(static_cast<unsigned>(text.size()));
            if (random.below(2) == 0) {
                text[at] = static_cast<char>(random.below(256));
            } else {
                text.erase(at, random.below(6));
            }
        }
        const AgentView view = agent_view(text);
        EXPECT_TRUE(view.running);
    }
}

}  // namespace
}  // namespace fastnet
