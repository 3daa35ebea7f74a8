#include "tests/bpf/datapath_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <ctime>

#include <algorithm>
#include <cstring>
#include <set>
#include <thread>

#include "datapath.skel.h"
#include "loader/attachment.h"
#include "loader/features.h"

namespace fastnet::test {
namespace {

constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46), kTcxEgress = static_cast<bpf_attach_type>(47);  // 6.6

Direction direction_of(const std::string& program) {
    return program == "tc_gateway_out" ? Direction::kEgress : Direction::kIngress;
}

std::uint64_t coarse_now_ns() {
    timespec now{};
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

void copy_mac(const MacAddress& mac, __u8* out) {
    std::copy(mac.bytes().begin(), mac.bytes().end(), out);
}

const Features& features() {
    static const Features found = [] {
        auto probed = probe_features();
        if (!probed) ADD_FAILURE() << probed.error().message;
        return probed ? *probed : Features{};
    }();
    return found;
}

/// For state of the test itself: a map that refuses makes every later expectation meaningless.
void require(bool condition, const std::string& what) {
    if (condition) return;
    std::fprintf(stderr, "BPF test: %s: %s\n", what.c_str(), std::strerror(errno));
    std::abort();
}

template <typename Value, typename Key>
std::optional<Value> look_up(int fd, const Key& key) {
    Value value{};
    if (bpf_map_lookup_elem(fd, &key, &value) != 0) return std::nullopt;
    return value;
}

template <typename Key, typename Value>
void store(int fd, const Key& key, const Value& value) {
    require(bpf_map_update_elem(fd, &key, &value, BPF_ANY) == 0, "write a map");
}

}  // namespace

std::string name_of(fnet_verdict verdict) {
    switch (verdict) {
#define FNET_VERDICT_NAME(name, kind, text) \
    case FNET_##name: return #name;
        FNET_VERDICTS(FNET_VERDICT_NAME)
#undef FNET_VERDICT_NAME
        case FNET_VERDICT_COUNT: break;
    }
    return "verdict " + std::to_string(static_cast<int>(verdict));
}

void PrintTo(const Outcome& outcome, std::ostream* stream) {
    *stream << "action " << outcome.action << ", counted";
    for (const auto& [verdict, packets] : outcome.verdicts) *stream << ' ' << name_of(verdict) << '=' << packets;
    *stream << (outcome.in == outcome.out ? ", bytes unchanged" : "") << "\n in:  " << describe(outcome.in)
            << "\n out: " << describe(outcome.out);
}

fnet_addr to_abi(const IpAddress& address) {
    fnet_addr abi{};
    std::copy(address.bytes().begin(), address.bytes().end(), abi.bytes);
    return abi;
}

fnet_filter port_filter(Protocol protocol, Family family) {
    const bool v4 = family == Family::kIpv4;
    if (protocol == Protocol::kTcp) return v4 ? FNET_FILTER_TCP4 : FNET_FILTER_TCP6;
    if (protocol == Protocol::kSctp) return v4 ? FNET_FILTER_SCTP4 : FNET_FILTER_SCTP6;
    return v4 ? FNET_FILTER_UDP4 : FNET_FILTER_UDP6;
}

fnet_flow_key key_of(Protocol protocol, const IpAddress& src, std::uint16_t src_port, const IpAddress& dst, std::uint16_t dst_port,
                     std::uint32_t ifindex) {
    fnet_flow_key key{};
    key.src = to_abi(src);
    key.dst = to_abi(dst);
    key.src_port = htons(src_port);
    key.dst_port = htons(dst_port);
    key.ifindex = ifindex;
    key.protocol = static_cast<__u8>(protocol);
    return key;
}

fnet_flow_key partner_key(const fnet_flow_key& key, const fnet_flow& flow) {
    fnet_flow_key partner{};
    partner.src = flow.new_dst;
    partner.dst = flow.new_src;
    partner.src_port = flow.new_dst_port;
    partner.dst_port = flow.new_src_port;
    partner.ifindex = flow.exit == FNET_EXIT_PEER ? flow.exit_ifindex : 0;
    partner.protocol = key.protocol;
    return partner;
}

::testing::AssertionResult left_alone(const Outcome& outcome, int action, fnet_verdict verdict) {
    if (outcome.action != action) return ::testing::AssertionFailure() << "the action is " << outcome.action;
    if (!outcome.counted_only(verdict)) return ::testing::AssertionFailure() << "another verdict was counted";
    if (outcome.in != outcome.out) return ::testing::AssertionFailure() << "the packet was changed";
    return ::testing::AssertionSuccess();
}

::testing::AssertionResult redirected(const Outcome& outcome, fnet_verdict verdict, const Packet& expected) {
    if (outcome.action != kRedirected) return ::testing::AssertionFailure() << "the action is " << outcome.action;
    if (!outcome.counted_only(verdict)) return ::testing::AssertionFailure() << "another verdict was counted";
    if (outcome.view().valid && !outcome.view().checksums_verify()) return ::testing::AssertionFailure() << "the checksums do not hold";
    if (outcome.out != expected.bytes()) return ::testing::AssertionFailure() << "the bytes differ";
    return ::testing::AssertionSuccess();
}

Packet error_about(const Bytes& dropped, fnet_verdict verdict, const Eth& eth, const IpAddress& from, std::uint32_t mtu) {
    const bool v4 = from.family() == Family::kIpv4;
    const std::size_t length = v4 ? std::size_t{dropped[16]} << 8U | dropped[17] : 40 + (std::size_t{dropped[18]} << 8U | dropped[19]);
    const std::size_t quoted = std::min<std::size_t>(length, v4 ? 576 - 28 : 1280 - 48);
    const IpAddress to = v4 ? IpAddress::from_wire(Family::kIpv4, &dropped[26]) : IpAddress::from_wire(Family::kIpv6, &dropped[22]);
    Icmp icmp{.type = std::uint8_t(v4 ? 3 : 1), .code = std::uint8_t(v4 ? 13 : 1), .rest = mtu};
    if (verdict == FNET_TTL_EXCEEDED) icmp = {.type = std::uint8_t(v4 ? 11 : 3), .code = 0};
    if (verdict == FNET_TOO_BIG) icmp = {.type = std::uint8_t(v4 ? 3 : 2), .code = std::uint8_t(v4 ? 4 : 0), .rest = mtu};
    const Payload quote{Bytes(dropped.begin() + 14, dropped.begin() + 14 + static_cast<std::ptrdiff_t>(quoted))};
    if (v4) return eth / Packet{Ipv4{.src = from, .dst = to, .tos = 0xc0, .id = 0}} / icmp / quote;
    return eth / Packet{Ipv6{.src = from, .dst = to, .flow_label = 0}} / icmp / quote;
}

OneCpu::OneCpu() {
    require(sched_getaffinity(0, sizeof before_, &before_) == 0, "read the CPUs of this thread");
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(sched_getcpu()), &one);
    require(sched_setaffinity(0, sizeof one, &one) == 0, "stay on one CPU");
}

