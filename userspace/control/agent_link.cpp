#include "userspace/control/agent_link.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>

#include "loader/datapath.h"
#include "userspace/store/state_dir.h"

namespace fastnet {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxDocument = std::size_t{4} << 20U;
constexpr int kMaxDepth = 32;
constexpr std::size_t kMaxRows = 1'000;

std::filesystem::path lock_file(const NodePaths& paths) {
    return paths.run_dir / "agent.lock";
}

/// An OFD lock: it belongs to the open file, can be asked for without being taken, and needs no descriptor kept from others.
struct flock whole_file() {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return lock;
}

pid_t pid_in(int fd) {
    std::array<char, 16> text{};
    const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
    pid_t pid = 0;
    if (size > 0) (void)std::from_chars(text.data(), text.data() + size, pid);
    return pid;
}

bool names(const std::filesystem::path& path, int fd) {
    struct stat held {};
    struct stat named {};
    return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 && held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

/// Waits until @p fd can do @p events; false at the end of @p deadline.
bool is_ready(int fd, short events, std::chrono::steady_clock::time_point deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd waiting{fd, events, 0};
    return left > 0 && ::poll(&waiting, 1, static_cast<int>(left)) > 0;
}

/// One question and its answer, by HTTP/1.0: that ends with the connection, so it takes no parser. A library for it would be loaded by
/// every command (libcurl alone brings 32, and 8 ms).
Result<std::string> ask(const NodePaths& paths, std::chrono::milliseconds patience) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    const ShortPath path = TRY(ShortPath::open(agent_socket(paths)));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.str().copy(address.sun_path, sizeof address.sun_path - 1);
    const UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!socket) return sys_error(errno, "make a socket");
    // A full backlog refuses at once (EAGAIN): an agent that is stuck.
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return sys_error(errno, "connect to " + agent_socket(paths).string());
    constexpr std::string_view kQuestion = "GET /v1/status HTTP/1.0\r\nHost: agent\r\n\r\n";
    if (::send(socket.get(), kQuestion.data(), kQuestion.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(kQuestion.size()))
        return sys_error(errno, "ask the agent");
    std::string answer;
    std::array<char, 16384> chunk{};
    while (is_ready(socket.get(), POLLIN, deadline)) {
        const ssize_t size = ::recv(socket.get(), chunk.data(), chunk.size(), 0);
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (size < 0) return sys_error(errno, "read the agent's answer");
        if (size > 0) {
            answer.append(chunk.data(), static_cast<std::size_t>(size));
            if (answer.size() > kMaxDocument) return failed("the agent's answer is too long");
            continue;
        }
        const std::size_t body = answer.find("\r\n\r\n");
        if (!answer.starts_with("HTTP/1.") || answer.substr(8, 4) != " 200" || body == std::string::npos)
            return failed("its answer is no document");
        return answer.substr(body + 4);
    }
    return failed("it does not answer");
}

/// Depth is bounded before the parser's recursion (of its destructor) could matter.
Json parse_bounded(std::string_view document) {
    const auto shallow = [](int depth, Json::parse_event_t, Json&) { return depth <= kMaxDepth; };
    return Json::parse(document, shallow, false);
}

std::string text_in(const Json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_string()) return {};
    std::string text = found->get<std::string>().substr(0, 1'000);
    for (char& letter : text)
        if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f) letter = ' ';  // it goes to a terminal
    return text;
}

/// The objects of an array; anything else is none.
std::vector<Json> rows_in(const Json& object, const char* key) {
    std::vector<Json> rows;
    const auto found = object.find(key);
    if (found == object.end() || !found->is_array()) return rows;
    for (const Json& row : *found)
        if (row.is_object() && rows.size() < kMaxRows) rows.push_back(row);
    return rows;
}

CheckResult result_from(const std::string& word) {
    if (word == "ok") return CheckResult::kOk;
    return word == "warn" ? CheckResult::kWarn : CheckResult::kFail;
}

}  // namespace

Result<AgentLock> AgentLock::acquire(const NodePaths& paths) {
    CHECK_OK(make_state_dir(paths.run_dir));
    const std::filesystem::path file = lock_file(paths);
    for (;;) {
        UniqueFd fd{::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
        if (!fd) return sys_error(errno, "open lock " + file.string());
        struct flock lock = whole_file();
        if (::fcntl(fd.get(), F_OFD_SETLK, &lock) != 0) {
            if (errno != EAGAIN && errno != EACCES) return sys_error(errno, "take lock " + file.string());
            return conflict("start the agent: pid " + std::to_string(pid_in(fd.get())) + " is this node's agent already",
                            "one agent per node (or --root): end that one first");
        }
        if (!names(file, fd.get())) continue;  // its holder removed it meanwhile
        const std::string pid = std::to_string(::getpid());
        if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size()))
            return sys_error(errno, "write " + file.string());
        return AgentLock{std::move(fd), paths};
    }
}

void AgentLock::release_files() {
    if (!fd_) return;
    (void)::unlink(agent_socket(paths_).c_str());
    (void)::unlink(lock_file(paths_).c_str());
}

std::optional<pid_t> running_agent(const NodePaths& paths) {
    const UniqueFd fd{::open(lock_file(paths).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
    struct flock lock = whole_file();
    if (!fd || ::fcntl(fd.get(), F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return std::nullopt;
    return pid_in(fd.get());
}

void remove_agent_leftovers(const NodePaths& paths) {
    // Taken and let go: the destructor removes both files, unless an agent runs.
    std::error_code ignored;
    if (std::filesystem::exists(lock_file(paths), ignored)) (void)AgentLock::acquire(paths).has_value();
}

std::filesystem::path agent_socket(const NodePaths& paths) {
    return paths.run_dir / "agent.sock";
}

Result<ShortPath> ShortPath::open(const std::filesystem::path& path) {
    UniqueFd directory{::open(path.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!directory) return sys_error(errno, "open " + path.parent_path().string());
    std::string text = "/proc/self/fd/" + std::to_string(directory.get()) + "/" + path.filename().string();
    return ShortPath{std::move(directory), std::move(text)};
}

AgentView agent_view(std::string_view document) {
    AgentView view;
    view.running = true;
    const Json json = parse_bounded(document);
    const auto pid = json.is_object() ? json.find("pid") : json.end();
    const auto ready = json.is_object() ? json.find("ready") : json.end();
    if (!json.is_object() || pid == json.end() || !pid->is_number_unsigned() || ready == json.end() || !ready->is_boolean()) {
        view.trouble = "its answer is not what an agent answers";
        return view;
    }
    view.pid = pid->get<std::uint64_t>();
    view.ready = ready->get<bool>();
    view.version = text_in(json, "version");
    view.since = text_in(json, "since");
    for (const Json& part : rows_in(json, "parts"))
        view.parts.push_back({text_in(part, "name"), text_in(part, "state"), text_in(part, "reason")});
    for (const Json& check : rows_in(json, "checks"))
        view.checks.push_back(
            {text_in(check, "name"), result_from(text_in(check, "result")), text_in(check, "text"), text_in(check, "fix")});
    return view;
}

AgentView read_agent(const NodePaths& paths, std::chrono::milliseconds patience) {
    AgentView view;
    const auto pid = running_agent(paths);
    if (!pid) return view;
    const auto document = ask(paths, patience);
    if (document) {
        view = agent_view(*document);
    } else {
        view.trouble = document.error().message;
    }
    view.running = true;
    view.pid = static_cast<std::uint64_t>(*pid);  // of the lock: nobody else can have written it
    return view;
}

std::string programs_build() {
    return Datapath::build_id();
}

}  // namespace fastnet
