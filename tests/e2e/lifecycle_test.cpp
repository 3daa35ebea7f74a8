// What happens between commands: no process keeps the datapath alive, namespaces vanish, commands race, programs are
// replaced, two nodes share a machine.
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

using nlohmann::json;

class Lifecycle : public LabTest {};

TEST_F(Lifecycle, DatapathLivesWithoutAnyProcess) {
    lab().attach("web", {"-p", "2000:80"});
    EXPECT_EQ(lab().processes(), std::vector<std::string>{});
    const PinnedObjects pinned = lab().root().pinned();
    EXPECT_FALSE(pinned.links.empty()) << "nothing is pinned: the programs die with the process";
    EXPECT_FALSE(pinned.maps.empty());
    const WebServer web{lab().at("web"), "web"};
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
}

TEST_F(Lifecycle, CleanupLeavesNothingWhileContainersRun) {
    lab().attach("web", {"-p", "2000:80"});
    lab().json({"network", "create", "blue"});
    lab().attach("b", {"--network", "blue", "-p", "3000-3100:3000-3100/udp"});
    const WebServer web{lab().at("web"), "web"};
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
    lab().cleanup_and_verify();
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2000), 1), "");
    EXPECT_EQ(lab().json({"endpoints"}), json::array());
}

TEST_F(Lifecycle, CleanupWorksAfterTheNamespacesAreGone) {
    lab().attach("web", {"-p", "2000:80"});
    lab().lose_container("web");
    lab().cleanup_and_verify();
}

TEST_F(Lifecycle, NodeCanBePreparedAgainAfterCleanup) {
    for (int i = 0; i < 3; ++i) {
        lab().attach("web", {"-p", "2000:80"});
        const WebServer web{lab().at("web"), "web"};
        EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
        lab().cleanup_and_verify();
    }
}

TEST_F(Lifecycle, VanishedNamespaceIsCollectedAndItsAddressAndPortComeBack) {
    lab().json({"network", "create", "tiny", "--subnet", "10.99.0.0/30"});  // room for one
    lab().attach("web", {"--network", "tiny", "-p", "2000:80"});
    lab().lose_container("web");
    const auto collected = [&] {
        lab().fastnet({"attach", "--mode", "bridge"});
        return lab().count("endpoints") == 0 && lab().count("ports") == 0;
    };
    EXPECT_TRUE(wait_until(collected)) << lab().json({"endpoints"}).dump();
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2000}).ok());
    lab().attach("next", {"--network", "tiny", "-p", "2000:80"});
    const WebServer web{lab().at("next"), "next"};
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
}

TEST_F(Lifecycle, NewNamespaceOfTheSameNameIsANewContainer) {
    lab().attach("web", {"-p", "2000:80"});
    lab().lose_container("web");
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
    EXPECT_EQ(lab().count("endpoints"), 1U);
}

TEST_F(Lifecycle, InterfaceThatTheContainerDeletedIsRepairedOrCollected) {
    lab().attach("web", {"-p", "2000:80"});
    lab().at("web").ip({"link del eth0"});
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
}

TEST_F(Lifecycle, DetachWorksAfterTheInterfaceIsGone) {
    lab().attach("web", {"-p", "2000:80"});
    lab().at("web").ip({"link del eth0"});
    const CommandResult result = lab().fastnet({"detach", "web"});
    EXPECT_TRUE(result.status == kDone || result.status == kNotFound) << result;
    EXPECT_EQ(lab().count("endpoints"), 0U);
}

