// What the datapath's object and the XDP program's have in common: how they are opened on maps that are pinned already, and
// libbpf's own words when it fails.
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "loader/base/result.h"

namespace fastnet {

/// Under which name a map is pinned; empty: it is the programs' own, such as their constants.
std::string pin_name(const bpf_map* map);
/// Before the object is loaded: it takes what is pinned in @p maps instead of maps of its own.
Status use_pinned_maps(bpf_object* object, const std::filesystem::path& maps);

/// Of the pinned program; 0 if it cannot be opened.
std::uint32_t program_id(const std::filesystem::path& pin);
/// Sorted; what can be read of it.
std::vector<std::filesystem::path> entries_of(const std::filesystem::path& directory);

/// Keeps what libbpf and libxdp say, for an error message, from stderr.
class LibbpfLog {
public:
    LibbpfLog();
    ~LibbpfLog();
    LibbpfLog(const LibbpfLog&) = delete;
    LibbpfLog& operator=(const LibbpfLog&) = delete;
    /// The line that names the failing program or map, without libbpf's prefix.
    static std::string reason();

private:
    libbpf_print_fn_t previous_;
};

}  // namespace fastnet
