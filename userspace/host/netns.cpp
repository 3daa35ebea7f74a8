#include "userspace/host/netns.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <climits>
#include <cstdio>
#include <cstdlib>

namespace fastnet {
namespace {

constexpr long kNsfsMagic = 0x6e736673;
constexpr std::string_view kPidPrefix = "pid:";
constexpr std::string_view kNeedsAdmin = "this needs CAP_SYS_ADMIN: run as root";
constexpr const char* kOwnNetns = "/proc/thread-self/ns/net";

bool is_netns_name(std::string_view name) {
    if (name.empty() || name.size() > NAME_MAX || name == "." || name == "..") return false;
    return std::all_of(name.begin(), name.end(), [](char c) { return c != '/' && std::isprint(static_cast<unsigned char>(c)) != 0; });
}

std::string named_path(std::string_view name) {
    return std::string{kNetnsDirectory} + "/" + std::string{name};
}

Result<std::string> absolute(const std::string& path) {
    if (path.starts_with('/')) return path;
    std::array<char, PATH_MAX> directory{};
    if (::getcwd(directory.data(), directory.size()) == nullptr) return sys_error(errno, "find the current directory");
    return std::string{directory.data()} + "/" + path;
}

bool is_nsfs(int fd) {
    struct statfs info {};
    return ::fstatfs(fd, &info) == 0 && info.f_type == kNsfsMagic;
}

Result<std::string> identity_of(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) return sys_error(errno, "inspect a network namespace");
    return std::to_string(info.st_dev) + ":" + std::to_string(info.st_ino);
}

/// /run/netns as a shared mount, so that a namespace made in one mount namespace is seen, and dies, in all of them.
Status prepare_netns_directory(const std::string& directory) {
    if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return sys_error(errno, "make " + directory);
    // Two callers that both find no mount would stack one on the other and hide names: one at a time, like iproute2.
    const UniqueFd lock{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!lock) return sys_error(errno, "open " + directory);
    if (::flock(lock.get(), LOCK_EX) != 0) return sys_error(errno, "lock " + directory);
    const auto share = [&] { return ::mount("", directory.c_str(), "none", MS_SHARED | MS_REC, nullptr) == 0; };
    if (share()) return ok();
    if (errno != EINVAL) return sys_error(errno, "share mounts below " + directory);
    if (::mount(directory.c_str(), directory.c_str(), "none", MS_BIND | MS_REC, nullptr) != 0 || !share()) {
        return sys_error(errno, "make " + directory + " a shared mount");
    }
    return ok();
}

/// Binds a fresh namespace to the existing file @p path.
Status bind_new_netns(const std::string& path) {
    const NetnsGuard guard = TRY(NetnsGuard::enter_new());
    if (::mount(kOwnNetns, path.c_str(), "none", MS_BIND, nullptr) != 0) return sys_error(errno, "mount " + path);
    return ok();
}

}  // namespace

Result<Netns> Netns::from_path(std::string path, std::string_view shown) {
    // O_NONBLOCK: a path to a FIFO must not hang the caller.
    UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    if (!fd) {
        Error error = sys_error(errno, "open netns '" + std::string{shown} + "'");
        if (error.sys_errno == ENOENT || error.sys_errno == ENOTDIR || error.sys_errno == ESRCH) {
            error.kind = ErrorKind::kNotFound;
            error.message = "netns '" + std::string{shown} + "' does not exist";
        }
        return error;
    }
    if (!is_nsfs(fd.get())) {
        const std::string what = "netns '" + std::string{shown} + "': " + path + " is not a network namespace";
        if (path.starts_with(kNetnsDirectory)) return not_found(what, "the file is a leftover: remove it, then make the namespace again");
        return usage_error(what, "give a name of `ip netns list`, a file of nsfs, or pid:N");
    }
    if (::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
        return usage_error("netns '" + std::string{shown} + "': " + path + " is a namespace of another kind");
    }
    std::string identity = TRY(identity_of(fd.get()));
    return Netns{std::move(fd), std::move(identity), std::move(path)};
}

