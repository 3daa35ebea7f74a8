// The standard topology of an end-to-end test, and fastnet on it.
//
//      client namespace                       node namespace                    container namespaces
//      eth0 192.0.2.1/24  ------- veth ------ eth0 192.0.2.2/24, 192.0.2.3/24
//      lo   198.51.100.1/32                   default via 192.0.2.1
//
// The client is also the node's router: 198.51.100.1 stands for "the internet". Every lab has its own namespaces and
// its own --root, so labs run side by side. Invariant: a test ends with `fastnet cleanup` and the proof that nothing is left.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/harness/capture.h"
#include "tests/harness/lab_node.h"
#include "tests/harness/netns.h"
#include "tests/harness/services.h"
#include "tests/harness/sockets.h"
#include "tests/harness/wait.h"

namespace fastnet::test {

inline const std::string kClientIp = "192.0.2.1";
inline const std::string kInternetIp = "198.51.100.1";
inline const std::string kNodeIp = "192.0.2.2";
inline const std::string kNodeIp2 = "192.0.2.3";
inline const std::string kOtherHostIp = "203.0.113.9";  ///< of the host behind the node's second NIC
inline const std::string kNodeOtherIp = "203.0.113.2";  ///< of the node's second NIC

// After add_ipv6(): the same places over IPv6.
inline const std::string kClientIp6 = "2001:db8:2::1";
inline const std::string kNodeIp6 = "2001:db8:2::2";
inline const std::string kInternetIp6 = "2001:db8:7::1";

class Lab : public LabNode {
public:
    Lab();
    ~Lab();

    const Netns& client() const { return *client_; }
    /// The node loses power, and comes back with the same links.
    void reboot();
    /// Another host on another NIC (`ifname`) of the node: 203.0.113.9, whose default route leads to the node.
    const Netns& add_other_host(const std::string& ifname = "eth1");
    const Netns& other_host() const { return *other_; }
    /// Gives client and node global IPv6 addresses and the node a default route; part of the baseline from then on.
    void add_ipv6();

private:
    void build_node();

    std::unique_ptr<Netns> client_;
    std::unique_ptr<Netns> other_;
};

std::string url(const std::string& ip, std::uint16_t port, const std::string& path = "/");

/// Fixture: one lab per test, cleaned up and proven clean after it.
class LabTest : public ::testing::Test {
protected:
    void SetUp() override;
    void TearDown() override;
    Lab& lab() { return *lab_; }
    void end_lab() { lab_.reset(); }

private:
    std::unique_ptr<Lab> lab_;
};

}  // namespace fastnet::test
