#include "userspace/store/database.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "userspace/store/crash_point.h"
#include "userspace/store/schema.h"

namespace fastnet {
namespace {

constexpr int kBusyTimeoutMs = 30'000;
constexpr int kCheckpointPages = 256;  // 1 MiB of log at 4 KiB a page: what the next process has to read at open

constexpr std::string_view kBrokenHint =
    "the file is kept as it is: move it away, or run `fastnet cleanup`, which removes what fastnet made and starts afresh";

std::string path_of(sqlite3* db) {
    const char* name = db == nullptr ? nullptr : sqlite3_db_filename(db, "main");
    return name == nullptr ? std::string{} : std::string{name};
}

/// Why @p file cannot be made. SQLite tries again read-only after a refusal and then only knows "no such file".
int why_not_created(const std::filesystem::path& file) {
    const std::filesystem::path dir = file.has_parent_path() ? file.parent_path() : ".";
    return ::access(dir.c_str(), W_OK | X_OK) == 0 ? ENOENT : errno;
}

/// The error of the last call on @p db, which returned @p code.
Error sqlite_error(sqlite3* db, int code, const std::string& what) {
    std::string message = what + ": " + (db == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(db));
    const int system = db == nullptr ? 0 : sqlite3_system_errno(db);
    switch (code & 0xff) {
        case SQLITE_NOTADB:
        case SQLITE_CORRUPT: return failed(std::move(message), std::string{kBrokenHint});
        case SQLITE_BUSY: return failed(std::move(message), "another fastnet command holds the database: wait for it, or end it");
        case SQLITE_FULL: return failed(std::move(message), "make room on the disk");
        case SQLITE_READONLY: return failed(std::move(message), "run as root, and have the directory on a file system that can be written");
        case SQLITE_CANTOPEN:
        case SQLITE_PERM:
        case SQLITE_IOERR: {
            Error error = system == 0 ? failed(std::move(message)) : sys_error(system, message);
            return std::move(error).with_hint("check that the directory exists and that you may write to it (are you root?)");
        }
        case SQLITE_CONSTRAINT:
            if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY) return conflict(std::move(message));
            break;
        default: break;
    }
    return failed(std::move(message));
}

Error statement_error(sqlite3_stmt* statement, int code) {
    sqlite3* db = sqlite3_db_handle(statement);
    return sqlite_error(db, code, "database " + path_of(db));
}

Result<std::string> query_text(Database& db, std::string_view sql) {
    Statement statement = TRY(db.prepare(sql));
    if (!TRY(statement.step())) return failed("no row for " + std::string{sql});
    return statement.text(0);
}

/// Switches to the write-ahead log. SQLite may answer "busy" at once here without asking its busy handler, when several
/// processes open a new file at the same moment. False: this file system cannot (no shared memory), the old journal stays.
Result<bool> enable_wal(Database& db) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds{kBusyTimeoutMs};
    for (;;) {
        auto mode = query_text(db, "PRAGMA journal_mode = WAL");
        if (mode) return *mode == "wal";
        const bool busy = db.last_error_code() == SQLITE_BUSY || db.last_error_code() == SQLITE_LOCKED;
        if (!busy || std::chrono::steady_clock::now() > deadline) return std::move(mode).error();
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
}

}  // namespace

// --- Statement ----------------------------------------------------------------------------------------------------

IdleStatements::Owned IdleStatements::take(std::string_view sql) {
    const auto found = by_text_.find(sql);
    if (found == by_text_.end()) return {};
    Owned statement = std::move(found->second);
    by_text_.erase(found);
    return statement;
}

void IdleStatements::put(Owned statement) {
    // Two of one text were used at once: one is enough.
    const char* text = sqlite3_sql(statement.get());
    if (text != nullptr) by_text_.try_emplace(text, std::move(statement));
}

Statement::~Statement() {
    if (raw_ == nullptr) return;
    reset();  // it holds no lock any more, and copies of nothing
    home_->put(std::move(raw_));
}

Statement& Statement::bind(std::int64_t value) {
    bind_error_ = bind_error_ != SQLITE_OK ? bind_error_ : sqlite3_bind_int64(raw_.get(), next_parameter_, value);
    ++next_parameter_;
    return *this;
}

Statement& Statement::bind(std::string_view text) {
    // A null pointer would bind NULL: an empty view may carry one.
    const char* data = text.data() == nullptr ? "" : text.data();
    const int error = sqlite3_bind_text64(raw_.get(), next_parameter_, data, text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);  // NOLINT
    bind_error_ = bind_error_ != SQLITE_OK ? bind_error_ : error;
    ++next_parameter_;
    return *this;
}

