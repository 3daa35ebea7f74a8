// The tables of the node's deny list (bpf/abi/deny.h) as memory that somebody else owns: a map's, or a test's. Pure.
// They hold prefixes of which none covers another; who has more than that leaves out what is covered (outermost()).
// Programs may read while this writes: what is denied before and after a call is denied during it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "bpf/abi/deny.h"
#include "loader/base/net_types.h"

namespace fastnet {

/// Those that no other one covers, sorted.
std::vector<IpPrefix> outermost(std::vector<IpPrefix> prefixes);

class DenyTable {
public:
    static constexpr unsigned kFewestBits = 10;
    static constexpr unsigned kMostBits = 23;
    /// Places for so many prefixes, half of them free: the table of nodes has 2 to this power, and FNET_DENY_PROBES more.
    static unsigned bits_for(std::span<const IpPrefix> prefixes);
    static std::size_t places(unsigned bits) { return (std::size_t{1} << bits) + FNET_DENY_PROBES; }

    /// @p rows has FNET_DENY_BLOCK_ROWS, @p nodes places(bits). @p factors are odd. @p tables says what was in it before: its
    /// flags for families and levels are kept.
    DenyTable(std::span<fnet_deny_blocks> rows, std::span<fnet_deny_node> nodes, unsigned bits, const std::array<std::uint64_t, 2>& factors,
              std::uint64_t tables = 0);

    /// False: a node found no place, and nothing has changed. The table must then be made anew, larger.
    bool add(const IpPrefix& prefix);
    /// One that was added.
    void remove(const IpPrefix& prefix);

    /// For fnet_deny_list: families, levels and size. A family or level whose last prefix went is still named, which costs time
    /// and nothing else.
    std::uint64_t tables() const { return tables_; }

private:
    struct Key {
        std::uint64_t high, low;
    };
    static Key key_of(const IpAddress& address, unsigned level);
    std::size_t home_of(const Key& key) const { return (key.high * factors_[0] + key.low * factors_[1]) >> (64 - bits_); }
    fnet_deny_node* find(const Key& key) const;
    /// By the search for a node that is there.
    bool is_passed(std::size_t place) const;
    /// With one user more; nullptr if there is no place.
    fnet_deny_node* take(const Key& key);
    void release(const Key& key);
    void set_rows(const IpPrefix& prefix, fnet_deny_state state);

    std::span<fnet_deny_blocks> rows_;
    std::span<fnet_deny_node> nodes_;
    unsigned bits_;
    std::array<std::uint64_t, 2> factors_;
    std::uint64_t tables_;
};

}  // namespace fastnet
