// Runs real programs for the tests: to the end with a bound (run), or beside the test (Background).
// Knows nothing of fastnet. Invariant: every process started here is gone when its owner is, killed by its own
// process group, never by name; a killed test takes them along (PR_SET_PDEATHSIG).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace fastnet::test {

using Argv = std::vector<std::string>;
using Millis = std::chrono::milliseconds;

/// What a finished command left behind.
struct CommandResult {
    int status = -1;         ///< exit status; 128 + signal when it was killed; -1 when it could not be started
    bool timed_out = false;  ///< killed because its bound was over
    std::string out;
    std::string err;
    bool ok() const { return status == 0 && !timed_out; }
};
std::ostream& operator<<(std::ostream& stream, const CommandResult& result);

struct RunOptions {
    std::string netns{};  ///< name below /run/netns; empty = the caller's
    Millis timeout{15'000};
    std::vector<std::pair<std::string, std::string>> env{};  ///< added to the environment
    std::string input{};                                     ///< standard input
};

/// Runs @p argv to its end. Safe to call from several threads.
CommandResult run(const Argv& argv, const RunOptions& options = {});
/// The same through `sh -c`: for pipelines and loops inside one namespace.
CommandResult shell(const std::string& script, const RunOptions& options = {});

/// A process beside the test. Start it from the test's own thread: it dies with the thread that started it.
class Background {
public:
    Background() = default;
    explicit Background(const Argv& argv, const RunOptions& options = {});
    Background(Background&& other) noexcept;
    Background& operator=(Background&& other) noexcept;
    Background(const Background&) = delete;
    Background& operator=(const Background&) = delete;
    ~Background();

    pid_t pid() const { return pid_; }
    bool running();
    /// Its exit status within @p bound, or -1.
    int wait(Millis bound);
    /// SIGKILL to its process group, then reaps it.
    void kill();
    void signal(int number) const;
    void send(const std::string& text) const;  ///< to its standard input
    void close_input();
    std::string output();  ///< stdout and stderr up to now

private:
    void release() noexcept;

    pid_t pid_ = -1;
    int input_fd_ = -1;
    int output_fd_ = -1;  ///< an unlinked temporary file: never blocks the writer
    int status_ = -1;
};

}  // namespace fastnet::test
