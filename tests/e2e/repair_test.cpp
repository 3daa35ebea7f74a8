// What somebody else broke in the kernel, and what an earlier version left there: the next command puts it right, or
// says what it could not do. None of it may stop a command from running.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Repair : public LabTest {
protected:
    /// Where the link of @p program at the node's interface @p ifname is pinned; empty if there is none (clsact).
    fs::path link_pin(const std::string& ifname, const std::string& program) {
        const std::string name = lab().node().link_field(ifname, "ifindex") + "-" + program;
        for (const fs::path& pin : lab().root().pin_files())
            if (pin.filename() == name) return pin;
        return {};
    }

    bool has_pin_named(const std::string& end) {
        for (const fs::path& pin : lab().root().pin_files())
            if (pin.string().ends_with(end)) return true;
        return false;
    }

    /// Of the first endpoint's veth in the node.
    std::string veth() {
        for (const std::string& name : lab().node().links())
            if (name.starts_with("fnv-")) return name;
        return {};
    }

    static void detach_by_force(const fs::path& pin) {
        const CommandResult result = run({"bpftool", "link", "detach", "pinned", pin.string()});
        ASSERT_TRUE(result.ok()) << result;
    }

    void expect_web_answers() { EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), ""); }
};

TEST_F(Repair, ProgramsAreReplacedWhileALinkOfADeadContainerIsPinned) {
    lab().attach("web", {"-p", "2000:80"});
    lab().attach("gone");
    const std::size_t links = lab().root().pinned().links.size();
    lab().lose_container("gone");
    const auto veths = [&] {
        std::size_t count = 0;
        for (const std::string& name : lab().node().links()) count += name.starts_with("fnv-") ? 1U : 0U;
        return count;
    };
    ASSERT_TRUE(wait_until([&] { return veths() == 1; }));
    const CommandResult result = lab().fastnet({"attach", "--mode", "bridge", "--reload"});
    EXPECT_TRUE(result.ok()) << result;
    EXPECT_LT(lab().root().pinned().links.size(), links) << "the dead link stays pinned";
    EXPECT_EQ(lab().count("endpoints"), 1U);
    const WebServer web{lab().at("web"), "web"};
    expect_web_answers();
}

TEST_F(Repair, LinksThatWereDetachedByForceAreMadeAnew) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    if (link_pin("eth0", "tc_uplink").empty()) GTEST_SKIP() << "no tcx on this kernel: there is no link to detach";
    const std::string bridge = lab().node().link_field(veth(), "master");
    for (const auto& [ifname, program] :
         {std::pair{std::string{"eth0"}, "tc_uplink"}, {bridge, "tc_gateway_in"}, {bridge, "tc_gateway_out"}}) {
        SCOPED_TRACE(program);
        detach_by_force(link_pin(ifname, program));
        const unsigned before = tcx_program_count(lab().node(), ifname);
        const CommandResult result = lab().fastnet({"publish", "web", "2001:80"});  // a verb with cheap checks only
        EXPECT_TRUE(result.ok()) << result;
        EXPECT_EQ(tcx_program_count(lab().node(), ifname), before + 1);
        expect_web_answers();
    }
}

TEST_F(Repair, DeadLinkOfAnEndpointIsSeenByTheFullCheck) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    const fs::path pin = link_pin(veth(), "tc_container");
    if (pin.empty()) GTEST_SKIP() << "no tcx on this kernel: there is no link to detach";
    detach_by_force(pin);
    ASSERT_EQ(tcx_program_count(lab().node(), veth()), 0U);
    lab().json({"attach", "--mode", "bridge"});
    EXPECT_EQ(tcx_program_count(lab().node(), veth()), 1U);
    expect_web_answers();
}

TEST_F(Repair, HeldPortsAreHeldAgainAfterTheirHookWasDetachedByForce) {
    lab().attach("web", {"-p", "2000:80"});
    fs::path hook;
    for (const fs::path& pin : lab().root().pin_files())
        if (pin.string().ends_with("links/cgroup_bind4")) hook = pin;
    if (hook.empty()) GTEST_SKIP() << "no cgroup v2 hierarchy: there is no hook to detach";
    detach_by_force(hook);
    ASSERT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2000}).ok());
    lab().json({"attach", "--mode", "bridge"});
    EXPECT_FALSE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2000}).ok());
}

TEST_F(Repair, LinkWhoseProgramTheNewBuildLacksGoes) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    const std::string bridge = lab().node().link_field(veth(), "master");
    const fs::path pin = link_pin(bridge, "tc_gateway_out");
    if (pin.empty()) GTEST_SKIP() << "no tcx on this kernel: filters have no pins";
    fs::rename(pin, fs::path{pin}.replace_filename(lab().node().link_field(bridge, "ifindex") + "-tc_former"));
    const CommandResult result = lab().fastnet({"attach", "--mode", "bridge", "--reload"});
    EXPECT_TRUE(result.ok()) << result;
    EXPECT_FALSE(has_pin_named("tc_former"));
    EXPECT_EQ(tcx_program_count(lab().node(), bridge), 2U);
    expect_web_answers();
}

