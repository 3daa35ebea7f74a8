#include "userspace/model/address_pool.h"

#include <algorithm>

namespace fastnet {
namespace {

unsigned bits_of(Family family) {
    return family == Family::kIpv4 ? 32 : 128;
}

IpAddress one_before(const IpAddress& address) {
    auto bytes = address.bytes();
    for (std::size_t i = bytes.size(); i-- > 0;)
        if (bytes[i]-- != 0) break;
    return IpAddress::from_bytes(bytes);
}

const TakenPrefix* find_overlap(const IpPrefix& subnet, std::span<const TakenPrefix> taken) {
    const auto found = std::find_if(taken.begin(), taken.end(), [&](const TakenPrefix& other) {
        return other.prefix.length() != 0 && other.prefix.family() == subnet.family() && other.prefix.overlaps(subnet);
    });
    return found == taken.end() ? nullptr : &*found;
}

std::optional<IpPrefix> pick_from(const SubnetPool& pool, std::span<const TakenPrefix> taken) {
    const IpAddress pool_last = pool.pool.last();
    IpPrefix candidate{pool.pool.network().address(), pool.length};
    for (;;) {
        const TakenPrefix* other = find_overlap(candidate, taken);
        if (other == nullptr) return candidate;
        // Both ends are all ones below some prefix no longer than the block, so the address behind is aligned to a block.
        const IpAddress end = std::max(candidate.last(), other->prefix.last());
        const IpAddress next = end.plus(1);
        if (next <= end || next > pool_last) return std::nullopt;
        candidate = IpPrefix{next, pool.length};
    }
}

}  // namespace

Result<AddressRange> usable_addresses(const IpPrefix& subnet, const std::optional<IpPrefix>& ip_range) {
    const unsigned bits = bits_of(subnet.family());
    const IpPrefix network = subnet.network();
    if (subnet.length() >= bits)
        return usage_error("subnet " + network.to_string() + " has no room for a gateway and an endpoint",
                           "take /" + std::to_string(bits - 1) + " or shorter");
    AddressRange range{network.address(), network.last()};
    if (subnet.length() + 1U < bits) {
        range.first = range.first.plus(1);
        if (subnet.family() == Family::kIpv4) range.last = one_before(range.last);
    }
    if (!ip_range) return range;
    if (ip_range->family() != subnet.family() || !network.contains(ip_range->address()) || ip_range->length() < subnet.length())
        return usage_error("ip range " + ip_range->to_string() + " is outside the subnet " + network.to_string());
    range.first = std::max(range.first, ip_range->network().address());
    range.last = std::min(range.last, ip_range->last());
    if (range.first > range.last) return usage_error("ip range " + ip_range->to_string() + " has no address that an endpoint can have");
    return range;
}

std::uint64_t AddressRange::size() const {
    constexpr std::uint64_t kMost = std::uint64_t{1} << 63U;
    const auto half = [](const IpAddress& address, std::size_t from) {
        std::uint64_t value = 0;
        for (std::size_t i = from; i < from + 8; ++i) value = value << 8U | address.bytes()[i];
        return value;
    };
    if (half(first, 0) != half(last, 0)) return kMost;
    return std::min(half(last, 8) - half(first, 8), kMost - 1) + 1;
}

Result<IpAddress> pick_address(std::span<const AddressRange> ranges, const std::optional<IpAddress>& cursor,
                               const NextUsedAddress& next_used) {
    if (ranges.empty()) return conflict("no free address: there are none at all");
    std::size_t at = 0;
    while (cursor && at < ranges.size() && ranges[at].last <= *cursor) ++at;
    if (at == ranges.size()) at = 0;
    const bool resume = cursor && ranges[at].contains(*cursor) && *cursor != ranges[at].last;
    const IpAddress start = resume ? cursor->plus(1) : ranges[at].first;
    // Round to where it began: what lies before that in its range comes last.
    for (std::size_t turn = 0; turn <= ranges.size(); ++turn) {
        const AddressRange& range = ranges[(at + turn) % ranges.size()];
        if (turn == ranges.size() && start == range.first) break;
        const IpAddress end = turn == ranges.size() ? one_before(start) : range.last;
        IpAddress candidate = turn == 0 ? start : range.first;
        for (;;) {
            const std::optional<IpAddress> used = TRY(next_used(candidate, end));
            if (used != candidate) return candidate;
            if (candidate == end) break;
            candidate = candidate.plus(1);
        }
    }
    return conflict(
        "no free address from " + ranges.front().first.to_string() + " to " + ranges.back().last.to_string() + ": all are taken",
        "detach an endpoint, or create a network with a larger subnet");
}

const std::vector<SubnetPool>& default_ipv4_pools() {
    static const std::vector<SubnetPool> pools = [] {
        std::vector<SubnetPool> list;
        for (unsigned second = 30; second >= 24; --second)
            list.push_back({{IpAddress::v4(172, static_cast<std::uint8_t>(second), 0, 0), 16}, 16});
        for (unsigned second = 201; second <= 210; ++second)
            list.push_back({{IpAddress::v4(10, static_cast<std::uint8_t>(second), 0, 0), 16}, 24});
        return list;
    }();
    return pools;
}

SubnetPool ula_pool(const std::array<std::uint8_t, 5>& global_id) {
    std::array<std::uint8_t, 16> bytes{};
    bytes[0] = 0xfd;
    std::copy(global_id.begin(), global_id.end(), bytes.begin() + 1);
    return {{IpAddress::from_bytes(bytes), 48}, 64};
}

Result<IpPrefix> pick_subnet(std::span<const SubnetPool> pools, std::span<const TakenPrefix> taken) {
    for (const SubnetPool& pool : pools)
        if (const auto subnet = pick_from(pool, taken)) return *subnet;
    return conflict("no free subnet is left: every default one overlaps a network or a route of this host", "name one with --subnet");
}

Status check_subnet_is_free(const IpPrefix& subnet, std::span<const TakenPrefix> taken) {
    const TakenPrefix* other = find_overlap(subnet, taken);
    if (other == nullptr) return ok();
    return conflict("subnet " + subnet.to_string() + " overlaps " + other->prefix.to_string() + " of " + other->owner,
                    "choose another with --subnet");
}

}  // namespace fastnet
