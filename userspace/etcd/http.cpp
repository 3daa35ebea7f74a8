#include "userspace/etcd/http.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <mutex>
#include <utility>

namespace fastnet {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kMaxHeaderBytes = 64 * 1024;
// A connection that is silent for two seconds is asked three times, a second apart: dead after five.
constexpr int kKeepAliveIdleSeconds = 2;
constexpr int kKeepAliveIntervalSeconds = 1;
constexpr int kKeepAliveCount = 3;
constexpr unsigned int kUnackedMilliseconds = 5000;

CURLcode global_init() {
    static std::once_flag once;
    static CURLcode code = CURLE_OK;
    std::call_once(once, [] { code = curl_global_init(CURL_GLOBAL_DEFAULT); });
    return code;
}

template <typename Value>
void set(CURL* easy, CURLoption option, Value value) {
    // An option that this libcurl lacks is a build for another one, seen by the first test.
    if (curl_easy_setopt(easy, option, value) != CURLE_OK) std::abort();
}

}  // namespace

HttpEngine::Transfer::Transfer(HttpEngine& engine, HttpRequest request)
    : engine_{engine}, request_{std::move(request)}, easy_{curl_easy_init()}, error_(CURL_ERROR_SIZE, '\0') {
    if (!easy_) {
        finish(CURLE_FAILED_INIT);
        return;
    }
    configure();
    added_ = curl_multi_add_handle(engine_.multi_.get(), easy_.get()) == CURLM_OK;
    if (!added_) finish(CURLE_FAILED_INIT);
}

HttpEngine::Transfer::~Transfer() {
    if (added_) curl_multi_remove_handle(engine_.multi_.get(), easy_.get());
}

void HttpEngine::Transfer::configure() {
    CURL* easy = easy_.get();
    for (const std::string& header : request_.headers) {
        curl_slist* longer = curl_slist_append(headers_.get(), header.c_str());
        if (longer == nullptr) std::abort();
        (void)headers_.release();
        headers_.reset(longer);
    }
    set(easy, CURLOPT_PRIVATE, this);
    set(easy, CURLOPT_URL, request_.url.c_str());
    set(easy, CURLOPT_ERRORBUFFER, error_.data());
    set(easy, CURLOPT_HTTPHEADER, headers_.get());
    set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    set(easy, CURLOPT_POSTFIELDS, request_.body.c_str());
    set(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request_.timeout.count()));
    set(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request_.connect_timeout.count()));

    set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(easy, CURLOPT_PROXY, "");  // not the environment's: root's agent talks to the members and to nobody else
    set(easy, CURLOPT_NOSIGNAL, 1L);
    set(easy, CURLOPT_QUICK_EXIT, 1L);  // a name that is still being resolved must not hold up the end of a transfer

    set(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    set(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);  // a renewed authority counts from the next connection on
    if (!engine_.tls_.ca_file.empty()) {
        set(easy, CURLOPT_CAINFO, engine_.tls_.ca_file.c_str());
        set(easy, CURLOPT_CAPATH, nullptr);  // else the system's authorities would count beside it
    }
    if (!engine_.tls_.cert_file.empty()) {
        set(easy, CURLOPT_SSLCERT, engine_.tls_.cert_file.c_str());
        set(easy, CURLOPT_SSLKEY, engine_.tls_.key_file.c_str());
    }

    set(easy, CURLOPT_WRITEFUNCTION, &Transfer::on_body);
    set(easy, CURLOPT_WRITEDATA, this);
    set(easy, CURLOPT_HEADERFUNCTION, &Transfer::on_header);
    set(easy, CURLOPT_HEADERDATA, this);
    set(easy, CURLOPT_PREREQFUNCTION, &Transfer::on_send);
    set(easy, CURLOPT_PREREQDATA, this);
    set(easy, CURLOPT_SOCKOPTFUNCTION, &Transfer::on_socket);
    set(easy, CURLOPT_SOCKOPTDATA, this);
}

std::size_t HttpEngine::Transfer::on_body(char* data, std::size_t size, std::size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    const std::string_view bytes{data, size * count};
    const std::size_t refuse = bytes.size() + 1;
    if (transfer.request_.on_data) {
        transfer.engine_.stream_moved_ = true;
        return transfer.request_.on_data(bytes) ? bytes.size() : refuse;
    }
    std::string& body = transfer.reply_.body;
    if (bytes.size() > transfer.request_.max_body - std::min(body.size(), transfer.request_.max_body)) {
        transfer.reply_.too_large = true;
        return refuse;
    }
    body.append(bytes);
    return bytes.size();
}

