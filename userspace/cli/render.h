// Views as text: a table for people, or JSON with the field names that scripts rely on (design.md section 4).
// Pure; every text ends with a newline, an empty table is a line that says so.
#pragma once

#include <string>
#include <vector>

#include "userspace/cli/context.h"
#include "userspace/control/views.h"

namespace fastnet {

std::string render(const EndpointView& view, Format format);
std::string render(const std::vector<EndpointView>& views, Format format);
/// Of all nodes.
std::string render_with_nodes(const std::vector<EndpointView>& views, Format format);
std::string render(const std::vector<PortView>& views, Format format);
std::string render(const std::vector<FlowView>& views, Format format);
std::string render(const StatsView& view, Format format);
std::string render(const std::vector<NetworkView>& views, Format format);
std::string render(const NetworkView& view, Format format);
std::string render(const PeerView& view, Format format);
std::string render(const std::vector<PeerView>& views, Format format);
std::string render(const RemoteEndpointView& view, Format format);
std::string render(const std::vector<RemoteEndpointView>& views, Format format);
std::string render(const StatusView& view, Format format);
std::string render(const PrepareView& view, Format format);
std::string render(const std::vector<CheckView>& checks, Format format);
std::string render(const CleanupView& view, Format format);
std::string render_denied(const std::vector<IpPrefix>& prefixes, Format format);
/// @p added, or taken off.
std::string render_denied_change(const DenyView& view, bool added, Format format);
std::string render_detached(const std::vector<std::string>& names, Format format);
std::string render_removed_network(const std::string& name, Format format);
std::string render_removed_peer(const IpAddress& address, const std::string& network, Format format);
std::string render_removed_remote_endpoint(const IpAddress& address, const std::string& network, Format format);

}  // namespace fastnet
