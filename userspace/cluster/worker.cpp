#include "userspace/cluster/worker.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <thread>
#include <tuple>
#include <utility>

#include "loader/base/text.h"
#include "userspace/control/attach.h"
#include "userspace/control/tunnel_ends.h"

namespace fastnet::cluster {
namespace {

using namespace std::chrono_literals;

constexpr auto kTombstoneTime = std::chrono::hours{24};
constexpr std::size_t kChunk = 256;  // remote entries of one change: the node's lock is free between two
constexpr auto kFairness = 5ms;      // between two chunks: commands that wait for the node's lock try every 2 ms
constexpr int kMostRounds = 64;
constexpr std::size_t kExamples = 20;
constexpr auto kLockAlarm = 60s;   // since the first time that the lock's own patience was over
constexpr auto kRenameQuiet = 3s;  // a node that lives on the same lease, since its disk was copied, comes back within that
constexpr std::size_t kMostProblems = 200;
constexpr const char* kNoTunnelEnd = "no uplink has an address that other nodes could reach";
constexpr const char* kMoreProblems = "further problems";

constexpr const char* kUidSetting = "uid";
constexpr const char* kLeaseSetting = "lease";
constexpr const char* kLeaseTimeSetting = "lease_ttl";  // as asked for: etcd may make it longer
constexpr const char* kMachineSetting = "machine";
constexpr const char* kNameSetting = "name";
constexpr const char* kClusterSetting = "etcd_cluster";
constexpr const char* kHoldOffSetting = "hold_off";  // while one lasts: kHoldOffFor...
constexpr const char* kHoldOffForBlocks = "blocks";
constexpr const char* kHoldOffForEverything = "everything";

template <typename Number>
Number number_in(const std::optional<std::string>& text) {
    Number number{};
    if (text) std::from_chars(text->data(), text->data() + text->size(), number);
    return number;
}

/// Empty if there is none.
std::string machine_id() {
    std::string id;
    std::ifstream{"/etc/machine-id"} >> id;
    return id;
}

bool same(const OwnNetwork& a, const OwnNetwork& b) {
    const auto same_block = [](const OwnBlock& x, const OwnBlock& y) {
        return std::tie(x.prefix, x.size, x.free) == std::tie(y.prefix, y.size, y.free);
    };
    return a.network == b.network && a.endpoints == b.endpoints && a.wants_ipv4_block == b.wants_ipv4_block &&
           a.wants_ipv6_block == b.wants_ipv6_block &&
           std::equal(a.blocks.begin(), a.blocks.end(), b.blocks.begin(), b.blocks.end(), same_block);
}

bool same(const OwnSide& a, const OwnSide& b) {
    const auto same_network = [](const OwnNetwork& x, const OwnNetwork& y) { return same(x, y); };
    const auto same_removed = [](const RemovedNetwork& x, const RemovedNetwork& y) { return x.uid == y.uid && x.name == y.name; };
    return std::equal(a.shared.begin(), a.shared.end(), b.shared.begin(), b.shared.end(), same_network) &&
           std::equal(a.to_share.begin(), a.to_share.end(), b.to_share.begin(), b.to_share.end(), same_network) &&
           std::equal(a.removed.begin(), a.removed.end(), b.removed.begin(), b.removed.end(), same_removed);
}

}  // namespace

Worker::Worker(NodePaths paths, WorkerConfig config, WorkerCallbacks callbacks)
    : paths_{std::move(paths)},
      config_{std::move(config)},
      callbacks_{std::move(callbacks)},
      wake_fd_{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)},
      node_changes_{paths_.run_dir},
      remote_{config_.lease_ttl + Schedule::kHoldOffMargin},
      vtep_trouble_{kNoTunnelEnd},
      schedule_{config_.lease_ttl} {
    self_.name = config_.node_name;
    self_.version = config_.version;
}

Worker::~Worker() = default;

// --- from any thread ----------------------------------------------------------------------------------------------

void Worker::stop() {
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
        if (client_) client_->interrupt();
    }
    wake();
}

bool Worker::stopping() const {
    const std::lock_guard lock{mutex_};
    return stopping_;
}

void Worker::wake() const {
    const std::uint64_t one = 1;
    (void)!::write(wake_fd_.get(), &one, sizeof one);  // full: the worker is awake already
}