Result<Netns> Netns::open(std::string_view spec) {
    if (spec.find('/') != std::string_view::npos) {
        return from_path(TRY(absolute(std::string{spec})), spec);
    }
    if (spec.starts_with(kPidPrefix)) {
        const std::string_view digits = spec.substr(kPidPrefix.size());
        const bool number = !digits.empty() && digits.size() <= 9 && digits.find_first_not_of("0123456789") == std::string_view::npos;
        if (!number) return usage_error("netns '" + std::string{spec} + "': the process id is not a number", "write it like pid:4711");
        auto netns = from_path("/proc/" + std::string{digits} + "/ns/net", spec);
        if (!netns && netns.error().kind == ErrorKind::kNotFound) {
            return not_found("netns '" + std::string{spec} + "' does not exist: no process " + std::string{digits});
        }
        return netns;
    }
    if (!is_netns_name(spec)) return usage_error("'" + std::string{spec} + "' is no name of a network namespace");
    auto netns = from_path(named_path(spec), spec);
    if (!netns && netns.error().kind == ErrorKind::kNotFound && netns.error().hint.empty()) {
        return std::move(netns).error().with_hint("make it with `ip netns add " + std::string{spec} + "`, or give a path or pid:N");
    }
    return netns;
}

Result<Netns> Netns::reopen(const std::string& path, std::string_view identity) {
    auto netns = from_path(path, path);
    if (!netns && netns.error().kind == ErrorKind::kUsage) return not_found(netns.error().message);
    if (netns && netns->identity() != identity) return not_found("netns '" + path + "' is another namespace than before");
    return netns;
}

Result<Netns> Netns::current() {
    // Not "self" and not "thread-self": the path must lead to the same place when another process reopens it.
    return from_path("/proc/" + std::to_string(::gettid()) + "/ns/net", "of this process");
}

std::string Netns::display_name() const {
    const std::string prefix = std::string{kNetnsDirectory} + "/";
    return path_.starts_with(prefix) ? path_.substr(prefix.size()) : path_;
}

Result<std::uint64_t> Netns::cookie() const {
    return run_in(*this, []() -> Result<std::uint64_t> {
        const UniqueFd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
        if (!socket) return sys_error(errno, "open a socket");
        std::uint64_t cookie = 0;
        socklen_t size = sizeof(cookie);
        if (::getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0) return sys_error(errno, "read the netns cookie");
        return cookie;
    });
}

Result<Netns> create_named_netns(std::string_view name) {
    if (!is_netns_name(name)) return usage_error("'" + std::string{name} + "' is no name for a network namespace");
    CHECK_OK(prepare_netns_directory(std::string{kNetnsDirectory}));
    const std::string path = named_path(name);
    const UniqueFd file{::open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0)};
    if (!file) {
        if (errno == EEXIST) return conflict("netns '" + std::string{name} + "' exists already");
        return sys_error(errno, "make " + path);
    }
    if (auto bound = bind_new_netns(path); !bound) {
        ::unlink(path.c_str());
        return std::move(bound).error().in("make netns '" + std::string{name} + "'");
    }
    return Netns::open(name);
}

Status remove_named_netns(std::string_view name) {
    if (!is_netns_name(name)) return usage_error("'" + std::string{name} + "' is no name of a network namespace");
    const std::string path = named_path(name);
    if (::umount2(path.c_str(), MNT_DETACH) != 0 && errno != EINVAL && errno != ENOENT) return sys_error(errno, "unmount " + path);
    if (::unlink(path.c_str()) != 0) {
        if (errno == ENOENT) return not_found("netns '" + std::string{name} + "' does not exist");
        return sys_error(errno, "remove " + path);
    }
    return ok();
}

Result<NetnsGuard> NetnsGuard::enter(const Netns& target) {
    UniqueFd home{::open(kOwnNetns, O_RDONLY | O_CLOEXEC)};
    if (!home) return sys_error(errno, "open this thread's network namespace");
    const std::string identity = TRY(identity_of(home.get()));
    if (identity == target.identity()) return NetnsGuard{UniqueFd{}};
    if (::setns(target.fd(), CLONE_NEWNET) != 0) {
        return sys_error(errno, "enter netns '" + target.display_name() + "'").with_hint(kNeedsAdmin);
    }
    return NetnsGuard{std::move(home)};
}

Result<NetnsGuard> NetnsGuard::enter_new() {
    UniqueFd home{::open(kOwnNetns, O_RDONLY | O_CLOEXEC)};
    if (!home) return sys_error(errno, "open this thread's network namespace");
    if (::unshare(CLONE_NEWNET) != 0) return sys_error(errno, "make a network namespace").with_hint(kNeedsAdmin);
    return NetnsGuard{std::move(home)};
}

NetnsGuard::~NetnsGuard() {
    if (!home_) return;
    if (::setns(home_.get(), CLONE_NEWNET) != 0) {
        // Going on would configure the host's interfaces inside a container or the reverse.
        std::perror("fastnet: return to the host's network namespace");
        std::abort();
    }
}

}  // namespace fastnet
