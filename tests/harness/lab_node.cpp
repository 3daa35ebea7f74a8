#include "tests/harness/lab_node.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "tests/harness/wait.h"

#ifndef FASTNET_DEFAULT_BIN
#define FASTNET_DEFAULT_BIN "fastnet"
#endif

namespace fastnet::test {
namespace fs = std::filesystem;
namespace {

/// Processes whose command line names @p root: nothing may stay behind to keep the datapath alive.
std::vector<std::string> processes_naming(const std::string& root) {
    std::vector<std::string> found;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator{"/proc", error}) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        std::ifstream file{entry.path() / "cmdline"};
        std::ostringstream text;
        text << file.rdbuf();  // not by iterators: these throw when the process ends meanwhile (ESRCH)
        std::string line = text.str();
        std::replace(line.begin(), line.end(), '\0', ' ');
        if (line.find(root) != std::string::npos) found.push_back(name + ": " + line);
    }
    return found;
}

std::string without_lines(const std::string& text, const std::optional<std::string>& exception) {
    if (!exception) return text;
    std::string kept;
    std::istringstream lines{text};
    for (std::string line; std::getline(lines, line);) {
        if (line.find(*exception) == std::string::npos) kept += line + "\n";
    }
    return kept;
}

std::string list(const std::set<std::uint32_t>& ids) {
    std::ostringstream text;
    for (const std::uint32_t id : ids) text << id << ' ';
    return text.str();
}

}  // namespace

std::string fastnet_binary() {
    const char* const given = std::getenv("FASTNET_BIN");
    return given != nullptr ? given : FASTNET_DEFAULT_BIN;
}

LabNode::LabNode(std::string prefix, const std::string& name)
    : prefix_{std::move(prefix)},
      node_{std::make_unique<Netns>(prefix_ + "-" + name)},
      root_{std::make_unique<RootDir>(prefix_ + "-" + name + "-root")} {}

LabNode::~LabNode() {
    // The namespaces go first: with them go the links that programs are attached to.
    containers_.clear();
    node_.reset();
}

void LabNode::lose_power(const std::function<bool()>& gone) {
    static int boots = 0;
    const std::string name = node_->name();
    containers_.clear();
    addresses_.clear();
    root_->unmount();
    node_.reset();
    EXPECT_TRUE(wait_until(gone));  // the namespace goes in the background
    node_ = std::make_unique<Netns>(name);
    env_ = {{"FASTNET_BOOT_ID", "00000000-0000-4000-8000-" + std::to_string(100000000000 + ++boots)}};
}

Argv LabNode::fastnet_argv(const Argv& args) const {
    Argv argv = wrapper_;
    argv.insert(argv.end(), {fastnet_binary(), "--root", root_->string()});
    argv.insert(argv.end(), args.begin(), args.end());
    return argv;
}

CommandResult LabNode::fastnet(const Argv& args, RunOptions options) const {
    options.env.insert(options.env.end(), env_.begin(), env_.end());
    return node_->run(fastnet_argv(args), std::move(options));
}

Background LabNode::fastnet_background(const Argv& args, RunOptions options) const {
    options.env.insert(options.env.end(), env_.begin(), env_.end());
    return node_->background(fastnet_argv(args), std::move(options));
}

nlohmann::json LabNode::json(Argv args) const {
    // Before a `--` of run: the flag is fastnet's.
    args.insert(std::find(args.begin(), args.end(), "--"), "--json");
    const CommandResult result = fastnet(args);
    std::ostringstream command;
    for (const std::string& word : args) command << word << ' ';
    EXPECT_TRUE(result.ok()) << "fastnet " << command.str() << "\n" << result;
    nlohmann::json value = nlohmann::json::parse(result.out, nullptr, false);
    EXPECT_FALSE(value.is_discarded()) << "fastnet " << command.str() << "printed no JSON:\n" << result;
    return value.is_discarded() ? nlohmann::json{} : value;
}

const Netns& LabNode::container(const std::string& label) {
    auto& slot = containers_[label];
    if (!slot) slot = std::make_unique<Netns>(prefix_ + "-" + label);
    return *slot;
}

void LabNode::lose_container(const std::string& label) {
    containers_.erase(label);
}

Argv LabNode::attach_args(const std::string& label, const Argv& extra, const std::string& mode) const {
    Argv args{"attach", "--mode", mode, "--netns", netns_argument(label), "--name", label};
    args.insert(args.end(), extra.begin(), extra.end());
    return args;
}

