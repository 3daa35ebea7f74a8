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

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/harness/capture.h"
#include "tests/harness/netns.h"
#include "tests/harness/node_state.h"
#include "tests/harness/root_dir.h"
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

/// Exit statuses of the contract (design.md section 4).
enum ExitStatus : int { kDone = 0, kFailed = 1, kUsage = 2, kConflict = 3, kNotFound = 4 };

/// The fastnet under test: $FASTNET_BIN, else the path that CMake built.
std::string fastnet_binary();

class Lab {
public:
    Lab();
    Lab(const Lab&) = delete;
    Lab& operator=(const Lab&) = delete;
    ~Lab();

    const Netns& client() const { return *client_; }
    const Netns& node() const { return *node_; }
    const RootDir& root() const { return *root_; }

    /// `fastnet ARGS` inside the node.
    CommandResult fastnet(const Argv& args, RunOptions options = {}) const;
    Argv fastnet_argv(const Argv& args) const;
    /// Words in front of every fastnet command from now on (`nsenter -t PID -m --`), and its environment.
    void wrap_fastnet(Argv words) { wrapper_ = std::move(words); }
    void set_fastnet_env(std::vector<std::pair<std::string, std::string>> env) { env_ = std::move(env); }
    /// The node loses power: namespaces, links, sysctls and pins are gone, files stay, the boot id is another one.
    void reboot();
    Background fastnet_background(const Argv& args, RunOptions options = {}) const;
    /// `fastnet ARGS --json`, which must succeed and print one JSON value.
    nlohmann::json json(Argv args) const;

    /// Makes a namespace for a container; its label is its name in the test.
    const Netns& container(const std::string& label);
    const Netns& at(const std::string& label) const { return *containers_.at(label); }
    void lose_container(const std::string& label);  ///< the namespace vanishes, fastnet is not told
    /// The argument for --netns.
    std::string netns_argument(const std::string& label) const { return containers_.at(label)->name(); }
    /// `attach --mode bridge --netns <label> --name <label> EXTRA --json`; the container is made if it is not there.
    nlohmann::json attach(const std::string& label, const Argv& extra = {});
    Argv attach_args(const std::string& label, const Argv& extra = {}) const;
    /// The container's address without the prefix length, as attach printed it: IPv4, or IPv6 where there is no other.
    std::string ip(const std::string& label) const { return addresses_.at(label); }

    std::uint64_t verdict(const std::string& name) const;     ///< packets counted under it, 0 when absent
    nlohmann::json endpoint(const std::string& label) const;  ///< its row, null when absent
    std::size_t count(const std::string& what) const;         ///< rows of endpoints, ports, flows

    /// Another host on another NIC (`ifname`) of the node: 203.0.113.9, whose default route leads to the node.
    const Netns& add_other_host(const std::string& ifname = "eth1");
    const Netns& other_host() const { return *other_; }
    /// Gives client and node global IPv6 addresses and the node a default route; part of the baseline from then on.
    void add_ipv6();
    /// Takes the present state as the one that cleanup has to restore (after a test changed the node by hand).
    void rebaseline();
    const NodeState& baseline() const { return baseline_; }
    /// `fastnet cleanup`, then proves that nothing is left. Done once; the fixture calls it after every test.
    void cleanup_and_verify();
    /// The same, but differences of the node's state that contain @p exception are the test's own business.
    void cleanup_and_verify_except(const std::string& exception);
    void expect_nothing_left(const PinnedObjects& before, const std::optional<std::string>& exception = std::nullopt);
    std::vector<std::string> processes() const;  ///< alive, with this lab's root in their command line
    bool cleaned() const { return cleaned_; }
    void skip_cleanup() { cleaned_ = true; }

private:
    void build_node();
    void clean(const std::optional<std::string>& exception);

    std::string prefix_;
    std::unique_ptr<Netns> client_;
    std::unique_ptr<Netns> node_;
    std::unique_ptr<Netns> other_;
    std::unique_ptr<RootDir> root_;
    std::map<std::string, std::unique_ptr<Netns>> containers_;
    std::map<std::string, std::string> addresses_;
    NodeState baseline_;
    Argv wrapper_;
    std::vector<std::pair<std::string, std::string>> env_;
    bool cleaned_ = false;
};

/// A failed command: its status, the contract's error form, and @p mentions somewhere in the text.
void expect_error(const CommandResult& result, int status, const std::vector<std::string>& mentions = {});
/// Any of several statuses, where the contract leaves it open.
void expect_error_in(const CommandResult& result, const std::vector<int>& statuses, const std::vector<std::string>& mentions = {});
std::string without_prefix_length(const std::string& address);
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