TEST_F(Repair, DatapathOfAnotherVersionIsReplacedAndNothingOfItStays) {
    lab().attach("web", {"-p", "2000:80", "-p", "2001:80"});
    const WebServer web{lab().at("web"), "web"};
    expect_web_answers();
    const PinnedObjects former = lab().root().pinned();
    fs::path pins;
    for (const fs::path& pin : lab().root().pin_files())
        if (pin.string().ends_with("maps/flows")) pins = pin.parent_path().parent_path();
    ASSERT_FALSE(pins.empty());
    const fs::path renamed = pins.parent_path() / "v1";
    ASSERT_NE(pins, renamed);
    fs::rename(pins, renamed);
    const std::string bridge = lab().node().link_field(veth(), "master");
    const unsigned programs = tcx_program_count(lab().node(), "eth0");

    const CommandResult result = lab().fastnet({"attach", "--mode", "bridge"});
    EXPECT_TRUE(result.ok()) << result;
    lab().json({"unpublish", "web", "2001:80"});
    EXPECT_NE(result.err.find("another version"), std::string::npos) << result;
    EXPECT_FALSE(fs::exists(renamed));
    EXPECT_TRUE(wait_until([&] { return still_alive(former).empty(); }));
    EXPECT_EQ(tcx_program_count(lab().node(), "eth0"), programs);
    EXPECT_EQ(tcx_program_count(lab().node(), bridge), 2 * programs);
    EXPECT_EQ(tcx_program_count(lab().node(), veth()), programs);
    expect_web_answers();
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2001), 1), "") << "it is published through the former datapath";
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2001}).ok());
}

TEST_F(Repair, PortsAreIsolatedAgainWhenTheirBridgeIsMadeAnew) {
    lab().json({"network", "create", "quiet", "--no-icc"});
    lab().attach("a", {"--network", "quiet"});
    const auto isolated = [&] { return lab().node().link_field(veth(), "linkinfo").find("\"isolated\":true") != std::string::npos; };
    ASSERT_TRUE(isolated());
    const std::string bridge = lab().node().link_field(veth(), "master");
    lab().node().ip({"link del " + bridge});
    lab().json({"attach", "--mode", "bridge"});
    ASSERT_EQ(lab().node().link_field(veth(), "master"), bridge);
    EXPECT_TRUE(isolated());
}

TEST_F(Repair, PortFilterHasThePublishedPortsAndNoOthers) {
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    fs::path filters;
    for (const fs::path& pin : lab().root().pin_files())
        if (pin.filename() == "filters") filters = pin;
    const auto set_word = [&](int word, int byte, int value) {  // of the TCP region, whose first word is number 0
        Argv argv{"bpftool", "map", "update", "pinned", filters.string(), "key", std::to_string(word), "0", "0", "0", "value"};
        for (int i = 0; i < 8; ++i) argv.push_back(std::to_string(i == byte ? value : 0));
        const CommandResult result = run(argv);
        ASSERT_TRUE(result.ok()) << result;
    };
    set_word(4444 / 64, 4444 % 64 / 8, 1 << 4444 % 8);
    ASSERT_EQ(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 4444}).error(), EADDRINUSE) << "held by a bit that nobody owns";
    set_word(2000 / 64, 0, 0);
    ASSERT_EQ(fetch(lab().client(), url(kNodeIp, 2000), 1), "");
    lab().json({"attach", "--mode", "bridge"});
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 4444}).ok());
    expect_web_answers();
}

/// A command fails half way, since /proc/sys cannot be written, and cannot take it back either, since a program is gone.
class FailedUndo : public Repair {
protected:
    void break_node() {
        lab().attach("web");
        for (const fs::path& pin : lab().root().pin_files())
            if (pin.filename() == "flow_purge") purge_ = pin;
        ASSERT_FALSE(purge_.empty());
        fs::rename(purge_, away());
        lab().wrap_fastnet(
            {"unshare", "-m", "sh", "-c", "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec \"$@\"", "sh"});
    }

    void mend_node() {
        lab().wrap_fastnet({});
        fs::rename(away(), purge_);
    }

    std::string sql(const std::string& query) {
        std::string rows =
            run({"/usr/bin/python3", "-c", "import sqlite3,sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])",
                 lab().root().database().string(), query})
                .out;
        if (rows.ends_with('\n')) rows.pop_back();
        return rows;
    }

private:
    fs::path away() const { return fs::path{purge_}.replace_filename("flow_purge_away"); }

    fs::path purge_;
};

TEST_F(FailedUndo, OfAnAttachIsTriedAgainByTheNextCommand) {
    break_node();
    lab().container("other");
    expect_error(lab().fastnet(lab().attach_args("other", {"-p", "2000:80"})), kFailed, {"/proc/sys", "flow_purge"});
    EXPECT_EQ(sql("SELECT count(*) FROM endpoints"), "2") << "nobody knows of what is left";
    mend_node();
    lab().json({"attach", "--mode", "bridge"});
    EXPECT_EQ(sql("SELECT count(*) FROM endpoints"), "1");
    lab().attach("other", {"-p", "2000:80"});
    const WebServer web{lab().at("other"), "other"};
    expect_web_answers();
}

TEST_F(FailedUndo, OfAPublicationLeavesTheNodeDirty) {
    break_node();
    expect_error(lab().fastnet({"publish", "web", "33000:80"}), kFailed, {"ip_local_reserved_ports", "flow_purge"});
    EXPECT_EQ(sql("SELECT count(*) FROM ports"), "0") << "a publication that was refused would come true later";
    EXPECT_EQ(sql("SELECT count(*) FROM settings WHERE key = 'dirty'"), "1");
    mend_node();
    lab().json({"attach", "--mode", "bridge"});
    EXPECT_EQ(sql("SELECT count(*) FROM settings WHERE key = 'dirty'"), "0");
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 33000}).ok());
    lab().json({"publish", "web", "33000:80"});
    EXPECT_FALSE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 33000}).ok());
}

}  // namespace
}  // namespace fastnet::test
