#include "userspace/model/peer.h"

#include <algorithm>
#include <set>

#include "userspace/model/network_options.h"

namespace fastnet {
namespace {

// RFC 7348 5: inner Ethernet 14, VXLAN 8, UDP 8, and IPv4 20 or IPv6 40.
constexpr std::uint32_t kOverheadIpv4 = 50;
constexpr std::uint32_t kOverheadIpv6 = 70;
constexpr std::uint32_t kLeastMtuIpv4 = 68;    // RFC 791
constexpr std::uint32_t kLeastMtuIpv6 = 1280;  // RFC 8200

bool is_link_local(const IpAddress& address) {
    const auto* const wire = address.wire();
    return address.family() == Family::kIpv4 ? wire[0] == 169 && wire[1] == 254 : wire[0] == 0xfe && (wire[1] & 0xc0U) == 0x80U;
}

/// 0.0.0.0/8, 240.0.0.0/4 (RFC 1112 4, with the broadcast address).
bool is_reserved(const IpAddress& address) {
    return address.family() == Family::kIpv4 && (address.wire()[0] == 0 || address.wire()[0] >= 240);
}

}  // namespace

std::string to_string(Owner owner) {
    return owner == Owner::kEtcd ? "etcd" : "static";
}

Status check_peer_address(const IpAddress& address) {
    const char* what = nullptr;
    if (address.is_any())
        what = "every address and so none";
    else if (address.is_loopback())
        what = "a loopback address";
    else if (address.is_multicast())
        what = "a multicast address";
    else if (is_link_local(address))
        what = "a link-local address";
    else if (is_reserved(address))
        what = "a reserved address";
    if (what == nullptr) return ok();
    return usage_error("peer " + address.to_string() + ": it is " + what, "name the address by which this node reaches the other one");
}

std::vector<Peer> peers_of(const Network& network, const std::vector<Peer>& peers) {
    return PeerTable{peers}.of(network);
}

PeerTable::PeerTable(const std::vector<Peer>& peers) {
    for (const Peer& peer : peers) (peer.network_id ? here_[*peer.network_id] : everywhere_).push_back(peer);
}

std::vector<Peer> PeerTable::of(const Network& network) const {
    std::vector<Peer> found;
    if (network.driver != NetworkDriver::kOverlay) return found;
    std::set<IpAddress> known;
    const auto add = [&](const std::vector<Peer>& peers) {
        for (const Peer& peer : peers)
            if (known.insert(peer.address).second) found.push_back(peer);
    };
    add(everywhere_);
    if (const auto own = here_.find(network.id); own != here_.end()) add(own->second);
    return found;
}

bool learns(const Network& network, bool has_remotes) {
    if (network.driver != NetworkDriver::kOverlay || !network.uid.empty()) return false;
    return learning_option(network).value_or(!has_remotes);
}

std::uint32_t mtu_of(const Network& network, std::uint32_t uplink_mtu, const std::vector<Peer>& peers) {
    if (network.mtu != 0) return network.mtu;
    if (network.driver != NetworkDriver::kOverlay) return uplink_mtu;
    const std::vector<Peer> own = peers_of(network, peers);
    const bool by_ipv6 = std::any_of(own.begin(), own.end(), [](const Peer& peer) { return peer.address.family() == Family::kIpv6; });
    const std::uint32_t overhead = by_ipv6 ? kOverheadIpv6 : kOverheadIpv4;
    // Below that a family does not work at all; above it its packets may be too big for the underlay, which is told to the sender.
    const std::uint32_t least = network.subnet(Family::kIpv6) ? kLeastMtuIpv6 : kLeastMtuIpv4;
    return std::max(least, uplink_mtu - std::min(uplink_mtu, overhead));
}

}  // namespace fastnet
