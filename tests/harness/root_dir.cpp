#include "tests/harness/root_dir.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <sstream>

#include "tests/harness/netns.h"

namespace fastnet::test {
namespace fs = std::filesystem;
namespace {

const fs::path kParent = "/tmp/fastnet-e2e";
constexpr long kBpffsMagic = 0xcafe4a11;

int sys_bpf(int command, bpf_attr& attr) {
    return static_cast<int>(::syscall(__NR_bpf, command, &attr, sizeof attr));
}

bool is_on_bpffs(const fs::path& path) {
    struct statfs info {};
    return ::statfs(path.c_str(), &info) == 0 && static_cast<long>(info.f_type) == kBpffsMagic;
}

/// Mount points at or below @p directory, deepest first.
std::vector<std::string> mounts_below(const fs::path& directory) {
    std::vector<std::string> found;
    std::ifstream table{"/proc/self/mounts"};
    const std::string prefix = directory.string();
    for (std::string line; std::getline(table, line);) {
        std::istringstream words{line};
        std::string device;
        std::string point;
        words >> device >> point;
        if (point == prefix || point.rfind(prefix + "/", 0) == 0) found.push_back(point);
    }
    std::sort(found.rbegin(), found.rend());
    return found;
}

std::vector<fs::path> tree(const fs::path& directory, bool on_bpffs) {
    std::vector<fs::path> found;
    std::error_code error;
    for (auto entry = fs::recursive_directory_iterator{directory, error}; !error && entry != fs::recursive_directory_iterator{};
         entry.increment(error)) {
        if (entry->is_directory(error)) continue;
        if (is_on_bpffs(entry->path()) == on_bpffs) found.push_back(entry->path());
    }
    return found;
}

/// Reads `<word>:\t<number>` out of /proc/self/fdinfo.
std::uint32_t fdinfo_number(int fd, const std::string& word) {
    std::ifstream info{"/proc/self/fdinfo/" + std::to_string(fd)};
    for (std::string line; std::getline(info, line);) {
        if (line.rfind(word + ":", 0) == 0) return static_cast<std::uint32_t>(std::stoul(line.substr(word.size() + 1)));
    }
    return 0;
}

void remove_tree(const fs::path& directory) {
    for (const std::string& point : mounts_below(directory)) ::umount2(point.c_str(), MNT_DETACH);
    std::error_code ignored;
    fs::remove_all(directory, ignored);
}

std::set<std::uint32_t> alive(const std::set<std::uint32_t>& ids, int command) {
    std::set<std::uint32_t> found;
    for (const std::uint32_t id : ids) {
        bpf_attr attr{};
        attr.map_id = id;  // a union: prog_id and link_id lie at the same place
        const int fd = sys_bpf(command, attr);
        if (fd < 0) continue;
        found.insert(id);
        ::close(fd);
    }
    return found;
}

}  // namespace

RootDir::RootDir(const std::string& prefix) : path_{kParent / prefix} {
    fs::create_directories(path_);
}

RootDir::~RootDir() {
    remove_tree(path_);
}

PinnedObjects RootDir::pinned() const {
    PinnedObjects objects;
    for (const fs::path& pin : pin_files()) {
        bpf_attr attr{};
        const std::string name = pin.string();
        attr.pathname = reinterpret_cast<std::uintptr_t>(name.c_str());
        const int fd = sys_bpf(BPF_OBJ_GET, attr);
        if (fd < 0) continue;
        std::error_code ignored;
        const std::string kind = fs::read_symlink("/proc/self/fd/" + std::to_string(fd), ignored).string();
        if (kind.find("link") != std::string::npos) {
            objects.links.insert(fdinfo_number(fd, "link_id"));
            objects.programs.insert(fdinfo_number(fd, "prog_id"));
        } else if (kind.find("map") != std::string::npos) {
            objects.maps.insert(fdinfo_number(fd, "map_id"));
        } else if (kind.find("prog") != std::string::npos) {
            objects.programs.insert(fdinfo_number(fd, "prog_id"));
        }
        ::close(fd);
    }
    return objects;
}

std::vector<fs::path> RootDir::files() const {
    return tree(path_, false);
}
std::vector<fs::path> RootDir::pin_files() const {
    return tree(path_, true);
}

fs::path RootDir::database() const {
    for (const fs::path& file : files()) {
        std::array<char, 16> magic{};
        std::ifstream{file, std::ios::binary}.read(magic.data(), magic.size());
        if (std::strncmp(magic.data(), "SQLite format 3", magic.size()) == 0) return file;
    }
    return {};
}

std::vector<std::string> RootDir::mounts() const {
    return mounts_below(path_);
}

void RootDir::unmount() const {
    for (const std::string& point : mounts()) {
        EXPECT_EQ(::umount2(point.c_str(), MNT_DETACH), 0) << "umount " << point << ": " << std::strerror(errno);
    }
}

PinnedObjects still_alive(const PinnedObjects& before) {
    return {alive(before.programs, BPF_PROG_GET_FD_BY_ID), alive(before.maps, BPF_MAP_GET_FD_BY_ID),
            alive(before.links, BPF_LINK_GET_FD_BY_ID)};
}

void sweep_stale_root_dirs() {
    std::error_code ignored;
    std::vector<fs::path> stale;
    for (const auto& entry : fs::directory_iterator{kParent, ignored}) {
        if (is_stale(entry.path().filename())) stale.push_back(entry.path());
    }
    for (const fs::path& directory : stale) remove_tree(directory);
}

}  // namespace fastnet::test
