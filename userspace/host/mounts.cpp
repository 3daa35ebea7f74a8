#include "userspace/host/mounts.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace fastnet {
namespace {

constexpr unsigned long kBpffsMagic = 0xcafe4a11;

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.find_last_of('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Status make_directories(const std::string& path, unsigned mode) {
    for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
        const std::string part = path.substr(0, end);
        struct stat info {};
        if (::mkdir(part.c_str(), mode) != 0) {
            const int error = errno;  // EEXIST also for a file; some file systems say EROFS or EACCES for a directory that is there
            if (::stat(part.c_str(), &info) != 0) return sys_error(error, "make directory " + part);
            if (!S_ISDIR(info.st_mode)) return sys_error(ENOTDIR, "make directory " + part);
        }
        if (end == std::string::npos) return ok();
    }
}

bool is_bpffs(const std::string& directory) {
    struct statfs info {};
    return ::statfs(directory.c_str(), &info) == 0 && static_cast<unsigned long>(info.f_type) == kBpffsMagic;
}

bool is_mount_point(const std::string& directory) {
    struct stat own {};
    struct stat parent {};
    if (::stat(directory.c_str(), &own) != 0 || ::stat((directory + "/..").c_str(), &parent) != 0) return false;
    return own.st_dev != parent.st_dev || own.st_ino == parent.st_ino;
}

Status mount_bpffs(const std::string& directory) {
    if (is_bpffs(directory)) return ok();
    CHECK_OK(make_directories(parent_of(directory)));
    CHECK_OK(make_directories(directory, 0700));
    if (::mount("bpf", directory.c_str(), "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0) {
        return sys_error(errno, "mount a bpffs at " + directory).with_hint("this needs CAP_SYS_ADMIN and a kernel with BPF: run as root");
    }
    return ok();
}

Status unmount(const std::string& directory) {
    if (::umount2(directory.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return ok();
    if (errno == EINVAL || errno == ENOENT) return ok();  // not a mount point
    return sys_error(errno, "unmount " + directory);
}

Result<std::string> boot_id() {
    if (const char* fake = std::getenv("FASTNET_BOOT_ID"); fake != nullptr && *fake != '\0') return std::string{fake};
    std::ifstream file{"/proc/sys/kernel/random/boot_id"};
    std::string id;
    if (!std::getline(file, id) || id.empty()) return failed("read /proc/sys/kernel/random/boot_id: it is empty or missing");
    return id;
}

Result<FileLock> FileLock::acquire(const std::string& path, std::chrono::milliseconds patience) {
    using Clock = std::chrono::steady_clock;
    UniqueFd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (!fd) return sys_error(errno, "open lock file " + path);
    // flock has no time limit of its own, and an alarm signal would belong to the whole process: poll. Work under the
    // lock takes milliseconds, so that short sleeps keep the queue moving.
    const auto deadline = Clock::now() + patience;
    for (auto pause = std::chrono::microseconds{500}; ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0;) {
        if (errno != EWOULDBLOCK && errno != EINTR) return sys_error(errno, "lock " + path);
        if (Clock::now() >= deadline) {
            std::array<char, 16> text{};
            const ssize_t size = ::pread(fd.get(), text.data(), text.size(), 0);
            std::string what = "lock " + path + ": it is held";
            if (size > 0) what.append(" by process ").append(text.data(), static_cast<std::size_t>(size));
            return sys_error(ETIMEDOUT, what).with_hint("another fastnet command is at work; try again, or look what hangs");
        }
        std::this_thread::sleep_for(pause);
        pause = std::min(pause * 2, std::chrono::microseconds{4000});
    }
    const std::string pid = std::to_string(::getpid());
    // Only for the message above; a full disk must not keep anybody from the lock.
    if (::ftruncate(fd.get(), 0) == 0) static_cast<void>(::pwrite(fd.get(), pid.data(), pid.size(), 0) == 0);
    return FileLock{std::move(fd)};
}

std::string_view to_string(Capability capability) {
    switch (capability) {
        case Capability::kNetAdmin: return "CAP_NET_ADMIN";
        case Capability::kNetRaw: return "CAP_NET_RAW";
        case Capability::kSysPtrace: return "CAP_SYS_PTRACE";
        case Capability::kSysAdmin: return "CAP_SYS_ADMIN";
        case Capability::kSysResource: return "CAP_SYS_RESOURCE";
        case Capability::kPerfmon: return "CAP_PERFMON";
        case Capability::kBpf: return "CAP_BPF";
    }
    return "CAP_UNKNOWN";
}

std::uint64_t parse_effective_capabilities(std::string_view status) {
    constexpr std::string_view kKey = "\nCapEff:";
    const std::size_t key = status.find(kKey);
    if (key == std::string_view::npos) return 0;
    const std::size_t first = status.find_first_not_of(" \t", key + kKey.size());
    if (first == std::string_view::npos) return 0;
    std::uint64_t mask = 0;
    std::from_chars(status.data() + first, status.data() + status.size(), mask, 16);
    return mask;
}

bool has_capability(Capability capability) {
    std::ifstream file{"/proc/thread-self/status"};
    std::ostringstream text;
    text << file.rdbuf();
    return (parse_effective_capabilities(text.str()) >> static_cast<unsigned>(capability) & 1U) != 0;
}

Status require_capabilities(const std::vector<Capability>& needed) {
    std::string missing;
    for (const Capability capability : needed) {
        if (has_capability(capability)) continue;
        if (!missing.empty()) missing += ", ";
        missing += to_string(capability);
    }
    if (missing.empty()) return ok();
    return sys_error(EPERM, "missing " + missing).with_hint("run as root");
}

KernelVersion parse_kernel_version(std::string_view release) {
    KernelVersion version{std::string{release}};
    const char* const end = release.data() + release.size();
    const auto major = std::from_chars(release.data(), end, version.major);
    if (major.ec == std::errc{} && major.ptr != end && *major.ptr == '.') std::from_chars(major.ptr + 1, end, version.minor);
    return version;
}

KernelVersion kernel_version() {
    utsname name{};
    return ::uname(&name) == 0 ? parse_kernel_version(name.release) : KernelVersion{};
}

}  // namespace fastnet