OneCpu::~OneCpu() {
    (void)sched_setaffinity(0, sizeof before_, &before_);
}

DatapathTest::DatapathTest(Options options) : options_{options} {}

DatapathTest::~DatapathTest() {
    links_.clear();
    datapath__destroy(skeleton_);
}

void DatapathTest::SetUp() {
    if (const std::string missing = missing_capability(); !missing.empty()) GTEST_SKIP() << missing;
    lab_ = std::make_unique<NetLab>();
    container_ = make_container(1, "hcontainer", "br1", container_ip, container6, container_mac);
    neighbour_ = make_container(2, "hneighbour", "br1", neighbour_ip, neighbour6, neighbour_mac);
    stranger_ = make_container(3, "hstranger", "br2", stranger_ip, stranger6, stranger_mac);
    load();
    store(map_fd("devices"), lab().ifindex("up0"), fnet_device{FNET_DEVICE_UPLINK, 0});
    store(map_fd("devices"), lab().ifindex("br1"), fnet_device{FNET_DEVICE_BRIDGE, 1});
    store(map_fd("devices"), lab().ifindex("br2"), fnet_device{FNET_DEVICE_BRIDGE, 2});
    for (const Container* each : {&container_, &neighbour_, &stranger_}) {
        add_container(*each);
        for (const IpAddress& own : {each->ipv4, each->ipv6}) {
            fnet_subnet_key subnet{};
            subnet.prefix_len = own.family() == Family::kIpv4 ? 96 + 24 : 64;
            const IpAddress network = IpPrefix{own, static_cast<std::uint8_t>(own.family() == Family::kIpv4 ? 24 : 64)}.network().address();
            std::memcpy(subnet.addr, network.bytes().data(), sizeof subnet.addr);
            store(map_fd("subnets"), subnet, each->network);
            set_filter(own.family() == Family::kIpv4 ? FNET_FILTER_SUBNET4 : FNET_FILTER_SUBNET6,
                       static_cast<std::uint16_t>(own.wire()[0] << 8U | own.wire()[1]));
        }
    }
}

