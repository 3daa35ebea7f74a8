#include "loader/datapath.h"

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>

#include "datapath.skel.h"
#include "loader/attachment.h"
#include "loader/object.h"

namespace fastnet {
namespace {

namespace fs = std::filesystem;

using Skeleton = Handle<datapath, datapath__destroy>;

constexpr const char* kUplink = "tc_uplink";
constexpr const char* kContainer = "tc_container";
constexpr const char* kGatewayIn = "tc_gateway_in";
constexpr const char* kGatewayOut = "tc_gateway_out";
constexpr const char* kLoopback = "tc_loopback";
constexpr const char* kTunnelIn = "tc_tunnel_in";
constexpr const char* kTunnelOut = "tc_tunnel_out";
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kExitLifetimeNs = kSecond;  // a changed next hop is followed within this and one packet

/// Matches struct fnet_purge of bpf/lib/maps.h, which only BPF and this file know.
struct PurgeRequest {
    std::uint32_t endpoint_ifindex;
    std::uint32_t service;
    std::uint32_t cursor;
    std::uint32_t removed;
};

fnet_config to_abi(const DatapathConfig& config, const Features& features) {
    fnet_config abi{};
    abi.netns_cookie = config.netns_cookie;
    abi.tcp_established_ns = config.timeouts.tcp_established * kSecond;
    abi.tcp_opening_ns = config.timeouts.tcp_opening * kSecond;
    abi.tcp_closing_ns = config.timeouts.tcp_closing * kSecond;
    abi.udp_ns = config.timeouts.udp * kSecond;
    abi.udp_unreplied_ns = config.timeouts.udp_unreplied * kSecond;
    abi.dns_ns = config.timeouts.dns * kSecond;
    abi.icmp_ns = config.timeouts.icmp * kSecond;
    abi.other_ns = config.timeouts.other * kSecond;
    abi.exit_ns = kExitLifetimeNs;
    abi.remote_ns = config.timeouts.remote * kSecond;
    abi.decap_l3 = features.decap_l3 ? 1 : 0;
    abi.max_flows = config.max_flows;
    abi.masquerade_first = config.masquerade.first.value();
    abi.masquerade_last = config.masquerade.last.value();
    std::copy(config.gateway_mac.bytes().begin(), config.gateway_mac.bytes().end(), abi.gateway_mac);
    abi.endpoint_mapping = config.endpoint_mapping ? 1 : 0;
    abi.csum_ipv6 = features.csum_ipv6 ? 1 : 0;
    if (config.vtep4) std::memcpy(&abi.vtep4, config.vtep4->bytes().data() + 12, sizeof abi.vtep4);
    if (config.vtep6) std::memcpy(abi.vtep6.bytes, config.vtep6->bytes().data(), sizeof abi.vtep6.bytes);
    return abi;
}

std::uint64_t memory_of_machine() {
    return static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

enum class FlowMemory { kReserved, kAsNeeded };

/// Opens the object, with its configuration set; maps and programs are not created yet.
Result<Skeleton> open_object(const DatapathConfig& config, const Features& features, FlowMemory memory) {
    Skeleton skeleton{datapath__open()};
    if (!skeleton) return sys_error(errno, "open the BPF object");
    // The only const volatile object of the programs; the skeleton declares its type from BTF.
    const fnet_config abi = to_abi(config, features);
    static_assert(sizeof skeleton->rodata->cfg == sizeof abi);
    std::memcpy(&skeleton->rodata->cfg, &abi, sizeof abi);
    bpf_map__set_max_entries(skeleton->maps.flows, 2 * config.max_flows);
    if (memory == FlowMemory::kReserved)
        bpf_map__set_map_flags(skeleton->maps.flows,
                               bpf_map__map_flags(skeleton->maps.flows) & ~static_cast<std::uint32_t>(BPF_F_NO_PREALLOC));
    bpf_map__set_max_entries(skeleton->maps.flow_slots, config.max_flows);
    bpf_map__set_max_entries(skeleton->maps.free_slots, config.max_flows);
    return skeleton;
}

Status load_object(Skeleton& skeleton) {
    const LibbpfLog log;
    const int error = datapath__load(skeleton.get());
    if (error == 0) return ok();
    const std::string reason = LibbpfLog::reason();
    return sys_error(error, "load the BPF programs" + (reason.empty() ? "" : " (" + reason + ")"))
        .with_hint(error == -EPERM ? "run as root, or with CAP_BPF and CAP_NET_ADMIN"
                                   : "fastnet needs Linux 6.1 or later; see `fastnet doctor`");
}

Result<Skeleton> load_anew(const DatapathConfig& config, const Features& features) {
    if (reserves_flow_table(config.max_flows, memory_of_machine())) {
        Skeleton skeleton = TRY(open_object(config, features, FlowMemory::kReserved));
        const Status loaded = load_object(skeleton);
        if (loaded) return skeleton;
        if (loaded.error().sys_errno != ENOMEM) return loaded.error();  // else: the limit of our control group is lower
    }
    Skeleton skeleton = TRY(open_object(config, features, FlowMemory::kAsNeeded));
    CHECK_OK(load_object(skeleton));
    return skeleton;
}

Status make_directory(const fs::path& path) {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) return sys_error(error.value(), "create " + path.string());
    return ok();
}

Status pin_programs(const Skeleton& skeleton, const fs::path& directory) {
    CHECK_OK(make_directory(directory));
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton->obj) {
        const fs::path pin = directory / bpf_program__name(program);
        (void)unlink(pin.c_str());  // left by an interrupted replacement
        if (bpf_obj_pin(bpf_program__fd(program), pin.c_str()) != 0) return sys_error(errno, "pin program " + pin.string());
    }
    return ok();
}

Status pin_maps(const Skeleton& skeleton, const fs::path& directory) {
    CHECK_OK(make_directory(directory));
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, skeleton->obj) {
        if (pin_name(map).empty()) continue;
        const fs::path pin = directory / pin_name(map);
        if (bpf_obj_pin(bpf_map__fd(map), pin.c_str()) != 0) return sys_error(errno, "pin map " + pin.string());
    }
    return ok();
}