TEST_F(Lifecycle, TwentyConcurrentAttachesAndDetachesAllSucceed) {
    constexpr int kCount = 20;
    std::vector<std::string> labels;
    for (int i = 0; i < kCount; ++i) labels.push_back("c" + std::to_string(i));
    for (const std::string& label : labels) lab().container(label);
    const RunOptions patient{.timeout = Millis{60'000}};
    std::vector<CommandResult> results(labels.size());
    const auto all_at_once = [&](const std::function<Argv(std::size_t)>& args) {
        std::vector<std::thread> threads;
        for (std::size_t i = 0; i < labels.size(); ++i) {
            threads.emplace_back([&, i] { results[i] = lab().fastnet(args(i), patient); });
        }
        for (std::thread& thread : threads) thread.join();
        for (const CommandResult& result : results) EXPECT_EQ(result.status, 0) << result;
    };
    all_at_once([&](std::size_t i) { return lab().attach_args(labels[i], {"-p", std::to_string(2000 + i) + ":80", "--json"}); });
    std::set<std::string> addresses;
    std::set<std::string> macs;
    for (const CommandResult& result : results) {
        const json row = json::parse(result.out, nullptr, false);
        ASSERT_TRUE(row.is_object()) << result;
        addresses.insert(row["ipv4"].get<std::string>());
        macs.insert(row["mac"].get<std::string>());
    }
    EXPECT_EQ(addresses.size(), labels.size());
    EXPECT_EQ(macs.size(), labels.size());
    EXPECT_EQ(lab().count("endpoints"), labels.size());
    for (const std::size_t i : {std::size_t{0}, std::size_t{7}, std::size_t{19}}) {
        const Socket listener = Socket::listener(lab().at(labels[i]), {"0.0.0.0", 80});
        EXPECT_TRUE(Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, static_cast<std::uint16_t>(2000 + i)}).ok()) << i;
    }
    // Half of them leave while the other half is replaced.
    all_at_once([&](std::size_t i) {
        return i % 2 == 0 ? Argv{"detach", labels[i]} : Argv{"unpublish", labels[i], std::to_string(2000 + i) + ":80"};
    });
    EXPECT_EQ(lab().count("endpoints"), labels.size() / 2);
    EXPECT_EQ(lab().count("ports"), 0U);
}

TEST_F(Lifecycle, ConcurrentAttachesOfOnePortHaveExactlyOneWinner) {
    for (const char* const label : {"a", "b", "c", "d"}) lab().container(label);
    std::vector<CommandResult> results(4);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < results.size(); ++i) {
        threads.emplace_back([&, i] {
            results[i] = lab().fastnet(lab().attach_args(std::string(1, static_cast<char>('a' + i)), {"-p", "2000:80"}));
        });
    }
    for (std::thread& thread : threads) thread.join();
    int winners = 0;
    for (const CommandResult& result : results) {
        if (result.status == kDone) {
            ++winners;
        } else {
            expect_error(result, kConflict, {"2000"});
        }
    }
    EXPECT_EQ(winners, 1);
}

