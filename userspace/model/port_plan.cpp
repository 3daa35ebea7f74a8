#include "userspace/model/port_plan.h"

#include <algorithm>
#include <bit>

namespace fastnet {
namespace {

PortRange range_at(std::uint32_t first, std::uint32_t width) {
    return {Port{static_cast<std::uint16_t>(first)}, Port{static_cast<std::uint16_t>(first + width - 1)}};
}

/// The first free @p width ports in a row that start in [from, to].
Result<std::optional<PortRange>> first_free(std::uint32_t from, std::uint32_t to, std::uint32_t width, const PortObstacle& obstacle) {
    while (from <= to) {
        const PortRange wanted = range_at(from, width);
        const std::optional<PortRange> taken = TRY(obstacle(wanted));
        if (!taken) return std::optional{wanted};
        from = std::max(from, std::uint32_t{taken->last.value()}) + 1;
    }
    return std::optional<PortRange>{};
}

}  // namespace

Result<std::vector<IpAddress>> host_addresses_for(const PublishSpec& spec, bool has_ipv4, bool has_ipv6) {
    std::vector<IpAddress> addresses;
    if (!spec.host_ip) {
        if (has_ipv4) addresses.push_back(IpAddress::any(Family::kIpv4));
        if (has_ipv6) addresses.push_back(IpAddress::any(Family::kIpv6));
        if (addresses.empty()) return usage_error("publish '" + spec.to_string() + "': the endpoint has no address");
        return addresses;
    }
    const bool is_ipv4 = spec.host_ip->family() == Family::kIpv4;
    if (is_ipv4 ? !has_ipv4 : !has_ipv6)
        return usage_error("publish '" + spec.to_string() + "': the endpoint has no " + (is_ipv4 ? "IPv4" : "IPv6") + " address");
    addresses.push_back(*spec.host_ip);
    return addresses;
}

bool ports_collide(const PublishedPort& a, const PublishedPort& b) {
    return a.family() == b.family() && a.protocol == b.protocol && a.host_ports.overlaps(b.host_ports) &&
           (a.host_ip == b.host_ip || a.host_ip.is_any() || b.host_ip.is_any());
}

Status check_port_is_free(const PublishedPort& wanted, std::span<const PublishedPort> published,
                          const std::function<std::string(std::uint32_t endpoint_id)>& endpoint_name) {
    const auto other =
        std::find_if(published.begin(), published.end(), [&](const PublishedPort& port) { return ports_collide(wanted, port); });
    if (other == published.end()) return ok();
    return conflict("publish " + wanted.to_string() + ": endpoint '" + endpoint_name(other->endpoint_id) + "' has " + other->to_string(),
                    "choose another host port, or leave it out to get a free one");
}

Result<PortRange> choose_host_ports(const PortRange& candidates, std::uint32_t width, Port start, const PortObstacle& obstacle) {
    const std::string asked = std::to_string(candidates.first.value()) + "-" + std::to_string(candidates.last.value());
    if (width == 0 || candidates.last < candidates.first || width > candidates.size())
        return usage_error(std::to_string(width) + " host ports in a row do not fit into " + asked);
    const std::uint32_t lowest = candidates.first.value();
    const std::uint32_t highest = candidates.last.value() + 1U - width;  // last place where the row fits
    const std::uint32_t from = candidates.contains(start) && start.value() <= highest ? start.value() : lowest;
    if (const auto found = TRY(first_free(from, highest, width, obstacle))) return *found;
    if (from > lowest)
        if (const auto found = TRY(first_free(lowest, from - 1, width, obstacle))) return *found;
    return conflict(width == 1 ? "no host port of " + asked + " is free"
                               : "no " + std::to_string(width) + " host ports in a row of " + asked + " are free",
                    "name another host port or range");
}

std::vector<PortBlock> port_blocks(const PortRange& range) {
    std::vector<PortBlock> blocks;
    std::uint32_t next = range.first.value();
    const std::uint32_t end = range.last.value() + 1U;
    while (next < end) {
        // As large as the alignment of its first port and the rest of the range allow.
        const std::uint32_t aligned = next == 0 ? 1U << 16U : 1U << static_cast<unsigned>(std::countr_zero(next));
        const std::uint32_t size = std::min(aligned, std::bit_floor(end - next));
        const auto bits = static_cast<std::uint8_t>(16 - std::countr_zero(size));
        blocks.push_back({Port{static_cast<std::uint16_t>(next)}, bits});
        next += size;
    }
    return blocks;
}

}  // namespace fastnet
