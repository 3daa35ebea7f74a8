// The face of the loader: the fastnet BPF programs and maps of one node, pinned under one bpffs directory.
// Owns kernel objects; knows nothing of networks, names, Docker or policy. Everything is pinned, so the datapath
// outlives this process; opening it again costs a few system calls and no verification.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bpf/abi/config.h"
#include "bpf/abi/endpoint.h"
#include "bpf/abi/flow.h"
#include "bpf/abi/service.h"
#include "bpf/abi/tunnel.h"
#include "bpf/abi/verdict.h"
#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "loader/deny_list.h"
#include "loader/features.h"
#include "loader/flow_timeouts.h"
#include "loader/typed_map.h"
#include "loader/xdp.h"

namespace fastnet {

/// What is baked into the programs at load time.
struct DatapathConfig {
    std::uint32_t max_flows = 262144;
    PortRange masquerade{Port{16384}, Port{32767}};
    MacAddress gateway_mac;
    std::uint64_t netns_cookie = 0;
    FlowTimeouts timeouts;
    bool endpoint_mapping = true;    ///< RFC 4787 REQ-1
    std::optional<IpAddress> vtep4;  ///< outer source of tunnels; unset: as the route prefers
    std::optional<IpAddress> vtep6;
};

/// Whether the entries of a table of @p max_flows flows are allocated when it is made: where that takes at most a hundredth of the
/// machine's @p memory (bytes), and 256 MiB. A new flow is then 0.4 us cheaper, and cannot fail for want of memory. Elsewhere each
/// entry is allocated when it is needed.
bool reserves_flow_table(std::uint32_t max_flows, std::uint64_t memory);

enum class Hook {
    kUplinkIngress,
    kContainerIngress,
    kBridgeIngress,
    kBridgeEgress,
    kLoopbackIngress,
    kVxlanIngress,
    kVxlanEgress,
};

struct AttachedHook {
    std::string name;           ///< e.g. "tcx ingress tc_uplink"
    int ifindex = 0;            ///< 0 for cgroup hooks
    std::uint32_t link_id = 0;  ///< 0 for clsact filters
    bool ours = true;           ///< what runs there is the program that is pinned; else somebody put in another one

    friend bool operator==(const AttachedHook&, const AttachedHook&) = default;
};

struct MapUsage {
    std::string name;
    std::uint64_t entries = 0;
    std::uint64_t max_entries = 0;
    std::uint64_t memory_bytes = 0;  ///< as the kernel accounts it (fdinfo memlock)
};

/// Ports that are published on addresses of a family.
struct FilteredPorts {
    Family family;
    Protocol protocol;
    PortRange ports;
};

class Datapath {
public:
    /// Layout: <pin_dir>/{maps,progs,links}/... ; @p pin_dir must be on a bpffs and may not exist yet.
    static bool is_loaded(const std::filesystem::path& pin_dir);
    /// Loads, verifies and pins programs and maps and arms the collector. On failure nothing stays pinned.
    static Result<Datapath> load(const std::filesystem::path& pin_dir, const DatapathConfig& config, const Features& features);
    /// Opens what load() pinned. not_found if nothing is there; failed if it has another ABI version.
    static Result<Datapath> open(const std::filesystem::path& pin_dir);
    /// Loads the programs anew with the maps that are pinned, and replaces every attached program atomically, link by
    /// link; on failure the old programs stay. max_flows cannot change this way.
    Status replace_programs(const DatapathConfig& config, const Features& features);
    /// Changes with every build whose programs differ; store it to know when to replace.
    static std::string build_id();

    /// Attaches the programs of an uplink / a network's bridge / an endpoint's host-side veth in the current netns.
    /// Repeating is harmless.
    Status attach_uplink(int ifindex);
    Status attach_bridge(int ifindex);
    Status attach_loopback();
    Status attach_endpoint(int ifindex);
    /// The gates of an overlay network's vxlan device.
    Status attach_vxlan(int ifindex);
    /// Removes the pins and with them the links (or the clsact filters). Unknown ifindex is no error: the device may be
    /// gone and its links with it.
    Status detach_device(int ifindex);
    /// XDP at an uplink. Where it is attached it asks the deny list, and tc_uplink does not.
    Result<XdpHook> xdp_hook(int ifindex) const;
    Status attach_xdp(int ifindex);  ///< see loader/xdp.h; harmless to repeat
    Status detach_xdp(int ifindex);
    /// Programs of ours that libxdp keeps for a dispatcher that is at no device: all but @p attached. True: there was something.
    Result<bool> forget_xdp(const std::vector<std::uint32_t>& attached) const;
    /// The hooks at a cgroup v2 directory: bind4 and bind6, and with @p guard those that keep processes from sending VXLAN.
    Status attach_cgroup(const std::filesystem::path& cgroup, bool guard);
    /// These and no others are there.
    bool cgroup_attached(bool guard) const;
    /// Those of attached() that are links: all of them where the kernel has tcx. Opens nothing else, and needs no lock.
    static std::vector<AttachedHook> attached_links(const std::filesystem::path& pin_dir);
    /// What stands: links whose device is gone or that were detached by force, and filters that somebody removed, are left
    /// out.
    std::vector<AttachedHook> attached() const;
    /// Removes the pins of links that lead nowhere any more.
    void drop_dead_links();

