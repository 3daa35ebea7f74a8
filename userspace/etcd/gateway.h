// The JSON of etcd's gateway: requests as text, answers as values. Pure, no I/O.
// Every answer is read as if an attacker had written it: bounded depth and number of values, each field checked for type and
// range, keys for the prefix and order that was asked for. Anything else is an error, never a guess.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/result.h"
#include "userspace/etcd/types.h"

namespace fastnet::gateway {

/// Bytes of one answer, or of one line of a stream. etcd's own limit of a request is 1.5 MB, which is 2 MB in base64.
constexpr std::size_t kMaxAnswer = 4 * 1024 * 1024;

/// The end of the range of keys that begin with @p prefix (etcdctl's `--prefix`); "\0" for all keys.
std::string prefix_end(std::string_view prefix);

struct RangeQuery {
    std::string key;
    std::string range_end{};    ///< empty: the one key
    std::int64_t limit = 0;     ///< 0: none
    std::int64_t revision = 0;  ///< 0: the newest
    bool keys_only = false;
};
std::string range_request(const RangeQuery& query);
std::string txn_request(const Txn& txn);
std::string grant_request(std::chrono::seconds ttl, std::int64_t id);
std::string lease_request(std::int64_t id);  ///< keepalive and revoke
std::string authenticate_request(std::string_view user, std::string_view password);
std::string watch_request(std::string_view prefix, std::int64_t from_revision);

struct Header {
    std::uint64_t cluster_id = 0;
    std::uint64_t member_id = 0;
    std::int64_t revision = 0;
};

struct RangePage {
    Header header;
    std::vector<KeyValue> kvs;
    bool more = false;
};
/// @p after: the last key of the page before; keys have to be larger.
Result<RangePage> parse_range(std::string_view body, std::string_view prefix, std::string_view after, std::size_t max_value_bytes);
/// The header alone: of a probe.
Result<Header> parse_header(std::string_view body);
/// @p txn says what has to be in it.
Result<TxnResult> parse_txn(std::string_view body, const Txn& txn, std::size_t max_value_bytes);
Result<Lease> parse_grant(std::string_view body);
/// What is left; nullopt if there is no such lease.
Result<std::optional<std::chrono::seconds>> parse_keep_alive(std::string_view body);
Result<std::string> parse_token(std::string_view body);

struct MemberStatus {
    Header header;
    std::string version;
    std::uint64_t leader_id = 0;
    std::int64_t database_bytes = 0;
};
Result<MemberStatus> parse_status(std::string_view body);

/// What etcd says instead of an answer.
struct Refusal {
    int code = 0;  ///< gRPC's
    std::string message;
};
/// One line of a watch stream.
struct WatchAnswer {
    Header header;
    bool created = false;
    bool canceled = false;
    bool fragment = false;  ///< more of the same revision follows
    std::int64_t compact_revision = 0;
    std::string cancel_reason{};
    std::vector<WatchEvent> events{};
    std::optional<Refusal> refusal{};  ///< the stream has failed
};
Result<WatchAnswer> parse_watch(std::string_view line, std::string_view prefix, std::size_t max_value_bytes);

/// Of an answer whose HTTP status is not 200; nullopt if it is not the gateway's.
std::optional<Refusal> parse_refusal(std::string_view body);

enum class Verdict : std::uint8_t {
    kFinal,      ///< the cluster's answer: no member will say anything else
    kElsewhere,  ///< nothing was done; another member may do it
    kUnknown,    ///< it may have been done; another member may do it (again)
    kToken,      ///< nothing was done; a fresh token is needed
};
Verdict judge(const Refusal& refusal);

/// What a server wrote, fit for an error message: one line, printable, bounded.
std::string printable(std::string_view text);

}  // namespace fastnet::gateway
