// What etcd holds of this cluster, as this node knows it: every readable key with its revisions, and the indexes that tell what else
// a change of one of them concerns. Pure; fed by a range first and by a watch from then on. Invariants: a key whose value is not
// readable says nothing, is reported, and is there (mod_revision()): whoever would write it must not; what is known never goes back to
// an older revision.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "userspace/cluster/keys.h"
#include "userspace/cluster/records.h"
#include "userspace/etcd/watch.h"

namespace fastnet::cluster {

template <typename Record>
struct Entry {
    Record record;
    std::int64_t create_revision = 0;
    std::int64_t mod_revision = 0;
    std::int64_t lease = 0;
};

/// A key that cannot be read.
struct Unreadable {
    std::string key;
    std::int64_t revision = 0;
    std::string why;
};

/// What is to be looked at again after changes. Never everything because of one key.
struct Touched {
    std::set<std::string> nodes{};      ///< names
    std::set<EndpointKey> endpoints{};  ///< those of changed nodes, VTEPs and blocks too
    bool networks = false;              ///< some network, or the generation
    bool blocks = false;
    bool generation_lost = false;  ///< deleted, though it may be there again: by a wipe only
    std::vector<Unreadable> unreadable{};
    std::vector<std::string> readable{};  ///< paths that are gone or can be read now

    bool anything() const { return !nodes.empty() || !endpoints.empty() || networks || blocks; }
};

class Mirror {
public:
    explicit Mirror(KeySpace keys) : keys_{std::move(keys)} {}

    /// All there is, as of @p revision. What was known and is not there is gone.
    Touched reset(const std::vector<KeyValue>& all, std::int64_t revision);
    /// Changes up to @p revision, in their order.
    Touched apply(const std::vector<WatchEvent>& events, std::int64_t revision);
    /// This node wrote @p txn at @p revision: known at once, so that the next step need not wait for the watch. What happened before it
    /// still comes.
    Touched wrote(const Txn& txn, std::int64_t revision);

    const KeySpace& keys() const { return keys_; }
    std::int64_t revision() const { return revision_; }
    std::size_t size() const { return known_.size(); }
    /// 0 if there is no such key; also of those that are unreadable.
    std::int64_t mod_revision(const Key& key) const;
    /// There is such a key, and it cannot be read: a newer node's, or damaged.
    bool is_unreadable(const Key& key) const;

    const std::map<std::string, Entry<NodeRecord>>& nodes() const { return nodes_; }
    const std::map<IpAddress, Entry<VtepRecord>>& vteps() const { return vteps_; }
    const std::map<std::string, Entry<NetworkRecord>>& networks() const { return networks_; }
    const std::map<BlockKey, Entry<BlockRecord>>& blocks() const { return blocks_; }
    const std::map<EndpointKey, Entry<EndpointRecord>>& endpoints() const { return endpoints_; }

    const Entry<NodeRecord>* node(const std::string& name) const;
    const Entry<VtepRecord>* vtep(const IpAddress& address) const;
    const Entry<NetworkRecord>* network(const std::string& name) const;
    /// Of several with one uid the first by name.
    const Entry<NetworkRecord>* network_of(const std::string& uid) const;
    const Entry<BlockRecord>* block(const BlockKey& key) const;
    const Entry<EndpointRecord>* endpoint(const EndpointKey& key) const;
    std::vector<EndpointKey> endpoints_of_node(const std::string& name) const;
    std::vector<EndpointKey> endpoints_of_network(const std::string& uid) const;
    /// Blocks of one network, family and length, whoever has them.
    std::uint64_t count_blocks(const std::string& network, Family family, std::uint8_t length) const;
    /// Those of one node, by its uid.
    const std::set<BlockKey>& blocks_of_node(const std::string& uid) const;

    /// More than a node can hold: "what: why". What is known is right, but the watch cannot be followed any further.
    std::optional<std::string> overflow() const;
    static constexpr std::size_t kMostKeys = 300'000;                          ///< some 3 KiB of memory each, as measured by bench/scale
    static constexpr std::size_t kMostBytes = std::size_t{128} * 1024 * 1024;  ///< of paths and values

private:
    std::int64_t create_revision(const std::string& path) const;
    bool is_readable(const Key& key) const;
    void followed_to(std::int64_t revision);
    void put(const KeyValue& kv, Touched& touched);
    void erase(const std::string& path, Touched& touched);
    void forget(const Key& key, Touched& touched);
    void touch_node(const std::string& name, Touched& touched) const;
    void touch_block(const BlockKey& key, Touched& touched) const;
    void index(const EndpointKey& key, const EndpointRecord& record);
    void unindex(const EndpointKey& key, const EndpointRecord& record);
    void index(const BlockKey& key, const BlockRecord& record);
    void unindex(const BlockKey& key, const BlockRecord& record);

    KeySpace keys_;
    std::int64_t revision_ = 0;
    struct Known {
        std::int64_t mod_revision = 0;
        std::size_t bytes = 0;
    };
    std::map<std::string, Known> known_;  ///< by path: every key, unreadable ones too
    std::size_t bytes_ = 0;
    /// By path: what this node deleted at a revision that the watch has not come to. What it still brings is older.
    std::map<std::string, std::int64_t> deleted_;
    std::map<std::string, Entry<NodeRecord>> nodes_;
    std::map<IpAddress, Entry<VtepRecord>> vteps_;
    std::map<std::string, Entry<NetworkRecord>> networks_;
    std::map<BlockKey, Entry<BlockRecord>> blocks_;
    std::map<EndpointKey, Entry<EndpointRecord>> endpoints_;
    std::map<std::pair<std::string, IpAddress>, std::set<EndpointKey>> by_address_;  ///< of a network
    std::map<std::string, std::set<std::string>> names_of_network_;                  ///< by uid
    std::map<std::string, std::set<BlockKey>> blocks_of_node_;                       ///< by uid
    std::map<std::tuple<std::string, Family, std::uint8_t>, std::uint64_t> block_counts_;
};

}  // namespace fastnet::cluster
