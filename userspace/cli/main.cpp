// `fastnet`: every command but `agent`, for which it becomes the program beside it.
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "userspace/cli/program.h"

namespace {

char** g_arguments = nullptr;

/// Same process, same arguments: whoever started it (a shell, systemd) sees no difference.
fastnet::Result<fastnet::Output> become_agent(const fastnet::AgentWords&, const fastnet::Context&) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    const fs::path here = fs::read_symlink("/proc/self/exe", ignored).parent_path();
    fastnet::tell_build();
    for (const fs::path& agent : {here / "fastnet-agent", here.parent_path() / "libexec" / "fastnet" / "fastnet-agent"}) {
        ::execv(agent.c_str(), g_arguments);
        if (errno != ENOENT) return fastnet::sys_error(errno, "start " + agent.string());
    }
    return fastnet::failed("start the agent: there is no fastnet-agent beside " + (here / "fastnet").string(),
                           "it is built and installed with fastnet: put it into the same directory");
}

}  // namespace

int main(int argc, char** argv) {
    g_arguments = argv;
    return fastnet::run_program(argc, argv, become_agent);
}
