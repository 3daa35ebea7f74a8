#include "userspace/etcd/gateway.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "userspace/etcd/base64.h"

namespace fastnet::gateway {
namespace {

using Json = nlohmann::json;

// gRPC status codes that mean something here.
constexpr int kInvalidArgument = 3;
constexpr int kNotFound = 5;
constexpr int kPermissionDenied = 7;
constexpr int kResourceExhausted = 8;
constexpr int kFailedPrecondition = 9;
constexpr int kOutOfRange = 11;
constexpr int kUnimplemented = 12;
constexpr int kUnauthenticated = 16;

// An honest answer is 5 deep and has 8 values for a key of more than 100 bytes.
constexpr std::size_t kMaxDepth = 16;
constexpr std::size_t kFreeValues = 256;
constexpr std::size_t kBytesPerValue = 8;
// No revision is near this, and arithmetic on it cannot overflow.
constexpr std::int64_t kMaxRevision = std::numeric_limits<std::int64_t>::max() / 2;
constexpr std::int64_t kMaxTtlSeconds = 9'000'000'000;  // etcd's own bound
constexpr std::size_t kMaxToken = 8 * 1024;
constexpr std::size_t kMaxShownText = 200;

/// Counts instead of building: a few bytes of text can ask for a hundred times as much memory as a document.
class Measure : public nlohmann::json_sax<Json> {
public:
    explicit Measure(std::size_t bytes) : values_left_{kFreeValues + bytes / kBytesPerValue} {}

