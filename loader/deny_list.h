// The node's deny list in the kernel: makes its tables, exchanges them as a whole, and changes them in place through memory
// that is shared with the programs. Which prefixes belong on it is somebody else's business.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "bpf/abi/deny.h"
#include "loader/base/handle.h"
#include "loader/base/net_types.h"
#include "loader/base/result.h"

namespace fastnet {

/// What programs share, mapped into this process.
template <typename Value>
class SharedValues {
public:
    SharedValues() = default;
    /// Of an array map with BPF_F_MMAPABLE.
    static Result<SharedValues> map(int map_fd, std::size_t count);
    SharedValues(SharedValues&& other) noexcept : values_{other.values_} { other.values_ = {}; }
    SharedValues& operator=(SharedValues&& other) noexcept {
        std::swap(values_, other.values_);
        return *this;
    }
    SharedValues(const SharedValues&) = delete;
    SharedValues& operator=(const SharedValues&) = delete;
    ~SharedValues();
    std::span<Value> values() const { return values_; }

private:
    std::span<Value> values_{};
};

class DenyList {
public:
    /// Of the datapath whose maps are pinned in @p maps.
    static Result<DenyList> open(const std::filesystem::path& maps);
    /// The same of maps that are open; the descriptors are copied.
    static Result<DenyList> of_maps(int list_fd, int blocks_fd, int nodes_fd);

    /// That of the list that the kernel has; 0: none was ever written.
    std::uint64_t revision() const;
    /// Exactly these from now on. No moment in between: packets meet the old list or the new one.
    Status replace(std::span<const IpPrefix> prefixes, std::uint64_t revision);
    /// One prefix more or less that neither covers another one of the list nor is covered by one. False: nothing has changed, since
    /// the tables are too small; replace() makes larger ones.
    Result<bool> add(const IpPrefix& prefix, std::uint64_t revision);
    Status remove(const IpPrefix& prefix, std::uint64_t revision);
    /// The list is what it was, but a record of it is not: one that another one covers came or went.
    void set_revision(std::uint64_t revision);

    /// Whether XDP asks the list on this uplink, so that tc_uplink does not.
    void set_asked_by_xdp(std::uint32_t ifindex, bool asked);

private:
    struct Tables;
    DenyList() = default;
    fnet_deny_list& header() const { return header_.values()[0]; }
    Result<Tables> open_tables() const;

    UniqueFd blocks_;
    UniqueFd nodes_;
    SharedValues<fnet_deny_list> header_;
};

}  // namespace fastnet
