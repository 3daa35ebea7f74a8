// What changes in a network namespace, as the kernel tells it: links, addresses, default routes, forwarding settings, tc filters, and
// the forwarding tables of bridges and vxlan devices. Other routes, and what the kernel learns of neighbours, are thrown away by a
// socket filter: a thousand of them a second wake nobody.
// Not told at all, by any kernel: programs that are detached from tcx or a cgroup, most sysctls, BPF maps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "loader/base/handle.h"
#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/host/netlink.h"

namespace fastnet {

struct NetworkChange {
    enum class What : std::uint8_t {
        kLink,        ///< also as the port of a bridge
        kAddress,     ///< `address`
        kRoute,       ///< a default route of the main table
        kForwarding,  ///< an entry of a bridge's or a vxlan device's forwarding table
        kSetting,     ///< forwarding, rp_filter and the like; link 0 where all devices are meant
        kFilter,      ///< a qdisc or filter of tc
    };
    What what = What::kLink;
    bool gone = false;
    IfIndex link = 0;
    std::string name{};  ///< of the link, where the kernel says it
    IpPrefix address{};
    /// Whose request it was, 0 if nobody's or untold. Mostly the process id; sockets after a process's first have another number.
    std::uint32_t sender = 0;
};

class NetlinkEvents {
public:
    /// Of the calling thread's namespace, from now on.
    static Result<NetlinkEvents> open();

    /// For poll(): readable while something waits.
    int fd() const { return fd_.get(); }

    using OnChange = std::function<void(const NetworkChange&)>;
    /// Passes on what waits, at most @p limit datagrams of it. True: the kernel had to drop some, so anything may have changed.
    Result<bool> read(const OnChange& on_change, std::size_t limit = 1000);
    /// Throws away what waits.
    Status discard();

private:
    explicit NetlinkEvents(UniqueFd fd) : fd_{std::move(fd)} {}
    UniqueFd fd_;
};

/// "pid 7 (NetworkManager)" for the sender of a change, if a process of that id is there; empty for 0 and for this process.
std::string name_of_sender(std::uint32_t sender);

}  // namespace fastnet
