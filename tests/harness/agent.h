// `fastnet agent` on a node of a test: started, watched by its own socket, ended or killed.
// Invariant: the process is gone when its owner is.
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/harness/lab_node.h"
#include "tests/harness/process.h"

namespace fastnet::test {

class Agent {
public:
    /// `fastnet agent ARGS` in the node; a configuration file of the machine is not read unless ARGS name one.
    explicit Agent(const LabNode& node, Argv args = {}, RunOptions options = {});

    /// Every part that is switched on says that it is ready. A test failure, with the agent's log, if that takes longer.
    void wait_ready(Millis bound = Millis{10'000});
    /// It answers on its socket, whatever it says.
    void wait_running(Millis bound = Millis{10'000});
    /// SIGTERM; must end within a second with status 0.
    void stop();
    /// SIGKILL.
    void kill();
    /// After stop() or kill(): the same command again.
    void restart();
    void reload() const { process_.signal(SIGHUP); }
    void signal(int number) const { process_.signal(number); }

    bool running() { return process_.running(); }
    pid_t pid() const { return process_.pid(); }
    /// The status document, null if there is no answer.
    nlohmann::json document() const;
    /// A row of its `parts`, null if absent.
    nlohmann::json part(const std::string& name) const;
    /// What it wrote to stderr up to now.
    std::string log() { return process_.output(); }
    /// Of GET @p path on its socket; empty if there is no answer.
    std::string get(const std::string& path) const;

private:
    const LabNode& node_;
    Argv args_;
    RunOptions options_;
    Background process_;
};

/// What @p request gets on a unix socket within @p bound, headers and all; empty: nothing. The end of the connection is the end of it.
std::string ask_unix_socket(const std::string& path, const std::string& request, Millis bound = Millis{3000});

}  // namespace fastnet::test
