// Which host ports collide, which one is free, and how a range becomes entries of a longest-prefix map. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/model/endpoint.h"
#include "userspace/model/publish_spec.h"

namespace fastnet {

/// The host addresses to publish @p spec on for an endpoint with these families: one record each.
/// A host address of a family that the endpoint lacks is a usage error.
Result<std::vector<IpAddress>> host_addresses_for(const PublishSpec& spec, bool has_ipv4, bool has_ipv6);

/// The rule of bind(2) without SO_REUSEADDR: same family, protocol and a common port, and the same address or one is any.
bool ports_collide(const PublishedPort& a, const PublishedPort& b);

/// Conflict error that names the port and the endpoint which has it. @p endpoint_name turns an endpoint id into words.
Status check_port_is_free(const PublishedPort& wanted, std::span<const PublishedPort> published,
                          const std::function<std::string(std::uint32_t endpoint_id)>& endpoint_name);

/// A range of taken ports that has a port in common with @p wanted, or nullopt: all of them are free.
using PortObstacle = std::function<Result<std::optional<PortRange>>(const PortRange& wanted)>;

/// The first @p width free ports in a row inside @p candidates, searched from @p start to the end, then from the
/// beginning. Asks @p obstacle once per obstacle met, not once per port. None: a conflict error.
/// Join several sources of obstacles (published ports, host sockets, masquerade ports) in one function.
Result<PortRange> choose_host_ports(const PortRange& candidates, std::uint32_t width, Port start, const PortObstacle& obstacle);

/// 2^(16 - prefix_bits) ports that share their first prefix_bits bits.
struct PortBlock {
    Port first;
    std::uint8_t prefix_bits = 16;
    std::uint32_t size() const { return 1U << (16U - prefix_bits); }
    friend bool operator==(const PortBlock&, const PortBlock&) = default;
};

constexpr std::size_t kMaxPortBlocks = 30;  // 2 * 16 - 2: the worst case is 1-65534

/// The fewest aligned blocks that cover exactly @p range, in ascending order, at most kMaxPortBlocks.
std::vector<PortBlock> port_blocks(const PortRange& range);

}  // namespace fastnet
