#include "userspace/cli/parse.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <limits>

#include "loader/base/handle.h"
#include "userspace/control/uplinks.h"
#include "userspace/model/names.h"

namespace fastnet {
namespace {

constexpr std::uint32_t kLowestMtu = 68;      // RFC 791
constexpr std::uint32_t kHighestMtu = 65535;  // of a Linux bridge
constexpr std::size_t kLargestFile = 32U << 20U;

std::string in_quotes(const std::string& text) {
    return "'" + text + "'";
}

std::string joined(const std::vector<std::string>& texts) {
    std::string all;
    for (const std::string& text : texts) all += (all.empty() ? "" : ",") + text;
    return all;
}

/// @p path "-": standard input.
Result<std::string> read_text(const std::string& path) {
    // No stream: reading a directory by one throws.
    const UniqueFd file{path == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return sys_error(errno, "open " + path).with_hint("name a file with one prefix on each line");
    std::string text;
    std::array<char, 65536> chunk{};
    for (;;) {
        const ssize_t size = ::read(file.get(), chunk.data(), chunk.size());
        if (size == 0) return text;
        if (size < 0) return sys_error(errno, "read " + path).with_hint("name a file with one prefix on each line");
        text.append(chunk.data(), static_cast<std::size_t>(size));
        if (text.size() > kLargestFile)
            return usage_error("read " + path + ": it has more than " + std::to_string(kLargestFile >> 20U) + " MiB",
                               "name a file with one prefix on each line");
    }
}

/// @p option is "--allow" or "--deny".
Status add_sources(std::vector<IpPrefix>& sources, const std::string& option, const std::vector<std::string>& lists,
                   const std::vector<std::string>& files) {
    const auto add = [&](Result<std::vector<IpPrefix>> prefixes, const std::string& what) -> Status {
        if (!prefixes) return std::move(prefixes).error().in(what);
        sources.insert(sources.end(), prefixes->begin(), prefixes->end());
        return ok();
    };
    for (const std::string& list : lists) CHECK_OK(add(parse_sources(list), option));
    for (const std::string& path : files) {
        auto text = read_text(path);
        if (!text) return std::move(text).error().in(option + "-file");
        CHECK_OK(add(parse_source_lines(*text), option + "-file " + path));
    }
    return ok();
}

}  // namespace

Result<std::uint32_t> parse_number(const std::string& text, const std::string& what, std::uint32_t lowest, std::uint32_t highest) {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size() || number < lowest || number > highest)
        return usage_error(
            what + ": " + in_quotes(text) + " is not a number from " + std::to_string(lowest) + " to " + std::to_string(highest),
            "write it in decimal digits");
    return number;
}

Result<std::int32_t> parse_signed(const std::string& text, const std::string& what) {
    std::int32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size())
        return usage_error(what + ": " + in_quotes(text) + " is not a number from -2147483648 to 2147483647", "write it in decimal digits");
    return number;
}

Result<EndpointMode> parse_mode(const std::string& text) {
    if (const auto mode = endpoint_mode_from(text); mode) return *mode;
    return usage_error("--mode: there is no mode " + in_quotes(text), "the modes are bridge, overlay, none and host");
}

Result<NetworkDriver> parse_driver(const std::string& text) {
    if (const auto driver = network_driver_from(text); driver) return *driver;
    return usage_error("--driver: there is no driver " + in_quotes(text), "the drivers of this version are bridge and overlay");
}

Result<UdpMapping> parse_udp_mapping(const std::string& text) {
    if (const auto mapping = udp_mapping_from(text); mapping) return *mapping;
    return usage_error("--udp-mapping: there is no mapping " + in_quotes(text),
                       "it is endpoint-independent (default) or address-and-port-dependent");
}

Result<std::vector<PublishSpec>> parse_specs(const std::vector<std::string>& texts) {
    std::vector<PublishSpec> specs;
    for (const std::string& text : texts) specs.push_back(TRY(PublishSpec::parse(text)));
    return specs;
}

Result<IpAddress> parse_address(const std::string& text, const std::string& what) {
    auto address = IpAddress::parse(text);
    if (!address) return std::move(address).error().in(what);
    return *address;
}

Result<MacAddress> parse_mac(const std::string& text) {
    auto mac = MacAddress::parse(text);
    if (!mac) return std::move(mac).error().in("--mac");
    return *mac;
}

Result<std::vector<IpAddress>> parse_addresses(const std::vector<std::string>& texts, const std::string& what) {
    std::vector<IpAddress> addresses;
    for (const std::string& text : texts) addresses.push_back(TRY(parse_address(text, what)));
    return addresses;
}

Result<std::vector<IpPrefix>> parse_prefixes(const std::vector<std::string>& texts, const std::string& what) {
    std::vector<IpPrefix> prefixes;
    for (const std::string& text : texts) {
        auto prefix = IpPrefix::parse(text);
        if (!prefix) return std::move(prefix).error().in(what);
        prefixes.push_back(*prefix);
    }
    return prefixes;
}

