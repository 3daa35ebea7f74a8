#include "userspace/etcd/client.h"

#include <algorithm>
#include <cerrno>
#include <random>
#include <utility>

#include "userspace/etcd/gateway.h"
#include "userspace/etcd/session.h"

namespace fastnet {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t kPageKeys = 512;
constexpr int kMaxRestarts = 3;

std::int64_t random_lease_id() {
    std::random_device random;
    const std::uint64_t bits = std::uint64_t{random()} << 32U | random();
    return static_cast<std::int64_t>(bits >> 2U) + 1;
}

bool writes(const TxnOp& op) {
    return op.kind != TxnOp::Kind::kGet;
}
bool writes(const std::vector<TxnOp>& ops) {
    return std::any_of(ops.begin(), ops.end(), [](const TxnOp& op) { return writes(op); });
}

/// Whether @p compare fails once @p op was done.
bool fails_after(const Compare& compare, const TxnOp& op) {
    if (compare.relation != Compare::Relation::kEqual) return false;
    const bool of_key = op.kind == TxnOp::Kind::kDeletePrefix ? compare.key.starts_with(op.key) : compare.key == op.key;
    const bool revision = compare.target == Compare::Target::kModRevision;
    if (!of_key || !writes(op) || (!revision && compare.target != Compare::Target::kCreateRevision)) return false;
    // A key that is absent has revision 0. A put changes mod_revision, and create_revision of an absent key only.
    if (op.kind == TxnOp::Kind::kPut) return revision || compare.number == 0;
    return compare.number != 0;
}

struct Pages {
    RangeLimits limits;
    RangeResult result;
    std::size_t bytes = 0;
    std::int64_t limit = kPageKeys;
    bool keys_only = false;
    bool more = true;
};

bool compacted(const Error& error) {
    return error.message.find("has been compacted") != std::string::npos;
}

/// Its clock minus ours: the header was written somewhere in the second that it names, about half a round trip ago.
std::optional<std::chrono::seconds> clock_offset(const HttpReply& reply) {
    if (!reply.date) return std::nullopt;
    const auto written = std::chrono::system_clock::from_time_t(*reply.date) + milliseconds{500};
    return std::chrono::round<std::chrono::seconds>(written - (reply.received - reply.elapsed / 2));
}

}  // namespace

bool applies_once(const Txn& txn) {
    if (writes(txn.otherwise)) return false;
    if (!writes(txn.then)) return true;
    return std::any_of(txn.compares.begin(), txn.compares.end(), [&](const Compare& compare) {
        return std::any_of(txn.then.begin(), txn.then.end(), [&](const TxnOp& op) { return fails_after(compare, op); });
    });
}

class EtcdClient::Impl {
public:
    explicit Impl(std::unique_ptr<EtcdSession> session) : session_{std::move(session)} {}

    EtcdSession& session() { return *session_; }

    Result<RangeResult> range_prefix(const std::string& prefix, const RangeLimits& limits) {
        for (int restarts = 0;; ++restarts) {
            Pages pages;
            pages.limits = limits;
            Status status = ok();
            while (pages.more && status) status = next_page(prefix, pages);
            if (status) return std::move(pages.result);
            // Somebody compacted between two pages: what was read is too old to go on with.
            if (restarts == kMaxRestarts || !compacted(status.error())) return std::move(status).error();
        }
    }

    MemberHealth health(const std::string& url, const HttpReply& status, const HttpReply& read) const;

private:
    Status next_page(const std::string& prefix, Pages& pages);

    std::unique_ptr<EtcdSession> session_;
};

