#include "userspace/control/doctor.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "bpf/abi/tunnel.h"
#include "loader/datapath.h"
#include "userspace/control/agent_link.h"
#include "userspace/control/foreign_rules.h"
#include "userspace/control/node.h"
#include "userspace/control/plan.h"
#include "userspace/control/uplinks.h"
#include "userspace/host/cgroup.h"
#include "userspace/host/mounts.h"
#include "userspace/host/path_probe.h"
#include "userspace/host/sysctl.h"
#include "userspace/model/network_options.h"
#include "userspace/model/peer.h"

namespace fastnet {
namespace {

constexpr std::chrono::milliseconds kPeerPatience{1000};
const char* const kPrepareFix = "run `fastnet attach --mode bridge`";

class Doctor {
public:
    explicit Doctor(const NodePaths& paths) : paths_{paths} {}

    std::vector<CheckView> run() {
        // Without them every other finding would be about that and nothing else.
        if (!check_privileges()) return std::move(checks_);
        check_kernel();
        check_cgroup_mount();
        check_database();
        check_datapath();
        if (auto netlink = Netlink::open(); netlink) {
            check_uplinks(*netlink);
            check_networks(*netlink);
            check_peers(*netlink);
        } else {
            fail("netlink", netlink.error().message, netlink.error().hint);
        }
        check_forwarding();
        check_reverse_path();
        check_ports();
        check_foreign_rules();
        check_agent();
        return std::move(checks_);
    }

private:
    void good(std::string name, std::string text) { checks_.push_back({std::move(name), CheckResult::kOk, std::move(text), {}}); }
    void warn(std::string name, std::string text, std::string fix) {
        checks_.push_back({std::move(name), CheckResult::kWarn, std::move(text), std::move(fix)});
    }
    void fail(std::string name, std::string text, std::string fix) {
        checks_.push_back({std::move(name), CheckResult::kFail, std::move(text), std::move(fix)});
    }

    bool check_privileges() {
        const Status needed = require_capabilities({Capability::kNetAdmin, Capability::kSysAdmin});
        if (needed) {
            good("privileges", "root or the capabilities that are needed");
        } else {
            fail("privileges", needed.error().message, needed.error().hint);
        }
        return needed.has_value();
    }

    void check_kernel() {
        const auto features = probe_features();
        if (!features) {
            fail("kernel", features.error().message, features.error().hint);
            return;
        }
        good("kernel", features->kernel + (features->tcx ? ", tcx links" : ", clsact filters (tcx needs 6.6)"));
        if (!features->csum_ipv6)
            warn("kernel csum", "BPF_F_IPV6 of bpf_l4_csum_replace is absent: UDP over IPv6 is checked in a slower way",
                 "update the kernel");
    }

    void check_cgroup_mount() {
        const auto mount = cgroup2_mount_point();
        if (mount && *mount) {
            good("cgroup v2", "mounted at " + **mount);
        } else {
            warn("cgroup v2", "no cgroup v2 hierarchy is mounted: published ports are reserved, but not held against an explicit bind",
                 "mount -t cgroup2 none /sys/fs/cgroup/unified, then " + std::string{kPrepareFix});
        }
    }

    void check_database() {
        auto store = Store::open(paths_.state_dir, Store::OpenMode::kReadOnly);
        if (!store && store.error().kind == ErrorKind::kNotFound) {
            warn("database", "this node was not prepared yet", kPrepareFix);
            return;
        }
        if (!store) {
            fail("database", store.error().message, store.error().hint);
            return;
        }
        if (const Status whole = store->check_integrity(); !whole) {
            fail("database", whole.error().message, whole.error().hint);
            return;
        }
        store_ = *std::move(store);
        const bool dirty = store_->setting(setting::kDirty).value_or({}).has_value();
        const auto pending = store_->pending_or_deleting();
        const auto boot = store_->setting(setting::kBootId);
        const auto now = boot_id();
        if (boot && now && *boot && **boot != *now) {
            // Nothing of what the database says is in the kernel, and nothing else is wrong with that.
            rebooted_ = true;
            warn("database", "the node was rebooted since it was prepared", kPrepareFix);
        } else if (dirty || (pending && !pending->empty())) {
            warn("database", "an earlier command was interrupted", kPrepareFix);
        } else {
            good("database", Store::file_in(paths_.state_dir).string() + " is whole");
        }
    }

