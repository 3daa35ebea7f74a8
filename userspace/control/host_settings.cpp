#include "userspace/control/host_settings.h"

#include <algorithm>
#include <array>

#include "userspace/store/crash_point.h"

namespace fastnet {
namespace {

constexpr std::string_view kReservedPath = "net/ipv4/ip_local_reserved_ports";
constexpr std::string_view kPrefix = "net/";  // records are below /proc/sys, the host layer works below /proc/sys/net

std::string_view host_path(std::string_view recorded) {
    return recorded.starts_with(kPrefix) ? recorded.substr(kPrefix.size()) : recorded;
}

Result<std::optional<SavedSysctl>> record_of(Store& store, std::string_view path) {
    for (SavedSysctl& saved : TRY(store.sysctls()))
        if (saved.path == path) return std::optional{std::move(saved)};
    return std::optional<SavedSysctl>{};
}

/// At every moment the record covers what of ours is in force: wider before ports are added, narrower after they went.
Status carry_out(Store& store, const ReservedPorts& current, const std::optional<SavedSysctl>& saved, const ReservedPlan& plan) {
    const auto put = [&](const SavedSysctl& record) -> Status {
        Transaction transaction = TRY(store.begin());
        CHECK_OK(store.remove_sysctl(kReservedPath));
        CHECK_OK(store.save_sysctl(record));
        return transaction.commit();
    };
    std::optional<SavedSysctl> on_record = saved;
    if (plan.record) {
        SavedSysctl wide = *plan.record;
        wide.written = plan.value.united_with(ours_of(saved)).to_string();
        if (wide != on_record) CHECK_OK(put(wide));
        on_record = wide;
    }
    if (plan.value != current) {
        if (Status written = write_reserved_ports(plan.value); !written)
            return std::move(written).error().in("reserve published ports").with_hint("net.ipv4.ip_local_reserved_ports must be writable");
        crash_point();
    }
    if (plan.record == on_record) return ok();
    return plan.record ? put(*plan.record) : store.remove_sysctl(kReservedPath);
}

template <typename Change>
Status change_reserved(Store& store, Change change) {
    const auto saved = TRY(record_of(store, kReservedPath));
    const ReservedPorts current = TRY(read_reserved_ports());
    return carry_out(store, current, saved, plan_reserved(current, saved, change(ours_of(saved))));
}

/// Of lo alone. On any other device route_localnet would open the host's own 127.0.0.1 to its neighbours (CVE-2020-8558).
constexpr std::array<std::string_view, 2> kLoopbackPaths{"net/ipv4/conf/lo/route_localnet", "net/ipv4/conf/lo/accept_local"};

}  // namespace

Status ensure_sysctl(std::string_view path, std::string_view value) {
    if (TRY(read_sysctl(path)) == value) return ok();
    return write_sysctl(path, value);
}

ReservedPorts ours_of(const std::optional<SavedSysctl>& saved) {
    if (!saved) return {};
    const auto original = ReservedPorts::parse(saved->original);
    const auto written = ReservedPorts::parse(saved->written);
    if (!original || !written) return {};
    return written->without(*original);
}

ReservedPlan plan_reserved(const ReservedPorts& current, const std::optional<SavedSysctl>& saved, const ReservedPorts& wanted) {
    const ReservedPorts foreign = current.without(ours_of(saved));
    ReservedPlan plan;
    plan.value = foreign.united_with(wanted);
    if (!wanted.without(foreign).empty())
        plan.record = SavedSysctl{std::string{kReservedPath}, foreign.to_string(), plan.value.to_string()};
    return plan;
}

Status reserve_ports(Store& store, const ReservedPorts& more) {
    return change_reserved(store, [&](const ReservedPorts& ours) { return ours.united_with(more); });
}

Status release_ports(Store& store, const ReservedPorts& gone) {
    return change_reserved(store, [&](const ReservedPorts& ours) { return ours.without(gone); });
}

Result<bool> sync_reserved_ports(Store& store, const ReservedPorts& wanted) {
    const auto saved = TRY(record_of(store, kReservedPath));
    const ReservedPorts current = TRY(read_reserved_ports());
    const ReservedPlan plan = plan_reserved(current, saved, wanted);
    CHECK_OK(carry_out(store, current, saved, plan));
    return plan.value != current;
}

Result<bool> reserved_ports_in_force(Store& store) {
    const auto saved = TRY(record_of(store, kReservedPath));
    if (!saved) return true;
    const ReservedPorts current = TRY(read_reserved_ports());
    return ours_of(saved).without(current).empty();
}

Status set_loopback_sysctls(Store& store) {
    for (const std::string_view path : kLoopbackPaths) {
        const std::string value = TRY(read_sysctl(host_path(path)));
        if (value == "1") continue;
        // On record before it is in force: what a killed command left is restored as well.
        if (!TRY(record_of(store, path))) CHECK_OK(store.save_sysctl({std::string{path}, value, "1"}));
        crash_point();
        CHECK_OK(write_sysctl(host_path(path), "1"));
    }
    return ok();
}

bool loopback_sysctls_in_force() {
    return std::all_of(kLoopbackPaths.begin(), kLoopbackPaths.end(),
                       [](std::string_view path) { return read_sysctl(host_path(path)).value_or("0") == "1"; });
}

Status forget_void_records(Store& store) {
    for (const SavedSysctl& saved : TRY(store.sysctls())) {
        const auto value = read_sysctl(host_path(saved.path));
        if (!value || *value != saved.written) CHECK_OK(store.remove_sysctl(saved.path));
    }
    return ok();
}

Status restore_sysctls(Store& store) {
    std::string failures;
    for (const SavedSysctl& saved : TRY(store.sysctls())) {
        Status done = ok();
        if (saved.path == kReservedPath) {
            if (const auto synced = sync_reserved_ports(store, {}); !synced) done = synced.error();
        } else if (const auto value = read_sysctl(host_path(saved.path)); value && *value == saved.written) {
            done = write_sysctl(host_path(saved.path), saved.original);
        }
        if (done) done = store.remove_sysctl(saved.path);
        if (!done) failures += (failures.empty() ? "" : "; ") + done.error().message;
        crash_point();
    }
    if (!failures.empty()) return failed("restore sysctls: " + failures);
    return ok();
}

}  // namespace fastnet
