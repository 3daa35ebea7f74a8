#include "userspace/control/cleanup.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "loader/datapath.h"
#include "loader/xdp.h"
#include "userspace/control/agent_link.h"
#include "userspace/control/container_routes.h"
#include "userspace/control/host_settings.h"
#include "userspace/control/kernel.h"
#include "userspace/host/mounts.h"
#include "userspace/host/netns.h"
#include "userspace/model/names.h"
#include "userspace/store/crash_point.h"

namespace fastnet {
namespace {

namespace fs = std::filesystem;

class Wiper {
public:
    Wiper(Netlink& netlink, const NodePaths& paths, std::optional<Store>& store) : netlink_{netlink}, paths_{paths}, store_{store} {}

    Result<CleanupView> run() {
        look();
        if (store_) note(store_->set_setting(setting::kDirty, "1"));
        remove_ports();
        if (store_) forget_container_rules();
        restore_host();
        remove_links(bridges_);
        removed(bridges_.size(), "network");
        unload();
        remove_files();
        if (!failures_.empty()) return failed("clean up: " + failures_, "the rest is gone; put this right and run `fastnet cleanup` again");
        return std::move(view_);
    }

private:
    void note(Status status) {
        if (!status) failures_ += (failures_.empty() ? "" : "; ") + status.error().message;
        crash_point();
    }

    void removed(std::size_t count, const std::string& what) {
        if (count != 0) view_.removed.push_back(std::to_string(count) + " " + what + (count == 1 ? "" : "s"));
    }

    void look() {
        if (const auto links = netlink_.links(); links) {
            for (const LinkInfo& link : *links) {
                if (endpoint_id_of_host_ifname(link.name) != 0 && link.kind == "veth") {
                    veths_.push_back(link);
                } else if (network_id_of_vxlan_ifname(link.name) != 0 && link.kind == "vxlan" && link.group == kVethGroup) {
                    vxlans_.push_back(link);
                } else if (network_id_of_bridge_ifname(link.name) != 0 && link.kind == "bridge" && link.mac == kGatewayMac) {
                    bridges_.push_back(link);
                } else if (link.group == kVethGroup) {
                    stranger_in_group_ = true;
                }
            }
        } else {
            note(links.error());
        }
        for (const auto* links : {&veths_, &vxlans_})
            for (const LinkInfo& link : *links) ifindexes_.push_back(static_cast<int>(link.index));
        if (store_)
            if (const auto uplinks = store_->uplinks(); uplinks)
                for (const Uplink& uplink : *uplinks)
                    if (const auto link = netlink_.link(uplink.name); link) ifindexes_.push_back(static_cast<int>(link->index));
        const auto datapath = Datapath::open(paths_.pins);
        if (!datapath) return;
        (void)datapath->devices().for_each([&](const std::uint32_t ifindex, const fnet_device& device) {
            if (device.kind != FNET_DEVICE_BRIDGE) ifindexes_.push_back(static_cast<int>(ifindex));
        });
        (void)datapath->services().for_each([&](const fnet_service_key& key, const fnet_service&) { published_.add(ports_of(key)); });
    }

    /// What fastnet's bridges carry: all at once where nobody else's link is among them.
    void remove_ports() {
        const bool all_ours =
            !stranger_in_group_ && std::all_of(veths_.begin(), veths_.end(), [](const LinkInfo& link) { return link.group == kVethGroup; });
        if (all_ours && veths_.size() + vxlans_.size() > 1) {
            note(unless_missing(netlink_.delete_group(kVethGroup)));
        } else {
            remove_links(vxlans_);
            remove_links(veths_);
        }
        removed(veths_.size(), "endpoint");
    }

    void remove_links(const std::vector<LinkInfo>& links) {
        for (const LinkInfo& link : links) note(unless_missing(netlink_.delete_link(link.index)));
    }

    /// Of containers on several networks; what else was set inside went with their interfaces.
    void forget_container_rules() {
        std::map<std::uint64_t, std::vector<Endpoint>> by_cookie;
        if (auto endpoints = store_->endpoints(); endpoints)
            for (Endpoint& endpoint : *endpoints)
                if (!endpoint.host_ifname.empty()) by_cookie[endpoint.netns_cookie].push_back(std::move(endpoint));
        for (const auto& [cookie, endpoints] : by_cookie) {
            if (endpoints.size() < 2) continue;
            const auto netns = Netns::open(endpoints.front().netns);
            if (!netns || netns->cookie().value_or(0) != cookie) continue;
            auto inside = Netlink::open(*netns);
            note(inside ? forget_rules(*inside, endpoints) : Status{inside.error()});
        }
    }

