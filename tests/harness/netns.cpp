#include "tests/harness/netns.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/harness/root_dir.h"

namespace fastnet::test {
namespace {

constexpr std::string_view kPrefix = "fnt";

std::string sysctl_path(const std::string& key) {
    std::string path = "/proc/sys/" + key;
    // Interface names may hold dots; the keys used by tests write them with a slash already.
    std::replace(path.begin(), path.end(), '.', '/');
    return path;
}

}  // namespace

std::string unique_prefix() {
    static std::atomic<unsigned> counter{0};
    return std::string{kPrefix} + std::to_string(::getpid()) + "-" + std::to_string(counter.fetch_add(1));
}

bool is_stale(const std::string& name) {
    if (name.rfind(kPrefix, 0) != 0) return false;
    pid_t owner = 0;
    const char* const first = name.data() + kPrefix.size();
    const auto [end, error] = std::from_chars(first, name.data() + name.size(), owner);
    if (error != std::errc{} || end == name.data() + name.size() || *end != '-') return false;
    return owner > 0 && ::kill(owner, 0) != 0 && errno == ESRCH;
}

void sweep_stale() {
    std::error_code ignored;
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator{"/run/netns", ignored}) names.push_back(entry.path().filename());
    for (const std::string& name : names) {
        if (is_stale(name)) test::run({"ip", "netns", "del", name});
    }
    sweep_stale_root_dirs();
}

Netns::Netns(std::string name) : name_{std::move(name)} {
    const CommandResult added = test::run({"ip", "netns", "add", name_});
    EXPECT_TRUE(added.ok()) << "ip netns add " << name_ << ": " << added;
    ip({"link set lo up"});
}

Netns::Netns(Netns&& other) noexcept : name_{std::exchange(other.name_, {})} {}

Netns& Netns::operator=(Netns&& other) noexcept {
    if (this != &other) {
        remove();
        name_ = std::exchange(other.name_, {});
    }
    return *this;
}

Netns::~Netns() {
    remove();
}

void Netns::remove() noexcept {
    if (name_.empty()) return;
    test::run({"ip", "netns", "del", name_});
    name_.clear();
}

CommandResult Netns::run(const Argv& argv, RunOptions options) const {
    options.netns = name_;
    return test::run(argv, options);
}

CommandResult Netns::shell(const std::string& script, RunOptions options) const {
    options.netns = name_;
    return test::shell(script, options);
}

void Netns::ip(const std::vector<std::string>& commands) const {
    RunOptions options;
    for (const std::string& command : commands) options.input += command + "\n";
    const CommandResult result = run({"ip", "-batch", "-"}, options);
    EXPECT_TRUE(result.ok()) << "in " << name_ << ":\n" << options.input << result;
}

Background Netns::background(const Argv& argv, RunOptions options) const {
    options.netns = name_;
    return Background{argv, options};
}

void Netns::inside(const std::function<void()>& body) const {
    std::thread worker{[&] {
        const int fd = ::open(path().c_str(), O_RDONLY | O_CLOEXEC);
        const bool entered = fd >= 0 && ::setns(fd, CLONE_NEWNET) == 0;
        if (fd >= 0) ::close(fd);
        if (entered) {
            body();
        } else {
            ADD_FAILURE() << "cannot enter " << path();
        }
    }};
    worker.join();
}

std::string Netns::sysctl(const std::string& key) const {
    std::string value;
    inside([&] {
        std::ifstream file{sysctl_path(key)};
        std::getline(file, value);
    });
    return value;
}

void Netns::set_sysctl(const std::string& key, const std::string& value) const {
    inside([&] {
        std::ofstream file{sysctl_path(key)};
        file << value << std::flush;
        EXPECT_TRUE(file.good()) << "sysctl " << key << " = " << value << " in " << name_;
    });
}

std::string Netns::link_field(const std::string& ifname, const std::string& field) const {
    const CommandResult result = run({"ip", "-j", "-d", "link", "show", "dev", ifname});
    const auto links = nlohmann::json::parse(result.out, nullptr, false);
    if (!links.is_array() || links.empty() || !links[0].contains(field)) return {};
    const auto& value = links[0][field];
    return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string Netns::mac(const std::string& ifname) const {
    return link_field(ifname, "address");
}

bool Netns::has_link(const std::string& ifname) const {
    return !link_field(ifname, "ifname").empty();
}

std::vector<std::string> Netns::links() const {
    std::vector<std::string> names;
    const CommandResult result = run({"ip", "-j", "link"});
    const auto links = nlohmann::json::parse(result.out, nullptr, false);
    if (links.is_array()) {
        for (const auto& link : links) names.push_back(link.value("ifname", ""));
    }
    std::sort(names.begin(), names.end());
    return names;
}

}  // namespace fastnet::test