Result<UniqueFd> open_program(const fs::path& pin) {
    UniqueFd fd{bpf_obj_get(pin.c_str())};
    if (!fd) return sys_error(errno, "open program " + pin.string());
    return fd;
}

/// Runs a maintenance program once and returns its value.
Result<int> run_program(const fs::path& pin) {
    const UniqueFd program = TRY(open_program(pin));
    std::array<unsigned char, 64> frame{};  // the kernel wants at least an Ethernet header; the programs read none of it
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = static_cast<__u32>(frame.size()));
    if (bpf_prog_test_run_opts(program.get(), &options) != 0) return sys_error(errno, "run program " + pin.string());
    return static_cast<int>(options.retval);
}

Status arm_collector(const fs::path& programs) {
    const int step = TRY(run_program(programs / "collector_arm"));
    if (step != 0) return failed("start the flow collector: the kernel refused the timer (step " + std::to_string(step) + ")");
    return ok();
}

struct PinnedLink {
    std::string program;
    int ifindex = 0;       // 0 for cgroup hooks
    std::uint32_t id = 0;  // 0 if it cannot be read
    std::uint32_t program_id = 0;
    bool alive = false;  // not if its device or cgroup is gone, or if it was detached by force
};

PinnedLink read_link(const fs::path& pin) {
    const std::string name = pin.filename();
    const std::size_t dash = name.find('-');
    PinnedLink link;
    link.program = dash == std::string::npos ? name : name.substr(dash + 1);
    if (dash != std::string::npos) link.ifindex = std::atoi(name.c_str());
    bpf_link_info info{};
    __u32 length = sizeof info;
    const UniqueFd fd{bpf_obj_get(pin.c_str())};
    if (!fd || bpf_obj_get_info_by_fd(fd.get(), &info, &length) != 0) return link;
    link.id = info.id;
    link.program_id = info.prog_id;
    // The ifindex lies where that of XDP does; Debian 12's headers know no tcx.
    link.alive = link.ifindex != 0 ? info.xdp.ifindex == static_cast<__u32>(link.ifindex) : info.cgroup.cgroup_id != 0;
    return link;
}

/// Detaches now: dropping the last reference alone would do it later, from a work queue.
void remove_link(const fs::path& pin) {
    if (const UniqueFd link{bpf_obj_get(pin.c_str())}; link) (void)bpf_link_detach(link.get());
    (void)unlink(pin.c_str());
}

Status remove_directory(const fs::path& directory) {
    for (const fs::path& entry : entries_of(directory)) {
        std::error_code ignored;
        if (fs::is_directory(entry, ignored)) {
            CHECK_OK(remove_directory(entry));
        } else if (unlink(entry.c_str()) != 0 && errno != ENOENT) {
            return sys_error(errno, "remove " + entry.string());
        }
    }
    if (rmdir(directory.c_str()) != 0 && errno != ENOENT) return sys_error(errno, "remove " + directory.string());
    return ok();
}

