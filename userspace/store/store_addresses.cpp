// Addresses of networks, and the blocks of them that this node alone hands out.
#include <algorithm>

#include "userspace/model/address_pool.h"
#include "userspace/store/rows.h"
#include "userspace/store/store.h"

namespace fastnet {
namespace {

struct Subnet {
    IpPrefix prefix;
    std::optional<IpPrefix> ip_range;
    std::optional<IpAddress> cursor;
};

Result<std::optional<Subnet>> find_subnet(Database& db, std::uint32_t network_id, Family family) {
    Statement select =
        TRY(db.prepare("SELECT address, length, range_address, range_length, cursor FROM subnets WHERE network_id = ? AND family = ?"));
    select.bind(network_id).bind(number(family));
    if (!TRY(select.step())) return std::optional<Subnet>{};
    return std::optional<Subnet>{{*optional_prefix_from(select, 0), optional_prefix_from(select, 2), optional_address_from(select, 4)}};
}

Purpose purpose_for(std::uint32_t endpoint_id) {
    return endpoint_id == 0 ? Purpose::kReserved : Purpose::kEndpoint;
}

/// Conflict error if somebody has @p address.
Status check_address_is_free(Database& db, std::uint32_t network_id, const std::string& network, const IpAddress& address,
                             const std::string& hint) {
    Statement select =
        TRY(db.prepare("SELECT a.purpose, e.name, t.address FROM addresses a LEFT JOIN endpoints e ON e.id = a.endpoint_id"
                       " LEFT JOIN remote_endpoints r ON r.id = a.remote_id LEFT JOIN tunnels t ON t.id = r.tunnel_id"
                       " WHERE a.network_id = ? AND a.address = ?"));
    select.bind(network_id).bind(blob_of(address));
    if (!TRY(select.step())) return ok();
    const std::string subject = "address " + address.to_string() + " of network " + in_quotes(network);
    switch (enum_from<Purpose>(select, 0)) {
        case Purpose::kEndpoint: return conflict(subject + " is taken by endpoint " + in_quotes(select.text(1)), hint);
        case Purpose::kGateway: return conflict(subject + " is its gateway", hint);
        case Purpose::kRemote:
            return conflict(subject + " is taken by a remote endpoint behind peer " + address_from(select, 2).to_string(), hint);
        case Purpose::kReserved: break;
    }
    return conflict(subject + " is reserved", hint);
}

/// Streams the used addresses of a network in ascending order: a run of n of them costs one search and n steps.
class UsedAddresses {
public:
    UsedAddresses(Statement select, std::uint32_t network_id) : select_{std::move(select)}, network_id_{network_id} {}

    Result<std::optional<IpAddress>> next(const IpAddress& from, const IpAddress& last) {
        if (!started_ || from < position_ || last != last_) {
            select_.reset();
            select_.bind(network_id_).bind(blob_of(from)).bind(blob_of(last));
            CHECK_OK(advance());
            started_ = true;
            last_ = last;
        }
        position_ = from;
        while (current_ && *current_ < from) CHECK_OK(advance());
        return current_;
    }

private:
    Status advance() {
        current_ = TRY(select_.step()) ? std::optional{address_from(select_, 0)} : std::nullopt;
        return ok();
    }