nlohmann::json LabNode::attach(const std::string& label, const Argv& extra, const std::string& mode) {
    container(label);
    nlohmann::json row = json(attach_args(label, extra, mode));
    addresses_[label] = "0.0.0.0";
    for (const char* const family : {"ipv6", "ipv4"})
        if (row.is_object() && row.contains(family) && row[family].is_string())
            addresses_[label] = without_prefix_length(row[family].get<std::string>());
    if (addresses_[label] == "0.0.0.0") ADD_FAILURE() << "attach of " << label << " printed no address: " << row.dump();
    return row;
}

std::uint64_t LabNode::verdict(const std::string& name) const {
    const nlohmann::json stats = json({"stats"});
    const auto pointer = nlohmann::json::json_pointer{"/verdicts/" + name + "/packets"};
    return stats.contains(pointer) ? stats.at(pointer).get<std::uint64_t>() : 0;
}

nlohmann::json LabNode::endpoint(const std::string& label) const {
    const nlohmann::json rows = json({"endpoints"});
    for (const auto& row : rows) {
        if (row.is_object() && row.value("name", "") == label) return row;
    }
    return nullptr;
}

std::size_t LabNode::count(const std::string& what) const {
    return json({what}).size();
}

std::vector<std::string> LabNode::processes() const {
    return processes_naming(root_->string());
}

void LabNode::rebaseline() {
    baseline_ = NodeState::read(*node_);
}

void LabNode::expect_nothing_left(const PinnedObjects& before, const std::optional<std::string>& exception) {
    std::string difference;
    const bool same = wait_until([&] {
        difference = without_lines(baseline_.difference(NodeState::read(*node_)), exception);
        return difference.empty();
    });
    EXPECT_TRUE(same) << "cleanup left in the node's namespace:\n" << difference;
    EXPECT_TRUE(root_->pin_files().empty()) << "pins are left, the first is " << root_->pin_files().front();
    EXPECT_TRUE(root_->mounts().empty()) << "a mount is left: " << root_->mounts().front();
    const auto files = root_->files();
    EXPECT_TRUE(files.empty()) << "a file is left: " << files.front();
    PinnedObjects alive;
    const bool gone = wait_until(
        [&] {
            alive = still_alive(before);
            return alive.empty();
        },
        Millis{10'000});
    EXPECT_TRUE(gone) << "kernel objects are left; links: " << list(alive.links) << " programs: " << list(alive.programs)
                      << " maps: " << list(alive.maps);
    for (const auto& [label, netns] : containers_) {
        if (!fs::exists(netns->path())) continue;
        EXPECT_EQ(netns->links(), std::vector<std::string>{"lo"}) << "an interface is left in container " << label;
    }
    const auto left = processes();
    EXPECT_TRUE(left.empty()) << "a process is left: " << left.front();
}

void LabNode::cleanup_and_verify() {
    clean(std::nullopt);
}

void LabNode::cleanup_and_verify_except(const std::string& exception) {
    clean(exception);
}

void LabNode::clean(const std::optional<std::string>& exception) {
    cleaned_ = true;
    const PinnedObjects before = root_->pinned();
    RunOptions options;
    options.timeout = Millis{30'000};
    const CommandResult result = fastnet({"cleanup"}, options);
    EXPECT_TRUE(result.ok()) << "fastnet cleanup\n" << result;
    expect_nothing_left(before, exception);
}

void expect_error(const CommandResult& result, int status, const std::vector<std::string>& mentions) {
    expect_error_in(result, {status}, mentions);
}

void expect_error_in(const CommandResult& result, const std::vector<int>& statuses, const std::vector<std::string>& mentions) {
    EXPECT_TRUE(std::find(statuses.begin(), statuses.end(), result.status) != statuses.end())
        << "expected status " << ::testing::PrintToString(statuses) << "\n"
        << result;
    std::istringstream lines{result.err};
    std::string first;
    std::string hint;
    std::getline(lines, first);
    std::getline(lines, hint);
    EXPECT_TRUE(std::regex_match(first, std::regex{"fastnet: .+: .+"})) << "the first line of stderr is not `fastnet: <what>: <why>`\n"
                                                                        << result;
    EXPECT_FALSE(hint.empty()) << "no second line that says what to do\n" << result;
    for (const std::string& mention : mentions) {
        EXPECT_NE(result.err.find(mention), std::string::npos) << "the error does not mention '" << mention << "'\n" << result;
    }
}

std::string without_prefix_length(const std::string& address) {
    return address.substr(0, address.find('/'));
}

}  // namespace fastnet::test