fs::path link_pin(const fs::path& pin_dir, int ifindex, const char* program) {
    return pin_dir / "links" / (std::to_string(ifindex) + "-" + program);
}

const char* program_of(Hook hook) {
    switch (hook) {
        case Hook::kUplinkIngress: return kUplink;
        case Hook::kContainerIngress: return kContainer;
        case Hook::kBridgeIngress: return kGatewayIn;
        case Hook::kBridgeEgress: return kGatewayOut;
        case Hook::kLoopbackIngress: return kLoopback;
        case Hook::kVxlanIngress: return kTunnelIn;
        case Hook::kVxlanEgress: return kTunnelOut;
    }
    return "";
}

Direction direction_of(const std::string& program) {
    return program == kGatewayOut || program == kTunnelOut ? Direction::kEgress : Direction::kIngress;
}

std::vector<Hook> hooks_of(const fnet_device& device) {
    if (device.kind == FNET_DEVICE_UPLINK) return {Hook::kUplinkIngress};
    if (device.kind == FNET_DEVICE_LOOPBACK) return {Hook::kLoopbackIngress};
    if (device.kind == FNET_DEVICE_VXLAN) return {Hook::kVxlanEgress, Hook::kVxlanIngress};
    return {Hook::kBridgeEgress, Hook::kBridgeIngress};
}

/// Such as "tcx ingress tc_uplink".
std::string title_of(const std::string& kind, const std::string& program) {
    return kind + (direction_of(program) == Direction::kIngress ? " ingress " : " egress ") + program;
}

std::uint64_t memory_of(int fd) {
    std::ifstream info{"/proc/self/fdinfo/" + std::to_string(fd)};
    std::string name;
    std::uint64_t value = 0;
    while (info >> name) {
        if (name == "memlock:" && info >> value) return value;
        info.ignore(256, '\n');
    }
    return 0;
}

std::uint64_t count_keys(int fd, __u32 key_size) {
    std::vector<unsigned char> key(key_size), next(key_size);
    std::uint64_t count = 0;
    bool first = true;
    while (bpf_map_get_next_key(fd, first ? nullptr : key.data(), next.data()) == 0) {
        ++count;
        key.swap(next);
        first = false;
    }
    return count;
}

/// A word of `filters`, and what of it stands for some ports.
struct FilterWord {
    std::uint32_t index;
    std::uint64_t mask;
};

std::uint32_t filter_region(Family family, Protocol protocol) {
    const bool v4 = family == Family::kIpv4;
    switch (protocol) {
        case Protocol::kUdp: return v4 ? FNET_FILTER_UDP4 : FNET_FILTER_UDP6;
        case Protocol::kSctp: return v4 ? FNET_FILTER_SCTP4 : FNET_FILTER_SCTP6;
        default: return v4 ? FNET_FILTER_TCP4 : FNET_FILTER_TCP6;
    }
}

std::vector<FilterWord> filter_words(const FilteredPorts& filtered) {
    const std::uint32_t region = filter_region(filtered.family, filtered.protocol);
    const PortRange& ports = filtered.ports;
    std::vector<FilterWord> words;
    for (std::uint32_t word = ports.first.value() / 64U; word <= ports.last.value() / 64U; ++word) {
        const std::uint32_t low = std::max<std::uint32_t>(ports.first.value(), word * 64U) % 64U;
        const std::uint32_t high = std::min<std::uint32_t>(ports.last.value(), word * 64U + 63U) % 64U;
        words.push_back({region * FNET_FILTER_WORDS + word, (~std::uint64_t{0} >> (63U - (high - low))) << low});
    }
    return words;
}

struct CgroupHook {
    const char* program;
    int attach_type;
    bool guard;  // only where a network asks for it: vxlan_guard
};
constexpr std::array<CgroupHook, 6> kCgroupHooks{{
    {"cgroup_bind4", BPF_CGROUP_INET4_BIND, false},
    {"cgroup_bind6", BPF_CGROUP_INET6_BIND, false},
    {"cgroup_connect4", BPF_CGROUP_INET4_CONNECT, true},
    {"cgroup_connect6", BPF_CGROUP_INET6_CONNECT, true},
    {"cgroup_sendmsg4", BPF_CGROUP_UDP4_SENDMSG, true},
    {"cgroup_sendmsg6", BPF_CGROUP_UDP6_SENDMSG, true},
}};

bool device_exists(int ifindex) {
    std::array<char, IF_NAMESIZE> name{};
    return if_indextoname(static_cast<unsigned>(ifindex), name.data()) != nullptr;
}

