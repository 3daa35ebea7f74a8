#include "userspace/store/node_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <thread>

#include "userspace/store/state_dir.h"

namespace fastnet {
namespace {

constexpr std::chrono::milliseconds kPoll{2};

std::string holder_of(int fd) {
    std::array<char, 32> text{};
    const ssize_t size = ::pread(fd, text.data(), text.size() - 1, 0);
    return size > 0 ? "pid " + std::string{text.data(), static_cast<std::size_t>(size)} : std::string{"another process"};
}

/// False when the path leads to another file by now: its holder removed it (cleanup) while we waited.
bool is_current(int fd, const std::filesystem::path& path) {
    struct stat held {};
    struct stat named {};
    return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 && held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

void write_own_pid(int fd) {
    // Only for the message of holder_of(): a failure here changes nothing.
    const std::string pid = std::to_string(::getpid());
    if (::ftruncate(fd, 0) == 0) (void)!::pwrite(fd, pid.data(), pid.size(), 0);
}

}  // namespace

Result<NodeLock> NodeLock::acquire(const std::filesystem::path& dir, std::chrono::milliseconds patience) {
    CHECK_OK(make_state_dir(dir));
    const std::filesystem::path path = dir / "lock";
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (;;) {
        UniqueFd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
        // ENOENT: cleanup of another process took the directory away between our two steps.
        if (!fd && errno == ENOENT) {
            CHECK_OK(make_state_dir(dir));
            if (std::chrono::steady_clock::now() > deadline) return sys_error(ENOENT, "open lock " + path.string());
            continue;
        }
        if (!fd) return sys_error(errno, "open lock " + path.string());
        while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno != EWOULDBLOCK && errno != EINTR) return sys_error(errno, "take lock " + path.string());
            if (std::chrono::steady_clock::now() > deadline) {
                Error held = failed("take lock " + path.string() + ": held by " + holder_of(fd.get()),
                                    "wait for the other fastnet command to end, or end it");
                held.sys_errno = EWOULDBLOCK;
                return held;
            }
            std::this_thread::sleep_for(kPoll);
        }
        if (!is_current(fd.get(), path)) continue;
        write_own_pid(fd.get());
        return NodeLock{std::move(fd), path};
    }
}

void NodeLock::remove_file() {
    (void)::unlink(path_.c_str());
}

}  // namespace fastnet