ClusterStatus Worker::status() const {
    const std::lock_guard lock{mutex_};
    return status_;
}

// --- the loop -----------------------------------------------------------------------------------------------------

Status Worker::run() {
    mirror_.emplace(TRY(KeySpace::make(config_.prefix)));
    EtcdClient client = TRY(EtcdClient::open(config_.etcd));
    keeper_ = TRY(LeaseKeeper::start(config_.etcd, config_.lease_ttl, [this] { wake(); }));
    {
        const std::lock_guard lock{mutex_};
        client_ = std::move(client);
    }
    while (!stopping() && !ended_) {
        callbacks_.beat();
        const auto attempt = [&](Status (Worker::*step)(), const char* what) {
            if (Status done = (this->*step)(); done) {
                schedule_.succeeded();
                busy_since_.reset();
                if (schedule_.is_connected()) reason_.clear();
            } else if (is_busy(done.error())) {
                schedule_.failed(Clock::now());
            } else if (!stopping()) {
                fail(std::string{what} + ": " + done.error().message);
            }
        };
        if (schedule_.must_begin(Clock::now())) attempt(&Worker::begin, "begin");
        if (!schedule_.has_begun()) {
            wait();
            continue;
        }
        if (node_changes_.take()) schedule_.node_changed();
        if (schedule_.take_period(Clock::now())) remote_.retry_refused();
        if (schedule_.must_find_ends(Clock::now())) find_vteps();
        if (schedule_.must_read_node())
            if (Status read = read_node(); !read) problem("node", read.error().message);
        take_inbox();  // after the node: what it does not have any more is not missed in etcd
        if (lease_ != 0 && keeper_->lease().id != lease_) schedule_.lease_lost();
        if (schedule_.must_connect(Clock::now())) attempt(&Worker::connect, "read etcd");
        if (Status remembered = remember_hold_off(); !remembered) problem("hold-off", remembered.error().message);
        if (schedule_.must_publish(Clock::now())) attempt(&Worker::publish, "share");
        if (apply_remote()) {
            std::this_thread::sleep_for(kFairness);
            continue;
        }
        wait();
    }
    if (watch_) watch_->stop();
    keeper_.reset();
    return ok();
}

/// What does not need etcd.
Status Worker::begin() {
    // Also makes the node ready for overlay networks that come from the others.
    CHECK_OK(prepare(paths_, {}));
    CHECK_OK(take_identity());
    CHECK_OK(set_cluster_name(paths_, self_.name));
    cluster_id_ = number_in<std::uint64_t>(TRY(read_agent_setting(paths_, kClusterSetting)));
    const auto held = TRY(read_agent_setting(paths_, kHoldOffSetting));
    hold_off_on_record_ = !held ? WipedParts::kNone : *held == kHoldOffForBlocks ? WipedParts::kBlocks : WipedParts::kEverything;
    schedule_.hold_up(hold_off_on_record_, Clock::now());
    find_vteps();
    (void)node_changes_.take();
    CHECK_OK(read_node());
    schedule_.begun(Clock::now());
    log(Severity::kInfo, "node " + in_quotes(self_.name) + " (uid " + self_.uid + ")");
    return ok();
}

Status Worker::take_identity() {
    const auto read = [&](const char* key) -> Result<std::string> { return TRY(read_agent_setting(paths_, key)).value_or(std::string{}); };
    const Remembered before{TRY(read(kUidSetting)), TRY(read(kMachineSetting)), TRY(read(kNameSetting))};
    const OwnSide own = TRY(read_own_side(paths_));
    const bool is_inhabited =
        std::any_of(own.shared.begin(), own.shared.end(), [](const OwnNetwork& one) { return !one.endpoints.empty(); });
    const std::string machine = machine_id();
    const Identity identity = identify(before, machine, self_.name, is_inhabited);
    if (!identity.notice.empty()) log(Severity::kWarning, identity.notice);
    // The lease first: a crash in between must not leave this node on another one's.
    if (identity.forgets_lease) CHECK_OK(write_agent_setting(paths_, kLeaseSetting, std::nullopt));
    self_.uid = identity.new_uid ? random_uid() : before.uid;
    if (identity.new_uid) CHECK_OK(write_agent_setting(paths_, kUidSetting, self_.uid));
    if (identity.remembers_machine && machine != before.machine) CHECK_OK(write_agent_setting(paths_, kMachineSetting, machine));
    lease_ = number_in<std::int64_t>(TRY(read_agent_setting(paths_, kLeaseSetting)));
    lease_asked_ = std::chrono::seconds{number_in<std::int64_t>(TRY(read_agent_setting(paths_, kLeaseTimeSetting)))};
    lease_is_old_ = identity.ends_lease && lease_ != 0;
    if (!lease_is_old_ && before.name != self_.name) CHECK_OK(write_agent_setting(paths_, kNameSetting, self_.name));
    return ok();
}