std::uint32_t subnet_region(const IpPrefix& subnet) {
    return subnet.family() == Family::kIpv4 ? FNET_FILTER_SUBNET4 : FNET_FILTER_SUBNET6;
}

std::uint32_t first_bits(const IpAddress& address) {
    return static_cast<std::uint32_t>(address.wire()[0]) << 8U | address.wire()[1];
}

}  // namespace

bool reserves_flow_table(std::uint32_t max_flows, std::uint64_t memory) {
    // What the kernel keeps of an entry beside key and value (struct htab_elem), on 64 bits.
    constexpr std::uint64_t kOverhead = 48;
    // It is charged to the control group of whoever loads, which may be the agent's unit (MemoryMax).
    constexpr std::uint64_t kMost = 256ULL << 20U;
    return 2ULL * max_flows * (sizeof(fnet_flow_key) + sizeof(fnet_flow) + kOverhead) <= std::min(memory / 100, kMost);
}

bool Datapath::is_loaded(const fs::path& pin_dir) {
    std::error_code ignored;  // a directory that may not be searched is none of ours
    return fs::exists(pin_dir / "maps" / "flows", ignored);
}

std::string Datapath::build_id() {
    std::size_t size = 0;
    const auto* bytes = static_cast<const char*>(datapath__elf_bytes(&size));
    std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
    for (const std::string_view object : {std::string_view{bytes, size}, xdp_object_bytes()})
        for (const char byte : object) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    std::array<char, 17> text{};
    (void)std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(hash));
    return text.data();
}

Result<Datapath> Datapath::load(const fs::path& pin_dir, const DatapathConfig& config, const Features& features) {
    // Everything is built beside its place and renamed into it: the directory is there whole, or not.
    // (bpffs refuses names with a dot.)
    const fs::path building = pin_dir.string() + "-new";
    CHECK_OK(remove_directory(building));
    const auto build = [&]() -> Status {
        Skeleton skeleton = TRY(load_anew(config, features));
        CHECK_OK(make_directory(building / "links"));
        CHECK_OK(pin_programs(skeleton, building / "progs"));
        CHECK_OK(pin_maps(skeleton, building / "maps"));
        CHECK_OK(arm_collector(building / "progs"));
        if (rename(building.c_str(), pin_dir.c_str()) != 0) return sys_error(errno, "rename " + building.string());
        return ok();
    };
    if (Status status = build(); !status) {
        (void)remove_directory(building);
        return std::move(status).error();
    }
    return open(pin_dir);
}

Result<Datapath> Datapath::open(const fs::path& pin_dir) {
    if (!is_loaded(pin_dir))
        return not_found("open the datapath: nothing is pinned at " + pin_dir.string(),
                         "run `fastnet attach --mode bridge` to prepare the node");
    Datapath datapath;
    datapath.pin_dir_ = pin_dir;
    CHECK_OK(datapath.open_maps());
    datapath.tcx_ = TRY(probe_features()).tcx;
    return datapath;
}

Status Datapath::open_maps() {
    const auto path = [&](const char* name) { return (pin_dir_ / "maps" / name).string(); };
    endpoints_ = TRY(decltype(endpoints_)::open(path("endpoints"), "endpoints"));
    addresses_ = TRY(decltype(addresses_)::open(path("addresses"), "addresses"));
    devices_ = TRY(decltype(devices_)::open(path("devices"), "devices"));
    subnets_ = TRY(decltype(subnets_)::open(path("subnets"), "subnets"));
    services_ = TRY(decltype(services_)::open(path("services"), "services"));
    sources_ = TRY(decltype(sources_)::open(path("sources"), "sources"));
    service_stats_ = TRY(decltype(service_stats_)::open(path("service_stats"), "service_stats"));
    flows_ = TRY(decltype(flows_)::open(path("flows"), "flows"));
    tunnels_ = TRY(decltype(tunnels_)::open(path("tunnels"), "tunnels"));
    vteps_ = TRY(decltype(vteps_)::open(path("vteps"), "vteps"));
    validity_ = TRY(decltype(validity_)::open(path("validity"), "validity"));
    flow_slots_ = TRY(decltype(flow_slots_)::open(path("flow_slots"), "flow_slots"));
    filters_ = TRY(decltype(filters_)::open(path("filters"), "filters"));
    return ok();
}

