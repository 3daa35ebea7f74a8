#include "userspace/host/netlink_socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

namespace fastnet {
namespace {

// The kernel fills at most 32 KiB of a dump per read. A larger single answer exists only where virtual functions are
// asked for, which nobody here does.
constexpr std::size_t kAnswerSize = 65536;
constexpr int kDumpTries = 10;

Error kernel_error(int error, std::string_view what, std::string_view explanation) {
    Error result = sys_error(error, what);
    if (!explanation.empty()) result.message += " (" + std::string{explanation} + ")";
    switch (result.sys_errno) {
        case EEXIST: result.kind = ErrorKind::kConflict; break;
        case ENODEV:
        case ENOENT:
        case ESRCH:
        case EADDRNOTAVAIL: result.kind = ErrorKind::kNotFound; break;
        case EPERM: result.hint = "this needs CAP_NET_ADMIN: run as root"; break;
        default: break;
    }
    return result;
}

/// The kernel's text in an acknowledgement whose attributes start @p offset bytes into the payload.
std::string explanation(const nlmsghdr& message, std::size_t offset) {
    if ((message.nlmsg_flags & NLM_F_ACK_TLVS) == 0 || mnl_nlmsg_get_payload_len(&message) <= offset) return {};
    return Attributes<NLMSGERR_ATTR_MAX>{message, offset}.text(NLMSGERR_ATTR_MSG);
}

}  // namespace

NetlinkRequest::NetlinkRequest(std::uint16_t type, unsigned flags) : message_{mnl_nlmsg_put_header(buffer_.data())} {
    message_->nlmsg_type = type;
    const unsigned acknowledge = (flags & NLM_F_DUMP) == NLM_F_DUMP ? 0U : NLM_F_ACK;
    message_->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | acknowledge | flags);
}

void NetlinkRequest::put(std::uint16_t type, const void* data, std::size_t size) {
    if (!mnl_attr_put_check(message_, buffer_.size(), type, size, data)) std::abort();
}

void NetlinkRequest::put_string(std::uint16_t type, std::string_view text) {
    const std::string terminated{text};
    put(type, terminated.c_str(), terminated.size() + 1);
}

NetlinkSocket::NetlinkSocket(UniqueFd fd) : fd_{std::move(fd)}, answer_{std::make_unique_for_overwrite<char[]>(kAnswerSize)} {}

Result<NetlinkSocket> NetlinkSocket::open(int protocol) {
    UniqueFd fd{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)};
    if (!fd) return sys_error(errno, "open a netlink socket");
    // Explanations, no copy of our request in each answer, and filters of dumps honoured by the kernel. All three are
    // older than the kernel floor (6.1); each only saves work, so that a refusal does no harm.
    for (const int option : {NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK}) {
        const int on = 1;
        static_cast<void>(::setsockopt(fd.get(), SOL_NETLINK, option, &on, sizeof(on)));
    }
    return NetlinkSocket{std::move(fd)};
}

/// True: complete; false: the dumped objects changed meanwhile and some may be missing or listed twice.
Result<bool> NetlinkSocket::exchange(NetlinkRequest& request, std::string_view what, const OnMessage& on_message) {
    nlmsghdr& message = request.message();
    message.nlmsg_seq = ++sequence_;
    if (::send(fd_.get(), &message, message.nlmsg_len, 0) < 0) return sys_error(errno, what);

    bool consistent = true;
    for (;;) {
        const ssize_t received = ::recv(fd_.get(), answer_.get(), kAnswerSize, MSG_TRUNC);
        if (received < 0 && errno == EINTR) continue;
        if (received < 0) return sys_error(errno, what);
        if (static_cast<std::size_t>(received) > kAnswerSize) return sys_error(EMSGSIZE, what);

        const auto* answer = reinterpret_cast<const nlmsghdr*>(answer_.get());
        for (int left = static_cast<int>(received); mnl_nlmsg_ok(answer, left); answer = mnl_nlmsg_next(answer, &left)) {
            if (answer->nlmsg_seq != sequence_) continue;  // rest of an exchange that ended early
            if ((answer->nlmsg_flags & NLM_F_DUMP_INTR) != 0) consistent = false;
            if (answer->nlmsg_type == NLMSG_ERROR || answer->nlmsg_type == NLMSG_DONE) {
                // Both begin with the error code: nlmsgerr.error, or the int that ends a dump (absent: no error).
                int error = 0;
                if (mnl_nlmsg_get_payload_len(answer) >= sizeof(error)) {
                    std::memcpy(&error, mnl_nlmsg_get_payload(answer), sizeof(error));
                }
                const bool is_error = answer->nlmsg_type == NLMSG_ERROR;
                if (error < 0) {
                    return kernel_error(error, what, explanation(*answer, is_error ? sizeof(nlmsgerr) : sizeof(error)));
                }
                return consistent;
            }
            if (answer->nlmsg_type >= NLMSG_MIN_TYPE && on_message) CHECK_OK(on_message(*answer));
        }
    }
}

Status NetlinkSocket::transact(NetlinkRequest& request, std::string_view what, const OnMessage& on_message) {
    static_cast<void>(TRY(exchange(request, what, on_message)));
    return ok();
}

Status NetlinkSocket::dump(NetlinkRequest& request, std::string_view what, const std::function<void()>& restart,
                           const OnMessage& on_message) {
    for (int attempt = 0; attempt < kDumpTries; ++attempt) {
        restart();
        const bool complete = TRY(exchange(request, what, on_message));
        if (complete) return ok();
    }
    return sys_error(EAGAIN, std::string{what} + ": it changed during each of " + std::to_string(kDumpTries) + " reads");
}

}  // namespace fastnet
