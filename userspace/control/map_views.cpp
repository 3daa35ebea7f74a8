#include "userspace/control/map_views.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "userspace/control/translate.h"

namespace fastnet {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr Port kDnsPort{53};

}  // namespace

std::uint64_t monotonic_now() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

std::string flow_state_name(std::uint8_t state) {
    switch (state) {
        case FNET_FLOW_NEW: return "new";
        case FNET_FLOW_REPLIED: return "replied";
        case FNET_FLOW_ESTABLISHED: return "established";
        case FNET_FLOW_CLOSED: return "closed";
        default: return "unknown";
    }
}

std::uint32_t flow_timeout(const fnet_flow_key& key, std::uint8_t state, bool fin, const FlowTimeouts& timeouts) {
    const bool half_open = state == FNET_FLOW_NEW || state == FNET_FLOW_REPLIED;
    switch (static_cast<Protocol>(key.protocol)) {
        case Protocol::kTcp:
            if (state == FNET_FLOW_CLOSED || fin) return timeouts.tcp_closing;
            return half_open ? timeouts.tcp_opening : timeouts.tcp_established;
        case Protocol::kUdp:
            if (port_from_abi(key.dst_port) == kDnsPort) return timeouts.dns;
            return half_open ? timeouts.udp_unreplied : timeouts.udp;
        case Protocol::kIcmp:
        case Protocol::kIcmpv6: return timeouts.icmp;
        default: return timeouts.other;
    }
}

std::vector<FlowView> flow_views(const std::vector<FlowEntry>& entries, const FlowTimeouts& timeouts, std::uint64_t now,
                                 const std::function<std::string(std::uint32_t)>& name_of) {
    struct Pair {
        const FlowEntry* original = nullptr;
        const FlowEntry* reply = nullptr;
    };
    std::unordered_map<std::uint32_t, Pair> pairs;
    for (const FlowEntry& entry : entries) {
        Pair& pair = pairs[entry.flow.slot];
        ((entry.flow.flags & FNET_FLOW_ORIGINAL) != 0 ? pair.original : pair.reply) = &entry;
    }
    std::vector<FlowView> views;
    for (const auto& [slot, pair] : pairs) {
        if (pair.original == nullptr) continue;  // created or removed at this moment
        const auto& [key, flow] = *pair.original;
        FlowView view;
        view.protocol = to_string(static_cast<Protocol>(key.protocol));
        view.state = flow_state_name(flow.state);
        view.original = {from_abi(key.src), port_from_abi(key.src_port), from_abi(key.dst), port_from_abi(key.dst_port)};
        view.translated = {from_abi(flow.new_src), port_from_abi(flow.new_src_port), from_abi(flow.new_dst),
                           port_from_abi(flow.new_dst_port)};
        view.endpoint = name_of(flow.endpoint_ifindex);
        view.packets = flow.packets;
        view.bytes = flow.bytes;
        std::uint64_t seen = flow.last_seen_ns;
        bool fin = (flow.flags & FNET_FLOW_FIN) != 0;
        if (pair.reply != nullptr) {
            view.packets += pair.reply->flow.packets;
            view.bytes += pair.reply->flow.bytes;
            fin = fin || (pair.reply->flow.flags & FNET_FLOW_FIN) != 0;
            seen = std::max(seen, static_cast<std::uint64_t>(pair.reply->flow.last_seen_ns));
        }
        const double idle = static_cast<double>(now - std::min(now, seen)) / static_cast<double>(kSecond);
        view.idle_seconds = idle;
        view.expires_seconds = std::max(0.0, flow_timeout(key, flow.state, fin, timeouts) - idle);
        views.push_back(std::move(view));
    }
    std::sort(views.begin(), views.end(), [](const FlowView& a, const FlowView& b) {
        return std::tie(a.endpoint, a.protocol, a.original.src, a.original.sport, a.original.dst, a.original.dport) <
               std::tie(b.endpoint, b.protocol, b.original.src, b.original.sport, b.original.dst, b.original.dport);
    });
    return views;
}

bool is_masqueraded_from(const fnet_flow_key& key, const fnet_flow& flow, const PortRange& ports) {
    constexpr std::uint16_t kFlags = FNET_FLOW_ORIGINAL | FNET_FLOW_MASQUERADE;
    const bool has_ports =
        key.protocol == static_cast<std::uint8_t>(Protocol::kTcp) || key.protocol == static_cast<std::uint8_t>(Protocol::kUdp);
    return has_ports && (flow.flags & kFlags) == kFlags && flow.state != FNET_FLOW_CLOSED &&
           ports.contains(port_from_abi(flow.new_src_port));
}

bool is_remote_container(const fnet_address& address, std::uint64_t now, const FlowTimeouts& timeouts) {
    if (address.tunnel == 0) return false;
    return !is_learned(address) || now - std::min<std::uint64_t>(now, address.seen_ns) <= timeouts.remote * kSecond;
}

std::vector<VerdictView> verdict_views(const std::vector<fnet_verdict_count>& counts) {
    struct Row {
        const char* name;
        std::string_view kind;
        const char* text;
    };
    static constexpr std::array<Row, FNET_VERDICT_COUNT> kRows{{
#define FNET_VERDICT_ROW(name, kind, text) Row{#name, #kind, text},
        FNET_VERDICTS(FNET_VERDICT_ROW)
#undef FNET_VERDICT_ROW
    }};
    std::vector<VerdictView> views;
    for (std::size_t i = 0; i < kRows.size(); ++i) {
        const fnet_verdict_count count = i < counts.size() ? counts[i] : fnet_verdict_count{};
        const std::string kind = kRows[i].kind == "FAST" ? "fast" : kRows[i].kind == "KERNEL" ? "kernel" : "drop";
        views.push_back({kRows[i].name, kind, kRows[i].text, count.packets, count.bytes});
    }
    return views;
}

}  // namespace fastnet