Status Datapath::replace_programs(const DatapathConfig& config, const Features& features) {
    Skeleton skeleton = TRY(open_object(config, features, FlowMemory::kAsNeeded));  // the table is there
    CHECK_OK(use_pinned_maps(skeleton->obj, pin_dir_ / "maps"));
    CHECK_OK(load_object(skeleton));

    const fs::path fresh = pin_dir_ / "progs-new";
    CHECK_OK(pin_programs(skeleton, fresh));
    // From here on each step can be repeated: a crash in between leaves old and new programs side by side on the same
    // maps, and the next call (the build id in the store is still the old one) finishes the work.
    for (const fs::path& pin : entries_of(pin_dir_ / "links")) {
        const fs::path program = fresh / read_link(pin).program;
        if (!fs::exists(program)) {  // this build does without it
            remove_link(pin);
            continue;
        }
        Status updated = update_link(pin, TRY(open_program(program)).get());
        if (updated) continue;
        // Nothing runs through a link that leads nowhere, such as that of a container which died: no reason to stop.
        if (updated.error().sys_errno != ENOLINK) return updated;
        remove_link(pin);
    }
    if (!tcx_) {
        std::vector<std::pair<int, Hook>> hooks;
        CHECK_OK(endpoints_.for_each([&](const std::uint32_t ifindex, const fnet_endpoint&) {
            hooks.emplace_back(static_cast<int>(ifindex), Hook::kContainerIngress);
        }));
        CHECK_OK(devices_.for_each([&](const std::uint32_t ifindex, const fnet_device& device) {
            for (const Hook hook : hooks_of(device)) hooks.emplace_back(static_cast<int>(ifindex), hook);
        }));
        for (const auto& [ifindex, hook] : hooks) {
            if (!device_exists(ifindex)) continue;
            const char* program = program_of(hook);
            CHECK_OK(attach_clsact(TRY(open_program(fresh / program)).get(), ifindex, direction_of(program)));
        }
    }
    CHECK_OK(replace_xdp());
    CHECK_OK(arm_collector(fresh));
    // At no moment is there no `progs`: the two change places.
    if (renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, (pin_dir_ / "progs").c_str(), RENAME_EXCHANGE) != 0)
        return sys_error(errno, "exchange " + fresh.string());
    return remove_directory(fresh);
}

Status Datapath::attach_device(int ifindex, Hook hook) {
    const char* program = program_of(hook);
    const UniqueFd fd = TRY(open_program(pin_dir_ / "progs" / program));
    const Direction direction = direction_of(program);
    return tcx_ ? attach_tcx(fd.get(), ifindex, direction, link_pin(pin_dir_, ifindex, program))
                : attach_clsact(fd.get(), ifindex, direction);
}

Status Datapath::attach_uplink(int ifindex) {
    return attach_device(ifindex, Hook::kUplinkIngress);
}

Status Datapath::attach_loopback() {
    return attach_device(FNET_LOOPBACK_IFINDEX, Hook::kLoopbackIngress);
}

Status Datapath::attach_endpoint(int ifindex) {
    return attach_device(ifindex, Hook::kContainerIngress);
}

Status Datapath::attach_bridge(int ifindex) {
    CHECK_OK(attach_device(ifindex, Hook::kBridgeEgress));
    return attach_device(ifindex, Hook::kBridgeIngress);
}

Status Datapath::attach_vxlan(int ifindex) {
    CHECK_OK(attach_device(ifindex, Hook::kVxlanEgress));
    return attach_device(ifindex, Hook::kVxlanIngress);
}

Status Datapath::detach_device(int ifindex) {
    if (tcx_) {
        for (const char* program : {kUplink, kContainer, kGatewayIn, kGatewayOut, kLoopback, kTunnelIn, kTunnelOut})
            remove_link(link_pin(pin_dir_, ifindex, program));
        return ok();
    }
    CHECK_OK(detach_clsact(ifindex, Direction::kIngress));
    return detach_clsact(ifindex, Direction::kEgress);
}

Result<XdpHook> Datapath::xdp_hook(int ifindex) const {
    return read_xdp_hook(ifindex, pin_dir_ / "maps");
}

Status Datapath::attach_xdp(int ifindex) {
    CHECK_OK(fastnet::attach_xdp(ifindex, pin_dir_ / "maps"));
    // From now on, and not before, tc need not look.
    const XdpHook hook = TRY(xdp_hook(ifindex));
    DenyList list = TRY(deny_list());
    list.set_asked_by_xdp(static_cast<std::uint32_t>(ifindex), hook.judges_all());
    return ok();
}

Status Datapath::detach_xdp(int ifindex) {
    DenyList list = TRY(deny_list());
    list.set_asked_by_xdp(static_cast<std::uint32_t>(ifindex), false);
    return fastnet::detach_xdp(ifindex);
}