Result<std::map<std::string, std::string>> parse_options(const std::vector<std::string>& texts) {
    std::map<std::string, std::string> options;
    for (const std::string& text : texts) {
        const std::size_t equals = text.find('=');
        if (equals == std::string::npos || equals == 0)
            return usage_error("--opt: " + in_quotes(text) + " is not of the form KEY=VALUE", "write it like --opt com.example.key=value");
        if (!options.emplace(text.substr(0, equals), text.substr(equals + 1)).second)
            return usage_error("--opt: " + in_quotes(text.substr(0, equals)) + " is given twice", "give each key once");
    }
    return options;
}

Result<AccessList> parse_access(const AccessWords& words) {
    AccessList list;
    CHECK_OK(add_sources(list.allow, "--allow", words.allow, words.allow_files));
    CHECK_OK(add_sources(list.deny, "--deny", words.deny, words.deny_files));
    list.normalize();
    return list;
}

Result<std::vector<IpPrefix>> parse_denied(const DenyWords& words, const std::string& what) {
    std::vector<IpPrefix> prefixes;
    CHECK_OK(add_sources(prefixes, what, words.prefixes, {}));
    for (const std::string& path : words.files) {
        auto text = read_text(path);
        if (!text) return std::move(text).error().in(what + " --file");
        auto read = parse_source_lines(*text);
        if (!read) return std::move(read).error().in(what + " --file " + path);
        prefixes.insert(prefixes.end(), read->begin(), read->end());
    }
    if (prefixes.empty()) return usage_error(what + ": there is no prefix", "name prefixes, or a file of them with --file");
    for (IpPrefix& prefix : prefixes) prefix = prefix.network();
    std::sort(prefixes.begin(), prefixes.end());
    prefixes.erase(std::unique(prefixes.begin(), prefixes.end()), prefixes.end());
    return prefixes;
}

Result<AttachRequest> parse_attach(const AttachWords& words) {
    AttachRequest request;
    request.mode = TRY(parse_mode(words.mode));
    if (words.has_netns) request.netns = words.netns;
    request.network = words.network;
    request.name = words.name;
    request.ips = TRY(parse_addresses(words.ips, "--ip"));
    if (!words.mac.empty()) request.mac = TRY(parse_mac(words.mac));
    request.ifname = words.ifname;
    if (!words.gateway_priority.empty()) request.gateway_priority = TRY(parse_signed(words.gateway_priority, "--gw-priority"));
    request.ports = TRY(parse_specs(words.ports));
    request.sources = TRY(parse_access(words.sources));
    request.prepare.uplinks = words.uplinks;
    request.prepare.replace_uplinks = !words.has_netns;
    request.prepare.reload = words.reload;
    if (!words.max_flows.empty()) request.prepare.max_flows = TRY(parse_number(words.max_flows, "--max-flows", kFewestFlows, kMostFlows));
    if (!words.masquerade_ports.empty()) {
        auto range = parse_port_range(words.masquerade_ports);
        if (!range) return std::move(range).error().in("--masquerade-ports");
        request.prepare.masquerade = *range;
    }
    if (!words.udp_mapping.empty()) request.prepare.udp_mapping = TRY(parse_udp_mapping(words.udp_mapping));
    if (!words.vtep.empty()) {
        auto vtep = parse_vtep_addresses(joined(words.vtep));
        if (!vtep) return std::move(vtep).error().in("--vtep");
        request.prepare.vtep = *vtep;
    }
    if (!words.xdp.empty()) {
        request.prepare.xdp = xdp_mode_from(words.xdp);
        if (!request.prepare.xdp) return usage_error("--xdp: there is no mode " + in_quotes(words.xdp), "it is auto (default), on or off");
    }
    if (!words.timeouts.empty()) {
        auto timeouts = parse_timeouts(joined(words.timeouts));
        if (!timeouts) return std::move(timeouts).error().in("--timeout");
        request.prepare.timeouts = *std::move(timeouts);
    }
    return request;
}

Result<NetworkRequest> parse_network(const NetworkWords& words) {
    NetworkRequest request;
    request.name = words.name;
    CHECK_OK(check_name(request.name, "network"));
    request.driver = TRY(parse_driver(words.driver));
    request.subnets = TRY(parse_prefixes(words.subnets, "--subnet"));
    request.gateways = TRY(parse_addresses(words.gateways, "--gateway"));
    request.ip_ranges = TRY(parse_prefixes(words.ip_ranges, "--ip-range"));
    if (!words.mtu.empty()) request.mtu = TRY(parse_number(words.mtu, "--mtu", kLowestMtu, kHighestMtu));
    if (!words.vni.empty()) request.vni = TRY(parse_number(words.vni, "--vni", 1, kMaxVni));
    request.internal = words.internal;
    request.icc = !words.no_icc;
    request.parent = words.parent;
    request.options = TRY(parse_options(words.options));
    return request;
}

Result<RemoteEndpointRequest> parse_remote_endpoint(const RemoteEndpointWords& words) {
    RemoteEndpointRequest request;
    request.ips = TRY(parse_addresses(words.ips, "peer endpoint"));
    request.peer = TRY(parse_address(words.peer, "--peer"));
    request.network = words.network;
    if (!words.mac.empty()) request.mac = TRY(parse_mac(words.mac));
    return request;
}

}  // namespace fastnet
