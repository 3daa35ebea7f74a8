#include "userspace/host/netlink_events.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <optional>

#include "userspace/host/netlink_socket.h"

namespace fastnet {
namespace {

// A burst of a thousand links, each with its addresses and settings, fits; what does not is one full check.
constexpr int kReceiveBuffer = 4 << 20;
constexpr std::size_t kDatagram = 32768;

constexpr std::array kGroups{RTNLGRP_LINK,       RTNLGRP_NEIGH,      RTNLGRP_TC,           RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                             RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF};

constexpr sock_filter load_half(std::size_t offset) {
    return BPF_STMT(BPF_LD | BPF_H | BPF_ABS, static_cast<__u32>(offset));
}
constexpr sock_filter load_byte(std::size_t offset) {
    return BPF_STMT(BPF_LD | BPF_B | BPF_ABS, static_cast<__u32>(offset));
}
/// Skips that many instructions.
constexpr sock_filter jump_if(std::uint32_t value, std::uint8_t equal, std::uint8_t other) {
    return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, equal, other);
}

/// Passes routes to everywhere, neighbours of bridges and vxlan devices, and all other messages. A notification is one message.
Status filter_noise(int fd) {
    // The filter reads big-endian, message types are in the host's order.
    const auto type = [](std::uint16_t value) { return std::uint32_t{htons(value)}; };
    constexpr std::size_t kPayload = NLMSG_HDRLEN;
    std::array<sock_filter, 12> filter{{
        load_half(offsetof(nlmsghdr, nlmsg_type)),
        jump_if(type(RTM_NEWROUTE), 4, 0),
        jump_if(type(RTM_DELROUTE), 3, 0),
        jump_if(type(RTM_NEWNEIGH), 4, 0),
        jump_if(type(RTM_DELNEIGH), 3, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
        load_byte(kPayload + offsetof(rtmsg, rtm_dst_len)),
        jump_if(0, 2, 3),
        load_byte(kPayload + offsetof(ndmsg, ndm_family)),
        jump_if(AF_BRIDGE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
        BPF_STMT(BPF_RET | BPF_K, 0),
    }};
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0) return sys_error(errno, "filter netlink events");
    return ok();
}

template <typename Header>
const Header* header_of(const nlmsghdr& message) {
    return mnl_nlmsg_get_payload_len(&message) < sizeof(Header) ? nullptr : static_cast<const Header*>(mnl_nlmsg_get_payload(&message));
}

std::optional<NetworkChange> link_change(const nlmsghdr& message) {
    const auto* link = header_of<ifinfomsg>(message);
    if (link == nullptr) return std::nullopt;
    NetworkChange change;
    // A bridge says with DELLINK that the link is its port no longer: the link lives on.
    change.gone = message.nlmsg_type == RTM_DELLINK && link->ifi_family != AF_BRIDGE;
    change.link = static_cast<IfIndex>(link->ifi_index);
    change.name = Attributes<IFLA_IFNAME>{message, sizeof *link}.text(IFLA_IFNAME);
    return change;
}

std::optional<NetworkChange> address_change(const nlmsghdr& message) {
    const auto* address = header_of<ifaddrmsg>(message);
    if (address == nullptr) return std::nullopt;
    NetworkChange change;
    change.what = NetworkChange::What::kAddress;
    change.gone = message.nlmsg_type == RTM_DELADDR;
    change.link = address->ifa_index;
    const Attributes<IFA_LOCAL> attributes{message, sizeof *address};
    const nlattr* value = attributes.has(IFA_LOCAL) ? attributes.get(IFA_LOCAL) : attributes.get(IFA_ADDRESS);
    const Family family = address->ifa_family == AF_INET ? Family::kIpv4 : Family::kIpv6;
    const std::size_t size = family == Family::kIpv4 ? 4 : 16;
    if (value != nullptr && mnl_attr_get_payload_len(value) >= size)
        change.address = {IpAddress::from_wire(family, mnl_attr_get_payload(value)), address->ifa_prefixlen};
    return change;
}

std::optional<NetworkChange> route_change(const nlmsghdr& message) {
    const auto* route = header_of<rtmsg>(message);
    if (route == nullptr || route->rtm_dst_len != 0) return std::nullopt;
    const Attributes<RTA_TABLE> attributes{message, sizeof *route};
    if (attributes.value<std::uint32_t>(RTA_TABLE, route->rtm_table) != kMainTable) return std::nullopt;
    NetworkChange change;
    change.what = NetworkChange::What::kRoute;
    change.gone = message.nlmsg_type == RTM_DELROUTE;
    change.link = attributes.value<std::uint32_t>(RTA_OIF);
    return change;
}

std::optional<NetworkChange> forwarding_change(const nlmsghdr& message) {
    const auto* entry = header_of<ndmsg>(message);
    if (entry == nullptr || entry->ndm_family != AF_BRIDGE) return std::nullopt;
    NetworkChange change;
    change.what = NetworkChange::What::kForwarding;
    change.gone = message.nlmsg_type == RTM_DELNEIGH;
    change.link = static_cast<IfIndex>(entry->ndm_ifindex);
    return change;
}

std::optional<NetworkChange> setting_change(const nlmsghdr& message) {
    const auto* setting = header_of<netconfmsg>(message);
    if (setting == nullptr) return std::nullopt;
    NetworkChange change;
    change.what = NetworkChange::What::kSetting;
    const auto index = Attributes<NETCONFA_IFINDEX>{message, sizeof *setting}.value<std::int32_t>(NETCONFA_IFINDEX);
    change.link = index > 0 ? static_cast<IfIndex>(index) : 0;  // "all" and "default" are negative
    return change;
}

std::optional<NetworkChange> filter_change(const nlmsghdr& message) {
    const auto* filter = header_of<tcmsg>(message);
    if (filter == nullptr) return std::nullopt;
    NetworkChange change;
    change.what = NetworkChange::What::kFilter;
    change.gone = message.nlmsg_type == RTM_DELTFILTER || message.nlmsg_type == RTM_DELQDISC;
    change.link = static_cast<IfIndex>(filter->tcm_ifindex);
    return change;
}

std::optional<NetworkChange> change_in(const nlmsghdr& message) {
    switch (message.nlmsg_type) {
        case RTM_NEWLINK:
        case RTM_DELLINK: return link_change(message);
        case RTM_NEWADDR:
        case RTM_DELADDR: return address_change(message);
        case RTM_NEWROUTE:
        case RTM_DELROUTE: return route_change(message);
        case RTM_NEWNEIGH:
        case RTM_DELNEIGH: return forwarding_change(message);
        case RTM_NEWNETCONF:
        case RTM_DELNETCONF: return setting_change(message);
        case RTM_NEWQDISC:
        case RTM_DELQDISC:
        case RTM_NEWTFILTER:
        case RTM_DELTFILTER: return filter_change(message);
        default: return std::nullopt;
    }
}

}  // namespace

Result<NetlinkEvents> NetlinkEvents::open() {
    UniqueFd fd{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE)};
    if (!fd) return sys_error(errno, "open a netlink socket");
    // Without the privilege the buffer is what the system allows: more often full, nothing else.
    if (::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer) != 0)
        static_cast<void>(::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer));
    CHECK_OK(filter_noise(fd.get()));
    // Without a port id of its own the kernel takes a socket for itself, and passes it over.
    sockaddr_nl own{};
    own.nl_family = AF_NETLINK;
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) return sys_error(errno, "bind a netlink socket");
    for (const int group : kGroups)
        if (::setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
            return sys_error(errno, "subscribe to netlink group " + std::to_string(group));
    return NetlinkEvents{std::move(fd)};
}