Result<bool> Datapath::forget_xdp(const std::vector<std::uint32_t>& attached) const {
    bool forgotten = false;
    for (const XdpPin& pin : pinned_xdp(pin_dir_ / "maps")) {
        if (std::find(attached.begin(), attached.end(), pin.program) != attached.end()) continue;
        CHECK_OK(unpin_xdp(pin));
        forgotten = true;
    }
    return forgotten;
}

Status Datapath::replace_xdp() {
    std::vector<int> uplinks;
    CHECK_OK(devices_.for_each([&](const std::uint32_t ifindex, const fnet_device& device) {
        if (device.kind == FNET_DEVICE_UPLINK) uplinks.push_back(static_cast<int>(ifindex));
    }));
    for (const int ifindex : uplinks) {
        const auto hook = xdp_hook(ifindex);
        if (hook && hook->ours.empty()) continue;
        // Who opens the node settles XDP next, and says why it cannot. Until then tc asks the list.
        if (!hook || !attach_xdp(ifindex)) (void)detach_xdp(ifindex);
    }
    return ok();
}

Status Datapath::attach_cgroup(const fs::path& cgroup, bool guard) {
    for (const CgroupHook& hook : kCgroupHooks) {
        const fs::path pin = pin_dir_ / "links" / hook.program;
        if (hook.guard && !guard) {
            remove_link(pin);
            continue;
        }
        CHECK_OK(attach_cgroup_link(TRY(open_program(pin_dir_ / "progs" / hook.program)).get(), cgroup, hook.attach_type, pin));
    }
    return ok();
}

bool Datapath::cgroup_attached(bool guard) const {
    return std::all_of(kCgroupHooks.begin(), kCgroupHooks.end(), [&](const CgroupHook& hook) {
        const fs::path pin = pin_dir_ / "links" / hook.program;
        std::error_code ignored;
        if (hook.guard && !guard) return !fs::exists(pin, ignored);
        const PinnedLink link = read_link(pin);
        return link.alive && link.program_id == program_id(pin_dir_ / "progs" / hook.program);
    });
}

void Datapath::drop_dead_links() {
    for (const fs::path& pin : entries_of(pin_dir_ / "links"))
        if (const PinnedLink link = read_link(pin); link.id != 0 && !link.alive) remove_link(pin);
}

std::vector<AttachedHook> Datapath::attached_links(const fs::path& pin_dir) {
    std::map<std::string, std::uint32_t> programs;  // by name: a thousand links share one
    std::vector<AttachedHook> hooks;
    for (const fs::path& pin : entries_of(pin_dir / "links")) {
        const PinnedLink link = read_link(pin);
        if (!link.alive) continue;
        const auto [program, fresh] = programs.try_emplace(link.program);
        if (fresh) program->second = program_id(pin_dir / "progs" / link.program);
        hooks.push_back({link.ifindex != 0 ? title_of("tcx", link.program) : "cgroup " + link.program, link.ifindex, link.id,
                         link.program_id == program->second});
    }
    return hooks;
}

std::vector<AttachedHook> Datapath::attached() const {
    std::vector<AttachedHook> hooks = attached_links(pin_dir_);
    if (tcx_) return hooks;
    std::map<Hook, std::uint32_t> programs;
    const auto add_filter = [&](int ifindex, Hook hook) {
        const char* program = program_of(hook);
        const std::uint32_t present = clsact_program(ifindex, direction_of(program));
        if (present == 0) return;
        const auto [wanted, fresh] = programs.try_emplace(hook);
        if (fresh) wanted->second = program_id(pin_dir_ / "progs" / program);
        hooks.push_back({title_of("clsact", program), ifindex, 0, present == wanted->second});
    };
    (void)endpoints_.for_each(
        [&](const std::uint32_t ifindex, const fnet_endpoint&) { add_filter(static_cast<int>(ifindex), Hook::kContainerIngress); });
    (void)devices_.for_each([&](const std::uint32_t ifindex, const fnet_device& device) {
        for (const Hook hook : hooks_of(device)) add_filter(static_cast<int>(ifindex), hook);
    });
    return hooks;
}

Status Datapath::purge(std::uint32_t endpoint_ifindex, std::uint32_t service_id, std::uint64_t& removed) const {
    const auto requests = TRY(Map<std::uint32_t, PurgeRequest>::open((pin_dir_ / "maps" / "purge").string(), "purge"));
    CHECK_OK(requests.put(0, {endpoint_ifindex, service_id, 0, 0}));
    while (TRY(run_program(pin_dir_ / "progs" / "flow_purge")) == 1) {
    }
    if (const auto answer = TRY(requests.get(0)); answer) removed = answer->removed;
    return ok();
}

