#include "loader/xdp.h"

#include <bpf/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <optional>

#include "bpf/abi/config.h"
#include "bpf/abi/deny.h"
#include "loader/base/handle.h"
#include "loader/object.h"
#include "xdp_uplink.skel.h"

namespace fastnet {
namespace {

constexpr const char* kProgram = "xdp_uplink";
constexpr const char* kMapOfOurs = "deny_nodes";  // no other program of that name has it
constexpr std::size_t kMostMaps = 64;
constexpr const char* kDispatchers = "/sys/fs/bpf/xdp";  // dispatch-IFINDEX-ID/NAME-prog and NAME-link, of each program behind one
constexpr std::string_view kPinnedProgram = "-prog";

using Object = Handle<bpf_object, bpf_object__close>;
using XdpProgram = Handle<xdp_program, xdp_program__close>;
using Multiprog = Handle<xdp_multiprog, xdp_multiprog__close>;

std::string device_name(int ifindex) {
    std::array<char, IF_NAMESIZE> name{};
    return if_indextoname(static_cast<unsigned>(ifindex), name.data()) != nullptr ? name.data() : "ifindex " + std::to_string(ifindex);
}

struct MainProgram {
    std::uint32_t id = 0;  ///< 0: nothing is attached
    bool generic = false;
};

Result<MainProgram> main_program(int ifindex) {
    LIBBPF_OPTS(bpf_xdp_query_opts, query);
    const int error = bpf_xdp_query(ifindex, 0, &query);
    if (error == -ENODEV) return MainProgram{};
    if (error != 0) return sys_error(error, "ask for the XDP program of " + device_name(ifindex));
    return MainProgram{.id = query.prog_id, .generic = query.attach_mode == XDP_ATTACHED_SKB};
}

struct Identity {
    std::string name{};
    bool ours = false;
    std::vector<std::uint32_t> maps{};
};

Identity identify(std::uint32_t program_id) {
    Identity who;
    const UniqueFd fd{bpf_prog_get_fd_by_id(program_id)};
    if (!fd) return who;
    std::array<__u32, kMostMaps> maps{};
    bpf_prog_info info{};
    info.map_ids = reinterpret_cast<std::uintptr_t>(maps.data());
    info.nr_map_ids = kMostMaps;
    __u32 length = sizeof info;
    if (bpf_obj_get_info_by_fd(fd.get(), &info, &length) != 0) return who;
    who.name = info.name;
    who.maps.assign(maps.begin(), maps.begin() + std::min<std::size_t>(info.nr_map_ids, kMostMaps));
    if (who.name != kProgram) return who;
    who.ours = std::any_of(who.maps.begin(), who.maps.end(), [](std::uint32_t id) {
        const UniqueFd map{bpf_map_get_fd_by_id(id)};
        bpf_map_info about{};
        __u32 size = sizeof about;
        return map && bpf_obj_get_info_by_fd(map.get(), &about, &size) == 0 && std::string_view{about.name} == kMapOfOurs;
    });
    return who;
}

std::uint32_t map_id(const std::filesystem::path& pin) {
    const UniqueFd fd{bpf_obj_get(pin.c_str())};
    bpf_map_info info{};
    __u32 length = sizeof info;
    return fd && bpf_obj_get_info_by_fd(fd.get(), &info, &length) == 0 ? info.id : 0;
}

/// The programs behind libxdp's dispatcher; nullopt if what is attached is no dispatcher.
Result<std::optional<std::vector<std::uint32_t>>> dispatched(int ifindex) {
    xdp_multiprog* const found = xdp_multiprog__get_from_ifindex(ifindex);
    if (const auto error = libxdp_get_error(found); error != 0 || found == nullptr)
        return sys_error(error == 0 ? ENOENT : static_cast<int>(error), "read the XDP dispatcher of " + device_name(ifindex));
    const Multiprog multi{found};
    std::optional<std::vector<std::uint32_t>> none;
    if (xdp_multiprog__is_legacy(found)) return none;
    std::vector<std::uint32_t> programs;
    for (const xdp_program* one = xdp_multiprog__next_prog(nullptr, multi.get()); one != nullptr;
         one = xdp_multiprog__next_prog(one, multi.get()))
        programs.push_back(xdp_program__id(one));
    return std::optional{std::move(programs)};
}

/// What libxdp warned of first: the cause. What follows is what did not work because of it.
std::string& libxdp_words() {
    static thread_local std::string words;
    return words;
}

int keep_libxdp_words(libxdp_print_level level, const char* format, va_list arguments) {
    std::string& words = libxdp_words();
    if (level != LIBXDP_WARN || !words.empty()) return 0;
    std::array<char, 256> line{};
    (void)std::vsnprintf(line.data(), line.size(), format, arguments);
    words = line.data();
    words.erase(words.find_last_not_of(" \n") + 1);
    return 0;
}

/// Both libraries tell the user about what is handled here.
class Quiet {
public:
    Quiet() : previous_{libxdp_set_print(keep_libxdp_words)} { libxdp_words().clear(); }
    ~Quiet() { libxdp_set_print(previous_); }
    Quiet(const Quiet&) = delete;
    Quiet& operator=(const Quiet&) = delete;

private:
    LibbpfLog libbpf_;
    libxdp_print_fn_t previous_;
};

Result<Object> open_object(const std::filesystem::path& maps) {
    const std::string_view bytes = xdp_object_bytes();
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = kProgram);
    Object object{bpf_object__open_mem(bytes.data(), bytes.size(), &options)};
    if (!object) return sys_error(errno, "open the XDP object");
    CHECK_OK(use_pinned_maps(object.get(), maps));
    return object;
}

/// `ip` takes away programs of the one mode or the other, and says nothing if that has none.
std::string removal(int ifindex, bool generic) {
    return "remove it (`ip link set dev " + device_name(ifindex) + (generic ? " xdpgeneric" : " xdp") + " off`), or do without: --xdp off";
}

Error taken(int ifindex, const XdpHook& hook) {
    const char* why = "which was not attached in a way that lets others beside it";
    if (hook.generic) why = "in generic mode, which keeps native programs out";
    if (hook.unreadable) why = "which cannot be read now: it is being exchanged, or of a newer libxdp";
    return conflict("attach XDP to " + device_name(ifindex) + ": " + hook.stranger + " is there, " + why, removal(ifindex, hook.generic));
}

Error cannot_attach(int error, int ifindex) {
    const std::string what = "attach XDP to " + device_name(ifindex);
    if (error == -EBUSY)
        return conflict(what + ": another program is there, and the kernel does not let several share the device", removal(ifindex, false));
    if (error == -EOPNOTSUPP) return sys_error(error, what).with_hint("its driver has no native XDP; `--xdp auto` uses XDP where there is");
    const std::string& why = libxdp_words();
    return sys_error(error, what).with_hint((why.empty() ? "`dmesg` may say more" : why) + "; `--xdp off` does without");
}

/// libxdp says by the pointer what went wrong.
Result<XdpProgram> owned(xdp_program* program) {
    if (const auto error = libxdp_get_error(program); error != 0) return sys_error(static_cast<int>(error), "open the XDP program");
    if (program == nullptr) return sys_error(errno, "open the XDP program");
    return XdpProgram{program};
}

/// Takes the place of @p old, a program of ours that is alone at the device.
Status take_over(int ifindex, bpf_object* object, std::uint32_t old) {
    if (const int error = bpf_object__load(object); error != 0) return sys_error(error, "load the XDP program: " + LibbpfLog::reason());
    const UniqueFd old_fd{bpf_prog_get_fd_by_id(old)};
    if (!old_fd) return sys_error(errno, "open the XDP program of " + device_name(ifindex));
    LIBBPF_OPTS(bpf_xdp_attach_opts, options, .old_prog_fd = old_fd.get());
    const bpf_program* const program = bpf_object__find_program_by_name(object, kProgram);
    const int error = bpf_xdp_attach(ifindex, bpf_program__fd(program), XDP_FLAGS_DRV_MODE | XDP_FLAGS_REPLACE, &options);
    return error == 0 ? Status{ok()} : Status{cannot_attach(error, ifindex)};
}

Status detach_one(int ifindex, std::uint32_t program_id, bool dispatcher) {
    int error = 0;
    if (dispatcher) {
        const XdpProgram program = TRY(owned(xdp_program__from_id(program_id)));
        error = xdp_program__detach(program.get(), ifindex, XDP_MODE_NATIVE, 0);
    } else {
        const UniqueFd fd{bpf_prog_get_fd_by_id(program_id)};
        if (!fd) return ok();
        LIBBPF_OPTS(bpf_xdp_attach_opts, options, .old_prog_fd = fd.get());
        error = bpf_xdp_detach(ifindex, XDP_FLAGS_DRV_MODE | XDP_FLAGS_REPLACE, &options);
    }
    if (error == 0 || error == -ENODEV || error == -ENOENT) return ok();
    return sys_error(error, "detach XDP from " + device_name(ifindex));
}

}  // namespace

