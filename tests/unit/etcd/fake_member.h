// A member of etcd that says what a test wants: over a real socket, byte for byte.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "loader/base/handle.h"

namespace fastnet {

struct FakeRequest {
    std::string path;
    std::string head;  ///< request line and headers
    std::string body;
};

/// The answering side of one request. Each connection has a thread of its own.
class FakeExchange {
public:
    FakeExchange(int fd, const std::atomic<bool>& stopping) : fd_{fd}, stopping_{stopping} {}
    /// False once the client is gone.
    bool send(std::string_view bytes);
    void json(int status, const std::string& body);
    void begin_stream() { send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"); }  ///< ends with the connection
    /// Stays silent until the client hangs up (or the member stops).
    void hold();

private:
    int fd_;
    const std::atomic<bool>& stopping_;
};

class FakeMember {
public:
    /// Returns whether the connection stays open for another request.
    using Handler = std::function<bool(const FakeRequest&, FakeExchange&)>;
    explicit FakeMember(Handler handler);
    FakeMember(const FakeMember&) = delete;
    FakeMember& operator=(const FakeMember&) = delete;
    ~FakeMember();

    std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
    /// Requests so far, by path.
    std::size_t count(std::string_view path) const;
    std::vector<FakeRequest> requests() const;

private:
    void accept_all();
    void serve(int fd);

    Handler handler_;
    UniqueFd listener_;
    int port_ = 0;
    std::atomic<bool> stopping_{false};
    mutable std::mutex mutex_;
    std::vector<FakeRequest> requests_;
    std::vector<std::thread> connections_;
    std::thread acceptor_;
};

inline const std::string kFakeHeader = R"({"cluster_id":"77","member_id":"1","revision":"9","raft_term":"2"})";
inline std::string with_header(const std::string& rest) {
    return R"({"header":)" + kFakeHeader + (rest.empty() ? "" : "," + rest) + "}";
}
inline std::string refusal(int code, const std::string& message) {
    return R"({"error":")" + message + R"(","message":")" + message + R"(","code":)" + std::to_string(code) + "}";
}

}  // namespace fastnet
