#include "userspace/control/remote_plan.h"

#include "userspace/model/names.h"

namespace fastnet {
namespace {

using AddressRows = std::map<fnet_address_key, fnet_address, AbiLess<fnet_address_key>>;

AddressRows rows_of(const std::vector<RemoteEndpoint>& remotes) {
    AddressRows rows;
    for (const RemoteEndpoint& remote : remotes)
        for (const auto& address : {remote.ipv4, remote.ipv6})
            if (address) rows.emplace(address_key(*address, remote.network_id), remote_address_value(remote.tunnel, remote.mac));
    return rows;
}

class RemotePlanner {
public:
    RemotePlanner(const RemoteEffect& effect, std::uint32_t default_mtu, const VtepAddresses& vtep)
        : effect_{effect}, default_mtu_{default_mtu}, vtep_{vtep} {}

    Plan run() {
        const AddressRows before = rows_of(effect_.gone);
        const AddressRows after = rows_of(effect_.come);
        drop_vteps();
        for (const auto& [key, value] : before)
            if (!after.contains(key)) plan_.emplace_back(DropAddress{key});
        for (const auto& [index, peer] : effect_.tunnels_gone) plan_.emplace_back(DropTunnel{index});
        flood();
        put_tunnels_and_vteps();
        for (const auto& [key, value] : after) {
            const auto present = before.find(key);
            if (present == before.end() || !same_address(present->second, value)) plan_.emplace_back(PutAddress{key, value});
        }
        return std::move(plan_);
    }

private:
    const Network& network_of(const Membership& membership) const { return effect_.networks.at(membership.network_id).network; }

    void drop_vteps() {
        for (const Membership& one : effect_.memberships)
            if (one.before && !one.after) plan_.emplace_back(DropVtep{vtep_key(one.peer, network_of(one).vni)});
        for (const auto& [index, peer] : effect_.tunnels_gone) plan_.emplace_back(DropVtep{vtep_key(peer, 0)});
    }

    /// The device is of the family of its peers, and the MTU too follows from that.
    static bool is_made_anew(const ChangedNetwork& changed) { return changed.family_before != changed.family_after; }

    void flood() {
        for (const auto& [id, changed] : effect_.networks) {
            if (!is_made_anew(changed)) continue;
            plan_.emplace_back(MakeBridge{bridge_wanted(changed.network, default_mtu_, changed.peers)});
            const VxlanState wanted = vxlan_wanted(changed.network, default_mtu_, changed.peers, vtep_);
            plan_.emplace_back(MakeVxlan{wanted});
            plan_.emplace_back(PutDevice{wanted.name, {FNET_DEVICE_VXLAN, id}});  // it may have another index now
            plan_.emplace_back(AttachVxlan{wanted.name});
        }
        for (const Membership& one : effect_.memberships) {
            if (one.before == one.after || is_made_anew(effect_.networks.at(one.network_id))) continue;
            const std::string vxlan = vxlan_ifname_for(one.network_id);
            if (one.after) {
                plan_.emplace_back(FloodTo{vxlan, one.peer});
            } else {
                plan_.emplace_back(StopFloodTo{vxlan, one.peer});
            }
        }
    }

    void put_tunnels_and_vteps() {
        for (const auto& [index, peer] : effect_.tunnels_come) plan_.emplace_back(PutTunnel{index, peer});
        for (const auto& [index, peer] : effect_.tunnels_come) {
            fnet_vtep value{};
            value.tunnel = index;
            plan_.emplace_back(PutVtep{vtep_key(peer, 0), value});
        }
        for (const Membership& one : effect_.memberships) {
            const Network& network = network_of(one);
            // A shared network never learns.
            if (!one.before && one.after)
                plan_.emplace_back(PutVtep{vtep_key(one.peer, network.vni), vtep_value(network, one.tunnel, false), network.bridge});
        }
    }

    const RemoteEffect& effect_;
    std::uint32_t default_mtu_;
    const VtepAddresses& vtep_;
    Plan plan_;
};

}  // namespace

Plan plan_remote_change(const RemoteEffect& effect, std::uint32_t default_mtu, const VtepAddresses& vtep) {
    return RemotePlanner{effect, default_mtu, vtep}.run();
}

}  // namespace fastnet
