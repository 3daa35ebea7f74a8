#include "userspace/cluster/keys.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/cluster/cluster_builder.h"

namespace fastnet::cluster {
namespace {

using test::ip;
using test::keys;
using test::prefix;
using test::uid;

TEST(ClusterKeys, ArePathsBelowThePrefix) {
    EXPECT_EQ(keys().path(NodeKey{"n1"}), "/test/v2/nodes/n1");
    EXPECT_EQ(keys().path(VtepKey{ip("192.0.2.1")}), "/test/v2/vteps/192.0.2.1");
    EXPECT_EQ(keys().path(VtepKey{ip("2001:db8::1")}), "/test/v2/vteps/2001:db8::1");
    EXPECT_EQ(keys().path(NetworkKey{"blue"}), "/test/v2/networks/blue");
    EXPECT_EQ(keys().path(BlockKey{uid('b'), prefix("10.9.0.16/28")}), "/test/v2/blocks/" + uid('b') + "/10.9.0.16_28");
    EXPECT_EQ(keys().path(EndpointKey{"n1", 7}), "/test/v2/endpoints/n1/7");
    EXPECT_EQ(keys().path(GenerationKey{}), "/test/v2/generation");
}

TEST(ClusterKeys, AreReadBackAsTheyWereWritten) {
    for (const Key& key : {Key{NodeKey{"n-1.example"}}, Key{VtepKey{ip("2001:db8::1")}}, Key{NetworkKey{"blue"}},
                           Key{BlockKey{uid('0'), prefix("fd00:1::/80")}}, Key{EndpointKey{"n1", 4294967295U}}, Key{GenerationKey{}}}) {
        const auto parsed = keys().parse(keys().path(key));
        ASSERT_TRUE(parsed) << keys().path(key);
        EXPECT_EQ(*parsed, key);
    }
}

TEST(ClusterKeys, ThatAreSpelledInAnotherWayAreNone) {
    for (const std::string path : {"nodes/",
                                   "nodes/a/b",
                                   "nodes/../a",
                                   "nodes/-a",
                                   "nodes/a b",
                                   "vteps/192.0.2.01",
                                   "vteps/2001:DB8::1",
                                   "vteps/2001:db8:0::1",
                                   "vteps/::ffff:192.0.2.1",
                                   "endpoints/n1/0",
                                   "endpoints/n1/07",
                                   "endpoints/n1/4294967296",
                                   "endpoints/n1/-1",
                                   "endpoints/n1",
                                   "endpoints/n1/7/",
                                   "generation/",
                                   "generations",
                                   "",
                                   "x",
                                   "networks/blue/"})
        EXPECT_FALSE(keys().parse(keys().root() + path)) << path;
    const std::string blocks = keys().root() + "blocks/";
    EXPECT_TRUE(keys().parse(blocks + uid('b') + "/10.9.0.16_28"));
    for (const std::string& path :
         {uid('b') + "/10.9.0.17_28", uid('B') + "/10.9.0.16_28", uid('b') + "/10.9.0.16_33", uid('b') + "/10.9.0.16_028",
          uid('b') + "/10.9.0.16", std::string{"b/10.9.0.16_28"}, uid('b') + "/fd00::_129"})
        EXPECT_FALSE(keys().parse(blocks + path)) << path;
}

TEST(ClusterKeys, OfAnotherPrefixAreNone) {
    EXPECT_FALSE(keys().parse("/tes/v2/nodes/a"));
    EXPECT_FALSE(keys().parse("/test/v1/nodes/a"));
    EXPECT_FALSE(keys().parse("/test/v2nodes/a"));
    EXPECT_FALSE(keys().parse("/test2/v2/nodes/a"));
}

TEST(ClusterKeys, APrefixIsWordsBetweenSlashes) {
    for (const char* const good : {"/fastnet", "/a/b", "/a.b-c_d/1"}) EXPECT_TRUE(KeySpace::make(good)) << good;
    for (const std::string& bad : {std::string{}, std::string{"/"}, std::string{"fastnet"}, std::string{"/a/"}, std::string{"/a//b"},
                                   std::string{"/a b"}, std::string{"/\xc3\xa4"}, "/" + std::string(128, 'x')})
        EXPECT_FALSE(KeySpace::make(bad)) << bad;
}

TEST(ClusterKeys, UidsAreRandomHex) {
    EXPECT_TRUE(is_uid(random_uid()));
    EXPECT_NE(random_uid(), random_uid());
    EXPECT_FALSE(is_uid(std::string(31, 'a')));
    EXPECT_FALSE(is_uid(std::string(32, 'g')));
    EXPECT_FALSE(is_uid(std::string(32, 'A')));
}

TEST(ClusterKeys, WhateverIsReadIsSpelledAsItWas) {
    std::mt19937 random{20261121};
    const std::string alphabet = "nodesvtpkwrbligam/_.:0123456789af-\xff";
    for (int i = 0; i < 20'000; ++i) {
        std::string path = keys().root();
        static const char* const kStarts[] = {"nodes/", "vteps/", "networks/", "blocks/", "endpoints/", "generation"};
        path += kStarts[random() % std::size(kStarts)];
        for (std::size_t length = random() % 12; length > 0; --length) path += alphabet[random() % alphabet.size()];
        if (const auto key = keys().parse(path)) {
            EXPECT_EQ(keys().path(*key), path);
        }
    }
}

}  // namespace
}  // namespace fastnet::cluster