Container DatapathTest::make_container(std::uint32_t id, const std::string& device, const std::string& bridge, IpAddress ipv4,
                                       IpAddress ipv6, MacAddress mac) const {
    const bool first_network = bridge == "br1";
    return {.id = id,
            .network = first_network ? 1U : 2U,
            .ifindex = lab().ifindex(device),
            .bridge = lab().ifindex(bridge),
            .ipv4 = ipv4,
            .ipv6 = ipv6,
            .gateway4 = first_network ? gateway : other_gateway,
            .gateway6 = first_network ? gateway6 : address("fd00:20::1"),
            .mac = mac,
            .device = device};
}

void DatapathTest::load() {
    skeleton_ = datapath__open();
    require(skeleton_ != nullptr, "open the BPF object");
    fnet_config config{};
    config.netns_cookie = lab().netns_cookie();
    config.tcp_established_ns = options_.tcp_established_s * kSecond;
    config.tcp_opening_ns = options_.tcp_opening_s * kSecond;
    config.tcp_closing_ns = options_.tcp_closing_s * kSecond;
    config.udp_ns = options_.udp_s * kSecond;
    config.udp_unreplied_ns = options_.udp_unreplied_s * kSecond;
    config.dns_ns = options_.dns_s * kSecond;
    config.other_ns = options_.other_s * kSecond;
    config.icmp_ns = options_.icmp_s * kSecond;
    config.exit_ns = kSecond;
    config.max_flows = options_.max_flows;
    config.masquerade_first = options_.masquerade_first;
    config.masquerade_last = options_.masquerade_last;
    copy_mac(gateway_mac, config.gateway_mac);
    config.endpoint_mapping = options_.endpoint_mapping ? 1 : 0;
    config.csum_ipv6 = features().csum_ipv6 ? 1 : 0;
    config.decap_l3 = features().decap_l3 ? 1 : 0;
    config.remote_ns = 300 * kSecond;
    static_assert(sizeof skeleton_->rodata->cfg == sizeof config);
    std::memcpy(&skeleton_->rodata->cfg, &config, sizeof config);
    bpf_map__set_max_entries(skeleton_->maps.flows, 2 * options_.max_flows);
    if (options_.reserved)
        bpf_map__set_map_flags(skeleton_->maps.flows,
                               bpf_map__map_flags(skeleton_->maps.flows) & ~static_cast<std::uint32_t>(BPF_F_NO_PREALLOC));
    bpf_map__set_max_entries(skeleton_->maps.flow_slots, options_.max_flows);
    bpf_map__set_max_entries(skeleton_->maps.free_slots, options_.max_flows);
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton_->obj) {
        std::vector<char>& log = logs_[bpf_program__name(program)];
        log.resize(65536);
        bpf_program__set_log_level(program, 4);  // BPF_LOG_STATS
        bpf_program__set_log_buf(program, log.data(), log.size());
    }
    const int error = datapath__load(skeleton_);
    if (error != 0)
        for (const auto& [name, log] : logs_) std::fprintf(stderr, "%s:\n%s\n", name.c_str(), log.data());
    require(error == 0, "load the BPF programs");
}

void DatapathTest::add_container(const Container& added) {
    fnet_endpoint value{};
    value.id = added.id;
    value.network = added.network;
    value.ifindex = added.ifindex;
    value.bridge_ifindex = added.bridge;
    value.ipv4 = to_abi(added.ipv4);
    value.ipv6 = to_abi(added.ipv6);
    value.gateway4 = to_abi(added.gateway4);
    value.gateway6 = to_abi(added.gateway6);
    copy_mac(added.mac, value.mac);
    store(map_fd("endpoints"), added.ifindex, value);
    for (const IpAddress& own : {added.ipv4, added.ipv6}) {
        fnet_address owner{};
        owner.ifindex = added.ifindex;
        copy_mac(added.mac, owner.mac);
        store(map_fd("addresses"), fnet_address_key{to_abi(own), added.network, 0}, owner);
    }
}

