#include "loader/deny_list.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <atomic>
#include <string>
#include <vector>

#include "loader/deny_table.h"
#include "loader/typed_map.h"

namespace fastnet {
namespace {

void publish(__u64& word, std::uint64_t value) {
    std::atomic_ref<__u64>{word}.store(value, std::memory_order_release);
}

Result<std::uint32_t> count_entries(int map_fd) {
    bpf_map_info info{};
    __u32 length = sizeof info;
    if (bpf_obj_get_info_by_fd(map_fd, &info, &length) != 0) return sys_error(errno, "inspect a table of the deny list");
    return info.max_entries;
}

Result<UniqueFd> make_inner(const char* name, std::uint32_t value_size, std::size_t entries, std::uint32_t flags) {
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
    UniqueFd fd{bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(__u32), value_size, static_cast<__u32>(entries), &options)};
    if (!fd) return sys_error(errno, std::string{"make the table "} + name);
    return fd;
}

Status remove_inner(const UniqueFd& outer, std::uint32_t slot) {
    if (bpf_map_delete_elem(outer.get(), &slot) == 0 || errno == ENOENT) return ok();
    return sys_error(errno, "remove the old tables of the deny list");
}

/// The kernel returns when no program runs any more that could have seen what was there before.
Status put_inner(const UniqueFd& outer, std::uint32_t slot, const UniqueFd& inner) {
    const int fd = inner.get();
    if (bpf_map_update_elem(outer.get(), &slot, &fd, BPF_ANY) != 0) return sys_error(errno, "put a table of the deny list in its place");
    return ok();
}

Result<UniqueFd> open_inner(const UniqueFd& outer, std::uint32_t slot) {
    __u32 id = 0;
    if (bpf_map_lookup_elem(outer.get(), &slot, &id) != 0) return sys_error(errno, "look up a table of the deny list");
    UniqueFd fd{bpf_map_get_fd_by_id(id)};
    if (!fd) return sys_error(errno, "open a table of the deny list");
    return fd;
}

}  // namespace

