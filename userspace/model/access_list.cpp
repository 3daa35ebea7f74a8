#include "userspace/model/access_list.h"

#include <algorithm>

namespace fastnet {
namespace {

constexpr std::string_view kHint = "write prefixes or addresses with commas between them, such as 10.0.0.0/8,192.0.2.7,2001:db8::/32";
constexpr std::size_t kMaxQuoted = 60;
constexpr std::size_t kLongest = std::string_view{"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128"}.size();

bool is_printable(char c) {
    return c >= ' ' && c < 0x7f;
}

std::string quoted(std::string_view text) {
    std::string out{"'"};
    for (const char c : text.substr(0, kMaxQuoted)) out += is_printable(c) ? c : '?';
    return out + (text.size() > kMaxQuoted ? "...'" : "'");
}

Result<IpPrefix> parse_source(std::string_view text) {
    if (text.empty()) return usage_error("a prefix is missing between the commas", std::string{kHint});
    // What follows quotes it as it is.
    const bool legible = text.size() <= kLongest && std::all_of(text.begin(), text.end(), is_printable);
    const std::size_t slash = text.find('/');
    const auto address = IpAddress::parse(text.substr(0, slash));
    if (!legible || !address) return usage_error(quoted(text) + " is not an IP address or prefix", std::string{kHint});
    // Callers over IPv4 come as IPv4: whoever writes the mapped form may mean something that does not exist.
    if (address->family() == Family::kIpv4 && text.find(':') != std::string_view::npos)
        return usage_error(quoted(text) + " is an IPv4 address written as IPv6", "write " + address->to_string());
    return slash == std::string_view::npos ? IpPrefix::parse_interface(text) : IpPrefix::parse(text);
}

std::string joined(const std::vector<IpPrefix>& prefixes) {
    std::string text;
    for (const IpPrefix& prefix : prefixes) text += (text.empty() ? "" : ",") + prefix.to_string();
    return text;
}

void sort_out(std::vector<IpPrefix>& prefixes) {
    std::sort(prefixes.begin(), prefixes.end());
    prefixes.erase(std::unique(prefixes.begin(), prefixes.end()), prefixes.end());
}

}  // namespace

void AccessList::normalize() {
    sort_out(allow);
    sort_out(deny);
}

std::string AccessList::to_string() const {
    std::string text;
    if (!allow.empty()) text = "allow " + joined(allow);
    if (!deny.empty()) text += (text.empty() ? "" : " ") + ("deny " + joined(deny));
    return text;
}

Result<std::vector<IpPrefix>> parse_sources(std::string_view text) {
    std::vector<IpPrefix> prefixes;
    for (;;) {
        const std::size_t comma = text.find(',');
        prefixes.push_back(TRY(parse_source(text.substr(0, comma))));
        if (comma == std::string_view::npos) return prefixes;
        text.remove_prefix(comma + 1);
    }
}

Result<std::vector<IpPrefix>> parse_source_lines(std::string_view text) {
    constexpr std::string_view kBetween = ", \t\r";
    std::vector<IpPrefix> prefixes;
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, std::min(text.find('#'), end));
        text.remove_prefix(std::min(end + 1, text.size()));
        for (;;) {
            line.remove_prefix(std::min(line.find_first_not_of(kBetween), line.size()));
            if (line.empty()) break;
            const std::string_view word = line.substr(0, line.find_first_of(kBetween));
            auto prefix = parse_source(word);
            if (!prefix) return std::move(prefix).error().in("line " + std::to_string(number));
            prefixes.push_back(*prefix);
            line.remove_prefix(word.size());
        }
    }
    if (prefixes.empty()) return usage_error("there is no prefix in it", "leave the option out if there is nobody to name");
    return prefixes;
}

}  // namespace fastnet
