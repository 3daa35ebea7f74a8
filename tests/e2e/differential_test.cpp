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
const std::string kContainerIp6 = "fd00:99::2";
const std::string kGatewayIp6 = "fd00:99::1";
const std::string kContainerMac = "02:00:00:00:0c:02";
const std::string kAdminDownPolicy =
    "add table inet quiet; add chain inet quiet input { type filter hook input priority -300; policy drop; }";

/// One end of a side: where packets are put in and taken out, and the MACs of frames towards the middle.
struct End {
    End(const Netns& netns, Bytes header) : injector{netns, "eth0"}, capture{netns, "eth0"}, macs{std::move(header)} {}

    Injector injector;
    Capture capture;
    Bytes macs;
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

Bytes macs_of(const std::string& destination, const std::string& source) {
    Bytes header = mac_bytes(destination);
    const Bytes from = mac_bytes(source);
    header.insert(header.end(), from.begin(), from.end());
    return header;
}

bool is_ipv6(const Bytes& packet) {
    return packet[0] >> 4U == 6;
}

/// ARP, neighbour discovery and reports of multicast groups, which the hosts at both ends may send at any time.
bool is_link_noise(const Frame& frame) {
    constexpr std::size_t kIpv6Payload = 14 + 40;
    constexpr std::uint8_t kHopByHop = 0;  // carries the router alert of multicast listener reports
    constexpr std::uint8_t kIgmp = 2;
    constexpr std::uint8_t kIcmpv6 = 58;
    if (!frame.is_ipv6()) return !frame.is_ipv4() || frame.protocol() == kIgmp;
    if (frame.protocol() == kHopByHop) return true;
    if (frame.protocol() != kIcmpv6 || frame.bytes().size() <= kIpv6Payload) return false;
    const std::uint8_t type = frame.bytes()[kIpv6Payload];
    return type >= 130 && type <= 143;
}

/// Python: fills `frames` with PACKETS packets of random conversations, interleaved.
const char* const kRandomConversations = R"python(
rng = random.Random(SEED)
PEERS = {4: "198.51.100.%d", 6: "2001:db8:7::%x"}
ROUTERS = {4: "203.0.113.%d", 6: "2001:db8:9::%x"}

def ip(family, src, dst):
    if family == 6:
        return IPv6(src=src, dst=dst, tc=rng.randrange(256), fl=rng.randrange(1 << 20), hlim=rng.randrange(2, 256))
    options = [IPOption_NOP()] * rng.choice([0, 0, 0, 1, 4, 40])
    return IP(src=src, dst=dst, id=rng.randrange(65536), tos=rng.randrange(256), ttl=rng.randrange(2, 256),
              flags=rng.choice(["DF", 0]), options=options)

def payload(most=1200):
    size = rng.choice([0, 1, 2, 3, rng.randrange(64), rng.randrange(most)])
    return Raw(rng.randbytes(size)) if size else b""

class Flow:
    """A conversation. `out`: from the container. Views: as it is inside, as it is on the wire outside."""
    def __init__(self, family, protocol, published, number):
        self.family, self.protocol, self.published = family, protocol, published
        self.peer = PEERS[family] % rng.randrange(2, 250)
        if published:
            self.host_port, self.own_port = (2000, 80) if protocol == "tcp" else (2053, 53)
            self.peer_port = 1024 + number
        else:
            self.own_port = self.host_port = 20000 + number % 1000
            self.peer_port = rng.randrange(1, 65536)
        self.sent = []            # what passed, to be quoted: (out, header over addresses and ports)
        self.seq = {True: rng.randrange(1 << 31), False: rng.randrange(1 << 31)}
        self.steps = self.tcp() if protocol == "tcp" else self.datagrams()

    def tuple(self, out, inside):
        own = (CONTAINER[self.family], self.own_port) if inside else (NODE[self.family], self.host_port)
        peer = (self.peer, self.peer_port)
        return own + peer if out else peer + own

    def packet(self, out, layer):
        """As its sender sends it; kept as the receiver will see it."""
        build = lambda inside: self.header(out, inside) / layer(*self.tuple(out, inside)[1::2])
        state = rng.getstate()
        sent = build(out)
        rng.setstate(state)  # the same random fields in both views
        self.sent.append((out, bytes(build(not out))))
        return sent

