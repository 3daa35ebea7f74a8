// What the tests of the store ask of each result.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <utility>

#include "loader/base/result.h"

namespace fastnet {

template <typename T>
T must(Result<T> result) {
    if (!result) {
        ADD_FAILURE() << result.error().message;
        std::abort();
    }
    return std::move(result).value();
}

#define EXPECT_ERROR(expression, expected_kind, part)                                                \
    do {                                                                                             \
        const auto checked = (expression);                                                           \
        ASSERT_FALSE(checked);                                                                       \
        EXPECT_EQ(checked.error().kind, expected_kind) << checked.error().message;                   \
        EXPECT_NE(checked.error().message.find(part), std::string::npos) << checked.error().message; \
    } while (0)

}  // namespace fastnet
