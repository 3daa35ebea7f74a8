// Small facts about this machine and this process: bpffs, boot id, capabilities, kernel version; and a file lock.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loader/base/handle.h"
#include "loader/base/result.h"

namespace fastnet {

/// mkdir -p; directories that it makes get @p mode.
Status make_directories(const std::string& path, unsigned mode = 0755);

/// Whether @p directory is inside a bpffs (false if it does not exist).
bool is_bpffs(const std::string& directory);

/// Makes @p directory a bpffs of its own with mode 0700, unless it is in one already. Makes the directory as well.
Status mount_bpffs(const std::string& directory);

/// Whether @p directory is a mount point itself (not merely inside a mount).
bool is_mount_point(const std::string& directory);

/// Lazily unmounts; success if nothing is mounted there.
Status unmount(const std::string& directory);

/// Random id of this boot; FASTNET_BOOT_ID overrides it (tests of reboots).
Result<std::string> boot_id();

/// An exclusive flock on a file, across processes and across objects of one process; released with the object.
class [[nodiscard]] FileLock {
public:
    /// Waits up to @p patience. Makes the file (0600), not its directory. kFailed with ETIMEDOUT names the holder's
    /// pid if it can be read from the file.
    static Result<FileLock> acquire(const std::string& path, std::chrono::milliseconds patience);

private:
    explicit FileLock(UniqueFd fd) : fd_{std::move(fd)} {}
    UniqueFd fd_;
};

/// Capabilities that fastnet asks for; values are the kernel's bit numbers.
enum class Capability : std::uint8_t {
    kNetAdmin = 12,
    kNetRaw = 13,
    kSysPtrace = 19,
    kSysAdmin = 21,
    kSysResource = 24,
    kPerfmon = 38,
    kBpf = 39,
};
std::string_view to_string(Capability capability);  ///< "CAP_NET_ADMIN", ...

/// Effective capability of the calling thread.
bool has_capability(Capability capability);

/// kFailed with EPERM that names every missing one, hint "run as root".
Status require_capabilities(const std::vector<Capability>& needed);

/// The CapEff mask in the text of /proc/PID/status; 0 if there is none.
std::uint64_t parse_effective_capabilities(std::string_view status);

struct KernelVersion {
    std::string release;  ///< uname -r
    unsigned major = 0;
    unsigned minor = 0;
    bool at_least(unsigned wanted_major, unsigned wanted_minor) const {
        return major != wanted_major ? major > wanted_major : minor >= wanted_minor;
    }
};
KernelVersion kernel_version();
KernelVersion parse_kernel_version(std::string_view release);

}  // namespace fastnet