TEST_F(Lifecycle, ProgramsAreReplacedWhileATransferRuns) {
    lab().attach("web", {"-p", "2000:80", "-p", "2001:9000"});
    const WebServer web{lab().at("web"), "web"};
    const Socket listener = Socket::listener(lab().at("web"), {"0.0.0.0", 9000});
    const Socket caller = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2001});
    ASSERT_TRUE(caller.ok());
    const Socket served = listener.accept();
    const std::string file = (web.directory() / "blob").string();
    ASSERT_TRUE(shell("head -c 100000000 /dev/urandom > " + file).ok());
    const std::string expected = shell("sha256sum < " + file).out;
    const PinnedObjects before = lab().root().pinned();
    // Slow enough to outlast several replacements, without a verdict about time.
    Background transfer = lab().client().background(
        {"sh", "-c", "curl -s --limit-rate 40M --max-time 60 " + url(kNodeIp, 2000, "/files/blob") + " | sha256sum"});
    int reloads = 0;
    while (transfer.running() && reloads < 50) {
        const CommandResult result = lab().fastnet({"attach", "--mode", "bridge", "--reload"});
        ASSERT_EQ(result.status, 0) << result;
        ++reloads;
        ASSERT_TRUE(ping_pong(caller, served, "still here")) << "after reload " << reloads;
        ASSERT_TRUE(Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2001}).ok()) << "after reload " << reloads;
    }
    EXPECT_EQ(transfer.wait(Millis{60'000}), 0);
    EXPECT_EQ(transfer.output(), expected);
    EXPECT_GT(reloads, 1);
    const PinnedObjects after = lab().root().pinned();
    EXPECT_NE(after.programs, before.programs) << "no program was replaced";
    PinnedObjects old_programs;
    for (const std::uint32_t id : before.programs) {
        if (!after.programs.contains(id)) old_programs.programs.insert(id);
    }
    EXPECT_TRUE(wait_until([&] { return still_alive(old_programs).empty(); })) << "an old program lives on";
}

TEST_F(Lifecycle, RunPublishesForAPersonWithoutAContainerEngine) {
    Background served = lab().fastnet_background(
        {"run", "--mode", "bridge", "--name", "job", "-p", "2000:80", "--", "/usr/bin/python3", "-m", "http.server", "80"});
    EXPECT_NE(fetch_soon(lab().client(), url(kNodeIp, 2000), Millis{15'000}), "") << served.output();
    EXPECT_EQ(lab().endpoint("job")["published"][0]["host_port"], 2000);
    served.signal(SIGTERM);
    EXPECT_NE(served.wait(Millis{10'000}), -1);
    EXPECT_TRUE(wait_until([&] { return lab().count("endpoints") == 0; }));
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2000), 1), "");
    EXPECT_TRUE(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2000}).ok());
}

TEST_F(Lifecycle, KilledRunIsCollectedByTheNextCommand) {
    Background served = lab().fastnet_background({"run", "--mode", "bridge", "--name", "job", "-p", "2000:80", "--", "sleep", "600"});
    ASSERT_TRUE(wait_until([&] { return lab().endpoint("job") != nullptr; }, Millis{10'000})) << served.output();
    served.kill();
    EXPECT_TRUE(wait_until(
        [&] {
            lab().fastnet({"attach", "--mode", "bridge"});
            return lab().count("endpoints") == 0;
        },
        Millis{10'000}));
    lab().attach("next", {"-p", "2000:80"});
}

TEST_F(Lifecycle, TwoNodesOnOneMachineDoNotSeeEachOther) {
    Lab second;
    lab().attach("web", {"-p", "2000:80"});
    second.attach("web", {"-p", "2000:80"});
    {
        const WebServer first_web{lab().at("web"), "first"};
        const WebServer second_web{second.at("web"), "second"};
        EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2000)).substr(0, 5), "first");
        EXPECT_EQ(fetch(second.client(), url(kNodeIp, 2000)).substr(0, 6), "second");
    }
    second.cleanup_and_verify();
    const WebServer first_web{lab().at("web"), "first"};
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2000)).substr(0, 5), "first") << "the other node's cleanup took this one down";
    EXPECT_EQ(Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", 2000}).error(), EADDRINUSE);
}

TEST_F(Lifecycle, RebootLeavesAStateThatTheNextCommandRepairs) {
    lab().node().set_sysctl("net.ipv4.ip_local_reserved_ports", "1234");
    lab().json({"network", "create", "blue", "--subnet", "10.99.0.0/24"});
    lab().attach("web", {"--network", "blue", "-p", "33000:80"});
    lab().reboot();
    EXPECT_EQ(lab().json({"endpoints"}), json::array()) << "no namespace outlives a reboot";
    EXPECT_EQ(lab().fastnet({"attach", "--mode", "bridge"}).status, 0);
    EXPECT_EQ(lab().count("endpoints"), 0U);
    EXPECT_EQ(lab().count("ports"), 0U);
    EXPECT_EQ(lab().node().sysctl("net.ipv4.ip_local_reserved_ports"), "") << "a reservation of the boot before";
    lab().attach("web", {"--network", "blue", "-p", "33000:80"});
    const WebServer web{lab().at("web"), "web"};
    EXPECT_NE(fetch(lab().client(), url(kNodeIp, 33000)), "");
}

TEST_F(Lifecycle, FirstCommandAfterARebootMayBeAnyVerb) {
    const std::vector<Argv> firsts{
        {"status"}, {"endpoints"}, {"doctor"}, {"network", "create", "red"}, {"detach", "web"}, {"publish", "web", "2001:80"}, {"cleanup"}};
    for (const Argv& first : firsts) {
        SCOPED_TRACE(::testing::PrintToString(first));
        lab().attach("web", {"-p", "2000:80"});
        lab().reboot();
        const CommandResult result = lab().fastnet(first);
        if (first[0] == "detach" || first[0] == "publish") {
            expect_error(result, kNotFound);
        } else {
            EXPECT_EQ(result.status, 0) << result;
        }
        {
            lab().attach("web", {"-p", "2000:80"});
            const WebServer web{lab().at("web"), "web"};
            EXPECT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
        }
        lab().cleanup_and_verify();
    }
}

TEST_F(Lifecycle, CleanupRightAfterARebootLeavesNothing) {
    lab().attach("web", {"-p", "33000:80"});
    lab().reboot();
    lab().cleanup_and_verify();
}

// ------------------------------------------------------------------------------------------- kill -9 at every step

class Crash : public LabTest {
protected:
    /// Kills @p command at its first, second, ... step until one run gets through. After each death the node is repaired by
    /// the next command, @p verify judges it, and @p undo brings it back to where @p command can start again.
    void kill_at_every_step(const Argv& command, const std::function<void()>& verify, const std::function<void()>& undo) {
        constexpr int kLimit = 400;
        int step = 1;
        for (; step <= kLimit; ++step) {
            SCOPED_TRACE("killed at step " + std::to_string(step));
            const CommandResult result = lab().fastnet(command, {.env = {{"FASTNET_CRASH_AT", std::to_string(step)}}});
            if (result.status != 128 + SIGKILL) {
                EXPECT_EQ(result.status, 0) << result;
                break;
            }
            const CommandResult repaired = lab().fastnet({"attach", "--mode", "bridge"});
            ASSERT_EQ(repaired.status, 0) << repaired;
            verify();
            undo();
            ASSERT_FALSE(HasFailure()) << "stopped at the first step that leaves damage";
        }
        EXPECT_GT(step, 3) << "FASTNET_CRASH_AT has no effect";
        EXPECT_LE(step, kLimit);
        undo();
    }

    /// A container that was there before and must not notice anything.
    void start_witness() {
        lab().attach("witness", {"-p", "2000:80"});
        listener_ = Socket::listener(lab().at("witness"), {"0.0.0.0", 80});
        caller_ = Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000});
        ASSERT_TRUE(caller_.ok());
        served_ = listener_.accept();
        ASSERT_TRUE(ping_pong(caller_, served_));
        before_ = NodeState::read(lab().node());
    }

    void expect_witness_undisturbed() {
        EXPECT_TRUE(ping_pong(caller_, served_)) << "an established flow of another container broke";
        EXPECT_TRUE(Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, 2000}).ok());
    }

    void expect_node_as_before() {
        const std::string difference = before_.difference(NodeState::read(lab().node()));
        EXPECT_EQ(difference, "");
    }

    /// Database, links and held port tell one story about @p label.
    void expect_whole_or_absent(const std::string& label, std::uint16_t port) {
        const json row = lab().endpoint(label);
        const bool exists = !row.is_null();
        EXPECT_EQ(lab().at(label).has_link("eth0"), exists);
        const int error = Socket::bound(lab().node(), Transport::kTcp, {"0.0.0.0", port}).error();
        const bool published = exists && row.dump().find(std::to_string(port)) != std::string::npos;
        EXPECT_EQ(error, published ? EADDRINUSE : 0);
        const Socket listener = Socket::listener(lab().at(label), {"0.0.0.0", 80});
        EXPECT_EQ(Socket::connected(lab().client(), Transport::kTcp, {kNodeIp, port}, {}, Millis{published ? 3000 : 200}).ok(), published);
    }

private:
    Socket listener_;
    Socket caller_;
    Socket served_;
    NodeState before_;
};

