// How values lie in the columns of the database, and the small queries that several parts of the store ask. For its own files.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "loader/base/text.h"
#include "userspace/model/network.h"
#include "userspace/store/database.h"

namespace fastnet {

/// addresses.purpose
enum class Purpose : std::uint8_t { kEndpoint = 1, kGateway = 2, kReserved = 3, kRemote = 4 };

// --- columns ------------------------------------------------------------------------------------------------------

template <typename Enum>
inline std::int64_t number(Enum value) {
    return static_cast<std::int64_t>(value);
}

template <typename Enum>
Enum enum_from(const Statement& row, int column) {
    return static_cast<Enum>(row.int64(column));
}

inline std::span<const std::uint8_t> blob_of(const IpAddress& address) {
    return address.bytes();
}

inline Statement& bind_optional(Statement& statement, const std::optional<IpAddress>& address) {
    return address ? statement.bind(blob_of(*address)) : statement.bind_null();
}

inline Statement& bind_unless_empty(Statement& statement, std::string_view text) {
    return text.empty() ? statement.bind_null() : statement.bind(text);
}

inline Statement& bind_unless_zero(Statement& statement, std::uint64_t value) {
    return value == 0 ? statement.bind_null() : statement.bind(static_cast<std::int64_t>(value));  // all 64 bits kept
}

inline Statement& bind_mac(Statement& statement, const MacAddress& mac) {
    return mac.is_zero() ? statement.bind_null() : statement.bind(std::span<const std::uint8_t>{mac.bytes()});
}

inline IpAddress address_from(const Statement& row, int column) {
    const std::vector<std::uint8_t> blob = row.blob(column);
    std::array<std::uint8_t, 16> bytes{};
    std::copy_n(blob.begin(), std::min(blob.size(), bytes.size()), bytes.begin());  // the schema makes it 16
    return IpAddress::from_bytes(bytes);
}

inline std::optional<IpAddress> optional_address_from(const Statement& row, int column) {
    return row.is_null(column) ? std::nullopt : std::optional{address_from(row, column)};
}

/// Two columns: address, length.
inline std::optional<IpPrefix> optional_prefix_from(const Statement& row, int column) {
    if (row.is_null(column)) return std::nullopt;
    return IpPrefix{address_from(row, column), static_cast<std::uint8_t>(row.int64(column + 1))};
}

inline MacAddress mac_from(const Statement& row, int column) {
    const std::vector<std::uint8_t> blob = row.blob(column);
    std::array<std::uint8_t, 6> bytes{};
    std::copy_n(blob.begin(), std::min(blob.size(), bytes.size()), bytes.begin());
    return MacAddress{bytes};
}

inline Port port_from(const Statement& row, int column) {
    return Port{static_cast<std::uint16_t>(row.int64(column))};
}

// --- words --------------------------------------------------------------------------------------------------------

inline Error no_such_network(std::uint32_t id) {
    return not_found("network with id " + std::to_string(id) + " does not exist");
}
inline std::string family_name(Family family) {
    return family == Family::kIpv4 ? "IPv4" : "IPv6";
}

// --- rows ---------------------------------------------------------------------------------------------------------

/// Runs a statement that must change a row: @p missing if it changed none.
inline Status run_on_one(Database& db, Statement& statement, Error missing) {
    CHECK_OK(statement.run());
    if (db.changes() == 0) return missing;
    return ok();
}

template <typename T, typename FromRow>
inline Result<std::vector<T>> collect(Statement& statement, FromRow from_row) {
    std::vector<T> rows;
    while (TRY(statement.step())) rows.push_back(from_row(statement));
    return rows;
}

template <typename T>
inline Result<std::optional<T>> first_of(Result<std::vector<T>> rows) {
    std::vector<T> found = TRY(std::move(rows));
    if (found.empty()) return std::optional<T>{};
    return std::optional<T>{std::move(found.front())};
}

// --- addresses (store_addresses.cpp) ------------------------------------------------------------------------------

Status insert_address(Database& db, std::uint32_t network_id, const IpPrefix& address, Purpose purpose, std::uint32_t owner_id);
/// An interface may have @p address on the network, and nobody has it yet: with the subnet's length.
Result<IpPrefix> check_address_fits(Database& db, std::uint32_t network_id, const std::string& network, const IpAddress& address,
                                    const std::string& hint);
Result<std::string> network_name(Database& db, std::uint32_t id);  ///< unknown: not found

// --- peers (store_peers.cpp) --------------------------------------------------------------------------------------

/// What no record of a peer covers any more: its remote endpoints, and its tunnel.
Status forget_former_peers(Database& db);

}  // namespace fastnet
