// The --root directory of one node: where fastnet keeps its database, runtime files and pins during a test.
// Knows bpffs (to unmount it and to list what is pinned), but not how fastnet names things.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace fastnet::test {

/// The kernel objects behind the pins below a directory.
struct PinnedObjects {
    std::set<std::uint32_t> programs;
    std::set<std::uint32_t> maps;
    std::set<std::uint32_t> links;
    bool empty() const { return programs.empty() && maps.empty() && links.empty(); }
};

class RootDir {
public:
    explicit RootDir(const std::string& prefix);
    RootDir(const RootDir&) = delete;
    RootDir& operator=(const RootDir&) = delete;
    ~RootDir();

    const std::filesystem::path& path() const { return path_; }
    std::string string() const { return path_.string(); }
    PinnedObjects pinned() const;
    std::vector<std::filesystem::path> files() const;      ///< regular files outside bpffs
    std::vector<std::filesystem::path> pin_files() const;  ///< files on bpffs
    std::filesystem::path database() const;                ///< the SQLite file, found by its magic; empty when there is none
    std::vector<std::string> mounts() const;               ///< mount points at or below the directory
    void unmount() const;                                  ///< all of them: what a reboot does to pins

private:
    std::filesystem::path path_;
};

/// Ids among @p before that still name a live kernel object (ids are never reused while the machine runs).
PinnedObjects still_alive(const PinnedObjects& before);

void sweep_stale_root_dirs();

}  // namespace fastnet::test