int DatapathTest::map_fd(const char* name) const {
    return bpf_object__find_map_fd_by_name(skeleton_->obj, name);
}

int DatapathTest::program_fd(const char* name) const {
    return bpf_program__fd(bpf_object__find_program_by_name(skeleton_->obj, name));
}

Outcome DatapathTest::run(const char* program, const Bytes& frame, const SkbContext& skb) {
    Outcome outcome{.action = 0, .in = frame, .out = Bytes(frame.size() + 256), .verdicts = {}};
    const Verdicts before = verdicts();
    __sk_buff context{}, after{};
    context.ifindex = skb.ifindex;
    context.ingress_ifindex = skb.ingress_ifindex;
    context.mark = skb.mark;
    context.gso_size = skb.gso_size;
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = outcome.out.data(),
                .data_size_in = static_cast<__u32>(frame.size()), .data_size_out = static_cast<__u32>(outcome.out.size()),
                .ctx_in = &context, .ctx_out = &after, .ctx_size_in = sizeof context, .ctx_size_out = sizeof after);
    if (bpf_prog_test_run_opts(program_fd(program), &options) != 0) {
        ADD_FAILURE() << program << " cannot be run on " << describe(frame) << ": " << std::strerror(errno);
        return outcome;
    }
    outcome.action = static_cast<int>(options.retval);
    outcome.out.resize(options.data_size_out);
    outcome.mark = after.mark;
    for (const auto& [verdict, packets] : verdicts()) {
        const auto known = before.find(verdict);
        const std::uint64_t added = packets - (known == before.end() ? 0 : known->second);
        if (added != 0) outcome.verdicts[verdict] = added;
    }
    return outcome;
}

bool DatapathTest::run_quickly(const char* program, const Bytes& frame, std::uint32_t ifindex, Outcome& outcome) {
    outcome.out.resize(frame.size() + 256);
    __sk_buff context{};
    context.ifindex = ifindex;
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = outcome.out.data(),
                .data_size_in = static_cast<__u32>(frame.size()), .data_size_out = static_cast<__u32>(outcome.out.size()),
                .ctx_in = &context, .ctx_size_in = sizeof context);
    if (bpf_prog_test_run_opts(program_fd(program), &options) != 0) return false;
    outcome.action = static_cast<int>(options.retval);
    outcome.out.resize(options.data_size_out);
    return true;
}

int DatapathTest::run_maintenance(const char* program) {
    const Bytes frame(64);
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = static_cast<__u32>(frame.size()));
    require(bpf_prog_test_run_opts(program_fd(program), &options) == 0, program);
    return static_cast<int>(options.retval);
}

void DatapathTest::attach(const char* program, const std::string& device) {
    const auto ifindex = static_cast<int>(lab().ifindex(device));
    const Direction direction = direction_of(program);
    UniqueFd link;
    if (features().tcx) {
        link.reset(bpf_link_create(program_fd(program), ifindex, direction == Direction::kEgress ? kTcxEgress : kTcxIngress, nullptr));
        require(static_cast<bool>(link), std::string{"attach by tcx: "} + program);
    } else {
        require(static_cast<bool>(attach_clsact(program_fd(program), ifindex, direction)), std::string{"attach to clsact: "} + program);
    }
    links_[program + (' ' + device)] = std::move(link);
}

void DatapathTest::detach(const char* program, const std::string& device) {
    const auto link = links_.find(program + (' ' + device));
    require(link != links_.end(), "detach what was not attached");
    if (link->second)
        require(bpf_link_detach(link->second.get()) == 0, "detach");
    else
        require(static_cast<bool>(detach_clsact(static_cast<int>(lab().ifindex(device)), direction_of(program))), "detach");
    links_.erase(link);
}

void DatapathTest::attach_to_cgroup(const char* program, int cgroup_fd, int attach_type) {
    UniqueFd link{bpf_link_create(program_fd(program), cgroup_fd, static_cast<bpf_attach_type>(attach_type), nullptr)};
    require(static_cast<bool>(link), std::string{"attach "} + program + " to a cgroup");
    links_[program] = std::move(link);
}

