#include "tests/bpf/overlay_fixture.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cstdlib>
#include <set>

namespace fastnet::test {
namespace {

void require(bool condition, const char* what) {
    if (condition) return;
    std::perror(what);
    std::abort();
}

fnet_vtep_key vtep_key(const IpAddress& peer, std::uint32_t vni) {
    return {.peer = to_abi(peer), .vni = vni, .reserved = 0};
}

std::size_t port_offset(const Peer& peer) {
    return 14U + (peer.v4() ? 20U : 40U);
}

Packet outer_ip(const IpAddress& src, const IpAddress& dst, std::uint8_t ecn) {
    if (dst.family() == Family::kIpv4) return Ipv4{.src = src, .dst = dst, .tos = ecn, .id = 0};
    return Ipv6{.src = src, .dst = dst, .traffic_class = ecn, .flow_label = 0};
}

}  // namespace

void OverlayTest::SetUp() {
    DatapathTest::SetUp();
    if (IsSkipped()) return;
    set_overlay(true);
    for (const Container* each : {&container(), &neighbour()}) set_vni(*each, kVni);
}

void OverlayTest::set_overlay(bool on) {
    for (const fnet_filter region : {FNET_FILTER_UDP4, FNET_FILTER_UDP6}) set_filter(region, kVxlanPort, on);
    // Any bridge may ask the routes whether an outer destination is the node's.
    const fnet_vtep_key anyone = vtep_key(any6, 0);
    const fnet_vtep bridge{.network = 0, .tunnel = 0, .bridge_ifindex = stranger().bridge, .flags = 0, .learned = 0, .reserved = 0};
    require((on ? bpf_map_update_elem(map_fd("vteps"), &anyone, &bridge, BPF_ANY) : bpf_map_delete_elem(map_fd("vteps"), &anyone)) == 0,
            "write vteps");
    user_space_changed();
}

void OverlayTest::add_peer(const Peer& peer, std::uint32_t flags) {
    fnet_tunnel value{};
    value.peer = to_abi(peer.address);
    store_tunnel(peer, value);
    const fnet_vtep_key known = vtep_key(peer.address, 0);
    const fnet_vtep row{.network = 0, .tunnel = peer.tunnel, .bridge_ifindex = 0, .flags = 0, .learned = 0, .reserved = 0};
    require(bpf_map_update_elem(map_fd("vteps"), &known, &row, BPF_ANY) == 0, "write vteps");
    set_peer_flags(peer, flags);
}

void OverlayTest::remove_peer(const Peer& peer) {
    store_tunnel(peer, fnet_tunnel{});
}

void OverlayTest::set_peer_flags(const Peer& peer, std::uint32_t flags) {
    const fnet_vtep_key key = vtep_key(peer.address, kVni);
    fnet_vtep row{};
    (void)bpf_map_lookup_elem(map_fd("vteps"), &key, &row);
    row.network = container().network;
    row.tunnel = peer.tunnel;
    row.bridge_ifindex = container().bridge;
    row.flags = flags;
    require(bpf_map_update_elem(map_fd("vteps"), &key, &row, BPF_ANY) == 0, "write vteps");
    user_space_changed();
}

void OverlayTest::add_remote(const Peer& peer) {
    fnet_address value{};
    value.tunnel = peer.tunnel;
    std::copy(peer.mac.bytes().begin(), peer.mac.bytes().end(), value.mac);
    for (const IpAddress& each : {peer.remote4, peer.remote6}) store_address(each, value);
}

void OverlayTest::set_vni(const Container& changed, std::uint32_t vni) {
    fnet_endpoint value = stored_endpoint(changed);
    value.vni = vni;
    require(bpf_map_update_elem(map_fd("endpoints"), &changed.ifindex, &value, BPF_ANY) == 0, "write endpoints");
    user_space_changed();
}

void OverlayTest::store_address(const IpAddress& address, const fnet_address& value, std::uint32_t network) {
    const fnet_address_key key{to_abi(address), network, 0};
    require(bpf_map_update_elem(map_fd("addresses"), &key, &value, BPF_ANY) == 0, "write addresses");
    user_space_changed();
}

bool OverlayTest::forget_address(const IpAddress& address, std::uint32_t network) {
    const fnet_address_key key{to_abi(address), network, 0};
    const bool gone = bpf_map_delete_elem(map_fd("addresses"), &key) == 0;
    user_space_changed();
    return gone;
}

fnet_tunnel OverlayTest::tunnel(const Peer& peer) const {
    fnet_tunnel value{};
    require(bpf_map_lookup_elem(map_fd("tunnels"), &peer.tunnel, &value) == 0, "read tunnels");
    return value;
}

void OverlayTest::store_tunnel(const Peer& peer, const fnet_tunnel& value) {
    require(bpf_map_update_elem(map_fd("tunnels"), &peer.tunnel, &value, BPF_ANY) == 0, "write tunnels");
    user_space_changed();
}

std::optional<fnet_address> OverlayTest::owner(const IpAddress& address, std::uint32_t network) const {
    const fnet_address_key key{to_abi(address), network, 0};
    fnet_address value{};
    if (bpf_map_lookup_elem(map_fd("addresses"), &key, &value) != 0) return std::nullopt;
    return value;
}

std::uint32_t OverlayTest::learned(const Peer& peer, std::uint32_t vni) const {
    const fnet_vtep_key key = vtep_key(peer.address, vni);
    fnet_vtep row{};
    require(bpf_map_lookup_elem(map_fd("vteps"), &key, &row) == 0, "read vteps");
    return row.learned;
}

void OverlayTest::set_learned(const Peer& peer, std::uint32_t count) {
    const fnet_vtep_key key = vtep_key(peer.address, kVni);
    fnet_vtep row{};
    require(bpf_map_lookup_elem(map_fd("vteps"), &key, &row) == 0, "read vteps");
    row.learned = count;
    require(bpf_map_update_elem(map_fd("vteps"), &key, &row, BPF_ANY) == 0, "write vteps");
    user_space_changed();
}

void OverlayTest::silence(const IpAddress& address, std::uint64_t seconds) {
    auto value = owner(address);
    require(value.has_value(), "silence an address that nobody owns");
    value->seen_ns -= seconds * kSecond;
    store_address(address, *value);
}

::testing::AssertionResult OverlayTest::learned_are_accounted_for() const {
    std::map<std::uint32_t, std::uint32_t> addresses_of_tunnel;
    std::set<std::uint32_t> slots;
    fnet_address_key key{};
    for (int error = bpf_map_get_next_key(map_fd("addresses"), nullptr, &key); error == 0;
         error = bpf_map_get_next_key(map_fd("addresses"), &key, &key)) {
        fnet_address value{};
        require(bpf_map_lookup_elem(map_fd("addresses"), &key, &value) == 0, "read addresses");
        if ((value.flags & FNET_ADDRESS_LEARNED) == 0) continue;
        ++addresses_of_tunnel[value.tunnel];
        if (value.slot >= FNET_MAX_LEARNED || !slots.insert(value.slot).second)
            return ::testing::AssertionFailure() << "two learned addresses have one place";
    }
    fnet_vtep_key row_key{};
    for (int error = bpf_map_get_next_key(map_fd("vteps"), nullptr, &row_key); error == 0;
         error = bpf_map_get_next_key(map_fd("vteps"), &row_key, &row_key)) {
        fnet_vtep row{};
        require(bpf_map_lookup_elem(map_fd("vteps"), &row_key, &row) == 0, "read vteps");
        if (row_key.vni != 0 && row.learned != addresses_of_tunnel[row.tunnel])
            return ::testing::AssertionFailure() << "tunnel " << row.tunnel << " counts " << row.learned << " learned addresses, there are "
                                                 << addresses_of_tunnel[row.tunnel];
    }
    return ::testing::AssertionSuccess();
}

Packet OverlayTest::to_peer(const Peer& peer, const Outer& outer, const Packet& inner) {
    return out_of_uplink / outer_ip(peer.v4() ? host_ip : host6, peer.address, outer.ecn) /
           Udp{.src = Port{outer.source_port}, .dst = Port{kVxlanPort}, .checksum = 0} / Vxlan{.vni = outer.vni} / inner;
}

Packet OverlayTest::from_peer(const Peer& peer, const Outer& outer, const Packet& inner) {
    return from_outside / outer_ip(peer.address, peer.v4() ? host_ip : host6, outer.ecn) /
           Udp{.src = Port{outer.source_port}, .dst = Port{kVxlanPort}, .checksum = 0} / Vxlan{.vni = outer.vni} / inner;
}

std::uint16_t OverlayTest::source_port(const Peer& peer, const Bytes& frame) {
    const std::size_t at = port_offset(peer);
    return at + 2 > frame.size() ? std::uint16_t{0} : static_cast<std::uint16_t>(frame[at] << 8U | frame[at + 1]);
}

::testing::AssertionResult sent_through(const Outcome& outcome, const Peer& peer, const Packet& inner, std::uint8_t ecn) {
    const std::size_t at = port_offset(peer);
    if (outcome.out.size() < at + 2) return ::testing::AssertionFailure() << "too short";
    const auto port = static_cast<std::uint16_t>(outcome.out[at] << 8U | outcome.out[at + 1]);
    if (port < 49152) return ::testing::AssertionFailure() << "the source port is " << port;
    const Packet expected = out_of_uplink / outer_ip(peer.v4() ? host_ip : host6, peer.address, ecn) /
                            Udp{.src = Port{port}, .dst = Port{kVxlanPort}, .checksum = 0} / Vxlan{.vni = kVni} / inner;
    if (outcome.out != expected.bytes()) return ::testing::AssertionFailure() << "the bytes differ from " << describe(expected.bytes());
    return redirected(outcome, FNET_TUNNEL_SENT, expected);
}

}  // namespace fastnet::test
