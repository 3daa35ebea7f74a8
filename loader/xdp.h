// Our XDP program at a device, through libxdp: beside other people's programs where the kernel lets its dispatcher load
// (freplace), alone elsewhere. Native mode or not at all. What is ours is told by the program itself, so nothing has to be
// remembered, and whatever a killed command left is found again. Other people's programs are never removed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "loader/base/result.h"

namespace fastnet {

/// What runs at a device's XDP hook.
struct XdpHook {
    std::vector<std::uint32_t> ours{};  ///< programs of any fastnet; more than one for a moment, when one takes over
    bool current = false;               ///< one of them uses these maps
    bool alone = false;                 ///< there is none but ours
    bool occupied = false;              ///< by one program that has no others beside it, and is not ours; or it cannot be told
    bool generic = false;               ///< that one runs in generic mode
    bool unreadable = false;            ///< a dispatcher that is being exchanged, or newer than our libxdp
    bool dispatcher = false;
    std::string stranger{};  ///< of whom it is occupied: "name (id 7)"

    /// Else attach: who was killed while one took over from the other left both.
    bool settled() const { return current && ours.size() == 1; }
    /// Ours sees every packet as it came off the wire. A program in front of it may pass one for good, and one behind it may take off a
    /// header: then what reaches the kernel was not judged.
    bool judges_all() const { return settled() && alone; }
    std::string title() const { return dispatcher ? "xdp dispatcher xdp_uplink" : "xdp native xdp_uplink"; }
};

/// @p maps: where the datapath's maps are pinned.
Result<XdpHook> read_xdp_hook(int ifindex, const std::filesystem::path& maps);
/// What is attached there, a dispatcher for instance, of which libxdp makes a new one for each change; 0: nothing. Cheap.
std::uint32_t xdp_program_at(int ifindex);
/// Attaches the program of this build, in the place of any other fastnet's; at no moment is there neither. Somebody else's is in the
/// way: conflict. sys_errno is EOPNOTSUPP if the driver cannot.
Status attach_xdp(int ifindex, const std::filesystem::path& maps);
/// Whatever is a fastnet's. A device that is gone is no error.
Status detach_xdp(int ifindex);

/// A program on these maps that libxdp keeps for a dispatcher. Who takes the dispatcher off by other means than libxdp, or removes the
/// device, leaves it behind with all the maps.
struct XdpPin {
    std::uint32_t program = 0;
    std::filesystem::path directory{};
    std::string name{};
};
std::vector<XdpPin> pinned_xdp(const std::filesystem::path& maps);
Status unpin_xdp(const XdpPin& pin);

/// The bytes of the program's object, for a build's id.
std::string_view xdp_object_bytes();

}  // namespace fastnet
