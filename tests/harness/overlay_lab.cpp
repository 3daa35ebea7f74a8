#include "tests/harness/overlay_lab.h"

#include <filesystem>

#include "tests/harness/privileges.h"
#include "tests/harness/wait.h"

namespace fastnet::test {
namespace {

std::string subnet_of(std::size_t number) {
    return "10.77." + std::to_string(number) + ".";
}
std::string subnet6_of(std::size_t number) {
    return "2001:db8:77:" + std::to_string(number) + "::";
}

}  // namespace

OverlayLab::OverlayLab() : prefix_{unique_prefix()} {
    router_ = std::make_unique<Netns>(prefix_ + "-router");
    router_->set_sysctl("net.ipv4.ip_forward", "1");
    router_->set_sysctl("net.ipv6.conf.all.forwarding", "1");
    router_->set_sysctl("net.ipv6.conf.all.keep_addr_on_down", "1");  // set_link()
    router_->ip({"addr add " + kInternetIp + "/32 dev lo", "addr add " + kInternetIp6 + "/128 dev lo nodad"});
    for (std::size_t number = 1; number <= kOverlayNodes; ++number) {
        auto& node = nodes_[number - 1];
        node = std::make_unique<LabNode>(prefix_ + "-" + std::to_string(number));
        const std::string name = port(number);
        router_->ip({"link add " + name + " type veth peer name eth0 netns " + node->node().name(),
                     "addr add " + subnet_of(number) + "1/24 dev " + name, "addr add " + subnet6_of(number) + "1/64 dev " + name + " nodad",
                     "link set " + name + " up"});
        node->node().ip({"addr add " + ip(number) + "/24 dev eth0", "addr add " + ip6(number) + "/64 dev eth0 nodad", "link set eth0 up",
                         "route add default via " + subnet_of(number) + "1", "route add ::/0 via " + subnet6_of(number) + "1"});
    }
    for (std::size_t number = 1; number <= kOverlayNodes; ++number) {
        LabNode& one = node(number);
        // The kernel adds the local routes of an address a moment later.
        EXPECT_TRUE(wait_until([&] {
            const std::string routes = one.node().run({"ip", "-6", "route", "show", "table", "local"}).out;
            return routes.find("local " + ip6(number)) != std::string::npos && routes.find("local fe80") != std::string::npos;
        }));
        one.rebaseline();
    }
}

OverlayLab::~OverlayLab() = default;

void OverlayLab::set_mtu(std::size_t number, unsigned mtu) {
    set_router_mtu(number, mtu);
    node(number).node().ip({"link set eth0 mtu " + std::to_string(mtu)});
    node(number).rebaseline();
}

void OverlayLab::set_router_mtu(std::size_t number, unsigned mtu) {
    router_->ip({"link set " + port(number) + " mtu " + std::to_string(mtu)});
}

void OverlayLab::set_link(std::size_t number, bool up) {
    router_->ip({"link set " + port(number) + (up ? " up" : " down")});
}

nlohmann::json OverlayLab::create(std::size_t number, const OverlayNetwork& network, const Argv& extra) {
    const std::string digit = std::to_string(number);
    Argv args{"network",
              "create",
              network.name,
              "--driver",
              "overlay",
              "--vni",
              std::to_string(network.vni),
              "--subnet",
              network.net4 + ".0.0/16",
              "--ip-range",
              network.net4 + "." + digit + ".0/24",
              "--subnet",
              network.net6 + "::/64",
              "--ip-range",
              network.net6 + "::" + digit + ":0:0/96"};
    args.insert(args.end(), extra.begin(), extra.end());
    return node(number).json(args);
}

void OverlayLab::add_peer(std::size_t number, std::size_t other, const Argv& extra) {
    Argv args{"peer", "add", ip(other)};
    args.insert(args.end(), extra.begin(), extra.end());
    const CommandResult result = node(number).fastnet(args);
    EXPECT_TRUE(result.ok()) << "node " << number << ": peer add " << ip(other) << "\n" << result;
}

void OverlayLab::connect(const OverlayNetwork& network, const Argv& extra) {
    for (std::size_t number = 1; number <= kOverlayNodes; ++number) create(number, network, extra);
    for (std::size_t number = 1; number <= kOverlayNodes; ++number)
        for (std::size_t other = 1; other <= kOverlayNodes; ++other)
            if (other != number) add_peer(number, other, {"--network", network.name});
}

nlohmann::json OverlayLab::attach(std::size_t number, const std::string& label, const Argv& extra, const OverlayNetwork& network) {
    Argv args{"--network", network.name};
    args.insert(args.end(), extra.begin(), extra.end());
    return node(number).attach(label, args, "overlay");
}

std::uint64_t OverlayLab::verdict_of_all(const std::string& name) const {
    std::uint64_t count = 0;
    for (const auto& node : nodes_) count += node->verdict(name);
    return count;
}

void OverlayLab::cleanup_and_verify() {
    for (const auto& node : nodes_)
        if (!node->cleaned()) node->cleanup_and_verify();
}

void OverlayLabTest::SetUp() {
    FASTNET_SKIP_WITHOUT_PRIVILEGES();
    ASSERT_TRUE(std::filesystem::exists(fastnet_binary())) << "no fastnet at " << fastnet_binary() << " (build it, or set FASTNET_BIN)";
    lab_ = std::make_unique<OverlayLab>();
}

void OverlayLabTest::TearDown() {
    if (lab_) lab_->cleanup_and_verify();
    lab_.reset();
}

}  // namespace fastnet::test
