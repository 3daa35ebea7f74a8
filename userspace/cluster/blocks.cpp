#include "userspace/cluster/blocks.h"

#include <algorithm>

namespace fastnet::cluster {
namespace {

constexpr std::uint8_t kLongestIpv4 = 28;
constexpr std::uint8_t kLongestIpv6 = 120;
constexpr std::uint64_t kFreeAhead = 8;    // addresses: an attach takes some 30 ms, a block not much more
constexpr std::uint64_t kMostAtOnce = 16;  // blocks

std::uint64_t saturated(std::uint64_t a, std::uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/// Half of them are nobody's.
bool are_plenty(const BlockLayout& layout, std::uint64_t taken) {
    return taken < (layout.count() + 1) / 2;
}

std::uint8_t block_length(const IpPrefix& subnet) {
    const auto sum = [&](unsigned more, unsigned longest) { return static_cast<std::uint8_t>(std::min(subnet.length() + more, longest)); };
    const std::uint8_t length = subnet.family() == Family::kIpv4 ? sum(12, kLongestIpv4) : sum(24, kLongestIpv6);
    return std::max(subnet.length(), length);
}

/// FNV-1a: the same on every node and in every build.
std::uint64_t hash(std::string_view text) {
    std::uint64_t value = 0xcbf29ce484222325U;
    for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    return value;
}

}  // namespace

IpPrefix BlockLayout::at(std::uint64_t index) const {
    const unsigned shift = (range.family() == Family::kIpv4 ? 32U : 128U) - length;
    const std::uint64_t upper = shift >= 64 ? index << (shift - 64) : shift == 0 ? 0 : index >> (64 - shift);
    const std::uint64_t lower = shift >= 64 ? 0 : index << shift;
    auto bytes = range.address().bytes();
    for (std::size_t i = 0; i < bytes.size(); ++i) {  // the range is aligned: nothing to carry
        const std::uint64_t half = i < 8 ? upper : lower;
        bytes[i] = static_cast<std::uint8_t>(bytes[i] | ((half >> (8 * (7 - i % 8))) & 0xffU));
    }
    return {IpAddress::from_bytes(bytes), length};
}

std::optional<IpPrefix> BlockLayout::block_of(const IpAddress& address) const {
    if (address.family() != range.family() || !range.contains(address)) return std::nullopt;
    return IpPrefix{address, length}.network();
}

bool BlockLayout::is_block(const IpPrefix& prefix) const {
    return prefix.length() == length && block_of(prefix.address()) == prefix;
}

std::optional<BlockLayout> block_layout(const Network& network, Family family) {
    const auto subnet = network.subnet(family);
    if (!subnet) return std::nullopt;
    const IpPrefix range = network.ip_range(family).value_or(*subnet);
    return BlockLayout{range, std::max(block_length(*subnet), range.length())};
}

void BlockUse::add(const OwnBlock& block) {
    ++blocks;
    total = saturated(total, block.size);
    free = saturated(free, block.free);
}

void BlockUse::remove(const OwnBlock& block) {
    --blocks;
    total -= std::min(total, block.size);
    free -= std::min(free, block.free);
}

std::uint64_t blocks_to_take(const BlockUse& use, const BlockLayout& layout, std::uint64_t taken) {
    const bool plenty = are_plenty(layout, taken);
    if (use.blocks == 0) return use.wanted || plenty ? 1 : 0;
    const bool is_short = use.free < use.total / 4 + (use.total % 4 == 0 ? 0 : 1) || (plenty && use.free < kFreeAhead);
    if (!use.wanted && !is_short) return 0;
    if (!plenty) return 1;
    return std::min({use.blocks, kMostAtOnce, (layout.count() + 1) / 2 - taken});
}

bool can_spare(BlockUse use, const OwnBlock& idle, const BlockLayout& layout, std::uint64_t taken) {
    if (use.wanted || use.blocks < 2 || idle.free != idle.size) return false;
    use.remove(idle);
    // Well above what would make it short again, since blocks are taken by the doubling of what is there.
    return are_plenty(layout, taken) ? use.free > use.total - use.total / 4 && use.free >= kFreeAhead : use.free > use.total / 2;
}

std::optional<IpPrefix> pick_block(const BlockLayout& layout, std::string_view seed, std::uint64_t taken,
                                   const std::function<bool(const IpPrefix&)>& is_taken) {
    const std::uint64_t count = layout.count();
    if (taken >= count) return std::nullopt;
    const std::uint64_t start = hash(seed) % count;
    for (std::uint64_t i = 0; i < count; ++i)
        if (const IpPrefix block = layout.at((start + i) % count); !is_taken(block)) return block;
    return std::nullopt;
}

}  // namespace fastnet::cluster
