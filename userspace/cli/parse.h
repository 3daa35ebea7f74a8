// From the words of the command line to values: every word that makes no sense is a usage error that quotes it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "userspace/control/requests.h"

namespace fastnet {

/// @p what names the option in the error: "--mtu".
Result<std::uint32_t> parse_number(const std::string& text, const std::string& what, std::uint32_t lowest, std::uint32_t highest);
Result<std::int32_t> parse_signed(const std::string& text, const std::string& what);
Result<EndpointMode> parse_mode(const std::string& text);
Result<NetworkDriver> parse_driver(const std::string& text);
Result<UdpMapping> parse_udp_mapping(const std::string& text);
Result<std::vector<PublishSpec>> parse_specs(const std::vector<std::string>& texts);
Result<IpAddress> parse_address(const std::string& text, const std::string& what);
Result<MacAddress> parse_mac(const std::string& text);
Result<std::vector<IpAddress>> parse_addresses(const std::vector<std::string>& texts, const std::string& what);
Result<std::vector<IpPrefix>> parse_prefixes(const std::vector<std::string>& texts, const std::string& what);
Result<std::map<std::string, std::string>> parse_options(const std::vector<std::string>& texts);

/// The words of --allow, --deny and their files.
struct AccessWords {
    std::vector<std::string> allow{};
    std::vector<std::string> allow_files{};
    std::vector<std::string> deny{};
    std::vector<std::string> deny_files{};
};
Result<AccessList> parse_access(const AccessWords& words);

/// The words of `deny add` and `deny rm`.
struct DenyWords {
    std::vector<std::string> prefixes{};
    std::vector<std::string> files{};  ///< "-": standard input
};
/// Each once. None at all: usage.
Result<std::vector<IpPrefix>> parse_denied(const DenyWords& words, const std::string& what);

/// The words of `attach` and `run`, as they stand on the command line; empty = not given.
struct AttachWords {
    std::string mode = "bridge";
    std::string netns{};
    bool has_netns = false;
    std::string network{};
    std::string name{};
    std::vector<std::string> ips{};
    std::string mac{};
    std::string ifname{};
    std::string gateway_priority{};
    std::vector<std::string> ports{};
    AccessWords sources{};
    std::vector<std::string> uplinks{};
    std::string max_flows{};
    std::string masquerade_ports{};
    std::string udp_mapping{};
    std::vector<std::string> vtep{};
    std::string xdp{};
    std::vector<std::string> timeouts{};
    bool reload = false;
};
Result<AttachRequest> parse_attach(const AttachWords& words);

struct NetworkWords {
    std::string name{};
    std::string driver = "bridge";
    std::vector<std::string> subnets{};
    std::vector<std::string> gateways{};
    std::vector<std::string> ip_ranges{};
    std::string mtu{};
    bool internal = false;
    bool no_icc = false;
    std::string vni{};
    std::string parent{};
    std::vector<std::string> options{};
};
Result<NetworkRequest> parse_network(const NetworkWords& words);

/// The words of `peer endpoint add`.
struct RemoteEndpointWords {
    std::vector<std::string> ips{};
    std::string peer{};
    std::string network{};
    std::string mac{};
};
Result<RemoteEndpointRequest> parse_remote_endpoint(const RemoteEndpointWords& words);

}  // namespace fastnet