template <typename Value>
Result<SharedValues<Value>> SharedValues<Value>::map(int map_fd, std::size_t count) {
    void* const memory = mmap(nullptr, count * sizeof(Value), PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
    if (memory == MAP_FAILED) return sys_error(errno, "map a table of the deny list");
    SharedValues mapped;
    mapped.values_ = {static_cast<Value*>(memory), count};
    return mapped;
}

template <typename Value>
SharedValues<Value>::~SharedValues() {
    if (!values_.empty()) (void)munmap(values_.data(), values_.size_bytes());
}

template class SharedValues<fnet_deny_list>;

struct DenyList::Tables {
    UniqueFd blocks_fd{}, nodes_fd{};
    SharedValues<fnet_deny_blocks> blocks{};
    SharedValues<fnet_deny_node> nodes{};

    static Result<Tables> make(unsigned bits) {
        UniqueFd blocks_fd = TRY(make_inner("deny_blocks", sizeof(fnet_deny_blocks), FNET_DENY_BLOCK_ROWS, BPF_F_MMAPABLE));
        UniqueFd nodes_fd =
            TRY(make_inner("deny_nodes", sizeof(fnet_deny_node), DenyTable::places(bits), BPF_F_MMAPABLE | BPF_F_INNER_MAP));
        return map(std::move(blocks_fd), std::move(nodes_fd));
    }
    static Result<Tables> map(UniqueFd blocks_fd, UniqueFd nodes_fd) {
        Tables tables;
        const std::uint32_t rows = TRY(count_entries(blocks_fd.get()));
        const std::uint32_t places = TRY(count_entries(nodes_fd.get()));
        tables.blocks = TRY(SharedValues<fnet_deny_blocks>::map(blocks_fd.get(), rows));
        tables.nodes = TRY(SharedValues<fnet_deny_node>::map(nodes_fd.get(), places));
        tables.blocks_fd = std::move(blocks_fd);
        tables.nodes_fd = std::move(nodes_fd);
        return tables;
    }
    DenyTable table(unsigned bits, const fnet_deny_list& header, std::uint64_t words) const {
        return {blocks.values(), nodes.values(), bits, {header.factors[0], header.factors[1]}, words};
    }
};

Result<DenyList> DenyList::open(const std::filesystem::path& maps) {
    const UniqueFd list = TRY(open_pinned_map(maps / "deny_list", sizeof(__u32), sizeof(fnet_deny_list)));
    const UniqueFd blocks = TRY(open_pinned_map(maps / "deny_blocks", sizeof(__u32), sizeof(__u32)));
    const UniqueFd nodes = TRY(open_pinned_map(maps / "deny_nodes", sizeof(__u32), sizeof(__u32)));
    return of_maps(list.get(), blocks.get(), nodes.get());
}

Result<DenyList> DenyList::of_maps(int list_fd, int blocks_fd, int nodes_fd) {
    DenyList list;
    list.blocks_.reset(fcntl(blocks_fd, F_DUPFD_CLOEXEC, 0));
    list.nodes_.reset(fcntl(nodes_fd, F_DUPFD_CLOEXEC, 0));
    if (!list.blocks_ || !list.nodes_) return sys_error(errno, "open the deny list");
    list.header_ = TRY(SharedValues<fnet_deny_list>::map(list_fd, 1));
    return list;
}

std::uint64_t DenyList::revision() const {
    return std::atomic_ref<__u64>{header().revision}.load(std::memory_order_acquire);
}

void DenyList::set_revision(std::uint64_t revision) {
    publish(header().revision, revision);
}

Status DenyList::replace(std::span<const IpPrefix> prefixes, std::uint64_t revision) {
    const std::uint64_t before = header().tables;
    const auto old_slot = static_cast<std::uint32_t>(before & FNET_DENY_SLOT);
    // Of a process that died before it had removed them.
    for (std::uint32_t slot = 0; before == 0 && slot < 2; ++slot)
        for (const UniqueFd* outer : {&blocks_, &nodes_}) CHECK_OK(remove_inner(*outer, slot));
    if (!prefixes.empty()) {
        if (before == 0) {
            std::uint64_t factors[2]{};
            if (getrandom(factors, sizeof factors, 0) != sizeof factors) return sys_error(errno, "get random numbers");
            for (std::size_t i = 0; i < 2; ++i) publish(header().factors[i], factors[i] | 1U);
        }
        const std::vector<IpPrefix> kept = outermost({prefixes.begin(), prefixes.end()});
        std::uint64_t wanted = 0;
        Tables tables;
        for (unsigned bits = DenyTable::bits_for(kept); wanted == 0; ++bits) {
            if (bits > DenyTable::kMostBits) return failed("fill the tables of the deny list: they grow beyond any measure");
            tables = TRY(Tables::make(bits));
            DenyTable table = tables.table(bits, header(), 0);
            bool filled = true;
            for (std::size_t i = 0; filled && i < kept.size(); ++i) filled = table.add(kept[i]);
            if (filled) wanted = table.tables();
        }
        const std::uint32_t slot = before == 0 ? 0 : 1 - old_slot;
        CHECK_OK(put_inner(blocks_, slot, tables.blocks_fd));
        CHECK_OK(put_inner(nodes_, slot, tables.nodes_fd));
        publish(header().tables, wanted | slot);
        // Again, for what it waits for: programs that have read the word before, and still need the old tables.
        if (before != 0) CHECK_OK(put_inner(nodes_, slot, tables.nodes_fd));
    } else {
        publish(header().tables, 0);
    }
    publish(header().revision, revision);
    if (before == 0) return ok();
    for (const UniqueFd* outer : {&blocks_, &nodes_}) CHECK_OK(remove_inner(*outer, old_slot));
    return ok();
}

Result<DenyList::Tables> DenyList::open_tables() const {
    const auto slot = static_cast<std::uint32_t>(header().tables & FNET_DENY_SLOT);
    UniqueFd blocks = TRY(open_inner(blocks_, slot));
    UniqueFd nodes = TRY(open_inner(nodes_, slot));
    return Tables::map(std::move(blocks), std::move(nodes));
}

Result<bool> DenyList::add(const IpPrefix& prefix, std::uint64_t revision) {
    const std::uint64_t before = header().tables;
    if (before == 0) return false;
    const Tables tables = TRY(open_tables());
    DenyTable table = tables.table((before >> FNET_DENY_SIZE_SHIFT) & FNET_DENY_SIZE_MASK, header(), before);
    if (!table.add(prefix)) return false;
    publish(header().tables, table.tables());
    publish(header().revision, revision);
    return true;
}

Status DenyList::remove(const IpPrefix& prefix, std::uint64_t revision) {
    const std::uint64_t before = header().tables;
    if (before != 0) {
        const Tables tables = TRY(open_tables());
        tables.table((before >> FNET_DENY_SIZE_SHIFT) & FNET_DENY_SIZE_MASK, header(), before).remove(prefix);
    }
    publish(header().revision, revision);
    return ok();
}

void DenyList::set_asked_by_xdp(std::uint32_t ifindex, bool asked) {
    std::atomic_ref<__u32> place{header().by_xdp[ifindex % FNET_DENY_XDP_PLACES]};
    if (asked)
        place.store(ifindex, std::memory_order_release);
    else if (place.load() == ifindex)
        place.store(0, std::memory_order_release);
}

}  // namespace fastnet