/// Somebody holds the node's lock: no failure unless it lasts.
bool Worker::is_busy(const Error& error) {
    if (error.sys_errno != EWOULDBLOCK) return false;
    if (!busy_since_) busy_since_ = Clock::now();
    return Clock::now() - *busy_since_ < kLockAlarm;
}

/// Reads everything and follows it from there.
Status Worker::connect() {
    schedule_.watch_fell();
    watch_.reset();
    auto read = client_->range_prefix(mirror_->keys().root(), {Mirror::kMostKeys, Mirror::kMostBytes});
    if (!read) {
        // Nothing of it is taken in: this node stays as it is.
        if (read.error().sys_errno == E2BIG) schedule_.overflowed(Clock::now());
        return std::move(read).error();
    }
    const RangeResult range = *std::move(read);
    const bool replaced = cluster_id_ != 0 && range.cluster_id != cluster_id_;
    if (replaced || range.revision < mirror_->revision()) {
        log_hold_off(replaced ? "it is another cluster than before" : "its history went back");
        schedule_.wiped(Clock::now());
    }
    CHECK_OK(remember_hold_off());  // before the cluster's id, by which a wipe is known
    if (range.cluster_id != cluster_id_) CHECK_OK(write_agent_setting(paths_, kClusterSetting, std::to_string(range.cluster_id)));
    cluster_id_ = range.cluster_id;
    absorb(mirror_->reset(range.kvs, range.revision));
    // It was away for longer than its lease, and so may be the others, who are not dead for that.
    const bool was_away = lease_ != 0 && (mirror_->node(self_.name) == nullptr || mirror_->node(self_.name)->record.uid != self_.uid);
    if (was_away) schedule_.was_away(Clock::now());
    ++counters_.range_syncs;
    const std::uint64_t number = ++watch_number_;
    inbox_.expect(number);
    watch_ = TRY(
        EtcdWatch::start(config_.etcd, mirror_->keys().root(), range.revision + 1, range.cluster_id, [this, number](WatchMessage message) {
            inbox_.push(number, std::move(message));
            wake();
        }));
    set_connected();
    schedule_.range_read(Clock::now());
    look_for_wipe();
    log(Severity::kInfo, "etcd: " + std::to_string(range.kvs.size()) + " keys read at revision " + std::to_string(range.revision));
    return ok();
}

void Worker::take_inbox() {
    for (const WatchMessage& message : inbox_.take()) {
        if (const auto* const events = std::get_if<WatchEvents>(&message)) {
            take_events(*events);
            if (take_overflow()) return;
        } else if (const auto* const connected = std::get_if<WatchConnected>(&message)) {
            url_ = connected->url;
            if (!schedule_.is_connected()) log(Severity::kInfo, "etcd: connected to " + url_);
            set_connected();
        } else if (const auto* const disconnected = std::get_if<WatchDisconnected>(&message)) {
            disconnect(disconnected->why);
        } else if (const auto* const compacted = std::get_if<WatchCompacted>(&message)) {
            log(Severity::kWarning, "etcd: everything is read anew: " + compacted->why);
            schedule_.watch_ended(Clock::now());
        }
    }
}

void Worker::take_events(const WatchEvents& events) {
    const Touched touched = mirror_->apply(events.events, events.revision);
    absorb(touched);
    if (touched.generation_lost && !own_.shared.empty()) {
        if (!schedule_.wiped_until(Clock::now())) log_hold_off("the networks were deleted");
        schedule_.wiped(Clock::now());
    }
    look_for_wipe();
}

