// Tells the neighbours of a link who has an address now: gratuitous ARP (RFC 826, RFC 5227 section 3) or an
// unsolicited neighbour advertisement (RFC 4861 section 7.2.6). The frames are built by pure functions.
#pragma once

#include <array>
#include <cstdint>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/host/netlink.h"

namespace fastnet {

using ArpFrame = std::array<std::uint8_t, 42>;
using AdvertisementFrame = std::array<std::uint8_t, 86>;

ArpFrame gratuitous_arp(const IpAddress& address, const MacAddress& mac);
AdvertisementFrame unsolicited_advertisement(const IpAddress& address, const MacAddress& mac);

/// Sends one announcement on @p link of the calling thread's namespace; the link must be up (else ENETDOWN).
Status announce(IfIndex link, const IpAddress& address, const MacAddress& mac);

}  // namespace fastnet