    /// Flows of an endpoint (by host veth ifindex) or of a service: both directions removed, slots freed, totals kept.
    /// Returns how many flows went.
    Result<std::uint64_t> purge_endpoint_flows(std::uint32_t endpoint_ifindex) const;
    Result<std::uint64_t> purge_service_flows(std::uint32_t service_id) const;

    /// Sets or clears published ports in the uplink's pre-filter. The caller (who knows all services) clears only
    /// ports that no other service has.
    Status set_port_filter(const FilteredPorts& ports, bool on) const;
    /// Exactly these, whatever was set before. True if something else was.
    Result<bool> reset_filters(const std::vector<FilteredPorts>& published, const std::vector<IpPrefix>& subnets) const;
    Status set_subnet_filter(const IpPrefix& subnet, bool on) const;

    /// To be called after every change of addresses(), vteps(), tunnels() or endpoints(): what was judged by them before is
    /// judged anew by the next packet.
    Status judge_anew() const;

    Result<DenyList> deny_list() const;

    Result<std::vector<MapUsage>> map_usage() const;
    /// Sum over CPUs, indexed by enum fnet_verdict.
    Result<std::vector<fnet_verdict_count>> verdict_counts() const;
    /// What containers sent to others of their network and is not yet in endpoints(): packets and bytes by endpoint id.
    Result<std::map<std::uint32_t, fnet_verdict_count>> uncounted() const;
    Result<fnet_flow_table> flow_table() const;

    const Map<std::uint32_t, fnet_endpoint>& endpoints() const { return endpoints_; }
    const Map<fnet_address_key, fnet_address>& addresses() const { return addresses_; }
    const Map<std::uint32_t, fnet_device>& devices() const { return devices_; }
    const Map<fnet_subnet_key, std::uint32_t>& subnets() const { return subnets_; }
    const Map<fnet_service_key, fnet_service>& services() const { return services_; }
    const Map<fnet_source_key, std::uint32_t>& sources() const { return sources_; }
    const Map<std::uint32_t, fnet_service_stats>& service_stats() const { return service_stats_; }
    const Map<fnet_flow_key, fnet_flow>& flows() const { return flows_; }
    const Map<std::uint32_t, fnet_tunnel>& tunnels() const { return tunnels_; }
    const Map<fnet_vtep_key, fnet_vtep>& vteps() const { return vteps_; }

    /// Removes every pin of this datapath (links first, so hooks detach before maps go) and the clsact filters on
    /// @p ifindexes. Works on a half-loaded or foreign-version directory too; goes on after errors and reports all.
    static Status unload(const std::filesystem::path& pin_dir, const std::vector<int>& ifindexes);
    /// Unloads the datapath of another version at @p other, once everything is attached here: there is no moment at which
    /// a device has neither's programs.
    Status supersede(const std::filesystem::path& other) const;

private:
    Datapath() = default;
    Status open_maps();
    Status attach_device(int ifindex, Hook hook);
    Status replace_xdp();
    Status purge(std::uint32_t endpoint_ifindex, std::uint32_t service_id, std::uint64_t& removed) const;

    std::filesystem::path pin_dir_;
    bool tcx_ = false;
    Map<std::uint32_t, fnet_endpoint> endpoints_;
    Map<fnet_address_key, fnet_address> addresses_;
    Map<std::uint32_t, fnet_device> devices_;
    Map<fnet_subnet_key, std::uint32_t> subnets_;
    Map<fnet_service_key, fnet_service> services_;
    Map<fnet_source_key, std::uint32_t> sources_;
    Map<std::uint32_t, fnet_service_stats> service_stats_;
    Map<fnet_flow_key, fnet_flow> flows_;
    Map<std::uint32_t, fnet_tunnel> tunnels_;
    Map<fnet_vtep_key, fnet_vtep> vteps_;
    Map<std::uint32_t, fnet_validity> validity_;
    Map<std::uint32_t, fnet_flow_slot> flow_slots_;
    Map<std::uint32_t, std::uint64_t> filters_;
};

}  // namespace fastnet