void DatapathTest::publish(const Publication& publication, const Container& target) {
    fnet_service_key key{};
    unsigned port_bits = 16;
    for (unsigned width = publication.ports; width > 1; width /= 2) --port_bits;
    key.prefix_len = FNET_SERVICE_PREFIX_BASE + port_bits;
    std::memcpy(key.addr, publication.address.bytes().data(), sizeof key.addr);
    key.protocol = static_cast<__u8>(publication.protocol);
    key.port = htons(publication.port);
    fnet_service value{};
    value.container_addr = to_abi(publication.address.family() == Family::kIpv4 ? target.ipv4 : target.ipv6);
    value.id = publication.id;
    value.network = target.network;
    value.endpoint_ifindex = target.ifindex;
    value.host_first = publication.port;
    value.container_first = publication.container_port;
    value.flags = publication.flags;
    copy_mac(target.mac, value.container_mac);
    store(map_fd("services"), key, value);
    store(map_fd("service_stats"), publication.id, fnet_service_stats{});
    const fnet_filter region = port_filter(publication.protocol, publication.address.family());
    for (unsigned i = 0; i < publication.ports; ++i) set_filter(region, static_cast<std::uint16_t>(publication.port + i));
}

void DatapathTest::set_source(std::uint32_t service, const char* prefix, fnet_source_rule rule) {
    const IpPrefix parsed = IpPrefix::parse(prefix).value();
    fnet_source_key key{};
    key.prefix_len = FNET_SOURCE_PREFIX_BASE + (parsed.family() == Family::kIpv4 ? 96U : 0U) + parsed.length();
    key.service = service;
    std::memcpy(key.addr, parsed.address().bytes().data(), sizeof key.addr);
    store(map_fd("sources"), key, static_cast<std::uint32_t>(rule));
}

void DatapathTest::set_filter(fnet_filter region, std::uint16_t bit, bool on) {
    const std::uint32_t word = static_cast<std::uint32_t>(region) * FNET_FILTER_WORDS + bit / 64U;
    const std::uint64_t mask = std::uint64_t{1} << (bit % 64U);
    const std::uint64_t before = look_up<std::uint64_t>(map_fd("filters"), word).value_or(0);
    store(map_fd("filters"), word, on ? before | mask : before & ~mask);
}

bool DatapathTest::forget_container(const Container& gone) {
    const bool was_there = bpf_map_delete_elem(map_fd("endpoints"), &gone.ifindex) == 0;
    user_space_changed();
    return was_there;
}

void DatapathTest::user_space_changed() {
    fnet_validity value = look_up<fnet_validity>(map_fd("validity"), std::uint32_t{0}).value();
    value.generation += FNET_USER_GENERATION;
    store(map_fd("validity"), std::uint32_t{0}, value);
}

void DatapathTest::set_flags(const Container& changed, std::uint64_t flags) {
    fnet_endpoint value = stored_endpoint(changed);
    value.flags = flags;
    store(map_fd("endpoints"), changed.ifindex, value);
    user_space_changed();
}

Verdicts DatapathTest::verdicts() const {
    static const auto cpus = static_cast<std::size_t>(libbpf_num_possible_cpus());
    std::vector<fnet_verdict_count> values(cpus);
    Verdicts sums;
    for (std::uint32_t i = 0; i < FNET_VERDICT_COUNT; ++i) {
        require(bpf_map_lookup_elem(map_fd("verdicts"), &i, values.data()) == 0, "read verdicts");
        std::uint64_t packets = 0;
        for (const auto& value : values) packets += value.packets;
        if (packets != 0) sums[static_cast<fnet_verdict>(i)] = packets;
    }
    return sums;
}

std::optional<fnet_flow> DatapathTest::flow(const fnet_flow_key& key) const {
    return look_up<fnet_flow>(map_fd("flows"), key);
}

std::optional<fnet_flow> DatapathTest::partner_of(const fnet_flow_key& key) const {
    const auto found = flow(key);
    return found ? flow(partner_key(key, *found)) : std::nullopt;
}

