// Network namespaces of a test: unique names that carry the owner's pid, gone with the owner, swept after a crash.
// Invariant: nothing here touches a namespace, process or sysctl that a test did not make.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/harness/process.h"

namespace fastnet::test {

/// `fnt<pid>-<n>`: the prefix of every object that one lab makes.
std::string unique_prefix();
/// True when @p name was made by a test run that is no longer alive.
bool is_stale(const std::string& name);
/// Removes namespaces and root directories (with their mounts) whose owner is dead. Called once per run.
void sweep_stale();

class Netns {
public:
    /// Makes the namespace with `ip netns add` and brings lo up.
    explicit Netns(std::string name);
    Netns(Netns&& other) noexcept;
    Netns& operator=(Netns&& other) noexcept;
    Netns(const Netns&) = delete;
    Netns& operator=(const Netns&) = delete;
    ~Netns();

    const std::string& name() const { return name_; }
    std::string path() const { return "/run/netns/" + name_; }

    CommandResult run(const Argv& argv, RunOptions options = {}) const;
    CommandResult shell(const std::string& script, RunOptions options = {}) const;
    /// Several `ip` commands in one process, each without the leading word; adds a test failure when one fails.
    void ip(const std::vector<std::string>& commands) const;
    /// Stays until the returned object is gone. Only from the test's own thread.
    Background background(const Argv& argv, RunOptions options = {}) const;
    /// Calls @p body in this namespace, on a thread of its own (a network namespace belongs to a thread).
    void inside(const std::function<void()>& body) const;

    std::string sysctl(const std::string& key) const;  ///< `net.ipv4.ip_forward`; empty when absent
    void set_sysctl(const std::string& key, const std::string& value) const;
    std::string mac(const std::string& ifname) const;
    std::string link_field(const std::string& ifname, const std::string& field) const;  ///< of `ip -j -d link`; "" if absent
    bool has_link(const std::string& ifname) const;
    std::vector<std::string> links() const;  ///< names, sorted

    void remove() noexcept;  ///< early; the destructor then does nothing

private:
    std::string name_;
};

}  // namespace fastnet::test