Status EtcdClient::Impl::next_page(const std::string& prefix, Pages& pages) {
    RangeResult& result = pages.result;
    const std::string after = result.kvs.empty() ? std::string{} : result.kvs.back().key;
    gateway::RangeQuery query;
    // An empty prefix means all keys, which begin at "\0".
    query.key = !after.empty() ? after + '\0' : prefix.empty() ? std::string(1, '\0') : prefix;
    query.range_end = gateway::prefix_end(prefix);
    query.limit = pages.limit;
    query.revision = result.revision;
    query.keys_only = pages.keys_only;
    gateway::RangePage page;
    EtcdCall call{.what = "range", .path = "/v3/kv/range", .body = gateway::range_request(query), .too_large_is_answer = true};
    call.take = [&](std::string_view body) -> Status {
        page = TRY(gateway::parse_range(body, prefix, after, session_->config().max_value_bytes));
        const bool same = result.cluster_id == 0 || page.header.cluster_id == result.cluster_id;
        if (!same) return failed("it belongs to another cluster than the members before");
        return ok();
    };
    const EtcdCallEnd end = TRY(session_->call(call));
    if (end.too_large) {
        // Large values: fewer keys at once; one that is alone too large is known by its key only.
        if (pages.keys_only) return failed("etcd: range: a single key is larger than " + std::to_string(gateway::kMaxAnswer) + " bytes");
        pages.keys_only = pages.limit == 1;
        pages.limit = std::max<std::int64_t>(1, pages.limit / 2);
        return ok();
    }
    if (result.cluster_id == 0) {
        result.cluster_id = page.header.cluster_id;
        result.revision = page.header.revision;
    }
    for (KeyValue& kv : page.kvs) {
        if (kv.mod_revision > result.revision) return failed("etcd: range: a key of a later revision than was asked for");
        kv.oversized = kv.oversized || pages.keys_only;
        pages.bytes += kv.key.size() + kv.value.size();
        result.kvs.push_back(std::move(kv));
    }
    if (result.kvs.size() > pages.limits.keys || pages.bytes > pages.limits.bytes) {
        Error error = failed("etcd: range: more below '" + gateway::printable(prefix) + "' than " + std::to_string(pages.limits.keys) +
                                 " keys or " + std::to_string(pages.limits.bytes) + " bytes",
                             "delete what does not belong there");
        error.sys_errno = E2BIG;
        return error;
    }
    pages.more = page.more;
    pages.keys_only = false;
    pages.limit = std::min(pages.limit * 2, kPageKeys);
    return ok();
}

MemberHealth EtcdClient::Impl::health(const std::string& url, const HttpReply& status, const HttpReply& read) const {
    MemberHealth health;
    health.url = url;
    const auto why = [&](const HttpReply& reply) {
        if (reply.code == CURLE_OPERATION_TIMEDOUT && reply.sent)
            return "no answer within " + std::to_string(reply.elapsed.count()) + " ms";
        if (reply.code != CURLE_OK) return gateway::printable(reply.why);
        const auto refusal = gateway::parse_refusal(reply.body);
        return refusal ? session_->refusal_error(*refusal).message
                       : "HTTP status " + std::to_string(reply.status) + " and no answer of etcd";
    };
    if (status.code != CURLE_OK || status.status != 200) {
        health.error = why(status);
        return health;
    }
    const auto parsed = gateway::parse_status(status.body);
    if (!parsed) {
        health.error = parsed.error().message;
        return health;
    }
    health.reachable = true;
    health.version = parsed->version;
    health.member_id = parsed->header.member_id;
    health.leader_id = parsed->leader_id;
    health.cluster_id = parsed->header.cluster_id;
    health.revision = parsed->header.revision;
    health.database_bytes = parsed->database_bytes;
    health.round_trip = status.elapsed;
    health.clock_offset = clock_offset(status);
    // etcd confirms its leadership before it looks at permissions: a refused read has had its majority too.
    const auto refusal = gateway::parse_refusal(read.body);
    const bool refused =
        refusal && (gateway::judge(*refusal) == gateway::Verdict::kFinal || gateway::judge(*refusal) == gateway::Verdict::kToken);
    health.quorum = read.code == CURLE_OK && (refused || (read.status == 200 && gateway::parse_header(read.body)));
    if (!health.quorum) health.error = "no quorum: " + why(read);
    return health;
}