std::vector<std::pair<fnet_flow_key, fnet_flow>> DatapathTest::flows() const {
    std::vector<std::pair<fnet_flow_key, fnet_flow>> found;
    fnet_flow_key key{};
    for (int error = bpf_map_get_next_key(map_fd("flows"), nullptr, &key); error == 0;
         error = bpf_map_get_next_key(map_fd("flows"), &key, &key))
        if (const auto value = flow(key)) found.emplace_back(key, *value);
    return found;
}

std::vector<std::pair<fnet_mapping_key, fnet_mapping>> DatapathTest::mappings() const {
    std::vector<std::pair<fnet_mapping_key, fnet_mapping>> found;
    fnet_mapping_key key{};
    for (int error = bpf_map_get_next_key(map_fd("mappings"), nullptr, &key); error == 0;
         error = bpf_map_get_next_key(map_fd("mappings"), &key, &key))
        if (const auto value = look_up<fnet_mapping>(map_fd("mappings"), key)) found.emplace_back(key, *value);
    return found;
}

fnet_flow_class DatapathTest::class_of(const fnet_flow_key& key) const {
    const auto found = flow(key);
    if (!found) return FNET_CLASS_NONE;
    return static_cast<fnet_flow_class>(look_up<fnet_flow_slot>(map_fd("flow_slots"), found->slot).value_or(fnet_flow_slot{}).flow_class);
}

fnet_flow_table DatapathTest::table() const {
    return look_up<fnet_flow_table>(map_fd("flow_table"), std::uint32_t{0}).value();
}

fnet_endpoint DatapathTest::stored_endpoint(const Container& of) const {
    return look_up<fnet_endpoint>(map_fd("endpoints"), of.ifindex).value_or(fnet_endpoint{});
}

fnet_endpoint DatapathTest::endpoint(const Container& of) const {
    fnet_endpoint value = stored_endpoint(of);
    for (const fnet_way& way : ways()) {
        if (way.endpoint != value.id) continue;
        value.fast_packets += way.packets;
        value.fast_bytes += way.bytes;
    }
    return value;
}

std::vector<fnet_way> DatapathTest::ways() const {
    std::vector<fnet_way> values(static_cast<std::size_t>(libbpf_num_possible_cpus())), used;
    for (std::uint32_t i = 0; i < FNET_WAYS; ++i) {
        require(bpf_map_lookup_elem(map_fd("ways"), &i, values.data()) == 0, "read ways");
        std::copy_if(values.begin(), values.end(), std::back_inserter(used), [](const fnet_way& way) { return way.endpoint != 0; });
    }
    return used;
}

fnet_service_stats DatapathTest::service_stats(std::uint32_t service) const {
    return look_up<fnet_service_stats>(map_fd("service_stats"), service).value_or(fnet_service_stats{});
}

void DatapathTest::age(const fnet_flow_key& key, std::uint64_t seconds) {
    const auto original = flow(key);
    ASSERT_TRUE(original.has_value());
    const auto other = partner_key(key, *original);
    for (const auto& each : {key, other}) {
        auto value = flow(each);
        ASSERT_TRUE(value.has_value());
        ASSERT_GT(coarse_now_ns(), seconds * kSecond) << "the machine is not up for long enough";
        value->last_seen_ns = coarse_now_ns() - seconds * kSecond;
        store(map_fd("flows"), each, *value);
    }
}

void DatapathTest::forget_exit(const fnet_flow_key& key) {
    auto value = flow(key);
    ASSERT_TRUE(value.has_value());
    value->exit_checked_ns = 0;
    store(map_fd("flows"), key, *value);
}

bool DatapathTest::collector_walks() {
    if (table().ticks == 0 && run_maintenance("collector_arm") != 0) return false;
    // The tick that runs now may have begun before this call; each later one takes up to 1024 slots.
    const std::uint64_t enough = table().ticks + 2 + table().unused / 1024U;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{20};
    while (table().ticks < enough && std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds{10});
    return table().ticks >= enough;
}

std::uint32_t DatapathTest::purge(std::uint32_t endpoint_ifindex, std::uint32_t service) {
    struct Request {  // struct fnet_purge of bpf/lib/maps.h
        std::uint32_t endpoint_ifindex, service, cursor, removed;
    };
    store(map_fd("purge"), std::uint32_t{0}, Request{endpoint_ifindex, service, 0, 0});
    while (run_maintenance("flow_purge") == 1) {
    }
    return look_up<Request>(map_fd("purge"), std::uint32_t{0}).value().removed;
}