Result<bool> NetlinkEvents::read(const OnChange& on_change, std::size_t limit) {
    alignas(nlmsghdr) std::array<char, kDatagram> buffer;
    bool lost = false;
    for (std::size_t count = 0; count < limit; ++count) {
        sockaddr_nl from{};
        iovec part{buffer.data(), buffer.size()};
        msghdr datagram{};
        datagram.msg_name = &from;
        datagram.msg_namelen = sizeof from;
        datagram.msg_iov = &part;
        datagram.msg_iovlen = 1;
        const ssize_t size = ::recvmsg(fd_.get(), &datagram, 0);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0 && errno == EAGAIN) return lost;
        if (size < 0 && errno == ENOBUFS) {
            lost = true;
            continue;
        }
        if (size < 0) return sys_error(errno, "read netlink events");
        if (from.nl_pid != 0) continue;  // a process may send to us; the kernel alone is believed
        if ((datagram.msg_flags & MSG_TRUNC) != 0) {
            lost = true;
            continue;
        }
        const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
        for (int left = static_cast<int>(size); mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
            auto change = change_in(*message);
            if (!change) continue;
            change->sender = message->nlmsg_pid;
            on_change(*change);
        }
    }
    return lost;
}

Status NetlinkEvents::discard() {
    char byte = 0;
    for (;;) {
        if (::recv(fd_.get(), &byte, sizeof byte, MSG_TRUNC) >= 0 || errno == EINTR || errno == ENOBUFS) continue;
        return errno == EAGAIN ? ok() : Status{sys_error(errno, "read netlink events")};
    }
}

std::string name_of_sender(std::uint32_t sender) {
    if (sender == 0 || sender == static_cast<std::uint32_t>(::getpid())) return {};
    std::ifstream file{"/proc/" + std::to_string(sender) + "/comm"};
    std::string name;
    if (!std::getline(file, name) || name.empty()) return {};
    return "pid " + std::to_string(sender) + " (" + name + ")";
}

}  // namespace fastnet
