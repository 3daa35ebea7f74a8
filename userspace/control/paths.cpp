#include "userspace/control/paths.h"

#include "bpf/abi/base.h"

namespace fastnet {

NodePaths paths_for(const std::optional<std::filesystem::path>& root) {
    const std::string version = "v" + std::to_string(FNET_ABI_VERSION);
    if (!root)
        return {"/var/lib/fastnet",
                "/run/fastnet",
                "/sys/fs/bpf",
                "/sys/fs/bpf/fastnet",
                std::filesystem::path{"/sys/fs/bpf/fastnet"} / version,
                false,
                false};
    std::error_code ignored;  // a relative path of a directory that cannot be read stays relative
    std::filesystem::path dir = std::filesystem::absolute(*root, ignored).lexically_normal();
    if (dir.empty()) dir = *root;
    return {dir, dir, dir / "bpf", dir / "bpf", dir / "bpf" / version, true, false};
}

}  // namespace fastnet
