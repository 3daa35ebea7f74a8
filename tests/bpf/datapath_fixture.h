// One test's datapath: the real programs with fresh maps (never pinned), on the devices of a NetLab, run on single packets
// by BPF_PROG_TEST_RUN. A run shows the packet in, the packet out, the action and which verdicts were counted.
// The redirect target is not visible there: look at the flow's exit, or attach() and watch a FarDevice.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/pkt_cls.h>
#include <sched.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bpf/abi/config.h"
#include "bpf/abi/deny.h"
#include "bpf/abi/endpoint.h"
#include "bpf/abi/flow.h"
#include "bpf/abi/service.h"
#include "bpf/abi/verdict.h"
#include "tests/bpf/netlab.h"
#include "tests/bpf/packet_builder.h"
#include "tests/bpf/packet_view.h"
#include "tests/bpf/roles.h"

struct datapath;  // the skeleton

namespace fastnet::test {

inline constexpr std::uint64_t kSecond = 1'000'000'000;
inline constexpr int kToKernel = TC_ACT_UNSPEC, kDropped = TC_ACT_SHOT, kRedirected = TC_ACT_REDIRECT;

using Verdicts = std::map<fnet_verdict, std::uint64_t>;  ///< packets, those that counted any

struct Outcome {
    int action = 0;
    Bytes in, out;
    Verdicts verdicts;
    std::uint32_t mark = 0;  ///< of the packet afterwards
    PacketView view() const { return PacketView{out}; }
    bool counted_only(fnet_verdict verdict) const { return verdicts == Verdicts{{verdict, 1}}; }
};
void PrintTo(const Outcome& outcome, std::ostream* stream);
std::string name_of(fnet_verdict verdict);

/// What a packet brings along beside its bytes.
struct SkbContext {
    std::uint32_t ifindex = 0;
    std::uint32_t ingress_ifindex = 0;
    std::uint32_t mark = 0;
    std::uint32_t gso_size = 0;  ///< but no type: the kernel's helpers refuse to change the length of such a packet
};

/// A container on the node; `device` is the host-side veth.
struct Container {
    std::uint32_t id = 0, network = 0;
    std::uint32_t ifindex = 0, bridge = 0;
    IpAddress ipv4, ipv6, gateway4, gateway6;
    MacAddress mac;
    std::string device;
};

struct Publication {
    std::uint32_t id = 1;
    Protocol protocol = Protocol::kTcp;
    IpAddress address;  ///< of the host; 0.0.0.0 or :: for all
    std::uint16_t port = 8080;
    std::uint16_t ports = 1;  ///< a power of two, and `port` a multiple of it: one map entry
    std::uint16_t container_port = 80;
    std::uint32_t flags = 0;  ///< FNET_SERVICE_*
};

struct Options {
    std::uint32_t max_flows = 1024;
    bool reserved = true;  ///< the table's memory; as on a machine that has enough (reserves_flow_table())
    std::uint16_t masquerade_first = 16384, masquerade_last = 32767;
    bool endpoint_mapping = true;
    std::uint64_t tcp_established_s = 7440, tcp_opening_s = 240, tcp_closing_s = 240, udp_s = 300, udp_unreplied_s = 120, dns_s = 30,
                  icmp_s = 60, other_s = 600;
};

/// Keeps the calling thread on the CPU that it is on: what the datapath caches is per CPU (`ways`, `pairs`), so a test whose second packet
/// is run by another CPU sees a first packet once more.
class OneCpu {
public:
    OneCpu();
    ~OneCpu();
    OneCpu(const OneCpu&) = delete;
    OneCpu& operator=(const OneCpu&) = delete;

private:
    cpu_set_t before_{};
};

class DatapathTest : public ::testing::Test {
protected:
    explicit DatapathTest(Options options = {});
    ~DatapathTest() override;
    void SetUp() override;

