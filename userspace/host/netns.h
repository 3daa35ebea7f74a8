// Network namespaces: opening them by what users write, telling them apart, working inside them, making named ones.
// Knows nothing of networks or endpoints. Invariant: a thread that enters a namespace through NetnsGuard or run_in()
// is back in its own one when the scope ends, or the process aborts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "loader/base/handle.h"
#include "loader/base/result.h"

namespace fastnet {

inline constexpr std::string_view kNetnsDirectory = "/run/netns";

/// An open network namespace; the namespace lives at least as long as this object.
class Netns {
public:
    /// @p spec is a name (of /run/netns), a path (contains '/') or `pid:N`.
    /// Errors: kNotFound when it does not exist, kUsage when the file is no network namespace or the spec is malformed.
    static Result<Netns> open(std::string_view spec);

    /// What a path() of an earlier run leads to, if it is still the same namespace; kNotFound if it is gone or another
    /// one took its place (inode numbers are reused: compare cookie() as well where that matters).
    static Result<Netns> reopen(const std::string& path, std::string_view identity);

    /// The calling thread's namespace.
    static Result<Netns> current();

    int fd() const { return fd_.get(); }

    /// Device and inode of the nsfs file, e.g. `4:4026532288`: equal for two specs of one namespace.
    const std::string& identity() const { return identity_; }

    /// Absolute path that reopens it: /run/netns/NAME, the path as given (made absolute), or /proc/N/ns/net.
    const std::string& path() const { return path_; }

    /// The last part of path() when it is a /run/netns name, else the whole path: for messages.
    std::string display_name() const;

    /// SO_NETNS_COOKIE: unique from boot to shutdown, what bpf_get_netns_cookie() returns. Needs CAP_SYS_ADMIN unless
    /// the calling thread is in it.
    Result<std::uint64_t> cookie() const;

    friend bool operator==(const Netns& a, const Netns& b) { return a.identity_ == b.identity_; }

private:
    static Result<Netns> from_path(std::string path, std::string_view shown);
    Netns(UniqueFd fd, std::string identity, std::string path)
        : fd_{std::move(fd)}, identity_{std::move(identity)}, path_{std::move(path)} {}

    UniqueFd fd_;
    std::string identity_;
    std::string path_;
};

/// Makes /run/netns/@p name as `ip netns add` does (shared mount, safe against concurrent callers). The new namespace
/// has nothing but a `lo` that is down. Errors: kConflict when the name is taken, kUsage when it is no file name.
Result<Netns> create_named_netns(std::string_view name);

/// Unmounts and removes /run/netns/@p name; the namespace itself dies with its last user. kNotFound if there is none.
Status remove_named_netns(std::string_view name);

/// This thread is in @p target from enter() to the end of the guard's scope.
class [[nodiscard]] NetnsGuard {
public:
    /// Needs CAP_SYS_ADMIN, unless the thread is there already.
    static Result<NetnsGuard> enter(const Netns& target);
    /// Into a fresh namespace, which dies with the scope unless somebody opens or mounts it.
    static Result<NetnsGuard> enter_new();
    NetnsGuard(NetnsGuard&&) noexcept = default;
    NetnsGuard& operator=(NetnsGuard&&) = delete;
    ~NetnsGuard();

private:
    explicit NetnsGuard(UniqueFd home) : home_{std::move(home)} {}
    UniqueFd home_;  ///< none: the thread was there already
};

/// Calls @p work inside @p target; @p work returns a Result, which is passed on.
template <typename Work>
auto run_in(const Netns& target, Work&& work) -> decltype(std::forward<Work>(work)()) {
    const auto guard = TRY(NetnsGuard::enter(target));
    return std::forward<Work>(work)();
}

}  // namespace fastnet
