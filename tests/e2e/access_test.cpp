// --allow and --deny: who may call a published port, as real callers see it, and whatever becomes of the node.
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

constexpr Millis kNoAnswer{250};

class Access : public LabTest {
protected:
    void SetUp() override {
        LabTest::SetUp();
        lab().add_ipv6();
    }

    /// A connection to the node's port 2000 from @p source, one of the client's own addresses.
    bool can_call(const std::string& source, const std::string& node, Millis bound = Millis{2000}) {
        return Socket::connected(lab().client(), Transport::kTcp, {node, 2000}, {source, 0}, bound).ok();
    }
    void expect_denied(const std::string& source, const std::string& node) {
        const std::uint64_t before = lab().verdict("SOURCE_DENIED");
        EXPECT_FALSE(can_call(source, node, kNoAnswer)) << source << " may not call " << node;
        EXPECT_GT(lab().verdict("SOURCE_DENIED"), before);
    }
    std::size_t flows_from(const std::string& source) {
        std::size_t count = 0;
        for (const json& flow : lab().json({"flows"})) count += flow["original"]["src"] == source ? 1U : 0U;
        return count;
    }
    json row(const std::string& host_ip) {
        for (const json& port : lab().json({"ports"}))
            if (port["host_ip"] == host_ip) return port;
        return {};
    }
    std::int64_t sources_in_kernel() { return lab().json({"stats"})["maps"]["sources"]["entries"].get<std::int64_t>(); }
};

TEST_F(Access, OfAnAllowListLetsInWhomItNamesInBothFamiliesAndNobodyElse) {
    lab().attach("web", {"-p", "2000:80", "--allow", "192.0.2.0/24,2001:db8:7::1"});
    const WebServer web{lab().at("web"), "web"};
    EXPECT_TRUE(can_call(kClientIp, kNodeIp));
    EXPECT_TRUE(can_call(kInternetIp6, kNodeIp6));
    expect_denied(kInternetIp, kNodeIp);
    expect_denied(kClientIp6, kNodeIp6);
    EXPECT_EQ(flows_from(kInternetIp) + flows_from(kClientIp6), 0U) << "a denied caller leaves no flow behind";
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "") << "curl calls from the client's own address";
    const std::string curl = "curl -s --max-time 1 --interface " + kInternetIp + " " + url(kNodeIp, 2000);
    EXPECT_EQ(lab().client().shell(curl).status, 28) << "no answer, as from a firewall that drops";
}

TEST_F(Access, OfAnAllowListOfOneFamilyIsClosedToTheOther) {
    lab().attach("web", {"-p", "2000:80", "--allow", "0.0.0.0/0"});
    const WebServer web{lab().at("web"), "web"};
    EXPECT_TRUE(can_call(kInternetIp, kNodeIp));
    expect_denied(kClientIp6, kNodeIp6);
    ASSERT_EQ(lab().fastnet({"unpublish", "web", "2000:80"}).status, 0);
    ASSERT_EQ(lab().fastnet({"publish", "web", "2000:80", "--allow", "::/0"}).status, 0);
    EXPECT_TRUE(can_call(kClientIp6, kNodeIp6));
    expect_denied(kClientIp, kNodeIp);
}

TEST_F(Access, OfADenyListLetsInEverybodyElse) {
    lab().attach("web", {"-p", "2000:80", "--deny", "198.51.100.0/24", "--deny", "2001:db8:7::/48"});
    const WebServer web{lab().at("web"), "web"};
    EXPECT_TRUE(can_call(kClientIp, kNodeIp));
    EXPECT_TRUE(can_call(kClientIp6, kNodeIp6));
    expect_denied(kInternetIp, kNodeIp);
    expect_denied(kInternetIp6, kNodeIp6);
}