/// Nothing is removed for it: this node stays as it is until etcd can be read again.
bool Worker::take_overflow() {
    const auto overflow = mirror_->overflow();
    if (!overflow) return false;
    watch_.reset();
    inbox_.expect(++watch_number_);  // nothing of that watch any more
    schedule_.watch_ended(Clock::now());
    schedule_.overflowed(Clock::now());
    disconnect(*overflow);
    return true;
}

Status Worker::read_node() {
    auto own = read_own_side(paths_);
    if (!own && own.error().kind == ErrorKind::kNotFound) {
        forget_node();
        return ok();
    }
    if (!own) return std::move(own).error();
    if (node_gone_) {  // prepared again: it has another uid now
        ended_ = true;
        return ok();
    }
    const bool differs = !schedule_.has_begun() || !same(*own, own_);
    schedule_.node_read(differs);
    if (differs) own_ = *std::move(own);
    if (schedule_.is_synced()) look_for_wipe();
    if (!differs) return ok();
    Here here{self_.name, self_.uid, self_.ipv4, self_.ipv6, {}};
    for (const OwnNetwork& shared : own_.shared) here.networks.emplace(shared.network.uid, local_network(shared.network));
    remote_.set_here(*mirror_, std::move(here));
    remote_.retry_refused();
    return ok();
}

/// `fastnet cleanup` under a running agent: the node leaves the cluster, and nothing prepares it again but a command.
void Worker::forget_node() {
    schedule_.node_read(!node_gone_);
    if (std::exchange(node_gone_, true)) return;
    log(Severity::kWarning, "the node was cleaned up: it leaves the cluster");
    own_ = {};
}

// --- this node's side ---------------------------------------------------------------------------------------------

Status Worker::publish() {
    problems_now_.clear();
    attempted_.clear();
    stale_ = false;
    schedule_.publish_begins();
    Status done = publish_all();
    schedule_.publish_ended(static_cast<bool>(done), stale_, Clock::now());
    return done;
}

Status Worker::publish_all() {
    if (node_gone_) {
        CHECK_OK(withdraw());
    } else if (lease_is_old_) {
        CHECK_OK(end_old_lease());
    } else {
        CHECK_OK(ensure_lease());
        if (TRY(register_node())) {
            CHECK_OK(publish_networks());
            CHECK_OK(publish_blocks(true));
            CHECK_OK(publish_endpoints());
            CHECK_OK(publish_blocks(false));
        }
    }
    std::erase_if(problems_, [&](const auto& one) { return !problems_now_.contains(one.first); });
    return ok();
}

/// Everything of this node leaves etcd: what has no lease, then what goes with it.
Status Worker::withdraw() {
    if (lease_ == 0) return ok();
    CHECK_OK(publish_endpoints());
    CHECK_OK(publish_blocks(false));
    if (stale_) return ok();
    keeper_->keep(0);
    Status revoked = client_->revoke(lease_);
    if (!revoked && revoked.error().kind != ErrorKind::kNotFound) return revoked;
    lease_ = 0;
    return ok();
}

/// False: name or address is another node's, or somebody was faster.
Result<bool> Worker::register_node() {
    if (!vtep_trouble_.empty()) problem("tunnels", vtep_trouble_);
    if (!self_.ipv4 && !self_.ipv6) return false;
    const Registration registration = plan_registration(*mirror_, self_, lease_);
    if (!registration.conflict.empty()) {
        problem("node", registration.conflict);
        return false;
    }
    return registration.txn ? write(*registration.txn) : Result<bool>{true};
}

/// Renamed: what has the old name goes. Whoever else lives on that lease, since its disk is a copy of this one's, is let back in first, so
/// that it is this node that finds its uid taken.
Status Worker::end_old_lease() {
    Status revoked = client_->revoke(lease_);
    if (!revoked && revoked.error().kind != ErrorKind::kNotFound) return revoked;
    CHECK_OK(write_agent_setting(paths_, kLeaseSetting, std::nullopt));
    CHECK_OK(write_agent_setting(paths_, kNameSetting, self_.name));
    lease_ = 0;
    lease_is_old_ = false;
    schedule_.keep_quiet(Clock::now() + kRenameQuiet);
    return ok();
}

