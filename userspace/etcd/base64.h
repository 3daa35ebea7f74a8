// Base64 as etcd's gateway speaks it (RFC 4648 section 4, with padding). Decoding is strict: what no encoder makes is refused.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fastnet {

std::string base64_encode(std::string_view bytes);
/// nullopt for a foreign character, a wrong length or padding, or bits in it that are not zero.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace fastnet