    Statement select_;
    std::uint32_t network_id_;
    bool started_ = false;
    IpAddress position_;
    IpAddress last_;
    std::optional<IpAddress> current_;
};

struct NetworkKind {
    std::string name;
    bool shared = false;
};

Result<NetworkKind> kind_of(Database& db, std::uint32_t id) {
    Statement select = TRY(db.prepare("SELECT name, uid IS NOT NULL FROM networks WHERE id = ?"));
    select.bind(id);
    if (!TRY(select.step())) return no_such_network(id);
    return NetworkKind{select.text(0), select.boolean(1)};
}

Result<std::vector<IpPrefix>> blocks_of(Database& db, std::uint32_t network_id, Family family) {
    Statement select = TRY(db.prepare("SELECT address, length FROM blocks WHERE network_id = ? AND family = ? ORDER BY address"));
    select.bind(network_id).bind(number(family));
    return collect<IpPrefix>(select, [](const Statement& row) { return *optional_prefix_from(row, 0); });
}

/// What this node hands out: of its own network all of the range, of a shared one its blocks.
Result<std::vector<AddressRange>> ranges_of(Database& db, std::uint32_t network_id, const Subnet& subnet, bool shared) {
    std::vector<AddressRange> ranges;
    if (!shared) {
        ranges.push_back(TRY(usable_addresses(subnet.prefix, subnet.ip_range)));
        return ranges;
    }
    for (const IpPrefix& block : TRY(blocks_of(db, network_id, subnet.prefix.family())))
        if (const auto range = usable_addresses(subnet.prefix, block); range) ranges.push_back(*range);
    return ranges;
}

std::string words_for(const std::vector<IpPrefix>& blocks) {
    constexpr std::size_t kMostShown = 4;
    if (blocks.empty()) return "it has none yet";
    std::string text;
    for (std::size_t i = 0; i < std::min(blocks.size(), kMostShown); ++i) text += (i == 0 ? "" : ", ") + blocks[i].to_string();
    return text + (blocks.size() > kMostShown ? " and " + std::to_string(blocks.size() - kMostShown) + " more" : "");
}

Result<std::uint64_t> count_used(Database& db, std::uint32_t network_id, const AddressRange& range) {
    Statement select = TRY(db.prepare("SELECT count(*) FROM addresses WHERE network_id = ? AND address BETWEEN ? AND ?"));
    select.bind(network_id).bind(blob_of(range.first)).bind(blob_of(range.last));
    if (!TRY(select.step())) return std::uint64_t{0};
    return static_cast<std::uint64_t>(select.int64(0));
}

/// Nobody but this node may hand out what is in a block, and it nothing else.
Status check_is_in_block(Database& db, std::uint32_t network_id, const std::string& network, const IpAddress& address) {
    const std::vector<IpPrefix> blocks = TRY(blocks_of(db, network_id, address.family()));
    if (std::any_of(blocks.begin(), blocks.end(), [&](const IpPrefix& block) { return block.contains(address); })) return ok();
    return conflict("address " + address.to_string() + " of network " + in_quotes(network) +
                        ": the cluster shares the network, and the address is outside of this node's blocks (" + words_for(blocks) + ")",
                    "leave out --ip to get a free one");
}

}  // namespace

// --- for all of the store -----------------------------------------------------------------------------------------

Status insert_address(Database& db, std::uint32_t network_id, const IpPrefix& address, Purpose purpose, std::uint32_t owner_id) {
    Statement insert =
        TRY(db.prepare("INSERT INTO addresses (network_id, address, family, length, purpose, endpoint_id, remote_id)"
                       " VALUES (?, ?, ?, ?, ?, ?, ?)"));
    insert.bind(network_id)
        .bind(blob_of(address.address()))
        .bind(number(address.family()))
        .bind(std::int64_t{address.length()})
        .bind(number(purpose));
    bind_unless_zero(insert, purpose == Purpose::kEndpoint ? owner_id : 0);
    return bind_unless_zero(insert, purpose == Purpose::kRemote ? owner_id : 0).run();
}

Result<std::string> network_name(Database& db, std::uint32_t id) {
    Statement select = TRY(db.prepare("SELECT name FROM networks WHERE id = ?"));
    select.bind(id);
    if (!TRY(select.step())) return no_such_network(id);
    return select.text(0);
}

Result<IpPrefix> check_address_fits(Database& db, std::uint32_t network_id, const std::string& network, const IpAddress& address,
                                    const std::string& hint) {
    const auto subnet = TRY(find_subnet(db, network_id, address.family()));
    if (!subnet)
        return usage_error("address " + address.to_string() + ": network " + in_quotes(network) + " has no " +
                           family_name(address.family()) + " subnet");
    if (!subnet->prefix.contains(address))
        return usage_error("address " + address.to_string() + " is outside the subnet " + subnet->prefix.to_string() + " of network " +
                           in_quotes(network));
    const AddressRange range = TRY(usable_addresses(subnet->prefix, std::nullopt));
    if (!range.contains(address))
        return usage_error("address " + address.to_string() + " is the network or broadcast address of " + subnet->prefix.to_string() +
                           " of network " + in_quotes(network));
    CHECK_OK(check_address_is_free(db, network_id, network, address, hint));
    return IpPrefix{address, subnet->prefix.length()};
}

// --- addresses ----------------------------------------------------------------------------------------------------

Result<IpPrefix> Store::allocate_address(std::uint32_t network_id, Family family, std::uint32_t endpoint_id) {
    Transaction transaction = TRY(begin());
    const NetworkKind network = TRY(kind_of(db_, network_id));
    const auto subnet = TRY(find_subnet(db_, network_id, family));
    if (!subnet) return usage_error("network " + in_quotes(network.name) + " has no " + family_name(family) + " subnet");
    const std::vector<AddressRange> ranges = TRY(ranges_of(db_, network_id, *subnet, network.shared));
    UsedAddresses used{TRY(db_.prepare("SELECT address FROM addresses WHERE network_id = ? AND address BETWEEN ? AND ? ORDER BY address")),
                       network_id};
    auto picked = pick_address(ranges, subnet->cursor, [&](const IpAddress& from, const IpAddress& last) { return used.next(from, last); });
    if (!picked && picked.error().kind == ErrorKind::kConflict && network.shared)
        return conflict("network " + in_quotes(network.name) + ": this node has no free " + family_name(family) +
                            " address of it; its blocks: " + words_for(TRY(blocks_of(db_, network_id, family))),
                        "the agent gets another block from etcd: see `fastnet doctor`");
    if (!picked) return std::move(picked).error().in("network " + in_quotes(network.name) + " (" + subnet->prefix.to_string() + ")");
    const IpPrefix address{*picked, subnet->prefix.length()};
    CHECK_OK(insert_address(db_, network_id, address, purpose_for(endpoint_id), endpoint_id));
    Statement update = TRY(db_.prepare("UPDATE subnets SET cursor = ? WHERE network_id = ? AND family = ?"));
    CHECK_OK(update.bind(blob_of(*picked)).bind(network_id).bind(number(family)).run());
    CHECK_OK(transaction.commit());
    return address;
}

Result<IpPrefix> Store::reserve_address(std::uint32_t network_id, const IpAddress& address, std::uint32_t endpoint_id) {
    Transaction transaction = TRY(begin());
    const NetworkKind network = TRY(kind_of(db_, network_id));
    const IpPrefix reserved = TRY(check_address_fits(db_, network_id, network.name, address, "leave out --ip to get a free one"));
    if (network.shared) CHECK_OK(check_is_in_block(db_, network_id, network.name, address));
    CHECK_OK(insert_address(db_, network_id, reserved, purpose_for(endpoint_id), endpoint_id));
    CHECK_OK(transaction.commit());
    return reserved;
}

Status Store::release_address(std::uint32_t network_id, const IpAddress& address) {
    Transaction transaction = TRY(begin());
    Statement remove = TRY(db_.prepare("DELETE FROM addresses WHERE network_id = ? AND address = ? AND purpose = ?"));
    remove.bind(network_id).bind(blob_of(address)).bind(number(Purpose::kReserved));
    CHECK_OK(run_on_one(db_, remove, not_found("address " + address.to_string() + " is not reserved")));
    return transaction.commit();
}

// --- blocks of shared networks ------------------------------------------------------------------------------------

Result<bool> Store::add_block(std::uint32_t network_id, const IpPrefix& prefix) {
    Transaction transaction = TRY(begin(Durability::kPowerLoss));
    const std::string subject = "block " + prefix.to_string() + " of network " + in_quotes(TRY(network_name(db_, network_id)));
    const auto subnet = TRY(find_subnet(db_, network_id, prefix.family()));
    if (!subnet) return usage_error(subject + ": the network has no " + family_name(prefix.family()) + " subnet");
    if (prefix != prefix.network()) return usage_error(subject + ": its host bits are not zero");
    const IpPrefix whole = subnet->ip_range.value_or(subnet->prefix);
    if (prefix.length() < whole.length() || !whole.contains(prefix.address()))
        return usage_error(subject + " is outside of " + whole.to_string());
    for (const IpPrefix& present : TRY(blocks_of(db_, network_id, prefix.family()))) {
        if (present == prefix) return false;
        if (present.overlaps(prefix)) return conflict(subject + " overlaps this node's block " + present.to_string());
    }
    Statement insert = TRY(db_.prepare("INSERT INTO blocks (network_id, address, family, length) VALUES (?, ?, ?, ?)"));
    insert.bind(network_id).bind(blob_of(prefix.address())).bind(number(prefix.family())).bind(std::int64_t{prefix.length()});
    CHECK_OK(insert.run());
    Statement served = TRY(db_.prepare("UPDATE subnets SET wants_block = 0 WHERE network_id = ? AND family = ?"));
    CHECK_OK(served.bind(network_id).bind(number(prefix.family())).run());
    CHECK_OK(transaction.commit());
    return true;
}

Result<bool> Store::remove_block(std::uint32_t network_id, const IpPrefix& prefix) {
    Transaction transaction = TRY(begin(Durability::kPowerLoss));
    Statement user =
        TRY(db_.prepare("SELECT e.name FROM addresses a JOIN endpoints e ON e.id = a.endpoint_id"
                        " WHERE a.network_id = ? AND a.address BETWEEN ? AND ? LIMIT 1"));
    user.bind(network_id).bind(blob_of(prefix.address())).bind(blob_of(prefix.last()));
    if (TRY(user.step()))
        return conflict("block " + prefix.to_string() + " of network " + in_quotes(TRY(network_name(db_, network_id))) + ": endpoint " +
                            in_quotes(user.text(0)) + " has an address of it",
                        "detach it first");
    const bool removed = TRY(forget_block(network_id, prefix));
    CHECK_OK(transaction.commit());
    return removed;
}

Result<bool> Store::forget_block(std::uint32_t network_id, const IpPrefix& prefix) {
    Transaction transaction = TRY(begin(Durability::kPowerLoss));
    Statement remove = TRY(db_.prepare("DELETE FROM blocks WHERE network_id = ? AND address = ? AND length = ?"));
    CHECK_OK(remove.bind(network_id).bind(blob_of(prefix.address())).bind(std::int64_t{prefix.length()}).run());
    const bool removed = db_.changes() != 0;
    CHECK_OK(transaction.commit());
    return removed;
}

Result<std::vector<OwnBlock>> Store::blocks(std::uint32_t network_id) {
    std::vector<OwnBlock> blocks;
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
        const auto subnet = TRY(find_subnet(db_, network_id, family));
        if (!subnet) continue;
        for (const IpPrefix& prefix : TRY(blocks_of(db_, network_id, family))) {
            OwnBlock block{prefix};
            if (const auto range = usable_addresses(subnet->prefix, prefix); range) {
                block.size = range->size();
                block.free = block.size - std::min(block.size, TRY(count_used(db_, network_id, *range)));
            }
            blocks.push_back(block);
        }
    }
    return blocks;
}

Result<std::size_t> Store::count_blocks(std::uint32_t network_id) {
    Statement select = TRY(db_.prepare("SELECT count(*) FROM blocks WHERE network_id = ?"));
    select.bind(network_id);
    return TRY(select.step()) ? static_cast<std::size_t>(select.int64(0)) : 0U;
}

Result<bool> Store::is_in_block(std::uint32_t network_id, const IpAddress& address) {
    // Blocks do not overlap: the last that begins before the address, or nobody's.
    Statement select =
        TRY(db_.prepare("SELECT address, length FROM blocks WHERE network_id = ? AND address <= ? ORDER BY address DESC LIMIT 1"));
    select.bind(network_id).bind(blob_of(address));
    return TRY(select.step()) && optional_prefix_from(select, 0)->contains(address);
}

Status Store::want_block(std::uint32_t network_id, Family family) {
    Transaction transaction = TRY(begin());
    Statement update = TRY(db_.prepare("UPDATE subnets SET wants_block = 1 WHERE network_id = ? AND family = ?"));
    CHECK_OK(update.bind(network_id).bind(number(family)).run());
    return transaction.commit();
}

Result<bool> Store::wants_block(std::uint32_t network_id, Family family) {
    Statement select = TRY(db_.prepare("SELECT wants_block FROM subnets WHERE network_id = ? AND family = ?"));
    select.bind(network_id).bind(number(family));
    return TRY(select.step()) && select.boolean(0);
}

}  // namespace fastnet
