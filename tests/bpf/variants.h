// One test body for TCP and UDP over IPv4 and IPv6: the roles by family, and a segment or datagram by protocol.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tests/bpf/roles.h"

namespace fastnet::test {

struct Variant {
    Protocol protocol = Protocol::kTcp;
    Family family = Family::kIpv4;

    bool v4() const { return family == Family::kIpv4; }
    const IpAddress& client() const { return v4() ? test::client : client6; }
    const IpAddress& host() const { return v4() ? host_ip : host6; }
    const IpAddress& not_ours() const { return v4() ? not_our_ip : not_our_ip6; }
    const IpAddress& container() const { return v4() ? container_ip : container6; }
    const IpAddress& neighbour() const { return v4() ? neighbour_ip : neighbour6; }
    const IpAddress& stranger() const { return v4() ? stranger_ip : stranger6; }
    const IpAddress& gateway() const { return v4() ? test::gateway : gateway6; }
    const IpAddress& localhost() const { return v4() ? test::localhost : localhost6; }
    const IpAddress& any() const { return v4() ? any4 : any6; }
    Protocol other_protocol() const { return protocol == Protocol::kTcp ? Protocol::kUdp : Protocol::kTcp; }

    /// @p flags are of TCP only.
    Packet l4(std::uint16_t src, std::uint16_t dst, std::uint8_t flags = kSyn) const { return l4_of(protocol, src, dst, flags); }
    static Packet l4_of(Protocol protocol, std::uint16_t src, std::uint16_t dst, std::uint8_t flags = kSyn) {
        if (protocol == Protocol::kTcp) return tcp(src, dst, flags);
        return udp(src, dst);
    }
};

inline std::string variant_name(const ::testing::TestParamInfo<Variant>& info) {
    return std::string{info.param.protocol == Protocol::kTcp ? "Tcp" : "Udp"} + (info.param.v4() ? "OverIpv4" : "OverIpv6");
}

inline const auto all_variants = ::testing::Values(Variant{Protocol::kTcp, Family::kIpv4}, Variant{Protocol::kUdp, Family::kIpv4},
                                                   Variant{Protocol::kTcp, Family::kIpv6}, Variant{Protocol::kUdp, Family::kIpv6});

}  // namespace fastnet::test
