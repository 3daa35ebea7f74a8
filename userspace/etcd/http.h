// HTTP/1.1 requests over libcurl, several at a time, on the calling thread. Knows nothing of etcd.
// Invariant: every answer is bounded (headers, body, time), nothing is followed (redirects, proxies of the environment, cached
// sessions), and interrupt() ends any wait at once.
#pragma once

#include <curl/curl.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/handle.h"
#include "loader/base/result.h"

namespace fastnet {

struct TlsFiles {
    std::string ca_file{};  ///< empty: the system's authorities
    std::string cert_file{};
    std::string key_file{};
};

struct HttpRequest {
    std::string url;
    std::string body;                      ///< JSON, sent by POST
    std::vector<std::string> headers{};    ///< `Name: value`
    std::chrono::milliseconds timeout{0};  ///< of all of it; 0: only of the connection, for a stream
    std::chrono::milliseconds connect_timeout{1000};
    std::size_t max_body = 0;  ///< without on_data
    /// A stream's bytes; false ends the transfer. Must not use the engine.
    std::function<bool(std::string_view)> on_data{};
};

struct HttpReply {
    CURLcode code = CURLE_OK;
    long status = 0;  ///< 0 if there was no answer
    std::string body{};
    std::string why{};  ///< of a failure, libcurl's words
    bool sent = false;  ///< some of the request may have reached the server
    bool too_large = false;
    std::optional<std::time_t> date{};
    std::chrono::system_clock::time_point received{};
    std::chrono::milliseconds elapsed{0};
};

class HttpEngine {
public:
    class Transfer {
    public:
        Transfer(HttpEngine& engine, HttpRequest request);
        Transfer(const Transfer&) = delete;
        Transfer& operator=(const Transfer&) = delete;
        ~Transfer();  ///< also ends it

        bool done() const { return done_; }
        const HttpReply& reply() const { return reply_; }  ///< once done
        HttpReply take_reply() { return std::move(reply_); }

    private:
        friend class HttpEngine;
        void configure();
        void finish(CURLcode code);
        static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self);
        static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self);
        static int on_send(void* self, char*, char*, int, int);
        static int on_socket(void* self, curl_socket_t socket, curlsocktype purpose);

        HttpEngine& engine_;
        HttpRequest request_;
        HttpReply reply_;
        Handle<CURL, curl_easy_cleanup> easy_;
        Handle<curl_slist, curl_slist_free_all> headers_;
        std::vector<char> error_;
        std::size_t header_bytes_ = 0;
        bool added_ = false;
        bool done_ = false;
    };

    static Result<std::unique_ptr<HttpEngine>> open(TlsFiles tls);
    HttpEngine(const HttpEngine&) = delete;
    HttpEngine& operator=(const HttpEngine&) = delete;
    ~HttpEngine();

    /// Moves all transfers on; returns when one is done, a stream got something, @p patience is over, or when interrupted.
    void step(std::chrono::milliseconds patience);
    /// One request to its end, or until interrupted.
    HttpReply perform(HttpRequest request);
    /// Waits without doing anything else; false when interrupted.
    bool pause(std::chrono::milliseconds duration);

    /// From any thread, and for good.
    void interrupt() noexcept;
    bool interrupted() const noexcept { return interrupted_.load(); }

private:
    HttpEngine(CURLM* multi, TlsFiles tls) : multi_{multi}, tls_{std::move(tls)} {}

    Handle<CURLM, curl_multi_cleanup> multi_;
    TlsFiles tls_;
    bool stream_moved_ = false;
    std::atomic<bool> interrupted_{false};
};

}  // namespace fastnet
