// Docker's publish syntax as a value: [HOSTIP:]HOSTPORT[-END]:PORT[-END][/tcp|udp|sctp].
// Pure text work: knows nothing of which ports are free. Invariant: a PublishSpec that parse() returned is well formed,
// so whoever holds one need not check ports or widths again.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "loader/base/net_types.h"
#include "loader/base/result.h"

namespace fastnet {

/// One `-p` argument. Specs compare equal when they ask for the same thing.
struct PublishSpec {
    std::optional<IpAddress> host_ip;     ///< unset: every address of the host, both families
    std::optional<PortRange> host_ports;  ///< unset (absent or 0): as many free ones as there are container ports, in a row
    PortRange container_ports;            ///< never contains port 0
    Protocol protocol = Protocol::kTcp;   ///< tcp, udp or sctp

    /// True when the host ports are still to be chosen: none given, or a range for one container port (first free one).
    bool picks_host_port() const { return !host_ports || host_ports->size() != container_ports.size(); }

    /// A malformed @p text is a usage error that quotes it and says what is wrong.
    static Result<PublishSpec> parse(std::string_view text);
    /// Canonical text, protocol always written: parse(to_string()) gives an equal spec.
    std::string to_string() const;

    friend bool operator==(const PublishSpec&, const PublishSpec&) = default;
};

}  // namespace fastnet
