#include "userspace/cluster/mirror.h"

#include <algorithm>
#include <utility>

namespace fastnet::cluster {
namespace {

constexpr std::size_t kMostUnreadable = 1'000;  // reported of one change; the rest of a flood says nothing new

template <typename Map, typename Key>
auto* find_in(Map& map, const Key& key) {
    const auto found = map.find(key);
    return found == map.end() ? nullptr : &found->second;
}

/// Takes @p what out of the set at @p key, and the set when it is empty.
template <typename Map, typename Key, typename What>
void remove_from(Map& map, const Key& key, const What& what) {
    const auto found = map.find(key);
    if (found == map.end()) return;
    found->second.erase(what);
    if (found->second.empty()) map.erase(found);
}

/// The name inside must be the key's: whoever reads one without the other reads the same.
template <typename Record>
Result<Record> named(Result<Record> record, const std::string& name) {
    if (record && record->name != name) return usage_error("'name' is not that of the key");
    return record;
}

}  // namespace

Touched Mirror::reset(const std::vector<KeyValue>& all, std::int64_t revision) {
    Touched touched;
    std::set<std::string> there;
    for (const KeyValue& kv : all) there.insert(kv.key);
    std::vector<std::string> gone;
    for (const auto& [path, known] : known_)
        if (!there.contains(path)) gone.push_back(path);
    for (const std::string& path : gone) erase(path, touched);
    for (const KeyValue& kv : all)
        if (const Known* const known = find_in(known_, kv.key); known == nullptr || known->mod_revision != kv.mod_revision)
            put(kv, touched);
    deleted_.clear();
    revision_ = revision;
    return touched;
}

Touched Mirror::apply(const std::vector<WatchEvent>& events, std::int64_t revision) {
    Touched touched;
    for (const WatchEvent& event : events) {
        // After a reconnect the last events come again; those of the last revision may be pieces of one transaction.
        if (event.kv.mod_revision < revision_) continue;
        const Known* const known = find_in(known_, event.kv.key);
        if (known != nullptr && event.kv.mod_revision <= known->mod_revision) continue;
        const std::int64_t* const deleted = find_in(deleted_, event.kv.key);
        if (deleted != nullptr && event.kv.mod_revision <= *deleted) continue;
        if (event.deleted)
            erase(event.kv.key, touched);
        else
            put(event.kv, touched);
    }
    followed_to(std::max(revision_, revision));
    return touched;
}

Touched Mirror::wrote(const Txn& txn, std::int64_t revision) {
    Touched touched;
    for (const TxnOp& op : txn.then) {
        const Known* const known = find_in(known_, op.key);
        if (known != nullptr && known->mod_revision >= revision) continue;  // the watch was faster
        if (op.kind == TxnOp::Kind::kDelete) {
            erase(op.key, touched);
            if (revision > revision_) deleted_.insert_or_assign(op.key, revision);
        } else if (op.kind == TxnOp::Kind::kPut) {
            deleted_.erase(op.key);
            const std::int64_t created = create_revision(op.key);
            put({op.key, op.value, created == 0 ? revision : created, revision, 0, op.lease, false}, touched);
        }
    }
    return touched;
}

std::int64_t Mirror::mod_revision(const Key& key) const {
    const Known* const found = find_in(known_, keys_.path(key));
    return found == nullptr ? 0 : found->mod_revision;
}

bool Mirror::is_unreadable(const Key& key) const {
    return mod_revision(key) != 0 && !is_readable(key);
}

bool Mirror::is_readable(const Key& key) const {
    if (const auto* const one = std::get_if<NodeKey>(&key)) return node(one->name) != nullptr;
    if (const auto* const one = std::get_if<VtepKey>(&key)) return vtep(one->address) != nullptr;
    if (const auto* const one = std::get_if<NetworkKey>(&key)) return network(one->name) != nullptr;
    if (const auto* const one = std::get_if<BlockKey>(&key)) return block(*one) != nullptr;
    if (const auto* const one = std::get_if<EndpointKey>(&key)) return endpoint(*one) != nullptr;
    return true;  // the generation's value says nothing
}

void Mirror::followed_to(std::int64_t revision) {
    revision_ = revision;
    std::erase_if(deleted_, [&](const auto& one) { return one.second <= revision_; });
}

const Entry<NodeRecord>* Mirror::node(const std::string& name) const {
    return find_in(nodes_, name);
}

const Entry<VtepRecord>* Mirror::vtep(const IpAddress& address) const {
    return find_in(vteps_, address);
}

const Entry<NetworkRecord>* Mirror::network(const std::string& name) const {
    return find_in(networks_, name);
}

const Entry<NetworkRecord>* Mirror::network_of(const std::string& uid) const {
    const auto* const names = find_in(names_of_network_, uid);
    return names == nullptr ? nullptr : network(*names->begin());
}

const Entry<BlockRecord>* Mirror::block(const BlockKey& key) const {
    return find_in(blocks_, key);
}

const Entry<EndpointRecord>* Mirror::endpoint(const EndpointKey& key) const {
    return find_in(endpoints_, key);
}

/// 0: unknown, or not readable.
std::int64_t Mirror::create_revision(const std::string& path) const {
    const auto key = keys_.parse(path);
    if (!key) return 0;
    const auto of = [](const auto* entry) { return entry == nullptr ? std::int64_t{0} : entry->create_revision; };
    if (const auto* const one = std::get_if<NodeKey>(&*key)) return of(node(one->name));
    if (const auto* const one = std::get_if<VtepKey>(&*key)) return of(vtep(one->address));
    if (const auto* const one = std::get_if<NetworkKey>(&*key)) return of(network(one->name));
    if (const auto* const one = std::get_if<BlockKey>(&*key)) return of(block(*one));
    if (const auto* const one = std::get_if<EndpointKey>(&*key)) return of(endpoint(*one));
    return 0;
}

std::vector<EndpointKey> Mirror::endpoints_of_node(const std::string& name) const {
    std::vector<EndpointKey> found;
    for (auto it = endpoints_.lower_bound({name, 0}); it != endpoints_.end() && it->first.node == name; ++it) found.push_back(it->first);
    return found;
}

std::vector<EndpointKey> Mirror::endpoints_of_network(const std::string& uid) const {
    std::set<EndpointKey> found;
    for (auto it = by_address_.lower_bound({uid, IpAddress{}}); it != by_address_.end() && it->first.first == uid; ++it)
        found.insert(it->second.begin(), it->second.end());
    return {found.begin(), found.end()};
}

std::uint64_t Mirror::count_blocks(const std::string& network, Family family, std::uint8_t length) const {
    const std::uint64_t* const count = find_in(block_counts_, std::tuple{network, family, length});
    return count == nullptr ? 0 : *count;
}

const std::set<BlockKey>& Mirror::blocks_of_node(const std::string& uid) const {
    static const std::set<BlockKey> kNone;
    const auto* const found = find_in(blocks_of_node_, uid);
    return found == nullptr ? kNone : *found;
}

std::optional<std::string> Mirror::overflow() const {
    if (known_.size() <= kMostKeys && bytes_ <= kMostBytes) return std::nullopt;
    return "etcd has too much below " + keys_.root() + ": " + std::to_string(known_.size()) + " keys of " + std::to_string(bytes_) +
           " bytes, and a node follows " + std::to_string(kMostKeys) + " and " + std::to_string(kMostBytes) + " at most";
}

void Mirror::put(const KeyValue& kv, Touched& touched) {
    Known& known = known_[kv.key];
    bytes_ -= known.bytes;
    known = {kv.mod_revision, kv.key.size() + kv.value.size()};
    bytes_ += known.bytes;
    const auto report = [&](std::string why) {
        if (touched.unreadable.size() < kMostUnreadable) touched.unreadable.push_back({kv.key, kv.mod_revision, std::move(why)});
    };
    const auto key = keys_.parse(kv.key);
    if (!key) {
        report(key.error().message);
        return;
    }
    forget(*key, touched);
    std::string wrong;
    const auto keep = [&](auto& map, const auto& id, auto record) {
        if (record)
            map.insert_or_assign(
                id, Entry<typename decltype(record)::value_type>{*std::move(record), kv.create_revision, kv.mod_revision, kv.lease});
        else
            wrong = record.error().message;
    };
    if (kv.oversized) {
        wrong = "value is longer than any that is read";
    } else if (const auto* const node = std::get_if<NodeKey>(&*key)) {
        keep(nodes_, node->name, named(decode_node(kv.value), node->name));
        touch_node(node->name, touched);
    } else if (const auto* const vtep = std::get_if<VtepKey>(&*key)) {
        keep(vteps_, vtep->address, decode_vtep(kv.value));
        if (const auto* const entry = this->vtep(vtep->address)) touch_node(entry->record.name, touched);
    } else if (const auto* const network = std::get_if<NetworkKey>(&*key)) {
        keep(networks_, network->name, named(decode_network(kv.value), network->name));
        if (const auto* const entry = this->network(network->name)) names_of_network_[entry->record.uid].insert(network->name);
        touched.networks = true;
    } else if (const auto* const block = std::get_if<BlockKey>(&*key)) {
        keep(blocks_, *block, decode_block(kv.value));
        if (const auto* const entry = this->block(*block)) index(*block, entry->record);
        touch_block(*block, touched);
    } else if (const auto* const endpoint = std::get_if<EndpointKey>(&*key)) {
        keep(endpoints_, *endpoint, decode_endpoint(kv.value));
        if (const auto* const entry = this->endpoint(*endpoint)) index(*endpoint, entry->record);
        touched.endpoints.insert(*endpoint);
    } else {
        touched.networks = true;
    }
    if (wrong.empty())
        touched.readable.push_back(kv.key);
    else
        report(std::move(wrong));
}

void Mirror::erase(const std::string& path, Touched& touched) {
    const auto known = known_.find(path);
    if (known == known_.end()) return;
    bytes_ -= known->second.bytes;
    known_.erase(known);
    touched.readable.push_back(path);
    const auto key = keys_.parse(path);
    if (!key) return;
    if (std::holds_alternative<GenerationKey>(*key)) touched.generation_lost = true;
    forget(*key, touched);
}

/// Takes what is known of @p key out; who depended on it is touched.
void Mirror::forget(const Key& key, Touched& touched) {
    if (const auto* const node = std::get_if<NodeKey>(&key)) {
        if (nodes_.erase(node->name) != 0) touch_node(node->name, touched);
    } else if (const auto* const vtep = std::get_if<VtepKey>(&key)) {
        const auto found = vteps_.find(vtep->address);
        if (found == vteps_.end()) return;
        touch_node(found->second.record.name, touched);
        vteps_.erase(found);
    } else if (const auto* const network = std::get_if<NetworkKey>(&key)) {
        const auto found = networks_.find(network->name);
        if (found == networks_.end()) return;
        remove_from(names_of_network_, found->second.record.uid, network->name);
        touched.networks = true;
        networks_.erase(found);
    } else if (const auto* const block = std::get_if<BlockKey>(&key)) {
        const auto found = blocks_.find(*block);
        if (found == blocks_.end()) return;
        unindex(*block, found->second.record);
        touch_block(*block, touched);
        blocks_.erase(found);
    } else if (const auto* const endpoint = std::get_if<EndpointKey>(&key)) {
        const auto found = endpoints_.find(*endpoint);
        if (found == endpoints_.end()) return;
        unindex(*endpoint, found->second.record);
        touched.endpoints.insert(*endpoint);
        endpoints_.erase(found);
    } else {
        touched.networks = true;
    }
}

void Mirror::touch_node(const std::string& name, Touched& touched) const {
    touched.nodes.insert(name);
    for (EndpointKey& key : endpoints_of_node(name)) touched.endpoints.insert(std::move(key));
}

void Mirror::touch_block(const BlockKey& key, Touched& touched) const {
    touched.blocks = true;
    const auto end = by_address_.upper_bound({key.network, key.prefix.last()});
    for (auto it = by_address_.lower_bound({key.network, key.prefix.address()}); it != end; ++it)
        touched.endpoints.insert(it->second.begin(), it->second.end());
}

void Mirror::index(const EndpointKey& key, const EndpointRecord& record) {
    for (const auto& address : {record.ipv4, record.ipv6})
        if (address) by_address_[{record.network, *address}].insert(key);
}

void Mirror::unindex(const EndpointKey& key, const EndpointRecord& record) {
    for (const auto& address : {record.ipv4, record.ipv6})
        if (address) remove_from(by_address_, std::pair{record.network, *address}, key);
}

void Mirror::index(const BlockKey& key, const BlockRecord& record) {
    blocks_of_node_[record.uid].insert(key);
    ++block_counts_[{key.network, key.prefix.family(), key.prefix.length()}];
}

void Mirror::unindex(const BlockKey& key, const BlockRecord& record) {
    remove_from(blocks_of_node_, record.uid, key);
    const auto count = block_counts_.find({key.network, key.prefix.family(), key.prefix.length()});
    if (count != block_counts_.end() && --count->second == 0) block_counts_.erase(count);
}

}  // namespace fastnet::cluster