    // Running packets.
    Outcome at_uplink(const Packet& packet) { return run("tc_uplink", packet.bytes(), lab().ifindex("up0")); }
    /// What a process of the host sends to an address of the host.
    Outcome at_loopback(const Packet& packet) { return run("tc_loopback", packet.bytes(), FNET_LOOPBACK_IFINDEX); }
    Outcome at_container(const Packet& packet) { return at_container(container_, packet); }
    Outcome at_container(const Container& sender, const Packet& packet) { return run("tc_container", packet.bytes(), sender.ifindex); }
    /// What the kernel is about to send into the network of @p to, after it came in by @p from_ifindex (0: the host's own).
    Outcome at_gateway_out(const Container& to, std::uint32_t from_ifindex, const Packet& packet) {
        return run("tc_gateway_out", packet.bytes(), to.bridge, from_ifindex);
    }
    /// What the bridge of @p from hands up to the host.
    Outcome at_gateway_in(const Container& from, const Packet& packet) { return run("tc_gateway_in", packet.bytes(), from.bridge); }
    Outcome run(const char* program, const Bytes& frame, std::uint32_t ifindex, std::uint32_t ingress_ifindex = 0) {
        return run(program, frame, SkbContext{.ifindex = ifindex, .ingress_ifindex = ingress_ifindex});
    }
    Outcome run(const char* program, const Bytes& frame, const SkbContext& skb);
    /// Without the verdicts, which cost more than the run: for thousands of packets. False: the kernel refused the frame.
    bool run_quickly(const char* program, const Bytes& frame, std::uint32_t ifindex, Outcome& outcome);
    int run_maintenance(const char* program);
    /// For as long as the test, or until detach(); by tcx, below 6.6 by clsact. Ingress, but for tc_gateway_out.
    void attach(const char* program, const std::string& device);
    void detach(const char* program, const std::string& device);
    void attach_to_cgroup(const char* program, int cgroup_fd, int attach_type);

    // State that user space would write.
    void publish(const Publication& publication, const Container& target);
    void publish(const Publication& publication) { publish(publication, container_); }
    void set_source(std::uint32_t service, const char* prefix, fnet_source_rule rule);
    void set_flags(const Container& container, std::uint64_t flags);
    bool forget_container(const Container& container);  ///< its entry in `endpoints` goes
    void user_space_changed();                          ///< what was judged before is void, as Datapath::judge_anew()
    void set_filter(fnet_filter region, std::uint16_t bit, bool on = true);

    // State that the programs wrote.
    Verdicts verdicts() const;
    std::optional<fnet_flow> flow(const fnet_flow_key& key) const;
    std::vector<std::pair<fnet_flow_key, fnet_flow>> flows() const;
    std::optional<fnet_flow> partner_of(const fnet_flow_key& key) const;
    fnet_flow_class class_of(const fnet_flow_key& key) const;  ///< FNET_CLASS_NONE: no such flow
    std::int64_t count_of(fnet_flow_class flow_class) const { return table().count[flow_class]; }
    fnet_flow_table table() const;
    std::vector<std::pair<fnet_mapping_key, fnet_mapping>> mappings() const;  ///< and the claims on their ports
    fnet_endpoint stored_endpoint(const Container& container) const;
    fnet_endpoint endpoint(const Container& container) const;  ///< with what `ways` has counted for it
    std::vector<fnet_way> ways() const;                        ///< those that are used
    fnet_service_stats service_stats(std::uint32_t service) const;

    /// Lets the flow look @p seconds older than it is, in both directions.
    void age(const fnet_flow_key& key, std::uint64_t seconds);
    void forget_exit(const fnet_flow_key& key);  ///< its next hop is looked up again by the next packet
    /// Waits until the collector went through the whole table at least once from now on.
    bool collector_walks();
    std::uint32_t purge(std::uint32_t endpoint_ifindex, std::uint32_t service);
    /// Every slot is free or in use, never both nor neither; each in use has its two entries; the counts are exact, those of
    /// the mappings too, and each mapping has a claim.
    ::testing::AssertionResult slots_are_accounted_for();
    ::testing::AssertionResult mappings_are_accounted_for() const;