Result<std::uint64_t> Datapath::purge_endpoint_flows(std::uint32_t endpoint_ifindex) const {
    std::uint64_t removed = 0;
    CHECK_OK(purge(endpoint_ifindex, 0, removed));
    return removed;
}

Result<std::uint64_t> Datapath::purge_service_flows(std::uint32_t service_id) const {
    std::uint64_t removed = 0;
    CHECK_OK(purge(0, service_id, removed));
    return removed;
}

Status Datapath::set_port_filter(const FilteredPorts& ports, bool on) const {
    for (const FilterWord& word : filter_words(ports)) {
        const std::uint64_t before = TRY(filters_.get(word.index)).value_or(0);
        CHECK_OK(filters_.put(word.index, on ? before | word.mask : before & ~word.mask));
    }
    return ok();
}

Result<bool> Datapath::reset_filters(const std::vector<FilteredPorts>& published, const std::vector<IpPrefix>& subnets) const {
    std::vector<std::uint64_t> wanted(FNET_FILTER_COUNT * FNET_FILTER_WORDS);
    for (const FilteredPorts& ports : published)
        for (const FilterWord& word : filter_words(ports)) wanted[word.index] |= word.mask;
    for (const IpPrefix& subnet : subnets)
        for (std::uint32_t bit = first_bits(subnet.address()); bit <= first_bits(subnet.last()); ++bit)
            wanted[subnet_region(subnet) * FNET_FILTER_WORDS + bit / 64] |= std::uint64_t{1} << (bit % 64);
    std::vector<std::uint32_t> wrong;
    CHECK_OK(filters_.for_each([&](const std::uint32_t index, const std::uint64_t word) {
        if (index < wanted.size() && word != wanted[index]) wrong.push_back(index);
    }));
    for (const std::uint32_t index : wrong) CHECK_OK(filters_.put(index, wanted[index]));
    return !wrong.empty();
}

Status Datapath::set_subnet_filter(const IpPrefix& subnet, bool on) const {
    const std::uint32_t region = subnet_region(subnet);
    const std::uint32_t first = first_bits(subnet.address());
    const std::uint32_t last = first_bits(subnet.last());
    std::vector<bool> kept(65536, false);  // bits that another subnet needs
    if (!on) {
        CHECK_OK(subnets_.for_each([&](const fnet_subnet_key& key, const std::uint32_t&) {
            const IpAddress address = IpAddress::from_wire(Family::kIpv6, key.addr);
            const IpPrefix other{address, static_cast<std::uint8_t>(key.prefix_len - (address.family() == Family::kIpv4 ? 96 : 0))};
            if (other == subnet || other.family() != subnet.family()) return;
            for (std::uint32_t bit = first_bits(other.address()); bit <= first_bits(other.last()); ++bit) kept[bit] = true;
        }));
    }
    for (std::uint32_t bit = first; bit <= last; ++bit) {
        if (!on && kept[bit]) continue;
        const std::uint32_t index = region * FNET_FILTER_WORDS + bit / 64;
        const std::uint64_t before = TRY(filters_.get(index)).value_or(0);
        const std::uint64_t mask = std::uint64_t{1} << (bit % 64);
        CHECK_OK(filters_.put(index, on ? before | mask : before & ~mask));
    }
    return ok();
}

Status Datapath::judge_anew() const {
    auto validity = TRY(validity_.get(0)).value_or(fnet_validity{});
    validity.generation += FNET_USER_GENERATION;
    return validity_.put(0, validity);
}

Result<DenyList> Datapath::deny_list() const {
    return DenyList::open(pin_dir_ / "maps");
}

Result<std::vector<MapUsage>> Datapath::map_usage() const {
    std::vector<MapUsage> usage;
    const fnet_flow_table table = TRY(flow_table());
    std::uint64_t flows = 0;
    for (int flow_class = FNET_CLASS_CLOSED; flow_class < FNET_CLASS_COUNT; ++flow_class)
        flows += static_cast<std::uint64_t>(std::max<__s64>(table.count[flow_class], 0));
    for (const fs::path& pin : entries_of(pin_dir_ / "maps")) {
        const UniqueFd fd{bpf_obj_get(pin.c_str())};
        if (!fd) return sys_error(errno, "open map " + pin.string());
        bpf_map_info info{};
        __u32 length = sizeof info;
        if (bpf_obj_get_info_by_fd(fd.get(), &info, &length) != 0) return sys_error(errno, "inspect map " + pin.string());
        MapUsage row{pin.filename(), 0, info.max_entries, memory_of(fd.get())};
        if (row.name == "flows") {
            row.entries = 2 * flows;  // counting a large hash key by key would take seconds
        } else if (row.name == "flow_slots") {
            row.entries = flows;
        } else if (info.type == BPF_MAP_TYPE_HASH || info.type == BPF_MAP_TYPE_LPM_TRIE) {
            row.entries = count_keys(fd.get(), info.key_size);
        } else if (info.type == BPF_MAP_TYPE_STACK) {
            row.entries =
                std::min<std::uint64_t>(table.unused, info.max_entries) - std::min<std::uint64_t>({flows, table.unused, info.max_entries});
        } else {
            row.entries = info.max_entries;
        }
        usage.push_back(std::move(row));
    }
    return usage;
}