std::string_view xdp_object_bytes() {
    std::size_t size = 0;
    const void* const bytes = xdp_uplink__elf_bytes(&size);
    return {static_cast<const char*>(bytes), size};
}

Result<XdpHook> read_xdp_hook(int ifindex, const std::filesystem::path& maps) {
    XdpHook hook;
    const MainProgram main = TRY(main_program(ifindex));
    if (main.id == 0) return hook;
    const std::uint32_t own_map = maps.empty() ? 0 : map_id(maps / kMapOfOurs);
    const auto look = [&](std::uint32_t id, const Identity& who) {
        if (!who.ours) return;
        hook.ours.push_back(id);
        hook.current = hook.current || std::find(who.maps.begin(), who.maps.end(), own_map) != who.maps.end();
    };
    const Identity first = identify(main.id);
    if (first.ours) {
        look(main.id, first);
        hook.alone = true;
        return hook;
    }
    const Quiet quiet;
    if (!main.generic) {  // a dispatcher in generic mode takes no native program
        const auto programs = dispatched(ifindex);
        hook.unreadable = !programs;
        if (programs && *programs) {
            hook.dispatcher = true;
            for (const std::uint32_t id : **programs) look(id, identify(id));
            hook.alone = hook.ours.size() == (*programs)->size();
            return hook;
        }
    }
    hook.occupied = true;
    hook.generic = main.generic;
    hook.stranger = (first.name.empty() ? "a program without a name" : first.name) + " (id " + std::to_string(main.id) + ")";
    return hook;
}

