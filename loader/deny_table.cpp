#include "loader/deny_table.h"

#include <algorithm>
#include <atomic>

namespace fastnet {
namespace {

constexpr unsigned kBlockLength = 24;

/// Programs on other CPUs read these words while they are written.
void publish(__u64& word, std::uint64_t value) {
    std::atomic_ref<__u64>{word}.store(value, std::memory_order_release);
}

std::uint64_t half(const IpAddress& address, std::size_t first_byte) {
    std::uint64_t value = 0;
    for (std::size_t i = first_byte; i < first_byte + 8; ++i) value = value << 8U | address.bytes()[i];
    return value;
}

unsigned level_of(const IpPrefix& prefix) {
    if (prefix.family() == Family::kIpv4) return FNET_DENY_V4_LEVEL;
    return prefix.length() == 0 ? 0 : (prefix.length() - 1U) / 8U;
}

/// The values of the byte behind a node's key that belong to @p prefix: first, and how many.
struct Values {
    unsigned first, count;
};
Values values_of(const IpPrefix& prefix) {
    const unsigned level = level_of(prefix);
    const unsigned length = prefix.family() == Family::kIpv4 ? prefix.length() + 96U : prefix.length();
    const unsigned fixed = length - 8 * level;  // bits of that byte
    return {prefix.address().bytes()[level], 1U << (8 - fixed)};
}

void set_bits(fnet_deny_node& node, const Values& values, bool on) {
    for (unsigned word = 0; word < 4; ++word) {
        std::uint64_t mask = 0;
        for (unsigned value = std::max(values.first, word * 64); value < std::min(values.first + values.count, word * 64 + 64); ++value)
            mask |= std::uint64_t{1} << (value % 64);
        if (mask != 0) publish(node.bits[word], on ? node.bits[word] | mask : node.bits[word] & ~mask);
    }
}

/// Levels that have to tell the way to @p level, deepest first.
std::vector<unsigned> signposts(unsigned level) {
    std::vector<unsigned> passed;
    for (unsigned at = FNET_DENY_ROOT; at != level;) {
        if (level > at) passed.push_back(at);
        at = level > at ? fnet_deny_tree[at].longer : fnet_deny_tree[at].shorter;
    }
    std::reverse(passed.begin(), passed.end());
    return passed;
}

bool has_node(const IpPrefix& prefix) {
    return prefix.family() == Family::kIpv6 || prefix.length() > kBlockLength;
}

}  // namespace

std::vector<IpPrefix> outermost(std::vector<IpPrefix> prefixes) {
    // Sorted by address, then length: what covers a prefix comes before it, with nothing between that it does not cover.
    std::sort(prefixes.begin(), prefixes.end());
    std::vector<IpPrefix> kept;
    const IpPrefix* last_of[2] = {nullptr, nullptr};  // an IPv6 prefix may lie around all of IPv4's addresses
    kept.reserve(prefixes.size());
    for (const IpPrefix& prefix : prefixes) {
        const IpPrefix*& last = last_of[prefix.family() == Family::kIpv4 ? 0 : 1];
        if (last != nullptr && last->contains(prefix.address())) continue;
        kept.push_back(prefix);
        last = &kept.back();
    }
    return kept;
}

unsigned DenyTable::bits_for(std::span<const IpPrefix> prefixes) {
    std::size_t nodes = 0;
    for (const IpPrefix& prefix : prefixes) {
        if (!has_node(prefix)) continue;
        nodes += 1 + (prefix.family() == Family::kIpv6 ? signposts(level_of(prefix)).size() : 0);
    }
    unsigned bits = kFewestBits;
    while (bits < kMostBits && (std::size_t{1} << bits) < 2 * nodes) ++bits;
    return bits;
}

DenyTable::DenyTable(std::span<fnet_deny_blocks> rows, std::span<fnet_deny_node> nodes, unsigned bits,
                     const std::array<std::uint64_t, 2>& factors, std::uint64_t tables)
    : rows_{rows}, nodes_{nodes}, bits_{bits}, factors_{factors}, tables_{tables | std::uint64_t{bits} << FNET_DENY_SIZE_SHIFT} {}

DenyTable::Key DenyTable::key_of(const IpAddress& address, unsigned level) {
    Key key{half(address, 0), half(address, 8)};
    const std::uint64_t kept = ~(~std::uint64_t{0} >> (level % 8 * 8));
    if (level < 8) {
        key = {key.high & kept, 0};
    } else {
        key.low &= kept;
    }
    key.low |= level + 1;
    return key;
}

fnet_deny_node* DenyTable::find(const Key& key) const {
    const std::size_t home = home_of(key);
    for (fnet_deny_node& node : nodes_.subspan(home, FNET_DENY_PROBES)) {
        if (node.low == 0) return nullptr;
        if (node.low == key.low && node.high == key.high) return &node;
    }
    return nullptr;
}

fnet_deny_node* DenyTable::take(const Key& key) {
    if (fnet_deny_node* const known = find(key); known != nullptr) {
        ++known->users;
        return known;
    }
    const std::size_t home = home_of(key);
    for (fnet_deny_node& node : nodes_.subspan(home, FNET_DENY_PROBES)) {
        if (node.low != 0 && node.low != FNET_DENY_GONE) continue;
        for (__u64& word : node.bits) publish(word, 0);
        publish(node.high, key.high);
        publish(node.low, key.low);
        node.users = 1;
        return &node;
    }
    return nullptr;
}

void DenyTable::release(const Key& key) {
    fnet_deny_node* const node = find(key);
    if (node == nullptr || --node->users != 0) return;
    publish(node->low, FNET_DENY_GONE);  // not "never used": the search for others passes here
    // Unless nobody's does. Without this the table fills with places that are gone.
    const std::size_t place = static_cast<std::size_t>(node - nodes_.data());
    for (std::size_t behind = 0; behind < FNET_DENY_PROBES && behind <= place; ++behind) {
        fnet_deny_node& one = nodes_[place - behind];
        if (one.low == 0) break;
        if (one.low == FNET_DENY_GONE && !is_passed(place - behind)) publish(one.low, 0);
    }
}

bool DenyTable::is_passed(std::size_t place) const {
    for (std::size_t at = place + 1; at < std::min(place + FNET_DENY_PROBES, nodes_.size()) && nodes_[at].low != 0; ++at)
        if (nodes_[at].low != FNET_DENY_GONE && home_of({nodes_[at].high, nodes_[at].low}) <= place) return true;
    return false;
}

void DenyTable::set_rows(const IpPrefix& prefix, fnet_deny_state state) {
    const std::uint32_t first = prefix.address().v4_host_order() >> 8U;
    const std::uint32_t count = prefix.length() >= kBlockLength ? 1U : 1U << (kBlockLength - prefix.length());
    for (std::uint32_t block = first; block < first + count;) {
        __u64& word = rows_[block >> 8U].states[(block & 0xffU) >> 5U];
        std::uint64_t value = word;
        do {
            const unsigned shift = (block & 31U) * 2;
            value = (value & ~(std::uint64_t{3} << shift)) | std::uint64_t{state} << shift;
            ++block;
        } while ((block & 31U) != 0 && block < first + count);
        publish(word, value);
    }
}

bool DenyTable::add(const IpPrefix& prefix) {
    const unsigned level = level_of(prefix);
    const bool v4 = prefix.family() == Family::kIpv4;
    if (!has_node(prefix)) {
        set_rows(prefix, FNET_DENY_ALL);
        tables_ |= FNET_DENY_V4;
        return true;
    }
    const Key own = key_of(prefix.address(), level);
    fnet_deny_node* const node = take(own);
    if (node == nullptr) return false;
    // Signposts after what they lead to, the last one first.
    const std::vector<unsigned> levels = v4 ? std::vector<unsigned>{} : signposts(level);
    for (std::size_t done = 0; done < levels.size(); ++done) {
        if (take(key_of(prefix.address(), levels[done])) != nullptr) continue;
        while (done-- > 0) release(key_of(prefix.address(), levels[done]));
        release(own);
        return false;
    }
    set_bits(*node, values_of(prefix), true);
    if (v4) {
        set_rows(prefix, FNET_DENY_SOME);
        tables_ |= FNET_DENY_V4;
    } else {
        tables_ |= std::uint64_t{1} << (FNET_DENY_LEVELS_SHIFT + level);
    }
    return true;
}

void DenyTable::remove(const IpPrefix& prefix) {
    if (!has_node(prefix)) {
        set_rows(prefix, FNET_DENY_NONE);
        return;
    }
    const unsigned level = level_of(prefix);
    const Key own = key_of(prefix.address(), level);
    if (fnet_deny_node* const node = find(own); node != nullptr) {
        set_bits(*node, values_of(prefix), false);
        if (prefix.family() == Family::kIpv4 && node->users == 1) set_rows(prefix, FNET_DENY_NONE);
    }
    if (prefix.family() == Family::kIpv6)
        for (const unsigned passed : signposts(level)) release(key_of(prefix.address(), passed));
    release(own);
}

}  // namespace fastnet