    bool null() override { return count(); }
    bool boolean(bool) override { return count(); }
    bool number_integer(number_integer_t) override { return count(); }
    bool number_unsigned(number_unsigned_t) override { return count(); }
    bool number_float(number_float_t, const string_t&) override { return count(); }
    bool string(string_t&) override { return count(); }
    bool binary(binary_t&) override { return false; }
    bool key(string_t&) override { return count(); }
    bool start_object(std::size_t) override { return count() && ++depth_ <= kMaxDepth; }
    bool start_array(std::size_t) override { return count() && ++depth_ <= kMaxDepth; }
    bool end_object() override { return leave(); }
    bool end_array() override { return leave(); }
    bool parse_error(std::size_t, const std::string&, const Json::exception&) override { return false; }

private:
    bool count() { return values_left_ != 0 && values_left_-- != 0; }
    bool leave() {
        --depth_;
        return true;
    }
    std::size_t values_left_;
    std::size_t depth_ = 0;
};

Error malformed(const std::string& what) {
    return failed("not an answer of etcd: " + what);
}

Result<Json> parse_object(std::string_view body) {
    if (body.size() > kMaxAnswer) return malformed("too large");
    Measure measure{body.size()};
    if (!Json::sax_parse(body, &measure)) return malformed("no JSON, or too deep, or too many values");
    Json json = Json::parse(body, nullptr, false);
    if (!json.is_object()) return malformed("no object");
    return json;
}

/// A member of @p object, or null: absent is the default of proto3.
const Json* member(const Json& object, const char* name) {
    const auto found = object.find(name);
    return found == object.end() || found->is_null() ? nullptr : &*found;
}

/// 64-bit numbers are strings in proto3's JSON; plain numbers are legal too.
template <typename Number>
Result<Number> number(const Json& object, const char* name, Number least, Number most) {
    const Json* field = member(object, name);
    Number value = 0;
    if (field != nullptr && field->is_string()) {
        const auto& text = field->get_ref<const std::string&>();
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc{} || end != text.data() + text.size()) return malformed(std::string{name} + " is no number");
    } else if (field != nullptr && field->is_number_unsigned()) {
        const auto wide = field->get<std::uint64_t>();
        if (wide > static_cast<std::uint64_t>(std::numeric_limits<Number>::max())) return malformed(std::string{name} + " is out of range");
        value = static_cast<Number>(wide);
    } else if (field != nullptr && field->is_number_integer() && std::is_signed_v<Number>) {
        value = static_cast<Number>(field->get<std::int64_t>());
    } else if (field != nullptr) {
        return malformed(std::string{name} + " is no number");
    }
    if (value < least || value > most) return malformed(std::string{name} + " is out of range");
    return value;
}
Result<std::int64_t> revision(const Json& object, const char* name) {
    return number<std::int64_t>(object, name, 0, kMaxRevision);
}
Result<std::uint64_t> identity(const Json& object, const char* name) {
    return number<std::uint64_t>(object, name, 0, std::numeric_limits<std::uint64_t>::max());
}

Result<bool> flag(const Json& object, const char* name) {
    const Json* field = member(object, name);
    if (field == nullptr) return false;
    if (!field->is_boolean()) return malformed(std::string{name} + " is no boolean");
    return field->get<bool>();
}

Result<std::string> text(const Json& object, const char* name) {
    const Json* field = member(object, name);
    if (field == nullptr) return std::string{};
    if (!field->is_string()) return malformed(std::string{name} + " is no string");
    return field->get<std::string>();
}

Result<const Json*> nested(const Json& object, const char* name) {
    const Json* field = member(object, name);
    if (field == nullptr || !field->is_object()) return malformed(std::string{name} + " is missing or no object");
    return field;
}

/// The elements of an array of objects; none if it is absent.
Result<const Json*> array(const Json& object, const char* name) {
    static const Json kNone = Json::array();
    const Json* field = member(object, name);
    if (field == nullptr) return &kNone;
    if (!field->is_array()) return malformed(std::string{name} + " is no array");
    for (const Json& element : *field) {
        if (!element.is_object()) return malformed(std::string{name} + " holds something else than objects");
    }
    return field;
}

Result<Header> header_of(const Json& answer) {
    const Json* json = TRY(nested(answer, "header"));
    Header header;
    header.cluster_id = TRY(identity(*json, "cluster_id"));
    header.member_id = TRY(identity(*json, "member_id"));
    header.revision = TRY(revision(*json, "revision"));
    if (header.cluster_id == 0) return malformed("no cluster_id");
    return header;
}

Result<KeyValue> key_value(const Json& json, std::size_t max_value_bytes) {
    KeyValue kv;
    auto key = base64_decode(TRY(text(json, "key")));
    if (!key || key->empty()) return malformed("key is no base64");
    kv.key = std::move(*key);
    const std::string encoded = TRY(text(json, "value"));
    kv.oversized = encoded.size() / 4 * 3 > max_value_bytes + 2;
    if (!kv.oversized) {
        auto value = base64_decode(encoded);
        if (!value) return malformed("value is no base64");
        kv.oversized = value->size() > max_value_bytes;
        if (!kv.oversized) kv.value = std::move(*value);
    }
    kv.create_revision = TRY(revision(json, "create_revision"));
    kv.mod_revision = TRY(revision(json, "mod_revision"));
    kv.version = TRY(revision(json, "version"));
    kv.lease = TRY(number<std::int64_t>(json, "lease", 0, std::numeric_limits<std::int64_t>::max()));
    if (kv.mod_revision == 0) return malformed("a key without mod_revision");
    return kv;
}

Json bytes(std::string_view raw) {
    return base64_encode(raw);
}

const char* name_of(Compare::Target target) {
    switch (target) {
        case Compare::Target::kCreateRevision: return "CREATE";
        case Compare::Target::kModRevision: return "MOD";
        case Compare::Target::kVersion: return "VERSION";
        case Compare::Target::kValue: return "VALUE";
        case Compare::Target::kLease: return "LEASE";
    }
    std::abort();
}
const char* field_of(Compare::Target target) {
    switch (target) {
        case Compare::Target::kCreateRevision: return "create_revision";
        case Compare::Target::kModRevision: return "mod_revision";
        case Compare::Target::kVersion: return "version";
        case Compare::Target::kValue: return "value";
        case Compare::Target::kLease: return "lease";
    }
    std::abort();
}
const char* name_of(Compare::Relation relation) {
    switch (relation) {
        case Compare::Relation::kEqual: return "EQUAL";
        case Compare::Relation::kNotEqual: return "NOT_EQUAL";
        case Compare::Relation::kGreater: return "GREATER";
        case Compare::Relation::kLess: return "LESS";
    }
    std::abort();
}

Json to_json(const Compare& compare) {
    Json json{{"key", bytes(compare.key)}, {"target", name_of(compare.target)}, {"result", name_of(compare.relation)}};
    json[field_of(compare.target)] =
        compare.target == Compare::Target::kValue ? bytes(compare.value) : Json(std::to_string(compare.number));
    return json;
}

Json to_json(const TxnOp& op) {
    switch (op.kind) {
        case TxnOp::Kind::kPut:
            return {{"request_put", {{"key", bytes(op.key)}, {"value", bytes(op.value)}, {"lease", std::to_string(op.lease)}}}};
        case TxnOp::Kind::kDelete: return {{"request_delete_range", {{"key", bytes(op.key)}}}};
        case TxnOp::Kind::kDeletePrefix:
            return {{"request_delete_range", {{"key", bytes(op.key)}, {"range_end", bytes(prefix_end(op.key))}}}};
        case TxnOp::Kind::kGet: return {{"request_range", {{"key", bytes(op.key)}}}};
    }
    std::abort();
}

template <typename Item>
Json to_json(const std::vector<Item>& items) {
    Json json = Json::array();
    for (const Item& item : items) json.push_back(to_json(item));
    return json;
}

Result<TxnOpResult> op_result(const Json& json, const TxnOp& op, std::size_t max_value_bytes) {
    TxnOpResult result;
    switch (op.kind) {
        case TxnOp::Kind::kPut: CHECK_OK(nested(json, "response_put")); break;
        case TxnOp::Kind::kDelete:
        case TxnOp::Kind::kDeletePrefix: {
            const Json* deletion = TRY(nested(json, "response_delete_range"));
            result.deleted = TRY(revision(*deletion, "deleted"));
            break;
        }
        case TxnOp::Kind::kGet: {
            const Json* range = TRY(nested(json, "response_range"));
            const Json* kvs = TRY(array(*range, "kvs"));
            if (kvs->size() > 1) return malformed("several values of one key");
            for (const Json& kv : *kvs) {
                result.kvs.push_back(TRY(key_value(kv, max_value_bytes)));
                if (result.kvs.back().key != op.key) return malformed("another key than was asked for");
            }
            break;
        }
    }
    return result;
}

/// A stream's answers come as {"result": ...} or {"error": ...}.
std::optional<Refusal> refusal_of(const Json& json) {
    const Json* error = member(json, "error");
    if (error == nullptr) return std::nullopt;
    const Json& holder = error->is_object() ? *error : json;
    Refusal refusal;
    const Json* message = member(holder, "message");
    if (message == nullptr) message = member(holder, "error");
    const Json* code = member(holder, error->is_object() ? "grpc_code" : "code");
    if (message == nullptr || !message->is_string() || code == nullptr || !code->is_number_unsigned()) return std::nullopt;
    refusal.message = printable(message->get_ref<const std::string&>());
    const auto wide = code->get<std::uint64_t>();
    refusal.code = wide > 16 ? 2 : static_cast<int>(wide);  // 2: unknown
    return refusal;
}

}  // namespace

std::string prefix_end(std::string_view prefix) {
    std::string end{prefix};
    while (!end.empty() && static_cast<unsigned char>(end.back()) == 0xff) end.pop_back();
    if (end.empty()) return std::string(1, '\0');
    end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
    return end;
}

std::string range_request(const RangeQuery& query) {
    Json json{{"key", bytes(query.key)}};
    if (!query.range_end.empty()) json["range_end"] = bytes(query.range_end);
    if (query.limit != 0) json["limit"] = std::to_string(query.limit);
    if (query.revision != 0) json["revision"] = std::to_string(query.revision);
    if (query.keys_only) json["keys_only"] = true;
    return json.dump();
}

std::string txn_request(const Txn& txn) {
    return Json{{"compare", to_json(txn.compares)}, {"success", to_json(txn.then)}, {"failure", to_json(txn.otherwise)}}.dump();
}

std::string grant_request(std::chrono::seconds ttl, std::int64_t id) {
    return Json{{"TTL", std::to_string(ttl.count())}, {"ID", std::to_string(id)}}.dump();
}

std::string lease_request(std::int64_t id) {
    return Json{{"ID", std::to_string(id)}}.dump();
}

std::string authenticate_request(std::string_view user, std::string_view password) {
    // What is no UTF-8 is replaced instead of thrown about: such a password is refused by etcd like any wrong one.
    return Json{{"name", user}, {"password", password}}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string watch_request(std::string_view prefix, std::int64_t from_revision) {
    return Json{{"create_request",
                 {{"key", bytes(prefix)},
                  {"range_end", bytes(prefix_end(prefix))},
                  {"start_revision", std::to_string(from_revision)},
                  {"progress_notify", true},
                  {"fragment", true}}}}
        .dump();
}

Result<RangePage> parse_range(std::string_view body, std::string_view prefix, std::string_view after, std::size_t max_value_bytes) {
    const Json json = TRY(parse_object(body));
    RangePage page;
    page.header = TRY(header_of(json));
    page.more = TRY(flag(json, "more"));
    const Json* kvs = TRY(array(json, "kvs"));
    page.kvs.reserve(kvs->size());
    for (const Json& item : *kvs) {
        KeyValue kv = TRY(key_value(item, max_value_bytes));
        if (!kv.key.starts_with(prefix)) return malformed("a key outside the range");
        if (kv.key <= (page.kvs.empty() ? after : std::string_view{page.kvs.back().key})) return malformed("keys out of order");
        if (kv.mod_revision > page.header.revision) return malformed("a key of a later revision");
        page.kvs.push_back(std::move(kv));
    }
    if (page.more && page.kvs.empty()) return malformed("an empty page with more to come");
    return page;
}

Result<Header> parse_header(std::string_view body) {
    return header_of(TRY(parse_object(body)));
}

Result<TxnResult> parse_txn(std::string_view body, const Txn& txn, std::size_t max_value_bytes) {
    const Json json = TRY(parse_object(body));
    const Header header = TRY(header_of(json));
    TxnResult result;
    result.succeeded = TRY(flag(json, "succeeded"));
    result.revision = header.revision;
    result.cluster_id = header.cluster_id;
    const Json* responses = TRY(array(json, "responses"));
    const std::vector<TxnOp>& ops = result.succeeded ? txn.then : txn.otherwise;
    if (responses->size() != ops.size()) return malformed("another number of responses than operations");
    for (std::size_t at = 0; at < ops.size(); ++at) result.results.push_back(TRY(op_result((*responses)[at], ops[at], max_value_bytes)));
    return result;
}

Result<Lease> parse_grant(std::string_view body) {
    const Json json = TRY(parse_object(body));
    CHECK_OK(header_of(json));
    Lease lease;
    lease.id = TRY(number<std::int64_t>(json, "ID", 1, std::numeric_limits<std::int64_t>::max()));
    lease.ttl = std::chrono::seconds{TRY(number<std::int64_t>(json, "TTL", 1, kMaxTtlSeconds))};
    return lease;
}

Result<std::optional<std::chrono::seconds>> parse_keep_alive(std::string_view body) {
    const Json json = TRY(parse_object(body));
    const Json* result = TRY(nested(json, "result"));
    CHECK_OK(header_of(*result));
    const auto ttl = TRY(number<std::int64_t>(*result, "TTL", -1, kMaxTtlSeconds));
    return ttl > 0 ? std::optional{std::chrono::seconds{ttl}} : std::nullopt;
}

Result<std::string> parse_token(std::string_view body) {
    const Json json = TRY(parse_object(body));
    std::string token = TRY(text(json, "token"));
    // It goes into a header line: no line breaks, nothing that ends it.
    const bool fits = std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c <= '~'; });
    if (token.empty() || token.size() > kMaxToken || !fits) return malformed("no token");
    return token;
}