std::size_t HttpEngine::Transfer::on_header(char* data, std::size_t size, std::size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    const std::string_view line{data, size * count};
    transfer.header_bytes_ += line.size();
    if (transfer.header_bytes_ > kMaxHeaderBytes) {
        transfer.reply_.too_large = true;
        return line.size() + 1;
    }
    constexpr std::string_view kDate = "date:";
    const auto same = [](char left, char right) { return (left >= 'A' && left <= 'Z' ? left + ('a' - 'A') : left) == right; };
    if (line.size() > kDate.size() && std::equal(kDate.begin(), kDate.end(), line.begin(), [&](char k, char l) { return same(l, k); })) {
        const std::time_t date = curl_getdate(std::string{line.substr(kDate.size())}.c_str(), nullptr);
        if (date > 0) transfer.reply_.date = date;
    }
    return line.size();
}

/// Called for each time that libcurl is about to send the request: also when it wants to send it again because a kept connection
/// broke without an answer. Whether that is allowed is not libcurl's to decide.
int HttpEngine::Transfer::on_send(void* self, char*, char*, int, int) {
    auto& transfer = *static_cast<Transfer*>(self);
    if (transfer.reply_.sent) return CURL_PREREQFUNC_ABORT;
    transfer.reply_.sent = true;
    return CURL_PREREQFUNC_OK;
}

int HttpEngine::Transfer::on_socket(void*, curl_socket_t socket, curlsocktype) {
    // Best effort: without them a dead path is noticed later, by the next probe or time-out.
    const auto set_option = [&](int level, int name, auto value) { (void)::setsockopt(socket, level, name, &value, sizeof(value)); };
    set_option(SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleSeconds);
    set_option(IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
    set_option(IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveCount);
    set_option(IPPROTO_TCP, TCP_USER_TIMEOUT, kUnackedMilliseconds);
    return CURL_SOCKOPT_OK;
}

void HttpEngine::Transfer::finish(CURLcode code) {
    done_ = true;
    reply_.code = code;
    reply_.received = std::chrono::system_clock::now();
    if (easy_) {
        curl_off_t elapsed_us = 0;
        curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &reply_.status);
        curl_easy_getinfo(easy_.get(), CURLINFO_TOTAL_TIME_T, &elapsed_us);
        reply_.elapsed = milliseconds{elapsed_us / 1000};
    }
    if (code != CURLE_OK) reply_.why = error_.front() != '\0' ? error_.data() : curl_easy_strerror(code);
    if (reply_.too_large) reply_.why = "the answer is larger than allowed";
}

Result<std::unique_ptr<HttpEngine>> HttpEngine::open(TlsFiles tls) {
    if (const CURLcode code = global_init(); code != CURLE_OK) return failed(std::string{"libcurl: "} + curl_easy_strerror(code));
    CURLM* multi = curl_multi_init();
    if (multi == nullptr) return failed("libcurl: out of memory");
    return std::unique_ptr<HttpEngine>{new HttpEngine{multi, std::move(tls)}};
}

HttpEngine::~HttpEngine() = default;

void HttpEngine::step(milliseconds patience) {
    const auto deadline = Clock::now() + patience;
    while (!interrupted()) {
        int running = 0;
        (void)curl_multi_perform(multi_.get(), &running);
        bool one_done = false;
        int left = 0;
        while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
            if (message->msg != CURLMSG_DONE) continue;
            Transfer* transfer = nullptr;
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
            transfer->finish(message->data.result);
            one_done = true;
        }
        const auto rest = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
        if (std::exchange(stream_moved_, false) || one_done || rest <= 0) return;
        (void)curl_multi_poll(multi_.get(), nullptr, 0, static_cast<int>(rest), nullptr);
    }
}

HttpReply HttpEngine::perform(HttpRequest request) {
    Transfer transfer{*this, std::move(request)};
    while (!transfer.done() && !interrupted()) step(milliseconds{1000});
    HttpReply reply = transfer.take_reply();
    if (transfer.done()) return reply;
    reply.code = CURLE_ABORTED_BY_CALLBACK;
    reply.why = "interrupted";
    return reply;
}

bool HttpEngine::pause(milliseconds duration) {
    const auto deadline = Clock::now() + duration;
    while (!interrupted()) {
        const auto rest = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
        if (rest <= 0) return true;
        (void)curl_multi_poll(multi_.get(), nullptr, 0, static_cast<int>(rest), nullptr);
    }
    return false;
}

void HttpEngine::interrupt() noexcept {
    interrupted_.store(true);
    (void)curl_multi_wakeup(multi_.get());
}

}  // namespace fastnet
