// How long a flow may be silent before the collector removes it. Pure values, in seconds.
#pragma once

#include <cstdint>

namespace fastnet {

struct FlowTimeouts {
    std::uint32_t tcp_established = 7440;  ///< RFC 5382 REQ-5: 2 h 4 min at least
    std::uint32_t tcp_opening = 240;       ///< the handshake is not done; RFC 5382 REQ-5: 4 min at least
    std::uint32_t tcp_closing = 240;       ///< a FIN or RST was seen; the same
    std::uint32_t udp = 300;               ///< RFC 4787 REQ-5: 2 min at least, 5 min recommended
    std::uint32_t udp_unreplied = 120;     ///< RFC 4787 REQ-5: 2 min at least
    std::uint32_t dns = 30;                ///< UDP to port 53, mostly one question and one answer; RFC 4787 REQ-5a
    std::uint32_t icmp = 60;               ///< echo; RFC 5508 REQ-2: 60 s at least
    std::uint32_t other = 600;             ///< SCTP (which sends a heartbeat every 30 s), ESP, GRE and the like
    std::uint32_t remote = 300;            ///< not a flow: an overlay address of a silent peer, if it was learned

    friend bool operator==(const FlowTimeouts&, const FlowTimeouts&) = default;
};

}  // namespace fastnet
