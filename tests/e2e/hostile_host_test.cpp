// The same promises on a host that has rules of its own: conntrack, bridge netfilter, FORWARD DROP, a flushed ruleset.
// (A running Docker: docker_test.cpp.) fastnet must neither need nor suffer from any of them.
#include <gtest/gtest.h>

#include "tests/harness/lab.h"

namespace fastnet::test {
namespace {

enum class Host { kConntrackAndForwardDrop, kLegacyForwardDrop, kNftablesForwardDrop, kFlushedAfterwards };

class HostileHost : public LabTest, public ::testing::WithParamInterface<Host> {
protected:
    void prepare() {
        lab().node().set_sysctl("net.bridge.bridge-nf-call-iptables", "1");
        add_rules();
        lab().rebaseline();
    }
    void add_rules() {
        const Netns& node = lab().node();
        switch (GetParam()) {
            case Host::kLegacyForwardDrop:
                EXPECT_TRUE(
                    node.shell("iptables-legacy -P FORWARD DROP && iptables-legacy -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT")
                        .ok());
                break;
            case Host::kNftablesForwardDrop:
                EXPECT_TRUE(
                    node.shell("nft 'add table inet fw; add chain inet fw forward { type filter hook forward priority -150; policy drop; };"
                               "add chain inet fw input { type filter hook input priority 0; policy accept; };"
                               "add rule inet fw input ct state established accept'")
                        .ok());
                break;
            case Host::kConntrackAndForwardDrop:
            case Host::kFlushedAfterwards:
                EXPECT_TRUE(node.shell("iptables -P FORWARD DROP && iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT &&"
                                       "iptables -t nat -A POSTROUTING -o docker0 -j MASQUERADE")
                                .ok());
                break;
        }
    }
};

TEST_P(HostileHost, KeepsEveryPromise) {
    prepare();
    lab().json({"network", "create", "blue"});
    lab().json({"network", "create", "red"});
    lab().attach("web", {"--network", "blue", "-p", "2000:80", "-p", "2007:7/udp"});
    lab().attach("app", {"--network", "blue"});
    lab().attach("stranger", {"--network", "red"});
    if (GetParam() == Host::kFlushedAfterwards) {
        EXPECT_TRUE(lab().node().run({"nft", "flush", "ruleset"}).ok());
    }
    const WebServer web{lab().at("web"), "web", {80, 8080}};
    const UdpEcho echo{lab().at("web"), 7};
    const WebServer outside{lab().client(), "outside"};
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 2000)), "web " + kClientIp + " " + lab().ip("web") + ":80\n");
    EXPECT_TRUE(udp_answers(lab().client(), {kNodeIp, 2007}));
    EXPECT_EQ(fetch(lab().client(), url(kNodeIp, 8080), 1), "");
    EXPECT_EQ(fetch(lab().at("app"), url(lab().ip("web"), 80)), "web " + lab().ip("app") + " " + lab().ip("web") + ":80\n");
    EXPECT_EQ(fetch(lab().at("app"), url(kInternetIp, 80)), "outside " + kNodeIp + " " + kInternetIp + ":80\n");
    EXPECT_NE(fetch(lab().node(), url(lab().ip("web"), 80)), "");
    const std::uint64_t isolated = lab().verdict("NETWORK_ISOLATED");
    EXPECT_EQ(fetch(lab().at("stranger"), url(lab().ip("web"), 80), 1), "");
    EXPECT_GT(lab().verdict("NETWORK_ISOLATED"), isolated);
    lab().client().ip({"route add " + lab().ip("web") + "/32 via " + kNodeIp});
    const std::uint64_t refused = lab().verdict("NOT_PUBLISHED");
    EXPECT_EQ(fetch(lab().client(), url(lab().ip("web"), 8080), 1), "");
    EXPECT_GT(lab().verdict("NOT_PUBLISHED"), refused);
    if (GetParam() == Host::kFlushedAfterwards) add_rules();  // as they were, so that the end of the test finds no difference
}

INSTANTIATE_TEST_SUITE_P(Rules, HostileHost,
                         ::testing::Values(Host::kConntrackAndForwardDrop, Host::kLegacyForwardDrop, Host::kNftablesForwardDrop,
                                           Host::kFlushedAfterwards),
                         [](const auto& test) -> std::string {
                             switch (test.param) {
                                 case Host::kConntrackAndForwardDrop: return "ConntrackBridgeNetfilterAndForwardDrop";
                                 case Host::kLegacyForwardDrop: return "LegacyIptablesForwardDrop";
                                 case Host::kNftablesForwardDrop: return "NftablesForwardDrop";
                                 case Host::kFlushedAfterwards: return "RulesetFlushedAfterwards";
                             }
                             return "Unknown";
                         });

class OwnRules : public LabTest {};

TEST_F(OwnRules, FastnetMakesNoIptablesOrNftablesRule) {
    const std::string legacy = lab().node().run({"iptables-legacy-save"}).out;
    lab().attach("web", {"-p", "2000:80"});
    EXPECT_EQ(lab().node().run({"nft", "list", "ruleset"}).out, "");
    EXPECT_EQ(lab().node().run({"iptables-legacy-save"}).out, legacy);
    EXPECT_EQ(lab().at("web").run({"nft", "list", "ruleset"}).out, "");
}

TEST_F(OwnRules, FastPathFlowsNeverEnterTheHostsConntrack) {
    EXPECT_TRUE(lab().node().shell("iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT").ok());
    lab().rebaseline();
    lab().attach("web", {"-p", "2000:80"});
    const WebServer web{lab().at("web"), "web"};
    const WebServer outside{lab().client(), "outside", {8099}};
    ASSERT_NE(fetch(lab().client(), url(kNodeIp, 2000)), "");
    ASSERT_NE(fetch(lab().at("web"), url(kInternetIp, 8099)), "");
    const std::string table = lab().node().run({"conntrack", "-L"}).out;
    EXPECT_EQ(table.find("dport=2000"), std::string::npos) << table;
    EXPECT_EQ(table.find("dport=8099"), std::string::npos) << table;
}

}  // namespace
}  // namespace fastnet::test
