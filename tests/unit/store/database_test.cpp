#include "userspace/store/database.h"

#include <gtest/gtest.h>

#include <fstream>
#include <vector>

#include "tests/unit/store/child_process.h"
#include "tests/unit/store/temp_dir.h"
#include "userspace/store/schema.h"

namespace fastnet {
namespace {

using OpenMode = Database::OpenMode;

class DatabaseTest : public testing::Test {
protected:
    Database open(OpenMode mode = OpenMode::kCreate) {
        auto db = Database::open(file(), mode);
        if (!db) ADD_FAILURE() << db.error().message;
        return std::move(db).value();
    }
    std::filesystem::path file() const { return dir_.path() / "fastnet.db"; }
    void write(const std::string& bytes) const { std::ofstream{file(), std::ios::binary} << bytes; }
    std::string read() const {
        std::ifstream stream{file(), std::ios::binary};
        return {std::istreambuf_iterator<char>{stream}, {}};
    }

    TempDir dir_;
};

TEST_F(DatabaseTest, ValuesComeBackAsTheyWereBound) {
    Database db = open();
    ASSERT_TRUE(db.exec("CREATE TABLE t (i, t, b, n)"));
    const std::vector<std::uint8_t> blob{0, 1, 0xff};
    Statement insert = *db.prepare("INSERT INTO t VALUES (?, ?, ?, ?)");
    ASSERT_TRUE(insert.bind(std::int64_t{-5}).bind("o'neil \"; DROP TABLE t; --").bind(blob).bind_null().run());
    insert.reset();
    ASSERT_TRUE(insert.bind(true).bind(std::string_view{}).bind(std::span<const std::uint8_t>{}).bind(std::string("a\0b", 3)).run());

    Statement select = *db.prepare("SELECT i, t, b, n FROM t");
    ASSERT_TRUE(*select.step());
    EXPECT_EQ(select.int64(0), -5);
    EXPECT_EQ(select.text(1), "o'neil \"; DROP TABLE t; --");
    EXPECT_EQ(select.blob(2), blob);
    EXPECT_TRUE(select.is_null(3));
    ASSERT_TRUE(*select.step());
    EXPECT_TRUE(select.boolean(0));
    EXPECT_FALSE(select.is_null(1));
    EXPECT_EQ(select.text(1), "");
    EXPECT_FALSE(select.is_null(2));
    EXPECT_EQ(select.text(3), std::string("a\0b", 3));
    EXPECT_FALSE(*select.step());
}

TEST_F(DatabaseTest, AWrongNumberOfParametersComesOutOfStep) {
    Database db = open();
    Statement select = *db.prepare("SELECT ?");
    EXPECT_FALSE(select.bind(1).bind(2).step());
    EXPECT_FALSE(db.prepare("SELEKT"));
}

TEST_F(DatabaseTest, ATransactionWithoutCommitLeavesNothing) {
    Database db = open();
    ASSERT_TRUE(db.exec("CREATE TABLE t (i)"));
    {
        Transaction transaction = *db.begin();
        ASSERT_TRUE(db.exec("INSERT INTO t VALUES (1)"));
        EXPECT_TRUE(db.in_transaction());
    }
    EXPECT_FALSE(db.in_transaction());
    EXPECT_EQ(*db.query_int("SELECT count(*) FROM t"), 0);
    Transaction transaction = *db.begin(Durability::kPowerLoss);
    ASSERT_TRUE(db.exec("INSERT INTO t VALUES (1)"));
    ASSERT_TRUE(transaction.commit());
    EXPECT_FALSE(transaction.commit()) << "a second time";
    EXPECT_EQ(*db.query_int("SELECT count(*) FROM t"), 1);
    EXPECT_EQ(*db.query_int("PRAGMA synchronous"), 1) << "NORMAL again";
}

TEST_F(DatabaseTest, AnInnerTransactionFailsOnItsOwnAndCommitsWithTheOuter) {
    Database db = open();
    ASSERT_TRUE(db.exec("CREATE TABLE t (i)"));
    {
        Transaction outer = *db.begin();
        ASSERT_TRUE(db.exec("INSERT INTO t VALUES (1)"));
        {
            Transaction inner = *db.begin();
            ASSERT_TRUE(db.exec("INSERT INTO t VALUES (2)"));
        }
        Transaction inner = *db.begin();
        ASSERT_TRUE(db.exec("INSERT INTO t VALUES (3)"));
        ASSERT_TRUE(inner.commit());
        EXPECT_EQ(*db.query_int("SELECT sum(i) FROM t"), 4);
        ASSERT_TRUE(outer.commit());
    }
    EXPECT_EQ(*db.query_int("SELECT sum(i) FROM t"), 4);
}

TEST_F(DatabaseTest, OpeningWhatIsNotThereIsNotFound) {
    for (const OpenMode mode : {OpenMode::kExisting, OpenMode::kReadOnly}) {
        const auto db = Database::open(file(), mode);
        ASSERT_FALSE(db);
        EXPECT_EQ(db.error().kind, ErrorKind::kNotFound);
    }
    EXPECT_FALSE(std::filesystem::exists(file()));
}

TEST_F(DatabaseTest, JunkIsRefusedAndKept) {
    for (const std::string& junk : {std::string{"hello, world\n"}, std::string(5000, 'j'), std::string(100, '\0'),
                                    std::string{"SQLite format 3\0 but not quite", 30}}) {
        write(junk);
        for (const OpenMode mode : {OpenMode::kCreate, OpenMode::kExisting, OpenMode::kReadOnly}) {
            const auto db = Database::open(file(), mode);
            ASSERT_FALSE(db) << junk.substr(0, 20);
            EXPECT_EQ(db.error().kind, ErrorKind::kFailed);
            EXPECT_EQ(db.error().message, "open database " + file().string() + ": file is not a database");
            EXPECT_NE(db.error().hint.find("fastnet cleanup"), std::string::npos) << db.error().hint;
        }
        EXPECT_EQ(read(), junk);
    }
}

TEST_F(DatabaseTest, AnotherProgramsDatabaseIsRefusedAndKept) {
    sqlite3* raw = nullptr;
    ASSERT_EQ(sqlite3_open(file().c_str(), &raw), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(raw, "CREATE TABLE bookmarks (url)", nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(raw);
    const std::string before = read();
    const auto db = Database::open(file(), OpenMode::kCreate);
    ASSERT_FALSE(db);
    EXPECT_NE(db.error().message.find("not one of fastnet"), std::string::npos) << db.error().message;
    EXPECT_FALSE(db.error().hint.empty());
    EXPECT_EQ(read(), before);
}

TEST_F(DatabaseTest, DamagedPagesAreFoundByTheIntegrityCheck) {
    {
        Database db = open();
        ASSERT_TRUE(migrate(db, schema_steps()));
        Transaction transaction = std::move(db.begin()).value();
        for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(db.exec("INSERT INTO settings VALUES ('key" + std::to_string(i) + "', 'value')"));
        ASSERT_TRUE(transaction.commit());
        ASSERT_TRUE(db.check_integrity());
        ASSERT_TRUE(db.exec("PRAGMA wal_checkpoint(TRUNCATE)"));
    }
    std::string bytes = read();
    ASSERT_GT(bytes.size(), 400'000U);
    for (std::size_t i = bytes.size() / 2; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31);
    write(bytes);
    Database db = open(OpenMode::kExisting);
    const auto checked = db.check_integrity();
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().message.rfind("check database ", 0), 0U) << checked.error().message;
    EXPECT_FALSE(checked.error().hint.empty());
    const auto sum = db.query_int("SELECT sum(length(value)) FROM settings");
    ASSERT_FALSE(sum);
    EXPECT_NE(sum.error().message.find("malformed"), std::string::npos) << sum.error().message;
    EXPECT_FALSE(sum.error().hint.empty());
}

TEST_F(DatabaseTest, ADirectoryWithoutWritePermissionIsAClearError) {
    const std::filesystem::path parent = dir_.path();
    std::filesystem::permissions(parent, std::filesystem::perms{0555});
    // Root may write anywhere: become nobody first.
    const int status = wait_for(start_child([&] {
        if (::getuid() == 0 && ::setuid(65534) != 0) return 77;
        const auto db = Database::open(file(), OpenMode::kCreate);
        if (db) return 1;
        if (db.error().message.rfind("open database " + file().string(), 0) != 0) return 2;
        if (db.error().message.find("Permission denied") == std::string::npos) return 3;
        if (db.error().hint.empty()) return 4;
        return 0;
    }));
    std::filesystem::permissions(parent, std::filesystem::perms{0755});
    EXPECT_EQ(status, 0);
}

TEST_F(DatabaseTest, AReadOnlyFileIsAClearErrorForAWriter) {
    {
        Database db = open();
        ASSERT_TRUE(migrate(db, schema_steps()));
        ASSERT_TRUE(db.exec("PRAGMA wal_checkpoint(TRUNCATE)"));
    }
    std::filesystem::permissions(dir_.path(), std::filesystem::perms{0777});
    for (const auto& entry : std::filesystem::directory_iterator{dir_.path()})
        std::filesystem::permissions(entry.path(), std::filesystem::perms{0444});
    const int status = wait_for(start_child([&] {
        if (::getuid() == 0 && ::setuid(65534) != 0) return 77;
        const auto db = Database::open(file(), OpenMode::kCreate);
        if (db) return 1;
        if (db.error().message.rfind("open database " + file().string(), 0) != 0) return 2;
        return db.error().hint.empty() ? 3 : 0;
    }));
    EXPECT_EQ(status, 0);
}

TEST_F(DatabaseTest, MigrationStartsAtVersionZeroAndIsDoneOnce) {
    Database db = open();
    EXPECT_EQ(*db.query_int("PRAGMA user_version"), 0);
    ASSERT_TRUE(migrate(db, schema_steps()));
    EXPECT_EQ(*db.query_int("PRAGMA user_version"), static_cast<std::int64_t>(schema_steps().size()));
    EXPECT_EQ(*db.query_int("PRAGMA application_id"), kApplicationId);
    ASSERT_TRUE(migrate(db, schema_steps()));
    ASSERT_TRUE(db.check_integrity());
}

TEST_F(DatabaseTest, ALaterStepKeepsTheRows) {
    Database db = open();
    ASSERT_TRUE(migrate(db, schema_steps()));
    ASSERT_TRUE(db.exec("INSERT INTO settings VALUES ('k', 'v')"));
    std::vector<std::string_view> steps{schema_steps().begin(), schema_steps().end()};
    steps.push_back("ALTER TABLE settings ADD COLUMN extra TEXT DEFAULT 'e';");
    ASSERT_TRUE(migrate(db, steps));
    EXPECT_EQ(*db.query_int("SELECT count(*) FROM settings WHERE key = 'k' AND extra = 'e'"), 1);

    const auto older_program = migrate(db, schema_steps());
    ASSERT_FALSE(older_program);
    EXPECT_NE(older_program.error().message.find("schema has version"), std::string::npos);
    EXPECT_EQ(*db.query_int("PRAGMA user_version"), static_cast<std::int64_t>(steps.size()));
}

TEST_F(DatabaseTest, AddressesOfVersionOneAreKeptWithWhatHoldsThem) {
    Database db = open();
    ASSERT_TRUE(migrate(db, schema_steps().first(1)));
    const std::string address = "x'00000000000000000000ffff0a4d00";
    ASSERT_TRUE(
        db.exec("INSERT INTO networks VALUES (1, 'blue', 1, 0, 0, 1, NULL, '', 'fn-1-blue', 0);"
                "INSERT INTO endpoints VALUES (5, 'web', 3, 2, 1, 'web', '4:1', NULL, 'eth0', 'fnv-5', 9, NULL, NULL, NULL, 0, 1500, 0);"
                "INSERT INTO addresses VALUES (1, " +
                address +
                "01', 4, 24, 2, NULL);"
                "INSERT INTO addresses VALUES (1, " +
                address +
                "02', 4, 24, 1, 5);"
                "INSERT INTO addresses VALUES (1, " +
                address + "03', 4, 24, 3, NULL);"));
    ASSERT_TRUE(migrate(db, schema_steps()));
    ASSERT_TRUE(db.check_integrity());
    EXPECT_EQ(*db.query_int("SELECT count(*) FROM addresses WHERE remote_id IS NULL"), 3);
    EXPECT_EQ(*db.query_int("SELECT count(*) FROM addresses WHERE purpose = 1 AND endpoint_id = 5 AND length = 24"), 1);
    EXPECT_EQ(*db.query_int("SELECT count(*) FROM sqlite_schema WHERE name = 'addresses_by_address'"), 1);
    EXPECT_FALSE(db.exec("INSERT INTO addresses VALUES (1, " + address + "02', 4, 24, 3, NULL, NULL)")) << "still one owner each";
    ASSERT_TRUE(db.exec("DELETE FROM endpoints"));
    EXPECT_EQ(*db.query_int("SELECT count(*) FROM addresses"), 2) << "still goes with its endpoint";
    ASSERT_TRUE(db.exec("DELETE FROM networks"));
    EXPECT_EQ(*db.query_int("SELECT count(*) FROM addresses"), 0);
}

TEST_F(DatabaseTest, PeersAndRemoteEndpointsOfVersionTwoBecomeStaticOnes) {
    Database db = open();
    ASSERT_TRUE(migrate(db, schema_steps().first(2)));
    ASSERT_TRUE(
        db.exec("INSERT INTO networks VALUES (1, 'blue', 2, 0, 0, 1, 7, '', 'fn-1-blue', 0);"
                "INSERT INTO subnets VALUES (1, 4, x'00000000000000000000ffff0a4d0000', 24, NULL, NULL, NULL, NULL);"
                "INSERT INTO tunnels VALUES (1, x'00000000000000000000ffffc0000207');"
                "INSERT INTO peers VALUES (1, NULL); INSERT INTO peers VALUES (1, 1);"
                "INSERT INTO remote_endpoints VALUES (4, 1, 1, x'02420a4d0009');"
                "INSERT INTO addresses VALUES (1, x'00000000000000000000ffff0a4d0009', 4, 24, 4, NULL, 4);"));
    ASSERT_TRUE(migrate(db, schema_steps()));
    ASSERT_TRUE(db.check_integrity());
    EXPECT_EQ(*db.query_int("SELECT count(*) FROM peers WHERE owner = 1"), 2);
    EXPECT_EQ(*db.query_int("SELECT count(*) FROM remote_endpoints WHERE owner = 1 AND ref IS NULL AND node = ''"), 1);
    EXPECT_EQ(*db.query_int("SELECT count(*) FROM networks WHERE uid IS NULL"), 1);
    EXPECT_EQ(*db.query_int("SELECT wants_block FROM subnets"), 0);
    EXPECT_FALSE(db.exec("INSERT INTO peers (tunnel_id) VALUES (1)")) << "still one record of each owner";
    EXPECT_TRUE(db.exec("INSERT INTO peers (tunnel_id, owner) VALUES (1, 2)"));
    EXPECT_FALSE(db.exec("INSERT INTO remote_endpoints (network_id, tunnel_id, mac, owner) VALUES (1, 1, x'02420a4d0008', 2)"))
        << "what etcd says has a key";
}

TEST_F(DatabaseTest, AStatementIsPreparedOnceAndAloneWhileItIsUsed) {
    Database db = open();
    ASSERT_TRUE(db.exec("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1), (2), (3)"));
    constexpr std::string_view kSql = "SELECT n FROM t WHERE n >= ? ORDER BY n";
    for (std::int64_t from = 1; from <= 3; ++from) {
        auto outer = db.prepare(kSql);
        ASSERT_TRUE(outer && *outer->bind(from).step());
        auto inner = db.prepare(kSql);  // while a row of the first is being read
        ASSERT_TRUE(inner && *inner->bind(std::int64_t{3}).step());
        EXPECT_EQ(outer->int64(0), from);
        EXPECT_EQ(inner->int64(0), 3);
    }
    auto again = db.prepare(kSql);
    ASSERT_TRUE(again);
    EXPECT_FALSE(*again->step()) << "what was bound before is forgotten";
    ASSERT_TRUE(db.exec("DROP TABLE t")) << "an idle statement holds nothing";
}

TEST_F(DatabaseTest, ASnapshotDoesNotSeeWhatIsCommittedMeanwhile) {
    Database db = open();
    ASSERT_TRUE(migrate(db, schema_steps()));
    Database other = open();
    {
        const auto snapshot = other.begin_snapshot();
        ASSERT_TRUE(snapshot);
        EXPECT_EQ(*other.query_int("SELECT count(*) FROM settings"), 0);
        ASSERT_TRUE(db.exec("INSERT INTO settings VALUES ('a', 'b')"));
        EXPECT_EQ(*other.query_int("SELECT count(*) FROM settings"), 0);
    }
    EXPECT_EQ(*other.query_int("SELECT count(*) FROM settings"), 1);
}

TEST_F(DatabaseTest, AMigrationThatFailsHalfWayLeavesTheOldVersion) {
    Database db = open();
    ASSERT_TRUE(migrate(db, schema_steps()));
    std::vector<std::string_view> steps{schema_steps().begin(), schema_steps().end()};
    steps.push_back("CREATE TABLE extra (a); INSERT INTO extra VALUES (1); CREATE TABLE settings (a);");
    EXPECT_FALSE(migrate(db, steps));
    EXPECT_EQ(*db.query_int("PRAGMA user_version"), static_cast<std::int64_t>(schema_steps().size()));
    EXPECT_EQ(*db.query_int("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'"), 0);
}

}  // namespace
}  // namespace fastnet
