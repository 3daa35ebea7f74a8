// Network 1 of the lab as an overlay network: its containers have a VNI, and it spans other nodes that VXLAN reaches.
//
//     remote --- peer ... router --- up0 [ node ] br1 --- container, neighbour
//
// The outer frames are built anew by the builder. Addresses of the remote containers are known or not as the test says.
#pragma once

#include <ostream>

#include "bpf/abi/tunnel.h"
#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {

inline constexpr std::uint32_t kVni = 0x123456, kOtherVni = 0x000777;
inline constexpr std::uint16_t kVxlanPort = FNET_VXLAN_PORT;

/// Another node, with a container of network 1 on it.
struct Peer {
    IpAddress address;
    std::uint32_t tunnel = 0;
    IpAddress remote4, remote6;
    MacAddress mac;  ///< of that container

    bool v4() const { return address.family() == Family::kIpv4; }
    const IpAddress& remote(bool inner_v4) const { return inner_v4 ? remote4 : remote6; }
    /// Of its frames on the wire, up to the inner Ethernet header.
    std::size_t overhead() const { return v4() ? FNET_TUNNEL_OVERHEAD_IPV4 : FNET_TUNNEL_OVERHEAD_IPV6; }
};
inline const Peer peer4{address("198.51.100.50"), 1, address("10.10.0.50"), address("fd00:10::50"), mac(4, 1)};
inline const Peer peer6{address("2001:db8:7::50"), 2, address("10.10.0.60"), address("fd00:10::60"), mac(4, 2)};
inline const Peer second_peer4{address("198.51.100.51"), 3, address("10.10.0.70"), address("fd00:10::70"), mac(4, 3)};
inline void PrintTo(const Peer& peer, std::ostream* stream) {
    *stream << peer.address.to_string();
}

/// One test body for IPv4 and IPv6, outside and inside.
struct Way {
    Peer peer;
    Family inner = Family::kIpv4;

    bool v4() const { return inner == Family::kIpv4; }
    const IpAddress& container() const { return v4() ? container_ip : container6; }
    const IpAddress& neighbour() const { return v4() ? neighbour_ip : neighbour6; }
    const IpAddress& stranger() const { return v4() ? stranger_ip : stranger6; }
    const IpAddress& gateway() const { return v4() ? test::gateway : gateway6; }
    const IpAddress& remote() const { return peer.remote(v4()); }
};
inline void PrintTo(const Way& way, std::ostream* stream) {
    *stream << (way.v4() ? "IPv4 in " : "IPv6 in ") << way.peer.address.to_string();
}
inline std::string way_name(const ::testing::TestParamInfo<Way>& info) {
    return std::string{info.param.v4() ? "Ipv4" : "Ipv6"} + (info.param.peer.v4() ? "InIpv4" : "InIpv6");
}
inline const auto each_way =
    ::testing::Values(Way{peer4, Family::kIpv4}, Way{peer4, Family::kIpv6}, Way{peer6, Family::kIpv4}, Way{peer6, Family::kIpv6});

/// What differs between outer frames.
struct Outer {
    std::uint16_t source_port = 50000;
    std::uint8_t ecn = 0;
    std::uint32_t vni = kVni;
};

class OverlayTest : public DatapathTest {
protected:
    using DatapathTest::DatapathTest;
    void SetUp() override;

    // State that user space would write. Each change makes what the packet path has judged before void.
    void set_overlay(bool on);                                   ///< the node has an overlay network at all; SetUp() says so
    void add_peer(const Peer& peer, std::uint32_t flags = 0);    ///< of network 1
    void remove_peer(const Peer& peer);                          ///< its tunnel only
    void set_peer_flags(const Peer& peer, std::uint32_t flags);  ///< FNET_VTEP_* on network 1
    void add_remote(const Peer& peer);                           ///< static, both addresses
    void set_vni(const Container& container, std::uint32_t vni);
    void store_address(const IpAddress& address, const fnet_address& value, std::uint32_t network = 1);
    bool forget_address(const IpAddress& address, std::uint32_t network = 1);

    // State that the programs wrote.
    fnet_tunnel tunnel(const Peer& peer) const;
    void store_tunnel(const Peer& peer, const fnet_tunnel& value);
    std::optional<fnet_address> owner(const IpAddress& address, std::uint32_t network = 1) const;
    std::uint32_t learned(const Peer& peer, std::uint32_t vni = kVni) const;  ///< by the count of its row
    void set_learned(const Peer& peer, std::uint32_t count);
    /// Lets the address look @p seconds longer unheard than it is.
    void silence(const IpAddress& address, std::uint64_t seconds);
    /// The count of each row is the number of its addresses, and each of these has a place.
    ::testing::AssertionResult learned_are_accounted_for() const;

    // Outer frames.
    static Packet to_peer(const Peer& peer, const Outer& outer, const Packet& inner);
    static Packet from_peer(const Peer& peer, const Outer& outer, const Packet& inner);
    static Packet from_peer(const Peer& peer, const Packet& inner) { return from_peer(peer, Outer{}, inner); }
    Outcome receive(const Peer& peer, const Packet& inner) { return at_uplink(from_peer(peer, inner)); }
    static std::uint16_t source_port(const Peer& peer, const Bytes& frame);

    /// A frame from its container to ours, as it crosses the tunnel.
    static Eth from_remote(const Peer& peer) { return {.src = peer.mac, .dst = container_mac}; }
    static Eth to_remote(const Peer& peer) { return {.src = container_mac, .dst = peer.mac}; }
};

/// Encapsulated to the peer as exactly these bytes; but for the source port, which must be one of RFC 7348's.
::testing::AssertionResult sent_through(const Outcome& outcome, const Peer& peer, const Packet& inner, std::uint8_t ecn);
MATCHER_P2(TunnelsTo, peer, inner, "is encapsulated to " + peer.address.to_string()) {
    const auto result = sent_through(arg, peer, inner, 0);
    *result_listener << result.message();
    return static_cast<bool>(result);
}
MATCHER_P3(TunnelsWithEcn, peer, inner, ecn, "is encapsulated to " + peer.address.to_string() + " with its ECN") {
    const auto result = sent_through(arg, peer, inner, ecn);
    *result_listener << result.message();
    return static_cast<bool>(result);
}
/// Decapsulated and redirected as exactly these bytes.
MATCHER_P(Decapsulates, expected, "is decapsulated as " + describe(Packet{expected}.bytes())) {
    const auto result = redirected(arg, FNET_TUNNEL_RECEIVED, expected);
    *result_listener << result.message();
    return static_cast<bool>(result);
}
MATCHER(GoesToTheVxlanDevice, "is marked and left to the vxlan device") {
    const auto result = left_alone(arg, kToKernel, FNET_TUNNEL_TO_KERNEL);
    *result_listener << result.message();
    return result && arg.mark == FNET_TUNNEL_MARK;
}

}  // namespace fastnet::test
