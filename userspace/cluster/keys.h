// Where things are in etcd: paths below `<prefix>/v2/`. Pure. A path is read back only if it is spelled exactly as it would be
// written, so that no two paths mean the same thing.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "loader/base/net_types.h"
#include "loader/base/result.h"

namespace fastnet::cluster {

struct NodeKey {
    std::string name;
    friend auto operator<=>(const NodeKey&, const NodeKey&) = default;
};
struct VtepKey {
    IpAddress address;
    friend auto operator<=>(const VtepKey&, const VtepKey&) = default;
};
struct NetworkKey {
    std::string name;
    friend auto operator<=>(const NetworkKey&, const NetworkKey&) = default;
};
struct BlockKey {
    std::string network;  ///< uid
    IpPrefix prefix;
    friend auto operator<=>(const BlockKey&, const BlockKey&) = default;
};
struct EndpointKey {
    std::string node;      ///< name
    std::uint32_t id = 0;  ///< as that node's store numbers it, > 0
    friend auto operator<=>(const EndpointKey&, const EndpointKey&) = default;
};
/// Written with every change of a network: who compares its revision knows that the networks are as he read them.
struct GenerationKey {
    friend auto operator<=>(const GenerationKey&, const GenerationKey&) = default;
};

using Key = std::variant<NodeKey, VtepKey, NetworkKey, BlockKey, EndpointKey, GenerationKey>;

/// The keys of one cluster. Two of them in one etcd differ by their prefix.
class KeySpace {
public:
    /// `/` and words of letters, digits and _ . - between slashes, at most 128 characters; else a usage error.
    static Result<KeySpace> make(std::string_view prefix);

    const std::string& root() const { return root_; }  ///< `<prefix>/v2/`
    std::string path(const Key& key) const;
    /// Usage error for whatever path() would not write.
    Result<Key> parse(std::string_view path) const;

private:
    explicit KeySpace(std::string root) : root_{std::move(root)} {}
    std::string root_;
};

/// 32 lower-case hex digits: of a node, of a network.
std::string random_uid();
bool is_uid(std::string_view text);

/// `endpoints/<node>/<id>`: the name of an entry among the node's remote endpoints.
std::string ref_of(const EndpointKey& key);

}  // namespace fastnet::cluster
