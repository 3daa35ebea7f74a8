// Blocks: the parts of a shared network's subnet that nodes own, one node each. Pure arithmetic and the choice of the next one.
// All blocks of a subnet are aligned and of one length, so a key that etcd holds once is an exclusive claim.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "loader/base/net_types.h"
#include "userspace/model/address_pool.h"
#include "userspace/model/network.h"

namespace fastnet::cluster {

/// The part of a subnet that addresses come from, cut into blocks.
struct BlockLayout {
    IpPrefix range;
    std::uint8_t length = 0;  ///< of each block

    std::uint64_t count() const { return std::uint64_t{1} << (length - range.length()); }
    IpPrefix at(std::uint64_t index) const;
    /// The block that would hold @p address; nullopt outside the range.
    std::optional<IpPrefix> block_of(const IpAddress& address) const;
    bool is_block(const IpPrefix& prefix) const;
};

/// Nullopt without a subnet of that family. IPv4: 12 bits more than the subnet, so 4,096 blocks, of /28 at the longest; IPv6: 24 bits
/// more, of /120 at the longest.
std::optional<BlockLayout> block_layout(const Network& network, Family family);

/// A node's own blocks of one subnet. The numbers of addresses saturate, as those of OwnBlock.
struct BlockUse {
    std::uint64_t blocks = 0;
    std::uint64_t total = 0;  ///< addresses in them
    std::uint64_t free = 0;
    bool wanted = false;  ///< an attach found none

    void add(const OwnBlock& block);
    void remove(const OwnBlock& block);
};

/// How many more the node should have now: some if fewer than a quarter of its addresses is free, or an attach waits. While at least
/// half of @p layout's blocks are nobody's, blocks are taken ahead: the first one before it is needed, and from then on as many as the
/// node has, so that a hundred containers wait for etcd a few times only. When they get scarce, one at a time.
std::uint64_t blocks_to_take(const BlockUse& use, const BlockLayout& layout, std::uint64_t taken);

/// Whether the node can do without @p idle, none of whose addresses is used, and not want it back at once.
bool can_spare(BlockUse use, const OwnBlock& idle, const BlockLayout& layout, std::uint64_t taken);

/// The first block that nobody has, beginning where @p seed says, so that nodes do not all reach for the same one. Nullopt: none.
std::optional<IpPrefix> pick_block(const BlockLayout& layout, std::string_view seed, std::uint64_t taken,
                                   const std::function<bool(const IpPrefix&)>& is_taken);

}  // namespace fastnet::cluster
