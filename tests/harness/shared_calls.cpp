#include "tests/harness/shared_calls.h"

#include <arpa/inet.h>

#include <array>
#include <cstdio>

namespace fastnet::test {

CommandResult call_shared(const LabNode& node, const nlohmann::json& request, RunOptions options) {
    options.input = request.dump();
    return node.node().run({FASTNET_SHARED_DRIVER, node.root().string()}, std::move(options));
}

nlohmann::json must_call_shared(const LabNode& node, const nlohmann::json& request) {
    const CommandResult result = call_shared(node, request, {.timeout = Millis{60'000}});
    EXPECT_TRUE(result.ok()) << request.dump().substr(0, 400) << "\n" << result;
    nlohmann::json answer = nlohmann::json::parse(result.out, nullptr, false);
    EXPECT_FALSE(answer.is_discarded()) << result;
    return answer.is_discarded() ? nlohmann::json{} : answer;
}

nlohmann::json remote_spec(const std::string& ref, const std::string& uid, const std::string& ipv4, const std::string& peer,
                           const std::string& node) {
    return {{"ref", ref}, {"node", node}, {"name", "on-" + node}, {"uid", uid}, {"ipv4", ipv4}, {"mac", mac_for(ipv4)}, {"peer", peer}};
}

std::string mac_for(const std::string& ipv4) {
    std::array<unsigned char, 4> bytes{};
    EXPECT_EQ(::inet_pton(AF_INET, ipv4.c_str(), bytes.data()), 1) << ipv4;
    std::array<char, 18> text{};
    (void)std::snprintf(text.data(), text.size(), "02:42:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3]);
    return text.data();
}

}  // namespace fastnet::test