::testing::AssertionResult DatapathTest::slots_are_accounted_for() {
    const auto wrong = [] { return ::testing::AssertionFailure(); };
    const fnet_flow_table state = table();
    const std::uint32_t used = std::min(state.unused, options_.max_flows);
    std::vector<std::uint32_t> free;
    std::uint32_t popped = 0;
    while (bpf_map_lookup_and_delete_elem(map_fd("free_slots"), nullptr, &popped) == 0) free.push_back(popped);
    std::for_each(free.rbegin(), free.rend(), [&](std::uint32_t slot) {
        require(bpf_map_update_elem(map_fd("free_slots"), nullptr, &slot, BPF_ANY) == 0, "put a free slot back");
    });
    const std::set<std::uint32_t> distinct(free.begin(), free.end());
    if (distinct.size() != free.size()) return wrong() << free.size() - distinct.size() << " slots are in the free list twice";
    if (!distinct.empty() && *distinct.rbegin() >= used) return wrong() << "a slot that was never used is in the free list";

    std::array<std::int64_t, FNET_CLASS_COUNT> count{};
    std::size_t living = 0;
    for (std::uint32_t index = 0; index < used; ++index) {
        const auto slot = look_up<fnet_flow_slot>(map_fd("flow_slots"), index).value();
        const bool is_free = distinct.count(index) != 0;
        if ((slot.flow_class == FNET_CLASS_NONE) != is_free)
            return wrong() << "slot " << index << " is of class " << slot.flow_class << " and " << (is_free ? "" : "not ")
                           << "in the free list";
        if (is_free) continue;
        ++living;
        ++count.at(slot.flow_class);
        const auto original = flow(slot.key);
        if (!original || original->slot != index) return wrong() << "slot " << index << " has no entry of its own";
        const auto reply = flow(partner_key(slot.key, *original));
        if (!reply || reply->slot != index) return wrong() << "slot " << index << " has half a flow";
    }
    if (flows().size() != 2 * living) return wrong() << flows().size() << " entries for " << living << " flows";
    for (std::size_t i = FNET_CLASS_CLOSED; i < FNET_CLASS_COUNT; ++i)
        if (state.count[i] != count[i]) return wrong() << "count[" << i << "] is " << state.count[i] << ", there are " << count[i];
    return mappings_are_accounted_for();
}

::testing::AssertionResult DatapathTest::mappings_are_accounted_for() const {
    const auto wrong = [] { return ::testing::AssertionFailure(); };
    const auto bytes_of = [](const fnet_mapping_key& key) { return std::string(reinterpret_cast<const char*>(&key), sizeof key); };
    std::map<std::string, fnet_mapping> expected;  // what the flows say
    for (const auto& [tuple, flow] : flows()) {
        if ((flow.flags & FNET_FLOW_MAPPED) == 0) continue;
        fnet_mapping_key key{};
        key.inside = tuple.src;
        key.outside = flow.new_src;
        key.ifindex = tuple.ifindex;
        key.inside_port = tuple.src_port;
        key.protocol = tuple.protocol;
        fnet_mapping& mapping = expected[bytes_of(key)];
        if (mapping.flows++ != 0 && mapping.outside_port != flow.new_src_port) return wrong() << "two flows of one mapping have two ports";
        mapping.outside_port = flow.new_src_port;
        fnet_mapping_key claim{};
        claim.outside = flow.new_src;
        claim.outside_port = flow.new_src_port;
        claim.protocol = tuple.protocol;
        expected[bytes_of(claim)] = {};
    }
    const auto found = mappings();
    if (found.size() != expected.size()) return wrong() << found.size() << " entries of mappings, the flows need " << expected.size();
    for (const auto& [key, mapping] : found) {
        const auto want = expected.find(bytes_of(key));
        if (want == expected.end()) return wrong() << "a mapping without a flow";
        if (want->second.flows != mapping.flows || want->second.outside_port != mapping.outside_port)
            return wrong() << "a mapping counts " << mapping.flows << " flows, there are " << want->second.flows;
    }
    return ::testing::AssertionSuccess();
}

}  // namespace fastnet::test
