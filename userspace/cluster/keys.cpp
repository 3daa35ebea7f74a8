#include "userspace/cluster/keys.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <random>

#include "userspace/model/names.h"

namespace fastnet::cluster {
namespace {

constexpr std::string_view kVersion = "/v2/";
constexpr std::size_t kMaxPrefix = 128;
constexpr std::size_t kMaxPath = 512;
constexpr std::size_t kUidLength = 32;
constexpr std::string_view kNodes = "nodes/";
constexpr std::string_view kVteps = "vteps/";
constexpr std::string_view kNetworks = "networks/";
constexpr std::string_view kBlocks = "blocks/";
constexpr std::string_view kEndpoints = "endpoints/";
constexpr std::string_view kGeneration = "generation";

bool is_word_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

std::optional<std::string_view> behind(std::string_view text, std::string_view start) {
    if (!text.starts_with(start)) return std::nullopt;
    return text.substr(start.size());
}

template <typename Number>
std::optional<Number> decimal(std::string_view text) {
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return number;
}

/// What follows the kind, in two words.
std::optional<std::pair<std::string_view, std::string_view>> two_words(std::string_view text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    return std::pair{text.substr(0, slash), text.substr(slash + 1)};
}

std::optional<Key> parse_block(std::string_view text) {
    const auto words = two_words(text);
    if (!words || !is_uid(words->first)) return std::nullopt;
    const std::size_t line = words->second.find('_');
    if (line == std::string_view::npos) return std::nullopt;
    const auto address = IpAddress::parse(words->second.substr(0, line));
    const auto length = decimal<std::uint8_t>(words->second.substr(line + 1));
    if (!address || !length || *length > (address->family() == Family::kIpv4 ? 32 : 128)) return std::nullopt;
    const IpPrefix prefix{*address, *length};
    if (prefix != prefix.network()) return std::nullopt;
    return BlockKey{std::string{words->first}, prefix};
}

std::optional<Key> parse_endpoint(std::string_view text) {
    const auto words = two_words(text);
    if (!words || !check_name(words->first, "node")) return std::nullopt;
    const auto id = decimal<std::uint32_t>(words->second);
    if (!id || *id == 0) return std::nullopt;
    return EndpointKey{std::string{words->first}, *id};
}

/// Any key that @p text may mean; whether it is spelled as we would is seen by spelling it.
std::optional<Key> parse_any(std::string_view text) {
    if (text == kGeneration) return GenerationKey{};
    if (const auto name = behind(text, kNodes))
        return check_name(*name, "node") ? std::optional<Key>{NodeKey{std::string{*name}}} : std::nullopt;
    if (const auto name = behind(text, kNetworks))
        return check_name(*name, "network") ? std::optional<Key>{NetworkKey{std::string{*name}}} : std::nullopt;
    if (const auto address = behind(text, kVteps)) {
        const auto parsed = IpAddress::parse(*address);
        return parsed ? std::optional<Key>{VtepKey{*parsed}} : std::nullopt;
    }
    if (const auto rest = behind(text, kBlocks)) return parse_block(*rest);
    if (const auto rest = behind(text, kEndpoints)) return parse_endpoint(*rest);
    return std::nullopt;
}

struct Spell {
    std::string operator()(const NodeKey& key) const { return std::string{kNodes} + key.name; }
    std::string operator()(const VtepKey& key) const { return std::string{kVteps} + key.address.to_string(); }
    std::string operator()(const NetworkKey& key) const { return std::string{kNetworks} + key.name; }
    std::string operator()(const BlockKey& key) const {
        return std::string{kBlocks} + key.network + "/" + key.prefix.address().to_string() + "_" + std::to_string(key.prefix.length());
    }
    std::string operator()(const EndpointKey& key) const { return ref_of(key); }
    std::string operator()(const GenerationKey&) const { return std::string{kGeneration}; }
};

}  // namespace

Result<KeySpace> KeySpace::make(std::string_view prefix) {
    const std::string subject = "etcd prefix '" + std::string{prefix.substr(0, kMaxPrefix)} + "'";
    const std::string hint = "it is / and words of letters, digits and _ . - between slashes, such as /fastnet";
    if (prefix.size() > kMaxPrefix) return usage_error(subject + "... has more than 128 characters", hint);
    if (!prefix.starts_with('/') || prefix.ends_with('/') || prefix.find("//") != std::string_view::npos)
        return usage_error(subject + " does not begin with one slash, ends with one, or has two in a row", hint);
    if (!std::all_of(prefix.begin(), prefix.end(), [](char c) { return c == '/' || is_word_character(c); }))
        return usage_error(subject + " has a character that is not allowed", hint);
    return KeySpace{std::string{prefix} + std::string{kVersion}};
}

std::string KeySpace::path(const Key& key) const {
    return root_ + std::visit(Spell{}, key);
}

Result<Key> KeySpace::parse(std::string_view path) const {
    const auto rest = behind(path, root_);
    if (!rest || path.size() > kMaxPath) return usage_error("no key of this cluster");
    auto key = parse_any(*rest);
    if (!key || std::visit(Spell{}, *key) != *rest) return usage_error("no key that fastnet writes");
    return *std::move(key);
}

std::string random_uid() {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::random_device random;
    std::string uid;
    while (uid.size() < kUidLength)
        for (unsigned value = random(), i = 0; i < 8; ++i, value >>= 4U) uid += kDigits[value & 0xfU];
    return uid;
}

bool is_uid(std::string_view text) {
    return text.size() == kUidLength &&
           std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string ref_of(const EndpointKey& key) {
    return std::string{kEndpoints} + key.node + "/" + std::to_string(key.id);
}

}  // namespace fastnet::cluster
