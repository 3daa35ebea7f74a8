// What etcd is asked and what it answers, as values. No I/O, no JSON, nothing of fastnet's keys.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fastnet {

struct EtcdConfig {
    std::vector<std::string> urls;  ///< `http[s]://host:port` of the members' client addresses; tried in this order
    std::string user{};             ///< empty: no authentication
    std::string password{};         ///< never appears in an error
    std::string ca_file{};          ///< PEM; replaces the system's authorities. Files are read again for each new connection
    std::string cert_file{};        ///< PEM of this client, with key_file
    std::string key_file{};

    std::chrono::milliseconds timeout{1000};         ///< of one attempt at one member
    std::chrono::milliseconds patience{5000};        ///< of a whole call, with all its attempts; an election takes up to 2 s
    std::chrono::milliseconds probe_interval{2000};  ///< EtcdWatch: how often the watched member must show that it has a quorum
    std::size_t max_value_bytes = 64 * 1024;         ///< a longer value is not kept: KeyValue::oversized
};

struct KeyValue {
    std::string key;
    std::string value;
    std::int64_t create_revision = 0;  ///< 0 in a deletion
    std::int64_t mod_revision = 0;
    std::int64_t version = 0;
    std::int64_t lease = 0;  ///< 0: none
    bool oversized = false;  ///< value is empty because it was longer than EtcdConfig::max_value_bytes
    friend bool operator==(const KeyValue&, const KeyValue&) = default;
};

/// One change that a watch sees.
struct WatchEvent {
    bool deleted = false;  ///< also by an expired lease; kv then has key and mod_revision only
    KeyValue kv;
    friend bool operator==(const WatchEvent&, const WatchEvent&) = default;
};

struct RangeResult {
    std::vector<KeyValue> kvs;  ///< by key
    std::int64_t revision = 0;  ///< all of kvs at this one; a watch goes on from revision + 1
    std::uint64_t cluster_id = 0;
};

/// How much of a range is read at most.
struct RangeLimits {
    std::size_t keys = 1'000'000;
    std::size_t bytes = std::size_t{256} * 1024 * 1024;  ///< of keys and values
};

/// One condition of a transaction, about one key.
struct Compare {
    enum class Target : std::uint8_t { kCreateRevision, kModRevision, kVersion, kValue, kLease };
    enum class Relation : std::uint8_t { kEqual, kNotEqual, kGreater, kLess };
    std::string key;
    Target target = Target::kModRevision;
    Relation relation = Relation::kEqual;
    std::int64_t number = 0;  ///< for all but kValue
    std::string value{};      ///< for kValue; fails if there is no such key

    static Compare absent(std::string key) { return {std::move(key), Target::kCreateRevision, Relation::kEqual, 0, {}}; }
    static Compare exists(std::string key) { return {std::move(key), Target::kCreateRevision, Relation::kNotEqual, 0, {}}; }
    static Compare create_revision(std::string key, std::int64_t revision) {
        return {std::move(key), Target::kCreateRevision, Relation::kEqual, revision, {}};
    }
    static Compare mod_revision(std::string key, std::int64_t revision) {
        return {std::move(key), Target::kModRevision, Relation::kEqual, revision, {}};
    }
    static Compare has_value(std::string key, std::string value) {
        return {std::move(key), Target::kValue, Relation::kEqual, 0, std::move(value)};
    }
    static Compare has_lease(std::string key, std::int64_t lease) { return {std::move(key), Target::kLease, Relation::kEqual, lease, {}}; }
};

struct TxnOp {
    enum class Kind : std::uint8_t { kPut, kDelete, kDeletePrefix, kGet };
    Kind kind = Kind::kGet;
    std::string key;
    std::string value{};     ///< kPut
    std::int64_t lease = 0;  ///< kPut; 0: none

    static TxnOp put(std::string key, std::string value, std::int64_t lease = 0) {
        return {Kind::kPut, std::move(key), std::move(value), lease};
    }
    static TxnOp erase(std::string key) { return {Kind::kDelete, std::move(key), {}, 0}; }
    static TxnOp erase_prefix(std::string prefix) { return {Kind::kDeletePrefix, std::move(prefix), {}, 0}; }
    static TxnOp get(std::string key) { return {Kind::kGet, std::move(key), {}, 0}; }
};

/// If all of @p compares hold, @p then is done, else @p otherwise; as one step for the whole cluster. At most 128 operations
/// per branch (etcd's default), and no key may be put twice.
struct Txn {
    std::vector<Compare> compares{};
    std::vector<TxnOp> then{};
    std::vector<TxnOp> otherwise{};
    /// The caller says that a second, or a late, execution does no harm. See applies_once().
    bool harmless_twice = false;
};

/// Whether a second execution of @p txn cannot do anything, because its own writes make its compares fail: `otherwise` only
/// reads, and `then` puts a key that has to be absent, or puts or deletes one that has to have a certain mod_revision (deletes:
/// also create_revision). Without that (a blind put) it could run late, on top of what others wrote meanwhile. What is left in any
/// case: an attempt that was given up may still run within etcd's own time-out of about 7 s, so a key that has been created and
/// deleted within that time can come back once.
bool applies_once(const Txn& txn);

struct TxnOpResult {
    std::vector<KeyValue> kvs{};  ///< kGet: one or none
    std::int64_t deleted = 0;     ///< kDelete, kDeletePrefix: how many keys went
};

struct TxnResult {
    bool succeeded = false;              ///< `then` was done, not `otherwise`
    std::vector<TxnOpResult> results{};  ///< of the branch that was done, in its order
    std::int64_t revision = 0;
    std::uint64_t cluster_id = 0;
    /// An earlier attempt of this call got no answer and may have been the one that did it: with `succeeded == false`, ask by a
    /// kGet in `otherwise` whether the key already holds what `then` would have written.
    bool repeated = false;
};

struct Lease {
    std::int64_t id = 0;
    std::chrono::seconds ttl{0};  ///< what etcd granted: it has a minimum of its own (about 2 s)
};

/// One member, as seen from here.
struct MemberHealth {
    std::string url;
    bool reachable = false;  ///< it answered
    bool quorum = false;     ///< it answered a read that takes a majority
    std::string error{};     ///< why not, if either is false
    std::string version{};   ///< `3.4.23`
    std::uint64_t member_id = 0;
    std::uint64_t leader_id = 0;  ///< 0: it knows none
    std::uint64_t cluster_id = 0;
    std::int64_t revision = 0;
    std::int64_t database_bytes = 0;
    std::chrono::milliseconds round_trip{0};
    /// Its clock minus ours by its Date header, which has whole seconds: 1 s off means nothing.
    std::optional<std::chrono::seconds> clock_offset{};
    bool is_leader() const { return reachable && member_id != 0 && member_id == leader_id; }
};

struct Health {
    std::vector<MemberHealth> members;  ///< one per URL, in the order of the configuration
};

}  // namespace fastnet
