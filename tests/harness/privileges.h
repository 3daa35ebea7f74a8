// What the machine must allow before a test that needs namespaces and BPF can say anything.
#pragma once

#include <string>

namespace fastnet::test {

/// The first capability that is missing, as a reason to skip; empty when all are there.
std::string missing_privilege();
/// Empty when @p program is in PATH, else the reason to skip.
std::string missing_program(const std::string& program);

}  // namespace fastnet::test

#define FASTNET_SKIP_WITHOUT_PRIVILEGES()                                                       \
    do {                                                                                        \
        if (const std::string reason = ::fastnet::test::missing_privilege(); !reason.empty()) { \
            GTEST_SKIP() << reason;                                                             \
        }                                                                                       \
    } while (false)