    def header(self, out, inside):
        src, _, dst, _ = self.tuple(out, inside)
        return ip(self.family, src, dst)

    def error(self):
        """About a packet that was received: its receiver, or for what went out a router, complains to its sender."""
        about_out, quoted = rng.choice(self.sent)
        out = not about_out
        length = (quoted[0] & 15) * 4 if self.family == 4 else 40
        # Not between TCP's ports and the end of its header: there NATs may differ in what they mend.
        end = rng.choice([8, 8, 20, rng.randrange(20, 500)])
        quoted = quoted[:length + end]
        source = self.tuple(out, out)[0] if out or rng.random() < 0.5 else ROUTERS[self.family] % rng.randrange(2, 250)
        head = ip(self.family, source, self.tuple(out, out)[2])
        if self.family == 4:
            kind, code = rng.choice([(3, rng.randrange(16)), (11, rng.randrange(2)), (12, 0)])
            return head / ICMP(type=kind, code=code, unused=0, nexthopmtu=1400 if (kind, code) == (3, 4) else 0) / Raw(quoted)
        return head / rng.choice([ICMPv6DestUnreach(code=rng.randrange(7)), ICMPv6PacketTooBig(mtu=1400), ICMPv6TimeExceeded(),
                                  ICMPv6ParamProblem(ptr=4)]) / Raw(quoted)

    def segment(self, out, flags, data=b"", options=()):
        seq, ack = self.seq[out], self.seq[not out]
        self.seq[out] = (seq + len(bytes(data)) + ("S" in flags) + ("F" in flags)) % (1 << 32)
        window, urgent = rng.randrange(65536), rng.randrange(65536) if "U" in flags else 0
        return self.packet(out, lambda s, d: TCP(sport=s, dport=d, flags=flags, seq=seq, ack=ack if "A" in flags else 0, window=window,
                                                 urgptr=urgent, options=list(options)) / data)

    def tcp(self):
        opener = not self.published
        offer = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (rng.randrange(1 << 32), 0)), ("NOP", None), ("WScale", 7)]
        yield self.segment(opener, "S", options=offer)
        yield self.segment(not opener, "SA", options=offer)
        yield self.segment(opener, "A")
        for _ in range(rng.randrange(12)):
            if rng.random() < 0.2:
                yield self.error()
            stamps = [("NOP", None), ("NOP", None), ("Timestamp", (rng.randrange(1 << 32), rng.randrange(1 << 32)))]
            yield self.segment(rng.random() < 0.5, rng.choice(["A", "PA", "A", "PAU", "AE", "PAC"]), payload(), rng.choice([[], stamps]))
        if rng.random() < 0.3:
            yield self.segment(rng.random() < 0.5, "RA")
            return
        first = rng.random() < 0.5
        yield self.segment(first, "FA")
        yield self.segment(not first, "FA")
        yield self.segment(first, "A")

    def datagrams(self):
        opener = not self.published
        for i in range(rng.randrange(1, 12)):
            out = opener if i == 0 else rng.random() < 0.5
            if i and rng.random() < 0.2:
                yield self.error()
            data = payload()
            if self.protocol == "udp":
                none = {"chksum": 0} if self.family == 4 and rng.random() < 0.2 else {}
                yield self.packet(out, lambda s, d: UDP(sport=s, dport=d, **none) / data)
                continue
            sequence = rng.randrange(65536)
            kind = (8 if out else 0) if self.family == 4 else (ICMPv6EchoRequest if out else ICMPv6EchoReply)
            id_of = lambda s, d: s if out else d
            if self.family == 4:
                yield self.packet(out, lambda s, d: ICMP(type=kind, id=id_of(s, d), seq=sequence) / data)
            else:
                yield self.packet(out, lambda s, d: kind(id=id_of(s, d), seq=sequence, data=bytes(data)))

