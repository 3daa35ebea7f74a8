#include "loader/object.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <string_view>
#include <system_error>

#include "loader/base/handle.h"

namespace fastnet {
namespace {

std::string& libbpf_log() {
    thread_local std::string log;
    return log;
}

int collect_log(libbpf_print_level level, const char* format, va_list arguments) {
    if (level == LIBBPF_DEBUG) return 0;
    std::array<char, 1024> line{};
    const int length = std::vsnprintf(line.data(), line.size(), format, arguments);
    std::string& log = libbpf_log();
    if (log.size() < 8192) log += line.data();
    return length;
}

}  // namespace

std::string pin_name(const bpf_map* map) {
    if (!bpf_map__is_internal(map)) return bpf_map__name(map);
    return bpf_map__name(map) == std::string_view{".data.deny"} ? "deny_list" : "";  // bpffs refuses names with a dot
}

Status use_pinned_maps(bpf_object* object, const std::filesystem::path& maps) {
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
        if (pin_name(map).empty()) continue;
        const std::filesystem::path pin = maps / pin_name(map);
        const UniqueFd fd{bpf_obj_get(pin.c_str())};
        if (!fd) return sys_error(errno, "open map " + pin.string());
        if (const int error = bpf_map__reuse_fd(map, fd.get()); error != 0) return sys_error(error, "use map " + pin.string() + " again");
    }
    return ok();
}

std::uint32_t program_id(const std::filesystem::path& pin) {
    bpf_prog_info info{};
    __u32 length = sizeof info;
    const UniqueFd fd{bpf_obj_get(pin.c_str())};
    return fd && bpf_obj_get_info_by_fd(fd.get(), &info, &length) == 0 ? info.id : 0;
}

std::vector<std::filesystem::path> entries_of(const std::filesystem::path& directory) {
    std::vector<std::filesystem::path> paths;
    std::error_code error;
    for (std::filesystem::directory_iterator entry{directory, error}, end; !error && entry != end; entry.increment(error))
        paths.push_back(entry->path());
    std::sort(paths.begin(), paths.end());
    return paths;
}

LibbpfLog::LibbpfLog() : previous_{libbpf_set_print(collect_log)} {
    libbpf_log().clear();
}

LibbpfLog::~LibbpfLog() {
    libbpf_set_print(previous_);
}

std::string LibbpfLog::reason() {
    const std::string& log = libbpf_log();
    const std::size_t at = log.find("libbpf: ");
    if (at == std::string::npos) return {};
    const std::size_t start = at + 8;
    return log.substr(start, log.find('\n', start) - start);
}

}  // namespace fastnet
