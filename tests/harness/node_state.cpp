#include "tests/harness/node_state.h"

#include <linux/bpf.h>
#include <net/if.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <regex>

#include <array>
#include <nlohmann/json.hpp>
#include <sstream>

namespace fastnet::test {
namespace {

using nlohmann::json;

/// Changes without anybody's doing, or is a counter.
bool is_volatile_sysctl(const std::string& key) {
    return key == "net.netfilter.nf_conntrack_count" || key.find("stable_secret") != std::string::npos ||
           key.find(".route.flush") != std::string::npos || key == "net.unix.max_dgram_qlen";
}

bool is_noise(const std::string& address) {
    return address.rfind("fe80", 0) == 0 || address.rfind("ff00", 0) == 0;
}

json parse(const CommandResult& result) {
    json value = json::parse(result.out, nullptr, false);
    return value.is_array() ? value : json::array();
}

}  // namespace

void NodeState::add(const std::string& kind, const std::string& text) {
    std::string key = kind;
    for (int copy = 2; facts_.contains(key); ++copy) key = kind + " #" + std::to_string(copy);
    facts_[key] = text;
}

NodeState NodeState::read(const Netns& netns) {
    NodeState state;
    for (const json& link : parse(netns.run({"ip", "-j", "-d", "addr"}))) {
        const std::string name = link.value("ifname", "?");
        const std::string kind = link.contains("linkinfo") ? link["linkinfo"].value("info_kind", "") : "";
        state.add("link " + name, kind + " mtu " + std::to_string(link.value("mtu", 0)) + " master " + link.value("master", "-") + " mac " +
                                      link.value("address", "") + " promiscuity " + std::to_string(link.value("promiscuity", 0)) +
                                      (link.contains("xdp") ? " xdp" : ""));
        for (const json& address : link.value("addr_info", json::array())) {
            const std::string text = address.value("local", "");
            if (!is_noise(text)) state.add("address " + name + " " + text, std::to_string(address.value("prefixlen", 0)));
        }
    }
    for (const char* const family : {"-4", "-6"}) {
        for (json route : parse(netns.run({"ip", family, "-j", "route", "show", "table", "all"}))) {
            const std::string destination = route.value("dst", "");
            if (is_noise(destination) || route.value("type", "") == "multicast" || route.value("type", "") == "anycast") continue;
            route.erase("expires");
            state.add(
                std::string{"route "} + family + " " + destination + " " + route.value("dev", "-") + " " + route.value("table", "main"),
                route.dump());
        }
        for (const json& rule : parse(netns.run({"ip", family, "-j", "rule"}))) {
            state.add(std::string{"rule "} + family + " " + std::to_string(rule.value("priority", 0)), rule.dump());
        }
    }
    for (const json& qdisc : parse(netns.run({"tc", "-j", "qdisc"}))) {
        state.add("qdisc " + qdisc.value("dev", "?"), qdisc.value("kind", ""));
    }
    // Rules, not how often they matched.
    const std::regex counter{"counter packets [0-9]+ bytes [0-9]+"};
    state.add("nftables", std::regex_replace(netns.run({"nft", "list", "ruleset"}).out, counter, "counter"));
    std::istringstream sysctls{netns.run({"sysctl", "-a", "-e", "--pattern", "^net\\."}).out};
    for (std::string line; std::getline(sysctls, line);) {
        const auto separator = line.find(" = ");
        const std::string key = line.substr(0, separator);
        if (separator == std::string::npos || is_volatile_sysctl(key)) continue;
        state.facts_["sysctl " + key] = line.substr(separator + 3);
    }
    state.add("tcx eth0", std::to_string(tcx_program_count(netns, "eth0")));
    state.add("tcx lo", std::to_string(tcx_program_count(netns, "lo")));
    return state;
}

std::string NodeState::difference(const NodeState& later) const {
    std::ostringstream text;
    for (const auto& [key, before] : facts_) {
        const auto after = later.facts_.find(key);
        if (after == later.facts_.end()) {
            text << "gone: " << key << " (" << before << ")\n";
        } else if (after->second != before) {
            text << "changed: " << key << ": " << before << " -> " << after->second << "\n";
        }
    }
    for (const auto& [key, after] : later.facts_) {
        if (!facts_.contains(key)) text << "new: " << key << " (" << after << ")\n";
    }
    return text.str();
}

std::string NodeState::value(const std::string& key) const {
    const auto found = facts_.find(key);
    return found == facts_.end() ? std::string{} : found->second;
}

unsigned tcx_program_count(const Netns& netns, const std::string& ifname) {
    // linux/bpf.h of Debian 12 is older than tcx (6.6).
    constexpr std::array<std::uint32_t, 2> kTcxDirections{46, 47};  // BPF_TCX_INGRESS, BPF_TCX_EGRESS
    unsigned count = 0;
    netns.inside([&] {
        for (const std::uint32_t direction : kTcxDirections) {
            bpf_attr attr{};
            attr.query.target_fd = ::if_nametoindex(ifname.c_str());
            attr.query.attach_type = direction;
            if (::syscall(__NR_bpf, BPF_PROG_QUERY, &attr, sizeof attr) == 0) count += attr.query.prog_cnt;
        }
    });
    return count;
}

}  // namespace fastnet::test
