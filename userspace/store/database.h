// SQLite's C API with owners and Results: open, prepare, bind, step, transaction. Knows nothing of networks.
// Nothing throws. Not thread-safe: one Database per thread.
//
// Durability: WAL with synchronous=NORMAL. A killed process loses nothing that was committed; a power cut may lose the
// last commits but never leaves a torn file. That is enough for endpoints, since their namespaces and links die with the
// same power cut. What a user expects to find again after a reboot (networks, settings) is committed with
// Durability::kPowerLoss, which syncs the log (FULL) for that one commit and costs a disk flush.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/handle.h"
#include "loader/base/result.h"

namespace fastnet {

enum class Durability { kProcessCrash, kPowerLoss };

/// Statements that nobody uses at the moment, by their text: to prepare one takes longer than to run it.
class IdleStatements {
public:
    using Owned = Handle<sqlite3_stmt, sqlite3_finalize>;
    Owned take(std::string_view sql);  ///< empty if there is none
    void put(Owned statement);

private:
    std::map<std::string, Owned, std::less<>> by_text_{};
};

/// A prepared statement, which goes back to the idle ones. Errors of bind() are kept and come out of step(), so calls chain.
/// Text and blobs are copied at bind().
class Statement {
public:
    Statement(Statement&&) noexcept = default;
    Statement& operator=(Statement&&) = delete;
    ~Statement();

    Statement& bind(std::int64_t value);  ///< each bind() fills the next parameter
    Statement& bind(std::uint32_t value) { return bind(std::int64_t{value}); }
    Statement& bind(std::int32_t value) { return bind(std::int64_t{value}); }
    Statement& bind(bool value) { return bind(std::int64_t{value ? 1 : 0}); }
    Statement& bind(std::string_view text);
    Statement& bind(const char* text) { return bind(std::string_view{text}); }
    Statement& bind(const std::string& text) { return bind(std::string_view{text}); }
    Statement& bind(std::span<const std::uint8_t> blob);
    Statement& bind_null();

    /// True: there is a row to read. False: done.
    Result<bool> step();
    /// step() for a statement that returns no rows (rows that it does return are skipped).
    Status run();
    /// Ready to be bound and stepped again.
    void reset();

    bool is_null(int column) const;
    std::int64_t int64(int column) const;
    std::uint32_t u32(int column) const { return static_cast<std::uint32_t>(int64(column)); }
    bool boolean(int column) const { return int64(column) != 0; }
    std::string text(int column) const;
    std::vector<std::uint8_t> blob(int column) const;

private:
    friend class Database;
    Statement(IdleStatements::Owned raw, std::shared_ptr<IdleStatements> home) : raw_{std::move(raw)}, home_{std::move(home)} {}
    IdleStatements::Owned raw_;
    std::shared_ptr<IdleStatements> home_;
    int next_parameter_ = 1;
    int bind_error_ = SQLITE_OK;
};

/// BEGIN IMMEDIATE (takes the write lock at once, so a transaction never fails half-way by upgrading) ... COMMIT.
/// Inside another transaction it is a savepoint. Rolled back by the destructor unless commit() succeeded.
class [[nodiscard]] Transaction {
public:
    Transaction(Transaction&& other) noexcept;
    Transaction& operator=(Transaction&&) = delete;
    ~Transaction();

    /// crash_point() just before and just after the outermost COMMIT.
    Status commit();

private:
    friend class Database;
    Transaction(sqlite3* db, bool nested, Durability durability) : db_{db}, nested_{nested}, durability_{durability} {}
    void restore_durability();
    sqlite3* db_;
    bool nested_;
    Durability durability_;
};

class Database {
public:
    enum class OpenMode {
        kCreate,    ///< read and write, make the file if there is none
        kExisting,  ///< read and write, no file: not-found error
        kReadOnly,  ///< read, no file: not-found error
    };

    static Result<Database> open(const std::filesystem::path& file, OpenMode mode);

    Result<Statement> prepare(std::string_view sql);
    /// Runs @p sql (several statements allowed, no parameters) and drops its rows.
    Status exec(const std::string& sql);
    Result<std::int64_t> query_int(std::string_view sql);
    /// kPowerLoss inside another transaction has no effect: the outermost decides.
    Result<Transaction> begin(Durability durability = Durability::kProcessCrash);
    /// For reading alone: until it ends, what others commit is not seen. Inside another transaction it has no effect.
    Result<Transaction> begin_snapshot();

    std::int64_t last_insert_id() const { return sqlite3_last_insert_rowid(raw_.get()); }
    std::int64_t changes() const { return sqlite3_changes64(raw_.get()); }
    int last_error_code() const { return sqlite3_extended_errcode(raw_.get()); }
    bool in_transaction() const { return sqlite3_get_autocommit(raw_.get()) == 0; }
    /// Full check of pages, indexes and foreign keys; the error lists what is wrong. Reads the whole file.
    Status check_integrity();

private:
    explicit Database(sqlite3* raw) : raw_{raw} {}
    Status set_up(bool writes);
    Handle<sqlite3, sqlite3_close_v2> raw_;
    std::shared_ptr<IdleStatements> idle_ = std::make_shared<IdleStatements>();  // goes before the connection
    bool wal_ = false;
};

}  // namespace fastnet