TEST_F(Access, IsDecidedByTheLongestPrefixAndByDenyOnATie) {
    lab().attach("web", {"-p", "2000:80", "--allow", "0.0.0.0/0,198.51.100.1", "--deny", "198.51.100.0/24,192.0.2.0/24",  //
                         "--allow", "192.0.2.0/24"});
    const WebServer web{lab().at("web"), "web"};
    EXPECT_TRUE(can_call(kInternetIp, kNodeIp)) << "its own /32 is longer than the /24 that is denied";
    expect_denied(kClientIp, kNodeIp);
}

TEST_F(Access, HoldsForUdpToo) {
    lab().attach("dns", {"-p", "2053:53/udp", "--deny", kInternetIp});
    const UdpEcho echo{lab().at("dns"), 53};
    EXPECT_TRUE(udp_answers(lab().client(), {kNodeIp, 2053}));
    const Socket denied = Socket::bound(lab().client(), Transport::kUdp, {kInternetIp, 0});
    ASSERT_TRUE(denied.send_to("let me in", {kNodeIp, 2053}));
    EXPECT_EQ(denied.receive(kNoAnswer), "");
    EXPECT_EQ(lab().verdict("SOURCE_DENIED"), 1U);
    EXPECT_EQ(flows_from(kInternetIp), 0U);
}

TEST_F(Access, HoldsForContainersThatCallThroughTheHost) {
    lab().attach("web", {"-p", "2000:80"});
    lab().attach("friend");
    lab().attach("other");
    ASSERT_EQ(lab().fastnet({"publish", "web", "2001:80", "--allow", lab().ip("friend")}).status, 0);
    const WebServer web{lab().at("web"), "web"};
    EXPECT_NE(fetch(lab().at("friend"), url(kNodeIp, 2001)), "");
    EXPECT_EQ(fetch(lab().at("other"), url(kNodeIp, 2001), 1), "");
    EXPECT_GT(lab().verdict("SOURCE_DENIED"), 0U);
    EXPECT_NE(fetch(lab().at("other"), url(kNodeIp, 2000)), "") << "the port without lists is everybody's";
}

TEST_F(Access, IsShownByPortsAndKeptAsItWasAsked) {
    lab().attach("web", {"-p", "2000:80", "--allow", "2001:db8::/32,10.0.0.0/8,192.0.2.7", "--deny", "10.9.0.0/16"});
    for (const char* const host_ip : {"0.0.0.0", "::"}) {
        EXPECT_EQ(row(host_ip)["allow"], (json{"10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"})) << host_ip;
        EXPECT_EQ(row(host_ip)["deny"], json{"10.9.0.0/16"}) << host_ip;
    }
    const CommandResult table = lab().fastnet({"ports"});
    EXPECT_NE(table.out.find("deny 10.9.0.0/16"), std::string::npos) << table;
}

TEST_F(Access, SameRequestAgainIsFineAndAnotherListIsAConflict) {
    const Argv extra{"-p", "2000:80", "--allow", "10.0.0.0/8,192.0.2.7"};
    lab().attach("web", extra);
    EXPECT_EQ(lab().fastnet(lab().attach_args("web", {"--allow", "192.0.2.7/32", "--allow", "10.0.0.0/8", "-p", "2000:80"})).status, 0);
    expect_error(lab().fastnet(lab().attach_args("web", {"-p", "2000:80"})), kConflict);
    EXPECT_EQ(lab().fastnet({"publish", "web", "2000:80", "--allow", "192.0.2.7,10.0.0.0/8"}).status, 0);
    expect_error(lab().fastnet({"publish", "web", "2000:80"}), kConflict, {"2000:80", "unpublish"});
    expect_error(lab().fastnet({"publish", "web", "2000:80", "--allow", "10.0.0.0/8"}), kConflict, {"2000:80"});
    expect_error(lab().fastnet({"publish", "web", "2001:80", "2000:80", "--deny", "10.0.0.0/8"}), kConflict, {"2000:80"});
    EXPECT_EQ(row("0.0.0.0")["allow"].size(), 2U);
    EXPECT_EQ(lab().count("ports"), 2U) << "a command that is refused publishes none of its ports";
}