TEST_F(Crash, AttachKilledAtAnyStepLeavesAStateThatTheNextCommandRepairs) {
    start_witness();
    lab().container("web");
    kill_at_every_step(
        lab().attach_args("web", {"-p", "2001:80"}),
        [&] {
            expect_witness_undisturbed();
            expect_whole_or_absent("web", 2001);
            const CommandResult again = lab().fastnet(lab().attach_args("web", {"-p", "2001:80"}));
            EXPECT_EQ(again.status, 0) << again;
            expect_whole_or_absent("web", 2001);
        },
        [&] {
            EXPECT_EQ(lab().fastnet({"detach", "web"}).status, 0);
            expect_node_as_before();
        });
}

TEST_F(Crash, DetachKilledAtAnyStepLeavesAStateThatTheNextCommandRepairs) {
    start_witness();
    lab().attach("web", {"-p", "2001:80"});
    kill_at_every_step(
        {"detach", "web"},
        [&] {
            expect_witness_undisturbed();
            expect_whole_or_absent("web", 2001);
            if (!lab().endpoint("web").is_null()) {
                EXPECT_EQ(lab().fastnet({"detach", "web"}).status, 0);
            }
            EXPECT_EQ(lab().at("web").links(), std::vector<std::string>{"lo"});
            expect_node_as_before();
        },
        [&] {
            lab().attach("web", {"-p", "2001:80"});
        });
}

TEST_F(Crash, PublishKilledAtAnyStepLeavesAStateThatTheNextCommandRepairs) {
    start_witness();
    lab().attach("web");
    kill_at_every_step(
        {"publish", "web", "2001:80"},
        [&] {
            expect_witness_undisturbed();
            expect_whole_or_absent("web", 2001);
            EXPECT_EQ(lab().fastnet({"publish", "web", "2001:80"}).status, 0);
            expect_whole_or_absent("web", 2001);
        },
        [&] {
            EXPECT_EQ(lab().fastnet({"unpublish", "web", "2001:80"}).status, 0);
        });
}

