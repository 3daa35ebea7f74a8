#include "userspace/model/names.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace fastnet {
namespace {

constexpr std::string_view kBridgePrefix = "fn-";
constexpr std::string_view kHostLinkPrefix = "fnv-";
constexpr std::string_view kVxlanPrefix = "fnx-";
constexpr int kIdBase = 36;

bool is_alphanumeric(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

std::string base36(std::uint32_t value) {
    char text[8];
    const auto [end, error] = std::to_chars(text, text + sizeof text, value, kIdBase);
    return {text, end};  // 7 characters hold every 32-bit value
}

/// The id that @p text spells exactly as base36() would, else 0.
std::uint32_t id_from(std::string_view text) {
    std::uint32_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id, kIdBase);
    return error == std::errc{} && end == text.data() + text.size() && base36(id) == text ? id : 0;
}

}  // namespace

Status check_name(std::string_view name, std::string_view what) {
    const std::string subject = std::string{what} + " name";
    const std::string hint = "a name has 1 to 63 letters, digits and _ . - and starts with a letter or digit";
    if (name.empty()) return usage_error(subject + " is empty", hint);
    if (name.size() > kMaxNameLength) return usage_error(subject + " has " + std::to_string(name.size()) + " characters", hint);
    if (!is_alphanumeric(name.front()))
        return usage_error(subject + " '" + std::string{name} + "' does not start with a letter or digit", hint);
    const auto bad =
        std::find_if_not(name.begin(), name.end(), [](char c) { return is_alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
    if (bad != name.end()) return usage_error(subject + " '" + std::string{name} + "' has a character that is not allowed", hint);
    return ok();
}

Status check_ifname(std::string_view name) {
    const std::string hint = "an interface name has 1 to 15 printable characters without / : % and spaces";
    if (name.empty()) return usage_error("interface name is empty", hint);
    if (name.size() > kMaxIfnameLength) return usage_error("interface name '" + std::string{name} + "' is longer than 15 characters", hint);
    if (name == "." || name == "..") return usage_error("interface name '" + std::string{name} + "' is reserved", hint);
    // '%' is legal but makes the kernel number the interface itself ("eth%d").
    const auto bad =
        std::find_if(name.begin(), name.end(), [](char c) { return c <= ' ' || c >= 0x7f || c == '/' || c == ':' || c == '%'; });
    if (bad != name.end()) return usage_error("interface name '" + std::string{name} + "' has a character that is not allowed", hint);
    return ok();
}

std::string bridge_ifname_for(std::uint32_t network_id, std::string_view network_name) {
    std::string ifname = std::string{kBridgePrefix} + base36(network_id) + "-" + std::string{network_name};
    std::replace(ifname.begin(), ifname.end(), '.', '_');
    return ifname.substr(0, kMaxIfnameLength);
}

std::string host_ifname_for(std::uint32_t endpoint_id) {
    return std::string{kHostLinkPrefix} + base36(endpoint_id);
}

std::string vxlan_ifname_for(std::uint32_t network_id) {
    return std::string{kVxlanPrefix} + base36(network_id);
}

std::uint32_t network_id_of_vxlan_ifname(std::string_view ifname) {
    return ifname.starts_with(kVxlanPrefix) ? id_from(ifname.substr(kVxlanPrefix.size())) : 0;
}

std::uint32_t endpoint_id_of_host_ifname(std::string_view ifname) {
    return ifname.starts_with(kHostLinkPrefix) ? id_from(ifname.substr(kHostLinkPrefix.size())) : 0;
}

std::uint32_t network_id_of_bridge_ifname(std::string_view ifname) {
    if (!ifname.starts_with(kBridgePrefix)) return 0;
    const std::string_view rest = ifname.substr(kBridgePrefix.size());
    const std::size_t dash = rest.find('-');
    return dash == std::string_view::npos ? 0 : id_from(rest.substr(0, dash));
}

}  // namespace fastnet