Status Worker::ensure_lease() {
    if (lease_ != 0 && lease_sure_ && keeper_->lease().id == lease_) return ok();
    if (lease_ != 0) {
        const auto left = client_->keep_alive(lease_);
        if (!left && left.error().kind != ErrorKind::kNotFound) return left.error();
        // One of another length is of an older configuration: it ends by itself, when everything is on the new one.
        if (left && (lease_asked_ == config_.lease_ttl || *left == config_.lease_ttl)) {
            lease_sure_ = true;
            keeper_->keep(lease_);
            return ok();
        }
    }
    const Lease lease = TRY(client_->grant(config_.lease_ttl));
    CHECK_OK(write_agent_setting(paths_, kLeaseTimeSetting, std::to_string(config_.lease_ttl.count())));
    CHECK_OK(write_agent_setting(paths_, kLeaseSetting, std::to_string(lease.id)));
    lease_asked_ = config_.lease_ttl;
    lease_ = lease.id;
    lease_sure_ = true;
    keeper_->keep(lease_);
    log(Severity::kInfo, "etcd: lease " + std::to_string(lease_) + " of " + std::to_string(lease.ttl.count()) + " s");
    return ok();
}

/// False if what it compares is not so any more.
Result<bool> Worker::write(const Txn& txn) {
    auto result = client_->txn(txn);
    if (!result) {
        lease_sure_ = false;  // it may be gone: looked at before the next one
        return std::move(result).error();
    }
    ++counters_.transactions;
    stale_ |= !result->succeeded;
    if (result->succeeded) absorb(mirror_->wrote(txn, result->revision));
    return result->succeeded;
}

/// Carries out what @p plan says, and asks it again, until there is nothing new to do.
template <typename Plan>
Status Worker::settle(Plan plan) {
    for (int round = 0; round < kMostRounds; ++round) {
        bool progress = false;
        for (const auto& step : plan()) {
            callbacks_.beat();
            progress |= TRY(carry_out(step));
        }
        if (!progress) return ok();
        CHECK_OK(read_node());
    }
    stale_ = true;
    return ok();
}

Status Worker::publish_networks() {
    // One for all of them and for every attempt; the next removal gets a day of its own.
    if (!needs_tombstone(*mirror_, own_))
        tombstone_lease_ = 0;
    else if (tombstone_lease_ == 0)
        tombstone_lease_ = TRY(client_->grant(kTombstoneTime)).id;
    return settle([&] { return plan_networks(*mirror_, self_, own_, tombstone_lease_, schedule_.may_restore(Clock::now())); });
}

/// With @p restore what etcd lost, and nothing else: endpoints are shown only in blocks that are known to be this node's.
Status Worker::publish_blocks(bool restore) {
    return settle([&] {
        std::vector<BlockStep> steps = plan_blocks(*mirror_, self_, own_, schedule_.wiped_until(Clock::now()).has_value());
        std::erase_if(steps, [&](const BlockStep& step) { return std::holds_alternative<RestoreBlock>(step) != restore; });
        return steps;
    });
}

Status Worker::publish_endpoints() {
    for (const Txn& txn : plan_endpoints(*mirror_, self_, lease_, own_)) {
        callbacks_.beat();
        if (!TRY(write(txn))) return ok();
    }
    return ok();
}

/// True if it did something, so that the plan has to be made anew. What the node refuses is a problem to be shown, no error.
Result<bool> Worker::carry_out(const NetworkStep& step) {
    const auto first_time = [&](const std::string& what) { return attempted_.insert(what).second; };
    const auto done = [&](const std::string& name, const Status& status) -> Result<bool> {
        if (status) return true;
        if (status.error().kind == ErrorKind::kFailed) return status.error();
        problem("network " + name, status.error().message);
        return false;
    };
    if (const auto* const join = std::get_if<JoinNetwork>(&step)) {
        if (!first_time("join " + join->record.uid)) return false;
        Network network = network_from(join->record);
        network.uid = join->record.uid;
        const auto joined = join_network(paths_, std::move(network));
        return done(join->record.name, joined ? ok() : Status{joined.error()});
    }
    if (const auto* const leave = std::get_if<LeaveNetwork>(&step)) {
        if (!first_time("leave " + leave->uid)) return false;
        schedule_.node_changed();
        return done(leave->name, leave_network(paths_, leave->uid));
    }
    if (const auto* const share = std::get_if<ShareNetwork>(&step)) {
        if (!first_time("share " + share->name)) return false;
        if (share->txn && !TRY(write(*share->txn))) return false;
        if (const auto shared = done(share->name, share_network(paths_, share->name, share->uid)); !shared || !*shared) return shared;
        for (const IpPrefix& prefix : share->blocks)
            if (const auto added = done(share->name, add_block(paths_, share->uid, prefix)); !added) return added;
        log(Severity::kInfo, "network " + in_quotes(share->name) + " is the cluster's (uid " + share->uid + ")");
        return true;
    }
    if (const auto* const restore = std::get_if<RestoreNetwork>(&step)) {
        if (!first_time("restore " + restore->name)) return false;
        log(Severity::kWarning, "network " + in_quotes(restore->name) + " is put back into etcd");
        return write(restore->txn);
    }
    if (const auto* const bury = std::get_if<BuryNetwork>(&step)) {
        if (!first_time((bury->txn ? "bury " : "forget ") + bury->uid)) return false;
        if (bury->txn) {
            auto buried = write(*bury->txn);
            if (!buried && buried.error().kind != ErrorKind::kFailed) tombstone_lease_ = 0;  // refused: the lease may be over
            return buried;
        }
        return done(bury->name, forget_removed(paths_, bury->uid));
    }
    const auto& trouble = std::get<NetworkProblem>(step);
    problem("network " + trouble.name, trouble.why);
    return false;
}