TEST_F(Crash, UnpublishKilledAtAnyStepLeavesAStateThatTheNextCommandRepairs) {
    start_witness();
    lab().attach("web", {"-p", "2001:80"});
    kill_at_every_step(
        {"unpublish", "web", "2001:80"},
        [&] {
            expect_witness_undisturbed();
            expect_whole_or_absent("web", 2001);
        },
        [&] {
            EXPECT_EQ(lab().fastnet({"publish", "web", "2001:80"}).status, 0);
        });
}

TEST_F(Crash, PreparingTheNodeKilledAtAnyStepIsRepairedByTheNextCommand) {
    kill_at_every_step(
        {"attach", "--mode", "bridge"}, [&] { EXPECT_EQ(lab().json({"status"})["uplinks"].size(), 1U); },
        [&] {
            const PinnedObjects pinned = lab().root().pinned();
            EXPECT_EQ(lab().fastnet({"cleanup"}).status, 0);
            lab().expect_nothing_left(pinned);
        });
}

TEST_F(Crash, ReloadKilledAtAnyStepDisturbsNoFlow) {
    start_witness();
    kill_at_every_step(
        {"attach", "--mode", "bridge", "--reload"}, [&] { expect_witness_undisturbed(); }, [&] { expect_node_as_before(); });
}

TEST_F(Crash, NetworkCommandsKilledAtAnyStepAreRepaired) {
    start_witness();
    kill_at_every_step(
        {"network", "create", "blue", "--subnet", "10.99.0.0/24"},
        [&] {
            expect_witness_undisturbed();
            const CommandResult again = lab().fastnet({"network", "create", "blue", "--subnet", "10.99.0.0/24"});
            EXPECT_TRUE(again.status == kDone || again.status == kConflict) << again;
            lab().attach("probe", {"--network", "blue"});
            EXPECT_EQ(lab().fastnet({"detach", "probe"}).status, 0);
        },
        [&] {
            EXPECT_EQ(lab().fastnet({"network", "rm", "blue"}).status, 0);
            expect_node_as_before();
        });
    EXPECT_EQ(lab().fastnet({"network", "create", "blue", "--subnet", "10.99.0.0/24"}).status, 0);
    kill_at_every_step(
        {"network", "rm", "blue"},
        [&] {
            expect_witness_undisturbed();
            const CommandResult again = lab().fastnet({"network", "rm", "blue"});
            EXPECT_TRUE(again.status == kDone || again.status == kNotFound) << again;
            expect_node_as_before();
        },
        [&] {
            EXPECT_EQ(lab().fastnet({"network", "create", "blue", "--subnet", "10.99.0.0/24"}).status, 0);
        });
    EXPECT_EQ(lab().fastnet({"network", "rm", "blue"}).status, 0);
}

TEST_F(Crash, CleanupKilledAtAnyStepIsFinishedByTheNextCleanup) {
    constexpr int kLimit = 400;
    int step = 1;
    for (; step <= kLimit && !HasFailure(); ++step) {
        SCOPED_TRACE("killed at step " + std::to_string(step));
        lab().attach("web", {"-p", "2001:80"});
        const PinnedObjects pinned = lab().root().pinned();
        const CommandResult result = lab().fastnet({"cleanup"}, {.env = {{"FASTNET_CRASH_AT", std::to_string(step)}}});
        const bool killed = result.status == 128 + SIGKILL;
        if (killed) {
            EXPECT_EQ(lab().fastnet({"cleanup"}).status, 0);
        } else {
            EXPECT_EQ(result.status, 0) << result;
        }
        lab().expect_nothing_left(pinned);
        if (!killed) break;
    }
    EXPECT_GT(step, 3) << "FASTNET_CRASH_AT has no effect";
    EXPECT_LE(step, kLimit);
}

TEST_F(Crash, KillAtRandomMomentsFromOutsideIsRepairedToo) {
    start_witness();
    lab().container("web");
    // The moments differ from run to run, the promise does not.
    for (int delay_ms = 0; delay_ms < 40; delay_ms += 2) {
        SCOPED_TRACE(delay_ms);
        Background attach = lab().fastnet_background(lab().attach_args("web", {"-p", "2001:80"}));
        attach.wait(Millis{delay_ms});
        attach.kill();
        ASSERT_EQ(lab().fastnet({"attach", "--mode", "bridge"}).status, 0);
        expect_whole_or_absent("web", 2001);
        expect_witness_undisturbed();
        lab().fastnet({"detach", "web"});
        expect_node_as_before();
        ASSERT_FALSE(HasFailure());
    }
}

}  // namespace
}  // namespace fastnet::test
