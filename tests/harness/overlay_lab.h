// Three fastnet nodes on an underlay that routes: each in a subnet of its own, a router between.
//
//      node 1                        router                              node 2, node 3
//      eth0 10.77.1.2/24   ----- n1  10.77.1.1/24     n2, n3  -----      eth0 10.77.2.2/24, 10.77.3.2/24
//      2001:db8:77:1::2/64           lo 198.51.100.1/32 and 2001:db8:7::1/128
//
// The router is also everybody's way out and stands for "the internet". Every node has its own --root. Invariant: a test ends
// with `fastnet cleanup` on every node and the proof that nothing is left.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/harness/lab.h"
#include "tests/harness/lab_node.h"

namespace fastnet::test {

inline constexpr std::size_t kOverlayNodes = 3;

/// An overlay network as every node creates it: one subnet per family, a range of it per node.
struct OverlayNetwork {
    std::string name = "blue";
    std::uint32_t vni = 42;
    std::string net4 = "10.99";    ///< first half of a /16
    std::string net6 = "fd00:99";  ///< first half of a /64
};

class OverlayLab {
public:
    OverlayLab();
    OverlayLab(const OverlayLab&) = delete;
    OverlayLab& operator=(const OverlayLab&) = delete;
    ~OverlayLab();

    /// Nodes are counted from 1.
    LabNode& node(std::size_t number) { return *nodes_.at(number - 1); }
    const Netns& router() const { return *router_; }
    static std::string ip(std::size_t number) { return "10.77." + std::to_string(number) + ".2"; }
    static std::string ip6(std::size_t number) { return "2001:db8:77:" + std::to_string(number) + "::2"; }
    /// The router's interface towards node @p number.
    static std::string port(std::size_t number) { return "n" + std::to_string(number); }

    /// Of the router's link to a node, at both ends; what the nodes are at that moment becomes their baseline.
    void set_mtu(std::size_t number, unsigned mtu);
    /// At the router's end only: the node does not know of it.
    void set_router_mtu(std::size_t number, unsigned mtu);
    void set_link(std::size_t number, bool up);  ///< the router's end of it

    /// `network create --driver overlay` on one node.
    nlohmann::json create(std::size_t number, const OverlayNetwork& network = {}, const Argv& extra = {});
    /// The network on all nodes, and every node the peer of every other.
    void connect(const OverlayNetwork& network = {}, const Argv& extra = {});
    /// `peer add` on node @p number, of node @p other.
    void add_peer(std::size_t number, std::size_t other, const Argv& extra = {});
    /// A container on node @p number.
    nlohmann::json attach(std::size_t number, const std::string& label, const Argv& extra = {}, const OverlayNetwork& network = {});
    std::uint64_t verdict_of_all(const std::string& name) const;

    void cleanup_and_verify();

private:
    std::string prefix_;
    std::unique_ptr<Netns> router_;
    std::array<std::unique_ptr<LabNode>, kOverlayNodes> nodes_;
};

/// Fixture: one lab per test, cleaned up and proven clean after it.
class OverlayLabTest : public ::testing::Test {
protected:
    void SetUp() override;
    void TearDown() override;
    OverlayLab& lab() { return *lab_; }

private:
    std::unique_ptr<OverlayLab> lab_;
};

}  // namespace fastnet::test