TEST_F(Access, OfAnEstablishedConnectionEndsWithItsPublicationOnly) {
    lab().attach("web", {"-p", "2000:80", "--allow", kInternetIp});
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 80});
    const Socket caller = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000}, {kInternetIp, 45001});
    const Socket served = listener.accept();
    ASSERT_TRUE(ping_pong(caller, served));
    ASSERT_EQ(lab().fastnet({"publish", "web", "2001:80", "--deny", kInternetIp}).status, 0);
    EXPECT_TRUE(ping_pong(caller, served)) << "another port's list";
    ASSERT_EQ(lab().fastnet({"unpublish", "web", "2000:80"}).status, 0);
    ASSERT_EQ(lab().fastnet({"publish", "web", "2000:80", "--deny", kInternetIp}).status, 0);
    EXPECT_EQ(flows_from(kInternetIp), 0U);
    EXPECT_FALSE(ping_pong(caller, served, "still there", kNoAnswer));
}

TEST_F(Access, OfFiveThousandPrefixesOutOfAFileIsPublishedShownAndWithdrawn) {
    const std::string file = lab().root().string() + "-blocklist";
    {
        std::ofstream list{file};
        list << "# a blocklist\n";
        for (int i = 0; i < 5000; ++i) list << "10." << i / 256 << "." << i % 256 << ".0/24 # " << i << "\n";
        list << kInternetIp << "\n2001:db8:7::/48\n";
    }
    lab().attach("web", {"-p", "2001:81"});
    const WebServer web{lab().at("web"), "web"};
    const auto started = std::chrono::steady_clock::now();
    const CommandResult published = lab().fastnet({"publish", "web", "2000:80", "--deny-file", file});
    const auto took = std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - started);
    ASSERT_EQ(published.status, 0) << published;
    EXPECT_LT(took, Millis{2000});
    RecordProperty("publish_ms", static_cast<int>(took.count()));
    EXPECT_EQ(sources_in_kernel(), 5002);
    EXPECT_EQ(row("0.0.0.0")["deny"].size(), 0U) << "of port 2001, which has no list";
    std::size_t shown = 0;
    for (const json& port : lab().json({"ports"})) shown += port["host_port"] == 2000 ? port["deny"].size() : 0U;
    EXPECT_EQ(shown, 2 * 5002U);
    EXPECT_TRUE(can_call(kClientIp, kNodeIp));
    expect_denied(kInternetIp, kNodeIp);
    expect_denied(kInternetIp6, kNodeIp6);
    ASSERT_EQ(lab().fastnet({"unpublish", "web", "2000:80"}).status, 0);
    EXPECT_EQ(sources_in_kernel(), 0);
    std::filesystem::remove(file);
}

TEST_F(Access, FileThatCannotBeReadOrNamesNobodyPublishesNothing) {
    lab().attach("web");
    expect_error(lab().fastnet({"publish", "web", "2000:80", "--allow-file", "/no/such/list"}), kFailed, {"/no/such/list"});
    expect_error(lab().fastnet({"publish", "web", "2000:80", "--allow-file", "/"}), kFailed, {"/"});
    expect_error(lab().fastnet({"publish", "web", "2000:80", "--allow-file", "/dev/stdin"}, {.input = "# nobody\n"}), kUsage);
    expect_error(lab().fastnet({"publish", "web", "2000:80", "--allow-file", "/dev/stdin"}, {.input = "10.0.0.0/8\nweb\n"}), kUsage,
                 {"line 2", "'web'"});
    EXPECT_EQ(lab().count("ports"), 0U);
    EXPECT_EQ(lab().fastnet({"publish", "web", "2000:80", "--allow-file", "/dev/stdin"}, {.input = "10.0.0.0/8\n"}).status, 0);
}

