// Who may call a published port: prefixes that are let in and prefixes that are kept out.
// The longest prefix that covers the caller decides, and where both lists have it the caller is kept out. A caller that no
// prefix covers is let in unless there is an allow list, which so speaks for both families: whoever it does not name stays out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"

namespace fastnet {

struct AccessList {
    std::vector<IpPrefix> allow{};
    std::vector<IpPrefix> deny{};

    bool empty() const { return allow.empty() && deny.empty(); }
    /// Sorted, each prefix once: equal lists compare equal.
    void normalize();
    /// `allow 10.0.0.0/8,192.0.2.7/32 deny 10.9.0.0/16`; empty for no list.
    std::string to_string() const;

    friend bool operator==(const AccessList&, const AccessList&) = default;
};

/// Prefixes between commas; an address is the prefix of itself alone. Usage error that quotes what makes no sense.
Result<std::vector<IpPrefix>> parse_sources(std::string_view text);
/// The same out of a file's text: separated by commas, blanks or line ends, with comments from # to the end of the line. A text
/// without any prefix is an error: an empty list and a list that could not be written mean opposite things.
Result<std::vector<IpPrefix>> parse_source_lines(std::string_view text);

}  // namespace fastnet
