#include "userspace/store/schema.h"

#include <array>

namespace fastnet {
namespace {

// Addresses are 16-byte blobs in wire order, IPv4 mapped (::ffff:a.b.c.d), as in IpAddress and in the BPF maps: blobs
// compare bytewise, so an index walks them in numeric order. AUTOINCREMENT: an id is never given twice.
// Enumerations are the numbers of the C++ enums; ports and lengths plain numbers.
constexpr std::string_view kVersion1 = R"sql(
CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE uplinks (
    name           TEXT PRIMARY KEY,
    chosen_by_user INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sysctls (
    path     TEXT PRIMARY KEY,
    original TEXT NOT NULL,
    written  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE networks (
    id       INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1 AND 4294967295),
    name     TEXT NOT NULL UNIQUE,
    driver   INTEGER NOT NULL,
    mtu      INTEGER NOT NULL,
    internal INTEGER NOT NULL,
    icc      INTEGER NOT NULL,
    vni      INTEGER UNIQUE,          -- NULL: not an overlay
    parent   TEXT NOT NULL,
    bridge   TEXT UNIQUE,             -- NULL: no device of its own
    created  INTEGER NOT NULL
) STRICT;

CREATE TABLE network_options (
    network_id INTEGER NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    key        TEXT NOT NULL,
    value      TEXT NOT NULL,
    PRIMARY KEY (network_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE subnets (
    network_id    INTEGER NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    family        INTEGER NOT NULL CHECK (family IN (4, 6)),
    address       BLOB NOT NULL CHECK (length(address) = 16),
    length        INTEGER NOT NULL,
    gateway       BLOB CHECK (length(gateway) = 16),
    range_address BLOB CHECK (length(range_address) = 16),
    range_length  INTEGER,
    cursor        BLOB CHECK (length(cursor) = 16),    -- the address picked last
    PRIMARY KEY (network_id, family)
) STRICT, WITHOUT ROWID;

CREATE TABLE endpoints (
    id               INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1 AND 4294967295),
    name             TEXT NOT NULL UNIQUE,
    mode             INTEGER NOT NULL,
    state            INTEGER NOT NULL CHECK (state IN (1, 2, 3)),
    network_id       INTEGER REFERENCES networks (id) ON DELETE RESTRICT,
    netns            TEXT NOT NULL,
    netns_id         TEXT NOT NULL,
    netns_cookie     INTEGER,                          -- NULL: not known
    ifname           TEXT NOT NULL,
    host_ifname      TEXT UNIQUE,                      -- NULL: none
    host_ifindex     INTEGER NOT NULL,
    mac              BLOB CHECK (length(mac) = 6),     -- NULL: none
    gateway4         BLOB CHECK (length(gateway4) = 16),
    gateway6         BLOB CHECK (length(gateway6) = 16),
    gateway_priority INTEGER NOT NULL,
    mtu              INTEGER NOT NULL,
    created          INTEGER NOT NULL,
    CHECK ((mode IN (1, 2)) = (network_id IS NULL))
) STRICT;
CREATE INDEX endpoints_by_network ON endpoints (network_id);
CREATE INDEX endpoints_by_netns ON endpoints (netns_id, ifname);
CREATE INDEX endpoints_unfinished ON endpoints (state) WHERE state <> 2;
-- Two equal MACs on one bridge would take each other's frames. All of ipvlan (6) shares its parent's.
CREATE UNIQUE INDEX endpoints_by_mac ON endpoints (network_id, mac) WHERE mac IS NOT NULL AND mode <> 6;
CREATE INDEX endpoints_of_cookie ON endpoints (netns_cookie);
-- A cookie is never used again while the host runs, so this cannot meet a vanished namespace.
CREATE UNIQUE INDEX endpoints_by_cookie ON endpoints (netns_cookie, ifname) WHERE netns_cookie IS NOT NULL AND ifname <> '';

CREATE TABLE addresses (
    network_id  INTEGER NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    address     BLOB NOT NULL CHECK (length(address) = 16),
    family      INTEGER NOT NULL CHECK (family IN (4, 6)),
    length      INTEGER NOT NULL,                      -- of the subnet
    purpose     INTEGER NOT NULL CHECK (purpose IN (1, 2, 3)),  -- 1 endpoint's, 2 gateway, 3 reserved by a caller
    endpoint_id INTEGER REFERENCES endpoints (id) ON DELETE CASCADE,
    PRIMARY KEY (network_id, address),
    UNIQUE (endpoint_id, family),
    CHECK ((purpose = 1) = (endpoint_id IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX addresses_by_address ON addresses (address);

CREATE TABLE ports (
    id              INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1 AND 4294967295),
    endpoint_id     INTEGER NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    protocol        INTEGER NOT NULL,
    family          INTEGER NOT NULL CHECK (family IN (4, 6)),
    host_ip         BLOB NOT NULL CHECK (length(host_ip) = 16),
    is_any          INTEGER NOT NULL,                  -- host_ip is 0.0.0.0 or ::
    host_first      INTEGER NOT NULL CHECK (host_first BETWEEN 1 AND 65535),
    host_last       INTEGER NOT NULL CHECK (host_last BETWEEN host_first AND 65535),
    container_first INTEGER NOT NULL CHECK (container_first BETWEEN 1 AND 65535),
    container_last  INTEGER NOT NULL CHECK (container_last - container_first = host_last - host_first),
    spec            TEXT NOT NULL
) STRICT;
CREATE INDEX ports_by_endpoint ON ports (endpoint_id);
-- Records of one address do not overlap, so each search for an overlap looks at the records inside the range and at one before.
CREATE UNIQUE INDEX ports_by_address ON ports (protocol, host_ip, host_first);
-- What a publish on every address has to look at besides its like: few, so a scan up to the range's end is fine.
CREATE INDEX ports_bound ON ports (protocol, family, host_first) WHERE is_any = 0;

CREATE TABLE port_sources (
    port_id INTEGER NOT NULL REFERENCES ports (id) ON DELETE CASCADE,
    allow   INTEGER NOT NULL,                          -- 1 allow list, 0 deny list
    address BLOB NOT NULL CHECK (length(address) = 16),
    length  INTEGER NOT NULL,
    PRIMARY KEY (port_id, allow, address, length)
) STRICT, WITHOUT ROWID;
)sql";

// Overlay networks: their peers, and containers there that were named by hand. The table of addresses is made anew, since a
// CHECK cannot be changed: an address of a remote endpoint is taken like any other.
constexpr std::string_view kVersion2 = R"sql(
CREATE TABLE tunnels (
    id      INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 4095),   -- index in the BPF map, used again
    address BLOB NOT NULL UNIQUE CHECK (length(address) = 16)    -- of the peer
) STRICT;

CREATE TABLE peers (
    tunnel_id  INTEGER NOT NULL REFERENCES tunnels (id) ON DELETE CASCADE,
    network_id INTEGER REFERENCES networks (id) ON DELETE CASCADE  -- NULL: of every overlay network
) STRICT;
CREATE UNIQUE INDEX peers_once ON peers (tunnel_id, ifnull(network_id, 0));
CREATE INDEX peers_by_network ON peers (network_id);

CREATE TABLE remote_endpoints (
    id         INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1 AND 4294967295),
    network_id INTEGER NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    tunnel_id  INTEGER NOT NULL REFERENCES tunnels (id) ON DELETE CASCADE,
    mac        BLOB NOT NULL CHECK (length(mac) = 6)
) STRICT;
CREATE INDEX remote_endpoints_by_mac ON remote_endpoints (network_id, mac);
CREATE INDEX remote_endpoints_by_tunnel ON remote_endpoints (tunnel_id);

CREATE TABLE addresses_2 (
    network_id  INTEGER NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    address     BLOB NOT NULL CHECK (length(address) = 16),
    family      INTEGER NOT NULL CHECK (family IN (4, 6)),
    length      INTEGER NOT NULL,                      -- of the subnet
    -- 1 endpoint's, 2 gateway, 3 reserved by a caller, 4 remote endpoint's
    purpose     INTEGER NOT NULL CHECK (purpose IN (1, 2, 3, 4)),
    endpoint_id INTEGER REFERENCES endpoints (id) ON DELETE CASCADE,
    remote_id   INTEGER REFERENCES remote_endpoints (id) ON DELETE CASCADE,
    PRIMARY KEY (network_id, address),
    UNIQUE (endpoint_id, family),
    UNIQUE (remote_id, family),
    CHECK ((purpose = 1) = (endpoint_id IS NOT NULL)),
    CHECK ((purpose = 4) = (remote_id IS NOT NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO addresses_2 (network_id, address, family, length, purpose, endpoint_id)
    SELECT network_id, address, family, length, purpose, endpoint_id FROM addresses;
DROP TABLE addresses;
ALTER TABLE addresses_2 RENAME TO addresses;
CREATE INDEX addresses_by_address ON addresses (address);
)sql";

// What the nodes of a cluster share. Records of peers and remote endpoints have an owner, who alone changes them.
constexpr std::string_view kVersion3 = R"sql(
ALTER TABLE networks ADD COLUMN uid TEXT CHECK (uid <> '');              -- NULL: this node's own
CREATE UNIQUE INDEX networks_by_uid ON networks (uid);
ALTER TABLE subnets ADD COLUMN wants_block INTEGER NOT NULL DEFAULT 0;   -- an endpoint found no address

CREATE TABLE removed_networks (                                         -- shared ones, until the cluster knows
    uid  TEXT PRIMARY KEY,
    name TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE blocks (                                                   -- of shared networks: what this node hands out
    network_id INTEGER NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    address    BLOB NOT NULL CHECK (length(address) = 16),
    family     INTEGER NOT NULL CHECK (family IN (4, 6)),
    length     INTEGER NOT NULL,
    PRIMARY KEY (network_id, address)
) STRICT, WITHOUT ROWID;

CREATE TABLE remote_nodes (
    name TEXT PRIMARY KEY,
    uid  TEXT NOT NULL,
    ipv4 BLOB UNIQUE CHECK (length(ipv4) = 16),
    ipv6 BLOB UNIQUE CHECK (length(ipv6) = 16)
) STRICT, WITHOUT ROWID;

ALTER TABLE peers ADD COLUMN owner INTEGER NOT NULL DEFAULT 1 CHECK (owner IN (1, 2));
DROP INDEX peers_once;
CREATE UNIQUE INDEX peers_once ON peers (tunnel_id, ifnull(network_id, 0), owner);

ALTER TABLE remote_endpoints ADD COLUMN owner INTEGER NOT NULL DEFAULT 1 CHECK (owner IN (1, 2));
ALTER TABLE remote_endpoints ADD COLUMN ref TEXT CHECK ((owner = 1) = (ref IS NULL));  -- the owner's key
ALTER TABLE remote_endpoints ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE remote_endpoints ADD COLUMN node TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX remote_endpoints_by_ref ON remote_endpoints (owner, ref);
CREATE INDEX remote_endpoints_by_network ON remote_endpoints (network_id, tunnel_id, owner);
CREATE INDEX remote_endpoints_static ON remote_endpoints (tunnel_id) WHERE owner = 1;
)sql";

// Sources that the whole node takes nothing from. By length first: what covers a prefix is found by one look for each length, and
// what lies within it by one range for each.
constexpr std::string_view kVersion4 = R"sql(
CREATE TABLE denied (
    family  INTEGER NOT NULL CHECK (family IN (4, 6)),
    length  INTEGER NOT NULL CHECK (length BETWEEN 0 AND 128),
    address BLOB NOT NULL CHECK (length(address) = 16),
    PRIMARY KEY (family, length, address)
) STRICT, WITHOUT ROWID;
)sql";

constexpr std::array kSteps{kVersion1, kVersion2, kVersion3, kVersion4};

}  // namespace

std::span<const std::string_view> schema_steps() {
    return kSteps;
}

Status migrate(Database& db, std::span<const std::string_view> steps) {
    const auto newest = static_cast<std::int64_t>(steps.size());
    if (TRY(db.query_int("PRAGMA user_version")) == newest) return ok();
    Transaction transaction = TRY(db.begin(Durability::kPowerLoss));
    // Again, now that nobody else can write: another process may have done it meanwhile.
    const std::int64_t version = TRY(db.query_int("PRAGMA user_version"));
    if (version < 0 || version > newest)
        return failed("its schema has version " + std::to_string(version) + ", this fastnet knows " + std::to_string(newest) + " at most",
                      "use the newer fastnet that wrote it");
    for (std::int64_t step = version; step < newest; ++step) CHECK_OK(db.exec(std::string{steps[static_cast<std::size_t>(step)]}));
    CHECK_OK(db.exec("PRAGMA application_id = " + std::to_string(kApplicationId)));
    CHECK_OK(db.exec("PRAGMA user_version = " + std::to_string(newest)));
    return transaction.commit();
}

}  // namespace fastnet
