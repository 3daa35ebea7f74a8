// The agent's log: lines on stderr. Under systemd the journal gets the level and keeps the time; elsewhere both are in the line.
#pragma once

#include <spdlog/logger.h>

#include <memory>

#include "userspace/agent/config.h"

namespace fastnet {

std::shared_ptr<spdlog::logger> make_log();
void set_level(spdlog::logger& log, LogLevel level);

}  // namespace fastnet
