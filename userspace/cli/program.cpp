#include "userspace/cli/program.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "userspace/cli/app.h"
#include "userspace/control/agent_link.h"

#ifndef FASTNET_VERSION
#define FASTNET_VERSION "unknown"
#endif

namespace fastnet {
namespace {

Status print(std::FILE* stream, const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), stream) == text.size() && std::fflush(stream) == 0) return ok();
    return sys_error(errno, "write to standard output");
}

void print_warning(const std::string& text) {
    (void)print(stderr, "fastnet: warning: " + text + "\n");
}

int fail(const Error& error) {
    (void)print(stderr, error_text(error));
    return static_cast<int>(error.kind);
}

constexpr const char* kBuildVariable = "FASTNET_BUILD";

std::string build_name() {
    return FASTNET_VERSION " (" + programs_build() + ")";
}

/// An answer that did not arrive is a failure, whatever was done before.
int answer(const std::string& text, int exit_status) {
    const Status printed = print(stdout, text);
    return printed ? exit_status : fail(printed.error());
}

}  // namespace

void tell_build() {
    ::setenv(kBuildVariable, build_name().c_str(), 1);
}

Status check_build() {
    const char* const told = std::getenv(kBuildVariable);
    if (told == nullptr) return ok();  // started by itself
    const std::string other = told;
    ::unsetenv(kBuildVariable);
    if (other == build_name()) return ok();
    return failed("start the agent: fastnet is of build " + other + ", fastnet-agent beside it of " + build_name(),
                  "install both from one build");
}

int run_program(int argc, char** argv, AgentAction agent) {
    Context context;
    context.warn = print_warning;
    context.agent = agent;
    const auto help = parse_command_line(std::vector<std::string>{argv + 1, argv + argc}, context);
    if (!help) return fail(help.error());
    if (*help) return answer((*help)->text, 0);
    const auto output = context.action();
    if (!output) return fail(output.error());
    for (const std::string& warning : output->warnings) print_warning(warning);
    return answer(output->text, output->exit_status);
}

}  // namespace fastnet
