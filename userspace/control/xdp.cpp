// XDP at the uplinks, as --xdp says.
#include "userspace/control/xdp.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "userspace/control/node.h"
#include "userspace/host/ethtool.h"

namespace fastnet {
namespace {

/// Virtual machines' NICs. With XDP attached they give up offloads of the host's (virtio_net: the guest's TSO, GRO and checksums) or
/// half of their queues (ena, gve), and all of them reset their rings for it.
constexpr std::array<std::string_view, 8> kParavirtual{"virtio_net", "vif", "xen_netfront", "hv_netvsc", "vmxnet3", "ena", "gve", "mana"};

}  // namespace

bool xdp_wanted(XdpMode mode, bool list_is_empty, const XdpDevice& device) {
    if (mode != XdpMode::kAuto) return mode == XdpMode::kOn;
    if (list_is_empty || !device.hardware || device.driver.empty()) return false;
    return std::find(kParavirtual.begin(), kParavirtual.end(), device.driver) == kParavirtual.end();
}

std::string xdp_refusal_key(std::string_view uplink) {
    return "xdp_refused/" + std::string{uplink};
}

std::string xdp_device_id(std::string_view boot_id, unsigned ifindex) {
    return std::string{boot_id} + " " + std::to_string(ifindex);
}

std::string xdp_refusal_record(std::string_view device, std::string_view reason) {
    return std::string{device} + "\n" + std::string{reason};
}

std::optional<std::string> xdp_refusal_reason(std::string_view record, std::string_view device) {
    const std::size_t end = record.find('\n');
    if (record.substr(0, end) != device) return std::nullopt;
    return std::string{end == std::string_view::npos ? "" : record.substr(end + 1)};
}

Result<XdpMode> stored_xdp(Store& store) {
    return xdp_mode_from(TRY(store.setting(setting::kXdp)).value_or("")).value_or(XdpMode::kAuto);
}

Status Node::set_xdp(std::optional<XdpMode> asked) {
    const XdpMode before = TRY(stored_xdp(store_));
    const XdpMode mode = asked.value_or(before);
    if (asked) {
        Transaction transaction = TRY(store_.begin(Durability::kPowerLoss));
        for (const Uplink& uplink : uplinks_) CHECK_OK(store_.remove_setting(xdp_refusal_key(uplink.name)));
        CHECK_OK(store_.set_setting(setting::kXdp, to_string(mode)));
        CHECK_OK(transaction.commit());
    }
    Status done = sync_xdp(mode);
    if (done) return ok();
    if (asked) {
        if (Status kept = store_.set_setting(setting::kXdp, to_string(before)); !kept) warn(kept.error().message);
        if (Status back = sync_xdp(before); !back) warn(back.error().message);
        return done;
    }
    // The deny list holds all the same: tc asks it.
    warn(done.error().message);
    return ok();
}

struct Node::XdpUplink {
    std::string name{};
    LinkInfo link{};
    XdpHook hook{};
};

Status Node::sync_xdp(XdpMode mode) {
    const bool list_is_empty = !TRY(store_.has_denied());
    DenyList list = TRY(datapath_->deny_list());
    std::optional<Error> first;
    const auto note = [&](const Status& status) {
        if (!status && !first) first = status.error();
    };
    std::vector<XdpUplink> present;
    std::vector<std::uint32_t> attached;
    bool all_known = true;
    // All of them before anything may fail: where XDP does not ask the list, tc does.
    for (const Uplink& uplink : uplinks_) {
        const auto link = netlink_.link(uplink.name);
        if (!link && link.error().kind == ErrorKind::kNotFound) continue;
        const auto hook = link ? datapath_->xdp_hook(static_cast<int>(link->index)) : Result<XdpHook>{link.error()};
        all_known = all_known && hook && !hook->unreadable;
        if (link) list.set_asked_by_xdp(link->index, hook && hook->judges_all());
        if (!hook) {
            note(hook.error());
            continue;
        }
        attached.insert(attached.end(), hook->ours.begin(), hook->ours.end());
        present.push_back({uplink.name, *link, *hook});
    }
    // Behind what cannot be read there may be ours.
    if (all_known && TRY(datapath_->forget_xdp(attached)))
        note_repair(RepairKind::kProgram, "remove an XDP program that is at no device", "xdp");
    for (const XdpUplink& uplink : present) note(sync_xdp_of(uplink, mode, list_is_empty));
    return first ? Status{*std::move(first)} : ok();
}

Status Node::sync_xdp_of(const XdpUplink& uplink, XdpMode mode, bool list_is_empty) {
    const auto ifindex = static_cast<int>(uplink.link.index);
    XdpDevice device{.hardware = uplink.link.kind.empty()};
    if (const auto driver = link_driver(uplink.name); driver) device.driver = *driver;
    if (!xdp_wanted(mode, list_is_empty, device)) {
        if (uplink.hook.ours.empty()) return ok();
        CHECK_OK(datapath_->detach_xdp(ifindex));
        note_repair(RepairKind::kProgram, "detach XDP from " + uplink.name, uplink.name);
        return ok();
    }
    if (uplink.hook.settled()) return ok();
    const std::string id = xdp_device_id(boot_id_, uplink.link.index);
    const auto record = TRY(store_.setting(xdp_refusal_key(uplink.name)));
    const bool tried = mode == XdpMode::kAuto && record && xdp_refusal_reason(*record, id);
    const Status attached = tried ? Status{ok()} : datapath_->attach_xdp(ifindex);
    if (!tried && attached) {
        note_repair(RepairKind::kProgram, "attach XDP to " + uplink.name, uplink.name);
        return ok();
    }
    // Another fastnet's would go on with a list that nobody keeps any more. tc asks ours.
    if (!uplink.hook.ours.empty()) CHECK_OK(datapath_->detach_xdp(ifindex));
    if (tried) return ok();
    if (mode == XdpMode::kOn) return attached;
    if (!uplink.hook.unreadable)  // else it passes
        CHECK_OK(store_.set_setting(xdp_refusal_key(uplink.name), xdp_refusal_record(id, attached.error().message)));
    warn(attached.error().message + "; tc asks the deny list, which costs more for each packet");
    return ok();
}

}  // namespace fastnet
