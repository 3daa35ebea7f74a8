#include "tests/harness/agent.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <utility>

#include "tests/harness/wait.h"

namespace fastnet::test {

std::string ask_unix_socket(const std::string& path, const std::string& request, Millis bound) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return {};
    std::memcpy(address.sun_path, path.data(), path.size());
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    std::string answer;
    const auto deadline = std::chrono::steady_clock::now() + bound;
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
        ::send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size())) {
        std::array<char, 4096> data{};
        while (true) {
            const auto left = std::chrono::ceil<Millis>(deadline - std::chrono::steady_clock::now());
            pollfd one{fd, POLLIN, 0};
            if (left.count() <= 0 || ::poll(&one, 1, static_cast<int>(left.count())) <= 0) break;
            const ssize_t got = ::recv(fd, data.data(), data.size(), 0);
            if (got <= 0) break;
            answer.append(data.data(), static_cast<std::size_t>(got));
        }
    }
    ::close(fd);
    return answer;
}

Agent::Agent(const LabNode& node, Argv args, RunOptions options) : node_{node}, args_{std::move(args)}, options_{std::move(options)} {
    args_.insert(args_.begin(), "agent");
    if (std::find(args_.begin(), args_.end(), "--config") == args_.end()) args_.insert(args_.end(), {"--config", "/dev/null"});
    restart();
}

void Agent::restart() {
    process_ = node_.fastnet_background(args_, options_);
}

std::string Agent::get(const std::string& path) const {
    const std::string answer =
        ask_unix_socket((node_.root().path() / "agent.sock").string(), "GET " + path + " HTTP/1.1\r\nHost: agent\r\n\r\n");
    const std::size_t end = answer.find("\r\n\r\n");
    return end == std::string::npos ? std::string{} : answer.substr(end + 4);
}

nlohmann::json Agent::document() const {
    nlohmann::json document = nlohmann::json::parse(get("/v1/status"), nullptr, false);
    // Not of an agent that was killed and still answers.
    if (document.is_discarded() || !document.is_object() || document.value("pid", -1) != pid()) return nullptr;
    return document;
}

nlohmann::json Agent::part(const std::string& name) const {
    const nlohmann::json all = document();
    if (!all.is_object()) return nullptr;
    for (const auto& part : all.at("parts"))
        if (part.at("name") == name) return part;
    return nullptr;
}

void Agent::wait_running(Millis bound) {
    EXPECT_TRUE(wait_until([this] { return document().is_object(); }, bound)) << log();
}

void Agent::wait_ready(Millis bound) {
    nlohmann::json last;
    EXPECT_TRUE(wait_until(
        [&] {
            last = document();
            return last.is_object() && last.value("ready", false);
        },
        bound))
        << last.dump(2) << "\n"
        << log();
}

void Agent::stop() {
    process_.signal(SIGTERM);
    EXPECT_EQ(process_.wait(Millis{1'000}), 0) << "not ended, or not well\n" << log();
}

void Agent::kill() {
    process_.kill();
}

}  // namespace fastnet::test
