// Firewall rules of others in this namespace, which packets of the fast path do not meet: doctor says so.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "loader/base/result.h"

namespace fastnet {

struct ForeignRules {
    std::uint64_t nft_rules = 0;               ///< in all nf_tables tables, those of iptables-nft included
    std::vector<std::string> legacy_tables{};  ///< "ip filter (12)": of iptables-legacy, with rules beyond the empty table's
    bool any() const { return nft_rules != 0 || !legacy_tables.empty(); }
};

/// A kernel without nf_tables or iptables has none.
Result<ForeignRules> find_foreign_rules();

}  // namespace fastnet
