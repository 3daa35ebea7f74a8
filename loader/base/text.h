// Text as messages show it.
#pragma once

#include <string>
#include <string_view>

namespace fastnet {

/// A name as the user gave it, told apart from the words around it.
inline std::string in_quotes(std::string_view text) {
    return "'" + std::string{text} + "'";
}

}  // namespace fastnet
