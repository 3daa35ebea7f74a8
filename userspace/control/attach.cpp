#include "userspace/control/attach.h"

#include <sys/random.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "loader/base/text.h"
#include "userspace/control/kernel.h"
#include "userspace/control/map_views.h"
#include "userspace/control/node.h"
#include "userspace/control/ports.h"
#include "userspace/control/readers.h"
#include "userspace/control/translate.h"
#include "userspace/host/netns.h"
#include "userspace/model/names.h"
#include "userspace/store/crash_point.h"

namespace fastnet {
namespace {

constexpr std::size_t kMostBridgePorts = 1023;     // BR_MAX_PORTS of the kernel, without port 0
constexpr unsigned kMostPicks = 64;                // of an address that no other node uses
constexpr std::chrono::seconds kBlockPatience{3};  // the agent asks etcd for another block
constexpr std::chrono::milliseconds kBlockPoll{10};

/// Everything that was asked for apart from the name and the namespace, as one line.
std::string text_of(const AttachRequest& request) {
    std::vector<std::string> words;
    for (const IpAddress& ip : request.ips) words.push_back("ip=" + ip.to_string());
    for (const PublishSpec& spec : request.ports) words.push_back("publish=" + spec.to_string());
    if (!request.sources.empty()) words.push_back("sources=" + request.sources.to_string());
    std::sort(words.begin(), words.end());
    std::string text = to_string(request.mode) + " ifname=" + request.ifname + " mac=" + (request.mac ? request.mac->to_string() : "");
    for (const std::string& word : words) text += " " + word;
    if (request.gateway_priority != 0) text += " gw-priority=" + std::to_string(request.gateway_priority);
    return text;
}

std::uint64_t random_number() {
    std::uint64_t number = 0;
    (void)!::getrandom(&number, sizeof number, 0);  // a poor name is no failure: taken ones are skipped
    return number;
}

Result<std::string> name_for(Store& store, const AttachRequest& request, const std::string& network) {
    if (!request.name.empty()) return request.name;
    const auto taken = [&](const std::string& name) {
        const auto found = store.find_endpoint(name);
        return found && found->has_value();
    };
    return default_endpoint_name(request.netns.value_or("host"), network.empty() ? to_string(request.mode) : network, random_number(),
                                 taken);
}

Result<EndpointView> view_of(Store& store, Endpoint endpoint) {
    EndpointView view;
    view.ports = TRY(store.ports_of(endpoint.id));
    if (endpoint.network_id != 0)
        if (const auto network = TRY(store.find_network(endpoint.network_id)); network) view.network = network->name;
    view.endpoint = std::move(endpoint);
    return view;
}

/// An endpoint of the same name, or of the same --netns argument, whose namespace gave way to a new one that now has
/// its name. The kernel takes its time to tear the old one down; a new container need not wait.
Status collect_replaced(Node& node, const AttachRequest& request) {
    for (const Endpoint& endpoint : node.living()) {
        if (endpoint.mode == EndpointMode::kHost) continue;
        const bool same_spec = request.netns && endpoint.netns == *request.netns;
        if (!same_spec && (request.name.empty() || endpoint.name != request.name)) continue;
        const auto netns = Netns::open(endpoint.netns);
        const bool replaced = netns ? netns->identity() != endpoint.netns_id || netns->cookie().value_or(0) != endpoint.netns_cookie
                                    : netns.error().kind == ErrorKind::kNotFound;
        if (replaced) CHECK_OK(node.remove(endpoint));
    }
    return ok();
}

/// The endpoint that this request made before, if any; a conflict if the namespace is taken in another way.
Result<std::optional<Endpoint>> find_same(Node& node, const AttachRequest& request, std::uint64_t cookie, std::uint32_t network_id) {
    for (Endpoint& endpoint : TRY(node.store().endpoints_with_cookie(cookie))) {
        const bool same_place = endpoint.mode == request.mode && endpoint.network_id == network_id;
        if (!same_place) {
            const bool alone = endpoint.mode == EndpointMode::kNone || request.mode == EndpointMode::kNone;
            if (alone)
                return conflict("attach netns " + in_quotes(*request.netns) + ": it is attached already, as endpoint " +
                                    in_quotes(endpoint.name) + " in mode " + to_string(endpoint.mode),
                                "`fastnet detach " + endpoint.name + "` first");
            continue;
        }
        const auto asked = TRY(node.store().setting(request_key(endpoint)));
        if (asked == text_of(request) && (request.name.empty() || request.name == endpoint.name)) return std::optional{std::move(endpoint)};
        return conflict("attach netns " + in_quotes(*request.netns) + ": it is endpoint " + in_quotes(endpoint.name) +
                            " already, attached with other arguments",
                        "`fastnet detach " + endpoint.name + "` first, or use `fastnet publish` to change its ports");
    }
    return std::optional<Endpoint>{};
}

Result<std::string> ifname_for(Node& node, const AttachRequest& request, std::uint64_t cookie) {
    if (!request.ifname.empty()) return request.ifname;
    const std::vector<Endpoint> others = TRY(node.store().endpoints_with_cookie(cookie));
    for (unsigned i = 0;; ++i) {
        std::string name = "eth" + std::to_string(i);
        if (std::none_of(others.begin(), others.end(), [&](const Endpoint& other) { return other.ifname == name; })) return name;
    }
}

Result<Endpoint> stage(Node& node, Endpoint draft, std::vector<PublishedPort> ports, const AttachRequest& request) {
    Transaction transaction = TRY(node.store().begin());
    Endpoint endpoint = TRY(node.store().stage_endpoint(std::move(draft), std::move(ports)));
    CHECK_OK(node.store().set_setting(request_key(endpoint), text_of(request)));
    CHECK_OK(transaction.commit());
    return endpoint;
}

/// The node that a container with @p address is on, as far as the packet path knows: nodes of an overlay do not ask each other which
/// addresses they gave out.
Result<std::optional<IpAddress>> peer_with(Node& node, std::uint32_t network_id, const IpAddress& address) {
    const auto known = TRY(node.datapath().addresses().get(address_key(address, network_id)));
    if (!known || !is_remote_container(*known, monotonic_now(), TRY(stored_timeouts(node.store())))) return std::optional<IpAddress>{};
    return node.store().address_of_tunnel(known->tunnel);
}

/// An address that was asked for and is a container's on another node is a conflict; one that is picked is another.
Result<Endpoint> stage_in_overlay(Node& node, const Endpoint& draft, const std::vector<PublishedPort>& ports,
                                  const AttachRequest& request) {
    const std::string what = "attach endpoint " + in_quotes(draft.name);
    for (const IpAddress& ip : request.ips)
        if (const auto peer = TRY(peer_with(node, draft.network_id, ip)); peer)
            return conflict(what + ": a container on peer " + peer->to_string() + " has the address " + ip.to_string(),
                            "leave out --ip to get a free one; the address of a container that is gone is free after " +
                                std::to_string(TRY(stored_timeouts(node.store())).remote) + " seconds of silence (`--timeout remote`)");
    for (unsigned pick = 0; pick < kMostPicks; ++pick) {
        Endpoint endpoint = TRY(stage(node, draft, ports, request));
        bool is_free = true;
        for (const auto& address : {endpoint.ipv4, endpoint.ipv6})
            if (address && TRY(peer_with(node, draft.network_id, address->address()))) is_free = false;
        if (is_free) return endpoint;
        // The next one comes after it.
        Transaction transaction = TRY(node.store().begin());
        CHECK_OK(node.store().remove_endpoint(endpoint.id));
        CHECK_OK(node.store().remove_setting(request_key(endpoint)));
        CHECK_OK(transaction.commit());
    }
    return conflict(what + ": containers on other nodes have the " + std::to_string(kMostPicks) + " addresses that came next",
                    "name a free one with --ip, or give each node a part of the subnet: `network create --ip-range`");
}

/// Takes back what was begun, and the record with it. Where that fails too the record stays, neither ready nor gone, and
/// the next command tries again.
Error take_back(Node& node, const Endpoint& endpoint, Error why) {
    Error error = std::move(why).in("attach endpoint " + in_quotes(endpoint.name));
    if (const Status gone = node.remove(endpoint); !gone)
        error.message += "; the next command has to remove what is left of it, since that failed as well: " + gone.error().message;
    return error;
}

/// A shared network none of whose addresses that this node may hand out is free.
struct FullBlocks {
    std::uint32_t network_id = 0;
    std::size_t blocks = 0;
};

/// If that is why an endpoint with @p draft's requests was refused: on record, so that the agent gets another block.
Result<std::optional<FullBlocks>> note_full_blocks(Node& node, const Network& network, const Endpoint& draft) {
    std::optional<FullBlocks> full;
    if (network.uid.empty()) return full;
    const std::vector<OwnBlock> blocks = TRY(node.store().blocks(network.id));
    for (const IpPrefix& subnet : network.subnets) {
        if ((subnet.family() == Family::kIpv4 ? draft.ipv4 : draft.ipv6).has_value()) continue;
        const bool has_room = std::any_of(blocks.begin(), blocks.end(), [&](const OwnBlock& block) {
            return block.prefix.family() == subnet.family() && block.free != 0;
        });
        if (has_room) continue;
        full = FullBlocks{network.id, blocks.size()};
        CHECK_OK(node.store().want_block(network.id, subnet.family()));
    }
    return full;
}

/// Until @p deadline; without the node's lock, which whoever brings the block needs. False if none came.
Result<bool> wait_for_block(const NodePaths& paths, const FullBlocks& full, std::chrono::steady_clock::time_point deadline) {
    Store store = TRY(Store::open(paths.state_dir, Store::OpenMode::kReadOnly));
    while (std::chrono::steady_clock::now() < deadline) {
        if (TRY(store.count_blocks(full.network_id)) > full.blocks) return true;
        std::this_thread::sleep_for(kBlockPoll);
    }
    return false;
}

/// Modes bridge and overlay. @p full is set if the endpoint was refused because it needs another block.
Result<Attached> attach_veth_once(const NodePaths& paths, const AttachRequest& request, std::optional<FullBlocks>& full) {
    const Netns netns = TRY(Netns::open(*request.netns));
    {
        const Netns here = TRY(Netns::current());
        if (netns == here)
            return usage_error("attach netns " + in_quotes(*request.netns) + ": it is the node's own namespace",
                               "name a container's namespace");
    }
    const std::uint64_t cookie = TRY(netns.cookie());
    Node node = TRY(Node::open(paths, Need::kPrepared, request.prepare));
    const std::string network_name = request.network.empty() ? std::string{kDefaultNetworkName} : request.network;
    const auto network = TRY(node.store().find_network(network_name));
    if (!network) return not_found("network " + in_quotes(network_name) + " does not exist", "`fastnet network ls` lists the networks");
    if (network->driver != *driver_of(request.mode))
        return usage_error("attach --mode " + to_string(request.mode) + ": network " + in_quotes(network_name) + " has driver " +
                               to_string(network->driver),
                           "use --mode " + to_string(mode_of(network->driver)));
    CHECK_OK(collect_replaced(node, request));
    if (auto same = TRY(find_same(node, request, cookie, network->id)); same) {
        EndpointView view = TRY(view_of(node.store(), *std::move(same)));
        return Attached{std::move(view), node.warnings()};
    }
    if (network->internal && !request.ports.empty())
        return usage_error("attach --network " + network_name + ": ports cannot be published, since the network is internal",
                           "leave out -p, or use a network that is not internal");

    Endpoint draft;
    draft.mode = request.mode;
    draft.network_id = network->id;
    draft.netns = request.netns->find('/') == std::string::npos ? *request.netns : netns.path();
    draft.netns_id = netns.identity();
    draft.netns_cookie = cookie;
    draft.ifname = TRY(ifname_for(node, request, cookie));
    draft.name = TRY(name_for(node.store(), request, network_name));
    draft.mac = request.mac.value_or(MacAddress{});
    draft.gateway_priority = request.gateway_priority;
    for (const IpAddress& ip : request.ips) {
        auto& slot = ip.family() == Family::kIpv4 ? draft.ipv4 : draft.ipv6;
        slot = IpPrefix{ip, static_cast<std::uint8_t>(ip.wire_size() * 8)};
    }
    if (Netlink inside = TRY(Netlink::open(netns)); inside.link(draft.ifname))
        return conflict("attach netns " + in_quotes(*request.netns) + ": it has an interface " + in_quotes(draft.ifname) + " already",
                        "choose another name with --ifname");
    const auto members = static_cast<std::size_t>(
        std::count_if(node.living().begin(), node.living().end(), [&](const Endpoint& one) { return one.network_id == network->id; }));
    if (members >= kMostBridgePorts)
        return failed("attach to network " + in_quotes(network_name) + ": it is full, a Linux bridge has 1023 ports",
                      "use another network: `fastnet network create NAME`");
    std::vector<PublishedPort> ports = TRY(plan_ports(node, request.ports, request.sources, network->subnet(Family::kIpv4).has_value(),
                                                      network->subnet(Family::kIpv6).has_value()));

    // On a shared network no two nodes hand out one address, and what other nodes have is on record.
    auto staged = request.mode == EndpointMode::kOverlay && network->uid.empty() ? stage_in_overlay(node, draft, ports, request)
                                                                                 : stage(node, draft, std::move(ports), request);
    if (!staged && staged.error().kind == ErrorKind::kConflict) full = TRY(note_full_blocks(node, *network, draft));
    Endpoint endpoint = TRY(std::move(staged));
    EndpointView view = TRY(view_of(node.store(), endpoint));
    if (Status built = build_endpoint(node, endpoint, *network, view.ports, netns); !built)
        return take_back(node, endpoint, std::move(built).error());
    crash_point();
    if (Status ready = node.store().mark_ready(endpoint); !ready) return take_back(node, endpoint, std::move(ready).error());
    endpoint.state = EndpointState::kReady;
    view.endpoint = std::move(endpoint);
    return Attached{std::move(view), node.warnings()};
}

Result<Attached> attach_veth(const NodePaths& paths, const AttachRequest& request) {
    const auto deadline = std::chrono::steady_clock::now() + kBlockPatience;
    for (;;) {
        std::optional<FullBlocks> full;
        auto attached = attach_veth_once(paths, request, full);
        if (attached || !full) return attached;
        if (!TRY(wait_for_block(paths, *full, deadline))) return attached;
    }
}

Status bring_up_lo(const Netns& netns) {
    return run_in(netns, []() -> Status {
        Netlink inside = TRY(Netlink::open());
        const LinkInfo lo = TRY(inside.link("lo"));
        return inside.set_up(lo.index);
    });
}

/// Modes none and host: nothing in the kernel but lo, only the record.
Result<Attached> attach_record(const NodePaths& paths, const AttachRequest& request) {
    const Netns here = TRY(Netns::current());
    const Netns netns = TRY(request.netns ? Netns::open(*request.netns) : Netns::current());
    const bool host = request.mode == EndpointMode::kHost;
    if (host && !(netns == here))
        return usage_error("attach --mode host: netns " + in_quotes(*request.netns) + " is not the host's",
                           "leave out --netns in mode host");
    if (!host && netns == here)
        return usage_error("attach --mode none: netns " + in_quotes(*request.netns) + " is the node's own", "name a container's namespace");
    const std::uint64_t cookie = TRY(netns.cookie());
    Node node = TRY(Node::open(paths, Need::kRecords));
    CHECK_OK(collect_replaced(node, request));
    std::optional<Endpoint> same;
    if (host) {
        same = TRY(node.store().find_endpoint(request.name.empty() ? "host" : request.name));
        if (same && same->mode != EndpointMode::kHost)
            return conflict("endpoint " + in_quotes(same->name) + " exists already", "choose another name with --name");
    } else {
        same = TRY(find_same(node, request, cookie, 0));
    }
    Endpoint endpoint;
    if (same) {
        endpoint = *std::move(same);
    } else {
        Endpoint draft;
        draft.mode = request.mode;
        draft.netns = !request.netns ? "" : request.netns->find('/') == std::string::npos ? *request.netns : netns.path();
        draft.netns_id = netns.identity();
        draft.netns_cookie = cookie;
        draft.name = host && request.name.empty() ? std::string{"host"} : TRY(name_for(node.store(), request, ""));
        endpoint = TRY(stage(node, std::move(draft), {}, request));
        if (Status ready = node.store().mark_ready(endpoint); !ready) return take_back(node, endpoint, std::move(ready).error());
    }
    if (!host) CHECK_OK(bring_up_lo(netns));
    EndpointView view = TRY(view_of(node.store(), std::move(endpoint)));
    return Attached{std::move(view), node.warnings()};
}

Error unknown_endpoint(const std::string& name) {
    return not_found("endpoint " + in_quotes(name) + " does not exist", "`fastnet endpoints` lists them");
}

/// An endpoint that can have published ports.
Result<Endpoint> find_publisher(Node& node, const std::string& name) {
    auto endpoint = TRY(node.store().find_endpoint(name));
    if (!endpoint) return unknown_endpoint(name);
    if (!has_veth(endpoint->mode))
        return usage_error("publish a port of endpoint " + in_quotes(name) + ": it is in mode " + to_string(endpoint->mode) +
                               ", where every port is the namespace's own",
                           "attach it with --mode bridge or overlay");
    return *std::move(endpoint);
}

/// Of ports that were recorded but could not be published. Dirty unless all went well: without their records the next
/// command's repair removes the rest.
Status take_back(Node& node, const Endpoint& endpoint, const std::vector<PublishedPort>& ports) {
    const Status withdrawn = withdraw_ports(node, endpoint, ports, true);
    Transaction transaction = TRY(node.store().begin());
    for (const PublishedPort& port : ports) CHECK_OK(node.store().remove_port(port.id));
    if (withdrawn) CHECK_OK(node.mark_clean());
    CHECK_OK(transaction.commit());
    return withdrawn;
}

Result<Node> open_for_endpoint(const NodePaths& paths, const std::string& name) {
    auto node = Node::open(paths, Need::kExisting);
    if (!node && node.error().kind == ErrorKind::kNotFound) return unknown_endpoint(name);
    return node;
}

}  // namespace

Status check_request(const AttachRequest& request) {
    const std::string what = "attach --mode " + to_string(request.mode);
    switch (request.mode) {
        case EndpointMode::kNone:
        case EndpointMode::kHost:
            if (!request.ports.empty())
                return usage_error(what + ": ports cannot be published, since " +
                                       (request.mode == EndpointMode::kHost ? "in mode host the container's ports are the host's own"
                                                                            : "in mode none nothing can reach the container"),
                                   "leave out -p, or use --mode bridge or overlay");
            if (!request.network.empty() || !request.ips.empty() || request.mac || !request.ifname.empty() || request.gateway_priority != 0)
                return usage_error(what + ": there is no network in this mode",
                                   "leave out --network, --ip, --mac, --ifname and --gw-priority");
            if (request.mode == EndpointMode::kNone && !request.netns)
                return usage_error(what + ": no namespace is named", "name it with --netns NAME, a path or pid:N");
            break;
        case EndpointMode::kBridge:
            if (request.netns) break;
            if (!request.network.empty() || !request.ports.empty() || !request.name.empty() || !request.ips.empty() || request.mac ||
                !request.ifname.empty() || request.gateway_priority != 0)
                return usage_error(what + ": these options need a namespace: --netns is missing",
                                   "name it with --netns NAME, a path or pid:N");
            break;
        case EndpointMode::kOverlay:
            if (!request.netns)
                return usage_error(what + ": no namespace is named",
                                   "name it with --netns; `fastnet attach --mode bridge` prepares the node");
            if (request.network.empty())
                return usage_error(what + ": no network is named, and there is no default one of this driver",
                                   "name it with --network; `fastnet network create NAME --driver overlay` makes one");
            break;
        case EndpointMode::kMacvlan:
        case EndpointMode::kIpvlan:
            return usage_error(what + ": this mode is not part of this version", "use bridge, overlay, none or host");
    }
    CHECK_OK(check_supported(request.ports));
    if (request.ports.empty() && !request.sources.empty())
        return usage_error(what + ": --allow and --deny say who may call a published port, and none is published",
                           "publish one with -p, or leave them out");
    if (!request.name.empty()) CHECK_OK(check_name(request.name, "endpoint"));
    if (!request.ifname.empty()) {
        CHECK_OK(check_ifname(request.ifname));
        CHECK_OK(check_interface_name(request.ifname));
    }
    if (request.mac && (request.mac->is_multicast() || request.mac->is_zero()))
        return usage_error("MAC address " + request.mac->to_string() + ": it is no address of one station",
                           "its first byte must be even, and not all bytes zero");
    const auto count = [&](Family family) {
        return std::count_if(request.ips.begin(), request.ips.end(), [&](const IpAddress& ip) { return ip.family() == family; });
    };
    if (count(Family::kIpv4) > 1 || count(Family::kIpv6) > 1)
        return usage_error(what + ": more than one --ip of one family", "an endpoint has one IPv4 and one IPv6 address");
    return ok();
}

Result<Attached> attach(const NodePaths& paths, const AttachRequest& request) {
    CHECK_OK(check_request(request));
    return has_veth(request.mode) ? attach_veth(paths, request) : attach_record(paths, request);
}

Result<std::vector<std::string>> detach(const NodePaths& paths, const DetachRequest& request) {
    const bool by_name = !request.name.empty();
    const Error unknown =
        by_name ? unknown_endpoint(request.name)
                : not_found("detach netns " + in_quotes(request.netns) + ": no endpoint is in it", "`fastnet endpoints` lists them");
    auto opened = Node::open(paths, Need::kExisting);
    if (!opened && opened.error().kind == ErrorKind::kNotFound) return unknown;
    if (!opened) return std::move(opened).error();
    Node& node = *opened;

    std::vector<std::string> detached;
    const auto meant = [&](const Endpoint& endpoint) { return by_name ? endpoint.name == request.name : endpoint.netns == request.netns; };
    for (const Endpoint& endpoint : node.collected())
        if (meant(endpoint)) detached.push_back(endpoint.name);
    std::vector<Endpoint> targets;
    if (by_name) {
        if (auto endpoint = TRY(node.store().find_endpoint(request.name)); endpoint) targets.push_back(*std::move(endpoint));
    } else if (const auto netns = Netns::open(request.netns); netns) {
        const std::uint64_t cookie = TRY(netns->cookie());
        targets = TRY(node.store().endpoints_with_cookie(cookie));
        std::erase_if(targets, [](const Endpoint& endpoint) { return endpoint.mode == EndpointMode::kHost; });
    } else {
        // The name is gone, the namespace may live on.
        for (const Endpoint& endpoint : node.living())
            if (meant(endpoint)) targets.push_back(endpoint);
    }
    for (const Endpoint& endpoint : targets) {
        CHECK_OK(node.remove(endpoint));
        detached.push_back(endpoint.name);
    }
    if (detached.empty()) return unknown;
    return detached;
}

Result<EndpointView> publish(const NodePaths& paths, const PublishRequest& request) {
    const std::string& name = request.endpoint;
    CHECK_OK(check_supported(request.ports));
    Node node = TRY(open_for_endpoint(paths, name));
    const Endpoint endpoint = TRY(find_publisher(node, name));
    if (const auto network = TRY(node.store().find_network(endpoint.network_id)); network && network->internal)
        return usage_error("publish a port of endpoint " + in_quotes(name) + ": its network " + in_quotes(network->name) + " is internal",
                           "use a network that is not internal");
    const std::vector<PublishedPort> present = TRY(node.store().ports_of(endpoint.id));
    std::vector<PublishSpec> missing;
    for (const PublishSpec& spec : request.ports) {
        const auto same =
            std::find_if(present.begin(), present.end(), [&](const PublishedPort& port) { return port.spec == spec.to_string(); });
        if (same == present.end()) {
            missing.push_back(spec);
        } else if (same->sources != request.sources) {
            return conflict("publish " + in_quotes(spec.to_string()) + ": it is published already, and " +
                                (same->sources.empty() ? "everybody may call it" : "others may call it than these"),
                            "`fastnet unpublish " + name + " " + spec.to_string() + "` first, which ends its connections");
        }
    }
    std::vector<PublishedPort> ports =
        TRY(plan_ports(node, missing, request.sources, endpoint.ipv4.has_value(), endpoint.ipv6.has_value()));
    if (!ports.empty()) {
        {
            Transaction transaction = TRY(node.store().begin());
            ports = TRY(node.store().add_ports(endpoint.id, std::move(ports)));
            CHECK_OK(node.mark_dirty());
            CHECK_OK(transaction.commit());
        }
        if (Status installed = install_ports(node, endpoint, ports); !installed) {
            Error error = std::move(installed).error().in("publish a port of endpoint " + in_quotes(name));
            const Status gone = take_back(node, endpoint, ports);
            if (!gone)
                error.message += "; the next command has to remove what is left of it, since that failed as well: " + gone.error().message;
            return error;
        }
        CHECK_OK(node.mark_clean());
    }
    return view_of(node.store(), endpoint);
}

Result<EndpointView> unpublish(const NodePaths& paths, const std::string& name, const std::vector<PublishSpec>& specs) {
    Node node = TRY(open_for_endpoint(paths, name));
    const Endpoint endpoint = TRY(find_publisher(node, name));
    std::vector<PublishedPort> gone;
    for (const PublishSpec& spec : specs) {
        const std::size_t before = gone.size();
        for (PublishedPort& port : TRY(node.store().ports_of(endpoint.id)))
            if (means(spec, port)) gone.push_back(std::move(port));
        if (gone.size() == before)
            return not_found("unpublish " + in_quotes(spec.to_string()) + ": endpoint " + in_quotes(name) + " does not publish it",
                             "`fastnet ports` lists what is published");
    }
    CHECK_OK(node.mark_dirty());
    CHECK_OK(withdraw_ports(node, endpoint, gone, true));
    Transaction transaction = TRY(node.store().begin());
    for (const PublishedPort& port : gone) CHECK_OK(node.store().remove_port(port.id));
    CHECK_OK(node.mark_clean());
    CHECK_OK(transaction.commit());
    return view_of(node.store(), endpoint);
}

Result<PrepareView> prepare(const NodePaths& paths, const PrepareRequest& request) {
    Node node = TRY(Node::open(paths, Need::kPrepared, request));
    // The other commands look at what is cheap to look at; this one is for people who think that something is wrong.
    CHECK_OK(node.repair());
    return read_preparation(node);
}

}  // namespace fastnet