std::uint32_t xdp_program_at(int ifindex) {
    const auto main = main_program(ifindex);
    return main ? main->id : 0;
}

Status attach_xdp(int ifindex, const std::filesystem::path& maps) {
    const XdpHook before = TRY(read_xdp_hook(ifindex, maps));
    if (before.occupied) return taken(ifindex, before);
    const Quiet quiet;
    Object object = TRY(open_object(maps));
    if (!before.ours.empty() && !before.dispatcher) return take_over(ifindex, object.get(), before.ours.front());
    DECLARE_LIBXDP_OPTS(xdp_program_opts, options, .obj = object.get(), .prog_name = kProgram);
    const XdpProgram program = TRY(owned(xdp_program__create(&options)));
    if (const int error = xdp_program__attach(program.get(), ifindex, XDP_MODE_NATIVE, 0); error != 0) return cannot_attach(error, ifindex);
    // Those that it takes over from, now that it is there.
    for (const std::uint32_t old : before.ours) CHECK_OK(detach_one(ifindex, old, true));
    return ok();
}

std::vector<XdpPin> pinned_xdp(const std::filesystem::path& maps) {
    std::vector<XdpPin> pins;
    const std::uint32_t own_map = map_id(maps / kMapOfOurs);
    if (own_map == 0) return pins;
    for (const std::filesystem::path& dispatcher : entries_of(kDispatchers)) {
        for (const std::filesystem::path& pin : entries_of(dispatcher)) {
            const std::string name = pin.filename();
            if (!name.ends_with(kPinnedProgram)) continue;
            const std::uint32_t id = program_id(pin);
            const Identity who = id == 0 ? Identity{} : identify(id);
            if (!who.ours || std::find(who.maps.begin(), who.maps.end(), own_map) == who.maps.end()) continue;
            pins.push_back({.program = id, .directory = dispatcher, .name = name.substr(0, name.size() - kPinnedProgram.size())});
        }
    }
    return pins;
}

Status unpin_xdp(const XdpPin& pin) {
    for (const char* const suffix : {"-link", "-prog"}) {
        const std::filesystem::path file = pin.directory / (pin.name + suffix);
        if (::unlink(file.c_str()) != 0 && errno != ENOENT) return sys_error(errno, "remove " + file.string());
    }
    // Others may be in it.
    if (::rmdir(pin.directory.c_str()) != 0 && errno != ENOENT && errno != ENOTEMPTY)
        return sys_error(errno, "remove " + pin.directory.string());
    return ok();
}

Status detach_xdp(int ifindex) {
    const XdpHook hook = TRY(read_xdp_hook(ifindex, {}));
    const Quiet quiet;
    for (const std::uint32_t id : hook.ours) CHECK_OK(detach_one(ifindex, id, hook.dispatcher));
    return ok();
}

}  // namespace fastnet