Result<std::vector<fnet_verdict_count>> Datapath::verdict_counts() const {
    const UniqueFd fd = TRY(open_pinned_map((pin_dir_ / "maps" / "verdicts").string(), sizeof(std::uint32_t), sizeof(fnet_verdict_count)));
    const int cpus = possible_cpus();
    if (cpus < 0) return sys_error(cpus, "count the CPUs");
    std::vector<fnet_verdict_count> sums(FNET_VERDICT_COUNT), values(static_cast<std::size_t>(cpus));
    for (std::uint32_t verdict = 0; verdict < FNET_VERDICT_COUNT; ++verdict) {
        if (bpf_map_lookup_elem(fd.get(), &verdict, values.data()) != 0) return sys_error(errno, "read map verdicts");
        for (const fnet_verdict_count& value : values) {
            sums[verdict].packets += value.packets;
            sums[verdict].bytes += value.bytes;
        }
    }
    return sums;
}

Result<std::map<std::uint32_t, fnet_verdict_count>> Datapath::uncounted() const {
    const UniqueFd fd = TRY(open_pinned_map((pin_dir_ / "maps" / "ways").string(), sizeof(std::uint32_t), sizeof(fnet_way)));
    const int cpus = possible_cpus();
    if (cpus < 0) return sys_error(cpus, "count the CPUs");
    std::map<std::uint32_t, fnet_verdict_count> sums;
    std::vector<fnet_way> values(static_cast<std::size_t>(cpus));
    for (std::uint32_t place = 0; place < FNET_WAYS; ++place) {
        if (bpf_map_lookup_elem(fd.get(), &place, values.data()) != 0) return sys_error(errno, "read map ways");
        for (const fnet_way& way : values) {
            if (way.packets == 0) continue;
            sums[way.endpoint].packets += way.packets;
            sums[way.endpoint].bytes += way.bytes;
        }
    }
    return sums;
}

Result<fnet_flow_table> Datapath::flow_table() const {
    const auto map = TRY(Map<std::uint32_t, fnet_flow_table>::open((pin_dir_ / "maps" / "flow_table").string(), "flow_table"));
    const auto table = TRY(map.get(0));
    return table.value_or(fnet_flow_table{});
}

Status Datapath::unload(const fs::path& pin_dir, const std::vector<int>& ifindexes) {
    std::string failures;
    const auto note = [&](Status status) {
        if (!status) failures += (failures.empty() ? "" : "; ") + status.error().message;
    };
    for (const fs::path& pin : entries_of(pin_dir / "links")) remove_link(pin);
    for (const int ifindex : ifindexes) {
        note(detach_clsact(ifindex, Direction::kIngress));
        note(detach_clsact(ifindex, Direction::kEgress));
    }
    note(remove_directory(pin_dir));
    note(remove_directory(pin_dir.string() + "-new"));
    if (!failures.empty()) return failed("unload the datapath: " + failures);
    return ok();
}

Status Datapath::supersede(const fs::path& other) const {
    if (!tcx_) {
        // With the same handle our filters took the place of theirs. On the sides where we have none theirs still stand.
        std::vector<int> ifindexes;
        CHECK_OK(endpoints_.for_each(
            [&](const std::uint32_t ifindex, const fnet_endpoint&) { ifindexes.push_back(static_cast<int>(ifindex)); }));
        CHECK_OK(devices_.for_each([&](const std::uint32_t ifindex, const fnet_device& device) {
            if (device.kind == FNET_DEVICE_UPLINK) ifindexes.push_back(static_cast<int>(ifindex));
        }));
        for (const int ifindex : ifindexes) CHECK_OK(detach_clsact(ifindex, Direction::kEgress));
    }
    // What a dispatcher left of it is told by its maps, whose pins go now.
    for (const XdpPin& pin : pinned_xdp(other / "maps")) CHECK_OK(unpin_xdp(pin));
    return unload(other, {});
}

}  // namespace fastnet
