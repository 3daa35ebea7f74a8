#include "userspace/model/node.h"

#include "userspace/model/peer.h"

namespace fastnet {

std::string to_string(const VtepAddresses& addresses) {
    if (!addresses.ipv4 && !addresses.ipv6) return "auto";
    if (!addresses.ipv4) return addresses.ipv6->to_string();
    return addresses.ipv4->to_string() + (addresses.ipv6 ? "," + addresses.ipv6->to_string() : "");
}

Result<VtepAddresses> parse_vtep_addresses(std::string_view text) {
    VtepAddresses addresses;
    if (text == "auto") return addresses;
    for (;;) {
        const std::size_t comma = text.find(',');
        const IpAddress address = TRY(IpAddress::parse(text.substr(0, comma)));
        CHECK_OK(check_peer_address(address));
        auto& place = address.family() == Family::kIpv4 ? addresses.ipv4 : addresses.ipv6;
        if (place)
            return usage_error("addresses " + place->to_string() + " and " + address.to_string() + ": they are of one family",
                               "peers know a node by one IPv4 and one IPv6 address at most");
        place = address;
        if (comma == std::string_view::npos) return addresses;
        text.remove_prefix(comma + 1);
    }
}

}  // namespace fastnet
