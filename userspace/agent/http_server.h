// A small HTTP server for documents that are made when they are asked for: GET of known paths, nothing else. cpp-httplib reads requests
// and writes answers; the sockets are handled here, so that every connection is bounded in bytes and in time as a whole, and the one
// that waits longest goes when a new one finds all workers busy: whoever sends slowly cannot keep others out.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "loader/base/handle.h"
#include "loader/base/result.h"
#include "userspace/agent/config.h"
#include "userspace/agent/part.h"

namespace fastnet {

struct HttpAnswer {
    int status = 200;
    std::string type = "text/plain; charset=utf-8";
    std::string body{};
};

/// By path, without the query.
using HttpPaths = std::map<std::string, std::function<HttpAnswer()>, std::less<>>;

struct HttpLimits {
    std::size_t workers = 4;
    std::size_t waiting = 64;                     ///< connections that no worker has taken yet; more are closed at once
    std::size_t request_bytes = 8'192;            ///< all that is read of a connection
    std::chrono::milliseconds connection{2'000};  ///< from its acceptance to the last byte of the answer
};

Result<UniqueFd> listen_tcp(const ListenAddress& address);
/// Replaces what is at @p path; only the owner can connect.
Result<UniqueFd> listen_unix(const std::filesystem::path& path);

class HttpServer {
public:
    /// The handlers are called on several threads at once. @p heartbeat is beaten while connections are accepted.
    static Result<std::unique_ptr<HttpServer>> start(UniqueFd listener, HttpPaths paths, Heartbeat& heartbeat, HttpLimits limits = {});
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;
    ~HttpServer();  ///< cuts what is open, waits for the handlers that run

    bool accepting() const;  ///< false: it ended by itself
    std::string trouble() const;

private:
    class Impl;
    explicit HttpServer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastnet
