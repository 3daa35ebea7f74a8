// The JSON of etcd's gateway: what is asked, what an honest member answers, and what a hostile one could.
#include "userspace/etcd/gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "userspace/etcd/base64.h"

namespace fastnet::gateway {
namespace {

using Json = nlohmann::json;
using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr std::size_t kMaxValue = 64;

// As etcd 3.4.23 wrote them.
const std::string kHeader = R"({"cluster_id":"15875391935852295136","member_id":"7383792418829112008","revision":"9","raft_term":"2"})";
const std::string kRange =
    R"({"header":)" + kHeader +
    R"(,"kvs":[{"key":"L2YvYQ==","create_revision":"2","mod_revision":"2","version":"1","value":"djE="},)"
    R"({"key":"L2YvYg==","create_revision":"3","mod_revision":"8","version":"2","lease":"5"}],"more":true,"count":"7"})";
const std::string kWatch = R"({"result":{"header":)" + kHeader +
                           R"(,"events":[{"type":"DELETE","kv":{"key":"L2YvYg==","mod_revision":"4"}},)"
                           R"({"kv":{"key":"L2YvYw==","create_revision":"4","mod_revision":"4","version":"1"}}]}})";
const std::string kTxn =
    R"({"header":)" + kHeader +
    R"(,"succeeded":true,"responses":[{"response_range":{"header":{"revision":"3"},"kvs":[{"key":"L2YvYQ==",)"
    R"("create_revision":"2","mod_revision":"2","version":"1","value":"djE="}],"count":"1"}},)"
    R"({"response_delete_range":{"header":{"revision":"4"},"deleted":"1"}},{"response_put":{"header":{"revision":"4"}}}]})";
const Txn kAsked{.compares = {Compare::absent("/f/c")}, .then = {TxnOp::get("/f/a"), TxnOp::erase("/f/b"), TxnOp::put("/f/c", "", 7)}};

/// @p text with the first @p from replaced.
std::string with(std::string text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
}

bool range_is_taken(const std::string& body, const std::string& after = {}) {
    return parse_range(body, "/f/", after, kMaxValue).has_value();
}
bool watch_is_taken(const std::string& body) {
    return parse_watch(body, "/f/", kMaxValue).has_value();
}

TEST(Gateway, RequestsAreWhatEtcdReads) {
    EXPECT_EQ(Json::parse(range_request({.key = "/f/", .range_end = prefix_end("/f/"), .limit = 5, .revision = 7, .keys_only = true})),
              Json::parse(R"({"key":"L2Yv","range_end":"L2Yw","limit":"5","revision":"7","keys_only":true})"));
    EXPECT_EQ(Json::parse(range_request({.key = "a"})), Json::parse(R"({"key":"YQ=="})"));
    EXPECT_EQ(Json::parse(txn_request(kAsked)),
              Json::parse(R"({"compare":[{"key":"L2YvYw==","target":"CREATE","result":"EQUAL","create_revision":"0"}],
        "success":[{"request_range":{"key":"L2YvYQ=="}},{"request_delete_range":{"key":"L2YvYg=="}},
                   {"request_put":{"key":"L2YvYw==","value":"","lease":"7"}}],"failure":[]})"));
    const Txn other{.compares = {Compare::has_value("a", "v"), {"a", Compare::Target::kVersion, Compare::Relation::kGreater, 3, {}}},
                    .otherwise = {TxnOp::erase_prefix("a")}};
    EXPECT_EQ(Json::parse(txn_request(other)), Json::parse(R"({"compare":[{"key":"YQ==","target":"VALUE","result":"EQUAL","value":"dg=="},
        {"key":"YQ==","target":"VERSION","result":"GREATER","version":"3"}],
        "success":[],"failure":[{"request_delete_range":{"key":"YQ==","range_end":"Yg=="}}]})"));
    EXPECT_EQ(Json::parse(watch_request("/f/", 4)), Json::parse(R"({"create_request":{"key":"L2Yv","range_end":"L2Yw","start_revision":"4",
        "progress_notify":true,"fragment":true}})"));
    EXPECT_EQ(Json::parse(authenticate_request("u", "p\"w")), Json::parse(R"({"name":"u","password":"p\"w"})"));
    EXPECT_NO_THROW(authenticate_request("u", "\xff\xfe"));
}

TEST(Gateway, PrefixEndIsTheFirstKeyBehindThePrefix) {
    EXPECT_EQ(prefix_end("/f/"), "/f0");
    EXPECT_EQ(prefix_end("a\xff\xff"), "b");
    EXPECT_EQ(prefix_end("\xff"), std::string(1, '\0'));  // etcd's "all that follow"
    EXPECT_EQ(prefix_end(""), std::string(1, '\0'));
}

TEST(Gateway, HonestAnswersAreTaken) {
    const auto page = parse_range(kRange, "/f/", "", kMaxValue);
    ASSERT_TRUE(page) << page.error().message;
    EXPECT_EQ(page->header.cluster_id, 15875391935852295136U);
    EXPECT_EQ(page->header.revision, 9);
    EXPECT_TRUE(page->more);
    EXPECT_EQ(page->kvs, (std::vector<KeyValue>{{"/f/a", "v1", 2, 2, 1, 0, false}, {"/f/b", "", 3, 8, 2, 5, false}}));
    const auto watch = parse_watch(kWatch, "/f/", kMaxValue);
    ASSERT_TRUE(watch) << watch.error().message;
    EXPECT_EQ(watch->events, (std::vector<WatchEvent>{{true, {"/f/b", "", 0, 4, 0, 0, false}}, {false, {"/f/c", "", 4, 4, 1, 0, false}}}));
    const auto txn = parse_txn(kTxn, kAsked, kMaxValue);
    ASSERT_TRUE(txn) << txn.error().message;
    EXPECT_TRUE(txn->succeeded);
    EXPECT_EQ(txn->results[0].kvs.at(0).value, "v1");
    EXPECT_EQ(txn->results[1].deleted, 1);
    const auto compacted =
        parse_watch(R"({"result":{"header":{"cluster_id":"1"},"canceled":true,"compact_revision":"3"}})", "/f/", kMaxValue);
    ASSERT_TRUE(compacted);
    EXPECT_TRUE(compacted->canceled);
    EXPECT_EQ(compacted->compact_revision, 3);
    EXPECT_EQ(parse_grant(R"({"header":)" + kHeader + R"(,"ID":"5","TTL":"2"})")->ttl, seconds{2});
    EXPECT_EQ(*parse_keep_alive(R"({"result":{"header":)" + kHeader + R"(,"ID":"5","TTL":"2"}})"), seconds{2});
    EXPECT_EQ(*parse_keep_alive(R"({"result":{"header":)" + kHeader + R"(,"ID":"5"}})"), std::nullopt);
    EXPECT_EQ(*parse_token(R"({"header":)" + kHeader + R"(,"token":"abc.9"})"), "abc.9");
    // Numbers instead of strings are legal in proto3's JSON.
    EXPECT_TRUE(range_is_taken(with(kRange, R"("mod_revision":"2")", R"("mod_revision":2)")));
}

TEST(Gateway, RefusalsAreReadAndJudged) {
    const auto judged = [](int code, const std::string& message) {
        const auto plain = parse_refusal(Json{{"error", message}, {"message", message}, {"code", code}}.dump());
        const auto stream = parse_watch(Json{{"error", {{"grpc_code", code}, {"http_code", 500}, {"message", message}}}}.dump(), "", 0);
        EXPECT_TRUE(plain && stream && stream->refusal);
        EXPECT_EQ(plain->message, stream->refusal->message);
        EXPECT_EQ(judge(*plain), judge(*stream->refusal));
        return judge(*plain);
    };
    EXPECT_EQ(judged(14, "etcdserver: no leader"), Verdict::kElsewhere);
    EXPECT_EQ(judged(14, "etcdserver: request timed out"), Verdict::kUnknown);
    EXPECT_EQ(judged(14, "etcdserver: leader changed"), Verdict::kUnknown);
    EXPECT_EQ(judged(8, "etcdserver: too many requests"), Verdict::kElsewhere);
    EXPECT_EQ(judged(8, "etcdserver: mvcc: database space exceeded"), Verdict::kFinal);
    EXPECT_EQ(judged(7, "etcdserver: permission denied"), Verdict::kFinal);
    EXPECT_EQ(judged(5, "etcdserver: requested lease not found"), Verdict::kFinal);
    EXPECT_EQ(judged(16, "etcdserver: invalid auth token"), Verdict::kToken);
    EXPECT_EQ(judged(3, "etcdserver: revision of auth store is old"), Verdict::kToken);
    EXPECT_EQ(judged(999, "something new"), Verdict::kUnknown);
    for (const char* body :
         {"", "Not Found", "{}", "[]", R"({"error":5})", R"({"error":"x"})", R"({"error":{"message":"x"}})", R"({"error":"x","code":-1})"})
        EXPECT_FALSE(parse_refusal(body)) << body;
    EXPECT_EQ(parse_refusal(R"({"error":"a\nb\u001b[31m\u00e4","code":2})")->message, "a?b?[31m??");
    EXPECT_LE(parse_refusal(Json{{"error", std::string(100'000, 'x')}, {"code", 2}}.dump())->message.size(), 200U);
}

TEST(Gateway, LiesAboutKeysAndRevisionsAreRefused) {
    EXPECT_FALSE(range_is_taken(kRange, "/f/a")) << "the key of the page before again";
    EXPECT_TRUE(range_is_taken(kRange, "/f/0"));
    EXPECT_FALSE(range_is_taken(with(kRange, "L2YvYg==", "L2YvYQ=="))) << "a key twice";
    EXPECT_FALSE(range_is_taken(with(kRange, "L2YvYQ==", base64_encode("/e/a")))) << "outside the range";
    EXPECT_FALSE(range_is_taken(with(kRange, R"("mod_revision":"8")", R"("mod_revision":"10")"))) << "later than the answer";
    EXPECT_FALSE(range_is_taken(R"({"header":)" + kHeader + R"(,"more":true})")) << "would be asked for ever";
    EXPECT_FALSE(watch_is_taken(with(kWatch, "L2YvYw==", base64_encode("/e/c"))));
    EXPECT_FALSE(
        watch_is_taken(with(kWatch, R"("create_revision":"4","mod_revision":"4")", R"("create_revision":"4","mod_revision":"3")")));
    EXPECT_FALSE(
        watch_is_taken(with(kWatch, R"("create_revision":"4","mod_revision":"4")", R"("create_revision":"4","mod_revision":"10")")));
    EXPECT_FALSE(watch_is_taken(with(kWatch, "DELETE", "RENAME")));
    EXPECT_FALSE(parse_txn(with(kTxn, R"("response_put":{"header":{"revision":"4"}})", R"("response_range":{})"), kAsked, kMaxValue));
    EXPECT_FALSE(parse_txn(with(kTxn, R"(,{"response_put":{"header":{"revision":"4"}}})", ""), kAsked, kMaxValue));
    EXPECT_FALSE(parse_txn(with(kTxn, "L2YvYQ==", "L2YvYg=="), kAsked, kMaxValue)) << "another key than was asked for";
    for (const char* token : {"", "a\r\nX-Evil: 1", "a b", "t\xc3\xa4"}) EXPECT_FALSE(parse_token(Json{{"token", token}}.dump())) << token;
    EXPECT_FALSE(parse_token(Json{{"token", std::string(100'000, 'x')}}.dump()));
}

TEST(Gateway, ValuesBeyondTheBoundAreMarkedAndNotKept) {
    for (const std::size_t size : {kMaxValue, kMaxValue + 1, kMaxValue + 2, kMaxValue + 3, 10 * kMaxValue}) {
        const auto page = parse_range(with(kRange, "djE=", base64_encode(std::string(size, 'v'))), "/f/", "", kMaxValue);
        ASSERT_TRUE(page);
        EXPECT_EQ(page->kvs[0].oversized, size > kMaxValue) << size;
        EXPECT_EQ(page->kvs[0].value.size(), size > kMaxValue ? 0 : size);
    }
}

TEST(Gateway, NumbersOutOfRangeAndOfOtherTypesAreRefused) {
    for (const char* number : {R"("-1")", "-1", R"("9223372036854775807")", R"("99999999999999999999999")", "99999999999999999999999",
                               "1e300", "2.5", R"("")", R"("2 ")", R"("0x2")", "true", "[]", "{}", R"(["2"])"})
        EXPECT_FALSE(range_is_taken(with(kRange, R"("mod_revision":"2")", std::string{R"("mod_revision":)"} + number))) << number;
    EXPECT_FALSE(range_is_taken(with(kRange, R"("mod_revision":"2")", R"("mod_revision":null)"))) << "absent";
    EXPECT_FALSE(range_is_taken(with(kRange, "15875391935852295136", "18446744073709551616")));
    EXPECT_FALSE(range_is_taken(with(kRange, R"("more":true)", R"("more":"true")")));
}

/// Every field of @p answer in turn, replaced by something of another type, and left out.
void mutate(const std::string& answer, const std::function<void(const std::string&)>& feed) {
    const Json honest = Json::parse(answer).flatten();
    for (const auto& [path, value] : honest.items()) {
        for (const Json& other :
             {Json(nullptr), Json(true), Json(-1), Json(1.5), Json("x"), Json(""), Json::array(), Json::object(), Json::array({1}),
              Json::object({{"key", "YQ=="}}), Json("18446744073709551615"), Json(std::string(5000, 'A'))}) {
            Json mutant = Json::parse(answer);
            mutant[Json::json_pointer{path}] = other;
            feed(mutant.dump());
        }
    }
    // The inner nodes as well: an object or array where the other is expected.
    for (const char* node : {"/header", "/kvs", "/kvs/0", "/result", "/result/header", "/result/events", "/result/events/0/kv",
                             "/responses", "/responses/0"}) {
        const Json::json_pointer pointer{node};
        if (!Json::parse(answer).contains(pointer)) continue;
        for (const Json& other :
             {Json(nullptr), Json(7), Json("x"), Json::array({Json::array()}), Json::array({nullptr}), Json::object()}) {
            Json mutant = Json::parse(answer);
            mutant[pointer] = other;
            feed(mutant.dump());
        }
    }
}

void feed_all(const std::string& body) {
    // Whatever comes back is an error or a value within its bounds; sanitizers and the time limit see the rest.
    if (const auto page = parse_range(body, "/f/", "", kMaxValue)) {
        std::string before;
        for (const KeyValue& kv : page->kvs) {
            ASSERT_TRUE(kv.key.starts_with("/f/") && kv.key > before && kv.value.size() <= kMaxValue && kv.mod_revision > 0 &&
                        kv.lease >= 0);
            before = kv.key;
        }
    }
    if (const auto watch = parse_watch(body, "/f/", kMaxValue)) {
        for (const WatchEvent& event : watch->events)
            ASSERT_TRUE(event.kv.key.starts_with("/f/") && event.kv.mod_revision <= watch->header.revision);
    }
    if (const auto txn = parse_txn(body, kAsked, kMaxValue)) {
        ASSERT_EQ(txn->results.size(), txn->succeeded ? 3U : 0U);
    }
    (void)!parse_header(body);
    (void)!parse_grant(body);
    (void)!parse_keep_alive(body);
    (void)!parse_token(body);
    (void)!parse_status(body);
    (void)!parse_refusal(body);
}

TEST(Gateway, EveryFieldOfAnotherTypeIsAnErrorOrHarmless) {
    for (const std::string& answer : {kRange, kWatch, kTxn}) mutate(answer, feed_all);
}

TEST(Gateway, EveryBeginningOfAnAnswerIsAnError) {
    for (const std::string& answer : {kRange, kWatch, kTxn}) {
        for (std::size_t size = 0; size < answer.size(); ++size) {
            const std::string part = answer.substr(0, size);
            feed_all(part);
            EXPECT_FALSE(range_is_taken(part));
            EXPECT_FALSE(watch_is_taken(part));
        }
    }
}

TEST(Gateway, RandomDamageIsAnErrorOrHarmless) {
    std::mt19937 random{20261121};
    const std::string alphabet = "{}[]\",:0123456789eE+-.\\u=trufalsn/Az\xff\x80\x01 ";
    for (int round = 0; round < 20'000; ++round) {
        const std::string* const answers[] = {&kRange, &kWatch, &kTxn};
        std::string body = *answers[random() % 3];
        for (std::size_t count = random() % 6 + 1; count > 0; --count) {
            const std::size_t at = random() % body.size();
            switch (random() % 4) {
                case 0: body[at] = alphabet[random() % alphabet.size()]; break;
                case 1: body.erase(at, random() % 8 + 1); break;
                case 2: body.insert(at, 1, alphabet[random() % alphabet.size()]); break;
                default: body.insert(at, body.substr(random() % body.size(), random() % 40)); break;
            }
            if (body.empty()) body = "{";
        }
        feed_all(body);
    }
}

TEST(Gateway, LittleTextCannotAskForMuchMemory) {
    // Each would be tens of bytes of document per byte of text, up to a gigabyte for the largest answer that is read.
    const auto repeated = [](std::string_view piece) {
        std::string text;
        while (text.size() < kMaxAnswer - 1000) text += piece;
        return text;
    };
    for (const std::string& body : {repeated("["), "{\"a\":[" + repeated("[],") + "[]]}", "{\"kvs\":[" + repeated("{},") + "{}]}",
                                    repeated("{\"a\":"), "{\"kvs\":[" + repeated("0,") + "0]}"}) {
        const auto page = parse_range(body, "/f/", "", kMaxValue);
        ASSERT_FALSE(page);
        EXPECT_THAT(page.error().message, HasSubstr("too deep, or too many values"));
    }
    EXPECT_THAT(parse_range(std::string(kMaxAnswer + 1, ' '), "/f/", "", kMaxValue).error().message, HasSubstr("too large"));
}

TEST(Gateway, PageOfManySmallKeysIsTaken) {
    // The densest honest answer: short keys without values.
    Json body{{"header", Json::parse(kHeader)}, {"kvs", Json::array()}};
    for (int key = 100'00; key < 105'12; ++key)
        body["kvs"].push_back(
            {{"key", base64_encode("/f/" + std::to_string(key))}, {"create_revision", "2"}, {"mod_revision", "2"}, {"version", "1"}});
    EXPECT_EQ(parse_range(body.dump(), "/f/", "", kMaxValue)->kvs.size(), 512U);
}

}  // namespace
}  // namespace fastnet::gateway
