// One fastnet node of an end-to-end test: its namespace, its --root, its containers, and fastnet on it.
// Knows no topology: who makes the namespace's links says when they are the baseline. Invariant: a test ends with
// `fastnet cleanup` and the proof that nothing is left.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/harness/netns.h"
#include "tests/harness/node_state.h"
#include "tests/harness/root_dir.h"

namespace fastnet::test {

/// Exit statuses of the contract (design.md section 4).
enum ExitStatus : int { kDone = 0, kFailed = 1, kUsage = 2, kConflict = 3, kNotFound = 4 };

/// The fastnet under test: $FASTNET_BIN, else the path that CMake built.
std::string fastnet_binary();

class LabNode {
public:
    /// Namespace `<prefix>-<name>`; those of containers are called `<prefix>-<label>`.
    explicit LabNode(std::string prefix, const std::string& name = "node");
    LabNode(const LabNode&) = delete;
    LabNode& operator=(const LabNode&) = delete;
    ~LabNode();

    const Netns& node() const { return *node_; }
    const RootDir& root() const { return *root_; }

    /// `fastnet ARGS` inside the node.
    CommandResult fastnet(const Argv& args, RunOptions options = {}) const;
    Argv fastnet_argv(const Argv& args) const;
    /// Words in front of every fastnet command from now on (`nsenter -t PID -m --`), and its environment.
    void wrap_fastnet(Argv words) { wrapper_ = std::move(words); }
    void set_fastnet_env(std::vector<std::pair<std::string, std::string>> env) { env_ = std::move(env); }
    Background fastnet_background(const Argv& args, RunOptions options = {}) const;
    /// `fastnet ARGS --json`, which must succeed and print one JSON value.
    nlohmann::json json(Argv args) const;

    /// Makes a namespace for a container; its label is its name in the test.
    const Netns& container(const std::string& label);
    const Netns& at(const std::string& label) const { return *containers_.at(label); }
    void lose_container(const std::string& label);  ///< the namespace vanishes, fastnet is not told
    /// The argument for --netns.
    std::string netns_argument(const std::string& label) const { return containers_.at(label)->name(); }
    /// `attach --mode MODE --netns <label> --name <label> EXTRA --json`; the container is made if it is not there.
    nlohmann::json attach(const std::string& label, const Argv& extra = {}, const std::string& mode = "bridge");
    Argv attach_args(const std::string& label, const Argv& extra = {}, const std::string& mode = "bridge") const;
    /// The container's address without the prefix length, as attach printed it: IPv4, or IPv6 where there is no other.
    std::string ip(const std::string& label) const { return addresses_.at(label); }

    std::uint64_t verdict(const std::string& name) const;     ///< packets counted under it, 0 when absent
    nlohmann::json endpoint(const std::string& label) const;  ///< its row, null when absent
    std::size_t count(const std::string& what) const;         ///< rows of endpoints, ports, flows

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

protected:
    const std::string& prefix() const { return prefix_; }
    /// The node loses power: namespaces, links, sysctls and pins are gone, files stay, the boot id is another one. @p gone says
    /// when the old namespace is.
    void lose_power(const std::function<bool()>& gone);

private:
    void clean(const std::optional<std::string>& exception);

    std::string prefix_;
    std::unique_ptr<Netns> node_;
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

}  // namespace fastnet::test
