#include "userspace/etcd/session.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>

namespace fastnet {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using End = EtcdAttempt::End;

constexpr milliseconds kFirstPause{50};
constexpr milliseconds kLongestPause{400};
constexpr std::string_view kMaskedSecret = "***";

struct CurlFree {
    void operator()(char* text) const noexcept { curl_free(text); }
};
using CurlUrl = Handle<CURLU, curl_url_cleanup>;

std::string part_of(const CurlUrl& url, CURLUPart part) {
    char* text = nullptr;
    if (curl_url_get(url.get(), part, &text, 0) != CURLUE_OK) return {};
    const std::unique_ptr<char, CurlFree> owner{text};
    return text;
}

/// `scheme://host:port`, without what a member's address cannot have.
Result<std::string> checked_url(const std::string& text) {
    const CurlUrl url{curl_url()};
    if (!url) std::abort();
    // A URL with a password must not be shown, and whether it has one is only known once it could be parsed.
    const bool shown = text.find('@') == std::string::npos;
    const std::string what = "etcd URL" + (shown ? " '" + gateway::printable(text) + "'" : std::string{});
    if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK)
        return usage_error(what + ": not a URL", "write it as https://host:2379");
    if (!part_of(url, CURLUPART_USER).empty() || !part_of(url, CURLUPART_PASSWORD).empty())
        return usage_error(what + ": holds a user or password", "these have settings of their own");
    const std::string scheme = part_of(url, CURLUPART_SCHEME);
    if (scheme != "http" && scheme != "https") return usage_error(what + ": neither http nor https", "write it as https://host:2379");
    const std::string path = part_of(url, CURLUPART_PATH);
    if ((!path.empty() && path != "/") || !part_of(url, CURLUPART_QUERY).empty() || !part_of(url, CURLUPART_FRAGMENT).empty())
        return usage_error(what + ": has a path", "write it as https://host:2379");
    const std::string port = part_of(url, CURLUPART_PORT);
    return scheme + "://" + part_of(url, CURLUPART_HOST) + (port.empty() ? "" : ":" + port);
}

Status check_readable(const std::string& file, const std::string& what) {
    if (file.empty()) return ok();
    const UniqueFd fd{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!fd) return sys_error(errno, "etcd " + what + " " + file);
    return ok();
}

bool is_tls_setup(CURLcode code) {
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE ||
           code == CURLE_SSL_CONNECT_ERROR || code == CURLE_SSL_ISSUER_ERROR;
}

}  // namespace

Result<std::unique_ptr<EtcdSession>> EtcdSession::open(EtcdConfig config) {
    if (config.urls.empty()) return usage_error("etcd: no URL", "name at least one member, as https://host:2379");
    for (std::string& url : config.urls) url = TRY(checked_url(url));
    if (config.user.empty() != config.password.empty()) return usage_error("etcd: a user needs a password, and a password a user");
    if (config.cert_file.empty() != config.key_file.empty())
        return usage_error("etcd: a client certificate needs its key, and a key its certificate");
    if (config.timeout <= milliseconds{0} || config.patience < config.timeout || config.probe_interval <= milliseconds{0})
        return usage_error("etcd: time-outs have to be positive, and patience not below the time-out");
    CHECK_OK(check_readable(config.ca_file, "CA file"));
    CHECK_OK(check_readable(config.cert_file, "certificate"));
    CHECK_OK(check_readable(config.key_file, "key"));
    auto engine = TRY(HttpEngine::open({config.ca_file, config.cert_file, config.key_file}));
    return std::unique_ptr<EtcdSession>{new EtcdSession{std::move(config), std::move(engine)}};
}

EtcdSession::EtcdSession(EtcdConfig config, std::unique_ptr<HttpEngine> engine)
    : config_{std::move(config)},
      engine_{std::move(engine)},
      order_{config_.urls.begin(), config_.urls.end()},
      token_wanted_{!config_.user.empty()} {}

void EtcdSession::demote_first() {
    order_.push_back(std::move(order_.front()));
    order_.pop_front();
}

void EtcdSession::forget_token() {
    token_.clear();
    token_wanted_ = !config_.user.empty();
}

