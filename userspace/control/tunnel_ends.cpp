#include "userspace/control/tunnel_ends.h"

#include "userspace/control/node.h"
#include "userspace/host/netlink.h"
#include "userspace/model/peer.h"
#include "userspace/store/store.h"

namespace fastnet {

Result<VtepAddresses> find_tunnel_ends(const NodePaths& paths) {
    Store store = TRY(Store::open(paths.state_dir, Store::OpenMode::kReadOnly));
    Netlink netlink = TRY(Netlink::open());
    const std::vector<LinkAddress> addresses = TRY(netlink.addresses());
    const VtepAddresses stored = TRY(stored_vtep(store));
    VtepAddresses ends;
    const auto take = [&](const IpAddress& address) {
        auto& end = address.family() == Family::kIpv4 ? ends.ipv4 : ends.ipv6;
        if (!end) end = address;
    };
    // Also while it is missing (a virtual address, DHCP): the doctor says so, and peers keep to what they know.
    for (const auto& own : {stored.ipv4, stored.ipv6})
        if (own) take(*own);
    for (const Uplink& uplink : TRY(store.uplinks()))
        for (const LinkAddress& one : addresses) {
            const IpAddress address = one.address.address();
            if (!one.tentative && !one.passing && netlink.link_name(one.link) == uplink.name && check_peer_address(address)) take(address);
        }
    return ends;
}

}  // namespace fastnet
