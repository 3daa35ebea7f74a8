#include "userspace/host/ethtool.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>

#include "loader/base/handle.h"
#include "userspace/host/netlink.h"

namespace fastnet {
namespace {

struct Commands {
    std::uint32_t get;
    std::uint32_t set;
    const char* text;
};

// The one-flag requests: older than the feature bit sets, kept by the kernel, and enough here.
Commands commands(Offload which) {
    switch (which) {
        case Offload::kTxChecksum: return {ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM, "tx-checksumming"};
        case Offload::kTso: return {ETHTOOL_GTSO, ETHTOOL_STSO, "tcp-segmentation-offload"};
        case Offload::kGso: return {ETHTOOL_GGSO, ETHTOOL_SGSO, "generic-segmentation-offload"};
        case Offload::kGro: break;
    }
    return {ETHTOOL_GGRO, ETHTOOL_SGRO, "generic-receive-offload"};
}

Status request(std::string_view name, void* data, const std::string& what) {
    if (!check_interface_name(name)) return not_found(what + ": No such device");
    const UniqueFd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    if (!socket) return sys_error(errno, "open a socket");
    ifreq ioctl_request{};
    std::memcpy(ioctl_request.ifr_name, name.data(), name.size());  // checked: shorter than IFNAMSIZ
    ioctl_request.ifr_data = static_cast<char*>(data);
    if (::ioctl(socket.get(), SIOCETHTOOL, &ioctl_request) == 0) return ok();
    Error error = sys_error(errno, what);
    if (error.sys_errno == ENODEV) error.kind = ErrorKind::kNotFound;
    return error;
}

std::string about(std::string_view verb, std::string_view name) {
    return std::string{verb} + " of '" + std::string{name} + "'";
}

}  // namespace

Result<std::string> link_driver(std::string_view name) {
    ethtool_drvinfo info{};
    info.cmd = ETHTOOL_GDRVINFO;
    CHECK_OK(request(name, &info, about("read the driver", name)));
    return std::string{info.driver, strnlen(info.driver, sizeof(info.driver))};
}

Result<bool> offload(std::string_view name, Offload which) {
    ethtool_value value{};
    value.cmd = commands(which).get;
    CHECK_OK(request(name, &value, about(std::string{"read "} + commands(which).text, name)));
    return value.data != 0;
}

Status set_offload(std::string_view name, Offload which, bool on) {
    ethtool_value value{};
    value.cmd = commands(which).set;
    value.data = on ? 1 : 0;
    return request(name, &value, about(std::string{on ? "switch on " : "switch off "} + commands(which).text, name));
}

}  // namespace fastnet
