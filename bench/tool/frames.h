// The frames that inject and generate send: one per flow, told apart by their source port.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fnbench {

using Frame = std::vector<std::uint8_t>;

struct FrameOptions {
    std::string device;      // where the frames start: the far end of the wire, in the current namespace
    std::string source_mac;  // empty: the device's own
    std::string destination_mac;
    std::string source;
    std::string destination;
    std::uint16_t destination_port = 0;
    std::uint16_t first_source_port = 20000;
    std::uint32_t flows = 1;
    std::uint32_t frame_bytes = 60;  // Ethernet header included, FCS not
    std::uint32_t vni = 0;           // not 0: the frame travels in VXLAN, with these outer addresses (IPv4)
    std::string outer_source;
    std::string outer_destination;
    std::string inner_source_mac;
    std::string inner_destination_mac;
    std::uint8_t payload = 'x';
};

bool is_ipv6(const FrameOptions& options);
void check(const FrameOptions& options);  // dies with the reason
// The part of each frame that the datapath may change; the rest is payload.
std::uint32_t header_bytes(const FrameOptions& options);
// @p count frames, with source ports from first_source_port + @p first_flow on.
std::vector<Frame> build_frames(const FrameOptions& options, std::uint32_t first_flow, std::uint32_t count);

}  // namespace fnbench