    void restore_host() {
        if (store_) {
            note(restore_sysctls(*store_));
            return;
        }
        if (published_.empty()) return;
        const auto current = read_reserved_ports();
        if (current && current->without(published_) != *current) note(write_reserved_ports(current->without(published_)));
    }

    /// Pins of any version of fastnet.
    void unload() {
        std::sort(ifindexes_.begin(), ifindexes_.end());
        ifindexes_.erase(std::unique(ifindexes_.begin(), ifindexes_.end()), ifindexes_.end());
        // Before the maps, which it is told by. At any device: the list of uplinks may be out of reach.
        if (const auto links = netlink_.links(); links)
            for (const LinkInfo& link : *links) note(detach_xdp(static_cast<int>(link.index)));
        if (!is_bpffs(paths_.pins_parent.string())) return;
        const std::vector<fs::path> versions = pinned_versions(paths_);
        for (const fs::path& version : versions) {
            for (const XdpPin& pin : pinned_xdp(version / "maps")) note(unpin_xdp(pin));
            note(Datapath::unload(version, ifindexes_));
        }
        removed(versions.size(), "datapath");
    }

    void remove_directory(const fs::path& directory) {
        if (::rmdir(directory.c_str()) != 0 && errno != ENOENT && errno != ENOTEMPTY)
            note(sys_error(errno, "remove " + directory.string()));
    }

    void remove_files() {
        bool made_root = false;
        bool mounted_bpffs = false;
        if (store_) {
            made_root = store_->setting(setting::kMadeRoot).value_or({}).has_value();
            mounted_bpffs = store_->setting(setting::kMountedBpffs).value_or({}).has_value();
        }
        // The mount first: with it gone, whatever the database says of pins is void anyway.
        if (paths_.own_root) {
            if (is_mount_point(paths_.bpffs.string())) note(unmount(paths_.bpffs.string()));
            remove_directory(paths_.bpffs);
        } else {
            remove_directory(paths_.pins_parent);
            std::error_code error;
            if (mounted_bpffs && fs::is_empty(paths_.bpffs, error) && !error) note(unmount(paths_.bpffs.string()));
        }
        std::error_code ignored;
        const bool had_database = store_.has_value() || fs::exists(Store::file_in(paths_.state_dir), ignored);
        store_.reset();
        note(Store::remove_files(paths_.state_dir));
        if (had_database) view_.removed.emplace_back("the database");
        if (!paths_.own_root) remove_directory(paths_.state_dir);
        view_.remove_root = made_root;
    }

    Netlink& netlink_;
    const NodePaths& paths_;
    std::optional<Store>& store_;
    CleanupView view_;
    std::string failures_;
    std::vector<LinkInfo> veths_;
    std::vector<LinkInfo> vxlans_;
    std::vector<LinkInfo> bridges_;
    bool stranger_in_group_ = false;
    std::vector<int> ifindexes_;
    ReservedPorts published_;
};

}  // namespace

std::vector<fs::path> pinned_versions(const NodePaths& paths) {
    std::vector<fs::path> versions;
    std::error_code error;
    for (fs::directory_iterator entry{paths.pins_parent, error}, end; !error && entry != end; entry.increment(error))
        if (entry->path().filename().string().starts_with("v")) versions.push_back(entry->path());
    return versions;
}

Result<CleanupView> wipe(Netlink& netlink, const NodePaths& paths, std::optional<Store>& store) {
    return Wiper{netlink, paths, store}.run();
}

Result<CleanupView> cleanup(const NodePaths& paths) {
    CHECK_OK(require_capabilities({Capability::kNetAdmin, Capability::kSysAdmin}));
    Netlink netlink = TRY(Netlink::open());
    std::error_code ignored;
    const bool had_directory = fs::exists(paths.run_dir, ignored);
    NodeLock lock = TRY(NodeLock::acquire(paths.run_dir));
    std::optional<Store> store;
    auto opened = Store::open(paths.state_dir, Store::OpenMode::kExisting);
    std::string trouble;
    if (opened) {
        store = *std::move(opened);
    } else if (opened.error().kind != ErrorKind::kNotFound) {
        trouble = opened.error().message;
    }
    auto view = wipe(netlink, paths, store);
    if (!view) return view;
    if (!trouble.empty()) view->warnings.push_back(trouble + "; removed what the kernel showed, sysctls may keep fastnet's values");
    if (const auto agent = running_agent(paths)) {
        view->warnings.push_back("the agent (pid " + std::to_string(*agent) +
                                 ") still runs; what it shares with other nodes will come back");
    } else {
        remove_agent_leftovers(paths);
    }
    lock.remove_file();
    if (!paths.own_root || !had_directory || view->remove_root) (void)::rmdir(paths.run_dir.c_str());
    return view;
}

}  // namespace fastnet
