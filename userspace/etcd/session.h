// What the client and the watch share: the members and their order, the token, one attempt at one member and what its failure
// means, and calls that go round the members. One thread; interrupt() from any.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/result.h"
#include "userspace/etcd/gateway.h"
#include "userspace/etcd/http.h"
#include "userspace/etcd/types.h"

namespace fastnet {

struct EtcdCall {
    std::string what;  ///< for errors: `range`
    std::string path;  ///< `/v3/kv/range`
    std::string body;
    bool writes = false;
    bool repeatable = true;            ///< a second execution does no harm
    bool token = true;                 ///< goes with the user's token
    bool too_large_is_answer = false;  ///< EtcdAttempt::too_large instead of a failure
    /// The kind of refusal that says, after an attempt of unknown outcome, that this attempt did it.
    std::optional<ErrorKind> done_before{};
    std::function<Status(std::string_view)> take{};  ///< reads the answer; an error is the member's, not the call's
};

struct EtcdAttempt {
    enum class End : std::uint8_t {
        kAnswered,
        kFinal,      ///< the cluster refused: the same everywhere
        kElsewhere,  ///< nothing was done
        kUnknown,    ///< it may have been done
    };
    End end = End::kElsewhere;
    Error error{};          ///< without the member's URL
    bool hopeless = false;  ///< our own set-up is wrong: waiting does not help, another member might
    bool too_large = false;
    HttpReply reply{};  ///< date and time of the last request
};

/// How a call that was answered came about.
struct EtcdCallEnd {
    bool repeated = false;     ///< an earlier attempt may have been executed too
    bool too_large = false;    ///< answered, but `take` has not seen it
    bool done_before = false;  ///< by an earlier attempt, whose answer is lost
};

class EtcdSession {
public:
    /// Checks the configuration; no connection yet.
    static Result<std::unique_ptr<EtcdSession>> open(EtcdConfig config);

    const EtcdConfig& config() const { return config_; }
    HttpEngine& engine() { return *engine_; }

    /// One attempt within @p timeout, with a token if the call wants one; a refused token is renewed once.
    EtcdAttempt attempt(const std::string& url, const EtcdCall& call, std::chrono::milliseconds timeout);
    /// What a reply to @p call means; for who does the sending himself.
    EtcdAttempt judge(HttpReply reply, const EtcdCall& call);
    /// Round the members until one answers, refuses for all, or patience is over.
    Result<EtcdCallEnd> call(const EtcdCall& call);

    const std::string& first() const { return order_.front(); }
    void demote_first();
    /// What any member answers, whatever its state.
    HttpRequest plain_request(const std::string& url, const std::string& path, std::string body) const;
    /// Only for a member that knows a leader; with the token, if @p token and there is one.
    HttpRequest request(const std::string& url, const std::string& path, std::string body, bool token) const;
    /// What a server's refusal means for the user; @p refusal may hold anything.
    Error refusal_error(const gateway::Refusal& refusal) const;
    void forget_token();

private:
    EtcdSession(EtcdConfig config, std::unique_ptr<HttpEngine> engine);
    EtcdAttempt send(const std::string& url, const EtcdCall& call, std::chrono::milliseconds timeout);
    EtcdAttempt authenticate(const std::string& url, std::chrono::milliseconds timeout);
    std::string without_secrets(std::string text) const;

    EtcdConfig config_;
    std::unique_ptr<HttpEngine> engine_;
    std::deque<std::string> order_;
    std::string token_{};
    bool token_wanted_ = false;   ///< a user is configured, and etcd has not said that it does without
    bool token_refused_ = false;  ///< by the last attempt
};

}  // namespace fastnet