Result<MemberStatus> parse_status(std::string_view body) {
    const Json json = TRY(parse_object(body));
    MemberStatus status;
    status.header = TRY(header_of(json));
    status.version = printable(TRY(text(json, "version")));
    status.leader_id = TRY(identity(json, "leader"));
    status.database_bytes = TRY(number<std::int64_t>(json, "dbSize", 0, std::numeric_limits<std::int64_t>::max()));
    return status;
}

Result<WatchAnswer> parse_watch(std::string_view line, std::string_view prefix, std::size_t max_value_bytes) {
    const Json json = TRY(parse_object(line));
    WatchAnswer answer;
    answer.refusal = refusal_of(json);
    if (answer.refusal) return answer;
    const Json* result = TRY(nested(json, "result"));
    answer.header = TRY(header_of(*result));
    answer.created = TRY(flag(*result, "created"));
    answer.canceled = TRY(flag(*result, "canceled"));
    answer.fragment = TRY(flag(*result, "fragment"));
    answer.compact_revision = TRY(revision(*result, "compact_revision"));
    answer.cancel_reason = printable(TRY(text(*result, "cancel_reason")));
    const Json* events = TRY(array(*result, "events"));
    answer.events.reserve(events->size());
    for (const Json& item : *events) {
        WatchEvent event;
        const std::string type = TRY(text(item, "type"));
        if (!type.empty() && type != "PUT" && type != "DELETE") return malformed("an event of another type");
        event.deleted = type == "DELETE";
        const Json* kv = TRY(nested(item, "kv"));
        event.kv = TRY(key_value(*kv, max_value_bytes));
        if (!event.kv.key.starts_with(prefix)) return malformed("an event outside the range");
        if (!answer.events.empty() && event.kv.mod_revision < answer.events.back().kv.mod_revision) return malformed("events out of order");
        if (event.kv.mod_revision > answer.header.revision) return malformed("an event of a later revision");
        answer.events.push_back(std::move(event));
    }
    return answer;
}

std::optional<Refusal> parse_refusal(std::string_view body) {
    const auto json = parse_object(body);
    return json ? refusal_of(*json) : std::nullopt;
}

Verdict judge(const Refusal& refusal) {
    const auto says = [&](std::string_view words) { return refusal.message.find(words) != std::string::npos; };
    if (says("invalid auth token") || says("revision of auth store is old") || says("user name is empty")) return Verdict::kToken;
    // What a member says before it has proposed anything.
    if (says("no leader") || says("too many requests") || says("not supported for learner") || says("not capable"))
        return Verdict::kElsewhere;
    switch (refusal.code) {
        case kInvalidArgument:
        case kNotFound:
        case kPermissionDenied:
        case kResourceExhausted:
        case kFailedPrecondition:
        case kOutOfRange:
        case kUnimplemented:
        case kUnauthenticated: return Verdict::kFinal;
        default: return Verdict::kUnknown;
    }
}

std::string printable(std::string_view text) {
    std::string line{text.substr(0, kMaxShownText)};
    std::replace_if(
        line.begin(), line.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return line;
}

}  // namespace fastnet::gateway
