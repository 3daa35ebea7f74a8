#include "userspace/control/deny.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdlib>

#include "loader/deny_list.h"
#include "userspace/control/node.h"

namespace fastnet {
namespace {

/// More changes than these are cheaper as a whole.
constexpr std::size_t kMostOneByOne = 64;

/// Never 0, which stands for no list, and never one that was used before.
Result<std::uint64_t> new_revision() {
    std::uint64_t revision = 0;
    if (getrandom(&revision, sizeof revision, 0) != sizeof revision) return sys_error(errno, "get a random number");
    return revision | 1U;
}

/// What a record that came or went means for the tables, which know no prefix within another.
enum class Effect {
    kNone,    ///< a shorter prefix covers it
    kOne,     ///< itself, nothing else
    kOthers,  ///< longer ones that it covers, too
};

Result<Effect> effect_of(Store& store, const IpPrefix& prefix) {
    if (TRY(store.denies_around(prefix))) return Effect::kNone;
    return TRY(store.denies_within(prefix)) ? Effect::kOthers : Effect::kOne;
}

/// Changes the records by @p change(prefix), which says whether there was anything to change, and then the tables by @p apply(list,
/// prefix, revision), which says whether it could; all in one transaction. If the kernel refuses, the records stay as they were; if
/// this process dies in between, the revisions differ, and the next command makes the tables anew.
template <typename Change, typename Apply>
Result<DenyView> change_list(Node& node, const std::vector<IpPrefix>& prefixes, Change change, Apply apply) {
    Store& store = node.store();
    Transaction transaction = TRY(store.begin(Durability::kPowerLoss));
    std::vector<IpPrefix> single;
    bool as_a_whole = prefixes.size() > kMostOneByOne;
    DenyView view;
    for (const IpPrefix& prefix : prefixes) {
        if (!TRY(change(prefix))) continue;
        ++view.changed;
        if (as_a_whole) continue;
        const Effect effect = TRY(effect_of(store, prefix));
        if (effect == Effect::kOne) single.push_back(prefix);
        as_a_whole = effect == Effect::kOthers;
    }
    view.total = TRY(store.count_denied());
    if (view.total > kMostDenied)
        return conflict("the deny list would have " + std::to_string(view.total) + " prefixes, and takes " + std::to_string(kMostDenied),
                        "write neighbours as one shorter prefix; `fastnet deny ls` lists what is on it");
    if (view.changed == 0) return view;
    const std::uint64_t revision = TRY(new_revision());
    CHECK_OK(store.set_setting(setting::kDenyRevision, std::to_string(revision)));
    DenyList list = TRY(node.datapath().deny_list());
    // The tables become empty by replace() alone, which gives their memory back.
    as_a_whole = as_a_whole || view.total == 0;
    for (std::size_t i = 0; !as_a_whole && i < single.size(); ++i) as_a_whole = !TRY(apply(list, single[i], revision));
    if (as_a_whole) {
        const std::vector<IpPrefix> all = TRY(store.denied());
        CHECK_OK(list.replace(all, revision));
    } else {
        list.set_revision(revision);
    }
    CHECK_OK(transaction.commit());
    return view;
}

/// The list is changed, whatever becomes of XDP: tc asks it.
Result<DenyView> with_xdp(Node& node, Result<DenyView> view) {
    if (!view) return view;
    if (Status settled = node.settle_xdp(); !settled) node.warn(settled.error().message);
    view->warnings = node.warnings();
    return view;
}

}  // namespace

Result<DenyView> add_denied(const NodePaths& paths, const std::vector<IpPrefix>& prefixes) {
    Node node = TRY(Node::open(paths, Need::kPrepared));
    auto view = change_list(
        node, prefixes, [&](const IpPrefix& prefix) { return node.store().add_denied(prefix); },
        [](DenyList& list, const IpPrefix& prefix, std::uint64_t revision) { return list.add(prefix, revision); });
    return with_xdp(node, std::move(view));
}

Result<DenyView> remove_denied(const NodePaths& paths, const std::vector<IpPrefix>& prefixes) {
    const auto unknown = [](const IpPrefix& prefix) {
        return not_found(prefix.to_string() + " is not on the deny list", "`fastnet deny ls` lists what is");
    };
    auto opened = Node::open(paths, Need::kExisting);
    if (!opened && opened.error().kind == ErrorKind::kNotFound) return unknown(prefixes.front());
    if (!opened) return opened.error();
    Node node = *std::move(opened);
    if (!node.prepared()) return unknown(prefixes.front());
    auto view = change_list(
        node, prefixes,
        [&](const IpPrefix& prefix) -> Result<bool> {
            if (!TRY(node.store().remove_denied(prefix))) return unknown(prefix);
            return true;
        },
        [](DenyList& list, const IpPrefix& prefix, std::uint64_t revision) -> Result<bool> {
            CHECK_OK(list.remove(prefix, revision));
            return true;
        });
    return with_xdp(node, std::move(view));
}

Result<std::vector<IpPrefix>> read_denied(const NodePaths& paths) {
    auto store = Store::open(paths.state_dir, Store::OpenMode::kReadOnly);
    if (!store && store.error().kind == ErrorKind::kNotFound) return std::vector<IpPrefix>{};
    if (!store) return store.error();
    return store->denied();
}

Status Node::restore_deny_list() {
    const auto recorded = TRY(store_.setting(setting::kDenyRevision));
    const std::uint64_t wanted = recorded ? std::strtoull(recorded->c_str(), nullptr, 10) : 0;
    DenyList list = TRY(datapath_->deny_list());
    if (list.revision() == wanted) return ok();
    const std::vector<IpPrefix> prefixes = TRY(store_.denied());
    if (Status replaced = list.replace(prefixes, wanted); !replaced) return std::move(replaced).error().in("restore the deny list");
    note_repair(RepairKind::kFilter, "restore the deny list: " + std::to_string(prefixes.size()) + " prefixes");
    return ok();
}

}  // namespace fastnet
