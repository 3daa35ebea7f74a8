// Random numbers with a fixed seed, so that a failed property test fails again.
#pragma once

#include <random>

namespace fastnet {

class FixedRandom {
public:
    explicit FixedRandom(unsigned seed) : engine_{seed} {}
    /// 0 to limit - 1.
    unsigned below(unsigned limit) { return static_cast<unsigned>(engine_() % limit); }

private:
    std::mt19937 engine_;
};

}  // namespace fastnet