TEST_F(Access, SurvivesTheLossOfTheMapsEntriesNewProgramsAndAReboot) {
    lab().attach("web", {"-p", "2000:80", "--deny", kInternetIp});
    {
        const WebServer web{lab().at("web"), "web"};
        ASSERT_EQ(lab().fastnet({"attach", "--mode", "bridge", "--reload"}).status, 0);
        EXPECT_TRUE(can_call(kClientIp, kNodeIp));
        expect_denied(kInternetIp, kNodeIp);
        for (const auto& pin : lab().root().pin_files()) {
            if (pin.filename() != "sources") continue;
            const json entries = json::parse(run({"bpftool", "-j", "map", "dump", "pinned", pin.string()}).out);
            ASSERT_EQ(entries.size(), 1U);
            Argv words{"bpftool", "map", "delete", "pinned", pin.string(), "key"};
            for (const json& byte : entries[0]["key"]) words.push_back(byte.get<std::string>());
            ASSERT_TRUE(run(words).ok());
        }
        EXPECT_TRUE(can_call(kInternetIp, kNodeIp)) << "the test removed nothing";
        lab().json({"attach", "--mode", "bridge"});
        expect_denied(kInternetIp, kNodeIp);
    }
    lab().reboot();
    EXPECT_EQ(lab().fastnet({"attach", "--mode", "bridge"}).status, 0);
    EXPECT_EQ(sources_in_kernel(), 0) << "a container that died with the node took its lists along";
}

/// Whoever may not call cannot, wherever publish or unpublish dies, before as after the repair.
class AccessCrash : public Access {
protected:
    void kill_at_every_step(const Argv& command, const std::function<void()>& undo) {
        int step = 1;
        for (; step < 100; ++step) {
            SCOPED_TRACE("killed at step " + std::to_string(step));
            const CommandResult result = lab().fastnet(command, {.env = {{"FASTNET_CRASH_AT", std::to_string(step)}}});
            EXPECT_FALSE(can_call(kInternetIp, kNodeIp, kNoAnswer)) << "right after the command died";
            EXPECT_FALSE(can_call(kInternetIp6, kNodeIp6, kNoAnswer));
            if (result.status != 128 + SIGKILL) {
                EXPECT_EQ(result.status, 0) << result;
                break;
            }
            const CommandResult repaired = lab().fastnet({"attach", "--mode", "bridge"});
            ASSERT_EQ(repaired.status, 0) << repaired;
            EXPECT_FALSE(can_call(kInternetIp, kNodeIp, kNoAnswer)) << "after the repair";
            EXPECT_EQ(sources_in_kernel(), static_cast<std::int64_t>(lab().count("ports"))) << "one prefix for each record";
            undo();
            ASSERT_FALSE(HasFailure()) << "stopped at the first step that leaves damage";
        }
        EXPECT_GT(step, 3) << "FASTNET_CRASH_AT has no effect";
    }
    const Argv publish_{"publish", "web", "2000:80", "--deny", kInternetIp + "," + kInternetIp6};
    const Argv unpublish_{"unpublish", "web", "2000:80"};
};

TEST_F(AccessCrash, OfPublishNeverOpensThePortToADeniedSource) {
    lab().attach("web");
    const WebServer web{lab().at("web"), "web"};
    kill_at_every_step(publish_, [&] { (void)lab().fastnet(unpublish_); });
    EXPECT_TRUE(can_call(kClientIp, kNodeIp));
}

TEST_F(AccessCrash, OfUnpublishNeverOpensThePortToADeniedSource) {
    lab().attach("web");
    const WebServer web{lab().at("web"), "web"};
    ASSERT_EQ(lab().fastnet(publish_).status, 0);
    kill_at_every_step(unpublish_, [&] { ASSERT_EQ(lab().fastnet(publish_).status, 0); });
    EXPECT_EQ(sources_in_kernel(), 0);
}

}  // namespace
}  // namespace fastnet::test
