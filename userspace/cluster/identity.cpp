#include "userspace/cluster/identity.h"

#include "loader/base/text.h"
#include "userspace/cluster/keys.h"

namespace fastnet::cluster {

Identity identify(const Remembered& before, const std::string& machine, const std::string& name, bool is_inhabited) {
    Identity identity;
    if (!is_uid(before.uid)) {
        identity.new_uid = true;
        return identity;
    }
    const bool is_elsewhere = !machine.empty() && !before.machine.empty() && machine != before.machine;
    if (is_elsewhere && !is_inhabited) {
        identity.new_uid = identity.forgets_lease = true;
        identity.notice = "/etc/machine-id is another one than before: this is a copy of a node's disk, and gets a uid of its own";
        return identity;
    }
    if (is_elsewhere) {
        // Looked at again with each start: once nobody is attached, a new uid costs nothing.
        identity.remembers_machine = false;
        identity.notice = "/etc/machine-id is another one than before, but endpoints are attached: the node keeps its uid";
    }
    identity.remembers_machine &= !machine.empty();
    if (!before.name.empty() && before.name != name) {
        identity.ends_lease = true;
        identity.notice += (identity.notice.empty() ? "" : "; ") + ("the node was " + in_quotes(before.name) + " and is renamed");
    }
    return identity;
}

}  // namespace fastnet::cluster
