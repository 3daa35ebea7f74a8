// Faults: full tables, hostile packets, a broken database. The rule: a clear refusal, established flows undisturbed.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

class Fault : public LabTest {
protected:
    struct Connection {
        Socket caller;
        Socket served;
    };

    /// One established connection through published port 2000 to @p listener.
    Connection connect(const Socket& listener, Millis bound = Millis{3000}) {
        Connection connection;
        connection.caller = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000}, {}, bound);
        if (connection.caller.ok()) connection.served = listener.accept(bound);
        return connection;
    }
};

TEST_F(Fault, FullFlowTableRefusesNewFlowsByNameAndKeepsTheEstablished) {
    lab().json({"attach", "--mode", "bridge", "--max-flows", "256"});
    lab().attach("web", {"-p", "2000:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    const Connection first = connect(listener);
    ASSERT_TRUE(ping_pong(first.caller, first.served));
    std::vector<Connection> others;
    bool refused = false;
    for (int i = 0; i < 600 && !refused; ++i) {
        Connection connection = connect(listener, Millis{500});
        refused = !connection.served.ok() || !ping_pong(connection.caller, connection.served, "x", Millis{500});
        if (!refused) others.push_back(std::move(connection));
    }
    EXPECT_TRUE(refused) << "600 established flows fit into a table of 256";
    EXPECT_GE(others.size(), 60U) << "a table of 256 is full too early";
    EXPECT_GT(lab().verdict("FLOW_TABLE_FULL"), 0U);
    EXPECT_TRUE(ping_pong(first.caller, first.served)) << "an established flow was evicted";
    for (const Connection& connection : others) ASSERT_TRUE(ping_pong(connection.caller, connection.served));
    for (Connection& connection : others) {
        connection.caller.reset_on_close();
        connection.caller.close();
    }
    EXPECT_TRUE(wait_until([&] { return connect(listener, Millis{500}).served.ok(); }, Millis{10'000})) << "closed flows are not reclaimed";
    EXPECT_TRUE(ping_pong(first.caller, first.served));
}

TEST_F(Fault, ClosedFlowsMakeRoomUnderPressure) {
    lab().json({"attach", "--mode", "bridge", "--max-flows", "256"});
    lab().attach("web", {"-p", "2000:80", "-p", "2001:81"});
    const WebServer web{lab().at("web"), "web", {81}};
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    const Connection idle = connect(listener);
    ASSERT_TRUE(ping_pong(idle.caller, idle.served));
    const CommandResult result = lab().client().shell(
        "i=0; while [ $i -lt 1000 ]; do curl -s --max-time 10 -o /dev/null " + url(kNodeIp, 2001) + " || echo failed $i; i=$((i+1)); done",
        {.timeout = Millis{90'000}});
    EXPECT_EQ(result.out, "") << "short connections filled the table";
    EXPECT_TRUE(ping_pong(idle.caller, idle.served));
}

TEST_F(Fault, HalfOpenFloodEvictsNoEstablishedFlowAndCostsNewClientsARetryAtMost) {
    lab().json({"attach", "--mode", "bridge", "--max-flows", "512"});
    lab().attach("web", {"-p", "2000:80"});
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    const Connection established = connect(listener);
    ASSERT_TRUE(ping_pong(established.caller, established.served));
    const std::vector<Bytes> flood = scapy(
        "random.seed(7)\n"
        "e = Ether(src='02:00:00:00:00:01', dst='" +
        lab().node().mac("eth0") +
        "')\n"
        "for i in range(4000):\n"
        "    frames.append(e/IP(src='10.%d.%d.%d' % (random.randint(1, 90), i >> 8, i & 255), "
        "dst='192.0.2.2')/TCP(sport=random.randint(1024, 65535), dport=2000, flags='S', seq=i))\n");
    inject(lab().client(), "eth0", flood);
    EXPECT_TRUE(ping_pong(established.caller, established.served));
    EXPECT_TRUE(wait_until([&] { return connect(listener, Millis{2000}).caller.ok(); }, Millis{10'000}));
    EXPECT_TRUE(ping_pong(established.caller, established.served));
}

TEST_F(Fault, UdpFloodEvictsNoEstablishedTcpFlow) {
    lab().json({"attach", "--mode", "bridge", "--max-flows", "512"});
    lab().attach("web", {"-p", "2000:80", "-p", "2053:53/udp"});
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    const Socket sink = Socket::bound(lab().at("web"), Transport::kUdp, {"0.0.0.0", 53});
    const Connection established = connect(listener);
    ASSERT_TRUE(ping_pong(established.caller, established.served));
    inject(lab().client(), "eth0",
           scapy("e = Ether(src='02:00:00:00:00:01', dst='" + lab().node().mac("eth0") +
                 "')\n"
                 "for i in range(3000):\n"
                 "    frames.append(e/IP(src='10.7.%d.%d' % (i >> 8, i & 255), dst='192.0.2.2')/UDP(sport=1024 + i, "
                 "dport=2053)/Raw(b'flood'))\n"));
    EXPECT_TRUE(ping_pong(established.caller, established.served));
    EXPECT_TRUE(wait_until([&] { return connect(listener, Millis{2000}).caller.ok(); }, Millis{10'000}));
}

TEST_F(Fault, TruncatedPacketsOfEveryHeaderLengthHarmNobody) {
    lab().attach("web", {"-p", "2000:80", "-p", "2053:53/udp"});
    const WebServer web{lab().at("web"), "web"};
    const std::uint64_t before = lab().verdict("MALFORMED");
    const std::string script = R"(
e = Ether(src=SRC, dst=DST)
def ip(**k): return IP(src=FROM, dst=TO, **k)
whole = [e/ip()/TCP(sport=1111, dport=2000, flags='S', options=[('MSS', 1460), ('SAckOK', b''), ('Timestamp', (1, 0)), ('NOP', None), ('WScale', 7)]),
         e/ip()/UDP(sport=1111, dport=2053)/Raw(b'abcdefgh'),
         e/ip()/ICMP()/Raw(b'abcdefgh'),
         e/ip(options=IPOption(b'\x01' * 40))/TCP(sport=1111, dport=2000, flags='S'),
         e/Dot1Q(vlan=0)/ip()/UDP(sport=1111, dport=2053),
         e/ARP(hwsrc=SRC, psrc=FROM, pdst=TO)]
for packet in whole:
    raw = bytes(packet)
    frames += [raw[:n] for n in range(14, len(raw))]
base = bytes(whole[0])
for ihl in range(16): frames.append(base[:14] + bytes([0x40 | ihl]) + base[15:])
for version in range(16): frames.append(base[:14] + bytes([version << 4 | 5]) + base[15:])
for total in (0, 1, 19, 20, 21, 39, 40, 41, 1500, 65535): frames.append(bytes(e/ip(len=total)/TCP(sport=1111, dport=2000, flags='S')))
for offset in range(16): frames.append(bytes(e/ip()/TCP(sport=1111, dport=2000, flags='S', dataofs=offset)/Raw(b'x' * 40)))
for length in (0, 1, 7, 8, 9, 100, 65535): frames.append(bytes(e/ip()/UDP(sport=1111, dport=2053, len=length)/Raw(b'abc')))
for flags in range(256): frames.append(bytes(e/ip()/TCP(sport=1111, dport=2000, flags=flags)))
for frag in (1, 8, 100, 8191):
    for more in (0, 1): frames.append(bytes(e/ip(frag=frag, flags=more)/Raw(b'x' * 24)))
for proto in range(256): frames.append(bytes(e/ip(proto=proto)/Raw(b'\x07\xd0' * 12)))
random.seed(42)
for i in range(1500):
    raw = bytearray(bytes(random.choice(whole)))
    for _ in range(random.randint(1, 6)): raw[random.randrange(12, len(raw))] = random.randrange(256)
    frames.append(bytes(raw[:random.randint(14, len(raw))]) if random.random() < 0.3 else bytes(raw))
)";
    const auto hostile = [&](const std::string& source_mac, const std::string& destination_mac, const std::string& from,
                             const std::string& to) {
        return scapy("SRC = '" + source_mac + "'\nDST = '" + destination_mac + "'\nFROM = '" + from + "'\nTO = '" + to + "'\n" + script);
    };
    inject(lab().client(), "eth0", hostile(lab().client().mac("eth0"), lab().node().mac("eth0"), kClientIp, kNodeIp));
    const std::string gateway = lab().endpoint("web")["gateway"];
    ASSERT_TRUE(lab().at("web").run({"ping", "-c1", "-W2", gateway}).ok());
    const json neighbours = json::parse(lab().at("web").run({"ip", "-j", "neigh", "show", gateway}).out);
    Capture outside{lab().client(), "eth0"};
    inject(lab().at("web"), "eth0", hostile(lab().at("web").mac("eth0"), neighbours[0].value("lladdr", ""), lab().ip("web"), kInternetIp));
    EXPECT_TRUE(lab().at("web").run({"ping", "-c1", "-W2", gateway}).ok());
    EXPECT_GT(lab().verdict("MALFORMED"), before);
    const std::string prefix = lab().ip("web").substr(0, lab().ip("web").rfind('.') + 1);
    for (const Frame& frame : outside.take()) {
        if (!frame.outgoing()) {
            EXPECT_NE(frame.source().rfind(prefix, 0), 0U) << "untranslated: " << frame.describe();
        }
    }
    // Forged ARP may have told the kernels wrong MACs, as on any wire: not what is tested here.
    lab().node().ip({"neigh flush dev eth0"});
    lab().client().ip({"neigh flush dev eth0"});
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
    const WebServer outside_web{lab().client(), "outside"};
    EXPECT_NE(fetch(lab().at("web"), url(kInternetIp, 80)), "");
}

TEST_F(Fault, CorruptDatabaseIsNamedKeptAndRecoverable) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    const std::filesystem::path file = lab().root().database();
    ASSERT_FALSE(file.empty()) << "no SQLite file below the root";
    const auto read = [&] {
        std::ifstream stream{file, std::ios::binary};
        return std::string{std::istreambuf_iterator<char>{stream}, {}};
    };
    const std::string original = read();
    const std::string garbage(original.size(), 'x');
    std::ofstream{file, std::ios::binary | std::ios::trunc} << garbage;
    // The write-ahead log holds good copies of pages, from which SQLite would go on: it is lost as well.
    const std::filesystem::path log = file.string() + "-wal";
    std::filesystem::rename(log, log.string() + ".kept");
    for (const Argv& command :
         std::vector<Argv>{{"endpoints"}, {"attach", "--mode", "bridge"}, {"publish", "web", "2001:80"}, {"detach", "web"}}) {
        SCOPED_TRACE(::testing::PrintToString(command));
        expect_error(lab().fastnet(command), kFailed, {file.filename().string()});
    }
    EXPECT_EQ(read(), garbage) << "the broken file was not kept for whoever wants to rescue it";
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "") << "the datapath needs no database";
    std::ofstream{file, std::ios::binary | std::ios::trunc} << original;
    std::filesystem::rename(log.string() + ".kept", log);
    EXPECT_EQ(lab().count("endpoints"), 1U);
}

TEST_F(Fault, CleanupWorksWithACorruptDatabase) {
    lab().attach("web", {"-p", "2000:80"});
    const std::filesystem::path file = lab().root().database();
    ASSERT_FALSE(file.empty());
    std::ofstream{file, std::ios::binary | std::ios::trunc} << "this is not a database at all";
    const CommandResult result = lab().fastnet({"cleanup"});
    if (result.status != 0) {
        // Refusing is fine as long as it says how to go on, and that way works.
        expect_error(result, kFailed, {file.filename().string()});
        std::filesystem::remove(file);
    }
    lab().cleanup_and_verify();
}

TEST_F(Fault, DatabaseOfANewerVersionIsRefusedUntouched) {
    lab().attach("web");
    const std::string file = lab().root().database().string();
    ASSERT_FALSE(file.empty());
    const auto sql = [&](const std::string& statement) {
        return run({"/usr/bin/python3", "-c",
                    "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); print(c.execute(sys.argv[2]).fetchone()); c.commit()", file,
                    statement})
            .out;
    };
    const std::string version = sql("PRAGMA user_version");
    sql("PRAGMA user_version = 9999");
    expect_error(lab().fastnet({"endpoints"}), kFailed, {"9999"});
    std::string digits;
    for (const char c : version) {
        if (c >= '0' && c <= '9') digits += c;
    }
    sql("PRAGMA user_version = " + digits);
    EXPECT_EQ(lab().count("endpoints"), 1U);
}

TEST_F(Fault, MissingBpffsIsMounted) {
    EXPECT_TRUE(lab().root().mounts().empty());
    lab().attach("web");
    EXPECT_FALSE(lab().root().pin_files().empty());
}

TEST_F(Fault, UnwritableRootDirectoryIsAClearError) {
    lab().container("web");
    Argv argv{fastnet_binary(), "--root", "/proc/no-such-place"};
    for (const std::string& word : lab().attach_args("web")) argv.push_back(word);
    expect_error(lab().node().run(argv), kFailed, {"/proc/no-such-place"});
    EXPECT_EQ(lab().at("web").links(), std::vector<std::string>{"lo"});
}

TEST_F(Fault, OutOfRangeFlowLimitsAreUsageErrors) {
    for (const char* const flows : {"0", "-1", "x", "99999999999"}) {
        SCOPED_TRACE(flows);
        expect_error(lab().fastnet({"attach", "--mode", "bridge", "--max-flows", flows}), kUsage);
    }
}

TEST_F(Fault, FailedAttachLeavesNothingHalfDone) {
    lab().attach("a", {"-p", "2000:80"});
    const NodeState before = NodeState::read(lab().node());
    const PinnedObjects pinned = lab().root().pinned();
    lab().container("b");
    expect_error(lab().fastnet(lab().attach_args("b", {"-p", "3000:80", "-p", "3001:81/udp", "-p", "2000:80"})), kConflict);
    EXPECT_EQ(before.difference(NodeState::read(lab().node())), "");
    EXPECT_EQ(lab().root().pinned().links, pinned.links);
    EXPECT_EQ(lab().at("b").links(), std::vector<std::string>{"lo"});
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 3000}).ok());
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kUdp, {"0.0.0.0", 3001}).ok());
}

}  // namespace
}  // namespace fastnet::test