std::string EtcdSession::without_secrets(std::string text) const {
    for (const std::string& secret : {config_.password, token_}) {
        if (secret.empty()) continue;
        for (std::size_t at = text.find(secret); at != std::string::npos; at = text.find(secret, at + kMaskedSecret.size())) {
            text.replace(at, secret.size(), kMaskedSecret);
        }
    }
    return text;
}

Error EtcdSession::refusal_error(const gateway::Refusal& refusal) const {
    const auto says = [&](std::string_view words) { return refusal.message.find(words) != std::string::npos; };
    Error error = failed(without_secrets(refusal.message));
    if (says("permission denied"))
        error.hint = "grant the user '" + config_.user + "' a role that may read and write the keys below the prefix";
    if (says("invalid user ID or password"))
        error.hint = "check the user '" + config_.user + "' and the password that are configured for etcd";
    if (says("user name is empty")) error.hint = "etcd asks for a user and password: configure them";
    if (says("database space exceeded")) error.hint = "etcd has raised its NOSPACE alarm: compact, defragment and disarm it";
    if (says("no leader") || says("timed out")) error.hint = "a majority of etcd's members has to run and reach each other";
    if (says("requested lease not found")) error.kind = ErrorKind::kNotFound;
    if (says("lease already exists")) error.kind = ErrorKind::kConflict;
    return error;
}

HttpRequest EtcdSession::plain_request(const std::string& url, const std::string& path, std::string body) const {
    HttpRequest request;
    request.url = url + path;
    request.body = std::move(body);
    request.headers = {"Content-Type: application/json", "Expect:"};
    request.timeout = request.connect_timeout = config_.timeout;
    request.max_body = gateway::kMaxAnswer;
    return request;
}

HttpRequest EtcdSession::request(const std::string& url, const std::string& path, std::string body, bool token) const {
    HttpRequest request = plain_request(url, path, std::move(body));
    // A member that knows no leader says so at once, and ends a stream when it has lost it.
    request.headers.emplace_back("Grpc-Metadata-hasleader: true");
    if (token && !token_.empty()) request.headers.push_back("Authorization: " + token_);
    return request;
}

EtcdAttempt EtcdSession::judge(HttpReply reply, const EtcdCall& call) {
    EtcdAttempt attempt;
    token_refused_ = false;
    attempt.end = reply.sent ? End::kUnknown : End::kElsewhere;
    if (engine_->interrupted()) {
        attempt.error = failed("interrupted");
    } else if (reply.too_large && call.too_large_is_answer) {
        attempt.end = End::kAnswered;
        attempt.too_large = true;
    } else if (reply.code == CURLE_OPERATION_TIMEDOUT && reply.sent) {
        attempt.error = failed("no answer within " + std::to_string(reply.elapsed.count()) + " ms; it may have lost its quorum",
                               "a majority of etcd's members has to run and reach each other");
    } else if (reply.code != CURLE_OK) {
        attempt.error = failed(gateway::printable(reply.why));
        if (is_tls_setup(reply.code)) {
            attempt.hopeless = true;
            attempt.error.hint =
                "check etcd's CA file, the client certificate and its key, and that the URL has the host's name in its certificate";
        } else if (!reply.sent) {
            attempt.error.hint = "check that etcd runs and that the URLs are right";
        }
    } else if (const Status taken = reply.status == 200 ? call.take(reply.body) : failed("HTTP status " + std::to_string(reply.status));
               taken) {
        attempt.end = End::kAnswered;
    } else if (const auto refusal = gateway::parse_refusal(reply.body)) {
        attempt.error = refusal_error(*refusal);
        switch (gateway::judge(*refusal)) {
            case gateway::Verdict::kFinal: attempt.end = End::kFinal; break;
            case gateway::Verdict::kElsewhere: attempt.end = End::kElsewhere; break;
            case gateway::Verdict::kUnknown: attempt.end = End::kUnknown; break;
            case gateway::Verdict::kToken:
                attempt.end = config_.user.empty() ? End::kFinal : End::kElsewhere;
                token_refused_ = !config_.user.empty();
                break;
        }
    } else if (reply.body.find("CommonName") != std::string::npos) {
        attempt.hopeless = true;
        attempt.error = failed(without_secrets(gateway::printable(reply.body)),
                               "while etcd has users, its gateway takes only client certificates without a CommonName");
    } else {
        attempt.error = taken.error();
        attempt.error.hint = "check that the URL is that of an etcd member's client address";
    }
    attempt.reply = std::move(reply);
    return attempt;
}

