// A BPF map whose key and value types are known: every access is checked by the compiler, sizes once when opened.
#pragma once

#include <bpf/bpf.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "loader/base/handle.h"
#include "loader/base/result.h"

namespace fastnet {

/// Opens the map pinned at @p path and checks that its key and value have these sizes (bytes).
Result<UniqueFd> open_pinned_map(const std::string& path, std::size_t key_size, std::size_t value_size);
/// Number of possible CPUs: a per-CPU map's value is that many values, each padded to 8 bytes.
int possible_cpus();

template <typename Key, typename Value>
class Map {
public:
    Map() = default;
    static Result<Map> open(const std::string& path, std::string name) {
        return Map{TRY(open_pinned_map(path, sizeof(Key), sizeof(Value))), std::move(name)};
    }

    /// nullopt = no such key.
    Result<std::optional<Value>> get(const Key& key) const {
        Value value{};
        if (bpf_map_lookup_elem(fd_.get(), &key, &value) == 0) return std::optional<Value>{value};
        if (errno == ENOENT) return std::optional<Value>{};
        return sys_error(errno, "look up in map " + name_);
    }
    /// @p flags: BPF_ANY, BPF_NOEXIST or BPF_EXIST.
    Status put(const Key& key, const Value& value, std::uint64_t flags = BPF_ANY) const {
        if (bpf_map_update_elem(fd_.get(), &key, &value, flags) == 0) return ok();
        return sys_error(errno, "update map " + name_);
    }
    /// True if the key was there.
    Result<bool> erase(const Key& key) const {
        if (bpf_map_delete_elem(fd_.get(), &key) == 0) return true;
        if (errno == ENOENT) return false;
        return sys_error(errno, "delete from map " + name_);
    }
    /// Calls @p visit(key, value) for each entry, in batches; entries that come or go meanwhile may be missed or seen.
    template <typename Visit>
    Status for_each(Visit&& visit) const {
        constexpr __u32 kBatch = 1024;
        std::vector<Key> keys(kBatch);
        std::vector<Value> values(kBatch);
        // The kernel keeps its cursor here: a bucket number for hashes, the last key for LPM tries (kernel/bpf/syscall.c).
        union Cursor {
            Key key;
            __u64 bucket;
        } in{}, out{};
        bool first = true;
        bpf_map_batch_opts options{};
        options.sz = sizeof options;
        for (;;) {
            __u32 count = kBatch;
            const int error = bpf_map_lookup_batch(fd_.get(), first ? nullptr : &in, &out, keys.data(), values.data(), &count, &options);
            if (error != 0 && errno != ENOENT) return sys_error(errno, "read map " + name_);
            const bool last = error != 0;
            for (__u32 i = 0; i < count; ++i) visit(std::as_const(keys[i]), std::as_const(values[i]));
            if (last) return ok();
            in = out;
            first = false;
        }
    }
    int fd() const { return fd_.get(); }
    const std::string& name() const { return name_; }

private:
    Map(UniqueFd fd, std::string name) : fd_{std::move(fd)}, name_{std::move(name)} {}
    UniqueFd fd_;
    std::string name_;
};

}  // namespace fastnet