flows = []
count = 0
while len(frames) < PACKETS:
    if len(flows) < 16:
        published = rng.random() < 0.5
        flows.append(Flow(rng.choice([4, 6]), rng.choice(["tcp", "udp"] if published else ["tcp", "udp", "icmp"]), published, count).steps)
        count += 1
    steps = rng.choice(flows)
    step = next(steps, None)
    if step is None:
        flows.remove(steps)
    else:
        frames.append(step)
)python";

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
        oracle_lab_->add_ipv6();
        candidate_lab_->add_ipv6();
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
            compare(steps[i].direction, packets[i], steps[i].free_id);
            if (HasFatalFailure()) return;
        }
    }

    /// The same for @p count packets of random conversations, which @p seed decides.
    void compare_random(unsigned seed, std::size_t count) {
        const std::string places = "NODE = {4: '" + kNodeIp + "', 6: '" + kNodeIp6 + "'}\nCONTAINER = {4: '" + kContainerIp + "', 6: '" +
                                   kContainerIp6 + "'}\nSEED, PACKETS = " + std::to_string(seed) + ", " + std::to_string(count) + "\n";
        const std::vector<Bytes> packets = scapy(places + kRandomConversations);
        ASSERT_EQ(packets.size(), count);
        for (std::size_t i = 0; i < packets.size(); ++i) {
            SCOPED_TRACE("packet " + std::to_string(i) + " of seed " + std::to_string(seed));
            const Frame frame{with_ethernet(Bytes(12), packets[i]), false};
            const bool out = frame.source() == kContainerIp || frame.source() == kContainerIp6;
            compare(out ? Direction::kOut : Direction::kIn, packets[i], false);
            if (HasFailure()) return;  // what follows may depend on it
        }
    }

    void compare(Direction direction, const Bytes& packet, bool free_id) {
        const std::optional<Frame> expected = pass(oracle_, direction, packet);
        const std::optional<Frame> seen = pass(candidate_, direction, packet);
        ASSERT_TRUE(expected) << "the oracle itself lost the packet";
        ASSERT_TRUE(seen) << "the kernel delivers " << expected->describe() << ", the other side nothing";
        EXPECT_TRUE(expected->checksums_verify());
        EXPECT_TRUE(seen->checksums_verify()) << seen->describe();
        if (direction == Direction::kIn) {
            EXPECT_EQ(seen->destination_mac(), kContainerMac);
        } else {
            EXPECT_NE(seen->source(), is_ipv6(packet) ? kContainerIp6 : kContainerIp);
        }
        EXPECT_EQ(comparable(*seen, free_id), comparable(*expected, free_id))
            << "kernel:  " << expected->describe() << "\nseen:    " << seen->describe();
    }

    /// The kernel as Docker would configure it, by nftables.
    static Side build_kernel_side(Lab& lab) {
        const Netns& node = lab.node();
        const Netns& container = lab.container("oracle");
        node.ip({"link add br0 type bridge", "addr add " + kGatewayIp + "/24 dev br0", "addr add " + kGatewayIp6 + "/64 dev br0 nodad",
                 "link set br0 up", "link add vc type veth peer name eth0 address " + kContainerMac + " netns " + container.name(),
                 "link set vc master br0 up", "neigh replace " + kContainerIp6 + " lladdr " + kContainerMac + " dev br0 nud permanent"});
        container.ip({"addr add " + kContainerIp + "/24 dev eth0", "addr add " + kContainerIp6 + "/64 dev eth0 nodad", "link set eth0 up",
                      "route add default via " + kGatewayIp});
        node.set_sysctl("net.ipv4.ip_forward", "1");
        node.set_sysctl("net.ipv6.conf.all.forwarding", "1");
        for (const auto& [family, host, own, subnet] : {std::tuple{"ip", kNodeIp, kContainerIp, "10.99.0.0/24"},
                                                        std::tuple{"ip6", kNodeIp6, "[" + kContainerIp6 + "]", "fd00:99::/64"}}) {
            const std::string table = std::string{family} + " nat ";
            const std::string published = std::string{family} + " daddr " + host + " ";
            const CommandResult rules = node.run(
                {"nft", "add table " + table + "; add chain " + table + "pre { type nat hook prerouting priority -100; }; add chain " +
                            table + "post { type nat hook postrouting priority 100; }; add rule " + table + "pre " + published +
                            "tcp dport 2000 dnat to " + own + ":80; add rule " + table + "pre " + published + "udp dport 2053 dnat to " +
                            own + ":53; add rule " + table + "post " + family + " saddr " + subnet + " oifname eth0 masquerade"});
            EXPECT_TRUE(rules.ok()) << rules;
        }
        // Sequence numbers are nobody's business here; the kernel would let what it doubts pass without translation.
        node.set_sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", "1");
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
        for (const std::string& next_hop : {kClientIp, kClientIp6})
            lab.node().ip({"neigh replace " + next_hop + " lladdr " + lab.client().mac("eth0") + " dev eth0 nud permanent"});
        EXPECT_TRUE(lab.client().run({"nft", kAdminDownPolicy}).ok());
        EXPECT_TRUE(container.run({"nft", kAdminDownPolicy}).ok());
        return {std::make_unique<End>(lab.client(), macs_of(lab.node().mac("eth0"), lab.client().mac("eth0"))),
                std::make_unique<End>(container, macs_of(gateway_mac, container.mac("eth0")))};
    }