Statement& Statement::bind(std::span<const std::uint8_t> blob) {
    const int error = blob.empty()
                          ? sqlite3_bind_zeroblob(raw_.get(), next_parameter_, 0)
                          : sqlite3_bind_blob64(raw_.get(), next_parameter_, blob.data(), blob.size(), SQLITE_TRANSIENT);  // NOLINT
    bind_error_ = bind_error_ != SQLITE_OK ? bind_error_ : error;
    ++next_parameter_;
    return *this;
}

Statement& Statement::bind_null() {
    bind_error_ = bind_error_ != SQLITE_OK ? bind_error_ : sqlite3_bind_null(raw_.get(), next_parameter_);
    ++next_parameter_;
    return *this;
}

Result<bool> Statement::step() {
    if (bind_error_ != SQLITE_OK) return statement_error(raw_.get(), bind_error_);
    const int code = sqlite3_step(raw_.get());
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    Error error = statement_error(raw_.get(), code);
    sqlite3_reset(raw_.get());
    return error;
}

Status Statement::run() {
    while (TRY(step())) {
    }
    return ok();
}

void Statement::reset() {
    sqlite3_reset(raw_.get());
    sqlite3_clear_bindings(raw_.get());
    next_parameter_ = 1;
    bind_error_ = SQLITE_OK;
}

bool Statement::is_null(int column) const {
    return sqlite3_column_type(raw_.get(), column) == SQLITE_NULL;
}

std::int64_t Statement::int64(int column) const {
    return sqlite3_column_int64(raw_.get(), column);
}

std::string Statement::text(int column) const {
    const unsigned char* data = sqlite3_column_text(raw_.get(), column);
    if (data == nullptr) return {};
    return {data, data + sqlite3_column_bytes(raw_.get(), column)};
}

std::vector<std::uint8_t> Statement::blob(int column) const {
    const auto* data = static_cast<const std::uint8_t*>(sqlite3_column_blob(raw_.get(), column));
    if (data == nullptr) return {};
    return {data, data + sqlite3_column_bytes(raw_.get(), column)};
}

// --- Transaction --------------------------------------------------------------------------------------------------

Transaction::Transaction(Transaction&& other) noexcept
    : db_{std::exchange(other.db_, nullptr)}, nested_{other.nested_}, durability_{other.durability_} {}

Transaction::~Transaction() {
    if (db_ == nullptr) return;
    // Errors are of no use here: after a failure SQLite may have rolled back on its own, and then there is nothing to do.
    if (nested_) {
        sqlite3_exec(db_, "ROLLBACK TO fastnet; RELEASE fastnet", nullptr, nullptr, nullptr);
        return;
    }
    sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
    restore_durability();
}

Status Transaction::commit() {
    if (db_ == nullptr) return failed("commit: the transaction is over");
    if (!nested_) crash_point();
    const int code = sqlite3_exec(db_, nested_ ? "RELEASE fastnet" : "COMMIT", nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) return sqlite_error(db_, sqlite3_extended_errcode(db_), "commit to database " + path_of(db_));
    if (!nested_) {
        restore_durability();
        crash_point();
    }
    db_ = nullptr;
    return ok();
}

void Transaction::restore_durability() {
    if (durability_ == Durability::kPowerLoss) sqlite3_exec(db_, "PRAGMA synchronous = NORMAL", nullptr, nullptr, nullptr);
}

// --- Database -----------------------------------------------------------------------------------------------------

Result<Database> Database::open(const std::filesystem::path& file, OpenMode mode) {
    const std::string what = "open database " + file.string();
    std::error_code error;
    const bool exists = std::filesystem::exists(file, error);
    if (error) return sys_error(error.value(), what);
    if (!exists && mode != OpenMode::kCreate)
        return not_found(what + ": there is none", "`fastnet attach --mode bridge` prepares this node");

    const bool writes = mode != OpenMode::kReadOnly;
    const int flags = (writes ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) | (mode == OpenMode::kCreate ? SQLITE_OPEN_CREATE : 0) |
                      SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    sqlite3* raw = nullptr;
    const int code = sqlite3_open_v2(file.c_str(), &raw, flags, nullptr);
    Database db{raw};  // SQLite gives a handle to close even when it failed
    if (code != SQLITE_OK) {
        Error opened = sqlite_error(raw, code, what);
        if (exists || mode != OpenMode::kCreate) return opened;
        return sys_error(why_not_created(file), what).with_hint(opened.hint);
    }
    if (auto prepared = db.set_up(writes); !prepared) return std::move(prepared).error();
    return db;
}

