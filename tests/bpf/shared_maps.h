// What stands on the maps of the datapath under test beside its own programs: another object, and the deny list as user space has it.
#pragma once

#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include <optional>

#include "loader/deny_list.h"
#include "loader/object.h"

namespace fastnet::test {

/// @p map_fd: DatapathTest's.
template <typename MapFd>
void share_maps(bpf_object* object, const MapFd& map_fd) {
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
        if (!pin_name(map).empty()) {
            ASSERT_EQ(bpf_map__reuse_fd(map, map_fd(bpf_map__name(map))), 0) << bpf_map__name(map);
        }
    }
}

template <typename MapFd>
void open_deny_list(std::optional<DenyList>& list, const MapFd& map_fd) {
    auto opened = DenyList::of_maps(map_fd(".data.deny"), map_fd("deny_blocks"), map_fd("deny_nodes"));
    ASSERT_TRUE(opened) << opened.error().message;
    list = *std::move(opened);
}

}  // namespace fastnet::test