Result<bool> Worker::carry_out(const BlockStep& step) {
    const auto first_time = [&](const char* what, const std::string& network, const IpPrefix& prefix) {
        return attempted_.insert(std::string{what} + network + " " + prefix.to_string()).second;
    };
    if (const auto* const take = std::get_if<TakeBlock>(&step)) {
        if (!first_time("take ", take->network, take->prefix)) return false;
        if (take->txn && !TRY(write(*take->txn))) return false;
        Status added = add_block(paths_, take->network, take->prefix);
        if (!added && added.error().kind == ErrorKind::kFailed) return std::move(added).error();
        if (!added) problem("block " + take->prefix.to_string(), added.error().message);
        return true;
    }
    if (const auto* const give = std::get_if<ReturnBlock>(&step)) {
        if (!first_time("return ", give->network, give->prefix)) return false;
        schedule_.node_changed();  // whatever comes of it: etcd's answer may be lost
        Status removed = node_gone_ ? ok() : remove_block(paths_, give->network, give->prefix);
        if (!removed && removed.error().kind == ErrorKind::kFailed) return std::move(removed).error();
        if (!removed) return false;  // somebody moved in
        return write(give->txn);
    }
    if (const auto* const restore = std::get_if<RestoreBlock>(&step)) {
        if (!first_time("restore ", restore->network, restore->prefix)) return false;
        return write(restore->txn);
    }
    if (const auto* const lose = std::get_if<LoseBlock>(&step)) {
        if (!first_time("lose ", lose->network, lose->prefix)) return false;
        schedule_.node_changed();
        CHECK_OK(lose_block(paths_, lose->network, lose->prefix));
        log(Severity::kError, lose->why);
        return true;
    }
    const auto& trouble = std::get<BlockProblem>(step);
    problem("blocks of " + trouble.network, trouble.why);
    return false;
}

/// Where this node's tunnels end, as configured or found; what leaves it has that address too. What fails changes nothing: by the
/// addresses that this node has, others' endpoints are judged, and traffic goes on with them.
void Worker::find_vteps() {
    schedule_.ends_found();
    VtepAddresses ends{config_.ipv4, config_.ipv6};
    const auto failed = [&](const Error& error) {
        vtep_trouble_ = error.message;
        schedule_.ends_failed(Clock::now());
    };
    if (!ends.ipv4 && !ends.ipv6) {
        const auto found = find_tunnel_ends(paths_);
        if (!found) return failed(found.error());
        // One is enough, and of two nodes with both the IPv4 addresses are used.
        ends = found->ipv4 ? VtepAddresses{found->ipv4, std::nullopt} : *found;
    }
    vtep_trouble_ = ends.ipv4 || ends.ipv6 ? std::string{} : kNoTunnelEnd;
    if (ends.ipv4 == self_.ipv4 && ends.ipv6 == self_.ipv6) return;
    if (ends.ipv4 || ends.ipv6) {
        PrepareRequest request;
        request.vtep = ends;
        if (const auto prepared = prepare(paths_, request); !prepared) return failed(prepared.error());
    }
    self_.ipv4 = ends.ipv4;
    self_.ipv6 = ends.ipv6;
    Here here = remote_.here();
    here.name = self_.name;
    here.uid = self_.uid;
    here.ipv4 = self_.ipv4;
    here.ipv6 = self_.ipv6;
    remote_.set_here(*mirror_, std::move(here));
    schedule_.self_changed();
}

