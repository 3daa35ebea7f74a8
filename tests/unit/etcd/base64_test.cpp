#include "userspace/etcd/base64.h"

#include <gtest/gtest.h>

#include <random>

namespace fastnet {
namespace {

TEST(Base64, VectorsOfRfc4648) {
    const std::pair<const char*, const char*> vectors[] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
    for (const auto& [bytes, text] : vectors) {
        EXPECT_EQ(base64_encode(bytes), text);
        EXPECT_EQ(base64_decode(text), bytes);
    }
}

TEST(Base64, WhatNoEncoderMakesIsRefused) {
    for (const char* text :
         {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "====", "=Zg=", "Z===", "Zm 9v", "Zm9v\n", "Zm-_", "Zg==Zg==", "\xff\xff\xff\xff"})
        EXPECT_FALSE(base64_decode(text)) << text;
}

TEST(Base64, AnyBytesComeBack) {
    std::mt19937 random{1};
    for (std::size_t size = 0; size < 300; ++size) {
        std::string bytes(size, '\0');
        for (char& byte : bytes) byte = static_cast<char>(random());
        EXPECT_EQ(base64_decode(base64_encode(bytes)), bytes);
    }
}

}  // namespace
}  // namespace fastnet
