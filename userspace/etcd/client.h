// A client of etcd's v3 API by its JSON gateway: ranges, transactions, leases, health; several members, one at a time.
// Knows nothing of fastnet's keys. Everything blocks, at most for EtcdConfig::patience (status(): twice the timeout). One
// object per thread.
//
// Fail-over: an attempt at a member ends after EtcdConfig::timeout; a member that failed goes to the end of the order, and the
// call goes round until patience is over. What is a member's trouble (unreachable, no leader, no quorum, nonsense instead of
// an answer) is tried elsewhere; what is the cluster's answer (permission, password, compacted, no such lease) ends the call.
//
// What may be repeated: reads, keep_alive, revoke, grant (it picks the id beforehand) always. A transaction always if nothing
// of it was sent or the member said that it was not done; after an attempt whose outcome is unknown only if a second execution
// cannot change anything (applies_once()) or the caller allows it (Txn::harmless_twice). Otherwise the call fails and says that
// the outcome is unknown.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>

#include "loader/base/result.h"
#include "userspace/etcd/types.h"

namespace fastnet {

class EtcdClient {
public:
    /// Checks the configuration (URLs, files readable); connects with the first call.
    static Result<EtcdClient> open(EtcdConfig config);
    EtcdClient(EtcdClient&&) noexcept;
    EtcdClient& operator=(EtcdClient&&) noexcept;
    EtcdClient(const EtcdClient&) = delete;
    EtcdClient& operator=(const EtcdClient&) = delete;
    ~EtcdClient();

    /// All keys that begin with @p prefix, at one revision however many pages it takes. Linearizable. What is beyond @p limits is not
    /// read: an error with sys_errno E2BIG.
    Result<RangeResult> range_prefix(std::string_view prefix, const RangeLimits& limits = {});

    Result<TxnResult> txn(const Txn& txn);

    /// A lease of @p ttl. With @p id 0 a new one; a given id that is in use is a conflict.
    Result<Lease> grant(std::chrono::seconds ttl, std::int64_t id = 0);
    /// What is left after the renewal; not-found if the lease is gone.
    Result<std::chrono::seconds> keep_alive(std::int64_t id);
    /// Ends the lease and deletes its keys; not-found if it is gone already.
    Status revoke(std::int64_t id);

    /// Of every member at once. Members that are down are part of the answer; an error is only that of the call (interrupted).
    Result<Health> status();

    /// From any thread: the call that runs fails within milliseconds, and so does every later one.
    void interrupt() noexcept;

private:
    class Impl;
    explicit EtcdClient(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastnet
