#include "loader/attachment.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

namespace fastnet {
namespace {

// From the UAPI of 6.6; Debian 12's headers are of 6.1.
constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);
constexpr auto kTcxEgress = static_cast<bpf_attach_type>(47);

// Fixed, so that attaching again replaces instead of adding ("fn").
constexpr __u32 kFilterHandle = 0x666e;
constexpr __u32 kFilterPriority = 0x666e;

bpf_attach_type tcx_type(Direction direction) {
    return direction == Direction::kIngress ? kTcxIngress : kTcxEgress;
}

std::string device_name(int ifindex) {
    char name[IF_NAMESIZE] = {};
    return if_indextoname(static_cast<unsigned>(ifindex), name) != nullptr ? name : "ifindex " + std::to_string(ifindex);
}

std::string side(Direction direction) {
    return direction == Direction::kIngress ? "ingress" : "egress";
}

bpf_tc_hook tc_hook(int ifindex, Direction direction) {
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = direction == Direction::kIngress ? BPF_TC_INGRESS : BPF_TC_EGRESS);
    return hook;
}

/// A link outlives its device or cgroup, and being detached by force (`bpftool link detach`): it then leads nowhere.
bool leads_nowhere(const Error& error) {
    return error.sys_errno == ENOLINK;
}

Status pin_link(const UniqueFd& link, const std::filesystem::path& pin) {
    if (bpf_obj_pin(link.get(), pin.c_str()) != 0) return sys_error(errno, "pin link " + pin.string());
    return ok();
}

// libbpf tells the user about what we handle (a filter that is not there, a qdisc that is): keep it quiet meanwhile.
class QuietLibbpf {
public:
    QuietLibbpf() : previous_{libbpf_set_print(nullptr)} {}
    ~QuietLibbpf() { libbpf_set_print(previous_); }
    QuietLibbpf(const QuietLibbpf&) = delete;
    QuietLibbpf& operator=(const QuietLibbpf&) = delete;

private:
    libbpf_print_fn_t previous_;
};

/// Whether any filter hangs at @p direction of the device's clsact qdisc; true also if the kernel does not tell.
bool has_filters(int ifindex, Direction direction) {
    struct {
        nlmsghdr header;
        tcmsg message;
    } request{};
    request.header.nlmsg_len = sizeof request;
    request.header.nlmsg_type = RTM_GETTFILTER;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.message.tcm_family = AF_UNSPEC;
    request.message.tcm_ifindex = ifindex;
    request.message.tcm_parent =
        TC_H_MAKE(TC_H_CLSACT, direction == Direction::kIngress ? TC_H_MIN(TC_H_MIN_INGRESS) : TC_H_MIN(TC_H_MIN_EGRESS));
    const UniqueFd socket_fd{socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)};
    if (!socket_fd || send(socket_fd.get(), &request, sizeof request, 0) < 0) return true;
    // The first message decides: a filter, or the end of the list. It fits, whatever follows it.
    alignas(nlmsghdr) std::array<char, 32768> answer{};
    const ssize_t length = recv(socket_fd.get(), answer.data(), answer.size(), 0);
    if (length < static_cast<ssize_t>(sizeof(nlmsghdr))) return true;
    return reinterpret_cast<const nlmsghdr*>(answer.data())->nlmsg_type != NLMSG_DONE;
}

}  // namespace

Status attach_tcx(int program_fd, int ifindex, Direction direction, const std::filesystem::path& pin) {
    if (std::filesystem::exists(pin)) {
        Status updated = update_link(pin, program_fd);
        if (updated || !leads_nowhere(updated.error())) return updated;
        (void)unlink(pin.c_str());
    }
    // libbpf 1.1 knows no tcx; its generic branch passes what we need: our place is the end of the list.
    UniqueFd link{bpf_link_create(program_fd, ifindex, tcx_type(direction), nullptr)};
    if (!link) return sys_error(errno, "attach to tcx " + side(direction) + " of " + device_name(ifindex));
    return pin_link(link, pin);
}

Status attach_clsact(int program_fd, int ifindex, Direction direction) {
    const QuietLibbpf quiet;
    bpf_tc_hook hook = tc_hook(ifindex, direction);
    if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST)
        return sys_error(error, "add clsact qdisc to " + device_name(ifindex));
    LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program_fd, .flags = BPF_TC_F_REPLACE, .handle = kFilterHandle,
                .priority = kFilterPriority);
    if (const int error = bpf_tc_attach(&hook, &options); error != 0)
        return sys_error(error, "attach to clsact " + side(direction) + " of " + device_name(ifindex));
    return ok();
}

Status detach_clsact(int ifindex, Direction direction) {
    const QuietLibbpf quiet;
    bpf_tc_hook hook = tc_hook(ifindex, direction);
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = kFilterHandle, .priority = kFilterPriority);
    if (const int error = bpf_tc_detach(&hook, &options); error == -ENOENT || error == -ENODEV || error == -EINVAL)
        return ok();  // no filter, no device, no qdisc
    else if (error != 0)
        return sys_error(error, "detach from clsact " + side(direction) + " of " + device_name(ifindex));
    if (has_filters(ifindex, Direction::kIngress) || has_filters(ifindex, Direction::kEgress)) return ok();
    // Both sides: the qdisc itself.
    hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);
    (void)bpf_tc_hook_destroy(&hook);
    return ok();
}

std::uint32_t clsact_program(int ifindex, Direction direction) {
    const QuietLibbpf quiet;
    const bpf_tc_hook hook = tc_hook(ifindex, direction);
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = kFilterHandle, .priority = kFilterPriority);
    return bpf_tc_query(&hook, &options) == 0 ? options.prog_id : 0;
}

Status attach_cgroup_link(int program_fd, const std::filesystem::path& cgroup, int attach_type, const std::filesystem::path& pin) {
    if (std::filesystem::exists(pin)) {
        Status updated = update_link(pin, program_fd);
        if (updated || !leads_nowhere(updated.error())) return updated;
        (void)unlink(pin.c_str());
    }
    const UniqueFd directory{open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!directory) return sys_error(errno, "open cgroup " + cgroup.string());
    UniqueFd link{bpf_link_create(program_fd, directory.get(), static_cast<bpf_attach_type>(attach_type), nullptr)};
    if (!link) return sys_error(errno, "attach to cgroup " + cgroup.string());
    return pin_link(link, pin);
}

Status update_link(const std::filesystem::path& pin, int program_fd) {
    const UniqueFd link{bpf_obj_get(pin.c_str())};
    if (!link) return sys_error(errno, "open link " + pin.string());
    if (bpf_link_update(link.get(), program_fd, nullptr) == 0) return ok();
    return sys_error(errno, "replace the program of " + pin.string());
}

}  // namespace fastnet