EtcdAttempt EtcdSession::send(const std::string& url, const EtcdCall& call, milliseconds timeout) {
    HttpRequest http = request(url, call.path, call.body, call.token);
    http.timeout = http.connect_timeout = timeout;
    return judge(engine_->perform(std::move(http)), call);
}

EtcdAttempt EtcdSession::authenticate(const std::string& url, milliseconds timeout) {
    const EtcdCall call{.what = "authenticate",
                        .path = "/v3/auth/authenticate",
                        .body = gateway::authenticate_request(config_.user, config_.password),
                        .token = false,
                        .take = [&](std::string_view body) -> Status {
                            token_ = TRY(gateway::parse_token(body));
                            return ok();
                        }};
    EtcdAttempt attempt = send(url, call, timeout);
    if (attempt.end == End::kFinal && attempt.error.message.find("authentication is not enabled") != std::string::npos) {
        token_wanted_ = false;  // as etcd's own clients: until somebody refuses a call without
        attempt.end = End::kAnswered;
    }
    // Asking for a token changes nothing, and the call itself was not sent.
    if (attempt.end == End::kUnknown) attempt.end = End::kElsewhere;
    if (attempt.end != End::kAnswered) attempt.error = std::move(attempt.error).in("authenticate");
    return attempt;
}

EtcdAttempt EtcdSession::attempt(const std::string& url, const EtcdCall& call, milliseconds timeout) {
    const auto deadline = Clock::now() + timeout;
    const auto left = [&] { return std::max(milliseconds{1}, std::chrono::ceil<milliseconds>(deadline - Clock::now())); };
    for (bool renewed = false;; renewed = true) {
        if (call.token && token_wanted_ && token_.empty()) {
            EtcdAttempt login = authenticate(url, left());
            if (login.end != End::kAnswered) return login;
        }
        EtcdAttempt attempt = send(url, call, left());
        if (!token_refused_) return attempt;
        forget_token();
        if (renewed) return attempt;
    }
}

Result<EtcdCallEnd> EtcdSession::call(const EtcdCall& call) {
    const auto deadline = Clock::now() + config_.patience;
    const auto left = [&] { return std::chrono::ceil<milliseconds>(deadline - Clock::now()); };
    const std::string what = "etcd: " + call.what;
    const std::string unknown = "whether it was done is unknown";
    EtcdCallEnd end;
    std::map<std::string, std::string> reasons;
    std::string hint;
    std::size_t hopeless = 0;  // in a row
    milliseconds pause = kFirstPause;
    for (std::size_t tries = 1; hopeless < order_.size(); ++tries) {
        const std::string url = first();
        const milliseconds timeout = std::min(left(), config_.timeout);
        if (timeout <= milliseconds{0}) break;
        EtcdAttempt attempt = this->attempt(url, call, timeout);
        if (engine_->interrupted()) return failed(what + ": interrupted");
        if (attempt.end == End::kAnswered) {
            end.too_large = attempt.too_large;
            return end;
        }
        if (attempt.end == End::kFinal) {
            end.done_before = end.repeated && call.done_before == attempt.error.kind;
            if (end.done_before) return end;
            return std::move(attempt.error).in(url).in(what);
        }
        if (attempt.end == End::kUnknown) {
            if (!call.repeatable) return std::move(attempt.error).in(url).in(what + ": " + unknown);
            end.repeated = true;
        }
        demote_first();
        hopeless = attempt.hopeless ? hopeless + 1 : 0;
        // The last attempt may have had no time to learn anything.
        if (timeout == config_.timeout || !reasons.contains(url)) {
            reasons[url] = attempt.error.message;
            hint = attempt.error.hint;
        }
        if (tries % order_.size() != 0 || hopeless == order_.size()) continue;
        if (!engine_->pause(std::min(pause, left()))) return failed(what + ": interrupted");
        pause = std::min(2 * pause, kLongestPause);
    }
    std::string message = what;
    for (const auto& [url, reason] : reasons) message += (message == what ? ": " : "; ") + url + ": " + reason;
    if (end.repeated && call.writes) message += "; " + unknown;
    return failed(std::move(message), std::move(hint));
}

}  // namespace fastnet
