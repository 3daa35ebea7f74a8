#include "userspace/control/foreign_rules.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>

#include "loader/base/handle.h"

namespace fastnet {
namespace {

int close_socket(mnl_socket* socket) {
    return mnl_socket_close(socket);
}

int count_rule(const nlmsghdr* header, void* data) {
    if (NFNL_MSG_TYPE(header->nlmsg_type) == NFT_MSG_NEWRULE) ++*static_cast<std::uint64_t*>(data);
    return MNL_CB_OK;
}

/// 0 also where the kernel has no nf_tables.
std::uint64_t count_nft_rules() {
    const Handle<mnl_socket, close_socket> socket{mnl_socket_open(NETLINK_NETFILTER)};
    if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) return 0;
    std::vector<char> buffer(static_cast<std::size_t>(MNL_SOCKET_BUFFER_SIZE));
    nlmsghdr* const header = mnl_nlmsg_put_header(buffer.data());
    header->nlmsg_type = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETRULE;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    header->nlmsg_seq = static_cast<std::uint32_t>(std::time(nullptr));
    auto* const family = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
    family->nfgen_family = AF_UNSPEC;
    family->version = NFNETLINK_V0;
    const std::uint32_t sequence = header->nlmsg_seq;
    const unsigned port = mnl_socket_get_portid(socket.get());
    if (mnl_socket_sendto(socket.get(), header, header->nlmsg_len) < 0) return 0;
    std::uint64_t rules = 0;
    for (;;) {
        const ssize_t size = mnl_socket_recvfrom(socket.get(), buffer.data(), buffer.size());
        if (size <= 0) return rules;
        if (mnl_cb_run(buffer.data(), static_cast<std::size_t>(size), sequence, port, count_rule, &rules) <= MNL_CB_STOP) return rules;
    }
}

/// Only tables that exist already are asked for: the question would make them.
template <typename Info>
void add_legacy(const char* names, int domain, int level, int option, const char* family, std::vector<std::string>& tables) {
    std::ifstream list{names};
    const UniqueFd socket{::socket(domain, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)};
    for (std::string name; socket && std::getline(list, name);) {
        Info info{};
        std::strncpy(info.name, name.c_str(), sizeof info.name - 1);
        socklen_t size = sizeof info;
        if (::getsockopt(socket.get(), level, option, &info, &size) != 0) continue;
        unsigned hooks = 0;
        for (unsigned hook = 0; hook < NF_INET_NUMHOOKS; ++hook) hooks += (info.valid_hooks >> hook) & 1U;
        const unsigned empty = hooks + 1;  // a policy per hook, and the end marker
        if (info.num_entries > empty)
            tables.push_back(std::string{family} + " " + name + " (" + std::to_string(info.num_entries - empty) + ")");
    }
}

}  // namespace

Result<ForeignRules> find_foreign_rules() {
    ForeignRules rules;
    rules.nft_rules = count_nft_rules();
    add_legacy<ipt_getinfo>("/proc/net/ip_tables_names", AF_INET, IPPROTO_IP, IPT_SO_GET_INFO, "ip", rules.legacy_tables);
    add_legacy<ip6t_getinfo>("/proc/net/ip6_tables_names", AF_INET6, IPPROTO_IPV6, IP6T_SO_GET_INFO, "ip6", rules.legacy_tables);
    return rules;
}

}  // namespace fastnet