Status Database::set_up(bool writes) {
    const std::string what = "open database " + path_of(raw_.get());
    sqlite3_busy_timeout(raw_.get(), kBusyTimeoutMs);
    // No checkpoint at close: it would cost every short command two disk flushes. The log is bounded below, and read again
    // by whoever opens next.
    sqlite3_db_config(raw_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    sqlite3_db_config(raw_.get(), SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    // A plan does not depend on what is bound: else a statement that is used again is planned again wherever a partial index might do.
    sqlite3_db_config(raw_.get(), SQLITE_DBCONFIG_ENABLE_QPSG, 1, nullptr);
    const auto checked = [&](Status status) -> Status {
        if (status) return status;
        return sqlite_error(raw_.get(), last_error_code(), what).with_hint(status.error().hint);
    };
    CHECK_OK(checked(exec("PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA synchronous = NORMAL;")));
    CHECK_OK(checked(exec("SELECT count(*) FROM sqlite_schema")));  // the first read: says what is wrong with the file
    // In this order: another process may make the tables between the two reads, and sets the id in the same commit.
    const std::int64_t tables = TRY(query_int("SELECT count(*) FROM sqlite_schema"));
    const std::int64_t application = TRY(query_int("PRAGMA application_id"));
    if (application != kApplicationId && !(application == 0 && tables == 0))
        return failed(what + ": it is an SQLite database, but not one of fastnet", kBrokenHint.data());
    if (!writes) return ok();
    if (sqlite3_db_readonly(raw_.get(), "main") == 1)
        return failed(what + ": the file is read-only", "run as root, and have the directory on a file system that can be written");
    auto wal = enable_wal(*this);
    if (!wal) return std::move(wal).error().in(what);
    wal_ = *wal;
    CHECK_OK(exec("PRAGMA wal_autocheckpoint = " + std::to_string(kCheckpointPages)));
    if (!wal_) CHECK_OK(exec("PRAGMA synchronous = FULL"));  // NORMAL is crash safe with the write-ahead log alone
    return ok();
}

Result<Statement> Database::prepare(std::string_view sql) {
    if (auto idle = idle_->take(sql); idle != nullptr) return Statement{std::move(idle), idle_};
    sqlite3_stmt* raw = nullptr;
    const int code = sqlite3_prepare_v2(raw_.get(), sql.data(), static_cast<int>(sql.size()), &raw, nullptr);
    if (code != SQLITE_OK) return sqlite_error(raw_.get(), code, "database " + path_of(raw_.get()));
    return Statement{IdleStatements::Owned{raw}, idle_};
}

Status Database::exec(const std::string& sql) {
    const int code = sqlite3_exec(raw_.get(), sql.c_str(), nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) return sqlite_error(raw_.get(), last_error_code(), "database " + path_of(raw_.get()));
    return ok();
}

Result<std::int64_t> Database::query_int(std::string_view sql) {
    Statement statement = TRY(prepare(sql));
    if (!TRY(statement.step())) return failed("database " + path_of(raw_.get()) + ": no row for " + std::string{sql});
    return statement.int64(0);
}

Result<Transaction> Database::begin(Durability durability) {
    const bool nested = in_transaction();
    const bool sync = durability == Durability::kPowerLoss && !nested && wal_;
    if (sync) CHECK_OK(exec("PRAGMA synchronous = FULL"));
    Transaction transaction{raw_.get(), nested, sync ? Durability::kPowerLoss : Durability::kProcessCrash};
    CHECK_OK(exec(nested ? "SAVEPOINT fastnet" : "BEGIN IMMEDIATE"));
    return transaction;
}

Result<Transaction> Database::begin_snapshot() {
    const bool nested = in_transaction();
    Transaction transaction{raw_.get(), nested, Durability::kProcessCrash};
    CHECK_OK(exec(nested ? "SAVEPOINT fastnet" : "BEGIN"));
    return transaction;
}

Status Database::check_integrity() {
    const std::string what = "check database " + path_of(raw_.get());
    Statement pages = TRY(prepare("PRAGMA integrity_check(5)"));
    std::string problems;
    while (TRY(pages.step()))
        if (pages.text(0) != "ok") problems += (problems.empty() ? "" : "; ") + pages.text(0);
    Statement links = TRY(prepare("PRAGMA foreign_key_check"));
    while (TRY(links.step()))
        problems += (problems.empty() ? "" : "; ") + ("row " + std::to_string(links.int64(1))) + " of " + links.text(0) + " points nowhere";
    if (!problems.empty()) return failed(what + ": " + problems, kBrokenHint.data());
    return ok();
}

}  // namespace fastnet
