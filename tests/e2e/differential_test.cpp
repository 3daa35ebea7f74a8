// The kernel's own NAT as the oracle: the same packets, made by scapy and injected raw, go through nftables in one set of
// namespaces and through fastnet in another. What comes out must be the same bytes from the IP header on, apart from what a
// NAT may choose freely. Every checksum is recomputed in full.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/harness/lab.h"
#include "tests/harness/privileges.h"

namespace fastnet::test {
namespace {

const std::string kContainerIp = "10.99.0.2";
const std::string kGatewayIp = "10.99.0.1";
const std::string kContainerMac = "02:00:00:00:0c:02";
const std::string kAdminDownPolicy =
    "add table inet quiet; add chain inet quiet input { type filter hook input priority -300; policy drop; }";

/// One end of a side: where packets are put in and taken out, and the Ethernet header towards the middle.
struct End {
    End(const Netns& netns, Bytes header) : injector{netns, "eth0"}, capture{netns, "eth0"}, ethernet{std::move(header)} {}

    Injector injector;
    Capture capture;
    Bytes ethernet;
};

/// One side of the comparison.
struct Side {
    std::unique_ptr<End> client;
    std::unique_ptr<End> container;
};

Bytes mac_bytes(const std::string& text) {
    Bytes bytes;
    for (std::size_t i = 0; i + 1 < text.size(); i += 3)
        bytes.push_back(static_cast<std::uint8_t>(std::stoul(text.substr(i, 2), nullptr, 16)));
    return bytes;
}

Bytes ethernet_header(const std::string& destination, const std::string& source) {
    Bytes header = mac_bytes(destination);
    const Bytes from = mac_bytes(source);
    header.insert(header.end(), from.begin(), from.end());
    header.insert(header.end(), {0x08, 0x00});
    return header;
}

enum class Direction { kIn, kOut };  ///< client to container, container to client

struct Step {
    Direction direction;
    std::string packet;    ///< scapy, the network layer; CLIENT, NODE, INTERNET and CONTAINER are addresses
    bool free_id = false;  ///< source port or ICMP identifier is the NAT's choice: compared apart from it
};

/// Two labs, an oracle and a candidate; what the candidate is, the derived fixture says.
class Comparison : public ::testing::Test {
protected:
    void SetUp() override {
        FASTNET_SKIP_WITHOUT_PRIVILEGES();
        oracle_lab_ = std::make_unique<Lab>();
        candidate_lab_ = std::make_unique<Lab>();
        oracle_ = build_kernel_side(*oracle_lab_);
    }

    void TearDown() override {
        if (candidate_lab_ && !candidate_lab_->cleaned()) candidate_lab_->cleanup_and_verify();
    }

    Lab& candidate_lab() { return *candidate_lab_; }
    void set_candidate(Side side) { candidate_ = std::move(side); }

    /// Sends every step through both sides, one after the other, and compares what arrives.
    void compare(const std::vector<Step>& steps) {
        std::string script =
            "CLIENT, NODE, INTERNET, CONTAINER = '" + kClientIp + "', '" + kNodeIp + "', '" + kInternetIp + "', '" + kContainerIp + "'\n";
        for (const Step& step : steps) script += "frames.append(" + step.packet + ")\n";
        const std::vector<Bytes> packets = scapy(script);
        ASSERT_EQ(packets.size(), steps.size());
        for (std::size_t i = 0; i < steps.size(); ++i) {
            SCOPED_TRACE("step " + std::to_string(i) + ": " + steps[i].packet);
            const std::optional<Frame> expected = pass(oracle_, steps[i], packets[i]);
            const std::optional<Frame> seen = pass(candidate_, steps[i], packets[i]);
            ASSERT_TRUE(expected) << "the oracle itself lost the packet";
            ASSERT_TRUE(seen) << "the kernel delivers " << expected->describe() << ", the other side nothing";
            EXPECT_TRUE(expected->checksums_verify());
            EXPECT_TRUE(seen->checksums_verify()) << seen->describe();
            if (steps[i].direction == Direction::kIn) {
                EXPECT_EQ(seen->destination_mac(), kContainerMac);
            }
            EXPECT_EQ(comparable(*seen, steps[i]), comparable(*expected, steps[i]))
                << "kernel:  " << expected->describe() << "\nseen:    " << seen->describe();
        }
    }

