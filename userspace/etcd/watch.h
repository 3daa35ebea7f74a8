// Follows the keys below a prefix, on a thread of its own, over reconnects, fail-over and expired tokens.
// Invariant: what the sink got is complete up to the last revision it got; each event comes at least once, in order of
// revision. After a reconnect the last events may come again.
//
// A stream can be silent for two reasons, so silence proves nothing. Before each stream, and every EtcdConfig::probe_interval
// beside it, the same member has to answer a linearizable read: a member without quorum, a frozen one, or one behind a wire
// that swallows packets fails it and is left within probe_interval + timeout. Streams also demand a leader from etcd, and TCP
// keepalive covers a path that died for the stream's connection alone. The read's revision shows as well when the history
// went backwards (a wiped or restored cluster): a stream would wait in silence for a revision that may take months to come.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "loader/base/result.h"
#include "userspace/etcd/types.h"

namespace fastnet {

/// Some changes, in order. A transaction's events share a mod_revision; a large one may come in several pieces.
struct WatchEvents {
    std::vector<WatchEvent> events;
    std::int64_t revision = 0;  ///< mod_revision of the last event
};
/// The stream stands (again); events up to now follow.
struct WatchConnected {
    std::string url;
    std::uint64_t cluster_id = 0;
};
/// The stream is gone, or could not be had; it is being tried again. Once per reason.
struct WatchDisconnected {
    std::string why;
};
/// The watch has ended: what follows the last revision cannot be had. The owner ranges again and starts a new watch.
struct WatchCompacted {
    std::int64_t revision = 0;  ///< the oldest that is left; 0 if that is not the reason
    std::string why;            ///< compacted, the cluster was replaced or went back, or a single answer is beyond all bounds
};
using WatchMessage = std::variant<WatchConnected, WatchEvents, WatchDisconnected, WatchCompacted>;

/// Called on the watch's thread, one at a time. While it runs nothing else is received, and stop() waits for it.
using WatchSink = std::function<void(WatchMessage)>;

class EtcdWatch {
public:
    /// Follows what happens from @p from_revision on (RangeResult::revision + 1). @p cluster_id of the range, 0 for any: another
    /// one is reported as WatchCompacted.
    static Result<EtcdWatch> start(EtcdConfig config, std::string prefix, std::int64_t from_revision, std::uint64_t cluster_id,
                                   WatchSink sink);
    EtcdWatch(EtcdWatch&&) noexcept;
    EtcdWatch& operator=(EtcdWatch&&) noexcept;
    EtcdWatch(const EtcdWatch&) = delete;
    EtcdWatch& operator=(const EtcdWatch&) = delete;
    ~EtcdWatch();

    /// Within 100 ms, if the sink does not block. No message comes afterwards. Not from the sink.
    void stop() noexcept;
    /// False once stopped or after WatchCompacted.
    bool running() const noexcept;

private:
    class Impl;
    explicit EtcdWatch(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastnet
