#include "userspace/store/store.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <iterator>
#include <system_error>

#include "userspace/model/address_pool.h"
#include "userspace/model/names.h"
#include "userspace/model/port_plan.h"
#include "userspace/store/rows.h"
#include "userspace/store/schema.h"
#include "userspace/store/state_dir.h"

namespace fastnet {
namespace {

constexpr std::size_t kNamesInMessage = 3;

// --- words --------------------------------------------------------------------------------------------------------

Error no_such_endpoint(std::uint32_t id) {
    return not_found("endpoint with id " + std::to_string(id) + " does not exist");
}
Error no_such_port(std::uint32_t id) {
    return not_found("published port with id " + std::to_string(id) + " does not exist");
}

// --- rows ---------------------------------------------------------------------------------------------------------

constexpr std::string_view kSelectEndpoints =
    "SELECT e.id, e.name, e.mode, e.state, e.network_id, e.netns, e.netns_id, e.netns_cookie, e.ifname, e.host_ifname,"
    " e.host_ifindex, e.mac, e.gateway4, e.gateway6, e.gateway_priority, e.mtu, e.created,"
    " a4.address, a4.length, a6.address, a6.length"
    " FROM endpoints e"
    " LEFT JOIN addresses a4 ON a4.endpoint_id = e.id AND a4.family = 4"
    " LEFT JOIN addresses a6 ON a6.endpoint_id = e.id AND a6.family = 6 ";

Endpoint endpoint_from(const Statement& row) {
    Endpoint endpoint;
    endpoint.id = row.u32(0);
    endpoint.name = row.text(1);
    endpoint.mode = enum_from<EndpointMode>(row, 2);
    endpoint.state = enum_from<EndpointState>(row, 3);
    endpoint.network_id = row.u32(4);  // NULL reads as 0, here and below
    endpoint.netns = row.text(5);
    endpoint.netns_id = row.text(6);
    endpoint.netns_cookie = static_cast<std::uint64_t>(row.int64(7));
    endpoint.ifname = row.text(8);
    endpoint.host_ifname = row.text(9);
    endpoint.host_ifindex = row.u32(10);
    endpoint.mac = mac_from(row, 11);
    endpoint.gateway4 = optional_address_from(row, 12);
    endpoint.gateway6 = optional_address_from(row, 13);
    endpoint.gateway_priority = static_cast<std::int32_t>(row.int64(14));
    endpoint.mtu = row.u32(15);
    endpoint.created = row.int64(16);
    endpoint.ipv4 = optional_prefix_from(row, 17);
    endpoint.ipv6 = optional_prefix_from(row, 19);
    return endpoint;
}

Result<Statement> select_endpoints(Database& db, std::string_view where) {
    return db.prepare(std::string{kSelectEndpoints} + std::string{where});
}

Result<std::vector<Endpoint>> load_endpoints(Statement& statement) {
    return collect<Endpoint>(statement, endpoint_from);
}

Result<std::string> endpoint_name(Database& db, std::uint32_t id) {
    Statement select = TRY(db.prepare("SELECT name FROM endpoints WHERE id = ?"));
    select.bind(id);
    return TRY(select.step()) ? select.text(0) : "with id " + std::to_string(id);
}

constexpr std::string_view kPortColumns =
    "id, endpoint_id, protocol, host_ip, host_first, host_last, container_first, container_last, spec";

PublishedPort port_row(const Statement& row) {
    PublishedPort port;
    port.id = row.u32(0);
    port.endpoint_id = row.u32(1);
    port.protocol = enum_from<Protocol>(row, 2);
    port.host_ip = address_from(row, 3);
    port.host_ports = {port_from(row, 4), port_from(row, 5)};
    port.container_ports = {port_from(row, 6), port_from(row, 7)};
    port.spec = row.text(8);
    return port;
}

Result<std::vector<PublishedPort>> load_ports(Database& db, Statement& statement) {
    std::vector<PublishedPort> ports = TRY(collect<PublishedPort>(statement, port_row));
    Statement sources = TRY(db.prepare("SELECT address, length, allow FROM port_sources WHERE port_id = ? ORDER BY address, length"));
    for (PublishedPort& port : ports) {
        sources.bind(port.id);
        while (TRY(sources.step())) {
            const IpPrefix prefix{address_from(sources, 0), static_cast<std::uint8_t>(sources.int64(1))};
            (sources.boolean(2) ? port.sources.allow : port.sources.deny).push_back(prefix);
        }
        sources.reset();
    }
    return ports;
}

/// The subnets of existing networks, for check_subnet_is_free().
Result<std::vector<TakenPrefix>> taken_prefixes(Database& db) {
    Statement select =
        TRY(db.prepare("SELECT s.address, s.length, n.name FROM subnets s JOIN networks n ON n.id = s.network_id ORDER BY n.id, s.family"));
    return collect<TakenPrefix>(select, [](const Statement& row) {
        return TakenPrefix{{address_from(row, 0), static_cast<std::uint8_t>(row.int64(1))}, "network " + in_quotes(row.text(2))};
    });
}

/// Conflict error if @p sql (one parameter, selects a name) finds a row.
template <typename Value>
Status refuse_if_found(Database& db, std::string_view sql, const Value& value, const std::string& message, const std::string& hint) {
    Statement select = TRY(db.prepare(sql));
    select.bind(value);
    if (TRY(select.step())) return conflict(message + select.text(0), hint);
    return ok();
}

Status insert_network(Database& db, Network& network) {
    Statement insert =
        TRY(db.prepare("INSERT INTO networks (name, driver, mtu, internal, icc, vni, parent, bridge, created, uid) VALUES (?, ?, ?, ?, ?, "
                       "?, ?, ?, ?, ?)"));
    insert.bind(network.name).bind(number(network.driver)).bind(network.mtu).bind(network.internal).bind(network.icc);
    bind_unless_zero(insert, network.vni).bind(network.parent);
    bind_unless_empty(insert, network.bridge).bind(network.created);
    CHECK_OK(bind_unless_empty(insert, network.uid).run());
    network.id = static_cast<std::uint32_t>(db.last_insert_id());
    if (!has_bridge(network.driver) || !network.bridge.empty()) return ok();
    network.bridge = bridge_ifname_for(network.id, network.name);
    Statement update = TRY(db.prepare("UPDATE networks SET bridge = ? WHERE id = ?"));
    return update.bind(network.bridge).bind(network.id).run();
}

Status insert_subnets(Database& db, const Network& network) {
    Statement insert = TRY(db.prepare(
        "INSERT INTO subnets (network_id, family, address, length, gateway, range_address, range_length) VALUES (?, ?, ?, ?, ?, ?, ?)"));
    for (const IpPrefix& subnet : network.subnets) {
        const auto gateway = network.gateway(subnet.family());
        const auto range = network.ip_range(subnet.family());
        insert.reset();
        insert.bind(network.id).bind(number(subnet.family())).bind(blob_of(subnet.address())).bind(std::int64_t{subnet.length()});
        bind_optional(insert, gateway);
        bind_optional(insert, range ? std::optional{range->address()} : std::nullopt);
        range ? insert.bind(std::int64_t{range->length()}) : insert.bind_null();
        CHECK_OK(insert.run());
        if (gateway) CHECK_OK(insert_address(db, network.id, {*gateway, subnet.length()}, Purpose::kGateway, 0));
    }
    return ok();
}

Status replace_options(Database& db, const Network& network) {
    Statement remove = TRY(db.prepare("DELETE FROM network_options WHERE network_id = ?"));
    CHECK_OK(remove.bind(network.id).run());
    Statement insert = TRY(db.prepare("INSERT INTO network_options (network_id, key, value) VALUES (?, ?, ?)"));
    for (const auto& [key, value] : network.options) {
        insert.reset();
        CHECK_OK(insert.bind(network.id).bind(key).bind(value).run());
    }
    return ok();
}

constexpr std::string_view kSelectNetworks =
    "SELECT id, name, driver, mtu, internal, icc, vni, parent, bridge, created, uid FROM networks ";

Network network_row(const Statement& row) {
    Network network;
    network.id = row.u32(0);
    network.name = row.text(1);
    network.driver = enum_from<NetworkDriver>(row, 2);
    network.mtu = row.u32(3);
    network.internal = row.boolean(4);
    network.icc = row.boolean(5);
    network.vni = row.u32(6);
    network.parent = row.text(7);
    network.bridge = row.text(8);
    network.created = row.int64(9);
    network.uid = row.text(10);
    return network;
}

Result<std::vector<Network>> load_networks(Database& db, Statement& statement) {
    std::vector<Network> networks = TRY(collect<Network>(statement, network_row));
    Statement subnets =
        TRY(db.prepare("SELECT address, length, gateway, range_address, range_length FROM subnets WHERE network_id = ? ORDER BY family"));
    Statement options = TRY(db.prepare("SELECT key, value FROM network_options WHERE network_id = ?"));
    for (Network& network : networks) {
        subnets.bind(network.id);
        while (TRY(subnets.step())) {
            network.subnets.push_back(*optional_prefix_from(subnets, 0));
            if (const auto gateway = optional_address_from(subnets, 2)) network.gateways.push_back(*gateway);
            if (const auto range = optional_prefix_from(subnets, 3)) network.ip_ranges.push_back(*range);
        }
        subnets.reset();
        options.bind(network.id);
        while (TRY(options.step())) network.options.emplace(options.text(0), options.text(1));
        options.reset();
    }
    return networks;
}

Status check_draft(const Endpoint& draft, const std::vector<PublishedPort>& ports, const std::optional<Network>& network) {
    CHECK_OK(check_name(draft.name, "endpoint"));
    if (!draft.ifname.empty()) CHECK_OK(check_ifname(draft.ifname));
    const auto driver = driver_of(draft.mode);
    const std::string mode = "mode " + to_string(draft.mode);
    if (!driver) {
        if (network) return usage_error(mode + " has no network");
        if (draft.ipv4 || draft.ipv6) return usage_error(mode + " has no addresses");
        if (!ports.empty()) return usage_error(mode + " has no published ports");
        return ok();
    }
    if (!network) return no_such_network(draft.network_id);
    if (network->driver != *driver)
        return usage_error(mode + " does not fit network " + in_quotes(network->name) + ", whose driver is " + to_string(network->driver));
    if (draft.mac.is_multicast()) return usage_error("MAC " + draft.mac.to_string() + " is a multicast address");
    return ok();
}

Status insert_endpoint(Database& db, Endpoint& endpoint) {
    Statement insert =
        TRY(db.prepare("INSERT INTO endpoints (name, mode, state, network_id, netns, netns_id, netns_cookie, ifname, host_ifname, "
                       "host_ifindex, gateway_priority, mtu, created)"
                       " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    insert.bind(endpoint.name).bind(number(endpoint.mode)).bind(number(endpoint.state));
    bind_unless_zero(insert, endpoint.network_id).bind(endpoint.netns).bind(endpoint.netns_id);
    bind_unless_zero(insert, endpoint.netns_cookie).bind(endpoint.ifname);
    bind_unless_empty(insert, endpoint.host_ifname)
        .bind(endpoint.host_ifindex)
        .bind(endpoint.gateway_priority)
        .bind(endpoint.mtu)
        .bind(endpoint.created);
    CHECK_OK(insert.run());
    endpoint.id = static_cast<std::uint32_t>(db.last_insert_id());
    return ok();
}

Status check_endpoint_is_new(Database& db, const Endpoint& draft) {
    CHECK_OK(refuse_if_found(db, "SELECT '' FROM endpoints WHERE name = ?", draft.name,
                             "endpoint " + in_quotes(draft.name) + " exists already",
                             "detach it first, or choose another name with --name"));
    if (draft.netns_cookie == 0 || draft.ifname.empty()) return ok();
    // The index is partial: its condition must be spelled out.
    Statement select = TRY(db.prepare("SELECT name FROM endpoints WHERE netns_cookie = ? AND ifname = ? AND ifname <> ''"));
    select.bind(static_cast<std::int64_t>(draft.netns_cookie)).bind(draft.ifname);
    if (TRY(select.step()))
        return conflict(
            "interface '" + draft.ifname + "' of namespace '" + draft.netns + "' belongs to endpoint " + in_quotes(select.text(0)),
            "choose another with --ifname");
    return ok();
}

Result<bool> mac_is_taken(Database& db, const Endpoint& endpoint, const MacAddress& mac) {
    Statement select =
        TRY(db.prepare("SELECT 1 FROM endpoints WHERE network_id = ? AND mac = ? AND mac IS NOT NULL AND mode <> 6 AND id <> ?"));
    select.bind(endpoint.network_id).bind(std::span<const std::uint8_t>{mac.bytes()}).bind(endpoint.id);
    if (TRY(select.step())) return true;
    Statement remote = TRY(db.prepare("SELECT 1 FROM remote_endpoints WHERE network_id = ? AND mac = ?"));
    remote.bind(endpoint.network_id).bind(std::span<const std::uint8_t>{mac.bytes()});
    return remote.step();
}

Status choose_mac(Database& db, Endpoint& endpoint) {
    if (endpoint.mode == EndpointMode::kIpvlan) return ok();  // its parent's
    if (!endpoint.mac.is_zero()) {
        if (TRY(mac_is_taken(db, endpoint, endpoint.mac)))
            return conflict("MAC " + endpoint.mac.to_string() + " is taken on this network", "leave out --mac to get a free one");
        return ok();
    }
    if (endpoint.ipv4) {
        endpoint.mac = mac_for(endpoint.ipv4->address());
        // Somebody else may have asked for just this one.
        if (!TRY(mac_is_taken(db, endpoint, endpoint.mac))) return ok();
    }
    std::array<std::uint8_t, 6> random{};
    sqlite3_randomness(static_cast<int>(random.size()), random.data());
    endpoint.mac = mac_from_random(random);
    return ok();  // 46 random bits: the unique index catches what cannot happen
}

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
}

}  // namespace

// --- file ---------------------------------------------------------------------------------------------------------

Result<Store> Store::open(const std::filesystem::path& dir, OpenMode mode) {
    const std::filesystem::path file = file_in(dir);
    const std::string what = "open database " + file.string();
    if (mode == OpenMode::kCreate) CHECK_OK(make_state_dir(dir));
    Database db = TRY(Database::open(file, mode));
    if (mode != OpenMode::kReadOnly) {
        if (auto migrated = migrate(db, schema_steps()); !migrated) return std::move(migrated).error().in(what);
        return Store{std::move(db)};
    }
    const std::int64_t version = TRY(db.query_int("PRAGMA user_version"));
    const auto newest = static_cast<std::int64_t>(schema_steps().size());
    if (version == 0) return not_found(what + ": there is nothing in it yet", "`fastnet attach --mode bridge` prepares this node");
    if (version != newest)
        return failed(what + ": its schema has version " + std::to_string(version) + ", this fastnet knows " + std::to_string(newest),
                      version < newest ? "`fastnet attach --mode bridge` brings it up to date" : "use the newer fastnet that wrote it");
    return Store{std::move(db)};
}

Status Store::remove_files(const std::filesystem::path& dir) {
    // The file itself last: an interrupted removal leaves something that open() still takes for a database.
    for (const std::string_view suffix : {"-shm", "-journal", "-wal", ""}) {
        std::filesystem::path file = file_in(dir);
        file += suffix;
        std::error_code error;
        std::filesystem::remove(file, error);
        if (error) return sys_error(error.value(), "remove " + file.string());
    }
    return ok();
}

Result<std::filesystem::path> Store::move_aside(const std::filesystem::path& dir) {
    const std::string stamp = ".broken-" + std::to_string(std::time(nullptr));
    std::filesystem::path target = file_in(dir);
    target += stamp;
    std::error_code ignored;
    for (int i = 1; std::filesystem::exists(target, ignored); ++i) {
        target = file_in(dir);
        target += stamp + "." + std::to_string(i);
    }
    for (const std::string_view suffix : {"-wal", "-journal", ""}) {  // -shm is only a cache of -wal
        std::filesystem::path from = file_in(dir);
        std::filesystem::path to = target;
        from += suffix;
        to += suffix;
        std::error_code error;
        std::filesystem::rename(from, to, error);
        if (error && (error != std::errc::no_such_file_or_directory || suffix.empty()))
            return sys_error(error.value(), "move " + from.string() + " away");
    }
    CHECK_OK(remove_files(dir));
    return target;
}

// --- settings -----------------------------------------------------------------------------------------------------

Result<std::optional<std::string>> Store::setting(std::string_view key) {
    Statement select = TRY(db_.prepare("SELECT value FROM settings WHERE key = ?"));
    select.bind(key);
    if (!TRY(select.step())) return std::optional<std::string>{};
    return std::optional{select.text(0)};
}

Status Store::set_setting(std::string_view key, std::string_view value) {
    Transaction transaction = TRY(begin());
    Statement insert =
        TRY(db_.prepare("INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"));
    CHECK_OK(insert.bind(key).bind(value).run());
    return transaction.commit();
}

Status Store::remove_setting(std::string_view key) {
    Transaction transaction = TRY(begin());
    Statement remove = TRY(db_.prepare("DELETE FROM settings WHERE key = ?"));
    CHECK_OK(remove.bind(key).run());
    return transaction.commit();
}

Status Store::start_boot(std::string_view boot_id) {
    Transaction transaction = TRY(begin());
    CHECK_OK(db_.exec("DELETE FROM endpoints; DELETE FROM sysctls;"));
    CHECK_OK(set_setting(setting::kBootId, boot_id));
    return transaction.commit();
}

// --- uplinks ------------------------------------------------------------------------------------------------------

Result<std::vector<Uplink>> Store::uplinks() {
    Statement select = TRY(db_.prepare("SELECT name, chosen_by_user FROM uplinks ORDER BY name"));
    return collect<Uplink>(select, [](const Statement& row) { return Uplink{row.text(0), row.boolean(1)}; });
}

Status Store::put_uplink(const Uplink& uplink) {
    CHECK_OK(check_ifname(uplink.name));
    Transaction transaction = TRY(begin());
    Statement insert =
        TRY(db_.prepare("INSERT INTO uplinks (name, chosen_by_user) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET chosen_by_user = "
                        "excluded.chosen_by_user"));
    CHECK_OK(insert.bind(uplink.name).bind(uplink.chosen_by_user).run());
    return transaction.commit();
}

Status Store::remove_uplink(std::string_view name) {
    Transaction transaction = TRY(begin());
    Statement remove = TRY(db_.prepare("DELETE FROM uplinks WHERE name = ?"));
    CHECK_OK(run_on_one(db_, remove.bind(name), not_found("uplink " + in_quotes(name) + " is not one of fastnet's")));
    return transaction.commit();
}

// --- networks -----------------------------------------------------------------------------------------------------

Result<Network> Store::add_network(Network network) {
    CHECK_OK(validate(network));
    if (!network.uid.empty()) CHECK_OK(check_network_uid(network.uid));
    const auto by_family = [](const auto& a, const auto& b) { return a.family() < b.family(); };
    std::sort(network.subnets.begin(), network.subnets.end(), by_family);
    std::sort(network.gateways.begin(), network.gateways.end(), by_family);
    std::sort(network.ip_ranges.begin(), network.ip_ranges.end(), by_family);
    if (network.created == 0) network.created = std::time(nullptr);

    Transaction transaction = TRY(begin(Durability::kPowerLoss));
    const std::string subject = "network " + in_quotes(network.name);
    CHECK_OK(refuse_if_found(db_, "SELECT '' FROM networks WHERE name = ?", network.name, subject + " exists already",
                             "choose another name, or remove it first"));
    if (network.vni != 0)
        CHECK_OK(refuse_if_found(db_, "SELECT name FROM networks WHERE vni = ?", network.vni,
                                 subject + ": VNI " + std::to_string(network.vni) + " belongs to network ", "choose another with --vni"));
    if (!network.uid.empty())
        CHECK_OK(refuse_if_found(db_, "SELECT name FROM networks WHERE uid = ?", network.uid,
                                 subject + ": uid " + network.uid + " belongs to network ", {}));
    if (!network.bridge.empty())
        CHECK_OK(refuse_if_found(db_, "SELECT name FROM networks WHERE bridge = ?", network.bridge,
                                 subject + ": device " + in_quotes(network.bridge) + " belongs to network ", "choose another device name"));
    const std::vector<TakenPrefix> taken = TRY(taken_prefixes(db_));
    for (const IpPrefix& subnet : network.subnets)
        if (auto checked = check_subnet_is_free(subnet, taken); !checked) return std::move(checked).error().in(subject);
    CHECK_OK(insert_network(db_, network));
    CHECK_OK(insert_subnets(db_, network));
    CHECK_OK(replace_options(db_, network));
    CHECK_OK(transaction.commit());
    return network;
}

Result<std::vector<Network>> Store::networks() {
    Statement select = TRY(db_.prepare(std::string{kSelectNetworks} + "ORDER BY id"));
    return load_networks(db_, select);
}

Result<std::optional<Network>> Store::find_network(std::string_view name) {
    Statement select = TRY(db_.prepare(std::string{kSelectNetworks} + "WHERE name = ?"));
    return first_of(load_networks(db_, select.bind(name)));
}

Result<std::optional<Network>> Store::find_network(std::uint32_t id) {
    Statement select = TRY(db_.prepare(std::string{kSelectNetworks} + "WHERE id = ?"));
    return first_of(load_networks(db_, select.bind(id)));
}

Result<std::optional<Network>> Store::find_network_by_uid(std::string_view uid) {
    Statement select = TRY(db_.prepare(std::string{kSelectNetworks} + "WHERE uid = ?"));
    return first_of(load_networks(db_, select.bind(uid)));
}

Status Store::set_network_uid(std::uint32_t id, std::string_view uid) {
    CHECK_OK(check_network_uid(uid));
    Transaction transaction = TRY(begin(Durability::kPowerLoss));
    if (const auto other = TRY(find_network_by_uid(uid)); other && other->id != id)
        return conflict("uid " + std::string{uid} + " belongs to network " + in_quotes(other->name));
    Statement update = TRY(db_.prepare("UPDATE networks SET uid = ? WHERE id = ?"));
    CHECK_OK(run_on_one(db_, update.bind(uid).bind(id), no_such_network(id)));
    return transaction.commit();
}

Status Store::remember_removed(const RemovedNetwork& network) {
    Transaction transaction = TRY(begin(Durability::kPowerLoss));
    Statement insert = TRY(db_.prepare("INSERT OR REPLACE INTO removed_networks (uid, name) VALUES (?, ?)"));
    CHECK_OK(insert.bind(network.uid).bind(network.name).run());
    return transaction.commit();
}

Result<std::vector<RemovedNetwork>> Store::removed_networks() {
    Statement select = TRY(db_.prepare("SELECT uid, name FROM removed_networks ORDER BY uid"));
    return collect<RemovedNetwork>(select, [](const Statement& row) { return RemovedNetwork{row.text(0), row.text(1)}; });
}

Status Store::forget_removed(std::string_view uid) {
    Transaction transaction = TRY(begin());
    Statement remove = TRY(db_.prepare("DELETE FROM removed_networks WHERE uid = ?"));
    CHECK_OK(remove.bind(uid).run());
    return transaction.commit();
}

Status Store::update_network(const Network& network) {
    CHECK_OK(validate(network));
    Transaction transaction = TRY(begin(Durability::kPowerLoss));
    Statement update = TRY(db_.prepare("UPDATE networks SET mtu = ?, internal = ?, icc = ?, parent = ? WHERE id = ?"));
    update.bind(network.mtu).bind(network.internal).bind(network.icc).bind(network.parent).bind(network.id);
    CHECK_OK(run_on_one(db_, update, no_such_network(network.id)));
    CHECK_OK(replace_options(db_, network));
    return transaction.commit();
}

Status Store::remove_network(std::uint32_t id) {
    Transaction transaction = TRY(begin(Durability::kPowerLoss));
    const std::string name = TRY(network_name(db_, id));
    Statement select = TRY(db_.prepare("SELECT name FROM endpoints WHERE network_id = ? ORDER BY id"));
    select.bind(id);
    std::vector<std::string> users = TRY(collect<std::string>(select, [](const Statement& row) { return row.text(0); }));
    if (!users.empty()) {
        const std::size_t more = users.size() - std::min(users.size(), kNamesInMessage);
        users.resize(std::min(users.size(), kNamesInMessage));
        return conflict(
            "network " + in_quotes(name) + " has endpoints: " + joined(users) + (more > 0 ? " and " + std::to_string(more) + " more" : ""),
            "detach them first");
    }
    Statement remove = TRY(db_.prepare("DELETE FROM networks WHERE id = ?"));
    CHECK_OK(remove.bind(id).run());
    CHECK_OK(forget_former_peers(db_));
    return transaction.commit();
}

// --- endpoints ----------------------------------------------------------------------------------------------------

Result<Endpoint> Store::stage_endpoint(Endpoint draft, std::vector<PublishedPort> ports) {
    Transaction transaction = TRY(begin());
    const std::string subject = "endpoint " + in_quotes(draft.name);
    const std::optional<Network> network = draft.network_id == 0 ? std::nullopt : TRY(find_network(draft.network_id));
    CHECK_OK(check_draft(draft, ports, network));
    CHECK_OK(check_endpoint_is_new(db_, draft));
    Endpoint endpoint = std::move(draft);
    endpoint.state = EndpointState::kPending;
    if (endpoint.created == 0) endpoint.created = std::time(nullptr);
    CHECK_OK(insert_endpoint(db_, endpoint));
    if (network) {
        if (auto addressed = assign_addresses(endpoint, *network); !addressed) return std::move(addressed).error().in(subject);
        if (auto chosen = choose_mac(db_, endpoint); !chosen) return std::move(chosen).error().in(subject);
        if (has_veth(endpoint.mode) && endpoint.host_ifname.empty()) endpoint.host_ifname = host_ifname_for(endpoint.id);
        CHECK_OK(write_endpoint(endpoint));
    }
    CHECK_OK(insert_ports(endpoint.id, ports));
    CHECK_OK(transaction.commit());
    return endpoint;
}

Status Store::assign_addresses(Endpoint& endpoint, const Network& network) {
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
        std::optional<IpPrefix>& address = family == Family::kIpv4 ? endpoint.ipv4 : endpoint.ipv6;
        std::optional<IpAddress>& gateway = family == Family::kIpv4 ? endpoint.gateway4 : endpoint.gateway6;
        if (!address && !network.subnet(family)) continue;
        address = address ? TRY(reserve_address(network.id, address->address(), endpoint.id))
                          : TRY(allocate_address(network.id, family, endpoint.id));
        if (!gateway && !network.internal) gateway = network.gateway(family);
    }
    return ok();
}

/// What may change after the first insert.
Status Store::write_endpoint(const Endpoint& endpoint) {
    Statement update =
        TRY(db_.prepare("UPDATE endpoints SET state = ?, netns_id = ?, netns_cookie = ?, host_ifname = ?, host_ifindex = ?, mac = ?, "
                        "gateway4 = ?, gateway6 = ?, mtu = ? WHERE id = ?"));
    update.bind(number(endpoint.state)).bind(endpoint.netns_id);
    bind_unless_zero(update, endpoint.netns_cookie);
    bind_unless_empty(update, endpoint.host_ifname).bind(endpoint.host_ifindex);
    bind_mac(update, endpoint.mac);
    bind_optional(update, endpoint.gateway4);
    bind_optional(update, endpoint.gateway6).bind(endpoint.mtu).bind(endpoint.id);
    return run_on_one(db_, update, no_such_endpoint(endpoint.id));
}

Status Store::mark_ready(const Endpoint& endpoint) {
    Transaction transaction = TRY(begin());
    Endpoint ready = endpoint;
    ready.state = EndpointState::kReady;
    CHECK_OK(write_endpoint(ready));
    return transaction.commit();
}

Status Store::mark_deleting(std::uint32_t id) {
    Transaction transaction = TRY(begin());
    Statement update = TRY(db_.prepare("UPDATE endpoints SET state = ? WHERE id = ?"));
    CHECK_OK(run_on_one(db_, update.bind(number(EndpointState::kDeleting)).bind(id), no_such_endpoint(id)));
    return transaction.commit();
}

Status Store::remove_endpoint(std::uint32_t id) {
    Transaction transaction = TRY(begin());
    Statement remove = TRY(db_.prepare("DELETE FROM endpoints WHERE id = ?"));
    CHECK_OK(run_on_one(db_, remove.bind(id), no_such_endpoint(id)));
    return transaction.commit();
}

Result<std::vector<Endpoint>> Store::pending_or_deleting() {
    Statement select = TRY(select_endpoints(db_, "WHERE e.id IN (SELECT id FROM endpoints WHERE state <> 2) ORDER BY e.id"));
    return load_endpoints(select);
}

Result<std::vector<Endpoint>> Store::endpoints() {
    Statement select = TRY(select_endpoints(db_, "ORDER BY e.id"));
    return load_endpoints(select);
}

Result<std::int64_t> Store::count_endpoints() {
    return db_.query_int("SELECT count(*) FROM endpoints");
}

Result<std::vector<Endpoint>> Store::endpoints_of_network(std::uint32_t network_id) {
    Statement select = TRY(select_endpoints(db_, "WHERE e.network_id = ? ORDER BY e.id"));
    return load_endpoints(select.bind(network_id));
}

Result<std::vector<Endpoint>> Store::endpoints_in_netns(std::string_view netns_id) {
    Statement select = TRY(select_endpoints(db_, "WHERE e.netns_id = ? ORDER BY e.id"));
    return load_endpoints(select.bind(netns_id));
}

Result<std::vector<Endpoint>> Store::endpoints_with_cookie(std::uint64_t netns_cookie) {
    Statement select = TRY(select_endpoints(db_, "WHERE e.netns_cookie = ? ORDER BY e.id"));
    return load_endpoints(select.bind(static_cast<std::int64_t>(netns_cookie)));
}

Result<std::optional<Endpoint>> Store::find_endpoint(std::string_view name) {
    Statement select = TRY(select_endpoints(db_, "WHERE e.name = ?"));
    return first_of(load_endpoints(select.bind(name)));
}

Result<std::optional<Endpoint>> Store::find_endpoint(std::uint32_t id) {
    Statement select = TRY(select_endpoints(db_, "WHERE e.id = ?"));
    return first_of(load_endpoints(select.bind(id)));
}

Result<std::optional<Endpoint>> Store::find_endpoint(std::string_view netns_id, std::string_view ifname) {
    Statement select = TRY(select_endpoints(db_, "WHERE e.netns_id = ? AND e.ifname = ? ORDER BY e.id"));
    return first_of(load_endpoints(select.bind(netns_id).bind(ifname)));
}

Result<std::optional<Endpoint>> Store::find_endpoint_by_address(std::uint32_t network_id, const IpAddress& address) {
    Statement select = TRY(select_endpoints(db_, "WHERE e.id = (SELECT endpoint_id FROM addresses WHERE network_id = ? AND address = ?)"));
    return first_of(load_endpoints(select.bind(network_id).bind(blob_of(address))));
}

Result<std::vector<Endpoint>> Store::endpoints_with_address(const IpAddress& address) {
    Statement select = TRY(select_endpoints(db_, "WHERE e.id IN (SELECT endpoint_id FROM addresses WHERE address = ?) ORDER BY e.id"));
    return load_endpoints(select.bind(blob_of(address)));
}

// --- published ports ----------------------------------------------------------------------------------------------

Result<std::vector<PublishedPort>> Store::add_ports(std::uint32_t endpoint_id, std::vector<PublishedPort> ports) {
    Transaction transaction = TRY(begin());
    if (!TRY(find_endpoint(endpoint_id))) return no_such_endpoint(endpoint_id);
    CHECK_OK(insert_ports(endpoint_id, ports));
    CHECK_OK(transaction.commit());
    return ports;
}

Status Store::insert_ports(std::uint32_t endpoint_id, std::vector<PublishedPort>& ports) {
    Statement insert = TRY(db_.prepare(
        "INSERT INTO ports (endpoint_id, protocol, family, host_ip, is_any, host_first, host_last, container_first, container_last, spec)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    for (PublishedPort& port : ports) {
        const auto owner = [&](std::uint32_t id) { return endpoint_name(db_, id).value_or("?"); };
        const std::vector<PublishedPort> overlapping = TRY(ports_overlapping(port.host_ip, port.protocol, port.host_ports));
        CHECK_OK(check_port_is_free(port, overlapping, owner));
        insert.reset();
        insert.bind(endpoint_id)
            .bind(number(port.protocol))
            .bind(number(port.family()))
            .bind(blob_of(port.host_ip))
            .bind(port.host_ip.is_any());
        insert.bind(std::uint32_t{port.host_ports.first.value()}).bind(std::uint32_t{port.host_ports.last.value()});
        insert.bind(std::uint32_t{port.container_ports.first.value()})
            .bind(std::uint32_t{port.container_ports.last.value()})
            .bind(port.spec);
        CHECK_OK(insert.run());
        port.id = static_cast<std::uint32_t>(db_.last_insert_id());
        port.endpoint_id = endpoint_id;
        port.sources.normalize();
        CHECK_OK(insert_sources(port.id, port.sources.allow, true));
        CHECK_OK(insert_sources(port.id, port.sources.deny, false));
    }
    return ok();
}

Status Store::insert_sources(std::uint32_t port_id, const std::vector<IpPrefix>& prefixes, bool allow) {
    Statement insert = TRY(db_.prepare("INSERT INTO port_sources (port_id, allow, address, length) VALUES (?, ?, ?, ?)"));
    for (const IpPrefix& prefix : prefixes) {
        insert.reset();
        CHECK_OK(insert.bind(port_id).bind(allow).bind(blob_of(prefix.address())).bind(std::int64_t{prefix.length()}).run());
    }
    return ok();
}

Result<std::vector<PublishedPort>> Store::ports() {
    Statement select = TRY(db_.prepare("SELECT " + std::string{kPortColumns} + " FROM ports ORDER BY id"));
    return load_ports(db_, select);
}

Result<std::vector<PublishedPort>> Store::ports_of(std::uint32_t endpoint_id) {
    Statement select = TRY(db_.prepare("SELECT " + std::string{kPortColumns} + " FROM ports WHERE endpoint_id = ? ORDER BY id"));
    return load_ports(db_, select.bind(endpoint_id));
}

Status Store::remove_port(std::uint32_t id) {
    Transaction transaction = TRY(begin());
    Statement remove = TRY(db_.prepare("DELETE FROM ports WHERE id = ?"));
    CHECK_OK(run_on_one(db_, remove.bind(id), no_such_port(id)));
    return transaction.commit();
}

Result<std::vector<PublishedPort>> Store::ports_overlapping(const IpAddress& host_ip, Protocol protocol, const PortRange& host_ports) {
    const std::uint32_t first = host_ports.first.value();
    const std::uint32_t last = host_ports.last.value();
    const std::string select = "SELECT " + std::string{kPortColumns} + " FROM ports WHERE protocol = ? AND ";
    std::vector<PublishedPort> found;
    const auto add = [&](Statement& statement) -> Status {
        std::vector<PublishedPort> ports = TRY(load_ports(db_, statement));
        std::copy_if(std::make_move_iterator(ports.begin()), std::make_move_iterator(ports.end()), std::back_inserter(found),
                     [&](const PublishedPort& port) { return port.host_ports.overlaps(host_ports); });
        return ok();
    };

    // Records of one address do not overlap each other: the last that begins before the range, and those that begin inside.
    Statement before = TRY(db_.prepare(select + "host_ip = ? AND host_first < ? ORDER BY host_first DESC LIMIT 1"));
    Statement inside = TRY(db_.prepare(select + "host_ip = ? AND host_first BETWEEN ? AND ? ORDER BY host_first"));
    std::vector<IpAddress> addresses{host_ip};
    if (!host_ip.is_any()) addresses.push_back(IpAddress::any(host_ip.family()));
    for (const IpAddress& address : addresses) {
        before.reset();
        CHECK_OK(add(before.bind(number(protocol)).bind(blob_of(address)).bind(first)));
        inside.reset();
        CHECK_OK(add(inside.bind(number(protocol)).bind(blob_of(address)).bind(first).bind(last)));
    }
    if (!host_ip.is_any()) return found;
    Statement bound = TRY(db_.prepare(select + "family = ? AND is_any = 0 AND host_first <= ? AND host_last >= ? ORDER BY host_first, id"));
    CHECK_OK(add(bound.bind(number(protocol)).bind(number(host_ip.family())).bind(last).bind(first)));
    return found;
}

Result<std::optional<PortRange>> Store::port_obstacle(std::span<const IpAddress> host_ips, Protocol protocol, const PortRange& wanted) {
    for (const IpAddress& host_ip : host_ips) {
        const std::vector<PublishedPort> found = TRY(ports_overlapping(host_ip, protocol, wanted));
        if (!found.empty()) return std::optional{found.front().host_ports};
    }
    return std::optional<PortRange>{};
}

// --- sysctls ------------------------------------------------------------------------------------------------------

Status Store::save_sysctl(const SavedSysctl& sysctl) {
    Transaction transaction = TRY(begin());
    Statement insert = TRY(db_.prepare(
        "INSERT INTO sysctls (path, original, written) VALUES (?, ?, ?) ON CONFLICT (path) DO UPDATE SET written = excluded.written"));
    CHECK_OK(insert.bind(sysctl.path).bind(sysctl.original).bind(sysctl.written).run());
    return transaction.commit();
}

Result<std::vector<SavedSysctl>> Store::sysctls() {
    Statement select = TRY(db_.prepare("SELECT path, original, written FROM sysctls ORDER BY path"));
    return collect<SavedSysctl>(select, [](const Statement& row) { return SavedSysctl{row.text(0), row.text(1), row.text(2)}; });
}

Status Store::remove_sysctl(std::string_view path) {
    Transaction transaction = TRY(begin());
    Statement remove = TRY(db_.prepare("DELETE FROM sysctls WHERE path = ?"));
    CHECK_OK(remove.bind(path).run());
    return transaction.commit();
}

}  // namespace fastnet
