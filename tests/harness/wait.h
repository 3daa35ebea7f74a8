// Waiting for something that becomes true: bounded, without a guess at how long it takes.
#pragma once

#include <chrono>
#include <thread>
#include <utility>

namespace fastnet::test {

/// Polls @p condition until it holds; false when @p bound is over first. One last look after the bound, so that a
/// stalled machine does not decide.
template <typename Condition>
[[nodiscard]] bool wait_until(Condition&& condition, std::chrono::milliseconds bound = std::chrono::milliseconds{5000}) {
    const auto deadline = std::chrono::steady_clock::now() + bound;
    while (true) {
        if (std::forward<Condition>(condition)()) return true;
        if (std::chrono::steady_clock::now() >= deadline) return std::forward<Condition>(condition)();
        std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
}

}  // namespace fastnet::test