    /// The kernel as Docker would configure it, by nftables.
    static Side build_kernel_side(Lab& lab) {
        const Netns& node = lab.node();
        const Netns& container = lab.container("oracle");
        node.ip({"link add br0 type bridge", "addr add " + kGatewayIp + "/24 dev br0", "link set br0 up",
                 "link add vc type veth peer name eth0 address " + kContainerMac + " netns " + container.name(),
                 "link set vc master br0 up"});
        container.ip({"addr add " + kContainerIp + "/24 dev eth0", "link set eth0 up", "route add default via " + kGatewayIp});
        node.set_sysctl("net.ipv4.ip_forward", "1");
        const CommandResult rules = node.run({"nft",
                                              "add table ip nat; add chain ip nat pre { type nat hook prerouting priority -100; };"
                                              "add chain ip nat post { type nat hook postrouting priority 100; };"
                                              "add rule ip nat pre ip daddr " +
                                                  kNodeIp + " tcp dport 2000 dnat to " + kContainerIp +
                                                  ":80;"
                                                  "add rule ip nat pre ip daddr " +
                                                  kNodeIp + " udp dport 2053 dnat to " + kContainerIp +
                                                  ":53;"
                                                  "add rule ip nat post ip saddr 10.99.0.0/24 oifname eth0 masquerade"});
        EXPECT_TRUE(rules.ok()) << rules;
        lab.skip_cleanup();  // nothing of fastnet is there
        return finish_side(lab, container);
    }

    static Side finish_side(Lab& lab, const Netns& container) {
        container.run({"ping", "-c1", "-W2", kGatewayIp});
        const auto neighbours = nlohmann::json::parse(container.run({"ip", "-j", "neigh", "show", kGatewayIp}).out, nullptr, false);
        const std::string gateway_mac = neighbours.is_array() && !neighbours.empty() ? neighbours[0].value("lladdr", "") : "";
        EXPECT_FALSE(gateway_mac.empty());
        // Neither end's own stack may answer what the test sends; neighbours are resolved beforehand and stay.
        lab.node().run({"ping", "-c1", "-W2", kClientIp});
        lab.node().run({"ping", "-c1", "-W2", kContainerIp});
        lab.node().ip({"neigh replace " + kClientIp + " lladdr " + lab.client().mac("eth0") + " dev eth0 nud permanent"});
        EXPECT_TRUE(lab.client().run({"nft", kAdminDownPolicy}).ok());
        EXPECT_TRUE(container.run({"nft", kAdminDownPolicy}).ok());
        return {std::make_unique<End>(lab.client(), ethernet_header(lab.node().mac("eth0"), lab.client().mac("eth0"))),
                std::make_unique<End>(container, ethernet_header(gateway_mac, container.mac("eth0")))};
    }

private:
    /// What the far end receives of @p packet.
    static std::optional<Frame> pass(const Side& side, const Step& step, const Bytes& packet) {
        End& near = step.direction == Direction::kIn ? *side.client : *side.container;
        End& far = step.direction == Direction::kIn ? *side.container : *side.client;
        far.capture.take();
        Bytes frame = near.ethernet;
        frame.insert(frame.end(), packet.begin(), packet.end());
        near.injector.send(frame);
        return far.capture.wait_for([](const Frame& got) { return !got.outgoing() && got.is_ipv4(); }, Millis{2000});
    }

    /// The bytes that must be equal: everything, or everything but the chosen port and the checksum over it.
    static Bytes comparable(const Frame& frame, const Step& step) {
        Bytes bytes = frame.network_layer();
        if (!step.free_id) return bytes;
        const std::size_t l4 = static_cast<std::size_t>(bytes[0] & 0xfU) * 4;
        const auto blank = [&](std::size_t offset) {
            if (l4 + offset + 1 < bytes.size()) bytes[l4 + offset] = bytes[l4 + offset + 1] = 0;
        };
        constexpr std::uint8_t kTcp = 6;
        constexpr std::uint8_t kUdp = 17;
        if (frame.protocol() == kTcp) {
            blank(0);
            blank(16);
        } else if (frame.protocol() == kUdp) {
            blank(0);
            blank(6);
        } else {
            blank(4);
            blank(2);
        }
        return bytes;
    }

