#include "userspace/store/state_dir.h"

#include <sys/stat.h>

#include <cerrno>
#include <system_error>

namespace fastnet {

Status make_state_dir(const std::filesystem::path& dir) {
    const std::string what = "make directory " + dir.string();
    std::error_code error;
    if (std::filesystem::is_directory(dir, error)) return ok();
    if (dir.has_parent_path()) std::filesystem::create_directories(dir.parent_path(), error);
    if (error) return sys_error(error.value(), what);
    if (::mkdir(dir.c_str(), 0700) == 0) return ok();
    const int mkdir_errno = errno;
    // Another process may have been faster.
    if (mkdir_errno == EEXIST && std::filesystem::is_directory(dir, error)) return ok();
    return sys_error(mkdir_errno == EEXIST ? ENOTDIR : mkdir_errno, what);
}

}  // namespace fastnet
