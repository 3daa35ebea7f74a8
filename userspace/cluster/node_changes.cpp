#include "userspace/cluster/node_changes.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string_view>

namespace fastnet::cluster {
namespace {

constexpr std::string_view kLockFile = "lock";

}  // namespace

void NodeChanges::begin() {
    UniqueFd fd{::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
    // The directory and not the file: cleanup takes the file away, and the next command makes another one.
    constexpr std::uint32_t kEvents = IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
    if (fd && ::inotify_add_watch(fd.get(), run_dir_.c_str(), kEvents) >= 0) fd_ = std::move(fd);
}

bool NodeChanges::take() {
    if (!fd_) {
        begin();
        return static_cast<bool>(fd_);
    }
    bool changed = false;
    bool gone = false;
    alignas(inotify_event) std::array<char, 4096> buffer{};
    for (;;) {
        const ssize_t size = ::read(fd_.get(), buffer.data(), buffer.size());
        if (size <= 0) break;
        for (std::size_t at = 0; at < static_cast<std::size_t>(size);) {
            inotify_event event{};
            std::memcpy(&event, buffer.data() + at, sizeof event);
            const std::string_view name = event.len == 0 ? std::string_view{} : std::string_view{buffer.data() + at + sizeof event};
            changed |= name == kLockFile || (event.mask & IN_Q_OVERFLOW) != 0;
            gone |= (event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) != 0;
            at += sizeof event + event.len;
        }
    }
    if (!gone) return changed;
    fd_.reset();
    begin();
    return true;
}

}  // namespace fastnet::cluster
