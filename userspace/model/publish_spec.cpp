#include "userspace/model/publish_spec.h"

#include <algorithm>

namespace fastnet {
namespace {

constexpr std::string_view kHint =
    "write [HOSTIP:]HOSTPORT[-END]:PORT[-END][/tcp|udp|sctp], such as 2000:80, 80, 127.0.0.1::80 or [::1]:53:53/udp";
constexpr std::size_t kMaxQuoted = 80;

/// @p text fit for a terminal and a log line.
std::string quoted(std::string_view text) {
    std::string out{"'"};
    for (const char c : text.substr(0, kMaxQuoted)) out += c >= ' ' && c < 0x7f ? c : '?';
    return out + (text.size() > kMaxQuoted ? "...'" : "'");
}

Result<Port> parse_port(std::string_view text, std::string_view side) {
    const std::string subject = std::string{side} + " port";
    if (text.empty()) return usage_error(subject + " is missing");
    if (!std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }))
        return usage_error(subject + " " + quoted(text) + " is not a number");
    auto port = Port::parse(text);
    if (!port) return usage_error(subject + " " + quoted(text) + " is above 65535");
    return port;
}

Result<PortRange> parse_range(std::string_view text, std::string_view side) {
    const std::size_t dash = text.find('-');
    const Port first = TRY(parse_port(text.substr(0, dash), side));
    const Port last = dash == std::string_view::npos ? first : TRY(parse_port(text.substr(dash + 1), side));
    if (first.value() == 0)
        return usage_error(std::string{side} + (dash == std::string_view::npos ? " port is 0" : " port range starts at 0"));
    if (last < first) return usage_error(std::string{side} + " port range " + quoted(text) + " is reversed");
    return PortRange{first, last};
}

Result<IpAddress> parse_host_ip(std::string_view text, bool in_brackets) {
    auto address = IpAddress::parse(text);
    if (!address) return usage_error("host address " + quoted(text) + " is not an IP address");
    // A v4-mapped address in brackets is IPv4 in disguise and taken as such.
    const bool has_colon = text.find(':') != std::string_view::npos;
    if (in_brackets && !has_colon) return usage_error("host address " + quoted(text) + " is IPv4, only IPv6 goes in brackets");
    if (address->is_multicast() || *address == IpAddress::v4(255, 255, 255, 255))
        return usage_error("host address " + quoted(text) + " is a multicast or broadcast address");
    return address;
}

/// The three parts between the colons; absent ones are empty.
struct Parts {
    std::optional<IpAddress> host_ip;
    std::string_view host_ports;
    std::string_view container_ports;
};

Result<Parts> split_bracketed(std::string_view text) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return usage_error("'[' is never closed");
    Parts parts;
    parts.host_ip = TRY(parse_host_ip(text.substr(1, close - 1), true));
    const std::string_view rest = text.substr(close + 1);
    const std::size_t colon = rest.find(':', 1);
    if (!rest.starts_with(':')) return usage_error("no ':' behind the host address");
    if (colon == std::string_view::npos) return usage_error("a host address needs a host port, which may be empty: [ADDRESS]::PORT");
    parts.host_ports = rest.substr(1, colon - 1);
    parts.container_ports = rest.substr(colon + 1);
    return parts;
}

Result<Parts> split(std::string_view text) {
    if (text.starts_with('[')) return split_bracketed(text);
    const auto colons = std::count(text.begin(), text.end(), ':');
    if (colons > 2) return usage_error("too many ':' (an IPv6 host address is written in brackets)");
    Parts parts;
    const std::size_t last = text.rfind(':');
    if (colons == 0) {
        parts.container_ports = text;
        return parts;
    }
    parts.container_ports = text.substr(last + 1);
    const std::string_view before = text.substr(0, last);
    if (colons == 1) {
        if (IpAddress::parse(before)) return usage_error("a host address needs a host port, which may be empty: ADDRESS::PORT");
        parts.host_ports = before;
        return parts;
    }
    const std::size_t first = before.find(':');
    if (first == 0) return usage_error("host address is empty (an IPv6 host address is written in brackets)");
    parts.host_ip = TRY(parse_host_ip(before.substr(0, first), false));
    parts.host_ports = before.substr(first + 1);
    return parts;
}

Result<PublishSpec> parse_spec(std::string_view text) {
    if (text.empty()) return usage_error("is empty");
    if (std::any_of(text.begin(), text.end(), [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }))
        return usage_error("has white space in it");

    PublishSpec spec;
    const std::size_t slash = text.find('/');
    if (slash != std::string_view::npos) {
        const std::string_view name = text.substr(slash + 1);
        const auto protocol = protocol_from(name);
        if (!protocol || (*protocol != Protocol::kTcp && *protocol != Protocol::kUdp && *protocol != Protocol::kSctp))
            return usage_error("protocol " + quoted(name) + " is not tcp, udp or sctp");
        spec.protocol = *protocol;
    }

    const Parts parts = TRY(split(text.substr(0, slash)));
    spec.host_ip = parts.host_ip;
    spec.container_ports = TRY(parse_range(parts.container_ports, "container"));
    if (parts.host_ports.empty() || parts.host_ports == "0") return spec;

    spec.host_ports = TRY(parse_range(parts.host_ports, "host"));
    const std::uint32_t host_width = spec.host_ports->size();
    const std::uint32_t container_width = spec.container_ports.size();
    if (host_width != container_width && container_width != 1)
        return usage_error(std::to_string(host_width) + " host port(s) for " + std::to_string(container_width) + " container ports");
    return spec;
}

std::string format(const PortRange& range) {
    const std::string first = std::to_string(range.first.value());
    return range.size() == 1 ? first : first + "-" + std::to_string(range.last.value());
}

}  // namespace

Result<PublishSpec> PublishSpec::parse(std::string_view text) {
    auto spec = parse_spec(text);
    if (!spec) return std::move(spec).error().in("publish " + quoted(text)).with_hint(kHint);
    return spec;
}

std::string PublishSpec::to_string() const {
    std::string out;
    if (host_ip) out += host_ip->family() == Family::kIpv6 ? "[" + host_ip->to_string() + "]:" : host_ip->to_string() + ":";
    if (host_ports) out += format(*host_ports);
    if (host_ip || host_ports) out += ":";
    return out + format(container_ports) + "/" + fastnet::to_string(protocol);
}

}  // namespace fastnet