    std::unique_ptr<Lab> oracle_lab_;
    std::unique_ptr<Lab> candidate_lab_;
    Side oracle_;
    Side candidate_;
};

class Oracle : public Comparison {
protected:
    void SetUp() override {
        Comparison::SetUp();
        if (!IsSkipped()) set_candidate(build_kernel_side(candidate_lab()));
    }
};

class Differential : public Comparison {
protected:
    void SetUp() override {
        ASSERT_TRUE(std::filesystem::exists(fastnet_binary())) << "no fastnet at " << fastnet_binary();
        Comparison::SetUp();
        if (IsSkipped()) return;
        Lab& lab = candidate_lab();
        lab.json({"attach", "--mode", "bridge", "--masquerade-ports", "20000-20999"});
        lab.json({"network", "create", "oracle", "--subnet", "10.99.0.0/24", "--gateway", kGatewayIp});
        lab.attach("web", {"--network", "oracle", "--ip", kContainerIp, "--mac", kContainerMac, "-p", "2000:80", "-p", "2053:53/udp"});
        set_candidate(finish_side(lab, lab.at("web")));
    }
};

std::vector<Step> published_tcp() {
    const std::string in = "IP(src=CLIENT, dst=NODE, id=7";
    const std::string out = "IP(src=CONTAINER, dst=CLIENT, id=9";
    return {
        {Direction::kIn, in + ")/TCP(sport=45000, dport=2000, flags='S', seq=100, options=[('MSS', 1460), ('SAckOK', b''), ('Timestamp', "
                              "(11, 0)), ('NOP', None), ('WScale', 7)])"},
        {Direction::kOut, out + ")/TCP(sport=80, dport=45000, flags='SA', seq=500, ack=101, options=[('MSS', 1460)])"},
        {Direction::kIn, in + ")/TCP(sport=45000, dport=2000, flags='A', seq=101, ack=501)"},
        {Direction::kIn, in + ", tos=0xb8)/TCP(sport=45000, dport=2000, flags='PA', seq=101, ack=501)/Raw(b'odd')"},
        {Direction::kOut, out + ", tos=0x03, flags='DF')/TCP(sport=80, dport=45000, flags='A', seq=501, ack=104)"},
        {Direction::kIn, in + ", ttl=2)/TCP(sport=45000, dport=2000, flags='PA', seq=104, ack=501)/Raw(b'nearly dead')"},
        {Direction::kIn, in + ", ttl=255)/TCP(sport=45000, dport=2000, flags='PAU', seq=115, ack=501, urgptr=3)/Raw(bytes(range(256)))"},
        {Direction::kOut, out + ", ttl=64)/TCP(sport=80, dport=45000, flags='PA', seq=501, ack=371)/Raw(b'y' * 1460)"},
        {Direction::kIn, in + ")/TCP(sport=45000, dport=2000, flags='A', seq=371, ack=1961, options=[('NOP', None), ('NOP', None), "
                              "('SAck', (2000, 2100))])"},
        {Direction::kIn, in + ")/TCP(sport=45000, dport=2000, flags='A', seq=371, ack=1961, chksum=None)/Raw(b'\\x00' * 99)"},
        {Direction::kIn, in + ")/TCP(sport=45000, dport=2000, flags='FA', seq=470, ack=1961)"},
        {Direction::kOut, out + ")/TCP(sport=80, dport=45000, flags='FA', seq=1961, ack=471)"},
        {Direction::kIn, in + ")/TCP(sport=45000, dport=2000, flags='A', seq=471, ack=1962)"},
    };
}

std::vector<Step> published_udp() {
    const std::string in = "IP(src=CLIENT, dst=NODE, id=7";
    const std::string out = "IP(src=CONTAINER, dst=CLIENT, id=9";
    return {
        {Direction::kIn, in + ")/UDP(sport=45001, dport=2053)/Raw(b'question')"},
        {Direction::kOut, out + ")/UDP(sport=53, dport=45001)/Raw(b'answer')"},
        {Direction::kIn, in + ")/UDP(sport=45001, dport=2053)"},
        {Direction::kIn, in + ")/UDP(sport=45001, dport=2053, chksum=0)/Raw(b'no checksum')"},
        {Direction::kOut, out + ")/UDP(sport=53, dport=45001, chksum=0)/Raw(b'none either')"},
        {Direction::kIn, in + ", flags='DF')/UDP(sport=45001, dport=2053)/Raw(b'z' * 1472)"},
        {Direction::kOut, out + ", tos=0x2e, ttl=3)/UDP(sport=53, dport=45001)/Raw(b'o')"},
        {Direction::kIn, in + ")/UDP(sport=53, dport=2053)/Raw(b'another flow from a low port')"},
        {Direction::kOut, out + ")/UDP(sport=53, dport=53)/Raw(b'and its answer')"},
    };
}

std::vector<Step> zero_checksum() {
    // With a payload of two zero bytes the translated checksum is the word that, as payload, makes it zero; a sum of zero
    // is sent as ffff (RFC 768).
    const std::string word =
        "IP(bytes(IP(src=CLIENT, dst=CONTAINER)/UDP(sport=45002, dport=53)/Raw(bytes(2))))[UDP].chksum.to_bytes(2, 'big')";
    return {
        {Direction::kIn, "IP(src=CLIENT, dst=NODE)/UDP(sport=45002, dport=2053)/Raw(" + word + ")"},
        {Direction::kOut, "IP(src=CONTAINER, dst=CLIENT)/UDP(sport=53, dport=45002)/Raw(b'seen')"},
    };
}

std::vector<Step> masqueraded_tcp() {
    const std::string out = "IP(src=CONTAINER, dst=INTERNET, id=3";
    const std::string in = "IP(src=INTERNET, dst=NODE, id=4";
    return {
        {Direction::kOut, out + ", flags='DF')/TCP(sport=20123, dport=443, flags='S', seq=10, options=[('MSS', 1460), ('WScale', 7)])"},
        {Direction::kIn, in + ")/TCP(sport=443, dport=20123, flags='SA', seq=90, ack=11)"},
        {Direction::kOut, out + ")/TCP(sport=20123, dport=443, flags='A', seq=11, ack=91)"},
        {Direction::kOut, out + ", tos=0x10)/TCP(sport=20123, dport=443, flags='PA', seq=11, ack=91)/Raw(b'hello there')"},
        {Direction::kIn, in + ", ttl=9)/TCP(sport=443, dport=20123, flags='PA', seq=91, ack=22)/Raw(b'x' * 1401)"},
        {Direction::kOut, out + ")/TCP(sport=20123, dport=443, flags='R', seq=22)"},
    };
}

std::vector<Step> masqueraded_udp() {
    const std::string out = "IP(src=CONTAINER, dst=INTERNET, id=3";
    const std::string in = "IP(src=INTERNET, dst=NODE, id=4";
    return {
        {Direction::kOut, out + ")/UDP(sport=20124, dport=53)/Raw(b'question')"},
        {Direction::kIn, in + ")/UDP(sport=53, dport=20124)/Raw(b'answer')"},
        {Direction::kOut, out + ")/UDP(sport=20124, dport=53, chksum=0)/Raw(b'no checksum')"},
        {Direction::kOut, out + ")/UDP(sport=20124, dport=53)"},
        {Direction::kIn, in + ")/UDP(sport=53, dport=20124, chksum=0)/Raw(b'none either')"},
    };
}

std::vector<Step> chosen_ports() {
    return {
        {Direction::kOut, "IP(src=CONTAINER, dst=INTERNET, id=3)/UDP(sport=45678, dport=53)/Raw(b'question')", true},
        {Direction::kOut, "IP(src=CONTAINER, dst=INTERNET, id=3)/TCP(sport=45679, dport=443, flags='S', seq=10)", true},
        {Direction::kOut, "IP(src=CONTAINER, dst=INTERNET, id=3)/ICMP(id=77, seq=1)/Raw(b'are you there')", true},
    };
}

std::vector<Step> random_datagrams() {
    // Fixed seed: the same packets in every run.
    std::vector<Step> steps;
    unsigned state = 20261121;
    const auto next = [&](unsigned limit) {
        state = state * 1103515245U + 12345U;
        return (state >> 8U) % limit;
    };
    for (int flow = 0; flow < 12; ++flow) {
        const std::string port = std::to_string(30000 + flow);
        for (int packet = 0; packet < 3; ++packet) {
            const std::string header = ", id=" + std::to_string(next(65536)) + ", tos=" + std::to_string(next(256)) +
                                       ", ttl=" + std::to_string(2 + next(254)) + ", flags=" + (next(2) == 0 ? "'DF'" : "0") + ")";
            const std::string payload =
                "/Raw(random.Random(" + std::to_string(next(100000)) + ").randbytes(" + std::to_string(next(1400)) + "))";
            steps.push_back({Direction::kIn, "IP(src=CLIENT, dst=NODE" + header + "/UDP(sport=" + port + ", dport=2053)" + payload});
            steps.push_back({Direction::kOut, "IP(src=CONTAINER, dst=CLIENT" + header + "/UDP(sport=53, dport=" + port + ")" + payload});
        }
    }
    return steps;
}

TEST_F(Differential, PublishedTcpConversationIsTranslatedAsByTheKernel) {
    compare(published_tcp());
}
TEST_F(Differential, PublishedUdpConversationIsTranslatedAsByTheKernel) {
    compare(published_udp());
}
TEST_F(Differential, UdpChecksumThatBecomesZeroIsSentAsAllOnes) {
    compare(zero_checksum());
}
TEST_F(Differential, MasqueradedTcpConversationIsTranslatedAsByTheKernel) {
    compare(masqueraded_tcp());
}
TEST_F(Differential, MasqueradedUdpConversationIsTranslatedAsByTheKernel) {
    compare(masqueraded_udp());
}
TEST_F(Differential, PortThatMustChangeIsTheOnlyDifference) {
    compare(chosen_ports());
}
TEST_F(Differential, RandomConversationsAreTranslatedAsByTheKernel) {
    compare(random_datagrams());
}

/// Before it may judge, the oracle must agree with itself on every packet that the tests above send.
TEST_F(Oracle, TheKernelAgreesWithItselfOnEveryConversation) {
    for (const auto& steps :
         {published_tcp(), published_udp(), zero_checksum(), masqueraded_tcp(), masqueraded_udp(), chosen_ports(), random_datagrams()}) {
        compare(steps);
    }
}

}  // namespace
}  // namespace fastnet::test
