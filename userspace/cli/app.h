// The command line as a whole: from argv to a Context with an action, or to the text and exit status of help, version
// and usage errors. Runs nothing and prints nothing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "loader/base/result.h"
#include "userspace/cli/context.h"

namespace fastnet {

/// Text that ends the program without an action: help or version.
struct Answer {
    std::string text;
};

/// Fills @p context. An Answer if the user asked for help or the version.
Result<std::optional<Answer>> parse_command_line(const std::vector<std::string>& args, Context& context);

/// `fastnet: <what>: <why>`, and one line on what to do.
std::string error_text(const Error& error);

}  // namespace fastnet