EtcdClient::EtcdClient(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
EtcdClient::EtcdClient(EtcdClient&&) noexcept = default;
EtcdClient& EtcdClient::operator=(EtcdClient&&) noexcept = default;
EtcdClient::~EtcdClient() = default;

Result<EtcdClient> EtcdClient::open(EtcdConfig config) {
    return EtcdClient{std::make_unique<Impl>(TRY(EtcdSession::open(std::move(config))))};
}

Result<RangeResult> EtcdClient::range_prefix(std::string_view prefix, const RangeLimits& limits) {
    return impl_->range_prefix(std::string{prefix}, limits);
}

Result<TxnResult> EtcdClient::txn(const Txn& txn) {
    EtcdSession& session = impl_->session();
    TxnResult result;
    EtcdCall call{.what = "transaction", .path = "/v3/kv/txn", .body = gateway::txn_request(txn)};
    call.writes = writes(txn.then) || writes(txn.otherwise);
    call.repeatable = txn.harmless_twice || applies_once(txn);
    call.take = [&](std::string_view body) -> Status {
        result = TRY(gateway::parse_txn(body, txn, session.config().max_value_bytes));
        return ok();
    };
    result.repeated = TRY(session.call(call)).repeated;
    return result;
}

Result<Lease> EtcdClient::grant(std::chrono::seconds ttl, std::int64_t id) {
    const bool picked = id == 0;
    if (picked) id = random_lease_id();
    Lease lease;
    EtcdCall call{.what = "grant a lease", .path = "/v3/lease/grant", .body = gateway::grant_request(ttl, id), .writes = true};
    call.done_before = ErrorKind::kConflict;
    call.take = [&](std::string_view body) -> Status {
        lease = TRY(gateway::parse_grant(body));
        if (lease.id != id) return failed("not an answer of etcd: another lease than was asked for");
        return ok();
    };
    const EtcdCallEnd end = TRY(impl_->session().call(call));
    if (end.done_before) lease = {id, TRY(keep_alive(id))};
    return lease;
}

Result<std::chrono::seconds> EtcdClient::keep_alive(std::int64_t id) {
    std::optional<std::chrono::seconds> left;
    EtcdCall call{.what = "renew a lease", .path = "/v3/lease/keepalive", .body = gateway::lease_request(id)};
    call.take = [&](std::string_view body) -> Status {
        left = TRY(gateway::parse_keep_alive(body));
        return ok();
    };
    CHECK_OK(impl_->session().call(call));
    if (!left) return not_found("etcd: renew a lease: it has expired or was revoked");
    return *left;
}

Status EtcdClient::revoke(std::int64_t id) {
    EtcdCall call{.what = "revoke a lease", .path = "/v3/lease/revoke", .body = gateway::lease_request(id), .writes = true};
    call.done_before = ErrorKind::kNotFound;
    call.take = [](std::string_view body) -> Status {
        CHECK_OK(gateway::parse_header(body));
        return ok();
    };
    CHECK_OK(impl_->session().call(call));
    return ok();
}

Result<Health> EtcdClient::status() {
    EtcdSession& session = impl_->session();
    HttpEngine& engine = session.engine();
    struct Pair {
        std::string url;
        std::unique_ptr<HttpEngine::Transfer> status;
        std::unique_ptr<HttpEngine::Transfer> read;
    };
    const auto start = [&](const std::string& url, const std::string& path, std::string body) {
        return std::make_unique<HttpEngine::Transfer>(engine, session.plain_request(url, path, std::move(body)));
    };
    std::vector<Pair> pairs;
    for (const std::string& url : session.config().urls) {
        const gateway::RangeQuery any{.key = "health", .keys_only = true};
        pairs.push_back({url, start(url, "/v3/maintenance/status", "{}"), start(url, "/v3/kv/range", gateway::range_request(any))});
    }
    const auto running = [&] {
        return std::any_of(pairs.begin(), pairs.end(), [](const Pair& pair) { return !pair.status->done() || !pair.read->done(); });
    };
    while (running() && !engine.interrupted()) engine.step(session.config().timeout);
    if (engine.interrupted()) return failed("etcd: status: interrupted");
    Health health;
    for (const Pair& pair : pairs) health.members.push_back(impl_->health(pair.url, pair.status->reply(), pair.read->reply()));
    return health;
}

void EtcdClient::interrupt() noexcept {
    impl_->session().engine().interrupt();
}

}  // namespace fastnet