    bool is_prepared() { return store_ && !rebooted_ && store_->setting(setting::kPrepared).value_or({}).has_value(); }

    void check_datapath() {
        if (!is_prepared()) return;
        if (!is_bpffs(paths_.pins_parent.string())) {
            fail("bpffs", "no bpffs at " + paths_.bpffs.string(), kPrepareFix);
            return;
        }
        auto datapath = Datapath::open(paths_.pins);
        if (!datapath) {
            fail("datapath", datapath.error().message, kPrepareFix);
            return;
        }
        const auto loaded = store_->setting(setting::kLoaded).value_or({});
        if (!loaded || loaded->find(Datapath::build_id()) == std::string::npos) {
            warn("datapath", "the loaded programs are of another build of fastnet",
                 std::string{kPrepareFix} + ", which replaces them without a gap");
        } else {
            good("datapath", "loaded, pinned at " + paths_.pins.string());
        }
        hooks_ = datapath->attached();
        const std::vector<Network> networks = store_->networks().value_or({});
        const bool guard = std::any_of(networks.begin(), networks.end(), vxlan_guard);
        if (datapath->cgroup_attached(guard)) {
            good("held ports", "published ports cannot be bound by the host's processes");
        } else {
            warn("held ports", "the cgroup hooks are not attached: published ports are reserved, but not held against an explicit bind",
                 "mount cgroup v2, then " + std::string{kPrepareFix});
        }
    }

    void check_uplinks(Netlink& netlink) {
        if (!is_prepared()) {
            const auto found = find_uplinks(netlink, {}, false, {});
            if (!found) {
                warn("uplinks", found.error().message, found.error().hint);
                return;
            }
            std::string names;
            for (const Uplink& uplink : found->uplinks) names += (names.empty() ? "" : ", ") + uplink.name;
            good("uplinks", "would be " + names);
            return;
        }
        const auto uplinks = store_->uplinks();
        if (!uplinks || uplinks->empty()) {
            fail("uplinks", "none", "`fastnet attach --mode bridge --uplink DEV`");
            return;
        }
        for (const Uplink& uplink : *uplinks) {
            const std::string name = "uplink " + uplink.name;
            const auto link = netlink.link(uplink.name);
            if (!link) {
                fail(name, "does not exist", "`fastnet attach --mode bridge --uplink DEV` with the interfaces that lead outside");
                continue;
            }
            mtu_ = mtu_ == 0 ? link->mtu : std::min(mtu_, link->mtu);
            const bool hooked = std::any_of(hooks_.begin(), hooks_.end(),
                                            [&](const AttachedHook& hook) { return hook.ifindex == static_cast<int>(link->index); });
            if (!hooked) {
                fail(name, "has no program of fastnet", kPrepareFix);
            } else if (!link->up || !link->running) {
                warn(name, link->up ? "has no carrier" : "is down", "`ip link set " + uplink.name + " up`, or look at the cable");
            } else {
                good(name, "attached, MTU " + std::to_string(link->mtu));
            }
        }
        const auto found = find_uplinks(netlink, {}, false, *uplinks);
        if (!found) return;
        for (const Uplink& uplink : found->uplinks)
            if (std::find(uplinks->begin(), uplinks->end(), uplink) == uplinks->end())
                warn("uplink " + uplink.name, "has a default route but is not attached", kPrepareFix);
    }