private:
    static Bytes with_ethernet(Bytes macs, const Bytes& packet) {
        if (is_ipv6(packet)) {
            macs.insert(macs.end(), {0x86, 0xdd});
        } else {
            macs.insert(macs.end(), {0x08, 0x00});
        }
        macs.insert(macs.end(), packet.begin(), packet.end());
        return macs;
    }

    /// What the far end receives of @p packet.
    static std::optional<Frame> pass(const Side& side, Direction direction, const Bytes& packet) {
        End& near = direction == Direction::kIn ? *side.client : *side.container;
        End& far = direction == Direction::kIn ? *side.container : *side.client;
        for (const Frame& extra : far.capture.take())
            EXPECT_TRUE(extra.outgoing() || is_link_noise(extra)) << "more came of one packet than one: " << extra.describe();
        near.injector.send(with_ethernet(near.macs, packet));
        return far.capture.wait_for([](const Frame& got) { return !got.outgoing() && !is_link_noise(got); }, Millis{2000});
    }

    /// The bytes that must be equal: everything, or everything but the chosen port and the checksum over it.
    static Bytes comparable(const Frame& frame, bool free_id) {
        Bytes bytes = frame.network_layer();
        if (!free_id) return bytes;
        const std::size_t l4 = frame.is_ipv6() ? 40 : static_cast<std::size_t>(bytes[0] & 0xfU) * 4;
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
        lab.json({"network", "create", "oracle", "--subnet", "10.99.0.0/24", "--gateway", kGatewayIp, "--subnet", "fd00:99::/64"});
        lab.attach("web", {"--network", "oracle", "--ip", kContainerIp, "--ip", kContainerIp6, "--mac", kContainerMac, "-p", "2000:80",
                           "-p", "2053:53/udp"});
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
        {Direction::kOut, "IPv6(src='fd00:99::2', dst='2001:db8:7::1')/UDP(sport=45678, dport=53)/Raw(b'question')", true},
        {Direction::kOut, "IPv6(src='fd00:99::2', dst='2001:db8:7::1')/TCP(sport=45679, dport=443, flags='S', seq=10)", true},
        {Direction::kOut, "IPv6(src='fd00:99::2', dst='2001:db8:7::1')/ICMPv6EchoRequest(id=77, seq=1, data=b'are you there')", true},
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

/// Both families, TCP, UDP, echo and ICMP errors about each, published and masqueraded, with IP and TCP options, any TTL, TOS, flow
/// label and IP id, with and without a UDP checksum.
TEST_F(Differential, ThousandsOfRandomPacketsAreTranslatedAsByTheKernel) {
    for (const unsigned seed : {1U, 2U}) compare_random(seed, 2500);
}

/// Before it may judge, the oracle must agree with itself on every packet that the tests above send.
TEST_F(Oracle, TheKernelAgreesWithItselfOnEveryConversation) {
    for (const auto& steps :
         {published_tcp(), published_udp(), zero_checksum(), masqueraded_tcp(), masqueraded_udp(), chosen_ports(), random_datagrams()}) {
        compare(steps);
    }
    compare_random(3, 500);
}

}  // namespace
}  // namespace fastnet::test
