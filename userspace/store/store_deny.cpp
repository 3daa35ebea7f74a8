// The node's deny list: prefixes of sources, each once. Other prefixes may lie within one of them.
#include "userspace/store/rows.h"
#include "userspace/store/store.h"

namespace fastnet {
namespace {

constexpr unsigned kBitsOfIpv6 = 128;

unsigned longest(Family family) {
    return family == Family::kIpv4 ? 32 : kBitsOfIpv6;
}

Statement& bind_prefix(Statement& statement, const IpPrefix& prefix) {
    return statement.bind(number(prefix.family())).bind(std::int64_t{prefix.length()}).bind(blob_of(prefix.address()));
}

}  // namespace

Result<bool> Store::add_denied(const IpPrefix& prefix) {
    Statement insert = TRY(db_.prepare("INSERT INTO denied (family, length, address) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"));
    CHECK_OK(bind_prefix(insert, prefix).run());
    return db_.changes() != 0;
}

Result<bool> Store::remove_denied(const IpPrefix& prefix) {
    Statement remove = TRY(db_.prepare("DELETE FROM denied WHERE family = ? AND length = ? AND address = ?"));
    CHECK_OK(bind_prefix(remove, prefix).run());
    return db_.changes() != 0;
}

Result<std::size_t> Store::count_denied() {
    return static_cast<std::size_t>(TRY(db_.query_int("SELECT count(*) FROM denied")));
}

Result<bool> Store::has_denied() {
    return TRY(db_.query_int("SELECT EXISTS (SELECT 1 FROM denied)")) != 0;
}

Result<std::vector<IpPrefix>> Store::denied() {
    Statement select = TRY(db_.prepare("SELECT address, length FROM denied ORDER BY family, address, length"));
    return collect<IpPrefix>(select, [](const Statement& row) {
        return IpPrefix{address_from(row, 0), static_cast<std::uint8_t>(row.int64(1))};
    });
}

Result<bool> Store::denies_around(const IpPrefix& prefix) {
    Statement select = TRY(db_.prepare("SELECT 1 FROM denied WHERE family = ? AND length = ? AND address = ?"));
    for (unsigned length = 0; length < prefix.length(); ++length) {
        if (TRY(bind_prefix(select, IpPrefix{prefix.address(), static_cast<std::uint8_t>(length)}.network()).step())) return true;
        select.reset();
    }
    return false;
}

Result<bool> Store::denies_within(const IpPrefix& prefix) {
    Statement select = TRY(db_.prepare("SELECT 1 FROM denied WHERE family = ? AND length = ? AND address BETWEEN ? AND ? LIMIT 1"));
    for (unsigned length = prefix.length() + 1U; length <= longest(prefix.family()); ++length) {
        select.bind(number(prefix.family())).bind(std::int64_t{length}).bind(blob_of(prefix.address())).bind(blob_of(prefix.last()));
        if (TRY(select.step())) return true;
        select.reset();
    }
    return false;
}

}  // namespace fastnet
