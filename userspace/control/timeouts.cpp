#include "userspace/control/timeouts.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace fastnet {
namespace {

constexpr std::uint32_t kLongest = 365U * 24 * 3600;
constexpr std::string_view kTcpRule = "RFC 5382 REQ-5";
constexpr std::string_view kUdpRule = "RFC 4787 REQ-5";
constexpr std::array<TimeoutKnob, 9> kKnobs{{
    {"tcp-established", &FlowTimeouts::tcp_established, 7440, kTcpRule},
    {"tcp-opening", &FlowTimeouts::tcp_opening, 240, kTcpRule},
    {"tcp-closing", &FlowTimeouts::tcp_closing, 240, kTcpRule},
    {"udp", &FlowTimeouts::udp, 120, kUdpRule},
    {"udp-unreplied", &FlowTimeouts::udp_unreplied, 120, kUdpRule},
    {"dns", &FlowTimeouts::dns, 0},
    {"icmp", &FlowTimeouts::icmp, 60, "RFC 5508 REQ-2"},
    {"other", &FlowTimeouts::other, 0},
    {"remote", &FlowTimeouts::remote, 0},
}};

std::string names() {
    std::string text;
    for (const TimeoutKnob& knob : kKnobs) text += (text.empty() ? "" : ", ") + std::string{knob.name};
    return text;
}

/// Seconds in one of @p unit; 0 if there is no such unit.
std::uint32_t seconds_in(std::string_view unit) {
    if (unit.empty() || unit == "s") return 1;
    if (unit == "m") return 60;
    if (unit == "h") return 3600;
    return unit == "d" ? 24 * 3600 : 0;
}

Result<std::uint32_t> parse_time(std::string_view text, const std::string& what) {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::uint32_t unit = seconds_in(text.substr(static_cast<std::size_t>(end - text.data())));
    if (error == std::errc::result_out_of_range || (error == std::errc{} && unit != 0 && number > kLongest / unit))
        return usage_error(what + ": more than a year", "a flow table that never forgets is full one day");
    if (error != std::errc{} || unit == 0) return usage_error(what + ": not a time", "write it like 300, 300s, 5m or 2h");
    if (number == 0) return usage_error(what + ": no flow would live", "a second is the least");
    return number * unit;
}

Result<TimeoutChange> parse_change(std::string_view text) {
    const std::string what = "time-out '" + std::string{text} + "'";
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos)
        return usage_error(what + ": not of the form NAME=TIME", "write it like udp=300 or tcp-opening=4m");
    const auto knob =
        std::find_if(kKnobs.begin(), kKnobs.end(), [&](const TimeoutKnob& one) { return one.name == text.substr(0, equals); });
    if (knob == kKnobs.end()) return usage_error(what + ": there is no time-out of this name", "the names are " + names());
    const std::string_view time = text.substr(equals + 1);
    if (time == "default") return TimeoutChange{&*knob, FlowTimeouts{}.*knob->value};
    return TimeoutChange{&*knob, TRY(parse_time(time, what))};
}

}  // namespace

std::span<const TimeoutKnob> timeout_knobs() {
    return kKnobs;
}

Result<std::vector<TimeoutChange>> parse_timeouts(std::string_view text) {
    std::vector<TimeoutChange> changes;
    for (std::size_t start = 0; start <= text.size();) {
        const std::size_t comma = std::min(text.find(',', start), text.size());
        const TimeoutChange change = TRY(parse_change(text.substr(start, comma - start)));
        if (std::any_of(changes.begin(), changes.end(), [&](const TimeoutChange& other) { return other.knob == change.knob; }))
            return usage_error("time-out '" + std::string{change.knob->name} + "': given twice", "give each once");
        changes.push_back(change);
        start = comma + 1;
    }
    return changes;
}

FlowTimeouts changed(FlowTimeouts timeouts, const std::vector<TimeoutChange>& changes) {
    for (const TimeoutChange& change : changes) timeouts.*change.knob->value = change.seconds;
    return timeouts;
}

std::vector<std::string> warnings_about(const std::vector<TimeoutChange>& changes) {
    std::vector<std::string> warnings;
    for (const TimeoutChange& change : changes)
        if (change.seconds < change.knob->least)
            warnings.push_back("time-out " + std::string{change.knob->name} + "=" + std::to_string(change.seconds) + ": " +
                               std::string{change.knob->rule} + " asks for " + std::to_string(change.knob->least) +
                               " s at least; peers that rely on it find their connections gone");
    return warnings;
}

std::string to_string(const FlowTimeouts& timeouts) {
    std::string text;
    for (const TimeoutKnob& knob : kKnobs)
        text += (text.empty() ? "" : ",") + std::string{knob.name} + "=" + std::to_string(timeouts.*knob.value);
    return text;
}

}  // namespace fastnet
