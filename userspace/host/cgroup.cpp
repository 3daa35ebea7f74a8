#include "userspace/host/cgroup.h"

#include <cerrno>
#include <fstream>
#include <sstream>

namespace fastnet {
namespace {

/// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescaped(std::string_view text) {
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool escape =
            text[i] == '\\' && i + 3 < text.size() && text.substr(i + 1, 3).find_first_not_of("01234567") == std::string_view::npos;
        if (!escape) {
            result += text[i];
            continue;
        }
        result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
        i += 3;
    }
    return result;
}

}  // namespace

std::optional<std::string> find_cgroup2_mount(std::string_view mountinfo) {
    // proc(5): id parent major:minor ROOT MOUNT_POINT options [optional fields] - TYPE source super_options
    std::optional<std::string> of_a_part;
    std::istringstream lines{std::string{mountinfo}};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream fields{line};
        std::string id, parent, device, root, mount_point, field, type;
        if (!(fields >> id >> parent >> device >> root >> mount_point)) continue;
        while (fields >> field && field != "-") {
        }
        if (!(fields >> type) || type != "cgroup2") continue;
        if (root == "/") return unescaped(mount_point);
        if (!of_a_part) of_a_part = unescaped(mount_point);
    }
    return of_a_part;
}

Result<std::optional<std::string>> cgroup2_mount_point() {
    std::ifstream file{"/proc/self/mountinfo"};
    if (!file) return sys_error(errno, "open /proc/self/mountinfo");
    std::ostringstream text;
    text << file.rdbuf();
    return find_cgroup2_mount(text.str());
}

}  // namespace fastnet
