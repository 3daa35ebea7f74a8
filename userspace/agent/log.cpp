#include "userspace/agent/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace fastnet {
namespace {

/// sd-daemon(3): stderr is the journal's own stream if it is the file that $JOURNAL_STREAM names.
bool stderr_is_journal() {
    const char* const stream = std::getenv("JOURNAL_STREAM");
    struct stat info {};
    return stream != nullptr && ::fstat(STDERR_FILENO, &info) == 0 &&
           stream == std::to_string(info.st_dev) + ":" + std::to_string(info.st_ino);
}

/// `<6>`: the priority of syslog(3) in front of the line.
class PriorityFlag : public spdlog::custom_flag_formatter {
public:
    void format(const spdlog::details::log_msg& message, const std::tm& /*time*/, spdlog::memory_buf_t& to) override {
        const char priority = message.level >= spdlog::level::err    ? '3'
                              : message.level == spdlog::level::warn ? '4'
                              : message.level == spdlog::level::info ? '6'
                                                                     : '7';
        for (const char letter : {'<', priority, '>'}) to.push_back(letter);
    }
    std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<PriorityFlag>(); }
};

/// The message as one line: what comes from other nodes may be in it.
class OneLineFlag : public spdlog::custom_flag_formatter {
public:
    void format(const spdlog::details::log_msg& message, const std::tm& /*time*/, spdlog::memory_buf_t& to) override {
        for (const char letter : message.payload) to.push_back(static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f ? '?' : letter);
    }
    std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<OneLineFlag>(); }
};

}  // namespace

std::shared_ptr<spdlog::logger> make_log() {
    auto formatter = std::make_unique<spdlog::pattern_formatter>();
    formatter->add_flag<PriorityFlag>('*').add_flag<OneLineFlag>('?');
    formatter->set_pattern(stderr_is_journal() ? "%*%?" : "%Y-%m-%dT%H:%M:%S.%e%z %l %?");
    auto log = std::make_shared<spdlog::logger>("agent", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    log->set_formatter(std::move(formatter));
    return log;
}

void set_level(spdlog::logger& log, LogLevel level) {
    switch (level) {
        case LogLevel::kDebug: log.set_level(spdlog::level::debug); return;
        case LogLevel::kInfo: log.set_level(spdlog::level::info); return;
        case LogLevel::kWarning: log.set_level(spdlog::level::warn); return;
        case LogLevel::kError: log.set_level(spdlog::level::err); return;
    }
}

}  // namespace fastnet
