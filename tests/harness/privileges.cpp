#include "tests/harness/privileges.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace fastnet::test {
namespace {

struct Capability {
    unsigned bit;  // linux/capability.h
    const char* name;
};
constexpr std::array kNeeded{Capability{12, "CAP_NET_ADMIN"}, Capability{13, "CAP_NET_RAW"}, Capability{21, "CAP_SYS_ADMIN"},
                             Capability{39, "CAP_BPF"}};

}  // namespace

std::string missing_privilege() {
    std::ifstream status{"/proc/self/status"};
    std::uint64_t effective = 0;
    for (std::string line; std::getline(status, line);) {
        if (line.rfind("CapEff:", 0) == 0) effective = std::stoull(line.substr(7), nullptr, 16);
    }
    for (const Capability& capability : kNeeded) {
        if ((effective >> capability.bit & 1U) == 0) return std::string{"needs "} + capability.name;
    }
    return {};
}

std::string missing_program(const std::string& program) {
    const char* const path = std::getenv("PATH");
    std::istringstream directories{path != nullptr ? path : ""};
    for (std::string directory; std::getline(directories, directory, ':');) {
        if (std::filesystem::exists(std::filesystem::path{directory} / program)) return {};
    }
    return "needs the program " + program;
}

}  // namespace fastnet::test