// --- the others' side ---------------------------------------------------------------------------------------------

/// One change of the node. True if there may be more to do.
bool Worker::apply_remote() {
    if (node_gone_ || !schedule_.must_apply(Clock::now())) return false;
    schedule_.remote_begins();
    const auto failed = [&](const Error& error) {
        if (is_busy(error)) {
            schedule_.remote_busy(Clock::now());
            return false;
        }
        ++counters_.failures;
        problem("remote endpoints", error.message);
        schedule_.remote_failed(Clock::now());
        return false;
    };
    if (schedule_.must_read_remote()) {
        const auto state = read_shared(paths_);
        if (!state) return failed(state.error());
        remote_.start(*mirror_, *state);
        schedule_.remote_read();
    }
    const RemoteChange change = remote_.next(*mirror_, Clock::now(), schedule_.kept_until(Clock::now()), kChunk);
    const bool nothing = change.put.empty() && change.drop_refs.empty() && change.put_nodes.empty() && change.drop_nodes.empty();
    if (!nothing) {
        const auto outcome = apply_remote_change(paths_, change);
        if (!outcome) return failed(outcome.error());
        busy_since_.reset();
        remote_.done(*mirror_, change, *outcome);
        ++counters_.changes;
        problems_.erase("remote endpoints");
    }
    for (const std::string& what : remote_.take_accepted()) rejections_.remove(what);
    for (const Refusal& refusal : remote_.take_refusals()) reject(refusal);
    return !nothing;
}

void Worker::absorb(const Touched& touched) {
    const std::string& root = mirror_->keys().root();
    const auto short_of = [&](const std::string& key) { return key.starts_with(root) ? key.substr(root.size()) : key; };
    remote_.touch(touched);
    for (const std::string& key : touched.readable) rejections_.remove(short_of(key));
    for (const Unreadable& one : touched.unreadable) reject({short_of(one.key), one.revision, Reason::kUnreadable, one.why});
    const bool own_endpoint =
        std::any_of(touched.endpoints.begin(), touched.endpoints.end(), [&](const EndpointKey& key) { return key.node == self_.name; });
    if (!touched.networks && !touched.blocks && !own_endpoint && !touched.nodes.contains(self_.name) && !problems_.contains("node")) return;
    schedule_.own_entries_touched();
}

void Worker::reject(const Refusal& refusal) {
    if (const std::string line = rejections_.add(refusal, Clock::now()); !line.empty()) log(Severity::kWarning, line);
}

// --- state --------------------------------------------------------------------------------------------------------

/// By what this node has as it is now: what it gave back a moment ago is not missing.
void Worker::look_for_wipe() {
    if (node_gone_ || schedule_.must_read_node()) return;
    const SignsOfWipe gone = signs_of_wipe(*mirror_, own_);
    const bool held = schedule_.wiped_until(Clock::now()).has_value();
    const bool blocks = schedule_.missing_blocks(gone.blocks, Clock::now());
    const bool networks = schedule_.missing_networks(gone.networks, Clock::now());
    if ((blocks || networks) && !held) log_hold_off(networks ? "the networks are gone" : *gone.blocks.begin());
}

void Worker::log_hold_off(const std::string& why) {
    log(Severity::kWarning, "etcd was wiped or restored: " + why + "; what vanished stays until the others wrote theirs again");
}

/// A hold-off outlives the agent: after a restart within it others' blocks may still be missing.
Status Worker::remember_hold_off() {
    const WipedParts parts = schedule_.wiped_parts();
    if (node_gone_ || parts == hold_off_on_record_) return ok();
    std::optional<std::string> value;
    if (parts != WipedParts::kNone) value = parts == WipedParts::kBlocks ? kHoldOffForBlocks : kHoldOffForEverything;
    CHECK_OK(write_agent_setting(paths_, kHoldOffSetting, value));
    hold_off_on_record_ = parts;
    return ok();
}

