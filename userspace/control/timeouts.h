// The names of the flows' time-outs: what --timeout takes, what is stored, what `status` shows. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/result.h"
#include "loader/flow_timeouts.h"

namespace fastnet {

struct TimeoutKnob {
    std::string_view name;
    std::uint32_t FlowTimeouts::*value;
    std::uint32_t least;      ///< that `rule` asks for, in seconds; 0 = no rule
    std::string_view rule{};  ///< "RFC 5382 REQ-5"
};
std::span<const TimeoutKnob> timeout_knobs();

struct TimeoutChange {
    const TimeoutKnob* knob = nullptr;
    std::uint32_t seconds = 0;
};

/// "udp=300,tcp-opening=4m": seconds, or with s, m, h or d behind the number; `default` is what it was before anybody changed
/// it. A usage error quotes what makes no sense: an unknown name, no time at all, more than a year.
Result<std::vector<TimeoutChange>> parse_timeouts(std::string_view text);
FlowTimeouts changed(FlowTimeouts timeouts, const std::vector<TimeoutChange>& changes);
/// One line for each change that goes below what its RFC asks for: allowed, but it should be meant.
std::vector<std::string> warnings_about(const std::vector<TimeoutChange>& changes);
/// All of them, as parse_timeouts() reads them.
std::string to_string(const FlowTimeouts& timeouts);

}  // namespace fastnet
