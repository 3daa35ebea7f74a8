// Which address comes next, and which subnet a new network gets. Pure: who uses what is asked through a function, so
// that a network with ten thousand endpoints is never listed to find one free address.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"

namespace fastnet {

/// First and last address, inclusive, that endpoints may get.
struct AddressRange {
    IpAddress first;
    IpAddress last;
    bool contains(const IpAddress& address) const { return address >= first && address <= last; }
    std::uint64_t size() const;  ///< saturates at 2^63
};

/// Part of a shared network's subnet whose addresses one node alone hands out.
struct OwnBlock {
    IpPrefix prefix;
    std::uint64_t size = 0;  ///< addresses that an endpoint can have; saturates at 2^63, as the next
    std::uint64_t free = 0;

    friend bool operator==(const OwnBlock&, const OwnBlock&) = default;
};

/// The addresses of @p subnet that an interface may have, cut to @p ip_range. Network and broadcast address are left out
/// (IPv6: the subnet-router anycast address), except in /31 and /127, where both addresses are hosts; /32 and /128 are
/// refused. The gateway is inside: the caller reserves it as a used address.
Result<AddressRange> usable_addresses(const IpPrefix& subnet, const std::optional<IpPrefix>& ip_range);

/// The lowest used address in [from, last], nullopt if all of them are free.
using NextUsedAddress = std::function<Result<std::optional<IpAddress>>(const IpAddress& from, const IpAddress& last)>;

/// The first free address after @p cursor (the one handed out last), then from the start again, so that an address rests as long as
/// possible before it comes back. @p ranges are ascending and do not overlap. Asks once per address of the runs of used ones it
/// meets. All taken: a conflict error.
Result<IpAddress> pick_address(std::span<const AddressRange> ranges, const std::optional<IpAddress>& cursor,
                               const NextUsedAddress& next_used);

/// Blocks of one length, cut out of a larger prefix.
struct SubnetPool {
    IpPrefix pool;
    std::uint8_t length = 0;  ///< prefix length of each subnet
};

/// Where the subnets of new IPv4 networks come from: /16s downwards from 172.30 (Docker starts at 172.17 and goes up,
/// 172.31 is the default of a large cloud), then /24s out of 10.201-10.210.
const std::vector<SubnetPool>& default_ipv4_pools();

/// RFC 4193: the node's own fdXX:XXXX:XXXX::/48 of a random global id, cut into /64s.
SubnetPool ula_pool(const std::array<std::uint8_t, 5>& global_id);

/// A prefix that is in use, and by whom, in words for a message ("network 'blue'", "the host's route by eth0").
struct TakenPrefix {
    IpPrefix prefix;
    std::string owner;
};

/// The first subnet of @p pools that overlaps nothing in @p taken; default routes (length 0) are ignored.
/// None left: a conflict error.
Result<IpPrefix> pick_subnet(std::span<const SubnetPool> pools, std::span<const TakenPrefix> taken);

/// Conflict error that names the first owner whose prefix @p subnet overlaps; default routes (length 0) are ignored.
Status check_subnet_is_free(const IpPrefix& subnet, std::span<const TakenPrefix> taken);

}  // namespace fastnet
