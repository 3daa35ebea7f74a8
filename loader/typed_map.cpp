#include "loader/typed_map.h"

#include <bpf/libbpf.h>

namespace fastnet {

Result<UniqueFd> open_pinned_map(const std::string& path, std::size_t key_size, std::size_t value_size) {
    UniqueFd fd{bpf_obj_get(path.c_str())};
    if (!fd) return sys_error(errno, "open map " + path);
    bpf_map_info info{};
    __u32 length = sizeof info;
    if (bpf_obj_get_info_by_fd(fd.get(), &info, &length) != 0) return sys_error(errno, "inspect map " + path);
    if (info.key_size != key_size || info.value_size != value_size)
        return failed("open map " + path + ": its layout belongs to another version of fastnet",
                      "run `fastnet cleanup` with the version that made it");
    return fd;
}

int possible_cpus() {
    return libbpf_num_possible_cpus();
}

}  // namespace fastnet
