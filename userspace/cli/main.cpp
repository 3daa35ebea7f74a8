// The program: parse, act, print once. Nothing else prints, nothing of ours throws.
#include <cstdio>
#include <string>
#include <vector>

#include "userspace/cli/app.h"

namespace {

void print(std::FILE* stream, const std::string& text) {
    (void)std::fwrite(text.data(), 1, text.size(), stream);
    (void)std::fflush(stream);
}

void print_warning(const std::string& text) {
    print(stderr, "fastnet: warning: " + text + "\n");
}

int fail(const fastnet::Error& error) {
    print(stderr, fastnet::error_text(error));
    return static_cast<int>(error.kind);
}

}  // namespace

int main(int argc, char** argv) {
    fastnet::Context context;
    context.warn = print_warning;
    const auto answer = fastnet::parse_command_line(std::vector<std::string>{argv + 1, argv + argc}, context);
    if (!answer) return fail(answer.error());
    if (*answer) {
        print(stdout, (*answer)->text);
        return 0;
    }
    const auto output = context.action();
    if (!output) return fail(output.error());
    for (const std::string& warning : output->warnings) print_warning(warning);
    print(stdout, output->text);
    return output->exit_status;
}