    void check_networks(Netlink& netlink) {
        if (!is_prepared()) return;
        const auto networks = store_->networks();
        if (!networks) return;
        for (const Network& network : *networks) {
            const std::string name = "network " + network.name;
            const auto link = netlink.link(network.bridge);
            if (!link || !link->up) {
                fail(name, "bridge " + network.bridge + (link ? " is down" : " does not exist"), kPrepareFix);
                continue;
            }
            const bool ipv4 = network.subnet(Family::kIpv4).has_value();
            if (ipv4 && read_sysctl("ipv4/conf/" + network.bridge + "/forwarding").value_or("1") != "1") {
                fail(name, "forwarding is off at " + network.bridge, kPrepareFix);
                continue;
            }
            const auto gates = std::count_if(hooks_.begin(), hooks_.end(),
                                             [&](const AttachedHook& hook) { return hook.ifindex == static_cast<int>(link->index); });
            if (gates < 2) {
                fail(name, "the programs at bridge " + network.bridge + " are gone: nothing keeps the host's routes apart from it",
                     kPrepareFix);
            } else if (mtu_ != 0 && link->mtu > mtu_) {
                warn(name,
                     "MTU " + std::to_string(link->mtu) + " is larger than the uplink's " + std::to_string(mtu_) +
                         ": large packets to the outside are dropped or cost an ICMP round trip",
                     "make the network with --mtu " + std::to_string(mtu_));
            } else {
                good(name, "bridge " + network.bridge + ", MTU " + std::to_string(link->mtu));
            }
        }
    }

    void check_peers(Netlink& netlink) {
        if (!is_prepared()) return;
        const auto networks = store_->networks();
        const auto records = store_->peers();
        if (!networks || !records) return;
        check_own_vtep(netlink);
        if (records->empty()) return;
        std::set<IpAddress> hosts;
        for (const Peer& peer : *records) hosts.insert(peer.address);
        const auto reports = probe_paths({hosts.begin(), hosts.end()}, kPeerPatience);
        if (!reports) {
            warn("peers", reports.error().message, reports.error().hint);
            return;
        }
        const PeerTable peers{*records};
        for (const PathReport& report : *reports) check_peer(report, *networks, peers);
    }

    void check_own_vtep(Netlink& netlink) {
        const auto vtep = stored_vtep(*store_);
        const auto present = netlink.addresses();
        if (!vtep || !present) return;
        for (const auto& wanted : {vtep->ipv4, vtep->ipv6})
            if (wanted &&
                std::none_of(present->begin(), present->end(), [&](const LinkAddress& one) { return one.address.address() == *wanted; }))
                fail("tunnels", "they come from " + wanted->to_string() + ", which is no address of this node any more",
                     "give it back, or `fastnet attach --mode bridge --vtep` another one, and name that one on the peers");
    }

    void check_peer(const PathReport& report, const std::vector<Network>& networks, const PeerTable& table) {
        const std::string name = "peer " + report.host.to_string();
        if (!report.answers) {
            warn(name, report.trouble.empty() ? "does not answer an ICMP echo within a second" : report.trouble,
                 "look at the routes and the firewalls between: UDP port 4789 has to pass both ways");
            return;
        }
        if (report.mtu == 0) {
            warn(name, "answers, but not to packets of " + std::to_string(report.route_mtu) + " bytes, and no router says why",
                 "repair the path, or make the networks with a smaller --mtu");
            return;
        }
        const std::uint32_t overhead = report.host.family() == Family::kIpv4 ? FNET_TUNNEL_OVERHEAD_IPV4 : FNET_TUNNEL_OVERHEAD_IPV6;
        for (const Network& network : networks) {
            const std::vector<Peer> peers = table.of(network);
            const bool in_it = std::any_of(peers.begin(), peers.end(), [&](const Peer& peer) { return peer.address == report.host; });
            const std::uint32_t mtu = mtu_of(network, mtu_, peers);
            if (!in_it || mtu + overhead <= report.mtu) continue;
            warn(name,
                 "packets of " + std::to_string(report.mtu) + " bytes get there, those of network " + network.name + " (MTU " +
                     std::to_string(mtu) + ") take up to " + std::to_string(mtu + overhead) + ": large ones cost an ICMP round trip",
                 "make the network with --mtu " + std::to_string(report.mtu - overhead) + ", on every node");
            return;
        }
        good(name, "answers, also to packets of " + std::to_string(report.mtu) + " bytes");
    }

    void check_forwarding() {
        const std::string value = read_sysctl("ipv4/ip_forward").value_or("0");
        good("forwarding", value == "1" ? "net.ipv4.ip_forward is on, not by fastnet: this host routes for others"
                                        : "off for the host, as fastnet leaves it");
    }

