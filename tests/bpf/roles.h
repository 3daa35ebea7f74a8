// Who is who in the BPF tests: addresses and MACs by role, and the Ethernet headers of the four ways a frame travels.
//
//     client ... router --- up0 [ node ] br1 --- container, neighbour     (network 1)
//                                  |     br2 --- stranger                 (network 2)
//                                  side0: a device that is no uplink
#pragma once

#include "tests/bpf/packet_builder.h"

namespace fastnet::test {

inline MacAddress mac(std::uint8_t group, std::uint8_t member) {
    return MacAddress{{0x02, 0xfa, 0x57, 0, group, member}};
}

inline const MacAddress gateway_mac = mac(0, 1);
inline const MacAddress uplink_mac = mac(1, 1), router_mac = mac(1, 2), moved_router_mac = mac(1, 3);
inline const MacAddress container_mac = mac(2, 2), neighbour_mac = mac(2, 3), stranger_mac = mac(3, 2), forged_mac = mac(9, 9);
inline const MacAddress broadcast_mac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
inline const MacAddress multicast6_mac{{0x33, 0x33, 0, 0, 0, 1}};

inline const IpAddress client = IpAddress::v4(198, 51, 100, 7), other_client = IpAddress::v4(198, 51, 100, 8);
inline const IpAddress router = IpAddress::v4(192, 0, 2, 1);
inline const IpAddress host_ip = IpAddress::v4(192, 0, 2, 2), second_host_ip = IpAddress::v4(192, 0, 2, 3);
inline const IpAddress not_our_ip = IpAddress::v4(192, 0, 2, 77);  // on the uplink's subnet, another machine's
inline const IpAddress side_peer = IpAddress::v4(203, 0, 113, 9);  // behind the device that is no uplink
inline const IpAddress unroutable = IpAddress::v4(100, 64, 0, 1);  // an unreachable route
inline const IpAddress gateway = IpAddress::v4(10, 10, 0, 1), other_gateway = IpAddress::v4(10, 20, 0, 1);
inline const IpAddress container_ip = IpAddress::v4(10, 10, 0, 2), neighbour_ip = IpAddress::v4(10, 10, 0, 3);
inline const IpAddress nobody_ip = IpAddress::v4(10, 10, 0, 99);  // of network 1, unused
inline const IpAddress stranger_ip = IpAddress::v4(10, 20, 0, 2);
inline const IpAddress localhost = IpAddress::v4(127, 0, 0, 1), other_localhost = IpAddress::v4(127, 0, 0, 2);
inline const IpAddress any4 = IpAddress::v4(0, 0, 0, 0), limited_broadcast = IpAddress::v4(255, 255, 255, 255);

/// For literals in tests only: aborts on nonsense.
inline IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}

inline const IpAddress client6 = address("2001:db8:7::7"), router6 = address("2001:db8:2::1"), host6 = address("2001:db8:2::2");
inline const IpAddress not_our_ip6 = address("2001:db8:2::77");
inline const IpAddress gateway6 = address("fd00:10::1"), container6 = address("fd00:10::2"), neighbour6 = address("fd00:10::3");
inline const IpAddress stranger6 = address("fd00:20::2"), localhost6 = address("::1");
inline const IpAddress container_link_local = address("fe80::fa:57ff:fe00:202"), all_nodes = address("ff02::1");
inline const IpAddress any6{};

inline const Eth from_outside{.src = router_mac, .dst = uplink_mac};
inline const Eth out_of_uplink{.src = uplink_mac, .dst = router_mac};
inline const Eth on_loopback{};
inline const Eth from_container{.src = container_mac, .dst = gateway_mac};
inline const Eth into_container{.src = gateway_mac, .dst = container_mac};
inline const Eth from_neighbour{.src = neighbour_mac, .dst = gateway_mac};
inline const Eth into_neighbour{.src = gateway_mac, .dst = neighbour_mac};
inline const Eth from_stranger{.src = stranger_mac, .dst = gateway_mac};
inline const Eth container_to_neighbour{.src = container_mac, .dst = neighbour_mac};
inline const Eth container_broadcast{.src = container_mac, .dst = broadcast_mac};
inline const Eth container_multicast6{.src = container_mac, .dst = multicast6_mac};

}  // namespace fastnet::test
