// The node's deny list as the packet path reads it, filled in by the loader's own code.
#include <bpf/bpf.h>

#include <cerrno>
#include <random>

#include "tests/bpf/datapath_fixture.h"
#include "tests/bpf/shared_maps.h"
#include "tests/bpf/variants.h"

namespace fastnet::test {
namespace {

class Deny : public DatapathTest {
protected:
    void SetUp() override {
        DatapathTest::SetUp();
        if (IsSkipped()) return;
        open_deny_list(list_, [this](const char* name) { return map_fd(name); });
    }
    void deny(const std::vector<std::string>& texts) {
        std::vector<IpPrefix> prefixes;
        for (const std::string& text : texts) prefixes.push_back(*IpPrefix::parse_interface(text));
        const Status replaced = list_->replace(prefixes, ++revision_);
        ASSERT_TRUE(replaced) << replaced.error().message;
    }
    bool denied_at_uplink(const IpAddress& source) {
        const IpAddress host = source.family() == Family::kIpv4 ? host_ip : host6;
        Outcome outcome{.action = 0, .in = (from_outside / ip(source, host) / udp(4000, 9)).bytes(), .out = {}, .verdicts = {}};
        EXPECT_TRUE(run_quickly("tc_uplink", outcome.in, lab().ifindex("up0"), outcome));
        return outcome.action == kDropped;
    }
    std::optional<DenyList> list_;
    std::uint64_t revision_ = 0;
};

TEST_F(Deny, AListedSourceIsDroppedAndItsNeighbourIsNot) {
    deny({"198.51.100.7", "2001:db8:bad::/48"});
    EXPECT_THAT(at_uplink(from_outside / ip(address("198.51.100.7"), host_ip) / tcp(40000, 22)), IsDropped(FNET_SOURCE_DENY_LISTED));
    EXPECT_THAT(at_uplink(from_outside / ip(address("198.51.100.8"), host_ip) / tcp(40000, 22)), GoesToTheKernel(FNET_HOST_TRAFFIC));
    EXPECT_THAT(at_uplink(from_outside / ip(address("2001:db8:bad::1"), host6) / tcp(40000, 22)), IsDropped(FNET_SOURCE_DENY_LISTED));
    EXPECT_THAT(at_uplink(from_outside / ip(address("2001:db8:bae::1"), host6) / tcp(40000, 22)), GoesToTheKernel(FNET_HOST_TRAFFIC));
}

TEST_F(Deny, EndsAFlowThatIsOpenAndGivesItBack) {
    publish({.address = host_ip});
    const Packet call = from_outside / ip(client, host_ip) / tcp(40000, 8080);
    ASSERT_EQ(at_uplink(call).action, kRedirected);
    deny({client.to_string()});
    EXPECT_THAT(at_uplink(call), IsDropped(FNET_SOURCE_DENY_LISTED));
    deny({});
    EXPECT_EQ(at_uplink(call).action, kRedirected);
}

TEST_F(Deny, ConcernsWhateverTheSourceSendsAndToWhomever) {
    deny({"198.51.100.0/24"});
    const IpAddress source = address("198.51.100.9");
    const Eth to_another{.src = router_mac, .dst = neighbour_mac};
    for (const Packet& packet : {
             from_outside / ip(source, host_ip) / echo(kEchoRequest, 7),
             from_outside / Packet{Ipv4{.src = source, .dst = host_ip, .more_fragments = true}} / payload(16),
             from_outside / Packet{Ipv4{.src = source, .dst = host_ip, .options = Bytes(8, 1)}} / tcp(1, 2),
             from_outside / Packet{Ipv4{.src = source, .dst = host_ip, .protocol = kProtocolExperimental}},
             to_another / ip(source, client) / udp(1, 2),
         })
        EXPECT_THAT(at_uplink(packet), IsDropped(FNET_SOURCE_DENY_LISTED)) << describe(packet.bytes());
}

TEST_F(Deny, IsLeftToXdpWhereThatAsksTheList) {
    deny({"198.51.100.0/24"});
    const Packet packet = from_outside / ip(address("198.51.100.9"), host_ip) / tcp(40000, 22);
    list_->set_asked_by_xdp(lab().ifindex("up0"), true);
    EXPECT_THAT(at_uplink(packet), GoesToTheKernel(FNET_HOST_TRAFFIC));
    list_->set_asked_by_xdp(lab().ifindex("up0"), false);
    EXPECT_THAT(at_uplink(packet), IsDropped(FNET_SOURCE_DENY_LISTED));
}

TEST_F(Deny, LooksBehindPriorityTagsAlsoWhereXdpAsksTheList) {
    deny({"198.51.100.0/24", "2001:db8:bad::/48"});
    const Packet ours = ip(address("198.51.100.9"), host_ip) / tcp(40000, 22);
    const Packet ours6 = ip(address("2001:db8:bad::1"), host6) / tcp(40000, 22);
    const Packet priority{Vlan{.id = 0xe000}}, priority_ad{Vlan{.id = 0, .tag_protocol = 0x88a8}}, seven{Vlan{.id = 7}};
    for (const bool by_xdp : {false, true}) {
        list_->set_asked_by_xdp(lab().ifindex("up0"), by_xdp);
        for (const Packet& packet :
             {from_outside / priority / ours, from_outside / priority / ours6, from_outside / priority_ad / priority / ours})
            EXPECT_THAT(at_uplink(packet), IsDropped(FNET_SOURCE_DENY_LISTED)) << describe(packet.bytes());
        for (const Packet& packet : {from_outside / seven / ours, from_outside / priority / seven / ours6,
                                     from_outside / priority / ip(address("198.51.101.9"), host_ip) / tcp(40000, 22)})
            EXPECT_THAT(at_uplink(packet), GoesToTheKernel(FNET_HOST_TRAFFIC)) << describe(packet.bytes());
    }
}

TEST_F(Deny, LeavesNoTablesOfAListThatACrashHalfRemoved) {
    deny({"198.51.100.7"});
    deny({"198.51.100.8"});  // in the other place
    fnet_deny_list header{};
    const std::uint32_t only = 0, second = 1;
    ASSERT_EQ(bpf_map_lookup_elem(map_fd(".data.deny"), &only, &header), 0);
    ASSERT_EQ(header.tables & FNET_DENY_SLOT, second);
    header.tables = 0;
    ASSERT_EQ(bpf_map_update_elem(map_fd(".data.deny"), &only, &header, BPF_ANY), 0);
    std::uint32_t id = 0;
    deny({"198.51.100.9"});
    for (const char* outer : {"deny_blocks", "deny_nodes"}) EXPECT_EQ(bpf_map_lookup_elem(map_fd(outer), &second, &id), -ENOENT) << outer;
    EXPECT_TRUE(denied_at_uplink(address("198.51.100.9")));
    EXPECT_FALSE(denied_at_uplink(address("198.51.100.8")));
}

TEST_F(Deny, OneMoreOrLessChangesNothingElse) {
    deny({"10.0.0.0/8", "2001:db8::/32", "192.0.2.77"});
    for (const char* text : {"198.51.100.7", "203.0.113.0/24", "2001:db9::1", "2001:db9:0:1::/64", "192.0.2.99"}) {
        const IpPrefix prefix = *IpPrefix::parse_interface(text);
        EXPECT_FALSE(denied_at_uplink(prefix.address()));
        const auto added = list_->add(prefix, 7);
        ASSERT_TRUE(added && *added);
        EXPECT_TRUE(denied_at_uplink(prefix.address())) << text;
        EXPECT_TRUE(denied_at_uplink(prefix.last())) << text;
        ASSERT_TRUE(list_->remove(prefix, 8));
        EXPECT_FALSE(denied_at_uplink(prefix.address())) << text;
    }
    EXPECT_EQ(list_->revision(), 8U);
    for (const char* text : {"10.1.2.3", "2001:db8:5::6", "192.0.2.77"}) EXPECT_TRUE(denied_at_uplink(address(text))) << text;
}

TEST_F(Deny, OfRandomListsIsExact) {
    std::mt19937 random{11};
    const auto below = [&](unsigned bound) { return std::uniform_int_distribution<unsigned>{0, bound - 1}(random); };
    const auto any_address = [&](bool v4) {
        if (v4) return IpAddress::v4(std::uint8_t(20 + below(2)), std::uint8_t(below(3)), std::uint8_t(below(5)), std::uint8_t(below(256)));
        std::array<std::uint8_t, 16> bytes{0x20, 0x01, 0x0d, 0xb8};
        for (std::size_t i = 4; i < 16; ++i) bytes[i] = static_cast<std::uint8_t>(below(2));
        return IpAddress::from_bytes(bytes);
    };
    for (unsigned round = 0; round < 12; ++round) {
        std::vector<IpPrefix> prefixes;
        for (unsigned i = 0; i < 120; ++i) {
            const bool v4 = below(2) == 0;
            const unsigned length = v4 ? 12 + below(21) : below(4) == 0 ? 64 : 33 + below(96);
            prefixes.push_back(IpPrefix{any_address(v4), static_cast<std::uint8_t>(length)}.network());
        }
        ASSERT_TRUE(list_->replace(prefixes, ++revision_));
        for (unsigned i = 0; i < 600; ++i) {
            const IpAddress source = any_address(below(2) == 0);
            const bool covered = std::any_of(prefixes.begin(), prefixes.end(), [&](const IpPrefix& one) { return one.contains(source); });
            ASSERT_EQ(denied_at_uplink(source), covered) << source.to_string() << " in round " << round;
        }
    }
}

}  // namespace
}  // namespace fastnet::test
