// Network sysctls of the calling thread's namespace, and the list format of ip_local_reserved_ports.
// /proc/sys/net resolves by the thread that opens the file, so run_in() chooses the namespace. Remembers nothing:
// who restores what it wrote keeps the old value itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"

namespace fastnet {

/// The value without the final newline. @p path is below /proc/sys/net, with slashes: `ipv4/conf/eth0/forwarding`
/// (an interface name may contain dots). kNotFound if the kernel or the interface does not have it.
Result<std::string> read_sysctl(std::string_view path);

/// Writes all of @p value, also one longer than a page. kNotFound as above.
Status write_sysctl(std::string_view path, std::string_view value);

/// A set of ports in the kernel's notation `80,2000-2010`; ranges are kept sorted, disjoint and not adjacent.
class ReservedPorts {
public:
    ReservedPorts() = default;
    /// White space around the list is ignored, empty is the empty set. kUsage on anything else.
    static Result<ReservedPorts> parse(std::string_view text);

    void add(PortRange range);
    void remove(PortRange range);
    bool contains(Port port) const;
    bool contains(PortRange range) const;  ///< every port of it
    bool intersects(PortRange range) const;
    bool empty() const { return ranges_.empty(); }
    const std::vector<PortRange>& ranges() const { return ranges_; }

    ReservedPorts united_with(const ReservedPorts& other) const;
    ReservedPorts without(const ReservedPorts& other) const;

    std::string to_string() const;  ///< what the kernel prints for this set

    friend bool operator==(const ReservedPorts&, const ReservedPorts&) = default;

private:
    std::vector<PortRange> ranges_;
};

/// net.ipv4.ip_local_reserved_ports; IPv6 and all transports obey it as well.
Result<ReservedPorts> read_reserved_ports();
Status write_reserved_ports(const ReservedPorts& ports);

/// net.ipv4.ip_local_port_range: where automatic binds take their ports, IPv6 included.
Result<PortRange> local_port_range();

}  // namespace fastnet
