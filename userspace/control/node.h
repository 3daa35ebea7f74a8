// One node: its lock, database, netlink socket and datapath, opened together and brought to a known state.
// Whoever holds a Node may change things: what an earlier command left half done is repaired, endpoints whose namespace
// vanished are collected, and missing kernel objects are rebuilt, before open() returns. Reading needs none of this
// (readers.h).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "loader/base/net_types.h"
#include "loader/base/result.h"
#include "loader/datapath.h"
#include "userspace/control/paths.h"
#include "userspace/control/plan.h"
#include "userspace/control/repairs.h"
#include "userspace/control/requests.h"
#include "userspace/host/netlink.h"
#include "userspace/store/node_lock.h"
#include "userspace/store/store.h"

namespace fastnet {

/// Keys of settings that only control uses.
namespace setting {
constexpr std::string_view kPrepared = "prepared";  // "1": uplinks, datapath and default network belong to this node
constexpr std::string_view kDirty = "dirty";        // "1": kernel and database may differ
constexpr std::string_view kLoaded = "loaded";      // configuration and build that the programs were loaded with
constexpr std::string_view kNetnsCookie = "netns_cookie";
constexpr std::string_view kMadeRoot = "made_root";  // "1": the --root directory was made by fastnet
constexpr std::string_view kMountedBpffs = "mounted_bpffs";
constexpr std::string_view kClusterName = "cluster_name";    // of this node; unset: its agent shares nothing
constexpr std::string_view kXdp = "xdp";                     // as --xdp takes it
constexpr std::string_view kDenyRevision = "deny_revision";  // a random number, another one with each change of the deny list
}  // namespace setting

enum class Need {
    kExisting,   ///< the node as it is; an unknown node is not found
    kUnchecked,  ///< as kExisting; what others changed meanwhile is left to the next command, unless this fastnet was interrupted
    kRecords,    ///< the database, for endpoints that use no datapath
    kPrepared,   ///< datapath, uplinks and the default network
    kRepaired,   ///< as kExisting, and repair() in any case: not only where the cheap checks find something
};

class Node {
public:
    /// @p repairs, which outlives the Node, gets what was put right, also when opening fails in the end.
    static Result<Node> open(const NodePaths& paths, Need need, const PrepareRequest& request = {},
                             std::chrono::milliseconds patience = NodeLock::kDefaultPatience, Repairs* repairs = nullptr);

    Store& store() { return store_; }
    Netlink& netlink() { return netlink_; }
    bool prepared() const { return datapath_.has_value(); }
    Datapath& datapath() { return *datapath_; }  ///< only if prepared()
    const NodePaths& paths() const { return paths_; }
    std::uint64_t netns_cookie() const { return netns_cookie_; }
    const std::vector<std::string>& warnings() const { return warnings_; }
    const std::vector<Uplink>& uplinks() const { return uplinks_; }
    void warn(std::string text) {  ///< once, however often it is said
        if (std::find(warnings_.begin(), warnings_.end(), text) == warnings_.end()) warnings_.push_back(std::move(text));
    }
    bool notes_repairs() const { return repairs_ != nullptr; }
    void note_repair(RepairKind kind, std::string what, std::string subject = {}) {
        if (repairs_ != nullptr) repairs_->push_back({kind, std::move(what), std::move(subject)});
    }
    /// Endpoints that open() found dead; of this boot only.
    const std::vector<Endpoint>& collected() const { return collected_; }
    /// Endpoints that are alive, as open() found them: reading a thousand rows once per command is enough.
    const std::vector<Endpoint>& living() const { return living_; }
    std::uint32_t default_mtu() const { return default_mtu_; }  ///< the smallest of the uplinks'
    Result<std::uint32_t> mtu_of(const Network& network);

    /// Reads desired and actual state, and removes every difference.
    Status repair();
    /// From here on the kernel may differ from the database: the next command repairs unless mark_clean() is reached.
    Status mark_dirty() { return store_.set_setting(setting::kDirty, "1"); }
    Status mark_clean() { return store_.remove_setting(setting::kDirty); }
    /// As the deny list is now: to be called when that has changed.
    Status settle_xdp() { return set_xdp(std::nullopt); }
    /// Takes an endpoint off the kernel and out of the database, however much of it exists.
    Status remove(const Endpoint& endpoint);

private:
    Node(NodePaths paths, NodeLock lock, Store store, Netlink netlink, std::uint64_t cookie, Repairs* repairs)
        : paths_{std::move(paths)},
          lock_{std::move(lock)},
          store_{std::move(store)},
          netlink_{std::move(netlink)},
          netns_cookie_{cookie},
          repairs_{repairs} {}

    Status bring_up(Need need, const PrepareRequest& request);
    Status check_boot_and_netns(bool& full);
    Status write_settings(const PrepareRequest& request, bool first, bool& full);
    Status open_datapath(bool reload, bool& full);
    /// kConflict if the programs are another build's, and this process leaves them alone.
    Status yield_to_other_builds();
    /// The programs know one range: replies to a port outside it are taken for the host's own.
    Status warn_of_lost_flows(const PortRange& former, const PortRange& masquerade);
    /// Of other versions of fastnet: attached before us, their programs would act on what their own maps say.
    Status supersede(const std::vector<std::filesystem::path>& others);
    Status attach_cgroup();
    /// Where the kernel's deny list is not the one on record: after a reboot, or a command that was killed.
    Status restore_deny_list();
    /// @p asked: by this command, which then fails, and leaves things as they were, where it cannot be had.
    Status set_xdp(std::optional<XdpMode> asked);
    /// XDP at each uplink as @p mode wants it, and who asks the deny list there. What one uplink refuses keeps no other from it; the
    /// first error is returned.
    Status sync_xdp(XdpMode mode);
    struct XdpUplink;
    Status sync_xdp_of(const XdpUplink& uplink, XdpMode mode, bool list_is_empty);
    Status finish_interrupted(bool& full);
    Status collect_dead();
    Status survive_reboot();
    Result<bool> cheap_checks_pass();
    Result<DesiredState> read_desired();

    NodePaths paths_;
    NodeLock lock_;  // released last
    Store store_;
    Netlink netlink_;
    std::optional<Datapath> datapath_{};
    std::uint64_t netns_cookie_ = 0;
    Repairs* repairs_ = nullptr;
    std::string boot_id_{};
    bool rebooted_ = false;
    std::uint32_t default_mtu_ = 1500;
    std::optional<PortRange> former_masquerade_{};  ///< set if this command changes it
    std::vector<Uplink> uplinks_{};
    std::vector<std::string> warnings_{};
    std::vector<Endpoint> collected_{};
    std::vector<Endpoint> living_{};
};

/// Where the arguments of the attach that made @p endpoint are on record.
inline std::string request_key(const Endpoint& endpoint) {
    return "request/endpoint/" + std::to_string(endpoint.id);
}

/// What is in force, default or not.
Result<FlowTimeouts> stored_timeouts(Store& store);
Result<UdpMapping> stored_udp_mapping(Store& store);
Result<VtepAddresses> stored_vtep(Store& store);
Result<XdpMode> stored_xdp(Store& store);

/// True if the endpoint's interface (or its namespace, in modes none and host) is still the one that was attached.
bool is_alive(const Netlink& netlink, const Endpoint& endpoint);

}  // namespace fastnet
