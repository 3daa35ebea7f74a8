// What a node's namespace looks like from outside: the proof that cleanup left nothing behind.
// Holds only what is stable by itself (no counters, no neighbours, no link-local noise).
#pragma once

#include <map>
#include <string>

#include "tests/harness/netns.h"

namespace fastnet::test {

class NodeState {
public:
    static NodeState read(const Netns& netns);

    /// One line per difference, empty when there is none. @p later is the newer one.
    std::string difference(const NodeState& later) const;
    std::string value(const std::string& key) const;

private:
    void add(const std::string& kind, const std::string& text);

    std::map<std::string, std::string> facts_;  ///< `link eth0` -> its kind, state and master; `sysctl net.x` -> value; ...
};

/// Programs attached by tcx to @p ifname, both directions.
unsigned tcx_program_count(const Netns& netns, const std::string& ifname);

}  // namespace fastnet::test
