#include "tests/bpf/netlab.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <utility>

#include "tests/bpf/roles.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71  // 5.14; Debian 12's <sys/socket.h> may lack it
#endif

namespace fastnet::test {
namespace {

[[noreturn]] void give_up(const std::string& what) {
    std::cerr << "network lab: " << what << ": " << std::strerror(errno) << '\n';
    std::abort();
}

UniqueFd current_netns() {
    UniqueFd fd{open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
    if (!fd) give_up("open the network namespace");
    return fd;
}

void enter(const UniqueFd& netns) {
    if (setns(netns.get(), CLONE_NEWNET) != 0) give_up("enter a network namespace");
}

UniqueFd fresh_netns() {
    if (unshare(CLONE_NEWNET) != 0) give_up("unshare(CLONE_NEWNET)");
    return current_netns();
}

void ip_batch(const std::string& batch, bool v6 = false) {
    FILE* pipe = popen(v6 ? "ip -6 -batch - >&2" : "ip -batch - >&2", "we");
    if (pipe == nullptr) give_up("run ip");
    (void)std::fwrite(batch.data(), 1, batch.size(), pipe);
    if (pclose(pipe) != 0) give_up("ip -batch:\n" + batch);
}

void write_sysctl(const std::string& path_below_net, const std::string& value) {
    std::ofstream file{"/proc/sys/net/" + path_below_net};
    if (!(file << value << std::flush)) give_up("write sysctl " + path_below_net);
}

}  // namespace

std::string missing_capability() {
    constexpr std::array<std::pair<unsigned, const char*>, 4> kNeeded{
        {{12, "CAP_NET_ADMIN"}, {13, "CAP_NET_RAW"}, {21, "CAP_SYS_ADMIN"}, {39, "CAP_BPF"}}};
    std::ifstream status{"/proc/self/status"};
    std::string word;
    while (status >> word && word != "CapEff:") {
    }
    unsigned long long effective = 0;
    status >> std::hex >> effective;
    for (const auto& [bit, name] : kNeeded)
        if ((effective >> bit & 1U) == 0) return std::string{"needs "} + name + " (run as root)";
    return {};
}

NetLab::NetLab() : origin_{current_netns()}, far_{fresh_netns()} {
    // Nothing here answers or speaks by itself: what a test sees on a far device, the node sent.
    write_sysctl("ipv6/conf/all/disable_ipv6", "1");
    write_sysctl("ipv6/conf/default/disable_ipv6", "1");
    node_ = fresh_netns();
    write_sysctl("ipv6/conf/default/disable_ipv6", "1");
    write_sysctl("ipv4/ip_forward", "0");
    write_sysctl("ipv4/conf/all/rp_filter", "0");
    write_sysctl("ipv4/conf/default/rp_filter", "0");

    const std::string far = " netns /proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(far_.get()) + "\n";
    const auto veth = [&](const std::string& device, const MacAddress& own, const std::string& peer, const MacAddress& peers) {
        return "link add " + device + " address " + own.to_string() + " type veth peer name " + peer + " address " + peers.to_string() +
               far;
    };
    const auto bridge = [](const std::string& device) {
        return "link add " + device + " address " + gateway_mac.to_string() + " type bridge mcast_snooping 0\n";
    };
    ip_batch("link set lo up\n" + veth("up0", uplink_mac, "wire", router_mac) + veth("side0", mac(8, 1), "side", mac(8, 2)) +
             bridge("br1") + bridge("br2") + veth("hcontainer", mac(5, 1), "container", container_mac) +
             veth("hneighbour", mac(5, 2), "neighbour", neighbour_mac) + veth("hstranger", mac(5, 3), "stranger", stranger_mac) +
             "link set hcontainer master br1 up\nlink set hneighbour master br1 up\nlink set hstranger master br2 up\n"
             "link set up0 up\nlink set side0 up\nlink set br1 up\nlink set br2 up\n");
    on_the_far_side([] {
        ip_batch(
            "link set lo up\nlink set wire up\nlink set side up\nlink set container up\nlink set neighbour up\nlink set stranger up\n");
    });
    for (const char* device : {"up0", "br1", "br2"}) {
        const std::string conf = std::string{"ipv6/conf/"} + device;
        write_sysctl(conf + "/accept_ra", "0");
        write_sysctl(conf + "/accept_dad", "0");
        write_sysctl(conf + "/disable_ipv6", "0");
    }
    const auto forward = [](const std::string& device) {
        write_sysctl("ipv4/conf/" + device + "/forwarding", "1");
        write_sysctl("ipv6/conf/" + device + "/forwarding", "1");
    };
    forward("br1");
    forward("br2");
    ip_batch(
        "addr add 192.0.2.2/24 dev up0\naddr add 192.0.2.3/24 dev up0\naddr add 203.0.113.1/24 dev side0\n"
        "addr add 10.10.0.1/24 dev br1\naddr add 10.20.0.1/24 dev br2\n"
        "neigh add 192.0.2.1 lladdr " +
        router_mac.to_string() +
        " dev up0 nud permanent\n"
        "route add default via 192.0.2.1 dev up0\nroute add unreachable 100.64.0.1/32\n");
    ip_batch(
        "addr add 2001:db8:2::2/64 dev up0 nodad\naddr add fd00:10::1/64 dev br1 nodad\naddr add fd00:20::1/64 dev br2 nodad\n"
        "neigh add 2001:db8:2::1 lladdr " +
            router_mac.to_string() +
            " dev up0 nud permanent\n"
            "route add default via 2001:db8:2::1 dev up0\n",
        true);
}

NetLab::~NetLab() {
    enter(origin_);
}

void NetLab::ip(const std::string& batch) const {
    ip_batch(batch);
}

void NetLab::sysctl(const std::string& path_below_net, const std::string& value) const {
    write_sysctl(path_below_net, value);
}

std::uint32_t NetLab::ifindex(const std::string& device) const {
    const unsigned index = if_nametoindex(device.c_str());
    if (index == 0) give_up("find device " + device);
    return index;
}

std::uint64_t NetLab::netns_cookie() const {
    const UniqueFd probe{socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    std::uint64_t cookie = 0;
    socklen_t length = sizeof cookie;
    if (!probe || getsockopt(probe.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) != 0) give_up("SO_NETNS_COOKIE");
    return cookie;
}

void NetLab::on_the_far_side(const std::function<void()>& body) const {
    enter(far_);
    body();
    enter(node_);
}

FarDevice::FarDevice(const NetLab& lab, const std::string& device) {
    lab.on_the_far_side([&] {
        socket_.reset(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)));
        ifindex_ = static_cast<int>(if_nametoindex(device.c_str()));
        sockaddr_ll local{};
        local.sll_family = AF_PACKET;
        local.sll_protocol = htons(ETH_P_ALL);
        local.sll_ifindex = ifindex_;
        if (!socket_ || ifindex_ == 0 || bind(socket_.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0)
            give_up("open a packet socket on " + device);
    });
}

void FarDevice::send(const Bytes& frame) const {
    if (::send(socket_.get(), frame.data(), frame.size(), 0) != static_cast<ssize_t>(frame.size())) give_up("send a frame");
}

std::optional<Bytes> FarDevice::receive(const std::function<bool(const Bytes&)>& wanted, std::chrono::milliseconds bound) const {
    const auto deadline = std::chrono::steady_clock::now() + bound;
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        pollfd readable{socket_.get(), POLLIN, 0};
        if (left.count() < 0 || poll(&readable, 1, static_cast<int>(left.count())) <= 0) return std::nullopt;
        Bytes frame(65536);
        sockaddr_ll from{};
        socklen_t length = sizeof from;
        const ssize_t size = recvfrom(socket_.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
        if (size < 0) return std::nullopt;
        if (from.sll_pkttype == PACKET_OUTGOING) continue;
        frame.resize(static_cast<std::size_t>(size));
        if (wanted(frame)) return frame;
    }
}

std::optional<Bytes> FarDevice::receive(const Packet& expected) const {
    return receive([bytes = expected.bytes()](const Bytes& frame) { return frame == bytes; });
}

}  // namespace fastnet::test
