#include "userspace/host/sysctl.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "loader/base/handle.h"

namespace fastnet {
namespace {

constexpr std::string_view kRoot = "/proc/sys/net/";
constexpr std::string_view kWhiteSpace = " \t\r\n";

std::string_view trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(kWhiteSpace);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kWhiteSpace) - first + 1);
}

Result<UniqueFd> open_sysctl(std::string_view path, int flags, std::string_view verb) {
    const std::string what = std::string{verb} + " sysctl net/" + std::string{path};
    if (path.empty() || path.starts_with('/') || path.find("..") != std::string_view::npos) return usage_error(what + ": bad path");
    UniqueFd fd{::open((std::string{kRoot} + std::string{path}).c_str(), flags | O_CLOEXEC)};
    if (fd) return fd;
    Error error = sys_error(errno, what);
    if (error.sys_errno == ENOENT) error.kind = ErrorKind::kNotFound;
    if (error.sys_errno == EROFS) error.hint = "/proc/sys is read-only here: run outside of the container or the sandbox";
    return error;
}

/// Where a range that may touch (overlap or be next to) @p range can start: comparisons one port wider than overlap.
bool touches(const PortRange& a, const PortRange& b) {
    return int{a.first.value()} <= int{b.last.value()} + 1 && int{b.first.value()} <= int{a.last.value()} + 1;
}

Port next(Port port) {
    return Port{static_cast<std::uint16_t>(port.value() + 1U)};
}
Port previous(Port port) {
    return Port{static_cast<std::uint16_t>(port.value() - 1U)};
}

Result<PortRange> parse_range(std::string_view text, std::string_view separator) {
    const std::size_t middle = text.find_first_of(separator);
    const Port first = TRY(Port::parse(trimmed(text.substr(0, middle))));
    if (middle == std::string_view::npos) return PortRange{first, first};
    const Port last = TRY(Port::parse(trimmed(text.substr(middle + 1))));
    if (last < first) return usage_error("port range '" + std::string{text} + "' runs backwards");
    return PortRange{first, last};
}

}  // namespace

Result<std::string> read_sysctl(std::string_view path) {
    const UniqueFd fd = TRY(open_sysctl(path, O_RDONLY, "read"));
    // In one read: of a port list the kernel gives what fits the buffer and then says "end", so that a loop over small
    // buffers would silently lose the rest.
    std::string value(4096, '\0');
    for (;;) {
        const ssize_t size = ::pread(fd.get(), value.data(), value.size(), 0);
        if (size < 0) return sys_error(errno, "read sysctl net/" + std::string{path});
        if (static_cast<std::size_t>(size) < value.size()) {
            value.resize(static_cast<std::size_t>(size));
            break;
        }
        value.resize(value.size() * 16);
    }
    if (value.ends_with('\n')) value.pop_back();
    return value;
}

Status write_sysctl(std::string_view path, std::string_view value) {
    const UniqueFd fd = TRY(open_sysctl(path, O_WRONLY, "write"));
    std::string rest{value};
    rest += '\n';
    while (!rest.empty()) {
        // A list takes at most a page per write; the next write at a later offset adds to it.
        const ssize_t size = ::write(fd.get(), rest.data(), rest.size());
        if (size < 0) return sys_error(errno, "write '" + std::string{value.substr(0, 60)} + "' to sysctl net/" + std::string{path});
        if (size == 0) return failed("write sysctl net/" + std::string{path} + ": the kernel took only a part");
        rest.erase(0, static_cast<std::size_t>(size));
    }
    return ok();
}

Result<ReservedPorts> ReservedPorts::parse(std::string_view text) {
    ReservedPorts result;
    std::string_view rest = trimmed(text);
    while (!rest.empty()) {
        const std::size_t comma = rest.find(',');
        auto range = parse_range(rest.substr(0, comma), "-");
        if (!range) return std::move(range).error().in("port list '" + std::string{trimmed(text).substr(0, 60)} + "'");
        result.add(*range);
        if (comma == std::string_view::npos) break;
        rest.remove_prefix(comma + 1);
        if (trimmed(rest).empty()) return usage_error("port list '" + std::string{trimmed(text).substr(0, 60)} + "' ends in a comma");
    }
    return result;
}

void ReservedPorts::add(PortRange range) {
    // Ranges are sorted and apart, so those that the new one touches are neighbours: they become one.
    const auto first = std::find_if(ranges_.begin(), ranges_.end(),
                                    [&](const PortRange& other) { return touches(other, range) || range.last < other.first; });
    auto last = first;
    while (last != ranges_.end() && touches(*last, range)) {
        range = {std::min(range.first, last->first), std::max(range.last, last->last)};
        ++last;
    }
    ranges_.insert(ranges_.erase(first, last), range);
}

void ReservedPorts::remove(PortRange range) {
    std::vector<PortRange> kept;
    for (const PortRange& other : ranges_) {
        if (!other.overlaps(range)) {
            kept.push_back(other);
            continue;
        }
        if (other.first < range.first) kept.push_back({other.first, previous(range.first)});
        if (range.last < other.last) kept.push_back({next(range.last), other.last});
    }
    ranges_ = std::move(kept);
}

bool ReservedPorts::contains(Port port) const {
    return contains(PortRange{port, port});
}

bool ReservedPorts::contains(PortRange range) const {
    return std::any_of(ranges_.begin(), ranges_.end(),
                       [&](const PortRange& other) { return other.first <= range.first && range.last <= other.last; });
}

bool ReservedPorts::intersects(PortRange range) const {
    return std::any_of(ranges_.begin(), ranges_.end(), [&](const PortRange& other) { return other.overlaps(range); });
}

ReservedPorts ReservedPorts::united_with(const ReservedPorts& other) const {
    ReservedPorts result = *this;
    for (const PortRange& range : other.ranges_) result.add(range);
    return result;
}

ReservedPorts ReservedPorts::without(const ReservedPorts& other) const {
    ReservedPorts result = *this;
    for (const PortRange& range : other.ranges_) result.remove(range);
    return result;
}

std::string ReservedPorts::to_string() const {
    std::string text;
    for (const PortRange& range : ranges_) {
        if (!text.empty()) text += ',';
        text += std::to_string(range.first.value());
        if (range.first != range.last) text += '-' + std::to_string(range.last.value());
    }
    return text;
}

Result<ReservedPorts> read_reserved_ports() {
    return ReservedPorts::parse(TRY(read_sysctl("ipv4/ip_local_reserved_ports")));
}

Status write_reserved_ports(const ReservedPorts& ports) {
    return write_sysctl("ipv4/ip_local_reserved_ports", ports.to_string());
}

Result<PortRange> local_port_range() {
    const std::string text = TRY(read_sysctl("ipv4/ip_local_port_range"));
    auto range = parse_range(text, kWhiteSpace);
    if (!range) return std::move(range).error().in("sysctl net/ipv4/ip_local_port_range");
    return range;
}

}  // namespace fastnet
