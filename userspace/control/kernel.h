// The hands: one function per thing that fastnet makes or removes in the kernel. No decisions here; each call is
// harmless when repeated. Crash points lie between the steps.
#pragma once

#include <functional>
#include <vector>

#include "loader/base/result.h"
#include "loader/datapath.h"
#include "userspace/control/node.h"
#include "userspace/control/plan.h"
#include "userspace/host/netlink.h"
#include "userspace/host/netns.h"

namespace fastnet {

/// Takes back what was done, last step first, unless keep() is called.
class Undo {
public:
    Undo() = default;
    Undo(const Undo&) = delete;
    Undo& operator=(const Undo&) = delete;
    ~Undo() {
        for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) (*step)();
    }
    void add(std::function<void()> step) { steps_.push_back(std::move(step)); }
    void keep() { steps_.clear(); }

private:
    std::vector<std::function<void()>> steps_;
};

/// Link group of host-side veths, so that cleanup can remove a thousand of them at once.
constexpr std::uint32_t kVethGroup = 0x666e;

Result<ActualState> read_actual(Netlink& netlink, const Datapath& datapath);
/// Carries out @p plan, all of it even if a step fails; reports what failed.
Status apply_plan(Node& node, const Plan& plan);

/// veth, map entries, programs, addresses, routes and ports of @p endpoint, which gets its ifindex and MTU. Undone on
/// failure. Its namespace is @p netns.
Status build_endpoint(Node& node, Endpoint& endpoint, const Network& network, const std::vector<PublishedPort>& ports, const Netns& netns);
/// The reverse, however much of it exists. The database is not touched.
Status tear_down_endpoint(Node& node, const Endpoint& endpoint, const std::vector<PublishedPort>& ports);

/// Services of published ports: last in, first out.
Status install_ports(Node& node, const Endpoint& endpoint, const std::vector<PublishedPort>& ports);
/// The records are still in the database, so that ports which others use as well stay.
Status withdraw_ports(Node& node, const std::vector<PublishedPort>& ports, bool purge_flows);

}  // namespace fastnet