    const NetLab& lab() const { return *lab_; }
    const Container& container() const { return container_; }
    const Container& neighbour() const { return neighbour_; }
    const Container& stranger() const { return stranger_; }
    int map_fd(const char* name) const;
    int program_fd(const char* name) const;
    ::datapath* skeleton() const { return skeleton_; }
    /// The verifier's statistics of a program.
    std::string verifier_log(const std::string& program) const { return logs_.at(program).data(); }
    Options options_;

private:
    void load();
    void add_container(const Container& container);
    Container make_container(std::uint32_t id, const std::string& device, const std::string& bridge, IpAddress ipv4, IpAddress ipv6,
                             MacAddress mac) const;

    OneCpu cpu_;
    std::unique_ptr<NetLab> lab_;
    ::datapath* skeleton_ = nullptr;
    std::map<std::string, std::vector<char>> logs_;
    std::map<std::string, UniqueFd> links_;  // by what and where; none for clsact
    Container container_, neighbour_, stranger_;
};

fnet_addr to_abi(const IpAddress& address);
/// Of published ports.
fnet_filter port_filter(Protocol protocol, Family family);
/// @p ifindex 0: on the node's side. For ICMP echo give the identifier as the requester's port.
fnet_flow_key key_of(Protocol protocol, const IpAddress& src, std::uint16_t src_port, const IpAddress& dst, std::uint16_t dst_port,
                     std::uint32_t ifindex = 0);
fnet_flow_key partner_key(const fnet_flow_key& key, const fnet_flow& flow);

/// The verdict, once and nothing else; and not a byte changed.
::testing::AssertionResult left_alone(const Outcome& outcome, int action, fnet_verdict verdict);
::testing::AssertionResult redirected(const Outcome& outcome, fnet_verdict verdict, const Packet& expected);

/// The ICMP error of our own for a packet that was dropped as @p verdict, with as much of it as is quoted.
Packet error_about(const Bytes& dropped, fnet_verdict verdict, const Eth& eth, const IpAddress& from, std::uint32_t mtu = 0);

MATCHER_P(GoesToTheKernel, verdict, "goes to the kernel unchanged, counted as " + name_of(verdict)) {
    const auto result = left_alone(arg, kToKernel, verdict);
    *result_listener << result.message();
    return static_cast<bool>(result);
}
MATCHER_P(IsDropped, verdict, "is dropped unchanged, counted as " + name_of(verdict)) {
    const auto result = left_alone(arg, kDropped, verdict);
    *result_listener << result.message();
    return static_cast<bool>(result);
}
/// Redirected by a flow as exactly these bytes, whose checksums the builder computes in full.
MATCHER_P(Redirects, expected, "is redirected as " + describe(Packet{expected}.bytes())) {
    const auto result = redirected(arg, FNET_FLOW_FORWARDED, expected);
    *result_listener << result.message();
    return static_cast<bool>(result);
}
/// An ICMP error, with the packet that it quotes.
MATCHER_P(RedirectsError, expected, "is redirected as " + describe(Packet{expected}.bytes())) {
    const auto result = redirected(arg, FNET_ICMP_FORWARDED, expected);
    *result_listener << result.message();
    return static_cast<bool>(result);
}
/// Dropped, and its sender is told by an error from @p from.
MATCHER_P3(IsAnswered, verdict, eth, from, "is answered for " + name_of(verdict)) {
    const auto result = redirected(arg, verdict, error_about(arg.in, verdict, eth, from));
    *result_listener << result.message();
    return static_cast<bool>(result);
}
MATCHER_P3(IsAnsweredTooBig, mtu, eth, from, "is told the MTU of " + std::to_string(mtu)) {
    const auto result = redirected(arg, FNET_TOO_BIG, error_about(arg.in, FNET_TOO_BIG, eth, from, mtu));
    *result_listener << result.message();
    return static_cast<bool>(result);
}
/// The same to another container of the network, which needs no flow.
MATCHER_P(RedirectsToNeighbour, expected, "is redirected as " + describe(Packet{expected}.bytes())) {
    const auto result = redirected(arg, FNET_LOCAL_FORWARDED, expected);
    *result_listener << result.message();
    return static_cast<bool>(result);
}

}  // namespace fastnet::test
