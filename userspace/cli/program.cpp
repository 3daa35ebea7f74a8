#include "userspace/cli/program.h"

#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include "userspace/cli/app.h"

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

/// An answer that did not arrive is a failure, whatever was done before.
int answer(const std::string& text, int exit_status) {
    const Status printed = print(stdout, text);
    return printed ? exit_status : fail(printed.error());
}

}  // namespace

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
