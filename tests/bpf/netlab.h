// The network namespaces of one test: the node, in which the test's thread lives until the object is gone, and the far
// side, which holds the other ends of all veths. Knows devices, addresses and routes; no BPF.
// Invariant: nothing outside these two namespaces is touched, and the kernel removes both when the object is gone.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "loader/base/handle.h"
#include "tests/bpf/packet_builder.h"

namespace fastnet::test {

/// The capability that is missing to run here, as a reason to skip; empty when all are there.
std::string missing_capability();

class NetLab {
public:
    NetLab();
    NetLab(const NetLab&) = delete;
    NetLab& operator=(const NetLab&) = delete;
    ~NetLab();

    /// Lines of `ip -batch`, in the node. Aborts the test run when one fails: the lab is not what the test thinks.
    void ip(const std::string& batch) const;
    void sysctl(const std::string& path_below_net, const std::string& value) const;
    std::uint32_t ifindex(const std::string& device) const;  ///< of the node
    std::uint64_t netns_cookie() const;

    /// Runs @p body with the calling thread in the far namespace.
    void on_the_far_side(const std::function<void()>& body) const;

private:
    UniqueFd origin_, node_, far_;
};

/// The far end of a veth: puts frames on it and takes what arrives (not what it sent itself).
class FarDevice {
public:
    FarDevice(const NetLab& lab, const std::string& device);
    void send(const Packet& packet) const { send(packet.bytes()); }
    void send(const Bytes& frame) const;
    /// The first frame that @p wanted accepts, or nothing within @p bound.
    std::optional<Bytes> receive(const std::function<bool(const Bytes&)>& wanted,
                                 std::chrono::milliseconds bound = std::chrono::milliseconds{2000}) const;
    std::optional<Bytes> receive(const Packet& expected) const;

private:
    UniqueFd socket_;
    int ifindex_ = 0;
};

}  // namespace fastnet::test