void Worker::set_connected() {
    if (!schedule_.is_connected()) since_ = std::chrono::system_clock::now();
    schedule_.watch_stands(Clock::now());
    reason_.clear();
}

void Worker::disconnect(const std::string& why) {
    if (schedule_.is_connected()) since_ = std::chrono::system_clock::now();
    schedule_.watch_fell();
    if (reason_ != why) log(Severity::kWarning, why);
    reason_ = why;
}

/// The next attempt waits, each time longer.
void Worker::fail(const std::string& why) {
    ++counters_.failures;
    if (reason_ != why) log(Severity::kWarning, why);
    reason_ = why;
    schedule_.failed(Clock::now());
}

void Worker::problem(const std::string& what, const std::string& why) {
    if (problems_.size() >= kMostProblems && !problems_.contains(what)) {
        if (what != kMoreProblems) problem(kMoreProblems, "there are more than " + std::to_string(kMostProblems));
        if (what != kMoreProblems) return;
    }
    problems_now_.insert(what);
    std::string& known = problems_[what];
    if (known != why) log(Severity::kWarning, what + ": " + why);
    known = why;
}

void Worker::wait() {
    (void)schedule_.take_end_of_hold_off(Clock::now());
    show();
    const Clock::time_point until = schedule_.wake_at(Clock::now(), remote_.deadline());
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    std::array<pollfd, 2> fds{{{wake_fd_.get(), POLLIN, 0}, {node_changes_.fd(), POLLIN, 0}}};
    (void)::poll(fds.data(), fds.size(), static_cast<int>(std::max<std::chrono::milliseconds::rep>(left.count(), 0)));
    std::uint64_t count = 0;
    (void)!::read(wake_fd_.get(), &count, sizeof count);
}

void Worker::show() {
    ClusterStatus now = counters_;
    now.connected = schedule_.is_synced() && schedule_.is_connected();
    now.reason = reason_;
    if (now.reason.empty() && node_gone_) now.reason = "the node was cleaned up";
    if (now.reason.empty() && !now.connected) now.reason = "etcd has not been read yet";
    for (const char* const what : {"node", "tunnels"})
        if (const auto found = problems_.find(what); now.reason.empty() && found != problems_.end()) now.reason = found->second;
    now.since = since_;
    now.url = url_;
    now.cluster_id = cluster_id_;
    now.revision = mirror_->revision();
    now.health = keeper_->health();
    now.lease = keeper_->lease();
    now.self = self_;
    for (const auto& [name, node] : remote_.nodes()) now.nodes.push_back(node);
    now.remote_endpoints = remote_.endpoints();
    now.own_endpoints = mirror_->endpoints_of_node(self_.name).size();
    now.networks = own_.shared.size();
    now.kept = remote_.kept();
    if (const auto until = schedule_.wiped_until(Clock::now()))
        now.hold_off = std::chrono::ceil<std::chrono::seconds>(*until - Clock::now());
    for (const OwnNetwork& shared : own_.shared)
        for (const IpPrefix& subnet : shared.network.subnets) {
            BlockCount count{shared.network.name, subnet.family(), 0, 0, 0};
            for (const OwnBlock& block : shared.blocks) {
                if (block.prefix.family() != count.family) continue;
                ++count.blocks;
                count.addresses += block.size;
                count.free += block.free;
            }
            now.blocks.push_back(std::move(count));
        }
    now.problems = problems_;
    now.rejected = rejections_.counts();
    now.examples = rejections_.first(kExamples);
    now.rejections = rejections_.total();
    const std::lock_guard lock{mutex_};
    status_ = std::move(now);
}

Result<std::size_t> forget_node(const EtcdConfig& etcd, const std::string& prefix, const std::string& name) {
    EtcdClient client = TRY(EtcdClient::open(etcd));
    Mirror mirror{TRY(KeySpace::make(prefix))};
    const RangeResult range = TRY(client.range_prefix(mirror.keys().root()));
    (void)mirror.reset(range.kvs, range.revision);
    std::size_t blocks = 0;
    for (const Txn& txn : TRY(plan_forget(mirror, name))) {
        if (!TRY(client.txn(txn)).succeeded)
            return conflict("forget node " + in_quotes(name) + ": it came back meanwhile", "stop its agent first");
        blocks += txn.then.size();
    }
    return blocks;
}

}  // namespace fastnet::cluster
