// What belongs to the node as a whole: its uplinks, and the sysctls that fastnet changed. Pure values.
#pragma once

#include <string>

namespace fastnet {

struct Uplink {
    std::string name;
    bool chosen_by_user = false;  ///< by --uplink; else found by the default route, and may be replaced when that moves

    friend bool operator==(const Uplink&, const Uplink&) = default;
};

/// cleanup writes `original` back only where the file still reads `written`.
struct SavedSysctl {
    std::string path;      ///< below /proc/sys, such as `net/ipv4/conf/eth0/forwarding`
    std::string original;  ///< before fastnet's first write
    std::string written;   ///< by fastnet's last write

    friend bool operator==(const SavedSysctl&, const SavedSysctl&) = default;
};

}  // namespace fastnet
