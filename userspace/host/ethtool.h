// The few SIOCETHTOOL requests that fastnet needs. Interface names are of the calling thread's namespace.
#pragma once

#include <string>
#include <string_view>

#include "loader/base/result.h"

namespace fastnet {

enum class Offload {
    kTxChecksum,  ///< tx-checksumming
    kTso,         ///< tcp-segmentation-offload
    kGso,         ///< generic-segmentation-offload
    kGro,         ///< generic-receive-offload; on a veth it also starts NAPI, which XDP redirects into it need
};

/// "veth", "virtio_net", ...; kNotFound if there is no such link, EOPNOTSUPP in sys_errno if it has no driver name.
Result<std::string> link_driver(std::string_view name);

Result<bool> offload(std::string_view name, Offload which);
/// Success also where it was in that state already.
Status set_offload(std::string_view name, Offload which, bool on);

}  // namespace fastnet
