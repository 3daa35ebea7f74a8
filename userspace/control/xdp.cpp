// XDP at the uplinks, as --xdp says.
#include "userspace/control/node.h"

namespace fastnet {
namespace {

/// What was tried in vain at this device in this boot is not tried with each command.
std::string refusal_key(const std::string& uplink) {
    return "xdp_refused/" + uplink;
}

}  // namespace

Result<XdpMode> stored_xdp(Store& store) {
    return xdp_mode_from(TRY(store.setting(setting::kXdp)).value_or("")).value_or(XdpMode::kAuto);
}

Status Node::set_xdp(std::optional<XdpMode> asked) {
    const XdpMode before = TRY(stored_xdp(store_));
    const XdpMode mode = asked.value_or(before);
    if (asked) {
        Transaction transaction = TRY(store_.begin(Durability::kPowerLoss));
        for (const Uplink& uplink : uplinks_) CHECK_OK(store_.remove_setting(refusal_key(uplink.name)));
        CHECK_OK(store_.set_setting(setting::kXdp, to_string(mode)));
        CHECK_OK(transaction.commit());
    }
    Status done = sync_xdp(mode);
    if (done) return ok();
    if (asked) {
        CHECK_OK(store_.set_setting(setting::kXdp, to_string(before)));
        (void)sync_xdp(before);
        return done;
    }
    // The deny list holds all the same: tc asks it.
    warn(done.error().message);
    return ok();
}

Status Node::sync_xdp(XdpMode mode) {
    for (const Uplink& uplink : uplinks_) {
        const auto link = netlink_.link(uplink.name);
        if (!link) continue;
        const auto ifindex = static_cast<int>(link->index);
        const XdpHook hook = TRY(datapath_->xdp_hook(ifindex));
        const bool wanted = mode == XdpMode::kOn || (mode == XdpMode::kAuto && link->kind.empty());
        if (!wanted) {
            DenyList list = TRY(datapath_->deny_list());
            if (hook.ours.empty() && !list.asked_by_xdp(link->index)) continue;
            CHECK_OK(datapath_->detach_xdp(ifindex));
            note_repair(RepairKind::kProgram, "detach XDP from " + uplink.name, uplink.name);
            continue;
        }
        DenyList list = TRY(datapath_->deny_list());
        if (hook.current) {
            list.set_asked_by_xdp(link->index, true);
            continue;
        }
        list.set_asked_by_xdp(link->index, false);
        const std::string this_device = boot_id_ + " " + std::to_string(link->index);
        if (mode == XdpMode::kAuto && TRY(store_.setting(refusal_key(uplink.name))) == this_device) continue;
        if (Status attached = datapath_->attach_xdp(ifindex); !attached) {
            if (mode == XdpMode::kOn) return attached;
            CHECK_OK(store_.set_setting(refusal_key(uplink.name), this_device));
            continue;
        }
        note_repair(RepairKind::kProgram, "attach XDP to " + uplink.name, uplink.name);
    }
    return ok();
}

}  // namespace fastnet