    void check_reverse_path() {
        if (!is_prepared()) return;
        const auto uplinks = store_->uplinks();
        if (!uplinks || uplinks->size() < 2) return;
        for (const Uplink& uplink : *uplinks) {
            const std::string all = read_sysctl("ipv4/conf/all/rp_filter").value_or("0");
            const std::string own = read_sysctl("ipv4/conf/" + uplink.name + "/rp_filter").value_or("0");
            if (std::max(all, own) == "1")
                warn("rp_filter " + uplink.name,
                     "is strict with several uplinks: the host's own packets that come in by one and leave by another are lost",
                     "sysctl -w net.ipv4.conf." + uplink.name + ".rp_filter=2");
        }
    }

    void check_ports() {
        if (!is_prepared()) return;
        const auto reserved = read_reserved_ports();
        const auto ports = store_->ports();
        if (reserved && ports) {
            const bool whole =
                std::all_of(ports->begin(), ports->end(), [&](const PublishedPort& port) { return reserved->contains(port.host_ports); });
            if (whole) {
                good("reserved ports", "every published port is in net.ipv4.ip_local_reserved_ports");
            } else {
                fail("reserved ports",
                     "a published port is missing in net.ipv4.ip_local_reserved_ports: a connection of the host may take it",
                     std::string{kPrepareFix} + " --reload");
            }
        }
        const auto text = store_->setting(setting::kMasqueradePorts).value_or({});
        const auto local = local_port_range();
        if (!text || !local) return;
        const auto masquerade = parse_port_range(*text);
        if (!masquerade) return;
        if (masquerade->overlaps(*local)) {
            warn("masquerade ports",
                 *text + " overlap net.ipv4.ip_local_port_range (" + to_string(*local) + "): flows may collide with the host's",
                 "`fastnet attach --mode bridge --masquerade-ports A-B` with a range outside it");
        } else {
            good("masquerade ports", *text + ", outside net.ipv4.ip_local_port_range (" + to_string(*local) + ")");
        }
    }

    void check_foreign_rules() {
        const auto rules = find_foreign_rules();
        if (!rules) return;
        if (!rules->any()) {
            good("firewall", "no nftables or iptables rules in this namespace");
            return;
        }
        std::string text;
        if (rules->nft_rules != 0) text = std::to_string(rules->nft_rules) + " nftables rules";
        for (const std::string& table : rules->legacy_tables) text += (text.empty() ? "iptables " : ", iptables ") + table;
        warn("firewall", "packets of containers that take the fast path do not meet these rules: " + text,
             "restrict published ports by their host address, and containers by networks");
    }

    /// The agent judges what it alone sees: etcd, clocks, the other nodes.
    void check_agent() {
        AgentView agent = read_agent(paths_);
        if (!agent.running) {
            good("agent", "not running; traffic and commands need none");
            return;
        }
        const std::string pid = "pid " + std::to_string(agent.pid);
        if (!agent.trouble.empty()) {
            fail("agent", pid + " gives no answer: " + agent.trouble, "restart it: that does not touch traffic");
            return;
        }
        if (agent.ready) good("agent", pid + ", ready");
        for (const AgentPartView& part : agent.parts)
            if (part.state != "ready" && part.state != "off")
                warn("agent " + part.name, part.state + (part.reason.empty() ? "" : ": " + part.reason),
                     "what the agent logs says more (`journalctl -u fastnet-agent`)");
        std::move(agent.checks.begin(), agent.checks.end(), std::back_inserter(checks_));
    }

    const NodePaths& paths_;
    std::vector<CheckView> checks_;
    std::optional<Store> store_;
    bool rebooted_ = false;
    std::vector<AttachedHook> hooks_;
    std::uint32_t mtu_ = 0;  // the smallest of the uplinks'; 0 = not known
};

}  // namespace

std::vector<CheckView> examine(const NodePaths& paths) {
    return Doctor{paths}.run();
}

bool any_failed(const std::vector<CheckView>& checks) {
    return std::any_of(checks.begin(), checks.end(), [](const CheckView& check) { return check.result == CheckResult::kFail; });
}

}  // namespace fastnet
